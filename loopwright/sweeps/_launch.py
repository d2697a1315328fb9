"""Starts a trial's command so that it is told to save and leave when the sweep that started it dies, however it dies.

python _launch.py PARENT COMMAND ...      run as a file, without loopwright: it becomes the command at once
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def follow_parent(parent: int) -> None:
    """Ask Linux for a SIGTERM at the parent's death; elsewhere the trial goes on to its end, and the sweep waits for it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before it was asked
            sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    follow_parent(int(sys.argv[1]))
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    except OSError as error:
        print(f"error: {sys.argv[2]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)
