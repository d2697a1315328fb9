"""Laws of augmentation per batch: a pure function of (seed, step), equal to slow references, labels that match pixels."""

import math
import os
import random
import signal
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import forked, same_bits, tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

import loopwright as lw
from loopwright.augment import _colors as colors
from loopwright.augment._geometry import affine
from loopwright.augment._member import Shape
from loopwright.augment._mix import symmetric_beta
from loopwright.augment._pixels import is_channels_last
from loopwright.augment._rand import OPERATIONS
from loopwright.augment._sampling import plan_sampling, sample

CLASSES = 10
GOLDEN_ROOT = [0.9637402283949446, 0.2621175754686721]
GOLDEN_ORDER = [2, 5, 3, 1, 4, 0]


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """Eight photographs, uint8 (8, 3, 60, 48), channels-last as loaders make them."""
    paths = sorted((lw.demo_photos() / "val").rglob("*.jpg"))[::30][:8]
    return lw.collate([lw.open_picture(path).resize((48, 60)) for path in paths])


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """So small pictures are not worth a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return torch.tensor([3, 1, 4, 1, 5, 9, 2, 6])


MEMBERS: dict[str, Callable[[], Any]] = {
    "flip": lambda: lw.BatchFlip(0.5, 0.5),
    "crop": lambda: lw.BatchResizedCrop(24),
    "affine": lambda: lw.BatchAffine(20, (0.1, 0.1), (0.3, 1.3), 5, p=0.7, fill=0.5),
    "color": lambda: lw.BatchColor(0.4, 0.4, 0.4, 0.1, gray=0.2, p=0.8),
    "erase": lambda: lw.BatchErase(0.7),
    "noise": lambda: lw.BatchErase(1, value="noise"),
    "rand": lambda: lw.BatchRandAugment(3, (0, 30)),
    "mixup": lambda: lw.Mixup(CLASSES, alpha=1.0, p=0.8),
    "cutmix": lambda: lw.CutMix(CLASSES, p=0.8),
    "oneof": lambda: lw.OneOf([lw.Mixup(CLASSES), lw.CutMix(CLASSES), lw.BatchAugment([lw.BatchFlip(), lw.BatchErase()])]),
    "geometry": lambda: lw.BatchAugment([lw.BatchResizedCrop(24), lw.BatchFlip(0, 0.5), lw.BatchAffine(20, p=0.5)]),
    "all": lambda: everything(),
}  # fmt: skip
PICTURES_ONLY = ["flip", "crop", "affine", "color", "erase", "noise", "rand", "geometry"]


def everything() -> lw.BatchAugment:
    return lw.BatchAugment(
        [
            lw.BatchResizedCrop(24),
            lw.BatchAffine(10, fill=128, p=0.5),
            lw.BatchRandAugment(2, 9),
            lw.BatchColor(0.4, 0.4, 0.4, 0.1, gray=0.2),
            lw.BatchErase(value="noise"),
            lw.OneOf([lw.Mixup(CLASSES), lw.CutMix(CLASSES)]),
        ]
    )


def run_member(member: Any, images: Tensor, labels: Any = None, seed: int = 3, step: int = 5, first: int = 0) -> Any:
    if isinstance(member, lw.BatchAugment):
        return member(images, labels, seed=seed, step=step, first=first)
    return member(images, labels, lw.StepRandom(seed, step, first=first))


def same(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def global_states() -> tuple[Any, ...]:
    state = np.random.get_state(legacy=False)["state"]
    return random.getstate(), state["key"].tolist(), state["pos"], torch.get_rng_state().tolist()


def as_float01(images: Tensor) -> Tensor:
    return images.float().div(255).contiguous(memory_format=torch.channels_last)


# ---- the source of randomness ------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40), st.integers(0, 20), st.integers(1, 9), st.integers(1, 5))
def test_a_samples_numbers_do_not_depend_on_the_batch_around_it(
    seed: int, step: int, first: int, count: int, width: int
) -> None:
    whole = lw.StepRandom(seed, step).uniform(first + count, width)
    assert np.array_equal(lw.StepRandom(seed, step, first=first).uniform(count, width), whole[first:])


def test_streams_steps_seeds_and_draws_differ_and_repeat() -> None:
    def numbers(seed: int, step: int, path: tuple[Any, ...], before: int) -> tuple[float, ...]:
        rng = lw.StepRandom(seed, step)
        for name in path:
            rng = rng.stream(name)
        for _ in range(before):
            rng.uniform(3)
        return tuple(rng.uniform(4))

    places = [
        (s, t, path, before)
        for s in (0, 1, 2**63)
        for t in (0, 1)
        for path in ((), (0,), (1,), (0, 1), ("a",))
        for before in (0, 1)
    ]
    made = [numbers(*place) for place in places]
    assert len({value for row in made for value in row}) == 4 * len(places)
    assert made == [numbers(*place) for place in reversed(places)][::-1]


def test_the_numbers_are_these_for_ever() -> None:
    assert lw.StepRandom(42, 7).uniform(2).tolist() == GOLDEN_ROOT
    assert lw.StepRandom(42, 7).stream(3).permutation(6).tolist() == GOLDEN_ORDER


def test_uniform_numbers_are_uniform() -> None:
    drawn = np.sort(np.concatenate([lw.StepRandom(0, step).uniform(100, 3).ravel() for step in range(200)]))
    assert np.abs(drawn - np.arange(len(drawn)) / len(drawn)).max() < 1.63 / math.sqrt(len(drawn))


def test_what_is_shared_is_the_same_in_each_process() -> None:
    assert np.array_equal(lw.StepRandom(0, 1).shared(3), lw.StepRandom(0, 1, first=64).shared(3))


@pytest.mark.parametrize("wrong", [-1, 2**64, 1.0, True, None, "1"])
def test_seed_and_step_are_whole_numbers(wrong: Any) -> None:
    with pytest.raises(lw.ConfigError, match="StepRandom: seed must be"):
        lw.StepRandom(wrong, 0)
    with pytest.raises(lw.ConfigError, match="StepRandom: step must be"):
        lw.StepRandom(0, wrong)


# ---- laws of all members -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MEMBERS)
def test_the_same_seed_and_step_give_the_same_bits(name: str, photos: Tensor, labels: Tensor) -> None:
    first = run_member(MEMBERS[name](), photos, labels)
    used = MEMBERS[name]()
    for step in range(3):
        run_member(used, photos, labels, step=step)
    lw.seed_everything(99)
    assert same(run_member(used, photos, labels), first)
    others = [run_member(used, photos, labels, seed, step) for seed, step in ((3, 6), (4, 5), (3, 7))]
    assert not any(torch.equal(other[0], first[0]) for other in others)


@pytest.mark.parametrize("name", MEMBERS)
def test_nothing_outside_is_read_or_changed(name: str, photos: Tensor, labels: Tensor) -> None:
    images, targets, states = photos.clone(memory_format=torch.preserve_format), labels.clone(), global_states()
    run_member(MEMBERS[name](), images, targets)
    assert torch.equal(images, photos) and torch.equal(targets, labels)
    assert global_states() == states


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", MEMBERS)
def test_dtype_and_memory_format_are_kept(name: str, dtype: torch.dtype, photos: Tensor, labels: Tensor) -> None:
    images = photos if dtype == torch.uint8 else as_float01(photos).to(dtype)
    assert is_channels_last(images)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        last = run_member(MEMBERS[name](), images, labels)[0]
        contiguous = run_member(MEMBERS[name](), images.contiguous(), labels)[0]
    assert last.dtype == contiguous.dtype == dtype
    assert is_channels_last(last) and contiguous.is_contiguous()
    exact = run_member(MEMBERS[name](), images.float() if dtype != torch.uint8 else images, labels)[0]
    tolerance = {torch.uint8: 1, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}[dtype]
    for made in (last, contiguous):
        assert torch.isfinite(made.float()).all()
        if name not in ("rand", "all") or dtype in (torch.uint8, torch.float32):  # these have thresholds
            assert (made.float() - exact.float()).abs().max() <= tolerance


@pytest.mark.parametrize("name", PICTURES_ONLY)
def test_the_parts_of_a_batch_are_changed_as_the_whole(name: str, photos: Tensor) -> None:
    whole = run_member(MEMBERS[name](), photos)[0]
    halves = [run_member(MEMBERS[name](), photos[i : i + 4], first=i)[0] for i in (0, 4)]
    assert (torch.cat(halves).int() - whole.int()).abs().max() <= 1  # batched sums may round otherwise
    assert (torch.cat(halves) == whole).float().mean() > 0.999


@pytest.mark.parametrize("name", MEMBERS)
def test_pieces_that_fit_the_cache_are_changed_as_the_whole(
    name: str, photos: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = lw.StepRandom(3, 5)
    whole = run_member(MEMBERS[name](), photos, labels)
    monkeypatch.setattr("loopwright.augment._pixels._CACHED", 3 * photos[0].numel())
    pieces = run_member(MEMBERS[name](), photos, labels)
    assert torch.equal(pieces[1], whole[1]) and is_channels_last(pieces[0])
    assert (pieces[0].int() - whole[0].int()).abs().max() <= 1
    assert (pieces[0] == whole[0]).float().mean() > 0.999
    if not isinstance(MEMBERS[name](), lw.BatchAugment):
        MEMBERS[name]()(photos, labels, rng)
        assert not np.array_equal(rng.uniform(4), lw.StepRandom(3, 5).uniform(4))


@pytest.mark.parametrize(
    "member",
    [
        lw.BatchFlip(0, 0),
        lw.BatchResizedCrop(48, scale=(1, 1), ratio=(1, 1), flip=0),
        lw.BatchAffine(),
        lw.BatchAffine(30, (0.2, 0.2), (0.5, 2), 10, p=0),
        lw.BatchColor(),
        lw.BatchColor(0.4, 0.4, 0.4, 0.4, p=0),
        lw.BatchColor(brightness=(1, 1), contrast=(1, 1), saturation=(1, 1)),
        lw.BatchErase(0),
        lw.BatchRandAugment(0),
        lw.BatchRandAugment(3, 0, choices=[n for n in OPERATIONS if n not in ("autocontrast", "equalize")]),
        lw.BatchAugment([]),
        lw.BatchAugment([lw.BatchFlip(1), lw.BatchAffine((180, 180)), lw.BatchFlip(0, 1)]),
        lw.BatchAugment([lw.BatchAffine((90, 90)), lw.BatchAffine((-90, -90))]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_nothing_to_do_gives_exactly_the_input(member: Any, dtype: torch.dtype, photos: Tensor) -> None:
    images = photos[:, :, :48] if dtype == torch.uint8 else photos[:, :, :48] / 7 - 3.3
    assert torch.equal(run_member(member, images)[0], images)


@pytest.mark.parametrize("mixing", [lw.Mixup(CLASSES, p=0), lw.CutMix(CLASSES, p=0), lw.Mixup(CLASSES, alpha=1e-12)])
def test_mixing_nothing_gives_exactly_the_input(mixing: Any, photos: Tensor, labels: Tensor) -> None:
    images, soft = run_member(mixing, photos / 7, labels)
    if mixing.p == 0:
        assert torch.equal(images, photos / 7) and torch.equal(soft, F.one_hot(labels, CLASSES).float())
    else:  # the share is 0 or 1: whole pictures
        assert set(soft.flatten().tolist()) == {0.0, 1.0}
        assert all(any(torch.equal(image, photo / 7) for photo in photos) for image in images)


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("name", MEMBERS)
def test_a_batch_may_have_one_sample_or_none(name: str, count: int, photos: Tensor, labels: Tensor) -> None:
    assert len(run_member(MEMBERS[name](), photos[:count], labels[:count])[0]) == count


@pytest.mark.parametrize("name", MEMBERS)
def test_pictures_may_be_tiny_and_gray(name: str, labels: Tensor) -> None:
    for height, width in ((1, 1), (1, 7), (5, 2)):
        made = run_member(MEMBERS[name](), torch.full((8, 1, height, width), 7, dtype=torch.uint8), labels)[0]
        assert made.shape[:2] == (8, 1)


@pytest.mark.parametrize("name", ["flip", "crop", "affine", "geometry", "mixup", "cutmix", "color"])
def test_gradients_reach_the_pictures(name: str, photos: Tensor, labels: Tensor) -> None:
    images = as_float01(photos).requires_grad_()
    run_member(MEMBERS[name](), images, labels)[0].sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0


# ---- geometry ----------------------------------------------------------------------------------------------------------


def reference_warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], fill: float = 0.0) -> np.ndarray:
    """One picture (C, H, W), pixel by pixel: bilinear, no antialiasing."""
    channels, height, width = image.shape
    made = np.full((channels, *size), fill, dtype=np.float64)
    for y in range(size[0]):
        for x in range(size[1]):
            u, v = (matrix @ (x + 0.5, y + 0.5, 1))[:2] - 0.5
            for j in (math.floor(v), math.floor(v) + 1):
                for i in (math.floor(u), math.floor(u) + 1):
                    if 0 <= i < width and 0 <= j < height:
                        made[:, y, x] += (image[:, j, i] - fill) * (1 - abs(u - i)) * (1 - abs(v - j))
    return made


def test_crops_equal_those_of_the_loaders_transform(photos: Tensor) -> None:
    crop = lw.BatchResizedCrop(20, flip=0)
    shape, rng = Shape(*photos.shape), lw.StepRandom(3, 5)
    made = crop(photos, None, lw.StepRandom(3, 5))[0]
    for image, (left, top, width, height), result in zip(photos, crop.boxes(shape, rng), made, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        expected = np.asarray(
            picture.resize((20, 20), Image.Resampling.BILINEAR, (left, top, left + width, top + height)), dtype=int
        )
        assert np.abs(result.permute(1, 2, 0).numpy() - expected).max() <= 1  # Pillow also rounds in between


@pytest.mark.parametrize("size", [7, 33, 130])
def test_crops_equal_torchvisions_but_for_the_pixels_beyond_the_box(photos: Tensor, size: int) -> None:
    images = as_float01(photos)
    crop = lw.BatchResizedCrop(size, scale=(1, 1), ratio=(0.8, 0.8), flip=0)  # the whole picture
    made = crop(images, None, lw.StepRandom(0, 1))[0]
    assert (made - TF.resize(images, [size, size], antialias=True)).abs().max() < 1e-4
    flipped = lw.BatchResizedCrop(size, scale=(1, 1), ratio=(0.8, 0.8), flip=1)(images, None, lw.StepRandom(0, 1))[0]
    assert (flipped - made.flip(3)).abs().max() < 1e-4


def test_boxes_are_distributed_as_torchvisions() -> None:
    torch.manual_seed(0)
    height, width, count = 60, 80, 4000
    picture = torch.zeros(3, height, width)
    theirs = v2.RandomResizedCrop(8)
    drawn = [theirs.make_params([picture]) for _ in range(count)]
    expected = np.array([[p["left"], p["top"], p["width"], p["height"]] for p in drawn], dtype=float)
    crop = lw.BatchResizedCrop(8)
    ours = np.concatenate([crop.boxes(Shape(100, 3, height, width), lw.StepRandom(0, s)) for s in range(count // 100)])
    figures = [np.column_stack([b, b[:, 2] * b[:, 3], b[:, 2] / b[:, 3]]) for b in (ours, expected)]
    for mine, other in zip(*(f.T for f in figures), strict=True):
        assert kolmogorov(mine, other) < 1.95 * math.sqrt(2 / count)  # 0.1 % of the time by chance


def test_a_box_reaches_every_place_alike() -> None:
    crop = lw.BatchResizedCrop(2, scale=(0.25, 0.25), ratio=(1, 1))
    boxes = np.concatenate([crop.boxes(Shape(90, 3, 4, 4), lw.StepRandom(0, step)) for step in range(20)])
    assert (boxes[:, 2:] == 2).all()
    places, counts = np.unique(boxes[:, :2], axis=0, return_counts=True)
    assert len(places) == 9 and np.abs(counts - 200).max() < 4.5 * math.sqrt(200)


def kolmogorov(one: np.ndarray, other: np.ndarray) -> float:
    places = np.unique(np.concatenate([one, other]))
    ranks = [np.searchsorted(np.sort(x), places, side="right") / len(x) for x in (one, other)]
    return np.abs(ranks[0] - ranks[1]).max()


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 2000), st.integers(1, 2000), st.floats(1e-3, 1), st.floats(0.01, 100), st.integers(0, 2**20))
def test_a_box_lies_inside_any_picture(width: int, height: int, scale: float, ratio: float, step: int) -> None:
    crop = lw.BatchResizedCrop(8, scale=(scale, 1), ratio=(ratio, ratio * 2))
    left, top, w, h = crop.boxes(Shape(5, 3, height, width), lw.StepRandom(0, step)).T
    assert (left >= 0).all() and (top >= 0).all() and (w >= 1).all() and (h >= 1).all()
    assert (left + w <= width).all() and (top + h <= height).all()


def test_flips_move_pixels_and_happen_as_often_as_asked(photos: Tensor) -> None:
    made = [run_member(lw.BatchFlip(0.5, 0.25), photos, step=step)[0] for step in range(60)]
    kinds = {(a, b): 0 for a in (0, 1) for b in (0, 1)}
    for batch in made:
        for image, photo in zip(batch, photos, strict=True):
            (kind,) = [k for k in kinds if torch.equal(image, photo.flip([2] * k[0] + [1] * k[1]))]
            kinds[kind] += 1
    for (a, b), count in kinds.items():
        expected = 480 * 0.5 * (0.25 if b else 0.75)
        assert abs(count - expected) < 4 * math.sqrt(expected), (a, b)


@pytest.mark.parametrize(
    ("angle", "move", "scale", "shear"),
    [(30, (0, 0), 1, (0, 0)), (0, (5, -7), 1, (0, 0)), (0, (0, 0), 1.3, (0, 0)), (0, (0, 0), 1, (12, 0)),
     (0, (0, 0), 1, (0, -9)), (-17, (3, 2), 1.1, (5, 3)), (90, (0, 0), 1, (0, 0)), (180, (1, 0), 1, (0, 0))],
)  # fmt: skip
def test_affine_maps_equal_torchvisions(
    angle: float, move: tuple[int, int], scale: float, shear: tuple[float, float], photos: Tensor
) -> None:
    images = as_float01(photos)
    count = len(images)
    matrices = affine(
        np.full(count, np.deg2rad(angle)), np.tile(np.array(move, float), (count, 1)), np.full(count, float(scale)),
        np.deg2rad(np.tile(np.array(shear, float), (count, 1))), Shape(*images.shape),
    )  # fmt: skip
    made = resampled(images, matrices, (60, 48))
    expected = TF.affine(images, angle, list(move), scale, list(shear), interpolation=v2.InterpolationMode.BILINEAR)
    assert (made - expected).abs().max() < 1 / 255


def resampled(images: Tensor, matrices: np.ndarray, size: tuple[int, int]) -> Tensor:
    numbers, sampling = plan_sampling(matrices, (images.shape[2], images.shape[3]), size)
    tensors = {
        k: torch.from_numpy(v).to(torch.int64 if v.dtype.kind == "i" else torch.float32) for k, v in numbers.items()
    }
    return sample(images, tensors, sampling)


def test_an_affine_batch_equals_the_slow_reference(photos: Tensor) -> None:
    member = lw.BatchAffine(30, (0.2, 0.1), (0.9, 1.4), 4, p=0.7, fill=50)
    matrices = member.matrices(Shape(*photos.shape), lw.StepRandom(3, 5))
    made = member(photos, None, lw.StepRandom(3, 5))[0]
    assert 0 < (np.abs(matrices - np.eye(3)).max((1, 2)) == 0).sum() < 8
    for image, matrix, result in zip(photos, matrices, made, strict=True):
        expected = reference_warp(image.numpy().astype(float), matrix, (60, 48), fill=50)
        assert np.abs(result.numpy() - expected).max() < 0.51


def test_geometry_in_a_row_is_one_resampling_by_the_product(photos: Tensor) -> None:
    crop, flip, turn = (
        lw.BatchResizedCrop(40, scale=(0.2, 0.6)),
        lw.BatchFlip(0, 0.5),
        lw.BatchAffine(25, p=0.8, fill=9),
    )
    made = lw.BatchAugment([crop, flip, turn])(photos, seed=3, step=5)[0]
    rng, inner = lw.StepRandom(3, 5), Shape(8, 3, 40, 40)
    matrices = crop.matrices(Shape(*photos.shape), rng.stream(0))
    matrices = matrices @ flip.matrices(inner, rng.stream(1)) @ turn.matrices(inner, rng.stream(2))
    for image, matrix, result in zip(photos, matrices, made, strict=True):
        expected = reference_warp(image.numpy().astype(float), matrix, (40, 40), fill=9)
        difference = np.abs(result.numpy() - expected)
        upright = abs(matrix[0, 1]) < 1e-9  # resized, and then clamped at the picture's edge instead of faded
        assert difference[:, 2:-2, 2:-2].max() < (2 if upright else 0.51)


def test_different_fills_are_not_made_one(photos: Tensor) -> None:
    far = [lw.BatchAffine(translate=(1, 1), fill=fill) for fill in (10, 20)]
    values = lw.BatchAugment(far)(torch.zeros(8, 3, 16, 16, dtype=torch.uint8), seed=0, step=1)[0].unique().tolist()
    assert set(values) <= {0, 10, 20} and {10, 20} <= set(values)


@pytest.mark.parametrize("times", [1.6, 2, 2.7, 4, 6.5])
def test_a_warp_that_shrinks_shows_no_alias(times: float) -> None:
    """A pattern finer than the result becomes its mean, where plain bilinear sampling shows beats."""
    stripes = (torch.arange(240) // 1 % 2 * 255).to(torch.uint8).expand(1, 1, 240, 240).contiguous()
    side = int(240 / times)
    matrices = np.array([[[times, 1e-6, 0], [1e-6, times, 0], [0, 0, 1.0]]])  # warped for its own sake
    made = resampled(stripes, matrices, (side, side))[..., 2:-2, 2:-2].float()
    assert made.std() < 0.3 * 127  # the stripes' own is 127
    assert abs(made.mean() - 127.5) < 3


def test_a_warp_that_shrinks_is_near_an_antialiased_resize(photos: Tensor) -> None:
    images = as_float01(photos)
    for side in (6, 12, 24):
        matrices = np.tile(np.array([[48 / side, 1e-9, 0], [0, 60 / side, 0], [0, 0, 1.0]]), (8, 1, 1))
        assert plan_sampling(matrices, (60, 48), (side, side))[1].warped
        made, expected = resampled(images, matrices, (side, side)), TF.resize(images, [side, side], antialias=True)
        assert lw.psnr(made[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1]).median() > 30


# ---- colours -----------------------------------------------------------------------------------------------------------

FACTORS = torch.tensor([0.0, 0.3, 0.7, 1.0, 1.2, 1.5, 1.9, 2.5])
TURNS = torch.tensor([-0.5, -0.3, -0.1, 0.0, 0.05, 0.2, 0.4, 0.5])
BITS = torch.tensor([0.0, 1, 2, 3, 4, 5, 7, 8])
COLOURS: dict[str, tuple[Any, Tensor, Any]] = {
    "brightness": (colors.brighten, FACTORS, TF.adjust_brightness),
    "contrast": (colors.contrast, FACTORS, TF.adjust_contrast),
    "saturation": (colors.saturate, FACTORS, TF.adjust_saturation),
    "sharpness": (colors.sharpen, FACTORS, TF.adjust_sharpness),
    "hue": (colors.shift_hue, TURNS, TF.adjust_hue),
}


@pytest.mark.parametrize("name", COLOURS)
def test_colours_equal_torchvisions(name: str, photos: Tensor) -> None:
    ours, factors, theirs = COLOURS[name]
    images = as_float01(photos)
    expected = torch.stack([theirs(x, float(f)) for x, f in zip(images, factors, strict=True)])
    assert (ours(images, factors, 1.0) - expected).abs().max() < 1e-5
    bytes_expected = torch.stack([theirs(x, float(f)) for x, f in zip(photos, factors, strict=True)]).int()
    made = ours(photos.float(), factors, 255.0).round().int()
    assert (made - bytes_expected).abs().max() <= (
        2 if name in ("hue", "saturation") else 1
    )  # they cut off fractions, in between too


def test_operations_on_8_bits_equal_torchvisions(photos: Tensor) -> None:
    dim = (photos // 3 + 40).float()
    assert torch.equal(colors.posterize(dim, BITS, 255).int(), stacked(dim, BITS.int().tolist(), TF.posterize))
    thresholds = (torch.arange(8) / 7).float()
    expected = stacked(dim, (thresholds * 255).tolist(), TF.solarize)
    assert torch.equal(colors.solarize(dim, thresholds, 255).int(), expected)
    assert torch.equal(colors.equalize(dim, 255).int(), TF.equalize(dim.byte()).int())
    assert (colors.stretch(dim, 255).round().int() - TF.autocontrast(dim.byte()).int()).abs().max() <= 1
    flat = torch.full((1, 3, 4, 4), 77.0)
    assert torch.equal(colors.equalize(flat, 255), flat) and torch.equal(colors.stretch(flat, 255), flat)


def stacked(images: Tensor, factors: list[Any], theirs: Any) -> Tensor:
    return torch.stack([theirs(x.byte(), f) for x, f in zip(images, factors, strict=True)]).int()


def test_operations_on_floats_equal_torchvisions(photos: Tensor) -> None:
    images = as_float01(photos // 3 + 40)
    for bits in (1, 3, 8):
        made = colors.posterize(images, torch.full((8,), float(bits)), 1.0)
        assert (made - TF.posterize(images, bits)).abs().max() < 1e-6
    assert (colors.solarize(images, torch.full((8,), 0.4), 1.0) - TF.solarize(images, 0.4)).abs().max() < 1e-6
    assert (colors.stretch(images, 1.0) - TF.autocontrast(images)).abs().max() < 1e-5
    assert (colors.equalize(images, 1.0) - TF.equalize(images)).abs().max() < 1e-5


def test_a_colour_batch_equals_one_picture_at_a_time(photos: Tensor) -> None:
    """Factors and order as planned, torchvision's functions, picture by picture."""
    member, images = lw.BatchColor(0.5, 0.5, 0.5, 0.2, p=0.7, gray=0.3), as_float01(photos)
    theirs = {n: f for n, (_, _, f) in COLOURS.items()}
    orders = set()
    for step in range(6):
        plan = member.plan(Shape(*photos.shape), lw.StepRandom(3, step))
        orders.add(tuple(plan.facts))
        expected = list(images)
        for row, index in enumerate(plan.numbers["changed"]):
            for name in plan.facts:
                expected[index] = theirs[name](expected[index], float(plan.numbers[name][row]))
        for index in plan.numbers["grayed"]:
            expected[index] = TF.rgb_to_grayscale(expected[index], 3)
        made = member(images, None, lw.StepRandom(3, step))[0]
        assert (made - torch.stack(expected)).abs().max() < 1 / 255
    assert len(orders) > 1


def test_factors_fill_their_ranges() -> None:
    member = lw.BatchColor(brightness=0.4, hue=(-0.1, 0.3), gray=0.2, p=0.6)
    plans = [member.plan(Shape(50, 3, 4, 4), lw.StepRandom(0, step)).numbers for step in range(60)]
    for name, low, high in (("brightness", 0.6, 1.4), ("hue", -0.1, 0.3)):
        values = np.concatenate([plan[name] for plan in plans])
        assert kolmogorov(values, np.linspace(low, high, 4001)) < 0.05
    for name, share in (("changed", 0.6), ("grayed", 0.2)):
        assert abs(sum(len(plan[name]) for plan in plans) / 3000 - share) < 0.035


# ---- erasing -----------------------------------------------------------------------------------------------------------


def test_erased_boxes_have_the_planned_share_and_colour() -> None:
    images = torch.zeros(8, 3, 50, 50, dtype=torch.uint8)
    member = lw.BatchErase(p=0.6, scale=(0.1, 0.2), value=(10, 20, 30))
    erased, shares = 0, []
    for step in range(50):
        for image in run_member(member, images, step=step)[0]:
            rows, columns = image[0].any(1).nonzero().flatten(), image[0].any(0).nonzero().flatten()
            if len(rows):
                box = image[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
                assert (box == torch.tensor([10, 20, 30]).view(3, 1, 1)).all()
                shares.append(box[0].numel() / 2500)
                erased += 1
    assert abs(erased / 400 - 0.6) < 0.1
    assert 0.08 < min(shares) < 0.115 and 0.185 < max(shares) < 0.22


def test_noise_is_even_and_differs_everywhere() -> None:
    member = lw.BatchErase(p=1, scale=(1, 1), ratio=(1, 1), value="noise")
    noise = run_member(member, torch.zeros(4, 3, 64, 64, dtype=torch.uint8))[0]
    counts = torch.bincount(noise.flatten().long(), minlength=256).float()
    expected = noise.numel() / 256
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 5 * math.sqrt(2 * 255)
    flat = noise.flatten(1).float()
    correlation = torch.corrcoef(torch.cat([flat, flat.roll(1, 1), flat.roll(64, 1)]))
    assert (correlation - torch.eye(12)).abs().max() < 0.05
    floats = run_member(member, torch.zeros(4, 3, 64, 64))[0]
    assert torch.equal((floats * 256).floor().byte(), noise)


# ---- mixing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 3.0])
def test_shares_are_beta_distributed(alpha: float) -> None:
    ours = symmetric_beta(lw.StepRandom(0, 0).uniform(20000, 2), alpha)
    theirs = np.random.default_rng(0).beta(alpha, alpha, 20000)
    assert ((ours >= 0) & (ours <= 1)).all()
    assert kolmogorov(ours, theirs) < 1.95 * math.sqrt(2 / 20000)
    with np.errstate(all="raise", under="ignore"):
        assert np.isfinite(symmetric_beta(np.array([[0, 0], [1 - 2**-53, 0.25], [0, 0.25], [0.5, 0.5]]), alpha)).all()


@pytest.mark.parametrize("kind", [lw.Mixup, lw.CutMix])
def test_soft_labels_are_the_shares_of_the_pixels(kind: Any, labels: Tensor) -> None:
    """Each picture is one hot in as many channels as there are pictures, so its mean says whose pixels it holds."""
    images = torch.eye(8).view(8, 8, 1, 1).expand(8, 8, 20, 31).contiguous()
    for step in range(20):
        mixed, soft = run_member(kind(CLASSES, alpha=0.7, p=0.8), images, labels, step=step)
        held = mixed.mean((2, 3))
        assert (soft.sum(1) - 1).abs().max() < 1e-6
        assert (soft - held @ F.one_hot(labels, CLASSES).float()).abs().max() < 1e-5
        if kind is lw.CutMix:
            assert set(mixed.unique().tolist()) == {0.0, 1.0}


def test_mixed_pictures_equal_the_formula(photos: Tensor, labels: Tensor) -> None:
    plan = lw.Mixup(CLASSES, alpha=1.0).plan(Shape(*photos.shape), lw.StepRandom(3, 5)).numbers
    mixed, soft = lw.Mixup(CLASSES, alpha=1.0)(photos, labels, lw.StepRandom(3, 5))
    assert sorted(plan["partner"]) == list(range(8))
    for i, (j, share) in enumerate(zip(plan["partner"], plan["share"], strict=True)):
        expected = (share * photos[i].double() + (1 - share) * photos[j].double()).round()
        assert (mixed[i].double() - expected).abs().max() <= 1
        assert soft[i, labels[i]] >= share - 1e-6
        assert abs(soft[i, labels[j]] - (1 - share if labels[i] != labels[j] else 1)) < 1e-6


def test_mixing_twice_keeps_labels_that_sum_to_1(photos: Tensor, labels: Tensor) -> None:
    augment = lw.BatchAugment([lw.Mixup(CLASSES, alpha=1.0), lw.CutMix(CLASSES)])
    soft = augment(photos, labels, seed=0, step=1)[1]
    assert soft.dtype == torch.float32 and (soft.sum(1) - 1).abs().max() < 1e-6
    logits = torch.randn(8, CLASSES, requires_grad=True)
    loss = F.cross_entropy(logits, soft)
    loss.backward()
    assert (loss - -(soft * logits.log_softmax(1)).sum(1).mean()).abs() < 1e-6
    assert logits.grad is not None


def test_one_of_takes_each_as_often_as_it_weighs(photos: Tensor) -> None:
    either = lw.OneOf([lw.BatchErase(1, scale=(1, 1), ratio=(1, 1), value=v) for v in (1, 2, 3)], weights=[1, 0, 3])
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    chosen = [run_member(either, images, step=step)[0].unique().tolist() for step in range(400)]
    assert all(len(values) == 1 for values in chosen)
    counts = [chosen.count([v]) for v in (1, 2, 3)]
    assert counts[1] == 0 and 70 < counts[0] < 130 and sum(counts) == 400


# ---- RandAugment -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_grouped_operation_equals_torchvisions_one_by_one(name: str, photos: Tensor) -> None:
    magnitude, share = 18.0, 18 / 30
    member = lw.BatchRandAugment(1, magnitude, choices=[name])
    made = member(photos, None, lw.StepRandom(3, 5))[0]
    negative = lw.StepRandom(3, 5).uniform(8, 3)[:, 2] < 0.5
    tolerance = 1 if name not in ("saturation", "rotate") and not name.startswith("shear") else 2
    for image, result, minus in zip(photos, made, negative, strict=True):
        expected = one_by_one(name, image, share, -1 if minus else 1)
        assert (result.int() - expected.int()).abs().max() <= tolerance, name


def one_by_one(name: str, image: Tensor, share: float, sign: int) -> Tensor:
    bilinear = v2.InterpolationMode.BILINEAR
    if name.startswith("shear"):
        degrees = math.degrees(math.atan(0.3 * share * sign))
        shear = [degrees, 0.0] if name == "shear_x" else [0.0, degrees]
        return TF.affine(image, 0.0, [0, 0], 1.0, shear, bilinear)
    if name.startswith("translate"):
        side = image.shape[2] if name == "translate_x" else image.shape[1]
        move = int(150 / 331 * side * share * sign)
        return TF.affine(image, 0.0, [move, 0] if name == "translate_x" else [0, move], 1.0, [0.0, 0.0], bilinear)
    factor = 1 + 0.9 * share * sign
    operations: dict[str, Callable[[], Tensor]] = {
        "identity": lambda: image,
        "rotate": lambda: TF.affine(image, 30 * share * sign, [0, 0], 1.0, [0.0, 0.0], bilinear),
        "brightness": lambda: TF.adjust_brightness(image, factor),
        "contrast": lambda: TF.adjust_contrast(image, factor),
        "saturation": lambda: TF.adjust_saturation(image, factor),
        "sharpness": lambda: TF.adjust_sharpness(image, factor),
        "posterize": lambda: TF.posterize(image, 8 - round(4 * share)),
        "solarize": lambda: TF.solarize(image, 255 * (1 - share)),
        "autocontrast": lambda: TF.autocontrast(image),
        "equalize": lambda: TF.equalize(image),
    }
    return operations[name]()


def test_each_picture_draws_its_own_operations(photos: Tensor) -> None:
    """A picture in a batch becomes what it becomes alone at its place."""
    member = lw.BatchRandAugment(2, (5, 25))
    together = run_member(member, photos)[0]
    alone = torch.cat([run_member(member, photos[i : i + 1], first=i)[0] for i in range(8)])
    assert (together == alone).float().mean() > 0.999
    rounds = [member.plan(Shape(40, 3, 8, 8), lw.StepRandom(0, step)).facts for step in range(5)]
    assert {name for facts in rounds for _, _, names in facts for name in names} == {
        "brightness", "contrast", "saturation", "sharpness", "posterize", "solarize", "autocontrast", "equalize",
    }  # fmt: skip


# ---- pipelines ---------------------------------------------------------------------------------------------------------


def test_one_more_member_changes_nothing_that_those_before_draw(photos: Tensor, labels: Tensor) -> None:
    seen: list[Tensor] = []

    def look(images: Tensor, labels: Any, rng: lw.StepRandom) -> tuple[Tensor, Any]:
        seen.append(images)
        return images, labels

    members = [lw.BatchResizedCrop(24), lw.BatchColor(0.4), lw.BatchErase(1), lw.Mixup(CLASSES)]
    for count in range(1, len(members) + 1):
        made = lw.BatchAugment(members[:count])(photos, labels, seed=0, step=1)[0]
        seen.clear()
        lw.BatchAugment([*members[:count], look, *members[count:]])(photos, labels, seed=0, step=1)
        assert torch.equal(seen[0], made)


@pytest.mark.parametrize("other", [lw.BatchErase(0), lw.BatchColor(0.4, p=0), lw.BatchRandAugment(0)])
def test_a_member_draws_by_its_place_and_not_by_what_others_draw(other: Any, photos: Tensor) -> None:
    alone = lw.BatchAugment([lambda images, labels, rng: (images, labels), lw.BatchErase(0.5), lw.BatchFlip()])
    beside = lw.BatchAugment([other, lw.BatchErase(0.5), lw.BatchFlip()])
    assert torch.equal(alone(photos, seed=0, step=1)[0], beside(photos, seed=0, step=1)[0])
    flips = lw.BatchFlip()(photos, None, lw.StepRandom(0, 1).stream(2))[0]
    unerased = lw.BatchAugment([other, lw.BatchErase(0), lw.BatchFlip()])(photos, seed=0, step=1)[0]
    assert torch.equal(flips, unerased)


def test_functions_of_ones_own_draw_from_their_own_stream(photos: Tensor) -> None:
    def noisy(images: Tensor, labels: Any, rng: lw.StepRandom) -> tuple[Tensor, Any]:
        return images + torch.from_numpy(rng.uniform(len(images), 1, 1, 1)).float(), labels

    augment = lw.BatchAugment([lw.BatchFlip(), noisy, noisy])
    first, again = (augment(photos / 255, seed=0, step=4)[0] for _ in range(2))
    assert torch.equal(first, again)
    with pytest.raises(lw.DataError, match="keeps the shape"):
        lw.BatchAugment([lambda images, labels, rng: (images[:, :, :3], labels)])(photos, seed=0, step=0)


def test_the_same_step_moves_targets_as_it_moves_pictures(photos: Tensor) -> None:
    augment = lw.BatchAugment([lw.BatchResizedCrop(24), lw.BatchAffine(20)])
    pictures, targets = (augment(x, seed=0, step=9)[0] for x in (photos, 255 - photos))
    covered = augment(torch.full_like(photos, 255), seed=0, step=9)[0] == 255
    assert ((pictures.int() + targets.int() - 255).abs()[covered] <= 1).all()


def train(folder: Path, killed_at: int | None, seen: dict[int, tuple[Tensor, Tensor]]) -> torch.nn.Module:
    data = torch.utils.data.Subset(lw.ImageFolder(lw.demo_photos(), split="val"), range(0, 240, 5))
    with lw.Run(folder, seed=7, device="cpu", save_every="3 steps", progress=False) as run:
        loader = lw.Loader(data, 8, transform=lw.CenterCrop(32), shuffle=True, workers=0, normalize=None)
        augment, normalize = everything(), lw.Normalize()
        model = run.prepare(tiny_model())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        run.register(model=model, optimizer=optimizer)
        for _ in run.epochs(2):
            for images, labels in run.batches(loader):
                images, labels = augment(images, labels, seed=run.seed, step=run.global_step)
                assert torch.equal(seen.setdefault(run.global_step, (images, labels))[0], images)
                assert torch.equal(seen[run.global_step][1], labels)
                loss = F.cross_entropy(model(normalize(images)), labels)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                if run.global_step == killed_at:
                    os.kill(os.getpid(), signal.SIGKILL)
    return model


def test_a_run_killed_between_steps_sees_the_same_batches_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    seen: dict[int, tuple[Tensor, Tensor]] = {}
    whole = train(tmp_path / "whole", None, seen)
    assert sorted(seen) == list(range(1, 13))
    assert not any(torch.equal(seen[a][0], seen[b][0]) for a, b in pairwise(seen))
    for step in (5, 8):
        _, status = os.waitpid(forked(lambda step=step: train(tmp_path / "killed", step, seen)), 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
    torch.rand(5)
    assert same_bits(train(tmp_path / "killed", None, seen), whole)


# ---- devices -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", MEMBERS)
def test_a_gpu_gives_the_same_pictures_and_is_not_waited_for(name: str, photos: Tensor, labels: Tensor) -> None:
    expected, soft = run_member(MEMBERS[name](), photos, labels)
    images, targets = photos.cuda(), labels.cuda()
    run_member(MEMBERS[name](), images, targets, step=1)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        made, made_soft = run_member(MEMBERS[name](), images, targets)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (made_soft.cpu().float() - soft.float()).abs().max() < 1e-6
    assert is_channels_last(made)
    assert ((made.cpu().int() - expected.int()).abs() <= 1).float().mean() > 0.999  # thresholds may fall either way


# ---- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lw.BatchFlip(1.2), r"BatchFlip: horizontal must be a probability from 0 to 1\. Found: 1\.2"),
        (lambda: lw.BatchResizedCrop(0), "size must be a whole number of pixels"),
        (lambda: lw.BatchResizedCrop(8, scale=(0.5, 0.1)), r"BatchResizedCrop: scale must be two numbers.*\(0\.5, 0\.1\)"),
        (lambda: lw.BatchAffine(degrees=(1,)), r"BatchAffine: degrees must be two numbers"),
        (lambda: lw.BatchAffine(degrees=-5), r"BatchAffine: degrees must be .* Found: -5"),
        (lambda: lw.BatchAffine(translate=(2, 0)), "translate must be two shares"),
        (lambda: lw.BatchAffine(fill="white"), "BatchAffine: fill must be a number or one number a channel"),
        (lambda: lw.BatchColor(hue=0.7), "BatchColor: hue must be two numbers from -0.5 to 0.5"),
        (lambda: lw.BatchColor(brightness=-1), "BatchColor: brightness must be 0 or more"),
        (lambda: lw.BatchErase(value="random"), "BatchErase: value must be a number"),
        (lambda: lw.BatchRandAugment(magnitude=31), "magnitude must be two numbers from 0 to 30"),
        (lambda: lw.BatchRandAugment(choices=["rotat"]), "no operation 'rotat': did you mean 'rotate'"),
        (lambda: lw.BatchRandAugment(choices=[]), "no operation 'nothing'"),
        (lambda: lw.Mixup(0), "Mixup: classes must be"),
        (lambda: lw.CutMix(3, alpha=0), "CutMix: alpha must be above 0. Found: 0"),
        (lambda: lw.OneOf([]), "OneOf needs members"),
        (lambda: lw.OneOf([lw.BatchFlip()], weights=[0]), "not all 0"),
        (lambda: lw.BatchAugment([lw.BatchFlip]), r"Found: <class .*: write BatchFlip\(\.\.\.\)"),
        (lambda: lw.BatchAugment([lw.BatchAugment([])]), "stands alone or in OneOf"),
        (lambda: lw.BatchAugment([])(torch.zeros(1, 3, 8, 8), seed=None, step=0), "a run has its seed once it is open"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused_when_it_is_given(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(lw.ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("member", "images", "labels", "message"),
    [
        (lw.BatchFlip(), torch.zeros(3, 8, 8), None, r"images must be \(N, C, H, W\).*Found: \(3, 8, 8\)"),
        (lw.BatchFlip(), torch.zeros(1, 3, 8, 8, dtype=torch.int64), None, "uint8 or floating point"),
        (lw.BatchFlip(), [1, 2], None, "Found: list"),
        (lw.BatchColor(0.1), torch.zeros(2, 4, 8, 8), None, "BatchColor needs pictures of 3 channels"),
        (
            lw.BatchColor(0.1),
            torch.full((2, 3, 8, 8), -1.5),
            None,
            r"BatchColor changes colours: bytes, or floats from 0 to 1\. Found: -1\.5 to -1\.5\. Are they normalised",
        ),
        (
            lw.BatchAugment([lw.BatchFlip(), lw.BatchRandAugment()])._chain,
            torch.full((2, 3, 8, 8), 200.0),
            None,
            r"BatchRandAugment changes .* Found: 200 to 200\. .* Loader\(normalize=None\) leaves them bytes",
        ),
        (lw.BatchAffine(30, fill=(1, 2)), torch.zeros(2, 3, 8, 8), None, "fill of 2 numbers does not fit"),
        (lw.Mixup(4), torch.zeros(2, 3, 8, 8), None, "Mixup mixes labels, too"),
        (lw.Mixup(4), torch.zeros(2, 3, 8, 8), torch.tensor([1, 4]), r"labels must lie in 0\.\.3\. Found: 1 to 4"),
        (lw.CutMix(4), torch.zeros(2, 3, 8, 8), torch.tensor([0.5, 1]), r"\(N, 4\)\. Found: \(2,\) of torch.float32"),
        (lw.CutMix(4), torch.zeros(2, 3, 8, 8), torch.tensor([1, 2, 3]), "a tensor of 2 is needed"),
    ],
)
def test_what_does_not_fit_is_refused(member: Any, images: Any, labels: Any, message: str) -> None:
    with pytest.raises(lw.DataError, match=message):
        member(images, labels, lw.StepRandom(0, 1))
