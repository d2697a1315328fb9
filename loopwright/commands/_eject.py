"""``loopwright eject``: the program that a configuration stands for."""

import argparse
from typing import Any

from ._given import TASKS, read_settings
from ._keys import KEYS


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "eject", help="write the plain loop that a configuration stands for, to be your own",
        description="Prints a program that trains as 'loopwright train' does with these settings, bit for bit.",
        epilog=KEYS, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("settings", nargs="*", metavar="[CONFIG.yaml] [key=value ...]")
    parser.add_argument("--demo", action="store_true", help="of 'loopwright demo', with settings on top")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from ..recipes._demo import demo_settings
    from ..recipes._eject import eject

    print(eject(demo_settings(asked.settings) if asked.demo else read_settings(asked.settings, TASKS)), end="")
    return 0
