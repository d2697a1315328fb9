"""``loopwright runs``: true states, the newest values, the time left, for people and for programs."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from terminals import Terminal, loopwright

from loopwright._lock import FolderLock
from loopwright._run_facts import RunFacts, run_facts
from loopwright._runs import COLUMNS, list_runs, runs_as_json, runs_table
from loopwright.cli import main

NOW = 1_800_000_000.0


def moment(seconds_ago: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(NOW - seconds_ago))


def write_run(folder: Path, lines: list[dict[str, Any]], *, changed: float = 0.0, **info: Any) -> dict[str, Any]:
    """A run's folder as it is found on disk; its record changed so many seconds ago."""
    import os

    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    ends = [line for line in lines if line["kind"] == "epoch"]
    (folder / "speed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in ends))
    for name in ("metrics.jsonl", "speed.jsonl"):
        os.utime(folder / name, (NOW - changed, NOW - changed))
    (folder / "run.json").write_text(json.dumps({"state": "running", "pid": 4711, "host": "h", "lives": [], **info}))
    return {"folder": str(folder), "state": "running", "lives": [], **info}


def measured(epochs: int, steps: int = 10) -> list[dict[str, Any]]:
    """The lines of so many epochs."""
    found: list[dict[str, Any]] = []
    for epoch in range(epochs):
        step = (epoch + 1) * steps
        found += [
            {"kind": "evaluation", "step": step, "epoch": epoch, "val/loss": 1 / step, "val/top1": epoch / 10},
            {"kind": "epoch", "step": step, "epoch": epoch, "train/loss": 2 / step},
        ]
    return found


def facts(info: dict[str, Any]) -> RunFacts:
    return run_facts(info, NOW)


def test_a_running_one_says_where_it_is_and_when_it_will_be_done(tmp_path: Path) -> None:
    lines = [*measured(5), {"kind": "steps", "step": 55, "epoch": 5, "train/loss": 0.1}]
    info = write_run(
        tmp_path / "a", lines, changed=10, started=moment(120), length="20 epochs", best={"val/top1": 0.4}, step=50,
        epochs_done=5,
    )  # fmt: skip
    found = facts(info)
    assert (found.step, found.epoch, found.epochs) == (55, 5.5, 20)
    assert (found.metric, found.best, found.last) == ("val/top1", 0.4, 0.4)
    assert found.seconds == 120
    assert found.seconds_left == pytest.approx((200 - 55) * 110 / 55 - 10)  # 110 s for 55 steps, 10 s ago


def test_the_pace_is_that_of_this_life_and_the_time_that_of_all(tmp_path: Path) -> None:
    life = {"started": moment(10_000), "ended": moment(9_000), "step": 40}
    info = write_run(tmp_path / "a", measured(5), started=moment(20), length="20 epochs", lives=[life, "no life"][:1])
    assert (facts(info).seconds, facts(info).seconds_left) == (1020, pytest.approx((200 - 50) * 20 / 10))


@pytest.mark.parametrize(
    ("length", "left"),
    [("500 steps", 900), ("20 epochs or 500 steps", 300), ("300 seconds", 200), ("20 epochs or 150 seconds", 50)],
)
def test_the_first_limit_counts(tmp_path: Path, length: str, left: float) -> None:
    assert facts(write_run(tmp_path / "a", measured(5), started=moment(100), length=length)).seconds_left == left


def test_in_the_first_epoch_the_loader_says_how_long_it_is(tmp_path: Path) -> None:
    line = {"kind": "steps", "step": 50, "epoch": 0, "train/loss": 0.1}
    info = write_run(tmp_path / "a", [line], started=moment(100), length="2 epochs", steps_per_epoch=100)
    assert (facts(info).epoch, facts(info).seconds_left, facts(info).metric) == (0.5, 300, "train/loss")
    info = write_run(tmp_path / "b", [], started=moment(100))
    assert (facts(info).step, facts(info).seconds_left) == (None, None)


def test_the_last_value_is_found_behind_many_lines(tmp_path: Path) -> None:
    rest = [{"kind": "steps", "step": 10 + n, "epoch": 1, "train/loss": n} for n in range(10_000)]
    found = facts(write_run(tmp_path / "a", [*measured(1), *rest], started=moment(9), best={"val/loss": 0.1}))
    assert (found.last, found.step) == (0.1, 10_009)


@pytest.mark.parametrize(
    "info",
    [
        {"best": {"a": 10**400, "b": []}, "step": [], "lives": [7, {"started": 3}], "length": "x" * 1000},
        {"started": "9" * 50, "ended": {}, "epochs_done": True, "length": "0 epochs", "steps_per_epoch": -3},
        {"best": {"\ud800": float("nan")}, "reason": "a\nb", "step": 10**30},
    ],
)
def test_whatever_a_record_says_there_are_facts(tmp_path: Path, info: dict[str, Any]) -> None:
    (tmp_path / "metrics.jsonl").write_text('[1]\n{"step": "x", "epoch": -1e999}\n\0\0\n{"kind"\n')
    text = json.dumps(runs_as_json([{"folder": str(tmp_path), "state": "running", **info}]), allow_nan=False)
    assert set(json.loads(text)[0]) == set(RunFacts.__dataclass_fields__)
    assert len(runs_table([{"folder": str(tmp_path), "state": "running", **info}], 80).splitlines()) == 2


def test_states_are_true_and_failed_starts_are_not_dropped(tmp_path: Path, capsys) -> None:
    for state in ("finished", "failed", "stopped"):
        write_run(tmp_path / state, measured(1), state=state, started=moment(1))
    write_run(tmp_path / "killed", measured(1), started=moment(1))
    write_run(tmp_path / "running", measured(1), started=moment(1))
    (tmp_path / "running/checkpoints/step-1").mkdir(parents=True)
    (tmp_path / "running/replays/x").mkdir(parents=True)
    for name in ("checkpoints/step-1", "replays/x"):
        (tmp_path / "running" / name / "run.json").write_text("{}")
    (tmp_path / "at start").mkdir()
    (tmp_path / "at start/start.txt").write_text("ImportError")
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange/run.json").write_text("[")
    lock = FolderLock(tmp_path / "running")
    try:
        found = {Path(info["folder"]).name: info["state"] for info in list_runs(tmp_path)}
    finally:
        lock.release()
    states = {name: name for name in ("finished", "failed", "stopped", "killed", "running")}
    assert found == states | {"at start": "failed", "strange": "unreadable"}
    assert main(["runs", str(tmp_path), "--json"]) == 0
    listed = {Path(run["run"]).name: run for run in json.loads(capsys.readouterr().out)}
    assert listed["running"]["state"] == "killed" and listed["killed"]["pid"] == 4711
    assert listed["finished"]["last"] == 0.1 and listed["finished"]["seconds_left"] is None


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
def test_a_table_fits_its_terminal(tmp_path: Path, width: int) -> None:
    info = write_run(tmp_path / ("a long name of a run " * 4), measured(5), started=moment(100), length="20 epochs")
    lines = runs_table([info, info], width).splitlines()
    assert len(lines) == 3 and max(map(len, lines)) <= width
    assert all("running" in line for line in lines[1:]) or width < 20
    if width >= 100:
        assert all(name in lines[0] for name in COLUMNS if name != "started") and "5/20" in lines[1]


def test_in_a_terminal_it_fits_and_watching_ends_with_the_last_run(tmp_path: Path) -> None:
    write_run(tmp_path / ("a long name of a run " * 5), measured(5), state="finished", started=moment(100))
    runs = Terminal(loopwright("runs", str(tmp_path), "--watch"), columns=60)
    assert runs.end() == 0
    lines = re.sub(r"\x1b\[[HJ]", "", runs.shown).splitlines()
    assert len(lines) == 2 and max(map(len, lines)) <= 60 and "finished" in lines[1]
