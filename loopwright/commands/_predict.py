"""``loopwright predict``: the classes that a run's model gives to pictures, as a table."""

import argparse
from typing import Any

from ._computing import add_computing, say


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "predict", help="let a trained model name pictures, and write a table",
        epilog="exit codes: 0 done (with --on-error skip also where pictures were unreadable: they are listed), 2 a mistake",
    )  # fmt: skip
    parser.add_argument("run", metavar="RUN", help="folder of a run of 'loopwright train'")
    parser.add_argument("images", metavar="IMAGES", nargs="+", help="files, folders, patterns, .pack files or tables")
    parser.add_argument(
        "--out",
        default="predictions.csv",
        metavar="FILE",
        help=".csv (default predictions.csv), .tsv, .json, .jsonl, .parquet",
    )
    parser.add_argument("--top", type=int, default=1, metavar="K", help="the K most probable classes (default 1)")
    parser.add_argument("--probabilities", action="store_true", help="a column for each class")
    parser.add_argument("--on-error", choices=("raise", "skip"), default="raise", help="of unreadable pictures (raise)")
    add_computing(parser)
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from .._predictions import predict
    from ..data._gathered import Gathered
    from ..data._rows import check_writable

    pictures = Gathered(asked.images, on_error=asked.on_error)
    check_writable(asked.out, pictures.names())
    names = (
        "top", "probabilities", "checkpoint", "batch_size", "workers", "device", "precision", "on_error", "trust"
    )  # fmt: skip
    found = predict(asked.run, pictures, **{name: getattr(asked, name) for name in names})
    found.write(asked.out)
    say(f"{found.text()}\nwritten    {asked.out}")
    return 0
