"""``loopwright find-lr``: the learning rate to use."""

import argparse
from pathlib import Path
from typing import Any

from .._distributed import is_main
from ._given import TASKS, check_writable, read_settings
from ._keys import KEYS


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "find-lr", help="find the learning rate by short trials; the training itself is not begun",
        epilog=KEYS, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("settings", nargs="*", metavar="[CONFIG.yaml] [key=value ...]")
    parser.add_argument(
        "--mode", choices=("ramp", "runs"), default="ramp", help="raise the rate in ramps, or a run each"
    )
    parser.add_argument("--ramps", type=int, default=8, metavar="N", help="how many ramps (default 8)")
    parser.add_argument("--steps", type=int, metavar="N", help="of a ramp (default 17 a decade) or a run (default 50)")
    parser.add_argument("--write", action="store_true", help="put optimizer.lr into CONFIG.yaml, comments and all kept")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where lr.png and lr.json go (default runs/find-lr)")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from ..recipes._find_lr import check_overrides, find_rate, write_rate

    settings = read_settings(asked.settings, TASKS)
    given = [text for text in asked.settings if "=" in text]
    path = Path(asked.settings[0]) if asked.settings and "=" not in asked.settings[0] else None
    if asked.write:
        check_overrides(path, given)
    out = asked.out or Path("runs/find-lr")
    if is_main():
        check_writable(out, "--out")
    found = find_rate(settings, mode=asked.mode, ramps=asked.ramps, steps=asked.steps, out=out)
    if asked.write and path is not None and is_main():
        write_rate(found, path, given)
    return 0
