"""Laws of the bad day: slow, full and broken disks, damaged checkpoints, signals. What was saved stays; training goes on."""

import errno
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import same_bits, tiny_model
from test_resume import Interrupted, batches_of_photos, life, record
from torch import nn

import loopwright as lw
from loopwright import _checkpoint, _keeper
from loopwright._files import JsonLines, read_json_lines


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_keeper, "RETRY_SECONDS", (0.05, 0.1))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, bytes]:
    """The training on a good day."""
    folder = tmp_path_factory.mktemp("whole") / "r"
    return life(folder, lambda: batches_of_photos(0)), record(folder)


def files_of(folder: Path) -> dict[str, bytes]:
    """All files of a run's checkpoints but run.pt and manifest.json, which hold times."""
    saved = (path for path in folder.glob("checkpoints/step-*/*.pt") if path.name != "run.pt")
    return {str(path.relative_to(folder)): path.read_bytes() for path in saved}


class TestInTheBackground:
    def train(self, folder: Path, background: bool) -> nn.Module:
        with lw.Run(
            folder,
            seed=7,
            device="cpu",
            progress=False,
            save_every="1 steps",
            keep=lambda entries: entries,
            save_in_background=background,
        ) as run:
            model = run.prepare(tiny_model())
            optimizer = torch.optim.AdamW(model.parameters())
            run.register(model=model, optimizer=optimizer)
            for _ in run.epochs(2):
                for pictures, labels in run.batches(batches_of_photos(0)):
                    run.step(nn.functional.cross_entropy(model(pictures), labels), optimizer)
        return model

    def test_the_same_files_byte_for_byte(self, tmp_path: Path) -> None:
        models = [self.train(tmp_path / name, name == "background") for name in ("background", "waited")]
        assert same_bits(*models)
        background, waited = files_of(tmp_path / "background"), files_of(tmp_path / "waited")
        assert len(waited) > 14
        assert background == waited

    def test_a_checkpoint_is_of_the_moment_it_was_asked_for(self, tmp_path: Path, slow: threading.Event) -> None:
        weights, saved = torch.ones(1000), lw.Checkpoints(tmp_path / "c")
        state = {"w": weights, "first": weights[:10], "plain": [1, {"two": 2}]}
        entry = saved.save({"model": state}, step=1, background=True)
        weights.zero_()
        state["plain"].append(3)
        assert saved.is_writing and saved.latest is None and saved.known == [entry]
        slow.set()
        saved.settle()
        loaded = saved.load()["model"]
        assert loaded["w"].sum() == 1000 and loaded["plain"] == [1, {"two": 2}]
        assert loaded["first"].data_ptr() == loaded["w"].data_ptr()

    def test_one_at_a_time(self, tmp_path: Path, slow: threading.Event) -> None:
        saved = lw.Checkpoints(tmp_path / "c", keep=lambda entries: entries)
        saved.save({"model": {"w": torch.ones(3)}}, step=1, background=True)
        threading.Timer(0.2, slow.set).start()
        asked = time.perf_counter()
        saved.save({"model": {"w": torch.zeros(3)}}, step=2, background=True)
        assert time.perf_counter() - asked > 0.1
        saved.settle()
        assert [entry.step for entry in saved.entries] == [1, 2]

    def test_the_loop_does_not_wait_and_the_end_does(self, tmp_path: Path, slow: threading.Event) -> None:
        with lw.Run(tmp_path, seed=0, device="cpu", progress=False, save_every="3 steps") as run:
            model = nn.Linear(2, 2)
            run.register(model=model)
            for _ in run.epochs(1):
                for batch in run.batches([torch.ones(1, 2)] * 5):
                    model(batch)
                    if run.global_step == 5:
                        assert run.checkpoints.is_writing and run.checkpoints.latest is None
                        slow.set()
        assert [entry.step for entry in run.checkpoints.entries] == [3, 5]
        assert not run.checkpoints.is_writing

    def test_another_error_than_the_disks_ends_the_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError("in the writer")

        monkeypatch.setattr(_checkpoint, "_write_object", broken)
        with pytest.raises(ZeroDivisionError, match="in the writer"), self.opened(tmp_path) as run:
            self.train_on(run)

    def opened(self, folder: Path) -> lw.Run:
        return lw.Run(folder, seed=0, device="cpu", progress=False, save_every="1 steps", save_in_background=True)

    def train_on(self, run: lw.Run) -> None:
        model = nn.Linear(2, 2)
        run.register(model=model)
        for _ in run.epochs(1):
            for batch in run.batches([torch.ones(1, 2)] * 100):
                model(batch)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk that takes nothing until the event is set."""
    go, write = threading.Event(), _checkpoint._write_object

    def waiting(*args):
        assert go.wait(30)
        return write(*args)

    monkeypatch.setattr(_checkpoint, "_write_object", waiting)
    yield go
    go.set()


class TestDisks:
    @pytest.mark.parametrize("background", [True, False])
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT, errno.ESTALE])
    def test_a_save_that_fails_is_tried_again_and_changes_nothing(
        self, tmp_path: Path, whole, monkeypatch: pytest.MonkeyPatch, capsys, number: int, background: bool
    ) -> None:
        write, calls = _checkpoint._write_object, []

        def failing(path: Path, state: object) -> dict[str, int]:
            calls.append(path)
            if 5 < len(calls) < 9:
                raise OSError(number, os.strerror(number))
            return write(path, state)

        monkeypatch.setattr(_checkpoint, "_write_object", failing)
        model = life(tmp_path / "r", lambda: batches_of_photos(0), save_in_background=background)
        assert (same_bits(model, whole[0]), record(tmp_path / "r")) == (True, whole[1])
        printed = capsys.readouterr().out
        assert f"could not be saved ({os.strerror(number)}); training goes on, the last checkpoint is step-" in printed
        assert "the disk takes checkpoints again" in printed
        assert lw.read_run(tmp_path / "r")["state"] == "finished"
        assert same_bits(lw.Checkpoints(tmp_path / "r" / "checkpoints").load(only="model"), model)

    def test_a_disk_that_is_really_full(self, tmp_path: Path, whole) -> None:
        """All of the run's files are on it: checkpoints, metrics, run.json, the log. Space comes back later."""
        disk = tmp_path / "disk"
        disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], capture_output=True)
        if mounted.returncode:
            pytest.skip("only root may mount a file system")
        try:
            filler = disk / "filler"

            def step(run: lw.Run, loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                if run.global_step == 3:
                    fill(filler)
                if run.global_step == 7:
                    filler.unlink()

            model = life(disk / "r", lambda: batches_of_photos(0), step=step)
            assert (same_bits(model, whole[0]), record(disk / "r")) == (True, whole[1])
            assert lw.read_run(disk / "r")["state"] == "finished"
            assert len(list(read_json_lines(disk / "r" / "metrics.jsonl"))) > 3
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)

    def test_a_disk_without_room_is_said_before_training(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_keeper.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(lw.RunError, match=r"are free on that disk, and a checkpoint .* takes about"):
            life(tmp_path / "r", lambda: batches_of_photos(0))

    def test_an_end_that_cannot_be_saved_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(_checkpoint, "_write_object", full)
        monkeypatch.setattr(_keeper, "PATIENCE", 0.2)
        with pytest.raises(lw.CheckpointError, match=r"the end of this run, step 8, could not be saved .* is none"):
            life(tmp_path / "r", lambda: batches_of_photos(0))
        assert lw.read_run(tmp_path / "r")["state"] == "failed"

    def test_lines_wait_for_room_and_come_in_order(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = JsonLines(tmp_path / "m.jsonl")
        lines.append({"n": 0})
        file, lines._file = lines._file, Torn(lines._file, takes=3)  # type: ignore[assignment]
        lines.append({"n": 1})
        lines.append({"n": 2})
        with pytest.raises(OSError, match="No space left"):
            lines.settle()
        lines._file = file
        lines.append({"n": 3})
        lines.settle()
        lines.close()
        assert [line["n"] for line in read_json_lines(tmp_path / "m.jsonl")] == [0, 1, 2, 3]


class Torn:
    """A file that takes a few bytes of each write, as a disk does that becomes full."""

    def __init__(self, file, takes: int) -> None:
        self._file, self._takes = file, takes

    def write(self, data: bytes) -> int:
        return self._file.write(data[: self._takes])

    def fileno(self) -> int:
        return self._file.fileno()


def fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC


class TestDamage:
    @pytest.mark.parametrize("how", ["short", "changed", "gone", "no manifest", "no folder"])
    def test_the_checkpoint_before_a_damaged_one_is_used(self, tmp_path: Path, whole, capsys, how: str) -> None:
        with pytest.raises(Interrupted):
            life(tmp_path / "r", lambda: batches_of_photos(0), die_at=7)
        latest = lw.Checkpoints(tmp_path / "r" / "checkpoints").latest
        assert latest is not None
        damage(tmp_path / "r" / "checkpoints" / latest.name, how)
        model = life(tmp_path / "r", lambda: batches_of_photos(0))
        assert (same_bits(model, whole[0]), record(tmp_path / "r")) == (True, whole[1])
        assert f"{latest.name}" in capsys.readouterr().out

    def test_a_disk_that_cannot_read_the_newest_one_back(self, tmp_path: Path, whole, capsys, monkeypatch) -> None:
        with pytest.raises(Interrupted):
            life(tmp_path / "r", lambda: batches_of_photos(0), die_at=7)
        latest, read = lw.Checkpoints(tmp_path / "r" / "checkpoints").latest, _checkpoint._crc32
        assert latest is not None

        def broken(path: Path) -> int:
            if path.parent.name == latest.name:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return read(path)

        monkeypatch.setattr(_checkpoint, "_crc32", broken)
        model = life(tmp_path / "r", lambda: batches_of_photos(0))
        assert (same_bits(model, whole[0]), record(tmp_path / "r")) == (True, whole[1])
        assert f"{latest.name}/" in (said := capsys.readouterr().out) and "Input/output error" in said

    def test_where_all_are_damaged_each_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(Interrupted):
            life(tmp_path / "r", lambda: batches_of_photos(0), die_at=7)
        names = [entry.name for entry in lw.Checkpoints(tmp_path / "r" / "checkpoints").entries]
        for name in names:
            damage(tmp_path / "r" / "checkpoints" / name, "changed")
        with pytest.raises(lw.CheckpointError) as caught:
            life(tmp_path / "r", lambda: batches_of_photos(0))
        assert all(name in str(caught.value) for name in names) and len(names) > 1


def damage(folder: Path, how: str) -> None:
    file = folder / ("manifest.json" if how == "no manifest" else "model.pt")
    if how == "no folder":
        folder.rename(folder.with_name("elsewhere"))
    elif how in ("gone", "no manifest"):
        file.unlink()
    else:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data[: len(data) // 2] if how == "short" else data)


class TestSignals:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
    def test_a_notice_is_obeyed_and_waits_for_the_writer(
        self, tmp_path: Path, slow: threading.Event, number: int, code: int
    ) -> None:
        with (
            pytest.raises(SystemExit) as caught,
            lw.Run(tmp_path, seed=0, device="cpu", progress=False, save_in_background=True) as run,
        ):
            run.register(model=nn.Linear(1, 1))
            for _ in run.epochs(1):
                for _ in run.batches([torch.ones(1)] * 9):
                    if run.global_step == 4:
                        os.kill(os.getpid(), number)
                        threading.Timer(0.2, slow.set).start()
        assert caught.value.code == code
        assert [entry.step for entry in run.checkpoints.entries] == [4]
        assert lw.read_run(tmp_path)["state"] == "stopped"

    def test_a_second_ctrl_c_does_not_wait_for_a_slow_save(self, tmp_path: Path, slow: threading.Event) -> None:
        def again() -> None:
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)

        began = time.perf_counter()
        with (
            pytest.raises(KeyboardInterrupt),
            lw.Run(tmp_path, seed=0, device="cpu", progress=False, save_in_background=True) as run,
        ):
            run.register(model=nn.Linear(1, 1))
            for _ in run.epochs(1):
                for _ in run.batches([torch.ones(1)] * 9):
                    if run.global_step == 4:
                        os.kill(os.getpid(), signal.SIGINT)
                        threading.Thread(target=again).start()
        assert time.perf_counter() - began < 10
        assert run.checkpoints.latest is None


def test_a_record_without_its_earlier_lives_is_gone_on_from(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"state": "stopped", "lives": null}')
    with lw.Run(tmp_path, device="cpu", progress=False):
        assert len(lw.read_run(tmp_path)["lives"]) == 1
