"""Laws of finding a learning rate: everything is left as it was, rates are those that were asked for, the suggestion
depends on the seed and on nothing else, any loop and batch will do, and the command writes one number."""

import copy
import json
import math
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_model
from test_faces import small_copy
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import loopwright as lw
from loopwright import cli
from loopwright._as_found import AsFound
from loopwright._lr_tolerance import tolerance
from loopwright._mentioned import mentioned, modules_with
from loopwright.data._borrowed import Borrowed

SHORT: dict[str, Any] = {"low": 1e-4, "high": 10.0, "steps": 16, "ramps": 2}  # enough for laws, not for a suggestion


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small are faster by one thread, and on a busy machine by far."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def clusters(samples: int = 320, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (samples,), generator=draw)
    return torch.randn(4, 8, generator=draw)[labels] * 2 + torch.randn(samples, 8, generator=draw), labels


DATA = TensorDataset(*clusters())
BATCHES = [(x, y) for x, y in DataLoader(DATA, 32)]


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 4))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


class OwnLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(self.net(x), y)}


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def everything(*objects: Any) -> Any:
    """All that a training consists of, copied."""
    modules = [value for value in objects if isinstance(value, nn.Module)]
    return copy.deepcopy(
        {
            "states": [value.state_dict() for value in objects],
            "buffers": [list(m.buffers()) for m in modules],
            "gradients": [[p.grad for p in m.parameters()] for m in modules],
            "trained": [[p.requires_grad for p in m.parameters()] for m in modules],
            "modes": [[layer.training for layer in m.modules()] for m in modules],
            "random": [random.getstate(), np.random.get_state(), torch.get_rng_state()],
        }
    )


# ---- everything is left as it was ------------------------------------------------------------------------------------


class Training:
    """A training in its midst: statistics, momentum, gradients of half an accumulation, a scheduler that cycles betas."""

    def __init__(self, optimizer: str = "AdamW") -> None:
        self.model = network()
        self.model.register_buffer("unsaved", torch.arange(3.0), persistent=False)
        self.model[1].eval()
        self.model[4].bias.requires_grad_(False)
        self.model.calls = 5  # type: ignore[assignment] - a number of somebody's own
        groups = [{"params": list(self.model[0].parameters()), "lr": 1e-3}, {"params": [self.model[4].weight]}]
        parameters: Any = [self.model[0].weight] if optimizer == "LBFGS" else groups
        self.optimizer = getattr(torch.optim, optimizer)(parameters, lr=1e-2)
        if optimizer == "AdamW":
            self.scheduler = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, [1e-3, 1e-2], total_steps=100)
        else:
            self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.9)
        for x, y in BATCHES[:3]:
            self.optimizer.step(lambda x=x, y=y: self.backward(x, y))
            self.scheduler.step()

    def backward(self, x: Tensor, y: Tensor) -> Tensor:
        loss = F.cross_entropy(self.model(x), y)
        loss.backward()
        return loss

    def objects(self) -> list[Any]:
        return [self.model, self.optimizer, self.scheduler]

    def step(self, batch: Any) -> Tensor:
        """A step that changes all there is."""
        self.model.train()
        self.model.calls += 1  # type: ignore[operator]
        self.model.get_buffer("unsaved").add_(1)
        self.model[4].bias.requires_grad_(True)
        self.optimizer.zero_grad()
        loss = self.backward(*batch)
        self.optimizer.step(lambda: loss)
        self.scheduler.step()
        random.random(), np.random.random()
        return loss


def by_model(training: Training, **more: Any) -> Callable[[], Any]:
    return lambda: lw.find_lr(training.model, training.optimizer, BATCHES, loss=F.cross_entropy, **{**SHORT, **more})


def by_step(training: Training, **more: Any) -> Callable[[], Any]:
    return lambda: lw.find_lr(training.step, training.optimizer, BATCHES, **{**SHORT, **more})


WAYS: dict[str, Callable[[], tuple[Training, Callable[[], Any]]]] = {
    "ramps": lambda: _way(by_model),
    "linear, accumulated, clipped": lambda: _way(by_model, spacing="linear", accumulate=3, clip=1.0),
    "runs": lambda: _way(by_model, mode="runs", rates=[1e-3, 1e-2, 1e-1], steps=5),
    "validation": lambda: _way(by_model, val=BATCHES[:2]),
    "bf16": lambda: _way(by_model, precision="bf16"),
    "LBFGS": lambda: _way(by_model, "LBFGS"),
    "SGD, a function": lambda: _way(by_step, "SGD"),
    "AdamW, a function": lambda: _way(by_step),
    "a function, runs": lambda: _way(by_step, mode="runs", rates=2, steps=4),
}


def _way(how: Any, optimizer: str = "AdamW", **more: Any) -> tuple[Training, Callable[[], Any]]:
    training = Training(optimizer)
    return training, how(training, **more)


@pytest.mark.parametrize("way", WAYS)
def test_everything_is_left_bit_for_bit_as_it_was(way: str) -> None:
    training, find = WAYS[way]()
    groups = training.optimizer.param_groups
    held = list(groups)
    before, steps = everything(*training.objects()), len(training.optimizer._optimizer_step_pre_hooks)
    try:
        find()
    except lw.ConfigError as error:
        assert "suggested" in str(error)  # so few steps need not suffice for a suggestion
    assert equal(everything(*training.objects()), before)
    assert training.model.calls == 5
    assert training.optimizer.param_groups is groups and all(a is b for a, b in zip(groups, held, strict=True))
    assert len(training.optimizer._optimizer_step_pre_hooks) == steps


def test_training_goes_on_as_if_nothing_had_been() -> None:
    ends = []
    for looks in (False, True):
        training = Training()
        lw.seed_everything(5)
        if looks:
            lw.find_lr(training.step, training.optimizer, BATCHES)
        for batch in BATCHES:
            training.step(batch)
        ends.append(everything(*training.objects()))
    assert equal(*ends)


@pytest.mark.parametrize("fault", [RuntimeError("a bug"), KeyboardInterrupt()])
def test_also_after_an_error(fault: BaseException) -> None:
    training = Training()
    before = everything(*training.objects())

    def step(batch: Any) -> Tensor:
        if training.optimizer.param_groups[1]["lr"] > 0.01:
            raise fault
        return training.step(batch)

    with pytest.raises(type(fault)) as caught:
        lw.find_lr(step, training.optimizer, BATCHES, **SHORT)
    assert equal(everything(*training.objects()), before)
    if isinstance(fault, RuntimeError):
        assert "at the learning rate 0.0" in caught.value.__notes__[0]


def test_what_a_function_mentions_is_found_wherever_it_is() -> None:
    one, two, three, four = (nn.Linear(2, 2) for _ in range(4))
    optimizer = sgd(three)
    held = SimpleNamespace(parts={"two": [two]}, text="x" * 10)

    def inner() -> Any:
        return held

    def step(batch: Any, last: nn.Module = four) -> Any:
        return one, inner, optimizer

    found = mentioned(step)
    assert {id(value) for value in found} == {id(value) for value in (one, two, four, optimizer)}
    both = nn.Sequential(three, nn.BatchNorm1d(2))
    assert any(value is both for value in modules_with(three.parameters()))
    assert mentioned(lambda: (both, three)) == [both]
    assert mentioned(lambda: DataLoader(DATA)) == []


def test_a_module_that_the_step_does_not_name_is_put_back_all_the_same() -> None:
    model = network()
    optimizer = sgd(model)
    hidden = iter([model])  # nothing looks into an iterator
    network_of_step = next(hidden)
    box: dict[str, Any] = {}

    class Opaque:
        __slots__ = ("run",)

        def __call__(self, batch: Any) -> Tensor:
            return self.run(batch)

    def run(batch: Any) -> Tensor:
        return _plain_step(network_of_step, optimizer, batch)

    step = Opaque()
    step.run = run
    before = everything(model, optimizer)
    box["found"] = lw.find_lr(step, optimizer, BATCHES)
    assert equal(everything(model, optimizer), before)


def _plain_step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Any) -> Tensor:
    loss = F.cross_entropy(model(batch[0]), batch[1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def test_parameters_without_a_module_are_put_back() -> None:
    weight = nn.Parameter(torch.full((8, 4), 0.1))
    weight.grad = torch.ones(8, 4)
    optimizer = torch.optim.Adam([weight], lr=0.1)

    def step(batch: Any) -> Tensor:
        loss = F.cross_entropy(batch[0] @ weight, batch[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    found = lw.find_lr(step, optimizer, BATCHES)
    assert torch.equal(weight, torch.full((8, 4), 0.1)) and torch.equal(weight.grad, torch.ones(8, 4))
    assert not optimizer.state and optimizer.param_groups[0]["lr"] == 0.1 and found.lr > 0


def test_optimizers_within_an_optimizer_have_the_rates_that_are_tried_and_stay_with_it() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    muon = lw.build_optimizer("Muon", lw.param_groups(model), lr=0.01)
    assert isinstance(muon, lw.Together)
    used: list[set[float]] = []
    hooks = [
        one.register_step_pre_hook(lambda o, *_: used.append({g["lr"] for g in o.param_groups}))
        for one in muon.optimizers
    ]
    rates = [0.003, 0.1]
    lw.find_lr(model, muon, BATCHES, loss=F.cross_entropy, mode="runs", rates=rates, steps=2)
    for hook in hooks:
        hook.remove()
    assert used == [{rate} for rate in rates for _ in range(2 * len(muon.optimizers))]
    inner = [group for one in muon.optimizers for group in one.param_groups]
    assert len(inner) == len(muon.param_groups)
    assert all(one is other for one, other in zip(muon.param_groups, inner, strict=True))


@pytest.mark.parametrize("how", ["as it is", "in a function"])
def test_a_loss_with_a_state_is_put_back_too(how: str) -> None:
    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            self.get_buffer("calls").add_(1)
            return F.cross_entropy(output, target)

    model, counted = network(), Counted()
    loss = counted if how == "as it is" else lambda output, target: counted(output, target)
    lw.find_lr(model, sgd(model), BATCHES, loss=loss)
    assert counted.get_buffer("calls") == 0


def test_what_cannot_be_put_back_is_said() -> None:
    class Forgetful:
        def __init__(self) -> None:
            self.count = 0

        def state_dict(self) -> dict[str, int]:
            return {"count": self.count}

        def load_state_dict(self, state: dict[str, int]) -> None:
            pass

    model, forgetful = network(), Forgetful()
    optimizer = sgd(model)

    def step(batch: Any) -> Tensor:
        forgetful.count += 1
        return _plain_step(model, optimizer, batch)

    with pytest.raises(lw.ConfigError, match="Forgetful is not what it was"):
        lw.find_lr(step, optimizer, BATCHES, **SHORT)
    with pytest.raises(lw.ConfigError, match="no state_dict"):
        lw.find_lr(step, optimizer, BATCHES, restore=object(), **SHORT)


def test_what_is_found_is_kept_apart_from_what_is_changed() -> None:
    model = network()
    found = AsFound([model])
    model[0].weight.data.zero_()
    found.clear_gradients()
    found.put_back()
    model[0].weight.data.zero_()
    found.put_back()
    assert model[0].weight.any()


# ---- the loader's place ----------------------------------------------------------------------------------------------


class Counting:
    """An iterable that counts its epochs."""

    def __init__(self) -> None:
        self.epochs = 0

    def __iter__(self) -> Iterator[Any]:
        self.epochs += 1
        return iter(BATCHES[self.epochs % 3 :])


def loaders() -> dict[str, Any]:
    samples = [(x, y) for x, y in zip(*DATA.tensors, strict=True)]
    generator = torch.Generator().manual_seed(3)
    return {
        "Loader": lw.Loader(samples, 32, shuffle=True, workers=0, seed=4),
        "DataLoader": DataLoader(DATA, 32, shuffle=True),
        "DataLoader with a generator": DataLoader(DATA, 32, shuffle=True, generator=generator),
        "a list": BATCHES,
        "an iterable that counts": Counting(),
    }


@pytest.mark.parametrize("kind", loaders())
def test_the_loader_goes_on_where_it_was(kind: str) -> None:
    quiet, used = loaders()[kind], loaders()[kind]
    seen = []
    for loader in (quiet, used):
        model = network()
        torch.manual_seed(9)
        batches = iter(loader)
        first = [next(batches) for _ in range(2)]
        if loader is used:
            lw.find_lr(model, sgd(model), loader, loss=F.cross_entropy)
        seen.append([*first, *batches, *loader])
    assert equal([list(batch) for batch in seen[0]], [list(batch) for batch in seen[1]])


def test_workers_that_persist_stay_with_their_loader() -> None:
    loader = DataLoader(DATA, 64, num_workers=1, persistent_workers=True, multiprocessing_context="fork")
    model = network()
    next(iter(loader))
    iterator = loader._iterator
    with pytest.raises(lw.ConfigError, match="suggested"):
        lw.find_lr(model, sgd(model), loader, loss=F.cross_entropy, low=1e-9, high=2e-9, steps=8, ramps=1)
    assert loader._iterator is iterator is not None
    del iterator, loader


def test_what_can_be_read_once_is_refused() -> None:
    model = network()
    for once in (iter(BATCHES), (batch for batch in BATCHES)):
        with pytest.raises(lw.ConfigError, match=r"instead of iter\(loader\)"):
            lw.find_lr(model, sgd(model), once, loss=F.cross_entropy)
    with pytest.raises(lw.DataError, match="no batch"):
        lw.find_lr(model, sgd(model), [], loss=F.cross_entropy)
    assert next(Borrowed([1]).once(lambda source, epoch: source.open(epoch, 0, 0))).data == 1


# ---- rates -----------------------------------------------------------------------------------------------------------


def test_groups_keep_their_ratios_and_rates_are_those_asked_for_whatever_a_scheduler_does() -> None:
    model = network()
    groups = [{"params": model[0].parameters(), "lr": 0.01}, {"params": model[4].parameters(), "lr": 0.05}]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    used: list[tuple[float, ...]] = []
    handle = optimizer.register_step_post_hook(lambda o, *_: used.append(tuple(g["lr"] for g in o.param_groups)))

    def step(batch: Any) -> Tensor:
        scheduler.step()  # before the optimizer: it would halve the rate
        return _plain_step(model, optimizer, batch)

    rates = [0.003, 0.1, 0.02]
    with pytest.warns(UserWarning, match="lr_scheduler.step"):
        found = lw.find_lr(step, optimizer, BATCHES, mode="runs", rates=rates, steps=4)
    handle.remove()
    assert used == [(pytest.approx(rate / 5), rate) for rate in rates for _ in range(4)]
    assert [curve.lr for curve in found.curves] == [[rate] * 4 for rate in rates]
    assert found.lr in rates and found.lrs == [pytest.approx(found.lr / 5), found.lr]


def test_runs_see_the_very_same_batches_from_the_very_same_start() -> None:
    model = network()
    optimizer = sgd(model)
    seen: list[list[Any]] = []

    def step(batch: Any) -> Tensor:
        seen.append([batch[0].clone(), model[0].weight.detach().clone(), torch.rand(1), random.random()])
        return _plain_step(model, optimizer, batch)

    for loader in loaders().values():
        seen.clear()
        lw.find_lr(step, optimizer, loader, mode="runs", rates=[0.01, 0.1], steps=12)
        one, other = seen[:12], seen[12:]
        assert equal([s[0] for s in one], [s[0] for s in other]) and equal(one[0], other[0])
        assert equal([s[2:] for s in one], [s[2:] for s in other])
        assert not equal(one[-1][1], other[-1][1])


def test_ramps_begin_alike_and_see_other_batches() -> None:
    model = network()
    optimizer = sgd(model)
    firsts: list[Any] = []
    rates: list[float] = []

    def step(batch: Any) -> Tensor:
        rates.append(optimizer.param_groups[0]["lr"])
        if rates[-1] == 1e-4:
            firsts.append([model[0].weight.detach().clone(), batch[0].clone()])
        return _plain_step(model, optimizer, batch)

    found = lw.find_lr(step, optimizer, DataLoader(DATA, 32, shuffle=True), low=1e-4, high=10.0, steps=40, ramps=3)
    assert len(firsts) == 3 and len(found.curves) == 3
    assert equal(firsts[0][0], firsts[1][0]) and not equal(firsts[0][1], firsts[1][1])
    assert rates == [rate for curve in found.curves for rate in curve.lr]
    assert found.steps == len(rates)


class Valley:
    """A step whose loss is a curve of its rate alone; far below the fall the loss is higher by ``more``."""

    def __init__(self, more: float) -> None:
        self.weight = nn.Parameter(torch.zeros(1))
        self.optimizer = torch.optim.SGD([self.weight], lr=0.1)
        self.more = more

    def __call__(self, batch: Any) -> Tensor:
        rate = self.optimizer.param_groups[0]["lr"]
        self.weight.grad = torch.ones(1)
        self.optimizer.step()
        wavers = 1e-3 * math.sin(1e7 * rate)
        return torch.tensor(1.0 + self.more * (rate < 1e-3) + 1 / (1 + 100 * rate) + rate**2 + wavers)


def test_what_coarse_ramps_show_before_the_fall_moves_neither_the_ramps_nor_the_suggestion() -> None:
    """A ramp that begins lower reads lower, so where it begins must not hang on how high a few first losses are."""
    lows, suggestions = [], []
    for more in (-0.1, 0.0, 0.2, 0.4):
        step = Valley(more)
        found = lw.find_lr(step, step.optimizer, BATCHES, ramps=1)
        lows.append(found.curves[0].lr[0])
        suggestions.append(found.lr)
    assert max(lows) / min(lows) < 1.5
    assert max(suggestions) / min(suggestions) < 1.2


def test_the_suggestion_depends_on_the_seed_and_on_nothing_else() -> None:
    def suggestion(seed: int, noise: int) -> list[lw.LRCurve]:
        model = network()
        torch.manual_seed(noise), random.seed(noise), np.random.seed(noise)
        loader = DataLoader(DATA, 32, shuffle=True)
        return lw.find_lr(model, sgd(model), loader, loss=F.cross_entropy, seed=seed).curves

    one = suggestion(0, noise=1)
    assert suggestion(0, noise=2) == one
    assert suggestion(1, noise=1) != one


# ---- any loop, any batch ---------------------------------------------------------------------------------------------


def plain_suggestion() -> float:
    model = network()
    return lw.find_lr(model, sgd(model), BATCHES, loss=F.cross_entropy).lr


def test_a_model_with_its_own_loss_and_any_batch_is_the_same_training() -> None:
    expected = plain_suggestion()
    for batches in (BATCHES, [{"x": x, "y": y} for x, y in BATCHES]):
        model = OwnLoss()
        assert lw.find_lr(model, sgd(model), batches).lr == expected
    model = network()
    optimizer = sgd(model)
    model.train()
    assert lw.find_lr(lambda batch: _plain_step(model, optimizer, batch), optimizer, BATCHES).lr == expected


def test_a_single_tensor_is_its_own_target() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 3), nn.Linear(3, 8))
    assert lw.find_lr(model, sgd(model), [x for x, _ in BATCHES], loss=F.mse_loss).lr > 0


def test_a_loss_below_zero_is_as_good() -> None:
    model = network()
    found = lw.find_lr(model, sgd(model), BATCHES, loss=lambda out, y: F.cross_entropy(out, y) - 100)
    assert found.lr == pytest.approx(plain_suggestion(), rel=0.1)


def test_accumulated_batches_are_one_large_batch() -> None:
    torch.manual_seed(1)
    model = nn.Linear(8, 4)  # without batch statistics the two are the same
    whole = lw.find_lr(model, sgd(model), BATCHES[:9], loss=F.cross_entropy)
    parts = [part for x, y in BATCHES[:9] for part in zip(x.split(20), y.split(20), strict=True)]
    split = lw.find_lr(model, sgd(model), parts, loss=F.cross_entropy, accumulate=2)
    assert 1e-3 < whole.lr < 100  # the two parts of this data can be told apart at any rate: the loss never rises
    assert split.lr == pytest.approx(whole.lr, rel=0.05)
    for one, other in zip(whole.curves, split.curves, strict=True):
        assert one.loss[:20] == pytest.approx(other.loss[:20], rel=1e-3)


def test_a_function_may_accumulate_by_itself() -> None:
    model = network()
    optimizer = sgd(model)
    count = 0

    def step(batch: Any) -> Tensor:
        nonlocal count
        loss = F.cross_entropy(model(batch[0]), batch[1]) / 2
        loss.backward()
        count += 1
        if count % 2 == 0:
            optimizer.step()
            optimizer.zero_grad()
        return 2 * loss

    found = lw.find_lr(step, optimizer, BATCHES, accumulate=2)
    assert found.steps == count // 2 and found.lr > 0


def test_an_epoch_of_17_steps_is_long_enough() -> None:
    model = network()
    loader = DataLoader(TensorDataset(*clusters(17 * 16)), 16, shuffle=True)
    assert len(loader) == 17
    assert 1e-3 < lw.find_lr(model, sgd(model), loader, loss=F.cross_entropy).lr < 10


def test_an_optimizer_that_needs_a_closure_gets_one() -> None:
    model = network()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=1.0, max_iter=3)
    found = lw.find_lr(model, optimizer, BATCHES, loss=F.cross_entropy, ramps=2)
    assert 1e-3 < found.lr <= 100

    def step(batch: Any) -> Tensor:
        model.train()

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch[0]), batch[1])
            loss.backward()
            return loss

        return optimizer.step(closure)  # type: ignore[return-value]

    assert lw.find_lr(step, optimizer, BATCHES, ramps=2).lr == pytest.approx(found.lr, rel=0.05)


def test_two_networks_that_play_against_each_other() -> None:
    torch.manual_seed(0)
    maker, judge = nn.Linear(2, 8), nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))
    of_maker, of_judge = torch.optim.Adam(maker.parameters(), lr=1e-3), torch.optim.Adam(judge.parameters(), lr=1e-3)
    before = everything(maker, judge, of_maker, of_judge)

    def step(batch: Any) -> Tensor:
        real, made = batch[0], maker(torch.randn(len(batch[0]), 2))
        loss = (F.softplus(judge(made.detach())) + F.softplus(-judge(real))).mean()
        of_judge.zero_grad(), loss.backward(), of_judge.step()
        of_maker.zero_grad(), F.softplus(-judge(made)).mean().backward(), of_maker.step()
        return loss

    found = lw.find_lr(step, of_judge, BATCHES)
    assert found.lr > 0
    assert equal(everything(maker, judge, of_maker, of_judge), before)


@pytest.mark.parametrize("val", [None, BATCHES[:1]])
def test_layers_that_are_frozen_in_training_are_frozen_in_trials(val: Any) -> None:
    model = network()
    lw.freeze(model, "1")  # batch norm, which goes into evaluation mode
    seen: list[tuple[bool, bool, bool]] = []
    hook = model[4].register_forward_hook(
        lambda *_: seen.append((model.training, model[1].training, model[3].training))
    )
    optimizer = torch.optim.SGD(lw.param_groups(model), lr=0.1)
    lw.find_lr(model, optimizer, BATCHES, loss=F.cross_entropy, mode="runs", rates=[0.1], steps=3, val=val)
    model.eval()
    lw.find_lr(model, optimizer, BATCHES, loss=F.cross_entropy, mode="runs", rates=[0.1], steps=1)  # meant is training
    hook.remove()
    validation = [] if val is None else [(False, False, False)]
    assert seen == [*[(True, False, True)] * 3, *validation, (True, True, True)]


def test_a_validation_loss_is_that_of_evaluation() -> None:
    model = network()
    losses = lw.Losses(
        {"train": F.cross_entropy}, evaluation={"val": (F.cross_entropy, 0.0), "more": lambda *_: torch.ones(())}
    )
    found = lw.find_lr(model, sgd(model), BATCHES, loss=losses, mode="runs", rates=[0.1], steps=2, val=BATCHES[:1])
    assert found.curves[0].val_loss == [1.0] and losses.training


def test_a_validation_loss_may_decide() -> None:
    model = network()
    found = lw.find_lr(model, sgd(model), BATCHES, loss=F.cross_entropy, val=BATCHES[:3], val_batches=2, ramps=2)
    assert all(len(curve.val_loss) == len(curve.loss) and curve.val_loss != curve.loss for curve in found.curves)
    optimizer = sgd(model)

    def validate() -> float:
        model.eval()
        with torch.no_grad():
            return sum(F.cross_entropy(model(x), y).item() for x, y in BATCHES[:2]) / 2

    def step(batch: Any) -> Tensor:
        model.train()
        return _plain_step(model, optimizer, batch)

    by_function = lw.find_lr(step, optimizer, BATCHES, val=validate, ramps=2)
    assert by_function.lr == found.lr
    with pytest.raises(lw.ConfigError, match="is a function, too"):
        lw.find_lr(step, optimizer, BATCHES, val=BATCHES)


# ---- bad days --------------------------------------------------------------------------------------------------------


def test_nan_at_once_is_said_at_once() -> None:
    model = network()
    calls = 0

    def loss(output: Tensor, target: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return F.cross_entropy(output, target) * math.nan

    with pytest.raises(lw.NonFiniteError, match="nan at the first step"):
        lw.find_lr(model, sgd(model), BATCHES, loss=loss)
    assert calls == 1 and all(p.isfinite().all() for p in model.parameters())


def test_a_ramp_ends_with_the_first_loss_that_is_not_finite() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.Linear(32, 4))  # nothing normalises: it explodes
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = lw.find_lr(
        model, optimizer, BATCHES, loss=lambda out, y: (out - F.one_hot(y, 4)).pow(2).mean().exp(), low=1e-5, high=1e3
    )
    assert all(curve.stopped and len(curve.loss) < 136 for curve in found.curves)
    assert all(math.isfinite(loss) for curve in found.curves for loss in curve.loss[:-1])
    assert found.lr < min(curve.lr[-1] for curve in found.curves)


def test_one_bad_batch_changes_little() -> None:
    model, calls = network(), 0

    def loss(output: Tensor, target: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return F.cross_entropy(output, target) * (math.nan if calls == 75 else 1.0)

    found = lw.find_lr(model, sgd(model), BATCHES, loss=loss)
    assert plain_suggestion() / 2 < found.lr < plain_suggestion() * 2


def test_without_a_fall_nothing_is_suggested() -> None:
    model = network()
    with pytest.raises(lw.ConfigError, match="no learning rate can be suggested"):
        lw.find_lr(model, sgd(model), BATCHES, loss=lambda out, y: -F.cross_entropy(out.detach() + 0 * out, y), **SHORT)
    with pytest.raises(lw.ConfigError, match="made no step"):
        lw.find_lr(lambda batch: torch.ones(()), sgd(model), BATCHES, **SHORT)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "guess"}, "mode must be"), ({"ramps": 0}, "ramps must be"), ({"steps": 3}, "steps must be"),
        ({"low": 1.0, "high": 0.1}, "high above low"), ({"spacing": "cubic", "low": 0.1, "high": 1.0}, "spacing"),
        ({"mode": "runs", "rates": [0.0]}, "rates must be"), ({"accumulate": 0}, "accumulate must be"),
        ({"precision": "fp7"}, "precision"), ({"val": BATCHES, "val_batches": 0}, "val_batches"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_before_anything_is_trained(wrong: dict[str, Any], message: str) -> None:
    model = network()
    with pytest.raises(lw.ConfigError, match=message):
        lw.find_lr(model, sgd(model), BATCHES, loss=F.cross_entropy, **wrong)


def test_a_batch_or_loss_that_is_none_is_named() -> None:
    model = network()
    with pytest.raises(lw.ConfigError, match="is a dict"):
        lw.find_lr(model, sgd(model), [{"x": x, "y": y} for x, y in BATCHES], loss=F.cross_entropy)
    with pytest.raises(lw.ConfigError, match="gave a NoneType"):
        lw.find_lr(lambda batch: None, sgd(model), BATCHES)
    with pytest.raises(lw.ConfigError, match=r"shape \(32,\)"):
        lw.find_lr(lambda batch: torch.ones(32), sgd(model), BATCHES)
    with pytest.raises(lw.ConfigError, match="has its own"):
        lw.find_lr(lambda batch: None, sgd(model), BATCHES, loss=F.cross_entropy)


# ---- what is given back ----------------------------------------------------------------------------------------------


def test_the_curves_are_data_a_table_and_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    model = network()
    for name, more in {"ramp": {}, "runs": {"mode": "runs", "rates": [0.01, 0.1, 1e9], "steps": 20}}.items():
        found = lw.find_lr(model, sgd(model), BATCHES, loss=F.cross_entropy, **more)
        path = found.write_json(tmp_path / name / "lr.json")
        read = json.loads(path.read_text())
        assert read["lr"] == found.lr and len(read["curves"]) == len(found.curves)
        assert read["curves"][0]["loss"] == found.curves[0].loss
        assert found.save(tmp_path / name / "lr.png").read_bytes().startswith(b"\x89PNG")
        assert found.figure().axes
        assert found.low <= found.lr <= found.high and found.reason in str(found)
        lines = found.table().splitlines()
        assert lines[0].split()[0] == "lr" and all(float(line.split()[0]) > 0 for line in lines[1:])


def test_without_matplotlib_the_extra_is_named(monkeypatch, tmp_path: Path) -> None:
    model = network()
    found = lw.find_lr(model, sgd(model), BATCHES, loss=F.cross_entropy, mode="runs", rates=[0.1], steps=2)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(lw.MissingExtra, match=r"loopwright\[plots\]"):
        found.save(tmp_path / "lr.png")
    assert found.write_json(tmp_path / "lr.json").exists()


# ---- the command -----------------------------------------------------------------------------------------------------

CONFIG = """\
# my dresses   (found by hand)
data: data
model: {name: small_resnet, width: 4}
image_size: 16
batch_size: 8   # small
workers: 0
optimizer:
    name: SGD    # for now
    momentum: 0.9

    lr: 1e-3     # a guess
seed: 7
"""


@pytest.fixture
def here(tmp_path: Path, photos: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    small_copy(photos, tmp_path / "data", 3, 2)
    Path("my.yaml").write_text(CONFIG)
    return tmp_path


def test_the_command_says_writes_and_leaves_the_rest(here: Path, capsys) -> None:
    rates = ["--mode", "runs", "--steps", "4"]
    assert cli.main(["find-lr", "my.yaml", *rates, "--out", "curves", "--write"]) == 0
    text = capsys.readouterr().out
    number = next(line for line in text.splitlines() if line.startswith("optimizer.lr=")).partition("=")[2]
    assert Path("my.yaml").read_text() == CONFIG.replace("1e-3 ", f"{number} ")
    assert lw.load_config("my.yaml")["optimizer"]["lr"] == float(number)
    assert json.loads(Path("curves/lr.json").read_text())["lr"] == float(number)
    assert "because" in text and "8 runs of 4 steps" in text
    assert sorted(os.listdir()) == ["curves", "data", "my.yaml"]


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_tried(here: Path, capsys) -> None:
    Path("file").write_text("")
    for folder in ("file", "file/below"):
        assert cli.main(["find-lr", "my.yaml", "--out", folder]) == 2
        said = capsys.readouterr()
        assert f"--out: cannot write into the folder {folder}" in said.err and not said.out


def test_the_command_makes_ramps(here: Path, capsys) -> None:
    code = cli.main(["find-lr", "my.yaml", "--ramps", "1", "--steps", "8"])
    said = capsys.readouterr()
    assert "tried" in said.out
    assert code == 0 or "no learning rate can be suggested" in said.err


@pytest.mark.slow
def test_mixing_and_several_losses_are_part_of_what_is_tried(here: Path, capsys) -> None:
    given = ["mix=Mixup", "loss=[cross_entropy, {name: cross_entropy, label_smoothing: 0.1, log_as: smooth}]"]
    assert cli.main(["find-lr", "my.yaml", *given, "--mode", "runs", "--steps", "2"]) == 0
    first = capsys.readouterr().out
    assert cli.main(["find-lr", "my.yaml", *given, "--mode", "runs", "--steps", "2"]) == 0
    assert capsys.readouterr().out == first
    assert cli.main(["find-lr", "my.yaml", "--mode", "runs", "--steps", "2"]) == 0
    assert capsys.readouterr().out != first


def test_what_is_tried_is_trained_as_the_training_begins(here: Path, capsys) -> None:
    """Unfrozen later is, until then, frozen: the very same trials."""

    def said(*given: str) -> list[str]:
        assert cli.main(["find-lr", "my.yaml", *given, "--mode", "runs", "--steps", "4"]) == 0
        return capsys.readouterr().out.splitlines()

    later = "[stem, norm, stage1, stage2, stage3, stage4]"
    unfrozen, frozen, all_trained = said("unfreeze={epoch 0: head, epoch 1: '*'}"), said(f"freeze={later}"), said()
    (told,) = set(unfrozen) - set(frozen)
    assert re.match(r"trained +\d+ of [\d,]+ parameters, as in epoch 0 of unfreeze", told)
    unfrozen.remove(told)
    assert unfrozen == frozen != all_trained


def test_a_rate_is_not_written_for_another_training(here: Path, capsys) -> None:
    assert cli.main(["find-lr", "my.yaml", "optimizer=AdamW", "--write"]) == 2
    assert "put that into my.yaml first" in capsys.readouterr().err
    assert cli.main(["find-lr", "data=data", "--write"]) == 2
    assert "name one" in capsys.readouterr().err
    assert Path("my.yaml").read_text() == CONFIG


@pytest.mark.slow
def test_a_picture_model_of_a_loader_is_found_from_start_to_end(photos: Path) -> None:
    loader = lw.Loader(
        lw.ImageFolder(photos, split="val", cache="memory"),
        32,
        transform=lw.RandomResizedCrop(16),
        shuffle=True,
        workers=0,
    )
    torch.manual_seed(0)
    model = tiny_model()
    found = lw.find_lr(model, torch.optim.AdamW(model.parameters()), loader, loss=F.cross_entropy, ramps=4)
    assert 1e-4 < found.low < found.lr < found.high < 1
    assert loader.state_dict()["epoch"] == 0 and loader.skipped == []


def test_batch_norm_bears_more_than_the_ramps_show_and_the_reason_says_so() -> None:
    with_norm, without = network(), nn.Linear(8, 4)
    assert tolerance([with_norm, sgd(with_norm)]) == 8
    assert tolerance([with_norm, torch.optim.AdamW(with_norm.parameters())]) == 2
    assert tolerance([without, sgd(without)]) == 1
    found = lw.find_lr(with_norm, sgd(with_norm), BATCHES, loss=F.cross_entropy, ramps=2)
    assert "8 times that rate, which batch normalisation bears" in found.reason and found.low < found.lr < found.high
    assert tolerance([with_norm.eval(), sgd(with_norm)]) == 1, "frozen statistics bear nothing"
