"""Tiny runs in the background, for tests: started, ended as told to, followed; nothing goes on behind a test."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import loopwright as lw
from loopwright import _follow
from loopwright._detach import start_detached
from loopwright._follow import follow_log
from loopwright._lock import holder
from loopwright._run_state import still_prints

ROOT = Path(lw.__file__).parents[1]
SCRIPT = str(Path(__file__).parent / "tiny_run.py")


@pytest.fixture(autouse=True)
def nothing_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In a folder of its own, with this checkout; what is left is killed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of what is started
    monkeypatch.setattr(_follow, "POLL_SECONDS", 0.02)
    yield
    for lock in tmp_path.rglob(".lock"):
        while (owner := holder(lock.parent)) == {}:  # it has not said yet who it is
            time.sleep(0.01)
        if owner is not None:
            os.kill(owner["pid"], signal.SIGKILL)


def start(folder: str, *arguments: str) -> tuple[int, str]:
    """Start the tiny run in the background; the exit code, and what was told."""
    told: list[str] = []
    code = start_detached([sys.executable, SCRIPT, folder, *arguments], Path(folder), told.append)
    return code, "\n".join(told)


def pid_of(folder: str) -> int:
    owner = holder(Path(folder))
    assert owner is not None
    return owner["pid"]


def end(folder: str, how: str) -> None:
    """Have a tiny run end."""
    Path(folder, "end").write_text(how)


def ended(folder: str) -> None:
    while holder(Path(folder)) is not None or still_prints(Path(folder), lw.read_run(folder)):
        time.sleep(0.01)


def followed(folder: str, lines: int | None = None) -> tuple[int, str, list[str]]:
    """The exit code, the text and the remarks of a followed log."""
    text: list[str] = []
    told: list[str] = []
    code = follow_log(Path(folder), lines=lines, write=text.append, tell=told.append)
    return code, "".join(text), told
