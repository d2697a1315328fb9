"""What the tests of pictures to pictures share: small folders of the embedded photos, and an end in the middle."""

import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

import loopwright as lw

CLASSES = ["photo", "disc", "bar"]
SIZE = 64


def clean_photos(root: Path) -> Path:
    """Gray photos of unequal sizes: ``train`` and ``val``."""
    for number, path in enumerate(sorted(lw.demo_photos().rglob("*.jpg"))[::80][:14]):
        folder = root / ("train" if number < 10 else "val")
        folder.mkdir(exist_ok=True)
        picture = lw.open_picture(path).convert("L")
        picture.crop((0, 0, picture.width - number, picture.height - 2 * (number % 3))).save(
            folder / f"{number:02}.png"
        )
    return root


def noisy_pairs(clean: Path, root: Path) -> Path:
    """The same with noisy partners, as files: ``train/noisy``, ``train/clean``, ..."""
    for path in sorted(clean.rglob("*.png")):
        pixels = np.asarray(Image.open(path)).astype(float)
        noisy = pixels + np.random.default_rng(int(path.stem)).normal(0, 25, pixels.shape)
        for role, values in (("clean", pixels), ("noisy", noisy)):
            (root / path.parent.name / role).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8)).save(
                root / path.parent.name / role / path.name
            )
    return root


def deep_pairs(root: Path, *, side: int = 40) -> Path:
    """16-bit pairs whose levels are all over the range."""
    for split, numbers in (("train", range(6)), ("val", range(6, 8))):
        for number in numbers:
            levels = np.random.default_rng(number).integers(0, 65536, (side, side + number), np.uint16)
            for role in ("noisy", "clean"):
                (root / split / role).mkdir(parents=True, exist_ok=True)
                Image.fromarray(levels).save(root / split / role / f"{number}.png")
    return root


def drawn_shapes(root: Path, count: int = 36, held_out: int = 8, *, side: int = SIZE) -> Path:
    """Shapes over photos; masks with a palette for training, with numbers alone for validation."""
    for number, photo in enumerate(sorted(lw.demo_photos().rglob("*.jpg"))[::30][:count]):
        split = "train" if number < count - held_out else "val"
        picture, mask = _drawn(photo, number, side)
        for role, image in (("pictures", picture), ("masks", mask)):
            (root / split / role).mkdir(parents=True, exist_ok=True)
            if role == "masks" and split == "train":
                image.putpalette([part for label in range(256) for part in ((label * 83) % 256, 9, label)])
            image.save(root / split / role / f"{number:02}.png")
    return root


def _drawn(photo: Path, number: int, side: int) -> tuple[Image.Image, Image.Image]:
    """In colours that their places do not tell, and the mask of them; a part that does not count."""
    rng = np.random.default_rng(number)
    picture = lw.open_picture(photo).resize((side, side))
    mask = Image.new("L", picture.size, 0)
    for label in rng.permutation([1, 2]):
        x, y = rng.integers(4, side - 24, 2).tolist()
        box = (x, y, x + 18, y + 18) if label == 1 else (x, y, x + 22, y + 7)
        for image, color in ((picture, (230, 30, 60) if label == 1 else (40, 60, 220)), (mask, int(label))):
            draw = ImageDraw.Draw(image)
            (draw.ellipse if label == 1 else draw.rectangle)(box, fill=color)
    ImageDraw.Draw(mask).rectangle((0, 0, 3, 3), fill=255)
    return picture, mask


def of_restore(data: Path, run: Path, *, degrade: bool = True, kind: str = "gray", **more: Any) -> dict[str, Any]:
    """A configuration of ``task: restore`` that trains in a moment."""
    roles: dict[str, Any] = {
        "targets": {"target": {"folder": ".", "kind": kind}},
        "degrade": {"name": "noise", "sigma": 25},
    }
    if not degrade:
        roles = {name: {name: {"folder": name, "kind": kind}} for name in ("noisy", "clean")}
        roles = {"inputs": roles["noisy"], "targets": roles["clean"]}
    return {
        "task": "restore", "data": str(data), "run": str(run), "model": {"name": "dncnn", "depth": 3, "width": 8},
        "image_size": 24, "crops": 2, "epochs": 2, "batch_size": 8, "workers": 0, "device": "cpu", "seed": 42,
        **roles, **more,
    }  # fmt: skip


def of_segment(data: Path, run: Path, **more: Any) -> dict[str, Any]:
    """The same of ``task: segment``."""
    return {
        "task": "segment", "data": str(data), "run": str(run), "inputs": "pictures", "targets": "masks",
        "classes": CLASSES, "model": {"name": "unet", "width": 8, "levels": 2, "norm": True}, "image_size": 48,
        "epochs": 2, "batch_size": 8, "workers": 0, "device": "cpu", "seed": 42, **more,
    }  # fmt: skip


class Interrupted(Exception):
    """Stands for a kill."""


ending: dict[str, Any] = {"left": -1, "really": False}


def end_after(calls: int = -1, *, really: bool = False) -> None:
    """Let ``cut_l1`` and ``cut_cross_entropy`` end the training at so many calls: by an exception, or by SIGKILL."""
    ending.update(left=calls, really=really)


def _count() -> None:
    ending["left"] -= 1
    if ending["left"] == 0:
        if ending["really"]:
            os.kill(os.getpid(), signal.SIGKILL)
        raise Interrupted


def cut_l1(output: Tensor, target: Tensor) -> Tensor:
    _count()
    return F.l1_loss(output, target)


def cut_cross_entropy(output: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    assert ignore_index == 255, "the recipe says which label does not count"
    _count()
    return F.cross_entropy(output, target, ignore_index=ignore_index)


def record_of(run: Path) -> bytes:
    return (run / "metrics.jsonl").read_bytes()


def curve(runs: Iterable[Path], name: str) -> list[list[float]]:
    return [[line[name] for line in lw.read_metrics(run) if name in line] for run in runs]
