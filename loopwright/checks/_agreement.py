"""Do labels agree: within training, and between training and validation? Asked of a probe that knows no network."""

import time
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._seed import permutation
from ..data._undecoded import PictureFile
from ..data._view import Pixels, reduced_view
from ._feed import Feed
from ._probe import Probe, binomial_tail, features
from ._verdict import CannotLook, Verdict, failed, passed, warning

NAME = "labels agree"
_SIDE = 48  # pixels that the probe has of a picture, at most
_MOST = {"train": 1000, "val": 500}
_MOST_CLASSES = 100  # of which pairs are compared
_FEWEST = 8  # samples a class, on average
_ONE_LIST = "make both splits take their labels from one sorted list of classes, and look at the sheet"
_SURE = 0.01  # the chance that a sound data set is called unsound by one of these tests


def labels_agree(train: Feed, val: Feed | None, classes: int, seconds: float) -> Verdict:
    """Whether labels that a probe learns in one place hold in the other, for each pair of classes."""
    pictures, labels = sample_pictures(train, _MOST["train"], seconds * 2 / 3)
    names = train.classes if len(train.classes) == classes else [f"class {n}" for n in range(classes)]
    if val is None:
        return _within(Probe(features(pictures), features(pictures)[:0]), labels, classes, names)
    others, other_labels = sample_pictures(val, _MOST["val"], seconds / 3)
    both = features(torch.cat([pictures, others]))
    probe = Probe(both[: len(pictures)], both[len(pictures) :])
    return _between(probe, labels, other_labels, classes, names)


def sample_pictures(feed: Feed, most: int, seconds: float) -> tuple[Tensor, Tensor]:
    """Some samples by chance: their middle square, float (N, 3, S, S), before any transform, and their labels."""
    began = time.monotonic()
    if not feed.samples:
        raise CannotLook(f"{feed.what} cannot be asked for single samples")
    pixels, labels = [], []
    for index in permutation(0, 0, feed.samples)[:most].tolist():
        raw, label = feed.sample(index)
        if not _is_class(label):
            raise CannotLook("targets are no classes")
        if raw is None or (not pixels and not feed.raw_is_steady()):
            raise CannotLook(f"{feed.what} samples are no pictures, or others each time")
        pixels.append(_square(raw))
        labels.append(int(label))
        if time.monotonic() - began > seconds:
            break
    return torch.cat(pixels), torch.tensor(labels)


def _is_class(label: object) -> bool:
    if isinstance(label, Tensor | np.ndarray):
        return label.ndim == 0 and np.issubdtype(np.asarray(label).dtype, np.integer)
    return isinstance(label, int | np.integer) and not isinstance(label, bool)


def _square(picture: PictureFile | np.ndarray) -> Tensor:
    """The middle square, small: what a centre crop shows. Large files are decoded at a reduced size."""
    height, width = picture.shape[:2] if isinstance(picture, np.ndarray) else (picture.height, picture.width)
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    view = reduced_view((left, top, left + side, top + side), _SIDE, _SIDE, False)
    shown = (Pixels(picture) if isinstance(picture, np.ndarray) else picture).show(view)
    return torch.from_numpy(np.array(shown)).permute(2, 0, 1)[None].float()


def _between(probe: Probe, labels: Tensor, others: Tensor, classes: int, names: Sequence[str]) -> Verdict:
    present = _enough(labels, classes)
    within, across = probe.own(labels, classes), probe.across(labels, classes)
    validation = probe.own(others, classes, other=True)
    accuracies = {
        "training": _accuracy(within, labels), "validation": _accuracy(validation, others),
        "validation by training": _accuracy(across, others),
    }  # fmt: skip
    numbers = {"accuracy": accuracies, "chance": 1 / len(present)}
    order = _other_order(across, others, classes)
    if order is not None and order[1] > 0.7 * min(accuracies["training"], accuracies["validation"]):
        others_too = ", ..." if sum(a != b for a, b in enumerate(order[0])) > 3 else ""
        moved = [f"{names[a]} is called {names[b]}" for a, b in enumerate(order[0]) if a != b]
        return failed(
            NAME,
            "validation counts its classes in another order than training: a probe has "
            f"{accuracies['validation by training']:.0%} of its labels right, and {order[1]:.0%} where "
            f"{', '.join(moved[:3])}{others_too}",
            _ONE_LIST, order=order[0], **numbers,
        )  # fmt: skip
    back = probe.across(others, classes, back=True)
    return _of_pairs((within, labels), (across, others), (back, labels), (validation, others), present, names, numbers)


def _other_order(scores: Tensor, labels: Tensor, classes: int) -> tuple[list[int], float] | None:
    """Other names for the classes that make at least twice as many labels right, and how many; None if there are none."""
    guesses = scores.argmax(1)
    counts = torch.bincount(labels * classes + guesses, minlength=classes**2).reshape(classes, classes)
    order = list(range(classes))
    better = True
    while better:  # exchange the two that help most
        better = False
        for a, b in combinations(range(classes), 2):
            if counts[a, order[b]] + counts[b, order[a]] > counts[a, order[a]] + counts[b, order[b]]:
                order[a], order[b], better = order[b], order[a], True
    moved = [a for a in range(classes) if order[a] != a]
    gained, lost = (int(sum(counts[a, of[a]] for a in moved)) for of in (order, range(classes)))
    before, after = int(counts.trace()), int(counts.trace()) + gained - lost
    if after < 2 * before or binomial_tail(gained, gained + lost) > 1e-4:
        return None
    return order, after / len(labels)


Scored = tuple[Tensor, Tensor]  # scores and labels


def _of_pairs(
    within: Scored,
    across: Scored,
    back: Scored,
    validation: Scored,
    present: Sequence[int],
    names: Sequence[str],
    numbers: dict[str, Any],
) -> Verdict:
    """For each two classes: do they keep their places between the splits, and can they be told apart in both?"""
    pairs = list(combinations(present, 2))
    sure = _SURE / max(1, len(pairs))
    swapped, mixed = [], []
    for pair in pairs:
        own, crossed, returned, theirs = (_right(*scored, pair) for scored in (within, across, back, validation))
        if _above(own, sure) and _below(crossed, sure):
            swapped.append((pair, own, crossed))
            continue
        # Wherever training's labels are used: within training alone a draw of few pictures may be a hard one.
        used = sum(found[0] for found in (own, crossed, returned)), sum(found[1] for found in (own, crossed, returned))
        if not _above(used, 0.05) and _above(theirs, sure) and _differ(used, theirs, sure):
            mixed.append((pair, used, theirs))
    if swapped:
        (a, b), own, crossed = min(swapped, key=lambda found: found[2][0] / found[2][1])
        return failed(
            NAME,
            f"{names[a]} and {names[b]} have changed places between training and validation: a probe tells them apart in "
            f"training ({_share(own)} right) and has them the wrong way round in validation ({_share(crossed)})"
            + (f"; so it is with {len(swapped)} pairs of classes" if len(swapped) > 1 else ""),
            _ONE_LIST, pairs=[[names[a], names[b]] for (a, b), *_ in swapped], **numbers,
        )  # fmt: skip
    if mixed:
        (a, b), used, theirs = min(mixed, key=lambda found: found[1][0] / found[1][1])
        return failed(
            NAME,
            f"the labels {names[a]} and {names[b]} are mixed up in training: a probe cannot tell these apart within it, nor "
            f"from it to validation and back ({_share(used)} right), and can within validation ({_share(theirs)})",
            "look at pictures of these two classes in the sheet, and label them again",
            pairs=[[names[a], names[b]] for (a, b), *_ in mixed], **numbers,
        )  # fmt: skip
    said = ", ".join(f"{name} {value:.0%}" for name, value in numbers["accuracy"].items())
    return passed(NAME, f"a probe that knows no network finds no classes that changed places: {said} right", **numbers)


def _within(probe: Probe, labels: Tensor, classes: int, names: Sequence[str]) -> Verdict:
    """Without validation: a pair at chance among pairs that are not."""
    present = _enough(labels, classes)
    scores = probe.own(labels, classes)
    found = {pair: _right(scores, labels, pair) for pair in combinations(present, 2)}
    middle = float(np.median([right / total for right, total in found.values()]))
    worst, (right, total) = min(found.items(), key=lambda item: item[1][0] / item[1][1])
    accuracy = _accuracy(scores, labels)
    if middle >= 0.75 and len(found) >= 3 and not _above((right, total), 0.05):
        a, b = worst
        return warning(
            NAME,
            f"a probe cannot tell {names[a]} from {names[b]} ({_share((right, total))} right; median of the pairs "
            f"{middle:.0%})",
            "look at pictures of these two classes in the sheet: their labels may be mixed up. Give val=, which tells it "
            "from classes that are hard",
            pairs=[[names[a], names[b]]], accuracy=accuracy,
        )  # fmt: skip
    return passed(
        NAME, f"a probe that knows no network has {accuracy:.0%} right, no pair of classes at chance", accuracy=accuracy
    )


def _enough(labels: Tensor, classes: int) -> list[int]:
    counts = torch.bincount(labels, minlength=classes)
    present = [number for number in range(len(counts)) if counts[number] >= _FEWEST]
    if not 2 <= len(present) <= _MOST_CLASSES or len(labels) < _FEWEST * classes:
        raise CannotLook(
            f"it needs 2 to {_MOST_CLASSES} classes and {_FEWEST} samples of each; {len(labels)} samples of {classes} "
            "classes were looked at"
        )
    return present


def _right(scores: Tensor, labels: Tensor, pair: tuple[int, int]) -> tuple[int, int]:
    """How many samples of a pair of classes have the higher score for their own, and how many there are."""
    a, b = pair
    of = (labels == a) | (labels == b)
    right = (scores[of, a] > scores[of, b]) == (labels[of] == a)
    return int(right.sum()), int(of.sum())


def _above(found: tuple[int, int], sure: float) -> bool:
    return binomial_tail(*found) < sure


def _below(found: tuple[int, int], sure: float) -> bool:
    right, total = found
    return binomial_tail(total - right, total) < sure


def _differ(one: tuple[int, int], other: tuple[int, int], sure: float) -> bool:
    """Whether the second share is higher: the normal approximation of two proportions."""
    (a, n), (b, m) = one, other
    if not n or not m:
        return False
    both = (a + b) / (n + m)
    error = (both * (1 - both) * (1 / n + 1 / m)) ** 0.5
    z = (b / m - a / n) / max(error, 1e-9)
    return 0.5 * float(torch.erfc(torch.tensor(z / 2**0.5, dtype=torch.float64))) < sure


def _accuracy(scores: Tensor, labels: Tensor) -> float:
    return float((scores.argmax(1) == labels).double().mean())


def _share(found: tuple[int, int]) -> str:
    right, total = found
    return f"{right} of {total}"
