"""Short versions of the benchmarks of several ranks: kills, two machines, one rate found by torchrun."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import loopwright as lw
from benchmarks._netns import why_not

pytestmark = pytest.mark.slow


def test_ranks_that_are_killed_at_random_end_as_if_nothing_had_happened(tmp_path: Path) -> None:
    from benchmarks.rank_kills import kill, rows_of

    tally = kill(tmp_path, 4, seed=1, sizes=(2,))
    assert len(tally.deaths) >= 4
    assert tally.weights == tally.history == len(tally.lives)
    assert all(row.ratio == 1 for row in rows_of(tally))


def test_a_machine_that_is_killed_and_comes_back_changes_nothing(tmp_path: Path) -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    from benchmarks.two_machines import compare

    rows = compare(tmp_path, random.Random(0), 1)
    assert [row.ratio for row in rows] == [1, 1], rows


def test_torchrun_finds_one_rate_and_writes_it_once(tmp_path: Path) -> None:
    config = tmp_path / "a.yaml"
    config.write_text(
        f"data: {lw.demo_photos()}\nmodel: small_resnet\nimage_size: 16\nbatch_size: 48\nworkers: 0\ndevice: cpu\n"
        "optimizer: {name: SGD, lr: 0.123}  # to be found\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d"]
    command += ["--rdzv-endpoint=localhost:0", "-m", "loopwright", "find-lr", str(config), "--write"]
    command += ["--ramps", "2", "--steps", "12", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        command, text=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("optimizer.lr=") == done.stdout.count("written ") == 1, done.stdout
    assert "lr: 0.123" not in config.read_text() and "# to be found" in config.read_text()
    assert (tmp_path / "out/lr.json").exists()
