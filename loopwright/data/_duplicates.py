"""Which pictures are the same, exactly or nearly. Works on digests, hashes and tiny pictures; reads no files.

All pairs are never looked at. Two 64-bit hashes that differ in at most d bits are equal in at least one of d + 1 parts, so
only those that share a part are compared, by NumPy. Source: Norouzi, Punjani and Fleet, "Fast search in Hamming space
with multi-index hashing", CVPR 2012.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

_AT_ONCE = 1 << 20  # pairs that are compared in one go: bounds the memory
_BITS = np.array([bin(word).count("1") for word in range(1 << 16)], np.uint8)


def same(digests: Sequence[bytes]) -> list[list[int]]:
    """The groups of two or more that are equal, each in ascending order.

    >>> same([b"x", b"y", b"x"])
    [[0, 2]]
    """
    found: dict[bytes, list[int]] = {}
    for index, digest in enumerate(digests):
        found.setdefault(digest, []).append(index)
    return [group for group in found.values() if len(group) > 1]


def near(hashes: np.ndarray, looks: np.ndarray, distance: int, difference: float) -> list[list[int]]:
    """The groups of two or more that are strung together by nearly equal pairs, each in ascending order.

    Args:
        hashes: uint64 (n,); those of a pair differ in at most ``distance`` bits.
        looks: tiny pictures, uint8 (n, values); those of a pair differ by at most ``difference``, root of the mean square.

    >>> near(np.array([0, 0b111, 0b1], np.uint64), np.zeros((3, 4), np.uint8), 1, 0.0)
    [[0, 2]]
    """
    leader = np.arange(len(hashes))
    for first, other in _candidates(hashes, distance + 1, leader):
        for check in (
            lambda one, two: leader[one] != leader[two],
            lambda one, two: _bits_apart(hashes[one], hashes[two]) <= distance,
            lambda one, two: _unlike(looks, one, two) <= difference,
        ):
            kept = check(first, other)
            first, other = first[kept], other[kept]
        _join(leader, first, other)
    order = np.argsort(leader, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(leader[order])) + 1)
    return [group.tolist() for group in groups if len(group) > 1]


def _join(leader: np.ndarray, first: np.ndarray, other: np.ndarray) -> None:
    """Make the groups of each pair one. A group's leader is its lowest number, and everyone's leader leads itself."""
    while len(first):
        one, two = leader[first], leader[other]
        apart = one != two
        first, other, one, two = first[apart], other[apart], one[apart], two[apart]
        np.minimum.at(leader, np.maximum(one, two), np.minimum(one, two))
        while not np.array_equal(higher := leader[leader], leader):
            leader[:] = higher


def _candidates(hashes: np.ndarray, parts: int, leader: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs that are equal in one of the parts of their bits; a pair may come more than once."""
    for low, high in pairwise(np.linspace(0, 64, parts + 1).astype(int).tolist()):
        part = hashes << np.uint64(64 - high) >> np.uint64(64 - high + low)
        order = np.argsort(part, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
            yield from _all_pairs(group, leader)


def _all_pairs(group: np.ndarray, leader: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each one with all behind it, some rows at a time, until all of them are joined."""
    step = max(1, _AT_ONCE // max(1, len(group)))
    for start in range(0, len(group) - 1, step):
        if (leader[group] == leader[group[0]]).all():  # frames of one scene: millions of pairs, and nothing to learn
            return
        rows = np.arange(start, min(start + step, len(group) - 1))
        first, other = np.nonzero(np.arange(start + 1, len(group)) > rows[:, None])
        yield group[rows[first]], group[other + start + 1]


def _bits_apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How many bits differ. (``np.bitwise_count`` is younger than the NumPy that is asked for.)"""
    words = np.ascontiguousarray(one ^ other).view(np.uint16).reshape(-1, 4)
    return _BITS[words].sum(1, dtype=np.int64)


def _unlike(looks: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Root of the mean square difference of each pair."""
    found, step = np.empty(len(one)), max(1, _AT_ONCE // looks.shape[1])
    for start in range(0, len(one), step):
        part = slice(start, start + step)
        found[part] = np.sqrt(((looks[one[part]].astype(np.float32) - looks[other[part]]) ** 2).mean(1))
    return found
