"""``restore``: what a run of ``task: restore`` makes of pictures, written with their names, depth and metadata.

``segment`` does the same with masks.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ._device import Compute, choose_compute
from ._errors import ConfigError, DataError
from ._files import make_folder
from ._overlay import class_color
from ._progress import bar, choose_screen
from ._tiled import tiled
from ._trained_pictures import TrainedPictures, open_pictures_model
from .data._gathered import Gathered
from .data._picture_file import StoredPicture, read_stored, writable_name, write_picture
from .data._to_unit import ToUnit

_LEVELS = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
ALIGN = 32  # tiles begin at multiples of it: five halvings


@dataclass(frozen=True)
class Restored:
    """What was written."""

    folder: Path
    files: dict[str, Path] = field(repr=False)  # by the sources' names
    unreadable: dict[str, str]
    weights: str  # in words

    def text(self) -> str:
        """For a terminal."""
        lines = [f"weights    {self.weights}", f"pictures   {len(self.files):,} written into {self.folder}"]
        return "\n".join([*lines, *(f"unreadable {message}" for message in self.unreadable.values())])


def restore(
    run: str | Path | TrainedPictures,
    images: str | Path | Iterable[str | Path] | Gathered,
    out: str | Path,
    *,
    tile: int = 1024,
    overlap: int = 64,
    checkpoint: str | None = None,
    device: str = "auto",
    precision: str | None = None,
    on_error: str = "raise",
    trust: bool = False,
    progress: bool | None = False,
) -> Restored:
    """Restore pictures with the model of a run, and write them into a folder under their names.

    What comes out has the depth of its source (8 or 16 bits, or floats), its EXIF data, ICC profile and resolution, and
    its transparency as it was. A model of gray pictures is given the channels of a colour picture one by one; one of
    colour is given a gray picture three times over. JPEG is written with quality 95; formats that cannot hold the result
    become PNG.

    Args:
        run: its folder, or what ``open_pictures_model`` gave.
        images: files, folders, patterns, tables with a column ``path``. Files of a folder keep their place below it.
        out: the folder to write to; a source is never written over.
        tile, overlap: of ``tiled``: larger pictures are computed in parts of so many pixels. ``overlap`` should be the
            reach of the model: 17 for DnCNN-S, 64 is enough for ``unet``.
        checkpoint, trust: as ``open_model``'s.
        device, precision: of ``choose_compute``. Default precision: the run's.
        on_error: ``"skip"`` goes on behind an unreadable picture and lists it.

    Raises:
        DataError: pictures are missing or unreadable, or two would have one name.
        RunError, CheckpointError, ConfigError: as their names say.
    """
    trained = _opened(run, "restore", checkpoint, trust)
    compute = choose_compute(device, precision or trained.precision)
    compute.place(trained.model)

    def make(name: str, place: Path) -> Path:
        made = restored(trained, read_stored(name), compute, tile=tile, overlap=overlap)
        return _written(place.with_name(writable_name(place, made.values)), made)

    return _each(images, Path(out), make, str(trained), on_error, progress)


def segment(
    run: str | Path | TrainedPictures,
    images: str | Path | Iterable[str | Path] | Gathered,
    out: str | Path,
    *,
    tile: int = 1024,
    overlap: int = 64,
    checkpoint: str | None = None,
    device: str = "auto",
    precision: str | None = None,
    on_error: str = "raise",
    trust: bool = False,
    progress: bool | None = False,
) -> Restored:
    """Write the mask of each picture into a folder, as NAME.png with a palette: the number of a pixel is its class.

    The arguments are those of ``restore``. Of models that see all of a picture at once, such as ``deeplabv3`` with its
    pooling over the picture, make ``tile`` as large as the pictures.
    """
    trained = _opened(run, "segment", checkpoint, trust)
    compute = choose_compute(device, precision or trained.precision)
    compute.place(trained.model)
    apply = _ToLabels(trained, compute)
    palette = [part for label in range(256) for part in ((0, 0, 0) if label == 0 else class_color(label))]

    def make(name: str, place: Path) -> Path:
        pixels = np.asarray(trained.inputs[0].read(Path(name)))
        labels = tiled(apply, _planes(pixels), tile=tile, overlap=overlap, align=ALIGN)[0, 0].numpy()
        mask = Image.fromarray(labels)
        if mask.mode == "L":
            mask.putpalette(palette)  # the numbers stay, and are called indices
        target = place.with_suffix(".png")
        make_folder(target.parent)
        mask.save(target)
        return target

    return _each(images, Path(out), make, str(trained), on_error, progress)


def _opened(run: str | Path | TrainedPictures, task: str, checkpoint: str | None, trust: bool) -> TrainedPictures:
    trained = run if isinstance(run, TrainedPictures) else open_pictures_model(run, checkpoint, trust=trust)
    if trained.task != task or len(trained.inputs) != 1 or len(trained.targets) != 1:
        raise ConfigError(f"{trained.folder}: {task} is for models of task: {task} with one input and one target")
    return trained


def _written(path: Path, made: StoredPicture) -> Path:
    make_folder(path.parent)
    write_picture(path, made)
    return path


def _each(
    images: Any, out: Path, make: Callable[[str, Path], Path], weights: str, on_error: str, progress: bool | None
) -> Restored:
    """Make the file of each picture."""
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"on_error must be 'raise' or 'skip'. Found: {on_error!r}")
    pictures = images if isinstance(images, Gathered) else Gathered(images, on_error=on_error)
    names = list(pictures.names())
    files: dict[str, Path] = {}
    unreadable: dict[str, str] = {}
    show = _Progress(len(names), progress)
    try:
        for name, place in zip(names, _places(names, out), strict=True):
            try:
                files[name] = make(name, place)
            except DataError as error:
                if on_error == "raise":
                    raise
                unreadable[name] = str(error)
            show.add()
    finally:
        show.end()
    return Restored(out, files, unreadable, weights)


def restored(
    trained: TrainedPictures, stored: StoredPicture, compute: Compute, *, tile: int, overlap: int
) -> StoredPicture:
    """One picture."""
    planes = _planes(stored.values)
    wanted = trained.inputs[0].planes
    by_itself = wanted == 1 and planes.shape[1] > 1
    if by_itself:
        planes = planes.transpose(0, 1)
    elif wanted == 3 and planes.shape[1] == 1:
        planes = planes.expand(-1, 3, -1, -1)
    if planes.shape[1] != wanted:
        raise DataError(f"the model takes {wanted} channels, and a picture has {planes.shape[1]}")
    apply = _Stored(trained.model, stored.values.dtype, compute)
    made = tiled(apply, planes, tile=tile, overlap=overlap, align=ALIGN)
    if by_itself:
        made = made.transpose(0, 1)
    values = made[0].permute(1, 2, 0).numpy()
    if stored.values.ndim == 2:
        values = _one_channel(values)
    alpha = stored.alpha if stored.alpha is not None and stored.alpha.shape == values.shape[:2] else None
    return StoredPicture(np.ascontiguousarray(values), alpha, stored.metadata)


class _Stored:
    """The model from stored numbers to stored numbers."""

    def __init__(self, model: nn.Module, dtype: np.dtype, compute: Compute) -> None:
        self._model, self._levels, self._compute = model.eval(), _LEVELS.get(dtype), compute
        self._kind = {255: torch.uint8, 65535: torch.uint16}.get(self._levels or 0, torch.float32)

    def __call__(self, part: Tensor) -> Tensor:
        floats = self._compute.move(part).to(torch.float32)
        with self._compute.autocast():
            made = self._model(floats if self._levels is None else floats / self._levels)
        made = made.float().cpu()
        if self._levels is None:
            return made
        return made.clamp(0, 1).mul(self._levels).round().to(self._kind)


class _ToLabels:
    """The model from stored numbers to labels."""

    def __init__(self, trained: TrainedPictures, compute: Compute) -> None:
        self._model, self._compute = trained.model.eval(), compute
        self._normalize = trained.normalize(trained.inputs[0])
        self._kind = torch.uint8 if len(trained.classes) <= 256 else torch.int32

    def __call__(self, part: Tensor) -> Tensor:
        with self._compute.autocast():
            logits = self._model(_floats(self._normalize, self._compute.move(part)))
        return logits.argmax(1, keepdim=True).to(self._kind).cpu()


def _floats(normalize: Any, planes: Tensor) -> Tensor:
    """Of planes (N, C, H, W), also where a batch of such files would have its channels last."""
    return ToUnit()(planes) if isinstance(normalize, ToUnit) else normalize(planes)


def _planes(values: np.ndarray) -> Tensor:
    """(1, C, H, W), sharing memory."""
    array = values[:, :, None] if values.ndim == 2 else values
    array = array if array.flags.writeable else array.copy()
    return torch.from_numpy(array).permute(2, 0, 1)[None]


def _one_channel(values: np.ndarray) -> np.ndarray:
    """Gray again: the mean of the channels."""
    if values.shape[2] == 1:
        return values[:, :, 0]
    mean = values.astype(np.float64).mean(axis=2)
    return (np.rint(mean) if values.dtype.kind == "u" else mean).astype(values.dtype)


def _places(names: list[str], out: Path) -> list[Path]:
    """Where each goes: below ``out`` as it is below what all have in common."""
    absolute = [os.path.abspath(name) for name in names]
    root = os.path.commonpath([os.path.dirname(name) for name in absolute])
    places = [out / os.path.relpath(name, root) for name in absolute]
    seen: dict[str, str] = {}
    for name, place in zip(names, places, strict=True):
        key = os.path.abspath(place)
        if key in seen:
            raise DataError(f"{seen[key]} and {name} would both become {place}: give the pictures of one alone")
        seen[key] = name
    sources = set(map(os.path.realpath, absolute))
    if over := next((place for place in places if os.path.realpath(place) in sources), None):
        raise DataError(f"{over} is a source: write into another folder")
    return places


class _Progress:
    """A line that grows."""

    def __init__(self, total: int, progress: bool | None) -> None:
        self._screen, self._total, self._done = choose_screen(progress, sys.stdout), total, 0
        self._began = self._drawn = time.perf_counter()

    def add(self) -> None:
        self._done += 1
        now = time.perf_counter()
        if now - self._drawn >= self._screen.seconds:
            self._drawn, rate = now, self._done / (now - self._began)
            self._screen.draw([f"{bar(self._done, self._total)} {self._done}/{self._total}  {rate:.1f} pictures/s"])

    def end(self) -> None:
        self._screen.erase()
