"""The memory of a process and all its children, as PSS: pages that several share count once. Linux only."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

FIELDS = ("Pss", "Pss_Anon", "Pss_File", "Pss_Shmem")
Sizes = dict[str, float]


def pss_of_tree(root: int) -> Sizes:
    """Megabytes of a process and its children now; those that end meanwhile do not count."""
    total = dict.fromkeys(FIELDS, 0.0)
    for process in tree_of(root):
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for line in lines:
            name, _, value = line.partition(":")
            if name in total:
                total[name] += int(value.split()[0]) / 1024
    return total


def tree_of(root: int) -> list[int]:
    """A process and its children, theirs too."""
    found = [root]
    for process in found:
        for file in Path(f"/proc/{process}/task").glob("*/children"):
            try:
                found += [int(child) for child in file.read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def watch_peak(root: int, running: Callable[[], bool], interval: float = 0.05) -> Sizes:
    """The highest PSS seen while `running()`, and what it consisted of."""
    peak = dict.fromkeys(FIELDS, 0.0)
    while running():
        now = pss_of_tree(root)
        peak = max(peak, now, key=lambda sizes: sizes["Pss"])
        time.sleep(interval)
    return peak
