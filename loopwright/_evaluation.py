"""``evaluate``: how good a classifier is on labelled pictures, class by class, and what it gets wrong. Trains nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ._errors import ConfigError, DataError
from ._files import make_folder, write_json
from ._metrics import Confusion
from ._names import did_you_mean
from ._predictions import numbered, reasons, scored
from ._sheet import prediction_sheet
from ._trained import TrainedModel, columns_of, data_of, held_out, open_model
from .data._collate import collate
from .data._folder import SPLITS, ImageFolder
from .data._loader import Loader
from .data._normalize import Normalize
from .data._open import SUFFIX, open_data
from .data._packed import Packed
from .data._rows import is_delimited, is_table, write_table
from .data._table import Table

JSON, MATRIX, SHEET = "evaluation.json", "confusion.csv", "mistakes.png"
_SHOWN_CLASSES = 40  # a terminal shows the worst of more


@dataclass(frozen=True)
class Evaluation:
    """What a classifier does on labelled pictures. ``report["recall"]`` and the like are one number a class."""

    title: str  # which weights on which data
    classes: list[str]
    confusion: Confusion = field(repr=False)
    names: list[str] = field(repr=False)  # the files of those that were read
    labels: Tensor = field(repr=False)  # (n,) int64: the truth
    predicted: Tensor = field(repr=False)  # (n,) int64
    confidence: Tensor = field(repr=False)  # (n,) float32: probability of the predicted class
    true_probability: Tensor = field(repr=False)  # (n,) float32: probability of the true class
    top5: float  # share of pictures whose class is among the five most probable; NaN below six classes
    bins: list[dict[str, float]] = field(repr=False)  # of the calibration: from, to, count, confidence, accuracy
    unreadable: list[str]
    pictures: Sequence[Any] = field(repr=False)  # opened when they are asked for

    @property
    def accuracy(self) -> float:
        """The share of pictures that are right."""
        return self.confusion.accuracy

    @property
    def ece(self) -> float:
        """Expected calibration error, 0 to 1: see ``evaluate``."""
        total = sum(b["count"] for b in self.bins)
        return sum(b["count"] / total * abs(b["accuracy"] - b["confidence"]) for b in self.bins if b["count"])

    def table(self) -> list[dict[str, Any]]:
        """A row a class: ``class``, ``precision``, ``recall``, ``f1``, ``support``. What is 0 / 0 is NaN."""
        matrix = self.confusion.matrix.double()
        hits, support, given = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        columns = (hits / given, hits / support, 2 * hits / (support + given), support.long())
        return [
            {"class": name, "precision": p, "recall": r, "f1": f, "support": n}
            for name, p, r, f, n in zip(self.classes, *(column.tolist() for column in columns), strict=True)
        ]

    def means(self) -> dict[str, float]:
        """``precision``, ``recall`` and ``f1``, each class weighing the same; classes with NaN are left out."""
        rows = self.table()
        columns = {key: torch.tensor([row[key] for row in rows]) for key in ("precision", "recall", "f1")}
        return {key: float(column.double().nanmean()) for key, column in columns.items()}

    def mistakes(self) -> list[dict[str, Any]]:
        """What was wrong, most confident first: path, truth, predicted, confidence and probability of the truth."""
        wrong = (self.predicted != self.labels).nonzero().flatten()
        order = wrong[torch.argsort(self.confidence[wrong], descending=True, stable=True)].tolist()
        return [
            {
                "path": self.names[i],
                "truth": self.classes[int(self.labels[i])],
                "predicted": self.classes[int(self.predicted[i])],
                "confidence": round(float(self.confidence[i]), 6),
                "truth_probability": round(float(self.true_probability[i]), 6),
            }
            for i in order
        ]

    def as_json(self) -> dict[str, Any]:
        """All of it but the pictures, as plain values."""
        pairs = self.confusion.most_confused(50)
        return {
            "title": self.title,
            "pictures": len(self.names),
            "accuracy": self.accuracy,
            "top5": self.top5,
            "means": self.means(),
            "ece": self.ece,
            "calibration": self.bins,
            "classes": self.table(),
            "most_confused": [{"truth": t, "predicted": p, "count": n} for t, p, n in pairs],
            "mistakes": self.mistakes(),
            "unreadable": self.unreadable,
        }

    def write(self, folder: str | Path) -> Path:
        """evaluation.json, confusion.csv (rows are the truth) and mistakes.png, in a folder, which is made."""
        folder = Path(folder)
        make_folder(folder)
        write_json(folder / JSON, self.as_json())
        matrix = self.confusion.matrix.tolist()
        cells = [
            {"truth \\ predicted": name} | dict(zip(self.classes, row, strict=True))
            for name, row in zip(self.classes, matrix, strict=True)
        ]
        write_table(cells, folder / MATRIX)
        self.sheet(folder / SHEET)
        return folder

    def sheet(self, path: str | Path | None = None) -> Any:
        """The most confident mistakes as pictures, with what they were taken for."""
        return prediction_sheet(
            path, self.pictures, self.labels, self.predicted, self.confidence,
            class_names=self.classes, title=self.title, max_right=0,
        )  # fmt: skip

    def text(self) -> str:
        """For a terminal."""
        means, wrong = self.means(), len(self.names) - int(self.confusion.matrix.trace())
        top5 = "" if self.top5 != self.top5 else f", {self.top5:.2%} among the five most probable"
        lines = [
            f"evaluated  {self.title}",
            f"accuracy   {self.accuracy:.2%} of {len(self.names):,} pictures, {wrong:,} wrong{top5}",
            f"means      precision {means['precision']:.2%}, recall {means['recall']:.2%}, F1 {means['f1']:.2%}: of "
            "the classes, each weighing the same",
            f"calibrated off by {self.ece:.2%} (expected calibration error, {len(self.bins)} bins)",
            "",
            *_class_lines(self.table()),
        ]
        pairs = self.confusion.most_confused(5)
        lines += ["", *(f"confused   {truth} taken for {guess}: {times}" for truth, guess, times in pairs)] * bool(
            pairs
        )
        return "\n".join([*lines, *(f"unreadable {message}" for message in self.unreadable)])

    def __str__(self) -> str:
        return self.text()


def evaluate(
    model: nn.Module | TrainedModel | str | Path,
    data: Any,
    *,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    transform: Any = None,
    normalize: Normalize | None = Normalize(),  # noqa: B008 - it never changes
    checkpoint: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str | torch.device = "auto",
    precision: str | None = None,
    bins: int = 15,
    on_error: str | None = None,
    trust: bool = False,
    progress: bool | None = False,
) -> Evaluation:
    """Accuracy, confusion, a table by class, calibration and the worst mistakes of a classifier.

    The calibration error is that of Guo et al., "On calibration of modern neural networks", ICML 2017: ECE = sum over bins
    of n_b / n * |accuracy_b - confidence_b|, where a picture is in the bin of its highest probability; bins are equally
    wide, open below and closed above.

    Args:
        model: a run's folder, what ``open_model`` gave, or a module from normalised pictures to logits (N, classes).
        data: a folder of splits or of classes, a pack, a table; a dataset of (picture, class index); or a ``Loader`` of one.
            Of the folder or table that a run was trained on its validation part is taken, whichever way it was split off;
            another table is read by the columns that the run's was.
        split: which part of a folder or table. Default: of a folder with a training part ``"val"``, else all.
        classes: names in the order of the outputs. Default: the run's, else the dataset's.
        transform, normalize: of the pictures, for a module; a run has its own, and a ``Loader`` keeps its.
        checkpoint, trust: of ``open_model``.
        batch_size, workers, on_error: of ``Loader``. Default batch: the run's in validation, else 64.
        device, precision: of ``choose_compute``. Default precision: the run's, else ``"auto"``.
        bins: of the calibration.

    Raises:
        DataError: the data has classes that the model does not know, or cannot be read.
        ConfigError, RunError, CheckpointError: as their names say.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.stack([torch.ones(12), torch.zeros(12)]))
    >>> data = [(torch.ones(3, 2, 2), 0), (-torch.ones(3, 2, 2), 1), (torch.ones(3, 2, 2), 1)]
    >>> report = evaluate(model, data, classes=["cat", "dog"], device="cpu", workers=0)
    >>> round(report.accuracy, 3), report.table()[0]["precision"], report.confusion.most_confused()
    (0.667, 0.5, [('dog', 'cat', 1)])
    """
    if not isinstance(bins, int) or bins < 1:
        raise ConfigError(f"bins must be a whole number, 1 or more. Found: {bins!r}")
    trained = open_model(model, checkpoint, trust=trust) if isinstance(model, str | Path) else model
    if isinstance(trained, TrainedModel):
        module, own = trained.judged, classes or trained.classes
        classes, transform, normalize = own, trained.transform, trained.normalize
        batch_size, precision = batch_size or trained.batch_size, precision or trained.precision
    else:
        module = trained
    dataset, transform, normalize, batch_size = _dataset(
        trained, data, split, classes, transform, normalize, batch_size
    )
    if isinstance(data, Loader) and data.sample_maker.skips_unreadable:
        on_error = on_error or "skip"
    known = [str(name) for name in (classes or getattr(dataset, "classes", None) or ())]
    if not known:
        raise ConfigError("the data does not name its classes: say classes=, in the order of the model's outputs")
    loader = Loader(
        numbered(dataset),
        batch_size or 64,
        transform=transform,
        workers=workers,
        normalize=normalize,
        on_error=on_error,
    )
    places = _places(known, getattr(dataset, "classes", None) or known, dataset)
    title = f"{trained if isinstance(trained, TrainedModel) else type(module).__name__} on {_called(dataset)}"
    return _Counted(module, loader, known, places, device, precision or "auto", progress).result(title, dataset, bins)


class _Counted:
    """Everything that is asked of the batches, gathered."""

    def __init__(
        self, model: nn.Module, loader: Loader, classes: list[str], places: Tensor | None,
        device: str | torch.device, precision: str, progress: bool | None,
    ) -> None:  # fmt: skip
        self._classes, self._loader = classes, loader
        self.confusion = Confusion(len(classes), classes)
        columns: dict[str, list[Tensor]] = {
            name: [] for name in ("index", "label", "guess", "confidence", "true", "five")
        }
        for batch in scored(model, loader, device, precision, progress):
            labels, shares = _labels(batch.rest, places), batch.probabilities
            if shares.shape[1] != len(classes):
                raise DataError(f"the model has {shares.shape[1]} outputs, and there are {len(classes)} classes")
            confidence, guess = shares.max(1)
            self.confusion.update(guess, labels)
            self.confusion.matrix  # noqa: B018 - a label out of range is said at its batch
            five = (shares.topk(min(5, len(classes)), dim=1).indices == labels[:, None]).any(1)
            row = (batch.indices, labels, guess, confidence, shares.gather(1, labels[:, None])[:, 0], five)
            for column, values in zip(columns.values(), row, strict=True):
                column.append(values)
        if not columns["index"]:
            raise DataError("no picture could be read:\n" + "\n".join(loader.skipped[:5]))
        self.columns = {name: torch.cat(values) for name, values in columns.items()}

    def result(self, title: str, dataset: Any, bins: int) -> Evaluation:
        c, named = self.columns, numbered(dataset)
        indices = c["index"].tolist()
        left_out = {index: named.name_of(index) for index in set(range(len(dataset))) - set(indices)}
        return Evaluation(
            title, self._classes, self.confusion, [named.name_of(index) for index in indices],
            c["label"], c["guess"], c["confidence"], c["true"],
            float(c["five"].double().mean()) if len(self._classes) > 5 else float("nan"),
            _bins(c["confidence"].double(), (c["label"] == c["guess"]).double(), bins),
            list(reasons(self._loader.skipped, left_out).values()), _Pictures(dataset, indices),
        )  # fmt: skip


class _Pictures(Sequence[Any]):
    """The pictures of some samples, each opened when it is asked for."""

    def __init__(self, dataset: Any, indices: list[int]) -> None:
        self._dataset, self._indices = dataset, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, place: Any) -> Any:
        return self._dataset[self._indices[place]][0]


def _dataset(
    model: Any, data: Any, split: str | None, classes: Sequence[str] | None, transform: Any, normalize: Any,
    batch_size: int | None,
) -> tuple[Any, Any, Any, int | None]:  # fmt: skip
    """The data set, how its pictures are made, and the batch size."""
    if isinstance(data, str | Path):
        if transform is None:
            raise ConfigError("transform= is missing: how pictures of files are cropped, such as lw.CenterCrop(128)")
        return _opened(Path(data), split, classes, model), transform, normalize, batch_size
    if isinstance(data, Loader):
        maker = data.sample_maker
        if maker.collate is not collate or maker._sample_transform is not None:
            raise ConfigError("evaluate makes batches itself: give it a Loader without collate= and sample_transform=")
        own = maker.transform if transform is None or isinstance(model, TrainedModel) else transform
        return data.dataset, own, data.normalize, batch_size or data.batch_size
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise ConfigError(f"data must be a path, a dataset or a Loader of loopwright. Found: {type(data).__name__}")
    return data, transform, normalize, batch_size


def _opened(path: Path, split: str | None, classes: Sequence[str] | None, model: Any) -> Any:
    """The data that a path stands for."""
    if path.suffix.lower() == SUFFIX and path.is_file():
        return Packed(path, check_source=False)
    options: dict[str, Any] = {}
    if isinstance(model, TrainedModel):
        trained_on = data_of(model.folder, model.settings)
        if trained_on is not None and trained_on.resolve() == path.resolve():
            split, options = split or "val", held_out(model.folder, model.settings)
        elif is_table(path):
            options = columns_of(model.folder, model.settings)
            options |= {} if is_delimited(path) else {"delimiter": None}
    if is_table(path):
        return Table(path, classes=classes, split=split, **options)
    if split is None and path.is_dir() and _has_training_part(path):
        split = "val"
    if split is not None:
        packed = path / f"{split}{SUFFIX}"
        return Packed(packed, check_source=False) if packed.is_file() else _folder(path, split, classes, options)
    return _folder(path, None, classes, {})


def _folder(path: Path, split: str | None, classes: Sequence[str] | None, options: Mapping[str, Any]) -> Any:
    return open_data(path, split, classes=classes, **options) if split else ImageFolder(path, classes=classes)


def _has_training_part(path: Path) -> bool:
    inside = {p.name.lower() for p in path.iterdir() if p.is_dir() or p.suffix == SUFFIX}
    return any(name in inside or f"{name}{SUFFIX}" in inside for name in SPLITS["train"])


def _places(known: Sequence[str], found: Sequence[str], dataset: Any) -> Tensor | None:
    """The model's output for each class of the data; None where they are the same."""
    if list(known) == list(found):
        return None
    unknown = [name for name in found if name not in known]
    if unknown:
        raise DataError(
            f"{_called(dataset)} has {len(unknown)} classes that the model does not know: {', '.join(unknown[:8])}. "
            f"{did_you_mean(unknown[0], known) or 'It knows ' + ', '.join(known[:8])}"
        )
    return torch.tensor([known.index(name) for name in found])


def _labels(rest: tuple[Any, ...], places: Tensor | None) -> Tensor:
    labels = rest[0] if rest else None
    if isinstance(labels, Tensor) and labels.ndim == 1 and not labels.is_floating_point():
        return labels.long() if places is None else places[labels.long()]
    kind = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
    raise DataError(f"evaluate is for one class a picture: samples (picture, index). The labels are {kind}")


def _bins(confidence: Tensor, right: Tensor, count: int) -> list[dict[str, float]]:
    """Bin b holds confidences in (b / count, (b + 1) / count]."""
    edges = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    number = (torch.bucketize(confidence, edges) - 1).clamp(0, count - 1)
    sizes = torch.bincount(number, minlength=count)
    sums = {n: torch.bincount(number, v, minlength=count) for n, v in (("confidence", confidence), ("accuracy", right))}
    return [
        {"from": float(edges[b]), "to": float(edges[b + 1]), "count": int(sizes[b])}
        | {name: float(values[b] / sizes[b]) for name, values in sums.items()}
        for b in range(count)
    ]


def _called(dataset: Any) -> str:
    path = getattr(dataset, "path", None) or getattr(dataset, "root", None)
    split = getattr(dataset, "split", None)
    return (str(path) if path is not None else type(dataset).__name__) + (f", {split}" if split else "")


def _class_lines(rows: list[dict[str, Any]]) -> list[str]:
    """The table, worst class first."""
    ordered = sorted(rows, key=lambda row: row["f1"] if row["f1"] == row["f1"] else 2)
    shown = ordered[:_SHOWN_CLASSES]
    width = max(5, *(len(row["class"]) for row in shown))
    lines = [f"{'class':<{width}}  precision  recall      F1  pictures"]
    lines += [
        f"{row['class']:<{width}}  {_share(row['precision']):>9}  {_share(row['recall']):>6}  {_share(row['f1']):>6}  "
        f"{row['support']:>8,}"
        for row in shown
    ]
    more = len(rows) - len(shown)
    return [*lines, *([f"and {more} classes that are better: all are in {JSON}"] if more else [])]


def _share(value: float) -> str:
    return "-" if value != value else f"{value:.1%}"
