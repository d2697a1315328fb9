"""Whether a validation sample is in the training data: the same file, the same bytes, or nearly the same picture."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._seed import permutation
from ..data._duplicates import near, same
from ..data._facts import Facts, facts_of, facts_of_pixels
from ..data._undecoded import PictureFile
from ._feed import Feed, unwrapped
from ._verdict import CannotLook, Verdict, failed, passed, warning

NAME = "splits apart"
_MOST = {"train": 4000, "val": 1000}  # of each split, spread over it
_DISTANCE, _DIFFERENCE = 7, 8.0  # as `loopwright data` uses them; see data/_inspect.py for how they were measured
_FEW = 0.01  # share of nearly equal pictures that is worth no more than a warning
_TODO = "take these samples out of training, or split again by source; `loopwright data FOLDER` lists them"


def splits_apart(train: Feed, val: Feed, seconds: float) -> Verdict:
    """Compare files where there are any, then pictures by their bytes and by their looks."""
    if train.dataset is None or val.dataset is None:
        raise CannotLook("the loaders cannot be asked for single samples")
    if shared := _same_indices(train.dataset, val.dataset):
        return failed(
            NAME, f"{shared} of {val.samples} validation samples are training samples: their indices overlap", _TODO,
            shared=shared,
        )  # fmt: skip
    if not (train.raw_is_steady() and val.raw_is_steady()):
        raise CannotLook("samples are no pictures, or others each time, and their data set names no files")
    theirs, chosen = _some_facts(val, seconds / 3)
    ours, _ = _some_facts(train, seconds * 2 / 3)
    looked = f"{len(theirs)} of {val.samples} validation samples beside {len(ours)} of {train.samples} of training"
    equal = _across([found.digest for found in (*ours, *theirs)], len(ours), same)
    alike = _near(ours, theirs)
    numbers = {"equal": len(equal), "near": len(alike), "looked_at": [len(ours), len(theirs)]}
    share = (len(equal) + len(alike)) / len(theirs)
    said = f"of {looked} {len(equal)} are the same and {len(alike)} nearly the same"
    example = next(iter([*equal, *alike]), None)
    if example is not None:
        said += f", such as {_name(val, chosen[example])}"
    if equal or share > _FEW:
        return failed(NAME, said, _TODO, **numbers)
    if alike:
        return warning(NAME, said, _TODO, **numbers)
    return passed(NAME, said, **numbers)


def _same_indices(train: Any, val: Any) -> int:
    """Of two parts of one data set, how many of its samples are in both."""
    (one, ours), (other, theirs) = (_below(dataset) for dataset in (train, val))
    return len(set(ours) & set(theirs)) if one is other else 0


def _below(dataset: Any) -> tuple[Any, Sequence[int]]:
    dataset, indices = unwrapped(dataset)
    while hasattr(dataset, "indices") and hasattr(dataset, "dataset"):  # a Part
        dataset, indices = dataset.dataset, [int(dataset.indices[index]) for index in indices]
    return dataset, list(indices)


def _some_facts(feed: Feed, seconds: float) -> tuple[list[Facts], list[int]]:
    """Of samples by chance, all of them if there are not too many; and their indices."""
    began, found = time.monotonic(), []
    chosen = permutation(0, 0, feed.samples)[: _MOST[feed.what]].tolist()
    for index in chosen:
        found.append(_facts(feed.sample(index)[0]))
        if time.monotonic() - began > seconds:
            break
    return found, chosen


def _facts(raw: PictureFile | np.ndarray | None) -> Facts:
    if raw is None:
        raise CannotLook("samples are no pictures")
    return facts_of_pixels(raw) if isinstance(raw, np.ndarray) else facts_of(raw.file[1])


def _across(keys: Sequence[bytes], ours: int, grouped: Any) -> list[int]:
    """The validation samples, by their place, that are in a group with a training sample."""
    groups = grouped(keys)
    return [place - ours for group in groups if group[0] < ours for place in group if place >= ours]


def _near(ours: Sequence[Facts], theirs: Sequence[Facts]) -> list[int]:
    """Nearly the same, and not the same."""
    exact = set(_across([found.digest for found in (*ours, *theirs)], len(ours), same))
    of = [
        place
        for place, found in enumerate((*ours, *theirs))
        if found.hash >= 0 and found.look and place - len(ours) not in exact
    ]
    if len(of) < 2:
        return []
    both = [*ours, *theirs]
    hashes = np.array([both[place].hash for place in of], np.uint64)
    looks = np.frombuffer(b"".join(both[place].look for place in of), np.uint8).reshape(len(of), -1)
    groups = near(hashes, looks, _DISTANCE, _DIFFERENCE)
    placed = [[of[number] for number in group] for group in groups]
    return [place - len(ours) for group in placed if group[0] < len(ours) for place in group if place >= len(ours)]


def _name(feed: Feed, index: int) -> str:
    named = getattr(feed.dataset, "name_of", None)
    return Path(str(named(index))).name if callable(named) else f"sample {index}"
