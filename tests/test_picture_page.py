"""docs/image-to-image.md can be typed as it stands: its programs run, its configurations are valid and plan a training."""

import math
import re
import shlex
import sys
from pathlib import Path

import pytest

import loopwright as lw
from loopwright import cli
from loopwright.recipes._tasks import settings_of

PAGE = (Path(__file__).parents[1] / "docs" / "image-to-image.md").read_text()
pytestmark = pytest.mark.usefixtures("one_thread")


def blocks(kind: str) -> list[str]:
    return [
        block for found, block in re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE) if found == kind
    ]


CONFIGURATIONS = blocks("yaml")
PROGRAMS = [
    block for block in blocks("python") if block.startswith(("from pathlib", "import torch\nfrom torch import nn"))
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh folder in which the page's programs ran, with the data that its configurations name."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        for program in PROGRAMS:
            if "nn.Module" in program:
                (folder / "mine.py").write_text(program)
            else:
                exec(compile(program, "page", "exec"), {})
        for split in ("train", "val"):
            photos = sorted((folder / "denoise-pairs" / split / "clean").iterdir())[:6]
            (folder / "photos" / split).mkdir(parents=True)
            for photo in photos:
                (folder / "photos" / split / photo.name).write_bytes(photo.read_bytes())
                for part in ("color", "gray", "warm", "edges", "depth"):
                    file = folder / "scenes" / split / part / photo.name
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(photo.read_bytes())
            for photo in photos:
                gray = lw.open_picture(photo).convert("L")
                gray.save(folder / "scenes" / split / "depth" / photo.name)
        yield folder
    sys.modules.pop("mine", None)


def test_there_is_something_to_try() -> None:
    assert len(CONFIGURATIONS) == 4 and len(PROGRAMS) == 3


@pytest.mark.parametrize("number", range(len(CONFIGURATIONS)))
def test_a_configuration_plans_a_training(
    number: int, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(here)
    (here / f"{number}.yaml").write_text(CONFIGURATIONS[number])
    monkeypatch.syspath_prepend(str(here))
    values = lw.load_config(here / f"{number}.yaml")
    assert lw.load_config(here / f"{number}.yaml", schema=settings_of(values))
    assert cli.main(["train", f"{number}.yaml", "workers=0", "device=cpu", "--dry-run"]) == 0
    assert "one batch" in capsys.readouterr().out


def test_its_train_commands_are_valid(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(here)
    (here / "denoise.yaml").write_text(CONFIGURATIONS[0])
    lines = [line.removeprefix("$ ") for block in blocks("") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith(("loopwright train", "loopwright pack"))]
    assert len(commands) >= 4
    (here / "shapes.yaml").write_text(CONFIGURATIONS[2])
    for line in dict.fromkeys(commands):
        arguments = shlex.split(line)[1:]
        more = ["device=cpu", "workers=0", "--dry-run"] if arguments[0] == "train" else []
        assert cli.main([*arguments, *more]) == 0, line


@pytest.mark.slow
def test_a_newcomer_restores_and_segments(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    for number, run in ((0, "runs/denoise-pairs-unet"), (2, "runs/shapes-unet")):
        (here / f"{number}.yaml").write_text(CONFIGURATIONS[number])
        assert cli.main(["train", f"{number}.yaml", "epochs=1", "device=cpu"]) == 0
        assert cli.main(["evaluate", run, "--device", "cpu"]) == 0
        source = "denoise-pairs/val/noisy" if number == 0 else "shapes/val/pictures"
        assert cli.main(["predict", run, source, "--out", f"made-{number}", "--device", "cpu"]) == 0
        assert {p.name for p in Path(f"made-{number}").iterdir()} == {p.name for p in Path(source).iterdir()}
    (psnr,) = [line["val/psnr"] for line in lw.read_metrics("runs/denoise-pairs-unet") if "val/psnr" in line]
    assert math.isfinite(psnr)
