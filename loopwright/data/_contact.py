"""The contact sheet of a data set: some pictures of each class, and those that are in two splits side by side."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from .._seed import permutation
from .._sheet import PAPER, RED, picture_grid
from ._escaped import escaped

_COLUMNS = 8
_CELLS = 128  # of classes
_PAIRS = 8
_SIDE = 160  # pixels

Cell = tuple[Image.Image, str, str]  # picture, caption, frame


class Shown(NamedTuple):
    """A picture that may be shown: its number, name, split and first label."""

    number: int
    name: str
    split: str
    label: str


def contact_sheet(
    pictures: Sequence[Shown],
    pairs: Sequence[Sequence[Shown]],
    read: Callable[[int], Image.Image],
    title: str,
    path: Path,
) -> None:
    """Draw it as PNG: a row or less for each class, in a seeded choice; then ``pairs``, framed in red."""
    by_label: dict[str, list[Shown]] = {}
    for shown in pictures:
        by_label.setdefault(shown.label, []).append(shown)
    labels = sorted(by_label)
    each = _COLUMNS if len(labels) > 1 else 4 * _COLUMNS
    while each > 1 and each * len(labels) > _CELLS:
        each //= 2
    labels = [labels[place] for place in np.linspace(0, len(labels) - 1, min(len(labels), _CELLS)).astype(int)]
    cells = [cell for label in labels for cell in _of_class(by_label[label], each, read)]
    cells += [_blank()] * (-len(cells) % _COLUMNS if pairs else 0)
    for pair in pairs[:_PAIRS]:
        cells += [
            (_small(read, one), f"{one.split or 'copy'}: {escaped(one.label)}\n{_file(one)}", RED) for one in pair[:2]
        ]
    images, captions, frames = zip(*cells, strict=True)
    picture_grid(images, captions, frames=frames, title=title, columns=_COLUMNS, side=_SIDE, path=path)


def _of_class(pictures: Sequence[Shown], each: int, read: Callable[[int], Image.Image]) -> list[Cell]:
    """``each`` pictures, filled up with white where there are fewer, so that classes stand in rows."""
    chosen = [pictures[place] for place in np.sort(permutation(0, 0, len(pictures))[:each])]
    cells = [(_small(read, one), escaped(one.label), PAPER) for one in chosen]
    return cells + [_blank()] * (each - len(cells))


def _small(read: Callable[[int], Image.Image], shown: Shown) -> Image.Image:
    picture = read(shown.number)
    picture.thumbnail((2 * _SIDE, 2 * _SIDE))
    return picture


def _blank() -> Cell:
    return Image.new("RGB", (_SIDE, 1), PAPER), "", PAPER  # flat, so that it raises no row


def _file(shown: Shown) -> str:
    return escaped(shown.name.rpartition("/")[2])
