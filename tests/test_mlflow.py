"""MLflow and Weights & Biases for real, each in the process that a run gives it; and a server that never answers."""

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import forked, same_bits
from test_resume import Interrupted, batches_of_photos, record
from test_trackers import a_run, append, numbers, picture, program, steps_line, train
from torch import nn

import loopwright as lw

pytestmark = pytest.mark.filterwarnings("ignore")  # of these libraries

needs_mlflow = pytest.mark.skipif(find_spec("mlflow") is None, reason="pip install 'loopwright[mlflow]'")
needs_wandb = pytest.mark.skipif(find_spec("wandb") is None, reason="pip install 'loopwright[wandb]'")


@pytest.fixture
def deaf() -> Iterator[str]:
    """The address of a server that accepts and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables, which take MLflow seconds to make."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def of_mlflow(folder: Path) -> Any:
    """The one run that is not in the trash, and its store."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.resolve().parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(folder.resolve().parent.name)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def history(folder: Path) -> dict[str, list[tuple[int, float]]]:
    client, run = of_mlflow(folder)
    found = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: [(metric.step, metric.value) for metric in metrics] for name, metrics in found.items()}


def exact(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for step, values in numbers(folder):
        for name, value in values.items():
            found.setdefault(name, []).append((step, value))
    return found


@needs_mlflow
class TestMLflow:
    def test_a_run_and_what_follows(self, tmp_path: Path, empty_store: Path) -> None:
        shutil.copy(empty_store, tmp_path / "mlflow.db")
        folder = tmp_path / "r"
        with pytest.raises(Interrupted):
            train(folder, lw.MLflow(patience=120), die_at=7, config={"lr": 0.1, "deep": {"er": [1]}})
        client, run = of_mlflow(folder)
        assert run.info.status == "FAILED" and run.data.tags["state"] == "failed"
        model = train(folder, lw.MLflow(patience=120), config={"lr": 0.1, "deep": {"er": [1]}})
        assert isinstance(model, nn.Module)
        client, same = of_mlflow(folder)
        assert same.info.run_id == run.info.run_id and same.info.status == "FINISHED"
        assert history(folder) == exact(folder), "each value once"
        assert same.data.params == {"lr": "0.1", "deep.er": "[1]"}
        assert same.data.tags["loopwright.run"] == lw.read_run(folder)["id"] and "host" in same.data.tags
        kept = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
        assert {"config.yaml", "log.txt", "environment.json"} <= kept
        assert not (Path.cwd() / "mlruns").exists()

        # A picture, and a plot, behind the end.
        picture(folder, 7)
        (folder / "predictions.png").write_bytes((folder / "pictures" / "7.png").read_bytes())
        assert lw.sync(folder, "mlflow").pictures == 1
        assert [a.path for a in client.list_artifacts(run.info.run_id, "plots")] == ["plots/predictions.png"]
        assert [a.path for a in client.list_artifacts(run.info.run_id, "pictures")] == ["pictures/7.png"]

        # Killed when a batch had arrived and nobody had noted it: the same again is the same.
        from loopwright.trackers._mirror import Mirror

        append(folder, steps_line(99))
        tracker = lw.MLflow()
        kept_by, send = tracker.kept, tracker.scalars

        def killed(batch: Any) -> None:
            send(batch)
            raise KeyboardInterrupt

        tracker.scalars = killed  # type: ignore[method-assign]
        mirror = Mirror(folder, tracker)
        mirror.open()
        with pytest.raises(KeyboardInterrupt):
            mirror.hand_over()
        mirror.leave()
        assert kept_by()["run"] == run.info.run_id
        lw.sync(folder, "mlflow")
        assert history(folder) == exact(folder)

        # Another course: a run of MLflow's for it, the old one in the trash.
        (folder / "metrics.jsonl").write_text(steps_line(1, 9))
        lw.sync(folder, "mlflow")
        assert of_mlflow(folder)[1].info.run_id != run.info.run_id
        assert history(folder) == {"train/loss": [(1, 9.0)]}

        # Names and values that MLflow does not take as they are; more than 100 of them; more than 1,000 numbers.
        other = a_run(tmp_path / "other", 1500)
        settings = "".join(f"key{n}: {n}\n" for n in range(230))
        (other / "config.yaml").write_text(settings + "'a (b)': ''\nlong: " + "x" * 9000 + "\n")
        append(other, steps_line(1501).replace("train/loss", "mse (mean)"))
        (other / "metrics.jsonl").write_text(
            (other / "metrics.jsonl").read_text() + '{"kind": "steps", "step": 1502, "epoch": 0, "n": "nan"}\n'
        )
        lw.sync(other, lw.MLflow(uri=f"sqlite:///{tmp_path / 'mlflow.db'}", experiment="odd"))
        experiment = client.get_experiment_by_name("odd")
        assert experiment is not None
        (odd,) = client.search_runs([experiment.experiment_id])
        assert len(odd.data.params) == 232 and odd.data.params["a _b_"] == "''" and len(odd.data.params["long"]) == 6000
        assert "mse _mean_" in odd.data.metrics

    def test_the_training_process_is_killed_and_nothing_is_lost(self, tmp_path: Path, empty_store: Path) -> None:
        shutil.copy(empty_store, tmp_path / "mlflow.db")

        def work() -> None:
            with lw.Run(tmp_path / "r", seed=0, device="cpu", progress=False, report_every="1 steps",
                        trackers=lw.MLflow(patience=120)) as run:  # fmt: skip
                run.register(model=nn.Linear(1, 1))
                for _ in run.epochs(1):
                    for _ in run.batches([torch.ones(1)] * 200):
                        run.log(loss=1.0 / run.global_step)
                        if run.global_step == 150:
                            os.kill(os.getpid(), signal.SIGKILL)

        os.waitpid(forked(work), 0)
        until, position = time.monotonic() + 90, tmp_path / "r" / "mirrors" / "mlflow.json"
        while time.monotonic() < until and not (position.exists() and '"state": "killed"' in position.read_text()):
            time.sleep(0.2)
        _, run = of_mlflow(tmp_path / "r")
        assert run.info.status == "KILLED"
        assert history(tmp_path / "r") == exact(tmp_path / "r")
        assert lw.sync(tmp_path / "r", "mlflow").lines == 0

    def test_a_server_that_never_answers(self, tmp_path: Path, deaf: str, capsys) -> None:
        from test_resume import life

        plain = life(tmp_path / "plain", lambda: batches_of_photos(0))
        began = time.monotonic()
        model = train(tmp_path / "r", lw.MLflow(uri=deaf, patience=3))
        assert same_bits(model, plain) and record(tmp_path / "r") == record(tmp_path / "plain")
        assert time.monotonic() - began < 25
        printed = capsys.readouterr().out
        assert "mlflow did not take the end of the record within 3 s and is left behind" in printed
        assert f"loopwright sync {tmp_path / 'r'} --to mlflow" in printed
        assert not [t for t in threading.enumerate() if t.name == "loopwright-mlflow"]


class TestAProcessOfItsOwn:
    """With a tracker that is none of these libraries."""

    def test_the_program_ends_though_its_process_never_would(self, tmp_path: Path) -> None:
        done = run_with(tmp_path, "Stuck")
        assert done.returncode == 0 and "over" in done.stdout and "is left behind" in done.stdout
        assert not alive(int((tmp_path / "pid").read_text()))

    def test_a_process_that_dies_is_told(self, tmp_path: Path) -> None:
        done = run_with(tmp_path, "Dying")
        assert (
            done.returncode == 0 and "the process of own died (exit code 7): loopwright sync r --to own" in done.stdout
        )

    def test_it_ends_with_the_training(self, tmp_path: Path) -> None:
        done = run_with(tmp_path, "Stuck", "os.kill(os.getpid(), signal.SIGKILL)")
        assert done.returncode == -signal.SIGKILL
        until = time.monotonic() + 20
        while alive(int((tmp_path / "pid").read_text())):
            assert time.monotonic() < until
            time.sleep(0.1)


OWN = """
import os, threading
from pathlib import Path
import loopwright as lw

class Own(lw.Tracker):
    name, in_process, patience = "own", True, 1.0

    def open(self, facts):
        (facts.folder.parent / "pid").write_text(str(os.getpid()))

class Stuck(Own):
    def scalars(self, batch):
        threading.Event().wait()

class Dying(Own):
    def scalars(self, batch):
        os._exit(7)
"""
RUN = """
    import os, signal
    from pathlib import Path
    sys.path.insert(0, os.getcwd())
    def is_open():
        while not Path("pid").exists():
            time.sleep(0.05)
    with lw.Run("r", seed=0, device="cpu", trackers=["own:TRACKER"], report_every="1 steps") as run:
        run.register(model=torch.nn.Linear(1, 1))
        for _ in run.epochs(1):
            for _ in run.batches([torch.ones(2, 1)] * 3):
                run.log(loss=1.0)
        is_open()
        time.sleep(0.3)
        AT_THE_END
    print("over")
"""


def run_with(folder: Path, tracker: str, at_the_end: str = "pass") -> Any:
    (folder / "own.py").write_text(OWN)
    return program(folder, RUN.replace("TRACKER", tracker).replace("AT_THE_END", at_the_end))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@needs_wandb
class TestWandB:
    def test_offline(self, tmp_path: Path) -> None:
        folder = tmp_path / "r"
        tracker = lw.WandB(mode="offline", watch="2 steps", patience=120)
        with pytest.raises(Interrupted):
            train(folder, tracker, config={"lr": 0.1}, die_at=7)
        train(folder, tracker, config={"lr": 0.1})
        picture(folder, 7)
        assert lw.sync(folder, tracker).pictures == 1
        made = sorted((tmp_path / "wandb").glob("offline-run-*"))  # one a life, all of the same run
        assert {name.name.rpartition("-")[2] for name in made} == {lw.read_run(folder)["id"]}
        from benchmarks._wandb_file import rows as rows_of

        rows = [row for life in made for row in rows_of(next(life.glob("*.wandb")))]
        losses = [(int(row["step"]), float(row["train/loss"])) for row in rows if "train/loss" in row]
        assert losses == exact(folder)["train/loss"]
        assert [int(row["_number"]) for row in rows] == [*range(len(rows))]
        assert any("gradients/0.weight" in key for row in rows for key in row)
        assert any("val/samples" in key for row in rows for key in row)
