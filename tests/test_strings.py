"""Laws of ``Strings`` and ``Paths``: equal to the list they stand for, unchangeable, and shared by forked workers."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import forked
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwright import ImageFolder, demo_photos
from loopwright.data import _strings
from loopwright.data._strings import Paths, Strings

any_text = st.text(st.characters(categories=["L", "Cs", "Cc"]), max_size=8)  # with halves of surrogate pairs and NUL


@settings(max_examples=150, deadline=None)
@given(st.lists(any_text), st.data())
def test_strings_are_the_list_that_they_stand_for(texts: list[str], data: st.DataObject) -> None:
    strings = Strings(texts)
    assert len(strings) == len(texts)
    assert list(strings) == texts == [strings[index] for index in range(len(texts))]
    assert strings == texts and texts == strings and strings == Strings(texts)
    part = data.draw(st.slices(len(texts)))
    assert list(strings[part]) == texts[part]
    if texts:
        indices = data.draw(st.lists(st.integers(0, len(texts) - 1)))
        assert list(strings.take(indices)) == [texts[index] for index in indices]
        assert strings[-len(texts)] == texts[0]
    for index in (len(texts), -len(texts) - 1):
        with pytest.raises(IndexError):
            strings[index]
    again = pickle.loads(pickle.dumps(strings))
    assert list(again) == texts
    assert list(reversed(strings)) == texts[::-1]


def test_many_are_taken_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_strings, "_AT_ONCE", 7)
    texts = ["x" * (number % 5) + str(number) for number in range(50)]
    order = np.random.default_rng(0).permutation(50)
    strings = Strings(texts)
    assert list(strings) == texts
    assert list(strings.take(order)) == [texts[index] for index in order]


def test_strings_differ_where_lists_do() -> None:
    assert Strings(["ab", "c"]) != Strings(["a", "bc"])
    assert Strings(["a"]) != ["a", "b"] and Strings(["a"]) != "a"
    with pytest.raises(TypeError):
        hash(Strings(["a"]))


def test_they_do_not_change() -> None:
    for strings in (Strings(["a", "b"]), pickle.loads(pickle.dumps(Strings(["a", "b"]))), Strings(["a"]).take([0, 0])):
        for values in (strings._data, strings._ends):
            with pytest.raises(ValueError, match="read-only"):
                values[0] = 1


def test_they_take_the_bytes_of_the_text_and_eight_each() -> None:
    strings = Strings(f"{number:010}" for number in range(1000))
    assert strings.nbytes == 1000 * 10 + 1001 * 8


@pytest.mark.parametrize("root", [".", "/", "a/b", "/a/b", "a/"])
def test_paths_are_the_list_that_they_stand_for(root: str) -> None:
    expected = [Path(root, name) for name in ("x.jpg", "c/y.jpg", "d\udce4.jpg")]
    for paths in (Paths(root, ["x.jpg", "c/y.jpg", "d\udce4.jpg"]), Paths.below(Path(root), expected)):
        assert paths == expected and list(paths) == expected and len(paths) == 3
        assert paths.names == ["x.jpg", "c/y.jpg", "d\udce4.jpg"]
        assert [paths[-1], paths[0]] == [expected[-1], expected[0]]
        assert paths[1:] == expected[1:] and isinstance(paths[:0], Paths)
        assert paths.take(np.array([2, 2])) == [expected[2]] * 2
        assert pickle.loads(pickle.dumps(paths)) == expected
    with pytest.raises(IndexError):
        paths[3]


def test_a_picture_folder_holds_its_paths_so() -> None:
    folder = ImageFolder(demo_photos(), split="train")
    assert isinstance(folder.paths, Paths)
    assert [str(path) for path in folder.paths] == [folder.undecoded(index)[0] for index in range(len(folder))]
    assert folder.paths.names.nbytes < 70 * len(folder)


def private_bytes() -> int:
    """Memory that is this process's alone, having been written since it was forked."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return 1024 * sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_Dirty"))


def written_by_reading(texts: Any, tmp_path: Path) -> int:
    """How much of its parent's memory a forked process copies by looking at all of them."""
    answer = tmp_path / "answer"

    def read() -> None:
        before = private_bytes()
        for text in texts:
            len(text)
        answer.write_text(str(private_bytes() - before))

    _, status = os.waitpid(forked(read), 0)
    assert status == 0
    return int(answer.read_text())


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="asks Linux what a process has copied")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_workers_share_them_and_copy_a_list(tmp_path: Path) -> None:
    texts = [f"photos/class {number % 100}/{number:012}.jpg" for number in range(150_000)]
    shared, copied = written_by_reading(Strings(texts), tmp_path), written_by_reading(texts, tmp_path)
    assert copied > 10e6
    assert shared < 2e6, (shared, copied)
