"""Sheets of pictures: nothing wraps, nothing overlaps, one or many, and mistakes come first."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor

from loopwright._errors import DataError
from loopwright._sheet import CAPTION_SIZE, GAP, GREEN, MARGIN, RED, _cut, _lettered, picture_grid, prediction_sheet

SIDE = 80


def pixels(sheet: Image.Image) -> np.ndarray:
    return np.asarray(sheet).astype(int)


def middle_of_first(sheet: Image.Image) -> tuple[int, ...]:
    """The colour in the middle of the first, square, picture of a sheet without a title."""
    return tuple(np.asarray(sheet)[MARGIN + SIDE // 2, MARGIN + SIDE // 2].tolist())


def solid(*color: int) -> Image.Image:
    return Image.new("RGB", (40, 40), color)


def find(sheet: Image.Image, color: str | tuple[int, ...]) -> tuple[int, int]:
    """Row and column of the first pixel of exactly this colour."""
    wanted = ImageColor.getrgb(color) if isinstance(color, str) else color
    rows, columns = np.nonzero((pixels(sheet) == wanted).all(axis=-1))
    assert len(rows), f"{color} is not on the sheet"
    return int(rows[0]), int(columns[0])


def has(sheet: Image.Image, color: str) -> bool:
    return bool((pixels(sheet) == ImageColor.getrgb(color)).all(axis=-1).any())


# One picture, many, and every way to give it


def test_the_same_picture_gives_the_same_sheet_in_every_form(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    array = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    photo = Image.fromarray(array)
    photo.save(tmp_path / "photo.png")
    chw = np.moveaxis(array, -1, 0)
    expected = pixels(picture_grid(photo))
    for same in (
        [photo],
        array,
        [array],
        chw,
        array[None],
        chw[None],
        torch.from_numpy(chw.copy()),
        torch.from_numpy(chw.copy())[None],
        torch.from_numpy(chw.copy()).double().div(255).requires_grad_(),
        tmp_path / "photo.png",
        str(tmp_path / "photo.png"),
    ):
        assert np.array_equal(pixels(picture_grid(same)), expected)


@pytest.mark.parametrize(
    ("value", "dtype", "shown"),
    [
        (1.7, np.float32, 255),
        (1.0, np.float16, 255),
        (0.5, np.float64, 128),
        (-0.3, np.float32, 0),
        (np.nan, np.float32, 0),
        (np.inf, np.float32, 255),
        (200, np.uint8, 200),
        (0xC8FF, np.uint16, 200),
        (True, np.bool_, 255),
    ],
)
def test_no_value_wraps_round(value: float, dtype: type, shown: int) -> None:
    for shape in ((20, 20), (1, 20, 20), (20, 20, 3)):
        assert middle_of_first(picture_grid(np.full(shape, value, dtype), side=SIDE)) == (shown, shown, shown)


def test_sixteen_bit_and_bfloat16_and_transparent_pictures() -> None:
    torch = pytest.importorskip("torch")
    gray = Image.fromarray(np.full((20, 20), 0x80FF, np.uint16))
    assert gray.mode == "I;16"
    assert middle_of_first(picture_grid(gray, side=SIDE)) == (128, 128, 128)
    assert middle_of_first(picture_grid(torch.ones(3, 20, 20, dtype=torch.bfloat16), side=SIDE)) == (255, 255, 255)
    assert middle_of_first(picture_grid(Image.new("RGBA", (20, 20), (255, 0, 0, 0)), side=SIDE)) == (255, 255, 255)
    assert middle_of_first(picture_grid(Image.new("P", (20, 20)), side=SIDE)) == (0, 0, 0)


def test_a_file_is_shown_upright(tmp_path: Path) -> None:
    lying = Image.new("RGB", (60, 30))
    exif = lying.getexif()
    exif[0x0112] = 6  # rotate by 90 degrees to see it
    lying.save(tmp_path / "lying.jpg", exif=exif)
    assert picture_grid(tmp_path / "lying.jpg").height == picture_grid(Image.new("RGB", (30, 60))).height


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    channels=st.sampled_from([1, 3, 4]),
    first=st.booleans(),
    dtype=st.sampled_from([np.uint8, np.float32, np.bool_]),
    count=st.integers(1, 5),
    columns=st.integers(1, 4),
)
def test_any_shape_fits_its_cell(
    shape: tuple[int, int], channels: int, first: bool, dtype: type, count: int, columns: int
) -> None:
    full = (count, channels, *shape) if first else (count, *shape, channels)
    sheet = picture_grid(np.zeros(full, dtype), side=SIDE, columns=columns)
    across = min(count, columns)
    assert sheet.width == 2 * MARGIN + across * SIDE + (across - 1) * GAP
    border = pixels(sheet)
    assert (border[:MARGIN] == 255).all()
    assert (border[:, :MARGIN] == 255).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "at least one picture"),
        (np.zeros((0, 3, 8, 8)), "at least one picture"),
        (np.zeros((8, 8, 2)), r"\(8, 8, 2\)"),
        (np.zeros((2, 2, 3, 8, 8)), r"\(2, 2, 3, 8, 8\)"),
        (np.zeros((3, 0, 8)), r"\(3, 0, 8\)"),
        (np.zeros(8), r"\(8,\)"),
        (np.zeros((8, 8), np.int64), "dtype int64.*uint8"),
        ([{}], "a dict is no picture"),
    ],
)
def test_what_is_no_picture_is_named(given: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        picture_grid(given)  # type: ignore[arg-type]


def test_captions_and_frames_are_one_a_picture() -> None:
    with pytest.raises(DataError, match="1 captions for 2 pictures"):
        picture_grid([solid(0), solid(0)], ["only one"])
    with pytest.raises(DataError, match="3 frames for 2 pictures"):
        picture_grid([solid(0), solid(0)], frames=["red"] * 3)


# Text


@settings(deadline=None)
@given(text=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=80), width=st.integers(70, 300))
def test_a_cut_text_fits_and_keeps_its_tail(text: str, width: int) -> None:
    cut = _cut(text, CAPTION_SIZE, width, tail=", 93 %")
    _, font = _lettered(cut, CAPTION_SIZE)
    assert font.getlength(cut) <= width
    assert cut.endswith(", 93 %")
    assert cut == text + ", 93 %" or ("…" in cut and text.startswith(cut.partition("…")[0]))


def test_long_captions_do_not_reach_the_neighbour() -> None:
    name = "an extraordinarily long class name that nobody can read"
    sheet = pixels(picture_grid([solid(0, 0, 0)] * 3, [f"{name}\n{name}"] * 3, side=SIDE))
    for column in (1, 2):
        right = MARGIN + column * (SIDE + GAP)
        assert (sheet[:, right - GAP : right] == 255).all()


def test_letters_beyond_ascii_are_told_apart() -> None:
    one, other = (pixels(picture_grid(solid(0), [text])) for text in ("Größe", "Grüße"))
    assert not np.array_equal(one, other)


# Predictions


def test_mistakes_stand_first_and_the_most_confident_one_leads() -> None:
    colors = [(10 * k + 5, 250 - 20 * k, 90) for k in range(6)]
    sheet = prediction_sheet(
        None,
        [solid(*color) for color in colors],
        truth=[0, 0, 1, 1, 2, 2],
        predicted=[0, 1, 0, 1, 0, 2],
        probability=[0.9, 0.5, 0.99, 0.6, 0.7, 0.8],
        class_names=["a", "b", "c"],
    )
    places = [find(sheet, color) for color in colors]
    reading_order = sorted(range(6), key=lambda k: (places[k][0] // SIDE, places[k][1]))
    assert reading_order == [2, 4, 1, 0, 3, 5]
    assert find(sheet, RED) < find(sheet, GREEN)


def test_the_frame_tells_right_from_wrong() -> None:
    def sheet(predicted: int) -> Image.Image:
        return prediction_sheet(None, solid(0, 0, 0), 0, predicted, 0.5, class_names=["a", "b"])

    assert [has(sheet(0), color) for color in (GREEN, RED)] == [True, False]
    assert [has(sheet(1), color) for color in (GREEN, RED)] == [False, True]


def test_a_short_row_of_right_ones_shows_many_classes() -> None:
    colors = [(10 + k, 80, 200) for k in range(6)]
    sheet = prediction_sheet(
        None,
        [solid(*color) for color in colors],
        truth=[0, 0, 0, 0, 1, 2],
        predicted=[0, 0, 0, 0, 1, 2],
        probability=[0.6, 0.9, 0.8, 0.7, 0.5, 0.4],
        class_names=["a", "b", "c"],
        max_right=3,
    )
    shown = [k for k in range(6) if (pixels(sheet) == colors[k]).all(axis=-1).any()]
    assert shown == [1, 4, 5]


class Recording(Sequence[Image.Image]):
    """A thousand pictures that remember which were looked at."""

    def __init__(self) -> None:
        self.opened: list[int] = []

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index):  # type: ignore[override]
        self.opened.append(index)
        return solid(0, 0, 0)


def test_only_the_pictures_that_are_shown_are_opened() -> None:
    pictures = Recording()
    truth = np.zeros(1000, int)
    predicted = (np.arange(1000) >= 900).astype(int)
    confidence = np.linspace(0, 1, 1000)
    prediction_sheet(None, pictures, truth, predicted, confidence, class_names=["a", "b"], max_wrong=3, max_right=2)
    assert pictures.opened == [999, 998, 997, 899, 898]


def test_tensors_and_long_names_and_gray_batches() -> None:
    torch = pytest.importorskip("torch")
    logits = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    probability, predicted = logits.softmax(1).max(1)
    sheet = prediction_sheet(
        None,
        torch.rand(9, 1, 28, 28),
        torch.arange(9) % 3,
        predicted,
        probability,
        class_names=["Dandie Dinmont terrier " * 4, "x", "Old English sheepdog, or bobtail"],
        title="t" * 500,
        columns=3,
        side=SIDE,
    )
    assert sheet.width < 1000


def test_wrong_use_is_named() -> None:
    with pytest.raises(DataError, match="2 pictures, 1 truth, 2 predicted, 2 probability"):
        prediction_sheet(None, [solid(0)] * 2, [0], [0, 0], [1, 1], class_names=["a"])
    with pytest.raises(DataError, match=r"predicted\[1\] is 3, but there are 2 class names"):
        prediction_sheet(None, [solid(0)] * 2, [0, 0], [0, 3], class_names=["a", "b"])
    with pytest.raises(DataError, match="at least one picture"):
        prediction_sheet(None, [], [], [], class_names=["a", "b"])


def test_the_file_is_what_is_returned(tmp_path: Path) -> None:
    for path in (tmp_path / "sheet.png", str(tmp_path / "no suffix")):
        sheet = prediction_sheet(path, solid(9, 9, 9), [0], [0], class_names=["a"])
        with Image.open(path) as saved:
            assert saved.format == "PNG"
            assert np.array_equal(pixels(saved), pixels(sheet))


def test_importing_needs_no_torch() -> None:
    code = "import sys, loopwright._sheet; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
