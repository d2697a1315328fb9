"""The recipe ``restore``: its three faces agree, it resumes to the bit, and what it writes has the source's form."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import same_bits
from picture_data import Interrupted, clean_photos, deep_pairs, end_after, noisy_pairs
from picture_data import of_restore as given
from PIL import ExifTags, Image
from torch import Tensor, nn

import loopwright as lw
from loopwright import cli
from loopwright.recipes._measure import measure
from loopwright.recipes._picture_settings import RestoreSettings
from loopwright.recipes._restore import build, train

EPOCHS = 2
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gray photos of unequal sizes: ``train`` and ``val``."""
    return clean_photos(tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="module")
def pairs(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with noisy partners, as files."""
    return noisy_pairs(clean, tmp_path_factory.mktemp("pairs"))


def settings(data: Path, run: Path, **more: Any) -> RestoreSettings:
    return lw.load_config(given(data, run, **more), schema=RestoreSettings)


# ---- three faces ----------------------------------------------------------------------------------------------------


def loaders(data: Path, degrade: bool) -> tuple[lw.Loader, lw.Loader]:
    roles: dict[str, Any] = {"target": lw.Role(".", "gray")}
    if not degrade:
        roles = {"noisy": lw.Role("noisy", "gray"), "clean": lw.Role("clean", "gray")}
    names = ("input", "target") if degrade else ("noisy", "clean")
    normalize = {name: lw.ToUnit() for name in names}
    steps = [lw.AddNoise(25)]
    pictures, whole = (lw.PairedFolders(data, split, **roles) for split in ("train", "val"))
    train_loader = lw.Loader(
        lw.Part(pictures, np.tile(np.arange(len(pictures)), 2)), 8, transform=lw.RandomCrop(24, turn=True), workers=0,
        sample_transform=lw.Degrade(steps) if degrade else None, shuffle=True, normalize=normalize,
    )  # fmt: skip
    val_loader = lw.Loader(
        whole, 1, sample_transform=lw.Degrade(steps, fixed=42) if degrade else None, workers=0, normalize=normalize
    )
    return train_loader, val_loader


def measured(output: Tensor, target: Tensor) -> Tensor:
    return lw.psnr(lw.quantized(output), target)


def by_the_loop(folder: Path, data: Path, degrade: bool) -> dict[str, Tensor]:
    noisy, clean = ("input", "target") if degrade else ("noisy", "clean")
    with lw.Run(folder, seed=42, device="cpu", progress=False) as run:
        train_loader, val_loader = loaders(data, degrade)
        model = run.prepare(lw.dncnn(1, depth=3, width=8))
        optimizer = torch.optim.AdamW(lw.param_groups(model, weight_decay=0.0), lr=1e-3)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=EPOCHS * len(train_loader))
        run.register(model=model, optimizer=optimizer, scheduler=scheduler)
        for _ in run.epochs(EPOCHS):
            for batch in run.batches(train_loader):
                loss = F.l1_loss(model(batch[noisy]), batch[clean])
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                scheduler.step()
                run.log(loss=loss)
            with run.evaluate(model):
                for batch in run.batches(val_loader):
                    run.log(psnr=measured(model(batch[noisy]), batch[clean]))
            run.keep_best("val/psnr")
    return model.state_dict()


def by_one_call(folder: Path, data: Path, degrade: bool) -> dict[str, Tensor]:
    torch.manual_seed(42)
    model = lw.dncnn(1, depth=3, width=8)
    train_loader, val_loader = loaders(data, degrade)
    fitted = lw.fit(
        model, train_loader, val_loader, inputs="input" if degrade else "noisy", targets="target" if degrade else "clean",
        loss=F.l1_loss, optimizer="AdamW", lr=1e-3, weight_decay=0.0, scheduler="OneCycleLR",
        metrics={"psnr": measured}, epochs=EPOCHS, run=folder, seed=42, device="cpu", progress=False,
    )  # fmt: skip
    return fitted.model.state_dict()


def by_the_command(folder: Path, data: Path, degrade: bool) -> dict[str, Tensor]:
    from loopwright._yaml import dump_yaml

    path = folder.with_suffix(".yaml")
    path.write_text(dump_yaml(given(data, folder, degrade=degrade)))
    assert cli.main(["train", str(path)]) == 0
    return lw.Checkpoints(folder / "checkpoints").load("latest", only="model")


@pytest.mark.parametrize("degrade", [True, False], ids=["clean pictures made worse", "paired folders"])
def test_the_three_faces_give_the_same_bits(tmp_path: Path, clean: Path, pairs: Path, degrade: bool) -> None:
    data = clean if degrade else pairs
    faces = {"loop": by_the_loop, "call": by_one_call, "command": by_the_command}
    ends = {name: face(tmp_path / name, data, degrade) for name, face in faces.items()}
    assert same_bits(ends["loop"], ends["call"])
    assert same_bits(ends["loop"], ends["command"])
    curves = [[line["val/psnr"] for line in lw.read_metrics(tmp_path / name) if "val/psnr" in line] for name in faces]
    assert curves[0] == curves[1] == curves[2]
    assert len(curves[0]) == EPOCHS


# ---- exact resume, caches -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"ema": 0.9, "cache": "memory"}, {"swa": 0}], ids=["plain", "ema", "swa"])
def test_cut_short_in_mid_epoch_it_ends_with_the_same_bits_and_record(
    tmp_path: Path, clean: Path, more: dict[str, Any]
) -> None:
    def life(name: str, left: int = -1) -> nn.Module:
        end_after(left)
        asked = settings(clean, tmp_path / name, loss="picture_data:cut_l1", save_every="1 steps", **more)
        return train(asked, progress=False).model

    whole = life("whole")
    with pytest.raises(Interrupted):
        life("cut", 3)
    with pytest.raises(Interrupted):
        life("cut", 3)  # in the validation
    assert same_bits(life("cut"), whole)
    records = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "cut")]
    assert records[0] == records[1]


def test_workers_and_caches_change_no_bit(tmp_path: Path, pairs: Path) -> None:
    ends = [
        train(settings(pairs, tmp_path / f"{number}", degrade=False, **more), progress=False).model
        for number, more in enumerate(({}, {"workers": 2}, {"cache": "memory"}, {"cache": str(tmp_path / "kept")}))
    ]
    assert all(same_bits(ends[0], end) for end in ends[1:])


# ---- what it makes --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A denoiser, trained for a moment."""
    folder = tmp_path_factory.mktemp("runs") / "denoiser"
    more = {"epochs": 6, "crops": 8, "model": {"name": "dncnn", "depth": 5, "width": 16}, "image_size": 32}
    train(settings(clean, folder, optimizer={"name": "AdamW", "lr": 0.005}, **more), progress=False)
    return folder


def test_it_denoises(run: Path, clean: Path) -> None:
    batch = first_batch(clean, run)
    before = lw.psnr(batch["input"], batch["target"])
    best = lw.Checkpoints(run / "checkpoints").best("val/psnr")
    assert best is not None
    assert best.metrics["val/psnr"] > before.item() + 2
    assert (run / "restored.png").is_file()
    assert list((run / "pictures").rglob("*.png")), "fit puts sheets of input, output and target into the record"


def first_batch(clean: Path, run: Path) -> Any:
    pieces = build(settings(clean, run))
    batch = next(iter(pieces.val_loader.epoch_batches(0)))
    assert pieces.val_loader.normalize is not None
    return pieces.val_loader.normalize(batch)


def test_evaluate_is_what_validation_measured(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = measure(run, device="cpu", workers=0)
    best = lw.Checkpoints(run / "checkpoints").best("val/psnr")
    assert best is not None
    assert found.figures["psnr"] == pytest.approx(best.metrics["val/psnr"], abs=1e-5)
    assert len(found.rows) == 4
    arguments = ["evaluate", str(run), "--device", "cpu", "--workers", "0", "--out", str(tmp_path / "found")]
    assert cli.main(arguments) == 0
    assert f"psnr       {found.figures['psnr']:.4f}" in capsys.readouterr().out
    assert len((tmp_path / "found" / "pictures.csv").read_text().splitlines()) == 5


def test_predict_writes_pictures_with_the_form_of_their_sources(run: Path, clean: Path, tmp_path: Path) -> None:
    rng, source = np.random.default_rng(0), tmp_path / "source"
    (source / "below").mkdir(parents=True)
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "somebody"
    gray = rng.integers(0, 256, (40, 52), np.uint8)
    Image.fromarray(gray).save(source / "gray.png", exif=exif, dpi=(300, 300))
    Image.fromarray(rng.integers(0, 256, (40, 52, 3), np.uint8)).save(source / "below" / "color.jpg", exif=exif)
    Image.fromarray(rng.integers(0, 65536, (40, 52), np.uint16)).save(source / "deep.png")
    Image.fromarray(rng.random((40, 52), np.float32)).save(source / "floats.tif")
    Image.fromarray(rng.integers(0, 256, (40, 52, 4), np.uint8)).save(source / "alpha.png")
    out = tmp_path / "out"
    assert cli.main(["predict", str(run), str(source), "--out", str(out), "--device", "cpu"]) == 0
    made = {str(path.relative_to(out)): lw.read_stored(path) for path in sorted(out.rglob("*.*"))}
    assert set(made) == {"gray.png", "below/color.jpg", "deep.png", "floats.tif", "alpha.png"}
    for name, picture in made.items():
        before = lw.read_stored(source / name)
        assert (picture.values.shape, picture.values.dtype) == (before.values.shape, before.values.dtype), name
        assert not np.array_equal(picture.values, before.values)
    assert np.array_equal(made["alpha.png"].alpha, lw.read_stored(source / "alpha.png").alpha)  # type: ignore[arg-type]
    for name in ("gray.png", "below/color.jpg"):
        with Image.open(out / name) as picture:
            assert picture.getexif()[ExifTags.Base.Artist] == "somebody"
    model = lw.open_pictures_model(run).model
    expected = model(torch.from_numpy(gray.astype(np.float32))[None, None] / 255)
    assert np.array_equal(
        made["gray.png"].values, (lw.quantized(expected)[0, 0] * 255).round().numpy().astype(np.uint8)
    )


def test_tiles_change_nothing_and_no_source_is_written_over(run: Path, clean: Path, tmp_path: Path) -> None:
    source = clean / "val"
    whole = lw.restore(run, source, tmp_path / "whole", device="cpu")
    tiled = lw.restore(run, source, tmp_path / "tiled", device="cpu", tile=96, overlap=8)
    for name in whole.files:
        one, other = (lw.read_stored(found.files[name]).values.astype(int) for found in (whole, tiled))
        assert np.abs(one - other).max() <= 1
        assert (one != other).mean() < 0.001
    with pytest.raises(lw.DataError, match="is a source: write into another folder"):
        lw.restore(run, source, source, device="cpu")


def test_unreadable_pictures_are_named_or_listed(run: Path, clean: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    sources = [*sorted((clean / "val").iterdir())[:1], tmp_path / "bad.png"]
    with pytest.raises(lw.DataError, match=r"bad\.png"):
        lw.restore(run, sources, tmp_path / "out", device="cpu")
    found = lw.restore(run, sources, tmp_path / "out", device="cpu", on_error="skip")
    assert len(found.files) == 1
    assert "bad.png" in found.text()


# ---- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["inputs=a"], "name the folders"),
        (["degrade.name=nois"], "did you mean 'noise'"),
        (["degrade={name: noise, sigma: -3}"], "0 or more"),
        (["inputs=a", "targets=a"], "is an input, too"),
        (["degrade={name: noise, sigma: 3}", "inputs=a"], "leave inputs out"),
        (["degrade=noise"], "noise is missing a required argument: 'sigma'"),
        (["inputs=a", "targets={m: {folder: m, kind: mask}}"], "see task: segment"),
        (["inputs=a", "targets=b", "image_sise=64"], "did you mean 'image_size'"),
        (["inputs=a", "targets=b", "mix=Mixup"], "unknown key 'mix'"),
        (["inputs=a", "targets=b", "loss={name: l1, target: c}"], "there is no target 'c'"),
    ],
)
def test_mistakes_are_named(wrong: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "task=restore", "data=photos", *wrong]) == 2
    assert message in capsys.readouterr().err


def test_wrong_tasks_are_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "task=restor", "data=photos"]) == 2
    assert "did you mean 'restore'" in capsys.readouterr().err
    with pytest.raises(lw.RunError, match="is of task: restore"):
        lw.open_model(run)


def test_the_plan_says_what_there_is(clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from loopwright._yaml import dump_yaml

    (tmp_path / "r.yaml").write_text(dump_yaml(given(clean, tmp_path / "run")))
    assert cli.main(["train", "--dry-run", str(tmp_path / "r.yaml")]) == 0
    shown = capsys.readouterr().out
    assert "10 training and 4 validation samples of input to target" in shown
    assert "input (8, 1, 24, 24) torch.float32, target (8, 1, 24, 24) torch.uint8" in shown
    assert not (tmp_path / "run").exists()


def test_sixteen_bit_pairs_train_and_come_back_with_their_depth(tmp_path: Path) -> None:
    deep_pairs(tmp_path)
    model = {"name": "unet", "width": 4, "levels": 1}
    asked = settings(tmp_path, tmp_path / "run", degrade=False, kind="raw", model=model)
    pieces = build(asked)
    nn.init.zeros_(pieces.model.head.weight)  # type: ignore[union-attr,arg-type]
    nn.init.zeros_(pieces.model.head.bias)  # type: ignore[union-attr,arg-type]
    batch = pieces.val_loader.normalize(next(iter(pieces.val_loader.epoch_batches(0))))  # type: ignore[misc]
    assert torch.equal((pieces.model(batch["noisy"]) * 65535).round(), (batch["clean"] * 65535).round())
    train(asked, progress=False)
    lw.restore(tmp_path / "run", tmp_path / "val" / "noisy", tmp_path / "out", device="cpu")
    assert lw.read_stored(tmp_path / "out" / "6.png").values.dtype == np.uint16


class Twice(nn.Module):
    """Super-resolution of two."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.shuffle = nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(self.layer(x))


def test_super_resolution_enlarges(clean: Path, tmp_path: Path) -> None:
    smaller = {"degrade": {"name": "downscale", "factor": 2}, "model": "test_restore:Twice", "border": 2}
    asked = lw.load_config({**given(clean, tmp_path / "run"), **smaller}, schema=RestoreSettings)
    fitted = train(asked, progress=False)
    assert fitted.last("val/psnr") > 5
    found = lw.restore(tmp_path / "run", clean / "val", tmp_path / "out", device="cpu", tile=96, overlap=16)
    for name, path in found.files.items():
        before, after = lw.read_stored(name).values, lw.read_stored(path).values
        assert after.shape == (2 * before.shape[0], 2 * before.shape[1])


def test_a_sweep_checks_the_keys_of_its_task(clean: Path, tmp_path: Path) -> None:
    from loopwright._yaml import Tree
    from loopwright.sweeps._validate import validate

    base = given(clean, tmp_path / "run")
    found = validate(Tree(base, {}), [Tree({**base, "crops": 3}, {}), Tree({**base, "crops": 0}, {})], "")
    assert [mistake.text for mistake in found.mistakes] == ["crops should be a whole number of at least 1, is 0"]
    assert found.base is not None
