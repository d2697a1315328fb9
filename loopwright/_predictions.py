"""``predict``: what a model says about pictures, in their order. Knows no truth; ``_evaluation`` compares with it."""

import bisect
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ._device import choose_compute
from ._errors import ConfigError, DataError
from ._progress import bar, choose_screen, seconds_text
from ._trained import TrainedModel, listed_as, open_model
from .data._gathered import Gathered
from .data._loader import Loader
from .data._rows import write_table


class Scored(NamedTuple):
    """One batch: which samples of the dataset, what else they hold, and float32 probabilities (n, classes)."""

    indices: Tensor
    rest: tuple[Any, ...]
    probabilities: Tensor


@dataclass(frozen=True)
class Predictions:
    """The classes that a model gives to pictures, in the order in which these were given."""

    names: list[str] = field(repr=False)  # the files
    classes: list[str]
    top: Tensor = field(repr=False)  # (n, k) int64: class indices, most probable first; -1 where unreadable
    confidence: Tensor = field(repr=False)  # (n, k) float32: their probabilities; NaN where unreadable
    probabilities: Tensor | None = field(repr=False)  # (n, classes) float32, where asked for
    unreadable: dict[int, str]  # the number of a picture, and why it could not be read
    checkpoint: str  # what the weights are, in words
    passed_over: str = ""  # files in the folders that are no pictures, in words

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labels(self) -> list[str | None]:
        """The most probable class of each picture; None where it is unreadable."""
        return [None if index < 0 else self.classes[index] for index in self.top[:, 0].tolist()]

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row a picture: ``path``, ``label``, ``confidence``, then ``label_2``, ``confidence_2``, ...; ``p:CLASS`` for
        each class where probabilities were asked for; ``error`` where some picture is unreadable.
        """
        for row, name in enumerate(self.names):
            cells: dict[str, Any] = {"path": name}
            for rank in range(self.top.shape[1]):
                suffix = f"_{rank + 1}" if rank else ""
                index = int(self.top[row, rank])
                cells[f"label{suffix}"] = self.classes[index] if index >= 0 else None
                cells[f"confidence{suffix}"] = _number(self.confidence[row, rank]) if index >= 0 else None
            if self.probabilities is not None:
                values = self.probabilities[row]
                known = row not in self.unreadable
                cells |= {f"p:{c}": _number(p) if known else None for c, p in zip(self.classes, values, strict=True)}
            yield cells | ({"error": self.unreadable.get(row)} if self.unreadable else {})

    def write(self, path: str | Path) -> None:
        """As a table; the ending says which: .csv, .tsv, .json, .jsonl, .parquet."""
        write_table(self.rows(), path)

    def text(self) -> str:
        """For a terminal: how many of each class, and what could not be read."""
        counts = torch.bincount(self.top[:, 0][self.top[:, 0] >= 0], minlength=len(self.classes)).tolist()
        found = sorted(((n, c) for c, n in zip(self.classes, counts, strict=True) if n), key=lambda pair: -pair[0])
        read = len(self) - len(self.unreadable)
        lines = [f"weights    {self.checkpoint}", f"pictures   {read:,} of {len(self):,} read"]
        shown = ", ".join(f"{c} {n:,}" for n, c in found[:12])
        lines += [f"classes    {shown}" + (f", and {len(found) - 12} more" if len(found) > 12 else "")] if found else []
        lines += [f"unreadable {message}" for message in self.unreadable.values()]
        return "\n".join([*lines, *([f"passed     {self.passed_over}"] if self.passed_over else [])])


def predict(
    run: str | Path | TrainedModel,
    images: str | Path | Iterable[str | Path] | Gathered,
    *,
    top: int = 1,
    probabilities: bool = False,
    checkpoint: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    precision: str | None = None,
    on_error: str = "raise",
    trust: bool = False,
    progress: bool | None = None,
) -> Predictions:
    """Predict the classes of pictures with the model of a run, cropped and normalised as its validation did.

    The order is that of ``images``, whatever the workers are. With the default batch size the batches are those of
    validation.

    Args:
        run: its folder, or what ``open_model`` gave.
        images: files, folders, patterns such as ``photos/*.jpg``, packs or tables with a column ``path``, or what the
            run's own table called it.
        top: how many classes of each picture, most probable first.
        probabilities: those of all classes, too.
        checkpoint, trust: of ``open_model``.
        batch_size: pictures at once. Default: as in validation.
        workers: of ``Loader``.
        device, precision: of ``choose_compute``. Default precision: the run's.
        on_error: ``"raise"`` stops at an unreadable picture and names it; ``"skip"`` leaves its row without a class and
            says why in the column ``error``.
        progress: draw it; default: if the output is a terminal.

    Raises:
        DataError: pictures are missing or unreadable.
        RunError, CheckpointError, ConfigError: as their names say.
    """
    trained = run if isinstance(run, TrainedModel) else open_model(run, checkpoint, trust=trust)
    if not 1 <= top <= len(trained.classes):
        raise ConfigError(f"top must be 1 to {len(trained.classes)}, the number of classes. Found: {top}")
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"on_error must be 'raise' or 'skip'. Found: {on_error!r}")
    columns = listed_as(trained.folder, trained.settings)
    pictures = images if isinstance(images, Gathered) else Gathered(images, on_error=on_error, **columns)
    loader = Loader(
        numbered(pictures), batch_size or trained.batch_size, transform=trained.transform, workers=workers,
        normalize=trained.normalize, on_error=on_error,
    )  # fmt: skip
    found = torch.full((len(pictures), top), -1)
    confidence = torch.full((len(pictures), top), torch.nan)
    every = torch.full((len(pictures), len(trained.classes)), torch.nan) if probabilities else None
    for batch in scored(trained.judged, loader, device, precision or trained.precision, progress):
        highest, places = batch.probabilities.topk(top, dim=1)
        found[batch.indices], confidence[batch.indices] = places, highest
        if every is not None:
            every[batch.indices] = batch.probabilities
    unread = (found[:, 0] < 0).nonzero().flatten().tolist()
    return Predictions(
        list(pictures.names()), list(trained.classes), found, confidence, every,
        reasons(loader.skipped, {index: pictures.name_of(index) for index in unread}),
        str(trained), _passed(pictures),
    )  # fmt: skip


def scored(
    model: nn.Module, loader: Loader, device: str | torch.device, precision: str, progress: bool | None = False
) -> Iterator[Scored]:
    """The batches of a loader of ``numbered`` samples, in order, with what the model says about them.

    The model computes as validation does: on the device, in its memory format and precision, in evaluation mode. Its
    layers are put back into their modes; it stays on the device.
    """
    compute = choose_compute(device, precision)
    compute.place(model)
    normalize: Callable[[Any], Any] = loader.normalize or (lambda batch: batch)
    training = [layer for layer in model.modules() if layer.training]
    show = _Progress(loader.samples, progress)
    try:
        model.eval()
        for batch in loader.loaded_batches(0):
            pictures, indices, *rest = batch.data
            with torch.no_grad(), compute.autocast():
                output = model(normalize(compute.move(pictures)))
            yield Scored(indices, tuple(rest), _probabilities(output))
            show.add(batch.drawn)
    finally:
        show.end()
        loader.close()
        for layer in training:
            layer.training = True


class _Bare:
    """Samples of a dataset with their numbers behind the pictures: (picture, number, the rest)."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.on_error = getattr(dataset, "on_error", "raise")

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return _numbered(self._dataset[index], index)

    def name_of(self, index: int) -> str:
        named = getattr(self._dataset, "name_of", None)
        return f"sample {index}" if named is None else str(named(index))


class _WithFiles(_Bare):
    """The same where pictures can be had undecoded."""

    def undecoded(self, index: int) -> tuple[Any, ...]:
        return _numbered(self._dataset.undecoded(index), index)


def numbered(dataset: Any) -> _Bare:
    """The dataset with the number of each sample behind its picture, so that what is left out is known."""
    return _WithFiles(dataset) if hasattr(dataset, "undecoded") else _Bare(dataset)


def _numbered(sample: Any, index: int) -> tuple[Any, ...]:
    if not isinstance(sample, tuple | list) or not sample:
        raise DataError(f"sample {index}: expected (picture, ...). Found: {type(sample).__name__}")
    return (sample[0], index, *sample[1:])


def reasons(skipped: Iterable[str], names: dict[int, str]) -> dict[int, str]:
    """Why samples were left out, by their numbers: messages begin with the names of the files."""
    messages = sorted(skipped)
    found = {}
    for index, name in names.items():
        place = bisect.bisect_left(messages, f"{name}:")
        is_its = place < len(messages) and messages[place].startswith(name)
        found[index] = messages[place] if is_its else f"{name}: not readable"
    return found


def _probabilities(output: Any) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim != 2:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ConfigError(f"a classifier gives logits (N, classes); this model gave {shape}")
    return output.float().softmax(1).cpu()


def _number(value: Tensor) -> float:
    """The shortest decimal that is this float32."""
    return float(str(np.float32(value.item())))


def _passed(pictures: Gathered) -> str:
    passed = pictures.passed_over
    return f"{passed.count:,} files with no ending of a picture, such as {passed.first}" if passed.count else ""


class _Progress:
    """A line that grows."""

    def __init__(self, total: int, progress: bool | None) -> None:
        self._screen, self._total, self._done = choose_screen(progress, sys.stdout), total, 0
        self._began = self._drawn = time.perf_counter()

    def add(self, samples: int) -> None:
        self._done += samples
        now = time.perf_counter()
        if now - self._drawn >= self._screen.seconds:
            self._drawn, rate = now, self._done / (now - self._began)
            left = seconds_text((self._total - self._done) / rate)
            shown = f"{bar(self._done, self._total)} {self._done}/{self._total}"
            self._screen.draw([f"{shown}  {rate:.0f} pictures/s  {left} left"])

    def end(self) -> None:
        self._screen.erase()
