"""The state that a run is truly in, asked from outside: what is written, and whether somebody holds its folder."""

import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._errors import RunError
from ._record import LOG, RUN, START, is_held, read_run
from ._start_file import is_starting

OVER = ("finished", "failed", "stopped", "killed", "unreadable")


def true_state(folder: Path, info: Mapping[str, Any]) -> str:
    """The state that is written, unless it says "running" and nobody holds the folder any more."""
    state = str(info.get("state", "?"))
    if state != "running" or is_held(folder):
        return state
    with contextlib.suppress(RunError):  # it may have ended between the two questions
        now = read_run(folder)
        if now.get("state") != "running" or now.get("pid") != info.get("pid", now.get("pid")):
            return str(now.get("state", "?"))
    return "killed"


def look_at(folder: Path) -> dict[str, Any]:
    """What run.json says, with the true state; also of what is no run yet: "starting", "failed" (at its start), "absent"."""
    try:
        info = read_run(folder) if os.path.lexists(folder / RUN) else {}
    except RunError as error:
        return {"state": "unreadable", "reason": str(error)}
    if is_starting(folder) or (not info and is_held(folder)):
        return {**info, "state": "starting"}
    if info:
        return {**info, "state": true_state(folder, info)}
    failed = os.path.lexists(folder / START)
    return {"state": "failed", "reason": "it ended before its run was open"} if failed else {"state": "absent"}


def still_prints(folder: Path, info: Mapping[str, Any]) -> bool:
    """Whether the process of a run that is over goes on writing into its log, as at the end of one in the background."""
    pid = info.get("pid")
    if not isinstance(pid, int) or info.get("host") != socket.gethostname():
        return False
    try:
        return os.path.samefile(f"/proc/{pid}/fd/1", folder / LOG)
    except OSError:
        return False
