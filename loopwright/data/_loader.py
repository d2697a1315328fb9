"""``Loader``: batches of a dataset, each a pure function of (seed, epoch, position). An engine makes them."""

import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from .._errors import CheckpointError, ConfigError, DataError
from ._choice import NAMES, EngineName, choose_engine, default_workers
from ._collate import collate as default_collate
from ._engine import Engine
from ._incidents import Incidents
from ._loader_source import LoaderSource
from ._normalize import Normalize, NormalizeRoles
from ._order import Order
from ._samples import BatchKeys, LoadedBatch, LoadFailure, Samples
from ._slice import WHOLE, Slice
from ._source import OwnLoader, Source
from ._transforms import Transform

#: Engines of processes that this one was forked from. They are kept, because torch ends workers when theirs is let go.
_inherited: list[Engine] = []


class Loader(OwnLoader):
    """Batches from any map-style dataset.

    The order comes from (seed, epoch) and the randomness of each sample from (seed, epoch, sample), never from the
    history of a worker. So the number of workers changes nothing, and going on in the middle of an epoch costs nothing.

    Args:
        dataset: anything with ``len`` and ``dataset[index]``; a sample may be a picture, a tensor, a number, a string,
            or a tuple, named tuple, dictionary or dataclass of them.
        batch_size: samples a batch, 1 or more.
        transform: for the picture of a sample (its first element, its ``"image"``, or the sample itself): one of
            loopwright's, torchvision's, albumentations' wrapped in a function, or any callable. For the samples of
            ``PairedFolders``: a crop of loopwright's, which shows all pictures the same, and ``PerRole``.
        sample_transform: for the whole sample, after ``transform``.
        shuffle: visit the samples in a new order each epoch.
        drop_last: leave out a last batch that is short.
        workers: how many processes read ahead: straight into batches in shared memory where ``transform`` is a crop of
            loopwright's and the dataset has files (``undecoded``); 0 reads in this process. Default: by the
            number of cores. They begin with the first batch and have the dataset and transforms as these are then;
            ``close`` ends them.
        seed: of order and augmentation. Default: the run's seed inside ``run.batches``, else 0.
        sampler: indices to visit instead of all: any iterable with ``len``, such as torch's samplers, whose generator
            is seeded from (seed, epoch).
        weights: one number a sample: draw as many samples with replacement, by weight.
        collate: a function from a list of samples to a batch.
        normalize: applied to uint8 pictures on the device, by ``run.batches``; ``None`` leaves them as they are. It acts
            on every uint8 (N, C, H, W) of a batch that has its number of channels, 3 by default: inputs and targets of
            pairs alike, and neither masks, nor gray, nor 16-bit pictures. A mapping from names to ``Normalize`` or
            ``None`` says it for each part of a batch that is a dictionary; parts that it does not name stay as they are.
        on_error: ``"raise"`` names the unreadable picture and stops, ``"skip"`` leaves it out and lists it in
            ``loader.skipped``. Default: what the dataset says, else ``"raise"``.
        engine: who makes the batches, the same ones whoever it is: ``"ring"`` (processes that fill shared
            memory), ``"threads"`` in this process, ``"processes"``, ``"here"``. Default: the fastest that can;
            ``loader.engine`` says which and why.

    Yields:
        Batches as ``collate`` makes them: pictures as uint8 (N, C, H, W) in channels-last memory, on the CPU.

    >>> loader = Loader(range(10), 4, shuffle=True, workers=0)
    >>> [batch.tolist() for batch in loader.epoch_batches(0)] == [batch.tolist() for batch in loader]
    True
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        *,
        transform: Callable[..., Any] | None = None,
        sample_transform: Callable[..., Any] | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        workers: int | None = None,
        seed: int | None = None,
        sampler: Iterable[int] | None = None,
        weights: Sequence[float] | None = None,
        collate: Callable[[Sequence[Any]], Any] | None = None,
        normalize: Normalize | Mapping[str, Callable[[Any], Any] | None] | None = Normalize(),  # noqa: B008 - it never changes
        on_error: str | None = None,
        engine: EngineName = "auto",
    ) -> None:
        self.dataset, self.drop_last = dataset, drop_last
        self.batch_size, self.seed = _whole("batch_size", batch_size, 1), None if seed is None else _whole("seed", seed)
        self.normalize = NormalizeRoles(normalize) if isinstance(normalize, Mapping) else normalize
        self.skipped: list[str] = []
        self._incidents = Incidents()
        on_error = str(on_error or getattr(dataset, "on_error", "raise"))
        _check_callables(
            transform=transform, sample_transform=sample_transform, collate=collate, normalize=self.normalize
        )
        self._order = Order(_length(dataset), shuffle=shuffle, weights=weights, sampler=sampler)
        self._samples = Samples(dataset, transform, sample_transform, collate or default_collate, on_error == "skip")
        self.workers = default_workers(self._samples) if workers is None else _whole("workers", workers, 0)
        self._engine_name: EngineName = engine
        self._check(on_error)
        self._engine: Engine | None = None
        self._owner = 0  # the process whose engine it is
        self._why = ""
        self.epoch = 0
        self._drawn = 0  # samples of this epoch's order that were handed out
        self._resumed = False  # whether the next iteration goes on from there

    @property
    def sample_maker(self) -> Samples:
        """What makes its samples: for those who measure them."""
        return self._samples

    @property
    def samples(self) -> int:
        """Samples an epoch."""
        return len(self._order)

    @property
    def engine(self) -> str:
        """Who makes the batches, and why they do."""
        self._begun()
        return self._why

    @property
    def incidents(self) -> list[str]:
        """A message for each process of the ring that died or hung and was replaced, with the sample it was at. No batch
        changed for it."""
        return self._incidents.told

    def __len__(self) -> int:
        """Batches an epoch."""
        return self._batches_of(len(self._order))

    def __iter__(self) -> Iterator[Any]:
        """One epoch, from where ``load_state_dict`` left it or from its start.

        The next iteration is the next epoch, also where this one is left early.
        """
        epoch, drawn = self._begin()
        for batch in self.loaded_batches(epoch, start=drawn):
            drawn += batch.drawn
            self.epoch, self._drawn = epoch, drawn
            yield batch.data
        self.epoch, self._drawn = epoch + 1, 0

    def epoch_batches(self, epoch: int, *, start: int = 0) -> Iterator[Any]:
        """The batches of any epoch, from the sample at position ``start`` of its order on."""
        return (batch.data for batch in self.loaded_batches(epoch, start=start))

    def loaded_batches(
        self, epoch: int, *, start: int = 0, seed: int = 0, part: Slice = WHOLE
    ) -> Iterator[LoadedBatch]:
        """As ``epoch_batches``, with counts. ``seed`` is used where the loader has none of its own.

        Of each batch only the ``part`` of one rank is made. ``drawn`` and ``whole`` are those of the whole batch, ``count``
        is 0 where the part is empty and the batch holds a sample that nobody counts.
        """
        keys = self._keys(self.seed if self.seed is not None else seed, epoch, start, part)
        engine = self._begun()
        passed_over = 0  # samples of batches in which none was readable
        for batch, (whole, own) in zip(engine.batches(keys), keys.sizes(), strict=True):
            if isinstance(batch, LoadFailure):
                batch.reraise()
            self.skipped.extend(message for message in batch.skipped if message not in self.skipped)
            if batch.count:
                count = min(batch.count, own)
                read = whole if part.ranks > 1 else count
                yield batch._replace(count=count, drawn=whole + passed_over, whole=read)
                passed_over = 0
            elif part.ranks > 1:
                raise DataError(
                    f"none of a rank's {own} samples can be read, and the other ranks wait: {batch.skipped[0]}"
                )
            else:
                passed_over += batch.drawn

    def names_before(self, epoch: int, seed: int, drawn: int, *, back: int = 0) -> list[str]:
        """The names of the samples of the batch that ends at a position of the order, or of one ``back`` batches before."""
        number = (drawn - 1) // self.batch_size - back
        if number < 0 or drawn < 1:
            return []
        indices = self._order.indices(self.seed if self.seed is not None else seed, epoch)
        batch = indices[number * self.batch_size : (number + 1) * self.batch_size]
        return [self._samples.name_of(int(index)) for index in batch]

    def source(self) -> Source:
        """The same batches for ``run.batches``, from any place on."""
        return LoaderSource(self)

    def state_dict(self) -> dict[str, int]:
        """Where the iteration is: a batch that was handed out counts as seen."""
        return {"epoch": self.epoch, "drawn": self._drawn, "seed": self.seed or 0, "samples": len(self._order)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where ``state_dict`` was taken, with any number of workers."""
        if state["samples"] != len(self._order) or state["seed"] != (self.seed or 0):
            raise CheckpointError(
                f"the loader's state is of {state['samples']} samples and seed {state['seed']}, "
                f"this loader has {len(self._order)} and {self.seed or 0}: the order would be another"
            )
        self.epoch, self._drawn, self._resumed = state["epoch"], state["drawn"], True

    def close(self) -> None:
        """End the workers; iterating again starts new ones."""
        self._leave_inherited()
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_engine": None}  # a copy, here or in another process, has its own

    def _begun(self) -> Engine:
        self._leave_inherited()
        if self._engine is None:
            self._engine, self._why = choose_engine(self._samples, self.workers, self._engine_name, self._incidents)
            self._owner = os.getpid()
        return self._engine

    def _leave_inherited(self) -> None:
        """In a process that was forked since: have nothing to do with its parent's workers, who would serve both."""
        if self._engine is not None and self._owner != os.getpid():
            _inherited.append(self._engine)
            self._engine = None

    def _begin(self) -> tuple[int, int]:
        """The epoch of an iteration that begins now, and the place in it."""
        if self._drawn and not self._resumed:  # the one before was left early
            self.epoch, self._drawn = self.epoch + 1, 0
        self._resumed = False
        return self.epoch, self._drawn

    def _keys(self, seed: int, epoch: int, start: int, part: Slice) -> BatchKeys:
        indices = self._order.indices(seed, epoch)[start:]
        count = self._batches_of(len(indices))
        return BatchKeys(seed, epoch, indices, batch_size=self.batch_size, count=count, part=part)

    def _batches_of(self, samples: int) -> int:
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)

    def _check(self, on_error: str) -> None:
        if self._engine_name not in NAMES:
            raise ConfigError(f"engine must be one of {', '.join(map(repr, NAMES))}. Found: {self._engine_name!r}")
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"on_error must be 'raise' or 'skip'. Found: {on_error!r}")
        if len(self._order) == 0:
            raise DataError("the dataset has no samples")
        if self.drop_last and self.batch_size > len(self._order):
            raise ConfigError(
                f"batch_size {self.batch_size} with drop_last leaves nothing of {len(self._order)} samples: "
                "make the batch smaller, or keep the short one"
            )

    def __repr__(self) -> str:
        return f"Loader({self.dataset!r}, batch_size={self.batch_size}, workers={self.workers}): {len(self)} batches"


def _length(dataset: Any) -> int:
    if isinstance(dataset, str | os.PathLike):
        raise DataError(
            f"a Loader is given a dataset. Found: the path {str(dataset)!r}; lw.ImageFolder reads class folders, "
            "lw.Table a table, lw.Packed a pack"
        )
    try:
        count = len(dataset)
    except TypeError:
        count = None
    if count is None or not hasattr(dataset, "__getitem__"):
        raise DataError(
            f"a {type(dataset).__name__} has no {'len()' if count is None else 'dataset[index]'}: Loader takes map-style "
            "datasets (len and dataset[index]); run.batches takes any iterable as it is"
        )
    return count


def _whole(name: str, value: Any, least: int | None = None) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        what = "a whole number" if least is None else f"a whole number, {least} or more"
        raise ConfigError(f"{name} must be {what}. Found: {value!r}")
    return number


def _check_callables(**given: Any) -> None:
    """What is a slip of the pen is said at the start, not by a worker in the middle of a batch."""
    for name, value in given.items():
        if isinstance(value, type) and issubclass(value, Transform | torch.nn.Module):
            raise ConfigError(f"{name} is the class {value.__name__}: make one of it, {value.__name__}(...)")
        if value is not None and not callable(value):
            hint = ". lw.Compose([...]) makes one of several" if isinstance(value, list | tuple) else ""
            raise ConfigError(f"{name} must be a function or None. Found: {value!r}{hint}")
