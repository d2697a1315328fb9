"""Laws of the crash: whatever a disk holds after a power cut, a kill or a fault at any operation, the last save is there."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import loopwright as lw
from benchmarks import crash
from benchmarks._crash_disk import Disk, Op
from benchmarks._crash_faults import Trouble, judge_trouble, operations
from benchmarks._crash_laws import Expected, judge
from benchmarks._crash_life import MODULES, RUN, Life
from benchmarks._crash_states import MISSING, State, build, cut_states, loose_ops, tree_of
from loopwright import _checkpoint, _checkpoints, _files
from loopwright._files import JsonLines, read_json_lines


@pytest.fixture
def place() -> Iterator[str]:
    with crash.workplace() as folder:
        yield folder


class TestEveryState:
    """The quick version of ``python -m benchmarks.crash``."""

    def test_a_power_cut_leaves_the_last_save(self, place: str) -> None:
        tally = crash.try_crashes("power cut", place, crash.power_cuts(place, crash.LEAST, 0))
        assert tally.failures == [] and tally.points > 15 and tally.opened > 60

    def test_a_kill_leaves_the_last_save(self, place: str) -> None:
        tally = crash.try_crashes("kill", place, crash.kills(place, crash.LEAST))
        assert tally.failures == [] and tally.points > 15

    def test_a_fault_and_then_a_power_cut_leave_the_last_save(self, place: str) -> None:
        tally = crash.try_crashes("late", place, crash.late_cuts(place, crash.LEAST, 0))
        assert tally.failures == [] and tally.points > 15

    @pytest.mark.parametrize("background", [False, True])
    def test_a_fault_at_any_operation_loses_nothing(self, place: str, background: bool) -> None:
        kinds = operations(crash.fresh(place), background, 2)
        assert {"create", "mkdir", "write", "sync", "rename", "unlink", "rmdir"} <= set(kinds)
        wrong = []
        for at in range(len(kinds)):
            trouble = Trouble(at, "short" if kinds[at] == "write" else "EIO", False, background)
            wrong += [f"{trouble}: {found}"] if (found := judge_trouble(crash.fresh(place), trouble)) else []
        assert wrong == []


def nothing(*_: object) -> None:
    """What a careless package would do instead of a flush."""


def unflushed(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def swept_first(self: lw.Checkpoints, entry: lw.Entry, objects: dict, best: dict, begin: Callable) -> None:
    """Removes the old before the new is there."""
    _files.make_folder(self.folder)
    self.entries = []
    self._write_folder(self._begin_folder(entry), entry, objects)
    self._write_index([entry], self.modes)
    self.entries = [entry]


class TestCarelessPackages:
    """The laws can fail: each flush and the order of a save are needed."""

    @pytest.mark.parametrize(
        ("where", "name", "careless"),
        [
            (_checkpoint, "sync_folder", nothing),
            (_checkpoints, "sync_folder", nothing),
            (_files, "sync_folder", nothing),
            (_files, "write_synced", unflushed),
            (_checkpoint, "write_synced", unflushed),
        ],
    )
    def test_is_found(self, place: str, monkeypatch: pytest.MonkeyPatch, where, name: str, careless: Callable) -> None:
        monkeypatch.setattr(where, name, careless)
        assert any(judged(place, state) for state in crash.power_cuts(place, crash.LEAST, 0))

    def test_a_wrong_order_is_found(self, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lw.Checkpoints, "_commit", swept_first)
        assert any(judged(place, state) for state in crash.kills(place, crash.LEAST))


def judged(place: str, found: crash.Crash) -> str:
    root = crash.fresh(place)
    build(found.tree, root)
    return judge(root, found.expected)


class TestTheModel:
    def test_what_is_flushed_stays_and_the_rest_may_not(self) -> None:
        ops = [
            Op("create", 1, 0, "a"), Op("write", 1, data=b"12"), Op("sync", 1), Op("write", 1, offset=2, data=b"34"),
            Op("rename", 1, 0, "a", "b"),
        ]  # fmt: skip
        assert loose_ops(ops, 5) == [0, 3, 4]
        trees = [tree_of(ops, state) for state in cut_states(ops, 5, 0, 20)]
        both = {"a": b"1234", "b": b"1234"}
        for possible in ({}, {"a": b"12"}, {"b": b"1234"}, {"b": b"12\0\0"}, {"b": b"123"}, both):
            assert possible in trees
        assert all(content is not None and content.startswith(b"12") for tree in trees for content in tree.values())
        assert tree_of([*ops, Op("sync", 0)], State(6, "none", {3: MISSING})) == {"b": b"12"}

    def test_a_recorded_life_is_what_lies_on_the_disk(self, tmp_path: Path) -> None:
        with Disk(tmp_path, MODULES) as disk:
            life = Life(tmp_path)
            life.log()
            life.save(10, 0.5)
            life.save(20, 0.6, background=True)
            life.save(30, 0.1)
            life.close()
        found = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*") if path.name != ".lock"}
        assert {p: f.read_bytes() if f.is_file() else None for p, f in found.items()} == tree_of(
            disk.ops, State(len(disk.ops), "all")
        )

    def test_the_judge_names_an_older_checkpoint(self, tmp_path: Path) -> None:
        life = Life(tmp_path)
        life.save(10, 0.5)
        life.close()
        assert "step 10 is loaded" in judge(tmp_path, Expected(frozenset({10, 20}), 20))
        (tmp_path / RUN / "checkpoints" / "index.json").unlink()
        assert judge(tmp_path, Expected(frozenset({10}), 10)) == "no checkpoint; step 10 was saved"


class TestWhatWasFound:
    """Faults that the checker found in the package, each alone."""

    def test_a_disk_that_is_full_within_a_large_object_is_an_oserror(self, tmp_path: Path, monkeypatch) -> None:
        class Full:
            def __init__(self, file) -> None:
                self._file = file

            def __getattr__(self, name: str):
                return getattr(self._file, name)

            def write(self, data: bytes) -> int:
                if self._file.tell() > 100_000:
                    raise OSError(28, os.strerror(28))
                return self._file.write(data)

        saved = lw.Checkpoints(tmp_path)
        saved.save({"model": {"w": torch.ones(9)}}, step=1)
        opened = lambda path, mode: Full(open(path, mode)) if mode == "wb" else open(path, mode)  # noqa: E731, SIM115
        monkeypatch.setattr(_checkpoint, "open", opened, raising=False)
        with pytest.raises(OSError, match="No space left"):
            saved.save({"model": {f"{i}": torch.ones(20_000) for i in range(9)}}, step=2)
        assert sorted(os.listdir(tmp_path)) == ["index.json", "step-000001"]

    def test_a_checkpoint_stays_that_an_unflushed_index_names(self, tmp_path: Path, monkeypatch) -> None:
        saved = lw.Checkpoints(tmp_path, keep_last=1)
        saved.save({"model": {"w": torch.ones(9)}}, step=1)

        def broken(_: Path) -> None:
            raise OSError(5, os.strerror(5))

        with monkeypatch.context() as patched, pytest.raises(OSError, match="Input/output"):
            patched.setattr(_files, "sync_folder", broken)
            saved.save({"model": {"w": torch.zeros(9)}}, step=2)
        assert (saved.find("latest").step, json.loads((tmp_path / "index.json").read_text())["latest"]) == (
            1,
            "step-000002",
        )
        with monkeypatch.context() as patched, pytest.raises(OSError, match="Input/output"):
            patched.setattr(_checkpoint, "_write_object", lambda *_: broken(tmp_path))
            saved.save({"model": {"w": torch.zeros(9)}}, step=2)
        assert lw.Checkpoints(tmp_path).load()["model"]["w"].sum() == 0  # a kill here finds the second one whole
        saved.save({"model": {"w": torch.full((9,), 2.0)}}, step=2)
        assert len(os.listdir(tmp_path)) == 2
        assert lw.Checkpoints(tmp_path).load()["model"]["w"].sum() == 18

    def test_lines_that_a_power_cut_damaged_are_left_out_and_spoil_no_other(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        path.write_bytes(b'{"n": 1}\n' + bytes(9) + b'": 2}\n{"n": 3}\n{"n"')
        lines = JsonLines(path)
        lines.append({"n": 4})
        lines.close()
        assert [line["n"] for line in read_json_lines(path)] == [1, 3, 4]

    def test_leftovers_of_a_kill_are_removed_from_the_folder_of_a_run(self, tmp_path: Path) -> None:
        for name in (".run.json.123.tmp", ".probe.7", ".mine.tmp"):
            (tmp_path / name).touch()
        with lw.Run(tmp_path, seed=0, device="cpu", progress=False):
            pass
        hidden = {path.name for path in tmp_path.iterdir() if path.name.startswith(".")}
        assert hidden - {".lock"} == {".mine.tmp"}

    def test_a_run_begun_anew_removes_checkpoints_before_their_record(self, tmp_path: Path, monkeypatch) -> None:
        class Killed(BaseException):
            pass

        def killed(*_: object, **__: object) -> None:
            raise Killed

        def opened(**options: bool) -> lw.Run:
            return lw.Run(tmp_path, seed=0, device="cpu", progress=False, **options)

        with opened() as run:
            run.register(model=torch.nn.Linear(1, 1))
            for _ in run.epochs(1):
                for _ in run.batches([torch.ones(1)] * 2):
                    run.log(loss=1.0)
        assert (tmp_path / "checkpoints" / "index.json").exists()
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(JsonLines, "cut", killed)
            opened(overwrite=True).__enter__()
        assert os.listdir(tmp_path / "checkpoints") == []
