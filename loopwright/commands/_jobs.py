"""What ``launch slurm`` and ``sweep --launch slurm`` share: what a job may ask for, and what becomes of its script."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from .._errors import ConfigError


def add_options(parser: Any) -> None:
    """What a job may ask for."""
    parser.add_argument("--gpus", type=int, metavar="G", help="of each machine")
    parser.add_argument("--cpus", type=int, metavar="C", help="cores of each machine")
    parser.add_argument("--time", metavar="TIME", help="as sbatch takes it: 8:00:00, 2-0")
    parser.add_argument("--partition", metavar="NAME")
    parser.add_argument("--notice", type=int, metavar="SECONDS", help="to save in, before the time is up (300)")
    parser.add_argument("--sbatch", action="append", default=[], metavar="KEY=VALUE", help="any option of sbatch")
    parser.add_argument("--out", metavar="FILE", help="the script (NAME.sbatch)")
    parser.add_argument("--submit", action="store_true", help="hand the script to sbatch")


def asked_for_any(asked: argparse.Namespace) -> bool:
    """Whether any of these options was given."""
    given = (asked.gpus, asked.cpus, asked.time, asked.partition, asked.notice, asked.out)
    return bool(asked.sbatch or asked.submit) or any(value is not None for value in given)


def options_of(asked: argparse.Namespace, name: str) -> Any:
    """The options of the job ``name``."""
    from ..launch._sbatch_options import NOTICE_SECONDS, SbatchOptions

    more: dict[str, str] = {}
    for text in asked.sbatch:
        key, sign, value = text.partition("=")
        if not sign and not key:
            raise ConfigError("--sbatch takes KEY=VALUE, as in --sbatch qos=low")
        more[key.removeprefix("--")] = value
    notice = NOTICE_SECONDS if asked.notice is None else asked.notice
    return SbatchOptions(name, asked.cpus, asked.gpus, asked.time, asked.partition, notice, more)


def deliver(asked: argparse.Namespace, name: str, script: str) -> int:
    """Write the script, submit it where that was asked for."""
    from ..launch._submit import submit, write_script

    path = Path(asked.out or f"{name}.sbatch")
    write_script(path, script)
    print(f"script     {path}")
    print(f"submitted  {submit(path)}" if asked.submit else f"submit     {shlex.join(['sbatch', str(path)])}")
    return 0


def own_command() -> str:
    """This command, as it was typed."""
    return shlex.join(["loopwright", *sys.argv[1:]])
