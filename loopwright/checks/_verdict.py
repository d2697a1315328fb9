"""``Verdict``: what one check found, with its evidence and what to do. Knows nothing about how it was found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["failed", "warning", "passed", "could not look"]
OUTCOMES: tuple[Outcome, ...] = ("failed", "warning", "passed", "could not look")


@dataclass(frozen=True)
class Verdict:
    """What one check found.

    >>> failed("order", "16 of 16 labels of the first batch are 0", "shuffle=True").outcome
    'failed'
    """

    name: str
    outcome: Outcome
    evidence: str  # in numbers
    todo: str = ""  # what to do, where something is wrong
    numbers: Mapping[str, Any] = field(default_factory=dict, repr=False)  # the same for programs: plain values

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "name": self.name, "outcome": self.outcome, "evidence": self.evidence, "todo": self.todo,
            "numbers": dict(self.numbers),
        }  # fmt: skip


class CannotLook(Exception):
    """Raised inside a check where what it needs is not there; the message says what that is."""


def passed(name: str, evidence: str, **numbers: Any) -> Verdict:
    return Verdict(name, "passed", evidence, "", numbers)


def warning(name: str, evidence: str, todo: str, **numbers: Any) -> Verdict:
    return Verdict(name, "warning", evidence, todo, numbers)


def failed(name: str, evidence: str, todo: str, **numbers: Any) -> Verdict:
    return Verdict(name, "failed", evidence, todo, numbers)


def not_seen(name: str, why: str) -> Verdict:
    return Verdict(name, "could not look", why)
