"""Hooks are there while their context is open and not a moment longer; what they record is what was computed."""

import pytest
import torch
from torch import Tensor, nn

import loopwright as lw


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 3))
    return nn.Sequential(body, nn.LogSoftmax(dim=1))


def hooks_of(model: nn.Module) -> int:
    return sum(len(layer._forward_hooks) + len(layer._backward_hooks) for layer in model.modules())


def test_outputs_are_those_of_the_layers(model: nn.Module) -> None:
    x = torch.randn(5, 4)
    with lw.record_layers(model, "0.*") as seen:
        model(x), model(2 * x)
    body: nn.Sequential = model[0]  # type: ignore[index, assignment]
    first = body[0](x)
    assert list(seen.outputs) == ["0.0", "0.1", "0.2"] and all(len(values) == 2 for values in seen.outputs.values())
    assert torch.equal(seen.outputs["0.0"][0], first)  # a copy, though the next layer works in place
    assert torch.equal(seen["0.1"], body[0](2 * x).relu()) and not seen["0.1"].requires_grad
    assert hooks_of(model) == 0


def test_what_is_kept(model: nn.Module) -> None:
    x = torch.randn(5, 4)
    with lw.record_layers(model, "0.0", keep="shared") as seen:
        model(x)
    assert (seen["0.0"] >= 0).all()  # the ReLU worked in it
    with lw.record_layers(model, "0", keep="graph") as seen:
        model(x)
    seen["0"].sum().backward()
    assert model[0][2].bias.grad.tolist() == [5, 5, 5]  # type: ignore[index]
    with (
        pytest.raises(lw.ConfigError, match="keep must be one of 'copy', 'shared', 'graph'"),
        lw.record_layers(model, "0", keep="no"),
    ):  # type: ignore[arg-type]
        pass


def test_gradients_are_those_of_autograd(model: nn.Module) -> None:
    x = torch.randn(5, 4)
    with lw.record_layers(model, "0", "0.0", gradients=True) as seen:
        model(x)[:, 0].sum().backward()
    with lw.record_layers(model, "0", keep="graph") as again:
        loss = model(x)[:, 0].sum()
    (expected,) = torch.autograd.grad(loss, again["0"])
    assert torch.equal(seen.gradients["0"][0], expected) and seen.gradients["0.0"][0].shape == (5, 4)


def test_a_gradient_that_comes_too_late_is_not_recorded(model: nn.Module) -> None:
    with lw.record_layers(model, "0", gradients=True) as seen:
        loss = model(torch.randn(5, 4)).sum()
    loss.backward()
    assert seen.gradients == {"0": []}


def test_nothing_is_left_after_an_error(model: nn.Module) -> None:
    with pytest.raises(ZeroDivisionError), lw.record_layers(model, "*", gradients=True):
        model(torch.randn(5, 4))
        raise ZeroDivisionError
    assert hooks_of(model) == 0


def test_other_hooks_stay(model: nn.Module) -> None:
    calls: list[int] = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    with lw.layer_hooks(model, lambda *_: None, "*"):
        model(torch.randn(5, 4))
    model(torch.randn(5, 4))
    assert len(calls) == 2 and hooks_of(model) == 1
    handle.remove()


def test_a_hook_may_give_another_output(model: nn.Module) -> None:
    def silenced(name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        assert (name, type(layer), inputs[0].shape) == ("0", nn.Sequential, (5, 4))
        return torch.zeros_like(output)

    with lw.layer_hooks(model, silenced, "0") as layers:
        assert layers == ["0"] and len(set(model(torch.randn(5, 4)).flatten().tolist())) == 1
    assert len(set(model(torch.randn(5, 4)).flatten().tolist())) > 1


def test_containers_of_any_kind() -> None:
    class Many(nn.Module):
        def forward(self, x: Tensor) -> dict:
            return {"a": (x, [x + 1]), "n": 3}

    model = nn.Sequential(Many())
    with lw.record_layers(model, "0", gradients=True) as seen:
        model(torch.ones(2))
    assert seen["0"]["n"] == 3 and seen["0"]["a"][1][0].tolist() == [2, 2]


def test_a_name_that_is_not_there(model: nn.Module) -> None:
    named = nn.ModuleDict({"layer1": model, "head": nn.Linear(1, 1)})
    for name, hint in {"layr1": "did you mean 'layer1'", "zzz": "at its top are layer1, head"}.items():
        with pytest.raises(lw.ConfigError, match=hint), lw.record_layers(named, name):
            pass
    with pytest.raises(lw.ConfigError, match="name the layers"), lw.layer_hooks(named, print):
        pass
    with lw.record_layers(named, "head") as seen, pytest.raises(KeyError, match="not called"):
        seen["head"]
    with pytest.raises(KeyError, match="not recorded: did you mean 'head'"):
        seen["hed"]


def test_clear(model: nn.Module) -> None:
    with lw.record_layers(model, "0", gradients=True) as seen:
        for _ in range(3):
            model(torch.randn(5, 4)).sum().backward()
            assert len(seen.outputs["0"]) == len(seen.gradients["0"]) == 1
            seen.clear()
