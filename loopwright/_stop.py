"""Asking runs to stop, from outside: they save and leave as for any notice. Imports no torch."""

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._errors import RunError
from ._lock import holder
from ._record import RUN, read_run
from ._run_state import true_state
from ._start_file import is_starting

_POLL_SECONDS = 0.05


def stop_run(folder: str | Path, *, timeout: float = 300.0, now: bool = False) -> str:
    """Send SIGTERM to the process that holds a run and wait until it has let go; what became of it, in words.

    Args:
        timeout: seconds to wait for the step that it is at, and for its checkpoint.
        now: send a second one after the first: it leaves at once, and what came after its last checkpoint is lost.

    Raises:
        RunError: nobody holds the run, its process is on another machine, or it did not leave in time.
    """
    return _ask(Path(folder), timeout, now).wait()


def stop_runs(
    folders: Sequence[str | Path], *, timeout: float = 300.0, now: bool = False, tell: Callable[[str], object]
) -> list[RunError]:
    """Ask all of them, then wait for all of them; what went wrong. ``tell`` takes a line for each that has stopped."""
    asked: list[_Asked] = []
    wrong: list[RunError] = []
    for folder in folders:
        try:
            asked.append(_ask(Path(folder), timeout, now))
        except RunError as error:
            wrong.append(error)
    for one in asked:
        try:
            tell(one.wait())
        except RunError as error:
            wrong.append(error)
    return wrong


@dataclass(frozen=True)
class _Asked:
    """A run whose process was told to leave."""

    folder: Path
    pid: int
    timeout: float
    given_up: float

    def wait(self) -> str:
        while (left := holder(self.folder)) is not None and left.get("pid") == self.pid:
            if time.monotonic() > self.given_up:
                raise RunError(
                    f"{self.folder}: process {self.pid} was asked to stop and has not within {self.timeout:g} s. It may be "
                    "at a long step; --now does not wait for it"
                )
            time.sleep(_POLL_SECONDS)
        info = read_run(self.folder)
        state, step = true_state(self.folder, info), info.get("step")
        return f"{self.folder} {state} after step {step}" + ("; run it again to go on" if state != "finished" else "")


def _ask(folder: Path, timeout: float, now: bool) -> _Asked:
    given_up = time.monotonic() + timeout
    owner = _holder(folder, given_up)
    if owner is None:
        if not (folder / RUN).exists():
            raise RunError(f"{folder} is no run: it has no {RUN}. 'loopwright runs' lists those that are there")
        raise RunError(f"{folder} is not running: its record says {read_run(folder).get('state')!r}")
    pid, host = owner.get("pid"), owner.get("host")
    if host != socket.gethostname() or not isinstance(pid, int):
        raise RunError(f"{folder} runs on {host} as process {pid}: stop it there")
    for number in (signal.SIGTERM, signal.SIGUSR1)[: 1 + now]:  # another one, which is no echo of the first
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # it was at its end
            break
        except PermissionError:
            raise RunError(f"{folder} is run by another user, as process {pid}") from None
        time.sleep(0.1 * now)
    return _Asked(folder, pid, timeout, given_up)


def _holder(folder: Path, given_up: float) -> dict[str, Any] | None:
    """Who holds it; one that is starting is waited for, for a notice would end it without a word."""
    while is_starting(folder) and time.monotonic() < given_up:
        time.sleep(_POLL_SECONDS)
    return holder(folder)
