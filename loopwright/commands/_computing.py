"""What the commands share that compute with a run's model: their arguments, and how they print."""

import argparse
import sys


def add_computing(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    parser.add_argument("--checkpoint", metavar="NAME", help="best, latest or a name (default: best, else latest)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="pictures at once (default: as in validation)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that read ahead (default: by the cores)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default auto)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), help="default: the run's")
    parser.add_argument(
        "--trust", action="store_true", help="call the package.module:function of another machine's run"
    )


def say(text: str) -> None:
    """Print what may hold names of strangers' files and classes: nothing in them reaches the terminal as an order."""
    shown = "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )
    encoding = sys.stdout.encoding or "utf-8"
    print(shown.encode(encoding, "backslashreplace").decode(encoding))
