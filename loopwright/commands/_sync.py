"""``loopwright sync``: bring a tracker to where the record of runs is."""

import argparse
from typing import Any

_SETTINGS = ("uri", "experiment", "project", "entity", "mode", "folder")


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "sync",
        help="hand runs over to TensorBoard, MLflow or Weights & Biases",
        description="Hand over what a tracker lacks of the record of runs, be they finished, killed or old; nothing twice.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="runs, or folders of runs")
    parser.add_argument(
        "--to", required=True, metavar="TRACKER", help="tensorboard, mlflow, wandb, or package.module:Class"
    )
    parser.add_argument("--uri", help="of MLflow: a server or a database (default: mlflow.db beside the run)")
    parser.add_argument("--experiment", help="of MLflow (default: the name of the folder of the run)")
    parser.add_argument("--project", help="of W&B (default: the name of the folder of the run)")
    parser.add_argument("--entity", help="of W&B: a user or a team")
    parser.add_argument("--mode", help="of W&B: online or offline")
    parser.add_argument("--folder", help="of TensorBoard's or W&B's files")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from ..trackers._sync import sync_all

    given = {key: value for key in _SETTINGS if (value := getattr(asked, key)) is not None}
    sync_all(asked.runs, {"name": asked.to, **given}, print)
    return 0
