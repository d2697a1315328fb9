"""Averaged weights: equal to their definition, to torch's own, exact across kills, and gone when the block ends."""

import copy
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import same_bits, tiny_model
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn, update_bn
from torchvision.models import resnet18

import loopwright as lw


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Two threads of a tiny network wait for each other, and for whatever else the machine does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(model: nn.Module, steps: int, *averages, seed: int = 0) -> list[dict[str, Tensor]]:
    """A few steps on noise; the weights after each."""
    torch.manual_seed(seed)
    optimizer, seen = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), []
    for _ in range(steps):
        F.cross_entropy(model(torch.randn(4, 3, 16, 16)), torch.randint(10, (4,))).backward()
        optimizer.step()
        optimizer.zero_grad()
        for average in averages:
            average.update()
        seen.append(copy.deepcopy(model.state_dict()))
    return seen


def averaged(average, model: nn.Module) -> dict[str, Tensor]:
    with average.applied(model):
        return copy.deepcopy(model.state_dict())


class TestDefinition:
    @pytest.mark.parametrize("warmup", [False, True])
    def test_ema_is_the_recurrence_written_out(self, warmup: bool) -> None:
        model = tiny_model()
        start = copy.deepcopy(model.state_dict())
        ema = lw.EMA(model, 0.9, warmup=warmup)
        seen = trained(model, 12, ema)
        for name, expected in start.items():
            if not expected.is_floating_point():
                assert torch.equal(averaged(ema, model)[name], seen[-1][name])
                continue
            expected = expected.double()
            for n, state in enumerate(seen):
                decay = min(0.9, (1 + n) / (10 + n)) if warmup else 0.9
                expected = decay * expected + (1 - decay) * state[name].double()
            torch.testing.assert_close(averaged(ema, model)[name].double(), expected, rtol=1e-5, atol=1e-6)

    def test_swa_is_the_mean(self) -> None:
        model = tiny_model()
        swa = lw.SWA(model)
        seen = trained(model, 7, swa)
        for name, value in averaged(swa, model).items():
            if value.is_floating_point():
                mean = torch.stack([state[name].double() for state in seen]).mean(0)
                torch.testing.assert_close(value.double(), mean, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_weights_of_half_precision_are_averaged_in_single(self, dtype: torch.dtype) -> None:
        """In their own a thousandth of a difference would be rounded away, and the average would stand still."""
        model = nn.Linear(8, 8).to(dtype)
        with torch.no_grad():
            model.weight.fill_(1)
        ema, swa = lw.EMA(model, 0.999, warmup=False), lw.SWA(model)
        with torch.no_grad():
            model.weight.fill_(2)
        for _ in range(1000):
            ema.update()
            swa.update()
        restored = lw.EMA(model, 0.999)
        restored.load_state_dict(ema.state_dict())
        for average, expected in ((ema, 2 - 0.999**1000), (restored, 2 - 0.999**1000), (swa, 2.0)):
            with average.applied(model):
                assert model.weight.dtype == dtype
                torch.testing.assert_close(model.weight.float(), torch.full((8, 8), expected), rtol=0.004, atol=0)
        assert lw.load_weights(nn.Linear(8, 8).to(dtype), ema.state_dict()["model"]).complete
        assert bool((model.weight == 2).all())

    def test_both_agree_with_torchs_averaged_model(self) -> None:
        model = tiny_model()
        theirs = [
            AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True),
            AveragedModel(model, multi_avg_fn=get_swa_multi_avg_fn()),  # with integer buffers it fails
        ]
        for other in theirs:
            other.update_parameters(model)  # theirs begin with the first weights that they see

        class Both:
            def update(self) -> None:
                for other in theirs:
                    other.update_parameters(model)

        ema, swa = lw.EMA(model, 0.9, warmup=False), lw.SWA(model)
        swa.update()
        trained(model, 6, ema, swa, Both())
        for ours, other in zip((ema, swa), theirs, strict=True):
            found, expected = averaged(ours, model), other.module.state_dict()
            for name in expected:
                if expected[name].is_floating_point() and not (ours is swa and "running" in name):
                    torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)

    def test_batch_norm_measured_again_is_torchs_update_bn(self) -> None:
        one = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
        other, batches = copy.deepcopy(one), [(torch.randn(5, 3, 12, 12), 0) for _ in range(4)]
        one[1].eval()
        modes = [layer.training for layer in one.modules()]
        assert lw.update_batch_norm(one, batches) == 2
        update_bn(batches, other)
        assert same_bits(one, other)
        assert [layer.training for layer in one.modules()] == modes and one[1].momentum == 0.1

    def test_batch_norm_measures_without_dropout_and_not_from_nothing(self) -> None:
        model = tiny_model()
        lw.update_batch_norm(nn.Linear(1, 1), [])
        state = copy.deepcopy(model.state_dict())
        x = torch.randn(4, 3, 16, 16)
        lw.update_batch_norm(model, [x])
        first = copy.deepcopy(model.state_dict())
        lw.update_batch_norm(model, [x])
        assert same_bits(first, model) and not same_bits(state, model)
        with pytest.raises(lw.ConfigError, match="no batches"):
            lw.update_batch_norm(model, [])


class TestApplied:
    def test_the_models_own_weights_come_back_bit_for_bit_also_after_an_error(self) -> None:
        model = tiny_model()
        ema = lw.EMA(model, 0.5)
        trained(model, 3, ema)
        before, tensors = copy.deepcopy(model.state_dict()), [p.data_ptr() for p in model.parameters()]
        with pytest.raises(KeyError):
            with ema.applied(model):
                assert not same_bits(model, before)
                raise KeyError
        assert same_bits(model, before)
        assert [p.data_ptr() for p in model.parameters()] == tensors

    def test_misuse_is_an_error(self) -> None:
        model = tiny_model()
        ema = lw.EMA(model)
        with pytest.raises(lw.ConfigError, match="not the model that is averaged"):
            with ema.applied(tiny_model()):
                pass
        with ema.applied(model):
            with pytest.raises(lw.ConfigError, match="inside applied"):
                ema.update()
            with pytest.raises(lw.ConfigError, match="inside applied"):
                with ema.applied():
                    pass
        for decay in (-0.1, 1.1, "0.9", True):
            with pytest.raises(lw.ConfigError, match="decay must be a number from 0 to 1"):
                lw.EMA(model, decay)
        with pytest.raises(lw.ConfigError, match="no weights to average"):
            lw.EMA(nn.ReLU())

    @pytest.mark.parametrize("average", [lw.EMA, lw.SWA])
    def test_weights_that_are_no_longer_the_models_are_named(self, average: Any) -> None:
        model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
        averages = average(model)
        nn.utils.parametrizations.weight_norm(model[2])
        said = "the Sequential is without 2.weight and with 2.parametrizations.weight.original0, .* then average it"
        with pytest.raises(lw.ConfigError, match=said):
            averages.update()
        with pytest.raises(lw.ConfigError, match=said), averages.applied():
            pass
        averages = average(model)
        averages.update()  # made afterwards, it averages what the model has
        with averages.applied():
            assert averages.updates == 1

    def test_a_state_of_another_model_does_not_load(self) -> None:
        with pytest.raises(lw.CheckpointError, match="of another model"):
            lw.EMA(nn.Linear(2, 3)).load_state_dict(lw.EMA(nn.Linear(2, 4)).state_dict())

    def test_shared_weights_and_channels_last_models_are_averaged_as_they_are(self) -> None:
        model = resnet18(num_classes=3).to(memory_format=torch.channels_last)
        model.fc.weight = nn.Parameter(model.layer4[1].conv2.weight.mean((2, 3))[:3])
        ema = lw.EMA(model, 0.5)
        ema.update()
        with ema.applied(model):
            assert model.conv1.weight.is_contiguous(memory_format=torch.channels_last)
        tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        tied[1].weight = tied[0].weight
        ema, twin = lw.EMA(tied, 0.0), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        twin[1].weight = twin[0].weight
        ema.update()
        ema.copy_to(twin)
        assert same_bits(twin, tied)


class Stop(Exception):
    """Stands for a kill."""


def life(folder: Path, kind: str, *, die_at: int | None = None, stop_in_evaluation: int | None = None) -> dict:
    """A loop with an average that is evaluated each epoch, as in the docs; the averages and the weights at the end."""
    data = [(torch.full((3, 16, 16), i / 20), torch.tensor(i % 10)) for i in range(18)]
    with lw.Run(folder, seed=3, device="cpu", progress=False, save_every="2 steps") as run:
        loader = lw.Loader(data, 4, shuffle=True, workers=0)
        model = run.prepare(tiny_model())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        average = lw.EMA(model, 0.9) if kind == "EMA" else lw.SWA(model)
        run.register(model=model, optimizer=optimizer, average=average)
        for epoch in run.epochs(3):
            for pictures, labels in run.batches(loader):
                loss = F.cross_entropy(model(pictures), labels)
                run.step(loss, optimizer)
                if kind == "EMA":
                    average.update()
                run.log(loss=loss)
                if run.global_step == die_at:
                    raise Stop
            if kind == "SWA":
                average.update()
            with run.evaluate(model), average.applied(model):
                lw.update_batch_norm(model, run.batches(loader))
                for number, (pictures, labels) in enumerate(run.batches(loader)):
                    if epoch == stop_in_evaluation and number == 1:
                        os.kill(os.getpid(), signal.SIGTERM)
                    run.log(loss=F.cross_entropy(model(pictures), labels))
            run.keep_best("val/loss")
    return {"model": model.state_dict(), "average": average.state_dict()["model"]}


@pytest.mark.parametrize("kind", ["EMA", "SWA"])
def test_a_killed_run_ends_with_the_same_averages(tmp_path: Path, kind: str) -> None:
    whole = life(tmp_path / "whole", kind)
    for die_at in (1, 7, 15):
        folder = tmp_path / f"cut{die_at}"
        with pytest.raises(Stop):
            life(folder, kind, die_at=die_at)
        cut = life(folder, kind)
        assert same_bits(cut["model"], whole["model"]) and same_bits(cut["average"], whole["average"])
        assert (folder / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(("kind", "epoch"), [("EMA", 0), ("SWA", 1)])
def test_a_run_stopped_while_the_averages_are_in_the_model_goes_on_exactly(
    tmp_path: Path, kind: str, epoch: int
) -> None:
    whole = life(tmp_path / "whole", kind)
    with pytest.raises(SystemExit):
        life(tmp_path / "cut", kind, stop_in_evaluation=epoch)
    cut = life(tmp_path / "cut", kind)
    assert same_bits(cut["model"], whole["model"]) and same_bits(cut["average"], whole["average"])
    records = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "cut")]
    assert records[0] == records[1]


def test_averages_load_as_weights_by_their_name(tmp_path: Path) -> None:
    ended, model = life(tmp_path, "EMA"), tiny_model()
    latest = lw.Checkpoints(tmp_path / "checkpoints").latest
    assert latest is not None
    assert lw.load_weights(model, tmp_path / "checkpoints" / latest.name, name="average").complete
    assert same_bits(model, ended["average"])


def test_the_average_follows_a_model_that_is_moved() -> None:
    """The meta device stands for a GPU: the average must not stay behind on the CPU."""
    model = nn.Linear(2, 2)
    ema = lw.EMA(model)
    model.to("meta")
    ema.update()
    assert {tensor.device.type for tensor in ema.state_dict()["model"].values()} == {"meta"}
