"""``loopwright predict``: what a run's model makes of pictures: a table of classes, or restored pictures, or masks."""

import argparse
from typing import Any

from ._computing import add_computing, say


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "predict", help="let a trained model name pictures (a table), restore or segment them (a folder)",
        epilog="exit codes: 0 done (with --on-error skip also where pictures were unreadable: they are listed), 2 a mistake",
    )  # fmt: skip
    parser.add_argument("run", metavar="RUN", help="folder of a run of 'loopwright train'")
    parser.add_argument(
        "images",
        metavar="IMAGES",
        nargs="+",
        help="files, folders, patterns, .pack files or tables; of models of several inputs NAME=FOLDER of each",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help=".csv (default predictions.csv), .tsv, .json, .jsonl, .parquet; or the folder (default RUN/predicted)",
    )
    parser.add_argument("--top", type=int, default=1, metavar="K", help="the K most probable classes (default 1)")
    parser.add_argument("--probabilities", action="store_true", help="a column for each class")
    parser.add_argument("--on-error", choices=("raise", "skip"), default="raise", help="of unreadable pictures (raise)")
    parser.add_argument(
        "--tile", type=int, metavar="N", help="pixels of larger pictures at once (the run's, else 1024)"
    )
    parser.add_argument(
        "--overlap", type=int, metavar="N", help="of tiles: the reach of the model (the run's, else 64)"
    )
    add_computing(parser)
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from .._trained_pictures import task_of

    task = task_of(asked.run)
    return _classes(asked) if task == "classify" else _pictures(asked, task)


def _pictures(asked: argparse.Namespace, task: str) -> int:
    from pathlib import Path

    from .._restored import restore, segment

    make = restore if task == "restore" else segment
    names = ("tile", "overlap", "checkpoint", "device", "precision", "on_error", "trust")
    options = {name: getattr(asked, name) for name in names}
    found = make(
        asked.run, _by_input(asked.images), asked.out or Path(asked.run) / "predicted", progress=None, **options
    )
    say(found.text())
    return 0


def _by_input(images: list[str]) -> Any:
    """``color=new/color gray=new/gray`` as a mapping; what exists as it stands is a file or folder of that name."""
    import os

    if all("=" in image and not os.path.lexists(image) for image in images):
        return dict(image.split("=", 1) for image in images)
    return images


def _classes(asked: argparse.Namespace) -> int:
    from pathlib import Path

    from .._predictions import predict
    from .._trained import config_of, listed_as
    from ..data._gathered import Gathered
    from ..data._rows import check_writable

    columns = listed_as(Path(asked.run), config_of(Path(asked.run)))
    pictures = Gathered(asked.images, on_error=asked.on_error, **columns)
    out = asked.out or "predictions.csv"
    check_writable(out, pictures.names())
    names = (
        "top", "probabilities", "checkpoint", "batch_size", "workers", "device", "precision", "on_error", "trust"
    )  # fmt: skip
    found = predict(asked.run, pictures, **{name: getattr(asked, name) for name in names})
    found.write(out)
    say(f"{found.text()}\nwritten    {out}")
    return 0
