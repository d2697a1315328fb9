"""Laws of reading a picture: whatever the file, upright 8-bit RGB or one error that names the file."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from loopwright import demo_photos
from loopwright._errors import DataError
from loopwright.data._picture import open_picture, to_rgb

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)  # no symmetry, sides that differ
PICTURE = Image.fromarray(COLOURS)
WHITE = (255, 255, 255)


def pixels(picture: Image.Image) -> np.ndarray:
    assert picture.mode == "RGB"
    return np.asarray(picture)


def encoded(picture: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def reread(folder: Path, picture: Image.Image, format: str = "PNG", **options: Any) -> np.ndarray:
    path = folder / f"picture.{format.lower()}"
    path.write_bytes(encoded(picture, format, **options))
    return pixels(open_picture(path))


def raw_png(bits: int, colour_type: int, rows: np.ndarray, *, transparent: bytes = b"", size: Any = None) -> bytes:
    """A PNG made by hand, of kinds that Pillow reads and does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    width, height = size or (rows.shape[1], rows.shape[0])
    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    lines = b"".join(b"\0" + row.astype(">u2" if bits == 16 else "u1").tobytes() for row in rows)
    middle = chunk(b"tRNS", transparent) if transparent else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + middle
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


# ---- kinds of pictures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_rgb_comes_back_bit_by_bit(tmp_path: Path, format: str) -> None:
    assert np.array_equal(reread(tmp_path, PICTURE, format), COLOURS)


def test_a_photo_is_what_pillow_reads() -> None:
    for path in sorted((demo_photos() / "val").rglob("*.jpg"))[:20]:
        with Image.open(path) as photo:
            assert np.array_equal(pixels(open_picture(path)), pixels(photo.convert("RGB")))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "BMP"])
def test_gray_has_three_equal_channels(tmp_path: Path, format: str) -> None:
    gray = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    read = reread(tmp_path, gray, format)
    assert (read[..., 0] == read[..., 1]).all()
    assert (read[..., 0] == read[..., 2]).all()
    assert np.abs(read[..., 0].astype(int) - np.asarray(gray)).max() <= (4 if format == "JPEG" else 0)


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    bits = RNG.integers(0, 2, (9, 13)).astype(bool)
    assert np.array_equal(reread(tmp_path, Image.fromarray(bits)), np.stack([bits * np.uint8(255)] * 3, -1))


def test_cmyk_is_converted(tmp_path: Path) -> None:
    inks = Image.merge("CMYK", [Image.new("L", (2, 2), ink) for ink in (255, 0, 0, 0)])
    assert reread(tmp_path, inks, "TIFF")[0, 0].tolist() == [0, 255, 255]
    assert np.abs(reread(tmp_path, inks, "JPEG", quality=95)[0, 0].astype(int) - (0, 255, 255)).max() < 12


def test_other_colour_spaces_of_jpeg_and_tiff_are_converted(tmp_path: Path) -> None:
    smooth = Image.linear_gradient("L").resize((32, 32)).convert("RGB")
    assert np.abs(reread(tmp_path, smooth.convert("YCbCr"), "TIFF").astype(int) - pixels(smooth)).max() <= 3


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    palette = PICTURE.quantize(16)
    for format in ("PNG", "GIF", "BMP", "TIFF"):
        assert np.array_equal(reread(tmp_path, palette, format), pixels(palette.convert("RGB")))


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_the_transparent_colour_of_a_palette_is_white(tmp_path: Path, format: str) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    assert reread(tmp_path, palette, format, transparency=1)[0].tolist() == [[10, 20, 30], list(WHITE)]


def test_half_transparent_colours_of_a_palette_are_mixed_with_white(tmp_path: Path) -> None:
    palette = Image.new("P", (3, 1))
    palette.putpalette([0, 0, 0, 0, 0, 0, 200, 0, 0])
    palette.putdata([0, 1, 2])
    read = reread(tmp_path, palette, transparency=bytes([0, 128, 255]))[0]
    assert read[0].tolist() == list(WHITE)
    assert np.abs(read[1].astype(int) - 127).max() <= 1
    assert read[2].tolist() == [200, 0, 0]


def test_alpha_in_the_palette_itself_counts() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([9, 9, 9, 0, 1, 2, 3, 255], "RGBA")
    palette.putpixel((1, 0), 1)
    assert pixels(to_rgb(palette))[0].tolist() == [list(WHITE), [1, 2, 3]]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_lies_over_white(tmp_path: Path, format: str, mode: str) -> None:
    if (format, mode) == ("WEBP", "LA"):
        pytest.skip("WebP has no gray with alpha")
    alpha = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    layer = PICTURE.convert(mode[:-1])
    expected = np.asarray(layer.convert("RGB")) * (alpha / 255)[..., None] + 255 * (1 - alpha / 255)[..., None]
    layer.putalpha(Image.fromarray(alpha))
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    assert np.abs(reread(tmp_path, layer, format, **options) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_hidden_colour_is_never_seen(tmp_path: Path, mode: str) -> None:
    hidden = PICTURE.convert(mode[:-1])
    hidden.putalpha(Image.new("L", hidden.size, 0))
    assert (reread(tmp_path, hidden) == 255).all()


def test_opaque_alpha_changes_nothing(tmp_path: Path) -> None:
    assert np.array_equal(reread(tmp_path, PICTURE.convert("RGBA")), COLOURS)


def test_the_transparent_colour_of_rgb_and_gray_is_white(tmp_path: Path) -> None:
    pair = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8))
    assert reread(tmp_path, pair, transparency=(4, 5, 6))[0].tolist() == [[1, 2, 3], list(WHITE)]
    gray = Image.fromarray(np.array([[7, 8]], dtype=np.uint8))
    assert reread(tmp_path, gray, transparency=8)[0].tolist() == [[7, 7, 7], list(WHITE)]


LEVELS = np.arange(65_536, dtype=np.uint16).reshape(256, 256)


@pytest.mark.parametrize("kind", ["png", "tiff", "big-endian tiff", "pgm", "32-bit tiff"])
def test_all_levels_of_16_bit_gray_are_scaled_not_clipped(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "deep"
    if kind == "pgm":
        path.write_bytes(b"P5 256 256 65535\n" + LEVELS.astype(">u2").tobytes())
    elif kind == "big-endian tiff":
        Image.frombytes("I;16B", (256, 256), LEVELS.astype(">u2").tobytes()).save(path, "TIFF")
    elif kind == "32-bit tiff":
        Image.fromarray(LEVELS.astype(np.int32)).save(path, "TIFF")
    else:
        Image.fromarray(LEVELS).save(path, kind)
    read = pixels(open_picture(path))[..., 1].ravel()
    assert np.array_equal(read, np.rint(np.arange(65_536) / 257))
    assert (np.diff(read.astype(int)) >= 0).all()
    assert set(read) == set(range(256))


def test_16_bit_rgb_is_scaled_not_clipped(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65_536, (4, 5, 3))
    path = tmp_path / "deep.png"
    path.write_bytes(raw_png(16, 2, deep.reshape(4, 15), size=(5, 4)))
    assert np.abs(pixels(open_picture(path)) - deep / 257).max() < 1


def test_16_bit_gray_with_alpha_lies_over_white(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(raw_png(16, 4, np.array([[0, 65_535, 0, 0, 0, 32_768]]), size=(3, 1)))
    read = pixels(open_picture(path))[0, :, 0].astype(int)
    assert np.abs(read - (0, 255, 127)).max() <= 1


def test_the_transparent_level_of_16_bit_gray_is_white(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(raw_png(16, 0, np.array([[0, 1000, 65_535]]), transparent=struct.pack(">H", 1000)))
    assert pixels(open_picture(path))[0, :, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize(
    "values", [np.full((2, 2), -1, np.int32), np.full((2, 2), 70_000, np.int32), np.eye(2, dtype=np.float32)]
)
def test_numbers_that_are_no_gray_levels_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    path = tmp_path / "measured.tiff"
    Image.fromarray(values).save(path)
    with pytest.raises(DataError, match=r"measured\.tiff: not a readable picture \((values from|a floating-point)"):
        open_picture(path)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(tmp_path: Path, format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
    options = {"lossless": True} if format == "WEBP" else {}
    read = reread(tmp_path, frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert (read == (200, 0, 0)).all()


def test_the_transparent_part_of_an_animation_is_white(tmp_path: Path) -> None:
    frame = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    frame.putpixel((0, 0), (200, 0, 0, 255))
    read = reread(tmp_path, frame, "GIF", save_all=True, append_images=[Image.new("RGBA", (4, 4), (0, 200, 0, 255))])
    assert read[0, 0].tolist() == [200, 0, 0]
    assert (read[1:] == 255).all()


# ---- upright -------------------------------------------------------------------------------------------------------

STORED_AS = {  # how a camera stores an upright picture under each EXIF orientation (Exif 2.32, table 6)
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[ExifTags.Base.Orientation] = orientation
    block[ExifTags.Base.Make] = "a camera"
    block.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2020:01:01 00:00:00"
    return block


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_upright(tmp_path: Path, format: str, orientation: int) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED_AS[orientation](COLOURS)))
    options = {"lossless": True} if format == "WEBP" else {}
    assert np.array_equal(reread(tmp_path, stored, format, exif=exif(orientation), **options), COLOURS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_photo_of_a_camera_is_upright(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((16, 24, 3), dtype=np.uint8)
    upright[:8, :16] = 255  # bright at the top left, more wide than high
    stored = Image.fromarray(np.ascontiguousarray(STORED_AS[orientation](upright)))
    read = reread(tmp_path, stored, "JPEG", exif=exif(orientation), quality=95)
    assert np.abs(read.astype(int) - upright).max() < 30


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16", "1", "CMYK"])
def test_other_kinds_are_upright_too(tmp_path: Path, mode: str, format: str) -> None:
    if (mode, format) == ("CMYK", "PNG"):
        pytest.skip("PNG has no CMYK")
    gray = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8) * 5)
    picture = Image.fromarray(np.asarray(gray) * np.uint16(257)) if mode == "I;16" else gray.convert(mode)
    plain, turned = (reread(tmp_path, picture, format, exif=exif(orientation)) for orientation in (1, 6))
    assert np.array_equal(turned, np.rot90(plain, -1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_is_upright_is_not_turned_again(orientation: int) -> None:
    once = to_rgb(Image.open(io.BytesIO(encoded(PICTURE, "PNG", exif=exif(orientation)))))
    assert np.array_equal(pixels(to_rgb(once)), pixels(once))
    assert np.array_equal(pixels(ImageOps.exif_transpose(once)), pixels(once))


@pytest.mark.parametrize("value", [0, 9, 255, 65_535])
def test_an_orientation_that_does_not_exist_is_none(tmp_path: Path, value: int) -> None:
    assert np.array_equal(reread(tmp_path, PICTURE, exif=exif(value)), COLOURS)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_exif_block_spoils_no_picture(data: st.DataObject) -> None:
    block = bytearray(exif(6).tobytes())
    for _ in range(data.draw(st.integers(1, 12))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    read = pixels(to_rgb(Image.open(io.BytesIO(raw_with_exif(bytes(block))))))
    assert any(np.array_equal(read, turn(COLOURS)) for turn in STORED_AS.values())


def raw_with_exif(block: bytes) -> bytes:
    """A PNG with this very block, which Pillow would refuse to write."""
    plain = encoded(PICTURE, "PNG")
    body = block.removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    return plain[:33] + chunk + plain[33:]  # behind the signature and the header


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_the_given_picture_is_untouched(mode: str) -> None:
    given = PICTURE.convert(mode)
    given.info["exif"] = exif(6).tobytes()
    before = given.mode, given.size, given.tobytes(), dict(given.info)
    result = to_rgb(given)
    result.putpixel((0, 0), (1, 2, 3))
    assert (given.mode, given.size, given.tobytes(), dict(given.info)) == before


# ---- what cannot be read -------------------------------------------------------------------------------------------

FORMATS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]


def check_refused(path: Path, match: str = "picture") -> None:
    with pytest.raises(DataError, match=match) as caught:
        open_picture(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.95])
@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, format: str, share: float) -> None:
    noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole = encoded(noise, format)
    path = tmp_path / f"cut.{format.lower()}"
    path.write_bytes(whole[: int(len(whole) * share)])
    if format == "TIFF" and share == 0.95:
        pytest.skip("its directory comes first: the cut may fall into what nobody needs")
    check_refused(path, "not a readable picture .* use on_error='skip'")


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"This is no picture.\n", b"<html>404</html>", b"\xff\xd8\xff", bytes(5000)]
)
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.jpg"
    path.write_bytes(content)
    check_refused(path, "not a readable picture")


def test_a_wrong_extension_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a-png.jpg"
    path.write_bytes(encoded(PICTURE, "PNG"))
    assert np.array_equal(pixels(open_picture(path)), COLOURS)


def test_what_is_missing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "folder.jpg").mkdir()
    check_refused(tmp_path / "none.jpg", "no such picture")
    check_refused(tmp_path / "broken.jpg", "no such picture")
    check_refused(tmp_path / "folder.jpg", "not a readable picture")


@pytest.mark.parametrize("limit", [40, 20])  # Pillow warns above its limit and refuses above twice of it
def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(encoded(PICTURE, "PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    check_refused(path, r"48 pixels.*MAX_IMAGE_PIXELS")


def test_a_bomb_is_refused_where_warnings_are_no_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(encoded(PICTURE, "PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_refused(path, r"48 pixels.*MAX_IMAGE_PIXELS")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        assert np.array_equal(pixels(open_picture(path)), COLOURS)


def test_reading_does_not_repeat_the_warnings_of_others(tmp_path: Path) -> None:
    """Python shows a warning once a place; reading ten thousand pictures must not make it ten thousand times."""
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(PICTURE, "PNG"))
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for _ in range(3):
            warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
            open_picture(path)
    assert len(shown) == 1


def test_a_small_file_of_a_huge_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(raw_png(8, 0, np.zeros((1, 1)), size=(50_000, 50_000)))
    check_refused(path, "2500000000 pixels")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FORMATS), st.data())
def test_damage_gives_a_picture_or_an_error_that_names_the_file(
    tmp_path: Path, format: str, data: st.DataObject
) -> None:
    options = {"exif": exif(6)} if format in ("JPEG", "PNG", "WEBP", "TIFF") else {}
    content = bytearray(encoded(PICTURE, format, **options))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    problem = ""
    try:
        pixels(open_picture(path))
    except DataError as error:
        problem = str(error)
    assert not problem or str(path) in problem


@pytest.mark.parametrize(
    "name", ["with space.png", "new\nline.png", "Überzug 北京 🧥.png", "quote'\".png", "%s{0}.png", "-rf.png"]
)
def test_any_name_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(encoded(PICTURE, "PNG"))
    assert np.array_equal(pixels(open_picture(path)), COLOURS)
    assert np.array_equal(pixels(open_picture(str(path))), COLOURS)
    path.write_bytes(b"")
    check_refused(path)


def test_a_name_that_is_no_text_is_read(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png")
    try:
        Path(path).write_bytes(encoded(PICTURE, "PNG"))
    except OSError:
        pytest.skip("this file system allows Unicode names only")
    assert np.array_equal(pixels(open_picture(path)), COLOURS)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files, which needs Linux")
def test_no_file_stays_open(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.gif", tmp_path / "bad.gif"
    good.write_bytes(encoded(PICTURE, "GIF", save_all=True, append_images=[ImageOps.flip(PICTURE)]))
    bad.write_bytes(good.read_bytes()[:40])
    before = len(os.listdir("/proc/self/fd"))
    kept = open_picture(good)
    with pytest.raises(DataError):
        open_picture(bad)
    assert len(os.listdir("/proc/self/fd")) == before
    assert kept.size == PICTURE.size
