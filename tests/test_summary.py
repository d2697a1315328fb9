"""A summary agrees with published numbers and with autograd, and leaves every bit of a model as it was."""

import copy
import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

import loopwright as lw
from loopwright import cli
from loopwright._nested import map_nested
from loopwright._seed import capture_rng


def published(name: str) -> tuple[float, int]:
    weights = next(iter(models.get_model_weights(name)))
    return weights.meta["_ops"], weights.meta["num_params"]


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "resnet50", "vit_b_16", "convnext_tiny"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("mobilenet_v3_small", "swin_t", "efficientnet_b0")),
    ],
)
def test_operations_and_parameters_are_torchvisions_published_ones(name: str) -> None:
    with torch.device("meta"):
        model = models.get_model(name)
    giga, parameters = published(name)
    found = lw.summary(model, (1, 3, 224, 224))
    assert round(found.operations / 1e9, 3) == giga
    assert found.trained == parameters and found.frozen == 0 and found.output == (1, 1000)
    assert found.how.startswith("without computing")


# ---- models of all kinds -----------------------------------------------------------------------------------------------


class Two(nn.Module):
    """Several inputs, a dictionary of outputs, one layer used twice and under two names, one not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(4, 4)
        self.again, self.unused = self.shared, nn.Linear(9, 9)
        self.unused.requires_grad_(False)

    def forward(self, left: Tensor, right: Tensor, scale: float = 1.0) -> dict[str, Any]:
        return {"a": self.shared(left) * scale, "b": (self.again(right), {"c": left})}


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, words: Tensor) -> Tensor:
        return self.out(self.embed(words))


class Looks(nn.Module):
    """Decides by values, has a buffer that is not saved, and counts its calls in it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = self.drop(self.norm(x))
        return x if x.sum() > 1e9 else x * random.random() * float(np.random.rand())


def test_several_inputs_and_nested_outputs() -> None:
    for inputs in ([(2, 4), (3, 4)], {"left": (2, 4), "right": torch.zeros(3, 4)}, ((2, 4), torch.ones(3, 4), 2.0)):
        found = lw.summary(Two(), inputs)
        assert found.output == {"a": (2, 4), "b": ((3, 4), {"c": (2, 4)})}
        assert (found.trained, found.frozen) == (20, 90)
        assert found["shared"].calls == 2 and found["shared"].operations == 5 * 16 == found.operations
        assert found["again"].same_as == "shared" and found["unused"].calls == 0 and found["unused"].output is None
        text = str(found)
        assert "is shared" in text and "(2, 4), 2 calls" in text and "{a: (2, 4), b: (3, 4), {c: (2, 4)}}" in text


def test_shared_parameters_count_once() -> None:
    found = lw.summary(Tied(), torch.zeros(3, 5, dtype=torch.int64))
    assert found.trained == 40 == found["embed"].trained == found["out"].trained and found.parameter_bytes == 160
    assert found.operations == 3 * 5 * 4 * 10


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers_cost_their_matrix_products(kind: type[nn.RNNBase], gates: int) -> None:
    found = lw.summary(nn.Sequential(kind(4, 8, batch_first=True)), (2, 5, 4))
    assert found.operations == found["0"].operations == 2 * 5 * gates * 8 * (4 + 8)


class Attention(nn.Module):
    """Four heads of queries, by one operation or another."""

    def __init__(self, attend: Callable[..., Any]) -> None:
        super().__init__()
        self.query, self.attend = nn.Linear(16, 16), attend

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> Any:
        return self.attend(self.query(x), keys, values)


@pytest.mark.parametrize("heads", [4, 2])
@pytest.mark.parametrize(
    "attend",
    [
        partial(F.scaled_dot_product_attention, enable_gqa=True),
        torch.ops.aten._scaled_dot_product_flash_attention,  # a GPU's
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu,
    ],
)
def test_attention_costs_its_matrix_products_also_where_heads_share_keys(attend: Callable, heads: int) -> None:
    found = lw.summary(Attention(attend), [(3, 4, 6, 16), (3, heads, 7, 16), (3, heads, 7, 16)])
    assert found.how.startswith("without computing")
    assert found.operations - found["query"].operations == 3 * 4 * (6 * 16 * 7 + 6 * 7 * 16)


@pytest.mark.parametrize("lead", [(), (2, 7)])
def test_a_bilinear_layer_costs_each_weight_once_a_sample(lead: tuple[int, ...]) -> None:
    layer = nn.Bilinear(3, 4, 5)
    found = lw.summary(layer, [(*lead, 3), (*lead, 4)])
    assert found.operations == math.prod(lead) * 5 * 3 * 4 and found.how.startswith("without computing")


def test_a_layer_that_is_not_there_is_named_with_those_that_are_near() -> None:
    found = lw.summary(nn.Sequential(nn.Linear(2, 2)).append(nn.ReLU()), (1, 2))
    with pytest.raises(KeyError, match="relu: no layer"):
        found["relu"]
    with pytest.raises(KeyError, match="did you mean 'stem'"):
        lw.summary(lw.small_resnet(2, width=4), (2, 3, 8, 8))["sten"]


def test_what_is_kept_is_what_autograd_saves() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8 * 36, 5)
    )
    found = lw.summary(model, (4, 3, 8, 8))
    x = torch.randn(4, 3, 8, 8)
    known = {t.untyped_storage().data_ptr() for t in [x, *model.parameters(), *model.buffers()]}
    held: dict[int, torch.UntypedStorage] = {}

    def save(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in known:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        model(x)
    assert (
        found.kept
        == sum(storage.nbytes() for storage in held.values())
        == sum(layer.kept for layer in found.layers[1:])
    )
    assert lw.summary(model.requires_grad_(False), (4, 3, 8, 8)).kept == 0


def test_frozen_parameters_take_no_gradients() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    found = lw.summary(model, (1, 4))
    assert (found.trained, found.frozen, found.trained_bytes, found.parameter_bytes) == (10, 20, 40, 120)
    assert "20 frozen" in str(found["0"]) or "20 frozen" in str(found)


def test_half_precision_and_other_types() -> None:
    assert lw.summary(nn.Linear(4, 2).half(), (3, 4)).parameter_bytes == 20
    with pytest.raises(TypeError):
        lw.summary(Two(), [(2, 4)])


def test_a_transformer_in_evaluation_mode_is_counted_too() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    trained = lw.summary(layer, (2, 5, 16)).operations
    assert trained == lw.summary(layer.eval().requires_grad_(False), (2, 5, 16)).operations > 0
    assert torch.backends.mha.get_fastpath_enabled()


# ---- nothing is changed ------------------------------------------------------------------------------------------------


def everything(model: nn.Module) -> dict[str, Any]:
    """All that a model is, as comparable values."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        "values": {name: (t.detach().clone(), t.dtype, t.device) for name, t in tensors},
        "who": [id(t) for _, t in tensors],
        "versions": [t._version for _, t in tensors],
        "gradients": {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()},
        "modes": [layer.training for layer in model.modules()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()],
        "attributes": [sorted(vars(layer)) for layer in model.modules()],
        "rng": capture_rng(),
        "threads": (torch.is_grad_enabled(), torch.backends.mha.get_fastpath_enabled()),
        "libraries": (torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled),
    }


def bits(leaf: Any) -> Any:
    return (leaf.dtype, leaf.detach().contiguous().numpy().tobytes()) if isinstance(leaf, Tensor) else leaf


CASES: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "resnet": (lambda: models.resnet18(num_classes=3), (2, 3, 32, 32)),
    "values": (Looks, (3, 4)),
    "two": (Two, [(2, 4), (3, 4)]),
    "normed": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), (2, 4)),
    "spectral": (lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))), (2, 4)),
    "recurrent": (lambda: nn.LSTM(4, 5, dropout=0.5, num_layers=2), (6, 2, 4)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_the_model_is_changed(case: str, fails: bool) -> None:
    make, inputs = CASES[case]
    torch.manual_seed(0)
    model = make()
    for number, layer in enumerate(model.modules()):
        layer.training = number % 3 != 1
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    before = everything(model)
    if fails:
        with pytest.raises(Exception, match=".") as caught:
            lw.summary(model, (7, 7, 7, 7, 7))
        assert any("summary: in the " in note for note in caught.value.__notes__)
    else:
        lw.summary(model, inputs)
    after = everything(model)
    if case == "values" or fails:  # computed, and put back: equal, though written to
        del before["versions"], after["versions"]
    assert map_nested(bits, after) == map_nested(bits, before)


def test_a_model_that_needs_values_is_run() -> None:
    model = Looks()
    found = lw.summary(model, (3, 4))
    assert found.how.startswith("computed, since it needs values") and found.output == (3, 4)
    assert model.get_buffer("calls") == 0 and model.norm.running_mean is not None and not model.norm.running_mean.any()


def test_nothing_is_recorded_by_one_who_listens(monkeypatch) -> None:
    model = models.resnet18(num_classes=3)
    with lw.record_layers(model, "fc") as seen:
        lw.summary(model, (2, 3, 32, 32))
    assert seen.outputs == {"fc": []}


def test_a_model_of_any_size_takes_no_memory_and_no_copy() -> None:
    with torch.device("meta"):
        model = nn.Sequential(*(nn.Linear(100_000, 100_000) for _ in range(3)))
    found = lw.summary(model, (8, 100_000))
    assert found.parameter_bytes == 4 * 3 * (10**10 + 10**5) and found.operations == 8 * 3 * 10**10


def test_lazy_layers_say_what_to_do() -> None:
    with pytest.raises(lw.ConfigError, match="run one batch through it first"):
        lw.summary(nn.LazyLinear(3), (2, 4))


def test_a_copied_model_has_the_same_summary() -> None:
    model = models.squeezenet1_1(num_classes=4)
    assert str(lw.summary(model, (2, 3, 64, 64))) == str(lw.summary(copy.deepcopy(model), torch.zeros(2, 3, 64, 64)))


def test_functions_between_layers_belong_to_the_layer_around_them() -> None:
    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, torch.ones(7, 4))

    found = lw.summary(nn.Sequential(Own()), (2, 4))
    assert found["0"].operations == 2 * 4 * 7 and found["0"].output == (2, 7)


@pytest.mark.parametrize("depth", [-1, 1.0, True, "1"])
def test_a_depth_that_is_none_is_an_error(depth: Any) -> None:
    found = lw.summary(nn.Linear(2, 2), (1, 2))
    with pytest.raises(lw.ConfigError, match="depth must be a whole number"):
        found.table(depth)


def test_the_command(capsys) -> None:
    assert cli.main(["summary", f"data={lw.demo_photos()}", "image_size=224", "batch_size=2", "--depth", "1"]) == 0
    out = capsys.readouterr().out
    assert "layer4" in out and "layer4.0" not in out and "3.627 G multiply-accumulates forward, 1.814 G a sample" in out
    assert cli.main(["summary", f"data={lw.demo_photos()}", "model=resnet81"]) == 2
