"""``loopwright doctor``: what holds a training back, what would lift it, and the proof. Keeps nothing that it trains."""

import math
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from .._cores import cores
from .._device import Compute, choose_compute
from .._files import read_json_lines
from .._record import SPEED
from .._run import Run
from ..data._compiled import compiled
from ..data._loader import Loader
from ..data._pack import pack
from ..data._paired import PairedFolders
from ..data._source import count_samples
from ..data._stages import Stages, measure_stages
from ._any_task import batch_maker, build, loss_of
from ._pairs import train_loader
from ._picture_settings import PictureSettings
from ._settings import CommonSettings

ENOUGH = 1.05  # a change that promises less is not worth making
PACKED = 512  # pictures that are packed to see what packing would bring
BLIND = (
    "the page cache: pictures read a moment ago come from memory, so a first epoch from a slow disk is slower",
    "other work on this machine, its temperature, and a network file system's moods",
)


@dataclass(frozen=True)
class Change:
    """One thing that could be done."""

    what: str
    how: str  # what to type
    loader_rate: float = math.nan  # images/s of the loader alone, with it
    batch_size: int | None = None
    predicted: float = math.nan  # images/s of the loop


@dataclass(frozen=True)
class Findings:
    """Images a second, and what follows from them."""

    stages: Stages
    copy: float  # seconds a picture
    engine: str
    loader: float
    compute: float
    loop: float
    waiting: float  # share of the loop's time
    limit: float  # what this machine's cores decode and augment at most
    device: str
    utilisation: float  # of the device, 0 to 1; NaN where it cannot be asked

    def predict(self, loader_rate: float, compute: float | None = None) -> float:
        """The loop's rate with another loader: what reading costs it grows with what reading takes.

        That cost is calibrated by the loop as it is, so it holds where both share the processor, too.
        """
        beside = max(0.0, 1 / self.loop - 1 / self.compute) * self.loader
        return 1 / (1 / (compute or self.compute) + beside / loader_rate)


def diagnose(settings: CommonSettings, *, seconds: float = 3.0, apply: bool = False) -> list[str]:
    """Measure a training's stages apart and together, and say what to change; the lines of the report.

    Args:
        seconds: how long each measurement goes on.
        apply: make the change that promises most and measure the loop again.
    """
    with tempfile.TemporaryDirectory() as folder:
        doctor = _Doctor(settings, seconds, Path(folder))
        findings = doctor.examine()
        changes = doctor.changes(findings)
        lines = _report(settings, findings) + _advice(findings, changes)
        if apply and changes:
            lines += _proof(findings, changes[0], doctor.loop_with(changes[0]))
        return [*lines, *(f"blind for  {what}" for what in BLIND)]


class _Doctor:
    """Measures one training, in one folder for what it writes."""

    def __init__(self, settings: CommonSettings, seconds: float, folder: Path) -> None:
        self._settings, self._seconds, self._folder = settings, seconds, folder
        self._compute = choose_compute(settings.device, settings.precision)
        self._pieces = build(settings)

    def examine(self) -> Findings:
        loader, size = self._pieces.train_loader, self._settings.batch_size
        stages = measure_stages(loader)
        batch = _one_batch(loader)
        engine = loader.engine
        alone, compute = self._loader_rate(loader), self._compute_rate(size)
        loop, waiting = self._loop(loader)
        return Findings(
            stages, _copy_seconds(batch, self._compute) / size, engine, alone, compute, loop, waiting,
            cores() / stages.total, str(self._compute.device), _utilisation(self._compute),
        )  # fmt: skip

    def changes(self, findings: Findings) -> list[Change]:
        """What could be done, the most promising first; nothing that promises no more than the loop has."""
        tried = [*self._more_workers(), *self._packing(), *self._larger_batch(findings)]
        rated = [
            change if change.batch_size else replace(change, predicted=findings.predict(change.loader_rate))
            for change in tried
        ]
        worth = [change for change in rated if change.predicted > ENOUGH * findings.loop]
        return sorted(worth, key=lambda change: -change.predicted)

    def loop_with(self, change: Change) -> tuple[float, float]:
        """The loop's rate and its waiting with a change made."""
        settings = self._settings
        if change.batch_size:
            settings = settings.model_copy(update={"batch_size": change.batch_size})
        elif change.what.startswith("workers"):
            settings = settings.model_copy(update={"workers": int(change.how.split("=")[1])})
        self._pieces = build(settings)
        loader = self._pieces.train_loader
        return self._loop(self._packed_loader() if change.what == "pack" else loader)

    def _more_workers(self) -> Iterator[Change]:
        now, most = self._pieces.train_loader.workers, cores()
        for workers in sorted({1, most // 2, max(1, most - 1), most} - {0, now}):
            loader = self._loader(self._pieces.train, workers)
            yield Change(f"workers {now} -> {workers}", f"workers={workers}", self._loader_rate(loader))

    def _packing(self) -> Iterator[Change]:
        if isinstance(self._settings, PictureSettings):
            yield from self._packing_pairs()
            return
        train, table = self._pieces.train, getattr(self._settings, "table", None)
        if hasattr(train, "undecoded") and not hasattr(train, "recipe") and getattr(train, "weights", None) is None:
            what, then = (self._settings.data, "") if table is None else ("CONFIG.yaml", " table=null")
            how = f"loopwright pack {what} PACKED --size {self._packed_size()}, then data=PACKED{then}"
            yield Change("pack", how, self._loader_rate(self._packed_loader()))

    def _packing_pairs(self) -> Iterator[Change]:
        data = getattr(self._pieces.train, "dataset", self._pieces.train)  # below a cache
        if isinstance(data, PairedFolders):
            how = "loopwright pack CONFIG.yaml PACKED, then data=PACKED"
            yield Change("pack", how, self._loader_rate(self._packed_loader()))

    def _larger_batch(self, findings: Findings) -> Iterator[Change]:
        size = 2 * self._settings.batch_size
        if findings.device == "cpu" or size > len(self._pieces.train):
            return
        try:
            rate = self._compute_rate(size)
        except torch.OutOfMemoryError:
            return
        predicted = findings.predict(findings.loader, rate)
        yield Change(f"batch_size {size // 2} -> {size}", f"batch_size={size}", math.nan, size, predicted)

    def _packed_size(self) -> int:
        return -(-self._settings.last_size * 8 // 7)  # type: ignore[attr-defined] - the customary 256 for 224

    def _packed_loader(self) -> Loader:
        if isinstance(self._settings, PictureSettings):
            some = _SomePairs(getattr(self._pieces.train, "dataset", self._pieces.train), PACKED)
            packed = pack(some, self._folder / "some.pack", progress=False, overwrite=True)
            return train_loader(self._settings, packed)  # type: ignore[arg-type] - of its tasks
        some = _Some(self._pieces.train, PACKED)
        packed = pack(some, self._folder / "some.pack", size=self._packed_size(), progress=False)
        return self._loader(packed, self._pieces.train_loader.workers)

    def _loader(self, dataset: Any, workers: int) -> Loader:
        now, s = self._pieces.train_loader, self._settings
        if isinstance(s, PictureSettings):
            return train_loader(s.model_copy(update={"workers": workers}), dataset)  # type: ignore[arg-type]
        return Loader(
            dataset, s.batch_size, transform=now.sample_maker.transform, shuffle=True, workers=workers, seed=s.seed
        )

    def _loader_rate(self, loader: Loader) -> float:
        """Images a second of the loader alone."""
        with closing(loader):
            batches = _endless(loader)
            next(batches)
            began, count = time.perf_counter(), 0
            while (taken := time.perf_counter() - began) < self._seconds:
                count += count_samples(next(batches))
            batches.close()
        return count / taken

    def _compute_rate(self, size: int) -> float:
        """Images a second of the training step alone, on one batch of noise that is on the device already."""
        pieces = build(self._settings)
        batch, loss = batch_maker(self._settings, pieces)(size, self._compute.device), loss_of(self._settings, pieces)
        self._compute.place(pieces.model)
        for _ in range(2):
            _step(pieces, loss, self._compute, batch)
        _wait(self._compute)
        began, steps = time.perf_counter(), 0
        while steps < 2 or time.perf_counter() - began < self._seconds:
            _step(pieces, loss, self._compute, batch)
            _wait(self._compute)
            steps += 1
        return steps * size / (time.perf_counter() - began)

    def _loop(self, loader: Loader) -> tuple[float, float]:
        """Images a second of the whole loop, and the share of its time that it waits for data."""
        pieces, s = self._pieces, self._settings
        number = len(list(self._folder.iterdir()))
        with Run(
            self._folder / f"run{number}", seed=s.seed, device=s.device, precision=s.precision, progress=False
        ) as run:
            model = run.prepare(pieces.model)
            run.register(model=model)
            loss = loss_of(s, pieces)
            for _ in run.epochs("2 epochs"):
                began = None
                while began is None or time.perf_counter() - began < self._seconds:
                    for batch in run.batches(loader):
                        began = began or time.perf_counter()
                        _step(replace(pieces, model=model), loss, self._compute, batch)
                        if time.perf_counter() - began > self._seconds:
                            break
                _wait(self._compute)
        last = [line for line in read_json_lines(run.folder / SPEED) if line["kind"] == "epoch"][-1]
        return last["samples_per_second"], last["waiting"]


class _Some:
    """Some of a dataset's samples, spread over it."""

    def __init__(self, dataset: Any, count: int) -> None:
        self._dataset, self._step = dataset, max(1, len(dataset) // count)
        self.classes = dataset.classes

    def __len__(self) -> int:
        return len(self._dataset) // self._step

    def undecoded(self, index: int) -> Any:
        return self._dataset.undecoded(index * self._step)


class _SomePairs:
    """The same of pairs."""

    def __init__(self, pairs: PairedFolders, count: int) -> None:
        self._pairs, self._step = pairs, max(1, len(pairs) // count)
        self.roles, self.on_error = pairs.roles, pairs.on_error

    def __len__(self) -> int:
        return len(self._pairs) // self._step

    def __getitem__(self, index: int) -> Any:
        return self._pairs[index * self._step]

    def files(self, index: int) -> Any:
        return self._pairs.files(index * self._step)

    def name_of(self, index: int) -> str:
        return self._pairs.name_of(index * self._step)


def _endless(loader: Loader) -> Generator[Any, None, None]:
    while True:
        yield from loader


def _one_batch(loader: Loader) -> Any:
    with closing(loader):
        return next(iter(loader))


def _step(pieces: Any, loss_of_batch: Callable[..., torch.Tensor], compute: Compute, batch: Any) -> None:
    with compute.autocast():
        loss = loss_of_batch(pieces.model, batch)
    loss.backward()
    pieces.optimizer.step()
    pieces.optimizer.zero_grad()


def _wait(compute: Compute) -> None:
    if compute.device.type == "cuda":
        torch.cuda.synchronize(compute.device)


def _copy_seconds(batch: Any, compute: Compute) -> float:
    _wait(compute)
    began = time.perf_counter()
    for _ in range(5):
        compute.move(batch)
    _wait(compute)
    return (time.perf_counter() - began) / 5


def _utilisation(compute: Compute) -> float:
    """What the driver says the device is used at; NaN where nothing can tell."""
    try:
        return torch.cuda.utilization(compute.device) / 100 if compute.device.type == "cuda" else math.nan
    except (ImportError, ModuleNotFoundError, RuntimeError):
        return math.nan


def _report(settings: CommonSettings, found: Findings) -> list[str]:
    stages = {
        "read": found.stages.read, "decode": found.stages.decode, "augment": found.stages.augment,
        "collate": found.stages.collate, "copy": found.copy, "compute": 1 / found.compute,
    }  # fmt: skip
    size = settings.last_size  # type: ignore[attr-defined] - of each task
    known = {name: value for name, value in stages.items() if not math.isnan(value)}
    most = max(known.values())
    lines = [
        f"doctor     {settings.data}, {settings.model.name} at {size} px, batches of {settings.batch_size}, "
        f"on {found.device}",
        "",
        "stage      us a picture",
        *(f"{name:<10} {1e6 * value:>8.0f}  {'━' * round(30 * value / most)}" for name, value in known.items()),
        "",
        f"loader     {found.loader:.0f} images/s alone: {found.engine}",
        f"compiled   {compiled()}",
        f"compute    {found.compute:.0f} images/s alone",
        f"loop       {found.loop:.0f} images/s, waiting for data {found.waiting:.0%} of its time",
        f"limit      {found.limit:.0f} images/s: what {cores()} cores can read, decode and augment, doing nothing else",
    ]
    if not math.isnan(found.utilisation):
        lines.append(f"device     busy {found.utilisation:.0%} of the time")
    return [*lines, ""]


def _advice(found: Findings, changes: list[Change]) -> list[str]:
    share = f"the loop reaches {min(1.0, found.loop / found.compute):.0%} of what computing alone does"
    if not changes and found.loop > 0.8 * found.compute:
        return [
            f"verdict    {share}: the model's own computing is the limit. A smaller model or image_size, half precision on "
            "a GPU that has it, or a faster device would lift it"
        ]
    if not changes:
        return [f"verdict    {share}, and nothing that was tried would lift it by more than {ENOUGH - 1:.0%}"]
    lines = [f"verdict    {share}"]
    for change in changes:
        gain = change.predicted / found.loop - 1
        lines.append(f"advice     {change.what}: {change.predicted:.0f} images/s predicted, {gain:+.0%}.  {change.how}")
    return lines


def _proof(found: Findings, change: Change, measured: tuple[float, float]) -> list[str]:
    rate, waiting = measured
    of = f" (of {PACKED} pictures)" if change.what == "pack" else ""
    return [
        f"applied    {change.what}{of}: {rate:.0f} images/s measured, {rate / found.loop - 1:+.0%}, waiting {waiting:.0%}; "
        f"predicted was {change.predicted:.0f}"
    ]
