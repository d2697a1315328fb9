"""What ``run.batches`` reads from: a ``Loader``, a ``ShardStream``, any iterable of batches, and how to resume them."""

import collections
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from .._errors import CheckpointError
from .._nested import leaves
from .._seed import capture_rng, restore_rng, sample_seed
from ._loader import Loader
from ._normalize import Normalize, NormalizeRoles
from ._samples import LoadedBatch
from ._shard_stream import ShardStream
from ._shard_walk import START, WalkPlace


class Batch(NamedTuple):
    """What a source gives for one step."""

    data: Any
    samples: int  # that it holds
    drawn: int  # samples of the order that it used up
    last: bool = False  # whether it is known already that no other follows


class Source(Protocol):
    """A place to read batches from, that can start anywhere in an epoch."""

    normalize: Normalize | NormalizeRoles | None
    draws_here: bool  # whether reading a batch may draw from this process's global generators

    def length(self) -> int | None:
        """Batches an epoch, if known."""
        ...

    def describe(self) -> str:
        """Who reads, and why they do; nothing where that is the user's own affair."""
        ...

    def open(self, epoch: int, seed: int, drawn: int) -> Iterator[Batch]:
        """The batches of an epoch from a place on."""
        ...

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class LoaderSource:
    """A ``Loader``: any place can be reached at once; all there is to remember is that its data are the same."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self.normalize = loader.normalize
        self.draws_here = False  # it puts the generators back

    def length(self) -> int | None:
        return len(self._loader)

    def describe(self) -> str:
        return self._loader.engine

    def open(self, epoch: int, seed: int, drawn: int) -> Iterator[Batch]:
        for batch in self._loader.loaded_batches(epoch, start=drawn, seed=seed):
            yield Batch(batch.data, batch.count, batch.drawn)

    def state_dict(self) -> dict[str, Any]:
        return {"samples": self._loader.samples}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        before, now = state.get("samples", self._loader.samples), self._loader.samples
        if before != now:
            raise CheckpointError(
                f"the checkpoint was taken in the middle of an epoch of {before} samples, and now there are {now}: their "
                "order would be another. Put the data back as they were, or begin a new run from the weights"
            )


class StreamSource:
    """A ``ShardStream``: a place is what it says of itself behind a batch, kept for the last few, as some are read ahead."""

    def __init__(self, stream: ShardStream) -> None:
        self._stream = stream
        self.normalize: Normalize | NormalizeRoles | None = stream.normalize
        self.draws_here = False  # it puts the generators back
        self._places: collections.deque[WalkPlace] = collections.deque(maxlen=3)

    def length(self) -> int | None:
        return None

    def describe(self) -> str:
        return self._stream.engine

    def open(self, epoch: int, seed: int, drawn: int) -> Iterator[Batch]:
        start = next((place for place in self._places if place.position == drawn), START) if drawn else START
        for batch, place in self._stream.loaded_batches(
            epoch, start=start, pass_over=drawn - start.position, seed=seed
        ):
            assert isinstance(batch, LoadedBatch)
            self._places.append(place)
            yield Batch(batch.data, batch.count, batch.drawn)

    def state_dict(self) -> dict[str, Any]:
        return {"stream": self._stream.facts(), "places": [place.state() for place in self._places]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if "stream" in state:
            self._stream.check_facts(state["stream"])
            self._places.extend(WalkPlace.of(place) for place in state["places"])


class IterableSource:
    """Any iterable, torch's ``DataLoader`` among them: a place is reached by replaying the epoch up to it.

    Such loaders draw their order and their workers' seeds from the global generators when an iteration begins; with
    these put back to what they were then, the replay gives the same batches. A generator of the loader's own
    (``DataLoader(generator=...)``) is seeded from (seed, epoch), since nothing else could put it back.
    What persistent workers (``DataLoader(persistent_workers=True)``) draw goes on from epoch to epoch, out of reach: with
    random transforms in them a resumed run goes on with other numbers.
    """

    normalize: Normalize | NormalizeRoles | None = None

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = batches
        self.draws_here = not (isinstance(batches, DataLoader) and batches.num_workers > 0)
        self._rng_at_start: dict[str, Any] | None = None

    def describe(self) -> str:
        return ""

    def length(self) -> int | None:
        try:
            return len(self._batches)  # type: ignore[arg-type]
        except TypeError:
            return None

    def open(self, epoch: int, seed: int, drawn: int) -> Iterator[Batch]:
        set_epoch = getattr(getattr(self._batches, "sampler", None), "set_epoch", None)
        if set_epoch is not None:  # torch's convention for DistributedSampler
            set_epoch(epoch)
        for generator in _own_generators(self._batches):
            generator.manual_seed(sample_seed(seed, epoch, -1) % 2**63)
        iterator, passed = self._replayed(drawn) if drawn else self._begun()
        length = self.length()
        for number, batch in enumerate(iterator, passed + 1):
            count = count_samples(batch)
            yield Batch(batch, count, count, number == length)

    def _begun(self) -> tuple[Iterator[Any], int]:
        self._rng_at_start = capture_rng()
        return iter(self._batches), 0

    def _replayed(self, drawn: int) -> tuple[Iterator[Any], int]:
        """The iterator behind the first ``drawn`` samples, and how many batches those were."""
        rng_now = capture_rng()
        if self._rng_at_start is not None:
            restore_rng(self._rng_at_start)
        iterator, batches, samples = iter(self._batches), 0, 0
        while samples < drawn and (batch := next(iterator, None)) is not None:
            batches, samples = batches + 1, samples + count_samples(batch)
        restore_rng(rng_now)
        return iterator, batches

    def state_dict(self) -> dict[str, Any]:
        return {"rng_at_start": self._rng_at_start}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._rng_at_start = state.get("rng_at_start")


def _own_generators(batches: Any) -> list[torch.Generator]:
    """The generators that a ``DataLoader`` and its samplers were given, if any."""
    sampler, batch_sampler = getattr(batches, "sampler", None), getattr(batches, "batch_sampler", None)
    owners = (batches, sampler, batch_sampler, getattr(batch_sampler, "sampler", None))
    found = (getattr(owner, "generator", None) for owner in owners)
    return [generator for generator in found if isinstance(generator, torch.Generator)]


def open_source(loader: Any) -> Source:
    if isinstance(loader, ShardStream):
        return StreamSource(loader)
    return LoaderSource(loader) if isinstance(loader, Loader) else IterableSource(loader)


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
