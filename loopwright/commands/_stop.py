"""``loopwright stop``: have runs save and leave."""

import argparse
import sys
from typing import Any


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser("stop", help="have runs save and leave, wherever their terminals are")
    parser.add_argument("runs", metavar="RUN", nargs="+", help="its folder")
    parser.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="to wait for it (default 300)")
    parser.add_argument("--now", action="store_true", help="do not wait for the end of its step, nor for a checkpoint")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from .._stop import stop_runs

    wrong = stop_runs(asked.runs, timeout=asked.timeout, now=asked.now, tell=print)
    sys.stdout.flush()
    for error in wrong:
        print(f"error: {error}", file=sys.stderr)
    return 2 if wrong else 0
