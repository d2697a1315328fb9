"""Parameter groups: every trained parameter exactly once, rates and decay by name and by depth."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import models

import loopwright as lw


def named(model: nn.Module, groups: list[dict]) -> dict[str, dict]:
    """The settings of each parameter by its first name."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: {k: v for k, v in g.items() if k != "params"} for g in groups for p in g["params"]}


def before(model: nn.Module, weight_decay: float) -> list[dict]:
    """The groups as they always were."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "mobilenet_v3_small"])
def test_without_rules_the_groups_are_the_two_that_they_always_were(name: str, weight_decay: float) -> None:
    with torch.device("meta"):
        model = models.get_model(name)
    now, then = lw.param_groups(model, weight_decay=weight_decay), before(model, weight_decay)
    assert [[id(p) for p in g["params"]] for g in now] == [[id(p) for p in g["params"]] for g in then]
    assert [g.keys() for g in now] == [g.keys() for g in then]
    assert [g["weight_decay"] for g in now] == [g["weight_decay"] for g in then]


@st.composite
def trees(draw, depth: int = 3) -> nn.Module:
    """Any tree of modules, with layers that share weights, and frozen ones."""
    if depth == 0 or draw(st.booleans()):
        kind = draw(st.sampled_from(["linear", "norm", "none", "shared"]))
        layer = {"linear": nn.Linear(2, 2), "norm": nn.LayerNorm(2), "none": nn.ReLU()}.get(kind, SHARED)
        if draw(st.booleans()):
            layer.requires_grad_(draw(st.booleans()))
        return layer
    children = draw(st.lists(trees(depth=depth - 1), max_size=3))
    kind = draw(st.sampled_from([nn.Sequential, nn.ModuleList, nn.Module]))
    if kind is not nn.Module:
        return nn.Sequential(*children) if kind is nn.Sequential else nn.ModuleList(children)
    made = nn.Module()
    if draw(st.booleans()):
        made.token = nn.Parameter(torch.zeros(1, 2))
    for number, child in enumerate(children):
        setattr(made, f"part{number}", child)
    return made


SHARED = nn.Linear(2, 2)


@settings(max_examples=150, deadline=None)
@given(trees(), st.data())
def test_every_trained_parameter_is_in_exactly_one_group_once(model: nn.Module, data) -> None:
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    rule = st.fixed_dictionaries(
        {}, optional={"lr": st.sampled_from([0.1, 0.2]), "weight_decay": st.sampled_from([0.0, 0.5])}
    )
    patterns = st.sampled_from(names or ["x"]).flatmap(lambda n: st.sampled_from([n, n.rpartition(".")[0] or n, "*"]))
    rules = data.draw(st.dictionaries(patterns, rule, max_size=3)) if names else {}
    decay = data.draw(st.sampled_from([None, 0.5]))
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    if not trained:
        with pytest.raises(lw.ConfigError, match="no parameter that is trained"):
            lw.param_groups(model, rules=rules)
        return
    groups = lw.param_groups(model, weight_decay=0.1, lr=0.1, rules=rules, layer_decay=decay)
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(trained)
    assert all(group["params"] for group in groups)
    torch.optim.SGD(groups, lr=0.1)  # which refuses a parameter that is listed twice


@settings(max_examples=100, deadline=None)
@given(trees())
def test_every_parameter_has_exactly_one_layer(model: nn.Module) -> None:
    listed = [name for layer in lw.layer_order(model) for name in layer]
    assert sorted(listed) == sorted(name for name, _ in model.named_parameters())
    assert all(lw.layer_order(model))


class TestRules:
    def model(self) -> nn.Module:
        with torch.device("meta"):
            return models.resnet18()

    def test_rates_factors_decay_and_freezing_by_pattern(self) -> None:
        model = self.model()
        groups = lw.param_groups(
            model, weight_decay=0.1, lr=1.0,
            rules={"layer*": {"lr_factor": 0.5}, "layer4.1": {"lr": 0.25}, "fc": {"weight_decay": 0.0},
                   "conv1": {"frozen": True}},
        )  # fmt: skip
        found = named(model, groups)
        assert found["layer1.0.conv1.weight"] == {"lr": 0.5, "weight_decay": 0.1}
        assert found["layer1.0.bn1.weight"] == {"lr": 0.5, "weight_decay": 0.0}
        assert found["layer4.1.conv1.weight"] == {"lr": 0.25, "weight_decay": 0.1}
        assert found["fc.weight"] == {"lr": 1.0, "weight_decay": 0.0}
        assert "conv1.weight" not in found and not model.conv1.weight.requires_grad  # type: ignore[union-attr]

    def test_the_later_of_two_rules_wins_setting_by_setting(self) -> None:
        model = nn.Sequential(nn.Linear(2, 2, bias=False))
        rules = {"*": {"lr_factor": 0.5, "weight_decay": 0.3}, "0": {"lr": 7.0}}
        assert named(model, lw.param_groups(model, lr=1.0, rules=rules))["0.weight"] == {"lr": 7.0, "weight_decay": 0.3}
        rules = {"0": {"lr": 7.0}, "*": {"lr_factor": 0.5}}
        assert named(model, lw.param_groups(model, lr=1.0, rules=rules))["0.weight"]["lr"] == 0.5

    def test_a_rule_for_any_name_of_a_shared_parameter_holds_for_it(self) -> None:
        model = nn.ModuleDict({"encoder": nn.Linear(2, 2), "decoder": nn.Linear(2, 2)})
        model["decoder"].weight = model["encoder"].weight  # type: ignore[union-attr]
        groups = lw.param_groups(model, rules={"decoder.weight": {"lr": 0.5}})
        assert named(model, groups)["encoder.weight"]["lr"] == 0.5

    def test_numbers_of_numpy_become_plain_so_that_checkpoints_load(self) -> None:
        group = lw.param_groups(
            nn.Linear(1, 1, bias=False), lr=np.float64(0.1), rules={"*": {"weight_decay": np.float32(1)}}
        )
        assert {type(value) for key, value in group[0].items() if key != "params"} == {float}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"rules": {"layr1": {"lr": 1.0}}}, "no parameter of the ResNet is like 'layr1': did you mean 'layer1'"),
            ({"rules": {"zzz.*": {"lr": 1.0}}}, "it has conv1, bn1, layer1"),
            ({"rules": {"fc": {"lr_facter": 1.0}}}, "there is no setting 'lr_facter': did you mean 'lr_factor'"),
            ({"rules": {"fc": {"lr_factor": 1.0}}}, "lr_factor is a factor of lr"),
            ({"rules": {"fc": {"lr": -1}}, "lr": 1}, "lr must be a number above 0. Found: -1"),
            ({"rules": {"fc": {"lr": 1.0, "lr_factor": 2}}, "lr": 1}, "has lr and lr_factor"),
            ({"rules": {"fc": {"frozen": 1}}}, "frozen must be true or false"),
            ({"rules": {"fc": 0.1}}, "must be a mapping"),
            ({"layer_decay": 1.5, "lr": 1}, "layer_decay must be above 0 and at most 1"),
            ({"layer_decay": 0.5}, "layer_decay is a factor of lr"),
            ({"lr": 0}, "lr must be a number above 0. Found: 0"),
            ({"lr": "0.1"}, "lr must be a number above 0. Found: '0.1'"),
            ({"lr": float("inf")}, "lr must be a number above 0. Found: inf"),
            ({"weight_decay": -1}, "weight_decay must be a number, 0 or more. Found: -1"),
            ({"weight_decay": float("nan")}, "weight_decay must be a number, 0 or more. Found: nan"),
            ({"rules": {"*": {"frozen": True}}}, "no parameter that is trained"),
        ],
    )  # fmt: skip
    def test_a_mistake_is_one_clear_message(self, arguments: dict, message: str) -> None:
        with pytest.raises(lw.ConfigError, match=message):
            lw.param_groups(self.model(), **arguments)


class TestDepth:
    """Known architectures: the order of blocks is the order of use."""

    @pytest.mark.parametrize(
        ("name", "count", "first", "last"),
        [
            ("resnet18", 10, "conv1.weight", "fc.weight"),
            ("resnet50", 18, "conv1.weight", "fc.weight"),
            ("vit_b_16", 14, "class_token", "heads.head.weight"),
            ("convnext_tiny", 23, "features.0.0.weight", "classifier.2.weight"),
            ("vgg11", 11, "features.0.weight", "classifier.6.weight"),
        ],
    )
    def test_torchvisions_models(self, name: str, count: int, first: str, last: str) -> None:
        with torch.device("meta"):
            layers = lw.layer_order(models.get_model(name))
        assert len(layers) == count
        assert first in layers[0] and last in layers[-1]

    @pytest.mark.parametrize(
        ("name", "count", "first", "last"),
        [
            ("resnet18", 10, "conv1.weight", "fc.weight"),
            ("vit_tiny_patch16_224", 14, "pos_embed", "head.weight"),
            ("convnext_atto", 17, "stem.0.weight", "head.fc.weight"),
        ],
    )
    def test_timms_models(self, name: str, count: int, first: str, last: str) -> None:
        timm = pytest.importorskip("timm")
        with torch.device("meta"):
            layers = lw.layer_order(timm.create_model(name))
        assert len(layers) == count
        assert first in layers[0] and last in layers[-1]

    def test_a_block_is_one_layer_and_a_backbone_is_opened(self) -> None:
        with torch.device("meta"):
            backbone = models.resnet18()
        model = nn.ModuleDict({"backbone": backbone, "head": nn.Linear(1000, 2)})
        layers = lw.layer_order(model)
        assert len(layers) == 11 and layers[-1] == ["head.weight", "head.bias"]
        assert {name.rpartition(".conv")[0] for name in layers[3] if ".conv" in name} == {"backbone.layer2.0"}
        assert any("downsample" in name for name in layers[3])

    def test_each_layer_learns_by_the_decay_slower_than_the_one_behind_it(self) -> None:
        with torch.device("meta"):
            model = models.vit_b_16()
        rates = {name: g["lr"] for name, g in named(model, lw.param_groups(model, lr=1.0, layer_decay=0.5)).items()}
        assert rates["heads.head.weight"] == 1.0
        assert rates["encoder.layers.encoder_layer_11.mlp.0.weight"] == 0.5
        assert rates["encoder.layers.encoder_layer_0.mlp.0.weight"] == 0.5**12
        assert rates["conv_proj.weight"] == rates["class_token"] == rates["encoder.pos_embedding"] == 0.5**13
        assert rates["encoder.ln.weight"] == 0.5  # a norm belongs to what it follows

    def test_one_cycle_by_name_has_each_groups_own_peak(self) -> None:
        model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
        optimizer = torch.optim.SGD(lw.param_groups(model, lr=0.4, layer_decay=0.5), lr=0.4)
        scheduler = lw.build_scheduler("OneCycleLR", optimizer, total_steps=10)
        assert [group["max_lr"] for group in scheduler.optimizer.param_groups] == pytest.approx([0.2, 0.4])
