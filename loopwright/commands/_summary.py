"""``loopwright summary``: what a model consists of and costs."""

import argparse
from typing import Any

from ._given import TASKS, read_settings
from ._keys import KEYS


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "summary", help="show the layers of the model, its shapes, parameters, operations and memory",
        epilog=KEYS, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("settings", nargs="*", metavar="[CONFIG.yaml] [key=value ...]")
    parser.add_argument("--depth", type=int, help="how deep into the layers (default: all)")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from ..recipes._summary import summarize

    print(summarize(read_settings(asked.settings, TASKS)).table(asked.depth))
    return 0
