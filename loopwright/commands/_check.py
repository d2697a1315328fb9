"""``loopwright check``: the bugs that make a network train badly instead of failing."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from ._given import TASKS, check_writable, read_settings
from ._keys import KEYS


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "check", help="look for bugs that make a network train badly: labels, inputs, leaks, loss, frozen layers",
        epilog=f"{KEYS}\nexit codes of check: 0 nothing failed, 1 something did, 2 a mistake in what was asked for",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("settings", nargs="*", metavar="[CONFIG.yaml] [key=value ...]")
    parser.add_argument("--out", metavar="FOLDER", help="write check.json and check.png, what the network sees")
    parser.add_argument("--seconds", type=float, default=60.0, help="about how long it may take (default 60)")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from ..recipes._check import check_settings

    settings = read_settings(asked.settings, TASKS)
    if asked.out is not None:
        check_writable(Path(asked.out), "--out")
    report = check_settings(settings, seconds=asked.seconds)
    text, encoding = report.text(shutil.get_terminal_size().columns), sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
    if asked.out is not None:
        print(f"\nwritten    {report.write(asked.out)}")
    return 0 if report.ok else 1
