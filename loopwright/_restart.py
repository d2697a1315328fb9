"""Starting a run's program again, as it was recorded: whether that may be done, and doing it. No torch here."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ._errors import RunError
from ._record import RUN, is_held, read_run

_PASSED_ON = ("SIGTERM", "SIGHUP", "SIGUSR1")


def read_finished(folder: Path) -> dict[str, Any]:
    """What a run says of itself that nobody trains at present.

    Raises:
        RunError: there is no such run.
    """
    if not (folder / RUN).exists():
        raise RunError(f"{folder} is no run: it has no {RUN}. 'loopwright runs' lists those that are there")
    info = read_run(folder)
    if is_held(folder):
        raise RunError(f"{folder} is being trained: stop it first (loopwright stop {folder})")
    return info


def recorded_command(folder: Path, info: Mapping[str, Any], instead: str) -> list[str]:
    """The recorded command is only started where it was recorded: a folder from elsewhere could name any program.

    Args:
        instead: what else to do, for the message.

    Raises:
        RunError: it is not to be started here.
    """
    command, host = info.get("command"), info.get("host")
    if host != socket.gethostname():
        raise RunError(f"{folder} was run on {host}: its program is not started here unasked; {instead}")
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        raise RunError(f"{folder}/{RUN} does not say how it was started; {instead}")
    if any("ipykernel" in part for part in command):
        raise RunError(
            f"{folder} was run in a notebook, which cannot be started again; write its loop into a file and {instead}"
        )
    return list(command)


def start(command: Sequence[str], place: Path, variables: Mapping[str, str], output: IO[bytes] | None = None) -> int:
    """Run a command to its end; its exit code, as a shell has it: 128 and more for one that a signal ended.

    Signals that ask this process to leave are passed on, and Ctrl-C reaches the other one by itself: it saves and leaves.

    Raises:
        RunError: there is no such program or folder.
    """
    if not place.is_dir():
        raise RunError(f"the run was started in {place}, which is not there any more")
    streams: dict[str, Any] = {} if output is None else {"stdout": output, "stderr": subprocess.STDOUT}
    quiet: dict[str, Any] = {} if output is None else {"stdin": subprocess.DEVNULL}
    try:
        process = subprocess.Popen(list(command), cwd=place, env=os.environ | variables, **streams, **quiet)
    except OSError as error:
        raise RunError(f"there is no program {command[0]!r} that can be started: {error.strerror}") from None
    with _passing_on(process):
        code = process.wait()
    return 128 - code if code < 0 else code


@contextlib.contextmanager
def _passing_on(process: subprocess.Popen[Any]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in _PASSED_ON if hasattr(signal, name)]
    before = {number: signal.signal(number, lambda n, _: process.send_signal(n)) for number in numbers}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, which would be inherited
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
