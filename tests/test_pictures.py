"""Pictures of progress: what is shown is what was given, and the record of them obeys the laws of the record."""

import errno
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import forked, same_bits, tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_resume import Interrupted, Photos, batches_of_photos
from torch import Tensor, nn

import loopwright as lw
from loopwright import _picture_log, _progress_sheet
from loopwright._picture_batch import take
from loopwright._picture_log import staying
from loopwright._picture_rows import evenly
from loopwright._shown import Facts, class_colors, difference, heat, unit, visible
from loopwright._writer import Line


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "pictures.jsonl").read_text().splitlines()]


def all_of(folder: Path) -> dict[str, bytes]:
    """The record of the pictures, and every picture."""
    files = [folder / "pictures.jsonl", *folder.glob("pictures/**/*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.is_file()}


def logged(folder: Path, *given: Any, **named: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """The sheet and the line of one call, in a run of its own."""
    with lw.Run(folder, seed=1, device="cpu", progress=False) as run:
        assert run.log_images("some/pictures", *given, **named)
    (line,) = lines_of(folder)
    with Image.open(folder / line["file"]) as image:
        return np.asarray(image.convert("RGB")), line


def holds(sheet: np.ndarray, picture: np.ndarray) -> bool:
    """Whether a picture (H, W, 3) stands on a sheet, pixel by pixel."""
    height, width = picture.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (height, width, 3))[:, :, 0]
    first = (windows[:, :, 0, 0] == picture[0, 0]).all(-1) & (windows[:, :, -1, -1] == picture[-1, -1]).all(-1)
    return any((windows[y, x] == picture).all() for y, x in np.argwhere(first))


def photo(size: int = 128, number: int = 3) -> Tensor:
    picture, _ = lw.ImageFolder(lw.demo_photos(), split="train")[number]
    return torch.from_numpy(np.array(picture.convert("RGB").resize((size, size)))).permute(2, 0, 1).contiguous()


class TestWhatIsShown:
    @pytest.mark.parametrize(
        "given",
        [
            lambda p: p,
            lambda p: p[None],
            lambda p: p.float() / 255,
            lambda p: p.permute(1, 2, 0).numpy(),
            lambda p: (p.to(torch.int32) * 257).to(torch.uint16),
            lambda p: Image.fromarray(p.permute(1, 2, 0).numpy()),
            lambda p: [p, p[:, :64]],
            lambda p: (p.double() / 255).requires_grad_(),
            lambda p: {"one": p, "other": p},
        ],
    )
    def test_a_photo_of_any_type_stands_on_the_sheet_to_the_pixel(self, tmp_path: Path, given: Any) -> None:
        picture = photo()
        sheet, _ = logged(tmp_path, given(picture))
        assert holds(sheet, picture.permute(1, 2, 0).numpy())

    @pytest.mark.parametrize("given", [lambda p: p[0], lambda p: p[:1], lambda p: p[None, :1]])
    def test_a_gray_one_too(self, tmp_path: Path, given: Any) -> None:
        sheet, _ = logged(tmp_path, given(photo()))
        assert holds(sheet, photo()[:1].expand(3, -1, -1).permute(1, 2, 0).numpy())

    def test_small_ones_are_enlarged_by_whole_pixels(self, tmp_path: Path) -> None:
        sheet, _ = logged(tmp_path, photo(32))
        assert holds(sheet, photo(32).repeat_interleave(4, 1).repeat_interleave(4, 2).permute(1, 2, 0).numpy())

    def test_normalised_batches_come_back_to_the_byte(self, tmp_path: Path) -> None:
        picture = photo()
        loader = lw.Loader([(picture, 0)] * 4, 4, workers=0)
        with lw.Run(tmp_path, seed=1, device="cpu", progress=False) as run, run.evaluate():
            for pictures, _ in run.batches(loader):
                assert pictures.is_floating_point() and pictures.min() < -1
                run.log_images("val/samples", pictures, most=1)
        (line,) = lines_of(tmp_path)
        with Image.open(tmp_path / line["file"]) as image:
            assert holds(np.asarray(image), picture.permute(1, 2, 0).numpy())
        assert "clamped" not in line

    def test_floats_that_a_loader_leaves_alone_are_not_changed(self, tmp_path: Path, capsys) -> None:
        loader = lw.Loader([(photo().float() / 255, 0)] * 2, 2, workers=0)  # with the default Normalize
        with lw.Run(tmp_path, seed=1, device="cpu", progress=False) as run, run.evaluate():
            for pictures, _ in run.batches(loader):
                run.log_images("val/samples", pictures, most=1)
        with Image.open(tmp_path / lines_of(tmp_path)[0]["file"]) as image:
            assert holds(np.asarray(image), photo().permute(1, 2, 0).numpy())
        assert "warning" not in capsys.readouterr().out

    def test_mean_and_std_are_taken_where_they_are_said(self, tmp_path: Path) -> None:
        sheet, _ = logged(tmp_path, (photo().float() / 255 - 0.4) / 0.3, mean=0.4, std=(0.3, 0.3, 0.3))
        assert holds(sheet, photo().permute(1, 2, 0).numpy())

    def test_parts_with_normalisations_of_their_own(self, tmp_path: Path) -> None:
        half = lw.Normalize((0.5,), (0.5,))
        items = [{"noisy": photo()[:1], "clean": photo()[1:2]}] * 2
        loader = lw.Loader(items, 2, workers=0, normalize={"noisy": half, "clean": None})
        with lw.Run(tmp_path, seed=1, device="cpu", progress=False) as run, run.evaluate():
            for batch in run.batches(loader):
                clean = batch["clean"].float() / 255
                run.log_images("a", {"noisy": batch["noisy"], "clean": clean}, most=1)
                run.log_images("b", {"input": batch["noisy"], "output": clean}, most=1)
        for line in lines_of(tmp_path):
            with Image.open(tmp_path / line["file"]) as image:
                for channel in (0, 1):
                    assert holds(np.asarray(image), photo()[[channel] * 3].permute(1, 2, 0).numpy())

    def test_values_are_clamped_and_told_once(self, tmp_path: Path, capsys) -> None:
        values = torch.tensor([-0.5, 0.0, 0.5, 1.0, 7.0]).repeat_interleave(128).repeat(128, 1)
        with lw.Run(tmp_path, seed=1, device="cpu", progress=False) as run:
            for name in ("x", "x/again", "x"):
                run.log_images(name, values)
        line = lines_of(tmp_path)[0]
        assert line["clamped"] == 2 * 128 * 128 and (line["lowest"], line["highest"]) == (-0.5, 7.0)
        assert capsys.readouterr().out.count("x: 32,768 values lie outside 0..1, from -0.5 to 7") == 1

    def test_of_noise_that_overshoots_nothing_is_told(self, tmp_path: Path, capsys) -> None:
        noise = torch.randn(3, 128, 128, generator=torch.Generator().manual_seed(1))
        _, line = logged(tmp_path, photo().float() / 255 + 0.1 * noise)
        assert line["clamped"] > 100 and "warning" not in capsys.readouterr().out

    def test_what_is_no_number_is_seen_and_told(self, tmp_path: Path, capsys) -> None:
        picture = photo().float() / 255
        picture[1, 5:9, 5:9] = torch.nan
        sheet, line = logged(tmp_path, picture)
        assert (sheet == (255, 0, 255)).all(-1).sum() == 16
        assert line["not_numbers"] == 16 and "16 values are NaN, shown in magenta" in capsys.readouterr().out

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.floats(width=32), min_size=1, max_size=40))
    def test_any_float_has_its_nearest_byte(self, values: list[float]) -> None:
        shown = visible(unit(np.array([[values]], np.float32), None))[0]
        for value, pixel in zip(values, shown.tolist(), strict=True):
            assert pixel == ([255, 0, 255] if value != value else [round(min(max(value, 0.0), 1.0) * 255)] * 3)

    def test_classes_have_colours_of_their_own(self, tmp_path: Path) -> None:
        assert len({tuple(color) for color in class_colors(np.arange(256)[None])[0].tolist()}) == 256
        mask = torch.arange(4).repeat_interleave(64).repeat(128, 1)
        sheet, _ = logged(tmp_path, {"picture": photo(), "mask": mask[:, :128]})
        assert holds(sheet, class_colors(mask[:, :128].numpy()))

    def test_an_error_map_is_the_absolute_difference_with_its_scale_said(self, tmp_path: Path) -> None:
        clean = photo().float() / 255
        noisy = (clean + 0.04 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
        sheet, line = logged(tmp_path, {"output": noisy, "target": clean, "error": True})
        apart = difference(noisy.double().numpy(), clean.double().numpy())
        assert np.allclose(apart, (noisy.double() - clean.double()).abs().mean(0).numpy())
        assert holds(sheet, heat(apart, 0.1)) and line["columns"] == ["output", "target", "error"]
        sheet, _ = logged(tmp_path / "b", {"output": noisy, "target": clean, "error": 0.5})
        assert holds(sheet, heat(apart, 0.5))

    def test_a_difference_of_classes_is_where_they_differ(self) -> None:
        one, other = np.array([[[1, 2, 9]]]), np.array([[[1, 3, 0]]])
        assert difference(one, other).tolist() == [[0, 1, 1]]

    def test_predictions_have_their_text(self, tmp_path: Path) -> None:
        output = torch.tensor([[2.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
        with lw.Run(tmp_path, seed=1, device="cpu", progress=False, classes=["cat", "dog"]) as run:
            run.log_images("p", torch.rand(3, 3, 8, 8), output=output, target=torch.tensor([0, 0, 1]))
            run.log_images("q", torch.rand(1, 3, 8, 8), ["mine"], output=torch.zeros(1, 5), target=torch.tensor([4]))
        p, q = lines_of(tmp_path)
        assert p["captions"] == ["cat 0.88", "dog 0.95, was cat", "cat 0.50, was dog"]
        assert p["wrong"] == [False, True, True] and q["captions"] == ["0 0.20, was 4\nmine"]

    def test_an_output_of_pictures_or_masks_becomes_columns(self, tmp_path: Path) -> None:
        pictures = torch.rand(2, 3, 16, 16)
        with lw.Run(tmp_path, seed=1, device="cpu", progress=False) as run:
            run.log_images("restored", pictures, output=pictures * 0.9, target=pictures)
            run.log_images("masks", pictures, output=torch.rand(2, 5, 16, 16), target=torch.zeros(2, 16, 16).long())
        for line in lines_of(tmp_path):
            assert line["columns"] == ["input", "output", "target", "error"]

    def test_large_ones_are_reduced_before_they_are_copied(self) -> None:
        batch = take(torch.rand(1, 3, 2048, 1536), lambda count: range(count))
        assert batch.columns[0].parts[0].shape == (1, 3, 682, 512)
        for dtype in (torch.uint8, torch.uint16, torch.int64, torch.bool):
            part = take(torch.ones(1, 1, 1024, 1024).to(dtype), lambda count: range(count)).columns[0].parts[0]
            assert part.dtype == dtype and part.shape[-1] == 512

    def test_what_was_copied_stays_as_it_was(self) -> None:
        pictures = torch.zeros(2, 1, 4, 4)
        batch = take(pictures, lambda count: range(count))
        pictures += 1
        assert batch.columns[0].arrays()[0].max() == 0

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (torch.rand(8, 32, 32), r"\(8, 32, 32\).*are no pictures.*\(8, 1, 32, 32\)"),
            (torch.rand(2, 7, 8, 8), "with 1, 3 or 4 channels"),
            (torch.rand(0, 3, 8, 8), "no pictures"),
            ([], "empty list"),
            ("cat.png", "a str is no picture"),
            (torch.zeros(2, 3, 8, 8, dtype=torch.int64), "class numbers"),
            ({"a": torch.rand(2, 3, 8, 8), "b": torch.rand(3, 3, 8, 8)}, "3 of 'b' for 2 of 'a'"),
            ({"a": torch.rand(2, 3, 8, 8), "error": True}, "two columns before"),
            ({"a": torch.rand(1, 3, 8, 8), "b": torch.rand(1, 1, 8, 8), "error": True}, "same shapes"),
            ({"error": True}, "no pictures were given"),
        ],
    )
    def test_what_cannot_be_shown_is_said_at_once(self, tmp_path: Path, given: Any, message: str) -> None:
        with lw.Run(tmp_path, seed=1, device="cpu", progress=False) as run:
            with pytest.raises(lw.DataError, match=message):
                run.log_images("x", given)
            for name in ("", "../x", "/x", "a//b", ".x", "x\n", 3):
                with pytest.raises(lw.ConfigError, match="no name for pictures"):
                    run.log_images(name, torch.rand(3, 8, 8))
            with pytest.raises(lw.ConfigError, match="by the clock"):
                run.log_images("x", torch.rand(3, 8, 8), every="2 minutes")
            with pytest.raises(lw.ConfigError, match="keep must be 1 or more"):
                run.log_images("x", torch.rand(3, 8, 8), keep=0)
            with pytest.raises(lw.DataError, match="2 numbers for pictures of 3 channels"):
                run.log_images("x", torch.rand(3, 8, 8), mean=(0.1, 0.2))
        assert not (tmp_path / "pictures").exists()

    def test_facts_count_only_what_lies_outside(self) -> None:
        facts = Facts()
        facts.see(np.array([0.0, 1.0, 1.0005, 2.0, np.nan]))
        assert (facts.clamped, facts.no_numbers, facts.high) == (1, 1, 2.0)


class TestWhichAreShown:
    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.integers(1, 20), min_size=1, max_size=12), st.integers(1, 40))
    def test_they_are_spread_over_an_evaluation(self, counts: list[int], most: int) -> None:
        rows = [evenly(count, most, place, len(counts)) for place, count in enumerate(counts)]
        assert sum(map(len, rows)) <= most
        assert all(set(chosen) <= set(range(count)) for chosen, count in zip(rows, counts, strict=True))
        if most >= len(counts) * max(counts):
            assert [len(chosen) for chosen in rows] == counts

    def test_an_evaluation_makes_one_sheet_of_all_its_batches(self, tmp_path: Path) -> None:
        loader = lw.Loader([(torch.full((3, 8, 8), i, dtype=torch.uint8), i % 5) for i in range(40)], 7, workers=0)
        with lw.Run(tmp_path, seed=1, device="cpu", progress=False) as run, run.evaluate():
            for pictures, labels in run.batches(loader):
                run.log_images("val/samples", pictures, output=F.one_hot(labels, 5).float(), target=labels, most=8)
        (line,) = lines_of(tmp_path)
        assert len(line["captions"]) == 8 and not any(line["wrong"])
        with Image.open(tmp_path / line["file"]) as image:
            shown = {int(value) for value in np.unique(np.asarray(image)) if value < 40}
        assert {number // 10 for number in shown} == {0, 1, 2, 3}

    def test_in_training_the_first_of_a_step_and_as_often_as_asked(self, tmp_path: Path) -> None:
        model = nn.Linear(1, 1)
        with lw.Run(tmp_path, seed=1, device="cpu", progress=False) as run:
            run.register(model=model)
            for _ in run.epochs(3):
                for batch in run.batches([torch.rand(2, 3, 8, 8)] * 4):
                    taken = [run.log_images("each", batch), run.log_images("each", batch)]
                    assert taken == [True, False]
                    run.log_images("steps", batch, every="5 steps", keep=99)
                    run.log_images("epochs", batch, every="2 epochs")
        steps = {
            name: [line["step"] for line in lines_of(tmp_path) if line["name"] == name] for name in ("steps", "epochs")
        }
        assert steps == {"steps": [1, 5, 10], "epochs": [1, 9]}

    @settings(max_examples=100, deadline=None)
    @given(st.integers(1, 12), st.integers(0, 200))
    def test_a_bounded_number_stays_and_what_went_is_never_wanted_again(self, keep: int, newest: int) -> None:
        stays, after = staying(newest, keep), staying(newest + 1, keep)
        assert len(stays) <= keep and newest in stays and after <= stays | {newest + 1}
        assert keep == 1 or 0 in stays
        assert newest < 8 or keep < 4 or len(stays) >= keep // 2


# ---- the laws of the record -------------------------------------------------------------------------------------------


def life(folder: Path, *, die_at: int | None = None, kill: bool = False, **options: Any) -> nn.Module:
    """One life of a training that shows pictures in training and in validation."""
    options = {"seed": 7, "device": "cpu", "progress": False, "save_every": "2 steps"} | options
    with lw.Run(folder, **options) as run:
        train = batches_of_photos(0)
        val = lw.Loader(Photos(8), 5, transform=lw.CenterCrop(16), workers=0)
        model = run.prepare(tiny_model())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        run.register(model=model, optimizer=optimizer)
        for _ in run.epochs(3):
            for pictures, labels in run.batches(train):
                run.step(F.cross_entropy(output := model(pictures), labels), optimizer)
                run.log_images("train/now", pictures, output=output, target=labels, most=2, keep=4)
                if run.global_step == die_at:
                    if kill:
                        os.kill(os.getpid(), signal.SIGKILL)
                    raise Interrupted
            with run.evaluate(model):
                for pictures, labels in run.batches(val):
                    run.log_images("val/samples", pictures, output=model(pictures), target=labels, most=4)
            run.log_images("after", torch.full((3, 8, 8), run.global_step / 20))
    return model


def killed_life(folder: Path, die_at: int, **options: Any) -> None:
    """In a process of its own, which SIGKILL ends."""
    torch.set_num_threads(1)  # a forked process cannot use its parent's threads
    life(folder, die_at=die_at, kill=True, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("whole") / "r"
    return life(folder), all_of(folder)


class TestTheRecord:
    def test_it_says_what_is_there(self, tmp_path: Path, whole) -> None:
        files = whole[1]
        lines = [json.loads(line) for line in files["pictures.jsonl"].splitlines()]
        assert [line["number"] for line in lines] == [*range(1, len(lines) + 1)]
        names = [line["name"] for line in lines]
        assert {name: names.count(name) for name in names} == {"train/now": 12, "val/samples": 3, "after": 3}
        assert sum(name.startswith("pictures/train/now-") for name in files) == 4
        assert set(files) - {"pictures.jsonl"} <= {line["file"] for line in lines}
        assert all(line["file"] in files for line in lines if line["name"] != "train/now")

    @pytest.mark.parametrize("die_at", [1, 6, 9])
    def test_interrupted_at_any_step_the_resumed_run_has_the_same_pictures(self, tmp_path: Path, whole, die_at) -> None:
        with pytest.raises(Interrupted):
            life(tmp_path, die_at=die_at)
        assert same_bits(life(tmp_path), whole[0])
        assert all_of(tmp_path) == whole[1]

    @pytest.mark.parametrize("background", [True, False])
    def test_killed_again_and_again(self, tmp_path: Path, whole, background: bool) -> None:
        for die_at in (3, 3, 8, 11) if background else (5, 9):
            child = forked(lambda die_at=die_at: killed_life(tmp_path, die_at, save_in_background=background))
            assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        life(tmp_path, save_in_background=background)
        assert all_of(tmp_path) == whole[1]

    def test_killed_while_a_sheet_is_drawn_it_is_drawn_again(self, tmp_path: Path, whole, monkeypatch) -> None:
        def slow(*given: Any, **named: Any) -> Any:
            time.sleep(0.05)
            return draw(*given, **named)

        draw = _progress_sheet.draw
        monkeypatch.setattr(_progress_sheet, "draw", slow)
        child = forked(lambda: killed_life(tmp_path, 7))
        monkeypatch.setattr(_progress_sheet, "draw", draw)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        latest = lw.Checkpoints(tmp_path / "checkpoints").latest
        on_disk = {line["step"] for line in lines_of(tmp_path) if (tmp_path / line["file"]).exists()}
        assert latest is not None and latest.step in on_disk  # a checkpoint waits for what it counts
        life(tmp_path)
        assert all_of(tmp_path) == whole[1]

    def test_it_changes_no_training(self, tmp_path: Path, whole, monkeypatch) -> None:
        monkeypatch.setattr(lw.Run, "log_images", lambda *given, **named: True)
        assert same_bits(life(tmp_path), whole[0])

    def test_a_checkpoint_of_before_there_were_pictures_can_be_gone_on_from(self, tmp_path: Path, monkeypatch) -> None:
        with pytest.raises(Interrupted):
            life(tmp_path, die_at=5)
        load = lw.Checkpoints.load

        def without(self: Any, *given: Any, **named: Any) -> Any:
            state = load(self, *given, **named)
            for part in (state, state.get("run", {})):
                part.get("parts", {}).pop("pictures", None)
            return state

        monkeypatch.setattr(lw.Checkpoints, "load", without)
        life(tmp_path)
        lines = lines_of(tmp_path)  # what stood there before is cut: nobody counted it
        assert lines[0]["step"] == 4 and [line["number"] for line in lines] == [*range(1, len(lines) + 1)]

    def test_overwriting_a_run_removes_its_pictures_and_nothing_else(self, tmp_path: Path) -> None:
        life(tmp_path)
        (tmp_path / "pictures" / "mine.txt").write_text("kept")
        with lw.Run(tmp_path, seed=1, device="cpu", progress=False, overwrite=True):
            pass
        assert [path.name for path in tmp_path.glob("pictures/**/*")] == ["mine.txt"]
        assert not (tmp_path / "pictures.jsonl").exists()

    def test_a_strangers_record_names_no_files_to_remove(self, tmp_path: Path) -> None:
        run = tmp_path / "run"
        life(run)
        (tmp_path / "secret.png").write_text("s")
        (run / "own.png").write_text("s")
        (run / "pictures" / "linked").symlink_to(tmp_path)
        evil = [
            "../secret.png",
            "own.png",
            "pictures/../../secret.png",
            str(tmp_path / "secret.png"),
            "pictures/linked/secret.png",
        ]
        with open(run / "pictures.jsonl", "a") as file:
            for name in [*evil, 3, None, ["x"]]:
                file.write(json.dumps({"file": name, "number": 99}) + "\n")
        with lw.Run(run, seed=1, device="cpu", progress=False, overwrite=True):
            pass
        assert (tmp_path / "secret.png").exists() and (run / "own.png").exists()

    def test_nothing_is_written_through_a_link(self, tmp_path: Path, capsys) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "pictures").symlink_to(tmp_path / "elsewhere")
        life(tmp_path / "run")
        assert not any((tmp_path / "elsewhere").iterdir())
        assert "is a link" in capsys.readouterr().out


class TestBadDays:
    def test_a_full_disk_stops_nothing(self, tmp_path: Path, whole, monkeypatch, capsys) -> None:
        def full(path: Path, content: Any, **named: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

        monkeypatch.setattr(_picture_log, "replace_file", full)
        assert same_bits(life(tmp_path), whole[0])
        assert (
            capsys.readouterr().out.count("val/samples: a sheet of pictures is left out (No space left on device)") == 1
        )
        assert not (tmp_path / "pictures.jsonl").exists()

    def test_nor_does_an_encoder_that_fails(self, tmp_path: Path, whole, monkeypatch, capsys) -> None:
        def broken(*given: Any, **named: Any) -> Any:
            raise RuntimeError("encoder error -2")

        monkeypatch.setattr(_progress_sheet, "picture_grid", broken)
        assert same_bits(life(tmp_path), whole[0])
        assert "is left out (encoder error -2); training goes on" in capsys.readouterr().out

    def test_a_slow_disk_makes_the_loop_wait_and_loses_nothing(self, tmp_path: Path, whole, monkeypatch) -> None:
        def slow(*given: Any, **named: Any) -> Any:
            time.sleep(0.02)
            waiting.append(threading.active_count())
            return draw(*given, **named)

        waiting: list[int] = []
        draw = _progress_sheet.draw
        monkeypatch.setattr(_progress_sheet, "draw", slow)
        life(tmp_path, save_every="1 epoch")
        assert all_of(tmp_path) == whole[1]

    def test_the_line_is_bounded_and_keeps_its_order(self) -> None:
        line, gate, done = Line(2), threading.Event(), []
        line.add(gate.wait)
        line.add(lambda: done.append(1))
        late = threading.Thread(target=lambda: line.add(lambda: done.append(2)))
        late.start()
        late.join(0.05)
        assert late.is_alive() and not line.settle(0.01)
        gate.set()
        late.join(5)
        line.settle()
        assert done == [1, 2]


# ---- the faces --------------------------------------------------------------------------------------------------------


def shown_by_fit(
    folder: Path, model: nn.Module, data: list[Any], loss: Callable[..., Tensor], **named: Any
) -> list[dict]:
    lw.fit(model, data, data, loss=loss, epochs=2, workers=0, run=folder, seed=3, device="cpu", progress=False, **named)
    return lines_of(folder) if (folder / "pictures.jsonl").exists() else []


def test_fit_shows_what_becomes_of_pictures(tmp_path: Path) -> None:
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4))
    photos = [(torch.randint(256, (3, 8, 8), dtype=torch.uint8), i % 4) for i in range(8)]
    lines = shown_by_fit(tmp_path / "class", classifier, photos, F.cross_entropy)
    assert [line["name"] for line in lines] == ["val/samples"] * 2 and len(lines[0]["captions"]) == 8
    pairs = [(picture, picture.float() / 255) for picture, _ in photos]
    lines = shown_by_fit(tmp_path / "pairs", nn.Conv2d(3, 3, 1), pairs, F.mse_loss)
    assert lines[0]["columns"] == ["input", "output", "target", "error"]
    masks = [(picture, picture[0].long() % 4) for picture, _ in photos]
    lines = shown_by_fit(tmp_path / "masks", nn.Conv2d(3, 4, 1), masks, F.cross_entropy)
    assert lines[0]["columns"] == ["input", "output", "target", "error"]
    numbers = [(torch.rand(4), torch.rand(2)) for _ in range(8)]
    assert shown_by_fit(tmp_path / "numbers", nn.Linear(4, 2), numbers, F.mse_loss) == []
    assert shown_by_fit(tmp_path / "off", classifier, photos, F.cross_entropy, pictures=0) == []
    with pytest.raises(lw.ConfigError, match="pictures= is the number"):
        shown_by_fit(tmp_path / "bad", classifier, photos, F.cross_entropy, pictures=-1)


def test_the_recipe_logs_a_sheet_after_each_epoch(trained_run: Path) -> None:
    lines = lines_of(trained_run)
    assert [line["name"] for line in lines] == ["val/samples"] * 2
    assert len(lines[0]["captions"]) == 16 and any(", was " in caption for caption in lines[0]["captions"])
    classes = json.loads((trained_run / "classes.json").read_bytes())["classes"]
    assert len({caption.partition(", was ")[2] for caption in lines[0]["captions"]}) > 3
    assert all(
        caption.rpartition(" ")[0].split(" 0.")[0] in {*classes} or ", was " in caption
        for caption in lines[0]["captions"]
    )
