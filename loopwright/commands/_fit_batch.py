"""``loopwright fit-batch``: the largest batch that trains."""

import argparse
from typing import Any

from ._given import TASKS, read_settings
from ._keys import KEYS


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "fit-batch", help="find the largest batch that trains in the memory there is",
        epilog=KEYS, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("settings", nargs="*", metavar="[CONFIG.yaml] [key=value ...]")
    parser.add_argument("--margin", type=float, default=0.1, help="share of the memory to leave free (default 0.1)")
    parser.add_argument("--memory", metavar="SIZE", help="count on no more, such as '8 GiB' (default: what is there)")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from .._distributed import alone, position

    ranks = position().size
    if alone():  # its memory is that of every rank
        from ..recipes._fit_batch import find_batch

        find_batch(read_settings(asked.settings, TASKS), margin=asked.margin, memory_limit=asked.memory, ranks=ranks)
    return 0
