"""``loopwright train``: train a classifier."""

import argparse
from typing import Any

from ._done import say_done
from ._given import read_settings
from ._keys import KEYS


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "train", help="train a classifier on a folder of pictures",
        epilog=KEYS, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("settings", nargs="*", metavar="[CONFIG.yaml] [key=value ...]")
    parser.add_argument("--dry-run", action="store_true", help="show the plan and try one batch; train nothing")
    parser.add_argument("--resume", action="store_true", help="go on also with changed settings, or after the end")
    parser.add_argument("--overwrite", action="store_true", help="replace the run that is in the folder")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from ..recipes._classify import dry_run, train

    settings = read_settings(asked.settings)
    if asked.dry_run:
        from .._config import config_text

        print(config_text(settings), end="\n\n")
        print("\n".join(dry_run(settings)))
        return 0
    say_done(train(settings, resume=True if asked.resume else "auto", overwrite=asked.overwrite))
    return 0
