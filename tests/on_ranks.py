"""Runs a function on several ranks that find each other by gloo, each a process: what each returned."""

import os
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from conftest import forked

from benchmarks._port import free_port


def on_ranks(folder: Path, ranks: int, work: Callable[[int], Any]) -> list[Any]:
    """What ``work(rank)`` returns on each: tensors and plain values."""
    folder.mkdir(parents=True, exist_ok=True)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}

    def live(rank: int) -> None:
        torch.set_num_threads(1)
        places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
        os.environ |= place | {name: str(value) for name, value in places.items()}
        with open(folder / f"out-{rank}.txt", "w") as out, redirect_stdout(out), redirect_stderr(out):
            try:
                torch.save(work(rank), folder / f"said-{rank}.pt")
            except BaseException:
                traceback.print_exc()
                raise

    pids = [forked(lambda rank=rank: live(rank)) for rank in range(ranks)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert not any(codes), "\n".join((folder / f"out-{rank}.txt").read_text() for rank in range(ranks))
    return [torch.load(folder / f"said-{rank}.pt", weights_only=False) for rank in range(ranks)]
