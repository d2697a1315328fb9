"""``open_model``: the model that a run trained, and what it takes to use it. Trains nothing; knows no tables, no formats.

What is read from the run's folder are settings, names and tensors. Nothing in it is executed.
"""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ._checkpoint import read_checkpoint
from ._checkpoints import Checkpoints, Entry
from ._errors import CheckpointError, DataError, LoopwrightError, RunError
from ._files import open_unlinked, read_json, read_within
from ._record import CHECKPOINTS, CONFIG, ENVIRONMENT, RUN, read_classes, read_run
from ._state import load_state
from ._yaml import parse_yaml
from .data._normalize import Normalize
from .data._open import open_data
from .data._rows import is_table
from .data._transforms import CenterCrop
from .models._build import build_model, find_model
from .models._tta import TTA

AVERAGES = ("ema", "swa")  # what a run may keep beside the model, and then validates
LARGEST_CONFIG = 2**20  # bytes
_LABELS = ("label", "split_column")  # of the setting table
_COLUMNS = ("image", "delimiter", *_LABELS)
# What torchvision builds otherwise where pretrained weights are asked for, which are not loaded again here.
_AS_PRETRAINED = {
    "googlenet": {"transform_input": True, "aux_logits": False},
    "inception_v3": {"transform_input": True},
}


@dataclass(frozen=True)
class TrainedModel:
    """A run's model in evaluation mode, on the CPU, with what its pictures and its outputs are."""

    model: nn.Module = field(repr=False)  # normalised pictures (N, 3, size, size) to logits (N, classes)
    classes: Sequence[str]  # in the order of the outputs
    image_size: int  # pixels
    normalize: Normalize
    folder: Path
    checkpoint: Entry
    weights: str  # "model", or the average that the run validated: "ema", "swa"
    settings: Mapping[str, Any] = field(repr=False)  # config.yaml

    @property
    def judged(self) -> nn.Module:
        """What validation measured: the model, or with the setting ``tta`` several views of each picture by it."""
        asked = self.settings.get("tta")
        return TTA(self.model, **asked).eval() if isinstance(asked, Mapping) else self.model

    @property
    def transform(self) -> CenterCrop:
        """How validation showed pictures."""
        return CenterCrop(self.image_size)

    @property
    def batch_size(self) -> int:
        """Pictures at once in validation: the same batches give the same bits."""
        return 4 * _whole(self.settings, "batch_size", 64)

    @property
    def precision(self) -> str:
        return str(self.settings.get("precision", "auto"))

    def facts(self) -> dict[str, Any]:
        """Where it comes from and how to feed it: plain values, for the metadata of files."""
        info, code = read_run(self.folder), code_of(self.folder)
        return {
            "classes": list(self.classes),
            "image_size": self.image_size,
            "mean": list(self.normalize.mean),
            "std": list(self.normalize.std),
            "model": named(self.settings["model"])[0],
            "run": info.get("id"),
            "checkpoint": self.checkpoint.name,
            "step": self.checkpoint.step,
            "metrics": dict(self.checkpoint.metrics),
            "weights": self.weights,
            "validated_views": getattr(self.judged, "views", 1),
            "commit": code.get("commit"),
            "uncommitted_changes": code.get("dirty"),
        }

    def __str__(self) -> str:
        shown = {name: value for name, value in self.checkpoint.metrics.items() if not name.startswith("train/")}
        measured = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
        of = "" if self.weights == "model" else f", {self.weights}"
        return f"{self.folder}: {self.checkpoint.name}{of}" + (f" ({measured})" if measured else "")


def open_model(run: str | Path, checkpoint: str | None = None, *, trust: bool = False) -> TrainedModel:
    """The model of a run that ``loopwright train`` wrote, built from its config.yaml, with the weights of a checkpoint.

    A run of your own loop does not say how its model is built: build it, and use ``lw.load_weights(model, run)``.

    Args:
        run: its folder.
        checkpoint: ``"best"``, ``"latest"``, ``"best:METRIC"`` or a name. Default: the best, else the latest.
        trust: call a model that is a ``package.module:function`` also where the run was not trained on this machine.
            Such a function has to be importable; nothing is imported from the run's folder, but a stranger's run could
            name any function that is installed.

    Raises:
        RunError: it is no run, has no checkpoint yet, or is of a loop of its own.
        CheckpointError: there is no such checkpoint, or it does not fit the model.

    >>> open_model("runs/nothing")
    Traceback (most recent call last):
    loopwright._errors.RunError: runs/nothing is no run: it has no run.json. 'loopwright runs' lists those that are there
    """
    folder = run_of(run)
    info, settings = read_run(folder), _settings(folder)
    entry = saved_entry(folder, checkpoint)
    name, arguments = named(settings["model"])
    check_trusted(folder, name, info, trust)
    classes = read_classes(folder) or _classes_of_data(folder, info, settings)
    model = _built(name, arguments, len(classes))
    weights, state = validated_weights(folder / CHECKPOINTS / entry.name, settings)
    load_state(model, state, strict=True, place=str(folder / CHECKPOINTS / entry.name))
    model.eval().requires_grad_(False)
    return TrainedModel(model, classes, _image_size(settings), Normalize(), folder, entry, weights, settings)


def run_of(run: str | Path) -> Path:
    """The folder of a run; ``RunError`` where it is none."""
    folder = Path(run)
    if not (folder / RUN).is_file():
        raise RunError(f"{folder} is no run: it has no {RUN}. 'loopwright runs' lists those that are there")
    return folder


def data_of(folder: Path, settings: Mapping[str, Any]) -> Path | None:
    """The folder of the pictures that a run was trained on, or the table, where it is still there."""
    return next((path for path in _places(folder, settings.get("data")) if path.is_dir() or is_table(path)), None)


def _places(folder: Path, path: Any) -> list[Path]:
    """What is there of a path that the settings say: as it stands, or in the folder that the run was begun in."""
    if not isinstance(path, str):
        return []
    begun_in = read_run(folder).get("working_folder")
    found = [Path(path), *([Path(begun_in, path)] if isinstance(begun_in, str) else [])]
    return [place for place in found if place.exists()]


def evaluation_data(trained: TrainedModel) -> Path:
    """The data that a run was trained on; ``RunError`` where it is gone."""
    data = data_of(trained.folder, trained.settings)
    if data is None:
        raise RunError(f"the data of {trained.folder}, {trained.settings.get('data')}, is not there: name some (DATA)")
    return data


def held_out(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The options of ``open_data`` that give the part that the run validated on."""
    holdout = settings.get("holdout")
    return ({"holdout": holdout} if isinstance(holdout, float) else {}) | columns_of(folder, settings)


def columns_of(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """How the run read its table, as options of ``Table``; none where it read a folder, or the columns are the usual."""
    table = settings.get("table")
    if not isinstance(table, Mapping):
        return {}
    found = {name: table[name] for name in _COLUMNS if isinstance(table.get(name, 0), str | None)}
    root = next((place for place in _places(folder, table.get("root")) if place.is_dir()), None)
    return found | {"outside": table.get("outside") is True} | ({} if root is None else {"root": root})


def listed_as(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same as options of ``Gathered``, which reads no labels."""
    return {name: value for name, value in columns_of(folder, settings).items() if name not in _LABELS}


def config_of(folder: Path) -> Mapping[str, Any]:
    """config.yaml, as far as it is needed; a file that it would include is not read."""
    path = folder / CONFIG
    try:
        text = read_within(open_unlinked(path), LARGEST_CONFIG).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read ({error}): a run is used as it says there") from None
    return parse_yaml(text, str(path)).values


def _settings(folder: Path) -> Mapping[str, Any]:
    """The same of a classifier."""
    settings = config_of(folder)
    if settings.get("task", "classify") != "classify":
        raise RunError(
            f"{folder} is of task: {settings['task']}, and this is for classifiers: see 'loopwright predict' and "
            "'loopwright evaluate', which take it"
        )
    try:
        named(settings["model"])
        _image_size(settings)
    except (KeyError, ValueError, TypeError):
        raise RunError(
            f"{folder} is of a loop of its own: its {CONFIG} does not have the model and the image_size of 'loopwright "
            f"train'. In Python: build the model, lw.load_weights(model, {str(folder)!r}), then lw.evaluate(model, "
            "data, transform=...)"
        ) from None
    return settings


def named(model: Any) -> tuple[str, dict[str, Any]]:
    """The name of a part and its arguments."""
    given = {"name": model} if isinstance(model, str) else dict(model)
    name = given.pop("name")
    if not isinstance(name, str):
        raise TypeError(name)
    return name, given


def _image_size(settings: Mapping[str, Any]) -> int:
    """In pixels; of sizes that grow with the epochs the last."""
    size = settings["image_size"]
    if isinstance(size, Mapping):
        size = size[max(size, key=lambda epoch: float(epoch))]
    if type(size) is not int or not 1 <= size <= 2**16:
        raise ValueError(size)
    return size


def _whole(settings: Mapping[str, Any], key: str, default: int) -> int:
    value = settings.get(key, default)
    return value if type(value) is int and value >= 1 else default


def saved_entry(folder: Path, checkpoint: str | None) -> Entry:
    saved = Checkpoints(folder / CHECKPOINTS)
    if saved.latest is None:
        raise RunError(
            f"{folder} has no checkpoint yet: the first one is saved after the first epoch, or as save_every says"
        )
    return saved.find(checkpoint or ("best" if saved.best() is not None else "latest"))


def check_trusted(folder: Path, name: str, info: Mapping[str, Any], trust: bool) -> None:
    if ":" in name and not trust and info.get("host") != socket.gethostname():
        raise RunError(
            f"{folder} was trained on {info.get('host')} and names the function {name!r} as its model: it is not called "
            "here unasked. If you know it, say so: --trust (trust=True)"
        )


def _classes_of_data(folder: Path, info: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Of a run that was not told its classes: those of its data."""
    data = data_of(folder, settings)
    try:
        if data is not None:
            return open_data(data, "train", **held_out(folder, settings)).classes
    except DataError:
        pass
    raise RunError(
        f"{folder} does not hold the names of its classes, and its data, {settings.get('data')}, is not there to ask: give "
        'it a classes.json with {"classes": ["first", "second", ...]}, in the order of the model\'s outputs'
    )


def _built(name: str, arguments: Mapping[str, Any], classes: int) -> nn.Module:
    """The model without pretrained weights, which the run's replace; the caller's random generator is left alone."""
    pretrained = arguments.get("weights") is not None and find_model(name)[1] == "torchvision"
    fresh = {**(_AS_PRETRAINED.get(name.lower(), {}) if pretrained else {}), **arguments}
    if pretrained:
        fresh["weights"] = None
    if fresh.get("pretrained") and find_model(name)[1] == "timm":
        fresh["pretrained"] = False
    with torch.random.fork_rng(devices=[]):
        return build_model(name, num_classes=classes, **fresh)


def validated_weights(folder: Path, settings: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The weights that the run validated: those of the model, or of an average that it kept."""
    optimizer = settings.get("optimizer")
    if isinstance(optimizer, Mapping) and "schedulefree" in str(optimizer.get("name")).lower():
        raise CheckpointError(
            f"{folder}: {optimizer['name']} trains other weights than those that it validates, which a checkpoint does not "
            "hold. In Python: build model and optimizer as train does, load both states, then optimizer.eval()"
        )
    for name in AVERAGES:
        if settings.get(name) is not None:
            state = read_checkpoint(folder, only=name)
            if state["updates"]:
                return name, state["model"]
    try:
        return "model", read_checkpoint(folder, only="model")
    except CheckpointError as error:
        raise CheckpointError(f"{error}. A model is looked for under the name 'model'") from None


def code_of(folder: Path) -> Mapping[str, Any]:
    """The commit that a run was of, as far as it is known."""
    try:
        code = read_json(folder / ENVIRONMENT).get("code")
    except (OSError, ValueError, LoopwrightError):
        return {}
    return code if isinstance(code, Mapping) else {}
