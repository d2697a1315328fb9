"""``ShardWalk``: the samples of an epoch's shards, read from front to end, from any place on. Makes no batches of them."""

import itertools
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .._errors import CheckpointError, DataError
from ._shard_fields import Fields, ShardFile
from ._shard_samples import ShardFault, ShardSample, shard_samples
from ._shuffle_buffer import ShuffleBuffer
from ._tar import Archive, BrokenTar


class WalkPlace(NamedTuple):
    """Where a walk is. A turn is a shard's place in the epoch's order, a number the place of a sample in its shard."""

    position: int  # samples given
    turn: int  # of the shard that is read
    number: int  # of the first sample in it that has not been read
    held: np.ndarray  # int64 (n, 2): turn and number of the samples that wait in the shuffle buffer

    def state(self) -> dict[str, Any]:
        return {**self._asdict(), "held": self.held.copy()}

    @classmethod
    def of(cls, state: dict[str, Any]) -> "WalkPlace":
        held = np.asarray(state["held"], dtype=np.int64)
        return cls(state["position"], state["turn"], state["number"], held)


START = WalkPlace(0, 0, 0, np.zeros((0, 2), np.int64))


class RawSample(NamedTuple):
    """A sample as it is in its shard."""

    place: tuple[int, int]  # its turn and number
    number: int  # what stands for it wherever it comes in an epoch: its shard in the list, and its number there
    files: list[ShardFile]


class ShardSource:
    """A shard: a path, or a binary file or pipe that was given open."""

    def __init__(self, what: Path | BinaryIO, number: int) -> None:
        self.what, self.name = what, str(what if isinstance(what, Path) else getattr(what, "name", f"stream {number}"))
        self._start = None
        if not isinstance(what, Path) and _can_seek(what):
            self._start = what.tell()
        self._opened = False

    @property
    def is_file(self) -> bool:
        """Whether it can be opened any number of times, by anyone."""
        return isinstance(self.what, Path) and stat.S_ISREG(os.stat(self.what).st_mode)

    @property
    def size(self) -> int:
        """In bytes; 0 where it cannot be known."""
        return os.path.getsize(self.what) if isinstance(self.what, Path) and self.is_file else 0

    def open(self) -> Archive:
        if isinstance(self.what, Path):
            return Archive(self.what)
        if self._start is not None:
            self.what.seek(self._start)
        elif self._opened:
            raise DataError(
                f"{self.name}: a pipe can be read once, and it was: give its shards as files for more epochs"
            )
        self._opened = True
        return Archive(self.what)


class ShardWalk:
    """One walk through an epoch.

    Args:
        order: the indices of the shards, in the epoch's order.
        buffer: the most samples that wait to be drawn from; 0 for none.
        skip: note what is wrong in ``faults`` and go on, instead of raising it.
    """

    def __init__(
        self,
        sources: Sequence[ShardSource],
        order: Sequence[int],
        fields: Fields,
        *,
        buffer: int,
        seed: int,
        epoch: int,
        skip: bool,
        start: WalkPlace = START,
    ) -> None:
        self._sources, self._order, self._fields, self._skip = sources, order, fields, skip
        self._start, self._next = start, (start.turn, start.number)
        self._held = {(turn, number) for turn, number in start.held.tolist()}
        self._buffer: ShuffleBuffer[RawSample] = ShuffleBuffer(buffer, seed=seed, epoch=epoch, position=start.position)
        self._faults: list[str] = []

    @property
    def place(self) -> WalkPlace:
        """Where it is: behind the sample that was given last."""
        held = np.array([sample.place for sample in self._buffer.items], np.int64).reshape(-1, 2)
        return WalkPlace(self._buffer.position, *self._next, held)

    def take_faults(self) -> tuple[str, ...]:
        """What was wrong since it was last asked."""
        faults, self._faults = tuple(self._faults), []
        return faults

    def __iter__(self) -> Iterator[RawSample]:
        """The samples from the start on. Those that waited there are read again, from their shards."""
        reading, again, new = self._read(), {}, []
        for sample in reading:
            if sample.place >= (self._start.turn, self._start.number):
                new.append(sample)
                break
            again[sample.place] = sample
        if len(again) < len(self._held):
            raise CheckpointError(
                "the shards have changed since the place in them was saved: put them back as they were"
            )
        self._buffer.items = [again[turn, number] for turn, number in self._start.held.tolist()]
        yield from self._buffer.shuffled(self._counted(itertools.chain(new, reading)))

    def _counted(self, samples: Iterator[RawSample]) -> Iterator[RawSample]:
        for sample in samples:
            self._next = sample.place[0], sample.place[1] + 1
            yield sample

    def _read(self) -> Iterator[RawSample]:
        """First those that waited, then all that had not been read; nothing else is read of their shards."""
        here = self._start.turn
        for turn in sorted({turn for turn, _ in self._held if turn < here}):
            held = {number for at, number in self._held if at == turn}
            for sample in self._read_shard(turn, held.__contains__):
                yield sample
                if sample.place[1] == max(held):
                    break
        held = {number for at, number in self._held if at == here}
        for turn in range(here, len(self._order)):
            first = self._start.number if turn == here else 0
            yield from self._read_shard(turn, lambda number, first=first: number >= first or number in held)

    def _read_shard(self, turn: int, wanted: Callable[[int], bool]) -> Iterator[RawSample]:
        source, shard = self._sources[self._order[turn]], int(self._order[turn])
        try:
            archive = source.open()
        except BrokenTar as error:
            self._note(f"{source.name}: {error}")
            return
        except OSError as error:
            self._note(f"{source.name}: cannot be opened ({error.strerror})")
            return

        def read(number: int, extension: str) -> bytes | None:
            return archive.read() if extension in self._fields.all and wanted(number) else None

        with archive:
            for found in shard_samples(archive, source.name, read):
                if isinstance(found, ShardFault):
                    self._note(found.message)
                elif wanted(found.number) and (files := self._files(source.name, found)) is not None:
                    yield RawSample((turn, found.number), shard << 32 | found.number, files)

    def _files(self, shard: str, sample: ShardSample) -> list[ShardFile] | None:
        chosen = self._fields.chosen(sample.members)
        if chosen is None:
            self._note(f"{shard}/{sample.key}: {self._fields.lacking(sample.members)}")
            return None
        return [ShardFile(f"{shard}/{sample.key}.{part}", part, sample.contents[part]) for part in chosen]

    def _note(self, message: str) -> None:
        if not self._skip:
            raise DataError(f"{message} (on_error='skip' leaves it out)")
        self._faults.append(message)


def _can_seek(file: BinaryIO) -> bool:
    return bool(getattr(file, "seekable", lambda: False)())
