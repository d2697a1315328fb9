"""Predictions: those of validation, in the order of the input, nothing dropped; and which runs can be opened."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import last_top1
from torch import nn

import loopwright as lw
from loopwright import _trained, cli
from loopwright._checkpoints import Checkpoints
from loopwright._record import read_classes
from loopwright.data._gathered import Gathered


@pytest.fixture
def run(trained_run: Path) -> Path:
    """A tiny classifier."""
    return trained_run


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def error(call: Any, kind: type[Exception] = lw.LoopwrightError) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


# ---- the predictions -------------------------------------------------------------------------------------------------


def test_the_accuracy_of_the_predictions_is_that_of_validation(run: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.csv"
    assert cli.main(["predict", str(run), str(photos / "val"), "--out", str(out), "--workers", "1"]) == 0
    rows = lw.read_table(out)
    right = sum(row["label"] == Path(row["path"]).parent.name for row in rows)
    assert len(rows) == 249
    assert np.float32(right) / np.float32(249) == np.float32(last_top1(run))  # a float32 mean of one batch


def test_workers_and_endings_change_nothing(run: Path, photos: Path, tmp_path: Path) -> None:
    few = [photos / "val" / "hat", photos / "val" / "dress"]
    found = [lw.predict(run, few, top=3, probabilities=True, workers=n, device="cpu") for n in (0, 2)]
    for number, predictions in enumerate(found):
        for ending in ("csv", "json", "jsonl", "parquet"):
            predictions.write(tmp_path / f"{number}.{ending}")
    for ending in ("csv", "json", "jsonl"):
        assert (tmp_path / f"0.{ending}").read_bytes() == (tmp_path / f"1.{ending}").read_bytes()
    rows = [lw.read_table(tmp_path / f"0.{ending}") for ending in ("json", "jsonl", "parquet")]
    assert rows[0] == rows[1] == rows[2] == list(found[0].rows())
    texts = [[str(value) for value in row.values()] for row in rows[0]]
    assert texts == [list(row.values()) for row in lw.read_table(tmp_path / "0.csv")]


def test_a_row_holds_the_most_probable_classes(run: Path, photos: Path) -> None:
    predictions = lw.predict(run, photos / "val" / "hat", top=3, probabilities=True, workers=0, device="cpu")
    assert predictions.probabilities is not None
    assert torch.allclose(predictions.probabilities.sum(1), torch.ones(25))
    row = next(predictions.rows())
    assert list(row)[:7] == ["path", "label", "confidence", "label_2", "confidence_2", "label_3", "confidence_3"]
    named = {name: row[f"p:{name}"] for name in predictions.classes}
    best = sorted(named, key=lambda name: -named[name])[:3]
    assert best == [row["label"], row["label_2"], row["label_3"]] and predictions.labels[0] == best[0]
    assert [named[name] for name in best] == [row["confidence"], row["confidence_2"], row["confidence_3"]]
    assert np.float32(row["confidence"]) == predictions.confidence[0, 0].numpy()  # not a bit was rounded away


def test_the_order_is_that_of_what_was_given(run: Path, photos: Path, tmp_path: Path) -> None:
    hats = sorted(str(path) for path in (photos / "val" / "hat").iterdir())
    (tmp_path / "sub").mkdir()
    for place, hat in zip(("b.jpg", "a.jpg", "sub/c.jpg"), hats, strict=False):
        shutil.copy(hat, tmp_path / place)
    (tmp_path / "notes.txt").write_text("no picture")
    packed = lw.pack(lw.ImageFolder(photos, split="val"), tmp_path / "val.pack", size=32, progress=False)
    (tmp_path / "list.csv").write_text("path,label,split\nb.jpg,,\nsub/c.jpg,hat,val\n")
    given = [hats[3], str(tmp_path / "*.jpg"), tmp_path / "list.csv", tmp_path / "val.pack", tmp_path, hats[3]]
    of_folder = [str(tmp_path / name) for name in ("a.jpg", "b.jpg", "sub/c.jpg")]
    expected = [
        hats[3], *of_folder[:2], *of_folder[1:], *(packed.name_of(i) for i in range(len(packed))), *of_folder, hats[3],
    ]  # fmt: skip
    predictions = lw.predict(run, given, workers=2, batch_size=7, device="cpu")
    assert predictions.names == expected
    assert predictions.labels[0] == predictions.labels[-1] and predictions.labels[1] == predictions.labels[-4]
    assert "1 files with no ending of a picture, such as" in predictions.text().replace("3 files", "1 files")


def test_the_library_and_the_model_agree_on_one_picture(run: Path, photos: Path) -> None:
    trained = lw.open_model(run)
    path = next((photos / "val" / "hat").iterdir())
    picture = trained.transform(lw.open_picture(path))
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    with torch.no_grad():
        probabilities = trained.model(trained.normalize(pixels)).softmax(1)[0]
    found = lw.predict(trained, path, workers=0, device="cpu")
    # The file is decoded at a part of its size for the crop, so pixels differ by a few levels.
    assert abs(float(found.confidence[0, 0]) - float(probabilities.max())) < 0.05


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_pictures_are_named_and_keep_their_rows(
    run: Path, photos: Path, tmp_path: Path, capsys, workers: int
) -> None:
    good = sorted((photos / "val" / "hat").iterdir())[:3]
    for number, path in enumerate(good):
        shutil.copy(path, tmp_path / f"{number}.jpg")
    (tmp_path / "1.jpg").write_bytes(b"no picture at all")
    (tmp_path / "list.csv").write_text("path\n0.jpg\n1.jpg\ngone.jpg\n2.jpg\n../outside.jpg\n")
    table, out = str(tmp_path / "list.csv"), tmp_path / "out.csv"
    asked = ["predict", str(run), table, "--out", str(out), "--workers", str(workers), "--batch-size", "1"]
    assert cli.main(asked) == 2
    message = capsys.readouterr().err
    assert "2 of 5 pictures are not there" in message and "gone.jpg: line 4: there is no such file" in message
    assert cli.main(["predict", str(run), str(tmp_path / "?.jpg"), "--out", str(out)]) == 2
    assert "1.jpg" in capsys.readouterr().err and not out.exists()
    assert cli.main([*asked, "--on-error", "skip"]) == 0
    rows = lw.read_table(out)
    assert [Path(row["path"]).name for row in rows] == ["0.jpg", "1.jpg", "gone.jpg", "2.jpg", "outside.jpg"]
    assert [bool(row["label"]) for row in rows] == [True, False, False, True, False]
    assert [bool(row["error"]) for row in rows] == [False, True, True, False, True]
    assert "1.jpg" in rows[1]["error"] and "no such file" in rows[2]["error"] and "root" in rows[4]["error"]
    printed = capsys.readouterr().out
    assert "2 of 5 read" in printed and printed.count("unreadable ") == 3


def test_sources_that_are_not_there_are_all_named(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    given = [photos / "val", tmp_path / "phoot.jpg", tmp_path / "empty", tmp_path / "*.png"]
    message = error(lambda: Gathered(given), lw.DataError)
    assert "phoot.jpg: no such picture or folder; did you mean 'photo.jpg'?" in message
    assert "empty has no pictures (.bmp" in message and "*.png: no file is of this pattern" in message
    assert "no pictures were given" in error(lambda: Gathered([]), lw.DataError)


# ---- opening a run ---------------------------------------------------------------------------------------------------


def test_the_best_weights_are_taken_unless_others_are_named(run: Path) -> None:
    saved = Checkpoints(run / "checkpoints")
    best, latest = saved.best(), saved.latest
    assert best is not None and latest is not None
    assert lw.open_model(run).checkpoint.name == best.name
    assert lw.open_model(run, "latest").checkpoint.name == latest.name
    own = lw.small_resnet(10, width=4)
    lw.load_weights(own, run)
    found = lw.open_model(run).model
    assert all(torch.equal(a, b) for a, b in zip(own.state_dict().values(), found.state_dict().values(), strict=True))
    assert not found.training


def test_opening_leaves_the_random_generator_alone(run: Path) -> None:
    before = torch.get_rng_state()
    lw.open_model(run)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_average_that_validation_measured_is_what_is_opened(copied: Path) -> None:
    model = lw.small_resnet(10, width=4)
    average = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    shutil.rmtree(copied / "checkpoints")
    states = {"model": model.state_dict(), "ema": {"updates": 3, "model": average}}
    Checkpoints(copied / "checkpoints").save(states, step=1)
    plain = lw.open_model(copied)
    config = copied / "config.yaml"
    config.write_text(config.read_text() + "ema:\n  decay: 0.9\n" if "ema:" not in config.read_text() else
                      config.read_text().replace("ema: null", "ema:\n  decay: 0.9"))  # fmt: skip
    averaged = lw.open_model(copied)
    assert (plain.weights, averaged.weights) == ("model", "ema")
    assert torch.equal(averaged.model.state_dict()["head.bias"], average["head.bias"])


def test_the_run_records_its_classes_and_refuses_to_change_their_meaning(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    assert read_classes(run) == lw.ImageFolder(photos, split="train").classes

    def live(classes: list[str], stop: bool) -> None:
        with lw.Run(tmp_path / "own", classes=classes, device="cpu", seed=0, progress=False) as run:
            model = run.prepare(nn.Linear(2, 2))
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            run.register(model=model, optimizer=optimizer)
            for epoch in run.epochs(2):
                if stop and epoch == 1:
                    raise KeyboardInterrupt
                for batch in run.batches([torch.ones(1, 2)]):
                    run.step(model(batch).sum(), optimizer)

    with pytest.raises(KeyboardInterrupt):
        live(["cat", "dog"], stop=True)
    assert "that differ from there on: dog" in error(lambda: live(["cat", "cow"], stop=False), lw.RunError)
    live(["cat", "dog"], stop=False)
    assert read_classes(tmp_path / "own") == ["cat", "dog"]


def test_without_recorded_classes_the_data_is_asked(copied: Path, run: Path) -> None:
    (copied / "classes.json").unlink()
    assert lw.open_model(copied).classes == lw.open_model(run).classes
    config = copied / "config.yaml"
    data = next(line for line in config.read_text().splitlines() if line.startswith("data:"))
    config.write_text(config.read_text().replace(data, "data: gone"))
    message = error(lambda: lw.open_model(copied), lw.RunError)
    assert "does not hold the names of its classes, and its data, gone, is not there" in message


@pytest.mark.parametrize("spoil", ["no run", "no checkpoint", "own loop", "checkpoint", "classes"])
def test_a_run_that_cannot_be_opened_says_why(copied: Path, spoil: str) -> None:
    expected = {
        "no run": "is no run: it has no run.json",
        "no checkpoint": "has no checkpoint yet",
        "own loop": "is of a loop of its own",
        "checkpoint": "has no checkpoint 'step-7'; it holds: step-",
        "classes": "head.weight",
    }[spoil]
    if spoil == "no run":
        (copied / "run.json").unlink()
    elif spoil == "no checkpoint":
        shutil.rmtree(copied / "checkpoints")
    elif spoil == "own loop":
        (copied / "config.yaml").write_text("model: 3\nlr: 0.1\n")
    elif spoil == "classes":
        (copied / "classes.json").write_text('{"classes": ["a", "b"]}')
    assert expected in error(lambda: lw.open_model(copied, "step-7" if spoil == "checkpoint" else None))


def test_a_strangers_run_calls_nothing_and_reads_no_other_file(copied: Path, tmp_path: Path) -> None:
    config = copied / "config.yaml"
    before = config.read_text()
    config.write_text(before.replace("name: small_resnet", "name: subprocess:run"))
    info = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps(info | {"host": "elsewhere"}))
    message = error(lambda: lw.open_model(copied), lw.RunError)
    assert "was trained on elsewhere and names the function 'subprocess:run'" in message and "--trust" in message
    config.write_text(f"include: {tmp_path / 'other.yaml'}\n{before}")
    assert lw.open_model(copied).image_size == 16  # the file, which is not there, was not looked for
    (tmp_path / "classes.json").write_text((copied / "classes.json").read_text())
    (copied / "classes.json").unlink()
    (copied / "classes.json").symlink_to(tmp_path / "classes.json")
    assert "it is a link" in error(lambda: lw.open_model(copied), lw.RunError)


def test_names_of_strangers_give_the_terminal_no_orders(copied: Path, photos: Path, tmp_path: Path, capsys) -> None:
    classes = ["\x1b]0;evil\x07" + str(number) for number in range(10)]
    (copied / "classes.json").write_text(json.dumps({"classes": classes}))
    assert cli.main(["predict", str(copied), str(photos / "val" / "hat"), "--out", str(tmp_path / "out.csv")]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "\\x1b]0;evil" in printed
    assert {row["label"] for row in lw.read_table(tmp_path / "out.csv")} <= set(classes)


def test_a_function_of_this_machine_is_a_model(copied: Path) -> None:
    config = copied / "config.yaml"
    config.write_text(
        config.read_text().replace("name: small_resnet", "name: loopwright.models._small_resnet:small_resnet")
    )
    assert len(lw.open_model(copied).classes) == 10


def test_an_optimizer_that_validates_other_weights_is_refused(copied: Path) -> None:
    config = copied / "config.yaml"
    config.write_text(config.read_text().replace("name: AdamW", "name: AdamWScheduleFree"))
    assert "trains other weights than those that it validates" in error(lambda: lw.open_model(copied))


def test_pretrained_weights_are_not_fetched_again(monkeypatch) -> None:
    def fetch(*_: Any, **__: Any) -> None:
        raise AssertionError("fetched")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    model: Any = _trained._built("googlenet", {"weights": "DEFAULT", "init_weights": False}, 3)
    assert model.transform_input and model.aux1 is None and model.fc.out_features == 3  # as the pretrained one is


# ---- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "predictions.txt"], "a table ends in one of .csv, .tsv"),
        (["--out", "nowhere/predictions.csv"], "there is no folder nowhere to write it in"),
        (["--top", "11"], "top must be 1 to 10, the number of classes. Found: 11"),
        (["--device", "tpu9"], "device 'tpu9' is not one that torch knows"),
        (["--checkpoint", "step-7"], "has no checkpoint 'step-7'"),
    ],
)
def test_mistakes_are_said_before_anything_is_computed(
    run: Path, photos: Path, tmp_path: Path, monkeypatch, capsys, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["predict", str(run), str(photos / "val" / "hat"), *arguments]) == 2
    caught = capsys.readouterr()
    assert message in caught.err and "Traceback" not in caught.err
    assert not list(tmp_path.iterdir())
