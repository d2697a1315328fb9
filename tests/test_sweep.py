"""Sweeps: killed and continued they end as undisturbed, no trial is done twice, a failed one ends nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import loopwright as lw
from loopwright._lock import FolderLock
from loopwright._record import METRICS, read_run
from loopwright.sweeps import _importance
from loopwright.sweeps._store import Store

ROOT = Path(lw.__file__).parents[1]
SCRIPT = Path(__file__).parent / "tiny_trial.py"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of the trials


def config(tree: Mapping[str, Any], *, base: Mapping[str, Any] | None = None, **study: Any) -> dict[str, Any]:
    """A sweep of the tiny trial."""
    controls = {"method": "grid", "metric": "val/loss", "command": ["python", str(SCRIPT)]} | study
    return {"lr": 0.1, "epochs": 3, **(base or {}), "sweep": dict(tree), "study": controls}


def run(given: Mapping[str, Any], folder: str = "out", **options: Any) -> lw.SweepResult:
    return lw.sweep(given, folder=folder, progress=False, **options)


def started(given: Mapping[str, Any], folder: str = "out", *options: str) -> subprocess.Popen:
    """The command in a process group of its own."""
    from loopwright._yaml import dump_yaml

    Path("sweep.yaml").write_text(dump_yaml(given))
    command = [sys.executable, "-m", "loopwright", "sweep", "sweep.yaml", f"study.folder={folder}", *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def ended(process: subprocess.Popen, code: int = 0) -> str:
    text, _ = process.communicate()
    assert process.returncode == code, text
    return text


def kill_all(process: subprocess.Popen) -> None:
    """SIGKILL for the sweep and for its trials, at once."""
    parent = psutil.Process(process.pid)
    parent.suspend()  # so that it begins no other trial in between
    for one in [*parent.children(recursive=True), parent]:
        one.kill()
    process.communicate()


def metrics(folder: str) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in Path(folder).glob(f"trials/*/{METRICS}")}


def done() -> Counter[tuple[str, ...]]:
    """How often each epoch of each trial was done."""
    return Counter(tuple(line.split()[:2]) for line in Path("done.txt").read_text().splitlines())


GRID = {"lr": [0.001, 0.01, 0.1], "decay": [0, 1]}


# ---- what comes of it -----------------------------------------------------------------------------------------------


def test_a_grid_ends_with_a_table_a_best_configuration_and_a_record() -> None:
    result = run(config(GRID))
    assert [one.settings for one in result.trials] == [
        {"lr": lr, "decay": decay} for lr in GRID["lr"] for decay in GRID["decay"]
    ]
    assert {one.state for one in result.trials} == {"finished"}
    losses = {one.id: [line["val/loss"] for line in lw.read_metrics(one.folder)] for one in result.trials}
    assert [one.value for one in result.ranked] == sorted(min(values) for values in losses.values())
    assert result.best is not None and result.best.value == min(losses[result.best.id])
    best = lw.load_config("out/best.yaml")
    assert best == {"lr": result.best.settings["lr"], "epochs": 3, "decay": 0}
    written = json.loads(Path("out/sweep.json").read_text())
    assert written["best"] == result.best.id and len(written["trials"]) == 6
    table = str(result).splitlines()
    assert [line.split()[0] for line in table[1:7]] == list("123456")
    assert f"{result.best.id}" in table[1]


def test_the_same_call_does_nothing_twice_and_a_grown_tree_adds_its_trials() -> None:
    first = run(config({"lr": [0.01, 0.1]}))
    again = run(config({"lr": [0.01, 0.1]}))
    assert again.trials == first.trials
    grown = run(config({"lr": [0.01, 0.05, 0.1]}))
    assert {one.id for one in first.trials} < {one.id for one in grown.trials}
    assert set(done().values()) == {1} and len(done()) == 9


def test_other_fixed_settings_are_refused_and_harmless_ones_not() -> None:
    run(config({"lr": [0.1]}))
    with pytest.raises(lw.RunError, match=r"epochs: 3 -> 5"):
        run(config({"lr": [0.1]}, base={"epochs": 5}))
    run(config({"lr": [0.1]}, base={"workers": 3}))
    assert set(done().values()) == {1}


def test_a_failed_trial_ends_nothing_and_is_listed_with_its_reason() -> None:
    tree = {"lr": [0.1], "trouble": ["nan", "none", "killed", "error"]}
    result = run(config(tree))
    said = {one.settings["trouble"]: (one.state, one.reason) for one in result.trials}
    assert said == {
        "none": ("finished", ""),
        "nan": ("failed", "loopwright._errors.NonFiniteError: train/loss became nan"),
        "killed": ("failed", "killed by SIGKILL: the system may have been out of memory"),
        "error": ("failed", "MemoryError: 20 GiB"),
    }
    assert result.best is not None and result.best.settings["trouble"] == "none"
    table = str(result)
    assert all(one.id in table for one in result.trials) and "failed: MemoryError: 20 GiB" in table
    attempts = {one.id: Store(Path("out")).facts(one.id)["attempts"] for one in result.trials}
    run(config(tree))
    assert {id: Store(Path("out")).facts(id)["attempts"] for id in attempts} == attempts, "a failed one is left alone"
    run(config(tree), retry=True)
    again = {one.settings["trouble"]: Store(Path("out")).facts(one.id)["attempts"] for one in result.trials}
    assert again == {"none": 1, "nan": 2, "killed": 2, "error": 2}


def test_a_metric_that_no_trial_has_is_said_after_the_first_and_can_be_mended() -> None:
    given = config({"lr": [0.01, 0.1, 0.2]}, metric="val/los", mode="min")
    with pytest.raises(lw.ConfigError, match="no 'val/los': did you mean 'val/loss'"):
        run(given)
    assert len(done()) == 3, "one trial"
    assert run(config({"lr": [0.01, 0.1, 0.2]})).best is not None
    assert set(done().values()) == {1}


def test_trials_that_cannot_begin_end_the_sweep_and_are_done_when_the_mistake_is_mended() -> None:
    given = config({"lr": [0.01, 0.1, 0.2]}, base={"trouble": "mistake"})
    with pytest.raises(lw.RunError, match="no trial could begin: data: no such folder"):
        run(given)
    states = [Store(Path("out")).facts(one.id).get("state") for one in run(given, dry_run=True).trials]
    assert states == ["failed", "failed", None]
    SCRIPT_COPY = Path("mended.py")
    SCRIPT_COPY.write_text(SCRIPT.read_text().replace('== "mistake"', '== "mended"'))
    study = json.loads(Path("out/study.json").read_text())
    study["fixed"]["study.command"] = ["python", "mended.py"]
    Path("out/study.json").write_text(json.dumps(study))
    mended = config({"lr": [0.01, 0.1, 0.2]}, base={"trouble": "mistake"}, command="python mended.py")
    assert {one.state for one in run(mended).trials} == {"finished"}


def test_random_search_begins_with_the_defaults_and_a_longer_one_goes_on() -> None:
    tree = {"lr": {"low": 1e-4, "high": 1e-1, "log": True}, "decay": {"low": 1, "high": 9, "whole": True}}
    base = {"decay": 5, "epochs": 1}
    short = run(config(tree, base=base, method="random", trials=3))
    assert short.trials[0].is_default and short.trials[0].settings == {}
    assert short.trials[0].values == {"lr": 0.1, "decay": 5}
    long = run(config(tree, base=base, method="random", trials=5))
    assert long.trials[:3] == short.trials and len(long.trials) == 5
    assert set(done().values()) == {1}


def test_every_trial_has_the_threads_of_the_first(monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    run(config({"lr": [0.1]}, base={"epochs": 1}, threads=3))
    result = run(config({"lr": [0.1, 0.2]}, base={"epochs": 1}, threads=1))
    assert result.threads == 3
    assert {line.split()[2] for line in Path("done.txt").read_text().splitlines()} == {"3"}


def test_a_command_may_have_places_for_its_settings() -> None:
    script = Path("own.py")
    script.write_text(
        "import sys, loopwright._record as r\n"
        "assert sys.argv[1] == '--lr=0.2', sys.argv\nassert 'lr: 0.2' in open(sys.argv[3]).read()\n"
        "record = r.Record(sys.argv[2])\nrecord.metrics.append({'kind': 'epoch', 'step': 1, 'epoch': 0, 'val/loss': 1})\n"
    )
    result = run(config({"lr": [0.2]}, command=["python", "own.py", "--lr={lr}", "{run}", "{config}"]))
    assert result.trials[0].value == 1.0, result.trials[0].reason


# ---- killed, stopped, joined ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("study", [{"method": "grid"}, {"method": "tpe", "trials": 6}], ids=["grid", "tpe"])
def test_killed_three_times_it_ends_with_the_same_trials_and_metrics(study: dict[str, Any]) -> None:
    tree = GRID if study["method"] == "grid" else {"lr": {"low": 1e-4, "high": 1e-1, "log": True}}
    given = config(tree, base={"wait": 0.02}, **study)
    run(given, "undisturbed")
    moments = random.Random(5)
    for _ in range(3):
        process = started(given)
        before = len(list(Path("out").glob("trials/*/state.json")))
        while len(list(Path("out").glob("trials/*/state.json"))) == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))
        kill_all(process)
    ended(started(given))
    assert metrics("out") == metrics("undisturbed") and len(metrics("out")) == 6
    trials = run(given).trials
    assert {one.state for one in trials} == {"finished"}
    if study["method"] == "tpe":
        states = {one.state.name for one in run(given).as_study().trials}
        assert states == {"COMPLETE"}, "no zombie"
        copy = optuna.create_study(storage=JournalStorage(JournalFileBackend("optuna.log")), direction="minimize")
        copy.add_trials(run(given).as_study().trials)
        assert copy.best_value == run(given).ranked[0].value, "and it can be taken to a storage"


def test_a_trial_that_ended_without_its_worker_is_not_done_again() -> None:
    given = config({"lr": [0.01, 0.1]}, base={"epochs": 1})
    first = run(given)
    for one in first.trials:  # as a kill between the end of the run and the note of it leaves them
        Store(Path("out")).update(one.id, state="running")
    assert {one.state for one in run(given, dry_run=True).trials} == {"killed"}
    assert run(given).trials == first.trials and set(done().values()) == {1}


def test_a_dry_run_lists_the_trials_and_writes_nothing(capsys) -> None:
    result = lw.sweep(config(GRID), folder="out", dry_run=True)
    said = capsys.readouterr().out
    assert all(one.id in said for one in result.trials) and "trial" in said and not Path("out").exists()
    assert {one.state for one in result.trials} == {"waiting"}


def test_a_folder_that_cannot_be_written_is_named() -> None:
    Path("file").write_text("")
    for folder in ("file", "file/below"):
        with pytest.raises(lw.RunError, match=f"cannot write into the folder of the sweep {folder}: .* elsewhere"):
            run(config({"lr": [0.1]}), folder)


def test_a_damaged_record_is_named() -> None:
    given = config({"lr": [0.1]}, base={"epochs": 1})
    (one,) = run(given).trials
    Path(one.folder, "trial.json").write_text("{}")
    with pytest.raises(lw.RunError, match=rf"{one.id}/trial.json is not the record of a trial .* remove .*{one.id}"):
        run(given)


def test_two_workers_share_a_sweep_and_no_epoch_is_done_twice() -> None:
    given = config({"lr": [0.01, 0.02, 0.03, 0.05, 0.1]}, base={"wait": 0.1})
    texts = [ended(process) for process in [started(given), started(given, "out", "--workers", "2")]]
    assert set(done().values()) == {1} and len(done()) == 15
    begun = [text.count("\nbegin ") for text in texts]
    assert sum(begun) == 5 and all(begun), begun
    tables = [text[text.index("   val/loss") :] for text in texts]
    assert tables[0] == tables[1], "both end with the whole table"


def test_two_workers_ask_tpe_for_different_trials() -> None:
    given = config({"lr": {"low": 1e-4, "high": 1e-1}}, base={"epochs": 1}, method="tpe", trials=6)
    for process in [started(given), started(given)]:
        ended(process)
    assert len(done()) == 6 and set(done().values()) == {1}
    assert sorted(one.number for one in run(given).trials) == list(range(6))


def test_the_number_of_the_first_trial_of_tpe_is_taken_before_another_worker_asks() -> None:
    given = config({"lr": {"low": 1e-4, "high": 1e-1}}, base={"epochs": 1}, method="tpe", trials=2)
    (first,) = run(given, dry_run=True).trials
    claim = Path("out/claims", first.id)
    claim.mkdir(parents=True)
    other = FolderLock(claim)  # another worker has taken it, and not noted it yet
    process = started(given)
    while not Path("done.txt").exists():
        time.sleep(0.01)
    other.release()
    ended(process)
    assert sorted(one.number for one in run(given).trials) == [0, 1] and len(done()) == 2


def test_told_to_stop_it_has_its_trials_save_and_goes_on_without_doing_anything_twice() -> None:
    given = config({"lr": [0.01, 0.1]}, base={"wait": 0.2, "epochs": 4})
    process = started(given, "out", "--workers", "2")
    while not Path("done.txt").exists() or len(done()) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    text = ended(process, 143)
    assert "unfinished" in text and "the same command goes on" in text
    assert len(done()) < 8
    assert {one.state for one in run(given, dry_run=True).trials} == {"stopped"}
    ended(started(given))
    assert set(done().values()) == {1} and len(done()) == 8


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells nobody of a parent's death")
def test_a_trial_whose_sweep_was_killed_saves_and_leaves() -> None:
    given = config({"lr": [0.01]}, base={"wait": 0.2, "epochs": 50})
    process = started(given)
    while not Path("done.txt").exists():
        time.sleep(0.01)
    (trial,) = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGKILL)
    trial.wait(20)
    process.communicate()
    (folder,) = Path("out/trials").iterdir()
    assert read_run(folder)["state"] == "stopped"
    assert run(given, dry_run=True).trials[0].state == "killed"


# ---- TPE and pruning ------------------------------------------------------------------------------------------------


def test_trials_that_do_badly_are_ended_early_and_listed() -> None:
    tree = {"lr": [0.01, 0.011, 0.012, 1e-7]}
    prune = {"name": "median", "n_startup_trials": 2}
    given = config(tree, base={"epochs": 8, "wait": 0.15}, prune=prune)
    result = run(given)
    bad = result.trials[3]
    assert [one.state for one in result.trials[:2]] == ["finished"] * 2 and bad.state == "pruned"
    assert result.compared_after == len(bad.curve) and "where the first was pruned" in str(result)
    assert result.importance[0].trials == 4, "those that were pruned count too"
    assert "by median after" in bad.reason and bad not in result.ranked and bad.id in str(result)
    assert bad.id not in json.loads(Path("out/sweep.json").read_text())["ranked"]
    assert run(given).trials == result.trials, "and it stays so"


def test_tpe_is_a_function_of_what_came_before_and_keeps_away_from_nan() -> None:
    from loopwright._yaml import Tree
    from loopwright.sweeps._optuna import suggest
    from loopwright.sweeps._outcome import Outcome
    from loopwright.sweeps._space import read_space

    tree = {"lr": {"low": 0.0, "high": 1.0}, "name": ["a", "b"], "m": {"values": [1, 2], "when": {"name": "b"}}}
    space, mistakes = read_space(Tree({"sweep": tree}))
    assert not mistakes

    def outcome(number: int, lr: float, name: str) -> Outcome:
        bad = name == "b"
        values = {"lr": lr, "name": name} | ({"m": 1} if bad else {})
        reason = "NonFiniteError: loss" if bad else ""
        state, value = ("failed", None) if bad else ("finished", abs(lr - 0.3))
        return Outcome(str(number), number, "", state, values, values, value=value, reason=reason)  # type: ignore[arg-type]

    past = [outcome(number, number % 20 / 20, "ab"[number % 2]) for number in range(40)]
    asked = [suggest(space, past, mode="min", seed=0, number=number) for number in range(40, 60)]
    assert asked == [suggest(space, past, mode="min", seed=0, number=number) for number in range(40, 60)]
    assert all(("m" in one) == (one["name"] == "b") for one in asked)
    assert sum(one["name"] == "a" for one in asked) > 14
    assert sum(abs(one["lr"] - 0.3) for one in asked) / 20 < 0.2


# ---- importance -----------------------------------------------------------------------------------------------------


def test_what_decides_is_found_and_what_does_not_is_not() -> None:
    source = random.Random(1)
    trials = [
        ({"lr": source.random(), "name": source.choice("abc"), "seed": source.randrange(99)}, 0.0) for _ in range(40)
    ]
    scored = [(values, values["lr"] + (values["name"] == "a") * 0.2) for values, _ in trials]
    first, second, third = _importance.importances(scored, ["seed", "name", "lr"])
    assert [first.key, second.key, third.key] == ["lr", "name", "seed"]
    assert (first.share or 0) > 0.5 and (first.p or 1) <= 0.001
    assert (third.share or 0) < 0.1 and (third.p or 0) > 0.05 and "may be chance" in third.verdict


def test_without_an_effect_it_is_zero_on_average() -> None:
    source = random.Random(2)
    shares = []
    for _ in range(300):
        pairs = [(group % 4, source.random()) for group in range(16)]
        ranks = _importance._ranks([value for _, value in pairs])
        eta = _importance._eta_squared(ranks, [group for group, _ in pairs])
        shares.append(1 - (1 - eta) * 15 / 12)
    assert abs(sum(shares) / len(shares)) < 0.03


def test_too_few_trials_are_said_to_be_too_few() -> None:
    (one,) = _importance.importances([({"lr": lr}, lr) for lr in range(7)], ["lr"])
    assert one.share is None and one.verdict == "too few trials to say (7 in 2 groups)"


def test_hyperband_decides_the_same_whether_it_watched_or_read_up() -> None:
    from loopwright.sweeps._optuna import Pruning
    from loopwright.sweeps._outcome import Outcome, Point

    source = random.Random(3)
    curves = [[source.random() / step for step in range(1, 10)] for _ in range(12)]
    watched, ends, past = Pruning("hyperband", {}, "min", 9), [], []
    for number, curve in enumerate(curves):
        read_up = Pruning("hyperband", {}, "min", 9)
        read_up.learn(past)
        points = tuple(Point(step, step, value) for step, value in enumerate(curve, start=1))
        end = next((point for n in range(1, 10) if (point := watched.follow(str(number), points[:n]))), None)
        assert end == read_up.follow(str(number), points)
        kept = points if end is None else points[: end.count]
        state = "finished" if end is None else "pruned"
        past.append(Outcome(str(number), number, "", state, value=kept[-1].value, curve=kept))  # type: ignore[arg-type]
        watched.learn(past)
        ends.append(end)
    assert None in ends and any(ends)


# ---- several machines -----------------------------------------------------------------------------------------------


def claimed_elsewhere(id: str) -> Path:
    """A claim as a worker on another machine holds it, on a disk whose locks do not reach this one."""
    lock = Path("out/claims", id, ".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 1, "boot": "", "started": "now"}))
    return lock


def test_a_trial_of_another_machine_is_waited_for_while_it_beats_and_then_taken_over(monkeypatch, capsys) -> None:
    monkeypatch.setattr("loopwright._lock.BEAT_SECONDS", 0.3)
    given = config({"lr": [0.01, 0.1]}, base={"epochs": 1})
    first, other = run(given, dry_run=True).trials
    lock, begun = claimed_elsewhere(first.id), time.monotonic()

    def beat() -> None:
        while time.monotonic() - begun < 3:
            os.utime(lock)
            time.sleep(0.05)

    thread = threading.Thread(target=beat)
    thread.start()
    result = lw.sweep(given, folder="out")
    assert time.monotonic() - begun > 3
    thread.join()
    said = capsys.readouterr().out
    assert (
        said.index(f"begin      {other.id}")
        < said.index(f"waiting    for {first.id}")
        < said.index(f"begin      {first.id}")
    )
    assert {one.state for one in result.trials} == {"finished"}


def test_a_run_that_goes_on_without_its_worker_is_waited_for(capsys) -> None:
    given = config({"lr": [0.01]}, base={"epochs": 1})
    (trial,) = run(given, dry_run=True).trials
    Path(trial.folder).mkdir(parents=True)
    orphan, begun = FolderLock(Path(trial.folder)), time.monotonic()
    threading.Timer(2, orphan.release).start()
    assert lw.sweep(given, folder="out").trials[0].state == "finished"
    assert time.monotonic() - begun > 2 and f"waiting    for {trial.id}" in capsys.readouterr().out


# ---- real runs ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_of_trainings_killed_three_times_has_the_undisturbed_metrics(photos: Path) -> None:
    given = {
        "data": str(photos), "model": {"name": "small_resnet", "width": 4}, "image_size": 16, "epochs": 4, "workers": 0,
        "device": "cpu", "save_every": "2 steps",
        "sweep": {"optimizer": {"name": ["AdamW", "SGD"], "lr": [0.001, 0.01]}}, "study": {"method": "grid"},
    }  # fmt: skip
    undisturbed = run(given, "undisturbed", workers=2)
    moments = random.Random(11)
    for _ in range(3):
        before = sum(map(len, metrics("out").values()))
        process = started(given, "out", "--workers", "2")
        while sum(map(len, metrics("out").values())) <= before and process.poll() is None:
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 2))
        kill_all(process)
    ended(started(given, "out", "--workers", "2"))
    assert metrics("out") == metrics("undisturbed") and len(metrics("out")) == 4
    lives = [len(read_run(folder)["lives"]) for folder in Path("out/trials").iterdir()]
    assert any(lives), "some run was really interrupted"
    assert undisturbed.best is not None
    assert (
        subprocess.run(
            [sys.executable, "-m", "loopwright", "train", "out/best.yaml", "run=again"],
            env={**os.environ, "OMP_NUM_THREADS": str(undisturbed.threads)},
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )
    assert Path("again", METRICS).read_bytes() == metrics("out")[undisturbed.best.id]


@pytest.mark.slow
def test_the_example_runs(photos: Path) -> None:
    example = ROOT / "examples" / "sweep.yaml"
    overrides = [
        f"data={photos}",
        "model=small_resnet",
        "workers=0",
        "study.trials=3",
        "epochs=1",
        "image_size=16",
        "study.method=random",
    ]
    result = lw.sweep(example, overrides, folder="out", workers=1, progress=False)
    assert {one.state for one in result.trials} == {"finished"}, str(result)
    assert result.trials[0].is_default and result.trials[0].values["optimizer.lr"] == 0.003
