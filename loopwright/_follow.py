"""``follow_log``: a run's log while the run goes on, and how it ended. Imports no torch."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ._errors import RunError
from ._log_reader import LogReader, plain_line
from ._names import did_you_mean
from ._record import LOG, START
from ._run_state import OVER, look_at, still_prints
from ._start_file import is_starting

POLL_SECONDS = 0.25
QUIET_SECONDS = 60.0  # of a process whose run is over: it is waited for no longer
CODES = {"finished": 0, "stopped": 3}  # of a followed log; 1 for all other ends
Tell = Callable[[str], object]


def print_log(folder: Path, *, lines: int | None, write: Tell, tell: Tell) -> int:
    """Write what is in a run's log, and what is in that of a start that failed.

    Args:
        lines: how many of the last ones. Default: all.
        write: takes the log's text.
        tell: takes lines about it.

    Raises:
        RunError: there is no such run, or its log cannot be read.
    """
    if look_at(folder)["state"] == "absent":
        raise RunError(f"{folder} is no run{_near(folder)}. 'loopwright runs' lists those that are there")
    _pour(LogReader(folder / LOG, lines), write)
    _say_start(folder, lines, write, tell)
    return 0


def follow_log(folder: Path, *, lines: int | None, write: Tell, tell: Tell) -> int:
    """The same, and then what is added, until the run has ended; waits for one that has not begun.

    Returns:
        0 where the run finished, 3 where it was stopped, 1 where it failed or was killed.

    Raises:
        RunError: its log cannot be read.
    """
    _await(folder, tell)
    reader = LogReader(folder / LOG, lines)
    try:
        info = _follow(folder, reader, write)
    except KeyboardInterrupt:
        tell(f"left       the log of {folder}; the run goes on ('loopwright stop {folder}' has it save and leave)")
        raise
    finally:
        reader.close()
    _say_start(folder, lines, write, tell)
    tell(ending(folder, info))
    return CODES.get(info["state"], 1)


def _follow(folder: Path, reader: LogReader, write: Tell) -> dict[str, Any]:
    """Write what comes; what the run says of itself at its end."""
    heard = time.monotonic()
    while True:
        info = look_at(folder)
        is_over = info["state"] in OVER  # asked before the log is read, so that it is all of it
        if is_over and time.monotonic() - heard < QUIET_SECONDS:
            is_over = not still_prints(folder, info)
        if _pour(reader, write, rest=is_over):
            heard = time.monotonic()
        elif not is_over:
            time.sleep(POLL_SECONDS)
        if is_over:
            return info


def ending(folder: Path, info: Mapping[str, Any]) -> str:
    """How a run ended, in one line.

    >>> ending(Path("runs/a"), {"state": "finished", "step": 780, "best": {"val/top1": 0.9312}})
    'finished   runs/a after step 780, best val/top1 0.9312'
    """
    state, reason = info["state"], " ".join(str(info.get("reason") or "").split())
    text = f"{state:<10} {folder}" + (f" after step {info['step']}" if isinstance(info.get("step"), int) else "")
    if state == "finished":
        best = info["best"] if isinstance(info.get("best"), dict) else {}
        named = [f"{name} {value:.4g}" for name, value in best.items() if isinstance(value, float)]
        text += f", best {', '.join(named)}" if named else ""
        text += f" ({info['stop_reason']})" if info.get("stop_reason") else ""
    elif state == "stopped":
        text += "; the same command again goes on"
    elif state == "killed":
        text = f"killed     {folder}: process {info.get('pid')} on {info.get('host')} is gone without a word"
        text += f"; its last checkpoint is {info['checkpoint']}" if info.get("checkpoint") else "; it has no checkpoint"
        text += ", and the same command again goes on"
    elif reason:
        text += f": {reason}"
    return plain_line(text.encode("utf-8", "replace"))


def _say_start(folder: Path, lines: int | None, write: Tell, tell: Tell) -> None:
    """What a start printed that has not come to a run, or not yet."""
    if (folder / START).exists():
        tell(f"starting   {folder}" if is_starting(folder) else f"failed     a start of {folder}, which printed:")
        _pour(LogReader(folder / START, lines), write)


def _await(folder: Path, tell: Tell) -> None:
    """Wait for the beginning of a run, and say so once for each reason."""
    told = ""
    try:
        while (state := look_at(folder)["state"]) in ("absent", "starting"):
            if state != told:
                there = f"there is no run yet{_near(folder)}" if state == "absent" else "it is starting"
                tell(f"waiting    {folder}: {there}")
                told = state
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        tell(f"left       {folder}: it has not begun")
        raise


def _pour(reader: LogReader, write: Tell, *, rest: bool = True) -> bool:
    """Write all that is there; whether there was anything."""
    wrote = False
    while text := _next(reader):
        write(text)
        wrote = True
    if rest and (text := reader.rest()):
        write(text)
    return wrote


def _next(reader: LogReader) -> str:
    try:
        return reader.read()
    except OSError as error:
        raise RunError(f"{error.filename}: {error.strerror}") from None


def _near(folder: Path) -> str:
    try:
        names = [path.name for path in folder.absolute().parent.iterdir() if path.is_dir()]
    except OSError:
        return ""
    question = did_you_mean(folder.name, names)
    return f": {question}" if question else ""
