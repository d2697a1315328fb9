"""``tiled``: a network over pictures that are larger than memory, part by part. Knows no files and no kinds of models."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ._errors import ConfigError, DataError


def tiled(
    model: Callable[..., Any],
    picture: Tensor | Sequence[Tensor],
    *,
    tile: int = 512,
    overlap: int = 32,
    align: int = 1,
    out: Tensor | None = None,
    device: str | torch.device | None = None,
) -> Any:
    """What ``model(picture)`` gives, computed in squares that overlap, of which the middles are kept.

    Equal to the whole at once, but for the order of sums, where ``overlap`` is at least the receptive field's reach, which
    is the number of layers of 3 x 3 convolutions (17 for DnCNN-S). The picture's own edges are those of the whole: nothing
    is padded here. What sees all of a picture at once, such as attention over it or instance norm, cannot be had in parts.

    Args:
        model: from (N, C, h, w) to (N, D, s h, s w), ``s`` a whole number or 1 over one: a module, which is left in its
            mode, or a function, such as one that turns stored numbers into floats and back. It may give several, as a
            tuple, list or dictionary, each of its own ``s``: as such they come back.
        picture: (N, C, H, W) of any type, on any device, or mapped from a file; several that are as large, for a model of
            several inputs.
        tile: side of what the model is given at once, in pixels of ``picture``.
        overlap: how many of them, at each inner edge, are only context.
        align: tiles begin at multiples of it: 2 to the number of halvings, for models with pooling or strides (8 for
            ``unet``).
        out: where to write, (N, D, s H, s W), of a model that gives one. Default: new tensors on the picture's device.
        device: where parts are computed. Default: where they are.

    Gradients are not kept.

    Raises:
        ConfigError: nothing is left of a tile inside its overlap.
        DataError: the pictures differ in size, or the model gives another size than a multiple of its part's.

    >>> smooth = torch.nn.Conv2d(1, 1, 3, padding=1)
    >>> picture = torch.rand(1, 1, 50, 70)
    >>> torch.allclose(tiled(smooth, picture, tile=16, overlap=1), smooth(picture))
    True
    """
    pictures = [picture] if isinstance(picture, Tensor) else list(picture)
    height, width = _size(pictures)
    check_tiles(tile, overlap, align)
    made: dict[Any, Tensor] = {}
    found: Any = None  # what the model gave last
    with torch.no_grad():
        for rows in _parts(height, tile, overlap, align):
            for columns in _parts(width, tile, overlap, align):
                given = [p[:, :, rows[0] : rows[1], columns[0] : columns[1]] for p in pictures]
                found = model(*(part if device is None else part.to(device) for part in given))
                for name, result in _named(found):
                    up, down = _scale(result, given[0])
                    if name not in made and name is None and out is not None:
                        made[name] = out
                    elif name not in made:
                        size = (*result.shape[:2], height * up // down, width * up // down)
                        made[name] = torch.empty(size, dtype=result.dtype, device=pictures[0].device)
                    (y, sy), (x, sx) = (_inner(part, up, down) for part in (rows, columns))
                    made[name][:, :, y, x] = result[:, :, sy, sx].to(made[name].device)
    if isinstance(found, Tensor):
        return made[None]
    return made if isinstance(found, Mapping) else [*made.values()] if isinstance(found, list) else tuple(made.values())


def _named(result: Any) -> Iterator[tuple[Any, Any]]:
    """The tensors of a result by name or place; the one of a model of one by none."""
    if isinstance(result, Mapping):
        yield from result.items()
    elif isinstance(result, list | tuple):
        yield from enumerate(result)
    else:
        yield None, result


def _parts(size: int, tile: int, overlap: int, align: int) -> Iterator[tuple[int, int, int, int]]:
    """Where tiles begin and end along one axis, and from where to where they are kept."""
    margin = -(-overlap // align) * align  # the context begins at a multiple, too
    step = (tile - margin - overlap) // align * align
    if size <= tile:
        yield 0, size, 0, size
        return
    kept = 0
    while kept < size:
        end = min(size, kept + step)
        if size - end <= overlap:  # the rest is but context: it is kept with this tile
            end = size
        yield max(0, kept - margin), min(size, end + overlap), kept, end
        kept = end


def _inner(part: tuple[int, int, int, int], up: int, down: int) -> tuple[slice, slice]:
    """Where the kept part is in the result of all, and in that of the tile."""
    begin, _, first, last = part
    scaled = [value * up // down for value in (first, last, first - begin, last - begin)]
    return slice(scaled[0], scaled[1]), slice(scaled[2], scaled[3])


def _scale(result: Any, part: Tensor) -> tuple[int, int]:
    """How many times larger the result is, as a fraction."""
    if not isinstance(result, Tensor) or result.ndim != 4:
        raise DataError(f"tiled is for models that give tensors (N, D, H, W). Found: {_kind(result)}")
    (rows, columns), (height, width) = result.shape[2:], part.shape[2:]
    up, down = (rows // height, 1) if rows >= height else (1, height // max(1, rows))
    if (rows * down, columns * down) != (height * up, width * up):
        raise DataError(
            f"the model makes {tuple(result.shape)} of {tuple(part.shape)}: tiled needs a size that is a multiple, or a "
            "part. Of models that make less of odd sizes, give pictures and tiles that divide"
        )
    return up, down


def _size(pictures: Sequence[Tensor]) -> tuple[int, int]:
    shapes = [tuple(picture.shape) for picture in pictures]
    if not shapes or any(len(shape) != 4 or shape[2:] != shapes[0][2:] for shape in shapes):
        raise DataError(
            f"tiled needs pictures (N, C, H, W) of one size. Found: {', '.join(map(str, shapes)) or 'none'}"
        )
    return shapes[0][2], shapes[0][3]


def check_tiles(tile: int, overlap: int, align: int) -> None:
    """``ConfigError`` where nothing would be left of a tile inside its overlap."""
    for name, value, least in (("tile", tile, 1), ("overlap", overlap, 0), ("align", align, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"tiled: {name} must be a whole number, {least} or more. Found: {value!r}")
    margin = -(-overlap // align) * align
    if tile - margin - overlap < align:
        aligned = f", which begins at multiples of {align}" if align > 1 else ""
        raise ConfigError(
            f"tiled: of a tile of {tile} pixels with an overlap of {overlap} on each side{aligned}, fewer than {align} are "
            "left: make tile larger"
        )


def _kind(value: Any) -> str:
    return f"{tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
