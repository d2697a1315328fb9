"""``Space``: the settings that a ``sweep:`` tree varies, read from it with every mistake and its place.

The tree is shaped like the configuration. Where that has a value, the tree has what the value may be:

    lr: {low: 1e-4, high: 1e-1, log: true}       a range; also step, whole, points (of a grid)
    name: [AdamW, SGD]                           a list
    momentum: {values: [0.8, 0.9], when: {optimizer.name: SGD}}    only where the condition holds
    lr: [{low: ..., high: ..., when: ...}, ...]  another one for each condition

Knows nothing of which settings there are, nor of how values are drawn.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._config import Mistake
from .._names import did_you_mean
from .._yaml import Keys, Source, Tree, show
from ._range import MOST_POINTS, Choices, Domain, Range, same

NOWHERE = Source("")
SWEEP = "sweep"
WHEN, VALUES = "when", "values"
_RANGE = ("low", "high", "log", "step", "whole", "points")
_WORDS = (*_RANGE, VALUES, WHEN)


@dataclass(frozen=True)
class Parameter:
    """One setting that is varied: its dotted key, what it may be, and where that is so.

    ``when`` holds, for the dotted keys of other parameters, the values that they must have.
    """

    key: str
    domain: Domain
    when: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    source: Source = NOWHERE

    @property
    def name(self) -> str:
        """What tells it from all others, also from those of the same key and another condition."""
        conditions = ", ".join(f"{key}={'|'.join(map(str, values))}" for key, values in self.when)
        return f"{self.key} ({conditions})" if conditions else self.key

    @property
    def keys(self) -> Keys:
        return tuple(self.key.split("."))

    def is_active(self, settings: Mapping[str, Any]) -> bool:
        """Whether its conditions hold among the settings that were chosen before it."""
        return all(key in settings and any(same(settings[key], value) for value in values) for key, values in self.when)


@dataclass(frozen=True)
class Space:
    """All parameters, each behind those that its conditions ask for."""

    parameters: tuple[Parameter, ...] = ()

    @property
    def keys(self) -> list[str]:
        """The dotted keys of the settings that are varied."""
        return list(dict.fromkeys(one.key for one in self.parameters))

    def active(self, settings: Mapping[str, Any]) -> list[Parameter]:
        """The parameters whose conditions hold in a trial's settings."""
        return [one for one in self.parameters if one.is_active(settings)]


def read_space(tree: Tree) -> tuple[Space, list[Mistake]]:
    """The space of a configuration's ``sweep`` tree, and all that is wrong with it; what is wrong is left out."""
    reader = _Reader(tree)
    found = tree.values.get(SWEEP)
    if not isinstance(found, Mapping) or not found:
        said = "is missing" if SWEEP not in tree.values else f"should be a tree of settings, is {show(found)}"
        reader.mistake(
            (SWEEP,), f"sweep {said}: write below it what to vary, such as 'optimizer: {{lr: [0.001, 0.01]}}'"
        )
        return Space(), reader.mistakes
    reader.branch(found, (SWEEP,))
    return Space(tuple(reader.ordered())), reader.mistakes


class _Reader:
    """Walks the tree, collecting parameters and mistakes."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.parameters: list[Parameter] = []
        self.mistakes: list[Mistake] = []

    def mistake(self, keys: Keys, text: str) -> None:
        self.mistakes.append(Mistake(self._source(keys), text))

    def branch(self, values: Mapping[str, Any], keys: Keys) -> None:
        """A part of the configuration: its keys are settings, or further parts."""
        for key, value in values.items():
            below = (*keys, key)
            if "." in key:
                self.mistake(below, f"{_path(below)}: write '{': {'.join(key.split('.'))}: ...', a key below another")
            elif isinstance(value, list | tuple):
                self._list(value, below)
            elif not isinstance(value, Mapping):
                self._single(key, value, below)
            elif _is_leaf(value):
                self._add(self._leaf(value, below), value, below)
            elif value:
                self.branch(value, below)
            else:
                self.mistake(below, f"{_path(below)} is empty: write a list of values, or {{low: ..., high: ...}}")

    def _single(self, key: str, value: Any, keys: Keys) -> None:
        question = did_you_mean(key, _WORDS)
        self.mistake(
            keys,
            f"{_path(keys)} is one value, {show(value)}: "
            + (question or f"write several, [{show(value)}, ...], or put it outside of 'sweep'"),
        )

    def _list(self, values: Sequence[Any], keys: Keys) -> None:
        """A list of values; or, where all of them have conditions, one range or list for each condition."""
        conditional = [isinstance(one, Mapping) and WHEN in one and _is_leaf(one) for one in values]
        if not any(conditional):
            return self._add(self._choices(values, keys), {}, keys)
        if not all(conditional):
            return self.mistake(keys, f"{_path(keys)}: either all of its ranges have a 'when', or none")
        for index, value in enumerate(values):
            place = (*keys, str(index))
            self._add(self._leaf(value, place), value, keys, place)
        return None

    def _leaf(self, value: Mapping[str, Any], keys: Keys) -> Domain | None:
        known = (VALUES, WHEN) if VALUES in value else (*_RANGE, WHEN)
        unknown = [key for key in value if key not in known]
        for key in unknown:
            hint = did_you_mean(key, known) or f"there are {', '.join(known)}"
            self.mistake((*keys, key), f"{_path((*keys, key))} is no part of a {_kind(value)}: {hint}")
        if VALUES in value:
            return self._choices(value[VALUES], (*keys, VALUES))
        return None if unknown else self._range(value, keys)

    def _choices(self, values: Any, keys: Keys) -> Choices | None:
        if not isinstance(values, list | tuple) or not values:
            return self.mistake(keys, f"{_path(keys)} should be a list of values that is not empty, is {show(values)}")
        for index, value in enumerate(values):
            if any(same(value, earlier) for earlier in values[:index]):
                return self.mistake(keys, f"{_path(keys)} has {show(value)} twice: remove one of them")
        return Choices(tuple(values))

    def _range(self, value: Mapping[str, Any], keys: Keys) -> Range | None:
        wrong = len(self.mistakes)
        for key in ("low", "high", "step"):
            if key not in value and key != "step":
                self.mistake(keys, f"{_path(keys)} has no '{key}': a range needs both ends, {{low: ..., high: ...}}")
            elif not _is_number(value.get(key, 0)):
                self.mistake((*keys, key), f"{_path((*keys, key))} should be a number, is {show(value[key])}")
        for key in ("log", "whole"):
            if not isinstance(value.get(key, False), bool):
                self.mistake((*keys, key), f"{_path((*keys, key))} should be true or false, is {show(value[key])}")
        points = value.get("points", 2)
        if not isinstance(points, int) or isinstance(points, bool) or not 2 <= points <= MOST_POINTS:
            self.mistake(
                (*keys, "points"),
                f"{_path((*keys, 'points'))} should be a whole number of at least 2, is {show(points)}",
            )
        if len(self.mistakes) > wrong:
            return None
        given = {key: value[key] for key in _RANGE if value.get(key) is not None}
        text = _impossible(Range(**given))
        if text:
            return self.mistake(keys, f"{_path(keys)}: {text}")
        ends: dict[str, Any] = {
            key: int(given[key]) for key in ("low", "high", "step") if key in given and given.get("whole")
        }
        return Range(**given | ends)

    def _add(self, domain: Domain | None, value: Mapping[str, Any], keys: Keys, place: Keys | None = None) -> None:
        when = self._when(value[WHEN], (*(place or keys), WHEN)) if WHEN in value else ()
        if domain is not None and when is not None:
            self.parameters.append(Parameter(".".join(keys[1:]), domain, when, self._source(place or keys)))

    def _when(self, value: Any, keys: Keys) -> tuple[tuple[str, tuple[Any, ...]], ...] | None:
        if not isinstance(value, Mapping) or not value:
            example = "{optimizer.name: SGD}"
            return self.mistake(
                keys, f"{_path(keys)} should name settings and their values, such as {example}, is {show(value)}"
            )
        return tuple(
            (key, tuple(wanted) if isinstance(wanted, list | tuple) else (wanted,)) for key, wanted in _flat(value, ())
        )

    def ordered(self) -> list[Parameter]:
        """The parameters, those that conditions ask for first; what is wrong with the conditions is noted."""
        wrong = len(self.mistakes)
        for one in self.parameters:
            for key, values in one.when:
                self._check_condition(one, key, values)
        ready: list[Parameter] = []
        waiting = list(self.parameters)
        while waiting:
            keys_waiting = {one.key for one in waiting}
            free = [one for one in waiting if not any(key in keys_waiting for key, _ in one.when)]
            if not free:
                if len(self.mistakes) == wrong:
                    circle = ", ".join(sorted(keys_waiting))
                    self.mistakes.append(Mistake(waiting[0].source, f"conditions that ask for each other: {circle}"))
                break
            ready += free
            waiting = [one for one in waiting if one not in free]
        self._check_alternatives(ready)
        return ready

    def _check_condition(self, one: Parameter, key: str, values: Sequence[Any]) -> None:
        asked = [other for other in self.parameters if other.key == key]
        path = f"{SWEEP}.{one.key}"
        if not asked:
            hint = did_you_mean(key, [other.key for other in self.parameters if other.key != one.key])
            text = f"{path}: its 'when' asks for {key}, which is not varied here"
            return self.mistakes.append(Mistake(one.source, f"{text}: {hint}" if hint else text))
        if not all(isinstance(other.domain, Choices) for other in asked):
            return self.mistakes.append(
                Mistake(one.source, f"{path}: its 'when' asks for {key}, which is a range, no list")
            )
        known = [value for other in asked for value in other.domain.probes()]
        for value in values:
            if not any(same(value, other) for other in known):
                hint = did_you_mean(str(value), map(str, known)) or f"there are {', '.join(map(show, known))}"
                self.mistakes.append(
                    Mistake(
                        one.source, f"{path}: its 'when' asks for {show(value)}, which is no value of {key}: {hint}"
                    )
                )
        return None

    def _check_alternatives(self, parameters: Sequence[Parameter]) -> None:
        """Two ranges of one setting must not hold together: nobody could say which of them counts."""
        for index, one in enumerate(parameters):
            for other in parameters[:index]:
                if other.key == one.key and not _exclude(dict(one.when), dict(other.when)):
                    self.mistakes.append(
                        Mistake(one.source, f"{SWEEP}.{one.key}: two of its conditions can hold at the same time")
                    )

    def _source(self, keys: Keys) -> Source:
        places = [keys[:length] for length in range(len(keys), 0, -1)]
        return next((self._tree.sources[place] for place in places if place in self._tree.sources), Source(""))


def _is_leaf(value: Mapping[str, Any]) -> bool:
    """Whether a mapping says what a setting may be, and is not a part of the configuration with settings of its own."""
    if any(isinstance(value.get(key), list | tuple | Mapping) for key in ("low", "high")):
        return False
    return "low" in value or "high" in value or (VALUES in value and not isinstance(value[VALUES], Mapping))


def _kind(value: Mapping[str, Any]) -> str:
    return "list" if VALUES in value else "range"


def _impossible(one: Range) -> str:
    if not one.low < one.high:
        return f"low {show(one.low)} should be below high {show(one.high)}"
    if one.log and one.low <= 0:
        return f"low {show(one.low)} should be above 0: a logarithm is taken of it"
    if one.step is not None and (one.log or one.points or not 0 < one.step <= one.high - one.low):
        why = "log" if one.log else "points" if one.points else "a step that does not fit into it"
        return f"a range with 'step' cannot have {why}"
    if one.whole and not all(float(end).is_integer() for end in (one.low, one.high, one.step or 1)):
        return "a range of whole numbers needs whole ends and a whole step"
    return "" if one.count() <= MOST_POINTS or not one.step else f"has {one.count():,} steps: at most {MOST_POINTS:,}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _flat(values: Mapping[str, Any], keys: Keys) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, (*keys, key))
        else:
            yield ".".join((*keys, key)), value


def _exclude(one: Mapping[str, Sequence[Any]], other: Mapping[str, Sequence[Any]]) -> bool:
    shared = one.keys() & other.keys()
    return any(not any(same(a, b) for a in one[key] for b in other[key]) for key in shared)


def _path(keys: Keys) -> str:
    return ".".join(keys)
