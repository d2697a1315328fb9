"""``Reader``: puts pictures into their places on a board. Knows neither processes nor who takes the batches."""

from typing import Any, NamedTuple

from .._seed import SampleRandom
from ._board import Board, Part
from ._samples import LoadFailure, Note, Samples, unnoted


class Filled(NamedTuple):
    """What a reader has to say of a part."""

    part: Part
    rests: list[Any]  # the samples without their pictures, or ``Unreadable``; none where the iteration was over
    failure: LoadFailure | None = None


class Reader:
    """Fills parts, one after the other. Touches no global generator, so several may do so side by side."""

    def __init__(self, samples: Samples, board: Board, note: Note = unnoted) -> None:
        self._samples, self._board, self._rng, self._note = samples, board, SampleRandom(), note

    def fill(self, part: Part) -> Filled:
        """Put the pictures of a part into its rows, unless its iteration is over; each is noted by its place in the part
        before it is begun."""
        if part.turn != self._board.turn:
            return Filled(part, [])
        try:
            rests = self._samples.show(self._board.read(part), self._rng, self._board.rows(part), self._note)
            return Filled(part, rests)
        except Exception as error:
            return self.failed(part, error)

    def failed(self, part: Part, error: Exception) -> Filled:
        """What to say of a part that an error kept from being filled, while that is being handled."""
        return Filled(part, [], LoadFailure.of(error, self._board.read(self._board.whole(part.slot))))
