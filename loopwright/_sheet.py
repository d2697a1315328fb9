"""Pictures on a sheet: a grid with captions, and predictions that were right and wrong, as a PIL image or a PNG file.

Knows nothing of models, runs and plots, opens no window and imports no torch: whoever has tensors has imported it.
"""

import sys
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ._errors import DataError

if TYPE_CHECKING:
    import torch

Picture: TypeAlias = "Image.Image | np.ndarray | torch.Tensor | str | Path"

INK, FAINT_INK, PAPER = "#1f2328", "#59636e", "#ffffff"
GREEN, RED = "#1a7f37", "#cf222e"
MARGIN, GAP, FRAME = 24, 14, 4  # pixels
CAPTION_SIZE, HEADING_SIZE, TITLE_SIZE = 14, 18, 24  # of the font, pixels
TALLEST = 1.35  # times the width of a cell: portraits fill it, a panorama or a tower does not spoil the sheet
SMALLEST_WIDTH = 520  # pixels: room for the headline above a single picture
CHANNELS = (1, 3, 4)  # gray, RGB, RGBA


def picture_grid(
    pictures: "Picture | Sequence[Picture]",
    captions: Sequence[str] | None = None,
    *,
    frames: Sequence[str] | None = None,
    title: str = "",
    columns: int = 8,
    side: int = 160,
    headings: Sequence[str] | None = None,
    path: str | Path | None = None,
) -> Image.Image:
    r"""Lay one picture or many on a white sheet, each with its caption below, and save it as PNG when `path` is given.

    Args:
        pictures: one picture, a sequence of them, or a batch (N, C, H, W) or (N, H, W, C). A picture is a PIL image,
            the path of a file, or an array or tensor (H, W), (C, H, W) or (H, W, C) with 1, 3 or 4 channels. uint8 is
            shown as it is, uint16 by its high byte, bool as black and white; floats are clipped to 0..1, NaN is black.
        captions: one text a picture; ``\n`` starts a line, and a line wider than `side` is cut with an ellipsis.
        frames: one colour a picture, in any notation that Pillow knows.
        side: width of a cell in pixels; larger pictures are reduced to it, smaller ones enlarged.
        headings: one text a column, above them all.

    Raises:
        DataError: no pictures, another number of captions, frames or headings, or a shape or dtype that is no picture.

    >>> from PIL import Image
    >>> picture_grid([Image.new("RGB", (40, 30)), np.zeros((3, 30, 30))], ["a photo", "black"], columns=2).mode
    'RGB'
    """
    listed = _sequence(pictures)
    captions = captions if captions is not None else [""] * len(listed)
    colors = frames if frames is not None else [PAPER] * len(listed)
    for what, given in (("captions", captions), ("frames", colors)):
        if len(given) != len(listed):
            raise DataError(f"{len(given)} {what} for {len(listed)} pictures: give one for each")
    if headings is not None and len(headings) != columns:
        raise DataError(f"{len(headings)} headings for {columns} columns: give one for each")
    cells = [
        _cell(_fitted(_image(picture), side), caption, color, side)
        for picture, caption, color in zip(listed, captions, colors, strict=True)
    ]
    rows = [_row(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    if headings is not None:
        rows.insert(0, _headings(headings, side))
    parts = [_text(title, HEADING_SIZE, INK, max(rows[0].width, SMALLEST_WIDTH)), *rows] if title else rows
    return _saved(_framed(_stack(parts, GAP), MARGIN, PAPER), path)


def prediction_sheet(
    path: str | Path | None,
    pictures: "Picture | Sequence[Picture]",
    truth: Any,
    predicted: Any,
    probability: Any = None,
    *,
    class_names: Sequence[str],
    title: str = "",
    columns: int = 8,
    side: int = 160,
    max_wrong: int = 24,
    max_right: int = 16,
) -> Image.Image:
    """Show what a classifier got wrong, most confident mistakes first, and below what it got right, class by class.

    Args:
        path: where the PNG goes, or None to write no file.
        pictures: N pictures as for `picture_grid`. Only those shown are opened, so a lazy sequence may be long.
        truth: N class indexes (array, tensor or list).
        predicted: N class indexes.
        probability: the N probabilities in 0..1 of the predicted classes.
        max_wrong: at most so many mistakes are shown; the headline counts them all.
        max_right: likewise for right ones.

    Raises:
        DataError: no pictures, other lengths, or a class index that has no name.

    >>> sheet = prediction_sheet(None, np.zeros((2, 8, 8, 3)), [0, 1], [0, 0], [0.9, 0.6], class_names=["cat", "dog"])
    >>> sheet.mode
    'RGB'
    """
    listed = _sequence(pictures)
    labels, guesses = _indexes("truth", truth, class_names), _indexes("predicted", predicted, class_names)
    confidence = np.zeros(len(guesses)) if probability is None else np.atleast_1d(_array(probability))
    _check_lengths(pictures=len(listed), truth=len(labels), predicted=len(guesses), probability=len(confidence))
    by_confidence = np.argsort(-confidence, kind="stable").tolist()
    wrong = [index for index in by_confidence if guesses[index] != labels[index]]
    right = _class_by_class([index for index in by_confidence if guesses[index] == labels[index]], labels)
    order = ", most confident first" if probability is not None else ""

    def caption(index: int) -> str:
        percent = "" if probability is None else f", {confidence[index]:.0%}".replace("%", " %")
        lines = [_cut(class_names[guesses[index]], CAPTION_SIZE, side, tail=percent)]
        if guesses[index] != labels[index]:
            lines.append(f"truth: {class_names[labels[index]]}")
        return "\n".join(lines)

    parts = [_headline(title, right=len(right), total=len(labels), width=max(SMALLEST_WIDTH, columns * side))]
    for indexes, most, color, heading in (
        (wrong, max_wrong, RED, f"wrong{order}"),
        (right, max_right, GREEN, "right"),
    ):
        shown = indexes[:most]
        if shown:
            count = f"{len(indexes)}" if len(shown) == len(indexes) else f"{len(shown)} of {len(indexes)}"
            parts.append(
                picture_grid(
                    [listed[index] for index in shown],
                    [caption(index) for index in shown],
                    frames=[color] * len(shown),
                    title=f"{count} {heading}",
                    columns=columns,
                    side=side,
                )
            )
    return _saved(_stack(parts, 0), path)


# What is given: one or many, PIL or arrays


def _array(values: Any) -> np.ndarray:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.float() if values.is_floating_point() else values).numpy()  # NumPy has no bfloat16
    return np.asarray(values)


def _is_array(value: object) -> bool:
    torch = sys.modules.get("torch")
    return isinstance(value, np.ndarray) or (torch is not None and isinstance(value, torch.Tensor))


def _sequence(pictures: "Picture | Sequence[Picture]") -> Sequence[Any]:
    """One picture as a sequence of one, a batch as a sequence of pictures, a sequence as it is."""
    if isinstance(pictures, Image.Image | str | Path):
        return [pictures]
    if _is_array(pictures):
        array = _array(pictures)
        pictures = list(array) if array.ndim == 4 else [array]
    if not len(pictures):  # type: ignore[arg-type]
        raise DataError("a sheet needs at least one picture, got none")
    return pictures  # type: ignore[return-value]


def _image(picture: "Picture") -> Image.Image:
    """Upright RGB; transparency shows the paper."""
    if isinstance(picture, str | Path):
        with Image.open(picture) as opened:
            picture = ImageOps.exif_transpose(opened)
    if _is_array(picture):
        image = _image_of_array(_array(picture))
    elif isinstance(picture, Image.Image):
        # Pillow clips 16-bit gray to white on conversion; the array way scales it.
        image = _image_of_array(np.asarray(picture)) if picture.mode.startswith("I;16") else picture
    else:
        raise DataError(f"a {type(picture).__name__} is no picture: give a PIL image, an array, a tensor or a path")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, PAPER), image).convert("RGB")
    return image.convert("RGB")


def _image_of_array(array: np.ndarray) -> Image.Image:
    pixels = _channels_last(array)
    if pixels.ndim != 3 or pixels.shape[-1] not in CHANNELS or 0 in pixels.shape:
        raise DataError(
            f"an array of shape {array.shape} is no picture: "
            "give (H, W), (C, H, W) or (H, W, C) with 1, 3 or 4 channels, or a batch of them with N in front"
        )
    pixels = _as_bytes(pixels)
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))


def _channels_last(array: np.ndarray) -> np.ndarray:
    """(H, W, C) whichever way it came. PyTorch's order wins where both could be meant."""
    if array.ndim == 2:
        return array[..., None]
    return np.moveaxis(array, 0, -1) if array.ndim == 3 and array.shape[0] in CHANNELS else array


def _as_bytes(pixels: np.ndarray) -> np.ndarray:
    """To 0..255 without wrapping round."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return (pixels >> 8).astype(np.uint8)
    if pixels.dtype == np.bool_:
        return pixels * np.uint8(255)
    if np.issubdtype(pixels.dtype, np.floating):
        return (np.nan_to_num(pixels.astype(np.float64)).clip(0, 1) * 255).round().astype(np.uint8)
    raise DataError(f"a picture of dtype {pixels.dtype} has no range of its own: give uint8, bool or floats in 0..1")


def _indexes(what: str, values: Any, class_names: Sequence[str]) -> list[int]:
    indexes = np.atleast_1d(_array(values)).tolist()
    for position, index in enumerate(indexes):
        if not 0 <= index < len(class_names):
            raise DataError(f"{what}[{position}] is {index}, but there are {len(class_names)} class names")
    return indexes


def _check_lengths(**lengths: int) -> None:
    if len(set(lengths.values())) > 1:
        raise DataError("one entry a picture is needed, got " + ", ".join(f"{n} {what}" for what, n in lengths.items()))


def _class_by_class(indexes: list[int], labels: list[int]) -> list[int]:
    """The first of each class, then the second of each: even a short row shows many classes."""
    seen: dict[int, int] = {}
    rounds: dict[int, int] = {}
    for index in indexes:
        rounds[index] = seen[labels[index]] = seen.get(labels[index], 0) + 1
    return sorted(indexes, key=lambda index: (rounds[index], labels[index]))


# What is drawn


@cache
def _font(size: int, plain: bool) -> Any:
    """Pillow's own font is the same everywhere but has hardly more than ASCII; other letters need one of the system."""
    if not plain:
        for name in ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "arial.ttf"):
            try:
                return ImageFont.truetype(name, size)
            except OSError:
                continue
    return ImageFont.load_default(size)


def _lettered(text: str, size: int) -> tuple[str, Any]:
    """The text as it can be drawn, and the font: accents go where no font has them."""
    font = _font(size, text.replace("…", "").isascii())
    if font.getname()[0] == "Aileron":
        text = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return text, font


def _cut(text: str, size: int, width: int, tail: str = "") -> str:
    """`text` + `tail`, with so much of the end of `text` replaced by an ellipsis that both fit into `width` pixels."""
    text, font = _lettered(text, size)
    if font.getlength(text + tail) <= width:
        return text + tail
    fitting = bisect_right(range(1, len(text)), width, key=lambda end: font.getlength(text[:end] + "…" + tail))
    return text[:fitting].rstrip() + "…" + tail


def _text(text: str, size: int, color: str, width: int) -> Image.Image:
    """One line, as high as the font whatever its letters, at most `width` wide."""
    text, font = _lettered(_cut(text, size, width), size)
    ascent, descent = font.getmetrics()
    image = Image.new("RGB", (max(1, round(font.getlength(text))), ascent + descent), PAPER)
    ImageDraw.Draw(image).text((0, 0), text, fill=color, font=font)
    return image


def _fitted(image: Image.Image, side: int) -> Image.Image:
    """Scaled into a cell's width and largest height, less the frame."""
    room = side - 2 * FRAME
    scale = min(room / image.width, TALLEST * room / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)


def _framed(image: Image.Image, border: int, color: str) -> Image.Image:
    return ImageOps.expand(image, border, fill=color)


def _cell(image: Image.Image, caption: str, color: str, side: int) -> tuple[Image.Image, Image.Image]:
    """The framed picture, and its caption below: apart, because a row lines up both."""
    lines = [_text(line, CAPTION_SIZE, INK, side) for line in caption.split("\n")] if caption else []
    return _framed(image, FRAME, color), _stack([Image.new("RGB", (side, FRAME), PAPER), *lines], 0, centered=True)


def _row(cells: Sequence[tuple[Image.Image, Image.Image]]) -> Image.Image:
    """Cells side by side: pictures stand on one line, captions hang from it."""
    side = cells[0][1].width
    line = max(picture.height for picture, _ in cells)
    height = line + max(caption.height for _, caption in cells)
    row = Image.new("RGB", (len(cells) * (side + GAP) - GAP, height), PAPER)
    for column, (picture, caption) in enumerate(cells):
        left = column * (side + GAP)
        row.paste(picture, (left + (side - picture.width) // 2, line - picture.height))
        row.paste(caption, (left, line))
    return row


def _headings(headings: Sequence[str], side: int) -> Image.Image:
    """Texts in the middle of their columns."""
    texts = [_text(heading, CAPTION_SIZE, FAINT_INK, side) for heading in headings]
    row = Image.new("RGB", (len(texts) * (side + GAP) - GAP, max(text.height for text in texts)), PAPER)
    for column, text in enumerate(texts):
        row.paste(text, (column * (side + GAP) + (side - text.width) // 2, 0))
    return row


def _stack(parts: Sequence[Image.Image], gap: int, *, centered: bool = False) -> Image.Image:
    """Parts from top to bottom."""
    width = max(part.width for part in parts)
    stack = Image.new("RGB", (width, sum(part.height + gap for part in parts) - gap), PAPER)
    top = 0
    for part in parts:
        stack.paste(part, ((width - part.width) // 2 if centered else 0, top))
        top += part.height + gap
    return stack


def _headline(title: str, *, right: int, total: int, width: int) -> Image.Image:
    accuracy = f"{100 * right / total:.1f} % right: {right} of {total} picture{'s' if total > 1 else ''}"
    lines = [_text(title, TITLE_SIZE, INK, width)] if title else []
    lines.append(_text(accuracy, HEADING_SIZE, FAINT_INK if title else INK, width))
    return ImageOps.expand(_stack(lines, 6), (MARGIN, MARGIN, MARGIN, 0), fill=PAPER)


def _saved(image: Image.Image, path: str | Path | None) -> Image.Image:
    if path is not None:
        image.save(path, format="PNG")
    return image
