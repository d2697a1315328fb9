"""Labels beside lines, moved as little as need be so that none covers another. Pure function."""

from collections.abc import Sequence


def spread(wanted: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """The middle of each label: near where it is wanted, in the same order, none over another, within ``low`` and ``high``.

    Neighbours that would touch become a block around the mean of what they want, which is the least squares answer.

    >>> spread([10.0, 12.0, 50.0], [10, 10, 10], 0, 100)
    [6.0, 16.0, 50.0]
    """
    order = sorted(range(len(wanted)), key=lambda place: wanted[place])
    blocks: list[tuple[list[int], float, float]] = []  # members, top, height
    for place in order:
        members, height = [place], float(heights[place])
        top = _within(wanted[place] - height / 2, height, low, high)
        while blocks and blocks[-1][1] + blocks[-1][2] > top:
            before, _, above = blocks.pop()
            members, height = before + members, above + height
            top = _within(_best_top(members, wanted, heights), height, low, high)
        blocks.append((members, top, height))
    middles = [0.0] * len(wanted)
    for members, top, _ in blocks:
        for place in members:
            middles[place] = top + heights[place] / 2
            top += heights[place]
    return middles


def _best_top(members: Sequence[int], wanted: Sequence[float], heights: Sequence[float]) -> float:
    above, total = 0.0, 0.0
    for place in members:
        total += wanted[place] - heights[place] / 2 - above
        above += heights[place]
    return total / len(members)


def _within(top: float, height: float, low: float, high: float) -> float:
    return max(low, min(top, high - height))
