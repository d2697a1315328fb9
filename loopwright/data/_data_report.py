"""``DataReport``: what was found in a data set, and whether it is sound. Finds nothing itself; ``_inspect`` fills it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ._data_text import counted, report_text

_SIZES = ("smallest", "median", "largest")


class Finding(NamedTuple):
    """Something about one file or folder."""

    name: str
    what: str


class Copies(NamedTuple):
    """One picture that is there more than once; a split and the labels for each name."""

    exact: bool  # the same bytes, or only nearly the same picture
    names: tuple[str, ...]
    splits: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]

    @property
    def leaks(self) -> bool:
        """Whether more than one split has it."""
        return len(set(self.splits)) > 1

    @property
    def disagrees(self) -> bool:
        """Whether it has different labels."""
        return len({frozenset(labels) for labels in self.labels}) > 1


@dataclass(frozen=True)
class DataReport:
    """What ``inspect_data`` found. ``print(report)`` shows it; ``as_json`` has all of it.

    Names are paths below ``path``. Splits and classes that have no name are "".

    >>> from loopwright import demo_photos, inspect_data
    >>> report = inspect_data(demo_photos() / "val", progress=False)
    >>> report.sound, report.pictures, report.modes
    (True, {'': 249}, {'RGB': 249})
    """

    path: str
    kind: str  #: "splits", "classes", "flat", "packs" or "table"
    pictures: dict[str, int]  #: of each split, broken ones too
    classes: dict[str, dict[str, int]]  #: of each split: pictures a class; one with several labels counts for each
    sizes: dict[str, tuple[float, float, float]]  #: smallest, median, largest: width, height, megapixels, bytes
    modes: dict[str, int]
    formats: dict[str, int]
    turned: int  #: pictures that their EXIF block turns
    broken: list[Finding]  #: cannot be used, and why
    doubtful: list[Finding]  #: can be read, but something is odd
    misnamed: list[Finding]  #: of another format than their extension says
    animated: list[Finding]  #: of more than one frame: the first is used
    odd_names: list[Finding]
    passed_over: dict[str, tuple[int, str]]  #: why: how many, and the first of them
    copies: list[Copies]
    flat: int  #: pictures of nearly one colour, which are not compared with others
    notices: list[str]
    empty_folders: list[str] = field(default_factory=list)  #: class folders without pictures

    @property
    def missing(self) -> dict[str, list[str]]:
        """The classes of training that a split has no picture of."""
        return self._beyond(lambda ours, training: [name for name in training if name not in ours])

    @property
    def unknown(self) -> dict[str, list[str]]:
        """The classes of a split that training has no picture of."""
        return self._beyond(lambda ours, training: [name for name in ours if name not in training])

    @property
    def leaks(self) -> list[Copies]:
        """Pictures that are in more than one split."""
        return [copies for copies in self.copies if copies.leaks]

    @property
    def faults(self) -> list[str]:
        """Why the data are not sound, in a few words each; nothing where they are."""
        leaks, torn = self.leaks, [c for c in self.copies if c.exact and c.disagrees]
        nearly = sum(not copies.exact for copies in leaks)
        # A table has the classes of all its splits, so one without a picture of some is no obstacle.
        lacking = 0 if self.kind == "table" else sum(map(len, self.missing.values()))
        found = (
            (len(self.broken), "broken file", ""),
            (len(leaks), "picture", " in more than one split" + (f" ({nearly} of them nearly)" if nearly else "")),
            (len(torn), "picture", " with different labels"),
            (lacking, "class", " without pictures in a split"),
            (sum(map(len, self.unknown.values())), "class", " that training does not have"),
        )
        return [f"{counted(number, noun)}{rest}" for number, noun, rest in found if number]

    @property
    def sound(self) -> bool:
        """Whether nothing is broken or mislabelled, no picture is in two splits, and all splits have all classes."""
        return not self.faults

    def text(self, width: int = 80) -> str:
        """The report for a terminal of so many columns."""
        return report_text(self, width)

    def as_json(self) -> dict[str, Any]:
        """All of it, as plain values."""
        findings = ("broken", "doubtful", "misnamed", "animated", "odd_names")
        plain = (
            "path",
            "kind",
            "pictures",
            "classes",
            "modes",
            "formats",
            "turned",
            "flat",
            "empty_folders",
            "notices",
        )
        return {
            **{name: getattr(self, name) for name in plain},
            "sizes": {name: dict(zip(_SIZES, of, strict=True)) for name, of in self.sizes.items()},
            **{name: [found._asdict() for found in getattr(self, name)] for name in findings},
            "passed_over": {why: {"count": count, "first": first} for why, (count, first) in self.passed_over.items()},
            "copies": [{**c._asdict(), "leaks": c.leaks, "disagrees": c.disagrees} for c in self.copies],
            "missing": self.missing, "unknown": self.unknown, "sound": self.sound, "verdict": self.faults,
        }  # fmt: skip

    def _beyond(self, compare: Any) -> dict[str, list[str]]:
        training = self.classes.get("train")
        if not training:
            return {}
        found = {split: compare(ours, training) for split, ours in self.classes.items() if split != "train"}
        return {split: names for split, names in found.items() if names}

    def __str__(self) -> str:
        return self.text()


def counts(splits_and_labels: Any) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Pictures a split, and pictures a split and class, in the usual order of splits and sorted by class."""
    pictures: Counter[str] = Counter()
    classes: dict[str, Counter[str]] = {}
    for split, labels in splits_and_labels:
        pictures[split] += 1
        classes.setdefault(split, Counter()).update(labels)
    usual = ("train", "val", "test")
    order = sorted(pictures, key=lambda split: (usual.index(split) if split in usual else len(usual), split))
    return {s: pictures[s] for s in order}, {s: dict(sorted(classes[s].items())) for s in order}
