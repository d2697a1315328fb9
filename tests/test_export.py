"""Exported models compute what the module computes, for any number of pictures, or are not there."""

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import same_bits
from torch import Tensor, nn

import loopwright as lw
from loopwright import _exported, cli
from loopwright._exported_model import Normalized


@pytest.fixture
def run(trained_run: Path) -> Path:
    """A tiny classifier."""
    return trained_run


def load_torch(path: Path) -> tuple[Callable[[Tensor], Tensor], dict[str, Any]]:
    facts = {"loopwright.json": ""}
    program = torch.export.load(path, extra_files=facts).module()
    return lambda pictures: program(pictures).detach(), json.loads(facts["loopwright.json"])


def load_onnx(path: Path) -> tuple[Callable[[Tensor], Tensor], dict[str, Any]]:
    runtime: Any = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map["loopwright"])
    return lambda pictures: torch.from_numpy(session.run(["logits"], {"pictures": pictures.numpy()})[0]), facts


LOAD = {"torch": load_torch, "onnx": load_onnx}


def needs(kind: str) -> None:
    if kind == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package)


def pictures_of(photos: Path, size: int, count: int) -> Tensor:
    data = lw.Loader(lw.ImageFolder(photos, split="val"), count, transform=lw.CenterCrop(size), workers=0)
    return next(iter(data.epoch_batches(0)))[0].contiguous()


def test_safetensors_gives_the_weights_back_bit_for_bit(run: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "model.safetensors"
    assert cli.main(["export", str(run), "--out", str(out)]) == 0
    assert "every weight is bit for bit the same" in capsys.readouterr().out
    trained, other = lw.open_model(run), lw.small_resnet(10, width=4)
    assert lw.load_weights(other, out).complete and same_bits(other, trained.model)
    from safetensors import safe_open

    with safe_open(out, "pt") as file:
        facts = json.loads(file.metadata()["loopwright"])
    environment = json.loads((run / "environment.json").read_text())
    assert facts["classes"] == trained.classes and facts["image_size"] == 16
    assert (facts["mean"], facts["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert facts["run"] == lw.read_run(run)["id"] and facts["commit"] == environment["code"]["commit"]
    assert facts["checkpoint"] == trained.checkpoint.name


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_a_program_computes_the_same_for_any_number_of_pictures(
    run: Path,
    photos: Path,
    tmp_path: Path,
    kind: Any,
    normalize: bool,
) -> None:
    needs(kind)
    done = lw.export(run, tmp_path / f"m{_exported.ENDINGS[kind]}", normalize=normalize)
    assert done.format == kind and done.difference <= done.tolerance and "8 pictures of" in done.pictures
    computes, facts = LOAD[kind](done.path)
    trained = lw.open_model(run)
    raw = pictures_of(photos, 16, 50)
    for count in (1, 2, 7, 50):
        pictures = raw[:count]
        logits = computes(pictures if normalize else trained.normalize(pictures))
        with torch.no_grad():
            expected = trained.model(trained.normalize(pictures))
        assert (logits - expected).abs().max() < 1e-4 * max(1, float(expected.abs().max()))
    assert facts["classes"] == trained.classes and facts["normalizes"] is normalize
    assert ("uint8" in facts["input"]) is normalize


def test_the_normalisation_is_that_of_training() -> None:
    normalize = lw.Normalize()
    module = Normalized(nn.Identity(), (normalize.mean, normalize.std))
    pictures = torch.arange(256, dtype=torch.uint8).repeat(3).view(1, 3, 16, 16)
    assert torch.equal(module(pictures), normalize(pictures))


class Noisy(nn.Module):
    """A model that gives other numbers each time."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(3, num_classes)

    def forward(self, pictures: Tensor) -> Tensor:
        return nn.functional.dropout(self.head(pictures.mean((2, 3))), 0.5, training=True)


class Twisted(Noisy):
    """A model that does other things for other pictures."""

    def forward(self, pictures: Tensor) -> Tensor:
        logits = self.head(pictures.mean((2, 3)))
        return logits if logits.sum() > 0 else -logits


def renamed(run: Path, folder: Path, model: nn.Module) -> Path:
    """The run with another model in it."""
    copy = Path(shutil.copytree(run, folder))
    lines = (
        (copy / "config.yaml").read_text().replace("name: small_resnet", f"name: test_export:{type(model).__name__}")
    )
    (copy / "config.yaml").write_text(lines.replace("  width: 4\n", ""))
    shutil.rmtree(copy / "checkpoints")
    lw.Checkpoints(copy / "checkpoints").save({"model": model.state_dict()}, step=1)
    return copy


@pytest.mark.parametrize(
    ("model", "message"), [(Noisy, "differ from the module's by up to"), (Twisted, "torch.export cannot follow")]
)
def test_a_model_that_comes_out_different_leaves_no_file(run: Path, tmp_path: Path, model: Any, message: str) -> None:
    folder = renamed(run, tmp_path / "run", model(10))
    out = tmp_path / "out" / "model.pt2"
    out.parent.mkdir()
    for before in (None, b"what was there"):
        if before is not None:
            out.write_bytes(before)
        with pytest.raises(lw.DataError, match=message):
            lw.export(folder, out)
        assert [path.read_bytes() for path in out.parent.iterdir()] == ([] if before is None else [before])


def test_data_that_is_gone_is_replaced_by_the_demo(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    lines = (copy / "config.yaml").read_text().splitlines()
    (copy / "config.yaml").write_text("\n".join("data: gone" if line.startswith("data:") else line for line in lines))
    done = lw.export(copy, format="torch")
    assert done.path == copy / "model.pt2" and "pictures of the demo" in done.text()


def test_tied_weights_are_exported(run: Path) -> None:
    layer = nn.Linear(2, 2)
    content = _exported._safetensors(nn.Sequential(layer, layer), {})
    from safetensors.torch import load

    assert np.array_equal(load(content)["0.weight"].numpy(), load(content)["1.weight"].numpy())
    assert io.BytesIO(content).read(8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "onx"], "there is no format 'onx': did you mean 'onnx'?"),
        (["--out", "model.pth"], "the ending says no format: write .safetensors, .pt2, .onnx"),
        (["--out", "nowhere/model.pt2"], "there is no folder nowhere to write it in"),
        (["--normalize"], "normalize= is for programs"),
        (["--checkpoint", "step-7"], "has no checkpoint 'step-7'"),
    ],
)
def test_mistakes_are_one_message(
    run: Path,
    tmp_path: Path,
    monkeypatch,
    capsys,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", str(run), *arguments]) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_without_the_extra_its_name_is_said(run: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(lw.MissingExtra, match=r"pip install 'loopwright\[onnx\]'"):
        lw.export(run, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
