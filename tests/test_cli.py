"""The command line: each mistake is one clear message and exit code 2 before anything is trained; golden texts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_faces import small_copy

import loopwright as lw
from loopwright import cli


@pytest.fixture
def here(tmp_path: Path, photos: Path, monkeypatch) -> Path:
    """A folder with a small data set, some broken ones, and configurations."""
    monkeypatch.chdir(tmp_path)
    small_copy(photos, tmp_path / "data", 3, 2)
    for name in sorted(os.listdir("data/train"))[3:]:
        for split in ("train", "val"):
            for path in Path("data", split, name).iterdir():
                path.unlink()
            Path("data", split, name).rmdir()
    Path("empty/train").mkdir(parents=True)
    for split, classes in (("train", ("dress", "hat")), ("val", ("dress",))):
        for name in classes:
            Path("lacks", split).mkdir(parents=True, exist_ok=True)
            Path("lacks", split, name).symlink_to(tmp_path / "data" / split / name)
    Path("syntax.yaml").write_text("data: data\noptimizer: {lr: 0.1\nepochs: 2\n")
    Path("wrong.yaml").write_text(
        "data: data\nimagesize: 128\nepochs: many\noptimizer:\n  name: SGDD\n  lr: -1\nmodel: resnet81\n"
        "scheduler: OneCycle\nprecision: fp8\nsave_every: 2\n"
    )
    return tmp_path


def fails(capsys, *arguments: str) -> str:
    """The message of a command that must fail with exit code 2."""
    assert cli.main(["train", *arguments]) == 2
    caught = capsys.readouterr()
    assert "Traceback" not in caught.err and caught.err.startswith("error: ")
    assert not list(Path.cwd().rglob("run.json")), "nothing may have been started"
    return caught.err.removeprefix("error: ").rstrip("\n")


GOLDEN = {
    "data=nowhere": "nowhere: no such folder; {here} holds: data, empty, lacks",
    "data=empty": (
        "empty/train has no pictures in class folders: expected FOLDER/CLASS/PICTURE.jpg "
        "(.bmp, .gif, .jpeg, .jpg, .pgm, .png, .pnm, .ppm, .tif, .tiff, .webp)"
    ),
    "data=lacks": (
        "lacks/val has no pictures of 1 of the 2 classes of training: hat. Add some, or give classes=... to say that "
        "this is intended"
    ),
    "data=data learning_rate=3": "command line: unknown key 'learning_rate': did you mean 'optimizer.lr'?",
    "": "data is missing: it should be text that is not empty",
    "nothing.yaml": "there is no file 'nothing.yaml': did you mean 'wrong.yaml' or 'syntax.yaml'?",
    "syntax.yaml": (
        "syntax.yaml:3:7: this is not YAML in 'epochs: 2': expected ',' or '}', but got ':' while parsing a flow mapping "
        "that begins on line 2 (a bracket is not closed)"
    ),
    "wrong.yaml": (
        "wrong.yaml:2: unknown key 'imagesize': did you mean 'image_size'?\n"
        "wrong.yaml:3: epochs: 'many' is not a length of training: write a number above 0 and its unit, such as "
        "'1 epoch', '0.5 epochs', '500 steps' or '10 minutes'\n"
        "wrong.yaml:5: optimizer.name: there is no optimizer 'SGDD': did you mean 'SGD', 'ASGD' or 'sgdc'?\n"
        "wrong.yaml:6: optimizer.lr should be a number greater than 0, is -1\n"
        "wrong.yaml:7: model.name: there is no model 'resnet81': did you mean 'resnet18', 'resnet101' or 'resnet152'?\n"
        "wrong.yaml:8: scheduler.name: there is no scheduler 'OneCycle': did you mean 'OneCycleLR'?\n"
        "wrong.yaml:9: precision should be one of 'auto', 'fp32', 'bf16' or 'fp16', is 'fp8'\n"
        "wrong.yaml:10: save_every: 2 is not a length of training: write a number above 0 and its unit, such as "
        "'1 epoch', '0.5 epochs', '500 steps' or '10 minutes'"
    ),
    "data=data batch_size=100 drop_last=true": (
        "batch_size 100 with drop_last leaves nothing of 9 samples: make the batch smaller, or keep the short one"
    ),
    "data=data optimizer=SGD optimizer.momentm=1": (
        "command line: optimizer.momentm is not an argument of SGD: did you mean 'momentum'?"
    ),
    "data=data scheduler=StepLR": "command line: scheduler: step_size is missing: StepLR needs it",
    "data=data augment=RandomResizeCrop loss=crossentropy": (
        "command line: loss.name: there is no loss 'crossentropy': did you mean 'cross_entropy'?\n"
        "command line: augment: there is no transform 'RandomResizeCrop': did you mean 'RandomResizedCrop' or "
        "'RandomResize'?"
    ),
    "data=data batch_size=0 image_size=big seed=-1": (
        "command line: image_size should be a whole number between 8 and 4096 or a mapping of keys to values, is 'big'\n"
        "command line: batch_size should be a whole number of at least 1, is 0\n"
        "command line: seed should be a whole number of at least 0 and less than 4294967296, is -1"
    ),
    "data=data weights=nope.pt": "nope.pt: no such file or folder of weights",
    "data=data run=/proc/x": (
        "cannot write into the run folder /proc/x: No such file or directory. Give it write permission, or put the run "
        "elsewhere"
    ),
    "data=data model=nothing:build": ("command line: model.name: 'nothing:build': there is no module 'nothing'"),
}


@pytest.mark.parametrize("arguments", GOLDEN)
def test_a_mistake_is_one_clear_message(here: Path, capsys, arguments: str) -> None:
    assert fails(capsys, *arguments.split()) == GOLDEN[arguments].replace("{here}", str(here))


FAST = ["data=data", "image_size=16", "workers=0", "model=mobilenet_v3_small", "run=r"]


def test_settings_may_stand_before_and_behind_options(here: Path, capsys) -> None:
    Path("some.yaml").write_text("data: data\nmodel: resnet18\n")
    shown = []
    for line in (
        "some.yaml model=small_resnet image_size=16 --depth 0",
        "some.yaml --depth 0 model=small_resnet image_size=16",
        "--depth 0 some.yaml model=small_resnet image_size=16",
    ):
        assert cli.main(["summary", *line.split()]) == 0
        shown.append(capsys.readouterr().out)
    assert "307,923" in shown[0] and len(set(shown)) == 1
    for wrong in ("summary some.yaml --deep model=small_resnet", "runs --deep 0"):
        with pytest.raises(SystemExit):
            cli.main(wrong.split())
        assert "unrecognized arguments: --deep" in capsys.readouterr().err


def test_a_run_of_another_configuration_says_what_differs(here: Path, capsys) -> None:
    assert cli.main(["train", *FAST, "epochs=1"]) == 0
    facts = lw.read_run("r")
    (here / "r" / "run.json").write_text(__import__("json").dumps(facts | {"state": "stopped"}))
    capsys.readouterr()
    assert cli.main(["train", *FAST, "epochs=2", "optimizer.lr=0.1"]) == 2
    assert capsys.readouterr().err == (
        "error: r holds an unfinished run of another configuration:\n"
        "  epochs: 1 -> 2\n"
        "  optimizer.lr: 0.003 -> 0.1\n"
        "To go on with the new settings say resume=True (--resume), to replace the run overwrite=True (--overwrite), "
        "or give this run another folder\n"
    )


def test_a_truncated_checkpoint_is_named(here: Path, capsys) -> None:
    assert cli.main(["train", *FAST, "epochs=1"]) == 0
    (file,) = here.glob("r/checkpoints/step-*/run.pt")
    file.write_bytes(b"cut")
    capsys.readouterr()
    assert cli.main(["train", *FAST, "epochs=1", "--resume"]) == 2
    assert "run.pt has 3 bytes and should have" in capsys.readouterr().err


def test_a_finished_run_is_kept_resumed_or_replaced(here: Path, capsys) -> None:
    assert cli.main(["train", *FAST, "epochs=1"]) == 0
    assert cli.main(["train", *FAST, "epochs=1"]) == 2
    assert "holds a finished run" in capsys.readouterr().err
    assert cli.main(["train", *FAST, "epochs=1", "--overwrite"]) == 0
    assert cli.main(["train", *FAST, "epochs=2", "scheduler=none", "--resume"]) == 2  # another schedule does not fit
    assert cli.main(["train", *FAST, "epochs=1", "--resume"]) == 0  # nothing left to do


def test_an_unreadable_picture_is_named_or_skipped(here: Path, capsys) -> None:
    bad = here / "data/train/hat/bad.jpg"
    bad.write_bytes(b"no picture")
    assert cli.main(["train", *FAST, "epochs=1"]) == 2
    assert "data/train/hat/bad.jpg: not a readable picture" in capsys.readouterr().err
    assert lw.read_run("r")["state"] == "failed"
    assert cli.main(["train", *FAST, "epochs=1", "on_error=skip", "--overwrite"]) == 0
    assert "skipped    1 so far, the last: data/train/hat/bad.jpg" in capsys.readouterr().out


def test_training_writes_what_it_says(here: Path, capsys) -> None:
    assert cli.main(["train", *FAST, "epochs=1"]) == 0
    out = capsys.readouterr().out
    assert "accuracy" in out and "r/predictions.png" in out
    saved = lw.load_config("r/config.yaml")
    assert saved["data"] == "data" and saved["image_size"] == 16 and saved["optimizer"]["lr"] == 0.003
    assert (here / "r/predictions.png").exists()
    assert cli.main(["runs", "."]) == 0
    assert "finished" in capsys.readouterr().out


def test_the_saved_configuration_starts_the_same_run(here: Path) -> None:
    assert cli.main(["train", *FAST, "epochs=1"]) == 0
    assert cli.main(["train", "r/config.yaml", "run=again"]) == 0
    ends = [lw.Checkpoints(f"{name}/checkpoints").load(only="model") for name in ("r", "again")]
    assert all((ends[0][key] == ends[1][key]).all() for key in ends[0])


def test_a_dry_run_shows_the_plan_and_writes_nothing(here: Path, capsys) -> None:
    before = sorted(here.rglob("*"))
    assert cli.main(["train", *FAST, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "image_size: 16" in out and "9 training and 6 validation pictures of 3 classes" in out
    assert "pictures (9, 3, 16, 16) torch.float32, labels (9,), loss" in out
    assert sorted(here.rglob("*")) == before


def test_without_a_run_name_each_gets_a_folder_and_an_unfinished_one_goes_on(here: Path, capsys) -> None:
    fast = [argument for argument in FAST if not argument.startswith("run=")]
    for name in ("data-mobilenet_v3_small", "data-mobilenet_v3_small-2"):
        assert cli.main(["train", *fast, "epochs=1"]) == 0
        assert (here / "runs" / name / "run.json").exists()


@pytest.mark.parametrize("command", [["--help"], ["runs"]])
def test_as_a_user_calls_it(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "loopwright", *command], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0 and done.stdout and not done.stderr


def test_settings_that_load_back_equal(here: Path) -> None:
    from loopwright._config import config_text, load_config
    from loopwright.recipes._settings import TrainSettings

    settings = load_config(
        None,
        ["data=x", "epochs=500 steps", "save_every=[1 epoch, 10 minutes]", "optimizer={name: SGD, lr: 1, momentum: 0.9}",
         "augment=[RandomResizedCrop, {name: ColorJitter, brightness: 0.2}]",
         "scheduler={name: OneCycleLR, pct_start: 0.2}"],
        schema=TrainSettings,
    )  # fmt: skip
    Path("saved.yaml").write_text(config_text(settings))
    assert load_config("saved.yaml", schema=TrainSettings) == settings
