"""Saves that fail at one operation, without a crash: what the object, a new process and the next save make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks._crash_disk import Disk, Fault, Kind
from benchmarks._crash_laws import left_over
from benchmarks._crash_life import MODULES, Life, holds, line_bytes, steady_times
from loopwright._checkpoints import Checkpoints

MAKING: tuple[Kind, ...] = ("create", "mkdir", "write", "sync")  # what a full disk does not do; removing works


@dataclass(frozen=True)
class Trouble:
    """A fault at one operation of a save; ``lasts``: also at all later ones of it, until the disk is well again."""

    at: int
    fault: Fault
    lasts: bool = False
    background: bool = False
    keep_last: int = 2

    def __str__(self) -> str:
        lasting = " and all later" if self.lasts else ""
        where = "background" if self.background else "waited"
        return f"{self.fault} at operation {self.at}{lasting}, {where}, keep_last={self.keep_last}"


class Sick:
    """A disk's plan: well until it is told, then one operation fails, or all from it on."""

    def __init__(self, trouble: Trouble) -> None:
        self.trouble, self.first, self.hits = trouble, -1, 0
        self.kinds: list[Kind] = []  # of the operations since it was told

    def __call__(self, number: int, kind: Kind, _: str) -> Fault | None:
        if self.first < 0:
            return None
        self.kinds.append(kind)
        at, fault = number - self.first, self.trouble.fault
        hit = at >= self.trouble.at if self.trouble.lasts else at == self.trouble.at
        if not hit or (self.trouble.lasts and fault == "ENOSPC" and kind not in MAKING):
            return None
        self.hits += 1
        return fault


def operations(root: Path, background: bool, keep_last: int) -> list[Kind]:
    """The kinds of the operations that a save asks for, when nothing fails."""
    sick = Sick(Trouble(-1, "EIO", background=background, keep_last=keep_last))
    _try_save(root, sick)
    return sick.kinds


def troubles(kinds: list[Kind], background: bool, keep_last: int) -> Iterator[Trouble]:
    """Every fault at every operation."""
    for at, kind in enumerate(kinds):
        for fault in ("ENOSPC", "EIO"):
            for lasts in (False, True) if kind in MAKING or fault == "EIO" else (False,):
                yield Trouble(at, fault, lasts, background, keep_last)
        if kind == "write":
            yield Trouble(at, "short", False, background, keep_last)
        yield Trouble(at, "delay", False, background, keep_last)


def judge_trouble(root: Path, trouble: Trouble) -> str:
    """What is wrong after a save with a fault and after the next one; nothing where all laws hold."""
    sick = Sick(trouble)
    try:
        return _try_save(root, sick) or ("" if sick.hits else "the fault was never met")
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _try_save(root: Path, sick: Sick) -> str:
    trouble = sick.trouble
    with steady_times(), Disk(root, MODULES, sick) as disk:
        life = _begun(root, trouble.keep_last)
        try:
            failed = save_in_trouble(life, disk, sick)
            if failed and trouble.fault in ("short", "delay") and sick.kinds[trouble.at] != "write":
                return "the save failed, and nothing was wrong"
            return _after(life, failed) or _next(life, disk, 30 if failed else 40)
        finally:
            life.close()


def save_in_trouble(life: Life, disk: Disk, sick: Sick) -> bool:
    """A line and a save at step 30, with the fault; whether it failed (as ``OSError``: anything else is raised)."""
    sick.first = disk.tried
    try:
        life.log()
        life.save(30, 0.7, sick.trouble.background)
    except OSError:
        return True
    finally:
        sick.first = -1
    return False


def _begun(root: Path, keep_last: int, now: Callable[[], int] = lambda: 0) -> Life:
    life = Life(root, keep_last=keep_last, now=now)
    for step, top1 in ((10, 0.5), (20, 0.6)):
        life.log()
        life.save(step, top1)
    return life


def _after(life: Life, failed: bool) -> str:
    """What was saved before is as good as ever, for this process and for a new one."""
    latest = life.saved.latest
    if latest is None or latest.step != (20 if failed else 30) or not holds(life.saved, latest):
        return f"the latest after the fault is {latest}"
    again = Checkpoints(life.saved.folder)
    entry, wrong = again.newest_sound()
    sound = entry.step in ((20, 30) if failed else (30,)) and holds(again, entry) and not wrong
    return "" if sound else f"a new process finds {entry.name}, {wrong}"


def _next(life: Life, disk: Disk, step: int) -> str:
    """The next save works and tidies up; lines that the disk did not take are there; no file is left open."""
    life.log()
    life.save(step, 0.8)
    if life.record.metrics.path.read_bytes() != line_bytes(life.lines):
        return "metrics.jsonl does not hold all lines"
    again = Checkpoints(life.saved.folder)
    entry, _ = again.newest_sound()
    if entry.step != step or not holds(again, entry):
        return f"after the next save, of step {step}, {entry.name} is loaded"
    if len(disk.open_files) > 2:  # metrics.jsonl and speed.jsonl
        return f"left open: {sorted(str(file.path) for file in disk.open_files)}"
    return left_over(life.saved)


def trouble_then_cut(root: Path, trouble: Trouble) -> tuple[Disk, Life, int]:
    """A save with a fault and one without it, recorded: for the crashes that come behind the fault.

    Returns the disk, the life with its marks, and how many operations there were when the trouble began.
    """
    sick = Sick(trouble)
    with steady_times(), Disk(root, MODULES, sick) as disk:
        life = _begun(root, trouble.keep_last, now=lambda: len(disk.ops))
        begun = len(disk.ops)
        failed = save_in_trouble(life, disk, sick)
        life.log()
        life.save(30 if failed else 40, 0.8)
        life.close()
    return disk, life, begun
