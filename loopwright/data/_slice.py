"""``Slice``: the part of each batch that one of several processes takes. Knows neither batches nor processes."""

from typing import NamedTuple


class Slice(NamedTuple):
    """Which of how many. The parts of a batch lie side by side, in the order of the ranks, and differ by one at most.

    >>> [Slice(rank, 4).of(10) for rank in range(4)]
    [(0, 2), (2, 5), (5, 7), (7, 10)]
    """

    rank: int = 0
    ranks: int = 1

    def of(self, count: int) -> tuple[int, int]:
        """Where the part of a batch of ``count`` samples begins and ends; empty where there are more ranks than samples."""
        return count * self.rank // self.ranks, count * (self.rank + 1) // self.ranks


WHOLE = Slice()
