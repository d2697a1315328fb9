"""``PictureFile``: a picture file of which parts can be shown, decoding no more than these need."""

import os
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from ._jpeg import JpegFacts, JpegPart, decode_jpeg, decode_part, jpeg_facts
from ._picture import open_picture, read_file, too_large
from ._turn import Box, turn_of
from ._view import View, at_reduction, show


class PictureFile:
    """A picture in a file, upright 8-bit RGB: as ``open_picture`` reads it, of which ``show`` gives parts.

    Ordinary JPEG files are decoded at 1/2, 1/4 or 1/8 of their size where a view allows it; all others are read whole.

    Raises:
        DataError: as ``open_picture``.

    >>> from loopwright import demo_photos
    >>> photo = PictureFile(next(demo_photos().rglob("*.jpg")))
    >>> photo.show(View((0, 0, photo.width, photo.height), 32, 32)).shape
    (32, 32, 3)
    """

    def __init__(self, path: str | Path, data: bytes | None = None) -> None:
        self._path = path
        self._data = read_file(path) if data is None else data
        self._facts = jpeg_facts(self._data)
        self._pixels: np.ndarray | None = None
        if self._facts is None or too_large(self._facts.width, self._facts.height):
            self._read_whole()
        else:
            width, height = self._facts.width, self._facts.height
            self.width, self.height = (height, width) if turn_of(self._facts.orientation).exchange else (width, height)

    @property
    def file(self) -> tuple[str | Path, bytes]:
        """Its name and its content, as it is."""
        return self._path, self._data

    def show(self, view: View, out: np.ndarray | None = None) -> np.ndarray:
        reduction = self.exact(view.reduction)
        smaller = at_reduction(view, reduction)
        if view.pad is None and (part := self._part(smaller.box, reduction)) is not None:
            pixels, (left, top, *_) = part
            return show(pixels, smaller.moved(-left, -top), out)
        pixels, reduction = self.pixels(reduction)
        return show(pixels, at_reduction(view, reduction), out)

    def pixels(self, reduction: int) -> tuple[np.ndarray, int]:
        """All of it at 1 / ``reduction`` of its size, or at 1 / 1 where that is not exact; and the reduction it has.

        Upright uint8 (H, W, 3), in memory that is used again for this thread's next picture.
        """
        if self._facts is not None:
            reduction = self.exact(reduction)
            try:
                pixels = decode_jpeg(self._data, self._facts, reduction, _room(self._facts))
                return turn_of(self._facts.orientation).pixels(pixels), reduction
            except ValueError:  # damaged: Pillow decides whether it can be read
                self._read_whole()
        assert self._pixels is not None
        return self._pixels, 1

    def _part(self, box: Box, reduction: int) -> JpegPart | None:
        """A part of it at 1 / ``reduction`` of its size that holds the box; None where all has to be read.

        Upright, in memory as that of ``pixels``.
        """
        if self._facts is None or (room := _room(self._facts)) is None:
            return None
        turn, size = turn_of(self._facts.orientation), (-(-self.width // reduction), -(-self.height // reduction))
        try:
            part = decode_part(self._data, self._facts, reduction, turn.to_file(box, size), room)
        except ValueError:  # damaged
            self._read_whole()
            return None
        return JpegPart(turn.pixels(part.pixels), turn.from_file(part.box, size))

    def exact(self, reduction: int) -> int:
        """The reduction, or 1 where it is read whole or where turning upright would move the small pixels by a part."""
        if self._facts is None:
            return 1
        turn = turn_of(self._facts.orientation)
        uneven = (turn.up_down and self.height % reduction) or (turn.left_right and self.width % reduction)
        return 1 if uneven else reduction

    def __fspath__(self) -> str:
        return os.fspath(self._path)

    def picture(self) -> Image.Image:
        return open_picture(self._path, self._data)

    def _read_whole(self) -> None:
        self._facts, self._pixels = None, np.asarray(self.picture())
        self.height, self.width = self._pixels.shape[:2]


_LARGEST_ROOM = 64 * 2**20  # bytes; a larger picture gets memory of its own
_own = threading.local()


def _room(facts: JpegFacts) -> np.ndarray | None:
    """Memory of this thread to decode into: taken anew for each picture, most time would go to page faults."""
    size = facts.width * facts.height * 3
    if size > _LARGEST_ROOM:
        return None
    room = getattr(_own, "room", None)
    if room is None or room.size < size:
        room = _own.room = np.empty(size, np.uint8)
    return room
