"""``loopwright sweep``: train with many settings and see which are best."""

import argparse
from typing import Any

from .._errors import ConfigError

_SYNTAX = """\
CONFIG.yaml is a configuration of train with two keys more, of which the first is shaped like the configuration:
  sweep:
    optimizer:
      name: [AdamW, SGD]                          a list
      lr: {low: 1e-4, high: 1e-1, log: true}      a range; also whole: true, step: 16, points: 4 (of a grid)
      momentum: {values: [0.8, 0.9], when: {optimizer.name: SGD}}
  study:
    method         grid, random or tpe                       random
    trials         how many, the defaults included           20
    metric, mode   of metrics.jsonl; max or min              val/top1, by its name
    folder         where to write                            sweeps/NAME of CONFIG
    workers        trials at once                            1
    prune          median or hyperband                       none
    seed, threads, pick, defaults, command: see docs/sweep.md

The same command goes on where it was stopped or killed, and joins where it is still running.
exit codes: 0 done, 2 a mistake in what was asked for; to be run again to go on: 143 SIGTERM, 138 SIGUSR1, 130 Ctrl-C
"""


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "sweep", help="train with many settings, and see which are best and which matter",
        epilog=_SYNTAX, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("settings", nargs="*", metavar="CONFIG.yaml [key=value ...]")
    parser.add_argument("--workers", type=int, metavar="N", help="trials at once (default: study.workers)")
    parser.add_argument("--retry", action="store_true", help="do trials again that failed")
    parser.add_argument("--dry-run", action="store_true", help="check everything and list the trials; run nothing")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from ..sweeps._sweep import sweep

    if not asked.settings or "=" in asked.settings[0]:
        raise ConfigError("name the file of the sweep: loopwright sweep CONFIG.yaml [key=value ...]")
    if asked.workers is not None and asked.workers < 1:
        raise ConfigError(f"--workers should be at least 1, is {asked.workers}")
    config, *overrides = asked.settings
    sweep(config, overrides, workers=asked.workers, retry=asked.retry, dry_run=asked.dry_run)
    return 0
