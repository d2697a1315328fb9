"""Several inputs and outputs: gray and colour mixed, by the loop, the call and the configuration, any plain module."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import loopwright as lw
from conftest import same_bits
from loopwright import cli

INPUTS, TARGETS = ["color", "gray", "depth"], ["warm", "edges"]


class Mixer(nn.Module):
    """Three pictures in, two out: nothing of loopwright's."""

    def __init__(self, as_dictionary: bool = False) -> None:
        super().__init__()
        self.body, self.as_dictionary = nn.Conv2d(5, 8, 3, padding=1), as_dictionary
        self.warm, self.edges = nn.Conv2d(8, 3, 1), nn.Conv2d(8, 1, 1)

    def forward(self, color: Tensor, gray: Tensor, depth: Tensor) -> Any:
        features = F.relu(self.body(torch.cat([color, gray, depth], dim=1)))
        made = self.warm(features), self.edges(features)
        return {"edges": made[1], "warm": made[0]} if self.as_dictionary else made


def mixer() -> Mixer:
    return Mixer()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mixed")
    for number, path in enumerate(sorted(lw.demo_photos().rglob("*.jpg"))[::100][:10]):
        split = root / ("train" if number < 8 else "val")
        picture = lw.open_picture(path).resize((40, 32))
        pixels = np.asarray(picture)
        parts = {
            "color": pixels, "gray": np.asarray(picture.convert("L")), "warm": 255 - pixels,
            "depth": pixels[:, :, 0].astype(np.uint16) * 257,
            "edges": np.abs(np.diff(pixels[:, :, 1].astype(int), axis=1, prepend=0)).astype(np.uint8),
        }  # fmt: skip
        for role, values in parts.items():
            (split / role).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(split / role / f"{number}.png")
    return root


ROLES: dict[str, Any] = {"color": lw.Role("color"), "gray": lw.Role("gray", "gray"), "depth": lw.Role("depth", "raw"),
         "warm": lw.Role("warm"), "edges": lw.Role("edges", "gray")}  # fmt: skip
NORMALIZE = {
    "color": lw.ToUnit(),
    "gray": lw.ToUnit(),
    "depth": lw.ToUnit("last"),
    "warm": lw.ToUnit(),
    "edges": lw.ToUnit(),
}


def loaders(data: Path) -> tuple[lw.Loader, lw.Loader]:
    train, val = (lw.PairedFolders(data, split, **ROLES) for split in ("train", "val"))
    crop = lw.RandomCrop(16, turn=True)
    return (
        lw.Loader(train, 4, transform=crop, shuffle=True, workers=0, normalize=NORMALIZE),
        lw.Loader(val, 1, workers=0, normalize=NORMALIZE),
    )


def by_the_loop(folder: Path, data: Path) -> dict[str, Tensor]:
    with lw.Run(folder, seed=42, device="cpu", progress=False) as run:
        train_loader, val_loader = loaders(data)
        model = run.prepare(Mixer())
        optimizer = torch.optim.AdamW(lw.param_groups(model, weight_decay=0.0), lr=1e-3)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=2 * len(train_loader))
        run.register(model=model, optimizer=optimizer, scheduler=scheduler)
        for _ in run.epochs(2):
            for batch in run.batches(train_loader):
                warm, edges = model(*(batch[name] for name in INPUTS))
                loss = F.l1_loss(warm, batch["warm"]) + 0.5 * F.mse_loss(edges, batch["edges"])
                run.step(loss, optimizer, scheduler=scheduler)
                run.log(loss=loss)
            with run.evaluate(model):
                for batch in run.batches(val_loader):
                    warm, _ = model(*(batch[name] for name in INPUTS))
                    run.log(psnr_warm=lw.psnr(lw.quantized(warm), batch["warm"]))
            run.keep_best("val/psnr_warm")
    return model.state_dict()


def by_one_call(folder: Path, data: Path, *, as_dictionary: bool = False) -> dict[str, Tensor]:
    torch.manual_seed(42)
    model = Mixer(as_dictionary)
    train_loader, val_loader = loaders(data)
    losses = lw.Losses({"warm": lw.OfTarget("warm", F.l1_loss), "edges": (lw.OfTarget("edges", F.mse_loss), 0.5)})
    metric = lw.OfTarget("warm", lambda output, target: lw.psnr(lw.quantized(output), target))
    return lw.fit(
        model, train_loader, val_loader, inputs=INPUTS, targets=TARGETS, loss=losses, lr=1e-3, weight_decay=0.0,
        scheduler="OneCycleLR", metrics={"psnr_warm": metric}, epochs=2, run=folder, seed=42, device="cpu", progress=False,
    ).model.state_dict()  # fmt: skip


def by_the_command(folder: Path, data: Path) -> dict[str, Tensor]:
    from loopwright._yaml import dump_yaml

    given = {
        "task": "restore", "data": str(data), "run": str(folder), "model": "test_several_pictures:mixer",
        "inputs": {"color": "color", "gray": {"folder": "gray", "kind": "gray"}, "depth": {"folder": "depth", "kind": "raw"}},
        "targets": {"warm": "warm", "edges": {"folder": "edges", "kind": "gray"}},
        "loss": [{"name": "l1", "target": "warm"}, {"name": "l2", "target": "edges", "weight": 0.5}],
        "image_size": 16, "epochs": 2, "batch_size": 4, "workers": 0, "device": "cpu",
    }  # fmt: skip
    folder.with_suffix(".yaml").write_text(dump_yaml(given))
    assert cli.main(["train", str(folder.with_suffix(".yaml"))]) == 0
    return lw.Checkpoints(folder / "checkpoints").load("latest", only="model")


def test_the_three_faces_give_the_same_bits(tmp_path: Path, data: Path) -> None:
    loop, call = by_the_loop(tmp_path / "loop", data), by_one_call(tmp_path / "call", data)
    command = by_the_command(tmp_path / "command", data)
    assert same_bits(loop, call)
    assert same_bits(loop, command)
    assert same_bits(loop, by_one_call(tmp_path / "named", data, as_dictionary=True))
    curves = [[line["val/psnr_warm"] for line in lw.read_metrics(tmp_path / name) if "val/psnr_warm" in line]
              for name in ("loop", "call", "command")]  # fmt: skip
    assert curves[0] == curves[1] == curves[2]
    last = [line for line in lw.read_metrics(tmp_path / "command") if "val/psnr_edges" in line][-1]
    assert {"val/ssim_warm", "val/ssim_edges", "val/mae_edges", "val/l1_warm", "val/l2_edges"} <= last.keys()


def test_it_is_measured_as_it_was_validated(tmp_path: Path, data: Path) -> None:
    from loopwright.recipes._measure import measure

    by_the_command(tmp_path / "run", data)
    best = lw.Checkpoints(tmp_path / "run" / "checkpoints").best("val/psnr_warm")
    assert best is not None
    found = measure(tmp_path / "run", device="cpu", workers=0).figures
    assert found["psnr_warm"] == pytest.approx(best.metrics["val/psnr_warm"], abs=1e-5)


def test_wrong_numbers_of_outputs_and_names_are_said(tmp_path: Path, data: Path) -> None:
    train_loader, _ = loaders(data)
    options: dict[str, Any] = {"run": tmp_path / "r", "progress": False, "device": "cpu", "epochs": 1}
    with pytest.raises(lw.ConfigError, match="2 outputs for the 3 targets"):
        loss = lw.OfTarget("warm", F.l1_loss)
        lw.fit(Mixer(), train_loader, inputs=INPUTS, targets=[*TARGETS, "gray"], loss=loss, **options)
    options["run"] = tmp_path / "s"
    with pytest.raises(lw.ConfigError, match="no batch has a part 'grey'"):
        lw.fit(Mixer(), train_loader, inputs="grey", targets="warm", loss=F.l1_loss, **options)
    with pytest.raises(lw.ConfigError, match="belong together"):
        lw.fit(Mixer(), train_loader, inputs="gray", loss=F.l1_loss, **options)
    with pytest.raises(lw.ConfigError, match=r"OfTarget\('warmth'\)"):
        lw.OfTarget("warmth", F.l1_loss)({"warm": 1}, {"warm": 1})
