"""Laws of what is asked of several ranks beside training: one answer, that of one process, on all of them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from on_ranks import on_ranks
from torch import Tensor, nn

import loopwright as lw
from loopwright._cursor import Cursor
from loopwright._distributed import ROOM, OneRank, ranks_here
from loopwright._errors import NonFiniteError
from loopwright._files import JsonLines, read_json_lines
from loopwright._ledger import Ledger
from loopwright._replica import TRIES
from loopwright._watch import Watch

CLOSE = 1e-4  # of losses, after ramps that end where they diverge


class Pairs:
    """Samples with labels that can be learned."""

    def __init__(self, count: int) -> None:
        self.inputs = torch.randn(count, 8, generator=torch.Generator().manual_seed(5))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int):
        inputs = self.inputs[index]
        return inputs, inputs[:3].argmax()


def a_model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_learning_rate_is_that_of_all_samples_and_everything_is_put_back(tmp_path: Path) -> None:
    def work(rank: int, **asked: Any) -> dict[str, Any]:
        model = a_model(rank)  # rank 0's weights are what all try
        before, told = state_of(model), []
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        found = lw.find_lr(
            model, optimizer, lw.Loader(Pairs(53), 10, shuffle=True, workers=0), loss=nn.functional.cross_entropy,
            val=lw.Loader(Pairs(23), 10, workers=0), low=1e-3, high=30.0, accumulate=2, on_curve=told.append, **asked,
        )  # fmt: skip
        hooks = sum(len(p._backward_hooks or ()) for p in model.parameters())
        return {"found": found, "kept": same(before, state_of(model)) and not hooks, "told": len(told)}

    ramps: dict[str, Any] = {"ramps": 2, "steps": 12}
    runs: dict[str, Any] = {"mode": "runs", "rates": [0.01, 0.3, 10.0], "steps": 9}
    for asked in (ramps, runs):
        alone = work(0, **asked)["found"]
        said = on_ranks(tmp_path / str(len(asked)), 2, lambda rank, asked=asked: work(rank, **asked))
        assert said[0]["found"] == said[1]["found"]
        assert [one["kept"] for one in said] == [True, True]
        assert said[0]["told"] == len(alone.curves) and said[1]["told"] == 0
        assert said[0]["found"].lr == alone.lr
        for curve, other in zip(alone.curves, said[0]["found"].curves, strict=True):
            assert curve.loss[:6] == pytest.approx(other.loss[:6], rel=CLOSE)
            assert curve.val_loss[:6] == pytest.approx(other.val_loss[:6], rel=CLOSE)


def test_a_function_that_reduces_no_gradients_is_refused(tmp_path: Path) -> None:
    def work(rank: int) -> str:
        model = a_model(0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step(batch: Any) -> Tensor:
            loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        with pytest.raises(lw.ConfigError) as raised:
            lw.find_lr(step, optimizer, lw.Loader(Pairs(53), 10, workers=0), low=1e-3, high=1.0, steps=8)
        return str(raised.value)

    assert all("went apart" in said for said in on_ranks(tmp_path, 2, work))


def test_the_first_rank_checks_and_all_have_its_report(tmp_path: Path) -> None:
    def work(rank: int) -> list[Any]:
        model, seen = a_model(rank), []
        before = state_of(model)
        data = Pairs(40)
        report = lw.check(
            model, data, loss=nn.functional.cross_entropy, lr=0.01, seconds=2, on_verdict=seen.append, batch_size=8
        )
        with pytest.raises(lw.ConfigError) as raised:
            lw.check(model, data, loss=nn.functional.cross_entropy, step=lambda batch: 0.0)
        return [report, len(seen) > 0, same(before, state_of(model)), str(raised.value)]

    first, second = on_ranks(tmp_path, 2, work)
    assert first[0] == second[0] and first[0].verdicts
    assert [first[1], second[1]] == [True, False] and first[2] and second[2]
    assert "step= needs the optimizer" in first[3] and "step= needs the optimizer" in second[3]


def test_runs_follow_each_other_in_one_program(tmp_path: Path) -> None:
    def work(rank: int) -> list[int]:
        steps = []
        for number in range(3):
            with lw.Run(tmp_path / f"run-{number}", seed=0, device="cpu", progress=False) as run:
                model = run.prepare(a_model(0))
                optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
                run.register(model=model, optimizer=optimizer)
                for _ in run.epochs(1):
                    for inputs, targets in run.batches(lw.Loader(Pairs(20), 10, workers=0)):
                        run.step(nn.functional.cross_entropy(model(inputs), targets), optimizer)
            steps.append(run.global_step)
        return steps

    assert on_ranks(tmp_path, 2, work) == [[2, 2, 2], [2, 2, 2]]


def test_a_pictures_augmentation_is_that_of_its_place_in_the_batch_of_all(tmp_path: Path) -> None:
    augment = lw.BatchAugment([lw.BatchFlip(), lw.BatchColor(brightness=0.5), lw.BatchErase(0.5)])
    pictures = torch.randint(256, (23, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = [(picture, torch.tensor(number % 3)) for number, picture in enumerate(pictures)]

    def work(rank: int) -> list[Tensor]:
        made = []

        def seen(images: Tensor, labels: Tensor, **place: int) -> tuple[Tensor, Tensor]:
            images, labels = augment(images, labels, **place)
            made.append(images.clone())
            return images.float() / 255, labels

        def told(images: Tensor, labels: Tensor, *, seed: int, step: int, first: int = 0) -> tuple[Tensor, Tensor]:
            return seen(images, labels, seed=seed, step=step, first=first)

        model = nn.Sequential(nn.Flatten(), nn.Linear(432, 3))
        loader = lw.Loader(data, 10, shuffle=True, workers=0, normalize=None)
        lw.fit(
            model, loader, loss=nn.functional.cross_entropy, epochs=1, augment=told, run=tmp_path / f"run-{size}",
            progress=False, device="cpu", seed=3,
        )  # fmt: skip
        return made

    size = 1
    alone = on_ranks(tmp_path / "one", 1, work)[0]
    size = 3
    parts = on_ranks(tmp_path / "three", 3, work)
    for step, whole in enumerate(alone):
        assert torch.equal(torch.cat([part[step] for part in parts]), whole)


def test_averages_and_statistics_are_the_same_on_all_ranks(tmp_path: Path) -> None:
    values = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
    batches = [values[:3], values[3:7], values[7:]]  # rank 0 has the first two, rank 1 the last

    def work(rank: int) -> list[Any]:
        import torch.distributed as dist

        dist.init_process_group("gloo")
        norm = nn.BatchNorm1d(4)
        model = nn.Sequential(norm, nn.Linear(4, 1).requires_grad_(False))
        for parameter in model.parameters():
            nn.init.ones_(parameter)
        assert norm.running_mean is not None
        ema = lw.EMA(model, 0.5)
        norm.running_mean.fill_(rank + 1.0)  # of a part of the batch
        ema.update()
        with ema.applied(model):
            inside = norm.running_mean.clone()
        count = lw.update_batch_norm(model, batches[:2] if rank == 0 else batches[2:])
        return [inside, count, state_of(model)]

    first, second = on_ranks(tmp_path, 2, work)
    assert torch.equal(first[0], second[0]) and first[0][0] > 0
    assert same(first[2], second[2])
    alone = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 1))
    lw.update_batch_norm(alone, batches)
    for name in ("0.running_mean", "0.running_var", "0.num_batches_tracked"):
        assert torch.allclose(first[2][name], alone.state_dict()[name], atol=1e-6), name


def test_answers_are_taken_whenever_a_rank_likes(tmp_path: Path) -> None:
    """Short words and long ones, which take two exchanges: a rank that takes them at once, one that never looks back."""

    def work(rank: int) -> Any:
        ranks = ranks_here()
        ranks.open()
        answers = []
        for number in range(6):
            answers.append(ranks.ask((rank, "x" * (3 * ROOM if number % 3 == rank else 1), number)))
            if rank == 0 and number % 2:
                answers[-1].get()
            if number == 4:
                together = ranks.gather(rank), ranks.from_main(lambda: "main")
        said = [answer.get() for answer in reversed(answers)]
        assert all(answer.is_here for answer in answers)
        ranks.close()
        return said, together

    first, second = on_ranks(tmp_path, 2, work)
    assert first == second
    assert [[(rank, number) for rank, _, number in told] for told in first[0]] == [
        [(0, number), (1, number)] for number in reversed(range(6))
    ]
    assert first[1] == ([0, 1], "main")


class Late(OneRank):
    """Ranks whose words take a while."""

    is_here = False

    def ask(self, value: Any) -> Any:
        self.get = lambda: [value]
        return self


@pytest.mark.parametrize("end", ["heard", "asked for", "failed", "left"])
def test_what_comes_after_a_report_is_written_after_it(tmp_path: Path, end: str) -> None:
    ranks, cursor, lines = Late(), Cursor(), JsonLines(tmp_path / "metrics.jsonl")
    ledger = Ledger(lines, Watch("stop", cursor), ranks)
    ledger.meters.log({"loss": 2.0}, 1.0, 0)
    ledger.report(1, 0, {"lr": 0.5})
    ledger.note("spike", 1, 0, name="train/loss")
    ledger.look()
    assert ledger.shown == {} and not list(read_json_lines(tmp_path / "metrics.jsonl"))
    if end == "heard":
        ranks.is_here = True
        ledger.look()
    elif end == "asked for":
        ledger.state_dict()
    elif end == "failed":
        ledger.meters.log({"loss": float("nan")}, 1.0, 1)
        with pytest.raises(NonFiniteError):
            ledger.check_finite()
    ledger.close()
    lines.close()
    report = {"kind": "steps", "step": 1, "epoch": 0, "train/loss": 2.0, "lr": 0.5}
    spike = {"kind": "spike", "step": 1, "epoch": 0, "name": "train/loss"}
    assert list(read_json_lines(tmp_path / "metrics.jsonl")) == ([spike] if end == "left" else [report, spike])


class Halves(nn.Module):
    """A model with a part that some batches do not use."""

    def __init__(self, find_unused: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 3), nn.Linear(8, 3)
        self.dead = nn.Linear(2, 2)
        self.calls, self.until, self.find_unused = 0, 0, find_unused

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return self.first(inputs) + (self.second(inputs) if self.calls <= self.until else 0)


def trained_halves(folder: Path, rank: int, *, until: int, dead: bool, find_unused: bool, thaw: int = 0) -> Any:
    torch.manual_seed(0)
    model = Halves(find_unused)
    model.until = until
    if not dead:
        del model.dead
    model.second.requires_grad_(not thaw)
    with lw.Run(folder, seed=0, device="cpu", progress=False) as run:
        prepared = run.prepare(model)
        optimizer = torch.optim.SGD(prepared.parameters(), lr=0.1)
        run.register(model=prepared, optimizer=optimizer)
        for epoch in run.epochs(4):
            if thaw and epoch == thaw:
                prepared.second.requires_grad_(True)
            for inputs, targets in run.batches(lw.Loader(Pairs(50), 10, workers=0)):
                loss = nn.functional.cross_entropy(prepared(inputs), targets)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
    return getattr(prepared, "find_unused_parameters", None), state_of(model)


ALWAYS = 10**9


@pytest.mark.parametrize(
    ("asked", "walks"),
    [
        ({"until": ALWAYS, "dead": False, "find_unused": False}, False),
        ({"until": ALWAYS, "dead": True, "find_unused": False}, True),
        ({"until": 12, "dead": False, "find_unused": True}, True),
        ({"until": ALWAYS, "dead": False, "find_unused": False, "thaw": 2}, True),  # it has begun anew
        pytest.param({"until": 4, "dead": False, "find_unused": False}, True, marks=pytest.mark.slow),
    ],
    ids=["all used", "never used", "not always used", "thawed", "soon not used"],
)
def test_models_train_as_in_one_process_whichever_parameters_they_use(
    tmp_path: Path, asked: dict[str, Any], walks: bool
) -> None:
    _, alone = trained_halves(tmp_path / "alone", 0, **asked)
    said = on_ranks(tmp_path, 2, lambda rank: trained_halves(tmp_path / "run", rank, **asked))
    assert [found for found, _ in said] == [walks, walks]
    assert same(said[0][1], said[1][1])
    for name, tensor in alone.items():
        assert torch.allclose(tensor, said[0][1][name], atol=1e-6), name


def test_a_model_that_breaks_what_it_showed_is_told_so(tmp_path: Path) -> None:
    def work(rank: int) -> str:
        with pytest.raises(lw.RunError) as raised:
            trained_halves(tmp_path / "run", rank, until=TRIES + 3, dead=False, find_unused=False)
        return str(raised.value)

    assert all("find_unused" in said for said in on_ranks(tmp_path, 2, work))


def test_a_command_for_one_process_is_done_once(tmp_path: Path) -> None:
    def start(rank: int) -> "subprocess.Popen[str]":
        place = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
        command = [sys.executable, "-m", "loopwright", "runs", str(tmp_path)]
        return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, env=os.environ | place)

    texts = [process.communicate()[0] for process in [start(0), start(1)]]
    assert "no runs below" in texts[0] and texts[1] == ""
