"""What of a run is exported: a module, its inputs and outputs by name, real pictures to compare it on. Writes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from ._demo import demo_photos
from ._errors import ConfigError, LoopwrightError
from ._trained import TrainedModel, data_of, held_out
from ._trained_pictures import PicturePart, TrainedPictures
from .data._collate import collate
from .data._gathered import Gathered
from .data._loader import Loader
from .data._normalize import Normalize
from .data._open import SUFFIX, open_data
from .data._packed_pairs import PackedPairs
from .data._paired import PairedFolders
from .data._to_unit import ToUnit

INPUT, OUTPUT = "pictures", "logits"
PICTURES = 8  # that are compared, together and the first one alone
_MULTIPLE = 32  # of sides, where a network takes no others


@dataclass(frozen=True)
class Form:
    """One way in which sizes may vary."""

    shapes: Any  # as torch.export takes them
    examples: Sequence[tuple[Tensor, ...]] = field(repr=False)  # inputs of several sizes: to export with, to compare on
    described: Mapping[str, Any]  # inputs and outputs in words


@dataclass(frozen=True)
class ExportedModel:
    """A module, and how it is called."""

    module: nn.Module = field(repr=False)
    inputs: list[str]
    outputs: list[str]
    forms: Sequence[Form]  # the most general first
    facts: Mapping[str, Any]
    compared: str  # on which pictures


class Normalized(nn.Module):
    """A model behind its normalisation: uint8 pictures (N, C, H, W), one or several, to what the model gives."""

    def __init__(self, model: nn.Module, *scales: tuple[Sequence[float], Sequence[float]]) -> None:
        super().__init__()
        self.model = model
        for number, (mean, std) in enumerate(scales):
            mean_64, std_64 = (torch.tensor(v, dtype=torch.float64).view(1, -1, 1, 1) for v in (mean, std))
            self.register_buffer(f"scale{number}", (1 / (255 * std_64)).float())
            self.register_buffer(f"shift{number}", (-mean_64 / std_64).float())

    def forward(self, *pictures: Tensor) -> Any:
        floats = [
            part.to(torch.float32) * getattr(self, f"scale{number}") + getattr(self, f"shift{number}")
            for number, part in enumerate(pictures)
        ]
        return self.model(*floats)


def of_classifier(trained: TrainedModel, normalize: bool) -> ExportedModel:
    """Pictures of one size to logits."""
    pictures, compared = _classified(trained)
    mean, std = trained.normalize.mean, trained.normalize.std
    module = Normalized(trained.model, (mean, std)).eval() if normalize else trained.model
    given = pictures if normalize else trained.normalize(pictures)
    size = trained.image_size
    kind = "uint8 0..255" if normalize else "float32, normalised with mean and std after division by 255"
    described = {
        "inputs": {INPUT: f"(N, 3, {size}, {size}), RGB, {kind}"},
        "outputs": {OUTPUT: f"float32 (N, {len(trained.classes)}); softmax gives probabilities"},
    }
    facts = trained.facts() | {"input": described["inputs"][INPUT], "normalizes": normalize}
    form = Form(_shapes(module, [{0: Dim("batch", min=1)}]), [(given,), (given[:1],)], described)
    return ExportedModel(module, [INPUT], [OUTPUT], [form], facts, compared)


def of_pictures(trained: TrainedPictures, normalize: bool) -> ExportedModel:
    """Pictures to pictures, or to the logits of each pixel."""
    whole, compared = _paired(trained)
    if normalize and (deep := [part.name for part in trained.inputs if part.kind == "raw"]):
        raise ConfigError(f"normalize= is for 8-bit pictures, and input {deep[0]!r} is raw: its files have any depth")
    scales = [trained.normalize(part) for part in trained.inputs]
    pairs = [(s.mean, s.std) if isinstance(s, Normalize) else ((0.0,), (1.0,)) for s in scales]
    module = Normalized(trained.model, *pairs).eval() if normalize else trained.model
    given = [tuple(whole)] if normalize else [
        tuple(_as_floats(scale, part) for scale, part in zip(scales, whole, strict=True))
    ]  # fmt: skip
    size = int(trained.settings.get("image_size") or 64)
    factors = [part.scale for part in trained.inputs]
    forms = [
        _form(trained, module, given[0], factors, size, which, normalize) for which in ("any", "multiple", "fixed")
    ]
    outputs = [part.name for part in trained.targets] if len(trained.targets) > 1 else [
        OUTPUT if trained.task == "segment" else trained.targets[0].name
    ]  # fmt: skip
    inputs = [part.name for part in trained.inputs]
    if twice := set(inputs) & set(outputs):
        raise ConfigError(f"an input and an output are both called {sorted(twice)[0]!r}")
    facts = trained.facts() | {"normalizes": normalize}
    return ExportedModel(module, inputs, outputs, forms, facts, compared)


def _form(
    trained: TrainedPictures, module: nn.Module, whole: Sequence[Tensor], factors: Sequence[int], size: int, which: str,
    normalize: bool,
) -> Form:  # fmt: skip
    """Sizes of any number of pixels, of multiples, or one size; the first example is a pair of squares."""
    batch = Dim("batch", min=1)
    rows: Any = Dim("rows", min=8)
    columns: Any = Dim("columns", min=8)
    if which == "multiple":
        rows, columns = _MULTIPLE * Dim("rows32", min=1), _MULTIPLE * Dim("columns32", min=1)
    if which == "fixed":
        shapes: list[dict[int, Any]] = [{0: batch} for _ in factors]
    else:
        shapes = [{0: batch, 2: f * rows if f > 1 else rows, 3: f * columns if f > 1 else columns} for f in factors]
    side = (
        size if which == "fixed" else max(2, size // _MULTIPLE) * _MULTIPLE
    )  # one multiple would be taken for a constant
    squares = tuple(
        torch.cat([_cut(t, f * side, f * side, at) for at in (0, 1)]) for t, f in zip(whole, factors, strict=True)
    )
    examples = [squares, tuple(square[:1] for square in squares)]
    if which != "fixed":
        grain = 1 if which == "any" else _MULTIPLE
        height, width = (min(s // factors[0], 512) // grain * grain for s in whole[0].shape[2:])
        if min(height, width) >= 8:
            examples.append(tuple(_cut(t, f * height, f * width, 0) for t, f in zip(whole, factors, strict=True)))
    sides = {"any": "H, W", "multiple": f"H, W: multiples of {_MULTIPLE}", "fixed": f"{size}, {size}"}[which]
    float_kind = "float32, normalised" if trained.task == "segment" else "float32 in 0..1"
    inputs = {
        part.name: f"(N, {part.planes}, {sides}), {'uint8 0..255' if normalize else float_kind}"
        for part in trained.inputs
    }
    if trained.task == "segment":
        outputs = {OUTPUT: f"float32 (N, {len(trained.classes)}, H, W); the largest is the class"}
    else:
        outputs = {part.name: f"float32 (N, {part.planes}, H, W), about 0..1" for part in trained.targets}
    return Form(_shapes(module, shapes), examples, {"inputs": inputs, "outputs": outputs})


def _shapes(module: nn.Module, shapes: list[dict[int, Any]]) -> Any:
    """As torch.export takes them; of ``*pictures`` they are one argument."""
    return (tuple(shapes),) if isinstance(module, Normalized) else tuple(shapes)


def _cut(picture: Tensor, height: int, width: int, place: int) -> Tensor:
    """A part of a picture (1, C, H, W), repeated at its mirror image where it is too small; two places differ."""
    while picture.shape[2] < height or picture.shape[3] < width:
        picture = torch.cat([picture, picture.flip(2)], 2)
        picture = torch.cat([picture, picture.flip(3)], 3)
    top, left = (place * (side - wanted) for side, wanted in zip(picture.shape[2:], (height, width), strict=True))
    return picture[:, :, top : top + height, left : left + width].contiguous()


def _as_floats(scale: Normalize | ToUnit, planes: Tensor) -> Tensor:
    return ToUnit()(planes) if isinstance(scale, ToUnit) else scale(planes)


def _classified(trained: TrainedModel) -> tuple[Tensor, str]:
    """A uint8 batch of pictures of the run's data, or of the demo where that is gone."""
    folder = data_of(trained.folder, trained.settings)
    try:
        data = (
            None
            if folder is None
            else open_data(folder, "val", **held_out(trained.folder, trained.settings), on_error="skip")
        )
    except LoopwrightError:
        data = None
    where = f"{PICTURES} pictures of {folder}" if data is not None else f"{PICTURES} pictures of the demo"
    dataset = data if data is not None else Gathered(demo_photos() / "val")
    step = max(1, len(dataset) // PICTURES)
    loader = Loader(
        dataset, PICTURES, transform=trained.transform, workers=0, sampler=range(0, len(dataset), step), on_error="skip"
    )
    return next(iter(loader.epoch_batches(0)))[0].contiguous(), f"on {where}"


def _paired(trained: TrainedPictures) -> tuple[list[Tensor], str]:
    """Stored numbers (1, C, H, W) of each input, of the run's data, or of the demo where these are gone."""
    folder = data_of(trained.folder, trained.settings)
    parts = trained.targets if trained.are_made else trained.inputs
    if folder is not None:
        try:
            roles: dict[str, Any] = {part.name: part.role() for part in parts}
            packed = folder / f"val{SUFFIX}"
            if packed.is_file():
                pairs: Any = PackedPairs(packed)
            else:
                pairs = PairedFolders(folder, "val", **held_out(trained.folder, trained.settings), **roles)
            return [_planes(part, pairs[0][part.name]) for part in parts], f"on {pairs.name_of(0)} of {folder}"
        except LoopwrightError:
            pass
    first = Gathered(sorted((demo_photos() / "val").rglob("*.jpg"))[:1])
    photo = torch.from_numpy(np.asarray(first[0][0]).copy()).permute(2, 0, 1)[None]
    return [_of_demo(part, photo) for part in trained.inputs], "on a picture of the demo"


def _planes(part: PicturePart, value: Any) -> Tensor:
    batch = collate([value])
    return (
        batch.permute(0, 3, 1, 2)
        if part.kind == "raw" and batch.ndim == 4
        else batch[:, None]
        if batch.ndim == 3
        else batch
    )


def _of_demo(part: PicturePart, photo: Tensor) -> Tensor:
    planes = torch.cat([photo] * (1 + part.planes // 3), 1)[:, : part.planes]
    return planes.repeat_interleave(part.scale, 2).repeat_interleave(part.scale, 3).contiguous()
