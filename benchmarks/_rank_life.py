"""Trainings of `loopwright train --procs N` whose ranks are killed by SIGKILL, and what is left of them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch
from torch import Tensor

import loopwright as lw

POLL_S = 0.005
HANGS_S = 300.0
METRICS = "metrics.jsonl"
# Random crops and mixing, dropout, batch norm, momentum, a schedule, an average of weights; saved every other step.
SETTINGS = (
    "model=small_resnet", "image_size=16", "batch_size=32", "epochs=4", "seed=0", "pictures=0", "workers=0", "device=cpu",
    "optimizer=SGD", "optimizer.lr=0.02", "ema=0.9", "mix={name: Mixup, alpha: 0.2}", "save_every=2 steps",
)  # fmt: skip
ENVIRONMENT = {"LOOPWRIGHT_SNAPSHOT": "off", "PYTHONWARNINGS": "ignore"}


@dataclass(frozen=True)
class Death:
    """One kill: of which rank, aimed by what, how many seconds after its group was there, and the run's last step then."""

    rank: int
    aim: str
    after_s: float
    step: int


@dataclass
class Life:
    """A training from its beginning to its end, all restarts included."""

    code: int
    seconds: float
    text: str
    deaths: list[Death] = field(default_factory=list)


def live(folder: Path, ranks: int, kills: int, rng: random.Random, window: float, data: Path) -> Life:
    """Train; meanwhile kill so many ranks, each at a random moment of the first seconds of its group: its window."""
    command = [sys.executable, "-m", "loopwright", "train", f"data={data}", *SETTINGS, f"run={folder}"]
    command += [f"--procs={ranks}", f"--max-restarts={kills}"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    log, began, deaths = folder.with_suffix(".txt"), time.perf_counter(), []
    with log.open("w") as out:
        agent = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | ENVIRONMENT)
        before: frozenset[int] = frozenset()
        while len(deaths) < kills:
            group = _await_group(agent, ranks, before)
            if not group:
                break
            death = _kill_one(agent, group, folder, rng, window)
            if death is None:
                break
            deaths.append(death)
            before = frozenset(group.values())
        code = agent.wait(HANGS_S)
    return Life(code, time.perf_counter() - began, log.read_text(), deaths)


def _await_group(agent: subprocess.Popen[bytes], ranks: int, before: frozenset[int]) -> dict[int, int]:
    """The processes of all ranks, once they are there; nothing where the agent has ended."""
    given_up = time.perf_counter() + HANGS_S
    while agent.poll() is None:
        group = {rank: pid for rank, pid in _ranks_of(agent.pid) if pid not in before}
        if len(group) == ranks:
            return group
        if time.perf_counter() > given_up:
            agent.terminate()
            raise RuntimeError(f"{ranks} ranks were not started again within {HANGS_S:.0f} s")
        time.sleep(POLL_S)
    return {}


def _ranks_of(agent: int) -> Iterator[tuple[int, int]]:
    for child in psutil.Process(agent).children():
        try:
            yield int(child.environ()["RANK"]), child.pid
        except (psutil.Error, KeyError):  # it has just ended, or is about to begin
            continue


def _kill_one(
    agent: subprocess.Popen[bytes], group: Mapping[int, int], folder: Path, rng: random.Random, window: float
) -> Death | None:
    """Wait for the moment and kill; None where the training has ended before it."""
    rank, began = rng.choice(sorted(group)), time.perf_counter()
    aim = rng.choice(("the clock", "a save seen"))
    due, pause = began + rng.uniform(0.0, window), rng.uniform(0.0, 0.02)
    names = _names(folder)
    while agent.poll() is None:
        now = time.perf_counter()
        if now >= due and (aim == "the clock" or _names(folder) - names):
            time.sleep(pause if aim == "a save seen" else 0.0)
            try:
                os.kill(group[rank], signal.SIGKILL)
            except ProcessLookupError:  # the training has just ended
                return None
            return Death(rank, aim, time.perf_counter() - began, _step(folder))
        if now < due:
            names = _names(folder)
        time.sleep(POLL_S)
    return None


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder / "checkpoints"))
    except FileNotFoundError:
        return set()


def _step(folder: Path) -> int:
    """Of the newest checkpoint."""
    try:
        latest = lw.Checkpoints(folder / "checkpoints").latest
    except lw.LoopwrightError:
        return 0
    return 0 if latest is None else latest.step


def same_weights(one: Path, other: Path) -> bool:
    """Whether the last checkpoints of two runs hold the same models, averages and optimizers, bit for bit."""
    return all(_same(_saved(one, name), _saved(other, name)) for name in ("model", "ema", "optimizer"))


def same_history(one: Path, other: Path) -> bool:
    return (one / METRICS).read_bytes() == (other / METRICS).read_bytes()


def _saved(folder: Path, name: str) -> object:
    latest = lw.Checkpoints(folder / "checkpoints").latest
    assert latest is not None
    return torch.load(folder / "checkpoints" / latest.name / f"{name}.pt", weights_only=True)


def _same(one: object, other: object) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, Sequence) and isinstance(other, Sequence) and not isinstance(one, str):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other
