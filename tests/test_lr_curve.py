"""Laws of reading a learning rate off curves: scale and shift change nothing, noise little, and nonsense is refused."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import loopwright as lw
from loopwright._lr_curve import LRCurve, read_ramps, smooth
from loopwright._lr_runs import end_of, read_runs
from loopwright._ramp import chosen_rates, ramp

RATES = ramp(1e-5, 10.0, 80)


def valley(rates: list[float], fall_at: float = 1e-3, rise_at: float = 0.1) -> np.ndarray:
    """A loss that falls around one rate and rises, ever more steeply, around another; half of the fall is at ``fall_at``."""
    rate = np.array(rates)
    return 2.0 - rate / (rate + fall_at) + (rate / rise_at) ** 2


def curves(count: int, noise: float = 0.0, seed: int = 0, losses: np.ndarray | None = None) -> list[LRCurve]:
    random = np.random.default_rng(seed)
    losses = valley(RATES) if losses is None else losses
    made = [(losses + noise * random.standard_normal(len(losses))).tolist() for _ in range(count)]
    return [LRCurve(RATES[: len(loss)], loss, loss) for loss in made]


# ---- ramps of rates --------------------------------------------------------------------------------------------------


@given(st.floats(1e-8, 1.0), st.floats(1.01, 1e6), st.integers(2, 200), st.sampled_from(["exponential", "linear"]))
def test_a_ramp_rises_evenly_from_end_to_end(low: float, factor: float, count: int, spacing) -> None:
    rates = ramp(low, low * factor, count, spacing)
    assert rates[0] == low and rates[-1] == low * factor and len(rates) == count
    assert all(a < b for a, b in pairwise(rates))
    steps = np.diff(np.log(rates)) if spacing == "exponential" else np.diff(rates)
    assert np.allclose(steps, steps[0], rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("wrong", [(0.0, 1.0, 5), (1.0, 1.0, 5), (1.0, math.inf, 5), (math.nan, 1.0, 5), (0.1, 1.0, 1)])
def test_a_ramp_that_is_none_is_refused(wrong) -> None:
    with pytest.raises(lw.ConfigError, match="Found"):
        ramp(*wrong)
    with pytest.raises(lw.ConfigError, match="Found"):
        chosen_rates([0.1, -1.0], 1.0, 2.0, "exponential")


# ---- smoothing -------------------------------------------------------------------------------------------------------


def test_smoothing_has_no_lag() -> None:
    places = np.linspace(-5, 1, 121)
    step = np.where(places < -2, 1.0, 0.0).tolist()
    smoothed = np.array(smooth(places.tolist(), step))
    crossing = places[np.argmin(np.abs(smoothed - 0.5))]
    assert abs(crossing + 2) <= 0.051  # a trailing mean of the same reach would cross a quarter of a decade later
    straight = smooth(places.tolist(), (3 * places).tolist())
    assert np.allclose(straight[30:-30], 3 * places[30:-30], atol=1e-6)


def test_what_is_not_finite_is_left_out_of_the_averages() -> None:
    losses = [1.0, 1.0, math.nan, 1.0, math.inf]
    assert smooth([0.0, 0.1, 0.2, 0.3, 0.4], losses) == pytest.approx([1.0] * 5)


# ---- what a curve says -----------------------------------------------------------------------------------------------


def test_the_rates_that_are_read_are_those_of_the_curve() -> None:
    fine = ramp(1e-5, 10.0, 2000)
    exact = valley(fine)
    bottom = int(exact.argmin())
    fall = 2.0 - exact[bottom]
    half = fine[int(np.argmax(exact < 2.0 - fall / 2))]
    edge = min(fine[bottom + int(np.argmax(exact[bottom:] > exact[bottom] + 0.3 * fall))], 4 * fine[bottom])
    reading = read_ramps(curves(3, noise=0.01))
    # The kernel rounds the valley, so its slopes are met a little too far out.
    assert half / 1.5 < reading.half < half * 1.5
    assert edge / 1.5 < reading.edge < edge * 1.5
    assert fine[bottom] / 2 < reading.bottom < fine[bottom] * 2
    assert reading.lr == pytest.approx(reading.half**0.25 * reading.edge**0.75)
    assert reading.turns and reading.low <= reading.lr <= reading.high


@given(st.floats(-100, 100), st.floats(0.01, 100), st.integers(0, 50))
@settings(deadline=None, max_examples=30)
def test_the_unit_and_the_zero_of_the_loss_are_of_no_consequence(shift: float, scale: float, seed: int) -> None:
    made = curves(3, 0.02, seed)
    other = [LRCurve(c.lr, [scale * loss + shift for loss in c.loss], c.smoothed) for c in made]
    assert read_ramps(other).lr == pytest.approx(read_ramps(made).lr, rel=1e-4)


@given(st.floats(0.01, 100))
@settings(deadline=None, max_examples=20)
def test_the_unit_of_the_rate_is_of_no_consequence(factor: float) -> None:
    made = curves(2, 0.02)
    other = [LRCurve([factor * rate for rate in c.lr], c.loss, c.smoothed) for c in made]
    assert read_ramps(other).lr == pytest.approx(factor * read_ramps(made).lr, rel=1e-6)


def test_noise_moves_the_suggestion_little_and_the_range_tells_how_much() -> None:
    truth = read_ramps(curves(1)).lr
    readings = [read_ramps(curves(5, 0.05, seed)) for seed in range(40)]
    suggestions = [reading.lr for reading in readings]
    steepest = [RATES[10 + int(np.gradient(curves(1, 0.05, seed)[0].loss[10:-25]).argmin())] for seed in range(40)]
    assert max(suggestions) / min(suggestions) < 1.5
    assert max(steepest) / min(steepest) > 20  # what is usual
    assert sum(reading.low <= truth <= reading.high for reading in readings) >= 28
    assert np.mean([np.log(r.high / r.low) for r in readings]) < 1.0


@pytest.mark.parametrize("strange", [0.02, 0.1, 8.0])
def test_a_strange_ramp_does_not_widen_the_range_beyond_half_and_edge(strange: float) -> None:
    """Without it the others say something else by far; the suggestion with it still lies where training has begun."""
    made = curves(3, 0.02)
    made[0] = LRCurve(made[0].lr, valley([rate * strange for rate in RATES]).tolist(), made[0].smoothed)
    reading = read_ramps(made)
    assert reading.half <= reading.low <= reading.lr <= reading.high <= reading.edge


def test_ramps_that_were_stopped_count_as_high_from_there_on() -> None:
    made = curves(3, 0.01)
    cut = [LRCurve(c.lr[:65], c.loss[:65], c.smoothed[:65], "the loss diverges at 1") for c in made]
    assert read_ramps(cut).lr == pytest.approx(read_ramps(made).lr, rel=0.05)
    with_nan = [LRCurve(c.lr[:65], [*c.loss[:64], math.nan], c.smoothed[:65], "nan") for c in made]
    assert read_ramps(with_nan).lr == pytest.approx(read_ramps(made).lr, rel=0.05)


def test_a_bad_batch_in_one_ramp_is_not_a_bad_rate() -> None:
    made = curves(5, 0.01)
    made[2] = LRCurve(made[2].lr[:20], [*made[2].loss[:19], math.nan], made[2].smoothed[:20], "the loss is nan at 3e-4")
    assert read_ramps(made).lr == pytest.approx(read_ramps(curves(5, 0.01)).lr, rel=0.05)


def test_noise_before_the_fall_is_no_fall_where_later_there_is_none() -> None:
    losses = np.where(np.arange(80) < 40, 2.0, 0.0) + 0.0
    random = np.random.default_rng(0)
    made = []
    for _ in range(3):
        noisy = losses + 0.1 * random.standard_normal(80) * (losses > 0)
        made.append(LRCurve(RATES, noisy.tolist(), []))
    reading = read_ramps(made)
    assert RATES[36] < reading.half < RATES[44]


def test_a_divergence_however_steep_moves_nothing_before_it() -> None:
    mild, wild = (np.where(np.arange(80) < 60, valley(RATES), height) for height in (4.0, 1e30))
    assert read_ramps(curves(3, 0.01, losses=wild)).lr == pytest.approx(read_ramps(curves(3, 0.01, losses=mild)).lr)


def test_a_loss_that_never_rises_is_said_to() -> None:
    losses = np.array([2.0 - rate / (rate + 1.0) for rate in RATES])
    reading = read_ramps(curves(3, 0.005, losses=losses))
    assert not reading.turns and reading.edge == RATES[-1]
    floor = np.array([2.0 - rate / (rate + 1e-3) for rate in RATES])
    reading = read_ramps(curves(3, 0.005, losses=floor))
    assert reading.turns and 2e-2 < reading.edge < 0.2


@pytest.mark.parametrize("losses", [np.full(80, 2.0), np.linspace(2.0, 9.0, 80)])
def test_a_loss_that_does_not_fall_is_refused(losses: np.ndarray) -> None:
    for seed in range(20):
        with pytest.raises(lw.ConfigError, match="does not fall"):
            read_ramps(curves(3, 0.05, seed, losses))


# ---- runs ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 40).map(lambda eighths: eighths / 8), min_size=2, max_size=8, unique=True))
def test_of_runs_the_lowest_end_decides(ends: list[float]) -> None:
    made = [LRCurve([10.0**-k] * 12, [6.0] * 9 + [end] * 3, []) for k, end in enumerate(ends)]
    best, low, high = read_runs(made, 12)
    assert ends[best] == min(ends)
    assert low == high == made[best].lr[0]


def test_runs_are_compared_on_the_same_batches() -> None:
    hard = np.random.default_rng(0).normal(0, 1.0, 40)  # what a batch is hard by, the same for all
    levels = {0.001: 1.0, 0.01: 0.5, 0.1: 0.51, 1.0: 0.9}
    wobble = np.random.default_rng(1).normal(0, 0.02, (4, 40))
    made = [
        LRCurve([lr] * 40, (level + hard + w).tolist(), [])
        for (lr, level), w in zip(levels.items(), wobble, strict=True)
    ]
    best, low, high = read_runs(made, 40)
    assert (low, high) == (0.01, 0.1) and made[best].lr[0] in (0.01, 0.1)


def test_runs_that_were_stopped_have_no_end() -> None:
    stopped = LRCurve([1.0] * 3, [1.0, 0.1, math.nan], [], "the loss is nan at step 3")
    ended = LRCurve([0.1] * 8, [1.0] * 8, [])
    assert math.isnan(end_of(stopped, 8))
    assert read_runs([stopped, ended], 8)[0] == 1
    with pytest.raises(lw.ConfigError, match="nan at step 3"):
        read_runs([stopped], 8)
