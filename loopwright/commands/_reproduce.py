"""``loopwright reproduce``: run a run again, and compare."""

import argparse
import shlex
from typing import Any


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "reproduce",
        help="run a run again on its own code, and compare the numbers",
        epilog="exit codes: 0 identical to the end, 1 not so, 2 it could not be run again",
    )
    parser.add_argument("run", metavar="RUN", help="its folder")
    parser.add_argument("--here", action="store_true", help="run the code as it is now: what did my change do?")
    parser.add_argument("--keep", action="store_true", help="keep the copy of the code, and the new checkpoints")
    parser.add_argument(
        "--program", metavar="'python ...'", help="what to start (default: what the run was started by)"
    )
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from .._reproduce import reproduce

    command = None if asked.program is None else shlex.split(asked.program)
    found = reproduce(asked.run, here=asked.here, keep=asked.keep, command=command, tell=_say)
    print(found.text())
    return 0 if found.is_identical else 1


def _say(line: str) -> None:
    print(line, flush=True)
