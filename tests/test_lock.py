"""Laws of the lock on a run's folder: one holder, on one machine or several; a dead one keeps nobody out."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from conftest import forked
from torch import nn

import loopwright as lw
from loopwright import _lock
from loopwright._errors import RunError
from loopwright._lock import FolderLock, holder
from loopwright.cli import main


@pytest.fixture(autouse=True)
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lock, "BEAT_SECONDS", 0.1)


def claim(folder: Path, **owner: object) -> None:
    """What another process says in the file, which holds no record lock that reaches us."""
    (folder / ".lock").write_text(json.dumps({"host": "elsewhere", "pid": 7, "boot": "b", "started": "then"} | owner))


def test_a_lock_is_held_by_one_and_given_back(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(RunError, match="already open in this process"):
        FolderLock(tmp_path)
    owner = holder(tmp_path)
    assert owner is not None and owner["pid"] == os.getpid()

    def other() -> None:
        found = holder(tmp_path)
        assert found is not None and (found["pid"], found["host"]) == (os.getppid(), socket.gethostname())
        with pytest.raises(RunError, match=f"in use by another process .pid {os.getppid()} on .*loopwright stop"):
            FolderLock(tmp_path)

    assert os.waitstatus_to_exitcode(os.waitpid(forked(other), 0)[1]) == 0
    lock.release()
    assert holder(tmp_path) is None and (tmp_path / ".lock").read_bytes() == b""
    FolderLock(tmp_path).release()


def test_who_asks_keeps_nobody_out(tmp_path: Path) -> None:
    FolderLock(tmp_path).release()

    def ask() -> None:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            holder(tmp_path)

    asking = forked(ask)
    while os.waitpid(asking, os.WNOHANG) == (0, 0):
        FolderLock(tmp_path).release()


def test_a_killed_holder_keeps_nobody_out(tmp_path: Path) -> None:
    def die() -> None:
        FolderLock(tmp_path)
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(forked(die), 0)
    assert json.loads((tmp_path / ".lock").read_bytes())["host"] == socket.gethostname()
    assert holder(tmp_path) is None
    FolderLock(tmp_path).release()


def test_a_dead_holder_on_another_machine_is_found_out_by_its_beat(tmp_path: Path) -> None:
    claim(tmp_path)
    began = time.monotonic()
    FolderLock(tmp_path).release()
    assert time.monotonic() - began > 0.25


def test_a_living_holder_on_another_machine_keeps_others_out(tmp_path: Path) -> None:
    claim(tmp_path)
    end = threading.Event()
    beating = threading.Thread(target=_lock._beat, args=(tmp_path / ".lock", end))
    beating.start()
    try:
        with pytest.raises(RunError, match="in use by another process .pid 7 on elsewhere, started then"):
            FolderLock(tmp_path)
        assert holder(tmp_path) is not None
    finally:
        end.set()
        beating.join()
    time.sleep(0.5)
    assert holder(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 5000, "null", '{"pid": "x"}', '{"host": 3}'])
def test_a_file_that_says_nothing_sensible_keeps_nobody_out(tmp_path: Path, text: str) -> None:
    (tmp_path / ".lock").write_text(text)
    FolderLock(tmp_path).release()


def test_on_a_disk_without_locks_the_process_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(_lock.fcntl, "lockf", none)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as living:
        claim(tmp_path, host=socket.gethostname(), pid=living.pid, boot=_lock._boot())
        with pytest.raises(RunError, match=f"pid {living.pid}"):
            FolderLock(tmp_path)
        claim(tmp_path, host=socket.gethostname(), pid=living.pid, boot="an earlier one")
        FolderLock(tmp_path).release()
        claim(tmp_path, host=socket.gethostname(), pid=living.pid, boot=_lock._boot())
        living.communicate(b"\n")
    FolderLock(tmp_path).release()


def train_for_long(folder: Path) -> None:
    with lw.Run(folder, seed=0, device="cpu", progress=False) as run:
        run.register(model=nn.Linear(1, 1))
        for _ in run.epochs(1):
            for _ in run.batches([torch.ones(1)] * 100_000):
                time.sleep(0.001)


def test_a_run_is_stopped_from_outside(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = forked(lambda: train_for_long(tmp_path / "r"))
    while not (tmp_path / "r" / "run.json").exists() or lw.read_run(tmp_path / "r")["state"] != "running":
        time.sleep(0.01)
    time.sleep(0.3)
    reaper = threading.Thread(target=os.waitpid, args=(run, 0))
    reaper.start()
    assert main(["stop", str(tmp_path / "r")]) == 0
    reaper.join()
    assert "stopped after step" in capsys.readouterr().out
    saved = lw.Checkpoints(tmp_path / "r" / "checkpoints").latest
    assert saved is not None and saved.step == lw.read_run(tmp_path / "r")["step"]
    assert main(["stop", str(tmp_path / "r")]) == 2
    assert "is not running: its record says 'stopped'" in capsys.readouterr().err
    assert main(["stop", str(tmp_path)]) == 2
