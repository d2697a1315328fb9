"""Laws of ``collate``: stacked alike, of the same kinds as the samples, and a clear word where sizes differ."""

import dataclasses
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import default_collate
from torchvision import tv_tensors
from torchvision.transforms import v2

from loopwright import demo_photos, open_picture
from loopwright._errors import DataError
from loopwright.data._collate import collate

RNG = np.random.default_rng(0)
Pair = namedtuple("Pair", "image label")


@dataclasses.dataclass
class Sample:
    image: Any
    label: int
    name: str = "x"


def picture(mode: str = "RGB", size: tuple[int, int] = (5, 4)) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0], channels) if channels > 1 else (size[1], size[0])
    return Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8)).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "CMYK"])
def test_pictures_become_uint8_in_channels_last_memory(mode: str) -> None:
    pictures = [picture(mode) for _ in range(3)]
    batch = collate(pictures)
    channels = len(mode.replace("CMYK", "1234"))
    assert (batch.shape, batch.dtype) == ((3, channels, 4, 5), torch.uint8)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    for row, original in zip(batch, pictures, strict=True):
        assert np.array_equal(row.permute(1, 2, 0).squeeze(-1), np.asarray(original))


def test_photos_are_stacked_as_torchvision_would() -> None:
    paths = sorted((demo_photos() / "val").rglob("*.jpg"))[:4]
    photos = [v2.CenterCrop(64)(open_picture(path)) for path in paths]
    assert torch.equal(collate(photos), torch.stack([v2.functional.pil_to_tensor(photo) for photo in photos]))


def test_16_bit_pictures_keep_their_levels() -> None:
    levels = RNG.integers(0, 65_536, (4, 5), dtype=np.uint16)
    assert np.array_equal(collate([Image.fromarray(levels)] * 2)[1, 0].numpy(), levels)


def test_the_batch_does_not_share_memory_with_its_samples() -> None:
    array = np.zeros((2, 2), dtype=np.float32)
    tensor = torch.zeros(2, 2)
    batches = collate([(array, tensor, Image.fromarray(array))] * 2)
    for batch in batches:
        batch += 1
    assert array.sum() == tensor.sum() == 0


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(-(2**40), 2**40), min_size=1)
    | st.lists(st.floats(-1e6, 1e6), min_size=1)
    | st.lists(st.booleans(), min_size=1)
    | st.lists(st.text(), min_size=1)
    | st.lists(st.binary(), min_size=1)
)
def test_values_are_collated_as_torch_does(samples: list[Any]) -> None:
    ours, theirs = collate(samples), default_collate(list(samples))
    assert type(ours) is type(theirs)
    assert torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int32, torch.bool, torch.uint8, torch.complex64])
def test_tensors_and_arrays_keep_their_dtype(dtype: torch.dtype) -> None:
    tensor = torch.ones(3, 2, dtype=dtype)
    assert torch.equal(collate([tensor, tensor]), torch.stack([tensor, tensor]))
    assert torch.equal(collate([tensor.numpy(), tensor.numpy()]), torch.stack([tensor, tensor]))


def test_torchvisions_images_become_one_tensor() -> None:
    image = tv_tensors.Image(torch.zeros(3, 4, 5, dtype=torch.uint8))
    assert collate([image, image]).shape == (2, 3, 4, 5)


def test_containers_keep_their_types() -> None:
    samples = [Pair(picture(), number) for number in range(2)]
    batch = collate(samples)
    assert type(batch) is Pair
    assert batch.label.tolist() == [0, 1]
    assert type(collate([(1, 2), (3, 4)])) is tuple
    assert type(collate([[1, 2], [3, 4]])) is list
    assert [column.tolist() for column in collate([(1, 2), (3, 4)])] == [[1, 3], [2, 4]]
    made = collate([Sample(picture(), 1, "a"), Sample(picture(), 2, "b")])
    assert (type(made), made.image.shape, made.label.tolist(), made.name) == (Sample, (2, 3, 4, 5), [1, 2], ["a", "b"])


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_dictionaries_are_collated_key_by_key(kind: Any) -> None:
    batch = collate([kind(b=picture(), a={"n": 1}), kind(b=picture(), a={"n": 2})])
    assert list(batch) == ["b", "a"]
    assert batch["a"]["n"].tolist() == [1, 2]


def test_empty_containers_are_collated() -> None:
    assert collate([(), ()]) == ()
    assert collate([{}, {}]) == {}


@pytest.mark.parametrize(
    "samples",
    [
        [picture(size=(5, 4)), picture(size=(4, 5))],
        [picture("RGB"), picture("L")],
        [torch.zeros(3), torch.zeros(2)],
        [torch.zeros(3), torch.zeros(3, 1)],
        [np.zeros((2, 3)), np.zeros((3, 2))],
        [(picture(size=(5, 4)), 0), (picture(size=(4, 5)), 1)],
        [{"image": np.zeros(2)}, {"image": np.zeros(3)}],
        [Sample(torch.zeros(2), 0), Sample(torch.zeros(3), 0)],
    ],
)
def test_sizes_that_differ_are_refused_with_what_to_do(samples: list[Any]) -> None:
    with pytest.raises(DataError, match=r"differ in shape: \(.*\), \(.*\)\. Add a transform that gives one size"):
        collate(samples)


def test_the_sizes_that_differ_are_named() -> None:
    with pytest.raises(DataError, match=r"\(4, 5, 3\), \(5, 4, 3\)\."):
        collate([picture(size=(5, 4)), picture(size=(4, 5)), picture(size=(5, 4))])


@pytest.mark.parametrize("samples", [[[1, 2], [3]], [(1,), ()], [{"boxes": [1.0]}, {"boxes": [1.0, 2.0]}]])
def test_lists_of_different_lengths_are_refused_with_what_to_do(samples: list[Any]) -> None:
    with pytest.raises(DataError, match=r"different lengths: \d, \d\. Give a collate of your own"):
        collate(samples)


def test_what_cannot_be_collated_says_so() -> None:
    with pytest.raises(TypeError, match="Path"):
        collate([Path("a"), Path("b")])
