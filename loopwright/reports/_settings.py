"""Which settings of many configurations differ, and how to call each combination of them. Knows nothing of runs."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .._resume import HARMLESS
from .._yaml import MISSING, show

SEEDS = ("seed",)
BASELINE = "baseline"
_NO_MATTER = HARMLESS | set(SEEDS)
_WIDEST = 32  # letters of one value in a label
_LONG = 40  # letters of a label
_MOST_PARTS = 3  # that are tried


def differing(configurations: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The settings that are not the same in all: dotted key -> the value in each, ``MISSING`` where it has none.

    The seed, and settings that do not change the weights, are left out. Lists of the same length are compared item by item.

    >>> differing([{"optimizer": {"lr": 0.1}, "seed": 1}, {"optimizer": {"lr": 0.2}, "seed": 2}])
    {'optimizer.lr': [0.1, 0.2]}
    """
    found = dict(_walk(list(configurations), ()))
    return {key: values for key, values in found.items() if len(set(map(identity, values))) > 1}


def _walk(values: list[Any], keys: tuple[str, ...]) -> Iterator[tuple[str, list[Any]]]:
    there = [value for value in values if value is not MISSING]
    if keys and keys[-1] in _NO_MATTER:
        return
    if there and all(isinstance(value, Mapping) for value in there):
        for key in dict.fromkeys(key for value in there for key in value):
            below = [value.get(key, MISSING) if value is not MISSING else MISSING for value in values]
            yield from _walk(below, (*keys, str(key)))
    elif there and _are_alike(there):
        for place in range(len(there[0])):
            below = [value[place] if value is not MISSING else MISSING for value in values]
            yield from _walk(below, (*keys, str(place)))
    elif keys:
        yield ".".join(keys), values


def _are_alike(lists: Sequence[Any]) -> bool:
    """Lists whose items correspond: as many, and of the same names where they are steps such as augmentations."""
    if not all(isinstance(one, list | tuple) for one in lists):
        return False
    shapes = {tuple(item.get("name") if isinstance(item, Mapping) else None for item in one) for one in _plain(lists)}
    return len(shapes) == 1 and any(isinstance(item, Mapping) for item in lists[0])


def _plain(lists: Sequence[Any]) -> Iterator[list[Any]]:
    """Names that are no text, in a file by a stranger, could not be put into a set."""
    for one in lists:
        yield [{"name": identity(item.get("name"))} if isinstance(item, Mapping) else item for item in one]


def identity(value: Any) -> str:
    """The same text for values that mean the same: 1 and 1.0, a list and a tuple.

    >>> identity(1) == identity(1.0), identity(True) == identity(1), identity([1]) == identity((1.0,))
    (True, False, True)
    """
    if isinstance(value, bool) or value is None or value is MISSING:
        return repr(value)
    if isinstance(value, int | float):
        return f"n{_number(value)}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(identity, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(sorted(f'{key!r}:{identity(below)}' for key, below in value.items()))}}}"
    return repr(str(value))


def _number(value: int | float) -> str:
    try:
        return repr(float(value) + 0.0)
    except OverflowError:
        return hex(int(value))


def value_of(value: Any, width: int = _WIDEST) -> str:
    """A value for a reader: text without quotes, steps of a list by their names.

    >>> value_of("AdamW"), value_of([{"name": "Flip", "p": 0.5}, {"name": "Jitter"}]), value_of(MISSING)
    ('AdamW', 'Flip + Jitter', '–')
    """
    if value is MISSING:
        return "–"
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        rest = {key: below for key, below in value.items() if key != "name"}
        return _cut(value["name"] + (f" {show(rest, width=width)}" if rest else ""), width)
    if isinstance(value, list | tuple) and value and all(isinstance(i, Mapping) and "name" in i for i in value):
        return _cut(" + ".join(str(item["name"]) for item in value), width)
    if isinstance(value, float):
        return _cut(f"{value:.6g}", width)
    return _cut(value if isinstance(value, str) else show(value, width=width), width)


def labels(settings: Mapping[str, Sequence[Any]]) -> list[tuple[str, ...]]:
    """A label for each combination of values, as parts: of the fewest settings that tell all combinations apart.

    Where that becomes long, each has the fewest settings that tell it from all others, and the one that has the most common
    value of every setting is the baseline. Of paths what they have in common is left out.

    >>> labels({"optimizer.name": ["SGD", "AdamW", "AdamW"], "optimizer.lr": [0.1, 0.1, 0.01]})
    [('SGD', 'lr 0.1'), ('AdamW', 'lr 0.1'), ('AdamW', 'lr 0.01')]
    >>> labels({"data": ["/home/ada/photos/raw", "/home/ada/photos/sharp/2"]})
    [('raw',), ('sharp/2',)]
    """
    settings = {key: _without_common_folder(values) for key, values in settings.items()}
    keys, names = _telling(settings), short_names(list(settings))
    count = len(next(iter(settings.values()), ()))
    found = [_parts(keys, names, settings, row) for row in range(count)]
    if max((len(" · ".join(parts)) for parts in found), default=0) > _LONG:
        usual = _usual(settings)
        found = [
            (BASELINE,) if row == usual else _parts(_own(keys, settings, row), names, settings, row)
            for row in range(count)
        ]
    return _unlike(found)


def _without_common_folder(values: Sequence[Any]) -> Sequence[Any]:
    """Paths without the folders that they all lie in; anything else as it is."""
    there = [value for value in values if value is not MISSING]
    if not all(isinstance(value, str) and "/" in value for value in there) or len(set(there)) < 2:
        return values
    parts = [value.split("/") for value in there]
    same = len(list(itertools.takewhile(lambda names: len(set(names)) == 1, zip(*parts, strict=False))))
    if any(not "".join(names[same:]) for names in parts):
        return values
    return [value if value is MISSING else "/".join(value.split("/")[same:]) for value in values]


def _usual(settings: Mapping[str, Sequence[Any]]) -> int | None:
    """The one row that has, of every setting, the value that most rows have; None where there is none."""
    texts = [list(map(identity, values)) for values in settings.values()]
    counts = [Counter(row).most_common(2) for row in texts]
    if any(len(most) > 1 and most[0][1] == most[1][1] for most in counts):
        return None
    rows = list(zip(*texts, strict=True))
    wanted = tuple(most[0][0] for most in counts)
    return rows.index(wanted) if wanted in rows else None


def _parts(
    keys: Sequence[str], names: Mapping[str, str], settings: Mapping[str, Sequence[Any]], row: int
) -> tuple[str, ...]:
    return tuple(_part(names[key], settings[key][row]) for key in keys if settings[key][row] is not MISSING)


def _own(keys: Sequence[str], settings: Mapping[str, Sequence[Any]], row: int) -> Sequence[str]:
    """The fewest of the keys by which a row is unlike every other."""
    rows = [{key: identity(settings[key][other]) for key in keys} for other in range(len(settings[keys[0]]))]
    there = [key for key in keys if settings[key][row] is not MISSING]
    for count in range(1, min(len(there), _MOST_PARTS) + 1):
        for some in itertools.combinations(there, count):
            if sum(all(other[key] == rows[row][key] for key in some) for other in rows) == 1:
                return some
    return keys


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each dotted key, with what is above it where two end alike; ``optimizer.name`` is the optimizer.

    >>> short_names(["optimizer.name", "optimizer.lr", "scheduler.lr"])
    {'optimizer.name': 'optimizer', 'optimizer.lr': 'optimizer.lr', 'scheduler.lr': 'scheduler.lr'}
    """
    bare = {key: key.removesuffix(".name") for key in keys}
    lasts = {key: text.rpartition(".")[2] for key, text in bare.items()}
    return {key: last if list(lasts.values()).count(last) == 1 else bare[key] for key, last in lasts.items()}


def _telling(settings: Mapping[str, Sequence[Any]]) -> list[str]:
    """Names before numbers before all else; then only those that tell more apart than the ones before."""
    order = sorted(settings, key=lambda key: _telling_rank(settings[key]))
    kept: list[str] = []
    rows: list[tuple[str, ...]] = [()] * len(next(iter(settings.values()), ()))
    for key in order:
        finer = [(*row, identity(value)) for row, value in zip(rows, settings[key], strict=True)]
        if len(set(finer)) > len(set(rows)):
            kept, rows = [*kept, key], finer
    return kept


def _telling_rank(values: Sequence[Any]) -> int:
    there = [value for value in values if value is not MISSING]
    missing = len(there) < len(values)
    if all(isinstance(value, str) for value in there):
        return 0 + 3 * missing
    return (1 if all(isinstance(value, int | float) for value in there) else 2) + 3 * missing


def _part(name: str, value: Any) -> str:
    text = value_of(value)
    is_name = isinstance(value, str | Mapping) or (isinstance(value, list | tuple) and "+" in text)
    return text if is_name and not isinstance(value, bool) else f"{name} {text}"


def _unlike(found: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Two that would look alike, for one is cut off, are numbered."""
    seen: dict[tuple[str, ...], int] = {}
    unlike = []
    for parts in found:
        seen[parts] = seen.get(parts, 0) + 1
        unlike.append(parts if seen[parts] == 1 else (*parts, f"no. {seen[parts]}"))
    return [parts or ("not set",) for parts in unlike]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
