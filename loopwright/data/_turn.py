"""``Turn``: how the pixels of a file become upright, and where a part of one lies in the other."""

from typing import NamedTuple

import numpy as np

Box = tuple[int, int, int, int]


class Turn(NamedTuple):
    """Rows and columns are exchanged, then up and down, then left and right.

    >>> turn = turn_of(6)
    >>> turn.pixels(np.arange(6).reshape(2, 3)).tolist()
    [[3, 0], [4, 1], [5, 2]]
    >>> turn.to_file((0, 0, 1, 2), (2, 3)), turn.from_file((0, 1, 2, 2), (2, 3))
    ((0, 1, 2, 2), (0, 0, 1, 2))
    """

    exchange: bool
    up_down: bool
    left_right: bool

    def pixels(self, pixels: np.ndarray) -> np.ndarray:
        """A view of the pixels (H, W, ...) of a file, upright: nothing is copied."""
        turned = pixels.swapaxes(0, 1) if self.exchange else pixels
        return turned[:: -1 if self.up_down else 1, :: -1 if self.left_right else 1]

    def to_file(self, box: Box, size: tuple[int, int]) -> Box:
        """The part of the file that holds a part of the upright picture, which has ``size``: width and height."""
        left, top, right, bottom = self._mirrored(box, size)
        return (top, left, bottom, right) if self.exchange else (left, top, right, bottom)

    def from_file(self, box: Box, size: tuple[int, int]) -> Box:
        """The part of the upright picture, which has ``size``, that a part of the file becomes."""
        left, top, right, bottom = box
        return self._mirrored((top, left, bottom, right) if self.exchange else box, size)

    def _mirrored(self, box: Box, size: tuple[int, int]) -> Box:
        (left, top, right, bottom), (width, height) = box, size
        if self.left_right:
            left, right = width - right, width - left
        if self.up_down:
            top, bottom = height - bottom, height - top
        return left, top, right, bottom


def turn_of(orientation: int) -> Turn:
    """What EXIF's orientation, 1 to 8, asks for."""
    return _TURNS[orientation - 1]


_TURNS = (
    Turn(exchange=False, up_down=False, left_right=False),
    Turn(exchange=False, up_down=False, left_right=True),
    Turn(exchange=False, up_down=True, left_right=True),
    Turn(exchange=False, up_down=True, left_right=False),
    Turn(exchange=True, up_down=False, left_right=False),
    Turn(exchange=True, up_down=False, left_right=True),
    Turn(exchange=True, up_down=True, left_right=True),
    Turn(exchange=True, up_down=True, left_right=False),
)
