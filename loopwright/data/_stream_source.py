"""``StreamSource``: what ``run.batches`` reads from where it is given a ``ShardStream``."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ._normalize import Normalize, NormalizeRoles
from ._samples import LoadedBatch
from ._shard_walk import START, WalkPlace
from ._slice import WHOLE, Slice
from ._source import Batch

if TYPE_CHECKING:
    from ._shard_stream import ShardStream


class StreamSource:
    """A ``ShardStream``: a place is what it says of itself behind a batch, kept for the last few, as some are read ahead."""

    def __init__(self, stream: ShardStream) -> None:
        self._stream = stream
        self.normalize: Normalize | NormalizeRoles | None = stream.normalize
        self.draws_here = False  # it puts the generators back
        self.takes_parts = False
        self._places: collections.deque[WalkPlace] = collections.deque(maxlen=3)

    def length(self) -> int | None:
        return None

    def describe(self) -> str:
        return self._stream.engine

    def open(self, epoch: int, seed: int, drawn: int, part: Slice = WHOLE) -> Iterator[Batch]:
        start = next((place for place in self._places if place.position == drawn), START) if drawn else START
        for batch, place in self._stream.loaded_batches(
            epoch, start=start, pass_over=drawn - start.position, seed=seed
        ):
            assert isinstance(batch, LoadedBatch)
            self._places.append(place)
            yield Batch(batch.data, batch.count, batch.count, batch.drawn)

    def names(self, epoch: int, seed: int, drawn: int, *, back: int) -> list[str]:
        return []

    def state_dict(self) -> dict[str, Any]:
        return {"stream": self._stream.facts(), "places": [place.state() for place in self._places]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if "stream" in state:
            self._stream.check_facts(state["stream"])
            self._places.extend(WalkPlace.of(place) for place in state["places"])
