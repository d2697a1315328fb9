"""One function over nested containers, keeping their types and lengths. Knows nothing of tensors or devices."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any


def map_nested(function: Callable[[Any], Any], tree: Any, kind: type | tuple[type, ...] = object) -> Any:
    """Apply ``function`` to every leaf of ``kind``; other leaves (strings, numbers, None) pass as they are.

    Dictionaries, lists, tuples, named tuples and dataclasses are containers and come back as their own type.
    A string is always a leaf.

    >>> map_nested(lambda number: number * 2, {"a": [1, 2], "name": "x", "t": (3,)}, int)
    {'a': [2, 4], 'name': 'x', 't': (6,)}
    """
    if isinstance(tree, Mapping):
        return _like_mapping(tree, {key: map_nested(function, value, kind) for key, value in tree.items()})
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_nested(function, value, kind) for value in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(map_nested(function, value, kind) for value in tree)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return _like_dataclass(tree, lambda value: map_nested(function, value, kind))
    return function(tree) if isinstance(tree, kind) else tree


def _like_mapping(original: Mapping, values: dict) -> Any:
    if type(original) is dict:
        return values
    if hasattr(original, "copy") and hasattr(original, "__setitem__"):  # OrderedDict, defaultdict, a user's own dict
        copied: Any = original.copy()  # type: ignore[attr-defined]
        for key, value in values.items():  # not update(): a Counter adds in it
            copied[key] = value
        return copied
    return type(original)(values)  # type: ignore[call-arg]


def _like_dataclass(original: Any, mapped: Callable[[Any], Any]) -> Any:
    """A copy with other values, also where it is frozen; ``__post_init__`` is not run a second time."""
    copied = copy.copy(original)
    for field in dataclasses.fields(original):
        object.__setattr__(copied, field.name, mapped(getattr(original, field.name)))
    return copied


def leaves(tree: Any, kind: type | tuple[type, ...] = object) -> Iterator[Any]:
    """The leaves of ``kind`` in their order.

    >>> list(leaves({"a": [1, 2], "b": "x"}, int))
    [1, 2]
    """
    if isinstance(tree, Mapping):
        children = list(tree.values())
    elif isinstance(tree, list | tuple):
        children = list(tree)
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        children = [getattr(tree, f.name) for f in dataclasses.fields(tree)]
    else:
        if isinstance(tree, kind):
            yield tree
        return
    for child in children:
        yield from leaves(child, kind)
