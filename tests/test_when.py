"""Lengths of training have their unit written out, and things are due on a grid that a resume does not move."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright import ConfigError
from loopwright._when import Due, Limits, Span, parse_span, parse_spans


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("1 epoch", Span(Fraction(1), "epochs")),
        ("0.5 epochs", Span(Fraction(1, 2), "epochs")),
        (".1 epochs", Span(Fraction(1, 10), "epochs")),
        ("500 steps", Span(Fraction(500), "steps")),
        ("10 minutes", Span(Fraction(600), "seconds")),
        ("2h", None),
        ("2 Hours", Span(Fraction(7200), "seconds")),
        ("30sec", Span(Fraction(30), "seconds")),
    ],
)
def test_units_are_read(text: str, span: Span | None) -> None:
    if span is None:
        with pytest.raises(ConfigError, match="2h"):
            parse_span(text)
    else:
        assert parse_span(text) == span


@pytest.mark.parametrize(
    "text", ["", "2", "0 epochs", "-1 epochs", "two epochs", "1.5 steps", "5 parsecs", "nan epochs", 3]
)
def test_a_length_without_a_sound_number_and_unit_is_refused(text: object) -> None:
    with pytest.raises(ConfigError):
        parse_span(text)  # type: ignore[arg-type]


def test_several_lengths_as_text_or_list() -> None:
    assert parse_spans("1 epoch, 500 steps") == parse_spans(["1 epoch", "500 steps"])


def fire_steps(spans: str, steps_per_epoch: int, epochs: int, start: int = 0) -> list[tuple[str, int]]:
    """When a thing is due, walking through training from a step on, as the loop does."""
    due, fired, step = Due(parse_spans(spans)), [], start
    while step < epochs * steps_per_epoch:
        epoch, within = divmod(step, steps_per_epoch)
        planned = due.next_step(step, epoch, within, steps_per_epoch)
        step += 1
        if step >= planned:
            fired.append(("step", step))
        if step % steps_per_epoch == 0 and due.at_epoch(epoch + 1):
            fired.append(("epoch", step))
    return fired


def test_every_500_steps_is_500_1000_1500() -> None:
    assert fire_steps("500 steps", 300, 5) == [("step", 500), ("step", 1000), ("step", 1500)]


def test_half_epochs_fall_in_the_middle_and_at_the_end() -> None:
    assert fire_steps("0.5 epochs", 10, 2) == [("step", 5), ("epoch", 10), ("step", 15), ("epoch", 20)]


def test_a_fraction_that_divides_no_epoch_keeps_its_grid() -> None:
    steps = [("step", step) for step in range(3, 30, 3)]
    assert fire_steps("0.3 epochs", 10, 3) == [*steps, ("epoch", 30)]


def test_every_second_epoch() -> None:
    assert fire_steps("2 epochs", 7, 5) == [("epoch", 14), ("epoch", 28)]


@given(
    st.sampled_from(["3 steps", "0.25 epochs", "0.7 epochs", "1 epoch", "2 epochs, 5 steps"]),
    st.integers(1, 12),
    st.integers(0, 40),
)
def test_what_is_due_does_not_depend_on_where_a_life_began(spans: str, per_epoch: int, start: int) -> None:
    whole = fire_steps(spans, per_epoch, 6)
    start = min(start, 6 * per_epoch)
    assert fire_steps(spans, per_epoch, 6, start) == [(k, s) for k, s in whole if s > start]


def test_limits_end_at_the_first() -> None:
    limits = Limits([20, "500 steps", "2 hours"])
    assert (limits.epochs, limits.steps, limits.seconds) == (20, 500, 7200.0)
    assert Limits(["3 epochs"]).epochs == 3 and Limits(["3 epochs"]).steps == math.inf


@pytest.mark.parametrize("lengths", [[], [-1], ["0.5 epochs"]])
def test_limits_that_make_no_sense_are_refused(lengths: list) -> None:
    with pytest.raises(ConfigError):
        Limits(lengths)
