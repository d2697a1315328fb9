"""How good a run of ``task: restore`` or ``segment`` is on pairs: what its validation measured, picture by picture."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .._config import load_config
from .._device import choose_compute
from .._errors import RunError
from .._files import make_folder, write_json
from .._metrics import Confusion
from .._overlay import overlay
from .._trained import data_of
from .._trained_pictures import TrainedPictures, open_pictures_model
from ..data._collate import collate
from ..data._rows import write_table
from ..models._tiled_model import Tiled
from ._pairs import PairSettings, open_pairs, val_loader
from ._restore import make_metrics
from ._tasks import settings_of

JSON, TABLE, MATRIX, OVERLAYS = "evaluation.json", "pictures.csv", "confusion.csv", "overlays"
_SHOWN = 16  # overlays


@dataclass(frozen=True)
class Measured:
    """The figures of each picture, and those of all."""

    title: str
    figures: dict[str, float]  # means of pictures; of masks over all pixels
    rows: list[dict[str, Any]] = field(repr=False)  # a picture each
    confusion: Confusion | None = field(repr=False, default=None)
    overlays: dict[str, np.ndarray] = field(repr=False, default_factory=dict)

    def write(self, folder: str | Path) -> Path:
        """evaluation.json and pictures.csv; of masks confusion.csv (rows are the truth) and a folder overlays, too."""
        folder = Path(folder)
        make_folder(folder)
        found: dict[str, Any] = {"title": self.title, "pictures": len(self.rows), **self.figures}
        if self.confusion is not None:
            names, matrix = self.confusion.class_names, self.confusion.matrix.tolist()
            found["iou"] = dict(zip(names, self.confusion.iou.tolist(), strict=True))
            cells = [
                {"truth \\ predicted": n} | dict(zip(names, r, strict=True)) for n, r in zip(names, matrix, strict=True)
            ]
            write_table(cells, folder / MATRIX)
        write_json(folder / JSON, found)
        write_table(self.rows, folder / TABLE)
        for name, picture in self.overlays.items():
            path = (folder / OVERLAYS / name).with_suffix(".png")
            make_folder(path.parent)
            Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).save(path)
        return folder

    def text(self) -> str:
        """For a terminal."""
        lines = [f"evaluated  {self.title}", f"pictures   {len(self.rows):,}"]
        lines += [f"{name:<10} {value:.4f}" for name, value in self.figures.items()]
        if self.confusion is not None:
            worst = sorted(zip(self.confusion.iou.tolist(), self.confusion.class_names, strict=True))
            lines += ["", "class: intersection over union", *(f"  {name}: {iou:.4f}" for iou, name in worst)]
        return "\n".join(lines)


def measure(
    run: str | Path, data: str | Path | None = None, *, split: str | None = None, checkpoint: str | None = None,
    device: str = "auto", precision: str | None = None, workers: int | None = None, trust: bool = False,
) -> Measured:  # fmt: skip
    """Measure a run on pairs that lie as its own do: by default those that it validated on.

    Raises:
        RunError, CheckpointError, DataError: as their names say.
    """
    trained = open_pictures_model(run, checkpoint, trust=trust)
    settings: Any = load_config(dict(trained.settings), schema=settings_of(trained.settings))
    folder = Path(data) if data is not None else data_of(trained.folder, trained.settings)
    if folder is None:
        raise RunError(f"the data of {trained.folder}, {settings.data}, is not there: name some (DATA)")
    settings = settings.model_copy(update={"cache": None, "workers": workers})
    pairs = open_pairs(settings, split or "val", folder)
    compute = choose_compute(device, precision or trained.precision)
    compute.place(trained.model)
    return _Measuring(trained, settings, compute).of(pairs, f"{trained} on {folder}, {split or 'val'}")


class _Measuring:
    """A model, and what is asked of it."""

    def __init__(self, trained: TrainedPictures, settings: PairSettings, compute: Any) -> None:
        self._trained, self._settings, self._compute = trained, settings, compute
        self._model = Tiled(trained.model, **settings.tiles) if settings.tiles else trained.model

    def of(self, pairs: Any, title: str) -> Measured:
        loader = val_loader(self._settings, pairs)
        rows: list[dict[str, Any]] = []
        confusion = None
        if self._trained.task == "segment":
            confusion = Confusion(len(self._trained.classes), self._trained.classes, ignore_index=self._trained.ignore)
        shown: dict[str, np.ndarray] = {}
        names = (pairs.name_of(index) for index in range(len(pairs)))
        with torch.no_grad():
            for name, batch in zip(names, loader.epoch_batches(0), strict=True):
                output, targets = self._outputs(loader, batch)
                rows.append({"picture": name, **self._figures(output, targets, confusion)})
                if confusion is not None and len(shown) < _SHOWN:
                    shown[name] = self._overlay(pairs, len(rows) - 1, output)
        loader.close()
        figures = confusion.compute() if confusion is not None else _means(rows)
        return Measured(title, figures, rows, confusion, shown)

    def _outputs(self, loader: Any, batch: Any) -> tuple[Any, Any]:
        parts = loader.normalize(self._compute.move(batch))
        with self._compute.autocast():
            output = self._model(*(parts[part.name] for part in self._trained.inputs))
        targets = {part.name: parts[part.name] for part in self._trained.targets}
        if len(targets) > 1:
            return (output if isinstance(output, dict) else dict(zip(targets, output, strict=True))), targets
        return output, next(iter(targets.values()))

    def _figures(self, output: Any, target: Any, confusion: Confusion | None) -> dict[str, float]:
        if confusion is None:
            metrics: Any = make_metrics(self._settings)  # type: ignore[arg-type] - it is of restoration here
            return {name: round(float(metric(output, target)[0]), 6) for name, metric in metrics.items()}
        confusion.update(output, target)
        one = Confusion(len(self._trained.classes), ignore_index=self._trained.ignore)
        one.update(output, target)
        return {"accuracy": one.accuracy, "mean_iou": one.mean_iou}

    def _overlay(self, pairs: Any, index: int, output: Any) -> np.ndarray:
        first = self._trained.inputs[0].name
        picture = np.asarray(collate([pairs[index][first]])[0])
        return overlay(picture, output.argmax(1)[0].cpu().numpy(), ignore=None)


def _means(rows: list[dict[str, Any]]) -> dict[str, float]:
    names = [name for name in (rows[0] if rows else ()) if name != "picture"]
    return {name: math.fsum(row[name] for row in rows) / len(rows) for name in names}
