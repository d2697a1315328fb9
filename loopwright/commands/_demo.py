"""``loopwright demo``: train on the embedded photos."""

import argparse
from typing import Any

from ._done import say_done


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser("demo", help="train on the embedded clothing photos, in about two minutes")
    parser.add_argument("settings", nargs="*", metavar="key=value")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    import torch

    from ..recipes._classify import train
    from ..recipes._demo import demo_settings

    # The demo's network is too small to gain from two threads, and loses much where they wait for each other.
    torch.set_num_threads(1)
    say_done(train(demo_settings(asked.settings)))
    return 0
