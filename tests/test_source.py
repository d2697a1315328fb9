"""Laws of sources: any iterable, opened at a place, gives exactly what the uninterrupted iteration gave from there."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from torchvision.transforms import v2

from loopwright._seed import capture_rng, restore_rng, seed_everything
from loopwright.data._loader import Loader
from loopwright.data._loader_source import LoaderSource
from loopwright.data._source import IterableSource, count_samples, open_source
from loopwright.data._transforms import RandomResizedCrop

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # more workers than cores

COUNT = 22


class Noisy(Dataset):
    """Samples augmented with draws from all global generators of the process that reads them."""

    def __init__(self) -> None:
        self._pictures = [Image.new("RGB", (12, 9), (10 * index, 5, 0)) for index in range(COUNT)]
        self._transform = v2.Compose([v2.RandomResizedCrop(8), v2.ColorJitter(0.5), v2.PILToTensor()])

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[Any, int, float, float]:
        return self._transform(self._pictures[index]), index, random.random(), float(np.random.random())


class Stream(IterableDataset):
    """No length, and draws as it goes."""

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return ((index, random.random() + torch.rand(()).item()) for index in range(COUNT))


class Endless:
    """An iterable of batches without ``len``, in an order that it draws when an iteration begins."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        for indices in torch.randperm(COUNT).split(4):
            yield indices + torch.rand(len(indices))


class Batches(list):
    """A list that is read anew each time."""


SOURCES = {
    "in turn": lambda: DataLoader(Noisy(), 4),
    "shuffled": lambda: DataLoader(Noisy(), 4, shuffle=True),
    "shuffled, short batch dropped": lambda: DataLoader(Noisy(), 4, shuffle=True, drop_last=True),
    "shuffled by workers": lambda: DataLoader(Noisy(), 4, shuffle=True, num_workers=2),
    "with a generator": lambda: DataLoader(Noisy(), 4, shuffle=True, generator=torch.Generator().manual_seed(1)),
    "with a generator by workers": lambda: DataLoader(
        Noisy(), 4, shuffle=True, generator=torch.Generator().manual_seed(1), num_workers=2
    ),
    "RandomSampler": lambda: DataLoader(Noisy(), 4, sampler=RandomSampler(Noisy(), replacement=True, num_samples=30)),
    "RandomSampler with a generator": lambda: DataLoader(
        Noisy(), 4, sampler=RandomSampler(Noisy(), generator=torch.Generator().manual_seed(1))
    ),
    "SubsetRandomSampler": lambda: DataLoader(Noisy(), 4, sampler=SubsetRandomSampler(range(3, 20))),
    "WeightedRandomSampler": lambda: DataLoader(Noisy(), 4, sampler=WeightedRandomSampler([1.0] * COUNT, 30)),
    "DistributedSampler": lambda: DataLoader(Noisy(), 4, sampler=DistributedSampler(Noisy(), num_replicas=2, rank=1)),
    "stream": lambda: DataLoader(Stream(), 4),
    "without length": Endless,
    "list": lambda: Batches(torch.arange(COUNT).split(4)),
    "lists of lists": lambda: [[torch.arange(3), "a"], [torch.arange(2), "b"], [torch.arange(3), "c"]],
}
WITHOUT_ORDER = {"in turn", "stream", "list", "lists of lists"}


def numpy_state() -> list[int]:
    state = np.random.get_state(legacy=False)["state"]
    return [*state["key"].tolist(), state["pos"]]


def flat(batch: Any) -> Any:
    if isinstance(batch, torch.Tensor):
        return [batch.dtype, batch.tolist()]
    return [flat(part) for part in batch] if isinstance(batch, list | tuple) else batch


def train(source: Any, epoch: int, drawn: int, stop: int | None = None) -> tuple[list[Any], dict[str, Any], int]:
    """Steps that draw from every generator between batches, as dropout does; the state as a checkpoint would have it."""
    seen = []
    for batch in source.open(epoch, 0, drawn):
        seen.append((flat(batch.data), batch.samples, batch.last))
        torch.rand(3), random.random(), np.random.random()
        drawn += batch.drawn
        if len(seen) == stop:
            break
    return seen, {"rng": capture_rng(), "source": source.state_dict()}, drawn


@pytest.mark.parametrize("name", SOURCES)
def test_a_replay_to_a_place_gives_the_rest_of_the_epoch(name: str) -> None:
    for stop in (1, 3) if "workers" in name else (1, 2, 3):
        seed_everything(stop)
        loader = SOURCES[name]()
        whole = [step for epoch in (0, 1, 2) for step in train(IterableSource(loader), epoch, 0)[0]]
        seed_everything(stop)
        first = SOURCES[name]()
        seen = train(IterableSource(first), 0, 0)[0]  # an epoch, then some of the next
        more, checkpoint, drawn = train(IterableSource(first), 1, 0, stop)
        seed_everything(99)  # another process, its generators elsewhere
        second = SOURCES[name]()
        source = IterableSource(second)
        source.load_state_dict(checkpoint["source"])
        restore_rng(checkpoint["rng"])
        rest = train(source, 1, drawn)[0]
        last = train(IterableSource(second), 2, 0)[0]
        assert seen + more + rest + last == whole


@pytest.mark.parametrize("name", sorted(set(SOURCES) - WITHOUT_ORDER))
def test_epochs_have_orders_of_their_own(name: str) -> None:
    loader = SOURCES[name]()
    first, second = (train(IterableSource(loader), epoch, 0)[0] for epoch in (0, 1))
    assert first != second


@pytest.mark.parametrize("name", SOURCES)
def test_only_the_last_batch_of_a_known_length_is_told_to_be_the_last(name: str) -> None:
    source = IterableSource(SOURCES[name]())
    whole = [batch.last for batch in source.open(0, 0, 0)]
    known = source.length() is not None
    assert whole == [False] * (len(whole) - 1) + [known]
    drawn = next(source.open(0, 0, 0)).drawn
    assert [batch.last for batch in source.open(0, 0, drawn)] == whole[1:]


def test_a_replay_to_the_end_leaves_nothing() -> None:
    source = IterableSource(SOURCES["shuffled"]())
    _, _, drawn = train(source, 0, 0)
    assert drawn == COUNT
    assert train(source, 0, drawn)[0] == []


@pytest.mark.parametrize("name", ["shuffled", "without length", "shuffled by workers"])
def test_a_replay_leaves_the_generators_as_they_were(name: str) -> None:
    source = IterableSource(SOURCES[name]())
    train(source, 0, 0)
    before = random.getstate(), numpy_state(), torch.get_rng_state().tolist()
    assert list(source.open(0, 0, COUNT)) == []
    assert (random.getstate(), numpy_state(), torch.get_rng_state().tolist()) == before


def test_batches_are_the_iterables_own() -> None:
    batches = [torch.zeros(3), {"image": torch.zeros(2, 1)}, ["no tensor"]]
    opened = list(IterableSource(batches).open(0, 0, 0))
    assert all(one.data is batch for one, batch in zip(opened, batches, strict=True))
    assert [(one.samples, one.drawn) for one in opened] == [(3, 3), (2, 2), (1, 1)]


@pytest.mark.parametrize("name", SOURCES)
def test_the_length_is_that_of_the_iterable_where_it_has_one(name: str) -> None:
    loader = SOURCES[name]()
    length = IterableSource(loader).length()
    if name in ("stream", "without length"):
        assert length is None
    else:
        assert length == sum(1 for _ in loader)


def test_only_reading_that_draws_here_must_wait_its_turn() -> None:
    assert IterableSource(SOURCES["shuffled"]()).draws_here
    assert IterableSource([torch.zeros(1)]).draws_here
    assert not IterableSource(SOURCES["shuffled by workers"]()).draws_here
    assert not LoaderSource(Loader(range(3), 1, workers=0)).draws_here


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_is_opened_anywhere_at_once(workers: int) -> None:
    pictures = [Image.new("RGB", (12, 9), (10 * index, 5, 0)) for index in range(COUNT)]
    loader = Loader(pictures, 4, transform=RandomResizedCrop(8), shuffle=True, workers=workers)
    whole = train(open_source(loader), 3, 0)[0]
    assert open_source(loader).length() == len(whole) == 6
    for stop in (1, 4):
        seen, checkpoint, drawn = train(open_source(loader), 3, 0, stop)
        source = open_source(loader)
        source.load_state_dict(checkpoint["source"])
        assert seen + train(source, 3, drawn)[0] == whole
    loader.close()


def test_a_loader_without_a_seed_takes_the_runs() -> None:
    loader = Loader(range(9), 3, shuffle=True, workers=0)
    orders = {seed: [flat(batch.data) for batch in open_source(loader).open(0, seed, 0)] for seed in (0, 1)}
    assert orders[0] != orders[1]
    own = Loader(range(9), 3, shuffle=True, workers=0, seed=1)
    assert [flat(batch.data) for batch in open_source(own).open(0, 0, 0)] == orders[1]


def test_the_kind_of_a_source_is_chosen_by_the_loader() -> None:
    loader = Loader(range(3), 1, workers=0)
    assert isinstance(open_source(loader), LoaderSource)
    assert open_source(loader).normalize is loader.normalize
    for other in (SOURCES["shuffled"](), [1, 2], Endless()):
        assert isinstance(open_source(other), IterableSource)
        assert open_source(other).normalize is None


@pytest.mark.parametrize(
    ("batch", "count"),
    [
        (torch.zeros(5, 2), 5),
        (torch.tensor(3.0), 1),
        ([torch.zeros(4, 3), torch.zeros(9)], 4),
        ({"names": ["a", "b"], "image": torch.zeros(2, 3)}, 2),
        (["a", "b"], 1),
        ({}, 1),
        (None, 1),
    ],
    ids=str,
)
def test_a_batch_counts_as_its_first_tensor(batch: Any, count: int) -> None:
    assert count_samples(batch) == count
