"""How much of the difference between trials each setting explains. Pure functions of numbers; no dependency.

The trials are ranked by their value, so that one that went very badly does not decide alone. For each setting they are put
into groups: by value for a list, by equal counts for a range. Then

    eta^2 = (sum of squares between the groups) / (sum of squares in all), of the ranks
    epsilon^2 = 1 - (1 - eta^2) (n - 1) / (n - k)            n trials, k groups

which is 0 on average where the setting does nothing, as eta^2 is not. The p-value is the share of 999 shuffles of the
ranks, and of the trials as they are, that give as large an eta^2.

Sources: Kelley, An unbiased correlation ratio measure (PNAS 1935); on ranks, Kruskal and Wallis (JASA 1952); Tomczak and
Tomczak, The need to report effect size estimates revisited (2014).

It looks at one setting at a time: two that only matter together are not found.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._yaml import show

FEWEST = 8  # trials: with fewer, chance alone explains anything
MOST_GROUPS = 5
PER_GROUP = 3  # trials in each group of a range, at least
SHUFFLES = 999
_P = 0.05


@dataclass(frozen=True)
class Importance:
    """What a setting explains.

    Attributes:
        share: epsilon squared, 0 to 1; None where there are too few trials to say.
        p: how probable so much is by chance.
        trials, groups: what it was computed from.
    """

    key: str
    share: float | None
    p: float | None
    trials: int
    groups: int

    @property
    def verdict(self) -> str:
        """In words."""
        if self.share is None or self.p is None:
            return f"too few trials to say ({self.trials} in {self.groups} groups)"
        doubt = "" if self.p <= _P else ", which may be chance"
        return f"{self.share:.0%} of the differences (p {self.p:.3f}, {self.trials} trials){doubt}"


def importances(
    trials: Sequence[tuple[Mapping[str, Any], float]], keys: Sequence[str], *, seed: int = 0
) -> list[Importance]:
    """The importance of each setting, the largest first, from (settings, value) of the trials that ran to their end.

    >>> trials = [({"lr": lr, "clip": clip}, lr + 0.001 * clip) for lr in (1, 2, 3) for clip in (1, 2, 3)]
    >>> [(one.key, round(one.share or 0.0, 2)) for one in importances(trials, ["clip", "lr"])]
    [('lr', 0.87), ('clip', 0.0)]
    """
    found = [
        _importance(key, [(values[key], value) for values, value in trials if key in values], seed) for key in keys
    ]
    return sorted(found, key=lambda one: -1.0 if one.share is None else one.share, reverse=True)


def _importance(key: str, pairs: Sequence[tuple[Any, float]], seed: int) -> Importance:
    groups = _groups([setting for setting, _ in pairs])
    n, k = len(pairs), len(set(groups))
    if n < FEWEST or k < 2 or n < 2 * k:
        return Importance(key, None, None, n, k)
    ranks = _ranks([value for _, value in pairs])
    if len(set(ranks)) == 1:  # all trials are equally good
        return Importance(key, 0.0, 1.0, n, k)
    eta = _eta_squared(ranks, groups)
    generator, as_large = random.Random(seed), 1
    for _ in range(SHUFFLES):
        generator.shuffle(groups)
        as_large += _eta_squared(ranks, groups) >= eta - 1e-12
    return Importance(key, max(0.0, 1 - (1 - eta) * (n - 1) / (n - k)), as_large / (SHUFFLES + 1), n, k)


def _groups(values: Sequence[Any]) -> list[int]:
    """The group of each trial: one for each value, or, of numbers with many values, as many in each as can be."""
    texts = [show(value, width=10_000) for value in values]
    different = list(dict.fromkeys(texts))
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if not numbers or len(different) <= MOST_GROUPS:
        return [different.index(text) for text in texts]
    count = max(2, min(MOST_GROUPS, len(values) // PER_GROUP))
    return [int((rank - 0.5) / len(values) * count) for rank in _ranks(values)]


def _ranks(values: Sequence[float]) -> list[float]:
    """1 for the smallest; equal ones share the mean of their places."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    begin = 0
    while begin < len(order):
        end = begin
        while end < len(order) and values[order[end]] == values[order[begin]]:
            end += 1
        for place in order[begin:end]:
            ranks[place] = (begin + 1 + end) / 2
        begin = end
    return ranks


def _eta_squared(ranks: Sequence[float], groups: Sequence[int]) -> float:
    mean = sum(ranks) / len(ranks)
    sums: dict[int, tuple[float, int]] = {}
    for rank, group in zip(ranks, groups, strict=True):
        total, count = sums.get(group, (0.0, 0))
        sums[group] = (total + rank, count + 1)
    between = sum(count * (total / count - mean) ** 2 for total, count in sums.values())
    return between / sum((rank - mean) ** 2 for rank in ranks)
