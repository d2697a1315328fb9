"""Laws of the order: a pure function of (seed, epoch), whoever decides it, and the process's generators untouched."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from loopwright._errors import ConfigError
from loopwright._seed import permutation
from loopwright.data._order import Order

DATA = range(40)


class OwnSampler:
    """Draws from all global generators, as people's samplers do."""

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[int]:
        yield random.randrange(40)
        yield int(np.random.randint(40))
        yield int(torch.randint(40, ()))


SAMPLERS = {
    "random": lambda: RandomSampler(DATA),
    "random with replacement": lambda: RandomSampler(DATA, replacement=True, num_samples=70),
    "random with a generator": lambda: RandomSampler(DATA, generator=torch.Generator()),
    "random with a used generator": lambda: RandomSampler(DATA, generator=used_generator()),
    "subset": lambda: SubsetRandomSampler(range(5, 25)),
    "subset with a generator": lambda: SubsetRandomSampler(range(5, 25), generator=torch.Generator()),
    "weighted": lambda: WeightedRandomSampler([1.0] * 40, 50),
    "distributed": lambda: DistributedSampler(DATA, num_replicas=2, rank=1),  # type: ignore[arg-type]
    "own": OwnSampler,
}


def numpy_state() -> list[int]:
    state = np.random.get_state(legacy=False)["state"]
    return [*state["key"].tolist(), state["pos"]]


def used_generator() -> torch.Generator:
    generator = torch.Generator()
    torch.rand(17, generator=generator)
    return generator


def order(**options: Any) -> Order:
    return Order(len(DATA), **({"shuffle": False, "weights": None, "sampler": None} | options))


@settings(deadline=None)
@given(st.integers(0, 99), st.integers(), st.integers(0, 50))
def test_without_anything_it_is_in_turn(count: int, seed: int, epoch: int) -> None:
    plain = Order(count, shuffle=False, weights=None, sampler=None)
    assert plain.indices(seed, epoch).tolist() == list(range(count))
    assert len(plain) == count


@settings(deadline=None)
@given(st.integers(0, 99), st.integers(), st.integers(0, 50))
def test_shuffled_it_is_the_permutation_of_seed_and_epoch(count: int, seed: int, epoch: int) -> None:
    shuffled = Order(count, shuffle=True, weights=None, sampler=None)
    assert shuffled.indices(seed, epoch).tolist() == permutation(seed, epoch, count).tolist()


def test_weighted_it_has_the_frequencies_of_the_weights() -> None:
    weights = [0.0] * 20 + [1.0] * 10 + [3.0] * 10
    weighted = order(weights=weights)
    drawn = np.concatenate([weighted.indices(0, epoch) for epoch in range(500)])
    assert len(drawn) == 500 * len(weighted) == 500 * 40
    counted = np.bincount(drawn, minlength=40)
    assert counted[:20].sum() == 0
    expected = np.repeat([500, 1500], 10)
    assert ((counted[20:] - expected) ** 2 / expected).sum() < 43.8  # 19 degrees of freedom, 99.9 %


@pytest.mark.parametrize("weights", [torch.arange(40), np.arange(40, dtype=np.float32), list(range(40)), tuple(DATA)])
def test_weights_of_any_kind_are_the_same_weights(weights: Any) -> None:
    expected = order(weights=[float(weight) for weight in range(40)]).indices(3, 4)
    assert np.array_equal(order(weights=weights).indices(3, 4), expected)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_gives_the_same_order_again(name: str) -> None:
    first = order(sampler=SAMPLERS[name]())
    expected = {epoch: first.indices(5, epoch).tolist() for epoch in (0, 1, 2)}
    torch.rand(3), random.random(), np.random.random()
    second = order(sampler=SAMPLERS[name]())
    for epoch in (2, 0, 1, 1):
        assert second.indices(5, epoch).tolist() == expected[epoch]
        assert first.indices(5, epoch).tolist() == expected[epoch]


@pytest.mark.parametrize("name", SAMPLERS)
def test_epochs_of_a_sampler_differ(name: str) -> None:
    sampled = order(sampler=SAMPLERS[name]())
    assert sampled.indices(5, 0).tolist() != sampled.indices(5, 1).tolist()
    if name != "distributed":  # it has a seed of its own
        assert sampled.indices(5, 0).tolist() != sampled.indices(6, 0).tolist()


@pytest.mark.parametrize("name", SAMPLERS)
def test_asking_leaves_the_global_generators_alone(name: str) -> None:
    sampled = order(sampler=SAMPLERS[name]())
    before = random.getstate(), numpy_state(), torch.get_rng_state().tolist()
    sampled.indices(0, 0)
    assert (random.getstate(), numpy_state(), torch.get_rng_state().tolist()) == before


def test_the_indices_are_the_samplers_own() -> None:
    assert sorted(order(sampler=RandomSampler(DATA)).indices(0, 0).tolist()) == list(DATA)
    assert sorted(order(sampler=SubsetRandomSampler(range(5, 25))).indices(0, 0).tolist()) == list(range(5, 25))
    assert order(sampler=SequentialSampler(DATA)).indices(0, 0).tolist() == list(DATA)
    assert order(sampler=[3, 3, 0]).indices(0, 0).tolist() == [3, 3, 0]
    assert order(sampler=torch.tensor([7, 1])).indices(0, 0).tolist() == [7, 1]
    assert len(order(sampler=[3, 3, 0])) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shuffle": True, "sampler": [0]}, "exclude each other"),
        ({"shuffle": True, "weights": [1.0] * 40}, "exclude each other"),
        ({"sampler": [0], "weights": [1.0] * 40}, "exclude each other"),
        ({"weights": [1.0] * 39}, r"one number a sample: 40\. Found: \(39,\)"),
        ({"weights": [0.0] * 40}, "not all 0"),
        ({"weights": [-1.0] + [1.0] * 39}, r"0 or more.*Found: -1\.0"),
        ({"weights": [float("nan")] + [1.0] * 39}, "finite"),
        ({"sampler": (index for index in range(3))}, r"needs len\(\), a generator has none"),
    ],
)
def test_what_cannot_be_is_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        order(**options)


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ([0, 40], r"gave index 0 to 40; the dataset has 40 samples"),
        ([-1], "gave index -1"),
        (BatchSampler(SequentialSampler(DATA), 8, drop_last=False), "one index at a time, a whole number: 'list'"),
        ([0.5], "whole number: 'float'"),
    ],
)
def test_a_sampler_that_gives_no_index_of_a_sample_is_refused(sampler: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        order(sampler=sampler).indices(0, 0)
