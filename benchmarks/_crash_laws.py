"""The laws that a folder must obey after a crash. Opens it as a new process would; knows nothing of how it was made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks._crash_life import RUN, Life, Mark, holds, line, line_bytes
from loopwright import CheckpointError
from loopwright._checkpoint import check_checkpoint
from loopwright._checkpoints import Checkpoints
from loopwright._files import read_json_lines
from loopwright._record import Record


@dataclass(frozen=True)
class Expected:
    """What may be found: a checkpoint of one of these steps, none older than ``at_least`` (None: perhaps nothing).

    ``all_sound``: every checkpoint that the index names must be whole, not only the newest.
    """

    steps: frozenset[int]
    at_least: int | None
    all_sound: bool = True


def expected_at(marks: Sequence[Mark], point: int, *, all_sound: bool = True) -> Expected:
    """What must be found after so many operations."""
    past = [mark for mark in marks if mark.ops <= point]
    at_least = None
    for mark in past:
        if mark.what == "returned":
            at_least = mark.step
        elif mark.what == "clearing":
            at_least = None
    return Expected(frozenset(mark.step for mark in past if mark.what == "began"), at_least, all_sound)


def judge(root: Path, expected: Expected) -> str:
    """What is wrong with a folder; nothing where all laws hold. Saves once more into it."""
    if not (root / RUN).exists():
        return "" if expected.at_least is None else f"the run's folder is gone; step {expected.at_least} was saved"
    try:
        return _opened(root, expected) or _record_read(root) or _gone_on(root, expected)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _opened(root: Path, expected: Expected) -> str:
    saved = Checkpoints(root / RUN / "checkpoints")
    if not saved.entries:
        return "" if expected.at_least is None else f"no checkpoint; step {expected.at_least} was saved"
    if expected.all_sound:
        for entry in saved.entries:
            check_checkpoint(saved.folder / entry.name)
    entry, _ = saved.newest_sound()
    if entry.step not in expected.steps or (expected.at_least or 0) > entry.step:
        return f"step {entry.step} is loaded; the last that was saved is {expected.at_least}"
    return "" if all(holds(saved, e) for e in saved.entries if expected.all_sound or e == entry) else "other tensors"


def _record_read(root: Path) -> str:
    """The files beside the checkpoints open, too."""
    record = Record(root / RUN)
    record.close()
    more = [name for name in os.listdir(root / RUN) if name.startswith(".") and name != ".lock"]
    if more:
        return f"left over: {', '.join(more)}"
    for name in ("metrics.jsonl", "speed.jsonl"):  # what was not flushed may be lost, and is never read wrongly
        if any(read != line(read["number"]) for read in read_json_lines(root / RUN / name)):
            return f"{name} is read as something that was never written"
    config = root / RUN / "config.yaml"
    return "" if not config.exists() or config.read_text() == "seed: 1\n" else "config.yaml is torn"


def _gone_on(root: Path, expected: Expected) -> str:
    """A process that goes on from there: the record is cut back to exact lines, another save works, nothing is left over."""
    life = Life(root)
    try:
        step = max(expected.steps, default=0) + 1000
        metrics = root / RUN / "metrics.jsonl"
        if life.saved.entries and metrics.read_bytes() != line_bytes(life.lines):
            return "metrics.jsonl does not hold the lines of the checkpoint"
        if not life.saved.entries:
            life.record.metrics.cut(0)
        life.log()
        life.save(step, 0.1)
        return left_over(life.saved) or _loaded_again(life.saved, step)
    finally:
        life.close()


def left_over(saved: Checkpoints) -> str:
    """What lies in the folder of checkpoints and should not."""
    more = set(os.listdir(saved.folder)) - {"index.json"} - {entry.name for entry in saved.entries}
    return f"left over: {', '.join(sorted(more))}" if more else ""


def _loaded_again(saved: Checkpoints, step: int) -> str:
    again = Checkpoints(saved.folder)
    try:
        entry, wrong = again.newest_sound()
    except CheckpointError as error:
        return f"after another save: {error}"
    return "" if entry.step == step and not wrong and holds(again, entry) else f"the save of step {step} is not loaded"
