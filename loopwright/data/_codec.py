"""Samples as bytes and back, bit for bit, without pickle: bytes that are read can run nothing. Knows no files.

    size of the tree (8 bytes) | tree | large values, each at a multiple of 64 bytes

The tree is a letter for each value, followed by what belongs to it. Pixels and numbers of arrays stand behind the tree, so
that they can be used where they are.
"""

import dataclasses
import math
import pathlib
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image

from .._errors import DataError

Bytes: TypeAlias = "bytes | bytearray | memoryview"

ALIGNMENT = 64
_LARGEST_SIDE = 2**24  # pixels; Pillow keeps a list of rows, also of empty ones
_ARRAY_KINDS = "biufcSUmM"
TAKEN = (
    "pictures of Pillow, NumPy arrays and numbers, tensors on the CPU, numbers, strings, bytes, paths, None, and tuples, "
    "named tuples, lists, dictionaries and dataclasses of them"
)


def encode(sample: Any) -> list[Bytes]:
    """A sample as pieces of bytes, to be written one behind the other; arrays and tensors are not copied.

    Taken are pictures of Pillow in all modes, arrays (not of objects or records), NumPy's and Python's numbers, tensors on
    the CPU, strings, bytes, paths, None, and tuples, named tuples, lists, dictionaries and dataclasses of them. Of a
    picture, palette and pixels are kept, and of its ``info`` what is made of such values; its file's name and format are
    not. Subclasses are refused, since something of them would be lost: make them plain first.

    Raises:
        DataError: a value is of another type; it is named by its place in the sample.

    >>> decode(b"".join(encode(({"box": np.zeros((2, 4), np.float32)}, 7, "cat"))))[1:]
    (7, 'cat')
    """
    writer = _Writer()
    writer.write(sample, "the sample")
    head = len(writer.tree).to_bytes(8, "little") + bytes(writer.tree)
    return [head, bytes(-len(head) % ALIGNMENT), *writer.blobs]


def decode(data: Bytes, *, copy: bool = True) -> Any:
    """The sample that ``encode`` made the bytes of.

    Args:
        copy: whether arrays and tensors are given memory of their own. Without it arrays lie in ``data``, read-only where
            that is; tensors and pictures are copied all the same.

    Raises:
        DataError: the bytes are not those of a sample, or need a class that was not imported or has changed.
    """
    try:
        reader = _Reader(memoryview(data).cast("B"), copy)
        return reader.read()
    except DataError:
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, RuntimeError, SyntaxError,
            TypeError, ValueError, struct.error) as error:  # fmt: skip
        raise DataError(f"these bytes are not a sample: {type(error).__name__}: {error}") from error


class _Writer:
    def __init__(self) -> None:
        self.tree, self.blobs, self._size = bytearray(), [], 0

    def write(self, value: Any, place: str) -> None:
        write = _WRITERS.get(type(value)) or _writer_of_kind(value)
        if write is None:
            raise DataError(f"{place} is a {_name(type(value))}, which is not kept: taken are {TAKEN}")
        write(self, value, place)

    def tag(self, letter: bytes, layout: str = "", *values: Any) -> None:
        self.tree += letter + struct.pack("<" + layout, *values)

    def text(self, text: str) -> None:
        self.small(text.encode("utf-8", "surrogatepass"))

    def small(self, data: bytes) -> None:
        self.tree += struct.pack("<Q", len(data)) + data

    def large(self, data: Bytes) -> None:
        self.tree += struct.pack("<QQ", self._size, len(data))
        padding = bytes(-len(data) % ALIGNMENT)
        self.blobs += [data, padding]
        self._size += len(data) + len(padding)

    def shape(self, shape: Sequence[int], axes: Sequence[int]) -> None:
        """The shape, and the order in which its axes lie in memory."""
        self.tree += struct.pack(f"<B{len(shape)}q{len(axes)}B", len(shape), *shape, *axes)


class _Reader:
    def __init__(self, data: memoryview, copy: bool) -> None:
        self._data, self._copy, self._place = data, copy, 8
        tree = int.from_bytes(data[:8], "little")
        if tree + 8 > len(data):
            raise ValueError("cut short")
        self._large = -(-(8 + tree) // ALIGNMENT) * ALIGNMENT
        self._behind = 0  # the large values that were read

    def read(self) -> Any:
        (letter,) = self.unpack("c")
        return _READERS[letter](self)

    def unpack(self, layout: str) -> tuple[Any, ...]:
        layout = "<" + layout
        values = struct.unpack_from(layout, self._data, self._place)
        self._place += struct.calcsize(layout)
        return values

    def text(self) -> str:
        return self.small().decode("utf-8", "surrogatepass")

    def small(self) -> bytes:
        (size,) = self.unpack("Q")
        if size > len(self._data) - self._place:
            raise ValueError("cut short")
        self._place += size
        return bytes(self._data[self._place - size : self._place])

    def large(self) -> memoryview:
        offset, size = self.unpack("QQ")
        start = self._large + offset
        if start + size > len(self._data):
            raise ValueError("cut short")
        if offset < self._behind:  # few bytes, read again and again, would fill the memory
            raise ValueError("a value lies in another")
        self._behind = offset + size
        return self._data[start : start + size]

    def shape(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        (rank,) = self.unpack("B")
        return self.unpack(f"{rank}q"), self.unpack(f"{rank}B")

    def array(self, dtype: np.dtype) -> np.ndarray:
        """An array in memory of its own, or where it lies."""
        (shape, axes), data = self.shape(), self.large()
        ordered = [shape[axis] for axis in axes]
        if len(data):
            flat = np.frombuffer(data, dtype)
            array = (flat.copy() if self._copy else flat).reshape(ordered)
        else:
            if dtype.itemsize * math.prod(ordered):
                raise ValueError("cut short")
            array = np.empty(ordered, dtype)
        return array.transpose(np.argsort(axes)) if list(axes) != sorted(axes) else array

    def count(self) -> range:
        (number,) = self.unpack("Q")
        if number > len(self._data):
            raise ValueError("cut short")
        return range(number)


def _writer_of_kind(value: Any) -> Callable[..., None] | None:
    if isinstance(value, Image.Image):
        return _write_picture
    if isinstance(value, np.generic):
        return _write_number
    if isinstance(value, pathlib.PurePath):
        return _write_path
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _write_named_tuple
    return _write_dataclass if dataclasses.is_dataclass(value) and not isinstance(value, type) else None


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


# Numbers and texts


def _write_int(out: _Writer, value: int, place: str) -> None:
    out.tag(b"i")
    out.small(value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))


def _write_bytes(out: _Writer, value: bytes, place: str) -> None:
    out.tag(b"b")
    out.large(value)


def _write_text(out: _Writer, value: str, place: str) -> None:
    out.tag(b"s")
    out.text(value)


def _write_path(out: _Writer, value: pathlib.PurePath, place: str) -> None:
    if not isinstance(value, pathlib.Path):
        raise DataError(f"{place} is a {_name(type(value))}, which is not kept: make it a pathlib.Path")
    out.tag(b"/")
    out.text(str(value))


def _write_number(out: _Writer, value: np.generic, place: str) -> None:
    if isinstance(value, np.str_):
        out.tag(b"S")
        out.text("".join(value))  # str() would drop zeros at its end
    elif isinstance(value, np.bytes_):
        out.tag(b"B")
        out.small(bytes(value))
    else:
        _check_kind(value.dtype, place)
        out.tag(b"g")
        out.text(value.dtype.str)
        out.small(value.tobytes())


def _read_number(data: _Reader) -> np.generic:
    dtype = _dtype(data.text())
    return np.frombuffer(data.small(), dtype, 1)[0]


# Containers


def _write_tuple(out: _Writer, value: tuple | list, place: str) -> None:
    out.tag(b"(" if type(value) is tuple else b"[", "Q", len(value))
    for number, item in enumerate(value):
        out.write(item, f"{place}[{number}]")


def _write_dictionary(out: _Writer, value: dict, place: str) -> None:
    out.tag(b"{", "Q", len(value))
    for key, item in value.items():
        out.write(key, f"a key of {place}")
        out.write(item, f"{place}[{key!r}]")


def _write_named_tuple(out: _Writer, value: Any, place: str) -> None:
    _write_class(out, b"n", type(value), list(value._fields), place)
    for name, item in zip(value._fields, value, strict=True):
        out.write(item, f"{place}.{name}")


def _write_dataclass(out: _Writer, value: Any, place: str) -> None:
    names = [field.name for field in dataclasses.fields(value)]
    more = sorted(set(getattr(value, "__dict__", ())) - set(names))
    if more:
        raise DataError(f"{place} is a dataclass with more than its fields: {', '.join(more)} would be lost")
    _write_class(out, b"d", type(value), names, place)
    for name in names:
        out.write(getattr(value, name), f"{place}.{name}")


def _write_class(out: _Writer, letter: bytes, kind: type, names: list[str], place: str) -> None:
    if _find_class(kind.__module__, kind.__qualname__) is not kind:
        raise DataError(
            f"{place} is a {_name(kind)}, which cannot be found by its name: define it at a module's top level"
        )
    out.tag(letter)
    for text in (kind.__module__, kind.__qualname__, "\n".join(names)):
        out.text(text)


def _read_class(data: _Reader) -> tuple[type, list[str]]:
    module, name, names = data.text(), data.text(), data.text().split("\n")
    kind = _find_class(module, name)
    if kind is None:
        raise DataError(f"a sample holds a {module}.{name}, which was not imported or is no class of samples any more")
    now = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else list(kind._fields)  # type: ignore[attr-defined]
    if names != now and (names, now) != ([""], []):
        raise DataError(f"{module}.{name} had the fields {', '.join(names)}, and now has {', '.join(now)}")
    return kind, now


def _find_class(module: str, name: str) -> type | None:
    """A named tuple's or dataclass's class, among what was imported already: reading bytes imports nothing."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
    if hasattr(found, "__del__"):  # it does something when it is freed, with what the bytes say
        return None
    is_tuple = isinstance(found, type) and issubclass(found, tuple) and hasattr(found, "_fields")
    return found if is_tuple or (isinstance(found, type) and dataclasses.is_dataclass(found)) else None


def _read_named_tuple(data: _Reader) -> Any:
    kind, names = _read_class(data)
    return tuple.__new__(kind, [data.read() for _ in names])  # type: ignore[type-var]


def _read_dataclass(data: _Reader) -> Any:
    kind, names = _read_class(data)
    made = object.__new__(kind)
    for name in names:
        object.__setattr__(made, name, data.read())  # frozen ones, too; __post_init__ was run once
    return made


# Arrays, tensors, pictures


def _write_array(out: _Writer, value: np.ndarray, place: str) -> None:
    _check_kind(value.dtype, place)
    axes = sorted(range(value.ndim), key=lambda axis: (-value.strides[axis], axis))
    flat = np.ascontiguousarray(value.transpose(axes)).reshape(-1)
    out.tag(b"a")
    out.text(value.dtype.str)
    out.shape(value.shape, axes)
    out.large(flat.view(np.uint8).data if flat.nbytes else b"")


def _check_kind(dtype: np.dtype, place: str) -> None:
    if dtype.kind not in _ARRAY_KINDS:
        raise DataError(f"{place} holds NumPy's {dtype}, which is not kept: make it numbers, or a list")


def _dtype(name: str) -> np.dtype:
    dtype = np.dtype(name)
    if dtype.kind not in _ARRAY_KINDS:
        raise ValueError(f"no type of numbers: {name}")
    return dtype


def _write_tensor(out: _Writer, value: torch.Tensor, place: str) -> None:
    if value.device.type != "cpu" or value.layout != torch.strided or value.requires_grad or value.is_quantized:
        kind = f"{value.layout} tensor on {value.device}" + (" that requires grad" if value.requires_grad else "")
        raise DataError(f"{place} is a {kind}, which is not kept: make it a plain one, .detach().cpu()")
    axes = sorted(range(value.ndim), key=lambda axis: (-value.stride(axis), axis))
    plain = value.resolve_conj().resolve_neg().permute(axes).contiguous().reshape(-1)
    out.tag(b"t")
    out.text(str(value.dtype).removeprefix("torch."))
    out.shape(value.shape, axes)
    out.large(plain.view(torch.uint8).numpy().data if plain.numel() else b"")


def _read_tensor(data: _Reader) -> torch.Tensor:
    name = data.text()
    dtype = vars(torch).get(name)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"torch has no {name}")
    (shape, axes), content = data.shape(), data.large()
    ordered = [shape[axis] for axis in axes]
    if len(content):
        tensor = torch.from_numpy(np.frombuffer(content, np.uint8).copy()).view(dtype).reshape(ordered)
    else:
        tensor = torch.empty(ordered, dtype=dtype, device="meta")
        if tensor.numel():
            raise ValueError("cut short")
        tensor = torch.empty(ordered, dtype=dtype)
    return tensor.permute([axes.index(axis) for axis in range(len(axes))])


def _write_picture(out: _Writer, value: Image.Image, place: str) -> None:
    value.load()
    palette = value.palette.mode if value.palette is not None else ""
    out.tag(b"p", "II", *value.size)
    out.text(value.mode)
    out.text(palette)
    out.small(bytes(value.getpalette(None) or ()) if palette else b"")
    out.write({key: item for key, item in value.info.items() if _is_kept(key) and _is_kept(item)}, f"{place}.info")
    out.large(value.tobytes() if value.width and value.height else b"")


def _is_kept(value: Any) -> bool:
    try:
        encode(value)
    except DataError:
        return False
    return True


def _read_picture(data: _Reader) -> Image.Image:
    width, height = data.unpack("II")
    mode, palette, colours, info, pixels = data.text(), data.text(), data.small(), data.read(), data.large()
    if width * height > 8 * len(pixels) or max(width, height) > _LARGEST_SIDE:
        raise ValueError("cut short")
    made = Image.frombytes(mode, (width, height), pixels) if len(pixels) else Image.new(mode, (width, height))
    if palette:
        made.putpalette(colours, palette)
    made.info = info
    return made


_WRITERS: dict[type, Callable[[_Writer, Any, str], None]] = {
    type(None): lambda out, value, place: out.tag(b"N"),
    bool: lambda out, value, place: out.tag(b"T" if value else b"F"),
    int: _write_int,
    float: lambda out, value, place: out.tag(b"f", "d", value),
    complex: lambda out, value, place: out.tag(b"c", "dd", value.real, value.imag),
    str: _write_text,
    bytes: _write_bytes,
    tuple: _write_tuple,
    list: _write_tuple,
    dict: _write_dictionary,
    np.ndarray: _write_array,
    np.memmap: _write_array,  # comes back as an array
    torch.Tensor: _write_tensor,
}
_READERS: dict[bytes, Callable[[_Reader], Any]] = {
    b"N": lambda data: None,
    b"T": lambda data: True,
    b"F": lambda data: False,
    b"i": lambda data: int.from_bytes(data.small(), "little", signed=True),
    b"f": lambda data: data.unpack("d")[0],
    b"c": lambda data: complex(*data.unpack("dd")),
    b"s": _Reader.text,
    b"b": lambda data: bytes(data.large()),
    b"/": lambda data: pathlib.Path(data.text()),
    b"S": lambda data: np.str_(data.text()),
    b"B": lambda data: np.bytes_(data.small()),
    b"g": _read_number,
    b"(": lambda data: tuple([data.read() for _ in data.count()]),
    b"[": lambda data: [data.read() for _ in data.count()],
    b"{": lambda data: {data.read(): data.read() for _ in data.count()},
    b"n": _read_named_tuple,
    b"d": _read_dataclass,
    b"a": lambda data: data.array(_dtype(data.text())),
    b"t": _read_tensor,
    b"p": _read_picture,
}
