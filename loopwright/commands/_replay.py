"""``loopwright replay``: look at one step of a run."""

import argparse
import shlex
from typing import Any


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "replay",
        help="run one step of a run again, with anomaly detection",
        epilog="exit codes: 0 everything was finite, 1 something was not, 2 the step could not be run again",
    )
    parser.add_argument("run", metavar="RUN", help="its folder")
    parser.add_argument("--step", type=int, required=True, metavar="N", help="the step to look at, from 1")
    parser.add_argument(
        "--program", metavar="'python ...'", help="what to start (default: what the run was started by)"
    )
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from .._replay import replay

    replayed = replay(asked.run, asked.step, command=None if asked.program is None else shlex.split(asked.program))
    print(replayed.text())
    return 0 if replayed.is_sound else 1
