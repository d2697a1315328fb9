"""Which settings the trials of a grid and of a random search have. Pure functions of the space, the seed and the place.

So the same command draws the same trials, and a longer search begins with the trials of the shorter one.
"""

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from .._config import Mistake
from ._range import MOST_POINTS, Range
from ._space import SWEEP, Parameter, Space

Settings = dict[str, Any]  # dotted key -> value
_MISSES = 100  # draws in a row that brought nothing new: a small space is used up


def grid(space: Space) -> list[Settings]:
    """Every combination, the last setting changing fastest; a setting whose conditions do not hold is left out."""
    return list(itertools.islice(_combinations(space.parameters, {}), MOST_POINTS))


def grid_mistakes(space: Space) -> list[Mistake]:
    """Why a grid of the space cannot be made: ranges that do not say which numbers to take, too many combinations."""
    needs = "a grid needs to know which numbers of a range to take: add 'points: 4' or a 'step', or write a list"
    endless = [one for one in space.parameters if isinstance(one.domain, Range) and not _is_countable(one.domain)]
    found = [Mistake(one.source, f"{SWEEP}.{one.key}: {needs}") for one in endless]
    if not found and len(list(itertools.islice(_combinations(space.parameters, {}), MOST_POINTS + 1))) > MOST_POINTS:
        text = f"{SWEEP}: the grid has more than {MOST_POINTS:,} trials: write study: {{method: random}} to try some of them"
        found = [Mistake(space.parameters[0].source, text)]
    return found


def _is_countable(domain: Range) -> bool:
    return 0 < domain.count() <= MOST_POINTS


def _combinations(parameters: tuple[Parameter, ...], chosen: Settings) -> Iterator[Settings]:
    if not parameters:
        yield chosen
    elif not parameters[0].is_active(chosen):
        yield from _combinations(parameters[1:], chosen)
    else:
        for value in parameters[0].domain.grid():
            yield from _combinations(parameters[1:], {**chosen, parameters[0].key: value})


def random_draws(space: Space, seed: int) -> Iterator[Settings]:
    """Random settings without end, or until a small space seems used up; none comes twice."""
    seen: set[str] = set()
    misses = 0
    for number in itertools.count():
        settings = random_settings(space, seed, number)
        mark = repr(sorted(settings.items(), key=lambda item: item[0]))
        misses = misses + 1 if mark in seen else 0
        if misses >= _MISSES:
            return
        if mark not in seen:
            seen.add(mark)
            yield settings


def random_settings(space: Space, seed: int, number: int) -> Settings:
    """The settings of one draw. Each parameter has a stream of its own: another one beside it changes nothing."""
    chosen: Settings = {}
    for one in space.parameters:
        if one.is_active(chosen):
            chosen[one.key] = one.domain.at(share_of(seed, number, one.name))
    return chosen


def first_settings(space: Space, wanted: Mapping[str, Any] | None = None) -> Settings:
    """Settings with the first value of everything, except where one is wanted."""
    chosen: Settings = {}
    for one in space.parameters:
        if one.is_active(chosen):
            chosen[one.key] = (wanted or {}).get(one.key, one.domain.probes()[0])
    return chosen


def probe_settings(space: Space) -> list[Settings]:
    """Few settings that hold each value of each list, and the ends and one further number of each range."""
    found = []
    for one in space.parameters:
        conditions = _wanted_by(space, one)
        found += [first_settings(space, {**conditions, one.key: value}) for value in one.domain.probes()]
    return found


def _wanted_by(space: Space, one: Parameter) -> Settings:
    """Values of other settings with which a parameter is there."""
    wanted: Settings = {}
    for key, values in one.when:
        for other in space.parameters:
            if other.key == key and (allowed := [value for value in values if value in other.domain]):
                wanted |= {key: allowed[0], **_wanted_by(space, other)}
                break
    return wanted


def share_of(seed: int, number: int, name: str) -> float:
    """A number of [0, 1) that is a pure function of what it is of.

    >>> share_of(0, 1, "lr") == share_of(0, 1, "lr") != share_of(0, 2, "lr")
    True
    """
    digest = hashlib.blake2b(f"{seed}/{number}/{name}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
