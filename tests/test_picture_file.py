"""Pictures in and out: no number, no channel and no metadata is lost on the way."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

import loopwright as lw
from loopwright._errors import DataError
from loopwright.data._picture_file import writable_name
from loopwright.data._stored import stored_values

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def numbers(shape: tuple[int, ...], dtype: type, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 20), st.integers(1, 20), st.sampled_from([0, 3]), st.booleans(), st.booleans(), st.integers(0, 99)
)
def test_a_png_comes_back(
    tmp_path_factory: Any, height: int, width: int, channels: int, deep: bool, alpha: bool, seed: int
) -> None:
    dtype = np.uint16 if deep else np.uint8
    shape = (height, width, 3) if channels else (height, width)
    stored = lw.StoredPicture(numbers(shape, dtype, seed), numbers((height, width), dtype, seed + 1) if alpha else None)
    path = tmp_path_factory.mktemp("png") / "a.png"
    lw.write_picture(path, stored)
    back = lw.read_stored(path)
    assert np.array_equal(back.values, stored.values)
    assert back.values.dtype == dtype
    assert (back.alpha is None) == (stored.alpha is None)
    assert stored.alpha is None or np.array_equal(back.alpha, stored.alpha)  # type: ignore[arg-type]


def test_all_65536_levels_survive(tmp_path: Path) -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for ending, values in ((".png", levels), (".tif", levels), (".npy", levels), (".png", np.dstack([levels] * 3))):
        path = tmp_path / f"deep{values.ndim}{ending}"
        lw.write_picture(path, values)
        assert np.array_equal(lw.read_stored(path).values, values)
        assert np.array_equal(stored_values(path), values)  # as a Role of kind raw reads it


@pytest.mark.parametrize("ending", [".png", ".tif", ".webp", ".bmp", ".ppm"])
def test_eight_bits_survive_where_nothing_is_lost(tmp_path: Path, ending: str) -> None:
    values = numbers((9, 14, 3), np.uint8)
    lw.write_picture(tmp_path / f"a{ending}", values)
    assert np.array_equal(lw.read_stored(tmp_path / f"a{ending}").values, values)


def test_floats_survive(tmp_path: Path) -> None:
    values = numbers((9, 14), np.float32)
    for name in ("a.tif", "a.npy"):
        lw.write_picture(tmp_path / name, values)
        assert np.array_equal(lw.read_stored(tmp_path / name).values, values)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp"])
def test_metadata_survive_and_pictures_stand_upright(tmp_path: Path, ending: str) -> None:
    picture = Image.fromarray(numbers((20, 30, 3), np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Artist] = "somebody"
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.ISOSpeedRatings: 400}
    source, target = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    picture.save(source, exif=exif.tobytes(), icc_profile=PROFILE, dpi=(300, 300))
    stored = lw.read_stored(source)
    assert stored.values.shape == (30, 20, 3)  # turned as it says
    lw.write_picture(target, stored)
    with Image.open(target) as made:
        assert made.size == (20, 30)
        found = made.getexif()
        assert found.get(ExifTags.Base.Orientation, 1) == 1
        assert found[ExifTags.Base.Artist] == "somebody"
        assert found.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 400
        assert made.info["icc_profile"] == PROFILE
        if ending != ".webp":
            assert round(made.info["dpi"][0]) == 300


def test_metadata_of_deep_pngs_survive(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "somebody"
    metadata = {"exif": exif.tobytes(), "icc_profile": PROFILE, "dpi": (300, 300)}
    lw.write_picture(tmp_path / "a.png", lw.StoredPicture(numbers((5, 6, 3), np.uint16), None, metadata))
    back = lw.read_stored(tmp_path / "a.png").metadata
    assert back["icc_profile"] == PROFILE
    assert round(back["dpi"][0]) == 300
    with Image.open(tmp_path / "a.png") as made:
        assert made.getexif()[ExifTags.Base.Artist] == "somebody"


def test_palettes_and_transparency_are_colours(tmp_path: Path) -> None:
    palette = Image.fromarray(numbers((8, 9), np.uint8) % 4, "P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 1, 2, 3])
    palette.save(tmp_path / "p.png")
    assert lw.read_stored(tmp_path / "p.png").values.shape == (8, 9, 3)
    palette.save(tmp_path / "t.png", transparency=2)
    back = lw.read_stored(tmp_path / "t.png")
    assert back.alpha is not None
    assert set(np.unique(back.alpha)) == {0, 255}
    Image.fromarray(numbers((8, 9), np.uint8) > 99).save(tmp_path / "1.png")
    assert lw.read_stored(tmp_path / "1.png").values.dtype == np.uint8


def test_what_a_file_cannot_hold_is_said_and_named_otherwise(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="16 bits go into .png"):
        lw.write_picture(tmp_path / "a.jpg", numbers((4, 4), np.uint16))
    with pytest.raises(DataError, match="are written as"):
        lw.write_picture(tmp_path / "a.xyz", numbers((4, 4), np.uint8))
    gray, color = numbers((4, 4), np.uint8), numbers((4, 4, 3), np.uint8)
    deep, floats = color.astype(np.uint16), color.astype(np.float32)
    names = [(gray, "a.JPG", "a.JPG"), (color, "a.gif", "a.png"), (deep, "a.tif", "a.png"), (deep[..., 0], "a.tif", "a.tif"),
             (floats, "a.tif", "a.npy"), (floats[..., 0], "a.tif", "a.tif"), (deep, "a.npy", "a.npy")]  # fmt: skip
    for values, name, expected in names:
        assert writable_name(f"folder/{name}", values) == expected
