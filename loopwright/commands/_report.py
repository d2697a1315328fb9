"""``loopwright report``: what many runs show, on one page."""

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "report",
        help="compare runs: one clear graph, and what it shows",
        description="Compare runs. Runs that differ in their seed only are one group. Writes report.html, which needs no "
        "network, report.svg, report.json and, with the extra 'plots', report.png.",
    )
    parser.add_argument(
        "runs", nargs="*", default=["runs"], metavar="RUNS", help="runs, or folders of runs (default: runs)"
    )
    parser.add_argument("--out", metavar="FOLDER", help="where to write it (default: report; with --watch nowhere)")
    parser.add_argument(
        "--metric", help="what to judge by, such as val/top1 (default: what the runs keep their best by)"
    )
    parser.add_argument(
        "--mode", choices=("max", "min"), help="whether more or less of it is better (default: by its name)"
    )
    parser.add_argument(
        "--pick", choices=("last", "best"), default="last", help="which value of a run counts (default last)"
    )
    parser.add_argument("--by", default="", metavar="KEY,KEY", help="settings to group by (default: all that differ)")
    parser.add_argument(
        "--watch", action="store_true", help="serve it to this machine and refresh it as the runs go on"
    )
    parser.add_argument("--port", type=int, default=0, help="of --watch (default: any that is free)")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    by = tuple(key.strip() for key in asked.by.split(",") if key.strip())
    if asked.watch:
        from ..reports._report import Question
        from ..reports._write import watch

        watch(asked.runs, asked.out, Question(asked.metric, asked.mode, asked.pick, by), port=asked.port)
        return 0
    from ..reports._write import report

    found = report(asked.runs, asked.out or "report", metric=asked.metric, mode=asked.mode, pick=asked.pick, by=by)
    print(found)
    if "png" not in (found.files or {}):
        print("           a PNG too: pip install 'loopwright[plots]'")
    return 0
