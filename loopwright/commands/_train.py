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
    parser.add_argument(
        "--commit",
        metavar="REV",
        help="with the code of a commit, branch, tag or RUN; data and run stay where they are",
    )
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    if asked.commit is not None:
        from .._at_commit import train_at

        options = {"--dry-run": asked.dry_run, "--resume": asked.resume, "--overwrite": asked.overwrite}
        return train_at(asked.commit, asked.settings, [name for name, is_set in options.items() if is_set])
    from ..recipes._classify import dry_run, train

    settings = read_settings(asked.settings)
    if asked.dry_run:
        from .._config import config_text

        print(config_text(settings), end="\n\n")
        print("\n".join(dry_run(settings)))
        return 0
    say_done(train(settings, resume=True if asked.resume else "auto", overwrite=asked.overwrite))
    return 0
