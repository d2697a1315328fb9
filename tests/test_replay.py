"""Replay: the very step again, in a process of its own, on a copy; what went wrong is named down to the user's line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import loopwright as lw
from loopwright import cli
from loopwright._runs import list_runs

PROGRAM = """\
import sys, torch, torch.nn.functional as F, loopwright as lw
from torch import nn

folder, fault, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
photos = lw.ImageFolder(lw.demo_photos() / "train")
with lw.Run(folder, seed=0, device="cpu", save_every="10 steps", report_every="4 steps", progress=False) as run:
    loader = lw.Loader(photos, 8, transform=lw.RandomResizedCrop(16), shuffle=True, workers=0)
    layers = [nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(4 * 49, 10)]
    model = run.prepare(nn.Sequential(*layers))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    run.register(model=model, optimizer=optimizer)
    for epoch in run.epochs("20 steps"):
        for images, labels in run.batches(loader):
            here = run.global_step == at
            if fault == "input" and here:
                images[0, 0, 0, 0] = float("nan")
            out = model(images)
            loss = F.cross_entropy(out, labels)
            if fault == "forward" and here:
                loss = loss + torch.log(out.sum() * 0.0 - 1.0)  # the line
            if fault == "backward" and here:
                loss = loss + torch.sqrt(out.sum() * 0.0)  # the line
            loss.backward()
            if fault == "weights" and here:
                model[4].weight.grad[0, 0] = float("nan")
            optimizer.step(); optimizer.zero_grad()
            run.log(loss=loss)
"""
BEFORE = 10  # steps until the only checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that failed in their several ways at step 13, and one that did not."""
    folder = tmp_path_factory.mktemp("replay")
    (folder / "train.py").write_text(PROGRAM)
    started = [_start(folder, fault, "13") for fault in ("input", "forward", "backward", "weights", "none")]
    for process in started:
        process.wait()
    return folder


def _start(folder: Path, fault: str, at: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(Path(lw.__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "train.py", fault, fault, at]
    with open(folder / f"{fault}.txt", "wb") as output:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)


@pytest.fixture(autouse=True)
def _same_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(lw.__file__).parent.parent))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def _line(text: str) -> str:
    return next(line.strip() for line in PROGRAM.splitlines() if text in line)


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "replays" not in path.parts
    }


@pytest.mark.slow
def test_a_nan_of_the_input_is_found_with_its_samples(folder: Path) -> None:
    before = _contents(folder / "input")
    replayed = lw.replay(folder / "input", 13)
    assert not replayed.is_sound and replayed.begun_from == "step-000010"
    assert replayed.agrees == 3  # the reports of steps 4, 8 and 12
    assert replayed.seen["layer"].startswith("what enters model.0 (Conv2d)")
    assert replayed.seen["inputs"][0]["not_finite"] == 1
    failed = json.loads((folder / "input/nonfinite.json").read_text())
    assert failed["step"] == 13 and replayed.seen["samples"] == failed["samples"] and len(failed["samples"]) == 8
    assert _contents(folder / "input") == before  # the run itself is as it was


def test_a_nan_of_the_forward_pass_is_found_with_its_operation_and_line(folder: Path) -> None:
    replayed = lw.replay(folder / "forward", 13)
    assert replayed.seen["made"]["nan"]["operation"] == "aten.log"
    assert replayed.seen["made"]["nan"]["line"].endswith(_line("torch.log"))
    assert replayed.seen["bad_values"] == ["loss"]


def test_a_nan_of_the_backward_pass_is_found_with_the_line_that_it_belongs_to(folder: Path) -> None:
    replayed = lw.replay(folder / "backward", 14)  # whose loss was the first that was not finite
    assert replayed.step == 13  # it was the step before that spoilt the weights
    assert "MulBackward0" in replayed.seen["error"]["message"]
    assert replayed.seen["made_at"].endswith(_line("torch.sqrt"))


@pytest.mark.slow
def test_weights_that_were_bad_before_lead_to_the_step_that_made_them_so(folder: Path) -> None:
    failed = json.loads((folder / "weights/nonfinite.json").read_text())
    assert failed["step"] == 14
    replayed = lw.replay(folder / "weights", 14)
    assert replayed.step == 13 and replayed.seen["weights_after"] == "model.4.weight"
    assert "not finite afterwards: model.4.weight" in replayed.text()


def test_a_sound_step_comes_out_again_with_every_digit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["replay", str(folder / "none"), "--step", "18"]) == 0
    out = capsys.readouterr().out
    assert "the 4 lines up to there came out again, byte for byte" in out and "finite, of norm" in out
    assert cli.main(["replay", str(folder / "none"), "--step", "3"]) == 0
    assert "from the beginning" in capsys.readouterr().out
    assert [info["folder"] for info in list_runs(folder / "none")] == [str(folder / "none")]  # copies are no runs


def test_what_cannot_be_replayed_is_said(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def says(run: Path, step: int, *more: str) -> str:
        assert cli.main(["replay", str(run), "--step", str(step), *more]) == 2
        return capsys.readouterr().err

    assert "is no run" in says(tmp_path, 1)
    assert "has no step 21: its steps are 1 to 20" in says(folder / "none", 21)
    info = json.loads((folder / "none/run.json").read_text())
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "run.json").write_text(json.dumps(info | {"host": "elsewhere"}))
    assert "was run on elsewhere: its program is not started here unasked" in says(foreign, 3)
    (foreign / "run.json").write_text(json.dumps(info | {"seeded": False}))
    assert "was given no seed" in says(foreign, 3)
    assert "did not come to step 3" in says(folder / "none", 3, "--program", f"{sys.executable} -c 'print(1)'")
    assert "there is no program" in says(folder / "none", 3, "--program", "/nowhere/python")
