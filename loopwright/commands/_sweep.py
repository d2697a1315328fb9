"""``loopwright sweep``: train with many settings and see which are best."""

import argparse
from pathlib import Path
from typing import Any

from .._errors import ConfigError
from ._jobs import add_options, asked_for_any, deliver, options_of, own_command

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
--launch slurm writes a script for an array of jobs, each a worker at the folder, which has to be shared.
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
    jobs = parser.add_argument_group("on a cluster")
    jobs.add_argument("--launch", choices=("slurm", "print", "ray"), help="start nothing here: a script, or the line")
    jobs.add_argument("--jobs", type=int, default=1, metavar="N", help="of the array: workers, all at this sweep (1)")
    add_options(jobs)
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    from ..sweeps._sweep import sweep

    if not asked.settings or "=" in asked.settings[0]:
        raise ConfigError("name the file of the sweep: loopwright sweep CONFIG.yaml [key=value ...]")
    if asked.workers is not None and asked.workers < 1:
        raise ConfigError(f"--workers should be at least 1, is {asked.workers}")
    config, *overrides = asked.settings
    if asked.launch is not None:
        found = sweep(config, overrides, dry_run=True, progress=False)  # what is wrong is said here
        return _launch(asked, Path(found.folder).name)
    if asked.jobs != 1 or asked_for_any(asked):
        raise ConfigError("what a job is to have (--submit, --gpus, ...) is for --launch slurm")
    sweep(config, overrides, workers=asked.workers, retry=asked.retry, dry_run=asked.dry_run)
    return 0


def _launch(asked: argparse.Namespace, name: str) -> int:
    """Workers of the sweep as jobs, or the line that starts one."""
    from ..launch._group import quoted
    from ..launch._slurm import worker_script

    if asked.launch == "ray":
        raise ConfigError("a sweep is not started by Ray: run the line of --launch print wherever a worker shall be, as "
                          "'ray job submit -- loopwright sweep ...'; all workers share the sweep's folder")  # fmt: skip
    if asked.jobs < 1:
        raise ConfigError(f"--jobs should be at least 1, is {asked.jobs}")
    options = [f"--workers={asked.workers or 1}", *(["--retry"] if asked.retry else [])]
    arguments = ["sweep", *asked.settings, *options]
    if asked.launch == "print":
        print("# On each machine, as often as there shall be workers; they have to see the same folder and data.")
        print(quoted(["loopwright", *arguments]))
        return 0
    script = worker_script(
        options_of(asked, name), arguments, workers=asked.jobs, here=Path.cwd(), command=own_command()
    )
    return deliver(asked, name, script)
