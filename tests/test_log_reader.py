"""Reading logs and records from their ends, and while they change: nothing twice, nothing lost, nothing that steers."""

import itertools
import json
import os
import tempfile
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from loopwright._log_reader import ANEW, LogReader, plain_line, start_of_last
from loopwright._newest import newest_lines, object_of

texts = st.text("a\nö", max_size=40)


@given(texts, st.integers(0, 7))
def test_the_last_lines_are_those_of_the_whole(text: str, count: int) -> None:
    data = text.encode()
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        found = data[start_of_last(file.fileno(), count) :]
    assert data.endswith(found)
    assert found.splitlines() == (data.splitlines()[-count:] if count else [])


def test_the_last_lines_of_many_blocks(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"".join(b"%d %s\n" % (n, b"x" * (n % 900)) for n in range(2000)))
    with open(tmp_path / "log", "rb") as file:
        for count in (1, 100, 1999, 2000, 3000):
            file.seek(start_of_last(file.fileno(), count))
            assert len(file.readlines()) == min(count, 2000)


@given(texts, st.lists(st.integers(0, 60)))
def test_what_is_added_is_read_once_in_whole_lines(whole: str, cuts: list[int]) -> None:
    data = whole.encode()  # a cut may go through a letter
    places = [0, *sorted(cuts), len(data)]
    parts = [data[begin:end] for begin, end in itertools.pairwise(places)]
    with tempfile.TemporaryDirectory() as folder:
        path, text = Path(folder, "log"), ""
        reader = LogReader(path)
        assert reader.read() == ""  # there is none yet
        with open(path, "ab", buffering=0) as file:
            for part in parts:
                file.write(part)
                while new := reader.read():
                    assert new.endswith("\n")
                    text += new
        text += reader.rest()
        reader.close()
    assert text == whole + ("" if not whole or whole.endswith("\n") else "\n")


def read_all(reader: LogReader) -> str:
    return "".join(iter(reader.read, ""))


def test_a_log_that_is_cut_or_replaced_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\ntwo\nhalf")
    reader = LogReader(path, 1)
    assert read_all(reader) == ""  # the last line has no end yet
    os.truncate(path, 4)
    assert read_all(reader) == ANEW + "one\n"
    with open(path, "a") as file:
        file.write("three\nha")
    (tmp_path / "new").write_text("other\n")
    assert read_all(reader) == "three\n"
    os.replace(tmp_path / "new", path)
    assert read_all(reader) == "ha\n" + ANEW + "other\n"
    path.unlink()
    assert read_all(reader) == ""
    path.write_text("again\n")
    assert read_all(reader) == ANEW + "again\n"
    reader.close()


def test_a_line_without_an_end_takes_no_memory_without_bounds(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * (3 * 2**20))
    reader = LogReader(tmp_path / "log")
    lines = read_all(reader).splitlines()
    assert max(map(len, lines)) < 1.2 * 2**20 and sum(map(len, lines)) + len(reader.rest()) >= 3 * 2**20
    reader.close()


@given(st.binary())
def test_nothing_in_a_line_steers_a_terminal(line: bytes) -> None:
    assert plain_line(line).replace("\t", "").isprintable()


def test_colours_and_bars_are_read_as_they_are_meant() -> None:
    assert plain_line(b"\x1b[1;31merror:\x1b[0m \x1b]0;title\x07done") == "error: done"
    assert plain_line(b"  0%|   |\r 50%|## |\r100%|###|\r") == "100%|###|"
    assert plain_line("größe → 3 µs".encode()) == "größe → 3 µs"
    assert plain_line(b"\x1b[2J\x1b[H\x9b1m\x00") == "�1m\\x00"


@given(
    st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=40), max_size=3), max_size=400), st.text(max_size=5)
)
def test_the_newest_lines_are_those_of_the_file_backwards(rows: list[dict], torn: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lines")
        lines = [json.dumps(row) for row in rows]
        path.write_text("".join(line + "\n" for line in lines) + torn.replace("\n", ""))
        found = list(newest_lines(path))
    assert [line.decode() for line in found] == lines[::-1]


def test_of_a_long_file_only_the_end_is_read(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b'{"step": 1}\n' * 1_000_000)
    began = time.perf_counter()
    assert next(newest_lines(tmp_path / "lines")) == b'{"step": 1}'
    assert 10 * 2**16 > len(list(newest_lines(tmp_path / "lines"))) > 2**16
    with open(tmp_path / "lines", "rb") as file:
        assert start_of_last(file.fileno(), 5) == 12 * 1_000_000 - 60
    assert time.perf_counter() - began < 30  # no timing, only that it is not read whole
    assert object_of(b'["no object"]') is None and object_of(b"\xff") is None
