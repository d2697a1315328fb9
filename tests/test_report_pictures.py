"""The report's sample pictures: those of the record, small, with their steps; a record by a stranger shows no other file."""

import base64
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from test_report import EVIL, make_run

from loopwright.reports._page import page
from loopwright.reports._report import Question, Reader, compare
from loopwright.reports._sheets import SheetFile, sheets_of, some

NAME = "val/samples"


def log_sheets(run: Path, steps: list[int], name: str = NAME) -> None:
    """Sheets as training leaves them, each of a gray of its own."""
    with open(run / "pictures.jsonl", "a") as file:
        for step in steps:
            path = f"pictures/{name}-{step:06d}.png"
            (run / path).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (648, 500), (step, step, step)).save(run / path)
            file.write(json.dumps({"step": step, "epoch": 0, "name": name, "file": path, "captions": []}) + "\n")


def page_of(folder: Path) -> str:
    return page(compare(*Reader().read([folder]), Question()))


def pictures_in(html: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/(?:webp|jpeg);base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB") for data in found]


def test_the_best_run_of_each_configuration_shows_its_first_newest_and_one_between(tmp_path: Path) -> None:
    for lr, top in ((1, 0.5), (2, 0.7)):
        for seed in (1, 2):
            run = make_run(tmp_path / f"{lr}-{seed}", {"lr": lr}, seed, [0.1, top + 0.1 * seed])
            log_sheets(run, [10, 20, 30, 40, 50])
    html = page_of(tmp_path)
    shown = re.findall(r'alt="val/samples of ([^,"]+), step (\d+)" data-step="\d+"( hidden)?>', html)
    assert shown == [
        (run, step, hidden)
        for run in ("2-2", "1-2")
        for step, hidden in (("10", " hidden"), ("30", " hidden"), ("50", ""))
    ]
    grays = [round(sum(image.resize((1, 1)).getpixel((0, 0))) / 3) for image in pictures_in(html)]  # type: ignore[arg-type]
    assert all(abs(gray - step) < 4 for gray, step in zip(grays, [10, 30, 50] * 2, strict=True))


@pytest.mark.slow
def test_all_pictures_together_are_bounded(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.effect_noise((700, 900), 90).convert("RGB").save(stream, "PNG", compress_level=1)
    for lr in range(6):
        run = make_run(tmp_path / f"{lr}-1", {"lr": lr}, 1, [0.1, 0.1 * lr])
        for name in ("a", "b", "c"):
            log_sheets(run, [1, 2, 3, 4], name)
        for path in [*(run / "pictures").glob("*.png"), run / "predictions.png"]:
            path.write_bytes(stream.getvalue())
    html = page_of(tmp_path)
    assert 12 <= len(pictures_in(html)) <= 20
    assert len(html) < 500_000


@pytest.mark.parametrize(
    "file",
    ["../secret.png", "pictures/../../secret.png", "pictures/link.png", "pictures/folder/secret.png", "/etc/secret.png",
     "pictures/pipe.png", "pictures/none.png", "secret.png", "pictures", "pictures/a\0.png", "", "pictures/big.jpg"],
)  # fmt: skip
def test_a_record_shows_no_file_but_its_own(tmp_path: Path, file: str) -> None:
    run = tmp_path / "run"
    (run / "pictures").mkdir(parents=True)
    for path in (tmp_path / "secret.png", run / "secret.png", run / "pictures" / "big.jpg"):
        Image.new("RGB", (9, 9)).save(path, "PNG")
    (run / "pictures" / "link.png").symlink_to(tmp_path / "secret.png")
    (run / "pictures" / "folder").symlink_to(tmp_path)
    os.mkfifo(run / "pictures" / "pipe.png")
    assert sheets_of(run, [{"step": 1, "name": "x", "file": file}]) == {}


def test_odd_lines_are_passed_over(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", {}, 1, [0.5])
    log_sheets(run, [7])
    odd: list[Any] = [
        {},
        {"step": "1"},
        {"step": 1, "name": 3, "file": "pictures/x.png"},
        {"step": 1, "name": EVIL, "file": 3},
    ]
    with open(run / "pictures.jsonl", "a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in odd) + "no json\n")
    (run / "pictures" / "broken-000001.png").write_bytes(b"\x89PNG no picture")
    html = page_of(tmp_path)
    assert len(pictures_in(html)) == 1 and "pictures.jsonl cannot be read to its end" in html


def test_names_are_escaped(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", {}, 1, [0.5])
    log_sheets(run, [7])
    text = (run / "pictures.jsonl").read_text()
    (run / "pictures.jsonl").write_text(text.replace('"val/samples"', json.dumps(EVIL)))
    html = page_of(tmp_path)
    assert len(pictures_in(html)) == 1 and "<script>alert" not in html and "<img src=x" not in html


def test_some_of_many_are_the_first_the_newest_and_between() -> None:
    sheets = [SheetFile(step, Path()) for step in range(10)]
    for most in range(1, 12):
        chosen = [one.step for one in some(sheets, most)]
        assert len(chosen) == min(most, 10) == len({*chosen}) and chosen[-1] == 9 and (most == 1 or chosen[0] == 0)
