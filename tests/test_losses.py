"""Several losses: the sum is the sum, each is logged, weights follow their course, evaluation has its own list."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import loopwright as lw

OUTPUT, TARGET = torch.tensor([[1.0, 2.0], [0.5, -1.0]]), torch.tensor([[0.0, 2.5], [1.0, 1.0]])


@settings(max_examples=50, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.integers(0, 30), st.integers(0, 1000))
def test_the_total_is_the_weighted_sum_and_so_is_its_gradient(one: float, other: float, epoch: int, step: int) -> None:
    losses = lw.Losses({
        "a": (F.l1_loss, one), "b": (F.mse_loss, {0: 0.0, 10: other}), "c": (F.smooth_l1_loss, lambda step: step / 500),
        "d": (F.huber_loss, lambda epoch, step: 0.1 + epoch),
    })  # fmt: skip
    losses.at(epoch=epoch, step=step)
    weights = [one, other * min(epoch / 10, 1), step / 500, 0.1 + epoch]
    functions = [F.l1_loss, F.mse_loss, F.smooth_l1_loss, F.huber_loss]
    x, y = OUTPUT.clone().requires_grad_(), OUTPUT.clone().requires_grad_()
    total, expected = losses(x, TARGET), sum(w * f(y, TARGET) for w, f in zip(weights, functions, strict=True))
    torch.testing.assert_close(total, expected)
    total.backward()
    expected.backward()
    torch.testing.assert_close(x.grad, y.grad)
    assert list(losses.values) == ["loss", "a", "b", "c", "d"]
    assert not any(value.requires_grad for value in losses.values.values())
    assert torch.equal(losses.values["b"], F.mse_loss(OUTPUT, TARGET))  # unweighted
    assert list(losses.weights().values()) == pytest.approx(weights)


def test_one_loss_of_weight_one_is_that_loss_bit_for_bit() -> None:
    assert torch.equal(lw.Losses({"a": F.l1_loss})(OUTPUT, TARGET), F.l1_loss(OUTPUT, TARGET))


def test_a_loss_of_weight_zero_is_measured_and_cannot_spoil_the_sum() -> None:
    losses = lw.Losses({"a": F.l1_loss, "b": (lambda output, target: (output.sum() - output.sum()) / 0, 0.0)})
    assert losses(OUTPUT, TARGET).isfinite() and losses.values["b"].isnan()
    with pytest.raises(lw.ConfigError, match="all weights are 0"):
        lw.Losses({"a": (F.l1_loss, 0)})(OUTPUT, TARGET)


def test_evaluation_has_its_own_list_by_the_mode_that_run_evaluate_sets(tmp_path: Path) -> None:
    losses = lw.Losses({"a": F.l1_loss}, evaluation={"b": F.mse_loss, "c": (F.l1_loss, 2.0)})
    with lw.Run(tmp_path, seed=0, device="cpu", progress=False) as run:
        model = nn.Linear(2, 2)
        run.register(model=model)
        for _ in run.epochs(1):
            for batch in run.batches([OUTPUT]):
                losses(model(batch), TARGET)
                run.log(losses.values)
            with run.evaluate(model, losses):
                for batch in run.batches([OUTPUT]):
                    losses(model(batch), TARGET)
                    run.log(losses.values)
    names = {name for line in lw.read_metrics(tmp_path) for name in line if "/" in name and not name.count("/") > 1}
    assert {"train/loss", "train/a", "val/loss", "val/b", "val/c"} <= names
    assert not {"train/b", "val/a"} & names
    assert losses.training


def test_losses_with_weights_of_their_own_move_and_survive_with_it() -> None:
    losses = lw.Losses({"a": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0])), "b": nn.PReLU()})
    assert sorted(name.rpartition(".")[2] for name in losses.state_dict()) == ["weight"] * 4  # in both lists
    assert len(list(losses.parameters())) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "needs names and losses"),
        ({"loss": F.l1_loss}, "not 'loss', which is the sum"),
        ({"a": nn.L1Loss}, "call the class first"),
        ({"a": 3}, "must be a loss or a pair"),
        ({"a": (F.l1_loss, "high")}, "the weight of 'a' must be a finite number"),
        ({"a": (F.l1_loss, {})}, "has no points"),
        ({"a": (F.l1_loss, lambda t: t)}, "takes epoch, step or both, by these names. This one takes t"),
        ({"a": (F.l1_loss, float("nan"))}, "must be a finite number"),
    ],
)
def test_a_mistake_is_one_clear_message(given: dict, message: str) -> None:
    with pytest.raises(lw.ConfigError, match=message):
        lw.Losses(given)


def test_a_changing_weight_must_be_told_where_training_is_and_a_loss_is_one_number() -> None:
    losses = lw.Losses({"a": (F.l1_loss, {0: 0, 3: 1})})
    with pytest.raises(lw.ConfigError, match=r"say where it is with losses.at\(epoch=epoch"):
        losses(OUTPUT, TARGET)
    with pytest.raises(lw.ConfigError, match=r"one element, a mean. Found: \(2, 2\)"):
        lw.Losses({"a": lambda output, target: output - target})(OUTPUT, TARGET)
