"""Make the embedded demo photos, small copies of a CC0 set of clothing photographs. It is not part of the package.

    python dev/make_demo_photos.py CLOTHING loopwright/demo/photos

CLOTHING holds train, validation and test, each with one folder of JPEG files a class, as published in
https://github.com/alexeygrigorev/clothing-dataset-small. The same CLOTHING and Pillow give the same bytes.
"""

import argparse
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SHORT_SIDE = 128  # pixels
JPEG_QUALITY = 75  # 1,250 pictures of about 4.5 KB; quality 85 looks the same on screen and is a third larger
PER_CLASS = {"train": 100, "val": 25}
SOURCES = {"train": ("train",), "val": ("validation", "test")}

README = """\
# Demo photos

Small copies of photographs of clothes in {classes} classes: what `loopwright demo` trains on.

| | |
|---|---|
| origin | [alexeygrigorev/clothing-dataset-small](https://github.com/alexeygrigorev/clothing-dataset-small), commit 11961516512414bf9f6c150a832cfd21b54a6b54, file names kept |
| licence | CC0 1.0 (public domain dedication): free for any use |
| `train` | {train} pictures from its `train` folder: {train_counts} |
| `val` | {val} pictures from its `validation` and `test` folders: {val_counts} |
| made by | `dev/make_demo_photos.py`: the first names of each class in order, short side {short_side} px (Lanczos), RGB, JPEG quality {quality}, no metadata |
| size | {megabytes:.1f} MB |

`val` is what was published for validation and test; a class with fewer pictures there has fewer here.
No picture is nearly the same as another, in the same split or the other one, in the same class or another one:
near means both a difference hash within {hash_bits} of 128 bits and 16x16 thumbnails within {thumb_levels} of 256 levels on average. Of such
a pair the validation picture is kept. What no hash can see remains: some photographers took many garments on one background.
"""  # noqa: E501 (a table's row is one line)

HASH_BITS = 16
THUMB_LEVELS = 12


class Seen:
    """The pictures taken so far, to tell whether another one is nearly the same."""

    def __init__(self) -> None:
        self._hashes: list[np.ndarray] = []
        self._thumbs: list[np.ndarray] = []

    def add(self, picture: Image.Image) -> bool:
        """Take `picture` and return True, or return False when a near-duplicate was taken before."""
        bits, thumb = difference_hash(picture), thumbnail(picture)
        for other_bits, other_thumb in zip(self._hashes, self._thumbs, strict=True):
            near_bits = np.count_nonzero(bits != other_bits) <= HASH_BITS
            if near_bits and np.abs(thumb - other_thumb).mean() <= THUMB_LEVELS:
                return False
        self._hashes.append(bits)
        self._thumbs.append(thumb)
        return True


def difference_hash(picture: Image.Image) -> np.ndarray:
    """128 bits: is each cell of a coarse gray picture brighter than its left, and than its upper neighbour."""
    gray = picture.convert("L")
    across = np.asarray(gray.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    down = np.asarray(gray.resize((8, 9), Image.Resampling.BOX), dtype=np.int16)
    return np.concatenate([np.diff(across, axis=1).ravel() > 0, np.diff(down, axis=0).ravel() > 0])


def thumbnail(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.resize((16, 16), Image.Resampling.BOX), dtype=np.float32)


def small_copy(path: Path) -> Image.Image:
    """Upright, RGB, the short side at SHORT_SIDE."""
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    scale = SHORT_SIDE / min(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS)


def jpeg_bytes(picture: Image.Image) -> bytes:
    picture.info.clear()  # Pillow would copy a comment and the colour profile from here
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return buffer.getvalue()


def choose(paths: Iterable[Path], seen: Seen, count: int) -> dict[str, bytes]:
    """The first `count` pictures by name that are not near one in `seen`: file name -> JPEG."""
    chosen: dict[str, bytes] = {}
    for path in sorted(paths, key=lambda path: path.name):  # the names are random UUIDs: a fair sample
        if len(chosen) == count:
            break
        picture = small_copy(path)
        if seen.add(picture):
            chosen[path.name] = jpeg_bytes(picture)
    return chosen


def make(source: Path, destination: Path) -> None:
    classes = sorted(folder.name for folder in (source / "train").iterdir() if folder.is_dir())
    seen = Seen()
    counts: dict[str, dict[str, int]] = {}
    total_bytes = 0
    for split in ("val", "train"):  # validation first: it has the fewer candidates
        counts[split] = {}
        for name in classes:
            candidates = [path for part in SOURCES[split] for path in (source / part / name).glob("*.jpg")]
            chosen = choose(candidates, seen, PER_CLASS[split])
            folder = destination / split / name
            folder.mkdir(parents=True)
            for file_name, data in chosen.items():
                (folder / file_name).write_bytes(data)
            counts[split][name] = len(chosen)
            total_bytes += sum(map(len, chosen.values()))
    readme = README.format(
        classes=len(classes),
        train=sum(counts["train"].values()),
        val=sum(counts["val"].values()),
        train_counts=in_words(counts["train"], PER_CLASS["train"]),
        val_counts=in_words(counts["val"], PER_CLASS["val"]),
        short_side=SHORT_SIDE,
        quality=JPEG_QUALITY,
        megabytes=total_bytes / 1e6,
        hash_bits=HASH_BITS,
        thumb_levels=THUMB_LEVELS,
    )
    (destination / "README.md").write_text(readme, encoding="utf-8")
    print(readme)


def in_words(counts: dict[str, int], wanted: int) -> str:
    fewer = [f"{name} {count}" for name, count in counts.items() if count < wanted]
    return f"{wanted} a class" + (f", but {', '.join(fewer)}" if fewer else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", metavar="SRC", type=Path, help="folder with train, validation and test")
    parser.add_argument("destination", metavar="DST", type=Path, help="gets train, val and README.md")
    arguments = parser.parse_args()
    if not (arguments.source / "train").is_dir():
        parser.error(f"{arguments.source} has no folder 'train'")
    if any((arguments.destination / split).exists() for split in PER_CLASS):
        parser.error(f"{arguments.destination} already holds photos: delete its folders train and val first")
    make(arguments.source, arguments.destination)


if __name__ == "__main__":
    main()
