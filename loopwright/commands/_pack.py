"""``loopwright pack``: decode a data set once."""

import argparse
from typing import Any

from ._given import TASKS, read_settings


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "pack", help="decode a folder of pictures once, into files that are read many times as fast"
    )
    parser.add_argument(
        "source", metavar="SRC",
        help="folder of train/ and val/, or of class folders; a table; or CONFIG.yaml, whose data are packed",
    )  # fmt: skip
    parser.add_argument(
        "target", metavar="DST", help="folder for train.pack and val.pack; then: loopwright train data=DST"
    )
    parser.add_argument(
        "--size", type=int, metavar="PIXELS", help="short side of the stored pictures (default: as they are)"
    )
    parser.add_argument("--crop", action="store_true", help="keep the central square only")
    parser.add_argument("--format", choices=("raw", "jpeg"), default="raw", help="decoded (default), or encoded again")
    parser.add_argument("--quality", type=int, default=90, help="of --format jpeg (default 90)")
    parser.add_argument(
        "--holdout", type=float, default=0.2, help="share for val.pack where SRC has no val/ (default 0.2)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: one a core)")
    parser.add_argument(
        "--on-error", choices=("raise", "skip"), default="raise", help="what to do about unreadable pictures"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace packs that are there")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from ..data._pack import pack_folder

    names = ("size", "crop", "format", "quality", "holdout", "workers", "on_error", "overwrite")
    options = {name: getattr(asked, name) for name in names}
    if asked.source.endswith((".yaml", ".yml")):
        from ..recipes._pack import pack_data

        settings = read_settings([asked.source], TASKS)
        for name in ("holdout", "on_error"):  # the configuration says them
            del options[name]
        packs = pack_data(settings, asked.target, **options)
    else:
        packs = pack_folder(asked.source, asked.target, **options)
    for packed in packs:
        print(f"{packed}, {packed.path.stat().st_size / 2**20:.1f} MiB")
        for message in packed.skipped:
            print(f"  left out: {message}")
    return 0
