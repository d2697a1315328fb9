"""``Cached``: a dataset whose samples are read once and kept, in memory that processes share or on disk."""

import operator
import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from PIL import Image

from .._errors import ConfigError, DataError
from .._seed import preserved_rng, seed_globals
from ._arena import Arena, Parts
from ._codec import decode, encode
from ._fingerprint import fingerprint, source_files
from ._part import one
from ._picture import open_picture, read_file
from ._shelf import Shelf, Stamp
from ._size import parse_size, shown_size
from ._transforms import Joint
from ._undecoded import PictureFile
from ._view import REDUCTIONS, View, at_reduction, show

What = Literal["samples", "pixels", "files"]
LIMIT = "4 GiB"
_SIZES = (1, *REDUCTIONS[::-1])  # at 1 / these of its size a picture may be kept
_FACTS = struct.Struct("<6I")  # width, height, exact reductions, reduction, rows, columns
_PIXELS_AT = 64
_OF_READING = ("pixels", "sides")  # what packed pictures offer in addition; what is kept has to be asked for here


class _Store(Protocol):
    """Where items lie."""

    def get(self, key: int, most: int | None = None) -> memoryview | None: ...
    def mark(self, key: int) -> Any: ...
    def put(self, key: int, parts: Parts, mark: Any) -> bool: ...
    def used(self) -> int: ...
    def held(self) -> np.ndarray: ...
    def refused(self) -> int: ...


class _Keeper(Protocol):
    """What of the samples is kept, and how a sample is made of it."""

    parts: int  # items a sample

    def sample(self, index: int) -> Any: ...
    def kept(self, index: int) -> bytes | None: ...
    def fresh(self, index: int) -> bytes: ...


@dataclass(frozen=True)
class CacheReport:
    """How much of a dataset is kept. A sample counts as kept if any part of it is."""

    where: str
    samples: int
    of: int
    bytes: int
    limit: int
    refused: int  # items that did not fit: they are read from the source each time

    def __str__(self) -> str:
        held = (
            f"{self.samples} of {self.of} samples in {self.where}, {shown_size(self.bytes)} of {shown_size(self.limit)}"
        )
        return held + (f"; {self.refused} items did not fit and are read each time" if self.refused else "")


class Cached:
    """Any map-style dataset, each sample read once: whoever reads it first puts it there, all others find it.

    The batches are the same bits as without it (one exception: ``what="samples"``), whatever the engine, the number of
    workers, how much fits, and after resuming. Everything that is not about samples (``classes``, ``labels``,
    ``counts()``) is asked of the dataset.

    A sample must always be the same. A dataset that is random itself would be frozen as it was first read: put what is
    random into a transform instead, which a ``Loader`` applies to what comes out of here. The check reads three samples
    twice, with the global generators seeded otherwise, and refuses a dataset that gives two different ones; it cannot
    see one that is rarely random, or random by a generator of its own that starts anew.

    Args:
        dataset: has ``len`` and ``dataset[index]``. What its samples may be made of is said by ``encode`` in
            ``data/_codec.py``: pictures, arrays, tensors, numbers, strings, bytes, paths, None; nested in tuples, named
            tuples, lists, dictionaries and dataclasses. Arrays and tensors come back as the caller's own.
        where: ``"memory"``: memory without a name, shared by all processes that are forked or spawned after this. It is
            gone with the last of them, also after SIGKILL. ``"disk"``: a folder of the dataset's own under
            ``~/.cache/loopwright`` (``XDG_CACHE_HOME``), or a folder that is named: survives, and serves several runs at
            once. A folder only holds copies, and may be removed when nobody uses it.
        limit: most bytes that are taken: a number, or ``"500 MB"``, ``"4 GiB"``. Of what does not fit, nothing is lost:
            it is read from the dataset each time. ``report()`` says how much that is.
        what: ``"pixels"``: decoded pictures, where the dataset has files (``undecoded``), which is then the default
            because decoding is most of the work. Large pictures are decoded at 1/2, 1/4 or 1/8 of their size where a view
            allows it, which differs in bits from a full decode that is made smaller; so they are kept at each of the
            sizes that are asked for (at most 1.33 times its pixels) and the bits stay those of the file.
            ``"files"``: the files' bytes, still to be decoded: 6 to 11 times as many fit; for slow network drives.
            ``"samples"``: what ``dataset[index]`` gives; the default for all other datasets. Of a dataset that has
            ``undecoded`` these are full decodes, so there, and only there, a transform that would have had the file
            decoded at a reduced size gives other last bits than without the cache.
        check: read three samples twice, and on disk compare them with what is kept.
        fingerprint: for ``"disk"`` or a folder: a text that says all that decides the samples, for a dataset that has
            neither files (``paths``, or torchvision's ``samples``) nor a ``repr`` that does. Where there are files, a
            changed one (size or time) is noticed when a run first reads it, and read anew; so is damage on disk, with
            one warning.

    Raises:
        ConfigError: an argument is wrong, or nothing tells the dataset from another.
        DataError: the dataset is random, a sample holds what cannot be kept, or the folder holds something else.

    >>> numbers = Cached([np.arange(3), np.arange(4)])
    >>> numbers[1], numbers[1].flags.writeable
    (array([0, 1, 2, 3]), True)
    >>> print(numbers.report())  # doctest: +ELLIPSIS
    1 of 2 samples in memory, ... KiB of 4.0 GiB
    """

    def __init__(
        self,
        dataset: Any,
        where: str | os.PathLike[str] = "memory",
        *,
        limit: int | str = LIMIT,
        what: What | None = None,
        check: bool = True,
        fingerprint: str | None = None,
    ) -> None:
        if not isinstance(where, str | os.PathLike):
            raise ConfigError(f"where must be 'memory', 'disk' or a folder. Found: {where!r}")
        self.dataset, self.limit = dataset, parse_size(limit, "limit")
        self.where = where if where in ("memory", "disk") else Path(where)
        self.what = _choose(dataset, what)
        kind = {"samples": _Whole, "pixels": _Pixels, "files": _Files}[self.what]
        self._keeper: _Keeper = kind(dataset, self._open(kind.parts, fingerprint))
        if check:
            self._check()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self._keeper.sample(self._within(index))

    def report(self) -> CacheReport:
        """How much is kept by now, by all processes."""
        keys = np.unique(self._store.held() // self._keeper.parts)
        return CacheReport(str(self.where), len(keys), len(self), self._store.used(), self.limit, self._store.refused())

    def __getattr__(self, name: str) -> Any:
        if name == "joint" and "dataset" in self.__dict__ and hasattr(self.dataset, "joint"):
            return self.__getitem__  # several pictures, decoded already, are shown together as they are
        if name == "undecoded":
            if not isinstance(keeper := self.__dict__.get("_keeper"), _Whole | None):
                return lambda index: keeper.undecoded(self._within(index))
        elif not name.startswith("_") and name not in _OF_READING and "dataset" in self.__dict__:
            return getattr(self.dataset, name)
        raise AttributeError(f"{type(self).__name__} has no {name!r}")

    def __repr__(self) -> str:
        return f"Cached({self.dataset!r}, {str(self.where)!r}, limit={shown_size(self.limit)!r}, what={self.what!r})"

    def _within(self, index: int) -> int:
        number = operator.index(one(self, index))
        if not -len(self) <= number < len(self):
            raise IndexError(f"index {number} of {len(self)} samples")
        return number % len(self)

    def _open(self, parts: int, given: str | None) -> _Store:
        count = parts * len(self.dataset)
        if self.where == "memory":
            self._store: _Store = Arena(count, self.limit)
            return self._store
        identity = fingerprint(self.dataset, self.what, given)
        folder = _user_cache() / identity[:20] if self.where == "disk" else Path(self.where).absolute()
        words = re.sub(r" at 0x[0-9a-f]+", "", repr(self.dataset))[:200] + f" ({self.what})"
        stamps = _Stamps(source_files(self.dataset), parts)
        self._store = Shelf(folder, count, self.limit, stamps, identity, words)
        return self._store

    def _check(self) -> None:
        for index in sorted({0, len(self) // 2, len(self) - 1} if len(self) else ()):
            try:
                first = self._fresh(index, 1)
            except (DataError, OSError):
                continue  # unreadable: who reads it will say so
            if self._fresh(index, 2) != first:
                raise DataError(
                    f"sample {index} of {self.dataset!r} was another when it was read again: a dataset that is random "
                    "cannot be cached. Move what is random into the Loader's transform or sample_transform"
                )
            kept = self._keeper.kept(index)
            if kept is not None and kept != first:
                raise DataError(
                    f"sample {index} of {self.dataset!r} is not what '{self.where}' has kept of it, though its "
                    "fingerprint is the same: remove that cache, and give fingerprint='...', a text that changes with it"
                )

    def _fresh(self, index: int, seed: int) -> bytes:
        with preserved_rng():
            seed_globals(seed)
            return self._keeper.fresh(index)


class _Whole:
    """Keeps what ``dataset[index]`` gives."""

    parts = 1

    def __init__(self, dataset: Any, store: _Store) -> None:
        self._dataset, self._store = dataset, store

    def sample(self, index: int) -> Any:
        data = self._store.get(index)
        if data is not None and (known := _decoded(data)) is not None:
            return self._together(index, known[0])
        mark = self._store.mark(index)
        with preserved_rng():  # a sample that is found draws nothing either
            parts = self._encoded(index)
        self._store.put(index, parts, mark)
        # Not the sample itself: the first reader gets what all others get.
        return self._together(index, decode(b"".join(parts))[0])

    def kept(self, index: int) -> bytes | None:
        data = self._store.get(index)
        return None if data is None else bytes(data)

    def fresh(self, index: int) -> bytes:
        return b"".join(self._encoded(index))

    def _together(self, index: int, sample: Any) -> Any:
        """Several pictures of one scene are a ``Joint`` again."""
        return self._dataset.together(index, sample) if hasattr(self._dataset, "joint") else sample

    def _encoded(self, index: int) -> Parts:
        sample = self._dataset[index]
        try:
            return encode(({**sample} if isinstance(sample, Joint) and isinstance(sample, Mapping) else sample,))
        except DataError as error:
            raise ConfigError(f"sample {index} of {self._dataset!r} cannot be cached: {error}") from error


def _decoded(data: memoryview) -> Any:
    """The sample, or None where its class is another now: then it is read anew."""
    try:
        return decode(data)
    except DataError:
        return None


class _Files:
    """Keeps the bytes of the files."""

    parts = 1

    def __init__(self, dataset: Any, store: _Store) -> None:
        self._dataset, self._store = dataset, store

    def sample(self, index: int) -> Any:
        path, *rest = self._dataset.undecoded(index)
        return (open_picture(path, self._content(index, path)), *rest)

    def undecoded(self, index: int) -> Any:
        path, *rest = self._dataset.undecoded(index)
        return (PictureFile(path, self._content(index, path)), *rest)

    def kept(self, index: int) -> bytes | None:
        data = self._store.get(index)
        return None if data is None else bytes(data)

    def fresh(self, index: int) -> bytes:
        return read_file(self._dataset.undecoded(index)[0])

    def _content(self, index: int, path: Any) -> bytes:
        if (known := self.kept(index)) is not None:
            return known
        mark = self._store.mark(index)
        content = read_file(path)
        self._store.put(index, [content], mark)
        return content


class _Level(NamedTuple):
    """A picture at 1 / ``reduction`` of its size, and what its file says: the same at each of its sizes."""

    width: int
    height: int
    exact: int  # sum of the reductions at which it may be read
    reduction: int
    pixels: np.ndarray | None  # not to be written to

    @classmethod
    def of(cls, file: PictureFile, reduction: int) -> "_Level":
        """Decoded now. The pixels are this thread's, until it decodes another picture."""
        exact = sum(size for size in _SIZES if file.exact(size) == size)
        pixels, really = file.pixels(reduction)
        return cls(file.width, file.height, exact, really, pixels)

    @classmethod
    def at(cls, data: memoryview) -> "_Level":
        """Where it lies; without pixels where only its beginning is given."""
        if len(data) < _PIXELS_AT:
            raise DataError("a picture in the cache is cut short: remove the cache, which only holds copies")
        width, height, exact, reduction, rows, columns = _FACTS.unpack_from(data)
        flat = np.frombuffer(data, np.uint8)[_PIXELS_AT:]
        if len(flat) not in (0, rows * columns * 3):
            raise DataError("a picture in the cache is not of its size: remove the cache, which only holds copies")
        return cls(width, height, exact, reduction, flat.reshape(rows, columns, 3) if len(flat) else None)

    def parts(self) -> Parts:
        assert self.pixels is not None
        facts = _FACTS.pack(self.width, self.height, self.exact, self.reduction, *self.pixels.shape[:2])
        return [facts.ljust(_PIXELS_AT, b"\0"), np.ascontiguousarray(self.pixels).reshape(-1).data]


class _Pixels:
    """Keeps decoded pictures at the sizes that they were asked for."""

    parts = len(_SIZES)

    def __init__(self, dataset: Any, store: _Store) -> None:
        self._dataset, self._store = dataset, store

    def sample(self, index: int) -> Any:
        picture, *rest = self.undecoded(index)
        return (picture.picture(), *rest)

    def undecoded(self, index: int) -> Any:
        path, *rest = self._dataset.undecoded(index)
        return (KeptPicture(self, index, path), *rest)

    def kept(self, index: int) -> bytes | None:
        data = self._store.get(self.parts * index)
        return None if data is None else bytes(data)

    def fresh(self, index: int) -> bytes:
        return b"".join(_Level.of(PictureFile(self._dataset.undecoded(index)[0]), 1).parts())

    def any_level(self, index: int) -> _Level | None:
        """What is known of a picture, without its pixels; None where none of its sizes is kept."""
        for reduction in _SIZES:
            if (data := self._store.get(self._key(index, reduction), _PIXELS_AT)) is not None:
                return _Level.at(data)
        return None

    def level(self, index: int, reduction: int) -> _Level | None:
        data = self._store.get(self._key(index, reduction))
        return None if data is None else _Level.at(data)

    def mark(self, index: int) -> Any:
        """To be taken before the file is read."""
        return self._store.mark(self.parts * index)

    def add(self, index: int, reduction: int, level: _Level, mark: Any) -> None:
        self._store.put(self._key(index, reduction), level.parts(), mark)

    def _key(self, index: int, reduction: int) -> int:
        return self.parts * index + _SIZES.index(reduction)


class KeptPicture:
    """A picture of a cache: decoded, if it was not before, at the size at which it is shown."""

    def __init__(self, keeper: _Pixels, index: int, path: Any) -> None:
        self._keeper, self._index, self._path = keeper, index, path
        self._opened: tuple[PictureFile, Any] | None = None
        known = keeper.any_level(index)
        if known is not None:
            self.width, self.height, self._exact = known[:3]
        else:
            file, _ = self._open()
            self.width, self.height = file.width, file.height
            self._exact = sum(size for size in _SIZES if file.exact(size) == size)

    def show(self, view: View, out: np.ndarray | None = None) -> np.ndarray:
        level = self._level(view.reduction if self._exact & view.reduction else 1)
        assert level.pixels is not None
        return show(level.pixels, at_reduction(view, level.reduction), out)

    def __fspath__(self) -> str:
        """Its file, for those who read that by themselves."""
        return os.fspath(self._path)

    def picture(self) -> Image.Image:
        pixels = self._level(1).pixels
        assert pixels is not None
        return Image.fromarray(pixels)

    def _open(self) -> tuple[PictureFile, Any]:
        if self._opened is None:
            mark = self._keeper.mark(self._index)
            self._opened = (PictureFile(self._path), mark)
        return self._opened

    def _level(self, reduction: int) -> _Level:
        kept = self._keeper.level(self._index, reduction)
        if kept is not None and kept[:2] == (self.width, self.height):
            return kept
        file, mark = self._open()
        if (file.width, file.height) != (self.width, self.height):
            raise DataError(
                f"{self._path}: the picture has another size than a moment ago: it was replaced while it was used"
            )
        made = _Level.of(file, reduction)
        self._keeper.add(self._index, reduction, made, mark)
        return made


class _Stamps:
    """Size and time of the file that an item comes from."""

    def __init__(self, files: Sequence[Any] | None, parts: int) -> None:
        self._files, self._parts = files, parts

    def __call__(self, key: int) -> Stamp:
        if self._files is None:
            return Stamp(0, 0)
        source = self._files[key // self._parts]
        facts = [os.stat(path) for path in (source if isinstance(source, tuple) else (source,))]
        return Stamp(sum(one.st_size for one in facts), max(one.st_mtime_ns for one in facts))


def _choose(dataset: Any, what: str | None) -> What:
    """What is kept of a dataset's samples."""
    has_files = hasattr(dataset, "undecoded") and (len(dataset) > 0 and isinstance(dataset.undecoded(0)[0], str | Path))
    if what is None:
        return "pixels" if has_files else "samples"
    if what not in ("samples", "pixels", "files"):
        raise ConfigError(f"what must be 'samples', 'pixels' or 'files'. Found: {what!r}")
    if what != "samples" and not has_files:
        raise ConfigError(
            f"what={what!r} needs a dataset whose undecoded(index) gives a picture's file, as ImageFolder's does; a "
            f"{type(dataset).__name__} has none. what='samples' keeps what dataset[index] gives"
        )
    return what  # type: ignore[return-value]


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loopwright"
