"""Laws of samples as bytes: they come back bit for bit, of the same types; other bytes never do harm."""

import math
import pathlib
import struct
import types
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import loopwright as lw
from loopwright._errors import DataError
from loopwright.data._codec import ALIGNMENT, decode, encode


class Pair(NamedTuple):
    image: Any
    label: Any


@dataclass
class Sample:
    image: Any
    boxes: Any = None
    notes: list = field(default_factory=list)


@dataclass(frozen=True)
class Frozen:
    value: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", (self.value, "made"))  # a second time it would show


@dataclass
class Empty:
    """No fields at all."""


class OtherPair(NamedTuple):
    image: Any
    target: Any


class Nothing(NamedTuple):
    """None either."""


def stored(sample: Any) -> bytes:
    return b"".join(encode(sample))


def same(one: Any, other: Any) -> bool:
    """The same types and the same bits."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape) == (other.dtype, other.shape) and one.tobytes() == other.tobytes()
    if isinstance(one, np.str_ | np.bytes_):
        return list(one) == list(other)
    if isinstance(one, np.generic):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, torch.Tensor):
        bits = [t.reshape(-1).view(torch.uint8) if t.numel() else t.to(torch.uint8) for t in (one, other)]
        return (one.dtype, one.shape) == (other.dtype, other.shape) and torch.equal(*bits)
    if isinstance(one, Image.Image):
        facts = [(p.mode, p.size, p.tobytes(), p.getpalette(None), p.palette and p.palette.mode) for p in (one, other)]
        return facts[0] == facts[1] and same(one.info, other.info)
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "__dataclass_fields__"):
        return same(vars(one), vars(other))
    return one == other


PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers(allow_nan=False) | st.binary(max_size=70)
    | st.text(st.characters(exclude_categories=())) | st.just(pathlib.Path("a b/ü.png"))
)  # fmt: skip
NUMBERS = hnp.boolean_dtypes() | hnp.integer_dtypes(endianness="?") | hnp.floating_dtypes(endianness="?")
DTYPES = NUMBERS | hnp.complex_number_dtypes() | hnp.unicode_string_dtypes() | hnp.datetime64_dtypes()
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, min_side=0, max_dims=4, max_side=4))
TENSORS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, min_side=1)).map(torch.from_numpy)
MODES = [
    "1",
    "L",
    "LA",
    "P",
    "RGB",
    "RGBA",
    "RGBX",
    "RGBa",
    "La",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "I;16",
    "I;16B",
]
PICTURES = st.builds(Image.new, st.sampled_from(MODES), st.tuples(st.integers(0, 9), st.integers(0, 9)))
LEAVES = PLAIN | ARRAYS | TENSORS | PICTURES
SAMPLES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.tuples(st.integers()), inner, max_size=3)
        | st.builds(Pair, inner, inner) | st.builds(Sample, inner, inner) | st.builds(Frozen, inner)
    ),
    max_leaves=6,
)  # fmt: skip


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(SAMPLES)
@example(Empty())
@example(Nothing())
@example([0.0, -0.0, math.inf, -math.inf, 2**20000, -1, -128, 255, True])
@example(np.float64(0.1))
@example([np.str_("x\0"), np.bytes_(b"x\0"), np.datetime64("2020-01-01"), np.longdouble(1) / 3, np.bool_(True)])
@example("\ud800")
@example(np.zeros((3, 0, 2), "U0"))
def test_every_sample_comes_back_as_it_was(sample: Any) -> None:
    data = stored(sample)
    assert same(decode(data), sample)
    assert same(decode(data, copy=False), sample)
    assert stored(decode(data)) == data


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_pillow_keeps_its_pixels(mode: str) -> None:
    deep = {"I": np.int32, "F": np.float32, "I;16": np.uint16, "I;16B": ">u2"}
    if mode in deep:
        picture = Image.frombytes(mode, (40, 30), np.arange(1200).astype(deep[mode]).tobytes())
    else:
        photo = Image.open(min(lw.demo_photos().rglob("*.jpg"))).resize((40, 30))
        photo = photo.convert("L" if mode in ("La", "LA") else "RGBA" if mode == "RGBa" else photo.mode)
        photo = photo.convert("LA") if mode == "La" else photo
        picture = Image.frombytes(mode, (40, 30), photo.tobytes()) if mode == "LAB" else photo.convert(mode)
    assert len(set(picture.tobytes())) > 1
    assert same(decode(stored(picture)), picture)


@pytest.mark.parametrize("palette", ["RGB", "RGBA"])
@pytest.mark.parametrize("mode", ["P", "PA"])
def test_palettes_and_transparency_are_kept(mode: str, palette: str) -> None:
    picture = Image.open(min(lw.demo_photos().rglob("*.jpg"))).resize((40, 30)).quantize(20)
    picture.putpalette(bytes(range(20 * len(palette))), palette)
    if mode == "PA":
        picture = picture.convert("PA")
    picture.info["transparency"] = 3
    back = decode(stored(picture))
    assert same(back, picture)
    assert back.convert("RGBA").tobytes() == picture.convert("RGBA").tobytes()


def test_of_info_what_is_plain_is_kept() -> None:
    picture = Image.new("L", (2, 2))
    picture.info = {"dpi": (72, 72.0), "exif": b"Exif\0", "a thing": object(), 3: "three"}
    assert decode(stored(picture)).info == {"dpi": (72, 72.0), "exif": b"Exif\0", 3: "three"}


TENSOR_TYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16,
    torch.float32, torch.float64, torch.complex64, torch.float8_e4m3fn, torch.uint16,
]  # fmt: skip


@pytest.mark.parametrize("dtype", TENSOR_TYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 0, 3), (2, 3, 4, 5)])
def test_every_type_of_tensor_keeps_its_bits(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    size = torch.empty((), dtype=dtype).element_size()
    values = torch.randint(0, 2, (max(1, math.prod(shape)) * size,), generator=torch.Generator().manual_seed(1))
    tensor = values.to(torch.uint8).view(dtype)[: math.prod(shape)].reshape(shape)
    back = decode(stored(tensor))
    assert (back.dtype, back.shape, back.stride()) == (dtype, tensor.shape, tensor.stride())
    assert back.reshape(-1).view(torch.uint8).equal(tensor.reshape(-1).view(torch.uint8)) if tensor.numel() else True


@settings(deadline=None)
@given(st.permutations(range(4)), st.sampled_from(["tensor", "array"]))
def test_the_order_of_axes_in_memory_is_kept(axes: list[int], kind: str) -> None:
    """A batch of channels-last pictures is another tensor to a convolution than one of channels-first ones."""
    array = np.arange(120.0).reshape(2, 3, 4, 5).transpose(axes)
    if kind == "array":
        back = decode(stored(array))
        assert np.array_equal(back, array) and back.strides == array.strides
    else:
        tensor = torch.arange(120.0).reshape(2, 3, 4, 5).permute(axes)
        back = decode(stored(tensor))
        assert torch.equal(back, tensor) and back.stride() == tensor.stride()


def test_parts_of_arrays_and_tensors_are_kept_alone() -> None:
    array = np.arange(10_000).reshape(100, 100)
    assert np.array_equal(decode(stored(array[::-7, 3:90:5])), array[::-7, 3:90:5])
    assert len(stored(array[:2, :2])) < 1000
    tensor = torch.arange(10_000).reshape(100, 100)[::7, 3:90:5]
    assert torch.equal(decode(stored(tensor)), tensor)
    assert torch.equal(decode(stored(torch.ones(1).expand(3, 4))), torch.ones(3, 4))
    assert decode(stored(torch.tensor([1j]).conj())).tolist() == [-1j]


def test_arrays_are_used_where_they_lie_unless_a_copy_is_asked_for() -> None:
    data = bytearray(stored({"a": np.arange(5, dtype=np.int64), "b": np.ones(3)}))
    where, copied = decode(data, copy=False), decode(data)
    assert np.shares_memory(where["a"], np.frombuffer(data, np.uint8))
    assert where["a"].ctypes.data % 8 == 0
    assert not np.shares_memory(copied["a"], np.frombuffer(data, np.uint8))
    copied["a"][:] = 9
    assert decode(data)["a"].tolist() == [0, 1, 2, 3, 4]
    assert not decode(bytes(data), copy=False)["a"].flags.writeable
    assert decode(bytes(data))["a"].flags.writeable


def test_large_values_are_not_copied_on_the_way_in() -> None:
    array = np.zeros((100, 100), np.uint8)
    parts = encode((array, b"small"))
    assert any(isinstance(part, memoryview) and np.shares_memory(np.asarray(part), array) for part in parts)
    assert all(len(b"".join(parts[:n])) % ALIGNMENT == 0 for n in range(2, len(parts), 2))


class Odd:
    pass


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ((1, {"boxes": [Odd()]}), r"the sample\[1\]\['boxes'\]\[0\] is a test_codec\.Odd, which is not kept"),
        (np.array([None]), "the sample holds NumPy's object, which is not kept"),
        (np.zeros(2, [("x", "f4")]), "holds NumPy's .*which is not kept"),
        (np.ma.zeros(3), "numpy.*MaskedArray.* is not kept"),
        ({1, 2}, "the sample is a set"),
        (torch.nn.Parameter(torch.zeros(1)), "Parameter, which is not kept"),
        (torch.zeros(1, requires_grad=True), "that requires grad"),
        (torch.zeros(2, 2).to_sparse(), "sparse_coo tensor"),
        (Sample(torch.zeros(1, device="meta")), r"the sample\.image is a .* on meta"),
        (pathlib.PureWindowsPath("a"), "make it a pathlib.Path"),
    ],
)
def test_what_cannot_be_kept_is_named_with_its_place(sample: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        encode(sample)


def test_a_class_that_cannot_be_found_again_is_refused() -> None:
    class Local(NamedTuple):
        x: int

    with pytest.raises(DataError, match="cannot be found by its name"):
        encode(Local(1))
    more = Sample(1)
    more.secret = 5  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="more than its fields: secret would be lost"):
        encode(more)


def test_reading_runs_and_imports_nothing() -> None:
    data = stored(Pair(1, 2))
    for module, name in (
        ("subprocess", "Popen"),
        ("this", "Zen"),
        ("os", "system"),
        ("test_codec", "Odd"),
        ("sys", "x"),
    ):
        foreign = data.replace(struct.pack("<Q", 10) + b"test_codec", struct.pack("<Q", len(module)) + module.encode())
        foreign = foreign.replace(struct.pack("<Q", 4) + b"Pair", struct.pack("<Q", len(name)) + name.encode())
        tree = foreign[8:].rstrip(b"\0")
        with pytest.raises(DataError, match=f"a sample holds a {module}.{name}, which was not imported or is no class"):
            decode(len(tree).to_bytes(8, "little") + tree)
    import sys

    assert "this" not in sys.modules


def test_a_class_whose_fields_have_changed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = stored(Pair(1, 2))
    monkeypatch.setattr(__import__(__name__), "Pair", OtherPair)
    with pytest.raises(DataError, match="had the fields image, label, and now has image, target"):
        decode(data)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damaged_bytes_are_refused_or_read_and_nothing_else(data: st.DataObject) -> None:
    sample = (
        Image.new("P", (5, 4)),
        {"a": np.arange(6).reshape(2, 3), 2: torch.ones(2)},
        Pair("x", 1.5),
        [b"abc", None],
    )
    content = bytearray(stored(sample))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    try:
        decode(bytes(content))
    except DataError as error:
        assert "sample" in str(error) or "fields" in str(error)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=100))
def test_any_bytes_are_refused_or_read(content: bytes) -> None:
    for data in (content, len(content).to_bytes(8, "little") + content):
        try:
            decode(data)
        except DataError as error:
            assert "sample" in str(error)


def test_types_module_is_not_a_sample_class() -> None:
    assert isinstance(types.SimpleNamespace(), object)
    with pytest.raises(DataError, match=r"types\.SimpleNamespace, which is not kept"):
        encode(types.SimpleNamespace())
