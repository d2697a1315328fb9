"""``loopwright logs``: what a run prints."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

ENDS = """\
exit codes with -f, by how the run ended: 0 finished, 3 stopped (saved; the same command goes on), 1 failed or killed;
  130 Ctrl-C, which leaves the run alive. Without -f: 0. Always: 2 there is no such run
"""


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "logs", help="show what a run prints, also while it goes on",
        epilog=ENDS, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("run", metavar="RUN", help="its folder")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run ends; wait for its beginning")
    parser.add_argument("-n", "--lines", type=_count, metavar="N", help="begin with the last N lines (default: all)")
    parser.set_defaults(function=_run)


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise argparse.ArgumentTypeError("it should be 0 or more")
    return count


def _run(asked: argparse.Namespace) -> int:
    from .._follow import follow_log, print_log

    show = follow_log if asked.follow else print_log
    try:
        return show(Path(asked.run), lines=asked.lines, write=_write, tell=_tell)
    except BrokenPipeError:  # who read it, 'head' say, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush at its end
        return 0


def _write(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def _tell(line: str) -> None:
    """Beside the log: what stands in standard output is the log alone."""
    sys.stdout.flush()
    print(line, file=sys.stderr, flush=True)
