"""Laws of trackers: the record is the truth. A mirror has each line once, whatever was killed; training notices nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import forked, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from test_resume import Interrupted, batches_of_photos, life, record
from torch import nn

import loopwright as lw
from loopwright import cli
from loopwright.trackers import _follow
from loopwright.trackers._by_name import make_trackers
from loopwright.trackers._events import record as framed
from loopwright.trackers._facts import read_facts
from loopwright.trackers._flat import flatten
from loopwright.trackers._mirror import Mirror
from loopwright.trackers._tail import Place, Tail
from loopwright.trackers._tracker import Histogram, Lost, Picture, RunFacts, Scalars
from loopwright.trackers._ui import choose_tool


class Shelf(lw.Tracker):
    """Keeps what it is given, beyond the lives of a run, as a tracking server would. A line it has already is an error."""

    name = "shelf"

    def __init__(self, patience: float = 10.0) -> None:
        self.patience = patience
        self.lines: dict[int, Scalars] = {}
        self.pictures: list[Picture] = []
        self.seen_histograms: list[Histogram] = []
        self.artifacts: list[str] = []
        self.states: list[str] = []
        self.opened: list[RunFacts] = []
        self.fail: Any = None  # called before each batch is taken
        self.fail_after: Any = None

    def open(self, facts: RunFacts) -> None:
        self.opened.append(facts)
        if facts.replaces or not facts.kept:
            self.lines, self.pictures = {}, []

    def scalars(self, batch: Sequence[Scalars]) -> None:
        if self.fail is not None:
            self.fail()
        for line in batch:
            assert self.lines.setdefault(line.line, line) == line, "the same line, but another time or other values"
        if self.fail_after is not None:
            self.fail_after()

    def picture(self, picture: Picture) -> None:
        self.pictures.append(picture)

    def histograms(self, batch: Sequence[Histogram]) -> None:
        self.seen_histograms += batch

    def artifact(self, path: Path) -> None:
        self.artifacts.append(path.name)

    def kept(self) -> Mapping[str, Any]:
        return {"there": len(self.lines)}

    def close(self, state: str) -> None:
        self.states.append(state)

    def values(self) -> list[tuple[int, dict[str, float]]]:
        return [(line.step, dict(line.values)) for line in self.lines.values()]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_follow, "EVERY", 0.02)
    monkeypatch.setattr(_follow, "RETRY_SECONDS", (0.02, 0.05))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, bytes]:
    """The training without any tracker."""
    folder = tmp_path_factory.mktemp("whole") / "r"
    return life(folder, lambda: batches_of_photos(0)), record(folder)


def train(folder: Path, *trackers: Any, **options: Any) -> nn.Module:
    return life(folder, lambda: batches_of_photos(0), trackers=trackers, **options)


def numbers(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """What a tracker should have: the numbers of the record, those of whole epochs by names of their own."""
    found = []
    for line in lw.read_metrics(folder):
        prefix = "epoch/" if line["kind"] == "epoch" else ""
        values = {prefix + k: v for k, v in line.items() if k not in ("kind", "step", "epoch")}
        found.append((line["step"], values))
    return found


def a_run(folder: Path, lines: int = 3, state: str = "finished") -> Path:
    """A folder that says of itself that it is a run, with a line of metrics for each step."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"id": "4711", "state": state, "seed": 3}))
    (folder / "config.yaml").write_text("optimizer:\n  lr: 0.1\nseed: 3\n")
    (folder / "metrics.jsonl").write_text("".join(steps_line(step) for step in range(1, lines + 1)))
    return folder


def steps_line(step: int, value: float = 0.5) -> str:
    return json.dumps({"kind": "steps", "step": step, "epoch": 0, "train/loss": value / step}) + "\n"


def append(folder: Path, text: str) -> None:
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(text)


class TestTheRunNotices:
    def test_nothing_bit_for_bit(self, tmp_path: Path, whole) -> None:
        shelf = Shelf()
        model = train(tmp_path / "r", shelf, "tensorboard", lw.TensorBoard(folder="other", watch="2 steps"))
        assert same_bits(model, whole[0]) and record(tmp_path / "r") == whole[1]
        assert shelf.values() == numbers(tmp_path / "r")
        assert shelf.states == ["finished"] and {"config.yaml", "environment.json"} <= {*shelf.artifacts}

    def test_nothing_of_one_that_raises_which_is_told_once(self, tmp_path: Path, whole, capsys) -> None:
        class Broken(Shelf):
            def scalars(self, batch: Sequence[Scalars]) -> None:
                raise ConnectionError("nobody\nanswers")

        def step(run: lw.Run, loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
            loss.backward(), optimizer.step(), optimizer.zero_grad(), time.sleep(0.05)

        model = train(tmp_path / "r", Broken(), step=step)
        assert same_bits(model, whole[0]) and record(tmp_path / "r") == whole[1]
        printed = capsys.readouterr().out
        assert printed.count("tracker    shelf: ConnectionError: nobody answers; training goes on") == 1
        assert printed.count(f"loopwright sync {tmp_path / 'r'} --to shelf") == 1
        assert "shelf lacks some of the record" in (tmp_path / "r" / "log.txt").read_text()

    def test_nothing_of_one_that_recovers(self, tmp_path: Path, whole, capsys) -> None:
        shelf, calls = Shelf(), []

        def fail() -> None:
            calls.append(1)
            if len(calls) < 3:
                raise ConnectionError("not yet")

        def step(run: lw.Run, loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
            loss.backward(), optimizer.step(), optimizer.zero_grad(), time.sleep(0.1)

        shelf.fail = fail
        train(tmp_path / "r", shelf, step=step)
        assert shelf.values() == numbers(tmp_path / "r") and shelf.states == ["finished"]
        assert "shelf has the record again" in capsys.readouterr().out

    def test_nothing_of_one_that_blocks_for_ever(self, tmp_path: Path, whole, capsys) -> None:
        shelf = Shelf(patience=0.3)
        shelf.fail = threading.Event().wait
        began = time.monotonic()
        model = train(tmp_path / "r", shelf)
        assert same_bits(model, whole[0]) and record(tmp_path / "r") == whole[1]
        assert time.monotonic() - began < 20
        printed = capsys.readouterr().out
        assert "shelf did not take the end of the record within 0.3 s and is left behind" in printed
        assert f"loopwright sync {tmp_path / 'r'} --to shelf" in printed

    def test_the_process_ends_though_a_tracker_never_does(self, tmp_path: Path) -> None:
        done = program(
            tmp_path,
            """
            class Stuck(lw.Tracker):
                name, patience = "stuck", 0.2
                def scalars(self, batch):
                    threading.Event().wait()
            with lw.Run("r", seed=0, device="cpu", trackers=[Stuck()], report_every="1 steps") as run:
                run.register(model=torch.nn.Linear(1, 1))
                for _ in run.epochs(1):
                    for _ in run.batches([torch.ones(2, 1)] * 3):
                        run.log(loss=1.0)
            print("over")
            """,
        )
        assert done.returncode == 0 and done.stdout.rstrip().endswith("over") and "is left behind" in done.stdout
        assert lw.read_run(tmp_path / "r")["state"] == "finished"

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_how_it_ended_is_said_truly(self, tmp_path: Path, error: type[BaseException]) -> None:
        shelf = Shelf()
        with pytest.raises(error), lw.Run(tmp_path / "r", device="cpu", progress=False, trackers=shelf):
            raise error("enough")
        assert shelf.states == ["failed" if error is RuntimeError else "stopped"]

    def test_a_copy_that_is_looked_at_has_no_trackers(self, tmp_path: Path, monkeypatch) -> None:
        order = {"run": str(tmp_path / "r"), "copy": str(tmp_path / "copy"), "until": 9}
        monkeypatch.setenv("LOOPWRIGHT_ORDER", json.dumps(order))
        shelf = Shelf()
        with lw.Run(tmp_path / "r", device="cpu", progress=False, trackers=shelf):
            pass
        assert shelf.opened == []


class TestKills:
    @pytest.mark.parametrize("die_at", [3, 7])
    def test_each_line_once_though_the_record_was_cut_back(self, tmp_path: Path, whole, die_at: int) -> None:
        shelf = Shelf()
        with pytest.raises(Interrupted):
            train(tmp_path / "r", shelf, die_at=die_at)
        train(tmp_path / "r", shelf)
        assert record(tmp_path / "r") == whole[1]
        assert shelf.values() == numbers(tmp_path / "r")
        assert shelf.states == ["failed", "finished"]
        assert not any(facts.replaces for facts in shelf.opened), "the lines came by again with the same bytes"

    def test_a_tracker_that_is_ahead_of_another_course_begins_anew(self, tmp_path: Path) -> None:
        shelf = Shelf()
        with pytest.raises(Interrupted):
            train(tmp_path / "r", shelf, die_at=7, config={"lr": 1}, save_every="1 epoch")
        had = shelf.values()

        def other(run: lw.Run, loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
            (3 * loss).backward(), optimizer.step(), optimizer.zero_grad()

        train(tmp_path / "r", shelf, config={"lr": 3}, resume=True, step=other)
        assert shelf.values() == numbers(tmp_path / "r")
        assert [bool(facts.replaces) for facts in shelf.opened] == [False, False, True]
        assert shelf.values()[: len(had)] != had

    def test_a_run_that_is_overwritten_replaces_what_was_there(self, tmp_path: Path) -> None:
        shelf = Shelf()
        train(tmp_path / "r", shelf)
        train(tmp_path / "r", shelf, seed=8, overwrite=True)
        assert shelf.values() == numbers(tmp_path / "r") and shelf.opened[-1].replaces

    def test_what_was_on_its_way_when_it_was_killed_is_the_same_again(self, tmp_path: Path) -> None:
        folder, shelf = a_run(tmp_path / "r"), Shelf()

        def killed() -> None:
            raise KeyboardInterrupt  # the server took it, and nobody wrote that down

        shelf.fail_after = killed
        mirror = Mirror(folder, shelf)
        mirror.open()
        with pytest.raises(KeyboardInterrupt):
            mirror.hand_over()
        mirror.leave()
        time.sleep(0.01)
        append(folder, steps_line(4))
        shelf.fail_after = None
        shelf.opened.clear()
        lw.sync(folder, shelf)  # Shelf compares: lines that it has must come with the same time
        assert list(shelf.lines) == [1, 2, 3, 4]

    @settings(max_examples=15, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6), st.booleans()), max_size=6))
    def test_whatever_is_cut_and_grows(self, lives: list[tuple[int, int, bool]]) -> None:
        """Cut anywhere, grow the same or another way, hand over now and then: in the end it is the record."""
        import tempfile

        with tempfile.TemporaryDirectory() as place:
            folder, shelf = a_run(Path(place, "r"), 0), Shelf()
            for number, (cut, grow, same) in enumerate(lives):
                lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)[:cut]
                value = 0.5 if same else 0.5 + number
                lines += [steps_line(len(lines) + place, value) for place in range(1, grow + 1)]
                (folder / "metrics.jsonl").write_text("".join(lines))
                mirror = Mirror(folder, shelf)
                mirror.open()
                mirror.hand_over()
                mirror.leave()
            lw.sync(folder, shelf)
            assert shelf.values() == numbers(folder)

    def test_a_real_kill_and_sync(self, tmp_path: Path) -> None:
        def work() -> None:
            with lw.Run(tmp_path / "r", seed=0, device="cpu", progress=False, report_every="1 steps",
                        trackers="tensorboard", save_every="10 minutes") as run:  # fmt: skip
                run.register(model=nn.Linear(1, 1))
                for _ in run.epochs(1):
                    for _ in run.batches([torch.ones(1)] * 2000):
                        run.log(loss=1.0 / run.global_step)
                        if run.global_step == 1500:
                            os.kill(os.getpid(), signal.SIGKILL)

        os.waitpid(forked(work), 0)
        lines = len(lw.read_metrics(tmp_path / "r"))
        assert lines == 1499
        lw.sync(tmp_path / "r", "tensorboard")
        assert [step for step, _ in of_tensorboard(tmp_path / "r")["train/loss"]] == [*range(1, 1500)]
        assert lw.sync(tmp_path / "r", "tensorboard").lines == 0


# ---- sync -----------------------------------------------------------------------------------------------------------


class TestSync:
    def test_an_old_run_and_then_only_what_is_new(self, tmp_path: Path) -> None:
        folder, shelf = a_run(tmp_path / "r"), Shelf()
        assert lw.sync(folder, shelf).lines == 3 and lw.sync(folder, shelf).lines == 0
        append(folder, steps_line(4))
        assert lw.sync(folder, shelf).lines == 1
        assert shelf.values() == numbers(folder)

    def test_a_record_that_was_changed(self, tmp_path: Path) -> None:
        folder, shelf = a_run(tmp_path / "r"), Shelf()
        lw.sync(folder, shelf)
        (folder / "metrics.jsonl").write_text(steps_line(1, 9) + steps_line(2, 9))
        lw.sync(folder, shelf)
        assert shelf.values() == numbers(folder)

    def test_a_tracker_that_has_lost_it_gets_everything_again(self, tmp_path: Path) -> None:
        class Forgetful(Shelf):
            def open(self, facts: RunFacts) -> None:
                if facts.kept and not self.lines:
                    raise Lost("where is it?")
                super().open(facts)

        folder, shelf = a_run(tmp_path / "r"), Forgetful()
        lw.sync(folder, shelf)
        shelf.lines = {}
        assert lw.sync(folder, shelf).lines == 3

    def test_one_at_a_time(self, tmp_path: Path) -> None:
        folder, shelf = a_run(tmp_path / "r"), Shelf()
        mirror = Mirror(folder, shelf)
        mirror.open()
        with pytest.raises(lw.RunError, match="another process hands this run over"):
            lw.sync(folder, shelf)
        mirror.leave()
        lw.sync(folder, shelf)

    def test_the_command(self, tmp_path: Path, capsys) -> None:
        a_run(tmp_path / "a"), a_run(tmp_path / "b", 5, "running")
        assert cli.main(["sync", str(tmp_path), "--to", "tensorboard"]) == 0
        printed = capsys.readouterr().out
        assert f"{tmp_path / 'a'}: 3 lines handed over; the run is finished" in printed
        assert f"{tmp_path / 'b'}: 5 lines handed over; the run is killed" in printed
        assert cli.main(["sync", str(tmp_path / "a"), "--to", "tensorbord"]) == 2
        assert "did you mean 'tensorboard'?" in capsys.readouterr().err
        assert cli.main(["sync", str(tmp_path / "a"), "--to", "tensorboard", "--uri", "x"]) == 2
        assert "trackers.tensorboard.uri is not an argument of TensorBoard" in capsys.readouterr().err
        assert cli.main(["sync", str(tmp_path / "nowhere"), "--to", "tensorboard"]) == 2

    def test_pictures_come_along_once(self, tmp_path: Path) -> None:
        folder, shelf = a_run(tmp_path / "r"), Shelf()
        picture(folder, 7)
        assert lw.sync(folder, shelf).pictures == 1
        picture(folder, 9)
        (folder / "pictures" / "7.png").unlink()
        assert lw.sync(folder, shelf).pictures == 1
        assert [(p.step, p.name, p.path.name, p.captions) for p in shelf.pictures] == [
            (7, "val/samples", "7.png", ["a", "b"]), (9, "val/samples", "9.png", ["a", "b"]),
        ]  # fmt: skip

    def test_a_strangers_picture_elsewhere_is_left_alone(self, tmp_path: Path) -> None:
        folder, shelf = a_run(tmp_path / "r"), Shelf()
        (tmp_path / "secret.png").write_bytes(b"x")
        line = {"step": 1, "epoch": 0, "name": "n", "file": "../secret.png"}
        (folder / "pictures.jsonl").write_text(json.dumps(line) + "\n")
        lw.sync(folder, shelf)
        assert shelf.pictures == []


def picture(folder: Path, step: int) -> None:
    from PIL import Image

    (folder / "pictures").mkdir(exist_ok=True)
    Image.new("RGB", (8, 6), (step, 0, 0)).save(folder / "pictures" / f"{step}.png")
    line = {"step": step, "epoch": 0, "name": "val/samples", "file": f"pictures/{step}.png", "captions": ["a", "b"]}
    with open(folder / "pictures.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")


# ---- TensorBoard ----------------------------------------------------------------------------------------------------


def accumulated(folder: Path) -> Any:
    """What TensorBoard itself reads."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "histograms": 0})
    found.Reload()
    return found


def of_tensorboard(run: Path, folder: str = "tensorboard") -> dict[str, list[tuple[int, float]]]:
    found = accumulated(run / folder)
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def expected(run: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for step, values in numbers(run):
        for name, value in values.items():
            found.setdefault(name, []).append((step, float(torch.tensor(value, dtype=torch.float32))))
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestTensorBoard:
    def test_has_what_the_record_has(self, tmp_path: Path) -> None:
        train(tmp_path / "r", "tensorboard")
        assert of_tensorboard(tmp_path / "r") == expected(tmp_path / "r")

    def test_after_kills_one_file_and_nothing_twice(self, tmp_path: Path, whole) -> None:
        for die_at in (3, 5):
            with pytest.raises(Interrupted):
                train(tmp_path / "r", "tensorboard", die_at=die_at)
        train(tmp_path / "r", "tensorboard")
        assert len(list((tmp_path / "r" / "tensorboard").iterdir())) == 1
        assert of_tensorboard(tmp_path / "r") == expected(tmp_path / "r")
        assert raw_steps(tmp_path / "r") == [step for step, _ in numbers(tmp_path / "r")], "not even in the file itself"

    def test_what_a_kill_left_behind_the_last_word_goes(self, tmp_path: Path) -> None:
        folder = a_run(tmp_path / "r")
        lw.sync(folder, "tensorboard")
        (file,) = (folder / "tensorboard").iterdir()
        with open(file, "ab") as torn:
            torn.write(file.read_bytes()[-40:-7])
        append(folder, steps_line(4))
        lw.sync(folder, "tensorboard")
        assert [step for step, _ in of_tensorboard(folder)["train/loss"]] == [1, 2, 3, 4]

    def test_another_course_takes_the_place_of_the_first(self, tmp_path: Path) -> None:
        folder = a_run(tmp_path / "r")
        lw.sync(folder, "tensorboard")
        (folder / "metrics.jsonl").write_text(steps_line(1, 9))
        lw.sync(folder, "tensorboard")
        assert of_tensorboard(folder) == {"train/loss": [(1, 9.0)]}
        shutil.rmtree(folder / "tensorboard")
        lw.sync(folder, "tensorboard")
        assert of_tensorboard(folder) == {"train/loss": [(1, 9.0)]}

    def test_pictures_texts_and_histograms(self, tmp_path: Path) -> None:
        folder = a_run(tmp_path / "r")
        picture(folder, 7)
        values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
        from loopwright._histograms import histogram_of

        line = {"step": 5, "epoch": 0, "name": "parameters/fc", **(histogram_of(values) or {})}
        (folder / "histograms.jsonl").write_text(json.dumps(line) + "\n")
        lw.sync(folder, "tensorboard")
        found = accumulated(folder / "tensorboard")
        (shown,) = found.Images("val/samples")
        assert (shown.step, shown.width, shown.height) == (7, 8, 6)
        assert shown.encoded_image_string == (folder / "pictures" / "7.png").read_bytes()
        (spread,) = found.Histograms("parameters/fc")
        h = spread.histogram_value
        assert (spread.step, h.num, len(h.bucket)) == (5, 1000, 64)
        assert h.min == float(values.min()) and abs(h.sum - float(values.double().sum())) < 1e-3
        (settings_text,) = found.Tensors("run/settings")
        assert "| optimizer.lr | 0.1 |" in settings_text.tensor_proto.string_val[0].decode()

    @settings(max_examples=60, deadline=None)
    @given(st.dictionaries(st.text(min_size=1, max_size=8), st.floats(width=32), min_size=1, max_size=5),
           st.integers(0, 2**62))  # fmt: skip
    def test_the_bytes_are_those_of_tensorboards_own_writer(self, values: dict[str, float], step: int) -> None:
        pb = pytest.importorskip("tensorboard.compat.proto.event_pb2")
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        from loopwright.trackers._events import scalar, summary_event

        try:
            names = {name.encode().decode(): value for name, value in values.items()}
        except UnicodeEncodeError:
            return
        ours = summary_event(12.5, step, [scalar(name, value) for name, value in names.items()])
        summary = Summary(value=[Summary.Value(tag=n, simple_value=v) for n, v in names.items()])
        event = pb.Event(wall_time=12.5, step=step, summary=summary)
        import io

        file = io.BytesIO()
        RecordWriter(file).write(event.SerializeToString())
        theirs = file.getvalue()
        assert pb.Event.FromString(ours[12:-4]).SerializeToString() == event.SerializeToString() or step == 0
        assert framed(event.SerializeToString()) == theirs

    def test_a_full_disk_leaves_training_unharmed(self, tmp_path: Path, whole, capsys) -> None:
        """The run is elsewhere; TensorBoard's disk is full until the end, and gets all of it afterwards."""
        disk = tmp_path / "disk"
        disk.mkdir()
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True
        ).returncode:
            pytest.skip("only root may mount a file system")
        try:
            with open(disk / "filler", "wb", buffering=0) as filler:
                with pytest.raises(OSError, match="No space"):
                    while filler.write(bytes(4096)):
                        pass
            tracker = lw.TensorBoard(folder=str(disk / "tb"))
            model = train(tmp_path / "r", tracker)
            assert same_bits(model, whole[0]) and record(tmp_path / "r") == whole[1]
            printed = capsys.readouterr().out
            assert printed.count("No space left on device") == 1 and "loopwright sync" in printed
            (disk / "filler").unlink()
            lw.sync(tmp_path / "r", tracker)
            assert of_tensorboard(tmp_path / "r", str(disk / "tb")) == expected(tmp_path / "r")
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)


def raw_steps(run: Path) -> list[int]:
    """The steps of all scalars that stand in the files, also of those that TensorBoard would leave out."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    found = []
    for file in sorted((run / "tensorboard").iterdir()):
        for event in loader.LegacyEventFileLoader(str(file)).Load():
            if event.HasField("summary") and any(v.HasField("simple_value") for v in event.summary.value):
                found.append(event.step)
    return found


# ---- asking for them ------------------------------------------------------------------------------------------------


class TestAsking:
    def test_by_name_by_mapping_by_object(self) -> None:
        asked = ["TensorBoard", {"name": "tensorboard", "folder": "x"}, Shelf()]
        assert [tracker.name for tracker in make_trackers(asked)] == ["tensorboard", "tensorboard", "shelf"]
        assert make_trackers(None) == [] and len(make_trackers("tensorboard")) == 1

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            ("tensorbord", "did you mean 'tensorboard'"),
            ({"name": "mlflow", "url": "x"}, r"trackers.mlflow.url is not an argument of MLflow: did you mean 'uri'"),
            ({"uri": "x"}, "a tracker is a name"),
            (["tensorboard", "tensorboard"], "asked for twice"),
            ("json:dumps", "is no tracker"),
        ],
    )  # fmt: skip
    def test_mistakes_are_said_at_the_start(self, tmp_path: Path, asked: Any, message: str) -> None:
        with pytest.raises(lw.ConfigError, match=message):
            lw.Run(tmp_path / "r", device="cpu", trackers=asked)
        assert not (tmp_path / "r").exists()

    @pytest.mark.parametrize("name", ["mlflow", "wandb"])
    def test_a_missing_package_is_said_at_the_start(self, tmp_path: Path, monkeypatch, name: str, capsys) -> None:
        monkeypatch.setattr("loopwright.trackers._tracker.is_installed", lambda _: False)
        with pytest.raises(lw.MissingExtra, match=rf"pip install 'loopwright\[{name}\]'"):
            lw.Run(tmp_path / "r", device="cpu", trackers=[name])
        data = str(lw.demo_photos())
        assert cli.main(["train", f"data={data}", f"run={tmp_path / 'r'}", f"trackers={name}"]) == 2
        assert f"pip install 'loopwright[{name}]'" in capsys.readouterr().err
        assert not (tmp_path / "r").exists()

    def test_what_a_user_gives_is_not_changed(self, tmp_path: Path) -> None:
        asked: list[Any] = [{"name": "tensorboard", "folder": "x"}]
        config = {"lr": 0.1, "nested": {"a": [1, 2]}}
        with lw.Run(tmp_path / "r", device="cpu", progress=False, trackers=asked, config=config):
            pass
        assert asked == [{"name": "tensorboard", "folder": "x"}] and config == {"lr": 0.1, "nested": {"a": [1, 2]}}

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_the_three_faces_take_them(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        data = str(lw.demo_photos())
        common = [
            "image_size=16",
            "epochs=2 steps",
            "workers=0",
            "device=cpu",
            "model.name=small_resnet",
            "model.width=4",
        ]
        command = ["train", f"data={data}", "run=command", "trackers=[{name: tensorboard, folder: here}]", *common]
        assert cli.main(command) == 0
        samples = [(torch.randn(4), torch.tensor(i % 2)) for i in range(8)]
        lw.fit(
            nn.Linear(4, 2), samples, samples, loss=nn.functional.cross_entropy, epochs=1, workers=0, run="fit",
            progress=False, device="cpu", trackers=["tensorboard"],
        )  # fmt: skip
        assert of_tensorboard(tmp_path / "command", "here") == expected(tmp_path / "command") != {}
        assert of_tensorboard(tmp_path / "fit") == expected(tmp_path / "fit") != {}

    def test_to_change_them_is_no_other_run(self, tmp_path: Path) -> None:
        common = {"device": "cpu", "progress": False}
        with pytest.raises(Interrupted), lw.Run(tmp_path, config={"trackers": []}, **common) as run:  # type: ignore[arg-type]
            run.register(model=nn.Linear(1, 1))
            for _ in run.epochs(2):
                for _ in run.batches([torch.ones(1)] * 2):
                    pass
                if run.global_step == 4:
                    raise Interrupted
        with lw.Run(tmp_path, config={"trackers": ["tensorboard"]}, trackers="tensorboard", **common) as run:  # type: ignore[arg-type]
            assert run.resumed

    def test_flat_parameters(self) -> None:
        nested = {"a": {"b": 1, "c": {}}, "d": [{"e": True}, {"e": None}], "f": [1, 2], "g": "x"}
        flat = {"a.b": "1", "a.c": "{}", "d.0.e": "true", "d.1.e": "null", "f": "[1, 2]", "g": "x"}
        assert flatten(nested) == flat

    def test_facts_of_a_folder(self, tmp_path: Path) -> None:
        facts = read_facts(a_run(tmp_path / "woof"))
        assert (facts.id, facts.name, facts.parameters["optimizer.lr"], facts.tags["seed"]) == (
            "4711",
            "woof",
            "0.1",
            "3",
        )


class TestHistograms:
    def test_gradients_and_parameters_as_they_are_when_the_optimizer_steps(self, tmp_path: Path, whole) -> None:
        shelf = Shelf()
        shelf.watch = "2 steps"
        model = train(tmp_path / "r", shelf)
        assert same_bits(model, whole[0]) and record(tmp_path / "r") == whole[1]
        steps = [h.step for h in shelf.seen_histograms if h.name == "gradients/0.weight"]
        assert steps == [2, 4, 6, 8]
        assert {h.name for h in shelf.seen_histograms} == {
            f"{kind}/{name}" for kind in ("gradients", "parameters") for name, _ in model.named_parameters()
        }
        assert all(sum(h.counts) == dict(model.named_parameters())[h.name.partition("/")[2]].numel()
                   for h in shelf.seen_histograms)  # fmt: skip

    def test_after_a_kill_none_stands_twice(self, tmp_path: Path) -> None:
        shelf = Shelf()
        shelf.watch = "1 steps"
        with pytest.raises(Interrupted):
            train(tmp_path / "r", shelf, die_at=7, save_every="3 steps")
        train(tmp_path / "r", shelf)
        lines = [json.loads(line) for line in (tmp_path / "r" / "histograms.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if line["name"] == "gradients/0.weight"] == [*range(1, 9)]

    def test_what_is_no_number_of_steps_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(lw.ConfigError, match="watch counts steps"):
            with lw.Run(tmp_path / "r", device="cpu", trackers=lw.TensorBoard(watch="1 epoch")):
                pass


class TestTail:
    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.integers(0, 300), max_size=20), st.integers(1, 7))
    def test_reading_in_parts_is_reading_at_once(self, values: list[int], at_once: int) -> None:
        import tempfile

        with tempfile.TemporaryDirectory() as place:
            path = Path(place, "m.jsonl")
            path.write_text("".join(json.dumps({"v": "x" * value}) + "\n" for value in values) + '{"torn')
            tail, found, where = Tail(path), [], Place()
            while True:
                lines, after = tail.read(where, lines=at_once)
                assert len(lines) <= at_once and tail.compare(after) == "same"
                if after == where:
                    break
                found, where = found + lines, after
            assert [len(line["v"]) for line in found] == values and where.lines == len(values)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        tail = Tail(tmp_path / "none")
        assert tail.read(Place()) == ([], Place()) and tail.compare(Place()) == "same"
        assert tail.compare(Place(3, 1, 1)) == "behind"


def program(folder: Path, code: str, **more: Any) -> "subprocess.CompletedProcess[str]":
    """Run a program of its own."""
    head = "import sys, threading, time, torch\nimport loopwright as lw\n"
    environment = os.environ | {"PYTHONPATH": str(Path(lw.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, **more,
    )  # fmt: skip


# ---- looking --------------------------------------------------------------------------------------------------------


class TestLooking:
    def test_what_is_installed_and_has_something(self, tmp_path: Path, monkeypatch) -> None:
        folder = a_run(tmp_path / "r")
        assert choose_tool([str(tmp_path)]) is None
        lw.sync(folder, "tensorboard")
        assert choose_tool([str(tmp_path)]) == "tensorboard" == choose_tool([str(folder)], "tensorboard")
        monkeypatch.setattr("loopwright.trackers._ui.is_installed", lambda _: False)
        assert choose_tool([str(tmp_path)]) is None
        with pytest.raises(lw.MissingExtra, match=r"pip install 'loopwright\[mlflow\]'"):
            choose_tool([str(tmp_path)], "mlflow")
        with pytest.raises(lw.ConfigError, match="tensorboard, mlflow and report"):
            choose_tool([str(tmp_path)], "aim")

    def test_else_the_built_in_report(self, tmp_path: Path, monkeypatch, capsys) -> None:
        shown: list[Any] = []
        monkeypatch.setattr("loopwright.reports._write.watch", lambda *given, **more: shown.append((given[0], more)))
        a_run(tmp_path / "r")
        assert cli.main(["ui", str(tmp_path), "--port", "8123"]) == 0
        assert shown == [([str(tmp_path)], {"port": 8123})]
        assert "the built-in report" in capsys.readouterr().out

    def test_tensorboard_is_there_and_dies_with_it(self, tmp_path: Path) -> None:
        pytest.importorskip("tensorboard")
        lw.sync(a_run(tmp_path / "r"), "tensorboard")
        environment = os.environ | {"PYTHONPATH": str(Path(lw.__file__).parents[1]), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "loopwright", "ui", str(tmp_path)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            address = process.stdout.readline().split()[1]
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(address + "data/runs") as answer:
                assert json.loads(answer.read()) == ["r/tensorboard"]
            process.kill()
        until = time.monotonic() + 20
        with pytest.raises(OSError):  # noqa: PT011 - refused, reset: there is nobody
            while time.monotonic() < until:
                urllib.request.urlopen(address, timeout=5).close()
                time.sleep(0.1)
