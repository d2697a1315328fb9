"""The boundaries of the loop: what is counted, logged, saved and written at each."""

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import forked, same_bits, tiny_model
from torch import nn

import loopwright as lw


def options(**more) -> dict:
    return {"seed": 0, "device": "cpu", "progress": False, **more}


def numbers(count: int, size: int = 4) -> list[torch.Tensor]:
    """Batches of (size, 4) numbers that are the same every time; the last may be made short by the caller."""
    return [torch.randn(size, 4, generator=torch.Generator().manual_seed(i)) for i in range(count)]


def parts() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def train(run: lw.Run, batches, epochs, *, body=None) -> nn.Module:
    model, optimizer = parts()
    run.register(model=run.prepare(model), optimizer=optimizer)
    for epoch in run.epochs(epochs):
        for batch in run.batches(batches):
            loss = model(batch).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            run.log(loss=loss)
        if body is not None:
            body(run, model, epoch)
    return model


class TestMetrics:
    def test_64_of_65_right_is_0_985_and_not_0_80(self, tmp_path: Path) -> None:
        labels = [torch.zeros(64, dtype=torch.long), torch.zeros(1, dtype=torch.long)]
        logits = [torch.tensor([[1.0, 0.0]]).repeat(64, 1), torch.tensor([[0.0, 1.0]])]
        with lw.Run(tmp_path, **options()) as run, run.evaluate():
            for predicted, truth in run.batches(list(zip(logits, labels, strict=True))):
                run.log(top1=lw.topk_accuracy(predicted, truth))
        (line,) = lw.read_metrics(tmp_path)
        assert line["val/top1"] == pytest.approx(64 / 65)

    def test_names_come_from_where_it_is_called(self, tmp_path: Path) -> None:
        def body(run: lw.Run, model: nn.Module, epoch: int) -> None:
            with run.evaluate(model, name="holdout"):
                run.log(top1=0.5)

        with lw.Run(tmp_path, **options(report_every="2 steps")) as run:
            train(run, numbers(4), 1, body=body)
        lines = lw.read_metrics(tmp_path)
        assert [line["kind"] for line in lines] == ["steps", "steps", "evaluation", "epoch"]
        assert lines[0]["lr"] == 0.1 and "train/loss" in lines[0] and lines[2]["holdout/top1"] == 0.5
        assert {"train/loss", "train/loss.std", "train/loss.min", "train/loss.max"} <= set(lines[3])

    def test_an_epochs_mean_is_weighted_and_its_spread_is_right(self, tmp_path: Path) -> None:
        batches = [torch.full((n, 1), float(v)) for n, v in ((3, 1.0), (1, 5.0))]
        with lw.Run(tmp_path, **options()) as run:
            for _ in run.epochs(1):
                for batch in run.batches(batches):
                    run.log(loss=batch.mean())
        line = lw.read_metrics(tmp_path)[-1]
        assert line["train/loss"] == 2.0 and line["train/loss.min"] == 1.0 and line["train/loss.max"] == 5.0
        assert line["train/loss.std"] == pytest.approx(math.sqrt(3.0))

    def test_one_value_a_sample_and_numbers_and_explicit_weights(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options()) as run, run.evaluate():
            run.log(a=torch.tensor([1.0, 2.0, 6.0]), b=4)
            run.log({"with/slash": 1.0}, samples=3)
            run.log({"with/slash": 5.0}, samples=1)
        assert lw.read_metrics(tmp_path)[0] | {} == {
            "kind": "evaluation", "step": 0, "epoch": 0, "val/a": 3.0, "val/b": 4.0, "val/with/slash": 2.0,
        }  # fmt: skip

    def test_a_logged_value_is_that_of_the_moment_not_of_the_tensor_later(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options()) as run, run.evaluate():
            loss = torch.tensor(1.0)
            run.log(loss=loss)
            loss.mul_(100)
        assert lw.read_metrics(tmp_path)[0]["val/loss"] == 1.0

    def test_torchmetrics_are_taken_as_they_are(self, tmp_path: Path) -> None:
        torchmetrics = pytest.importorskip("torchmetrics")
        accuracy = torchmetrics.Accuracy("multiclass", num_classes=3)
        with lw.Run(tmp_path, **options()) as run:
            for _ in range(2):
                with run.evaluate():
                    for truth in (torch.tensor([0, 1, 2]), torch.tensor([0])):
                        accuracy.update(torch.tensor([0, 1, 1])[: len(truth)], truth)
                        run.log(accuracy=accuracy)
        assert [line["val/accuracy"] for line in lw.read_metrics(tmp_path)] == [0.75, 0.75]

    def test_a_matrix_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"x has shape \(2, 2\)"), lw.Run(tmp_path, **options()) as run:
            run.log(x=torch.ones(2, 2))

    def test_saving_in_between_changes_no_bit_of_the_means(self, tmp_path: Path) -> None:
        for name, every in (("often", "1 steps"), ("never", "9 epochs")):
            with lw.Run(tmp_path / name, **options(save_every=every, report_every="7 steps")) as run:
                train(run, numbers(10), 3)
        often, never = ((tmp_path / n / "metrics.jsonl").read_bytes() for n in ("often", "never"))
        assert often == never

    def test_the_learning_rate_shown_is_the_one_the_step_used(self, tmp_path: Path) -> None:
        used = []
        with lw.Run(tmp_path, **options(report_every="1 steps")) as run:
            model, optimizer = parts()
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
            run.register(model=model, optimizer=optimizer, scheduler=scheduler)
            for _ in run.epochs(1):
                for batch in run.batches(numbers(4)):
                    loss = model(batch).square().mean()
                    used.append(optimizer.param_groups[0]["lr"])
                    loss.backward()
                    optimizer.step()
                    optimizer.zero_grad()
                    scheduler.step()
        assert [line["lr"] for line in lw.read_metrics(tmp_path) if "lr" in line] == used == [0.1, 0.05, 0.025, 0.0125]

    def test_groups_that_differ_are_all_shown(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options(report_every="1 steps")) as run:
            model, _ = parts()
            first = torch.optim.SGD(
                [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters(), "lr": 0.2}]
            )
            second = torch.optim.SGD(model.parameters(), lr=0.3)
            run.register(model=model, first=first, second=second)
            for _ in run.epochs(1):
                for _batch in run.batches(numbers(1)):
                    pass
        line = lw.read_metrics(tmp_path)[0]
        assert (line["lr/first/0"], line["lr/first/1"], line["lr/second"]) == (0.1, 0.2, 0.3)


class TestEvaluate:
    def test_modes_gradients_and_random_numbers_are_as_before(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options()) as run:
            model = tiny_model()
            model[1].eval()  # frozen batch norm, as in fine-tuning
            modes = [layer.training for layer in model.modules()]
            state = torch.get_rng_state()
            with run.evaluate(model):
                assert not model.training and not torch.is_grad_enabled()
                torch.rand(5)
            assert [layer.training for layer in model.modules()] == modes
            assert torch.equal(torch.get_rng_state(), state) and torch.is_grad_enabled()

    def test_an_error_inside_puts_them_back_too(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options()) as run:
            model = tiny_model()
            with pytest.raises(KeyError), run.evaluate(model):
                raise KeyError("x")
            assert model.training

    def test_evaluating_more_often_changes_no_training(self, tmp_path: Path) -> None:
        def body(run: lw.Run, model: nn.Module, epoch: int) -> None:
            with run.evaluate(model):
                for batch in run.batches(numbers(3)):
                    run.log(loss=F.dropout(model(batch)).mean())

        with lw.Run(tmp_path / "a", **options()) as run:
            quiet = train(run, numbers(5), 2)
        with lw.Run(tmp_path / "b", **options()) as run:
            watched = train(run, numbers(5), 2, body=body)
        assert same_bits(quiet, watched)

    def test_its_batches_are_no_steps(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options()) as run:
            train(run, numbers(5), 1, body=lambda run, model, epoch: evaluate_once(run, model))
        assert run.global_step == 5

    def test_one_inside_another_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(lw.RunError, match="inside another"), lw.Run(tmp_path, **options()) as run:
            with run.evaluate(), run.evaluate(name="test"):
                pass


def evaluate_once(run: lw.Run, model: nn.Module, value: float | None = None) -> None:
    with run.evaluate(model):
        for batch in run.batches(numbers(2)):
            run.log(top1=model(batch).mean() if value is None else value)


class TestKeepBest:
    def test_the_best_checkpoint_holds_the_very_weights_that_were_measured(self, tmp_path: Path) -> None:
        measured = {}

        def body(run: lw.Run, model: nn.Module, epoch: int) -> None:
            value = [0.3, 0.9, 0.5][epoch]
            evaluate_once(run, model, value)
            measured[value] = {k: v.clone() for k, v in model.state_dict().items()}
            run.keep_best("val/top1")

        with lw.Run(tmp_path, **options()) as run:
            train(run, numbers(5), 3, body=body)
        assert same_bits(run.checkpoints.load("best", only="model"), measured[0.9])
        assert lw.read_run(tmp_path)["best"] == {"val/top1": 0.9}

    def test_in_the_middle_of_an_epoch(self, tmp_path: Path) -> None:
        kept = []
        with lw.Run(tmp_path, **options()) as run:
            model, optimizer = parts()
            run.register(model=model, optimizer=optimizer)
            for _ in run.epochs(1):
                for batch in run.batches(numbers(6)):
                    model(batch).square().mean().backward()
                    optimizer.step()
                    optimizer.zero_grad()
                    if run.global_step == 3:
                        evaluate_once(run, model, 0.5)
                        kept.append({k: v.clone() for k, v in model.state_dict().items()})
                        assert run.keep_best("val/top1")
        best = run.checkpoints.best("val/top1")
        assert best is not None and best.step == 3
        assert same_bits(run.checkpoints.load("best", only="model"), kept[0])

    def test_weights_that_changed_since_are_an_error(self, tmp_path: Path) -> None:
        with (
            pytest.raises(lw.CheckpointError, match="weights changed between keep_best"),
            lw.Run(tmp_path, **options()) as run,
        ):
            model, optimizer = parts()
            run.register(model=model, optimizer=optimizer)
            for _ in run.epochs(1):
                for batch in run.batches(numbers(3)):
                    evaluate_once(run, model, 0.5)
                    run.keep_best("val/top1")
                    model(batch).square().mean().backward()
                    optimizer.step()
                    optimizer.zero_grad()

    def test_a_stale_or_unknown_metric_is_an_error(self, tmp_path: Path) -> None:
        def body(run: lw.Run, model: nn.Module, epoch: int) -> None:
            if epoch == 0:
                evaluate_once(run, model, 0.5)
            run.keep_best("val/top1")

        with pytest.raises(lw.ConfigError, match="measured at step 5 and the weights are those of step 10"):
            with lw.Run(tmp_path / "a", **options()) as run:
                train(run, numbers(5), 2, body=body)
        with pytest.raises(lw.ConfigError, match=r"nothing was logged under that name\. Measured: nothing yet"):
            with lw.Run(tmp_path / "b", **options()) as run:
                run.keep_best("val/top2")

    def test_a_direction_is_never_guessed(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="is more of 'val/goodness' better"), lw.Run(tmp_path, **options()) as run:
            run.keep_best("val/goodness")

    def test_nan_never_wins(self, tmp_path: Path) -> None:
        def body(run: lw.Run, model: nn.Module, epoch: int) -> None:
            evaluate_once(run, model, [math.nan, 0.1][epoch])
            assert run.keep_best("val/top1") == (epoch == 1)

        with lw.Run(tmp_path, **options()) as run:
            train(run, numbers(2), 2, body=body)


class TestOddLoops:
    """Found by trying to break it."""

    def test_an_iterator_that_is_still_held_does_not_swallow_the_next_epoch(self, tmp_path: Path) -> None:
        held = []
        with lw.Run(tmp_path, **options()) as run:
            for _ in run.epochs(2):
                held.append(run.batches(numbers(10)))
                for number, _ in enumerate(held[-1]):
                    run.log(loss=1.0)
                    if number == 4:
                        break
        assert run.global_step == 10

    def test_two_loops_side_by_side_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(lw.RunError, match="side by side"), lw.Run(tmp_path, **options()) as run:
            for _ in run.epochs(1):
                for _pair in zip(run.batches(numbers(3)), run.batches(numbers(3)), strict=True):
                    pass

    def test_training_outside_the_epochs_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(lw.RunError, match="stands inside 'for epoch"), lw.Run(tmp_path, **options()) as run:
            list(run.batches(numbers(3)))

    def test_a_metric_object_in_training_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(lw.ConfigError, match="keeps a state of its own"), lw.Run(tmp_path, **options()) as run:
            for _ in run.epochs(1):
                run.log(confusion=lw.Confusion(3))

    def test_names_with_dots_are_names(self, tmp_path: Path) -> None:
        def body(run: lw.Run, model: nn.Module, epoch: int) -> None:
            with run.evaluate(model):
                run.log({"mAP@0.5": [0.5, 0.9, 0.1][epoch]})
            run.keep_best("val/mAP@0.5", "max")

        with lw.Run(tmp_path, **options()) as run:
            train(run, numbers(2), 3, body=body)
        best = run.checkpoints.best("val/mAP@0.5")
        assert best is not None and best.step == 4

    def test_nan_weights_push_out_no_good_checkpoint(self, tmp_path: Path) -> None:
        with pytest.raises(lw.NonFiniteError), lw.Run(tmp_path, **options(save_every="5 steps")) as run:
            run.register(model=nn.Linear(1, 1))
            for _ in run.epochs(1):
                for number, _ in enumerate(run.batches(numbers(40)), 1):
                    run.log(loss=math.nan if number > 12 else 1.0)
        assert [entry.step for entry in run.checkpoints.entries] == [5, 10]

    def test_reports_are_not_repeated_within_a_group(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options(save_every="5 steps", report_every="5 steps")) as run:
            model, optimizer = parts()
            run.register(model=model, optimizer=optimizer)
            for _ in run.epochs(1):
                for batch in run.batches(numbers(12)):
                    loss = model(batch).square().mean()
                    run.step(loss, optimizer, accumulate=4)
                    run.log(loss=loss)
        assert [line["step"] for line in lw.read_metrics(tmp_path) if line["kind"] == "steps"] == [5, 10]


class TestOtherPeoplesFiles:
    def test_what_somebody_else_put_into_the_folders_stays(self, tmp_path: Path) -> None:
        for name in ("notes.txt", "checkpoints/mine.pt", "checkpoints/src/a.py"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("mine")
        for _ in range(2):
            with lw.Run(tmp_path, **options(overwrite=True)) as run:
                train(run, numbers(2), 1)
        assert all((tmp_path / name).exists() for name in ("notes.txt", "checkpoints/mine.pt", "checkpoints/src/a.py"))

    def test_a_configuration_that_is_not_of_a_run_stays(self, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text("# my notes\nlr: 1\n")
        with pytest.raises(lw.RunError, match="is not of a run"), lw.Run(tmp_path, **options()):
            pass
        assert "my notes" in (tmp_path / "config.yaml").read_text()

    def test_a_run_whose_record_was_lost_is_not_mixed_into_another(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options()) as run:
            train(run, numbers(4), 3)
        (tmp_path / "run.json").unlink()
        with lw.Run(tmp_path, **options()) as run:
            assert run.resumed

    def test_resume_and_overwrite_exclude_each_other(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options()) as run:
            train(run, numbers(2), 1)
        with (
            pytest.raises(lw.RunError, match="exclude each other"),
            lw.Run(tmp_path, **options(resume=True, overwrite=True)),
        ):
            pass
        assert run.checkpoints.latest is not None and lw.read_run(tmp_path)["state"] == "finished"


class TestStep:
    """run.step: scale, accumulate, clip, step."""

    def run_steps(self, tmp_path: Path, sizes: list[int], accumulate: int, *, known_length: bool = True) -> nn.Module:
        batches = [torch.randn(n, 4, generator=torch.Generator().manual_seed(i)) for i, n in enumerate(sizes)]
        torch.manual_seed(3)
        model = nn.Linear(4, 1)
        with lw.Run(tmp_path, **options()) as run:
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            run.register(model=model, optimizer=optimizer)
            for _ in run.epochs(1):
                for batch in run.batches(batches if known_length else Stream(batches)):
                    run.step(model(batch).square().mean(), optimizer, accumulate=accumulate)
        return model

    @pytest.mark.parametrize("known_length", [True, False])
    def test_a_group_is_one_large_batch_and_short_ones_weigh_what_they_weigh(
        self, tmp_path: Path, known_length: bool
    ) -> None:
        sizes = [4, 4, 2, 4, 3, 1, 2]
        model = self.run_steps(tmp_path, sizes, 3, known_length=known_length)
        torch.manual_seed(3)
        reference = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(reference.parameters(), lr=0.1)
        batches = [torch.randn(n, 4, generator=torch.Generator().manual_seed(i)) for i, n in enumerate(sizes)]
        for group in (batches[:3], batches[3:6], batches[6:]):  # the last group is short, and stepped
            optimizer.zero_grad()
            reference(torch.cat(group)).square().mean().backward()
            optimizer.step()
        for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)

    def test_without_accumulation_it_is_the_plain_loop_bit_for_bit(self, tmp_path: Path) -> None:
        stepped = self.run_steps(tmp_path, [4, 4, 2], 1)
        torch.manual_seed(3)
        plain = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
        for i, n in enumerate([4, 4, 2]):
            plain(torch.randn(n, 4, generator=torch.Generator().manual_seed(i))).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        assert same_bits(stepped, plain)

    def test_clipping_bounds_the_norm(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options()) as run:
            weight = nn.Linear(1, 1, bias=False)
            optimizer = torch.optim.SGD(weight.parameters(), lr=1.0)
            run.register(model=weight, optimizer=optimizer)
            before = weight.weight.item()
            for _ in run.epochs(1):
                for _batch in run.batches([torch.ones(1, 1)]):
                    assert run.step(1000 * weight.weight.sum(), optimizer, clip=0.5)
            assert before - weight.weight.item() == pytest.approx(0.5, rel=1e-4)

    def test_a_scheduler_is_stepped_with_the_optimizer(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options()) as run:
            model, optimizer = parts()
            scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=3)
            run.register(model=model, optimizer=optimizer, scheduler=scheduler)
            for _ in run.epochs(1):
                stepped = [
                    run.step(model(b).mean(), optimizer, accumulate=2, scheduler=scheduler)
                    for b in run.batches(numbers(5))
                ]
        assert stepped == [False, True, False, True, True] and scheduler.last_epoch == 3

    def test_an_unregistered_optimizer_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(lw.ConfigError, match="SGD is not registered"), lw.Run(tmp_path, **options()) as run:
            model, optimizer = parts()
            run.step(model(torch.ones(1, 4)).mean(), optimizer)


class Stream:
    """Batches whose number is not known before they end."""

    def __init__(self, batches: list) -> None:
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


class Clock:
    """Stands still but for what a test puts it on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = time.perf_counter()
        monkeypatch.setattr(time, "perf_counter", lambda: self.seconds)

    def each_second(self, values):
        for value in values:
            yield value
            self.seconds += 1


class TestLengths:
    def test_by_epochs_and_steps(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path / "epochs", **options()) as run:
            train(run, numbers(4), 3)
        assert run.global_step == 12
        with lw.Run(tmp_path / "steps", **options()) as run:
            train(run, numbers(4), "10 steps")
        assert run.global_step == 10

    def test_by_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        with lw.Run(tmp_path, **options()) as run:
            for _ in run.epochs("9.5 seconds"):
                for _batch in clock.each_second(run.batches(numbers(4))):
                    run.log(loss=1.0)
        assert run.global_step == 10 and lw.read_run(tmp_path)["stop_reason"] == "time is up: 9.5 seconds"

    @pytest.mark.parametrize("trained", [False, True])
    def test_time_that_is_up_where_an_epoch_begins_is_no_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: bool
    ) -> None:
        clock = Clock(monkeypatch)
        with lw.Run(tmp_path, **options()) as run:
            for epoch in run.epochs("9.5 seconds"):
                if epoch == trained:
                    clock.seconds += 10  # it makes its data, or evaluates
                for _batch in run.batches(numbers(4)):
                    run.log(loss=1.0)
        assert run.global_step == 4 * trained and lw.read_run(tmp_path)["state"] == "finished"
        assert lw.read_run(tmp_path)["stop_reason"] == "time is up: 9.5 seconds"

    def test_a_stop_before_the_first_batch_is_no_error(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options()) as run:
            for _ in run.epochs("10 steps"):
                run.stop("no data today")
                for _batch in run.batches(numbers(4)):
                    pytest.fail("it was told to stop")
        assert (run.global_step, lw.read_run(tmp_path)["stop_reason"]) == (0, "no data today")

    def test_the_last_state_is_saved_whatever_save_every_says(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options(save_every="100 epochs")) as run:
            model = train(run, numbers(4), "10 steps")
        assert same_bits(run.checkpoints.load("latest", only="model"), model)

    def test_breaking_out_leaves_a_whole_record(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options()) as run:
            model, optimizer = parts()
            run.register(model=model, optimizer=optimizer)
            for epoch in run.epochs(10):
                for batch in run.batches(numbers(4)):
                    model(batch).mean().backward()
                    optimizer.step()
                    optimizer.zero_grad()
                    run.log(loss=1.0)
                if epoch == 1:
                    break
        assert lw.read_run(tmp_path)["state"] == "finished"
        assert [line["epoch"] for line in lw.read_metrics(tmp_path)] == [0, 1]
        latest = run.checkpoints.latest
        assert latest is not None and latest.step == 8

    def test_no_improvement_and_a_goal_stop_it(self, tmp_path: Path) -> None:
        values = [0.1, 0.5, 0.4, 0.5, 0.9]

        def body(run: lw.Run, model: nn.Module, epoch: int) -> None:
            evaluate_once(run, model, values[epoch])
            run.stop_when("val/top1", patience=2)

        with lw.Run(tmp_path / "a", **options()) as run:
            train(run, numbers(2), 5, body=body)
        assert run.global_step == 8  # epochs 2 and 3 were no better than epoch 1
        assert "no better for 2" in lw.read_run(tmp_path / "a")["stop_reason"]

        def goal(run: lw.Run, model: nn.Module, epoch: int) -> None:
            evaluate_once(run, model, values[epoch])
            run.stop_when("val/top1", reaches=0.45)

        with lw.Run(tmp_path / "b", **options()) as run:
            train(run, numbers(2), 5, body=goal)
        assert run.global_step == 4

    def test_a_training_loss_may_be_the_goal(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options()) as run:
            for _ in run.epochs(10):
                for number, _ in enumerate(run.batches(numbers(20))):
                    run.log(loss=1.0 / (1 + number))
                    if run.global_step % 5 == 0 and run.stop_when("train/loss", reaches=0.3):
                        break
        assert run.global_step == 10  # the mean of 1, 1/2, ... 1/10 is 0.293

    def test_a_loss_that_becomes_nan_stops_it_and_says_where(self, tmp_path: Path) -> None:
        def go(folder: Path, **more) -> None:
            with lw.Run(folder, **options(report_every="5 steps", **more)) as run:
                for _ in run.epochs(1):
                    for number, _ in enumerate(run.batches(numbers(20))):
                        run.log(loss=math.nan if number == 7 else 1.0)

        with pytest.raises(lw.NonFiniteError, match="step 8: train/loss is nan"):
            go(tmp_path / "stop")
        assert lw.read_run(tmp_path / "stop")["state"] == "failed"
        go(tmp_path / "log", nonfinite="log")

    def test_epochs_without_steps_do_not_go_on_for_ever(self, tmp_path: Path) -> None:
        with pytest.raises(lw.RunError, match="had no steps"), lw.Run(tmp_path, **options()) as run:
            for _ in run.epochs("10 steps"):
                pass


class TestRecord:
    def test_what_a_folder_holds(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options(config={"lr": 1e-3, "sizes": (1, 2), "name": "", "none": None})) as run:
            train(run, numbers(4), 1)
            print("printed to stdout")
            print("printed to stderr", file=sys.stderr)
        names = {p.name for p in tmp_path.iterdir()}
        assert {"run.json", "config.yaml", "environment.json", "metrics.jsonl", "log.txt", "checkpoints"} <= names
        log = (tmp_path / "log.txt").read_text()
        assert "printed to stdout" in log and "printed to stderr" in log
        assert lw.load_config(tmp_path / "config.yaml") == {"lr": 1e-3, "sizes": (1, 2), "name": "", "none": None}
        environment = json.loads((tmp_path / "environment.json").read_text())
        assert environment["packages"]["torch"] and "commit" in environment["code"] and environment["cpu"]["cores"]
        facts = lw.read_run(tmp_path)
        assert facts["state"] == "finished" and facts["seed"] == 0 and "cpu" in facts["device"] and facts["step"] == 4

    def test_a_failure_is_recorded_with_its_traceback(self, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError), lw.Run(tmp_path, **options()) as run:
            train(run, numbers(4), 1, body=lambda *_: 1 / 0)
        facts = lw.read_run(tmp_path)
        assert facts["state"] == "failed" and "ZeroDivisionError" in facts["reason"]
        assert "Traceback" in (tmp_path / "log.txt").read_text()

    def test_a_kill_is_told_from_a_running_run(self, tmp_path: Path) -> None:
        from loopwright._runs import list_runs

        def work() -> None:
            with lw.Run(tmp_path / "r", **options()) as run:
                train(run, numbers(4), 1, body=lambda *_: os.kill(os.getpid(), signal.SIGKILL))

        assert os.waitstatus_to_exitcode(os.waitpid(forked(work), 0)[1]) == -signal.SIGKILL
        assert lw.read_run(tmp_path / "r")["state"] == "running"  # nobody could write that it was killed
        assert [info["state"] for info in list_runs(tmp_path)] == ["killed"]
        with lw.Run(tmp_path / "r", **options()) as run:
            assert [info["state"] for info in list_runs(tmp_path)] == ["running"]
            train(run, numbers(4), 1)
        assert [info["state"] for info in list_runs(tmp_path)] == ["finished"]
        assert lw.read_run(tmp_path / "r")["lives"][0]["state"] == "killed"

    def test_two_runs_cannot_hold_one_folder(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options()):
            with pytest.raises(lw.RunError, match="already open in this process"), lw.Run(tmp_path, **options()):
                pass
            parent = os.getpid()

            def work() -> None:
                with (
                    pytest.raises(lw.RunError, match=f"in use by another process .pid {parent}"),
                    lw.Run(tmp_path, **options()),
                ):
                    pass

            assert os.waitstatus_to_exitcode(os.waitpid(forked(work), 0)[1]) == 0

    def test_a_finished_run_is_not_overwritten_unless_told(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options()) as run:
            train(run, numbers(4), 1)
        with (
            pytest.raises(lw.RunError, match=r"holds a finished run.*resume=True.*overwrite=True"),
            lw.Run(tmp_path, **options()),
        ):
            pass
        with lw.Run(tmp_path, **options(resume=True)) as run:
            train(run, numbers(4), 3)
        assert [line["epoch"] for line in lw.read_metrics(tmp_path)] == [0, 1, 2]
        with lw.Run(tmp_path, **options(overwrite=True)) as run:
            train(run, numbers(4), 1)
        assert [line["epoch"] for line in lw.read_metrics(tmp_path)] == [0]

    def test_changed_settings_are_named(self, tmp_path: Path, capsys) -> None:
        def stop(run: lw.Run, *_) -> None:
            raise KeyboardInterrupt

        settings = {"lr": 0.1, "model": {"width": 8}, "workers": 2}
        with (
            pytest.raises(KeyboardInterrupt),
            lw.Run(tmp_path, **options(config=settings, save_every="1 steps")) as run,
        ):
            train(run, numbers(4), 2, body=stop)
        assert lw.read_run(tmp_path)["state"] == "stopped"
        changed = {"lr": 0.2, "model": {"width": 16}, "workers": 0}
        with pytest.raises(
            lw.RunError, match=r"(?s)another configuration.*lr: 0\.1.*0\.2.*model\.width: 8.*16"
        ) as caught:
            with lw.Run(tmp_path, **options(config=changed)):
                pass
        assert "workers" not in str(caught.value)  # it changes nothing of the result
        with lw.Run(tmp_path, **options(config=changed, resume=True, progress=None)) as run:
            assert run.resumed
        assert "lr: 0.1" in capsys.readouterr().out

    def test_a_folder_that_cannot_be_written_to(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(lw.RunError, match="is a file, not a folder"), lw.Run(tmp_path / "file", **options()):
            pass
        with pytest.raises(lw.RunError, match="cannot write into the run folder"), lw.Run("/proc/run", **options()):
            pass

    def test_names_outside_the_with_block_say_so(self, tmp_path: Path) -> None:
        run = lw.Run(tmp_path, **options())
        with pytest.raises(lw.RunError, match=r"run\.prepare\(\.\.\.\) outside the run: write 'with"):
            run.prepare(nn.Linear(1, 1))

    def test_what_cannot_survive_cannot_be_registered(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options()) as run:
            with pytest.raises(lw.ConfigError, match="a int has no state_dict"):
                run.register(counter=3)
            run.register(model=nn.Linear(1, 1))
            with pytest.raises(lw.ConfigError, match="the name is taken"):
                run.register(model=nn.Linear(1, 1))

    def test_the_users_seed_is_left_alone_when_none_is_given(self, tmp_path: Path) -> None:
        torch.manual_seed(123)
        expected = torch.rand(1)
        torch.manual_seed(123)
        with lw.Run(tmp_path, **options(seed=None)) as run:
            assert run.seed == 123
            for _ in run.epochs(1):
                assert torch.equal(torch.rand(1), expected)

    def test_deterministic_mode_says_what_it_promises_and_ends_with_the_run(self, tmp_path: Path) -> None:
        with lw.Run(tmp_path, **options(deterministic=True)):
            assert torch.are_deterministic_algorithms_enabled()
        assert not torch.are_deterministic_algorithms_enabled()
        assert "same device model" in lw.read_run(tmp_path)["deterministic"]


class TestSignals:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 128 + 15), (signal.SIGINT, None)])
    def test_the_first_saves_at_the_next_step_and_leaves(self, tmp_path: Path, number: int, code: int | None) -> None:
        with pytest.raises((SystemExit, KeyboardInterrupt)) as caught, lw.Run(tmp_path, **options()) as run:
            model, optimizer = parts()
            run.register(model=model, optimizer=optimizer)
            for _ in run.epochs(1):
                for batch in run.batches(numbers(10)):
                    model(batch).mean().backward()
                    optimizer.step()
                    optimizer.zero_grad()
                    if run.global_step == 4:
                        os.kill(os.getpid(), number)
        assert getattr(caught.value, "code", None) == code
        assert lw.read_run(tmp_path)["state"] == "stopped"
        latest = run.checkpoints.latest
        assert latest is not None and latest.step == 4
        assert same_bits(run.checkpoints.load(only="model"), model)

    def test_the_second_leaves_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt), lw.Run(tmp_path, **options()) as run:
            run.register(model=nn.Linear(1, 1))
            for _ in run.epochs(1):
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                pytest.fail("it went on")
        assert run.checkpoints.latest is None

    def test_in_an_evaluation_the_place_before_it_is_saved(self, tmp_path: Path) -> None:
        def go(kill: bool) -> nn.Module:
            def body(run: lw.Run, model: nn.Module, epoch: int) -> None:
                with run.evaluate(model):
                    for batch in run.batches(numbers(4)):
                        run.log(loss=model(batch).square().mean())
                        if kill and epoch == 1 and not run.resumed:
                            os.kill(os.getpid(), signal.SIGTERM)

            with lw.Run(tmp_path / str(kill), **options(save_every="99 epochs")) as run:
                return train(run, numbers(5), 3, body=body)

        whole = go(False)
        with pytest.raises(SystemExit):
            go(True)
        assert same_bits(whole, go(True))
        lines = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("False", "True")]
        assert lines[0] == lines[1]
