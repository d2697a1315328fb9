"""``Life``: what a training does to its folder, without the training: lines, checkpoints, run.json.

What is saved is a pure function of the step, and a line one of its number: whoever reads a folder knows what is right.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal
from unittest import mock

import torch

from benchmarks._crash_disk import Disk
from loopwright import _checkpoint, _checkpoints, _files
from loopwright._checkpoints import Checkpoints, Entry
from loopwright._record import Record

MODULES = [_checkpoint, _checkpoints, _files]
RUN = Path("runs", "r")  # the run's folder below the root
SAVES = [
    (10, 0.5, False),
    (20, 0.9, True),
    (30, 0.7, False),
    (40, 0.3, True),
    (50, 0.95, False),
]  # step, top1, background


def weights(step: int) -> dict[str, Any]:
    """What a checkpoint of a step holds, but for the record's mark."""
    random = torch.Generator().manual_seed(step)
    model = {"weight": torch.randn(20, 17, generator=random), "steps": torch.tensor(step)}
    return {"model": model, "optimizer": {"moments": [torch.randn(340, generator=random)]}}


def line(number: int) -> dict[str, Any]:
    return {"number": number, "loss": 1 / (number + 1)}


def line_bytes(count: int) -> bytes:
    """The first lines, as they must stand in metrics.jsonl."""
    return b"".join(json.dumps(line(number)).encode() + b"\n" for number in range(count))


def holds(saved: Checkpoints, entry: Entry) -> bool:
    """Whether a checkpoint is, bit for bit, what was saved at its step."""
    found, right = saved.load(entry.name), weights(entry.step)
    tensors = [(found["model"][name], tensor) for name, tensor in right["model"].items()]
    tensors += zip(found["optimizer"]["moments"], right["optimizer"]["moments"], strict=True)
    return found["run"]["step"] == entry.step and all(torch.equal(one, other) for one, other in tensors)


@dataclass(frozen=True)
class Mark:
    """What was known after so many operations: a save had begun, had returned, or all was about to be removed."""

    ops: int
    what: Literal["began", "returned", "clearing"]
    step: int = 0


class Life:
    """One process that holds the run's folder."""

    def __init__(self, root: Path, *, keep_last: int = 2, now: Callable[[], int] = lambda: 0) -> None:
        self.marks: list[Mark] = []
        self._now = now
        self.record = Record(root / RUN)
        self.record.begin({})
        self.record.write_config("seed: 1\n")
        self.record.write_environment({"python": "3"}, "")
        self.saved = Checkpoints(root / RUN / "checkpoints", keep_last=keep_last, keep_best=1)
        self.lines = 0
        if self.saved.entries:
            entry, _ = self.saved.newest_sound()
            state = self.saved.load(entry.name, only="run")
            self.record.cut(state["mark"])
            self.lines = state["lines"]

    def log(self) -> None:
        self.record.metrics.append(line(self.lines))
        self.record.speed.append(line(self.lines))
        self.lines += 1

    def save(self, step: int, top1: float, background: bool = False) -> Entry:
        """Save as a run does: lines first, the checkpoint, then run.json; come back when it is on disk."""
        own = {"step": step, "mark": self.record.mark(), "lines": self.lines}
        self.marks.append(Mark(self._now(), "began", step))
        metrics: dict[str, Any] = {"metrics": {"top1": top1}, "best": {"top1": "max"}}
        sync = self.record.metrics.sync
        entry = self.saved.save(weights(step) | {"run": own}, step=step, background=background, first=sync, **metrics)
        self.saved.settle()
        self.marks.append(Mark(self._now(), "returned", step))
        self.record.update(checkpoint=entry.name, step=step)
        return entry

    def clear(self) -> None:
        self.marks.append(Mark(self._now(), "clearing"))
        self.saved.clear()
        self.record.clear(keep_lives=True)
        self.lines = 0
        self.record.begin({})

    def close(self) -> None:
        self.record.close()


def live(root: Path, disk: Disk, saves: int = len(SAVES)) -> list[Mark]:
    """A whole story: saves of both kinds, a second process that cuts the record and goes on, all removed, begun anew."""
    marks: list[Mark] = []
    with disk, steady_times():
        life = Life(root, now=lambda: len(disk.ops))
        for step, top1, background in SAVES[:saves]:
            life.log()
            disk.beside = each(7, life.log) if background else None  # the loop goes on while the writer writes
            life.save(step, top1, background)
            disk.beside = None
        life.log()
        life.close()
        marks += life.marks
        life = Life(root, now=lambda: len(disk.ops))
        life.log()
        life.save(60, 0.2)
        life.clear()
        life.log()
        life.save(70, 0.1, background=True)
        life.close()
    return marks + life.marks


def steady_times() -> Any:
    """Checkpoints of equal bytes, whenever they are saved."""
    return mock.patch.object(_checkpoints, "time", SimpleNamespace(time=lambda: 1.7e9))


def each(n: int, act: Callable[[], object]) -> Callable[[], None]:
    """Acts at every n-th call."""
    calls = 0

    def called() -> None:
        nonlocal calls
        calls += 1
        if calls % n == 0:
            act()

    return called
