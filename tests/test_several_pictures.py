"""Several inputs and outputs: gray and colour mixed, by the loop, the call and the configuration, any plain module."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import same_bits
from PIL import ExifTags, Image
from torch import Tensor, nn

import loopwright as lw
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
        "inputs": {"color": "color", "gray": {"folder": "gray", "kind": "gray"},
                   "depth": {"folder": "depth", "kind": "raw"}},
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


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mixer"
    by_the_command(folder, data)
    return folder


def test_pictures_of_progress_are_of_the_first_input_and_target(run: Path) -> None:
    sheets = list((run / "pictures").rglob("*.png"))
    assert sheets, "input, output, target and errors, after each epoch"


def new_scenes(data: Path, root: Path) -> Path:
    """Pictures to work on: one of 8 bits with a text in it, one of 16 bits."""
    for role in INPUTS:
        (root / role / "below").mkdir(parents=True)
        for number, name in (("8", "one"), ("9", "below/two")):
            with Image.open(data / "val" / role / f"{number}.png") as picture:
                exif = Image.Exif()
                exif[ExifTags.Base.Artist] = f"somebody's {role}"
                picture.save(root / role / f"{name}.png", exif=exif)
    deep = lw.read_stored(root / "color" / "below" / "two.png").values.astype(np.uint16) * 257 + 3
    lw.write_picture(root / "color" / "below" / "two.png", deep.clip(0, 65535).astype(np.uint16))
    return root


def expected(run: Path, new: Path, name: str) -> dict[str, np.ndarray]:
    """What the model makes of a sample, as shares of 1."""
    values = {role: lw.read_stored(new / role / f"{name}.png").values for role in INPUTS}
    floats = [torch.from_numpy(v.astype(np.float32) / np.iinfo(v.dtype).max) for v in values.values()]
    planes = [f.permute(2, 0, 1)[None] if f.ndim == 3 else f[None, None] for f in floats]
    warm, edges = lw.open_pictures_model(run).model(*planes)
    return {"warm": warm[0].permute(1, 2, 0).clamp(0, 1).numpy(), "edges": edges[0, 0].clamp(0, 1).numpy()}


@pytest.mark.parametrize("named", [True, False], ids=["a folder each", "one folder of all"])
@pytest.mark.parametrize("tile", [None, 100], ids=["at once", "in parts"])
def test_predict_takes_several_inputs_and_writes_several_targets(
    run: Path, data: Path, tmp_path: Path, named: bool, tile: int | None
) -> None:
    new, out = new_scenes(data, tmp_path / "new"), tmp_path / "out"
    given = [f"{role}={new / role}" for role in reversed(INPUTS)] if named else [str(new)]
    tiles = [] if tile is None else ["--tile", str(tile), "--overlap", "1"]
    assert cli.main(["predict", str(run), *given, "--out", str(out), "--device", "cpu", *tiles]) == 0
    made = sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))
    assert made == ["edges/below/two.png", "edges/one.png", "warm/below/two.png", "warm/one.png"]
    for name, deep in (("one", False), ("below/two", True)):
        for target, values in expected(run, new, name).items():
            stored = lw.read_stored(out / target / f"{name}.png")
            source = "color" if target == "warm" else "gray"  # the first input of the target's kind
            dtype = np.uint16 if deep and target == "warm" else np.uint8
            assert stored.values.dtype == dtype, "the depth of its source"
            assert np.abs(stored.values - values * np.iinfo(dtype).max).max() <= 0.51 + (tile is not None)
            if not (deep and target == "warm"):  # written here without one
                with Image.open(out / target / f"{name}.png") as picture:
                    assert picture.getexif()[ExifTags.Base.Artist] == f"somebody's {source}"


def test_missing_and_unknown_inputs_are_named(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = new_scenes(data, tmp_path / "new")

    def says(*images: str) -> str:
        assert cli.main(["predict", str(run), *images, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
        return capsys.readouterr().err

    color, gray, depth = (f"{role}={new / role}" for role in INPUTS)
    assert "input 'depth' is missing: give depth=FOLDER; the model has color, gray, depth" in says(color, gray)
    assert "no input 'grey': did you mean 'gray'?" in says(color, depth, gray, gray.replace("gray=", "grey="))
    assert "has 3 inputs, color, gray, depth: give a folder each" in says(str(new / "color" / "one.png"))
    (new / "gray" / "one.png").unlink()
    assert "has no partner for 1 of 2" in says(color, gray, depth)
    assert "write into another" in _refused(run, new, new / "color")


def _refused(run: Path, new: Path, out: Path) -> str:
    with pytest.raises(lw.LoopwrightError) as error:
        lw.restore(run, {role: new / role for role in ("color", "depth")} | {"gray": new / "depth"}, out, device="cpu")
    return str(error.value)


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
