"""The command line: finds the command and runs it. Holds no logic of its own; imports torch only to train.

python -m loopwright --help
"""

import argparse
import sys
from collections.abc import Sequence

from ._distributed import alone
from ._errors import LoopwrightError, NonFiniteError
from .commands import (
    _check,
    _data,
    _demo,
    _doctor,
    _eject,
    _evaluate,
    _export,
    _find_lr,
    _fit_batch,
    _launch,
    _logs,
    _pack,
    _predict,
    _replay,
    _report,
    _reproduce,
    _runs,
    _stop,
    _summary,
    _sweep,
    _sync,
    _train,
    _ui,
)

COMMANDS = (
    _train,
    _launch,
    _sweep,
    _demo,
    _check,
    _doctor,
    _find_lr,
    _fit_batch,
    _summary,
    _eject,
    _predict,
    _evaluate,
    _export,
    _pack,
    _data,
    _runs,
    _logs,
    _stop,
    _replay,
    _reproduce,
    _report,
    _ui,
    _sync,
)  # as --help lists them
TOGETHER = ("train", "find-lr", "fit-batch")  # what every process of torchrun takes part in; for the rest one is enough


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    parser = _parser()
    asked = _read(parser, arguments)
    if asked.command is None:
        parser.print_help()
        return 0
    try:
        if asked.command not in TOGETHER and not alone():
            return 0
        return asked.function(asked)
    except LoopwrightError as error:
        sys.stdout.flush()
        print("\n".join([f"error: {error}", *getattr(error, "__notes__", ())]), file=sys.stderr)
        return 1 if isinstance(error, NonFiniteError) else 2
    except KeyboardInterrupt:
        return 130


def _read(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for. Settings may stand behind options, too, where argparse itself takes no more of them."""
    asked, left = parser.parse_known_args(arguments)
    if left and (any(text.startswith("-") for text in left) or not isinstance(getattr(asked, "settings", None), list)):
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    if left:
        asked.settings += left
    return asked


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loopwright", description="You write the loop, loopwright does everything around it."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser
