"""The command line: reads arguments, calls the recipes, prints. Holds no logic of its own; imports torch only to train.

python -m loopwright --help
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._errors import ConfigError, LoopwrightError, NonFiniteError

KEYS = """\
keys of train (key=value, or in CONFIG.yaml):
  data           folder of train/ and val/, or of class folders       required
  run            folder to write to                                   runs/DATA-MODEL
  model          torchvision's, timm's, or package.module:function    resnet18
  image_size     pixels                                               128
  epochs         a number, or '500 steps', '2 hours'                  20
  batch_size     pictures a step                                      64
  workers        processes that read ahead                            by the cores
  seed           of everything random                                 42
  device         auto, cpu, cuda, cuda:1, mps                         auto
  precision      auto, fp32, bf16, fp16                               auto
  save_every     '1 epoch', '500 steps', '10 minutes', or several     1 epoch
  optimizer      name, lr, weight_decay and its own arguments         AdamW 0.003 0.05
  scheduler      name and its own arguments, or none                  OneCycleLR
  loss           name and its own arguments                           cross_entropy
  augment        one transform or a list, by name                     RandomResizedCrop
  weights, accumulate, clip, drop_last, holdout, patience, on_error, deterministic: see docs/configuration.md

exit codes: 0 done, 1 failed while training, 2 a mistake in what was asked for; saved and to be run again to go on:
  143 SIGTERM or 'loopwright stop', 138 SIGUSR1, 130 Ctrl-C
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.command is None:
        parser.print_help()
        return 0
    try:
        return asked.function(asked)
    except LoopwrightError as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, NonFiniteError) else 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loopwright", description="You write the loop, loopwright does everything around it."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    train = commands.add_parser(
        "train", help="train a classifier on a folder of pictures",
        epilog=KEYS, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    train.add_argument("settings", nargs="*", metavar="[CONFIG.yaml] [key=value ...]")
    train.add_argument("--dry-run", action="store_true", help="show the plan and try one batch; train nothing")
    train.add_argument("--resume", action="store_true", help="go on also with changed settings, or after the end")
    train.add_argument("--overwrite", action="store_true", help="replace the run that is in the folder")
    train.set_defaults(function=_train)
    demo = commands.add_parser("demo", help="train on the embedded clothing photos, in about two minutes")
    demo.add_argument("settings", nargs="*", metavar="key=value")
    demo.set_defaults(function=_demo)
    doctor = commands.add_parser(
        "doctor", help="measure what holds a training back, and what would lift it",
        epilog=KEYS, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    doctor.add_argument("settings", nargs="*", metavar="[CONFIG.yaml] [key=value ...]")
    doctor.add_argument("--apply", action="store_true", help="make the most promising change and measure again")
    doctor.add_argument("--seconds", type=float, default=3.0, help="length of each measurement (default 3)")
    doctor.set_defaults(function=_doctor)
    fit_batch = commands.add_parser(
        "fit-batch", help="find the largest batch that trains in the memory there is",
        epilog=KEYS, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    fit_batch.add_argument("settings", nargs="*", metavar="[CONFIG.yaml] [key=value ...]")
    fit_batch.add_argument("--margin", type=float, default=0.1, help="share of the memory to leave free (default 0.1)")
    fit_batch.add_argument(
        "--memory", metavar="SIZE", help="count on no more, such as '8 GiB' (default: what is there)"
    )
    fit_batch.set_defaults(function=_fit_batch)
    pack = commands.add_parser(
        "pack", help="decode a folder of pictures once, into files that are read many times as fast"
    )
    pack.add_argument("source", metavar="SRC", help="folder of train/ and val/, or of class folders")
    pack.add_argument(
        "target", metavar="DST", help="folder for train.pack and val.pack; then: loopwright train data=DST"
    )
    pack.add_argument(
        "--size", type=int, metavar="PIXELS", help="short side of the stored pictures (default: as they are)"
    )
    pack.add_argument("--crop", action="store_true", help="keep the central square only")
    pack.add_argument("--format", choices=("raw", "jpeg"), default="raw", help="decoded (default), or encoded again")
    pack.add_argument("--quality", type=int, default=90, help="of --format jpeg (default 90)")
    pack.add_argument(
        "--holdout", type=float, default=0.2, help="share for val.pack where SRC has no val/ (default 0.2)"
    )
    pack.add_argument("--workers", type=int, metavar="N", help="threads (default: one a core)")
    pack.add_argument(
        "--on-error", choices=("raise", "skip"), default="raise", help="what to do about unreadable pictures"
    )
    pack.add_argument("--overwrite", action="store_true", help="replace packs that are there")
    pack.set_defaults(function=_pack)
    data = commands.add_parser(
        "data", help="look at every picture of a data set: counts, sizes, broken files, duplicates, leaks",
        epilog="exit codes: 0 sound, 1 something is broken or leaks, 2 it cannot be inspected",
    )  # fmt: skip
    data.add_argument("path", metavar="PATH", help="folder of splits, of classes or of pictures, .pack file, or table")
    data.add_argument("--out", metavar="REPORT.png", help="draw a contact sheet, with pictures of each class")
    data.add_argument("--json", metavar="FILE", help="write all that was found")
    data.add_argument("--exact", action="store_true", help="look for equal files only, not for nearly equal pictures")
    data.add_argument("--image", default="path", metavar="COLUMN", help="of a table: the pictures (default path)")
    data.add_argument("--label", default="label", metavar="COLUMN", help="of a table: the labels (default label)")
    data.add_argument("--split", default="split", metavar="COLUMN", help="of a table: the splits (default split)")
    data.add_argument("--root", metavar="FOLDER", help="of a table: where paths begin (default: beside it)")
    data.add_argument("--workers", type=int, metavar="N", help="threads (default: one a core)")
    data.set_defaults(function=_data)
    stop = commands.add_parser("stop", help="have a run save and leave, wherever its terminal is")
    stop.add_argument("run", metavar="RUN", help="its folder")
    stop.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="to wait for it (default 300)")
    stop.add_argument("--now", action="store_true", help="do not wait for the end of its step, nor for a checkpoint")
    stop.set_defaults(function=_stop)
    runs = commands.add_parser("runs", help="list the runs below a folder")
    runs.add_argument("folder", nargs="?", default="runs")
    runs.set_defaults(function=_runs)
    return parser


def _train(asked: argparse.Namespace) -> int:
    from .recipes._classify import dry_run, train

    settings = _settings(asked.settings)
    if asked.dry_run:
        from ._config import config_text

        print(config_text(settings), end="\n\n")
        print("\n".join(dry_run(settings)))
        return 0
    _say_done(train(settings, resume=True if asked.resume else "auto", overwrite=asked.overwrite))
    return 0


def _stop(asked: argparse.Namespace) -> int:
    from ._stop import stop_run

    print(stop_run(asked.run, timeout=asked.timeout, now=asked.now))
    return 0


def _demo(asked: argparse.Namespace) -> int:
    import torch

    from .recipes._classify import train
    from .recipes._demo import demo_settings

    # The demo's network is too small to gain from two threads, and loses much where they wait for each other.
    torch.set_num_threads(1)
    _say_done(train(demo_settings(asked.settings)))
    return 0


def _doctor(asked: argparse.Namespace) -> int:
    from .recipes._doctor import diagnose

    print("\n".join(diagnose(_settings(asked.settings), seconds=asked.seconds, apply=asked.apply)))
    return 0


def _fit_batch(asked: argparse.Namespace) -> int:
    from .recipes._fit_batch import find_batch

    find_batch(_settings(asked.settings), margin=asked.margin, memory_limit=asked.memory)
    return 0


def _pack(asked: argparse.Namespace) -> int:
    from .data._pack import pack_folder

    names = ("size", "crop", "format", "quality", "holdout", "workers", "on_error", "overwrite")
    for packed in pack_folder(asked.source, asked.target, **{name: getattr(asked, name) for name in names}):
        print(f"{packed}, {packed.path.stat().st_size / 2**20:.1f} MiB")
        for message in packed.skipped:
            print(f"  left out: {message}")
    return 0


def _data(asked: argparse.Namespace) -> int:
    from ._files import replace_file
    from .data._inspect import inspect_data

    if asked.json is not None and not Path(asked.json).absolute().parent.is_dir():
        raise ConfigError(f"--json {asked.json}: there is no folder to write it in")
    names = ("out", "image", "label", "split", "root", "workers")
    report = inspect_data(asked.path, near=not asked.exact, **{name: getattr(asked, name) for name in names})
    text, encoding = report.text(shutil.get_terminal_size().columns), sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
    if asked.json is not None:  # ASCII: a file's name may hold bytes that are no Unicode
        replace_file(Path(asked.json), json.dumps(report.as_json(), indent=2) + "\n")
    return 0 if report.sound else 1


def _runs(asked: argparse.Namespace) -> int:
    from ._runs import list_runs, runs_table

    runs = list_runs(asked.folder)
    print(runs_table(runs) if runs else f"no runs below {asked.folder}")
    return 0


def _settings(arguments: Sequence[str]) -> Any:
    """A configuration file, if the first argument is one, and overrides on top of it."""
    from ._config import load_config
    from .recipes._settings import TrainSettings

    given = list(arguments)
    path = given.pop(0) if given and "=" not in given[0] else None
    return load_config(path, given, schema=TrainSettings)


def _say_done(fitted: Any) -> None:
    best = (
        ""
        if fitted.best is None
        else f", best {fitted.best.metrics['val/top1']:.1%} after {fitted.best.epoch:g} epochs"
    )
    print(f"\naccuracy   {fitted.last('val/top1'):.1%} of the validation pictures{best}")
    print(f"pictures   {fitted.folder / 'predictions.png'}")
    print(f"run        {fitted.folder}")
