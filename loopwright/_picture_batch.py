"""``PictureBatch``: what a loop gives to be shown, checked and copied away from it, so that the loop may go on.

Everything becomes tensors (C, H, W) on the host; numbers are left as they are. Draws nothing and knows no run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ._errors import DataError
from ._sheet import CHANNELS

ERROR_KEYS = "True, or a number above 0 for the top of its scale"
LARGEST = 512  # pixels of the shorter side that are kept: a sheet shows no more
_CLASSES = (torch.int8, torch.int16, torch.int32, torch.int64)
_UNINDEXED = {torch.uint16: torch.int16}  # of the same size: torch cannot index every kind of number

Scale = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation of each channel


@dataclass
class Column:
    """The pictures under one heading.

    Attributes:
        parts: tensors (N, C, H, W) of one size each.
        scale: mean and standard deviation that they were normalised with; None where they are 0..1 or bytes.
        is_classes: whether the numbers are those of classes.
        error: the top of the scale, where this is the difference of the two columns before; 0 chooses it.
    """

    heading: str
    parts: list[Tensor] = field(default_factory=list)
    scale: Scale | None = None
    is_classes: bool = False
    error: float | None = None

    def arrays(self) -> list[np.ndarray]:
        """The pictures (C, H, W) one by one; once they are on the host."""
        return [picture for part in self.parts for picture in _array(part)]


@dataclass
class PictureBatch:
    """Pictures in columns, with their captions or what a classifier made of them."""

    columns: list[Column]
    captions: list[str] | None = None
    output: list[Tensor] = field(default_factory=list)  # (N, classes)
    target: list[Tensor] = field(default_factory=list)  # (N,)
    events: list[Any] = field(default_factory=list)  # of copies that are under way
    count: int = 0

    def wait(self) -> None:
        """Until all copies are there."""
        for event in self.events:
            event.synchronize()

    def add(self, other: "PictureBatch") -> None:
        """Put the rows of another one below."""
        if [one.heading for one in self.columns] != [one.heading for one in other.columns]:
            raise DataError("log_images: the columns of an evaluation's batches are not the same")
        for mine, its in zip(self.columns, other.columns, strict=True):
            mine.parts += its.parts
        if self.captions is not None and other.captions is not None:
            self.captions += other.captions
        self.output += other.output
        self.target += other.target
        self.events += other.events
        self.count += other.count


def take(
    pictures: Any,
    rows: Callable[[int], Sequence[int]],
    *,
    captions: Sequence[str] | None = None,
    output: Any = None,
    target: Any = None,
    scale_of: Callable[[str, int, int], Scale | None] = lambda heading, place, channels: None,
) -> PictureBatch:
    """Check what is given and copy some of its rows.

    Args:
        pictures: pictures, or a mapping from headings to pictures and, for an error map, True or the top of its scale.
        rows: from the number of pictures to those that are wanted.
        output, target: of a model. Numbers of classes (N, K) and (N,) make captions; pictures become columns; class scores
            (N, K, H, W) with class numbers (N, H, W) become masks.
        scale_of: from heading, place of the column and number of channels to how floats were normalised.

    Raises:
        DataError: what is given cannot be shown.
    """
    if isinstance(pictures, Mapping):
        if output is not None or target is not None:
            raise DataError(
                "log_images: give the output and the target as columns of the mapping, or without a mapping"
            )
        named = dict(pictures)
    else:
        named, output, target = _with_output(pictures, output, target)
    given = {heading: _pictures_of(value, heading) for heading, value in named.items() if not _is_error(value)}
    if not given:
        raise DataError("log_images: no pictures were given")
    counts = {heading: len(batch) for heading, batch in given.items()}
    count = next(iter(counts.values()))
    for what, number in (*counts.items(), ("captions", len(captions) if captions is not None else count)):
        if number != count:
            raise DataError(
                f"log_images: {number} of {what!r} for {count} of {next(iter(counts))!r}: give one for each"
            )
    wanted = list(rows(count))
    batch = PictureBatch([], None if captions is None else [str(captions[row]) for row in wanted], count=len(wanted))
    for place, (heading, value) in enumerate(named.items()):
        batch.columns.append(
            _error_column(heading, value, batch.columns, given)
            if _is_error(value)
            else _column(heading, place, given[heading], wanted, scale_of, batch.events)
        )
    if output is not None:
        _check_prediction(output, target, count)
        batch.output = [_copied(output.detach(), wanted, batch.events)]
        batch.target = [] if target is None else [_copied(target.detach(), wanted, batch.events)]
    return batch


def _is_error(value: Any) -> bool:
    return isinstance(value, bool | int | float)


def _with_output(pictures: Any, output: Any, target: Any) -> tuple[dict[str, Any], Any, Any]:
    """The columns of pictures with what a model made of them; what is left is a classifier's."""
    if output is None and target is None:
        return {"": pictures}, None, None
    if output is None:
        if isinstance(target, Tensor) and target.ndim == 1:
            raise DataError("log_images: target= alone has nothing to be compared with: give output=, or captions")
        return {"input": pictures, "target": target}, None, None
    if not isinstance(output, Tensor) or output.ndim not in (2, 4):
        raise DataError(
            "log_images: output= is a model's (N, classes), pictures (N, C, H, W) or class scores (N, classes, H, W). "
            f"Found: {tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__}. Else write captions of "
            "your own"
        )
    if output.ndim == 2:
        return {"": pictures}, output, target
    is_mask = isinstance(target, Tensor) and target.dtype in _CLASSES
    columns = {"input": pictures, "output": output.detach().argmax(1) if is_mask else output}
    if target is not None:
        columns |= {"target": target, "error": True}
    return columns, None, None


def _check_prediction(output: Tensor, target: Any, count: int) -> None:
    if len(output) != count:
        raise DataError(f"log_images: output= has {len(output)} rows for {count} pictures")
    if target is None:
        return
    if not isinstance(target, Tensor) or target.shape != (count,) or target.is_floating_point():
        found = tuple(target.shape) if isinstance(target, Tensor) else type(target).__name__
        raise DataError(
            f"log_images: with output= (N, classes) the target is the number of a class for each picture, ({count},). "
            f"Found: {found}. Write captions of your own else"
        )


# ---- pictures of any kind ---------------------------------------------------------------------------------------------


def _pictures_of(value: Any, heading: str) -> Tensor | list[Tensor]:
    """A batch (N, C, H, W), or a list of pictures (C, H, W) of several sizes."""
    if isinstance(value, list | tuple):
        pictures = [_pictures_of(one, heading) for one in value]
        if not pictures:
            raise DataError(f"log_images: {_named(heading)}no pictures, an empty list")
        if any(isinstance(one, list) or len(one) != 1 for one in pictures):
            raise DataError(f"log_images: {_named(heading)}a list holds one picture (C, H, W) or (H, W) an entry")
        return [one[0] for one in pictures]
    if isinstance(value, Image.Image):
        value = np.asarray(value if value.mode in ("L", "RGB", "RGBA", "I;16") else value.convert("RGB"))
    if isinstance(value, np.ndarray):
        value = _channels_first(value)
    if not isinstance(value, Tensor):
        raise DataError(
            f"log_images: {_named(heading)}a {type(value).__name__} is no picture: give a tensor, an array, a PIL image, "
            "or a list of them"
        )
    batch = _batch_of_classes(value) if value.dtype in _CLASSES else _batch_of_pixels(value)
    if batch is None or 0 in batch.shape or batch.is_complex():
        kind = "class numbers (N, H, W) or (H, W)" if value.dtype in _CLASSES else "(N, C, H, W), (C, H, W) or (H, W)"
        hint = f" Gray pictures are [:, None], {(len(value), 1, *value.shape[1:])}." if value.ndim == 3 else ""
        raise DataError(
            f"log_images: {_named(heading)}{tuple(value.shape)} {value.dtype} are no pictures: give {kind} "
            f"with 1, 3 or 4 channels.{hint}"
        )
    return batch


def _named(heading: str) -> str:
    return f"{heading!r}: " if heading else ""


def _channels_first(array: np.ndarray) -> Tensor:
    """An array as the tensor that it would be; PyTorch's order wins where both could be meant."""
    if array.ndim in (3, 4) and array.shape[-1] in CHANNELS and array.shape[-3] not in CHANNELS:
        array = np.moveaxis(array, -1, -3)
    if array.dtype.byteorder not in "=|":
        array = array.astype(array.dtype.newbyteorder("="))
    return torch.from_numpy(np.array(array))  # a copy: not all arrays can be written to, which torch warns of


def _batch_of_pixels(value: Tensor) -> Tensor | None:
    if value.ndim == 2:
        return value[None, None]
    if value.ndim == 3:
        return value[None] if value.shape[0] in CHANNELS else None
    return value if value.ndim == 4 and value.shape[1] in CHANNELS else None


def _batch_of_classes(value: Tensor) -> Tensor | None:
    if value.ndim == 4:
        return value if value.shape[1] == 1 else None
    return value[None, None] if value.ndim == 2 else value[:, None] if value.ndim == 3 else None


# ---- columns ----------------------------------------------------------------------------------------------------------


def _column(
    heading: str,
    place: int,
    batch: Tensor | list[Tensor],
    rows: list[int],
    scale_of: Callable[[str, int, int], Scale | None],
    events: list[Any],
) -> Column:
    first = batch[0]
    scale = scale_of(heading, place, len(first)) if first.is_floating_point() else None
    column = Column(heading, scale=scale, is_classes=first.dtype in _CLASSES)
    if isinstance(batch, list):
        column.parts = [_copied(_smaller(batch[row].detach()[None]), [0], events) for row in rows]
    else:
        column.parts = [_copied(_smaller(_rows(batch.detach(), rows)), range(len(rows)), events)]
    return column


def _error_column(heading: str, value: Any, before: list[Column], given: Mapping[str, Any]) -> Column:
    if isinstance(value, bool) and not value:
        raise DataError(f"log_images: {heading!r}: leave it out, or write {ERROR_KEYS}")
    if not isinstance(value, bool) and not value > 0:
        raise DataError(f"log_images: {heading!r} is {value!r}: an error map is {ERROR_KEYS}")
    pair = before[-2:]
    if len(pair) < 2 or any(column.error is not None for column in pair):
        raise DataError(f"log_images: {heading!r}: an error map is of the two columns before it: put it behind them")
    one, other = (given[column.heading] for column in pair)
    sizes = [[tuple(picture.shape) for picture in batch] for batch in (one, other)]
    if sizes[0] != sizes[1]:
        raise DataError(
            f"log_images: {heading!r}: {pair[0].heading!r} {sizes[0][0]} and {pair[1].heading!r} {sizes[1][0]} have not the "
            "same shapes"
        )
    return Column(heading, error=0.0 if isinstance(value, bool) else float(value))


def _rows(batch: Tensor, rows: Sequence[int]) -> Tensor:
    """Some rows, copied."""
    if batch.dtype in _UNINDEXED:
        return batch.view(_UNINDEXED[batch.dtype])[list(rows)].view(batch.dtype)
    return batch[list(rows)]


def _smaller(batch: Tensor) -> Tensor:
    """Reduced by a whole factor where it is far larger than a sheet shows, so that little has to be copied."""
    factor = min(batch.shape[-2:]) // LARGEST
    if factor < 2:
        return batch
    if batch.dtype in _CLASSES or batch.dtype == torch.bool:
        return batch[..., ::factor, ::factor]
    if batch.is_floating_point():
        return avg_pool2d(batch.float(), factor)
    whole = batch.to(torch.int32).float() if batch.dtype == torch.uint16 else batch.float()
    return avg_pool2d(whole, factor).round().to(batch.dtype)


def _copied(batch: Tensor, rows: Sequence[int], events: list[Any]) -> Tensor:
    """Some rows in host memory, which nobody else writes to; a GPU is not waited for."""
    if batch.device.type != "cuda":
        return _rows(batch, rows).cpu()
    chosen = _rows(batch, rows)
    host = torch.empty(chosen.shape, dtype=chosen.dtype, pin_memory=True)
    host.copy_(chosen, non_blocking=True)
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(chosen.device))
    events.append(event)
    return host


def _array(part: Tensor) -> np.ndarray:
    return (part.float() if part.dtype in (torch.bfloat16, torch.float16) else part).numpy()
