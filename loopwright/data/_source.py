"""What ``run.batches`` reads from, and how to resume it: a loader of our own, or any iterable of batches."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from .._nested import leaves
from .._seed import capture_rng, preserved_rng, restore_rng, sample_seed, seed_globals
from ._normalize import Normalize, NormalizeRoles
from ._slice import WHOLE, Slice


class Batch(NamedTuple):
    """What a source gives for one step."""

    data: Any
    samples: int  # that it holds, and that count
    whole: int  # the samples of the batch over all ranks
    drawn: int  # samples of the order that it used up
    last: bool = False  # whether it is known already that no other follows


class Source(Protocol):
    """A place to read batches from, that can start anywhere in an epoch."""

    normalize: Normalize | NormalizeRoles | None
    draws_here: bool  # whether reading a batch may draw from this process's global generators
    takes_parts: bool  # whether it can make the part of one rank alone; else each makes the whole batch and cuts it

    def length(self) -> int | None:
        """Batches an epoch, if known."""
        ...

    def describe(self) -> str:
        """Who reads, and why they do; nothing where that is the user's own affair."""
        ...

    def open(self, epoch: int, seed: int, drawn: int, part: Slice = WHOLE) -> Iterator[Batch]:
        """The batches of an epoch from a place on; of each batch the part of a rank, where parts are taken."""
        ...

    def names(self, epoch: int, seed: int, drawn: int, *, back: int) -> list[str]:
        """What the samples of a batch are called: of the last one before a place, or of one ``back`` before that.

        Empty where nobody knows.
        """
        ...

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class OwnLoader(ABC):
    """What our own loaders have besides their batches: they know how they are read, and their workers end with the run."""

    skipped: list[str]  # messages about the samples that were left out

    @property
    def incidents(self) -> list[str]:
        """Messages about processes that died or hung and were replaced."""
        return []

    @abstractmethod
    def source(self) -> Source:
        """The same batches for ``run.batches``, from any place on."""

    @abstractmethod
    def close(self) -> None:
        """End the workers."""


class IterableSource:
    """Any iterable, torch's ``DataLoader`` among them: a place is reached by replaying the epoch up to it.

    Such loaders draw their order and their workers' seeds from the global generators when an iteration begins; with
    these put back to what they were then, the replay gives the same batches. A generator of the loader's own
    (``DataLoader(generator=...)``) is seeded from (seed, epoch), since nothing else could put it back.
    Several ranks make the whole batch each and cut their part of it, unless a ``DistributedSampler`` gave each its own.
    What persistent workers (``DataLoader(persistent_workers=True)``) draw goes on from epoch to epoch, out of reach: with
    random transforms in them a resumed run goes on with other numbers.
    """

    normalize: Normalize | NormalizeRoles | None = None

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = batches
        self.takes_parts = isinstance(getattr(batches, "sampler", None), DistributedSampler)
        self.draws_here = not (isinstance(batches, DataLoader) and batches.num_workers > 0)
        self._rng_at_start: dict[str, Any] | None = None

    def describe(self) -> str:
        return ""

    def length(self) -> int | None:
        try:
            return len(self._batches)  # type: ignore[arg-type]
        except TypeError:
            return None

    def open(self, epoch: int, seed: int, drawn: int, part: Slice = WHOLE) -> Iterator[Batch]:
        set_epoch = getattr(getattr(self._batches, "sampler", None), "set_epoch", None)
        if set_epoch is not None:  # torch's convention for DistributedSampler
            set_epoch(epoch)
        for generator in own_generators(self._batches):
            generator.manual_seed(sample_seed(seed, epoch, -1) % 2**63)
        alike = sample_seed(seed, epoch, -2) if part.ranks > 1 else None
        iterator, passed = self._replayed(drawn // self._ranks(part), alike) if drawn else self._begun(alike)
        length = self.length()
        for number, batch in enumerate(iterator, passed + 1):
            count = count_samples(batch)
            whole = count * self._ranks(part)
            yield Batch(batch, count, whole, whole, number == length)

    def names(self, epoch: int, seed: int, drawn: int, *, back: int) -> list[str]:
        return []

    def _ranks(self, part: Slice) -> int:
        """How many ranks' samples stand behind one of this loader's."""
        return part.ranks if self.takes_parts else 1

    def _begun(self, alike: int | None) -> tuple[Iterator[Any], int]:
        self._rng_at_start = capture_rng()
        return self._iterated(alike), 0

    def _iterated(self, alike: int | None) -> Iterator[Any]:
        """An iterator; where several ranks cut the same batches, their order is drawn from a seed that they share."""
        if alike is None:
            return iter(self._batches)
        with preserved_rng():
            seed_globals(alike)
            iterator = iter(self._batches)
            first = list(itertools.islice(iterator, 1))  # samplers draw when they are first asked
        return itertools.chain(first, iterator)

    def _replayed(self, drawn: int, alike: int | None) -> tuple[Iterator[Any], int]:
        """The iterator behind the first ``drawn`` samples, and how many batches those were."""
        rng_now = capture_rng()
        if self._rng_at_start is not None:
            restore_rng(self._rng_at_start)
        iterator, batches, samples = self._iterated(alike), 0, 0
        while samples < drawn and (batch := next(iterator, None)) is not None:
            batches, samples = batches + 1, samples + count_samples(batch)
        restore_rng(rng_now)
        return iterator, batches

    def state_dict(self) -> dict[str, Any]:
        return {"rng_at_start": self._rng_at_start}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._rng_at_start = state.get("rng_at_start")


def own_generators(batches: Any) -> list[torch.Generator]:
    """The generators that a ``DataLoader`` and its samplers were given, if any."""
    sampler, batch_sampler = getattr(batches, "sampler", None), getattr(batches, "batch_sampler", None)
    owners = (batches, sampler, batch_sampler, getattr(batch_sampler, "sampler", None))
    found = (getattr(owner, "generator", None) for owner in owners)
    return [generator for generator in found if isinstance(generator, torch.Generator)]


def open_source(loader: Any) -> Source:
    return loader.source() if isinstance(loader, OwnLoader) else IterableSource(loader)


def count_samples(batch: Any) -> int:
    """The samples in a batch: the length of its first tensor; 1 where there is none.

    >>> import torch
    >>> count_samples({"image": torch.zeros(4, 3, 2, 2), "label": torch.zeros(4)})
    4
    """
    head = batch[0] if type(batch) in (tuple, list) and batch else batch  # the customary kinds, without a walk
    if isinstance(head, Tensor):
        return head.size(0) if head.ndim else 1
    first = next(leaves(batch, Tensor), None)
    return first.shape[0] if first is not None and first.ndim else 1
