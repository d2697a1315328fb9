"""``loopwright stop``: have a run save and leave."""

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser("stop", help="have a run save and leave, wherever its terminal is")
    parser.add_argument("run", metavar="RUN", help="its folder")
    parser.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="to wait for it (default 300)")
    parser.add_argument("--now", action="store_true", help="do not wait for the end of its step, nor for a checkpoint")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from .._stop import stop_run

    print(stop_run(asked.run, timeout=asked.timeout, now=asked.now))
    return 0
