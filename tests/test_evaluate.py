"""Evaluation: equal to scikit-learn and torchmetrics, to validation, whatever the order of the classes."""

import json
import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import last_top1
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import loopwright as lw
from loopwright import cli
from loopwright._evaluation import _bins


@pytest.fixture
def run(trained_run: Path) -> Path:
    """A tiny classifier."""
    return trained_run


def of_logits(logits: torch.Tensor, labels: torch.Tensor, classes: int, **options: Any) -> lw.Evaluation:
    """The evaluation of a model that gives these logits for samples of these labels."""
    data = [(row[:, None, None], int(label)) for row, label in zip(logits, labels, strict=True)]
    names = [f"c{index}" for index in range(classes)]
    return lw.evaluate(nn.Flatten(), data, classes=names, device="cpu", workers=0, **options)


def drawn(count: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=generator)
    return logits, torch.randint(0, classes, (count,), generator=generator)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 60), st.integers(2, 8), st.integers(0, 2**31))
def test_the_figures_are_those_of_torchmetrics(count: int, classes: int, seed: int) -> None:
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_calibration_error,
        multiclass_confusion_matrix,
    )

    logits, labels = drawn(count, classes, seed)
    report, shares = of_logits(logits, labels, classes), logits.softmax(1)
    assert torch.equal(report.confusion.matrix, multiclass_confusion_matrix(logits, labels, classes))
    accuracy = multiclass_accuracy(logits, labels, classes, average="micro")
    assert report.accuracy == pytest.approx(float(accuracy), abs=1e-6)
    ece = multiclass_calibration_error(shares, labels, classes, n_bins=15, norm="l1")
    assert report.ece == pytest.approx(float(ece), abs=1e-5)
    assert sum(part["count"] for part in report.bins) == count
    if classes > 5:
        five = multiclass_accuracy(logits, labels, classes, average="micro", top_k=5)
        assert report.top5 == pytest.approx(float(five), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_table_is_that_of_scikit_learn(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    logits, labels = drawn(40, 7, seed)
    labels[labels == 3] = 4  # a class without a picture
    logits[:, 5] = -9  # one that is never predicted
    report = of_logits(logits, labels, 7)
    expected = metrics.precision_recall_fscore_support(
        labels.numpy(), logits.argmax(1).numpy(), labels=range(7), zero_division=np.nan
    )
    columns = [[row[key] for row in report.table()] for key in ("precision", "recall", "f1", "support")]
    for own, theirs in zip(columns, expected, strict=True):
        assert np.allclose(own, theirs, equal_nan=True, rtol=0, atol=1e-12)


def test_the_table_by_hand() -> None:
    logits = torch.tensor([[3.0, 0, 0], [3.0, 0, 0], [0, 3.0, 0], [3.0, 0, 0], [0, 3.0, 0]])
    table = of_logits(logits, torch.tensor([0, 0, 0, 1, 1]), 3).table()
    assert table[0] == {"class": "c0", "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3}
    assert table[1] == {"class": "c1", "precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "support": 2}
    assert all(math.isnan(table[2][key]) for key in ("precision", "recall", "f1")) and table[2]["support"] == 0


def test_a_confidence_on_an_edge_lies_in_the_bin_below() -> None:
    bins = _bins(torch.tensor([0.5, 0.50001, 1.0]).double(), torch.ones(3).double(), 2)
    assert [part["count"] for part in bins] == [1, 2] and bins[1]["accuracy"] == 1


# ---- of a run --------------------------------------------------------------------------------------------------------


def test_a_run_is_as_good_as_its_validation_said(run: Path, tmp_path: Path, capsys) -> None:
    assert cli.main(["evaluate", str(run), "--out", str(tmp_path / "eval"), "--device", "cpu"]) == 0
    found = json.loads((tmp_path / "eval" / "evaluation.json").read_text())
    assert np.float32(found["accuracy"]) == np.float32(last_top1(run))
    assert f"{found['accuracy']:.2%} of 249 pictures" in capsys.readouterr().out
    rows = lw.read_table(tmp_path / "eval" / "confusion.csv")
    matrix = np.array([[int(cell) for cell in list(row.values())[1:]] for row in rows])
    assert matrix.sum() == 249 and matrix.trace() == round(found["accuracy"] * 249)
    assert [row["truth \\ predicted"] for row in rows] == [row["class"] for row in found["classes"]]
    wrong = found["mistakes"]
    assert len(wrong) == 249 - matrix.trace()
    assert all(Path(row["path"]).parent.name == row["truth"] != row["predicted"] for row in wrong)
    assert [row["confidence"] for row in wrong] == sorted((row["confidence"] for row in wrong), reverse=True)
    assert lw.open_picture(tmp_path / "eval" / "mistakes.png").width > 500


def test_predictions_and_evaluation_agree(run: Path, photos: Path) -> None:
    report = lw.evaluate(run, photos / "val", workers=0, device="cpu")
    predictions = lw.predict(run, report.names, workers=0, device="cpu")
    assert predictions.labels == [report.classes[index] for index in report.predicted.tolist()]
    assert torch.equal(predictions.confidence[:, 0], report.confidence)


def test_the_same_by_a_module_a_loader_a_dataset_and_a_pack(run: Path, photos: Path, tmp_path: Path) -> None:
    trained = lw.open_model(run)
    model, data = trained.model.train(), lw.ImageFolder(photos, split="val")
    loader = lw.Loader(data, 256, transform=trained.transform, workers=0)
    options: dict[str, Any] = {"transform": trained.transform, "batch_size": 256, "workers": 0, "device": "cpu"}
    reports = [
        lw.evaluate(run, photos, workers=0, device="cpu"),
        lw.evaluate(model, loader, device="cpu", workers=0),
        lw.evaluate(model, data, **options),
        lw.evaluate(model, photos, classes=data.classes, **options),
    ]
    assert all(layer.training for layer in model.modules()), "modes are put back"
    for report in reports[1:]:
        assert torch.equal(report.confusion.matrix, reports[0].confusion.matrix)
        assert torch.equal(report.confidence, reports[0].confidence)
    packed = lw.pack(lw.ImageFolder(photos, split="val"), tmp_path / "val.pack", format="raw", size=64, progress=False)
    assert len(lw.evaluate(run, packed.path, workers=0, device="cpu").names) == 249


def test_classes_are_matched_by_name(run: Path, photos: Path, tmp_path: Path) -> None:
    whole = lw.evaluate(run, photos, workers=0, device="cpu")
    for name in ("t-shirt", "hat"):
        shutil.copytree(photos / "val" / name, tmp_path / "part" / name)
    few = lw.evaluate(run, tmp_path / "part", workers=0, device="cpu")
    lines = [f"{path},{path.parent.name}" for path in sorted((tmp_path / "part").rglob("*.jpg"))]
    (tmp_path / "part" / "list.csv").write_text(
        "path,label\n" + "\n".join(line.replace(f"{tmp_path}/part/", "") for line in lines) + "\n"
    )
    of_table = lw.evaluate(run, tmp_path / "part" / "list.csv", workers=0, device="cpu")
    own = lw.ImageFolder(tmp_path / "part", classes=["t-shirt", "hat"])  # 0 is "t-shirt", which the model has last
    turned = lw.evaluate(run, own, workers=0, device="cpu")
    kept = [whole.classes.index(name) for name in ("hat", "t-shirt")]
    for report in (few, of_table, turned):
        assert torch.equal(report.confusion.matrix[kept], whole.confusion.matrix[kept])
        assert int(report.confusion.matrix.sum()) == 50
    (tmp_path / "part" / "t-shirt").rename(tmp_path / "part" / "tshirt")
    with pytest.raises(lw.DataError, match="classes that are not among those of training: tshirt"):
        lw.evaluate(run, tmp_path / "part", workers=0)
    with pytest.raises(lw.DataError, match="1 classes that the model does not know: tshirt. did you mean 't-shirt'"):
        lw.evaluate(run, lw.ImageFolder(tmp_path / "part"), workers=0)


def test_the_validation_part_of_a_folder_without_one_is_taken(tmp_path: Path, photos: Path) -> None:
    """What the run was trained on is not measured."""
    from loopwright.recipes._classify import train
    from loopwright.recipes._settings import TrainSettings

    shutil.copytree(photos / "val" / "hat", tmp_path / "data" / "hat")
    shutil.copytree(photos / "val" / "dress", tmp_path / "data" / "dress")
    given = {"data": str(tmp_path / "data"), "run": str(tmp_path / "run"), "model": "small_resnet", "image_size": 16,
             "epochs": 1, "workers": 0, "device": "cpu", "holdout": 0.4}  # fmt: skip
    fitted = train(lw.load_config(given, schema=TrainSettings), progress=False)
    report = lw.evaluate(tmp_path / "run", tmp_path / "data", workers=0, device="cpu")
    assert len(report.names) == 20
    assert np.float32(report.accuracy) == np.float32(fitted.last("val/top1"))


def test_unreadable_pictures_are_listed(run: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "val" / "hat", tmp_path / "hat")
    bad = sorted((tmp_path / "hat").iterdir())[2]
    bad.write_bytes(b"nothing")
    with pytest.raises(lw.DataError, match=bad.name):
        lw.evaluate(run, tmp_path, workers=0)
    report = lw.evaluate(run, tmp_path, workers=0, device="cpu", on_error="skip")
    assert len(report.names) == 24 and str(bad) not in report.names
    assert len(report.unreadable) == 1 and str(bad) in report.unreadable[0] and str(bad) in report.text()
    assert all(
        name == str(path)
        for name, path in zip(report.names, sorted(set((tmp_path / "hat").iterdir()) - {bad}), strict=True)
    )


def test_several_views_are_evaluated_where_validation_did(run: Path, photos: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("tta: null", "tta:\n  flip: true\n  crops: 1\n  share: 0.875"))
    trained = lw.open_model(copy)
    views = lw.evaluate(copy, photos, workers=0, device="cpu")
    same = lw.evaluate(lw.TTA(trained.model), photos, classes=trained.classes, transform=trained.transform,
                       batch_size=256, workers=0, device="cpu")  # fmt: skip
    plain = lw.evaluate(run, photos, workers=0, device="cpu")
    assert torch.equal(views.confidence, same.confidence) and not torch.equal(views.confidence, plain.confidence)
    assert torch.equal(lw.predict(copy, views.names, workers=0, device="cpu").confidence[:, 0], views.confidence)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lw.evaluate(nn.Flatten(), [(torch.ones(2, 1, 1), 0)], workers=0), "say classes="),
        (lambda: lw.evaluate(nn.Flatten(), "photos"), "transform= is missing"),
        (lambda: lw.evaluate(nn.Flatten(), lw.Loader([0], 1, collate=list), classes=["a"]), "without collate= and"),
        (lambda: lw.evaluate(nn.Flatten(), iter([])), "data must be a path, a dataset or a Loader"),
        (lambda: of_logits(torch.ones(2, 3), torch.tensor([0, 1]), 2), "has 3 outputs, and there are 2 classes"),
        (lambda: of_logits(torch.ones(2, 3), torch.tensor([0, 3]), 3), "lay outside 0..2"),
        (lambda: of_logits(torch.ones(2, 3), torch.tensor([0, 1]), 3, bins=0), "bins must be a whole number"),
        (
            lambda: lw.evaluate(nn.Identity(), [(torch.ones(2, 1, 1), 0)], classes=["a"], workers=0),
            "logits \\(N, classes",
        ),
        (lambda: lw.evaluate(nn.Flatten(), [(torch.ones(2, 1, 1), 0.5)], classes=["a", "b"], workers=0), "one class a"),
    ],
)
def test_a_mistake_is_named(call: Any, message: str) -> None:
    with pytest.raises(lw.LoopwrightError, match=message):
        call()


def test_nothing_wrong_is_a_sheet_too(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = [(torch.eye(2)[label][:, None, None].expand(2, 1, 1), label) for label in (0, 1)]
        report = lw.evaluate(nn.Flatten(), data, classes=["a", "b"], device="cpu", workers=0)
    assert report.accuracy == 1 and report.mistakes() == [] and "confused" not in report.text()
    report.sheet(tmp_path / "mistakes.png")
