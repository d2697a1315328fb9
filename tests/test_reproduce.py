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
folder, steps = sys.argv[1], sys.argv[2]
with lw.Run(folder, seed=1, config=settings, device="cpu", report_every="1 steps", progress=False) as run:
    photos = lw.ImageFolder("data/train")
    loader = lw.Loader(photos, 2, transform=lw.CenterCrop(8), shuffle=True, workers=0)
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=settings["lr"])
    run.register(model=model, optimizer=optimizer)
    for epoch in run.epochs(steps):
        for images, labels in run.batches(loader):
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step(); optimizer.zero_grad()
            run.log(loss=loss)
"""
NET = """\
from torch import nn


def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
"""
FILES = {"train.py": "old\n", "config.yaml": "lr: 0.1\nname: a\n", ".gitignore": "data/\n"}


@pytest.fixture(autouse=True)
def _as_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOOPWRIGHT_SNAPSHOT", raising=False)
    monkeypatch.setenv("PYTHONPATH", PACKAGE)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A repository whose program is changed and whose module is new since the last commit."""
    folder = repository(tmp_path / "my code" / "digit.git", FILES)
    write(folder, {"train.py": PROGRAM, "models/net.py": NET})
    _pictures(folder / "data/train")
    return folder


def _pictures(folder: Path) -> None:
    for number in range(8):
        place = folder / "ab"[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (30 * number, 255 - 20 * number, 90)).save(place)


def _train(code: Path, *arguments: str) -> Path:
    """Start the program as a user does."""
    subprocess.run([sys.executable, "train.py", *arguments], cwd=code, check=True)
    return Path(code, arguments[0])


def test_a_run_of_changed_and_new_code_comes_out_again(code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _train(code, "runs/first", "10 steps")
    write(code, {"train.py": "broken(", "models/net.py": "gone", "config.yaml": "lr: 9\n"})
    before = bytes_below(code)
    assert cli.main(["reproduce", str(run)]) == 0
    out = capsys.readouterr().out
    assert "identical to the end: 10 lines, byte for byte" in out
    assert "since      config.yaml, line 1: 'lr: 0.1' -> 'lr: 9'" in out  # what was not used is told
    after = {name: content for name, content in bytes_below(code).items() if "replays" not in name}
    assert after == before and git(code, "worktree", "list").count("\n") == 1
    again = run / "replays/reproduced-1/run"
    assert (again / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    assert not (again / "checkpoints").exists()
    assert [info["folder"] for info in list_runs(code)] == [str(run)]


def test_after_a_change_it_says_which(code: Path) -> None:
    run = _train(code, "runs/first", "6 steps")
    same = lw.reproduce(run, here=True)
    assert same.is_identical and same.differs == {} and same.exit_code == 0

    write(code, {"config.yaml": "lr: 0.2\nname: a\n"})
    setting = lw.reproduce(run, here=True)
    assert not setting.is_identical and setting.differs["settings"] == ["lr: 0.1 -> 0.2"]
    assert setting.record.same == 1 and setting.record.first is not None  # the first loss is from before any step
    assert setting.record.first.line == 2 and setting.record.first.name.startswith("train/")
    assert "parts at line 2, step 2: train/" in setting.text()

    write(
        code,
        {"config.yaml": "lr: 0.1\nname: a\n", "models/net.py": NET.replace("nn.Linear(192, 2)", "nn.Linear(192, 3)")},
    )
    line = lw.reproduce(run, here=True)
    assert line.record.same == 0 and set(line.differs) == {"code"}
    assert line.differs["code"][0].startswith("models/net.py, line 5: ")

    write(code, {"models/net.py": NET})
    Image.new("RGB", (8, 8), (1, 2, 3)).save(code / "data/train/a/4.png")
    data = lw.reproduce(run)  # from the snapshot, and the data as they are
    assert not data.is_identical and set(data.differs) == {"data"}
    assert data.differs["data"][0].startswith("train: a/4.png: ")


def test_other_packages_and_variables_are_named(code: Path) -> None:
    run = _train(code, "runs/first", "2 steps")
    known = json.loads((run / "environment.json").read_text())
    known["packages"]["torch"], known["driver"] = "0.1", "1.2.3"
    (run / "environment.json").write_text(json.dumps(known))
    lines = (run / "metrics.jsonl").read_text().splitlines()
    lines[1] = lines[1].replace('"lr"', '"rate"')
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    found = lw.reproduce(run)
    assert any(told.startswith("packages.torch: '0.1' -> ") for told in found.differs["machine"])
    assert any(told.startswith("driver: ") for told in found.differs["machine"]) and not found.is_identical


def test_a_run_that_was_stopped_is_run_as_far_as_it_came(code: Path) -> None:
    write(code, {"train.py": PROGRAM.replace("            run.log", "            if run.global_step == 5 and "
          "len(sys.argv) > 3: sys.exit(0)\n            run.log")})  # fmt: skip
    run = _train(code, "runs/first", "100 epochs", "leave")
    lines = (run / "metrics.jsonl").read_bytes().count(b"\n")
    info = json.loads((run / "run.json").read_text())
    assert info["state"] == "stopped"
    info["command"].remove("leave")  # it was another process that stopped it
    (run / "run.json").write_text(json.dumps(info))
    found = lw.reproduce(run)
    assert found.is_identical and found.record.old_lines == lines
    assert found.record.new_lines <= lines + 2


def test_kept_copies_stay(code: Path) -> None:
    run = _train(code, "runs/first", "1 steps")
    found = lw.reproduce(run, keep=True)
    assert found.kept is not None and (found.kept / "train.py").read_text() == PROGRAM
    assert (found.folder / "checkpoints").exists() and str(found.kept) in found.text()
    git(code, "worktree", "remove", "--force", str(found.kept))


def test_what_cannot_be_reproduced_is_said(code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _train(code, "runs/first", "1 steps")

    def says(**changed: object) -> str:
        info = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(info | changed))
        assert cli.main(["reproduce", str(run)]) == 2
        (run / "run.json").write_text(json.dumps(info))
        return capsys.readouterr().err

    assert "its program is not started here unasked" in says(host="elsewhere")
    assert "cannot be started again" in says(command=["python", "-m", "ipykernel_launcher"])
    assert "did not begin" in says(command=[sys.executable, "-c", "print(1)"])
    assert cli.main(["reproduce", str(tmp_path)]) == 2
    assert "is no run" in capsys.readouterr().err


def test_outside_git_the_present_code_is_run_and_that_is_said(code: Path) -> None:
    plain = code.parent / "plain"
    write(plain, {"train.py": PROGRAM, "models/net.py": NET, "config.yaml": "lr: 0.1\n"})
    (plain / "data").symlink_to(code / "data")
    found = lw.reproduce(_train(plain, "first", "2 steps"))
    assert found.is_identical and "as none was recorded" in found.code
    assert any("not a git repository" in told for told in found.missing)


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


def test_a_commit_is_trained_beside_the_present_code(trained: Path) -> None:
    before = bytes_below(trained)
    settings = ["a.yaml"]
    started = [
        _cli("--commit", "v1", *settings, "run=runs/v1"),
        _cli("--commit", "main", *settings, "run=runs/main"),
        _cli(*settings, "run=runs/now"),
    ]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert [_widths(f"runs/{name}") for name in ("v1", "main", "now")] == [4, 5, 6]
    assert {
        name: c
        for name, c in bytes_below(trained).items()
        if not name.startswith("runs/") and "__pycache__" not in name
    } == before
    facts = json.loads(Path("runs/v1/environment.json").read_text())["code"]
    assert facts["commit"] == git(trained, "rev-parse", "v1").strip() and not facts["dirty"]
    again = lw.reproduce("runs/v1")
    assert again.is_identical, again.text()
    write(trained, {"own.py": "nothing\n"})
    process = _cli("--commit", "runs/now", *settings, "run=runs/later")  # the snapshot of a run
    assert process.wait() == 0 and _widths("runs/later") == 6
    assert Path("runs/now/metrics.jsonl").read_bytes() == Path("runs/later/metrics.jsonl").read_bytes()


def test_the_exit_code_is_kept(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(trained, {"own.py": "import os\nos._exit(3)\n"})
    git(trained, "commit", "--quiet", "--all", "-m", "leaves with 3")
    assert _cli("--commit", "HEAD", "a.yaml", "run=runs/x").wait() == 3
    write(trained, {"own.py": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"})
    git(trained, "commit", "--quiet", "--all", "-m", "is killed")
    assert _cli("--commit", "HEAD", "a.yaml", "run=runs/x").wait() == 128 + signal.SIGKILL
    assert _cli("--commit", "HEAD", "a.yaml", "epochs=nonsense").wait() == 2
    assert cli.main(["train", "--commit", "nonsense", "a.yaml"]) == 2
    assert "has no commit 'nonsense'" in capsys.readouterr().err


def test_being_asked_to_leave_is_passed_on_and_tidied_up(trained: Path) -> None:
    process = _cli("--commit", "v1", "a.yaml", "run=runs/long", "epochs=100000")
    ends = time.monotonic() + 60
    while not Path("runs/long/metrics.jsonl").exists() and time.monotonic() < ends:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == 143
    assert json.loads(Path("runs/long/run.json").read_text())["state"] == "stopped"
