"""``loopwright export``: a run's model as a file for other programs."""

import argparse
from typing import Any

from ._computing import say


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "export", help="write a trained model for other programs, compared with the original: safetensors, torch, ONNX"
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run of 'loopwright train'")
    parser.add_argument(
        "--format", metavar="FORMAT", help="safetensors (weights), torch (torch.export) or onnx (default: by --out)"
    )
    parser.add_argument("--out", metavar="FILE", help="default RUN/model.safetensors, RUN/model.pt2, RUN/model.onnx")
    parser.add_argument("--normalize", action="store_true", help="the exported model takes uint8 pictures")
    parser.add_argument("--checkpoint", metavar="NAME", help="best, latest or a name (default: best, else latest)")
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, help="of the largest logit: more is an error (default 1e-4)"
    )
    parser.add_argument(
        "--trust", action="store_true", help="call the package.module:function of another machine's run"
    )
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from .._exported import export

    names = ("format", "normalize", "checkpoint", "tolerance", "trust")
    say(export(asked.run, asked.out, **{name: getattr(asked, name) for name in names}).text())
    return 0
