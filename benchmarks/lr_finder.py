"""Learning-rate finders: how far their suggestions scatter, what they are worth, and what they cope with.

    python -m benchmarks.lr_finder [--quick] [--json FILE] [--seeds N] [--optimizers AdamW SGD] [--pixels N] [--jobs N]

The clothing photographs (LOOPWRIGHT_CLOTHING names another place; with --quick, or where they are not, the embedded
ones), decoded once; a small ResNet from scratch, batches of 64, random parts and mirroring. A seed is a model, an order
of the data and a training. Each finder runs as its documentation has it, on the same model and data, in a process of its
own; then the model is trained with the suggestion as the peak of one cycle, and measured on the validation photographs.

Spread: the largest suggestion over the smallest. A finder that suggests nothing counts as such, and has no training.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import math
import statistics
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks._camera import CLOTHING
from benchmarks._table import Row, arguments, median_row, print_machine, print_matrix, print_rows, versions, write_json
from benchmarks.finders import FINDERS, Problem

BATCH, ROOM = 64, 8  # ROOM: pixels by which a part can be moved


class Asked(NamedTuple):
    """One measurement."""

    finder: str
    optimizer: str
    seed: int
    folder: Path
    pixels: int
    epochs: int


class Measured(NamedTuple):
    """A suggestion, NaN if there was none, the seconds it took, and the accuracy of the training with it."""

    lr: float
    seconds: float
    accuracy: float
    note: str


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seeds", type=int, help="models and orders (default 8; 3 if --quick)")
    parser.add_argument("--optimizers", nargs="+", choices=("AdamW", "SGD"), default=["AdamW", "SGD"])
    parser.add_argument("--pixels", type=int, help="default 64; 32 if --quick")
    parser.add_argument("--epochs", type=int, help="of a training (default 8; 3 if --quick)")
    parser.add_argument("--jobs", type=int, default=2, help="measurements at once, one thread each")
    parser.add_argument("--only", nargs="+", choices=FINDERS, default=list(FINDERS), metavar="FINDER")
    options = parser.parse_args()
    installed = {name: versions(_packages(name)) for name in options.only}
    print_machine("start")
    matrix = list(behaviour(options.only, installed))
    print_matrix(matrix)
    rows = list(comparison(options, installed))
    print_rows(rows, ratio="x loopwright", highest_first={row.case for row in rows if "accuracy" in row.case})
    print_machine("\nend")
    write_json([*rows, *matrix], options.json)


def comparison(options: argparse.Namespace, installed: dict[str, Any]) -> Iterable[Row]:
    """Suggestions, their spread, seconds and accuracies, by optimizer."""
    pixels, epochs = options.pixels or (32 if options.quick else 64), options.epochs or (3 if options.quick else 8)
    folder = CLOTHING if CLOTHING.is_dir() and not options.quick else None
    seeds = range(options.seeds or (3 if options.quick else 8))
    finders = [name for name in options.only if not installed[name][1]]
    asked = [
        Asked(finder, optimizer, seed, folder or _demo(), pixels, epochs)
        for optimizer in options.optimizers for seed in seeds for finder in finders
    ]  # fmt: skip
    context = get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context, initializer=_one_thread) as pool:
        found: dict[Asked, Measured] = {}
        for one, measured in zip(asked, pool.map(measure, asked), strict=True):
            found[one] = measured
            print(f"{one.optimizer} {one.seed} {one.finder}: {measured}", flush=True)
    for optimizer in options.optimizers:
        what = f"{optimizer}, {'clothing' if folder else 'embedded'} photographs at {pixels} px"
        yield from _rows(what, {f: [found[a] for a in asked if a[:2] == (f, optimizer)] for f in finders}, installed)


def _rows(what: str, found: dict[str, list[Measured]], installed: dict[str, Any]) -> Iterable[Row]:
    base = found.get("loopwright")
    for finder, all_measured in found.items():
        measured = [m for m in all_measured if not math.isnan(m.lr)]
        version, missed = installed[finder][0], len(all_measured) - len(measured)
        note = f"no suggestion for {missed} seeds: {next(m.note for m in all_measured if m.note)}" if missed else ""
        if not measured:
            yield Row(f"spread of the suggestion, {what}", finder, None, "largest/smallest", note=note)
            continue
        rates, accuracies = [m.lr for m in measured], [m.accuracy for m in measured]
        yield Row(
            f"spread of the suggestion, {what}", finder, max(rates) / min(rates), "largest/smallest", None, len(rates),
            rates, version, f"from {min(rates):.2g} to {max(rates):.2g}, middle {statistics.median(rates):.2g}" + note,
        )  # fmt: skip
        deviation = f"standard deviation {statistics.stdev(accuracies):.1f}" if len(accuracies) > 1 else ""
        yield Row(
            f"validation accuracy with it as the peak of one cycle, mean, {what}", finder, statistics.fmean(accuracies),
            "%", None, len(accuracies), accuracies, note=deviation,
        )  # fmt: skip
        seconds = [m.seconds for m in measured]
        ratio = statistics.median(seconds) / statistics.median([m.seconds for m in base]) if base else None
        yield median_row(f"seconds to find it, {what}", finder, seconds, "s", ratio=ratio)


def measure(asked: Asked) -> Measured:
    """One finder on one seed, and a training with what it suggests."""
    import torch

    pictures = _decoded(asked.folder, asked.pixels)
    problem = _problem(asked, pictures)
    finder = importlib.import_module(f"benchmarks.finders.{asked.finder}")
    torch.manual_seed(1000 + asked.seed)  # of the finder's order of the data
    began = time.perf_counter()
    try:
        lr = finder.find(problem, problem.build(finder.START))
    except Exception as error:
        return Measured(math.nan, time.perf_counter() - began, math.nan, f"{type(error).__name__}: {error}")
    seconds = time.perf_counter() - began
    return Measured(lr, seconds, 100 * _trained(_problem(asked, pictures), lr, asked, pictures), "")


def _problem(asked: Asked, pictures: Any) -> Problem:
    import torch
    import torch.nn.functional as F

    import loopwright as lw
    from benchmarks._pictures import RandomParts

    torch.manual_seed(asked.seed)
    model = lw.small_resnet(10).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def build(lr: float) -> torch.optim.Optimizer:
        if asked.optimizer == "SGD":
            return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
        return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)

    loader = torch.utils.data.DataLoader(RandomParts(pictures[0], asked.pixels), BATCH, shuffle=True, drop_last=True)
    return Problem(model, build, loader, F.cross_entropy)


def _trained(problem: Problem, lr: float, asked: Asked, pictures: Any) -> float:
    """The accuracy after a training with one cycle."""
    import torch

    from benchmarks._pictures import middles

    assert problem.loss is not None
    optimizer = problem.build(lr)
    steps = asked.epochs * len(problem.loader)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    torch.manual_seed(2000 + asked.seed)
    problem.model.train()
    for _ in range(asked.epochs):
        for x, y in problem.loader:
            problem.loss(problem.model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
    problem.model.eval()
    with torch.no_grad():
        guesses = problem.model(middles(pictures[1][0], asked.pixels)).argmax(1)
    return float((guesses == pictures[1][1]).float().mean())


def behaviour(finders: Iterable[str], installed: dict[str, Any]) -> Iterable[Row]:
    """Whether each finder copes with unusual trainings."""
    from benchmarks._finder_rows import cases

    for case, behaves in cases().items():
        for name in finders:
            version, missing = installed[name]
            if missing:
                yield Row(case, name, None, "of 1", note=f"not installed: {', '.join(missing)}")
                continue
            finder = importlib.import_module(f"benchmarks.finders.{name}")
            try:
                wrong = behaves(functools.partial(_find, finder))
            except Exception as error:
                wrong = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            yield Row(case, name, float(not wrong), "of 1", runs=1, versions=version, note=wrong)


def _find(finder: Any, problem: Problem) -> float:
    return finder.find(problem, problem.build(finder.START))


def _packages(name: str) -> list[str]:
    return {"loopwright": ["torch"], "torch_lr_finder": ["torch-lr-finder"], "lightning": ["lightning"]}[name]


@functools.cache
def _decoded(folder: Path, pixels: int) -> Any:
    from benchmarks._pictures import decoded

    return decoded(folder, "train", pixels + ROOM), decoded(folder, "val", pixels + ROOM)


def _demo() -> Path:
    import loopwright as lw

    return lw.demo_photos()


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
