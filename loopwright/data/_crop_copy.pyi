"""What ``_crop_copy.c`` becomes, where it is compiled."""

import numpy as np

def copy(source: np.ndarray, target: np.ndarray, mirrored: bool, streamed: bool) -> None:
    """Copy pixels, uint8 (H, W, 3), of which those of a row lie side by side, mirrored left to right if asked.

    Args:
        target: of the same shape; it may be the memory of ``source``, row upon row, but not otherwise overlap it.
        streamed: past the caches, for what is not used at once.

    Raises:
        ValueError: other shapes, or pixels that lie apart.
    """
