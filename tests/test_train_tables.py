"""Training from a table is training from the folder of the same pictures, bit for bit; and what its run is good for."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import last_top1, same_bits
from test_faces import small_copy

import loopwright as lw
from loopwright import cli
from loopwright.recipes._classify import build
from loopwright.recipes._optimisation import run_folder
from loopwright.recipes._settings import TrainSettings

FAST = ("model={name: small_resnet, width: 4}", "image_size=16", "epochs=2", "batch_size=8", "workers=0", "device=cpu")
COLUMNS = ("table.image=file", "table.label=kind", "table.split_column=part", "table.root=photos", "table.outside=true")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """photos/ with train/ and val/, flat/ without, and tables of both."""
    root = tmp_path_factory.mktemp("listed")
    small_copy(photos, root / "photos", 5, 2)
    (root / "flat").symlink_to(root / "photos" / "train")
    rows = rows_of(root / "photos")
    lw.write_table(rows, root / "photos.csv")
    (root / "photos.xlsx").touch()
    lw.write_table([row for row in rows if row["part"] == "train"], root / "training.csv")
    usual = [{"path": row["file"], "label": row["kind"], "split": row["part"]} for row in rows]
    lw.write_table(usual, root / "photos" / "usual.jsonl")
    lw.write_table([{"path": row["path"], "label": row["label"]} for row in usual if row["split"] == "train"],
                   root / "photos" / "flat.tsv")  # fmt: skip
    return root


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """A row a picture, in the order that ``ImageFolder`` has."""
    return [
        {"file": path.relative_to(folder), "kind": path.parent.name, "part": split.name, "w": 1}
        for split in sorted(folder.iterdir())
        for path in sorted(split.glob("*/*.jpg"))
    ]


@pytest.fixture
def here(data: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Path:
    monkeypatch.chdir(data)
    return data


def train(run: Path, *arguments: str) -> Path:
    assert cli.main(["train", *FAST, f"run={run}", *arguments]) == 0
    return run


def settings_of(*arguments: str) -> TrainSettings:
    return lw.load_config(None, [*FAST, *arguments], schema=TrainSettings)


# ---- the law -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "table"),
    [
        (("data=photos",), ("data=photos.csv", *COLUMNS)),
        (("data=photos",), ("data=photos/usual.jsonl", "table.outside=true")),  # the pictures are links
        (("data=flat", "holdout=0.4"), ("data=photos/flat.tsv", "holdout=0.4", "table.outside=true")),
        (("data=flat",), ("data=training.csv", *COLUMNS)),  # a split column, but no rows for validation
        (("data=flat",), ("data=training.csv", *COLUMNS[:2], "table.split_column=null", *COLUMNS[3:])),
    ],
)
def test_the_same_pictures_in_the_same_order_train_the_same_weights(
    folder: tuple[str, ...], table: tuple[str, ...], here: Path, tmp_path: Path
) -> None:
    runs = [train(tmp_path / "folder", *folder), train(tmp_path / "table", *table)]
    records = [(run / "metrics.jsonl").read_bytes() for run in runs]
    assert records[0] == records[1]
    assert same_bits(*(lw.Checkpoints(run / "checkpoints").load("latest", only="model") for run in runs))
    assert (runs[0] / "classes.json").read_bytes() == (runs[1] / "classes.json").read_bytes()


def test_weights_say_how_often_a_row_is_drawn(here: Path, tmp_path: Path) -> None:
    rows = lw.read_table("photos.csv")
    lw.write_table([row | {"w": int(row["kind"] in ("hat", "dress"))} for row in rows], tmp_path / "weighted.csv")
    columns = [*COLUMNS, f"data={tmp_path / 'weighted.csv'}", "table.weight=w"]
    pieces = build(settings_of(*columns))
    drawn = {pieces.train.classes[label] for _, labels in pieces.train_loader.epoch_batches(0) for label in labels}
    assert drawn == {"hat", "dress"} and len(pieces.train_loader) == -(-len(pieces.train) // 8)


def test_one_class_is_nothing_to_learn(here: Path, tmp_path: Path) -> None:
    with pytest.raises(
        lw.DataError, match="photos.csv has one class only, '1', so .*; table.label names another column"
    ):
        build(settings_of("data=photos.csv", *COLUMNS, "table.label=w"))
    (tmp_path / "images").symlink_to(here / "photos" / "train" / "hat", target_is_directory=True)
    with pytest.raises(lw.DataError, match="has one class only, 'images', .* data is the folder of the class folders"):
        build(settings_of(f"data={tmp_path}"))


@pytest.mark.parametrize("weight", ["", 0])
def test_rows_for_validation_need_no_weight(weight: Any, here: Path, tmp_path: Path) -> None:
    rows = lw.read_table("photos.csv")
    lw.write_table([row | {"w": 1 if row["part"] == "train" else weight} for row in rows], tmp_path / "weighted.csv")
    pieces = build(settings_of(*COLUMNS, f"data={tmp_path / 'weighted.csv'}", "table.weight=w"))
    assert pieces.train.weights is not None and getattr(pieces.val, "weights", None) is None


def test_the_order_of_the_outputs_can_be_said(here: Path) -> None:
    names = [*reversed(lw.ImageFolder("photos", "train").classes)]
    pieces = build(settings_of("data=photos.csv", *COLUMNS, f"table.classes=[{', '.join(names)}]"))
    assert pieces.train.classes == pieces.val.classes == names


# ---- what a run of a table is good for -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    before = Path.cwd()
    os.chdir(data)
    try:
        return train(tmp_path_factory.mktemp("runs") / "table", "data=photos.csv", *COLUMNS)
    finally:
        os.chdir(before)


@pytest.fixture(params=["where it was trained", "elsewhere"])
def anywhere(request: pytest.FixtureRequest, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's paths are those of the folder that it was begun in."""
    monkeypatch.chdir(data if request.param == "where it was trained" else tmp_path)
    return tmp_path


def test_it_is_as_good_as_its_validation_said(run: Path, anywhere: Path) -> None:
    asked = ["evaluate", str(run), "--out", str(anywhere / "out"), "--device", "cpu", "--workers", "0"]
    assert cli.main(asked) == 0
    found = json.loads((anywhere / "out" / "evaluation.json").read_text())
    assert np.float32(found["accuracy"]) == np.float32(last_top1(run)) and found["pictures"] == 20
    assert "photos.csv, val" in found["title"]


def test_what_was_held_out_is_evaluated(here: Path, tmp_path: Path) -> None:
    ended = train(tmp_path / "run", "data=training.csv", "holdout=0.4", *COLUMNS)
    report = lw.evaluate(ended, "training.csv", workers=0, device="cpu")
    assert len(report.names) == 20 and np.float32(report.accuracy) == np.float32(last_top1(ended))


def test_another_table_is_read_by_the_same_columns(run: Path, data: Path, anywhere: Path) -> None:
    rows = [row for row in lw.read_table(data / "photos.csv") if row["part"] == "val"]
    for name, kept in (("some.csv", rows[:7]), ("some.jsonl", rows[:7])):
        lw.write_table([row | {"part": "test"} for row in kept], anywhere / name)
        report = lw.evaluate(run, anywhere / name, split="test", workers=0, device="cpu")
        predictions = lw.predict(run, anywhere / name, workers=0, device="cpu")
        assert len(report.names) == len(predictions) == 7
        assert predictions.labels == [report.classes[index] for index in report.predicted.tolist()]
    out = anywhere / "out.csv"
    assert cli.main(["predict", str(run), str(anywhere / "some.csv"), "--out", str(out), "--device", "cpu"]) == 0
    assert [row["label"] for row in lw.read_table(out)] == predictions.labels


def test_what_stands_between_cells_is_remembered(here: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(Path("photos.csv").read_text().replace(",", ";"))
    columns = (*COLUMNS, "table.delimiter=;", "epochs=1")
    ended = train(tmp_path / "run", f"data={tmp_path / 't.csv'}", *columns)
    some = [row for row in lw.read_table("photos.csv") if row["part"] == "val"]
    lw.write_table(some, tmp_path / "t.jsonl")  # where nothing does
    for name in ("t.csv", "t.jsonl"):
        assert len(lw.evaluate(ended, tmp_path / name, split="val", workers=0, device="cpu").names) == 20
        assert len(lw.predict(ended, tmp_path / name, workers=0, device="cpu")) == (70 if name == "t.csv" else 20)


def test_its_classes_travel_with_it(run: Path, data: Path, tmp_path: Path) -> None:
    assert lw.open_model(run).facts()["classes"] == lw.ImageFolder(data / "photos", "train").classes
    exported = lw.export(run, tmp_path / "model.pt2")
    assert exported.facts["classes"] == lw.open_model(run).classes and exported.pictures.endswith("photos.csv")


def test_its_record_names_the_table(run: Path, data: Path) -> None:
    told = json.loads((run / "environment.json").read_text())["data"]
    assert {phase: facts["kind"] for phase, facts in told.items()} == {"train": "Table", "val": "Table"}
    files = {line["file"] for line in map(json.loads, (run / "data.jsonl").read_text().splitlines())}
    assert any(file.endswith("photos.csv") for file in files)


def test_its_folder_is_named_after_the_table(here: Path) -> None:
    assert run_folder(settings_of("data=photos.csv")).name.startswith("photos-small_resnet")


# ---- mistakes ------------------------------------------------------------------------------------------------------

WRONG = {
    "a column": (["table.label=kid"], "photos.csv has no column 'kid'; it has 'file', 'kind', 'part', 'w': did you mean"),
    "the split": (["table.split_column=prt"], "has no column 'prt'; it has .*: did you mean 'part'"),
    "the weight": (["table.weight=W"], "has no column 'W'"),
    "a weight that is none": (["table.weight=kind"], "column 'kind': no finite number"),
    "the table": (["data=photo.csv"], "photo.csv: no such table; did you mean 'photos.csv'"),
    "the root": (["table.root=nowhere"], "nowhere: the root of the paths in photos.csv is no folder"),
    "several labels": (["table.labels=kind"], "table.labels: .* one class a picture, .* write the loop, with lw.Table"),
    "numbers": (["table.values=w"], "table.values: .* one class a picture, .* for numbers write the loop"),
    "a key": (["table.lable=kind"], "unknown key 'table.lable': did you mean 'table.label'"),
    "a folder": (["data=photos"], "table: names columns, and data: photos is no table"),
    "the task": (["task=restore"], "data: a table lists pictures and their classes, task: classify"),
    "a spreadsheet": (["data=photos.xlsx", "table=null"], r"photos.xlsx: neither a folder nor a table \(.csv, .tsv"),
    "shards": (["data=photos-{00..09}.tar", "table=null"], "of tar shards write the loop, with lw.Shards"),
    "classes": (["table.classes=[hat, dress]"], "not among the given classes"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("command", ["train", "train --dry-run", "summary"])
def test_a_mistake_is_told_once_and_at_the_start(command: str, wrong: str, here: Path, tmp_path: Path, capsys) -> None:
    changed, message = WRONG[wrong]
    run = f"run={tmp_path / 'run'}"
    assert cli.main([*command.split(), *FAST, "data=photos.csv", *COLUMNS, run, *changed]) == 2
    said = capsys.readouterr().err
    assert len(re.findall(message, said)) == 1, said
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_split_column_in_capitals_is_not_passed_over(here: Path, tmp_path: Path) -> None:
    """Else pictures of the test part would be trained on."""
    lw.write_table([{"path": "a.jpg", "label": "hat", "Split": "test"}], tmp_path / "t.csv")
    with pytest.raises(lw.DataError, match="no column 'split'; .*: did you mean 'Split'"):
        lw.open_data(tmp_path / "t.csv", "train")


# ---- packs ---------------------------------------------------------------------------------------------------------


def test_a_pack_of_a_table_is_that_of_the_folder(here: Path, tmp_path: Path) -> None:
    config = tmp_path / "photos.yaml"
    columns = "image: file, label: kind, split_column: part, root: photos, outside: true"
    config.write_text(f"data: photos.csv\ntable: {{{columns}}}\n")
    assert cli.main(["pack", str(config), str(tmp_path / "packed"), "--size", "16"]) == 0
    for own in lw.pack_folder("photos", tmp_path / "folder", size=16, progress=False):
        packed = lw.Packed(tmp_path / "packed" / own.path.name)
        assert packed.classes == own.classes and len(packed) == len(own)
        for (picture, label), (other, same) in zip(packed, own, strict=True):
            assert label == same and np.array_equal(picture, other)


def test_a_test_part_is_packed_too_and_what_is_wrong_with_it_is_said(here: Path, tmp_path: Path) -> None:
    rows = [row | {"part": "test" if row["part"] == "val" else "train"} for row in lw.read_table("photos.csv")]
    options: Any = {"image": "file", "label": "kind", "split_column": "part", "root": "photos", "outside": True}
    lw.write_table(rows, tmp_path / "t.csv")
    packs = lw.pack_folder(tmp_path / "t.csv", tmp_path / "packed", progress=False, holdout=0.4, **options)
    assert [len(packed) for packed in packs] == [30, 20, 20]
    lw.write_table([*rows, {"file": "gone.jpg", "kind": "hat", "part": "test", "w": 1}], tmp_path / "t.csv")
    with pytest.raises(lw.DataError, match=r"no such picture below photos .*gone.jpg"):
        lw.pack_folder(tmp_path / "t.csv", tmp_path / "again", progress=False, **options)
    with pytest.raises(lw.ConfigError, match="a pack keeps no weights"):
        lw.pack_folder(tmp_path / "t.csv", tmp_path / "again", weight="w", **options)
