"""Asking a run to stop, from outside: it saves and leaves as for any notice. Imports no torch."""

import os
import signal
import socket
import time
from pathlib import Path

from ._errors import RunError
from ._lock import holder
from ._record import RUN, read_run


def stop_run(folder: str | Path, *, timeout: float = 300.0, now: bool = False) -> str:
    """Send SIGTERM to the process that holds a run and wait until it has let go; what became of it, in words.

    Args:
        timeout: seconds to wait for the step that it is at, and for its checkpoint.
        now: send a second one after the first: it leaves at once, and what came after its last checkpoint is lost.

    Raises:
        RunError: nobody holds the run, its process is on another machine, or it did not leave in time.
    """
    folder = Path(folder)
    if not (folder / RUN).exists():
        raise RunError(f"{folder} is no run: it has no {RUN}. 'loopwright runs' lists those that are there")
    owner = holder(folder)
    if owner is None:
        raise RunError(f"{folder} is not running: its record says {read_run(folder).get('state')!r}")
    pid, host = owner.get("pid"), owner.get("host")
    if host != socket.gethostname() or not isinstance(pid, int):
        raise RunError(f"{folder} runs on {host} as process {pid}: stop it there")
    for _ in range(1 + now):
        os.kill(pid, signal.SIGTERM)
        time.sleep(0.1 * now)
    given_up = time.monotonic() + timeout
    while (left := holder(folder)) is not None and left.get("pid") == pid:
        if time.monotonic() > given_up:
            raise RunError(
                f"{folder}: process {pid} was asked to stop and has not within {timeout:g} s. It may be at a long step; "
                "--now does not wait for it"
            )
        time.sleep(0.05)
    info = read_run(folder)
    return f"{folder} {info.get('state')} after step {info.get('step')}; run it again to go on"
