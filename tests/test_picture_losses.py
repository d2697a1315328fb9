"""Losses of pictures and masks: their formulas, their names, and gradients that are those of the formula."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import loopwright as lw
from loopwright._errors import ConfigError


def pictures(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(2, 3, 14, 15, generator=source, dtype=dtype) for _ in range(2))  # type: ignore[return-value]


def masks() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 4, (2, 6, 7), generator=source)
    labels[0, :2] = 255
    return torch.randn(2, 4, 6, 7, generator=source), labels


def test_they_are_their_formulas() -> None:
    x, y = pictures()
    assert torch.allclose(lw.charbonnier_loss(x, y, 0.1), ((x - y) ** 2 + 0.01).sqrt().mean())
    dx = ((x[..., 1:] - x[..., :-1]) - (y[..., 1:] - y[..., :-1])).abs().mean()
    dy = ((x[..., 1:, :] - x[..., :-1, :]) - (y[..., 1:, :] - y[..., :-1, :])).abs().mean()
    assert torch.allclose(lw.gradient_loss(x, y), (dx + dy) / 2)
    assert lw.ssim_loss(x, y, window="uniform").item() == pytest.approx(1 - lw.ssim(x, y).mean().item(), abs=1e-5)
    assert lw.ssim_loss(x, y).item() == pytest.approx(1 - lw.ssim(x, y, window="gaussian").mean().item(), abs=1e-5)


def test_dice_counts_what_counts() -> None:
    logits, labels = masks()
    counts = labels != 255
    shares = logits.softmax(1)
    dice = []
    for label in range(4):
        p, t = shares[:, label][counts], (labels == label)[counts].float()
        dice.append((2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
    assert torch.allclose(lw.dice_loss(logits, labels), 1 - torch.stack(dice).mean())


def test_focal_is_cross_entropy_without_its_focus() -> None:
    logits, labels = masks()
    assert torch.allclose(lw.focal_loss(logits, labels, gamma=0.0), F.cross_entropy(logits, labels, ignore_index=255))
    p = logits.softmax(1).gather(1, labels.where(labels != 255, 0)[:, None])[:, 0][labels != 255]
    assert torch.allclose(lw.focal_loss(logits, labels), (-((1 - p) ** 2) * p.log()).mean())
    assert lw.focal_loss(logits, torch.full_like(labels, 255)).item() == 0  # nothing counts


@pytest.mark.parametrize("name", ["charbonnier", "gradient", "l1", "l2"])
def test_gradients_are_those_of_the_formula(name: str) -> None:
    x, y = pictures()
    small, other = (z[:1, :1, :4, :4].clone() for z in (x, y))
    assert torch.autograd.gradcheck(lambda z: lw.build_loss(name)(z, other), small.requires_grad_())


@pytest.mark.parametrize("name", ["ssim", "charbonnier", "gradient", "l1", "l2"])
def test_less_of_each_is_better(name: str) -> None:
    x, y = pictures(dtype=torch.float32)
    loss = lw.build_loss(name)
    x = x.clone().requires_grad_()
    before = loss(x, y)
    before.backward()
    assert loss((x - 0.1 * x.grad / x.grad.abs().max()).detach(), y) < before  # type: ignore[union-attr]
    assert loss(y, y) < before


def features() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())


def test_a_perceptual_loss_leaves_its_network_alone() -> None:
    x, y = pictures(dtype=torch.float32)
    network = features()
    loss = lw.Perceptual(network).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = x.requires_grad_()
    loss(x, y).backward()
    assert x.grad is not None
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert loss.state_dict() == {}
    losses = lw.Losses({"seen": (loss, 0.5), "pixels": F.l1_loss})
    losses.load_state_dict(losses.state_dict())
    losses.to(torch.float64)
    assert next(network.parameters()).dtype == torch.float64  # moved with it


def test_a_perceptual_loss_by_name() -> None:
    loss = lw.build_loss("perceptual", network="test_picture_losses:features")
    assert loss(*pictures(dtype=torch.float32)) > 0
    with pytest.raises(ConfigError, match="must be, or give, a torch.nn.Module"):
        lw.Perceptual("test_picture_losses:pictures")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("l1", {"l1": 1.0}),
        ({"l1": 1, "ssim": 0.2}, {"l1": 1, "ssim": 0.2}),
        ({"charbonnier": {"weight": 0.5, "epsilon": 0.01}, "gradient": 0.1}, {"charbonnier": 0.5, "gradient": 0.1}),
        ([{"name": "l1", "weight": 2}], {"l1": 2}),
        ({"name": "l1"}, {"l1": 1.0}),
    ],
)
def test_the_configuration_takes_names_with_weights(given: Any, expected: dict[str, float]) -> None:
    from loopwright.recipes._settings import TrainSettings

    settings = lw.load_config({"data": "photos", "loss": given}, schema=TrainSettings)
    assert {loss.name: loss.weight for loss in settings.losses} == expected
    assert lw.load_config(settings.model_dump(), schema=TrainSettings) == settings


def test_a_loss_without_its_name_is_the_usual_one_still() -> None:
    from loopwright.recipes._settings import TrainSettings

    settings = lw.load_config({"data": "photos"}, ["loss.label_smoothing=0.1"], schema=TrainSettings)
    assert settings.losses[0].name == "cross_entropy"
    assert settings.losses[0].arguments == {"label_smoothing": 0.1}
