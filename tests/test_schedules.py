"""Schedules by name: their length derived, warm-up before any of them, per step or per epoch, resumed exactly."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import loopwright as lw


def sgd(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [nn.Parameter(torch.ones(1))], "lr": rate} for rate in rates or (1.0,)], lr=9.0)


def rates(optimizer, scheduler, steps: int, metric: float | None = None) -> list[float]:
    """The rate of the last group in each step."""
    seen = []
    for _ in range(steps):
        seen.append(float(optimizer.param_groups[-1]["lr"]))
        optimizer.step()
        scheduler.step(*([] if metric is None else [metric]))
    return seen


class TestWarmup:
    def test_cosine_with_warmup_is_the_formula(self) -> None:
        optimizer = sgd(0.1, 0.4)
        scheduler = lw.build_scheduler("CosineAnnealingLR", optimizer, total_steps=100, warmup="10 steps", eta_min=0.01)
        expected = [0.4 * (k + 1) / 11 for k in range(10)]
        expected += [0.01 + (0.4 - 0.01) * (1 + math.cos(math.pi * k / 90)) / 2 for k in range(90)]
        assert rates(optimizer, scheduler, 100) == pytest.approx(expected)
        assert optimizer.param_groups[-1]["lr"] == pytest.approx(0.01)
        assert lw.steps_per(scheduler) == "step"

    @settings(max_examples=40, deadline=None)
    @given(
        st.sampled_from(
            ["CosineAnnealingLR", "StepLR", "ExponentialLR", "LinearLR", "PolynomialLR", "ReduceLROnPlateau"]
        ),
        st.integers(1, 8),
        st.sampled_from(["step", "epoch"]),
    )
    def test_behind_the_warmup_any_scheduler_is_what_it_is_alone(self, name: str, warm: int, per: str) -> None:
        own = {"StepLR": {"step_size": 3}, "ExponentialLR": {"gamma": 0.8}, "ReduceLROnPlateau": {"patience": 1}}.get(
            name, {}
        )
        length, metric = {f"total_{per}s": 20 - warm}, 1.0 if name == "ReduceLROnPlateau" else None
        alone = sgd(0.5)
        plain = rates(alone, lw.build_scheduler(name, alone, per=per, **length, **own), 20 - warm, metric)
        optimizer = sgd(0.5)
        scheduler = lw.build_scheduler(
            name, optimizer, per=per, warmup=f"{warm} {per}s", **{f"total_{per}s": 20}, **own
        )
        seen = rates(optimizer, scheduler, 20, metric)
        assert seen[warm:] == plain
        assert seen[:warm] == [plain[0] * ((k + 1) / (warm + 1)) for k in range(warm)]

    def test_the_units_are_named_and_converted(self) -> None:
        for warmup, expected in (("2 epochs", 20), ("0.5 epochs", 5), (0.25, 25), ("7 steps", 7), (0, 0)):
            made = lw.build_scheduler("CosineAnnealingLR", sgd(), total_steps=100, total_epochs=10, warmup=warmup)
            assert getattr(made, "warmup", 0) == expected

    @pytest.mark.parametrize(
        ("name", "arguments", "message"),
        [
            ("CosineAnnealingLR", {"warmup": 5}, "such as '500 steps' or '2 epochs'.*Found: 5"),
            ("CosineAnnealingLR", {"warmup": "10 minutes"}, "is a time"),
            ("CosineAnnealingLR", {"warmup": "100 steps"}, "is 100 steps, and the training has 100"),
            ("OneCycleLR", {"warmup": 0.1}, "warms up by itself: .*pct_start"),
            ("StepLR", {"step_size": 3, "warmup": "10 steps"}, "stepped with each epoch: write whole epochs"),
            ("StepLR", {"step_size": 3, "warmup": 0.1}, "length of the training is not known"),
            ("CosineAnnealingLR", {"warmup": "2 epochs"}, "length of the training is not known: write it in steps"),
            ("CosineAnnealingLR", {"per": "epoch"}, "must know how many steps"),
        ],
    )
    def test_a_mistake_is_one_clear_message(self, name: str, arguments: dict, message: str) -> None:
        with pytest.raises(lw.ConfigError, match=message):
            lw.build_scheduler(name, sgd(), total_steps=100, **arguments)


class TestLength:
    def test_by_epoch_the_length_is_that_in_epochs(self) -> None:
        scheduler = lw.build_scheduler("CosineAnnealingLR", sgd(), total_steps=100, total_epochs=10, per="epoch")
        assert scheduler.after.T_max == 10 and lw.steps_per(scheduler) == "epoch"

    @settings(max_examples=60, deadline=None)
    @given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 5), st.integers(1, 4), st.integers(1, 40))
    def test_steps_are_those_of_a_loop(self, first: int, second: int, change: int, accumulate: int, limit: int) -> None:
        loaders = lw.ByEpoch({0: [0] * first, change: [0] * second})

        def loop(epochs: int | None, most: float) -> tuple[int, int]:
            steps = batches = epoch = 0
            while batches < most and (epochs is None or epoch < epochs):
                group = 0
                for number, _ in enumerate(loaders(epoch), 1):
                    batches, group = batches + 1, group + 1
                    if group == accumulate or number == len(loaders(epoch)) or batches == most:
                        steps, group = steps + 1, 0
                    if batches == most:
                        break
                epoch += 1
            return steps, epoch

        for length, expected in ((limit, loop(limit, math.inf)), (f"{limit} steps", loop(None, limit))):
            assert lw.total_steps(loaders, length, accumulate=accumulate) == expected[0]
            assert lw.total_steps(loaders, length, accumulate=accumulate, per="epoch") == expected[1]

    def test_what_is_not_known_is_none(self) -> None:
        assert lw.total_steps(iter([]), 3) is None and lw.total_steps([0], "2 hours") is None
        assert lw.total_steps(iter([]), 3, per="epoch") == 3


class TestPlateau:
    def test_its_mode_is_the_metrics_direction(self) -> None:
        assert lw.build_scheduler("ReduceLROnPlateau", sgd(), direction="max").mode == "max"
        assert lw.build_scheduler("ReduceLROnPlateau", sgd(), direction="max", mode="min").mode == "min"
        assert lw.build_scheduler("CyclicLR", sgd(), direction="max", base_lr=0.1, max_lr=1.0).mode == "triangular"

    def test_fit_steps_it_with_the_best_metric_in_its_direction(self, tmp_path: Path) -> None:
        data = [(torch.zeros(2), torch.tensor(i % 2)) for i in range(8)]  # nothing to learn: it never gets better
        fitted = lw.fit(
            nn.Linear(2, 2), data, data, loss=nn.functional.cross_entropy, optimizer="SGD", lr=1e-9, epochs=4,
            scheduler={"name": "ReduceLROnPlateau", "patience": 0, "factor": 0.5, "min_lr": 0.0, "eps": 0.0},
            metrics={"top1": lw.topk_accuracy}, run=tmp_path, seed=0, workers=0, progress=False, report_every="1 steps",
        )  # fmt: skip
        found = [line["lr"] for line in fitted.history if "lr" in line]
        assert found == pytest.approx([1e-9, 1e-9, 0.5e-9, 0.25e-9])


def test_one_cycle_with_an_optimizer_without_momentum() -> None:
    optimizer = torch.optim.Adagrad([nn.Parameter(torch.ones(1))], lr=0.1)
    assert not lw.build_scheduler("OneCycleLR", optimizer, total_steps=5).cycle_momentum


@pytest.mark.parametrize("name", ["CosineAnnealingLR", "ReduceLROnPlateau", "StepLR"])
@pytest.mark.parametrize("cut", [1, 3, 7])
def test_a_schedule_goes_on_from_its_state(name: str, cut: int) -> None:
    own = {"StepLR": {"step_size": 2}, "ReduceLROnPlateau": {"patience": 1}}.get(name, {})
    metric = 1.0 if name == "ReduceLROnPlateau" else None

    def made() -> tuple:
        optimizer = sgd(0.1, 0.7)
        return optimizer, lw.build_scheduler(name, optimizer, per="epoch", total_epochs=12, warmup="4 epochs", **own)

    expected = rates(*made(), 12, metric)
    optimizer, scheduler = made()
    first = rates(optimizer, scheduler, cut, metric)
    later, resumed = made()
    later.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    later._opt_called = True  # as a registered optimizer is marked
    assert first + rates(later, resumed, 12 - cut, metric) == expected
    other = lw.build_scheduler(name, sgd(), per="epoch", total_epochs=12, warmup="5 epochs", **own)
    with pytest.raises(ValueError, match="made for a warm-up of 4 epochs"):
        other.load_state_dict(scheduler.state_dict())


@pytest.mark.parametrize("name", ["OneCycleLR", "CosineAnnealingLR", "PolynomialLR"])
def test_a_training_of_no_steps_has_no_schedule(name: str) -> None:
    with pytest.raises(lw.ConfigError, match=rf"{name}: (T_max|total_\w+) would be 0: .* 1 step or more"):
        lw.build_scheduler(name, sgd(), total_steps=0)
    assert lw.build_scheduler("none", sgd(), total_steps=0) is None


@pytest.mark.parametrize("length", [-1, 2.5, True, "10"])
def test_a_length_that_is_none_is_named(length: Any) -> None:
    for name in ("OneCycleLR", "StepLR"):
        with pytest.raises(lw.ConfigError, match="total_epochs must be a whole number"):
            lw.build_scheduler(name, sgd(), total_epochs=length)
