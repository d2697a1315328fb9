"""Reproduce: a run comes out again from its record alone, and where it does not, what changed is named."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from repositories import bytes_below, git, repository, write

import loopwright as lw
from loopwright import cli
from loopwright._comparison import compare_records
from loopwright._runs import list_runs

PACKAGE = str(Path(lw.__file__).parent.parent)
PROGRAM = """\
import sys, torch, torch.nn.functional as F, yaml, loopwright as lw
from models.net import build

settings = yaml.safe_load(open("config.yaml"))
with lw.Run("runs/before", seed=1, device="cpu", progress=False, resume="auto") as run:
    for epoch in run.epochs("1 steps"):
        list(run.batches([1]))
with lw.Run(sys.argv[1], seed=1, config=settings, device="cpu", report_every="1 steps", progress=False) as run:
    photos = lw.ImageFolder("data/train")
    loader = lw.Loader(photos, 2, transform=lw.CenterCrop(8), shuffle=True, workers=0)
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=settings["lr"])
    run.register(model=model, optimizer=optimizer)
    for epoch in run.epochs(100):
        for images, labels in run.batches(loader):
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step(); optimizer.zero_grad()
            run.log(loss=loss)
            if str(run.global_step - 1) in sys.argv:
                sys.exit(0)
"""
NET = """\
from torch import nn

SHIFT = 0.0


class Net(nn.Linear):
    def forward(self, x):
        return super().forward(x.flatten(1)) + SHIFT * x.mean()


def build():
    return Net(192, 2)
"""
FILES = {"train.py": "old\n", "config.yaml": "lr: 0.1\nname: a\n", ".gitignore": "data/\n"}


@pytest.fixture(autouse=True)
def _as_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOOPWRIGHT_SNAPSHOT", raising=False)
    monkeypatch.setenv("PYTHONPATH", PACKAGE)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after step 7, of a program that is changed and a module that is new since the last commit."""
    code = repository(tmp_path_factory.mktemp("reproduce") / "my code" / "digit.git", FILES)
    _put_back(code)
    environment = {name: value for name, value in os.environ.items() if name != "LOOPWRIGHT_SNAPSHOT"}
    environment |= {"PYTHONPATH": PACKAGE, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "train.py", "runs/first", "7"], cwd=code, env=environment, check=True)
    info = json.loads((code / "runs/first/run.json").read_text())
    assert info["state"] == "stopped"
    info["command"].remove("7")  # as if it had been stopped from outside
    (code / "runs/first/run.json").write_text(json.dumps(info))
    return code / "runs/first"


@pytest.fixture
def code(first: Path) -> Iterator[Path]:
    """Its repository; what a test does to it and to the run is undone."""
    known = {name: (first / name).read_bytes() for name in ("run.json", "environment.json")}
    folder = first.parent.parent
    yield folder
    _put_back(folder)
    for name, content in known.items():
        (first / name).write_bytes(content)
    assert git(folder, "worktree", "list").count("\n") == 1


def _put_back(code: Path) -> None:
    write(code, FILES | {"train.py": PROGRAM, "models/net.py": NET})
    _pictures(code / "data/train")


def _pictures(folder: Path) -> None:
    for number in range(8):
        place = folder / "ab"[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (30 * number, 255 - 20 * number, 90)).save(place)


def test_a_run_of_changed_and_new_code_comes_out_again(
    code: Path, first: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(code, {"train.py": "broken(", "models/net.py": "gone", "config.yaml": "lr: 9\nname: a\n"})
    before = bytes_below(code)
    assert cli.main(["reproduce", str(first), "--keep"]) == 0
    out = capsys.readouterr().out
    lines = (first / "metrics.jsonl").read_bytes()
    again = sorted((first / "replays").iterdir())[-1] / "run"
    assert f"identical to the end: {lines.count(10)} lines, byte for byte" in out
    assert (again / "metrics.jsonl").read_bytes().startswith(lines)
    came_to, came_again = (json.loads((folder / "run.json").read_text())["step"] for folder in (first, again))
    assert came_again == came_to + 1  # and no further
    assert "since then" in out and "config.yaml, line 1: 'lr: 0.1' -> 'lr: 9'" in out  # what was not used is told
    kept = Path(out.partition("kept in ")[2].partition("\n")[0])
    assert (kept / "train.py").read_text() == PROGRAM and (again / "checkpoints").exists()
    git(code, "worktree", "remove", "--force", str(kept))
    assert {name: content for name, content in bytes_below(code).items() if "replays" not in name} == before
    assert {info["folder"] for info in list_runs(code)} == {str(first), str(code / "runs/before")}


def test_a_changed_setting_and_a_changed_line_are_named(code: Path, first: Path) -> None:
    write(code, {"config.yaml": "lr: 0.2\nname: a\n", "models/net.py": NET.replace("0.0", "0.5")})
    found = lw.reproduce(first, here=True)
    assert not found.is_identical and set(found.differs) == {"settings", "code"} and found.exit_code == 0
    assert found.differs["settings"] == ["lr: 0.1 -> 0.2"]
    assert found.differs["code"] == [
        "config.yaml, line 1: 'lr: 0.1' -> 'lr: 0.2'",
        "models/net.py, line 3: 'SHIFT = 0.0' -> 'SHIFT = 0.5'",
    ]
    assert found.record.same == 0 and found.record.first is not None and found.record.first.name == "lr"
    assert "parts at line 1, step 1: lr 0.1 -> 0.2 (by 50 %)" in found.text()


def test_a_changed_picture_and_another_machine_are_named(code: Path, first: Path) -> None:
    Image.new("RGB", (8, 8), (1, 2, 3)).save(code / "data/train/a/4.png")
    known = json.loads((first / "environment.json").read_text())
    known["packages"]["torch"], known["driver"] = "0.1", "1.2.3"
    (first / "environment.json").write_text(json.dumps(known))
    found = lw.reproduce(first)
    assert not found.is_identical and set(found.differs) == {"data", "machine"} and found.since == []
    assert [told.rpartition(":")[0] for told in found.differs["data"]] == ["train: a/4.png"]
    told = "\n".join(found.differs["machine"])
    assert len(found.differs["machine"]) == 2 and "packages.torch: '0.1' -> " in told and "driver: " in told
    assert not (found.folder / "checkpoints").exists()


@pytest.mark.slow
def test_without_recorded_code_the_present_is_run_and_that_is_said(code: Path, first: Path) -> None:
    known = json.loads((first / "environment.json").read_text())
    known["code"] = {"commit": None, "note": "not a git repository"}
    (first / "environment.json").write_text(json.dumps(known))
    found = lw.reproduce(first)
    assert found.is_identical and "as none was recorded" in found.code and found.kept is None
    assert found.missing == ["code: not a git repository"]


def test_what_cannot_be_reproduced_is_said(
    code: Path, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = json.loads((first / "run.json").read_text())

    def says(**changed: object) -> str:
        (first / "run.json").write_text(json.dumps(known | changed))
        assert cli.main(["reproduce", str(first)]) == 2
        return capsys.readouterr().err

    assert "its program is not started here unasked" in says(host="elsewhere")
    assert "cannot be started again" in says(command=["python", "-m", "ipykernel_launcher"])
    assert "did not begin" in says(command=[sys.executable, "-S", "-c", "print(1)"])
    assert cli.main(["reproduce", str(tmp_path)]) == 2
    assert "is no run" in capsys.readouterr().err


# ---- the comparison ----------------------------------------------------------------------------------------------------


def _record(path: Path, values: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def test_records_are_compared_by_bytes_and_then_by_numbers(tmp_path: Path) -> None:
    lines = [{"step": step, "kind": "steps", "train/loss": 1.0 / step} for step in range(1, 6)]
    old = _record(tmp_path / "old", lines)
    assert compare_records(old, old).lines() == ["identical to the end: 5 lines, byte for byte"]
    assert compare_records(old, _record(tmp_path / "longer", [*lines, {"step": 6}])).is_identical
    short = compare_records(old, _record(tmp_path / "short", lines[:3]))
    assert not short.is_identical and short.same == 3 and "it ended after 3 lines; the record has 5" in short.lines()
    other = [*lines[:2], {**lines[2], "train/loss": 0.3}, {**lines[3], "train/loss": 0.1}, lines[4]]
    parts = compare_records(old, _record(tmp_path / "other", other))
    assert (parts.same, parts.differing) == (2, 2) and parts.first is not None and parts.largest is not None
    assert (parts.first.line, parts.first.step) == (3, 3) and parts.first.share == pytest.approx(0.1)
    assert parts.largest.line == 4 and parts.largest.share == pytest.approx(0.6)
    (tmp_path / "spaced").write_text((tmp_path / "old").read_text().replace(": ", ":"))
    spaced = compare_records(old, tmp_path / "spaced")
    assert not spaced.is_identical and spaced.lines() == ["the others have the same numbers, written otherwise"]


# ---- train --commit ----------------------------------------------------------------------------------------------------

MODULE = """\
from torch import nn


def net(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, {width}), nn.Linear({width}, num_classes))
"""
CONFIG = "data: data\nmodel: own:net\nimage_size: 8\nepochs: 1\nbatch_size: 4\nworkers: 0\ndevice: cpu\nseed: 1\n"


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository of two commits, with another state of its files; its model has 4, then 5, then 6 hidden values."""
    folder = repository(
        tmp_path / "digit.git", {"own.py": MODULE.format(width=4), "a.yaml": CONFIG, ".gitignore": "data/\nruns/\n"}
    )
    git(folder, "tag", "v1")
    write(folder, {"own.py": MODULE.format(width=5)})
    git(folder, "commit", "--quiet", "--all", "-m", "second")
    write(folder, {"own.py": MODULE.format(width=6)})
    _pictures(folder / "data/train"), _pictures(folder / "data/val")
    monkeypatch.chdir(folder)
    yield folder
    assert git(folder, "worktree", "list").count("\n") == 1


def _widths(run: str | Path) -> int:
    return lw.read_checkpoint(sorted(Path(run, "checkpoints").glob("step-*"))[-1])["model"]["1.weight"].shape[0]


def _cli(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "loopwright", "train", *arguments])


@pytest.mark.slow
def test_a_commit_is_trained_beside_the_present_code(trained: Path) -> None:
    before = bytes_below(trained)
    started = [_cli("--commit", "v1", "a.yaml", "run=runs/v1"), _cli("a.yaml", "run=runs/now")]  # at once
    assert [process.wait() for process in started] == [0, 0]
    assert [_widths(f"runs/{name}") for name in ("v1", "now")] == [4, 6]
    assert {n: c for n, c in bytes_below(trained).items() if not {"runs", "__pycache__"} & set(Path(n).parts)} == before
    facts = json.loads(Path("runs/v1/environment.json").read_text())["code"]
    assert facts["commit"] == git(trained, "rev-parse", "v1").strip() and not facts["dirty"]
    write(trained, {"own.py": "nothing\n", "a.yaml": "nothing: 1\n"})
    later = _cli("--commit", "runs/now", "a.yaml", "run=runs/later")  # the snapshot of a run
    known = bytes_below(trained / "runs/v1")
    again = lw.reproduce("runs/v1")
    assert again.is_identical, again.text()
    now = bytes_below(trained / "runs/v1")
    assert {name: c for name, c in now.items() if "replays" not in name} == known and "predictions.png" in known
    assert later.wait() == 0 and _widths("runs/later") == 6
    assert Path("runs/now/metrics.jsonl").read_bytes() == Path("runs/later/metrics.jsonl").read_bytes()


def test_the_exit_code_is_kept(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(trained, {"own.py": "import os\nos._exit(3)\n"})
    git(trained, "commit", "--quiet", "--all", "-m", "leaves with 3")
    git(trained, "tag", "three")
    write(trained, {"own.py": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"})
    git(trained, "commit", "--quiet", "--all", "-m", "is killed")
    started = [_cli("--commit", commit, "a.yaml", "run=runs/x") for commit in ("three", "HEAD")]
    assert [process.wait() for process in started] == [3, 128 + signal.SIGKILL]
    assert cli.main(["train", "--commit", "nonsense", "a.yaml"]) == 2
    assert "has no commit 'nonsense'" in capsys.readouterr().err


def test_being_asked_to_leave_is_passed_on_and_tidied_up(trained: Path) -> None:
    process = _cli("--commit", "v1", "a.yaml", "run=runs/long", "epochs=100000")
    record, ends = Path("runs/long/metrics.jsonl"), time.monotonic() + 120
    while not (record.exists() and record.stat().st_size) and time.monotonic() < ends:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == 143
    assert json.loads(Path("runs/long/run.json").read_text())["state"] == "stopped"
