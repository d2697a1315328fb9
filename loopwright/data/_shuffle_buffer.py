"""``ShuffleBuffer``: a stream in another order, a pure function of (seed, epoch, position). Knows no samples."""

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from .._seed import SampleRandom

Item = TypeVar("Item")
_FIRST = (
    100  # items that the first draw chooses from; each draw lets one more in, so that the first does not wait for all
)


class ShuffleBuffer(Generic[Item]):
    """Draws from the items that came in, at most ``size`` of them at a time.

    Which one is drawn at a position depends on (seed, epoch, position) and on how many are held, on nothing else. So a
    buffer with the same items in the same places goes on as this one does.

    >>> items = list(ShuffleBuffer(3, seed=0, epoch=0).shuffled("abcdef"))
    >>> sorted(items) == list("abcdef"), items == list(ShuffleBuffer(3, seed=0, epoch=0).shuffled("abcdef"))
    (True, True)
    """

    def __init__(self, size: int, *, seed: int, epoch: int, position: int = 0, items: Iterable[Item] = ()) -> None:
        self._size, self._seed, self._epoch = size, seed, epoch
        self.position, self.items = position, list(items)
        self._rng = SampleRandom()

    def shuffled(self, incoming: Iterable[Item]) -> Iterator[Item]:
        """What comes in, each once; between two items ``position`` and ``items`` say what is to come."""
        for item in incoming:
            self.items.append(item)
            while len(self.items) > min(self._size, _FIRST + self.position):
                yield self._draw()
        while self.items:
            yield self._draw()

    def _draw(self) -> Item:
        """Streams of samples have numbers of 0 and more, those of positions negative ones."""
        rng = self._rng.go_to(self._seed, self._epoch, -2 - self.position)
        place = int(rng.random() * len(self.items))
        self.position += 1
        self.items[place], self.items[-1] = self.items[-1], self.items[place]
        return self.items.pop()
