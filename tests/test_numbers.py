"""Faults of the numbers: the very step is named with its samples, steps are left out as asked, and nothing bad is saved."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import loopwright as lw
from loopwright._cursor import Cursor
from loopwright._spikes import Spikes
from loopwright._stepper import Stepper
from loopwright._watch import Watch

OPTIONS: dict[str, Any] = {"seed": 0, "device": "cpu", "progress": False}


class Broken(nn.Module):
    """A linear layer whose loss is what the samples say: NaN where one of them is NaN."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.layer(batch).square().mean()


class Named:
    """Samples that know what they are called."""

    def __init__(self, count: int, bad: tuple[int, ...]) -> None:
        generator = torch.Generator().manual_seed(1)
        self.values = torch.randn(count, 3, generator=generator)
        self.values[list(bad)] = math.nan

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.values[index]

    def name_of(self, index: int) -> str:
        return f"photo {index}.jpg"


def train(folder: Path, data: Any, *, accumulate: int = 1, epochs: int = 2, **options: Any) -> nn.Module:
    model = Broken()
    with lw.Run(folder, **(OPTIONS | {"report_every": "3 steps"} | options)) as run:
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        run.register(model=model, optimizer=optimizer)
        for _ in run.epochs(epochs):
            for batch in run.batches(lw.Loader(data, 4, shuffle=True, workers=0)):
                loss = model(batch)
                run.step(loss, optimizer, accumulate=accumulate)
                run.log(loss=loss)
    return model


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    found = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in found if line["kind"] == kind]


class TestStop:
    def test_the_step_and_the_names_of_its_samples_are_said(self, tmp_path: Path) -> None:
        data = Named(40, bad=(17,))
        batches = list(lw.Loader(data, 4, shuffle=True, workers=0, seed=0))
        step = next(number for number, batch in enumerate(batches, 1) if batch.isnan().any())
        with pytest.raises(lw.NonFiniteError, match=f"step {step}: its loss is nan") as caught:
            train(tmp_path, data)
        assert caught.value.step == step
        facts = json.loads((tmp_path / "nonfinite.json").read_text())
        indices = [int(name.split()[1].removesuffix(".jpg")) for name in facts["samples"]]
        assert facts["step"] == step and 17 in indices
        assert torch.equal(torch.stack([data[i] for i in indices]).nan_to_num(9), batches[step - 1].nan_to_num(9))
        assert any("loopwright replay" in note and "photo" in note for note in caught.value.__notes__)

    def test_the_weights_are_those_of_before(self, tmp_path: Path) -> None:
        model = Broken()
        with (
            pytest.raises(lw.NonFiniteError, match="the weights are those of before"),
            lw.Run(tmp_path, **OPTIONS) as run,
        ):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            run.register(model=model, optimizer=optimizer)
            for _ in run.epochs(1):
                for batch in run.batches([torch.ones(2, 3)]):
                    loss = model(batch)
                    run.step(
                        loss + torch.sqrt(model.layer.weight[0, 0] * 0.0), optimizer
                    )  # finite; its gradient is not
        assert torch.equal(model.layer.weight, Broken().layer.weight)

    def test_a_gradient_is_named(self, tmp_path: Path) -> None:
        model = Broken()
        with pytest.raises(lw.NonFiniteError, match=r"the gradient of model\.layer\.weight is not finite"):
            with lw.Run(tmp_path, **OPTIONS) as run:
                optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
                run.register(model=model, optimizer=optimizer)
                for _ in run.epochs(1):
                    for batch in run.batches([torch.ones(2, 3)]):
                        run.step(model(batch) + torch.sqrt(model.layer.weight.sum() * 0.0), optimizer)

    def test_weights_that_are_not_finite_are_not_saved_though_the_loss_is(self, tmp_path: Path) -> None:
        for background in (False, True):
            folder = tmp_path / str(background)
            model = Broken()
            with pytest.raises(lw.NonFiniteError, match=r"the weights model\.layer\.weight are not finite"):
                with lw.Run(folder, save_every="2 steps", save_in_background=background, **OPTIONS) as run:
                    run.register(model=model)
                    for _ in run.epochs(1):
                        for number, _ in enumerate(run.batches([torch.ones(2, 3)] * 6), 1):
                            if number == 3:
                                model.layer.weight.data[0, 1] = math.nan
                            run.log(loss=1.0)
            latest = lw.Checkpoints(folder / "checkpoints").latest
            assert latest is not None and latest.step == 2
            assert json.loads((folder / "run.json").read_text())["state"] == "failed"

    def test_with_log_everything_goes_on(self, tmp_path: Path) -> None:
        train(tmp_path, Named(40, bad=(17,)), nonfinite="log")
        assert json.loads((tmp_path / "run.json").read_text())["state"] == "finished"

    def test_what_is_read_late_is_blamed_on_its_own_step(self) -> None:
        cursor = Cursor()
        watch = Watch("stop", cursor)
        cursor.step = 50
        watch.hear("train/loss", range(1, 51), [1.0] * 20 + [math.inf] + [math.nan] * 29)
        watch.hear("train/loss_b", range(1, 51), [1.0] * 18 + [math.nan] + [1.0] * 31)
        with pytest.raises(lw.NonFiniteError, match="step 19: train/loss_b is nan"):
            watch.check()

    def test_other_metrics_may_be_infinite(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **OPTIONS) as run:
            for _ in run.epochs(1):
                for _ in run.batches([torch.ones(2)]):
                    run.log(psnr=math.inf, loss=0.0)

    @pytest.mark.parametrize(("policy", "says"), [("ignore", "must be one of"), ("lower_scale", "precision='fp16'")])
    def test_policies_are_checked_at_the_start(self, tmp_path: Path, policy: Any, says: str) -> None:
        with pytest.raises(lw.ConfigError, match=says):
            lw.Run(tmp_path, nonfinite=policy, device="cpu")


class TestSkip:
    @pytest.mark.parametrize("accumulate", [1, 2, 3])
    def test_it_is_the_training_without_those_batches(self, tmp_path: Path, accumulate: int) -> None:
        data = Named(43, bad=(17, 30))
        left = train(tmp_path, data, nonfinite="skip", accumulate=accumulate)
        reference = _trained_by_hand(data, accumulate)
        assert torch.equal(left.layer.weight, reference.layer.weight)  # type: ignore[union-attr]
        told = lines(tmp_path, "left_out")
        assert len(told) == 4 and all(line["reason"] == "its loss is nan" for line in told)
        assert all(math.isfinite(line["train/loss"]) for line in lines(tmp_path, "epoch"))

    def test_a_run_that_is_stopped_and_goes_on_has_the_same_record(self, tmp_path: Path) -> None:
        data = Named(80, bad=(5, 60))
        train(tmp_path / "whole", data, nonfinite="skip")
        with pytest.raises(lw.DataError, match="cut"):
            train(tmp_path / "cut", _Cut(data, 55), nonfinite="skip", save_every="4 steps")
        train(tmp_path / "cut", data, nonfinite="skip", save_every="4 steps")
        assert (tmp_path / "cut/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()

    def test_a_nan_that_was_not_left_out_stops_the_run(self, tmp_path: Path) -> None:
        with (
            pytest.raises(lw.NonFiniteError, match="step 2: train/loss is nan"),
            lw.Run(tmp_path, nonfinite="skip", **OPTIONS) as run,
        ):
            for _ in run.epochs(1):
                for number, _ in enumerate(run.batches([torch.ones(2)] * 4), 1):
                    run.log(loss=math.nan if number == 2 else 1.0)  # a loop that steps by itself

    def test_many_in_a_row_are_no_accident(self, tmp_path: Path) -> None:
        with pytest.raises(lw.NonFiniteError, match="50 steps in a row were left out"):
            train(tmp_path, Named(400, bad=tuple(range(400))), nonfinite="skip")

    def test_schedulers_keep_their_length(self, tmp_path: Path) -> None:
        model = Broken()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        with lw.Run(tmp_path, nonfinite="skip", **OPTIONS) as run:
            run.register(model=model, optimizer=optimizer, scheduler=scheduler)
            for _ in run.epochs(1):
                for batch in run.batches([torch.full((2, 3), math.nan), torch.ones(2, 3)]):
                    run.step(model(batch), optimizer, scheduler=scheduler)
        assert scheduler.last_epoch == 2


class _Cut:
    """A data set whose power fails."""

    def __init__(self, data: Named, after: int) -> None:
        self._data, self._left = data, after

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> torch.Tensor:
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("cut")
        return self._data[index]


def _trained_by_hand(data: Named, accumulate: int) -> nn.Module:
    """Plain torch: batches with a NaN are as if they were not there, and their places in the group stay."""
    model = Broken()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for epoch in range(2):
        batches = list(lw.Loader(data, 4, shuffle=True, workers=0, seed=0).epoch_batches(epoch))
        for start in range(0, len(batches), accumulate):
            group = [batch for batch in batches[start : start + accumulate] if not batch.isnan().any()]
            if not group:
                continue
            for batch in group:
                weight = len(batch) / len(group[0])
                (model(batch) * weight if len(batch) != len(group[0]) else model(batch)).backward()
            total = sum(map(len, group))
            if total != len(group[0]):
                for parameter in model.parameters():
                    assert parameter.grad is not None
                    parameter.grad /= total / len(group[0])
            optimizer.step()
            optimizer.zero_grad()
    return model


class TestScale:
    def stepper(self, policy: Any, scale: float) -> tuple[Stepper, nn.Module, Watch]:
        model, cursor = Broken(), Cursor()
        cursor.step = 3
        watch = Watch(policy, cursor)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        return Stepper(torch.optim.SGD(model.parameters(), lr=0.1), scaler, watch), model, watch

    def test_a_gradient_that_overflows_lowers_the_scale_and_is_left_out(self) -> None:
        stepper, model, watch = self.stepper("lower_scale", 2.0**127)
        stepper.add(model(torch.full((2, 3), 100.0)), 2, None, None)
        assert not stepper.step()
        assert torch.equal(model.layer.weight, Broken().layer.weight)  # type: ignore[union-attr]
        assert watch.take_left_out() == [(3, f"its gradient overflowed; the scale is {2.0**126:g} now")]

    def test_stopping_leaves_the_search_for_a_scale_to_the_scaler(self) -> None:
        stepper, model, watch = self.stepper("stop", 2.0**127)
        stepper.add(model(torch.full((2, 3), 100.0)), 2, None, None)
        assert not stepper.step() and watch.take_left_out() == []

    def test_where_no_scale_is_small_enough_the_run_stops(self) -> None:
        stepper, model, _ = self.stepper("stop", 2.0**-14)
        stepper.add(model(torch.ones(2, 3)) + torch.sqrt(model.layer.weight.sum() * 0.0), 2, None, None)  # type: ignore[union-attr]
        with pytest.raises(lw.NonFiniteError, match="overflows at the scale"):
            stepper.step()


class TestSpikes:
    def test_it_is_told_once_with_its_step(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        spiking(tmp_path)
        (line,) = lines(tmp_path, "spike")
        assert (line["step"], line["name"], line["value"]) == (131, "train/loss", 30.0)
        assert "train/loss was 30 at step 131, after a median of 1.1" in capsys.readouterr().out

    def test_a_resumed_run_tells_the_same(self, tmp_path: Path) -> None:
        spiking(tmp_path / "whole")
        with pytest.raises(RuntimeError, match="cut"):
            spiking(tmp_path / "cut", cut_at=128)
        spiking(tmp_path / "cut")
        assert (tmp_path / "cut/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()

    def test_a_falling_or_noisy_loss_has_none(self) -> None:
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand(5000, generator=generator).log().neg().tolist()  # exponential: a heavy tail
        falling = [math.exp(-i / 500) * (1 + 0.1 * n) for i, n in enumerate(noise)]
        assert Spikes("loss").add(range(5000), falling) == []
        assert len(Spikes("loss").add(range(5000), noise)) <= 1

    @pytest.mark.parametrize("parts", [1, 7, 50])
    def test_what_is_found_does_not_depend_on_when_values_are_read(self, parts: int) -> None:
        values = [1.0 + 0.1 * (i % 5) + (20 if i in (140, 141, 260) else 0) for i in range(300)]
        spikes = Spikes("loss")
        found = [
            s for i in range(0, 300, parts) for s in spikes.add(range(i, min(i + parts, 300)), values[i : i + parts])
        ]
        assert [spike.step for spike in found] == [140, 260]


def spiking(folder: Path, cut_at: int = -1) -> None:
    with lw.Run(folder, report_every="20 steps", save_every="8 steps", **OPTIONS) as run:
        model = nn.Linear(1, 1)
        run.register(model=model)
        for _ in run.epochs("200 steps"):
            for _ in run.batches([torch.ones(1)] * 200):
                if run.global_step == cut_at:
                    raise RuntimeError("cut")
                run.log(loss=30.0 if run.global_step in (131, 132) else 1.0 + 0.1 * (run.global_step % 3))
