"""Parts by name, and parameters in groups."""

import pytest
import torch
from torch import nn

import loopwright as lw


class TestParamGroups:
    def test_every_trained_parameter_is_in_exactly_one_group(self) -> None:
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 8), nn.Linear(8, 8))
        model[4].weight = model[3].weight  # shared
        for parameter in model[0].parameters():
            parameter.requires_grad = False
        groups = lw.param_groups(model, weight_decay=0.1)
        ids = [id(p) for group in groups for p in group["params"]]
        assert sorted(ids) == sorted({id(p) for p in model.parameters() if p.requires_grad})
        assert [g["weight_decay"] for g in groups] == [0.1, 0.0]
        assert all(p.ndim > 1 for p in groups[0]["params"]) and all(p.ndim <= 1 for p in groups[1]["params"])

    def test_nothing_to_train_is_an_error(self) -> None:
        model = nn.Linear(1, 1).requires_grad_(False)
        with pytest.raises(lw.ConfigError, match="no parameter that is trained"):
            lw.param_groups(model)


class TestOptimizers:
    def test_any_of_torch_in_any_case(self) -> None:
        parameters = [nn.Parameter(torch.ones(2, 2))]
        for name in ("SGD", "adamw", "RMSprop", "NAdam", "lion"):
            if name == "lion":
                pytest.importorskip("timm")
            assert lw.build_optimizer(name, parameters, lr=0.1).param_groups[0]["lr"] == 0.1

    def test_your_own_by_module_and_name(self) -> None:
        made = lw.build_optimizer("torch.optim:Adam", [nn.Parameter(torch.ones(1))], lr=0.1)
        assert isinstance(made, torch.optim.Adam)

    def test_a_misspelt_name_or_argument_lists_the_near_ones(self) -> None:
        with pytest.raises(lw.ConfigError, match="did you mean .*'AdamW'"):
            lw.build_optimizer("AdamWW", [], lr=0.1)
        with pytest.raises(lw.ConfigError, match="momentm is not an argument of SGD: did you mean 'momentum'"):
            lw.build_optimizer("SGD", [], lr=0.1, momentm=0.9)


class TestSchedulers:
    def test_total_steps_are_derived(self) -> None:
        optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.5)
        cycle = lw.build_scheduler("onecyclelr", optimizer, total_steps=10)
        peaks = []
        for _ in range(10):
            peaks.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            cycle.step()
        assert max(peaks) == pytest.approx(0.5)
        assert lw.total_steps([0] * 10, 3) == 30 and lw.total_steps([0] * 10, "25 steps") == 25
        assert lw.total_steps(iter([]), 3) is None

    def test_none_is_none(self) -> None:
        assert lw.build_scheduler("none", torch.optim.SGD([nn.Parameter(torch.ones(1))])) is None

    def test_a_misspelt_name_lists_the_near_ones(self) -> None:
        with pytest.raises(lw.ConfigError, match="did you mean 'OneCycleLR'"):
            lw.build_scheduler("OneCycle", torch.optim.SGD([nn.Parameter(torch.ones(1))]), total_steps=1)


class TestLosses:
    def test_functions_and_classes_with_their_arguments(self) -> None:
        logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
        function = lw.build_loss("cross_entropy", label_smoothing=0.1)
        layer = lw.build_loss("CrossEntropyLoss", label_smoothing=0.1)
        assert torch.equal(function(logits, labels), layer(logits, labels))
        assert lw.build_loss("torch.nn.functional:mse_loss") is nn.functional.mse_loss

    def test_a_misspelt_name_lists_the_near_ones(self) -> None:
        with pytest.raises(lw.ConfigError, match="did you mean 'cross_entropy'"):
            lw.build_loss("crossentropy")


class TestModels:
    @pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "timm/resnet10t", "resnet10t"])
    def test_torchvisions_and_timms_by_name(self, name: str) -> None:
        if "10t" in name:
            pytest.importorskip("timm")
        model = lw.build_model(name, num_classes=7).eval()
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)

    def test_your_own_by_module_and_function(self, tmp_path, monkeypatch) -> None:
        (tmp_path / "my_models.py").write_text(
            "from torch import nn\ndef net(num_classes, width=4): return nn.Linear(width, num_classes)\n"
        )
        monkeypatch.chdir(tmp_path)
        assert lw.build_model("my_models:net", num_classes=3, width=9).weight.shape == (3, 9)  # type: ignore[union-attr]

    def test_a_misspelt_name_or_argument_lists_the_near_ones(self) -> None:
        with pytest.raises(lw.ConfigError, match="did you mean .*'resnet18'"):
            lw.build_model("resnet_18", num_classes=3)

    def test_a_pretrained_model_gets_a_new_head(self) -> None:
        from loopwright.models._build import with_new_head

        model = with_new_head(lw.build_model("resnet18", num_classes=1000), 7)
        assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
