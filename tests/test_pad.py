"""Laws of ``PadCollate``: what was put in comes out by its sizes, and all else is padding."""

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

import loopwright as lw
from loopwright._errors import ConfigError, DataError

RNG = np.random.default_rng(0)
sizes_2d = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5)
DTYPES = [torch.uint8, torch.int64, torch.float32, torch.float16, torch.bool]


def values(shape: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.from_numpy(RNG.integers(0, 200, shape)).to(dtype)


def check(padded: lw.Padded, tensors: list[Tensor], axes: int, fill: float, multiple: int) -> None:
    """The law, by taking the batch apart again."""
    data = padded.data.clone()
    assert data.shape[0] == len(tensors) and data.dtype == tensors[0].dtype
    for axis in range(-axes, 0):
        most = max(tensor.shape[axis] for tensor in tensors)
        assert data.shape[axis] % multiple == 0 and 0 <= data.shape[axis] - most < multiple
    for row, tensor in zip(data, tensors, strict=True):
        place = (..., *(slice(size) for size in tensor.shape[-axes:]))
        assert torch.equal(row[place], tensor)
        row[place] = torch.tensor(fill).to(row.dtype)
    assert (data == torch.tensor(fill).to(data.dtype)).all()


@settings(max_examples=100, deadline=None)
@given(sizes=sizes_2d, lead=st.lists(st.integers(1, 3), max_size=2), dtype=st.sampled_from(DTYPES),
       fill=st.sampled_from([0, 1]), multiple=st.integers(1, 5))  # fmt: skip
def test_tensors_come_out_by_their_sizes(
    sizes: list[tuple[int, int]], lead: list[int], dtype: torch.dtype, fill: int, multiple: int
) -> None:
    tensors = [values((*lead, *size), dtype) for size in sizes]
    padded = lw.PadCollate(fill=fill, multiple=multiple)(tensors)
    assert padded.sizes.tolist() == [list(size) for size in sizes] and padded.sizes.dtype == torch.int64
    check(padded, tensors, 2, fill, multiple)
    masked = lw.PadCollate(fill=fill, multiple=multiple, mask=True)(tensors)
    assert torch.equal(masked.data, padded.data)
    rows, columns = (torch.arange(padded.data.shape[axis]) for axis in (-2, -1))
    for mask, (height, width) in zip(masked.sizes, sizes, strict=True):
        assert mask.dtype == torch.bool
        assert torch.equal(mask, (rows < height)[:, None] & (columns < width))


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=5), dtype=st.sampled_from(DTYPES),
       fill=st.sampled_from([0, 1]), multiple=st.integers(1, 5))  # fmt: skip
def test_sequences_come_out_by_their_lengths(lengths: list[int], dtype: torch.dtype, fill: int, multiple: int) -> None:
    tensors = [values((length,), dtype) for length in lengths]
    padded = lw.PadCollate(fill, multiple)(tensors)
    assert padded.sizes.tolist() == lengths
    check(padded, tensors, 1, fill, multiple)
    mask = lw.PadCollate(fill, multiple, True)(tensors).sizes
    assert mask.shape == padded.data.shape and mask.sum(1).tolist() == lengths
    assert torch.equal(torch.cat(tensors), padded.data[mask])


@settings(max_examples=60, deadline=None)
@given(sizes=sizes_2d, mode=st.sampled_from(["RGB", "L", "RGBA"]), multiple=st.sampled_from([1, 32]))
def test_pictures_are_padded_in_channels_last_memory(sizes: list, mode: str, multiple: int) -> None:
    channels = len(mode.replace("L", "1").replace("RGBA", "1234").replace("RGB", "123"))
    arrays = [values((*size, channels)).numpy() for size in sizes]
    pictures = [Image.fromarray(array.squeeze(2) if channels == 1 else array) for array in arrays]
    padded = lw.PadCollate(7, multiple)(pictures)
    check(padded, [torch.from_numpy(array).permute(2, 0, 1) for array in arrays], 2, 7, multiple)
    assert padded.data.is_contiguous(memory_format=torch.channels_last)
    assert padded.sizes.tolist() == [[picture.height, picture.width] for picture in pictures]


def test_of_equal_sizes_it_is_what_collate_makes() -> None:
    pictures = [Image.fromarray(values((4, 5, 3)).numpy()) for _ in range(3)]
    for samples in (pictures, [values((3, 4, 5)) for _ in range(3)], [values((4,)) for _ in range(2)]):
        padded = lw.PadCollate()(samples)
        assert type(padded) is lw.Padded
        assert torch.equal(padded.data, lw.collate(samples))
        assert padded.data.stride() == lw.collate(samples).stride()


Pair = namedtuple("Pair", "image label")


@dataclass
class Sample:
    image: Any
    name: str


def test_containers_keep_their_types_and_numbers_are_collated() -> None:
    pictures = [Image.new("RGB", (3, 2)), Image.new("RGB", (2, 5))]
    pad = lw.PadCollate()
    pairs = pad([Pair(picture, number) for number, picture in enumerate(pictures)])
    assert type(pairs) is Pair and pairs.image.data.shape == (2, 3, 5, 3) and pairs.label.tolist() == [0, 1]
    named = pad([{"image": picture, "tokens": torch.arange(number)} for number, picture in enumerate(pictures, 1)])
    assert named["tokens"].data.tolist() == [[0, 0], [0, 1]] and named["tokens"].sizes.tolist() == [1, 2]
    made = pad([Sample(picture, "x") for picture in pictures])
    assert (type(made), made.image.sizes.tolist(), made.name) == (Sample, [[2, 3], [5, 2]], ["x", "x"])
    assert pad([(torch.tensor(1.5), "a"), (torch.tensor(2.5), "b")])[0].tolist() == [1.5, 2.5]


def test_arrays_and_torchvisions_images_are_padded() -> None:
    arrays = [np.ones((2, 3), dtype=np.float32), np.ones((1, 4), dtype=np.float32)[:, ::-1]]
    assert lw.PadCollate()(arrays).data.sum() == 10
    images = [tv_tensors.Image(torch.ones(3, 2, 2)), tv_tensors.Image(torch.ones(3, 1, 4))]
    assert type(lw.PadCollate()(images).data) is Tensor


def test_targets_of_one_length_can_stay_plain() -> None:
    samples = [(Image.new("L", (2, 2)), torch.tensor([0.0, 1.0])), (Image.new("L", (3, 1)), torch.tensor([1.0, 1.0]))]
    pictures, targets = lw.PadCollate(sequences=False)(samples)
    assert pictures.sizes.tolist() == [[2, 2], [1, 3]] and targets.tolist() == [[0, 1], [1, 1]]
    with pytest.raises(DataError, match=r"differ in more than what is padded: float32 \(1\), float32 \(2\)"):
        lw.PadCollate(sequences=False)([torch.zeros(1), torch.zeros(2)])


def test_one_fill_a_channel() -> None:
    padded = lw.PadCollate(fill=(124, 116, 104))([Image.new("RGB", (1, 1)), Image.new("RGB", (2, 1))])
    assert padded.data[0, :, 0].tolist() == [[0, 124], [0, 116], [0, 104]]
    normalized = lw.Normalize()(padded)
    assert type(normalized) is lw.Padded and normalized.data.dtype == torch.float32
    assert normalized.data[0, :, 0, 1].abs().max() < 0.02


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        ([torch.zeros(3, 2, 2), torch.zeros(1, 2, 2)], {}, r"float32 \(1, \*, \*\), float32 \(3, \*, \*\)"),
        ([torch.zeros(2, 2), torch.zeros(3, 2, 2)], {}, r"float32 \(\*, \*\), float32 \(3, \*, \*\)"),
        ([torch.zeros(2), torch.zeros(2, dtype=torch.int64)], {}, r"float32 \(\*\), int64 \(\*\)"),
        ([torch.zeros(2), torch.tensor(1.0)], {}, "differ in more than what is padded"),
        ([torch.tensor(1.0), torch.zeros(2)], {}, "differ in more than what is padded"),
        ([Image.new("L", (1, 1)), Image.new("RGB", (1, 1))], {}, r"uint8 \(1, \*, \*\), uint8 \(3, \*, \*\)"),
        ([Image.new("L", (1, 1))], {"fill": -1}, "fill=-1 is no uint8, which the samples are"),
        ([Image.new("L", (1, 1))], {"fill": 256}, "fill=256 is no uint8"),
        ([Image.new("L", (1, 1))], {"fill": 0.5}, "fill=0.5 is no uint8"),
        ([Image.new("RGB", (1, 1))], {"fill": (1, 2)}, r"one for each of 3 channels. Found: \(1, 2\)"),
        ([torch.zeros(2, 2)], {"fill": (1,)}, "fill must be one number"),
    ],
)
def test_what_cannot_be_padded_says_why(samples: list, options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        lw.PadCollate(**options)(samples)


@pytest.mark.parametrize("multiple", [0, -1, 1.5])
def test_a_multiple_is_a_whole_number(multiple: Any) -> None:
    with pytest.raises(ConfigError, match="multiple must be a whole number, 1 or more. Found: "):
        lw.PadCollate(multiple=multiple)


def test_photos_of_their_own_sizes_with_any_workers() -> None:
    photos = lw.Part(lw.ImageFolder(lw.demo_photos(), split="val"), [0, 60, 120, 180])
    batches = []
    for workers in (0, 1):
        loader = lw.Loader(photos, 4, collate=lw.PadCollate(multiple=32), workers=workers)
        (batch,) = loader
        loader.close()
        batches.append(batch)
    (padded, labels), (again, _) = batches
    assert labels.tolist() == photos.labels
    assert torch.equal(padded.data, again.data) and torch.equal(padded.sizes, again.sizes)
    tensors = [torch.from_numpy(np.array(photos[index][0])).permute(2, 0, 1) for index in range(4)]
    check(padded, tensors, 2, 0, 32)


def test_a_run_moves_and_normalises_it(tmp_path: Any) -> None:
    photos = lw.Part(lw.ImageFolder(lw.demo_photos(), split="val"), range(4))
    loader = lw.Loader(photos, 4, collate=lw.PadCollate(), workers=0)
    with lw.Run(tmp_path / "run", seed=0) as run:
        model = run.prepare(torch.nn.Conv2d(3, 1, 1))
        run.register(model=model)
        for _ in run.epochs(1):
            for pictures, _ in run.batches(loader):
                assert type(pictures) is lw.Padded and pictures.data.dtype == torch.float32
                assert model(pictures.data).shape[0] == len(pictures.sizes) == 4
