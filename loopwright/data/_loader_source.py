"""``LoaderSource``: what ``run.batches`` reads from where it is given a ``Loader``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .._errors import CheckpointError
from ._slice import WHOLE, Slice
from ._source import Batch

if TYPE_CHECKING:
    from ._loader import Loader


class LoaderSource:
    """A ``Loader``: any place can be reached at once; all there is to remember is that its data are the same."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self.normalize = loader.normalize
        self.draws_here = False  # it puts the generators back
        self.takes_parts = True

    def length(self) -> int | None:
        return len(self._loader)

    def describe(self) -> str:
        return self._loader.engine

    def open(self, epoch: int, seed: int, drawn: int, part: Slice = WHOLE) -> Iterator[Batch]:
        for batch in self._loader.loaded_batches(epoch, start=drawn, seed=seed, part=part):
            yield Batch(batch.data, batch.count, batch.whole, batch.drawn)

    def names(self, epoch: int, seed: int, drawn: int, *, back: int) -> list[str]:
        return self._loader.names_before(epoch, seed, drawn, back=back)

    def state_dict(self) -> dict[str, Any]:
        return {"samples": self._loader.samples}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        before, now = state.get("samples", self._loader.samples), self._loader.samples
        if before != now:
            raise CheckpointError(
                f"the checkpoint was taken in the middle of an epoch of {before} samples, and now there are {now}: their "
                "order would be another. Put the data back as they were, or begin a new run from the weights"
            )
