"""Laws of order and randomness: pinned for ever, each index once, streams apart, the process's generators put back."""

import hashlib
import io
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwright._seed import (
    SampleRandom,
    capture_rng,
    permutation,
    preserved_rng,
    restore_rng,
    sample_seed,
    sample_uniforms,
    seed_everything,
    seed_globals,
    weighted_choice,
)

SEEDS = st.integers(-(2**70), 2**70)
EPOCHS = st.integers(0, 10_000)


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), torch.rand(1, dtype=torch.float64).item()


def philox_words(key: tuple[int, int], counter: int, count: int) -> list[int]:
    """Philox4x64-10 as the paper writes it (Salmon et al., SC 2011), one block of four words after the other."""
    words, mask = [], 2**64 - 1
    while len(words) < count:
        counter += 1  # NumPy counts before it makes a block
        a, b, c, d = (counter >> shift & mask for shift in (0, 64, 128, 192))
        k0, k1 = key
        for _ in range(10):
            p, q = a * 0xD2E7470EE14C6C93, c * 0xCA5A826395121157
            a, b, c, d = (q >> 64) ^ b ^ k0, q & mask, (p >> 64) ^ d ^ k1, p & mask
            k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
        words += [a, b, c, d]
    return words[:count]


# Whoever changes one of these numbers changes the order of every run that was ever made: resuming one would break.


@pytest.mark.parametrize(
    ("seed", "epoch", "order"),
    [
        (0, 0, [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]),
        (1, 0, [3, 5, 2, 9, 7, 0, 8, 6, 1, 4]),
        (0, 1, [5, 3, 7, 8, 2, 4, 1, 0, 6, 9]),
        (-1, 7, [3, 0, 7, 4, 6, 9, 8, 1, 5, 2]),
    ],
)
def test_the_order_of_ten_samples_is_pinned(seed: int, epoch: int, order: list[int]) -> None:
    assert permutation(seed, epoch, 10).tolist() == order


def test_the_order_of_many_samples_is_pinned() -> None:
    digest = hashlib.sha256(permutation(123, 45, 100_000).astype("<i8").tobytes()).hexdigest()
    assert digest == "fc33623a24bef46ce07a008dfe36ed0175d898d929bd27ad7817c725b2788c24"


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1), EPOCHS, st.integers(1, 40))
def test_the_order_is_that_of_the_papers_philox_words(seed: int, epoch: int, count: int) -> None:
    words = philox_words((seed, epoch), 0, count)
    assert permutation(seed, epoch, count).tolist() == sorted(range(count), key=words.__getitem__)


def test_the_weighted_choice_is_pinned() -> None:
    assert weighted_choice(0, 0, np.array([1.0, 2, 3, 4]), 12).tolist() == [2, 2, 0, 3, 0, 1, 1, 0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("place", "bits"),
    [
        ((0, 0, 0), 314037081962746332791419462088405059882),
        ((0, 0, 1), 86315288499841957891366273292367306608),
        ((42, 3, 1234567), 230381279002935143606348822804451753222),
        ((-1, 0, -1), 334357267690975051265995573392443705468),
        ((2**63, 1, 5), 246566076975763575396958558006251663602),
    ],
)
def test_the_seed_of_a_sample_is_pinned(place: tuple[int, int, int], bits: int) -> None:
    assert sample_seed(*place) == bits


def test_the_numbers_that_a_sample_draws_are_pinned() -> None:
    seed = sample_seed(42, 3, 7)
    with preserved_rng():
        seed_globals(seed)
        python, of_numpy, _ = draw()
    assert (python, of_numpy) == (0.4448413928684647, 0.47207970941857336)
    assert SampleRandom(42, 3, 7).random() == 0.3069793591786557
    assert SampleRandom(42, 3, 7).getrandbits(100) == 389142568920500221938315170609


@settings(deadline=None)
@given(SEEDS, EPOCHS, st.integers(0, 500))
def test_each_index_comes_once(seed: int, epoch: int, count: int) -> None:
    order = permutation(seed, epoch, count)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))


@settings(deadline=None)
@given(SEEDS, EPOCHS)
def test_epochs_and_seeds_have_orders_of_their_own(seed: int, epoch: int) -> None:
    orders = {tuple(permutation(s, e, 30)) for s in (seed, seed + 1) for e in (epoch, epoch + 1)}
    assert len(orders) == 4


def test_every_sample_comes_equally_often_at_every_place() -> None:
    counted = np.zeros((6, 6))
    for epoch in range(3000):
        counted[np.arange(6), permutation(0, epoch, 6)] += 1
    chi_square = ((counted - 500) ** 2 / 500).sum()
    assert chi_square < 52.6  # 25 degrees of freedom: passed by 99.9 % of fair shuffles


def test_samples_are_drawn_as_often_as_they_weigh() -> None:
    weights = np.array([0.0, 1, 2, 3, 4])
    counted = np.bincount(weighted_choice(1, 2, weights, 100_000), minlength=5)
    assert counted[0] == 0
    expected = weights[1:] * 10_000
    assert ((counted[1:] - expected) ** 2 / expected).sum() < 16.3  # 3 degrees of freedom, 99.9 %


@settings(deadline=None)
@given(
    SEEDS,
    st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=30).filter(lambda w: sum(w) > 0),
    st.integers(0, 200),
)
def test_what_weighs_nothing_is_never_drawn(seed: int, weights: list[float], count: int) -> None:
    drawn = weighted_choice(seed, 0, np.array(weights), count)
    assert len(drawn) == count
    assert all(weights[index] > 0 for index in drawn)


def test_the_streams_of_one_sample_are_apart() -> None:
    """Python's and NumPy's generators are the same algorithm: seeded alike, a crop and a colour would go together."""
    drawn = []
    with preserved_rng():
        for index in range(200):
            seed = sample_seed(0, 0, index)
            seed_globals(seed)
            drawn.append((*draw(), SampleRandom(0, 0, index).random()))
    correlation = np.corrcoef(np.array(drawn).T) - np.eye(4)
    assert np.abs(correlation).max() < 0.25


def test_the_streams_of_neighbouring_samples_are_apart() -> None:
    first = [SampleRandom(0, 0, index).random() for index in range(500)]
    assert len(set(first)) == 500
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.15


@settings(deadline=None)
@given(st.integers(0, 2**128 - 1))
def test_the_same_seed_gives_the_same_numbers(seed: int) -> None:
    with preserved_rng():
        seed_globals(seed)
        first = draw()
        seed_globals(seed)
        assert draw() == first


def test_what_is_drawn_inside_leaves_the_generators_as_they_were() -> None:
    def draw_and_fail() -> None:
        seed_globals(5)
        random.gauss(0, 1), np.random.normal(), draw()
        raise KeyError

    with preserved_rng():
        expected = draw()
    with pytest.raises(KeyError), preserved_rng():
        draw_and_fail()
    assert draw() == expected


@pytest.mark.parametrize("gauss_pending", [False, True])
def test_captured_generators_come_back_through_a_checkpoint(gauss_pending: bool) -> None:
    if gauss_pending:  # both keep the second of a pair of normal numbers for the next call
        random.gauss(0, 1), np.random.normal()
    file = io.BytesIO()
    torch.save(capture_rng(), file)
    expected = draw(), random.gauss(0, 1), np.random.normal()
    seed_globals(0)
    file.seek(0)
    restore_rng(torch.load(file, weights_only=True))
    assert (draw(), random.gauss(0, 1), np.random.normal()) == expected


def test_seeding_everything_repeats_everything() -> None:
    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first
    seed_everything(4)
    assert draw() != first


@settings(deadline=None)
@given(SEEDS, EPOCHS, st.lists(st.integers(0, 2**40), min_size=1, max_size=5), st.integers(1, 6))
def test_many_samples_at_once_draw_what_each_draws_alone(seed: int, epoch: int, indices: list[int], count: int) -> None:
    drawn = sample_uniforms(seed, epoch, np.array(indices), count)
    rng = SampleRandom()
    for row, index in enumerate(indices):
        rng.go_to(seed, epoch, index)
        assert drawn[row].tolist() == [rng.random() for _ in range(count)]
    assert ((drawn >= 0) & (drawn < 1)).all()


def test_a_stream_does_not_remember_what_was_drawn_before() -> None:
    rng = SampleRandom(1, 2, 3)
    first = [rng.gauss(0, 1), rng.randint(0, 10**30), rng.choice("abcdef"), rng.random()]
    rng.gauss(0, 1)
    rng.go_to(1, 2, 3)
    assert [rng.gauss(0, 1), rng.randint(0, 10**30), rng.choice("abcdef"), rng.random()] == first
    state = rng.getstate()
    ahead = [rng.random(), rng.gauss(0, 1)]
    rng.setstate(state)
    assert [rng.random(), rng.gauss(0, 1)] == ahead


def test_the_stream_of_a_sample_is_evenly_spread() -> None:
    """Chi-square over 100 equal bins: along one stream, and over the first numbers of many."""
    rng = SampleRandom(5, 0, 0)
    along = [rng.random() for _ in range(100_000)]
    across = sample_uniforms(5, 0, np.arange(100_000), 1)[:, 0]
    for drawn in (along, across):
        counted = np.histogram(drawn, 100, (0, 1))[0]
        assert ((counted - 1000) ** 2 / 1000).sum() < 148.2  # 99 degrees of freedom, 99.9 %
