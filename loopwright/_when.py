"""Lengths of training with their unit written out ("10 epochs", "500 steps", "2 hours"), and when something is due.

Knows nothing about what becomes due. A bare number is refused wherever a unit could be guessed wrongly.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from ._errors import ConfigError

_UNITS = {
    "step": ("steps", 1), "epoch": ("epochs", 1),
    "second": ("seconds", 1), "minute": ("seconds", 60), "hour": ("seconds", 3600), "day": ("seconds", 86400),
    "sec": ("seconds", 1), "min": ("seconds", 60),
}  # fmt: skip
_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-z]+?)s?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Span:
    """An amount of training: ``amount`` steps, epochs or seconds, exact (a fraction of an epoch is allowed)."""

    amount: Fraction
    unit: str  # "steps", "epochs" or "seconds"

    def __str__(self) -> str:
        number = int(self.amount) if self.amount.denominator == 1 else float(self.amount)
        return f"{number} {self.unit[:-1] if number == 1 else self.unit}"


def parse_span(text: str) -> Span:
    """Read one length of training.

    >>> str(parse_span("0.5 epochs")), str(parse_span("10 minutes"))
    ('0.5 epochs', '600 seconds')
    """
    match = _PATTERN.fullmatch(text) if isinstance(text, str) else None
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None or Fraction(match[1]) == 0:
        raise ConfigError(
            f"{text!r} is not a length of training: write a number above 0 and its unit, such as '1 epoch', "
            "'0.5 epochs', '500 steps' or '10 minutes'"
        )
    span = Span(Fraction(match[1]) * unit[1], unit[0])
    if span.unit == "steps" and span.amount.denominator != 1:
        raise ConfigError(f"{text!r}: steps are whole; write for example '{math.ceil(span.amount)} steps'")
    return span


def parse_spans(spans: str | Sequence[str]) -> tuple[Span, ...]:
    """Read one or several lengths: ``"1 epoch"``, ``"1 epoch, 10 minutes"`` or ``["1 epoch", "10 minutes"]``.

    >>> [str(span) for span in parse_spans("1 epoch, 500 steps")]
    ['1 epoch', '500 steps']
    """
    parts = spans.split(",") if isinstance(spans, str) else list(spans) if isinstance(spans, Sequence) else [spans]
    return tuple(parse_span(part) for part in parts)


class Due:
    """When a thing that happens every so often happens next, in steps and in seconds.

    Steps and epochs fall on a fixed grid (every 500 steps is 500, 1000, ... whatever happened before), so they are the
    same after a resume. Seconds count from the last time that it happened.
    """

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = spans
        #: After how many seconds it is due again; infinity when time does not count.
        self.seconds = min((float(span.amount) for span in spans if span.unit == "seconds"), default=math.inf)

    def next_step(self, step: int, epoch: int, epoch_step: int, steps_per_epoch: int | None) -> float:
        """The first global step after ``step`` at which it is due within the epoch; infinity when there is none.

        ``epoch_step`` is the number of steps done in this epoch. Whole epochs are due at their end: see ``at_epoch``.
        """
        candidates = [math.inf]
        for span in self._spans:
            if span.unit == "steps":
                every = int(span.amount)
                candidates.append((step // every + 1) * every)
            elif span.unit == "epochs" and steps_per_epoch:
                done = epoch + Fraction(epoch_step, steps_per_epoch)
                goal = (done // span.amount + 1) * span.amount
                if goal < epoch + 1:
                    candidates.append(step + math.ceil((goal - done) * steps_per_epoch))
        return min(candidates)

    def at_epoch(self, epochs_done: int) -> bool:
        """Whether it is due now that ``epochs_done`` epochs are done: what lies between two ends is ``next_step``'s."""
        return any(epochs_done % span.amount == 0 for span in self._spans if span.unit == "epochs")


class Limits:
    """How long training goes on: until the first of several lengths is reached.

    >>> Limits([20, "2 hours"]).epochs, Limits([20, "2 hours"]).seconds
    (20, 7200.0)
    """

    def __init__(self, lengths: Sequence[int | str]) -> None:
        spans = [Span(Fraction(n), "epochs") if isinstance(n, int) else parse_span(n) for n in lengths]
        if not spans:
            raise ConfigError(
                "say how long to train: run.epochs(20), run.epochs('500 steps'), run.epochs(20, '2 hours')"
            )
        if any(span.amount < 0 or (span.unit == "epochs" and span.amount.denominator != 1) for span in spans):
            raise ConfigError(f"the number of epochs is whole and 0 or more. Found: {', '.join(map(str, spans))}")
        self.text = " or ".join(map(str, spans))
        self.epochs = min((int(s.amount) for s in spans if s.unit == "epochs"), default=None)
        self.steps = min((int(s.amount) for s in spans if s.unit == "steps"), default=math.inf)
        self.seconds = min((float(s.amount) for s in spans if s.unit == "seconds"), default=math.inf)
