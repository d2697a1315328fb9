"""What holds for restore and segment alike: packs, kills, tiles, and the commands beside train."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import forked, same_bits
from picture_data import (
    clean_photos,
    curve,
    deep_pairs,
    drawn_shapes,
    end_after,
    noisy_pairs,
    of_restore,
    of_segment,
    record_of,
)
from PIL import Image
from torch import Tensor, nn

import loopwright as lw
from loopwright import cli
from loopwright._yaml import dump_yaml
from loopwright.recipes import _restore, _segment
from loopwright.recipes._measure import measure
from loopwright.recipes._tasks import settings_of

pytestmark = pytest.mark.usefixtures("one_thread")
RECIPES = {"restore": _restore, "segment": _segment}
TASKS = ["restore", "segment"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each kind of data."""
    root = tmp_path_factory.mktemp("data")
    for name in ("clean", "pairs", "deep", "shapes"):
        (root / name).mkdir()
    clean = clean_photos(root / "clean")
    return {
        "clean": clean, "pairs": noisy_pairs(clean, root / "pairs"), "deep": deep_pairs(root / "deep"),
        "shapes": drawn_shapes(root / "shapes", 14, 4),
    }  # fmt: skip


CASES: dict[str, Callable[..., dict[str, Any]]] = {
    "clean": of_restore,
    "pairs": lambda data, run, **more: of_restore(data, run, degrade=False, **more),
    "deep": lambda data, run, **more: of_restore(data, run, degrade=False, kind="raw", **more),
    "shapes": of_segment,
}
OF_TASK = {"restore": "clean", "segment": "shapes"}


def settings(values: dict[str, Any]) -> Any:
    return lw.load_config(values, schema=settings_of(values))


def train(values: dict[str, Any]) -> lw.Fitted:
    return RECIPES[values["task"]].train(settings(values), progress=False)


def yaml_of(path: Path, values: dict[str, Any]) -> str:
    path.write_text(dump_yaml(values))
    return str(path)


# ---- packs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_packed_data_give_the_same_bits_and_figures(
    case: str, data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cold = CASES[case](data[case], tmp_path / "cold")
    assert cli.main(["pack", yaml_of(tmp_path / "c.yaml", cold), str(tmp_path / "packed")]) == 0
    assert "PackedPairs" in capsys.readouterr().out
    packed = {**cold, "data": str(tmp_path / "packed"), "run": str(tmp_path / "packed-run"), "workers": 2}
    assert same_bits(train(cold).model, train(packed).model)
    assert record_of(tmp_path / "cold") == record_of(tmp_path / "packed-run")
    figures = [measure(tmp_path / name, device="cpu", workers=0).figures for name in ("cold", "packed-run")]
    assert figures[0] == figures[1]


@pytest.mark.parametrize("case", CASES)
def test_a_pack_of_pairs_holds_the_very_numbers(case: str, data: dict[str, Path], tmp_path: Path) -> None:
    pairs = RECIPES["segment" if case == "shapes" else "restore"].open_pairs(
        settings(CASES[case](data[case], tmp_path)), "train"
    )
    packed = lw.pack(pairs, tmp_path / "p.pack", progress=False)
    assert len(packed) == len(pairs) and packed.verify() == []
    assert [packed.name_of(i) for i in range(len(packed))] == [pairs.name_of(i) for i in range(len(pairs))]
    for index in range(len(pairs)):
        one, other = pairs[index], packed[index]
        assert one.keys() == other.keys()
        for role in one:
            assert type(one[role]) is type(other[role]) or isinstance(one[role], Image.Image)
            before, after = np.asarray(one[role]), np.asarray(other[role])
            assert before.dtype == after.dtype and np.array_equal(before, after)


def test_all_65536_levels_go_through_a_pack(tmp_path: Path) -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for number in range(2):
        for role in ("noisy", "clean"):
            (tmp_path / role).mkdir(exist_ok=True)
            Image.fromarray(levels).save(tmp_path / role / f"{number}.png")
    pairs = lw.PairedFolders(tmp_path, noisy=lw.Role("noisy", "raw"), clean=lw.Role("clean", "raw"))
    packed = lw.pack(pairs, tmp_path / "p.pack", progress=False)
    loader = lw.Loader(packed, 2, workers=0, normalize={"noisy": lw.ToUnit("last")})
    batch = loader.normalize(next(iter(loader.epoch_batches(0))))  # type: ignore[misc]
    assert torch.equal((batch["noisy"][0, 0] * 65535).round().int(), torch.from_numpy(levels.astype(np.int32)))


def test_packs_that_do_not_hold_what_is_asked_for_are_refused(data: dict[str, Path], tmp_path: Path) -> None:
    asked = settings(of_restore(data["clean"], tmp_path / "run"))
    photos = lw.ImageFolder(data["pairs"] / "train")
    lw.pack(photos, tmp_path / "rgb" / "train.pack", progress=False)
    with pytest.raises(
        lw.DataError, match=r"holds RGB pictures of classes, and task: restore asks for target \(gray\)"
    ):
        _restore.open_pairs(asked.model_copy(update={"data": str(tmp_path / "rgb")}), "train")
    pairs = lw.PairedFolders(data["clean"], "train", target=lw.Role(".", "raw"))
    lw.pack(pairs, tmp_path / "raw" / "train.pack", progress=False)
    with pytest.raises(lw.DataError, match="'target' is asked for with kind 'gray'.*in the pack it is of kind 'raw'"):
        _restore.open_pairs(asked.model_copy(update={"data": str(tmp_path / "raw")}), "train")
    with pytest.raises(lw.DataError, match="PackedPairs"):
        lw.Packed(tmp_path / "raw" / "train.pack")
    with pytest.raises(lw.ConfigError, match="pairs are packed as they are"):
        lw.pack(pairs, tmp_path / "small.pack", size=16, progress=False)
    with open(tmp_path / "raw" / "train.pack", "r+b") as file:
        file.seek(5000)
        file.write(b"damaged")
    with pytest.raises(lw.DataError, match="is damaged; pack it again"):
        list(lw.PackedPairs(tmp_path / "raw" / "train.pack"))  # type: ignore[call-overload]


def test_a_pack_of_pairs_is_made_once_and_a_changed_file_is_noticed(data: dict[str, Path], tmp_path: Path) -> None:
    for role in ("noisy", "clean"):
        (tmp_path / role).mkdir()
        for number in range(3):
            Image.fromarray(np.full((9, 9), 50 * number, np.uint8)).save(tmp_path / role / f"{number}.png")
    pairs = lw.PairedFolders(tmp_path, noisy="noisy", clean="clean")
    made = lw.pack(pairs, tmp_path / "p.pack", progress=False).path.stat().st_mtime_ns
    assert lw.pack(pairs, tmp_path / "p.pack", progress=False).path.stat().st_mtime_ns == made
    Image.fromarray(np.full((9, 9), 7, np.uint8)).save(tmp_path / "clean" / "2.png")
    os.utime(tmp_path / "clean" / "2.png", ns=(1, 1))
    with pytest.raises(lw.DataError, match="were changed since"):
        lw.pack(pairs, tmp_path / "p.pack", progress=False)
    again = lw.pack(pairs, tmp_path / "p.pack", progress=False, overwrite=True)
    assert np.asarray(again[2]["clean"]).max() == 7


# ---- exact resume ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["clean", "pairs", "shapes"])
@pytest.mark.slow
def test_killed_for_real_it_ends_with_the_same_bits_and_record(
    case: str, data: dict[str, Path], tmp_path: Path
) -> None:
    loss = "picture_data:cut_cross_entropy" if case == "shapes" else "picture_data:cut_l1"

    def values(name: str) -> dict[str, Any]:
        return CASES[case](data[case], tmp_path / name, loss=loss, save_every="1 steps")

    end_after()
    whole = train(values("whole")).model
    for calls in (2, 3):  # in the training; then behind it, in the validation or the second epoch

        def life(calls: int = calls) -> None:
            end_after(calls, really=True)
            train(values("cut"))

        _, status = os.waitpid(forked(life), 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    end_after()
    assert same_bits(train(values("cut")).model, whole)
    assert record_of(tmp_path / "cut") == record_of(tmp_path / "whole")


# ---- tiles ----------------------------------------------------------------------------------------------------------


class Watched(nn.Module):
    """A network that remembers how large the pictures were that it was given in evaluation."""

    largest = 0

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, out_channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            Watched.largest = max(Watched.largest, *x.shape[2:])
        return self.layers(x)


@pytest.mark.parametrize("task", TASKS)
def test_validation_in_parts_is_validation_at_once(task: str, data: dict[str, Path], tmp_path: Path) -> None:
    case, side = OF_TASK[task], 100
    root = data[case] if task == "restore" else drawn_shapes(tmp_path / "large", 8, 2, side=120)
    figures, largest = [], []
    for name, more in (("whole", {}), ("tiled", {"tile": side - 16, "overlap": 2})):
        Watched.largest = 0
        train(CASES[case](root, tmp_path / name, model="test_picture_tasks:Watched", **more))
        largest.append(Watched.largest)
        Watched.largest = 0
        figures.append(measure(tmp_path / name, device="cpu", workers=0).figures)
        largest.append(Watched.largest)
    assert min(largest[:2]) >= side, "else it shows nothing"
    assert max(largest[2:]) <= side - 16
    names = ["val/psnr", "val/loss"] if task == "restore" else ["val/pixels/mean_iou", "val/loss"]
    for name in names:
        one, other = curve([tmp_path / "whole", tmp_path / "tiled"], name)
        assert one == pytest.approx(other, abs=1e-4) and len(one) == 2
    assert figures[0] == pytest.approx(figures[1], abs=1e-4)


def test_tiled_is_the_model_in_training_and_gives_several_outputs_back() -> None:
    model = Watched(1, 1)
    tiled = lw.Tiled(model, tile=32, overlap=2, align=1)
    picture = torch.rand(1, 1, 50, 70)
    Watched.largest = 0
    assert torch.equal(tiled.train()(picture), model(picture)) and Watched.largest == 0
    assert torch.allclose(tiled.eval()(picture), model(picture), atol=1e-6)
    for kind in (dict, tuple, list):

        def several(x: Tensor, kind: Any = kind) -> Any:
            both = {"same": x, "half": nn.functional.avg_pool2d(x, 2)}
            return both if kind is dict else kind(both.values())

        found = lw.tiled(several, picture, tile=16, overlap=2, align=2)
        assert type(found) is kind
        same, half = found.values() if kind is dict else found
        assert torch.equal(same, picture)
        assert torch.allclose(half, nn.functional.avg_pool2d(picture, 2))
    with pytest.raises(lw.ConfigError, match="make tile larger"):
        lw.Tiled(model, tile=32, overlap=16)


# ---- the commands beside train --------------------------------------------------------------------------------------


@pytest.fixture
def config(request: pytest.FixtureRequest, data: dict[str, Path], tmp_path: Path) -> str:
    case = OF_TASK[request.param]
    return yaml_of(tmp_path / "config.yaml", CASES[case](data[case], tmp_path / "run", epochs=20))


@pytest.mark.parametrize("config", TASKS, indirect=True)
def test_summary_counts_the_model_on_a_batch(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["summary", config, "--depth", "0"]) == 0
    shown = capsys.readouterr().out
    values = lw.load_config(config, schema=settings_of(lw.load_config(config)))
    pieces = RECIPES[values.task].build(values)
    assert f"{sum(p.numel() for p in pieces.model.parameters()):,} trained" in shown
    shape = (8, 1, 24, 24) if values.task == "restore" else (8, 3, 48, 48)
    assert str(shape) in shown


@pytest.mark.parametrize("config", TASKS, indirect=True)
@pytest.mark.slow
def test_find_lr_finds_a_rate_that_trains(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["find-lr", config, "--ramps", "1", "--steps", "20", "--out", str(tmp_path / "lr"), "--write"]
    assert cli.main(arguments) == 0
    last = capsys.readouterr().out
    found = json.loads((tmp_path / "lr" / "lr.json").read_text())
    assert 1e-5 < found["lr"] < 1
    assert f"optimizer.lr={found['lr']!r}" in last
    assert lw.load_config(config)["optimizer"]["lr"] == found["lr"]


@pytest.mark.parametrize("config", TASKS, indirect=True)
@pytest.mark.slow
def test_fit_batch_tries_steps_of_squares(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit-batch", config, "--margin", "0"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == ("batch_size=20" if "restore" in Path(config).read_text() else "batch_size=10")


@pytest.mark.parametrize("config", TASKS, indirect=True)
def test_check_passes_and_says_what_it_leaves_out(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", config, "--seconds", "8"]) == 0
    shown = capsys.readouterr().out
    assert "targets are no classes" in shown


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.slow
def test_check_sees_inputs_that_do_not_matter(task: str, data: dict[str, Path], tmp_path: Path) -> None:
    from loopwright.recipes._check import check_settings

    case = OF_TASK[task]
    values = CASES[case](data[case], tmp_path / "run", model="test_picture_tasks:Blind")
    report = check_settings(settings(values), seconds=8)
    assert not report.ok


class Blind(Watched):
    """A network that looks at nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.zeros_like(x))


@pytest.mark.parametrize("config", TASKS, indirect=True)
@pytest.mark.slow
def test_doctor_measures_the_stages(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", config, "--seconds", "0.05", "--apply"]) == 0
    shown = capsys.readouterr().out
    assert "images/s" in shown and "verdict" in shown


@pytest.fixture(scope="module")
def runs(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each task; of restore one of a U-Net too, whose sizes are multiples."""
    root = tmp_path_factory.mktemp("runs")
    train(of_restore(data["clean"], root / "restore"))
    train(of_restore(data["clean"], root / "unet", model={"name": "unet", "width": 4, "levels": 2}))
    train(of_segment(data["shapes"], root / "segment", epochs=1))
    return {name: root / name for name in ("restore", "unet", "segment")}


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", ["torch", "onnx"])
@pytest.mark.parametrize("name", ["restore", "unet", "segment"])
@pytest.mark.slow
def test_exported_programs_compute_the_same(
    name: str, kind: Any, normalize: bool, runs: dict[str, Path], tmp_path: Path
) -> None:
    if kind == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package)
    done = lw.export(runs[name], tmp_path / ("m.pt2" if kind == "torch" else "m.onnx"), normalize=normalize)
    assert done.difference <= done.tolerance and "demo" not in done.pictures
    trained = lw.open_pictures_model(runs[name])
    channels = trained.inputs[0].planes
    stored = torch.randint(256, (3, channels, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    floats = trained.normalize(trained.inputs[0])(stored)
    given = stored if normalize else floats
    if kind == "torch":
        made = torch.export.load(done.path).module()(given)
    else:
        import onnxruntime  # type: ignore[import-not-found]

        session = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
        made = torch.from_numpy(session.run(None, {trained.inputs[0].name: given.numpy()})[0])
    expected = trained.model(floats)
    assert torch.allclose(made, expected, atol=1e-4 * max(1, float(expected.abs().max())))


def test_weights_of_a_restorer_are_exported_bit_for_bit(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.safetensors"
    assert cli.main(["export", str(runs["restore"]), "--out", str(out)]) == 0
    assert "every weight is bit for bit the same" in capsys.readouterr().out
    other = lw.dncnn(1, depth=3, width=8)
    assert lw.load_weights(other, out).complete
    assert same_bits(other, lw.open_pictures_model(runs["restore"]).model)


# ---- eject ----------------------------------------------------------------------------------------------------------

EJECTED: dict[str, tuple[str, dict[str, Any]]] = {
    "clean": ("clean", {"loss": {"charbonnier": 1, "ssim": 0.2}, "patience": 5, "tile": 128, "overlap": 8}),
    "pairs": ("pairs", {"ema": 0.9, "clip": 1.0, "accumulate": 2, "border": 2, "cache": "memory", "turn": False}),
    "deep": ("deep", {"scheduler": {"name": "MultiStepLR", "milestones": [1]}, "drop_last": True, "pad": "reflect"}),
    "shapes": (
        "shapes",
        {"loss": {"cross_entropy": 1, "dice": 0.5}, "model": "lraspp_mobilenet_v3_large", "epochs": 1},
    ),
    "focal": ("shapes", {"loss": "focal", "freeze": "head"}),
}


@pytest.mark.parametrize("name", EJECTED)
def test_the_ejected_program_gives_the_same_bits_and_record(
    name: str, data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case, more = EJECTED[name]
    values = CASES[case](data[case], tmp_path / "command", **more)
    assert cli.main(["eject", yaml_of(tmp_path / "c.yaml", values)]) == 0
    program = capsys.readouterr().out
    assert len(program.splitlines()) < 130  # less than 120 but for the long paths of a test, which break lines
    assert "loopwright._" not in program and "import loopwright as lw" in program
    train(values)
    known: dict[str, Any] = {"__name__": "ejected"}
    exec(compile(program, "train.py", "exec"), known)
    known["main"](str(tmp_path / "ejected"))
    states = [
        lw.Checkpoints(tmp_path / run / "checkpoints").load("latest", only="model") for run in ("command", "ejected")
    ]
    assert same_bits(*states)
    assert record_of(tmp_path / "command") == record_of(tmp_path / "ejected")


def test_what_eject_writes_no_loop_for_is_said(data: dict[str, Path], tmp_path: Path) -> None:
    for more, message in (
        ({"swa": 1}, "swa: eject cannot write this setting"),
        ({"optimizer": "lbfgs"}, "no loop with LBFGS"),
    ):
        with pytest.raises(lw.ConfigError, match=message):
            lw.eject(settings(of_restore(data["clean"], tmp_path, **more)))
    two = {"inputs": {"a": "noisy"}, "targets": {"b": "clean", "c": "clean"}, "loss": "l1"}
    with pytest.raises(lw.ConfigError, match="loops of one target"):
        lw.eject(settings({"task": "restore", "data": str(data["pairs"]), **two}))
