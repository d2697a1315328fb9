"""Which pictures of a batch are shown, and how their floats were normalised. Copies and draws nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._errors import DataError
from .data._normalize import Normalize, NormalizeRoles

if TYPE_CHECKING:
    from ._picture_batch import Scale


def evenly(count: int, most: int, batch: int = 0, batches: int | None = None) -> list[int]:
    """The rows of a batch that belong to ``most`` ones spread evenly over all batches; of unknown many, to the first.

    >>> evenly(4, 2), evenly(10, 5, 0, 2), evenly(10, 5, 1, 2), evenly(3, 8)
    ([1, 3], [2, 6], [0, 4, 8], [0, 1, 2])
    """
    unit = 2 * most  # whole numbers: the middle of each share, as parts of a batch
    places = [(2 * place + 1) * (batches or 1) - unit * batch for place in range(most)]
    return sorted({place * count // unit for place in places if 0 <= place < unit})


def given_scale(
    mean: Sequence[float] | float | None, std: Sequence[float] | float | None, channels: int
) -> "Scale | None":
    """Mean and standard deviation of each channel, as they were given.

    >>> given_scale(0.5, (0.2, 0.2, 0.2), 3)
    ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    """
    parts = []
    for what, value, default in (("mean", mean, 0.0), ("std", std, 1.0)):
        numbers = [default if value is None else value] if value is None or isinstance(value, int | float) else [*value]
        if len(numbers) not in (1, channels):
            raise DataError(f"log_images: {what}= has {len(numbers)} numbers for pictures of {channels} channels")
        parts.append(tuple(float(number) for number in (numbers * channels if len(numbers) == 1 else numbers)))
    return parts[0], parts[1]


def scale_of_batches(
    known: Normalize | NormalizeRoles | None, heading: str, place: int, channels: int
) -> "Scale | None":
    """What the loader did to floats of so many channels.

    Where its parts have normalisations of their own: that of the part named like the heading; else the first column is taken
    for the first part of the batch, and all others, made to be like the target, for the last one.
    """
    found: Any = known
    if isinstance(known, NormalizeRoles):
        parts = list(known.roles.values())
        found = known.roles[heading] if heading in known.roles else parts[0 if place == 0 else -1] if parts else None
    if not isinstance(found, Normalize) or len(found.mean) != channels:  # ToUnit gives 0..1
        return None
    return found.mean, found.std
