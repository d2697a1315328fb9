"""The recipe ``segment``: masks stay on their pictures, its figures are over all pixels, and it resumes to the bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import same_bits
from picture_data import Interrupted, drawn_shapes, end_after
from picture_data import of_segment as given
from PIL import Image
from torch import Tensor

import loopwright as lw
from loopwright import cli
from loopwright.recipes._measure import measure
from loopwright.recipes._picture_settings import SegmentSettings
from loopwright.recipes._segment import train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masks with a palette for training, with numbers alone for validation."""
    return drawn_shapes(tmp_path_factory.mktemp("shapes"))


def settings(data: Path, run: Path, **more: Any) -> SegmentSettings:
    return lw.load_config(given(data, run, **more), schema=SegmentSettings)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "shapes"
    more = {"epochs": 12, "crops": 2, "turn": True, "optimizer": {"name": "AdamW", "lr": 0.02},
            "loss": {"cross_entropy": 1, "dice": 0.5}}  # fmt: skip
    train(settings(data, folder, **more), progress=False)
    return folder


def test_it_finds_shapes_as_only_aligned_masks_allow(run: Path) -> None:
    best = lw.Checkpoints(run / "checkpoints").best("val/pixels/mean_iou")
    assert best is not None
    assert best.metrics["val/pixels/mean_iou"] > 0.85
    assert (run / "segmented.png").is_file()


def test_the_mean_iou_is_that_of_all_pixels_and_scikit_learns(run: Path, data: Path) -> None:
    sk = pytest.importorskip("sklearn.metrics")
    found = measure(run, device="cpu", workers=0)
    best = lw.Checkpoints(run / "checkpoints").best("val/pixels/mean_iou")
    assert best is not None
    assert found.figures["mean_iou"] == pytest.approx(best.metrics["val/pixels/mean_iou"], abs=1e-6)
    trained = lw.open_pictures_model(run)
    truth, guess, means = [], [], []
    for path in sorted((data / "val" / "pictures").iterdir()):
        picture = torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1)[None]
        predicted = trained.model(lw.Normalize()(picture)).argmax(1)[0].numpy()
        mask = np.asarray(Image.open(data / "val" / "masks" / path.name))
        truth.append(mask[mask != 255])
        guess.append(predicted[mask != 255])
        means.append(sk.jaccard_score(truth[-1], guess[-1], average="macro", labels=[0, 1, 2]))
    matrix = sk.confusion_matrix(np.concatenate(truth), np.concatenate(guess))
    assert found.confusion is not None
    assert np.array_equal(found.confusion.matrix.numpy(), matrix)
    whole = sk.jaccard_score(np.concatenate(truth), np.concatenate(guess), average="macro")
    assert found.figures["mean_iou"] == pytest.approx(whole, abs=1e-9)
    assert found.figures["mean_iou"] != pytest.approx(np.mean(means), abs=1e-4), "a mean of means would be another"


def test_evaluate_and_predict_write_what_they_say(run: Path, data: Path, tmp_path: Path) -> None:
    assert cli.main(["evaluate", str(run), "--device", "cpu", "--workers", "0", "--out", str(tmp_path / "e")]) == 0
    assert len(list((tmp_path / "e" / "overlays").iterdir())) == 8
    assert (tmp_path / "e" / "confusion.csv").read_text().splitlines()[0] == "truth \\ predicted,photo,disc,bar"
    source = data / "val" / "pictures"
    assert cli.main(["predict", str(run), str(source), "--out", str(tmp_path / "p"), "--device", "cpu"]) == 0
    confusion = lw.Confusion(3, ignore_index=255)
    for path in sorted(source.iterdir()):
        with Image.open(tmp_path / "p" / path.name) as mask:
            assert mask.mode == "P"
            made = torch.from_numpy(np.asarray(mask).astype(np.int64))
        truth = np.asarray(Image.open(data / "val" / "masks" / path.name)).astype(np.int64)
        confusion.update(made, torch.from_numpy(truth))
    assert confusion.mean_iou == pytest.approx(measure(run, device="cpu", workers=0).figures["mean_iou"], abs=1e-9)


def by_the_loop(folder: Path, data: Path) -> dict[str, Tensor]:
    roles = {"pictures": "pictures", "masks": lw.Role("masks", "mask")}
    with lw.Run(folder, seed=42, device="cpu", progress=False) as run:
        train_pairs, val_pairs = (lw.PairedFolders(data, split, **roles) for split in ("train", "val"))
        normalize = {"pictures": lw.Normalize()}
        train_loader = lw.Loader(
            train_pairs, 8, transform=lw.RandomCrop(48), shuffle=True, workers=0, normalize=normalize
        )
        val_loader = lw.Loader(val_pairs, 1, workers=0, normalize=normalize)
        model = run.prepare(lw.unet(3, 3, width=8, levels=2, norm=True, residual=False))
        optimizer = torch.optim.AdamW(lw.param_groups(model, weight_decay=0.01), lr=1e-3)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=2 * len(train_loader))
        run.register(model=model, optimizer=optimizer, scheduler=scheduler)
        pixels = lw.Confusion(3, ignore_index=255)
        for _ in run.epochs(2):
            for batch in run.batches(train_loader):
                loss = F.cross_entropy(model(batch["pictures"]), batch["masks"], ignore_index=255)
                run.step(loss, optimizer, scheduler=scheduler)
                run.log(loss=loss)
            with run.evaluate(model):
                for batch in run.batches(val_loader):
                    pixels.update(model(batch["pictures"]), batch["masks"])
                    run.log(pixels=pixels)
            run.keep_best("val/pixels/mean_iou")
    return model.state_dict()


def by_one_call(folder: Path, data: Path) -> dict[str, Tensor]:
    import functools

    torch.manual_seed(42)
    model = lw.unet(3, 3, width=8, levels=2, norm=True, residual=False)
    roles = {"pictures": "pictures", "masks": lw.Role("masks", "mask")}
    train_pairs, val_pairs = (lw.PairedFolders(data, split, **roles) for split in ("train", "val"))
    normalize = {"pictures": lw.Normalize()}
    return lw.fit(
        model, lw.Loader(train_pairs, 8, transform=lw.RandomCrop(48), shuffle=True, workers=0, normalize=normalize),
        lw.Loader(val_pairs, 1, workers=0, normalize=normalize), inputs="pictures", targets="masks",
        loss=functools.partial(F.cross_entropy, ignore_index=255), optimizer="AdamW", lr=1e-3, weight_decay=0.01,
        scheduler="OneCycleLR", metrics={"pixels": lw.Confusion(3, ignore_index=255)}, best="val/pixels/mean_iou",
        epochs=2, run=folder, seed=42, device="cpu", progress=False,
    ).model.state_dict()  # fmt: skip


def test_the_three_faces_give_the_same_bits(tmp_path: Path, data: Path) -> None:
    from loopwright._yaml import dump_yaml

    model = {"name": "unet", "width": 8, "levels": 2, "norm": True, "residual": False}
    (tmp_path / "s.yaml").write_text(dump_yaml(given(data, tmp_path / "command", model=model)))
    assert cli.main(["train", str(tmp_path / "s.yaml")]) == 0
    command = lw.Checkpoints(tmp_path / "command" / "checkpoints").load("latest", only="model")
    loop, call = by_the_loop(tmp_path / "loop", data), by_one_call(tmp_path / "call", data)
    assert same_bits(loop, call)
    assert same_bits(loop, command)
    curves = [[line["val/pixels/mean_iou"] for line in lw.read_metrics(tmp_path / name) if "val/pixels/mean_iou" in line]
              for name in ("loop", "call", "command")]  # fmt: skip
    assert curves[0] == curves[1] == curves[2]
    assert len(curves[0]) == 2


@pytest.mark.parametrize("left", [3, 7], ids=["in training", "in validation"])
def test_cut_short_it_ends_with_the_same_bits_and_record(tmp_path: Path, data: Path, left: int) -> None:
    def life(name: str, left: int = -1) -> Any:
        end_after(left)
        more = {"loss": "picture_data:cut_cross_entropy", "save_every": "1 steps", "cache": "memory"}
        return train(settings(data, tmp_path / name, **more), progress=False).model

    whole = life("whole")
    with pytest.raises(Interrupted):
        life("cut", left)
    assert same_bits(life("cut"), whole)
    records = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "cut")]
    assert records[0] == records[1]


def test_torchvisions_models_train(data: Path, tmp_path: Path) -> None:
    asked = settings(data, tmp_path / "run", model="lraspp_mobilenet_v3_large", epochs="1 steps", loss="focal")
    fitted = train(asked, progress=False)
    assert 0 <= fitted.last("val/pixels/mean_iou") <= 1
    assert len(lw.open_pictures_model(tmp_path / "run").classes) == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["classes=1"], "classes"),
        (["classes=2", "inputs=a"], "name a folder of pictures and one of masks"),
        (["classes=2", "inputs=a", "targets={b: {folder: b, kind: gray}}"], "should be 'mask', is 'gray'"),
    ],
)
def test_mistakes_are_named(wrong: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "task=segment", "data=photos", *wrong]) == 2
    assert message in capsys.readouterr().err


def test_an_overlay_tints_what_is_labelled() -> None:
    picture = np.full((3, 10, 12), 100, np.uint8)
    mask = np.zeros((10, 12), np.int64)
    mask[2:5] = 1
    mask[6] = 255
    made = lw.overlay(torch.from_numpy(picture), torch.from_numpy(mask), strength=1.0, colors=[(0, 0, 0), (9, 8, 7)])
    assert np.array_equal(made[:, :2], picture[:, :2])
    assert made[:, 3, 3].tolist() == [9, 8, 7]
    assert set(np.unique(made[0, 6])) == {100, 128}
    with pytest.raises(lw.DataError, match="overlay: a mask"):
        lw.overlay(picture, mask[1:])
