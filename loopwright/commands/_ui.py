"""``loopwright ui``: look at runs with what is installed."""

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "ui",
        help="look at runs: TensorBoard, MLflow, or the built-in report",
        description="Open what is installed over runs that were handed over to it (see 'loopwright sync'); else the report "
        "of 'loopwright report --watch'. It listens on this machine only and ends with this command.",
    )
    parser.add_argument(
        "runs", nargs="*", default=["runs"], metavar="RUNS", help="runs, or folders of them (default runs)"
    )
    parser.add_argument("--with", dest="tool", metavar="TOOL", help="tensorboard, mlflow or report")
    parser.add_argument("--port", type=int, default=0, help="default: any that is free")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from ..trackers._ui import choose_tool, show

    tool = None if asked.tool == "report" else choose_tool(asked.runs, asked.tool)
    if tool is not None:
        return show(asked.runs, tool, port=asked.port)
    from ..reports._report import Question
    from ..reports._write import watch

    if asked.tool is None:
        print(
            "ui         no run was handed over to TensorBoard or MLflow, or they are not installed: the built-in report"
        )
    watch(asked.runs, None, Question(None, None, "last", ()), port=asked.port)
    return 0
