"""``Reader``: puts pictures into their places on a board. Knows neither processes nor who takes the batches."""

from typing import Any, NamedTuple

from .._seed import SampleRandom
from ._board import Board, Part
from ._samples import LoadFailure, Samples


class Filled(NamedTuple):
    """What a reader has to say of a part."""

    part: Part
    rests: list[Any]  # the samples without their pictures, or ``Unreadable``; none where the iteration was over
    failure: LoadFailure | None = None


class Reader:
    """Fills parts, one after the other. Touches no global generator, so several may do so side by side."""

    def __init__(self, samples: Samples, board: Board) -> None:
        self._samples, self._board, self._rng = samples, board, SampleRandom()

    def fill(self, part: Part) -> Filled:
        """Put the pictures of a part into its rows, unless its iteration is over."""
        if part.turn != self._board.turn:
            return Filled(part, [])
        try:
            return Filled(part, self._samples.show(self._board.read(part), self._rng, self._board.rows(part)))
        except Exception as error:
            return Filled(part, [], LoadFailure.of(error, self._board.read(self._board.whole(part.slot))))
