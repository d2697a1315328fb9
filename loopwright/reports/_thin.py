"""Fewer points for the same picture. Knows nothing of curves.

The steps are cut into stretches with as many points each, and of each the lowest and the highest point are kept, of every
row that is drawn, with the first and the last point of all (as M4 does: Jugel et al., VLDB 2014). A spike of one step stays.
"""

import math
from collections.abc import Sequence


def thin(rows: Sequence[Sequence[float]], most: int) -> list[int]:
    """The places to keep of rows of the same length, in order; all of them where there are no more than ``most``.

    >>> thin([[0, 1, 2, 9, 4, 5, 4, 3, -7, 1]], most=6)
    [0, 1, 3, 5, 8, 9]
    """
    count = len(rows[0])
    if count <= most:
        return list(range(count))
    stretches = max(1, (most - 2) // (2 * len(rows)))
    kept = {0, count - 1}
    for stretch in range(stretches):
        begin = 1 + stretch * (count - 2) // stretches
        end = 1 + (stretch + 1) * (count - 2) // stretches
        for row in rows:
            part = row[begin:end]
            if part:
                kept |= {begin + part.index(min(part)), begin + part.index(max(part))}
    return sorted(kept)


def averaged(steps: Sequence[int], values: Sequence[float], most: int) -> tuple[list[int], list[float]]:
    """The mean of each of ``most`` stretches, for smoothing: the lowest and highest points alone would lean towards spikes.

    >>> averaged([1, 2, 3, 4], [1.0, 3.0, 5.0, 9.0], most=2)
    ([2, 4], [2.0, 7.0])
    """
    count = len(steps)
    if count <= most:
        return list(steps), list(values)
    ends = [(place + 1) * count // most for place in range(most)]
    parts = list(zip([0, *ends[:-1]], ends, strict=True))
    return [steps[end - 1] for _, end in parts], [math.fsum(values[begin:end]) / (end - begin) for begin, end in parts]
