"""``loopwright doctor``: what holds a training back."""

import argparse
from typing import Any

from ._given import TASKS, read_settings
from ._keys import KEYS


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "doctor", help="measure what holds a training back, and what would lift it",
        epilog=KEYS, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("settings", nargs="*", metavar="[CONFIG.yaml] [key=value ...]")
    parser.add_argument("--apply", action="store_true", help="make the most promising change and measure again")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measurement (default 3)")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from ..recipes._doctor import diagnose

    print("\n".join(diagnose(read_settings(asked.settings, TASKS), seconds=asked.seconds, apply=asked.apply)))
    return 0
