"""Laws of reading parts of files: the same pixels as Pillow's, whatever the file; and close to them at a reduced size."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import loopwright as lw
from loopwright._errors import DataError
from loopwright.data import _jpeg
from loopwright.data._jpeg import decode_jpeg, decode_part, jpeg_facts
from loopwright.data._undecoded import PictureFile
from loopwright.data._view import Pixels, View, reduced_view, show

PHOTO = min((lw.demo_photos() / "val").rglob("*.jpg"))


def whole(file: PictureFile) -> np.ndarray:
    return file.show(View((0, 0, file.width, file.height), file.width, file.height))


def encoded(picture: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def photo(width: int = 120, height: int = 90, mode: str = "RGB") -> Image.Image:
    return Image.open(PHOTO).resize((width, height)).convert(mode)


def with_orientation(orientation: int, size: tuple[int, int] = (120, 90)) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "a camera"
    return encoded(photo(*size), exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(120, 90), (121, 93)])
def test_every_orientation_is_read_as_pillow_reads_it(orientation: int, size: tuple[int, int]) -> None:
    data = with_orientation(orientation, size)
    facts = jpeg_facts(data)
    assert facts is not None
    assert facts.orientation == orientation
    assert np.array_equal(whole(PictureFile("x.jpg", data)), np.asarray(lw.open_picture("x.jpg", data)))


KINDS = {
    "plain": {}, "progressive": {"progressive": True}, "best": {"quality": 100, "subsampling": 0}, "worst": {"quality": 5},
    "4:2:0": {"subsampling": 2}, "4:2:2": {"subsampling": 1},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_every_kind_of_jpeg_is_read_as_pillow_reads_it(kind: str, mode: str) -> None:
    data = encoded(photo(113, 87, mode), **KINDS[kind])
    file = PictureFile("x.jpg", data)
    assert np.array_equal(whole(file), np.asarray(lw.open_picture("x.jpg", data)))
    assert np.array_equal(whole(file), np.asarray(file.picture()))


def test_every_embedded_photo_is_read_as_pillow_reads_it() -> None:
    for path in sorted((lw.demo_photos() / "val").rglob("*.jpg"))[::5]:
        assert np.array_equal(whole(PictureFile(path)), np.asarray(lw.open_picture(path)))


def test_without_the_fast_reader_the_pixels_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    crop, expected = lw.RandomResizedCrop(80), {}
    for blind in (False, True):
        if blind:
            monkeypatch.setattr(_jpeg, "simplejpeg", None)
        folder = lw.ImageFolder(lw.demo_photos(), split="val")
        expected[blind] = next(iter(lw.Loader(folder, 32, transform=crop, workers=0)))[0]
    assert (expected[False] == expected[True]).all()


@pytest.mark.parametrize("name", ["png", "gif", "bmp", "webp", "tiff"])
def test_other_formats_go_through_pillow(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"picture.{name}"
    photo().save(path)
    assert np.array_equal(whole(PictureFile(path)), np.asarray(lw.open_picture(path)))


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = ((one.astype(float) - other) ** 2).mean()
    return 99.0 if error == 0 else 10 * np.log10(255**2 / error)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_reduced_picture_shows_the_same(orientation: int, reduction: int) -> None:
    """The shared photos at their full size are measured by benchmarks.loading; this one is an enlarged small one."""
    data = with_orientation(orientation, (640, 512))
    file, pixels = PictureFile("x.jpg", data), np.asarray(lw.open_picture("x.jpg", data))
    view = reduced_view((37, 21, 37 + 59 * reduction, 21 + 60 * reduction), 41, 43, flip=True)
    assert view.reduction == reduction
    assert psnr(file.show(view), show(pixels, view)) > 38


def test_an_uneven_picture_that_must_be_turned_is_read_whole() -> None:
    """Turning would move its small pixels by a part of one."""
    data = with_orientation(3, (641, 513))
    file, pixels = PictureFile("x.jpg", data), np.asarray(lw.open_picture("x.jpg", data))
    view = reduced_view((0, 0, 640, 512), 60, 48, flip=False)
    assert view.reduction == 8
    assert np.array_equal(file.show(view), show(pixels, view))


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_a_reduced_size_is_rounded_up(reduction: int) -> None:
    data = encoded(photo(641, 513))
    facts = jpeg_facts(data)
    assert facts is not None
    assert decode_jpeg(data, facts, reduction).shape == (-(-513 // reduction), -(-641 // reduction), 3)


def test_memory_to_decode_into_is_used_and_too_little_of_it_is_not() -> None:
    data = encoded(photo())
    facts = jpeg_facts(data)
    assert facts is not None
    for size in (120 * 90 * 3 * 2, 10):
        room = np.zeros(size, np.uint8)
        assert np.array_equal(decode_jpeg(data, facts, 1, room), decode_jpeg(data, facts, 1))
        assert room.any() == (size > 10)


def test_pictures_of_one_thread_do_not_share_their_pixels() -> None:
    one, other = PictureFile(PHOTO), PictureFile("x.jpg", encoded(photo()))
    first = whole(one)
    copy = first.copy()
    whole(other)
    assert np.array_equal(first, copy)


def read(data: bytes, fast: bool) -> bytes | None:
    """The pixels, or None where they cannot be read."""
    try:
        if fast:
            return whole(PictureFile("x.jpg", data)).tobytes()
        return np.asarray(lw.open_picture("x.jpg", data)).tobytes()
    except DataError:
        return None


@settings(deadline=None, max_examples=150)
@given(st.data(), st.sampled_from([1, 6]))
def test_damaged_files_are_read_or_refused_as_pillow_does(data: st.DataObject, orientation: int) -> None:
    """A flipped byte, or a cut: never a crash, and what both can read is the same."""
    content = bytearray(with_orientation(orientation, (40, 30)))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(len(content) // 2, len(content)))]
    fast, slow = read(bytes(content), True), read(bytes(content), False)
    assert fast is None or slow is None or fast == slow


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=80), st.booleans())
def test_a_strange_exif_block_never_turns_a_picture_otherwise_than_pillow(block: bytes, plausible: bool) -> None:
    exif = b"Exif\x00\x00" + (b"MM\x00\x2a\x00\x00\x00\x08" if plausible else b"") + block
    plain = encoded(photo(8, 6))
    data = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + plain[2:]
    assert read(data, True) == read(data, False)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x10JFIF", b"text"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    assert jpeg_facts(data) is None
    with pytest.raises(DataError, match=r"x\.jpg: not a readable picture"):
        PictureFile("x.jpg", data)


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(photo())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="decompression bomb"):
        PictureFile("x.jpg", data)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_pixels_of_any_kind_keep_their_type_and_range(dtype: type, channels: int | None) -> None:
    values = np.arange(40 * 30 * (channels or 1)) * (1 if dtype is np.uint8 else 17) % 60000
    array = values.astype(dtype).reshape((30, 40) if channels is None else (30, 40, channels))
    for interpolation in ("bilinear", "nearest"):
        made = show(array, View((4, 2, 36, 28), 16, 13, True), None, interpolation)
        assert made.dtype == dtype
        assert made.shape == (13, 16, *array.shape[2:])
        assert array.min() <= made.min() <= made.max() <= array.max()
    assert set(np.unique(show(array, View((0, 0, 40, 30), 7, 9), None, "nearest"))) <= set(np.unique(array))


def test_a_view_is_written_where_it_is_asked_to_be() -> None:
    out = np.zeros((2, 16, 16, 3), np.uint8)
    pixels = Pixels(np.asarray(photo()))
    for view in (View((0, 0, 90, 90), 16, 16, True), View((5, 6, 21, 22), 16, 16, True), View((5, 6, 21, 22), 16, 16)):
        pixels.show(view, out[1])
        assert np.array_equal(out[1], pixels.show(view))
        assert not out[0].any()


@pytest.fixture(params=["compiled", "from the top"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How parts are decoded: by what was compiled here, or without it."""
    if request.param != "compiled":
        monkeypatch.setattr(_jpeg, "parts_are_exact", lambda: False)
    elif not _jpeg.parts_are_exact():
        pytest.skip("not compiled here: no compiler, or no headers of libjpeg-turbo")
    return request.param


EVERY_WAY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@EVERY_WAY
@given(
    width=st.integers(8, 200),
    height=st.integers(8, 200),
    box=st.tuples(*[st.floats(0, 1)] * 4),
    reduction=st.sampled_from([1, 2, 4, 8]),
    options=st.sampled_from([*KINDS.values(), {"restart_marker_rows": 1}, {"optimize": True}]),
    mode=st.sampled_from(["RGB", "L"]),
)
def test_a_part_has_the_pixels_of_the_whole(
    way: str, width: int, height: int, box: tuple[float, ...], reduction: int, options: dict, mode: str
) -> None:
    data = encoded(noisy(width, height, mode), **options)
    facts = jpeg_facts(data)
    assert facts is not None
    full = decode_jpeg(data, facts, reduction)
    high, wide = full.shape[:2]
    (left, right), (top, bottom) = span(box[0], box[1], wide), span(box[2], box[3], high)
    room = np.zeros(width * height * 3 + 99, np.uint8)
    part, (x, y, x_end, y_end) = decode_part(data, facts, reduction, (left, top, right, bottom), room)
    assert 0 <= x <= left
    assert 0 <= y <= top
    assert x_end >= right
    assert y_end >= bottom
    assert part.shape == (y_end - y, x_end - x, 3)
    assert np.array_equal(part[top - y : bottom - y, left - x : right - x], full[top:bottom, left:right])


def span(first: float, second: float, size: int) -> tuple[int, int]:
    """From and to, of which something lies between."""
    low, high = sorted((int(first * size), int(second * size)))
    return min(low, size - 1), min(max(high, low + 1), size)


def noisy(width: int, height: int, mode: str) -> Image.Image:
    """A photo with coarse and fine grain in all colours: neighbours in a JPEG file's colour planes differ."""
    grain = np.random.default_rng(width * 1000 + height).normal(0, 40, (height, width, 3))
    pixels = np.asarray(photo(width, height), np.float64) + grain + grain[:, ::-1] * (np.arange(3) - 1)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("scans", [1, 2, 5, 9])
def test_parts_of_an_unfinished_progressive_file_are_smoothed_as_the_whole_is(
    way: str, scans: int, subsampling: int, reduction: int
) -> None:
    data = encoded(noisy(240, 160, "RGB"), progressive=True, subsampling=subsampling)
    begins = [place for place in range(len(data)) if data[place : place + 2] == b"\xff\xda"]
    check_parts(data[: begins[scans]] + b"\xff\xd9", reduction)


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize("colours", ["444", "422", "420", "440", "411"])
def test_parts_have_the_pixels_of_the_whole_whatever_the_size_of_its_colours(
    way: str, colours: str, reduction: int
) -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    data = simplejpeg.encode_jpeg(np.asarray(noisy(243, 165, "RGB")), 90, "RGB", colours)
    check_parts(data, reduction)


def test_colours_at_a_quarter_are_left_to_the_whole() -> None:
    """Libraries before 3.0 leave some of them unwritten where they are a quarter one way and half the other."""
    compiled, simplejpeg = pytest.importorskip("loopwright.data._jpeg_part"), pytest.importorskip("simplejpeg")
    data = simplejpeg.encode_jpeg(np.asarray(photo()), 90, "RGB", "411")
    with pytest.raises(ValueError, match="rare kind"):
        compiled.decode_part(data, 2, (8, 8, 24, 24), np.zeros(120 * 90 * 3, np.uint8))


def check_parts(data: bytes, reduction: int) -> None:
    """Of a file of 240x160 pixels or some more."""
    facts, room = jpeg_facts(data), np.empty(300 * 200 * 3, np.uint8)
    assert facts is not None
    full = decode_jpeg(data, facts, reduction)
    for left, top, width, height in [(0, 0, 64, 64), (64, 40, 64, 64), (104, 88, 1, 1), (200, 120, 40, 40)]:
        left, top, right, bottom = (side // reduction for side in (left, top, left + width, top + height))
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        part, (x, y, _, _) = decode_part(data, facts, reduction, (left, top, right, bottom), room)
        assert np.array_equal(part[top - y : bottom - y, left - x : right - x], full[top:bottom, left:right])


def test_what_lies_beside_a_part_is_really_left_out(way: str) -> None:
    data = encoded(photo(400, 300))
    facts = jpeg_facts(data)
    assert facts is not None
    _, box = decode_part(data, facts, 1, (200, 100, 232, 130), np.zeros(400 * 300 * 3, np.uint8))
    assert box == ((192, 92, 240, 130) if way == "compiled" else (0, 0, 400, 144))


@pytest.mark.parametrize(
    "box",
    [(0, 0, 0, 4), (-1, 0, 4, 4), (0, 0, 121, 4), (0, 0, 4, 91), (2**30, 0, 2**31 - 1, 4), (-(2**31), -(2**31), 4, 4)],
)
def test_a_part_that_is_not_in_the_picture_is_refused(box: tuple[int, int, int, int]) -> None:
    compiled = pytest.importorskip("loopwright.data._jpeg_part")
    with pytest.raises(ValueError, match="not one of this picture"):
        compiled.decode_part(encoded(photo(120, 90)), 1, box, np.zeros(120 * 90 * 3, np.uint8))
    with pytest.raises(ValueError, match="no room"):
        compiled.decode_part(encoded(photo(120, 90)), 1, (0, 0, 120, 90), np.zeros(120 * 90 * 3 - 1, np.uint8))


@EVERY_WAY
@given(place=st.floats(0.3, 1), value=st.integers(0, 255), top=st.integers(0, 60), progressive=st.booleans())
def test_damage_in_the_part_that_is_wanted_is_seen_as_ever(
    way: str, place: float, value: int, top: int, progressive: bool
) -> None:
    """Whatever is damaged: the part is that of the whole decode, or it is refused too where that refuses it."""
    data = bytearray(encoded(photo(120, 90), progressive=progressive))
    data[min(int(place * len(data)), len(data) - 3)] = value
    facts, room = jpeg_facts(bytes(data)), np.zeros(120 * 90 * 3, np.uint8)
    if facts is None:
        return
    try:
        full = decode_jpeg(bytes(data), facts, 1)
    except ValueError:
        full = None
    try:
        part, (_, y, _, _) = decode_part(bytes(data), facts, 1, (0, top, 120, top + 30), room)
    except ValueError:
        assert full is None
        return
    assert full is None or np.array_equal(part[top - y : top + 30 - y], full[top : top + 30])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("reduction", [1, 2])
def test_parts_of_turned_pictures_are_parts_of_the_upright_ones(way: str, orientation: int, reduction: int) -> None:
    file = PictureFile("x.jpg", with_orientation(orientation, (240, 160)))
    upright, _ = file.pixels(reduction)
    upright = upright.copy()
    for left, top in [(0, 0), (16, 8), (32, 48), (64, 20)]:
        view = View((left, top, left + 64, top + 64), 64 // reduction, 64 // reduction, reduction=reduction)
        left, top, right, bottom = (side // reduction for side in view.box)
        assert np.array_equal(file.show(view), upright[top:bottom, left:right])


def test_a_file_that_was_cut_short_is_refused_wherever_it_is_shown() -> None:
    data = encoded(photo(120, 90))[:-200]
    with pytest.raises(DataError):
        PictureFile("x.jpg", data).show(View((0, 0, 120, 20), 120, 20))
