"""Laws of the transforms: boxes inside any picture, torchvision's distribution, the customary validation crop."""

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from loopwright import demo_photos, open_picture
from loopwright._errors import ConfigError, DataError
from loopwright.data._transforms import CenterCrop, Compose, RandomCrop, RandomResizedCrop, Transform, apply

SIDES = st.integers(1, 40) | st.sampled_from([1, 2, 999, 1000, 5000])


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return open_picture(min((demo_photos() / "val").rglob("*.jpg")))


def numpy_state() -> list[int]:
    state = np.random.get_state(legacy=False)["state"]
    return [*state["key"].tolist(), state["pos"]]


def ranges(low: float, high: float) -> st.SearchStrategy[tuple[float, float]]:
    numbers = st.floats(low, high)
    return st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))


@settings(deadline=None, max_examples=300)
@given(SIDES, SIDES, st.integers())
def test_a_random_box_lies_inside_any_picture(width: int, height: int, seed: int) -> None:
    left, top, right, bottom = RandomResizedCrop(8).box(width, height, random.Random(seed))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


@settings(deadline=None, max_examples=300)
@given(SIDES, SIDES, ranges(1e-3, 1), ranges(1e-3, 1e3), st.integers())
def test_a_random_box_of_any_scale_and_ratio_lies_inside_any_picture(
    width: int, height: int, scale: tuple[float, float], ratio: tuple[float, float], seed: int
) -> None:
    left, top, right, bottom = RandomResizedCrop(8, scale=scale, ratio=ratio).box(width, height, random.Random(seed))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.integers(1, 9), st.integers(), st.sampled_from(["RGB", "L", "RGBA"]))
def test_any_picture_becomes_a_square_of_its_own_kind(width: int, height: int, size: int, seed: int, mode: str) -> None:
    picture = Image.new(mode, (width, min(height, 1000)))
    for transform in (RandomResizedCrop(size), CenterCrop(size)):
        made = transform(picture, random.Random(seed))
        assert (made.size, made.mode) == ((size, size), mode)


def test_the_box_spans_the_asked_share_and_shape() -> None:
    scale, ratio, rng = (0.2, 0.6), (0.8, 1.5), random.Random(0)
    crop = RandomResizedCrop(8, scale=scale, ratio=ratio)
    for _ in range(2000):
        left, top, right, bottom = crop.box(640, 480, rng)
        width, height = right - left, bottom - top
        slack = 0.5 / min(width, height)  # sides are whole pixels
        assert scale[0] * (1 - 3 * slack) <= width * height / (640 * 480) <= scale[1] * (1 + 3 * slack)
        assert ratio[0] * (1 - 3 * slack) <= width / height <= ratio[1] * (1 + 3 * slack)


def kolmogorov_smirnov(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest distance between two empirical distributions, in units in which 1.95 is passed by 99.9 % of equals."""
    both = np.sort(np.concatenate([ours, theirs]))
    distance = np.abs(
        np.searchsorted(np.sort(ours), both, side="right") / len(ours)
        - np.searchsorted(np.sort(theirs), both, side="right") / len(theirs)
    ).max()
    return distance * math.sqrt(len(ours) * len(theirs) / (len(ours) + len(theirs)))


@pytest.mark.parametrize("sides", [(640, 480), (300, 301), (1000, 60), (30, 700)])
def test_boxes_are_distributed_like_torchvisions(sides: tuple[int, int]) -> None:
    width, height = sides
    count, rng = 3000, random.Random(1)
    crop, theirs = RandomResizedCrop(8), v2.RandomResizedCrop(8)
    boxes = np.array([crop.box(width, height, rng) for _ in range(count)])
    ours = np.stack([boxes[:, 0], boxes[:, 1], boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]], 1)
    canvas = torch.zeros(1, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        drawn = [theirs.make_params([canvas]) for _ in range(count)]
    reference = np.array([(d["left"], d["top"], d["width"], d["height"]) for d in drawn])
    for place in range(4):
        assert kolmogorov_smirnov(ours[:, place], reference[:, place]) < 1.95
    areas = (ours[:, 2] * ours[:, 3], reference[:, 2] * reference[:, 3])
    assert kolmogorov_smirnov(*areas) < 1.95


def test_a_very_long_picture_gives_its_central_part() -> None:
    assert RandomResizedCrop(8, scale=(1, 1)).box(1000, 10, random.Random(0)) == (493, 0, 506, 10)
    assert RandomResizedCrop(8, scale=(1, 1)).box(1, 1000, random.Random(0)) == (0, 499, 1, 500)


def test_the_whole_picture_is_a_plain_resize(photo: Image.Image) -> None:
    square = photo.resize((96, 96))
    made = RandomResizedCrop(32, scale=(1, 1), ratio=(1, 1), flip=0)(square, random.Random(0))
    assert np.array_equal(np.asarray(made), np.asarray(square.resize((32, 32), Image.Resampling.BILINEAR)))


def test_a_random_crop_is_that_box_resized(photo: Image.Image) -> None:
    crop = RandomResizedCrop(24, flip=0)
    for seed in range(20):
        view = crop.plan(*photo.size, random.Random(seed))
        made = np.asarray(crop(photo, random.Random(seed)), dtype=float)
        reference = photo.crop(view.box).resize((24, 24), Image.Resampling.BILINEAR)
        assert np.abs(made - np.asarray(reference)).max() <= 1  # Pillow rounds between rows and columns, too


@settings(deadline=None, max_examples=300)
@given(SIDES, SIDES, st.integers(1, 300), st.integers())
def test_a_view_is_its_box_moved_by_less_than_a_reduced_pixel(width: int, height: int, size: int, seed: int) -> None:
    crop = RandomResizedCrop(size)
    box, view = crop.box(width, height, random.Random(seed)), crop.plan(width, height, random.Random(seed))
    left, top, right, bottom = view.box
    assert all(edge % view.reduction == 0 for edge in (left, top, right - left, bottom - top))
    assert all(abs(now - drawn) < 2 * view.reduction for now, drawn in zip(view.box, box, strict=True))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert view.reduction == 1 or (right - left >= view.reduction * size and bottom - top >= view.reduction * size)


def test_half_of_the_pictures_are_flipped() -> None:
    half = Image.fromarray(np.repeat(np.array([[0, 255]], dtype=np.uint8), 2, 0))
    flipped = []
    for seed in range(1000):
        whole = RandomResizedCrop(2, scale=(1, 1), ratio=(1, 1))
        flipped.append(whole(half, random.Random(seed)).getpixel((0, 0)) == 255)
    assert 430 < sum(flipped) < 570


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_a_flip_of_0_never_and_of_1_always_happens(photo: Image.Image, flip: float) -> None:
    square = photo.resize((16, 16))
    made = np.asarray(
        RandomResizedCrop(16, scale=(1, 1), ratio=(1, 1), flip=flip)(square, random.Random(random.randrange(99)))
    )
    assert np.array_equal(made, np.asarray(square)[:, :: -1 if flip else 1])


@pytest.mark.parametrize("sides", [(320, 256), (256, 256), (256, 640), (1280, 512), (512, 1024)])
def test_center_crop_is_resize_256_then_crop_224(sides: tuple[int, int], photo: Image.Image) -> None:
    picture = photo.resize(sides)
    customary = v2.Compose([v2.Resize(256, antialias=True), v2.CenterCrop(224)])
    difference = np.abs(np.asarray(CenterCrop(224)(picture), dtype=int) - np.asarray(customary(picture)))
    assert difference[2:-2, 2:-2].max() <= 1  # at the edges the customary one sees the pixels outside
    assert difference.mean() < 0.1


@pytest.mark.parametrize("sides", [(96, 96), (128, 97), (90, 151)])
def test_center_crop_of_the_whole_short_side_is_crop_then_resize(sides: tuple[int, int], photo: Image.Image) -> None:
    picture, side = photo.resize(sides), min(sides)
    left, top = (sides[0] - side) // 2, (sides[1] - side) // 2
    reference = picture.crop((left, top, left + side, top + side)).resize((40, 40), Image.Resampling.BILINEAR)
    difference = np.abs(np.asarray(CenterCrop(40, share=1)(picture), dtype=float) - np.asarray(reference))
    if len(set(sides)) == 1:
        assert difference.max() <= 1
    assert difference[2:-2, 2:-2].mean() < 6  # half a pixel aside where the margin is odd
    if (max(sides) - side) % 2 == 0:
        assert difference[2:-2, 2:-2].max() <= 1


def test_center_crop_is_centred() -> None:
    dark = np.zeros((50, 80), dtype=np.uint8)
    dark[5:45, 20:60] = 255
    made = np.asarray(CenterCrop(10, share=0.8)(Image.fromarray(dark)))
    assert np.array_equal(made, made[::-1])
    assert np.array_equal(made, made[:, ::-1])
    assert made[5, 5] == 255


@pytest.mark.parametrize("transform", [RandomResizedCrop(16), CenterCrop(16), Compose([RandomResizedCrop(16)])])
def test_the_same_randomness_gives_the_same_picture(transform: Transform, photo: Image.Image) -> None:
    first, second = (np.asarray(transform(photo, random.Random(3))) for _ in range(2))
    assert np.array_equal(first, second)


def test_transforms_draw_from_their_own_randomness_only(photo: Image.Image) -> None:
    before = random.getstate(), numpy_state(), torch.get_rng_state()
    Compose([RandomResizedCrop(16), CenterCrop(8)])(photo, random.Random(0))
    after = random.getstate(), numpy_state(), torch.get_rng_state()
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


def test_the_given_picture_is_untouched(photo: Image.Image) -> None:
    before = photo.size, photo.tobytes()
    Compose([RandomResizedCrop(16, flip=1), CenterCrop(8)])(photo, random.Random(0))
    assert (photo.size, photo.tobytes()) == before


def test_composed_transforms_run_in_their_order() -> None:
    add, double = (lambda number: number + 1), (lambda number: number * 2)
    assert Compose([add, double])(5, random.Random(0)) == 12
    assert Compose([double, add])(5, random.Random(0)) == 11
    assert Compose([])(5, random.Random(0)) == 5
    assert Compose([Compose([add]), double])(5, random.Random(0)) == 12


def test_only_loopwrights_transforms_are_given_randomness() -> None:
    class Draw(Transform):
        def __call__(self, picture: float, rng: random.Random) -> float:
            return picture + rng.random()

    assert apply(Draw(), 1, random.Random(0)) == 1 + random.Random(0).random()
    assert apply(lambda *arguments: arguments, 1, random.Random(0)) == (1,)
    assert apply(None, 1, random.Random(0)) == 1


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (RandomResizedCrop, {"size": 0}, r"RandomResizedCrop: size must be .* Found: 0"),
        (RandomResizedCrop, {"size": 1.5}, r"Found: 1\.5"),
        (RandomResizedCrop, {"size": (8, 8)}, r"Found: \(8, 8\)"),
        (RandomResizedCrop, {"size": 8, "scale": (0.5, 0.1)}, r"scale must be two numbers, the smaller first"),
        (RandomResizedCrop, {"size": 8, "scale": (0, 1)}, r"Found: \(0, 1\)"),
        (RandomResizedCrop, {"size": 8, "scale": (0.1, 1.1)}, r"at most 1\. Found"),
        (RandomResizedCrop, {"size": 8, "scale": 0.5}, r"scale must be two numbers.*Found: 0\.5"),
        (RandomResizedCrop, {"size": 8, "scale": (0.5,)}, r"Found: \(0\.5,\)"),
        (RandomResizedCrop, {"size": 8, "scale": (math.nan, 1)}, r"Found: \(nan, 1\)"),
        (RandomResizedCrop, {"size": 8, "ratio": (-1, 1)}, r"ratio must be two numbers"),
        (RandomResizedCrop, {"size": 8, "flip": 1.5}, r"flip must be a probability from 0 to 1\. Found: 1\.5"),
        (CenterCrop, {"size": -1}, r"CenterCrop: size must be"),
        (CenterCrop, {"size": 8, "share": 0}, r"share must be above 0 and at most 1\. Found: 0"),
    ],
)
def test_a_wrong_setting_is_refused_when_it_is_given(make: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**settings)


def test_a_random_crop_is_a_part_of_the_picture_as_it_is(photo: Image.Image) -> None:
    pixels, seen = np.asarray(photo), set()
    for seed in range(200):
        made = np.asarray(RandomCrop(min(photo.size) - 3)(photo, random.Random(seed)))
        view = RandomCrop(min(photo.size) - 3).plan(*photo.size, random.Random(seed))
        left, top, right, bottom = view.box
        part = pixels[top:bottom, left:right]
        assert np.array_equal(made, part[:, ::-1] if view.flip else part)
        seen.add((left if photo.width < photo.height else top, view.flip))
    assert seen == {(place, flip) for place in range(4) for flip in (False, True)}


def test_a_crop_larger_than_the_picture_is_refused() -> None:
    with pytest.raises(DataError, match=r"RandomCrop\(9\) of a picture of 20x8 pixels: take a smaller crop"):
        RandomCrop(9)(Image.new("RGB", (20, 8)), random.Random(0))
