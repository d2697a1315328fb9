"""Laws of several ranks: the samples, the weights and the record are those of one process, and survive every death."""

import json
import os
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import forked
from ranks_trial import train

import loopwright as lw
from benchmarks._port import free_port
from loopwright._runs import list_runs
from loopwright.data._slice import Slice
from loopwright.reports._found import find_runs

CLOSE = 2e-7  # of weights near 1: a sum of four floats in another order, over 18 steps


def start(
    folder: Path,
    ranks: int,
    attempt: int = 0,
    *,
    work: Callable[[Path, dict[str, Any]], object] = train,
    **settings: Any,
) -> list[int]:
    """Begin a training on so many ranks, each a process; their numbers."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)

    def live(rank: int) -> None:
        places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
        os.environ |= {name: str(value) for name, value in places.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        with open(folder / f"out-{attempt}-{rank}.txt", "w") as out, redirect_stdout(out), redirect_stderr(out):
            try:
                work(folder / "run", settings)
            except BaseException:
                traceback.print_exc()
                raise

    return [forked(lambda rank=rank: live(rank)) for rank in range(ranks)]


def ended(pids: list[int]) -> list[int]:
    """Wait for them; once one has died the others are ended, as torchrun does it."""
    codes: dict[int, int] = {}
    while len(codes) < len(pids):
        time.sleep(0.01)
        for pid in set(pids) - set(codes):  # each by its number: other tests may have left children of their own
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                codes[pid] = os.waitstatus_to_exitcode(status)
        if any(codes.values()):
            for other in set(pids) - set(codes):
                os.kill(other, signal.SIGKILL)
    return [codes[pid] for pid in pids]


def trained(folder: Path, ranks: int, **settings: Any) -> Path:
    codes = ended(start(folder, ranks, **settings))
    texts = "\n".join(path.read_text() for path in sorted(folder.glob("out-*.txt")))
    assert codes == [0] * ranks, texts
    return folder


def weights(folder: Path, rank: int = 0) -> dict[str, torch.Tensor]:
    return torch.load(folder / f"weights-{rank}.pt", weights_only=True)


def samples(folder: Path) -> dict[int, list[int]]:
    """What each step was of: the ranks' parts side by side; of a step that was done again, the last time."""
    seen: dict[int, dict[str, list[int]]] = {}
    for path in sorted(folder.glob("seen-*.jsonl")):
        for line in path.read_text().splitlines():
            step, indices = json.loads(line)
            seen.setdefault(step, {})[path.name] = indices
    return {step: [i for name in sorted(parts) for i in parts[name]] for step, parts in seen.items()}


def equal(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(first[name], second[name]) for name in first)


def distance(one: Path, other: Path) -> float:
    first, second = weights(one), weights(other)
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)


def means(folder: Path) -> list[dict[str, Any]]:
    """The record without what is of single batches: their spread."""
    lines = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith((".std", ".min", ".max"))} for line in lines]


@pytest.mark.parametrize("count", [0, 1, 3, 10, 64])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
def test_the_parts_of_a_batch_are_the_batch(count: int, ranks: int) -> None:
    parts = [Slice(rank, ranks).of(count) for rank in range(ranks)]
    assert [i for first, end in parts for i in range(first, end)] == list(range(count))
    assert max(end - first for first, end in parts) - min(end - first for first, end in parts) <= 1


BY_HAND, ACCUMULATE = {"by_hand": True}, {"accumulate": 4}


@pytest.mark.parametrize(
    ("settings", "ranks"),
    [
        ({}, 4),
        (BY_HAND, 2),
        (ACCUMULATE, 4),
        pytest.param({}, 2, marks=pytest.mark.slow),
        pytest.param(BY_HAND, 4, marks=pytest.mark.slow),
        pytest.param(ACCUMULATE, 2, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_ranks_train_as_one_process(tmp_path: Path, ranks: int, settings: dict[str, Any]) -> None:
    one, many = trained(tmp_path / "one", 1, **settings), trained(tmp_path / "many", ranks, **settings)
    assert samples(many) == samples(one)
    assert distance(one, many) < CLOSE
    assert all(torch.equal(weights(many)[name], weights(many, ranks - 1)[name]) for name in weights(many))
    for line, other in zip(means(one), means(many), strict=True):
        assert line.keys() == other.keys() and [line[k] for k in ("kind", "step", "epoch")] == [
            other[k] for k in ("kind", "step", "epoch")
        ]
        for name, value in line.items():
            if isinstance(value, float):
                assert other[name] == pytest.approx(value, abs=1e-5), (line, other)


def test_ranks_with_dropout_and_batch_norm_repeat_themselves_bit_for_bit(tmp_path: Path) -> None:
    settings = {"dropout": 0.3, "norm": True, "samples": 56}
    first, second = (trained(tmp_path / name, 3, **settings) for name in ("first", "second"))
    assert equal(first, second)
    assert (first / "run/metrics.jsonl").read_bytes() == (second / "run/metrics.jsonl").read_bytes()
    single = trained(tmp_path / "single", 3, samples=56)
    assert not equal(first, single)


@pytest.mark.parametrize(
    ("ranks", "accumulate"),
    [(2, 1), (3, 4), pytest.param(3, 1, marks=pytest.mark.slow), pytest.param(2, 4, marks=pytest.mark.slow)],
)
def test_a_rank_that_is_killed_changes_nothing(tmp_path: Path, ranks: int, accumulate: int) -> None:
    settings = {"dropout": 0.3, "norm": True, "samples": 56, "accumulate": accumulate, "save_every": "3 steps"}
    whole = trained(tmp_path / "whole", ranks, **settings)
    broken = tmp_path / "broken"
    for attempt, (rank, step) in enumerate([(ranks - 1, 8), (0, 14)]):
        (broken / "died").unlink(missing_ok=True)
        assert -signal.SIGKILL in ended(start(broken, ranks, attempt, **settings, die_at=[rank, step]))
    trained(broken, ranks, **settings)
    assert samples(broken) == samples(whole)
    assert equal(whole, broken)
    assert (whole / "run/metrics.jsonl").read_bytes() == (broken / "run/metrics.jsonl").read_bytes()


def test_a_run_goes_on_with_other_numbers_of_ranks(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", 1)
    changed = tmp_path / "changed"
    for attempt, (ranks, step) in enumerate([(2, 7), (1, 12)]):
        (changed / "died").unlink(missing_ok=True)
        ended(start(changed, ranks, attempt, die_at=[0, step]))
    steps = samples(changed)
    trained(changed, 4)
    seen = {**steps, **samples(changed)}
    assert seen.keys() == samples(whole).keys()
    assert {step: sorted(indices) for step, indices in samples(changed).items() if step > 12} == {
        step: sorted(indices) for step, indices in samples(whole).items() if step > 12
    }
    assert distance(whole, changed) < CLOSE
    kinds = ("kind", "step", "epoch")
    assert [[line[k] for k in kinds] for line in means(changed)] == [[line[k] for k in kinds] for line in means(whole)]
    for line, other in zip(means(whole), means(changed), strict=True):
        assert {k: v for k, v in other.items() if isinstance(v, float)} == pytest.approx(
            {k: v for k, v in line.items() if isinstance(v, float)}, abs=1e-5
        )


def test_another_attempt_of_a_command_goes_on_even_from_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rank may be lost after its run has finished, and the agent starts all again; and ``overwrite`` counts once."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    trained(tmp_path, 1, overwrite=True)
    before = (tmp_path / "run/metrics.jsonl").read_bytes(), weights(tmp_path)
    trained(tmp_path, 1, overwrite=True)
    assert len(lw.read_run(tmp_path / "run")["lives"]) == 1
    trained(tmp_path, 2)
    assert len(lw.read_run(tmp_path / "run")["lives"]) == 2
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == before[0]
    assert all(torch.equal(tensor, before[1][name]) for name, tensor in weights(tmp_path, 1).items())
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another")
    assert ended(start(tmp_path, 1, 7)) != [0]
    assert "holds a finished run" in (tmp_path / "out-7-0.txt").read_text()


def test_an_error_of_rank_0_at_the_start_is_everybodys(tmp_path: Path) -> None:
    trained(tmp_path, 1)
    assert ended(start(tmp_path, 2, 1)) != [0, 0]
    texts = [(tmp_path / f"out-1-{rank}.txt").read_text() for rank in range(2)]
    assert any("finished" in text for text in texts), texts


def test_one_asked_to_stop_stops_all_at_the_same_step(tmp_path: Path) -> None:
    pids = start(tmp_path, 2, epochs=4000, save_every="1000000 steps")
    seen = tmp_path / "seen-1.jsonl"
    while not seen.exists() or len(seen.read_text().splitlines()) < 20:
        pass
    os.kill(pids[1], signal.SIGTERM)
    for pid in pids:
        os.waitpid(pid, 0)
    texts = [(tmp_path / f"out-0-{rank}.txt").read_text() for rank in range(2)]
    assert all(f"SystemExit: {128 + signal.SIGTERM}" in text for text in texts), texts
    assert lw.read_run(tmp_path / "run")["state"] == "stopped"
    counts = [len((tmp_path / f"seen-{rank}.jsonl").read_text().splitlines()) for rank in range(2)]
    assert counts[0] == counts[1] == lw.read_run(tmp_path / "run")["step"]


def test_a_step_that_one_rank_cannot_take_is_left_out_by_all(tmp_path: Path) -> None:
    one = trained(tmp_path / "one", 1, nonfinite="skip", nan_at=[0, 5])
    two = trained(tmp_path / "two", 2, nonfinite="skip", nan_at=[1, 5])
    assert distance(one, two) < CLOSE
    told = [line for line in means(two) if line["kind"] == "left_out"]
    assert [line["step"] for line in told] == [5]


def test_the_folders_of_the_other_ranks_are_no_runs(tmp_path: Path) -> None:
    trained(tmp_path, 2)
    assert (tmp_path / "run/ranks/1/run.json").exists()
    assert [facts["folder"] for facts in list_runs(tmp_path)] == [str(tmp_path / "run")]
    assert len(find_runs([tmp_path]).runs) == 1
