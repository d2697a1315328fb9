"""Exact resume: whatever interrupts a run, wherever, the resumed one ends with the same bits and the same record."""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import forked, same_bits, tiny_model
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

import loopwright as lw

EPOCHS = 2


class Interrupted(Exception):
    """Stands for a kill: nothing is saved on the way out."""


class Photos:
    """A few of the embedded photos, few enough for many lives."""

    def __init__(self, count: int = 20) -> None:
        self.folder = lw.ImageFolder(lw.demo_photos(), split="train")
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        return self.folder[index * 47]


def batches_of_photos(workers: int, transform=None) -> lw.Loader:
    return lw.Loader(Photos(), 6, transform=transform or lw.RandomResizedCrop(16), shuffle=True, workers=workers)


def torch_batches(workers: int) -> DataLoader:
    augment = v2.Compose(
        [v2.RandomResizedCrop(16, antialias=True), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    )

    class Augmented(Photos):
        def __getitem__(self, index: int):
            picture, label = super().__getitem__(index)
            return augment(picture), label

    return DataLoader(Augmented(), 6, shuffle=True, num_workers=workers)


def life(
    folder: Path,
    loader: Callable[[], object],
    *,
    die_at: int | None = None,
    save_every: str = "2 steps",
    step: Callable[[lw.Run, torch.Tensor, torch.optim.Optimizer], object] | None = None,
    **options: Any,
) -> nn.Module:
    """One life of a training with augmentation, dropout, momentum, one-cycle, validation and keep_best."""
    options = {"seed": 7, "device": "cpu", "progress": False, "save_every": save_every} | options
    with lw.Run(folder, report_every="3 steps", **options) as run:
        train_loader, val = loader(), lw.Loader(Photos(8), 5, transform=lw.CenterCrop(16), workers=0)
        model = run.prepare(tiny_model())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=EPOCHS * len(train_loader))  # type: ignore[arg-type]
        run.register(model=model, optimizer=optimizer, scheduler=scheduler)
        for _ in run.epochs(EPOCHS):
            for pictures, labels in run.batches(train_loader):
                loss = F.cross_entropy(model(pictures), labels)
                if step is None:
                    loss.backward()
                    optimizer.step()
                    optimizer.zero_grad()
                else:
                    step(run, loss, optimizer)
                scheduler.step()
                run.log(loss=loss)
                if run.global_step == die_at:
                    raise Interrupted
            with run.evaluate(model):
                for pictures, labels in run.batches(val):
                    run.log(top1=lw.topk_accuracy(model(pictures), labels))
            run.keep_best("val/top1")
    return model


def finished(folder: Path) -> bool:
    return (folder / "run.json").exists() and json.loads((folder / "run.json").read_bytes())["state"] == "finished"


def record(folder: Path) -> bytes:
    return (folder / "metrics.jsonl").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[nn.Module, bytes]:
    """The uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    return life(folder / "r", lambda: batches_of_photos(0)), record(folder / "r")


@pytest.mark.parametrize("die_at", range(1, 9))
def test_interrupted_at_any_step_it_ends_with_the_same_bits_and_record(tmp_path: Path, whole, die_at: int) -> None:
    with pytest.raises(Interrupted):
        life(tmp_path, lambda: batches_of_photos(0), die_at=die_at)
    assert same_bits(life(tmp_path, lambda: batches_of_photos(0)), whole[0])
    assert record(tmp_path) == whole[1]


def test_many_lives_with_changing_workers(tmp_path: Path, whole) -> None:
    for die_at, workers in ((3, 0), (5, 2), (6, 1)):
        with pytest.raises(Interrupted):
            life(tmp_path, lambda workers=workers: batches_of_photos(workers), die_at=die_at)
    assert same_bits(life(tmp_path, lambda: batches_of_photos(2)), whole[0])
    assert record(tmp_path) == whole[1]


@pytest.mark.parametrize(
    "save_every", ["1 steps", "1 epoch", "0.5 epochs", "5 steps, 0.7 epochs", "0.01 seconds", "9 epochs"]
)
def test_how_often_it_saves_changes_no_bit(tmp_path: Path, whole, save_every: str) -> None:
    with pytest.raises(Interrupted):
        life(tmp_path, lambda: batches_of_photos(0), die_at=7, save_every=save_every)
    assert same_bits(life(tmp_path, lambda: batches_of_photos(0), save_every=save_every), whole[0])
    assert record(tmp_path) == whole[1]


def test_a_real_kill_at_any_instant(tmp_path: Path) -> None:
    """SIGKILL after random times, also within saves; `python -m benchmarks.kill` does it hundreds of times."""

    def forked_life(folder: Path, seconds: float) -> bool:
        """One life in a process of its own, killed after so many seconds; whether it came to its end."""

        def work() -> None:
            torch.set_num_threads(1)  # a forked process cannot use its parent's threads
            life(folder, lambda: batches_of_photos(0), save_every="1 steps")

        child = forked(work)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status) == 0
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return finished(folder)  # the kill may fall between the end of the run and that of the process

    assert forked_life(tmp_path / "whole", 60)
    kills = 0
    while not forked_life(tmp_path / "cut", random.uniform(0.1, 0.7) if kills < 10 else 60):
        kills += 1
        assert kills <= 10
    ends = [lw.Checkpoints(tmp_path / name / "checkpoints").load(only="model") for name in ("whole", "cut")]
    assert same_bits(*ends)
    assert record(tmp_path / "cut") == record(tmp_path / "whole")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("die_at", [1, 3, 6])
def test_torchs_own_loader_is_replayed_exactly(tmp_path: Path, workers: int, die_at: int) -> None:
    expected = life(tmp_path / "whole", lambda: torch_batches(workers))
    with pytest.raises(Interrupted):
        life(tmp_path / "cut", lambda: torch_batches(workers), die_at=die_at)
    assert same_bits(life(tmp_path / "cut", lambda: torch_batches(workers)), expected)
    assert record(tmp_path / "cut") == record(tmp_path / "whole")


def test_third_party_transforms_with_global_randomness(tmp_path: Path) -> None:
    def loader(workers: int) -> lw.Loader:
        return batches_of_photos(workers, v2.Compose([v2.RandomResizedCrop(16, antialias=True), v2.ColorJitter(0.3)]))

    expected = life(tmp_path / "whole", lambda: loader(0))
    with pytest.raises(Interrupted):
        life(tmp_path / "cut", lambda: loader(2), die_at=3)
    assert same_bits(life(tmp_path / "cut", lambda: loader(0)), expected)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")
@pytest.mark.parametrize("die_at", [2, 3, 5, 6])
def test_accumulated_gradients_survive(tmp_path: Path, die_at: int) -> None:
    def step(run: lw.Run, loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        run.step(loss, optimizer, accumulate=3, clip=1.0)

    def by_hand(run: lw.Run, loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        (loss / 3).backward()
        if run.global_step % 3 == 0:
            optimizer.step()
            optimizer.zero_grad()

    for name, way in (("helper", step), ("hand", by_hand)):
        folders = tmp_path / f"{name}-whole", tmp_path / f"{name}-cut"
        expected = life(folders[0], lambda: batches_of_photos(0), step=way, save_every="1 steps")
        with pytest.raises(Interrupted):
            life(folders[1], lambda: batches_of_photos(0), step=way, save_every="1 steps", die_at=die_at)
        assert same_bits(life(folders[1], lambda: batches_of_photos(0), step=way, save_every="1 steps"), expected), name


def several_loops(folder: Path, die_at: int | None = None) -> tuple[nn.Module, list]:
    """Two training loops an epoch, an evaluation before and between, and schedulers stepped in between."""
    seen = []
    with lw.Run(folder, seed=1, device="cpu", progress=False, save_every="1 steps") as run:
        model = tiny_model()
        first = torch.optim.SGD(model[0].parameters(), lr=0.1, momentum=0.9)
        second = torch.optim.Adam(model[4].parameters(), lr=0.01)
        decay = torch.optim.lr_scheduler.ExponentialLR(first, 0.9)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(second, patience=0)
        run.register(model=model, first=first, second=second, decay=decay, plateau=plateau)
        data = batches_of_photos(0)
        for epoch in run.epochs(2):
            with run.evaluate(model):
                for pictures, labels in run.batches(data):
                    run.log(loss=F.cross_entropy(model(pictures), labels))
            run.keep_best("val/loss")
            for optimizer in (first, second):
                for pictures, labels in run.batches(data):
                    loss = F.cross_entropy(model(pictures), labels)
                    loss.backward()
                    optimizer.step()
                    model.zero_grad()
                    seen.append((epoch, run.global_step, first.param_groups[0]["lr"]))
                    if run.global_step == die_at:
                        raise Interrupted
                decay.step()
            with run.evaluate(model):
                for pictures, labels in run.batches(data):
                    run.log(loss=F.cross_entropy(model(pictures), labels))
            plateau.step(run.value("val/loss"))
    return model, seen


@pytest.mark.parametrize("die_at", [1, 3, 4, 5, 8, 9, 11, 14, 16])
def test_several_loops_optimizers_and_schedulers_in_one_epoch(tmp_path: Path, die_at: int) -> None:
    expected, seen = several_loops(tmp_path / "whole")
    with pytest.raises(Interrupted):
        several_loops(tmp_path / "cut", die_at)
    model, later = several_loops(tmp_path / "cut")
    assert same_bits(model, expected)
    assert later == seen[-len(later) :] and len(later) == 16 - (die_at - 1)
    assert record(tmp_path / "cut") == record(tmp_path / "whole")


def test_counters_go_on_after_a_resume(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        life(tmp_path, lambda: batches_of_photos(0), die_at=6)
    life(tmp_path, lambda: batches_of_photos(0))
    steps = [line["step"] for line in lw.read_metrics(tmp_path)]
    assert steps == sorted(steps) and steps[-1] == 8
    assert [line["epoch"] for line in lw.read_metrics(tmp_path) if line["kind"] == "epoch"] == [0, 1]


def test_the_schedule_is_not_off_by_one_after_a_resume(tmp_path: Path) -> None:
    def rates(folder: Path) -> list[float]:
        return [line["lr"] for line in lw.read_metrics(folder) if "lr" in line]

    life(tmp_path / "whole", lambda: batches_of_photos(0))
    with pytest.raises(Interrupted):
        life(tmp_path / "cut", lambda: batches_of_photos(0), die_at=4)
    life(tmp_path / "cut", lambda: batches_of_photos(0))
    assert rates(tmp_path / "cut") == rates(tmp_path / "whole") != []


def test_samples_are_seen_once_an_epoch_across_lives(tmp_path: Path) -> None:
    seen: list[int] = []

    def go(die_at: int | None = None) -> None:
        with lw.Run(tmp_path, seed=0, device="cpu", progress=False, save_every="1 steps") as run:
            run.register(model=nn.Linear(1, 1))
            for _ in run.epochs(1):
                for batch in run.batches(lw.Loader(range(50), 4, shuffle=True, workers=0)):
                    if run.global_step == die_at:
                        raise Interrupted
                    seen.extend(batch.tolist())

    for die_at in (3, 4, 9):
        with pytest.raises(Interrupted):
            go(die_at)
    go()
    assert sorted(seen) == list(range(50))


def test_training_further_after_the_end_is_the_longer_run(tmp_path: Path) -> None:
    def go(folder: Path, epochs: int, **more) -> nn.Module:
        with lw.Run(folder, seed=7, device="cpu", progress=False, **more) as run:
            model = tiny_model()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
            run.register(model=model, optimizer=optimizer)
            for _ in run.epochs(epochs):
                for pictures, labels in run.batches(batches_of_photos(0)):
                    F.cross_entropy(model(pictures), labels).backward()
                    optimizer.step()
                    optimizer.zero_grad()
        return model

    longer = go(tmp_path / "long", 3)
    go(tmp_path / "two", 2)
    assert same_bits(go(tmp_path / "two", 3, resume=True), longer)


def test_an_evaluation_after_the_epochs_is_recorded_after_a_kill_in_it(tmp_path: Path) -> None:
    def go(folder: Path, die: bool) -> float:
        with lw.Run(folder, seed=0, device="cpu", progress=False) as run:
            model = nn.Linear(1, 1)
            run.register(model=model)
            for epoch in run.epochs(5):
                for _ in run.batches([torch.ones(2)] * 3):
                    run.log(loss=1.0)
                if epoch == 1:
                    run.stop("enough")
            with run.evaluate(model, name="test"):
                for batch in run.batches([torch.ones(2, 1)] * 2):
                    run.log(loss=model(batch).mean())
                    if die:
                        raise Interrupted
            return run.value("test/loss")

    expected = go(tmp_path / "whole", False)
    with pytest.raises(Interrupted):
        go(tmp_path / "cut", True)
    assert go(tmp_path / "cut", False) == expected
    assert record(tmp_path / "cut") == record(tmp_path / "whole")


def test_two_loops_in_one_evaluation_survive_a_sigterm_in_the_second(tmp_path: Path) -> None:
    def go(folder: Path, die: bool) -> None:
        with lw.Run(folder, seed=0, device="cpu", progress=False) as run:
            run.register(model=nn.Linear(1, 1))
            for _ in run.epochs(2):
                for _ in run.batches([torch.ones(2)] * 3):
                    run.log(loss=1.0)
                with run.evaluate():
                    for part in (1.0, 2.0):
                        for _ in run.batches([torch.ones(2)] * 3):
                            run.log({f"part{part}": part})
                            if die and part == 2.0:
                                os.kill(os.getpid(), signal.SIGTERM)

    go(tmp_path / "whole", False)
    with pytest.raises(SystemExit):
        go(tmp_path / "cut", True)
    go(tmp_path / "cut", False)
    assert record(tmp_path / "cut") == record(tmp_path / "whole")


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # by torch 2.11 itself
@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
def test_wrapped_models_resume(tmp_path: Path, wrap: Callable[[nn.Module], nn.Module]) -> None:
    def go(die_at: int | None) -> None:
        with lw.Run(tmp_path, seed=0, device="cpu", progress=False, save_every="1 steps") as run:
            run.register(model=wrap(nn.Linear(1, 1)))
            for _ in run.epochs(1):
                for _ in run.batches([torch.ones(2)] * 3):
                    if run.global_step == die_at:
                        raise Interrupted

    with pytest.raises(Interrupted):
        go(2)
    go(None)


class TestRefusals:
    """What does not fit is an error before anything is trained."""

    @pytest.fixture
    def cut(self, tmp_path: Path) -> Path:
        with pytest.raises(Interrupted):
            life(tmp_path, lambda: batches_of_photos(0), die_at=5)
        return tmp_path

    def open(self, folder: Path, **objects) -> Iterator[int]:
        with lw.Run(folder, seed=7, device="cpu", progress=False) as run:
            run.register(**objects)
            for epoch in run.epochs(EPOCHS):
                yield epoch

    def test_an_object_that_the_checkpoint_does_not_hold(self, cut: Path) -> None:
        with pytest.raises(lw.CheckpointError, match="holds no 'ema'; it holds: model, optimizer, scheduler"):
            list(self.open(cut, model=tiny_model(), ema=tiny_model()))

    def test_an_object_that_is_not_registered_any_more(self, cut: Path) -> None:
        with pytest.raises(lw.CheckpointError, match="also holds optimizer, scheduler"):
            list(self.open(cut, model=tiny_model()))

    def test_a_model_of_another_shape(self, cut: Path) -> None:
        with pytest.raises(lw.CheckpointError, match=r"8\.weight \(5, 16\) here, \(10, 16\) in the state"):
            list(self.open(cut, model=tiny_model(classes=5)))

    def test_an_optimizer_of_other_groups(self, cut: Path) -> None:
        model = tiny_model()
        with pytest.raises(lw.CheckpointError, match="does not fit the SGD 'optimizer'"):
            list(self.open(cut, model=model, optimizer=torch.optim.SGD(model[0].parameters(), lr=1.0)))

    def test_another_seed(self, cut: Path) -> None:
        with pytest.raises(lw.RunError, match="seed: 7 -> 8"), lw.Run(cut, seed=8, device="cpu", progress=False):
            pass

    def test_another_seed_beside_an_equal_config(self, tmp_path: Path) -> None:
        def go(seed: int, die: bool) -> None:
            with lw.Run(tmp_path, seed=seed, config={"lr": 1}, device="cpu", progress=False) as run:
                run.register(model=nn.Linear(1, 1))
                for _ in run.epochs(3):
                    for _ in run.batches([torch.ones(1)] * 3):
                        pass
                    if die and run.global_step == 6:
                        raise Interrupted

        with pytest.raises(Interrupted):
            go(1, True)
        with pytest.raises(lw.RunError, match="seed: 1 -> 2"):
            go(2, False)

    def test_data_that_grew(self, tmp_path: Path) -> None:
        def go(count: int, die_at: int | None) -> None:
            with lw.Run(tmp_path, seed=0, device="cpu", progress=False, save_every="1 steps") as run:
                run.register(model=nn.Linear(1, 1))
                for _ in run.epochs(1):
                    for _ in run.batches(lw.Loader(range(count), 4, shuffle=True, workers=0)):
                        if run.global_step == die_at:
                            raise Interrupted

        with pytest.raises(Interrupted):
            go(30, 3)
        with pytest.raises(lw.CheckpointError, match="an epoch of 30 samples, and now there are 40"):
            go(40, None)

    def test_a_schedule_that_would_be_stretched(self, tmp_path: Path) -> None:
        def go(epochs: int, **more) -> None:
            with lw.Run(tmp_path, seed=0, device="cpu", progress=False, **more) as run:
                optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
                run.register(scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=epochs * 3))
                for _ in run.epochs(epochs):
                    for _ in run.batches([torch.ones(1)] * 3):
                        pass

        go(1)
        with pytest.raises(lw.CheckpointError, match="made for total_steps=3 and is now made for 9"):
            go(3, resume=True)

    def test_code_with_fewer_loops(self, tmp_path: Path) -> None:
        def go(loops: int, die_at: int | None) -> None:
            with lw.Run(tmp_path, seed=0, device="cpu", progress=False, save_every="1 steps") as run:
                run.register(model=nn.Linear(1, 1))
                for _ in run.epochs(1):
                    for _ in range(loops):
                        for _ in run.batches([torch.ones(1)] * 3):
                            if run.global_step == die_at:
                                raise Interrupted

        with pytest.raises(Interrupted):
            go(2, 6)
        with pytest.raises(lw.RunError, match="loop 1 of epoch 0, which this epoch did not reach"):
            go(1, None)

    def test_a_record_that_was_cut(self, cut: Path) -> None:
        (cut / "metrics.jsonl").write_text("")
        with pytest.raises(lw.RunError, match="it was changed since"):
            list(self.open(cut, model=tiny_model()))
