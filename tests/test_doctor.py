"""Laws of the doctor: stages add up, the advice is about what holds back, and nothing is left behind."""

import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import loopwright as lw
from loopwright import cli
from loopwright.data._stages import Stages, measure_stages
from loopwright.recipes._doctor import Change, Findings, _advice

STAGES = Stages(20e-6, 800e-6, 200e-6, 10e-6, 88e3)


def findings(loader: float, compute: float, loop: float) -> Findings:
    return Findings(STAGES, 0.0, "an engine", loader, compute, loop, 0.5, 2000, "cuda", math.nan)


def slow(picture: Any) -> np.ndarray:
    time.sleep(0.02)
    return np.asarray(picture.resize((8, 8)))


def test_a_slow_transform_shows_in_its_stage_and_only_there() -> None:
    photos = lw.ImageFolder(lw.demo_photos(), split="val")
    stages = measure_stages(lw.Loader(photos, 8, transform=slow, workers=0), count=6)
    assert 0.01 < stages.augment < 0.1
    assert stages.decode < 0.01
    quick = measure_stages(lw.Loader(photos, 8, transform=lw.CenterCrop(8), workers=0), count=6)
    assert quick.augment < 0.02
    assert quick.file_bytes == pytest.approx(np.mean([p.stat().st_size for p in photos.paths[::49]]), rel=0.5)
    assert quick.total == pytest.approx(quick.read + quick.decode + quick.augment + quick.collate)


def test_a_dataset_without_files_is_measured_as_a_whole() -> None:
    class Slow:
        def __len__(self) -> int:
            return 10

        def __getitem__(self, index: int) -> Image.Image:
            time.sleep(0.01)
            return Image.new("RGB", (8, 8))

    stages = measure_stages(lw.Loader(Slow(), 2, workers=0), count=5)
    assert math.isnan(stages.read)
    assert 0.01 < stages.decode < 0.1


def test_a_faster_loader_promises_what_it_can_bring_and_no_more() -> None:
    bound = findings(loader=100, compute=1000, loop=100)
    assert bound.predict(100) == pytest.approx(100)
    assert 100 < bound.predict(200) < bound.predict(400) < 1000
    free = findings(loader=5000, compute=1000, loop=1000)
    assert free.predict(50000) == pytest.approx(1000)


def test_what_is_said_fits_what_was_found() -> None:
    assert "computing is the limit" in _advice(findings(5000, 1000, 990), [])[0]
    assert "nothing that was tried" in _advice(findings(100, 1000, 100), [])[0]
    advised = _advice(findings(100, 1000, 100), [Change("pack", "loopwright pack", 900, predicted=400)])
    assert advised[1] == "advice     pack: 400 images/s predicted, +300%.  loopwright pack"


def test_the_command_examines_advises_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [f"data={lw.demo_photos()}", "model=small_resnet", "image_size=32", "batch_size=16", "workers=1"]
    assert cli.main(["doctor", *settings, "--seconds", "0.2", "--apply"]) == 0
    said = capsys.readouterr().out
    for part in ("decode", "compute", "loader ", "loop ", "limit ", "verdict ", "blind for"):
        assert part in said
    assert ("applied" in said) == ("advice" in said)
    assert os.listdir(tmp_path) == []
    assert cli.main(["doctor", "data=nowhere"]) == 2
