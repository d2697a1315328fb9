"""``ShardStream``: batches from tar archives that are read from front to end, at any place again. Knows no runs."""

import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from torch import Generator, cuda
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from .._errors import CheckpointError, ConfigError, DataError
from .._seed import permutation, preserved_rng
from ._choice import default_workers
from ._collate import collate as default_collate
from ._engine import one_thread
from ._normalize import Normalize
from ._samples import BatchKey, LoadedBatch, LoadFailure, Samples
from ._shard_fields import USUAL, Fields, ShardFile
from ._shard_names import find_shards
from ._shard_walk import START, RawSample, ShardSource, ShardWalk, WalkPlace
from ._source import OwnLoader, Source
from ._stream_source import StreamSource

_MOST_WORKERS = 4  # each unpacks all shards: more of them soon do little else


class StreamBatch(NamedTuple):
    """A batch, and the place in the stream behind it."""

    batch: LoadedBatch | LoadFailure
    place: WalkPlace


class ShardStream(OwnLoader):
    """Batches of samples in tar archives of the WebDataset format, which are read from front to end: also compressed ones
    (gzip), and those that come through a pipe. Plain files are better read by ``Shards`` and a ``Loader``.

    The order of the shards comes from (seed, epoch), what is drawn from the shuffle buffer from (seed, epoch, position),
    and a sample's own randomness from (seed, epoch, sample). So the batches are the same for any number of workers.
    In ``run.batches`` a resumed run goes on at its place: it reads the shards that are left, and of those before the ones
    again of which samples waited in the buffer, up to these; nothing is decoded twice.

    Args:
        urls: as for ``Shards``; or a binary file or pipe that is open, or a list of such. These are read in this process.
        batch_size: samples a batch, 1 or more.
        fields: as for ``Shards``.
        transform, sample_transform, drop_last, seed, collate, normalize: as for ``Loader``.
        shuffle: how many samples are held to draw from; the shards come in a new order each epoch, too. 0: in turn. Each
            worker holds them, as they are in their files.
        workers: processes that read ahead. Each reads all shards and decodes its share of the batches. 0 reads in this
            process. Default: by the number of cores, at most 4.
        on_error: ``"raise"`` names what is wrong and stops; ``"skip"`` leaves broken shards and samples, and unreadable
            pictures, out and lists them in ``stream.skipped``.

    Raises:
        DataError: a shard is missing; and while it is read: one is cut short or damaged, a sample lacks a field, ...

    Yields:
        Batches as a ``Loader`` does. How many an epoch has is not known before: there is no ``len``.

    >>> import tempfile, loopwright as lw
    >>> photos, folder = lw.ImageFolder(lw.demo_photos(), split="val"), tempfile.mkdtemp()
    >>> _ = lw.write_shards(photos, f"{folder}/val-%03d.tar.gz", samples_per_shard=100)
    >>> stream = ShardStream(f"{folder}/*.tar.gz", 64, transform=lw.CenterCrop(32), shuffle=200, workers=0)
    >>> sum(len(labels) for pictures, labels in stream) == len(photos)
    True
    """

    def __init__(
        self,
        urls: str | Path | BinaryIO | Iterable[str | Path | BinaryIO],
        batch_size: int,
        *,
        fields: str | Sequence[str] = USUAL,
        transform: Callable[..., Any] | None = None,
        sample_transform: Callable[..., Any] | None = None,
        shuffle: int = 0,
        drop_last: bool = False,
        workers: int | None = None,
        seed: int | None = None,
        collate: Callable[[Sequence[Any]], Any] | None = None,
        normalize: Normalize | None = Normalize(),  # noqa: B008 - it never changes
        on_error: str = "raise",
    ) -> None:
        self.batch_size, self.shuffle, self.drop_last, self.seed = batch_size, shuffle, drop_last, seed
        self.normalize, self.on_error = normalize, on_error
        self.skipped: list[str] = []
        self._fields = Fields(fields)
        self._sources = _opened(urls)
        self._once = next((source.name for source in self._sources if not source.is_file), None)
        self.workers = self._chosen_workers(workers)
        self._check()
        self._window = _Window(self._fields)
        collate = collate or default_collate
        self._samples = Samples(self._window, transform, sample_transform, collate, on_error == "skip")
        self.epoch = 0
        self._place = START
        self._resumed = False  # whether the next iteration goes on from the place

    @property
    def engine(self) -> str:
        """Who makes the batches."""
        if self.workers:
            return f"{self.workers} process{'es' * (self.workers > 1)}: each reads all shards and decodes its share"
        return "in this process" + (f": {self._once} can be read by one only" if self._once else ", as workers=0 asks")

    @property
    def shards(self) -> list[str]:
        """The files of its shards; not the pipes."""
        return [source.name for source in self._sources if source.is_file]

    def __iter__(self) -> Iterator[Any]:
        """One epoch, from where ``load_state_dict`` left it or from its start.

        The next iteration is the next epoch, also where this one is left early.
        """
        if self._place.position and not self._resumed:  # the one before was left early
            self.epoch, self._place = self.epoch + 1, START
        self._resumed = False
        epoch = self.epoch
        for made in self.loaded_batches(epoch, start=self._place):
            self.epoch, self._place = epoch, made.place
            assert isinstance(made.batch, LoadedBatch)
            yield made.batch.data
        self.epoch, self._place = epoch + 1, START

    def epoch_batches(self, epoch: int) -> Iterator[Any]:
        """The batches of any epoch."""
        return (made.batch.data for made in self.loaded_batches(epoch))  # type: ignore[union-attr] - no failures

    def loaded_batches(
        self, epoch: int, *, start: WalkPlace = START, pass_over: int = 0, seed: int = 0
    ) -> Iterator[StreamBatch]:
        """The same with counts and places, from a place on, or behind so many samples, which are read but not decoded.

        ``seed`` is used where the stream has none of its own.
        """
        share = _Share(self, self.seed if self.seed is not None else seed, epoch, start, pass_over)
        passed_over, is_empty = 0, start == START and not pass_over  # samples of batches in which none was readable
        for batch, place in self._made(share):
            if isinstance(batch, LoadFailure):
                batch.reraise()
            self.skipped.extend(message for message in batch.skipped if message not in self.skipped)
            if batch.count:
                is_empty = False
                yield StreamBatch(batch._replace(drawn=batch.drawn + passed_over), place)
                passed_over = 0
            else:
                passed_over += batch.drawn
        if is_empty:
            raise DataError(self._why_empty())

    def source(self) -> Source:
        """The same batches for ``run.batches``, from any place on."""
        return StreamSource(self)

    def facts(self) -> dict[str, Any]:
        """What must be the same for a place to mean the same."""
        named = [f"{os.path.basename(source.name)} {source.size}" for source in self._sources]
        digest = hashlib.blake2b("\n".join(named).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        return {
            "shards": len(named),
            "names and sizes": digest,
            "fields": list(self._fields.names),
            "shuffle": self.shuffle,
        }

    def check_facts(self, facts: dict[str, Any]) -> None:
        """``CheckpointError`` where a place was saved for another stream."""
        now = self.facts()
        different = [f"{name} {facts[name]!r}, now {now[name]!r}" for name in now if facts.get(name) != now[name]]
        if different:
            raise CheckpointError(
                f"the place in the shards was saved for others: {'; '.join(different)}. The order would be another: put "
                "them back as they were, or begin a new run from the weights"
            )

    def state_dict(self) -> dict[str, Any]:
        """Where the iteration is: a batch that was handed out counts as seen."""
        return {"epoch": self.epoch, "seed": self.seed or 0, "place": self._place.state(), "facts": self.facts()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken, with any number of workers."""
        self.check_facts(state["facts"])
        if state["seed"] != (self.seed or 0):
            raise CheckpointError(f"the place is one of seed {state['seed']}, this stream has {self.seed or 0}")
        self.epoch, self._place, self._resumed = state["epoch"], WalkPlace.of(state["place"]), True

    def close(self) -> None:
        """Nothing is held: workers end with their epoch."""

    def walk(self, seed: int, epoch: int, start: WalkPlace) -> ShardWalk:
        """The samples of an epoch from a place on."""
        count = len(self._sources)
        order = permutation(seed, epoch, count).tolist() if self.shuffle else range(count)
        return ShardWalk(
            self._sources, order, self._fields, buffer=self.shuffle, seed=seed, epoch=epoch,
            skip=self.on_error == "skip", start=start,
        )  # fmt: skip

    def make(self, samples: list[RawSample], seed: int, epoch: int) -> LoadedBatch | LoadFailure:
        """A batch; the global generators stay as they were."""
        self._window.files = {sample.number: sample.files for sample in samples}
        with preserved_rng(), one_thread():
            return self._samples[BatchKey(seed, epoch, tuple(self._window.files))]

    def _made(self, share: "_Share") -> Iterator[StreamBatch]:
        if not self.workers:
            yield from share
            return
        loader = DataLoader(
            share, batch_size=None, num_workers=self.workers, collate_fn=_as_it_is, pin_memory=cuda.is_available(),
            generator=Generator(),  # its own: making an iterator must not draw from the global one
        )  # fmt: skip
        try:
            yield from loader
        except (RuntimeError, OSError, EOFError) as error:  # torch's word for it, or that of the pipe that broke
            raise DataError(
                f"reading from the worker processes failed ({type(error).__name__}: {error}). Did memory run out? Try "
                "fewer workers or a smaller shuffle; workers=0 shows what happens in one"
            ) from error

    def _why_empty(self) -> str:
        skipped = f"; left out were {len(self.skipped)}, such as {self.skipped[0]}" if self.skipped else ""
        too_few = (
            f" or fewer than batch_size {self.batch_size}, and drop_last leaves those out" if self.drop_last else ""
        )
        return f"{self._sources[0].name} and the others of the stream hold no samples{too_few}{skipped}"

    def _chosen_workers(self, asked: int | None) -> int:
        if asked is None:
            return 0 if self._once else min(default_workers(), _MOST_WORKERS)
        if not isinstance(asked, int) or asked < 0:
            raise ConfigError(f"workers must be a whole number, 0 or more. Found: {asked!r}")
        if asked and self._once:
            raise ConfigError(
                f"workers={asked}: {self._once} is no file that each of them could open; workers=0 reads it"
            )
        return asked

    def _check(self) -> None:
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ConfigError(f"batch_size must be a whole number, 1 or more. Found: {self.batch_size!r}")
        if not isinstance(self.shuffle, int) or isinstance(self.shuffle, bool) or self.shuffle < 0:
            raise ConfigError(
                f"shuffle= is how many samples are held to draw from, such as 1000. Found: {self.shuffle!r}"
            )
        if self.on_error not in ("raise", "skip"):
            raise ConfigError(f"on_error must be 'raise' or 'skip'. Found: {self.on_error!r}")

    def __repr__(self) -> str:
        first, count = self._sources[0].name, len(self._sources)
        return f"ShardStream({first!r}, ..., batch_size={self.batch_size}): {count} shards of {self._fields}"


class _Window:
    """The samples of one batch, as a dataset."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self.files: dict[int, list[ShardFile]] = {}

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self._fields.decoded(self.files[index])

    @property
    def undecoded(self) -> Callable[[int], tuple[Any, ...]]:
        if not self._fields.begin_with_picture:
            raise AttributeError("the samples do not begin with a picture")
        return lambda index: self._fields.undecoded(self.files[index])


class _Share(IterableDataset):
    """The batches of an epoch that one of the workers makes: every so-manieth. All of them read all samples."""

    def __init__(self, stream: ShardStream, seed: int, epoch: int, start: WalkPlace, pass_over: int) -> None:
        self._stream, self._seed, self._epoch, self._start = stream, seed, epoch, start
        self._pass_over = pass_over

    def __iter__(self) -> Iterator[StreamBatch]:
        info = get_worker_info()
        mine, of = (info.id, info.num_workers) if info is not None else (0, 1)
        stream, walk = self._stream, self._stream.walk(self._seed, self._epoch, self._start)
        samples = itertools.islice(walk, self._pass_over, None)
        for number in itertools.count():
            is_mine = number % of == mine
            try:
                batch = list(itertools.islice(samples, stream.batch_size))
            except Exception as error:
                if is_mine:
                    yield StreamBatch(LoadFailure.of(error, BatchKey(self._seed, self._epoch, ())), START)
                return
            faults = walk.take_faults()
            if not batch or (stream.drop_last and len(batch) < stream.batch_size):
                if is_mine and faults:
                    yield StreamBatch(LoadedBatch(None, 0, 0, faults), walk.place)
                return
            if is_mine:
                made = stream.make(batch, self._seed, self._epoch)
                if isinstance(made, LoadedBatch):
                    made = made._replace(skipped=(*faults, *made.skipped))
                yield StreamBatch(made, walk.place)


def _opened(urls: Any) -> list[ShardSource]:
    listed = [urls] if isinstance(urls, str | Path) or hasattr(urls, "read") else list(urls)
    if any(hasattr(url, "read") for url in listed):
        found: list[Any] = [path for url in listed for path in ([url] if hasattr(url, "read") else find_shards(url))]
    else:
        found = find_shards(listed)
    return [ShardSource(what, number) for number, what in enumerate(found)]


def _as_it_is(batch: Any) -> Any:
    return batch
