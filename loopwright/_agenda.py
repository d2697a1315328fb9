"""``Agenda``: what is due at a boundary, and when training is over. Decides only; does nothing itself."""

import math
from collections.abc import Mapping
from typing import Any

from ._cursor import Cursor
from ._meetings import Meetings, NoMeetings
from ._when import Due, Limits


class Agenda:
    """The next step and the next moment at which anything is due: all that a step of the loop has to look at.

    Times are those of ``meetings``: of several ranks, what they agreed on.
    """

    def __init__(self, save: Due, report_steps: int, meetings: NoMeetings | Meetings) -> None:
        self._save, self._report_steps, self._meetings = save, report_steps, meetings
        self._elapsed_before = 0.0  # seconds, in earlier lives
        self._began = self._saved_at = meetings.now()
        self.limits = Limits([0])
        self.stop_reason: str | None = None
        self._steps_per_epoch: int | None = None
        self._retry_at = math.inf  # when to try again what could not be saved
        self.next_report = self.next_save = self.next_step = self.next_time = math.inf
        self.always = False  # whether every boundary is to be heard of

    def begin_loop(self, steps_per_epoch: int | None) -> None:
        """A loop over batches begins: what was planned before it counts no more."""
        self._steps_per_epoch = steps_per_epoch
        self.next_report = self.next_save = 0

    def plan(self, cursor: Cursor, next_draw: float) -> None:
        """Look ahead from where training is. What was planned and is still to come stays as it is."""
        step = cursor.step
        if step >= self._meetings.next_step:
            self._meetings.ask(step, self._retry_at)
        if step >= self.next_report:
            self.next_report = (step // self._report_steps + 1) * self._report_steps
        if step >= self.next_save:
            self.next_save = self._save.next_step(step, cursor.epoch, cursor.epoch_step, self._steps_per_epoch)
        steps = (self.next_report, self.next_save, self.limits.steps, self._meetings.next_step)
        self.next_step = 0 if self.always else min(steps)
        deadline = self._began - self._elapsed_before + self.limits.seconds
        times = (self._saved_at + self._save.seconds, self._retry_at, deadline) if self._meetings.own_clock else ()
        self.next_time = min((next_draw, *times))

    def meet(self, step: int, *, surely: bool = False) -> None:
        """Agree with other ranks on the time, and on what is to be obeyed, where that is due."""
        if surely:
            self._meetings.ask(step, self._retry_at)
        if surely or step >= self._meetings.next_step:
            self._retry_at = self._meetings.hear(step, self._retry_at)

    def save_is_due(self, step: int) -> bool:
        return step >= self.next_save or self._meetings.now() >= min(
            self._saved_at + self._save.seconds, self._retry_at
        )

    def save_is_due_after(self, epochs_done: int) -> bool:
        return self._save.at_epoch(epochs_done) or self.save_is_due(-1)

    def saved(self) -> None:
        self._saved_at, self._retry_at = self._meetings.now(), math.inf

    def save_again(self, seconds: float) -> None:
        """A save is due in so many seconds, whatever else is."""
        self._retry_at = self._meetings.now() + seconds

    def stop(self, reason: str) -> None:
        """End after this step; the first reason counts."""
        self.stop_reason = self.stop_reason or reason
        self.hurry()

    def hurry(self) -> None:
        """Something is due at the very next boundary, whatever was planned."""
        self.next_step = 0

    def is_enough(self, step: int) -> bool:
        """Whether the loop over batches shall end here."""
        if self.elapsed() >= self.limits.seconds:
            self.stop(f"time is up: {self.limits.text}")
        return self.stop_reason is not None or step >= self.limits.steps

    def is_over(self, step: int, epochs_done: int) -> bool:
        """Whether no further epoch shall begin."""
        done = self.limits.epochs is not None and epochs_done >= self.limits.epochs
        return done or self.is_enough(step)

    def elapsed(self) -> float:
        """Seconds of training, over all lives."""
        return self._elapsed_before + self._meetings.now() - self._began

    def state_dict(self) -> dict[str, Any]:
        return {"elapsed": self.elapsed(), "stop_reason": self.stop_reason}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._elapsed_before, self.stop_reason = state["elapsed"], state["stop_reason"]
