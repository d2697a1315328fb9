"""``restore``: what a run of ``task: restore`` makes of pictures, written with their names, depth and metadata.

``segment`` does the same with masks. Models of several inputs are given pictures that pair by their names.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from ._names import did_you_mean
from ._overlay import class_color
from ._progress import bar, choose_screen
from ._tiled import tiled
from ._trained_pictures import PicturePart, TrainedPictures, open_pictures_model
from .data._gathered import Gathered
from .data._paired import PairedFolders
from .data._picture import large_pictures
from .data._picture_file import StoredPicture, read_stored, writable_name, write_picture
from .data._to_unit import ToUnit

_LEVELS = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
ALIGN = 32  # tiles begin at multiples of it: five halvings
TILE, OVERLAP = 1024, 64
Images = str | Path | Iterable[str | Path] | Mapping[str, str | Path] | Gathered


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
    images: Images,
    out: str | Path,
    *,
    tile: int | None = None,
    overlap: int | None = None,
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

    A model of several inputs is given folders of them, in which files pair by their names as in training, read as they were
    there. Of several targets each is written into a folder of its name. A target has the depth and metadata of the first
    input of its kind (``picture``, ``gray``, ``raw``), else of the first.

    Args:
        run: its folder, or what ``open_pictures_model`` gave.
        images: files, folders, patterns, tables with a column ``path``. Files of a folder keep their place below it. Of
            several inputs a folder each, ``{"color": "new/color", "gray": "new/gray"}``; or the folder that has them by
            their names in the configuration.
        out: the folder to write to; a source is never written over.
        tile, overlap: of ``tiled``: larger pictures are computed in parts of so many pixels. ``overlap`` should be the
            reach of the model: 17 for DnCNN-S, 64 is enough for ``unet``. Default: the run's, else 1024 and 64.
        checkpoint, trust: as ``open_model``'s.
        device, precision: of ``choose_compute``. Default precision: the run's.
        on_error: ``"skip"`` goes on behind an unreadable picture and lists it.

    Raises:
        DataError: pictures are missing or unreadable, or two would have one name.
        ConfigError: a folder of an input is missing; or as the name says, as RunError and CheckpointError.
    """
    trained = _opened(run, "restore", checkpoint, trust)
    compute = choose_compute(device, precision or trained.precision)
    compute.place(trained.model)
    tiles = _tiles(trained, tile, overlap)

    def make(name: str, place: Path) -> list[Path]:
        made = restored(trained, read_stored(name), compute, **tiles)
        return [_written(place.with_name(writable_name(place, made.values)), made)]

    def make_several(files: Mapping[str, Path], place: Path) -> list[Path]:
        written = []
        for target, (source, made) in restored_several(trained, files, compute, **tiles).items():
            folder = Path(out, target) if len(trained.targets) > 1 else Path(out)
            below = folder / place.parent.relative_to(out)
            written.append(_written(below / writable_name(files[source], made.values), made))
        return written

    with large_pictures():
        if len(trained.inputs) == len(trained.targets) == 1:
            return _each(_single(images, trained), Path(out), make, str(trained), on_error, progress)
        return _each_of_several(_pairs(images, trained, on_error), Path(out), make_several, str(trained), progress)


def segment(
    run: str | Path | TrainedPictures,
    images: Images,
    out: str | Path,
    *,
    tile: int | None = None,
    overlap: int | None = None,
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
    apply, tiles = _ToLabels(trained, compute), _tiles(trained, tile, overlap)
    palette = [part for label in range(256) for part in ((0, 0, 0) if label == 0 else class_color(label))]

    def write(pictures: Sequence[np.ndarray], target: Path) -> list[Path]:
        planes = [_planes(np.asarray(pixels)) for pixels in pictures]
        mask = Image.fromarray(tiled(apply, planes, align=ALIGN, **tiles)[0, 0].numpy())
        if mask.mode == "L":
            mask.putpalette(palette)  # the numbers stay, and are called indices
        make_folder(target.parent)
        mask.save(target)
        return [target]

    def make(name: str, place: Path) -> list[Path]:
        return write([trained.inputs[0].read(Path(name))], place.with_suffix(".png"))

    def make_several(files: Mapping[str, Path], place: Path) -> list[Path]:
        pictures = [part.read(files[part.name]) for part in trained.inputs]
        return write(pictures, place.with_name(place.name + ".png"))

    with large_pictures():
        if len(trained.inputs) == 1:
            return _each(_single(images, trained), Path(out), make, str(trained), on_error, progress)
        return _each_of_several(_pairs(images, trained, on_error), Path(out), make_several, str(trained), progress)


def _opened(run: str | Path | TrainedPictures, task: str, checkpoint: str | None, trust: bool) -> TrainedPictures:
    trained = run if isinstance(run, TrainedPictures) else open_pictures_model(run, checkpoint, trust=trust)
    if trained.task != task:
        raise ConfigError(f"{trained.folder}: {task} is for models of task: {task}, and this is one of {trained.task}")
    return trained


def _tiles(trained: TrainedPictures, tile: int | None, overlap: int | None) -> dict[str, Any]:
    asked = {"tile": tile, "overlap": overlap}
    return {"tile": TILE, "overlap": OVERLAP} | trained.tiles | {k: v for k, v in asked.items() if v is not None}


def _single(images: Images, trained: TrainedPictures) -> Any:
    """The pictures of the one input, which may be named."""
    if isinstance(images, Mapping):
        _check_named(images, trained)
        return next(iter(images.values()))
    return images


def _pairs(images: Images, trained: TrainedPictures, on_error: str) -> PairedFolders:
    """The pictures of several inputs, by their names."""
    names = [part.name for part in trained.inputs]
    if len(names) == 1 and isinstance(images, str | Path):
        images = {names[0]: images}
    if isinstance(images, Mapping):
        _check_named(images, trained)
        roles: dict[str, Any] = {part.name: part.role(os.path.abspath(images[part.name])) for part in trained.inputs}
        return PairedFolders(on_error=on_error, **roles)
    root = [images] if isinstance(images, str | Path) else images
    if isinstance(root, Gathered) or len(root := list(root)) != 1 or not os.path.isdir(root[0]):
        shown = " ".join(f"{name}=FOLDER" for name in names)
        raise ConfigError(
            f"{trained.folder}: the model has {len(names)} inputs, {', '.join(names)}: give a folder each, {shown}, or the "
            "one folder that has them"
        )
    roles = {part.name: part.role() for part in trained.inputs}
    return PairedFolders(root[0], on_error=on_error, **roles)


def _check_named(images: Mapping[Any, Any], trained: TrainedPictures) -> None:
    names = [part.name for part in trained.inputs]
    if missing := [name for name in names if name not in images]:
        raise ConfigError(
            f"input {missing[0]!r} is missing: give {missing[0]}=FOLDER; the model has {', '.join(names)}"
        )
    if unknown := [name for name in images if name not in names]:
        question = did_you_mean(unknown[0], names) or f"it has {', '.join(names)}"
        raise ConfigError(f"the model has no input {unknown[0]!r}: {question}")


def _written(path: Path, made: StoredPicture) -> Path:
    make_folder(path.parent)
    write_picture(path, made)
    return path


def _each(
    images: Any, out: Path, make: Callable[[str, Path], list[Path]], weights: str, on_error: str, progress: bool | None
) -> Restored:
    """Make the file of each picture."""
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"on_error must be 'raise' or 'skip'. Found: {on_error!r}")
    pictures = images if isinstance(images, Gathered) else Gathered(images, on_error=on_error)
    names = list(pictures.names())
    return _made(names, zip(names, _places(names, out), strict=True), out, make, weights, on_error, progress)


def _each_of_several(
    pairs: PairedFolders, out: Path, make: Callable[[Mapping[str, Path], Path], list[Path]], weights: str,
    progress: bool | None,
) -> Restored:  # fmt: skip
    """Make the files of each sample of several pictures."""
    names = [pairs.name_of(index) for index in range(len(pairs))]
    samples = [pairs.files(index) for index in range(len(pairs))]
    sources = {os.path.realpath(path) for files in samples for path in files.values()}
    if any(os.path.realpath(out) == os.path.realpath(Path(path).parent) for path in sources):
        raise DataError(f"{out} is a folder of sources: write into another")
    places = [out / name for name in names]
    return _made(names, zip(samples, places, strict=True), out, make, weights, pairs.on_error, progress)


def _made(
    names: Sequence[str], asked: Iterable[tuple[Any, Path]], out: Path, make: Callable[[Any, Path], list[Path]],
    weights: str, on_error: str, progress: bool | None,
) -> Restored:  # fmt: skip
    """Make the files of each picture, or of each sample of several."""
    files: dict[str, Path] = {}
    unreadable: dict[str, str] = {}
    show = _Progress(len(names), progress)
    try:
        for name, (given, place) in zip(names, asked, strict=True):
            try:
                made = make(given, place)
                files |= {name: made[0]} if len(made) == 1 else {str(path.relative_to(out)): path for path in made}
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


def restored_several(
    trained: TrainedPictures, files: Mapping[str, Path], compute: Compute, *, tile: int, overlap: int
) -> dict[str, tuple[str, StoredPicture]]:
    """The targets of one sample by name, each with the input that it has its depth and metadata of."""
    stored = {part.name: read_stored(files[part.name]) for part in trained.inputs}
    sources = {part.name: _source(trained, part) for part in trained.targets}
    planes = [_read_planes(part, stored[part.name], files[part.name]) for part in trained.inputs]
    dtypes = {target: stored[source].values.dtype for target, source in sources.items()}
    apply = _SeveralStored(trained, dtypes, compute)
    alike = len({tuple(part.shape[2:]) for part in planes}) == 1
    made = tiled(apply, planes, tile=tile, overlap=overlap, align=ALIGN) if alike else apply(*planes)
    found = {}
    for target, source in sources.items():
        values, before = made[target][0].permute(1, 2, 0).numpy(), stored[source]
        values = values[:, :, 0] if values.shape[2] == 1 else values
        alpha = before.alpha if before.alpha is not None and before.alpha.shape == values.shape[:2] else None
        metadata = {k: v for k, v in before.metadata.items() if k != "icc_profile" or values.ndim == before.values.ndim}
        found[target] = source, StoredPicture(np.ascontiguousarray(values), alpha, metadata)
    return found


def _source(trained: TrainedPictures, target: PicturePart) -> str:
    """The input that a target has its depth and metadata of."""
    alike = [part.name for part in trained.inputs if part.kind == target.kind]
    return alike[0] if alike else trained.inputs[0].name


def _read_planes(part: PicturePart, stored: StoredPicture, path: Path) -> Tensor:
    """Stored numbers (1, C, H, W) as in training; those of 16-bit and float pictures with their own depth."""
    if part.kind == "raw" or stored.values.dtype == np.uint8:
        return _planes(np.asarray(part.read(path)))
    planes = _planes(stored.values)
    if part.planes == 1 and planes.shape[1] == 3:
        weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
        gray = (planes.float() * weights).sum(1, keepdim=True)
        return gray if planes.is_floating_point() else gray.round().to(planes.dtype)
    return planes.expand(-1, part.planes, -1, -1) if planes.shape[1] == 1 else planes


class _SeveralStored:
    """A model of several inputs or outputs from stored numbers to stored numbers, which are of types of their own."""

    def __init__(self, trained: TrainedPictures, dtypes: Mapping[str, np.dtype], compute: Compute) -> None:
        self._model, self._compute = trained.model.eval(), compute
        self._scales = [trained.normalize(part) for part in trained.inputs]
        self._dtypes = dtypes

    def __call__(self, *parts: Tensor) -> dict[str, Tensor]:
        floats = [_floats(s, self._compute.move(part)) for s, part in zip(self._scales, parts, strict=True)]
        with self._compute.autocast():
            made = self._model(*floats)
        if not isinstance(made, Mapping):
            made = dict(zip(self._dtypes, [made] if isinstance(made, Tensor) else made, strict=True))
        return {name: _as_stored(made[name], dtype) for name, dtype in self._dtypes.items()}


class _Stored:
    """The model from stored numbers to stored numbers."""

    def __init__(self, model: nn.Module, dtype: np.dtype, compute: Compute) -> None:
        self._model, self._levels, self._compute = model.eval(), _LEVELS.get(dtype), compute
        self._dtype = dtype

    def __call__(self, part: Tensor) -> Tensor:
        floats = self._compute.move(part).to(torch.float32)
        with self._compute.autocast():
            made = self._model(floats if self._levels is None else floats / self._levels)
        return _as_stored(made, self._dtype)


def _as_stored(made: Tensor, dtype: np.dtype) -> Tensor:
    """Floats about 0..1 as numbers of a file, on the CPU."""
    levels, made = _LEVELS.get(dtype), made.float().cpu()
    if levels is None:
        return made
    return made.clamp(0, 1).mul(levels).round().to(torch.uint8 if levels == 255 else torch.uint16)


class _ToLabels:
    """The model from stored numbers to labels."""

    def __init__(self, trained: TrainedPictures, compute: Compute) -> None:
        self._model, self._compute = trained.model.eval(), compute
        self._scales = [trained.normalize(part) for part in trained.inputs]
        self._kind = torch.uint8 if len(trained.classes) <= 256 else torch.int32

    def __call__(self, *parts: Tensor) -> Tensor:
        floats = [_floats(s, self._compute.move(part)) for s, part in zip(self._scales, parts, strict=True)]
        with self._compute.autocast():
            logits = self._model(*floats)
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
