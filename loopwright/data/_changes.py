"""``changed_records``: those of a pack whose source files are not what was packed. Knows neither formats nor recipes."""

import os
import stat
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

_RECORDS_CHECKED = 20_000  # whose files are looked at; of more, every so-manieth
_MADE_AGAIN = 16  # of those with another time than they had, as copies have


def changed_records(
    stats: np.ndarray, files: Callable[[int], Sequence[str]], is_made_of: Callable[[int], bool]
) -> list[int]:
    """Those with a file of another size, or of another time and, of some that are made anew, another content.

    A data set that was copied has other times throughout. What is not there has not changed.

    Args:
        stats: sizes and times (ns) of the files when they were packed: (records, files of each, 2).
        files: of a record, where they are now.
        is_made_of: whether a record is what its files give now.
    """
    changed: list[int] = []
    touched: list[int] = []
    for index in range(0, len(stats), max(1, -(-len(stats) // _RECORDS_CHECKED))):
        found = {_compared(*pair) for pair in zip(files(index), stats[index].tolist(), strict=True)}
        if "other" in found:
            changed.append(index)
        elif "touched" in found and "gone" not in found:
            touched.append(index)
    again = touched[:: -(-len(touched) // _MADE_AGAIN) or 1]
    return sorted([*changed, *(index for index in again if not is_made_of(index))])


def _compared(file: str, then: Sequence[int]) -> Literal["gone", "other", "touched", "same"]:
    try:
        now = os.stat(file)
    except OSError:
        return "gone"
    if now.st_size != then[0] or not stat.S_ISREG(now.st_mode):
        return "other"
    return "same" if now.st_mtime_ns == then[1] else "touched"
