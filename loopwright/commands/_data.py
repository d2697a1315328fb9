"""``loopwright data``: look at every picture of a data set."""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from .._errors import ConfigError


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "data", help="look at every picture of a data set: counts, sizes, broken files, duplicates, leaks",
        epilog="exit codes: 0 sound, 1 something is broken or leaks, 2 it cannot be inspected",
    )  # fmt: skip
    parser.add_argument(
        "path", metavar="PATH", help="folder of splits, of classes or of pictures, .pack file, or table"
    )
    parser.add_argument("--out", metavar="REPORT.png", help="draw a contact sheet, with pictures of each class")
    parser.add_argument("--json", metavar="FILE", help="write all that was found")
    parser.add_argument("--exact", action="store_true", help="look for equal files only, not for nearly equal pictures")
    parser.add_argument("--image", default="path", metavar="COLUMN", help="of a table: the pictures (default path)")
    parser.add_argument("--label", default="label", metavar="COLUMN", help="of a table: the labels (default label)")
    parser.add_argument("--split", default="split", metavar="COLUMN", help="of a table: the splits (default split)")
    parser.add_argument("--root", metavar="FOLDER", help="of a table: where paths begin (default: beside it)")
    parser.add_argument("--delimiter", metavar="SIGN", help="of a table: between its cells (default , or tab)")
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: one a core)")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from .._files import replace_file
    from ..data._inspect import inspect_data

    if asked.json is not None and not Path(asked.json).absolute().parent.is_dir():
        raise ConfigError(f"--json {asked.json}: there is no folder to write it in")
    names = ("out", "image", "label", "split", "root", "delimiter", "workers")
    report = inspect_data(asked.path, near=not asked.exact, **{name: getattr(asked, name) for name in names})
    text, encoding = report.text(shutil.get_terminal_size().columns), sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
    if asked.json is not None:  # ASCII: a file's name may hold bytes that are no Unicode
        replace_file(Path(asked.json), json.dumps(report.as_json(), indent=2) + "\n")
    return 0 if report.sound else 1
