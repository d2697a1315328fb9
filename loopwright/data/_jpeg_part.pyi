"""What ``_jpeg_part.c`` becomes, where it is compiled."""

import numpy as np

def decode_part(
    data: bytes, reduction: int, box: tuple[int, int, int, int], room: np.ndarray
) -> tuple[int, int, int, int]:
    """Decode the part of a JPEG file, at 1 / ``reduction`` (1, 2, 4, 8) of its size, that holds a box.

    Args:
        box: left, top, right, bottom.
        room: flat uint8; the RGB pixels of the part are written to its beginning, row by row.

    Returns:
        The part's own box.

    Raises:
        ValueError: damaged data, a rare kind of file whose parts may differ from the whole, a box that is not in the
            picture, or too little room.
    """
