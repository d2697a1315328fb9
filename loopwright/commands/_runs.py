"""``loopwright runs``: list runs."""

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser("runs", help="list the runs below a folder")
    parser.add_argument("folder", nargs="?", default="runs")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from .._runs import list_runs, runs_table

    runs = list_runs(asked.folder)
    print(runs_table(runs) if runs else f"no runs below {asked.folder}")
    return 0
