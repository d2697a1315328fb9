"""Laws of the Loader: a batch is a function of (seed, epoch, position), whoever makes it and whatever came before."""

import copy
import dataclasses
import gc
import itertools
import json
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, Subset, SubsetRandomSampler
from torchvision.transforms import v2

from loopwright import demo_photos
from loopwright._errors import CheckpointError, ConfigError, DataError, LoopwrightError
from loopwright._seed import permutation
from loopwright.data._folder import ImageFolder
from loopwright.data._loader import Loader
from loopwright.data._transforms import CenterCrop, Compose, RandomResizedCrop, Transform

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # more workers than cores

Pair = namedtuple("Pair", "image label")


@dataclasses.dataclass
class Sample:
    image: Any
    label: int


class Made(Dataset):
    """A dataset of whatever a function makes of an index."""

    def __init__(self, count: int, make: Any) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Any:
        return self._make(index)


@pytest.fixture(scope="module")
def photos() -> Subset:
    return Subset(ImageFolder(demo_photos(), split="val"), range(0, 230, 10))  # type: ignore[arg-type]


@pytest.fixture
def loaders() -> Iterator[Any]:
    """Make loaders whose workers end with the test."""
    made: list[Loader] = []

    def make(*arguments: Any, **options: Any) -> Loader:
        made.append(Loader(*arguments, **({"workers": 0} | options)))
        return made[-1]

    yield make
    for loader in made:
        loader.close()


def flat(batch: Any) -> list[Any]:
    """A batch as values that ``==`` compares bit by bit, memory layout included."""
    if isinstance(batch, torch.Tensor):
        return [batch.dtype, batch.shape, batch.stride(), batch.contiguous().numpy().tobytes()]
    if isinstance(batch, list | tuple):
        return [type(batch), *map(flat, batch)]
    return [batch]


def flat_epoch(loader: Loader, epoch: int = 0) -> list[Any]:
    return [flat(batch) for batch in loader.epoch_batches(epoch)]


def values(batches: Any) -> list[list[int]]:
    return [batch.tolist() for batch in batches]


def numpy_state() -> list[int]:
    state = np.random.get_state(legacy=False)["state"]
    return [*state["key"].tolist(), state["pos"]]


def global_states() -> list[Any]:
    return [
        random.getstate(),
        np.random.get_state(legacy=False)["gauss"],
        numpy_state(),
        torch.get_rng_state().tolist(),
    ]


# ---- the same batches, whoever makes them --------------------------------------------------------------------------


def with_python(picture: Image.Image) -> Image.Image:
    return picture.rotate(random.uniform(-20, 20)).resize((16, 16))


def with_numpy(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.resize((16, 16))) + np.random.normal(0, 5, (16, 16, 3))


def with_torch(picture: Image.Image) -> torch.Tensor:
    return v2.functional.pil_to_tensor(picture.resize((16, 16))) + torch.randn(3, 16, 16)


def standardized(picture: Image.Image) -> torch.Tensor:
    """Sums over so many numbers that torch would share them among its threads."""
    pixels = v2.functional.pil_to_tensor(picture.resize((224, 224))).float()
    return (pixels - pixels.mean()) / pixels.std()


class Drawing(Transform):
    def __call__(self, picture: Any, rng: random.Random) -> Any:
        return picture, rng.random(), random.random(), float(np.random.random()), torch.rand(1, dtype=torch.float64)


TRANSFORMS = {
    "loopwright": RandomResizedCrop(24),
    "torchvision": v2.Compose(
        [
            v2.RandomResizedCrop(24),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
            v2.RandomApply([v2.GaussianBlur(5)]),
            v2.RandomRotation((-20, 20)),
            v2.TrivialAugmentWide(),
            v2.ToImage(),
            v2.RandomErasing(0.5),
            v2.ToDtype(torch.float32, scale=True),
        ]
    ),
    "python": with_python,
    "numpy": with_numpy,
    "torch": with_torch,
    "sums": standardized,
    "all": Compose([with_python, RandomResizedCrop(16), v2.RandomHorizontalFlip(), with_torch, Drawing()]),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_any_number_of_workers_gives_the_same_bits(name: str, photos: Subset, loaders: Any) -> None:
    reference = loaders(photos, 5, transform=TRANSFORMS[name], shuffle=True, seed=7)
    expected = [flat_epoch(reference, epoch) for epoch in (0, 1)]
    assert expected[0] != expected[1]
    for workers in (1, 2, 4) if name == "loopwright" else (2,):
        loader = loaders(photos, 5, transform=TRANSFORMS[name], shuffle=True, seed=7, workers=workers)
        assert [flat_epoch(loader, epoch) for epoch in (0, 1)] == expected


def test_the_same_sample_is_augmented_anew_each_epoch(photos: Subset, loaders: Any) -> None:
    loader = loaders(photos, 5, transform=RandomResizedCrop(24))
    for first, second in zip(loader.epoch_batches(0), loader.epoch_batches(1), strict=True):
        assert torch.equal(first[1], second[1])  # not shuffled: the labels are the same
        assert not any(torch.equal(a, b) for a, b in zip(first[0], second[0], strict=True))


def test_a_sample_does_not_depend_on_its_neighbours(photos: Subset, loaders: Any) -> None:
    together = torch.cat([images for images, _ in loaders(photos, 7, transform=RandomResizedCrop(24)).epoch_batches(3)])
    alone = [images for images, _ in loaders(photos, 1, transform=RandomResizedCrop(24)).epoch_batches(3)]
    assert torch.equal(together, torch.cat(alone))


def test_another_seed_is_another_order_and_augmentation(photos: Subset, loaders: Any) -> None:
    loader = loaders(photos, 23, transform=RandomResizedCrop(24))
    plain, other, again = (next(loader.loaded_batches(0, seed=seed)).data[0] for seed in (0, 1, 0))
    assert torch.equal(plain, again)
    assert not torch.equal(plain, other)
    own = loaders(photos, 23, transform=RandomResizedCrop(24), seed=1)
    assert torch.equal(next(own.loaded_batches(0, seed=99)).data[0], other)  # its own seed comes first


@pytest.mark.parametrize("workers", [0, 2])
def test_the_process_keeps_its_own_randomness(workers: int, photos: Subset, loaders: Any) -> None:
    random.gauss(0, 1), np.random.normal()  # both hold a number for the next call
    before, threads = global_states(), torch.get_num_threads()
    loader = loaders(photos, 5, transform=TRANSFORMS["all"], shuffle=True, workers=workers)
    for number, _ in enumerate(itertools.chain(loader, loader)):
        assert global_states() == before, number
    next(iter(loader))
    len(loader), repr(loader), loader.state_dict()
    loader.close()
    assert global_states() == before
    assert torch.get_num_threads() == threads


def test_numbers_drawn_between_batches_change_nothing(photos: Subset, loaders: Any) -> None:
    loader = loaders(photos, 5, transform=TRANSFORMS["all"], shuffle=True)
    expected, seen = flat_epoch(loader), []
    for batch in loader.epoch_batches(0):
        seen.append(flat(batch))
        torch.rand(3), random.random(), np.random.random()
        torch.manual_seed(0)
    assert seen == expected


# ---- position arithmetic -------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 70),
    st.booleans(),
    st.booleans(),
    st.integers(),
    st.integers(0, 9),
    st.integers(0, 80),
)
def test_batches_are_the_slices_of_the_order_from_any_place(
    count: int, size: int, drop_last: bool, shuffle: bool, seed: int, epoch: int, start: int
) -> None:
    if drop_last and size > count:
        with pytest.raises(ConfigError, match="leaves nothing"):
            Loader(range(count), size, drop_last=True, workers=0)
        return
    loader = Loader(range(count), size, drop_last=drop_last, shuffle=shuffle, seed=seed, workers=0)
    order = permutation(seed, epoch, count).tolist() if shuffle else list(range(count))
    rest = order[start:]
    expected = [rest[place : place + size] for place in range(0, len(rest), size)]
    if drop_last:
        expected = [batch for batch in expected if len(batch) == size]
    assert values(loader.epoch_batches(epoch, start=start)) == expected
    if start == 0:
        assert len(loader) == len(expected)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.booleans(), st.data())
def test_what_was_seen_and_what_is_left_are_the_epoch(count: int, size: int, drop_last: bool, data: Any) -> None:
    def loader() -> Loader:
        return Loader(range(count), min(size, count), drop_last=drop_last, shuffle=True, workers=0)

    whole = [*values(loader()), *values(loader().epoch_batches(1))]
    first, second = loader(), loader()
    taken = data.draw(st.integers(0, len(first)))
    seen = values(itertools.islice(first, taken))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert seen + values(second) + values(second) == whole


@settings(deadline=None)
@given(st.integers(1, 80), st.integers(1, 20))
def test_every_sample_comes_exactly_once(count: int, size: int) -> None:
    loader = Loader(range(count), size, shuffle=True, workers=0)
    for _ in range(2):
        assert sorted(itertools.chain(*values(loader))) == list(range(count))


def test_len_is_the_number_of_batches() -> None:
    assert [len(Loader(range(10), size, workers=0)) for size in (1, 3, 5, 10, 11)] == [10, 4, 2, 1, 1]
    assert [len(Loader(range(10), size, workers=0, drop_last=True)) for size in (1, 3, 5, 10)] == [10, 3, 2, 1]
    assert len(Loader(range(10), 4, workers=0, sampler=[1, 2, 3, 4, 5])) == 2


# ---- going on ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0), (2, 4), (4, 1)])
@pytest.mark.parametrize("taken", [1, 3])
def test_going_on_with_other_workers_changes_nothing(
    before: int, after: int, taken: int, photos: Subset, loaders: Any
) -> None:
    options = {"transform": TRANSFORMS["all"], "shuffle": True, "seed": 3}
    reference = loaders(photos, 4, **options)
    whole = flat_epoch(reference, 0) + flat_epoch(reference, 1)
    first, second = loaders(photos, 4, workers=before, **options), loaders(photos, 4, workers=after, **options)
    iterator = iter(first)
    seen = [flat(next(iterator)) for _ in range(taken)]
    if taken == 3:
        time.sleep(0.2)  # the workers read ahead as far as they may
    second.load_state_dict(first.state_dict())
    rest = [flat(batch) for batch in itertools.chain(second, second)]
    assert seen + rest == whole


def test_a_place_between_two_epochs_begins_the_next() -> None:
    first, second = (Loader(range(10), 4, shuffle=True, workers=0) for _ in range(2))
    values(first)
    assert first.state_dict()["epoch"] == 1
    second.load_state_dict(first.state_dict())
    assert values(second) == values(first.epoch_batches(1))


def test_a_place_after_the_last_batch_leaves_nothing_of_the_epoch() -> None:
    first, second = (Loader(range(10), 4, shuffle=True, drop_last=True, workers=0) for _ in range(2))
    iterator = iter(first)
    next(iterator), next(iterator)
    second.load_state_dict(first.state_dict())
    assert values(second) == []
    assert values(second) == values(first.epoch_batches(1))


def test_going_on_with_another_batch_size_repeats_and_loses_nothing() -> None:
    first, second = Loader(range(20), 4, shuffle=True, workers=0), Loader(range(20), 7, shuffle=True, workers=0)
    seen = values(itertools.islice(first, 2))
    second.load_state_dict(first.state_dict())
    assert sorted(itertools.chain(*seen, *values(second))) == list(range(20))


@pytest.mark.parametrize("options", [{"dataset": range(11)}, {"seed": 1}, {"sampler": [1, 2, 3]}])
def test_a_place_in_another_order_is_refused(options: dict[str, Any]) -> None:
    state = Loader(range(10), 4, workers=0).state_dict()
    other = Loader(**({"dataset": range(10), "batch_size": 4, "workers": 0} | options))
    with pytest.raises(CheckpointError, match="the order would be another"):
        other.load_state_dict(state)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_iteration_that_is_left_early_is_followed_by_the_next_epoch(workers: int, loaders: Any) -> None:
    loader = loaders(range(40), 4, shuffle=True, workers=workers)
    epochs = [values(loader.epoch_batches(epoch)) for epoch in range(3)]
    assert next(iter(loader)).tolist() == epochs[0][0]
    seen = []
    for batch in loader:
        seen.append(batch.tolist())
        if len(seen) == 3:
            break
    assert seen == epochs[1][:3]
    assert values(loader) == epochs[2]


@pytest.mark.parametrize("workers", [0, 2])
def test_iterations_within_each_other_are_complete(workers: int, loaders: Any) -> None:
    loader = loaders(range(12), 4, shuffle=True, workers=workers)
    expected = [values(loader.epoch_batches(epoch)) for epoch in range(2)]
    outer = []
    for batch in loader:
        outer.append(batch.tolist())
        assert values(loader) == expected[1]
    assert outer == expected[0]
    both = zip(loader.epoch_batches(0), loader.epoch_batches(1), strict=True)
    assert [(a.tolist(), b.tolist()) for a, b in both] == list(zip(*expected, strict=True))


def test_an_iteration_that_is_only_held_disturbs_no_other(loaders: Any) -> None:
    loader = loaders(range(40), 4, shuffle=True, workers=2)
    held = loader.epoch_batches(0)
    first = next(held).tolist()
    assert values(loader.epoch_batches(1)) == values(loaders(range(40), 4, shuffle=True).epoch_batches(1))
    assert [first, *values(held)] == values(loader.epoch_batches(0))


@pytest.mark.parametrize("engine", ["ring", "threads", "processes", "here"])
def test_a_copy_of_a_loader_that_was_read_has_workers_of_its_own(engine: Any, loaders: Any) -> None:
    photos = ImageFolder(demo_photos(), split="val")
    one = loaders(photos, 64, transform=CenterCrop(8), shuffle=True, engine=engine, workers=2)
    expected = flat_epoch(one)
    for other in (copy.deepcopy(one), copy.copy(one), pickle.loads(pickle.dumps(one))):
        assert flat_epoch(other) == expected
        other.close()
    assert flat_epoch(one) == expected


def test_workers_end_with_their_loader() -> None:
    before = set(multiprocessing.active_children())
    loader = Loader(range(40), 4, workers=2)
    next(iter(loader))
    assert len(set(multiprocessing.active_children()) - before) == 2
    loader.close()
    assert set(multiprocessing.active_children()) <= before
    assert len(values(loader)) == 10  # new ones
    gc.disable()
    try:
        del loader  # ends them at once, without the garbage collector
        assert set(multiprocessing.active_children()) <= before
    finally:
        gc.enable()


def test_workers_are_kept_from_epoch_to_epoch(loaders: Any) -> None:
    loader = loaders(Made(8, lambda index: os.getpid()), 2, workers=2)
    assert set(itertools.chain(*values(loader))) == set(itertools.chain(*values(loader)))


DYING = """
import multiprocessing, os, pathlib, sys, time
from loopwright import DataError, Loader

class Dying:
    def __len__(self):
        return 12

    def __getitem__(self, index):
        mark = pathlib.Path(sys.argv[1])  # of three deaths, after which a sample is held to be the cause
        deaths = len(list(mark.glob("*")))
        if index == 5 and multiprocessing.current_process().daemon and deaths < 3:
            (mark / str(deaths)).touch()
            time.sleep(0.3)  # until the batches before are received
            os._exit(1)
        return index

loader = Loader(Dying(), 2, workers=1)
try:
    list(loader)
    print("no error")
except DataError as error:
    print("worker processes failed" in str(error))
print(sum(batch.sum().item() for batch in loader.epoch_batches(0)))
"""


def test_after_a_worker_died_one_can_iterate_again(tmp_path: Path) -> None:
    """In a process of its own: torch may raise in the main thread, wherever it is, when a worker dies."""
    run = subprocess.run([sys.executable, "-c", DYING, tmp_path], capture_output=True, text=True, check=False)
    assert run.stdout.split() == ["True", "66"], run.stderr


def sum_within(index: int) -> int:
    return sum(batch.sum().item() for batch in Loader(range(index + 1), 2, workers=2))


def test_a_loader_within_a_worker_reads_by_itself(loaders: Any) -> None:
    assert values(loaders(Made(4, sum_within), 4, workers=1)) == [[0, 1, 3, 6]]


SPAWNED = """
import multiprocessing, sys
from loopwright import Loader, LoopwrightError

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    print(sum(len(batch) for batch in Loader(range(4), 2, workers=1, sample_transform=float)))
    try:
        list(Loader(range(4), 2, workers=1, sample_transform=lambda number: number))
    except LoopwrightError as error:
        print(error)
"""


def test_what_cannot_be_sent_to_a_spawned_worker_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "spawned.py").write_text(SPAWNED)
    command = [sys.executable, "-W", "ignore", tmp_path / "spawned.py"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    samples, message = run.stdout.splitlines()
    assert samples == "4"
    assert message.startswith(
        "worker processes are started by 'spawn' here, and what they work with cannot be sent there"
    )
    assert "lambda" in message and "set_start_method('fork')" in message


# ---- samplers, weights, collate ------------------------------------------------------------------------------------


def test_weights_are_frequencies(loaders: Any) -> None:
    loader = loaders(range(4), 4, weights=[0, 1, 2, 5])
    drawn = [index for epoch in range(1000) for batch in values(loader.epoch_batches(epoch)) for index in batch]
    counted = np.bincount(drawn, minlength=4)
    assert counted[0] == 0
    assert ((counted[1:] - np.array([500, 1000, 2500])) ** 2 / np.array([500, 1000, 2500])).sum() < 13.8  # 99.9 %


@pytest.mark.parametrize(
    "sampler",
    [
        lambda: RandomSampler(range(30)),
        lambda: RandomSampler(range(30), generator=torch.Generator().manual_seed(1)),
        lambda: RandomSampler(range(30), replacement=True, num_samples=50),
        lambda: SubsetRandomSampler(range(10, 30)),
    ],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_torchs_samplers_can_be_gone_on_with(sampler: Any, workers: int, loaders: Any) -> None:
    first, second = (loaders(range(30), 4, sampler=sampler(), workers=workers) for _ in range(2))
    whole = values(first.epoch_batches(0)) + values(first.epoch_batches(1))
    seen = values(itertools.islice(first, 3))
    torch.rand(5)
    second.load_state_dict(first.state_dict())
    assert seen + values(second) + values(second) == whole


@pytest.mark.parametrize("workers", [0, 2])
def test_a_collate_of_the_users_own_is_given_the_samples(workers: int, loaders: Any) -> None:
    loader = loaders(["a", "bb", "ccc"], 2, collate=lambda samples: ["+".join(samples)], workers=workers)
    assert list(loader) == [["a+bb"], ["ccc"]]
    uneven = Made(3, lambda index: torch.arange(index))
    batches = list(loaders(uneven, 3, collate=list, workers=workers))
    assert [tensor.tolist() for tensor in batches[0]] == [[], [0], [0, 1]]


# ---- samples of all kinds ------------------------------------------------------------------------------------------


def picture(index: int = 0) -> Image.Image:
    return Image.new("RGB", (8 + index, 8), (index, 0, 0))


SAMPLES = {
    "picture": (picture, lambda batch: batch),
    "tuple": (lambda index: (picture(index), index), lambda batch: batch[0]),
    "list": (lambda index: [picture(index), index], lambda batch: batch[0]),
    "named tuple": (lambda index: Pair(picture(index), index), lambda batch: batch.image),
    "dictionary": (lambda index: {"label": index, "image": picture(index)}, lambda batch: batch["image"]),
    "dataclass": (lambda index: Sample(picture(index), index), lambda batch: batch.image),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_picture_of_any_kind_of_sample_is_transformed(kind: str, loaders: Any) -> None:
    make, image_of = SAMPLES[kind]
    (batch,) = loaders(Made(3, make), 3, transform=CenterCrop(4))
    images = image_of(batch)
    assert (images.shape, images.dtype) == ((3, 3, 4, 4), torch.uint8)
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2]
    if kind not in ("picture", "tuple", "list"):
        assert type(batch).__name__ in ("Pair", "dict", "Sample")
        label = batch["label"] if kind == "dictionary" else batch.label
        assert label.tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", SAMPLES)
def test_workers_hand_over_any_kind_of_sample(kind: str, loaders: Any) -> None:
    options = {"transform": CenterCrop(4)}
    dataset = Made(5, SAMPLES[kind][0])
    ours, theirs = (list(loaders(dataset, 2, workers=workers, **options)) for workers in (0, 1))
    assert [type(batch) for batch in ours] == [type(batch) for batch in theirs]
    assert [flat(SAMPLES[kind][1](b)) for b in ours] == [flat(SAMPLES[kind][1](b)) for b in theirs]


def test_the_sample_transform_is_given_the_whole_sample_after_the_picture_was_transformed(loaders: Any) -> None:
    def both(sample: tuple[Image.Image, int]) -> tuple[int, int]:
        return sample[0].width, -sample[1]

    (batch,) = loaders(Made(3, SAMPLES["tuple"][0]), 3, transform=CenterCrop(4), sample_transform=both)
    assert [column.tolist() for column in batch] == [[4, 4, 4], [0, -1, -2]]


def test_tensors_are_samples_too(loaders: Any) -> None:
    data = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat(list(loaders(data, 2))), data)
    halves = loaders(data, 5, transform=lambda tensor: tensor / 2)
    assert torch.equal(next(iter(halves)), data / 2)


def test_strings_and_numbers_are_samples_too(loaders: Any) -> None:
    assert list(loaders(["a", "b", "c"], 2)) == [["a", "b"], ["c"]]
    assert values(loaders([1, 2, 3], 2)) == [[1, 2], [3]]
    assert values(loaders(np.array([1.5, 2.5]), 2)) == [[1.5, 2.5]]
    assert list(loaders({0: "a", 1: "b"}, 2)) == [["a", "b"]]
    assert list(loaders(["a", "b"], 2, transform=str.upper)) == [["A", "B"]]


class Stream(IterableDataset):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


@pytest.mark.parametrize("dataset", [Stream(), (number for number in range(3)), 7, None])
def test_what_has_no_length_is_refused_with_what_to_do(dataset: Any) -> None:
    with pytest.raises(DataError, match=rf"a {type(dataset).__name__} has no len\(\).*run\.batches takes any iterable"):
        Loader(dataset, 4, workers=0)


def test_floats_of_torchvision_are_not_normalised_twice(photos: Subset, loaders: Any) -> None:
    by_torchvision = v2.Compose(
        [
            CenterCrop(24),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    plain = loaders(photos, 8, transform=CenterCrop(24))
    theirs = loaders(photos, 8, transform=by_torchvision)
    (as_bytes, _), (floats, _) = next(iter(plain)), next(iter(theirs))
    assert (as_bytes.dtype, floats.dtype) == (torch.uint8, torch.float32)
    assert theirs.normalize(floats) is floats
    assert torch.allclose(plain.normalize(as_bytes), floats, atol=2e-6)


# ---- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures, of which 1 and 4 to 7 cannot be read: with batches of 4, the second has none."""
    root = tmp_path_factory.mktemp("damaged")
    (root / "cat").mkdir()
    for number in range(12):
        path = root / "cat" / f"{number:02}.png"
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
        if number in (1, 4, 5, 6, 7):
            path.write_bytes(path.read_bytes()[:50])
    return root


def numbers(batches: Any) -> list[list[int]]:
    return [images[:, 0, 0, 0].tolist() for images, _ in batches]


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_pictures_are_left_out_and_listed_once(damaged: Path, workers: int, loaders: Any) -> None:
    loader = loaders(ImageFolder(damaged), 4, workers=workers, on_error="skip")
    for _ in range(2):
        assert numbers(loader) == [[0, 2, 3], [8, 9, 10, 11]]
        assert [Path(line.split(": ")[0]).name for line in loader.skipped] == [f"{n:02}.png" for n in (1, 4, 5, 6, 7)]
        assert all("not a readable picture" in line for line in loader.skipped)


@pytest.mark.parametrize("workers", [0, 2])
def test_places_stay_exact_where_pictures_are_skipped(damaged: Path, workers: int, loaders: Any) -> None:
    for size in (1, 2, 3, 4, 5):
        loader = loaders(ImageFolder(damaged, on_error="skip"), size, shuffle=True)
        whole = numbers(loader.epoch_batches(0)) + numbers(loader.epoch_batches(1))
        assert sorted(itertools.chain(*whole)) == sorted([0, 2, 3, 8, 9, 10, 11] * 2)
        length = sum(1 for _ in loader.loaded_batches(0))  # without the batches that have no readable picture
        for taken in range(1, length + 1) if workers == 0 else [1] if size == 4 else []:
            first, second = (loaders(loader.dataset, size, shuffle=True, workers=workers) for _ in range(2))
            seen = numbers(itertools.islice(first, taken))
            second.load_state_dict(first.state_dict())
            assert seen + numbers(second) + numbers(second) == whole


def test_what_was_drawn_is_counted_with_what_was_skipped(damaged: Path, loaders: Any) -> None:
    loader = loaders(ImageFolder(damaged, on_error="skip"), 4)
    assert [(batch.count, batch.drawn) for batch in loader.loaded_batches(0)] == [(3, 4), (4, 8)]
    assert [(batch.count, batch.drawn) for batch in loader.loaded_batches(0, start=4)] == [(4, 8)]


def test_an_epoch_without_any_readable_picture_is_empty(damaged: Path, loaders: Any) -> None:
    loader = loaders(Subset(ImageFolder(damaged), range(4, 8)), 2, on_error="skip")  # type: ignore[arg-type]
    assert list(loader) == []
    assert len(loader.skipped) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_picture_is_named_without_noise(damaged: Path, workers: int, loaders: Any) -> None:
    loader = loaders(ImageFolder(damaged), 4, workers=workers)
    with pytest.raises(DataError) as caught:
        list(loader)
    assert str(caught.value).startswith(f"{damaged}/cat/01.png: not a readable picture")
    assert "\n" not in str(caught.value)
    assert "Caught" not in str(caught.value)
    assert "worker" not in str(caught.value)


class ByPillow(Dataset):
    """A dataset of other people's: it raises what Pillow raises."""

    def __init__(self, root: Path) -> None:
        self._paths = sorted(root.rglob("*.png"))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        with Image.open(self._paths[index]) as opened:
            return opened.convert("RGB"), 0


@pytest.mark.parametrize("workers", [0, 1])
def test_files_that_the_datasets_of_others_cannot_read_are_skipped_too(
    damaged: Path, workers: int, loaders: Any
) -> None:
    loader = loaders(ByPillow(damaged), 4, on_error="skip", workers=workers)
    assert numbers(loader) == [[0, 2, 3], [8, 9, 10, 11]]
    assert [line.partition(":")[0] for line in loader.skipped] == [f"sample {n}" for n in (1, 4, 5, 6, 7)]
    with pytest.raises(DataError, match="making the batch of samples 0, 1, 2, 3 failed"):
        list(loaders(ByPillow(damaged), 4, workers=workers))


class Unpicklable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("cannot cross processes")


def broken_transform(picture: Any) -> Any:
    if picture == 6:
        raise Unpicklable(1, 2)
    return picture


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_mistake_in_the_users_transform_shows_its_samples_and_traceback(
    workers: int, on_error: str, loaders: Any
) -> None:
    loader = loaders(range(12), 4, transform=broken_transform, workers=workers, on_error=on_error)
    iterator = iter(loader)
    assert next(iterator).tolist() == [0, 1, 2, 3]
    with pytest.raises(DataError) as caught:
        next(iterator)
    text = str(caught.value)
    assert text.startswith("making the batch of samples 4, 5, 6, 7 failed: Unpicklable: cannot cross processes\n")
    assert "in broken_transform\n    raise Unpicklable(1, 2)\n" in text
    assert "Caught" not in text
    assert values(loader.epoch_batches(0, start=8)) == [[8, 9, 10, 11]]  # the workers go on


def test_a_long_batch_names_its_first_samples_only(loaders: Any) -> None:
    with pytest.raises(DataError, match=r"samples 0, 1, 2, 3, 4, 5, \.\.\. failed: ZeroDivisionError"):
        list(loaders(range(12), 12, sample_transform=lambda number: 1 // 0))


@pytest.mark.parametrize("error", [StopIteration(), KeyError("x"), AssertionError(), OSError("disk"), MemoryError()])
def test_no_error_of_the_dataset_ends_the_epoch_in_silence(error: Exception, loaders: Any) -> None:
    def fail(index: int) -> int:
        raise error

    with pytest.raises(DataError, match=type(error).__name__):
        list(loaders(Made(3, fail), 1))


def test_loopwrights_own_errors_stay_short(loaders: Any) -> None:
    def refuse(sample: Any) -> Any:
        raise ConfigError("this is for the user")

    with pytest.raises(LoopwrightError, match="^this is for the user$"):
        list(loaders(range(3), 1, sample_transform=refuse))


@pytest.mark.parametrize("workers", [0, 1])
def test_sizes_that_differ_say_what_to_do(workers: int, loaders: Any) -> None:
    with pytest.raises(DataError, match=r"^the samples of a batch differ in shape: .* transform=lw\.RandomResizedCrop"):
        list(loaders(Made(4, picture), 4, workers=workers))


@pytest.mark.parametrize("sample", [{"picture": 1, "label": 2}, Sample.__new__(Sample)])
def test_a_sample_without_a_picture_says_what_to_do(sample: Any, loaders: Any) -> None:
    if isinstance(sample, Sample):
        sample = dataclasses.make_dataclass("Other", ["picture", "label"])(1, 2)
    with pytest.raises(DataError, match=r"Found: 'picture', 'label'\. Use sample_transform="):
        list(loaders(Made(2, lambda index: sample), 1, transform=CenterCrop(4)))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((range(10), 0), {}, "batch_size must be a whole number, 1 or more. Found: 0"),
        ((range(10), 2.0), {}, r"Found: 2\.0"),
        ((range(10), 2), {"workers": -1}, "workers must be a whole number, 0 or more. Found: -1"),
        ((range(10), 2), {"on_error": "ignore"}, "on_error must be 'raise' or 'skip'. Found: 'ignore'"),
        (([], 2), {}, "the dataset has no samples"),
        (([], 2), {"shuffle": True}, "the dataset has no samples"),
        (([], 2), {"weights": []}, "the dataset has no samples"),
        ((range(10), 11), {"drop_last": True}, "batch_size 11 with drop_last leaves nothing of 10 samples"),
        ((range(10), 2), {"shuffle": True, "sampler": [1]}, "exclude each other"),
        ((range(10), 2), {"sampler": iter([1])}, r"needs len\(\)"),
        ((range(10), 2), {"seed": 1.5}, "seed must be a whole number. Found: 1.5"),
        ((range(10), 2), {"shuffle": "yes"}, "shuffle must be True or False. Found: 'yes'"),
        ((range(10), 2), {"shuffle": None}, "shuffle must be True or False. Found: None"),
        ((range(3), 2), {"weights": "abc"}, "weights must be one number a sample: could not"),
        (("photos", 2), {}, r"Found: the path 'photos'; lw\.ImageFolder reads class folders"),
        ((Path("photos"), 2), {}, r"Found: the path 'photos'; lw\.ImageFolder reads class folders"),
        ((DataLoader([1, 2]), 2), {}, r"a DataLoader has no dataset\[index\]"),  # type: ignore[arg-type]
        ((range(10), 2), {"transform": CenterCrop}, r"is the class CenterCrop: make one of it, CenterCrop\(\.\.\.\)"),
        ((range(10), 2), {"transform": v2.ToImage}, "transform is the class ToImage"),
        ((range(10), 2), {"transform": [CenterCrop(4)]}, r"must be a function .*lw\.Compose\(\[\.\.\.\]\) makes"),
        ((range(10), 2), {"collate": "list"}, "collate must be a function or None. Found: 'list'"),
        ((range(10), 2), {"normalize": "imagenet"}, "normalize must be a function or None. Found: 'imagenet'"),
    ],
)
def test_a_wrong_setting_is_refused_when_it_is_given(arguments: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(LoopwrightError, match=message):
        Loader(*arguments, **({"workers": 0} | options))


def test_numbers_of_numpy_are_numbers_and_classes_are_functions(loaders: Any) -> None:
    made = loaders(range(10), np.int64(4), workers=np.int64(0), seed=np.int64(3), shuffle=np.True_, collate=list)
    assert list(made) == list(loaders(range(10), 4, seed=3, shuffle=True, collate=list))
    assert json.dumps(made.state_dict())


@pytest.mark.parametrize("workers", [0, 1])
def test_arrays_that_look_into_pictures_are_samples_too(workers: int, loaders: Any) -> None:
    """As the functions of albumentations give them; torch warns of such, and warnings are errors here."""
    made = loaders(Made(3, picture), 1, transform=lambda picture: np.asarray(picture)[:2, :2], workers=workers)
    assert [batch.shape for batch in made] == [(1, 2, 2, 3)] * 3


def test_a_sampler_beyond_the_dataset_is_refused(loaders: Any) -> None:
    with pytest.raises(ConfigError, match="gave index 0 to 10; the dataset has 10 samples"):
        list(loaders(range(10), 2, sampler=[0, 10]))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**64), st.integers(0, 1000))
def test_a_key_decides_a_batch(seed: int, epoch: int) -> None:
    """Two loaders that know nothing of each other agree about any batch of any epoch."""
    first, second = (
        Loader(Made(9, lambda index: index), 2, shuffle=True, sample_transform=Drawing(), seed=seed, workers=0)
        for _ in range(2)
    )
    list(itertools.islice(second, 2))
    assert flat_epoch(first, epoch) == flat_epoch(second, epoch)
