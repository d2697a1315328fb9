"""Files are whole or absent, and JSON is strict."""

import json
import math
import os
import signal
import time
from pathlib import Path

import pytest
from conftest import forked
from hypothesis import given
from hypothesis import strategies as st

from loopwright._files import JsonLines, read_json, read_json_lines, replace_file, write_json


def test_a_replaced_file_is_the_old_text_or_the_new_one_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "file"
    texts = {letter * 300_000 for letter in "ab"}
    replace_file(path, "a" * 300_000)

    def work() -> None:
        while True:
            for text in sorted(texts):
                replace_file(path, text)

    child = forked(work)
    try:
        for _ in range(50):
            assert path.read_text() in texts
            time.sleep(0.002)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert path.read_text() in texts


def test_a_failed_replacement_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@given(st.dictionaries(st.text(), st.floats() | st.integers() | st.text(max_size=3) | st.none(), max_size=5))
def test_json_lines_come_back_as_they_were(values: dict) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines"
        lines = JsonLines(path)
        lines.append(values)
        lines.close()
        (back,) = read_json_lines(path)
    words = {"nan", "inf", "-inf"}
    for key, value in values.items():
        expected = float(value) if value in words else value
        same = back[key] == expected or (isinstance(expected, float) and math.isnan(expected) and math.isnan(back[key]))
        assert same


def test_nonfinite_numbers_are_strict_json(tmp_path: Path) -> None:
    write_json(tmp_path / "x", {"a": math.nan, "b": -math.inf})
    strict = json.loads((tmp_path / "x").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert strict == {"a": "nan", "b": "-inf"}


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b'{"step": 1}\n{"step": 2')
    assert list(read_json_lines(tmp_path / "x")) == [{"step": 1}]


def test_cut_goes_back_to_a_mark(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "x")
    lines.append({"step": 1})
    mark = lines.size()
    lines.append({"step": 2})
    lines.cut(mark)
    lines.append({"step": 3})
    lines.close()
    assert [line["step"] for line in read_json_lines(tmp_path / "x")] == [1, 3]


def test_a_list_is_no_json_object(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("[1]")
    with pytest.raises(ValueError, match="should hold a JSON object"):
        read_json(tmp_path / "x")
