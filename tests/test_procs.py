"""``loopwright train --procs``: one command, several processes, one run, one exit code."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import loopwright as lw
from loopwright._stop import stop_run

PHOTOS = str(lw.demo_photos())
SMALL = [f"data={PHOTOS}", "model=small_resnet", "image_size=16", "batch_size=64", "seed=0", "pictures=0", "workers=0"]


def started(folder: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "loopwright", "train", *SMALL, f"run={folder}", *more]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_a_mistake_is_said_once_and_nothing_is_started(tmp_path: Path) -> None:
    process = started(tmp_path / "run", "epochs=many", "--procs", "2")
    text, _ = process.communicate(timeout=100)
    assert process.returncode == 2 and text.count("error:") == 1 and not (tmp_path / "run").exists()


@pytest.mark.parametrize("asked", [["--procs", "0"], ["--procs", "2", "--max-restarts", "-1"]])
def test_numbers_that_make_no_sense_are_refused(tmp_path: Path, asked: list[str]) -> None:
    process = started(tmp_path / "run", *asked)
    text, _ = process.communicate(timeout=100)
    assert process.returncode == 2 and "or more" in text, text


@pytest.mark.slow
def test_two_processes_train_one_run_and_a_killed_one_comes_back(tmp_path: Path) -> None:
    whole = started(tmp_path / "whole", "epochs=3", "save_every=2 steps", "--procs", "2")
    text, _ = whole.communicate(timeout=300)
    assert whole.returncode == 0 and text.count("accuracy ") == 1, text
    broken = started(tmp_path / "broken", "epochs=3", "save_every=2 steps", "--procs", "2", "--max-restarts", "2")
    while not (tmp_path / "broken/checkpoints/index.json").exists():
        assert broken.poll() is None
        time.sleep(0.02)
    ranks = [child for child in psutil.Process(broken.pid).children() if "train" in child.cmdline()]
    os.kill(ranks[-1].pid, signal.SIGKILL)
    text, _ = broken.communicate(timeout=300)
    assert broken.returncode == 0, text
    assert "goes on from" in text
    first, second = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "broken"))
    assert first == second


@pytest.mark.slow
def test_what_a_rank_dies_of_is_the_exit_code(tmp_path: Path) -> None:
    process = started(tmp_path / "run", "epochs=300", "--procs", "2")
    while not (tmp_path / "run/checkpoints/index.json").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM, text
    assert lw.read_run(tmp_path / "run")["state"] == "stopped"


@pytest.mark.slow
def test_a_run_that_was_told_to_stop_is_not_started_again(tmp_path: Path) -> None:
    process = started(tmp_path / "run", "epochs=300", "--procs", "2", "--max-restarts", "3")
    while not (tmp_path / "run/checkpoints/index.json").exists():
        time.sleep(0.02)
    assert "stopped" in stop_run(tmp_path / "run")
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM, text
    assert lw.read_run(tmp_path / "run")["lives"] == [], text  # earlier ones
