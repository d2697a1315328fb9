"""How batches are made: labels in range, mixed classes, randomness where it belongs. Trains nothing."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._feed import Feed, tensors_of
from ._loss_facts import LossFacts, is_classes
from ._subject import Subject
from ._verdict import CannotLook, Verdict, failed, passed, warning

_SOME = 100  # samples whose labels stand for all
_AGAIN = 8  # samples that are made twice


def labels_fit(
    subject: Subject, facts: LossFacts, output: Tensor, batches: Sequence[Any], names: Sequence[str]
) -> Verdict:
    """Whether targets fit outputs: classes in range and present, shapes that are not broadcast."""
    name = "labels"
    targets = [subject.target(batch) for batch in batches]
    target = targets[0]
    if target.is_floating_point():
        return _shapes_fit(name, facts, output, target)
    if not is_classes(output, target):
        return _shapes_fit(name, facts, output, target)
    seen = torch.cat([t.flatten() for t in targets])
    valid = seen[(seen != -100) & (seen != 255)] if target.ndim > 1 else seen[seen != -100]  # what losses pass over
    classes, low, high = output.shape[1], int(valid.min()), int(valid.max())
    if low < 0 or high >= classes:
        return failed(
            name, f"labels go from {low} to {high}, and the network has {classes} outputs: 0 to {classes - 1}",
            "make the last layer as wide as there are classes, and count classes from 0", low=low, high=high,
        )  # fmt: skip
    counts = torch.bincount(valid, minlength=classes)
    present, most = int((counts > 0).sum()), float(counts.max() / counts.sum())
    said = f"{present} of {classes} classes in {len(valid)} labels, the commonest {most:.0%} of them"
    numbers = {"classes": classes, "present": present, "commonest": most}
    if present == 1 and classes > 1:
        which = names[int(counts.argmax())] if len(names) == classes else int(counts.argmax())
        return failed(name, f"all {len(valid)} labels are the same: {which}", "look at how labels are made", **numbers)
    if len(names) and len(names) != classes:
        return warning(
            name, f"{said}; the data set has {len(names)} classes, the network {classes} outputs",
            "make the last layer as wide as there are classes", **numbers,
        )  # fmt: skip
    if present < classes and len(valid) >= 20 * classes and target.ndim == 1:
        return warning(name, said, "are the missing classes in the training data at all?", **numbers)
    return passed(name, said, **numbers)


def _shapes_fit(name: str, facts: LossFacts, output: Tensor, target: Tensor) -> Verdict:
    shapes = f"outputs {tuple(output.shape)}, targets {tuple(target.shape)}"
    if target.is_floating_point() and output.shape != target.shape and facts.kind != "unknown":
        if output.numel() == target.numel() and output.squeeze().shape == target.squeeze().shape:
            return failed(
                name, f"{shapes}: the loss broadcasts them, and compares every sample with every other",
                "make them the same shape: output.squeeze(1), or target[:, None]",
            )  # fmt: skip
        raise CannotLook(f"{shapes}: what belongs together is not known")
    if target.is_floating_point() and len(target) > 1 and float(target.float().std()) == 0:
        return failed(name, f"all targets of a batch are {float(target.flatten()[0]):g}", "look at how they are made")
    return passed(name, shapes)


def mixed_order(subject: Subject, batches: Sequence[Any], feed: Feed) -> Verdict:
    """Whether training batches mix the classes, as shuffling makes them."""
    name = "order"
    found = [subject.target(batch) for batch in batches]
    if any(target.is_floating_point() or target.ndim != 1 for target in found):
        raise CannotLook("targets are no classes")
    everything = _all_labels(feed, torch.cat(found))
    share = torch.bincount(everything).double() / len(everything)
    size = len(found[0])
    expected = float((1 - (1 - share) ** size).sum())  # classes in a batch that is drawn at random
    seen = sum(len(target.unique()) for target in found) / len(found)
    said = f"a batch of {size} holds {seen:.1f} classes; drawn at random it would hold {expected:.1f}"
    if expected < 1.5 or size < 4:
        raise CannotLook(f"{said}: too few to tell")
    if seen < 0.34 * expected or (seen <= 1.25 and expected > 1.9):
        return failed(
            name, f"{said}: the data are sorted by class", "shuffle: shuffle=True", seen=seen, expected=expected
        )
    return passed(name, said, seen=seen, expected=expected)


def _all_labels(feed: Feed, seen: Tensor) -> Tensor:
    """Of the whole data set, where it has a list of them; else of some samples, or of those that were read."""
    for attribute in ("labels", "targets"):
        known = getattr(feed.dataset, attribute, None)
        if isinstance(known, list | tuple | Tensor) and len(known) and _whole(known):
            return torch.as_tensor(known).flatten().long().clamp(min=0)
    if len(seen.unique()) == 1 and feed.samples:  # the first batches are of one class: are all the others?
        some = torch.linspace(0, feed.samples - 1, min(_SOME, feed.samples)).long().tolist()
        found = [feed.sample(index)[1] for index in some]
        if all(isinstance(label, int | Tensor) and torch.as_tensor(label).ndim == 0 for label in found):
            return torch.tensor([int(label) for label in found]).clamp(min=0)
    return seen.cpu().long().clamp(min=0)


def _whole(known: Any) -> bool:
    return not known.is_floating_point() if isinstance(known, Tensor) else all(isinstance(k, int) for k in known)


def augmented(subject: Subject, train: Feed, val: Feed | None, kind: str, expected: bool | None) -> Verdict:
    """Whether the same training samples look different in another epoch, where that is to be expected."""
    name = "augmentation"
    changed = _changes(subject, train)
    if changed is None:
        raise CannotLook("the training loader cannot be asked for the same samples twice")
    pictures, change = changed
    numbers = {"change": change}
    if change > 0:
        said = f"the same {_AGAIN} training samples differ between epochs by {change:.2f} of their standard deviation"
        if expected is False:
            return failed(
                name, f"{said}, and augment=False says that they do not", "take out the random transforms", **numbers
            )
        return passed(name, said, **numbers)
    said = "training samples are bit for bit the same in every epoch: no transform of them is random"
    todo = "give training a random crop and flip, lw.RandomResizedCrop; if this is intended, say augment=False"
    if expected:
        return failed(
            name, f"{said}, and augmentation was asked for: evaluation's transforms on training?", todo, **numbers
        )
    few = 0 < train.samples < 50_000
    if expected is None and pictures and kind == "classes" and few:
        both = " validation's are made in the same way;" if val is not None else ""
        return warning(
            name, f"{said};{both} evaluation's transforms on {train.samples} training pictures?", todo, **numbers
        )
    return passed(name, said, **numbers)


def steady(subject: Subject, val: Feed, kind: str) -> Verdict:
    """Whether validation is the same each time."""
    name = "validation steady"
    changed = _changes(subject, val)
    if changed is None:
        raise CannotLook("the validation loader cannot be asked for the same samples twice")
    _, change = changed
    if change == 0:
        return passed(name, "validation samples are bit for bit the same in every epoch", change=change)
    said = f"the same {_AGAIN} validation samples differ between epochs by {change:.2f} of their standard deviation"
    todo = "give validation transforms without randomness: lw.CenterCrop"
    return (failed if kind == "classes" else warning)(name, said, todo, change=change)


def _changes(subject: Subject, feed: Feed) -> tuple[bool, float] | None:
    """Whether inputs are pictures, and how much the same samples differ between epochs, over their spread."""
    if feed.samples < 2:
        return None
    indices = torch.linspace(0, feed.samples - 1, min(_AGAIN, feed.samples)).long().tolist()
    drawn = [feed.drawn(indices, epoch) for epoch in (0, 1, 2)]
    if any(batch is None for batch in drawn):
        return None
    first = subject.inputs(drawn[0])
    if not first or any(len(tensors_of(batch)) != len(tensors_of(drawn[0])) for batch in drawn):
        return None
    most = 0.0
    for other in drawn[1:]:
        for one, two in zip(first, subject.inputs(other), strict=True):
            if one.shape != two.shape:
                most = max(most, 1.0)
            elif not torch.equal(one, two):
                spread = float(one.float().std()) + 1e-9
                most = max(most, float((one.float() - two.float()).square().mean().sqrt()) / spread, 1e-6)
    return first[0].ndim == 4, most
