"""A sweep's outcomes as a table for a terminal: best first, and nothing dropped. Knows nothing of files."""

from collections.abc import Sequence
from typing import Any

from .._progress import seconds_text
from .._yaml import show
from ._outcome import Outcome

_WIDEST = 40  # letters of one value


def outcome_table(ranked: Sequence[Outcome], others: Sequence[Outcome], keys: Sequence[str], metric: str) -> str:
    """One line a trial: those with a value in their order, then the others with what became of them."""
    names = _short(keys)
    rows = [("", metric, "at", *names, "trial", "time", "")]
    for place, one in enumerate(ranked, start=1):
        rows.append(
            (str(place), f"{one.value:.4g}", str(one.at), *_values(one, keys), one.id, _time(one), _remark(one))
        )
    for one in others:
        value = f"({one.value:.4g})" if one.value is not None else ""
        rows.append(("", value, str(one.at or ""), *_values(one, keys), one.id, _time(one), _remark(one)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    right = (0, 1, 2)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def settings_text(values: Any, keys: Sequence[str]) -> str:
    """The settings of a trial on one line."""
    names = zip(_short(keys), keys, strict=True)
    return " ".join(f"{name}={_value(values[key])}" for name, key in names if key in values)


def harmless(text: str) -> str:
    """Text on one line and of letters that a terminal takes for letters."""
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "?" for letter in text)


def _short(keys: Sequence[str]) -> list[str]:
    """The last part of each dotted key, or all of it where two end alike."""
    lasts = [key.rpartition(".")[2] for key in keys]
    return [last if lasts.count(last) == 1 else key for key, last in zip(keys, lasts, strict=True)]


def _values(one: Outcome, keys: Sequence[str]) -> list[str]:
    return [_value(one.values[key]) if key in one.values else "-" for key in keys]


def _value(value: Any) -> str:
    return harmless(value) if isinstance(value, str) else show(value, width=_WIDEST)


def _time(one: Outcome) -> str:
    return "" if one.seconds is None else seconds_text(one.seconds)


def _remark(one: Outcome) -> str:
    said = [] if one.state == "finished" and one.value is not None else [one.state]
    said += ["the defaults"] if one.is_default else []
    return harmless(", ".join(said) + (f": {one.reason}" if one.reason else ""))
