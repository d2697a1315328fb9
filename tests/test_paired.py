"""Laws of pairs of pictures: what belongs together is told by names, and shown as one; no number of a file is lost."""

import os
import random
import shutil
import struct
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from torch.utils.data import DataLoader, Subset
from torchvision.transforms import v2

import loopwright as lw
from loopwright._errors import ConfigError, DataError
from loopwright.data._view import View, show

DENOISING = Path(__file__).parents[2] / "shared" / "data" / "denoising"
WIDTH, HEIGHT, COUNT = 90, 70, 12


def grid(width: int = WIDTH, height: int = HEIGHT) -> tuple[np.ndarray, np.ndarray]:
    """Column and row of each pixel: (H, W) each."""
    return tuple(np.meshgrid(np.arange(width), np.arange(height)))  # type: ignore[return-value]


def painted(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A picture whose red is the column and whose green is the row."""
    x, y = grid(width, height)
    return np.stack([x, y, (x * 7 + y * 13) % 256], 2).astype(np.uint8)


def labels(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x // 8 * 3 + y // 8 * 5) % 11 * 20


def numbers(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return y * 700 + x


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, pixels)
    else:
        Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that say of each pixel where it comes from."""
    root = tmp_path_factory.mktemp("pairs")
    x, y = grid()
    for number in range(COUNT):
        save(root / "photos" / f"{number:02}.png", painted())
        palette = Image.fromarray(labels(x, y).astype(np.uint8), "P")
        palette.putpalette([random.Random(i).randrange(256) for i in range(768)])
        (root / "masks").mkdir(exist_ok=True)
        palette.save(root / "masks" / f"{number:02}_mask.png")
        save(root / "depth" / f"{number:02}.png", numbers(x, y).astype(np.uint16))
        save(root / "flow" / f"{number:02}.npy", np.stack([x, y], 2).astype(np.float32))
        save(root / "large" / f"{number:02}.png", painted(2 * WIDTH, 2 * HEIGHT))
    return root


def make(root: Path, **options: Any) -> lw.PairedFolders:
    return lw.PairedFolders(
        root,
        image="photos",
        mask=lw.Role("masks", "mask", suffix="_mask"),
        depth=lw.Role("depth", "raw"),
        flow=lw.Role("flow", "raw"),
        large=lw.Role("large", scale=2),
        **options,
    )


def batches(pairs: Any, transform: Any, workers: int = 0, epoch: int = 0, **options: Any) -> list[dict[str, Any]]:
    loader = lw.Loader(pairs, 5, transform=transform, shuffle=True, workers=workers, seed=7, **options)
    made = list(loader.epoch_batches(epoch))
    loader.close()
    return made


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) for a, b in zip(one, other, strict=True)
    )


# ---- one view for all ----------------------------------------------------------------------------------------------

EXACT = {
    "crop": lw.RandomCrop(32),
    "attitudes": lw.RandomCrop(32, turn=True),
    "composed": lw.Compose([lw.RandomCrop(40, flip=0), lw.Flips(), lw.RandomCrop(24)]),
    "central": lw.CenterCrop(50, share=None),
    "padded": lw.RandomCrop(80, turn=True, pad="reflect"),
    "repeated": lw.RandomCrop(80, pad="edge"),
}


@pytest.mark.parametrize("name", EXACT)
def test_every_role_shows_the_same_pixels(root: Path, name: str) -> None:
    for batch in batches(make(root), EXACT[name]):
        x, y = batch["image"][:, 0].numpy().astype(int), batch["image"][:, 1].numpy().astype(int)
        assert np.array_equal(batch["mask"].numpy(), labels(x, y))
        assert np.array_equal(batch["depth"].numpy(), numbers(x, y))
        assert np.array_equal(batch["flow"].numpy(), np.stack([x, y], 3))
        if name != "padded":  # the mirror image of half a pixel is another
            large = batch["large"].numpy()
            assert np.array_equal(large[:, 0] // 2, x.repeat(2, 1).repeat(2, 2))
            assert np.array_equal(large[:, 1] // 2, y.repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize("name", EXACT)
def test_a_pack_shows_the_same_pixels(root: Path, tmp_path: Path, name: str) -> None:
    cold = make(root)
    packed = lw.pack(cold, tmp_path / "pairs.pack", progress=False)
    assert same(batches(packed, EXACT[name], workers=2), batches(cold, EXACT[name]))


def test_a_pack_of_files_that_were_copied_is_not_made_again(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "here")
    path = lw.pack(make(tmp_path / "here"), tmp_path / "pairs.pack", progress=False).path
    made = path.stat().st_mtime_ns
    for number, file in enumerate((tmp_path / "here").rglob("*.*")):
        os.utime(file, (number, number))
    shutil.copytree(tmp_path / "here", tmp_path / "there", copy_function=shutil.copyfile)
    for place in ("here", "there"):
        again = lw.pack(make(tmp_path / place), path, progress=False)
        assert again.changed(make(tmp_path / place)) == [] and path.stat().st_mtime_ns == made


@pytest.mark.parametrize("what", ["content", "size", "pipe"])
def test_a_pack_of_files_that_changed_is_noticed(root: Path, tmp_path: Path, what: str) -> None:
    shutil.copytree(root, tmp_path / "here")
    pairs, file = make(tmp_path / "here"), tmp_path / "here" / "flow" / "07.npy"
    packed = lw.pack(pairs, tmp_path / "pairs.pack", progress=False)
    flow = np.load(file)
    file.unlink()
    if what == "pipe":
        os.mkfifo(file)
    else:
        np.save(file, flow + 1 if what == "content" else flow[1:])
    assert packed.changed(pairs) == ["07"]
    with pytest.raises(DataError, match="were changed since: say overwrite=True"):
        lw.pack(pairs, tmp_path / "pairs.pack", progress=False)


def test_a_pack_of_files_that_pair_otherwise_is_another(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "noisy" / f"{number}.png", painted())
        save(tmp_path / "clean" / f"{number}.png", painted())

    def pack() -> lw.PackedPairs:
        pairs = lw.PairedFolders(tmp_path, noisy="noisy", clean="clean", pair_by="order")
        return lw.pack(pairs, tmp_path / "pairs.pack", progress=False)

    pack()
    (tmp_path / "clean" / "0.png").rename(tmp_path / "clean" / "9.png")
    with pytest.raises(DataError, match="were changed since: say overwrite=True"):
        pack()


@pytest.mark.parametrize("transform", [lw.RandomResizedCrop(32), lw.RandomResizedCrop(9), lw.CenterCrop(24)], ids=str)
def test_every_role_shows_the_same_part_resized(root: Path, transform: Any) -> None:
    for batch in batches(make(root), transform):
        x, y = batch["image"][:, 0].double(), batch["image"][:, 1].double()
        assert (batch["flow"][..., 0] - x).abs().max() <= 0.51  # the picture is rounded
        assert (batch["flow"][..., 1] - y).abs().max() <= 0.51
        assert (batch["depth"].double() - numbers(*batch["flow"].double().unbind(3))).abs().max() < 1
        halves = torch.nn.functional.avg_pool2d(batch["large"].double(), 2)
        assert (halves[:, 0] / 2 - 0.25 - x).abs().max() <= 1.5
        assert (halves[:, 1] / 2 - 0.25 - y).abs().max() <= 1.5


def test_a_mask_shows_the_label_nearest_to_each_pixel(tmp_path: Path) -> None:
    x, _ = grid()
    save(tmp_path / "photos" / "1.npy", x.astype(np.float32))
    save(tmp_path / "masks" / "1.npy", x)
    pairs = lw.PairedFolders(tmp_path, image=lw.Role("photos", "raw"), mask=lw.Role("masks", "mask"))
    for epoch in range(40):
        (batch,) = batches(pairs, lw.RandomResizedCrop(16), epoch=epoch)
        apart = (batch["mask"] - batch["image"])[:, :, 1:-1]  # at the edges the antialiasing has one side only
        assert apart.abs().max() < 0.501


@pytest.mark.parametrize("transform", [lw.RandomResizedCrop(40), lw.RandomCrop(32, turn=True)], ids=str)
def test_workers_and_ways_of_reading_change_nothing(root: Path, transform: Any) -> None:
    pairs = make(root)
    expected = batches(pairs, transform)
    assert same(batches(pairs, transform, workers=2), expected)
    assert same(batches(pairs, transform, workers=1, engine="processes"), expected)
    assert same(batches(Subset(pairs, range(COUNT)), transform), expected)  # which hands decoded pictures on
    assert same(batches(lw.Part(pairs, range(COUNT)), transform, workers=1), expected)
    assert same(batches(pairs, lw.Compose([transform])), expected)


def test_a_part_of_them_has_their_files(root: Path) -> None:
    pairs = make(root)
    part = lw.Part(pairs, lw.hold_out(pairs, stratified=False)[1])
    assert part.name_of(1) == pairs.name_of(int(part.indices[1]))
    assert part.paths["mask"][1] == pairs.files(int(part.indices[1]))["mask"]
    assert part[1].keys() == pairs.roles.keys()


def test_why_there_is_no_ring(root: Path) -> None:
    loader = lw.Loader(make(root), 4, transform=lw.RandomCrop(8), workers=1)
    next(iter(loader))
    loader.close()
    assert loader.engine == "1 process: PairedFolders gives decoded samples (it has no undecoded(index))"


def test_epochs_differ_and_repeat_themselves(root: Path) -> None:
    pairs, crop = make(root), lw.RandomResizedCrop(16)
    first, second = batches(pairs, crop, epoch=0), batches(pairs, crop, epoch=1)
    assert not torch.equal(first[0]["image"], second[0]["image"])
    assert same(batches(pairs, crop, epoch=1), second)


def test_jpeg_pictures_of_a_pair_are_reduced_alike(tmp_path: Path) -> None:
    """Large ones are decoded at a part of their size; on one grid, whatever the mask beside them is."""
    photo = lw.open_picture(min(lw.demo_photos().rglob("*.jpg"))).resize((960, 720))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        photo.save(tmp_path / name / "1.jpg", quality=95)
    save(tmp_path / "exact" / "1.png", np.asarray(lw.open_picture(tmp_path / "one" / "1.jpg")))
    pairs = lw.PairedFolders(tmp_path, one="one", two="two", exact="exact")
    (batch,) = batches(pairs, lw.RandomResizedCrop(64, scale=(0.7, 1)))
    assert torch.equal(batch["one"], batch["two"])
    error = (batch["one"].double() - batch["exact"].double()).square().mean()
    assert 0 < error < 255**2 / 10**4  # 40 dB: it is the same part


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize("name", EXACT)
def test_a_cache_shows_the_same_pixels_cold_and_kept(root: Path, tmp_path: Path, name: str, where: str) -> None:
    expected = batches(make(root), EXACT[name])
    cached = lw.Cached(make(root), "memory" if where == "memory" else tmp_path / "kept")
    for _ in range(2):
        assert same(batches(cached, EXACT[name]), expected)
    assert cached.report().samples == COUNT
    if where == "disk":
        again = lw.Cached(make(root), tmp_path / "kept")
        assert again.report().samples == COUNT
        assert same(batches(again, EXACT[name], 1), expected)


def test_a_cache_notices_a_file_that_changed_and_other_roles(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "a" / f"{number}.png", painted(20, 20))
        save(tmp_path / "b" / f"{number}.png", painted(20, 20))
    cached = lw.Cached(lw.PairedFolders(tmp_path, a="a", b="b"), tmp_path / "kept")
    before = np.asarray(cached[1]["b"])
    save(tmp_path / "b" / "1.png", 255 - painted(20, 20))
    again = lw.Cached(lw.PairedFolders(tmp_path, a="a", b="b"), tmp_path / "kept")
    assert np.array_equal(np.asarray(again[1]["b"]), 255 - before)
    with pytest.raises(DataError):  # another kind is another data set
        lw.Cached(lw.PairedFolders(tmp_path, a="a", b=lw.Role("b", "gray")), tmp_path / "kept")[0]


# ---- what a file holds ---------------------------------------------------------------------------------------------


def one(folder: Path, kind: str, name: str = "1.png", **options: Any) -> Any:
    """What the only file of a folder is in a sample."""
    pairs = lw.PairedFolders(folder, it=lw.Role(".", kind, **options))  # type: ignore[arg-type]
    assert pairs.name_of(0) == Path(name).stem
    return pairs[0]["it"]


def filtered(lines: np.ndarray, row: int, step: int) -> bytes:
    """A row of bytes as PNG's first three filters leave it: as it is, less the pixel to the left, less the one above."""
    before = np.zeros_like(lines[row])
    if row % 3 == 1:
        before[step:] = lines[row, :-step]
    elif row % 3 == 2:
        before = lines[row - 1]
    return (lines[row] - before).tobytes()


def png(path: Path, pixels: np.ndarray, depth: int, colour: int) -> None:
    """A PNG file by the letter: whole samples of 8 or 16 bits, or several in a byte."""
    rows = pixels.astype(f">u{max(1, depth // 8)}").reshape(len(pixels), -1)
    if depth < 8:
        bits = (rows[:, :, None] >> np.arange(depth - 1, -1, -1)) & 1
        rows = np.packbits(bits.reshape(len(rows), -1).astype(np.uint8), axis=1)
    lines = np.frombuffer(rows.tobytes(), np.uint8).reshape(len(rows), -1)
    data = b"".join(
        bytes([i % 3]) + filtered(lines, i, max(1, depth * pixels.shape[2] // 8)) for i in range(len(lines))
    )
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    if colour == 3:
        chunks.insert(1, (b"PLTE", bytes(reversed(range(3 * 2**depth)))))
    made = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(made))


@pytest.mark.parametrize(
    ("depth", "colour", "channels"),
    [(1, 0, 1), (2, 0, 1), (4, 0, 1), (8, 0, 1), (16, 0, 1), (1, 3, 1), (2, 3, 1), (4, 3, 1), (16, 2, 3), (16, 6, 4),
     (16, 4, 2), (8, 2, 3), (8, 6, 4), (8, 4, 2)],
)  # fmt: skip
def test_the_numbers_of_any_png_survive(tmp_path: Path, depth: int, colour: int, channels: int) -> None:
    stored = np.random.default_rng(depth).integers(0, 2**depth, (12, 16, channels))
    png(tmp_path / "1.png", stored, depth, colour)
    raw = one(tmp_path, "raw")
    assert raw.dtype == (np.uint16 if depth == 16 else np.uint8)
    assert np.array_equal(raw.reshape(stored.shape), stored)
    if channels == 1:
        mask = one(tmp_path, "mask")
        assert mask.dtype == np.int64
        assert np.array_equal(mask, stored[..., 0])


@pytest.mark.parametrize("highest", [1, 7, 255, 256, 1000, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_numbers_of_binary_pnm_survive(tmp_path: Path, highest: int, channels: int) -> None:
    stored = np.random.default_rng(highest).integers(0, highest + 1, (5, 6, channels))
    header = f"P{5 if channels == 1 else 6}\n# a word\n6 5\n{highest}\n".encode()
    (tmp_path / "1.pgm").write_bytes(header + stored.astype(">u2" if highest > 255 else "u1").tobytes())
    raw = one(tmp_path, "raw")
    assert raw.dtype == (np.uint16 if highest > 255 else np.uint8)
    assert np.array_equal(raw.reshape(stored.shape), stored)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_the_numbers_of_tiff_survive(tmp_path: Path, dtype: type) -> None:
    stored = (np.random.default_rng(0).normal(0, 100, (6, 8)) * 50).astype(dtype)
    Image.fromarray(stored).save(tmp_path / "1.tif")
    raw = one(tmp_path, "raw")
    assert raw.dtype == dtype
    assert np.array_equal(raw, stored)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.int64, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1), (6, 8, 5)])
def test_arrays_are_read_and_shown_as_they_are(tmp_path: Path, dtype: type, shape: tuple[int, ...]) -> None:
    stored = (np.random.default_rng(0).random(shape) * 300).astype(dtype)
    np.save(tmp_path / "1.npy", stored)
    assert np.array_equal(one(tmp_path, "raw"), stored)
    (batch,) = batches(lw.PairedFolders(tmp_path, it=lw.Role(".", "raw")), lw.RandomCrop(6, flip=0))
    assert any(np.array_equal(batch["it"][0].numpy(), stored[:, left : left + 6]) for left in range(3))
    assert batch["it"].dtype == torch.from_numpy(stored.astype(np.uint8 if dtype is bool else dtype)).dtype


def tiff_of_16_bits_rgb(path: Path) -> None:
    entries = [(256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 3, 122), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 128),
               (277, 3, 1, 3), (278, 3, 1, 2), (279, 4, 1, 24)]  # fmt: skip
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    data = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + table + b"\0" * 4
    path.write_bytes(data.ljust(122, b"\0") + struct.pack("<3H", 16, 16, 16) + bytes(range(24)))


def test_what_pillow_would_cut_to_8_bits_is_refused(tmp_path: Path) -> None:
    tiff_of_16_bits_rgb(tmp_path / "1.tif")
    with pytest.raises(
        DataError, match=r"1\.tif: it holds 16 bits in each of several channels, of which Pillow keeps 8"
    ):
        one(tmp_path, "raw")
    (tmp_path / "1.tif").unlink()
    (tmp_path / "1.pgm").write_bytes(b"P2\n1 1\n5\n3\n")
    with pytest.raises(DataError, match=r"1\.pgm: a PNM file with numbers as text; give the role a loader="):
        one(tmp_path, "raw")


def test_what_is_no_mask_is_refused(tmp_path: Path) -> None:
    png(tmp_path / "1.png", painted(), 8, 2)
    with pytest.raises(
        DataError, match=r"1\.png: a role of kind 'mask' takes one whole number a pixel; colours become lab"
    ):
        one(tmp_path, "mask")
    (tmp_path / "1.png").unlink()
    Image.fromarray(painted()[..., 0]).save(tmp_path / "1.jpg")
    with pytest.raises(DataError, match=r"1\.jpg: a JPEG changes labels; give the masks as PNG"):
        one(tmp_path, "mask")


@pytest.mark.parametrize("kind", ["picture", "gray", "mask", "raw"])
@pytest.mark.parametrize("data", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"P5 2 2 255 x"])
def test_what_cannot_be_read_is_named(tmp_path: Path, kind: str, data: bytes) -> None:
    (tmp_path / "1.png").write_bytes(data)
    with pytest.raises(DataError, match=r"1\.png: not a readable picture"):
        one(tmp_path, kind)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 60), st.integers(1, 50))
def test_a_mask_keeps_to_its_labels(seed: int, width: int, height: int, size: int) -> None:
    chance = np.random.default_rng(seed)
    mask = chance.choice(chance.integers(-5, 70000, 4), (height, width))
    role, crop = lw.Role("x", "mask"), lw.RandomResizedCrop(size)
    shown = role.show(mask, crop.plan(width, height, random.Random(seed)))
    assert isinstance(shown, np.ndarray)
    assert shown.dtype == np.int64
    assert set(np.unique(shown)) <= set(np.unique(mask))


def test_a_loader_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "scan.1.volume").write_bytes(bytes(range(12)))

    def volume(path: Path) -> np.ndarray:
        return np.frombuffer(path.read_bytes(), np.uint8).reshape(3, 4)

    assert np.array_equal(one(tmp_path, "raw", "scan.1.x", loader=volume), volume(tmp_path / "scan.1.volume"))
    assert one(tmp_path, "mask", "scan.1.x", loader=volume).dtype == np.int64
    assert one(tmp_path, "gray", "scan.1.x", loader=volume).mode == "L"
    assert one(tmp_path, "picture", "scan.1.x", loader=lambda path: Image.fromarray(volume(path))).mode == "RGB"
    with pytest.raises(
        DataError, match=r"kind 'picture' takes a Pillow picture or uint8 \(H, W, 3\)\. Found: uint8 \(3, 4\)"
    ):
        one(tmp_path, "picture", "scan.1.x", loader=volume)


def test_loaders_may_draw(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / "it" / f"{number}.png", painted(8, 8))
    noisy = lw.Role("it", "raw", loader=lambda path: np.random.rand(8, 8) + torch.rand(8, 8).numpy())
    pairs = lw.PairedFolders(tmp_path, it=noisy)
    assert same(batches(pairs, lw.RandomCrop(4), workers=2), batches(pairs, lw.RandomCrop(4)))


# ---- what does not pair --------------------------------------------------------------------------------------------


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def why_not(root: Path, **roles: Any) -> str:
    with pytest.raises(DataError) as caught:
        lw.PairedFolders(root, **roles)
    return str(caught.value).replace(str(root), "ROOT")


def test_all_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    touch(tmp_path, *[f"photos/{i}.jpg" for i in range(9)], *[f"masks/{i}.png" for i in range(4, 11)], "depth/1.png")
    assert why_not(tmp_path, image="photos", mask="masks", depth="depth") == (
        "the folders do not pair, for 3 reasons:\n"
        "  role 'mask': ROOT/masks has no partner for 4 of 9 in ROOT/photos: '0', '1', '2', ...\n"
        "  role 'image': ROOT/photos has no partner for 2 of 7 in ROOT/masks: '10', '9'\n"
        "  role 'depth': ROOT/depth has no partner for 8 of 9 in ROOT/photos: '0', '2', '3', ..."
    )


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a.jpg", "photos/a.png", "photos/b c.jpg", "masks/a.png", "masks/b c.png")
    assert why_not(tmp_path, image="photos", mask="masks") == (
        "the folders do not pair:\n  role 'image': 1 name with several files in ROOT/photos: 'a.jpg' and 'a.png'"
    )


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a.jpg", "notes/a.txt", "notes/b.npy")
    assert why_not(tmp_path, image="photo", mask="mask") == (
        "the folders do not pair, for 2 reasons:\n"
        "  role 'image': ROOT/photo: no such folder; ROOT holds: 'notes', 'photos'\n"
        "  role 'mask': ROOT/mask: no such folder; ROOT holds: 'notes', 'photos'"
    )
    assert why_not(tmp_path, image="photos", mask=lw.Role("notes", prefix="m_")) == (
        "the folders do not pair:\n"
        "  role 'mask': ROOT/notes has no files of kind 'picture' with prefix='m_'; it has .npy, .txt"
    )


@pytest.mark.parametrize(("argument", "name"), [("suffix", "{}_gt"), ("prefix", "gt_{}")])
def test_what_all_names_have_more_is_suggested_and_can_be_said(tmp_path: Path, argument: str, name: str) -> None:
    touch(tmp_path, *[f"photos/{i}.jpg" for i in range(12)], *[f"masks/{name.format(i)}.png" for i in range(12)])
    added = name.format("")
    message = why_not(tmp_path, image="photos", mask="masks")
    assert message.endswith(f"Is it lw.Role(..., {argument}={added!r}) for 'mask'?")
    pairs = lw.PairedFolders(tmp_path, image="photos", mask=lw.Role("masks", **{argument: added}))
    assert pairs.names == sorted(map(str, range(12)))


def test_roles_may_share_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, *[f"all/{i}{end}" for i in range(3) for end in (".jpg", "_mask.png", "_mask_edges.png", ".txt")])
    pairs = lw.PairedFolders(
        tmp_path / "all",
        image=lw.Role("."),
        mask=lw.Role(".", suffix="_mask"),
        edges=lw.Role(".", suffix="_mask_edges"),
    )
    assert {path.name for path in pairs.paths["image"]} == {"0.jpg", "1.jpg", "2.jpg"}
    assert [path.name for path in pairs.files(1).values()] == ["1.jpg", "1_mask.png", "1_mask_edges.png"]


def test_a_suffix_with_a_dot_is_the_end_of_the_file(tmp_path: Path) -> None:
    touch(tmp_path, *[f"all/{i}{end}" for i in range(3) for end in (".jpg", ".png", ".nii.gz")])
    pairs = lw.PairedFolders(
        tmp_path,
        image=lw.Role("all", suffix=".jpg"),
        mask=lw.Role("all", "mask", suffix=".png"),
        scan=lw.Role("all", "raw", suffix=".nii.gz", loader=lambda path: None),
    )
    assert [path.name for path in pairs.files(2).values()] == ["2.jpg", "2.png", "2.nii.gz"]


def test_unpaired_files_are_left_out_when_asked(tmp_path: Path) -> None:
    touch(tmp_path, *[f"photos/{i}.jpg" for i in range(5)], *[f"masks/{i}.png" for i in range(2, 7)])
    pairs = lw.PairedFolders(tmp_path, image="photos", mask="masks", on_unpaired="skip")
    assert (pairs.names, pairs.left_out) == (["2", "3", "4"], ["0", "1", "5", "6"])
    touch(tmp_path, "others/x.png")
    with pytest.raises(DataError, match="no name is in all folders"):
        lw.PairedFolders(tmp_path, image="photos", mask="others", on_unpaired="skip")


def test_pairing_by_order_takes_numbers_as_numbers(tmp_path: Path) -> None:
    touch(tmp_path, *[f"photos/a{i}.jpg" for i in range(12)], *[f"masks/b_{i:04}.png" for i in range(12)])
    pairs = lw.PairedFolders(tmp_path, pair_by="order", image="photos", mask="masks")
    assert [(a.name, b.name) for a, b in zip(*pairs.paths.values(), strict=True)] == [
        (f"a{i}.jpg", f"b_{i:04}.png") for i in range(12)
    ]
    assert pairs.name_of(2) == "a2.jpg"
    touch(tmp_path, "masks/more.png")
    with pytest.raises(DataError, match=r"needs as many files of each role\. Found: 12 'image' in .*, 13 'mask' in "):
        lw.PairedFolders(tmp_path, pair_by="order", image="photos", mask="masks")


def test_one_name_in_two_unicode_forms_is_one(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "été 1\n") for form in ("NFC", "NFD"))
    touch(tmp_path, f"photos/{composed}.jpg", f"masks/{apart}.png")
    pairs = lw.PairedFolders(tmp_path, image="photos", mask="masks")
    assert pairs.names == [composed]
    assert pairs.files(0)["mask"].exists()
    touch(tmp_path, f"photos/{apart}.jpg")
    assert "1 name with several files" in why_not(tmp_path, image="photos", mask="masks")


NAMES = st.sets(
    st.text(st.sampled_from("ab 1._é\u0301\n😀-'\"%{"), min_size=1, max_size=5).filter(
        lambda name: not name.startswith(".") and name.strip(".")
    ),
    min_size=1,
    max_size=6,
)


@settings(deadline=None, max_examples=80)
@given(NAMES, NAMES, st.sampled_from(["", "_m", " \n"]), st.booleans())
@example({"a", "a.b"}, {"a", "a.b"}, "", False)
def test_names_pair_as_they_should(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], others: set[str], suffix: str, alike: bool
) -> None:
    """Against the plain words of what a pair is."""
    others = names if alike else others
    root = tmp_path_factory.mktemp("names")
    touch(root, *[f"one/sub/{name}.jpg" for name in names], *[f"two/sub/{name}{suffix}.png" for name in others])
    plain = [[f"sub/{unicodedata.normalize('NFC', name)}" for name in each] for each in (names, others)]
    distinct = all(len(set(each)) == len(each) for each in plain)
    if set(plain[0]) != set(plain[1]) or not distinct:
        with pytest.raises(DataError, match="the folders do not pair"):
            lw.PairedFolders(root, one="one", two=lw.Role("two", suffix=suffix))
        return
    pairs = lw.PairedFolders(root, one="one", two=lw.Role("two", suffix=suffix))
    assert pairs.names == sorted(plain[0])
    for index, name in enumerate(pairs.names):
        first, second = pairs.files(index).values()
        assert unicodedata.normalize("NFC", f"sub/{first.name}") == f"{name}.jpg"
        assert unicodedata.normalize("NFC", f"sub/{second.name}") == f"{name}{suffix}.png"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "PairedFolders needs roles"),
        ({"a": 3}, "role 'a' must be a folder or a Role. Found: 3"),
        ({"a": "x", "split": "dev"}, "split must be one of None, 'train', 'val', 'test'. Found: 'dev'"),
        ({"a": "x", "pair_by": "size"}, "pair_by must be one of 'name', 'order'. Found: 'size'"),
        ({"a": "x", "on_error": "no"}, "on_error must be one of"),
        ({"a": "x", "holdout": 1}, "holdout a share between 0 and 1. Found: 0, 1"),
        ({"a": "x", "pair_by": "order", "on_unpaired": "skip"}, "on_unpaired='skip' has no effect"),
    ],
)
def test_a_wrong_setting_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        lw.PairedFolders(".", **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: lw.Role("x", "label"), "Role: kind must be one of 'picture', 'gray', 'mask', 'raw'. Found: 'label'"),
        (lambda: lw.Role("x", interpolation="cubic"), "Role: interpolation must be one of 'bilinear', 'nearest'"),
        (lambda: lw.Role("x", "mask", interpolation="bilinear"), "labels cannot be mixed"),
        (lambda: lw.Role("x", scale=0.5), "Role: scale must be a whole number, 1 or more. Found: 0.5"),
        (lambda: lw.RandomCrop(4, pad="zero"), "pad must be None or one of reflect, edge, fill. Found: 'zero'"),
        (lambda: lw.Loader(range(3), 1, normalize={"a": 3}), "must be a Normalize or None. Found: 3"),
    ],
)
def test_a_wrong_role_is_refused(make_it: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_it()
    assert message in str(caught.value)


# ---- parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["{split}/{role}", "{role}/{split}"])
def test_splits_are_found_above_and_in_the_roles_folders(tmp_path: Path, layout: str) -> None:
    for split, count in (("Train", 4), ("valid", 2)):
        for role in ("noisy", "clean"):
            touch(tmp_path, *[f"{layout.format(split=split, role=role)}/{split}{i}.png" for i in range(count)])
    roles = {"noisy": "noisy", "clean": "clean"}
    assert [len(lw.PairedFolders(tmp_path, split, **roles)) for split in ("train", "val")] == [4, 2]
    with pytest.raises(DataError, match="no folders for split 'test': looked for test/noisy and noisy/test"):
        lw.PairedFolders(tmp_path, "test", **roles)
    if layout.startswith("{role}"):
        with pytest.raises(DataError, match="holds splits .* say split='train'"):
            lw.PairedFolders(tmp_path, **roles)


def test_a_split_that_one_role_lacks_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/noisy/1.png", "train/clean/1.png", "val/noisy/2.png")
    with pytest.raises(DataError, match=r"val/noisy is of split 'val', but .* no such folder for role 'clean'"):
        lw.PairedFolders(tmp_path, "val", noisy="noisy", clean="clean")


@pytest.mark.parametrize("below", ["", "train/"])
def test_a_part_is_held_out_where_there_is_no_validation_folder(tmp_path: Path, below: str) -> None:
    touch(tmp_path, *[f"{below}{role}/{i}.png" for role in ("noisy", "clean") for i in range(30)])
    parts = [lw.PairedFolders(tmp_path, s, noisy="noisy", clean="clean", seed=4) for s in ("train", "val")]
    assert [len(part) for part in parts] == [24, 6]
    assert sorted([*parts[0].names, *parts[1].names]) == sorted(map(str, range(30)))
    for part in parts:
        assert [path.stem for path in part.paths["clean"]] == part.names
    other = lw.PairedFolders(tmp_path, "val", noisy="noisy", clean="clean", seed=5)
    assert other.names != parts[1].names


# ---- sizes ---------------------------------------------------------------------------------------------------------


def test_pictures_of_other_sizes_are_named_when_read(tmp_path: Path) -> None:
    for number, width in enumerate((30, 31, 30)):
        save(tmp_path / "photos" / f"{number}.png", painted(30, 20))
        save(tmp_path / "masks" / f"{number}.png", painted(width, 20)[..., 0])
    pairs = lw.PairedFolders(tmp_path, image="photos", mask=lw.Role("masks", "mask"))
    expected = r"photos/1\.png is 30x20 and .*masks/1\.png is 31x20: role 'mask' must have the same size as 'image'"
    with pytest.raises(DataError, match=expected):
        pairs[1]
    for workers in (0, 1):
        with pytest.raises(DataError, match=expected):
            batches(pairs, lw.RandomCrop(8), workers=workers)
    loader = lw.Loader(pairs, 3, transform=lw.RandomCrop(8), workers=0, on_error="skip")
    assert [len(batch["image"]) for batch in loader] == [2]
    assert len(loader.skipped) == 1


def test_sizes_that_differ_by_a_turn_are_explained(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(painted(30, 20)).save(tmp_path / "photos" / "1.jpg", exif=exif)
    save(tmp_path / "masks" / "1.png", painted(30, 20)[..., 0])
    pairs = lw.PairedFolders(tmp_path, image="photos", mask=lw.Role("masks", "mask"))
    with pytest.raises(
        DataError, match=r"is 20x30 and .* is 30x20: .* 1\.jpg is turned by its EXIF block: the others must"
    ):
        batches(pairs, lw.RandomCrop(8))


def test_what_moves_one_picture_against_the_others_is_refused() -> None:
    for moving in (lw.Flips(), lw.RandomCrop(8), lw.Compose([lw.RandomResizedCrop(8), brighter])):
        with pytest.raises(
            ConfigError, match=r"PerRole: image=.* would show other parts .* put it into Compose before"
        ):
            lw.PerRole(image=moving)
    with pytest.raises(
        ConfigError, match=r"image= is a function of one picture\. Found: .*: write ColorJitter\(\.\.\.\)"
    ):
        lw.PerRole(image=v2.ColorJitter)
    with pytest.raises(ConfigError, match=r"mask= is a function of one picture\. Found: 3$"):
        lw.PerRole(mask=3)  # type: ignore[arg-type]


def test_scales_must_be_true(tmp_path: Path) -> None:
    save(tmp_path / "small" / "1.png", painted(10, 10))
    save(tmp_path / "large" / "1.png", painted(40, 41))
    small, large = lw.Role("small"), lw.Role("large", scale=4)
    with pytest.raises(DataError, match=r"10x10 and .* is 40x41: role 'large' must have 4 times the size as 'small'"):
        lw.PairedFolders(tmp_path, small=small, large=large)[0]
    with pytest.raises(DataError, match=r"40x41, which is not 4 times a whole number of pixels"):
        lw.PairedFolders(tmp_path, large=large)[0]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_targets_of_another_scale_are_aligned_to_the_pixel(tmp_path: Path, scale: int) -> None:
    """The large picture is the small one with each pixel repeated: so is every crop of it."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    save(tmp_path / "small" / "1.png", pixels)
    save(tmp_path / "large" / "1.png", pixels.repeat(scale, 0).repeat(scale, 1))
    pairs = lw.PairedFolders(tmp_path, large=lw.Role("large", scale=scale), small="small")
    for epoch in range(10):
        (batch,) = batches(pairs, lw.RandomCrop(16, turn=True), epoch=epoch)
        assert batch["large"].shape == (1, 3, 16 * scale, 16 * scale)
        assert torch.equal(batch["large"], batch["small"].repeat_interleave(scale, 2).repeat_interleave(scale, 3))


@pytest.mark.parametrize(("engine", "workers"), [("here", 0), ("threads", 1), ("processes", 1)])
def test_a_picture_that_is_too_small_is_named(tmp_path: Path, engine: Any, workers: int) -> None:
    save(tmp_path / "all" / "cat" / "1.png", painted(20, 9))
    loader = lw.Loader(lw.ImageFolder(tmp_path / "all"), 1, transform=lw.RandomCrop(10), engine=engine, workers=workers)
    with pytest.raises(DataError, match=r"cat/1\.png: RandomCrop\(10\) of a picture of 20x9 pixels: .* pad='reflect'"):
        next(iter(loader))
    loader.close()
    if engine != "threads":
        pairs = lw.PairedFolders(tmp_path, image="all/cat")
        with pytest.raises(DataError, match=r"cat/1\.png: CenterCrop\(10, share=None\) of a picture of 20x9 pixels"):
            batches(pairs, lw.CenterCrop(10, share=None), workers=workers)


# ---- each role's own ------------------------------------------------------------------------------------------------


def brighter(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(picture) // 2 + random.randrange(64) + np.random.randint(64, dtype=np.uint8))


@pytest.mark.parametrize("own", [brighter, v2.ColorJitter(0.5, 0.5)], ids=["function", "torchvision"])
def test_photometry_is_one_roles_own(root: Path, own: Any) -> None:
    pairs, crop = make(root), lw.RandomCrop(32)
    plain, made = batches(pairs, crop), batches(pairs, lw.Compose([crop, lw.PerRole(image=own)]))
    for before, after in zip(plain, made, strict=True):
        assert not torch.equal(before["image"], after["image"])
        assert all(torch.equal(before[role], after[role]) for role in before if role != "image")
    assert same(batches(pairs, lw.Compose([crop, lw.PerRole(image=own)]), workers=2), made)


def test_what_is_for_one_picture_needs_a_role(root: Path) -> None:
    with pytest.raises(
        DataError, match=r"transform= has brighter, which is for one picture, .* lw\.PerRole\(image=\.\.\.\)"
    ):
        batches(make(root), brighter)
    with pytest.raises(DataError, match="there is no role 'imge': did you mean 'image'?"):
        batches(make(root), lw.PerRole(imge=brighter))
    with pytest.raises(DataError, match=r"role 'image' is a Image already: what crops or flips comes before"):
        batches(make(root), lw.Compose([lw.PerRole(image=v2.ToImage()), lw.RandomCrop(8)]))


def test_a_transform_of_ones_own_is_given_the_whole_sample(root: Path) -> None:
    class Swap(lw.Transform):
        def __call__(self, sample: Any, rng: random.Random) -> Any:
            return {"image": sample["image"], "place": sample.paths["image"].stem, "drawn": rng.random()}

    (batch, *_) = batches(make(root), lw.Compose([lw.RandomCrop(8), Swap()]), workers=1)
    assert batch["image"].shape == (5, 3, 8, 8)
    assert len(set(batch["place"])) == len(set(batch["drawn"].tolist())) == 5


def test_samples_without_a_transform_are_whole(root: Path) -> None:
    sample = make(root)[0]
    assert {role: type(value) for role, value in sample.items()} == {
        "image": Image.Image, "mask": np.ndarray, "depth": np.ndarray, "flow": np.ndarray, "large": Image.Image,
    }  # fmt: skip
    (batch, *_) = batches(make(root), None)
    assert {role: (tensor.dtype, tuple(tensor.shape[1:])) for role, tensor in batch.items()} == {
        "image": (torch.uint8, (3, HEIGHT, WIDTH)),
        "mask": (torch.int64, (HEIGHT, WIDTH)),
        "depth": (torch.uint16, (HEIGHT, WIDTH)),
        "flow": (torch.float32, (HEIGHT, WIDTH, 2)),
        "large": (torch.uint8, (3, 2 * HEIGHT, 2 * WIDTH)),
    }


def test_torchs_own_loader_takes_them(root: Path) -> None:
    theirs = next(iter(DataLoader(make(root), 3, collate_fn=lw.collate)))  # type: ignore[arg-type]
    assert same([theirs], [lw.collate([make(root)[index] for index in range(3)])])


def test_geometry_can_be_called_with_a_sample(root: Path) -> None:
    sample = lw.RandomCrop(16)(make(root)[0], random.Random(3))
    x, y = np.asarray(sample["image"])[..., :2].astype(int).transpose(2, 0, 1)
    assert np.array_equal(sample["mask"], labels(x, y))


def test_fill_is_the_roles(root: Path) -> None:
    pairs = lw.PairedFolders(
        root,
        image=lw.Role("photos", fill=9),
        mask=lw.Role("masks", "mask", suffix="_mask"),
        ignored=lw.Role("masks", "mask", suffix="_mask", fill=-100),
    )
    (batch, *_) = batches(pairs, lw.RandomCrop(96, pad="fill", flip=0))
    left, top = (96 - WIDTH) // 2, (96 - HEIGHT) // 2
    inside = torch.zeros(96, 96, dtype=torch.bool)
    inside[top : top + HEIGHT, left : left + WIDTH] = True
    assert (batch["image"][:, :, ~inside] == 9).all()
    assert (batch["mask"][:, ~inside] == 255).all()
    assert (batch["ignored"][:, ~inside] == -100).all()
    assert torch.equal(
        batch["image"][0][:, inside].reshape(3, HEIGHT, WIDTH), torch.from_numpy(painted()).permute(2, 0, 1)
    )


# ---- normalisation -------------------------------------------------------------------------------------------------


def test_pictures_are_normalised_alike_and_measurements_not_at_all(root: Path) -> None:
    (batch, *_) = batches(make(root), lw.RandomCrop(16))
    made = lw.Loader(make(root), 5).normalize(batch)
    for role in ("image", "large"):
        assert torch.equal(made[role], lw.Normalize()(batch[role]))
    for role in ("mask", "depth", "flow"):
        assert made[role] is batch[role]


def test_normalisation_can_be_said_for_each_role(root: Path) -> None:
    (batch, *_) = batches(make(root), lw.RandomCrop(16))
    half = lw.Normalize((0.5,) * 3, (0.5,) * 3)
    made = lw.Loader(make(root), 5, normalize={"image": half, "mask": None}).normalize(batch)
    assert torch.equal(made["image"], half(batch["image"]))
    assert made["large"] is batch["large"]
    with pytest.raises(ConfigError, match="normalize= names 'imag', which no batch has: did you mean 'image'?"):
        lw.Loader(make(root), 5, normalize={"imag": half}).normalize(batch)
    with pytest.raises(ConfigError, match="normalize= names image, but the batch is a Tensor"):
        lw.Loader(make(root), 5, normalize={"image": half}).normalize(batch["image"])


def test_a_run_feeds_them(root: Path, tmp_path: Path) -> None:
    loader = lw.Loader(make(root), 5, transform=lw.RandomCrop(8), workers=0, normalize={"image": lw.Normalize()})
    with lw.Run(tmp_path / "run", seed=1, progress=False) as run:
        for _ in run.epochs(1):
            for batch in run.batches(loader):
                assert batch["image"].dtype == torch.float32
                assert batch["large"].dtype == torch.uint8
                run.log(loss=batch["image"].mean())


# ---- views ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_view_is_flipped_then_turned(shape: tuple[int, ...], dtype: type) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    for flip in (False, True):
        for turns in range(4):
            width, height = (10, 8) if turns % 2 else (8, 10)
            made = show(pixels, View((3, 2, 11, 12), width, height, flip, turns=turns))
            part = pixels[2:12, 3:11]
            expected = np.rot90(part[:, ::-1] if flip else part, turns)
            assert np.array_equal(made, expected)
            out = np.zeros_like(made)
            assert show(pixels, View((3, 2, 11, 12), width, height, flip, turns=turns), out) is out
            assert np.array_equal(out, expected)


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.sampled_from(["reflect", "edge"]))
def test_padding_is_numpys(width: int, height: int, size: int, pad: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    crop = lw.RandomCrop(size, flip=0, pad=pad)
    view = crop.plan(width, height, random.Random(size))
    left, top, right, bottom = view.box
    around = ((max(0, -top), max(0, bottom - height)), (max(0, -left), max(0, right - width)), (0, 0))
    whole = np.pad(pixels, around, mode=pad)
    expected = whole[max(0, top) :, max(0, left) :][:size, :size]
    assert np.array_equal(np.asarray(crop(Image.fromarray(pixels), random.Random(size))), expected)


@pytest.mark.parametrize("transform", [lw.Flips(), lw.RandomCrop(2, turn=True)], ids=str)
def test_every_attitude_is_as_likely(transform: Any) -> None:
    picture, seen = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8)), []
    for seed in range(1600):
        seen.append(np.asarray(transform(picture, random.Random(seed))).tobytes())
    counts = [seen.count(attitude) for attitude in set(seen)]
    assert len(counts) == 8
    assert min(counts) > 140
    assert max(counts) < 260


@pytest.mark.parametrize(
    "crop", [lw.RandomCrop(24, turn=True), lw.RandomCrop(190, pad="reflect"), lw.CenterCrop(64, share=None)], ids=str
)
def test_the_fast_engine_shows_the_same(crop: Any) -> None:
    photos = lw.ImageFolder(lw.demo_photos(), split="val")
    made = {}
    for engine, workers in (("here", 0), ("ring", 2)):
        loader = lw.Loader(photos, 64, transform=crop, seed=2, engine=engine, workers=workers)  # type: ignore[arg-type]
        made[engine] = list(loader)
        loader.close()
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(*made.values(), strict=True))


def test_crops_of_a_pack_are_the_same_in_any_attitude(tmp_path: Path) -> None:
    """Pictures of one size are cut many at a time, where a crop does no more than cut."""
    photos = lw.ImageFolder(lw.demo_photos(), split="val")
    packed = lw.pack(photos, tmp_path / "val.pack", size=40, crop=True, progress=False)
    for crop in (lw.RandomCrop(32), lw.RandomCrop(32, turn=True), lw.RandomCrop(48, pad="edge")):
        made = {}
        for engine, workers in (("here", 0), ("threads", 2)):
            loader = lw.Loader(packed, 64, transform=crop, seed=2, engine=engine, workers=workers)  # type: ignore[arg-type]
            made[engine] = [pictures.clone() for pictures, _ in loader]
            loader.close()
        assert all(torch.equal(a, b) for a, b in zip(*made.values(), strict=True))


@pytest.mark.skipif(not DENOISING.is_dir(), reason="the shared denoising pictures are not here")
def test_a_published_set_pairs_with_itself() -> None:
    pairs = lw.PairedFolders(DENOISING, noisy=lw.Role("Set12", "gray"), clean=lw.Role("Set12", "raw"))
    assert len(pairs) == 12
    for batch in batches(pairs, lw.RandomCrop(64, turn=True)):
        assert torch.equal(batch["noisy"][:, 0], batch["clean"])


def test_names_that_are_no_text_pair_too(tmp_path: Path) -> None:
    try:
        touch(tmp_path, *[os.fsdecode(os.fsencode(f"{folder}/") + b"\xff.png") for folder in ("one", "two")])
    except OSError:
        pytest.skip("this file system takes no such names")
    assert len(lw.PairedFolders(tmp_path, one="one", two="two")) == 1
    touch(tmp_path, os.fsdecode(b"one/\xfe.png"))
    assert why_not(tmp_path, one="one", two="two").encode()  # it can be printed
