"""``start_detached``: a training as a process of its own, which no terminal's end reaches. No torch here."""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ._errors import RunError
from ._lock import holder
from ._log_reader import plain_line, start_of_last
from ._record import LOG, START, read_run
from ._start_file import StartFile

_SHOWN = 20  # lines of a log
_POLL_SECONDS = 0.05
_TELLS_ALL = {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}  # before its log is open, too; also of a crash below


def start_detached(command: Sequence[str], folder: Path, tell: Callable[[str], object]) -> int:
    """Start it and come back when it trains, or has ended.

    Args:
        command: what trains in that very folder.
        tell: takes lines for the user.

    Returns:
        0 where it trains, or has finished already; else its exit code, 128 and more where a signal ended it.

    Raises:
        RunError: the folder is in use, or cannot be written to. Nothing was started.
    """
    owner = holder(folder)
    if owner is not None:
        raise RunError(
            f"{folder} is being trained already, by process {owner.get('pid', '?')} on {owner.get('host', '?')}: see "
            f"'loopwright logs {folder} -f', stop it with 'loopwright stop {folder}', or give this run another folder"
        )
    start = StartFile(folder)
    try:
        process = _launch(command, start)
        tell(f"starting   {folder}: process {process.pid}")
        try:
            trains = _wait(process, folder)
        except KeyboardInterrupt:
            tell(f"left       {folder}, which goes on starting: loopwright logs {shlex.quote(str(folder))} -f")
            raise
        if trains is not None:
            process.returncode = 0  # it is nobody's child from now on: Python would warn that it was not waited for
            _say_begun(folder, trains, tell)
            return 0
        return _say_ended(folder, process.returncode, start, tell)
    finally:
        start.close()


def _launch(command: Sequence[str], output: StartFile) -> "subprocess.Popen[bytes]":
    """In a session of its own, without the terminal; whoever sends SIGHUP all the same ends nothing."""
    with _hangups_ignored():
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output.fileno(),
            stderr=output.fileno(),
            env=os.environ | _TELLS_ALL,
            start_new_session=True,
        )


@contextlib.contextmanager
def _hangups_ignored() -> Iterator[None]:
    """Here for the moment, and in a process that is started in it for ever."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _wait(process: "subprocess.Popen[bytes]", folder: Path) -> int | None:
    """The process that trains, which may be a child of the one that was started; None where that has ended."""
    while process.poll() is None:
        pid = _trains(folder, process.pid)
        if pid is not None:
            return pid
        time.sleep(_POLL_SECONDS)
    return None


def _trains(folder: Path, session: int) -> int | None:
    owner = holder(folder) or {}
    pid = owner.get("pid")
    if not isinstance(pid, int) or owner.get("host") != socket.gethostname():
        return None
    with contextlib.suppress(OSError, RunError):
        info = read_run(folder)
        if os.getsid(pid) == session and info.get("pid") == pid and "steps_per_epoch" in info:  # its loop begins
            return pid
    return None


def _say_begun(folder: Path, pid: int, tell: Callable[[str], object]) -> None:
    name = shlex.quote(str(folder))
    tell(f"training   {folder}: process {pid}; it goes on when this terminal closes")
    tell(f"log        loopwright logs {name} -f")
    tell(f"stop       loopwright stop {name}")


def _say_ended(folder: Path, code: int, start: StartFile, tell: Callable[[str], object]) -> int:
    """It ended before it trained, or so fast that nobody saw it training: its last lines, and what it ended with."""
    how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    opened = start.is_adopted()
    for line in _last_lines(folder / LOG) if opened else start.text().splitlines()[-_SHOWN:]:
        tell(plain_line(line.encode("utf-8", "replace")))
    if code == 0:
        tell(f"finished   {folder} already: nothing goes on")
    elif code == 2 and not opened:  # a mistake, of which all is said
        start.remove()
        tell(f"not started: {how}")
    else:
        tell(f"failed     {folder}: {how}; all that it printed is in {folder / (LOG if opened else START)}")
    return 128 - code if code < 0 else code


def _last_lines(path: Path) -> list[str]:
    try:
        with open(path, "rb") as file:
            file.seek(start_of_last(file.fileno(), _SHOWN))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
