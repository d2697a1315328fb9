"""Networks from pictures to pictures and to logits: sizes, parameters, names."""

import pytest
import torch
from torch import nn

import loopwright as lw
from loopwright._errors import ConfigError


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_dncnn_has_the_papers_parameters() -> None:
    convolutions = 64 * 9 + 15 * 64 * 64 * 9 + 64 * 9
    assert parameters(lw.dncnn()) == convolutions + 64 + 15 * 2 * 64  # a bias of the first, batch norms of the others
    assert len([m for m in lw.dncnn().modules() if isinstance(m, nn.Conv2d)]) == 17
    assert len([m for m in lw.dncnn(3, depth=20).modules() if isinstance(m, nn.BatchNorm2d)]) == 18


def test_dncnn_sees_as_far_as_its_depth() -> None:
    model = lw.dncnn(depth=5, width=4).eval()
    x = torch.rand(1, 1, 31, 31)
    other = x.clone()
    other[0, 0, 15, 15] += 1
    changed = (model(x) - model(other)).abs()[0, 0] > 0
    rows, columns = changed.nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 20, 10, 20)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (37, 50), (9, 64)])
@pytest.mark.parametrize("channels", [(1, 1), (3, 3), (3, 7)])
def test_a_unet_takes_any_size(size: tuple[int, int], channels: tuple[int, int]) -> None:
    model = lw.unet(channels[0], channels[1], width=4).eval()
    assert model(torch.rand(2, channels[0], *size)).shape == (2, channels[1], *size)


def test_a_unet_adds_the_picture_where_it_can() -> None:
    model = lw.unet(1, width=4)
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)  # type: ignore[arg-type]
    x = torch.rand(1, 1, 13, 22)
    assert torch.equal(model(x), x)
    with pytest.raises(ConfigError, match="residual adds the picture"):
        lw.unet(1, 3, residual=True)
    with pytest.raises(ConfigError, match="unet can others"):
        lw.dncnn(1, 3)


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"])
def test_torchvisions_segmenters_give_logits(name: str) -> None:
    model = lw.build_model(name, offered={"num_classes": 5, "in_channels": 3}).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, 40, 56)).shape == (1, 5, 40, 56)


def test_models_by_name_are_told_what_they_take() -> None:
    offered = {"in_channels": 1, "out_channels": 1}
    assert parameters(lw.build_model("dncnn", offered=offered)) == parameters(lw.dncnn())
    assert lw.build_model("unet", offered=offered, in_channels=3)(torch.rand(1, 3, 8, 8)).shape[1] == 1
    with pytest.raises(ConfigError, match="has no classes"):
        lw.build_model("dncnn", num_classes=10)
    with pytest.raises(ConfigError, match="did you mean"):
        lw.build_model("dncn")
