"""One life of a training: a process that is started, and killed by SIGKILL if so planned. Knows no system and no files.

This process has imported torch and the system, and run nothing: so a fork is a fresh start without the seconds of an
import. Some lives are new interpreters all the same, to show that it makes no difference.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POLL_S = 0.0002
HANGS_S = 180.0


@dataclass(frozen=True)
class Kill:
    """When a life is killed, one of three: after `after_s` seconds; `pause_s` after a name has come to a watched folder
    for the `change`th time; just before its `operation`th file operation. With `group`, its workers die with it."""

    after_s: float | None = None
    change: int | None = None
    pause_s: float = 0.0
    operation: int | None = None
    group: bool = False

    @property
    def kind(self) -> str:
        return "a save seen" if self.change else "a file operation" if self.operation else "the clock"


@dataclass(frozen=True)
class Death:
    """How a life ended."""

    killed: bool
    code: int
    seconds: float
    hung: bool = False


def fork_life(work: Callable[[], None], log: Path) -> int:
    """Starts `work` in a copy of this process, in a group of its own; returns its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        _redirect(log)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def spawn_life(command: list[str], log: Path) -> int:
    """Starts a new interpreter, in a group of its own; returns its process id."""
    with log.open("ab") as file:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True).pid


def await_death(child: int, kill: Kill | None, watched: Path) -> Death:
    """Waits until the life has ended, and sees to it that it does so as planned."""
    began = time.perf_counter()
    changes = _changes(watched) if kill and kill.change else iter(())
    seen, hung = 0, False
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return Death(code == -signal.SIGKILL and not hung, code, time.perf_counter() - began, hung)
        if not hung and time.perf_counter() - began > HANGS_S:
            hung = True
            _send_kill(child, group=True)
        seen += next(changes, 0)
        if kill and _is_due(kill, time.perf_counter() - began, seen):
            time.sleep(kill.pause_s)
            _send_kill(child, kill.group)
            kill = None
        time.sleep(POLL_S)


def _is_due(kill: Kill, elapsed: float, seen: int) -> bool:
    return (kill.after_s is not None and elapsed >= kill.after_s) or (kill.change is not None and seen >= kill.change)


def _send_kill(child: int, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        if group:
            os.killpg(child, signal.SIGKILL)
        else:
            os.kill(child, signal.SIGKILL)


def end_group(leader: int) -> None:
    """Ends the workers that a killed life left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _changes(folder: Path) -> Iterator[int]:
    """For ever: 1 where a name has come since the last look, else 0."""
    before = _names(folder)
    while True:
        now = _names(folder)
        yield int(bool(now - before))
        before = now


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except FileNotFoundError:
        return set()


class FileOperations:
    """Counts this process's file operations on paths in `folder`, and kills it just before number `deadly`.

    Where it died is left in `place` (a file outside of `folder`). An operation is what Python announces to audit hooks
    before it does it, so these kills fall between any two steps of a save, however short the time between them.
    """

    EVENTS = frozenset(
        ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "os.listdir", "shutil.rmtree")
    )

    def __init__(self, folder: Path, deadly: int | None, place: Path) -> None:
        self.count = 0
        self._folder, self._deadly, self._place, self._process = str(folder), deadly, place, os.getpid()
        sys.addaudithook(self._audit)

    def _audit(self, event: str, values: tuple[Any, ...]) -> None:
        if event not in self.EVENTS or os.getpid() != self._process or not str(values[0]).startswith(self._folder):
            return
        self.count += 1
        if self.count == self._deadly:
            names = [os.path.basename(v) for v in values[:2] if isinstance(v, str | Path)]
            self._place.write_text(" ".join([event, *names]))
            os.kill(self._process, signal.SIGKILL)


def in_child(work: Callable[[], Any]) -> Any:
    """What `work` returns, done in a copy of this process: this one stays as fresh as it is."""
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(receive)
            with os.fdopen(send, "w") as pipe:
                json.dump(work(), pipe)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(send)
    with os.fdopen(receive) as pipe:
        text = pipe.read()
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("looking at a folder failed; see above")
    return json.loads(text)


def _redirect(log: Path) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    nothing = os.open(os.devnull, os.O_RDONLY)
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for target, source in ((0, nothing), (1, file), (2, file)):
        os.dup2(source, target)
