"""A command run in a pseudo-terminal that is read all the time: progress displays behave as before a person."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Sequence
from dataclasses import dataclass

ROWS, COLUMNS = 40, 120
HIDES_DISPLAYS = ("CI", "COLUMNS", "LINES", "NO_COLOR", "TQDM_DISABLE", "PYTEST_CURRENT_TEST")


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, how many bytes it showed, and the last of them."""

    code: int
    shown: int
    tail: str


def run_in_terminal(command: Sequence[str], environment: dict[str, str] | None = None) -> Ended:
    """Runs `command` to its end; its input, output and errors are a terminal of 120 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    variables = {k: v for k, v in os.environ.items() if k not in HIDES_DISPLAYS}
    variables |= {"TERM": "xterm-256color"} | (environment or {})
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=variables, start_new_session=True
    )
    os.close(theirs)
    shown, tail = 0, b""
    while chunk := _read(ours):
        shown += len(chunk)
        tail = (tail + chunk)[-4000:]
    os.close(ours)
    return Ended(process.wait(), shown, tail.decode(errors="replace"))


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux answers EIO, not an empty read, once the last holder of the terminal has gone
        return b""
