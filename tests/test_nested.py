"""Laws of the map over nested containers: types, lengths and order stay, strings are leaves."""

import dataclasses
import time
from collections import Counter, OrderedDict, UserDict, defaultdict, namedtuple
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwright._nested import leaves, map_nested

Pair = namedtuple("Pair", "left right")


class Typed(NamedTuple):
    image: Any
    label: Any = 0


@dataclasses.dataclass
class Sample:
    image: Any
    label: Any = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    image: Any
    label: Any = 0


@dataclasses.dataclass
class Scaled:
    """Changes what it is given: run twice, ``__post_init__`` would divide twice."""

    value: float
    total: float = dataclasses.field(init=False)
    factor: dataclasses.InitVar[float] = 2.0

    def __post_init__(self, factor: float) -> None:
        self.value /= factor
        self.total = self.value


class OwnMapping(Mapping):
    """A mapping without ``copy``, built from a dictionary."""

    def __init__(self, values: Mapping) -> None:
        self._values = dict(values)

    def __getitem__(self, key: Any) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class OwnList(list):
    pass


def double(number: int) -> int:
    return 2 * number


LEAVES = st.integers() | st.text() | st.none() | st.binary()
TREES = st.recursive(
    LEAVES,
    lambda child: (
        st.lists(child)
        | st.lists(child).map(tuple)
        | st.dictionaries(st.text(), child)
        | st.dictionaries(st.text(), child).map(OrderedDict)
        | st.builds(Pair, child, child)
        | st.builds(Sample, child, child)
        | st.builds(Frozen, child, child)
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(TREES)
def test_the_identity_gives_an_equal_tree(tree: Any) -> None:
    assert map_nested(lambda leaf: leaf, tree) == tree


@settings(deadline=None)
@given(TREES)
def test_the_leaves_of_the_mapped_tree_are_the_mapped_leaves(tree: Any) -> None:
    assert list(leaves(map_nested(double, tree, int), int)) == [double(leaf) for leaf in leaves(tree, int)]


@settings(deadline=None)
@given(TREES)
def test_leaves_of_another_kind_pass_as_they_are(tree: Any) -> None:
    kinds = (str, bytes, type(None))
    assert list(leaves(map_nested(double, tree, int), kinds)) == list(leaves(tree, kinds))


@pytest.mark.parametrize(
    ("tree", "doubled"),
    [
        (7, 14),
        ([], []),
        ((), ()),
        ({}, {}),
        ((1,), (2,)),
        (OwnList([1, 2]), OwnList([2, 4])),
        (OrderedDict(b=1, a=2), OrderedDict(b=2, a=4)),
        (defaultdict(list, a=1), defaultdict(list, a=2)),
        (Counter(a=1, b=5), Counter(a=2, b=10)),
        (UserDict(a=1), UserDict(a=2)),
        (Pair(1, [2]), Pair(2, [4])),
        (Typed(1), Typed(2, 0)),
        (Sample(1, {"a": (2,)}), Sample(2, {"a": (4,)})),
        (Frozen(1, 2), Frozen(2, 4)),
        (torch.Size([1, 2]), torch.Size([2, 4])),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_container_comes_back_as_its_own_type(tree: Any, doubled: Any) -> None:
    mapped = map_nested(double, tree, int)
    assert type(mapped) is type(tree)
    assert mapped == doubled


@pytest.mark.parametrize("make", [OwnMapping, MappingProxyType])
def test_a_mapping_that_cannot_be_changed_comes_back_as_its_own_type(make: Any) -> None:
    mapped = map_nested(double, make({"a": 1, "b": "x"}), int)
    assert type(mapped) is make
    assert dict(mapped) == {"a": 2, "b": "x"}


def test_a_default_dictionary_keeps_its_factory() -> None:
    mapped = map_nested(double, defaultdict(list, a=1), int)
    assert mapped["new"] == []


def test_keys_keep_their_order() -> None:
    assert list(map_nested(double, OrderedDict([("z", 1), ("a", 2), ("m", 3)]), int)) == ["z", "a", "m"]


@pytest.mark.parametrize("text", ["", "x", "several letters", b"bytes"])
def test_a_string_is_a_leaf(text: str | bytes) -> None:
    assert map_nested(len, text) == len(text)
    assert list(leaves([text])) == [text]


def test_a_dataclass_is_not_made_a_second_time() -> None:
    mapped = map_nested(lambda value: value + 1, Scaled(8.0, factor=4.0), float)
    assert (mapped.value, mapped.total) == (3.0, 3.0)


def test_a_dataclass_itself_is_a_leaf() -> None:
    assert map_nested(lambda leaf: leaf.__name__, [Sample]) == ["Sample"]


@settings(deadline=None)
@given(TREES)
def test_the_original_is_untouched(tree: Any) -> None:
    before = repr(tree)
    map_nested(double, tree, int)
    assert repr(tree) == before


def test_what_torch_returns_keeps_its_type() -> None:
    found = torch.max(torch.eye(3), dim=0)
    mapped = map_nested(lambda tensor: tensor + 1, found, torch.Tensor)
    assert type(mapped) is type(found)
    assert mapped.values.tolist() == [2, 2, 2]


def test_numbers_and_clocks_are_leaves() -> None:
    assert map_nested(type, [1.5, 2j, True, range(3), {1}]) == [float, complex, bool, range, set]
    assert isinstance(map_nested(double, time.gmtime(0), int), time.struct_time)
