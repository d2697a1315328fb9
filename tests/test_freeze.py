"""What is trained: by pattern, by epoch; several views of a picture; a teacher; optimizers that belong together."""

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_model
from torch import nn

import loopwright as lw


def trained(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


class TestFreeze:
    def test_by_module_and_by_pattern_and_back(self) -> None:
        model = tiny_model()
        everything = trained(model)
        assert lw.freeze(model, "0", "*.bias") == 5
        assert trained(model) == {"1.weight", "4.weight", "8.weight"}
        assert lw.unfreeze(model, "*") == len(everything) and trained(model) == everything

    def test_frozen_batch_norm_keeps_its_statistics_through_an_evaluation(self, tmp_path) -> None:
        model = tiny_model().train()
        lw.freeze(model, "1")
        before = model[1].running_mean.clone()  # type: ignore[union-attr, operator]
        with lw.Run(tmp_path, seed=0, progress=False, device="cpu") as run:
            with run.evaluate(model):
                model(torch.randn(4, 3, 16, 16))
        model(torch.randn(4, 3, 16, 16))
        assert torch.equal(model[1].running_mean, before)  # type: ignore[union-attr, arg-type]
        lw.unfreeze(model, "1")
        model(torch.randn(4, 3, 16, 16))
        assert not torch.equal(model[1].running_mean, before)  # type: ignore[union-attr, arg-type]

    def test_what_is_frozen_does_not_move_and_has_no_gradient(self) -> None:
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        optimizer = torch.optim.AdamW(lw.param_groups(model, weight_decay=0.5), lr=0.1)
        model(torch.ones(1, 2)).sum().backward()
        lw.freeze(model, "0")
        before = model[0].weight.clone()
        optimizer.step()
        assert torch.equal(model[0].weight, before) and model[0].weight.grad is None

    def test_mistakes(self) -> None:
        with pytest.raises(lw.ConfigError, match="without patterns does nothing"):
            lw.freeze(nn.Linear(1, 1))
        with pytest.raises(lw.ConfigError, match="unfreeze: no parameter of the Linear is like 'wait'"):
            lw.unfreeze(nn.Linear(1, 1), "wait")
        with pytest.raises(lw.ConfigError, match="did you mean 'weight'"):
            lw.unfreeze(nn.Linear(1, 1), "weigth")
        with pytest.raises(lw.ConfigError, match=r"takes texts, one after the other. Found: \['weight'\]"):
            lw.freeze(nn.Linear(1, 1), ["weight"])  # type: ignore[arg-type]


class TestUnfreezing:
    def test_it_is_a_function_of_the_epoch_alone(self) -> None:
        model = tiny_model()
        unfreezing = lw.Unfreezing(model, {0: "8", 2: ["4", "1"], 5: "*"})
        expected = {0: {"8.weight", "8.bias"}, 2: {"8.weight", "8.bias", "4.weight", "4.bias", "1.weight", "1.bias"}}
        for epoch in (3, 0, 4, 1, 2):  # in any order
            unfreezing(epoch)
            assert trained(model) == expected[0 if epoch < 2 else 2]
            assert model[1].training == (epoch >= 2)
        unfreezing(9)
        assert trained(model) == {name for name, _ in model.named_parameters()}

    def test_what_was_frozen_before_stays_so(self) -> None:
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        lw.freeze(model, "0")
        lw.Unfreezing(model, {0: "*"})(0)
        assert trained(model) == {"1.weight", "1.bias"}


class TestTTA:
    def test_views_are_averaged_as_probabilities(self) -> None:
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 5)).eval()
        pictures = torch.rand(3, 3, 8, 8)
        for crops in (1, 5):
            tta = lw.TTA(model, crops=crops, share=0.75)
            views = [pictures] if crops == 1 else [
                F.interpolate(pictures[:, :, top : top + 6, left : left + 6], size=(8, 8), mode="bilinear")
                for top, left in ((1, 1), (0, 0), (0, 2), (2, 0), (2, 2))
            ]  # fmt: skip
            views += [view.flip(3) for view in views]
            assert tta.views == len(views)
            mean = torch.stack([model(view).softmax(1) for view in views]).mean(0)
            torch.testing.assert_close(tta(pictures).exp(), mean)
            torch.testing.assert_close(tta(pictures).exp().sum(1), torch.ones(3))

    def test_one_view_is_the_model_itself(self) -> None:
        model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
        pictures = torch.rand(3, 3, 2, 2)
        assert torch.equal(lw.TTA(model, flip=False)(pictures), model(pictures).log_softmax(1))

    def test_a_symmetric_picture_is_not_changed_by_flips(self) -> None:
        model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
        half = torch.rand(2, 3, 2, 1)
        pictures = torch.cat([half, half], 3)
        torch.testing.assert_close(lw.TTA(model)(pictures), model(pictures).log_softmax(1))


class TestDistillation:
    def test_the_loss_is_the_divergence_and_zero_where_both_agree(self) -> None:
        student, teacher = torch.randn(6, 4, requires_grad=True), torch.randn(6, 4, requires_grad=True)
        p, q = (teacher / 3).softmax(1), (student / 3).softmax(1)
        expected = 9 * (p * (p / q).log()).sum(1).mean()
        found = lw.distillation_loss(student, teacher, temperature=3)
        torch.testing.assert_close(found, expected)
        found.backward()
        assert teacher.grad is None and student.grad is not None
        assert lw.distillation_loss(student, student + 7).item() == pytest.approx(0, abs=1e-6)
        with pytest.raises(lw.ConfigError, match="must have the same classes"):
            lw.distillation_loss(torch.zeros(2, 3), torch.zeros(2, 4))

    def test_the_teacher_is_frozen_and_stays_in_evaluation_mode(self) -> None:
        compute, model = lw.Distillation(tiny_model(), F.cross_entropy, weight=1.0), tiny_model()
        compute.train()
        assert not compute.teacher.training and not any(p.requires_grad for p in compute.parameters())
        batch = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])
        values = compute(model, batch)
        torch.testing.assert_close(values["loss"], values["distillation"])
        assert set(compute(model.eval(), batch)) == {"loss"}


class TestTogether:
    def test_it_steps_as_each_alone(self) -> None:
        torch.manual_seed(0)
        ends = []
        for together in (False, True):
            torch.manual_seed(0)
            one, other = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(3))
            alone = [torch.optim.SGD([one], lr=0.1, momentum=0.9), torch.optim.Adam([other], lr=0.01)]
            stepped = [lw.Together(alone)] if together else alone
            schedulers = [torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5) for optimizer in stepped]
            for _ in range(6):
                (one.square().sum() + other.pow(4).sum()).backward()
                for optimizer, scheduler in zip(stepped, schedulers, strict=True):
                    optimizer.step()
                    optimizer.zero_grad()
                    scheduler.step()
            ends.append(torch.cat([one, other]))
        assert torch.equal(*ends)

    def test_a_parameter_of_two_optimizers_is_an_error(self) -> None:
        shared = nn.Parameter(torch.ones(1))
        with pytest.raises(lw.ConfigError, match="none that two of them have"):
            lw.Together([torch.optim.SGD([shared], lr=0.1), torch.optim.Adam([shared], lr=0.1)])

    def test_muon_gets_hidden_matrices_and_adamw_the_rest_with_their_rates(self) -> None:
        from torchvision.models import VisionTransformer

        model = VisionTransformer(16, 8, 2, 2, 16, 32, num_classes=10)
        groups = lw.param_groups(model, weight_decay=0.1, lr=0.02, layer_decay=0.5)
        optimizer = lw.build_optimizer("muon", groups, lr=0.02, momentum=0.9, betas=(0.8, 0.9))
        assert isinstance(optimizer, lw.Together)
        names = {id(p): name for name, p in model.named_parameters()}
        ours, theirs = ({names[id(p)] for g in o.param_groups for p in g["params"]} for o in optimizer.optimizers)
        assert ours | theirs == set(names.values()) and not ours & theirs
        assert len(ours) == 8 and all(name.startswith("encoder.layers") for name in ours)
        assert {"conv_proj.weight", "heads.head.weight", "class_token"} <= theirs
        assert sorted({g["lr"] for g in optimizer.param_groups}) == pytest.approx([0.0025, 0.005, 0.01, 0.02])
        assert optimizer.optimizers[1].param_groups[0]["betas"] == (0.8, 0.9)
        with pytest.raises(lw.ConfigError, match="momentm is not an argument of Muon: did you mean 'momentum'"):
            lw.build_optimizer("muon", groups, lr=0.02, momentm=0.9)

    def test_lbfgs_takes_groups_as_one(self) -> None:
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        assert len(lw.build_optimizer("lbfgs", lw.param_groups(model), lr=1.0).param_groups) == 1
        with pytest.raises(lw.ConfigError, match="one learning rate for all"):
            lw.build_optimizer("lbfgs", lw.param_groups(model, lr=1.0, layer_decay=0.5), lr=1.0)

    def test_schedule_free_is_known_by_name_without_being_there(self, monkeypatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "schedulefree", None)
        with pytest.raises(lw.MissingExtra, match=r"loopwright\[schedulefree\]"):
            lw.build_optimizer("adamwschedulefree", [nn.Parameter(torch.ones(1))], lr=0.1)
        with pytest.raises(lw.ConfigError, match="did you mean .*'AdamWScheduleFree'"):
            lw.build_optimizer("AdamWScheduleFre", [nn.Parameter(torch.ones(1))], lr=0.1)
