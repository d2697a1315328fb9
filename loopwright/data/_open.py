"""``open_data``: the data set that a path stands for, whatever form it has there."""

from pathlib import Path
from typing import Any

from .._errors import DataError
from ._folder import ImageFolder
from ._packed import Packed
from ._packed_pairs import PackedPairs, is_of_pairs
from ._rows import FORMATS, is_table
from ._table import Table

SUFFIX = ".pack"
HOLDOUT = 0.2  # as ImageFolder's


def open_data(path: str | Path, /, split: str, **options: Any) -> Any:
    """One split of a folder: the pack in it (``val.pack``: ``Packed``, or ``PackedPairs`` where it is of several pictures a
    sample) where there is one, else its pictures as ``ImageFolder``. Or one split of a table, as ``Table``: where it names
    no rows for validation, a part is held out as of a folder.

    Args:
        options: of ``ImageFolder``, of a table of ``Table``; a pack has them in itself.

    >>> from loopwright import demo_photos
    >>> open_data(demo_photos(), "val")  # doctest: +ELLIPSIS
    ImageFolder('...', split='val'): 249 pictures of 10 classes
    """
    if is_table(path):
        return Table(path, split=split, **{"holdout": HOLDOUT, **options})
    if Path(path).suffix.lower() == ".tar" or Path(path).is_file():
        shards = "; of tar shards write the loop, with lw.Shards" if Path(path).suffix.lower() == ".tar" else ""
        raise DataError(f"{path}: neither a folder nor a table ({', '.join(FORMATS)}){shards}")
    packed = Path(path) / f"{split}{SUFFIX}"
    if packed.is_file():
        return PackedPairs(packed) if is_of_pairs(packed) else Packed(packed)
    return ImageFolder(path, split=split, **options)
