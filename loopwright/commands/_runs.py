"""``loopwright runs``: list runs."""

import argparse
import json
import os
import sys
import time
from typing import Any

_SECONDS = 2.0


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser("runs", help="list the runs below a folder: state, place, best, time left")
    parser.add_argument("folder", nargs="?", default="runs")
    parser.add_argument("--json", action="store_true", help="as JSON, for other programs: see docs/background.md")
    parser.add_argument("--watch", action="store_true", help=f"again every {_SECONDS:g} s, until none is running")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from .._runs import list_runs, runs_as_json, runs_table

    while True:
        runs = list_runs(asked.folder)
        if asked.json:
            text = json.dumps(runs_as_json(runs), indent=1)
        else:
            text = runs_table(runs, _width()) if runs else f"no runs below {asked.folder}"
        encoding = sys.stdout.encoding or "utf-8"
        clear = "\x1b[H\x1b[J" if asked.watch and sys.stdout.isatty() else ""
        print(clear + text.encode(encoding, "replace").decode(encoding), flush=True)
        if not asked.watch or not any(info["state"] in ("running", "starting") for info in runs):
            return 0
        time.sleep(_SECONDS)


def _width() -> int | None:
    """Of the terminal; a pipe or a file takes all."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None
