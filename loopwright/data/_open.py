"""``open_data``: the data set that a path stands for, whatever form it has there."""

from pathlib import Path
from typing import Any

from ._folder import ImageFolder
from ._packed import Packed

SUFFIX = ".pack"


def open_data(root: str | Path, split: str, **options: Any) -> ImageFolder | Packed:
    """One split of a folder: the pack in it (``val.pack``) where there is one, else its pictures as ``ImageFolder``.

    Args:
        options: of ``ImageFolder``; a pack has them in itself.

    >>> from loopwright import demo_photos
    >>> open_data(demo_photos(), "val")  # doctest: +ELLIPSIS
    ImageFolder('...', split='val'): 249 pictures of 10 classes
    """
    packed = Path(root) / f"{split}{SUFFIX}"
    return Packed(packed) if packed.is_file() else ImageFolder(root, split=split, **options)
