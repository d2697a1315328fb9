"""``Alarms``: tells the user and the record what ``Watch`` saw, and which samples were at hand. Decides nothing."""

import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ._cursor import Cursor
from ._errors import NonFiniteError
from ._ledger import Ledger
from ._names import shown_samples
from ._record import Record
from ._watch import Watch

if TYPE_CHECKING:
    from .data._source import Source


class Alarms:
    """Steps that were left out, losses that stand out, and numbers that are not finite, each with its samples.

    Args:
        tell: shows the user a line.
    """

    def __init__(
        self, watch: Watch, ledger: Ledger, record: Record, cursor: Cursor, tell: Callable[[str], object]
    ) -> None:
        self._watch, self._ledger, self._record, self._cursor, self._tell = watch, ledger, record, cursor, tell
        self._source: Source | None = None
        self._seed = 0

    def begin_loop(self, source: "Source", seed: int) -> None:
        """From here on the batches of training come from this source."""
        self._source, self._seed = source, seed

    def look(self) -> None:
        """At a boundary: stop for a number that is not finite, tell of steps that were left out.

        Raises:
            NonFiniteError: by the policy of the run.
        """
        if self._watch.alarmed:
            self._ledger.check_finite()
        for step, why in self._watch.take_left_out():
            self._ledger.note("left_out", step, self._cursor.epoch, reason=why)
            self._tell(f"warning    step {step} was left out: {why}{_shown(self.samples(step))}")

    def tell_spikes(self) -> None:
        """After a report, which has read the values: tell of those that stand out."""
        for step, name, value, median in self._watch.take_spikes():
            self._ledger.note("spike", step, self._cursor.epoch, name=name, value=value, median=median)
            before = f"{name} was {value:.6g} at step {step}, after a median of {median:.6g}"
            self._tell(f"warning    {before}{_shown(self.samples(step))}")

    def note(self, error: BaseException) -> str | None:
        """Where a run stopped for a number: write down the step and its samples; where to look, in words."""
        if not isinstance(error, NonFiniteError) or error.step is None:
            return None
        samples, step = self.samples(error.step), error.step
        command = f"loopwright replay {shlex.quote(str(self._record.folder))} --step {step}"
        facts = {"step": step, "epoch": self._cursor.epoch, "reason": str(error), "samples": samples, "replay": command}
        self._record.write_nonfinite(facts)
        return f"The same step again, looked at closely: {command}{_shown(samples)}"

    def samples(self, step: int | None = None) -> list[str]:
        """The names of the samples of a step of the present loop, by default the present one; none where nobody knows."""
        if self._source is None:
            return []
        return self._source.names(
            self._cursor.epoch, self._seed, self._cursor.drawn, back=0 if step is None else self._cursor.step - step
        )


def _shown(samples: Sequence[str]) -> str:
    return f"\n           its samples: {shown_samples(samples)}" if samples else ""
