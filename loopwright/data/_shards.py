"""``Shards``: the samples of plain tar archives, each reached at once, as a dataset. Knows nothing about batches."""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._errors import ConfigError, DataError
from ._shard_fields import USUAL, WHOLE_NUMBERS, Fields, ShardFile, decode, kind_of
from ._shard_index import ShardIndex, read_indices, stamp_of
from ._shard_names import find_shards
from ._strings import Strings

_OPEN = 128  # shards that are held open
_SHOWN = 5  # faults that a message names


class Shards:
    """Samples in uncompressed tar archives of the WebDataset format, as a map-style dataset.

    A sample is consecutive files of one name: ``0001.jpg``, ``0001.cls``. One pass over the headers says where each
    lies; from then on any sample is one read away, so that a ``Loader`` is exact, shuffles all of them and reads with any
    engine. Nothing is extracted. Archives that are compressed, or come through a pipe, are for ``ShardStream``.

    Args:
        urls: the shards: a path, one with braces (``"train-{000000..000099}.tar"``) or wildcards, or a list of them.
        fields: the extensions that make a sample, in this order; ``"jpg;png"`` takes the first of them that is there. By
            default any picture and the whole number in ``.cls``. Pictures are decoded as ``open_picture`` does it,
            ``.cls`` is an int, ``.txt`` a string, ``.json`` what it holds, ``.npy`` an array; all else is bytes.
        keep_index: write what the pass found beside each shard (``SHARD.index``, some 40 bytes a file), and use it the
            next time, unless the shard has changed.
        on_error: ``"skip"`` leaves broken shards and samples out and lists them in ``skipped``; a ``Loader`` does the same
            with unreadable pictures.

    Attributes: ``shards`` (their paths), ``skipped`` (what was left out, and why), ``labels`` (where a field is a ``.cls``:
    int64 (n,), read when first asked for).

    Raises:
        DataError: a shard is missing, compressed, cut short or damaged, holds a name twice or one that leads out, or a
            sample lacks a field: all of them at once, the first ones named.

    Source: the format of the WebDataset library (Aizman, Maltby and Breuel, "High performance I/O for large scale deep
    learning", IEEE Big Data 2019).

    >>> import tempfile, loopwright as lw
    >>> photos = lw.ImageFolder(lw.demo_photos(), split="val")
    >>> folder = tempfile.mkdtemp()
    >>> _ = lw.write_shards(photos, f"{folder}/val-%03d.tar", samples_per_shard=100)
    >>> shards = Shards(f"{folder}/val-{{000..002}}.tar", fields=("jpg", "cls"))
    >>> len(shards) == len(photos), shards[7] == photos[7]
    (True, True)
    """

    def __init__(
        self,
        urls: str | Path | Iterable[str | Path],
        *,
        fields: str | Sequence[str] = USUAL,
        keep_index: bool = False,
        on_error: str = "raise",
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"on_error must be 'raise' or 'skip'. Found: {on_error!r}")
        self.on_error = on_error
        self.skipped: list[str] = []
        self._fields = Fields(fields)
        self.shards = find_shards(urls)
        self._gather(read_indices(self.shards, keep=keep_index))
        self._check()
        self._open: OrderedDict[int, _Descriptor] = OrderedDict()
        self._read_labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self._fields.decoded(self.files(index))

    @property
    def undecoded(self) -> Callable[[int], tuple[Any, ...]]:
        """``undecoded(index)``: the sample with its picture's file in place of the picture, where it begins with one."""
        if not self._fields.begin_with_picture:
            raise AttributeError(f"samples of {self._fields} do not begin with a picture")
        return lambda index: self._fields.undecoded(self.files(index))

    def files(self, index: int) -> list[ShardFile]:
        """The files of one sample, as they are."""
        return [self._file(index, field) for field in range(len(self._fields.names))]

    def name_of(self, index: int) -> str:
        """SHARD/KEY.EXTENSION of the first field: what messages and predictions call the sample."""
        return self._name(index, 0)

    @property
    def labels(self) -> np.ndarray:
        """The whole number of each sample, from the first field that is one."""
        field = next(
            (n for n, parts in enumerate(self._fields.alternatives) if all(kind_of(p) in WHOLE_NUMBERS for p in parts)),
            None,
        )
        if field is None:
            raise AttributeError(f"samples of {self._fields} have no whole numbers for labels")
        return self._labels(field)

    def _gather(self, indices: Iterable[ShardIndex]) -> None:
        """The places of all samples, in arrays, which forked workers share."""
        keys: list[str] = []
        shards, places, kinds, stamps = [], [], [], []
        for number, (path, index) in enumerate(zip(self.shards, indices, strict=True)):
            self.skipped += index.faults
            stamps.append(index.stamp)
            for sample in index.samples:
                chosen = self._fields.chosen(sample.members)
                if chosen is None:
                    self.skipped.append(f"{path}/{sample.key}: {self._fields.lacking(sample.members)}")
                    continue
                keys.append(sample.key)
                shards.append(number)
                places.append([sample.members[extension][1:3] for extension in chosen])
                kinds.append(self._fields.numbered(chosen))
        fields = len(self._fields.names)
        self._keys, self._shards = Strings(keys), np.array(shards, np.int32)
        self._places = np.array(places, np.int64).reshape(-1, fields, 2)
        self._kinds, self._stamps = np.array(kinds, np.uint8).reshape(-1, fields), stamps

    def _check(self) -> None:
        if self.skipped and self.on_error == "raise":
            shown = "\n".join(f"  {message}" for message in self.skipped[:_SHOWN])
            more = f"\n  and {len(self.skipped) - _SHOWN} more" if len(self.skipped) > _SHOWN else ""
            raise DataError(
                f"the shards cannot be used as they are; on_error='skip' leaves out what is wrong:\n{shown}{more}"
                if len(self.skipped) > 1
                else f"{self.skipped[0]} (on_error='skip' leaves it out)"
            )
        if not len(self):
            why = f": {self.skipped[0]}" if self.skipped else ""
            raise DataError(f"{self.shards[0]} and the others hold no samples{why}")

    def _file(self, index: int, field: int) -> ShardFile:
        place = range(len(self))[index]  # negative ones, and IndexError
        offset, size = self._places[place, field].tolist()
        name = self._name(place, field)
        try:
            data = self._descriptor(int(self._shards[place])).read(offset, size)
        except OSError as error:
            raise DataError(f"{name}: cannot be read ({error.strerror})") from None
        if len(data) < size:
            raise DataError(f"{name}: its shard is cut short since it was opened")
        return ShardFile(name, self._extension(place, field), data)

    def _descriptor(self, shard: int) -> "_Descriptor":
        """A shard, opened; of very many the first ones are closed again, when nobody reads in them any more."""
        found = self._open.get(shard)
        if found is None:
            found = self._open[shard] = _Descriptor(self.shards[shard], self._stamps[shard])
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
        return found

    def _name(self, index: int, field: int) -> str:
        return f"{self.shards[self._shards[index]]}/{self._keys[index]}.{self._extension(index, field)}"

    def _extension(self, index: int, field: int) -> str:
        return self._fields.alternatives[field][self._kinds[index, field]]

    def _labels(self, field: int) -> np.ndarray:
        if self._read_labels is None:
            self._read_labels = np.array([decode(self._file(index, field)) for index in range(len(self))], np.int64)
        return self._read_labels

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def __repr__(self) -> str:
        return (
            f"Shards({str(self.shards[0])!r}, ...): {len(self)} samples of {self._fields} in {len(self.shards)} shards"
        )


class _Descriptor:
    """A shard that is read at any place, by any thread or forked process: there is no common place that they could move."""

    def __init__(self, path: Path, stamp: tuple[int, int]) -> None:
        self._number = -1
        try:
            self._number = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"{path}: cannot be opened any more ({error.strerror})") from None
        if stamp_of(os.fstat(self._number)) != stamp:
            raise DataError(f"{path} has changed since it was opened: make the dataset again")

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._number, size, offset)

    def __del__(self) -> None:
        if self._number >= 0:
            os.close(self._number)
