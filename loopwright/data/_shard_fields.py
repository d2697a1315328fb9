"""``Fields``: which files of a sample in a shard make it, and what each becomes. Knows nothing about archives."""

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from .._errors import ConfigError, DataError
from ._npy import array_of
from ._picture import EXTENSIONS, open_picture
from ._undecoded import PictureFile

PICTURES = frozenset(extension.removeprefix(".") for extension in EXTENSIONS)
WHOLE_NUMBERS = frozenset({"cls", "cls2", "class", "count", "index", "inx", "id"})
TEXTS, OBJECTS, ARRAYS = frozenset({"txt", "text", "transcript"}), frozenset({"json", "jsn"}), frozenset({"npy"})
USUAL = (";".join(["jpg", "jpeg", "png", "webp", *sorted(PICTURES - {"jpg", "jpeg", "png", "webp"})]), "cls")


class ShardFile(NamedTuple):
    """A file of a sample."""

    name: str  # SHARD/KEY.EXTENSION, for messages
    extension: str
    data: bytes


class Fields:
    """What makes a sample: an extension each, or several with ";" between them, of which the first that is there counts.

    >>> fields = Fields(("jpg;png", "cls"))
    >>> fields.chosen(["cls", "json", "png"])
    ['png', 'cls']
    >>> fields.decoded([ShardFile("a.tar/1.txt", "txt", b"hi"), ShardFile("a.tar/1.cls", "cls", b"7")])
    ('hi', 7)
    """

    def __init__(self, names: str | Sequence[str]) -> None:
        self.names = (names,) if isinstance(names, str) else tuple(names)
        self.alternatives = [tuple(part.strip().lower() for part in name.split(";")) for name in self.names]
        if not self.names or not all(all(parts) for parts in self.alternatives):
            raise ConfigError(f"fields= are extensions without dot, such as ('jpg;png', 'cls'). Found: {names!r}")
        if dotted := next((part for parts in self.alternatives for part in parts if part.startswith(".")), None):
            raise ConfigError(f"fields= are extensions without dot: {dotted[1:]!r}. Found: {dotted!r}")
        self.all = frozenset(part for parts in self.alternatives for part in parts)
        #: Whether the first is always a picture, so that a loader may decode a part of it only.
        self.begin_with_picture = all(kind_of(part) in PICTURES for part in self.alternatives[0])

    def chosen(self, there: Collection[str]) -> list[str] | None:
        """The extension that each field has in a sample; None where one has none."""
        found = [next((part for part in parts if part in there), None) for parts in self.alternatives]
        return None if None in found else found  # type: ignore[return-value]

    def numbered(self, chosen: Sequence[str]) -> list[int]:
        """Which of its alternatives each field's extension is."""
        return [parts.index(part) for parts, part in zip(self.alternatives, chosen, strict=True)]

    def lacking(self, there: Collection[str]) -> str:
        """What to say of a sample that does not have them all."""
        missing = [_shown(parts) for parts in self.alternatives if not any(part in there for part in parts)]
        return f"has no {', '.join(missing)}; it has {', '.join(map(repr, sorted(there)))}"

    def __str__(self) -> str:
        return f"({', '.join(map(_shown, self.alternatives))})"

    def decoded(self, files: Sequence[ShardFile]) -> tuple[Any, ...]:
        """A sample: its fields decoded. Always a tuple."""
        return tuple(decode(file) for file in files)

    def undecoded(self, files: Sequence[ShardFile]) -> tuple[Any, ...]:
        """The same, with the first as a picture's file."""
        return PictureFile(files[0].name, files[0].data), *(decode(file) for file in files[1:])


def kind_of(extension: str) -> str:
    """What decides how a file is read: the last part of its extension, such as "png" of "seg.png"."""
    return extension.rpartition(".")[2]


def decode(file: ShardFile) -> Any:
    """A picture, a whole number (.cls), a text, a JSON value, an array (.npy); of all else the bytes.

    Raises:
        DataError: it cannot be read as what its name says.
    """
    kind = kind_of(file.extension)
    if kind in PICTURES:
        return open_picture(file.name, file.data)
    reader, what = _READERS.get(kind, (None, ""))
    if reader is None:
        return file.data
    try:
        return reader(file.data)
    except (ValueError, EOFError, RecursionError) as error:  # of json, Unicode and NumPy, too
        raise DataError(f"{file.name}: not {what} ({error}); repair or remove it, or use on_error='skip'") from None


def _shown(parts: tuple[str, ...]) -> str:
    return repr(";".join(parts if len(parts) < 6 else (*parts[:3], "...")))


def _whole_number(data: bytes) -> int:
    number = int(data.decode("ascii"))
    if not -(2**63) <= number < 2**63:
        raise ValueError("it does not fit into 64 bits")
    return number


_READERS: dict[str, tuple[Callable[[bytes], Any], str]] = {
    **dict.fromkeys(WHOLE_NUMBERS, (_whole_number, "a whole number")),
    **dict.fromkeys(TEXTS, (lambda data: data.decode("utf-8"), "UTF-8 text")),
    **dict.fromkeys(OBJECTS, (json.loads, "JSON")),
    **dict.fromkeys(ARRAYS, (array_of, "an array that NumPy reads without running code")),
}
READ_KINDS = PICTURES | _READERS.keys()
