"""A sheet of what a model makes of pictures: in columns, with captions, right and wrong ones marked. Writes no file."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin  # noqa: F401 - not to be imported later, in a thread, while others fork

from ._picture_batch import Column, PictureBatch
from ._sheet import GREEN, PAPER, RED, picture_grid
from ._shown import Facts, class_colors, difference, heat, top_of, unit, visible

ACROSS = 4  # cells of a line: in half the width of a page the captions can still be read
SMALLEST, LARGEST = 128, 256  # pixels of a cell: smaller pictures are enlarged by a whole factor, larger ones reduced
_BORDER = 8  # of a cell, for its frame


@dataclass
class Drawn:
    """A sheet as PNG, and what stands on it."""

    data: bytes
    captions: list[str]
    wrong: list[bool] | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    is_off: bool = False  # whether so much was clamped that the pictures must have been normalised


def draw(batch: PictureBatch, title: str, *, classes: Sequence[str] | None = None, columns: int | None = None) -> Drawn:
    """Draw the pictures of a batch, one a row of columns, as many of them side by side as there is room for."""
    batch.wait()
    facts = Facts()
    lists, headings = _drawn_columns(batch.columns, facts)
    captions, wrong = _captions(batch, classes)
    side, factor = _side(lists)
    groups = min(columns or max(1, ACROSS // len(lists)), batch.count)
    if wrong is not None:
        title += f": {wrong.count(False)} of {len(wrong)} right"
    cells, texts, frames = [], [], []
    for row in range(batch.count):
        for place, pictures in enumerate(lists):
            cells.append(_enlarged(pictures[row], factor))
            texts.append(captions[row].replace(", was ", "\nwas ") if captions and not place else "")
            frames.append(PAPER if wrong is None or place else RED if wrong[row] else GREEN)
    sheet = picture_grid(
        cells, texts, frames=frames, title=title, columns=groups * len(lists), side=side,
        headings=headings * groups if any(headings) else None,
    )  # fmt: skip
    stream = io.BytesIO()
    sheet.save(stream, "PNG", compress_level=1)  # twice as fast as by default, and hardly larger
    return Drawn(stream.getvalue(), captions, wrong, _notes(facts), facts.is_off)


def _drawn_columns(columns: Sequence[Column], facts: Facts) -> tuple[list[list[np.ndarray]], list[str]]:
    """The pictures of each column as colours, and the headings."""
    drawn: list[list[np.ndarray]] = []
    headings: list[str] = []
    before: list[list[np.ndarray]] = []  # numbers in 0..1, or classes
    for column in columns:
        heading = column.heading
        if column.error is not None:
            colors, heading = _error_map(column, before[-2], before[-1])
        elif column.is_classes:
            before.append(column.arrays())
            colors = [class_colors(picture[0]) for picture in before[-1]]
        else:
            before.append([unit(picture, column.scale) for picture in column.arrays()])
            for values in before[-1]:
                facts.see(values)
            colors = [visible(values) for values in before[-1]]
        drawn.append(colors)
        headings.append(heading)
    return drawn, headings


def _error_map(column: Column, ones: list[np.ndarray], others: list[np.ndarray]) -> tuple[list[np.ndarray], str]:
    apart = [difference(one, other) for one, other in zip(ones, others, strict=True)]
    top = column.error or top_of(apart)
    return [heat(values, top) for values in apart], f"{column.heading}: black 0, white {top:g}"


def _side(lists: Sequence[Sequence[np.ndarray]]) -> tuple[int, int]:
    """The width of a cell, and by how much small pictures are enlarged: whole pixels stay whole."""
    widest = max(picture.shape[1] for pictures in lists for picture in pictures)
    if widest >= SMALLEST:
        return min(widest, LARGEST) + _BORDER, 1
    factor = -(-SMALLEST // widest)
    return factor * widest + _BORDER, factor


def _enlarged(picture: np.ndarray, factor: int) -> Image.Image:
    image = Image.fromarray(picture)
    size = (image.width * factor, image.height * factor)
    return image if factor == 1 else image.resize(size, Image.Resampling.NEAREST)


def _captions(batch: PictureBatch, classes: Sequence[str] | None) -> tuple[list[str], list[bool] | None]:
    """What is written below each picture, and which predictions are wrong."""
    if not batch.output:
        return list(batch.captions or []), None
    scores = np.concatenate([part.double().numpy() for part in batch.output])
    scores = np.exp(scores - scores.max(1, keepdims=True))
    shares = scores / scores.sum(1, keepdims=True)
    guesses = shares.argmax(1).tolist()
    names = classes if classes is not None and len(classes) == scores.shape[1] else None

    def name(number: int) -> str:
        return names[number] if names is not None and 0 <= number < len(names) else str(number)

    texts = [f"{name(guess)} {share[guess]:.2f}" for guess, share in zip(guesses, shares, strict=True)]
    wrong = None
    if batch.target:
        truth = [int(number) for part in batch.target for number in part.tolist()]
        wrong = [guess != true for guess, true in zip(guesses, truth, strict=True)]
        texts = [
            f"{text}, was {name(true)}" if bad else text for text, true, bad in zip(texts, truth, wrong, strict=True)
        ]
    own = batch.captions
    return [f"{text}\n{own[row]}" if own else text for row, text in enumerate(texts)], wrong


def _notes(facts: Facts) -> dict[str, Any]:
    notes: dict[str, Any] = {}
    if facts.no_numbers:
        notes["not_numbers"] = facts.no_numbers
    if facts.clamped:
        notes |= {"clamped": facts.clamped, "lowest": facts.low, "highest": facts.high}
    return notes
