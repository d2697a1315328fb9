"""``Borrowed``: a loader that is read without leaving a trace. Knows nothing of what the batches are for."""

import copy
from collections.abc import Callable, Generator, Iterator
from typing import Any

from torch.utils.data import DataLoader

from .._errors import ConfigError, DataError
from ._source import Batch, OwnLoader, Source, open_source, own_generators


class Borrowed:
    """Reads a loader as often as is wanted, each time from the start of an epoch, and gives it back as it was.

    Of torch's ``DataLoader`` and of other iterables a shallow copy is read, so that what they count and the workers that
    they hold stay their own; generators that they were given are put back by ``give_back``.

    Args:
        loader: a ``Loader``, a ``DataLoader``, or any other iterable of batches that can be gone through again.

    Raises:
        ConfigError: an iterator, which has no way back.

    >>> borrowed = Borrowed([1, 2])
    >>> batches = borrowed.endless(0, lambda source, epoch: source.open(epoch, 0, 0))
    >>> [next(batches).data for _ in range(3)]
    [1, 2, 1]
    """

    def __init__(self, loader: Any) -> None:
        if not hasattr(loader, "__iter__"):
            raise ConfigError(f"the loader is any iterable of batches. Found: a {type(loader).__name__}")
        if hasattr(loader, "__next__"):
            raise ConfigError(
                f"a {type(loader).__name__} can be gone through once, and its batches cannot be put back: give the loader "
                "itself instead of iter(loader), or a list of batches"
            )
        self._loader = loader
        self._skipped = list(loader.skipped) if isinstance(loader, OwnLoader) else None
        self._generators = [(generator, generator.get_state()) for generator in own_generators(loader)]

    def endless(self, epoch: int, opened: Callable[[Source, int], Iterator[Batch]]) -> Generator[Batch, None, None]:
        """The batches of an epoch and of all that follow it."""
        source = open_source(self._apart())
        while True:
            count = 0
            for batch in opened(source, epoch):
                count += 1
                yield batch
            if not count:
                raise DataError(f"the loader gave no batch: a {type(self._loader).__name__} that is empty")
            epoch += 1

    def once(self, opened: Callable[[Source, int], Iterator[Batch]]) -> Generator[Batch, None, None]:
        """The batches of the first epoch."""
        yield from opened(open_source(self._apart()), 0)

    def give_back(self) -> None:
        """Make the loader what it was; workers that it had begun end, and begin again when it is next read."""
        if isinstance(self._loader, OwnLoader):
            self._loader.close()
            self._loader.skipped[:] = self._skipped or []
        for generator, state in self._generators:
            generator.set_state(state)

    def _apart(self) -> Any:
        if isinstance(self._loader, OwnLoader):  # its source has a place of its own
            return self._loader
        apart = copy.copy(self._loader)
        if isinstance(apart, DataLoader):
            _part_samplers(apart)
        return apart


def _part_samplers(apart: DataLoader) -> None:
    """Samplers may count, too; and workers that persist belong to the loader that began them."""
    state = vars(apart)  # its attributes are not to be set otherwise
    state["_iterator"] = None
    sampler, batch_sampler = state.get("sampler"), state.get("batch_sampler")
    state["sampler"] = copy.copy(sampler)
    if batch_sampler is not None:
        state["batch_sampler"] = copy.copy(batch_sampler)
        if getattr(batch_sampler, "sampler", None) is sampler:
            state["batch_sampler"].sampler = state["sampler"]
