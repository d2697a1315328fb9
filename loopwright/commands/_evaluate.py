"""``loopwright evaluate``: how good a run's model is on labelled pictures, or on pairs."""

import argparse
from typing import Any

from ._computing import add_computing, say


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "evaluate", help="measure a trained model: accuracy, confusion, a table by class, worst mistakes as pictures"
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run of 'loopwright train'")
    parser.add_argument(
        "data", metavar="DATA", nargs="?", help="folder, .pack file or table (default: what the run was trained on)"
    )
    parser.add_argument("--split", help="train, val or test (default: val where there is a training part, else all)")
    parser.add_argument(
        "--out", metavar="FOLDER", help="for evaluation.json, confusion.csv, mistakes.png (default RUN/evaluation)"
    )
    parser.add_argument("--bins", type=int, default=15, help="of the calibration (default 15)")
    parser.add_argument("--on-error", choices=("raise", "skip"), help="of unreadable pictures (default raise)")
    add_computing(parser)
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from pathlib import Path

    from .._evaluation import evaluate
    from .._trained import evaluation_data, open_model
    from .._trained_pictures import task_of

    if task_of(asked.run) != "classify":
        return _pictures(asked)
    trained = open_model(asked.run, asked.checkpoint, trust=asked.trust)
    names = ("split", "batch_size", "workers", "device", "precision", "bins", "on_error")
    options = {name: getattr(asked, name) for name in names}
    report = evaluate(trained, asked.data or evaluation_data(trained), progress=None, **options)
    folder = report.write(asked.out or Path(asked.run) / "evaluation")
    say(f"{report.text()}\n\nwritten    {folder}")
    return 0


def _pictures(asked: argparse.Namespace) -> int:
    from pathlib import Path

    from ..recipes._measure import measure

    names = ("split", "checkpoint", "device", "precision", "workers", "trust")
    found = measure(asked.run, asked.data, **{name: getattr(asked, name) for name in names})
    folder = found.write(asked.out or Path(asked.run) / "evaluation")
    say(f"{found.text()}\n\nwritten    {folder}")
    return 0
