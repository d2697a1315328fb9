"""Photographs as a camera would leave them, in two sizes, made once from smaller ones. Knows nothing about loaders.

A camera's picture has detail down to the last pixel and costs 0.26 to 0.47 bytes a pixel as a JPEG file; the shared
clothing photos, at 400x533 and 0.13, do not. So each picture is a mosaic of parts of them, with a sensor's grain, at
the JPEG quality that gives the bytes that photographs of that size have. The same sources give the same files.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import loopwright

CLOTHING = Path(os.environ.get("LOOPWRIGHT_CLOTHING", Path(__file__).parents[2] / "shared" / "data" / "clothing"))
GRAIN = 4.0  # standard deviation of the noise, of 255
TRIALS = 12  # photographs by which the quality is chosen


@dataclass(frozen=True)
class Album:
    """A set of photographs of one size. `copies`: how often each stands in the folder that is read (hard links)."""

    width: int
    height: int
    photos: int
    copies: int
    bytes_each: int
    mosaic: int  # parts in each direction

    @property
    def name(self) -> str:
        return f"{self.width}x{self.height}"

    def folder(self, cache: Path, copies: int | None = None) -> Path:
        """FOLDER/NUMBER/photo.jpg: every photograph is a class of its own, so its label says which one it is."""
        return cache / f"{self.name}-{self.photos * (copies or self.copies)}"


SMALL = Album(500, 375, photos=2048, copies=2, bytes_each=88_000, mosaic=2)
LARGE = Album(2000, 1500, photos=320, copies=4, bytes_each=790_000, mosaic=4)


@dataclass(frozen=True)
class About:
    """What was made, and of what."""

    photos: int
    quality: int
    mean_bytes: int
    source: str


def source_photos() -> list[Path]:
    """The shared clothing photos, or where they are absent those that loopwright ships."""
    folder = CLOTHING if CLOTHING.is_dir() else loopwright.demo_photos()
    return sorted((folder / "train").rglob("*.jpg"))


def album_ready(album: Album, cache: Path, copies: int | None = None) -> About:
    """Makes the photographs and the folder of links to them, where they are not there yet."""
    made, linked = cache / f"{album.name}-made", album.folder(cache, copies)
    if not (made / "about.json").exists():
        for old in cache.glob(f"{album.name}-*"):  # links to former ones, and what was written of them
            shutil.rmtree(old)
        made.mkdir(parents=True)
        about = _make(album, made)
        (made / "about.json").write_text(json.dumps(asdict(about)))  # last: a folder without it is begun again
    if not linked.exists():
        _link(made, linked, album.photos, copies or album.copies)
    return About(**json.loads((made / "about.json").read_text()))


def _make(album: Album, folder: Path) -> About:
    sources = source_photos()
    quality = _quality(album, sources)

    def write(number: int) -> int:
        data = _encoded(photograph(album, number, sources), quality)
        (folder / f"{number:05}.jpg").write_bytes(data)
        return len(data)

    with ThreadPoolExecutor(2) as pool:
        sizes = list(pool.map(write, range(album.photos)))
    source = "shared clothing photos" if CLOTHING.is_dir() else "embedded photos"
    return About(album.photos, quality, round(float(np.mean(sizes))), source)


def photograph(album: Album, number: int, sources: list[Path]) -> Image.Image:
    """Photograph `number` of an album, a pure function of its arguments."""
    rng = np.random.Generator(np.random.Philox(key=[album.width, number]))
    width, height = album.width // album.mosaic, album.height // album.mosaic
    canvas = Image.new("RGB", (album.width, album.height))
    for place in range(album.mosaic**2):
        row, column = divmod(place, album.mosaic)
        with Image.open(sources[int(rng.integers(len(sources)))]) as source:
            part = source.convert("RGB").resize((width, height), Image.Resampling.BICUBIC, _part(source.size, rng))
        canvas.paste(part, (column * width, row * height))
    grain = rng.standard_normal((album.height, album.width, 1), dtype=np.float32) * GRAIN
    return Image.fromarray(np.clip(np.rint(np.asarray(canvas) + grain), 0, 255).astype(np.uint8))


def _part(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A box of 4:3 as wide as the picture, or as high where that is less."""
    width = min(size[0], size[1] * 4 // 3)
    height = width * 3 // 4
    left, top = int(rng.integers(size[0] - width + 1)), int(rng.integers(size[1] - height + 1))
    return left, top, left + width, top + height


def _quality(album: Album, sources: list[Path]) -> int:
    """The JPEG quality whose files come nearest to the bytes wanted."""
    trials = [photograph(album, number, sources) for number in range(TRIALS)]

    def miss(quality: int) -> float:
        return abs(float(np.mean([len(_encoded(trial, quality)) for trial in trials])) - album.bytes_each)

    coarse = min(range(50, 100, 5), key=miss)
    return min(range(coarse - 4, min(coarse + 5, 100)), key=miss)


def _encoded(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)  # 4:2:0, as cameras and ImageNet have it
    return file.getvalue()


def _link(made: Path, linked: Path, photos: int, copies: int) -> None:
    aside = linked.with_name(linked.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    for copy in range(copies):
        for number in range(photos):
            folder = aside / f"{copy}-{number:05}"
            folder.mkdir(parents=True)
            os.link(made / f"{number:05}.jpg", folder / "photo.jpg")
    aside.rename(linked)
