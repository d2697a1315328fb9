"""Laws of the fast engine: the same batches as any other, each the loop's own, nothing left behind."""

import gc
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from conftest import forked
from PIL import Image

import loopwright as lw
from loopwright._errors import ConfigError, DataError
from loopwright.data._ring import LENT, SLOTS

TRANSFORMS = {"random": lw.RandomResizedCrop(24), "reduced": lw.RandomResizedCrop(9), "central": lw.CenterCrop(24)}
ENGINES = [("ring", 1), ("ring", 4), ("threads", 1), ("threads", 3), ("processes", 2), ("here", 0)]


@pytest.fixture(scope="module")
def photos() -> lw.ImageFolder:
    return lw.ImageFolder(lw.demo_photos(), split="val")


def loader(photos: lw.ImageFolder, engine: str, workers: int = 2, **options) -> lw.Loader:
    options = {"transform": lw.RandomResizedCrop(24), "shuffle": True, "seed": 3} | options
    return lw.Loader(photos, 16, workers=workers, engine=engine, **options)  # type: ignore[arg-type]


def same(one: list, other: list) -> bool:
    return len(one) == len(other) and all(
        torch.equal(x, a) and torch.equal(y, b) for (x, y), (a, b) in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_engine_gives_the_same_batches(photos: lw.ImageFolder, name: str) -> None:
    expected = list(loader(photos, "here", 0, transform=TRANSFORMS[name]))
    assert expected[0][0].shape[1:] == (3, TRANSFORMS[name].size, TRANSFORMS[name].size)
    for engine, workers in ENGINES:
        made = loader(photos, engine, workers, transform=TRANSFORMS[name])
        batches = list(made)
        assert same(batches, expected), (engine, workers)
        assert {x.stride() for x, _ in batches[:-1]} == {expected[0][0].stride()}
        made.close()


def test_threads_do_not_disturb_each_other(photos: lw.ImageFolder) -> None:
    """With the interpreter passed on all the time: nothing that one of them draws from may be another's."""
    here, made, before = loader(photos, "here", 0), loader(photos, "threads", 4), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for epoch in range(5):
            assert same(list(made.epoch_batches(epoch)), list(here.epoch_batches(epoch)))
        made.close()
    finally:
        sys.setswitchinterval(before)


def test_a_place_in_the_middle_is_reached_at_once(photos: lw.ImageFolder) -> None:
    ring, here = loader(photos, "ring"), loader(photos, "here")
    assert same(list(ring.epoch_batches(2, start=37)), list(here.epoch_batches(2, start=37)))


def test_the_fast_engine_is_taken_where_it_can_be_and_says_why(photos: lw.ImageFolder) -> None:
    made = {
        "ring": loader(photos, "auto"),
        "own function": loader(photos, "auto", transform=lambda picture: picture.resize((8, 8))),
        "own dataset": lw.Loader(torch.arange(4), 2, workers=1),
        "none": loader(photos, "auto", 0),
    }
    for each in made.values():
        next(iter(each))
        each.close()
    assert made["ring"].engine == "2 processes with shared memory: pictures are decoded straight into batches"
    assert made["own function"].engine == "2 processes: transform is not only a crop of loopwright's"
    assert made["own dataset"].engine.startswith("1 process: Tensor gives decoded samples")
    assert made["none"].engine == "in this process, as workers=0 asks"


def test_an_engine_that_cannot_is_refused(photos: lw.ImageFolder) -> None:
    with pytest.raises(ConfigError, match="engine='ring': transform is not only a crop"):
        next(iter(loader(photos, "ring", transform=lambda picture: picture)))
    with pytest.raises(ConfigError, match="engine must be one of 'auto', 'ring'.*Found: 'rings'"):
        loader(photos, "rings")


@pytest.mark.parametrize("engine", ["ring", "threads"])
def test_a_batch_is_the_loops_own_for_as_long_as_it_is_held(photos: lw.ImageFolder, engine: str) -> None:
    """More batches are held than the ring has slots; none is written over."""
    held = list(loader(photos, engine))
    assert len(held) > SLOTS
    copies = [(x.clone(), y.clone()) for x, y in held]
    again = loader(photos, engine)
    for _ in range(3):
        for _ in again:
            pass
    assert same(held, copies)
    assert same(held, list(loader(photos, "here")))


def test_slots_come_back_when_batches_are_let_go(photos: lw.ImageFolder) -> None:
    made = loader(photos, "ring")
    places = set()
    for _ in range(4):
        for pictures, _ in made:
            places.add(pictures.data_ptr())
    assert len(places) <= SLOTS  # nothing was copied out
    held = [pictures for pictures, _ in made]
    assert len(held) > LENT


def test_a_view_of_a_batch_keeps_it(photos: lw.ImageFolder) -> None:
    made = loader(photos, "ring")
    first = next(iter(made))[0][0, 1]
    copy = first.clone()
    gc.collect()
    for _ in range(2):
        list(made)
    assert torch.equal(first, copy)


def test_leaving_early_and_beginning_again(photos: lw.ImageFolder) -> None:
    ring, here = loader(photos, "ring"), loader(photos, "here")
    for epoch in range(5):
        for number, (batch, expected) in enumerate(
            zip(ring.epoch_batches(epoch), here.epoch_batches(epoch), strict=True)
        ):
            assert torch.equal(batch[0], expected[0])
            if number == epoch:
                break
    assert len(children()) <= 2
    ring.close()


def test_two_iterations_side_by_side(photos: lw.ImageFolder) -> None:
    ring, here = loader(photos, "ring"), loader(photos, "here")
    pairs = list(zip(ring.epoch_batches(0), ring.epoch_batches(1), strict=True))
    assert same([first for first, _ in pairs], list(here.epoch_batches(0)))
    assert same([second for _, second in pairs], list(here.epoch_batches(1)))
    ring.close()


def broken_folder(folder: Path, photos: lw.ImageFolder, broken: int = 7) -> lw.ImageFolder:
    for number, path in enumerate(photos.paths[:40]):
        target = folder / f"c{number % 2}" / f"{number:02d}.jpg"
        target.parent.mkdir(exist_ok=True)
        data = path.read_bytes()
        target.write_bytes(data[: len(data) // 3] if number % broken == 0 else data)
    return lw.ImageFolder(folder)


def test_the_unreadable_are_left_out_the_same_way(tmp_path: Path, photos: lw.ImageFolder) -> None:
    damaged = broken_folder(tmp_path, photos)
    made = {}
    for engine in ("here", "ring", "threads", "processes"):
        each = loader(damaged, engine, on_error="skip")
        made[engine] = list(each), sorted(each.skipped)
        each.close()
    batches, skipped = made["here"]
    assert len(skipped) == 6
    assert sum(len(x) for x, _ in batches) == 34
    for others, names in made.values():
        assert same(others, batches)
        assert names == skipped


@pytest.mark.parametrize("engine", ["ring", "threads"])
def test_an_unreadable_picture_is_named(tmp_path: Path, photos: lw.ImageFolder, engine: str) -> None:
    damaged = broken_folder(tmp_path, photos, broken=39)
    made = loader(damaged, engine)
    with pytest.raises(DataError, match=r"(00|39)\.jpg: not a readable picture"):
        list(made)
    with pytest.raises(DataError, match=r"(00|39)\.jpg: not a readable picture"):  # and it can be asked again
        list(made)
    made.close()


def test_a_batch_of_which_nothing_is_readable_is_passed_over(tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / f"c{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (30, 30)).save(path)
        if number % 2 == 0:
            path.write_bytes(b"")
    folder = lw.ImageFolder(tmp_path)
    options = {"transform": lw.CenterCrop(8), "on_error": "skip"}
    for engine in ("ring", "here"):
        made = lw.Loader(folder, 2, workers=1, engine=engine, **options)  # type: ignore[arg-type]
        assert [y.tolist() for _, y in made] == [[1, 1], [1, 1]]
        made.close()


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


def test_closing_ends_the_processes(photos: lw.ImageFolder) -> None:
    before = len(children())
    made = loader(photos, "ring")
    list(made)
    assert len(children()) == before + 2
    made.close()
    assert len(children()) == before
    list(made)  # begins again
    del made
    gc.collect()
    assert len(children()) == before


def test_nothing_outlives_a_killed_parent(photos: lw.ImageFolder, tmp_path: Path) -> None:
    shared = set(os.listdir("/dev/shm"))
    note = tmp_path / "pid"

    def train() -> None:
        torch.set_num_threads(1)
        iterator = iter(loader(photos, "ring"))
        next(iterator)
        note.write_text(" ".join(str(child.pid) for child in psutil.Process().children()) + "\n")
        time.sleep(60)

    parent = forked(train)
    while not note.exists() or not note.read_text().endswith("\n"):
        time.sleep(0.01)
    readers = [psutil.Process(int(pid)) for pid in note.read_text().split()]
    assert len(readers) == 2
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    for reader in readers:
        reader.wait(10)
    assert set(os.listdir("/dev/shm")) == shared


def test_the_loops_random_generators_are_left_alone(photos: lw.ImageFolder) -> None:
    for engine in ("ring", "threads"):
        torch.manual_seed(5)
        np.random.seed(5)
        state, numbers = torch.get_rng_state(), np.random.get_state()[1]
        list(loader(photos, engine))
        assert torch.equal(torch.get_rng_state(), state)
        assert np.array_equal(np.random.get_state()[1], numbers)


def test_a_resumed_run_reads_on_with_another_engine(photos: lw.ImageFolder, tmp_path: Path) -> None:
    def life(folder: Path, engine: str, die_at: int | None = None) -> list[float]:
        sums = []
        with lw.Run(folder, seed=1, device="cpu", progress=False, save_every="2 steps") as run:
            model = run.prepare(torch.nn.Linear(2, 2))
            run.register(model=model)
            train = lw.Loader(
                photos,
                32,
                transform=lw.RandomResizedCrop(16),
                shuffle=True,
                workers=2,
                engine=engine,  # type: ignore[arg-type]
            )
            for _ in run.epochs(2):
                for pictures, labels in run.batches(train):
                    sums.append(float(pictures.double().sum() + labels.sum()))
                    if run.global_step == die_at:
                        raise KeyboardInterrupt
        return sums

    whole = life(tmp_path / "whole", "here")
    with pytest.raises(KeyboardInterrupt):
        life(tmp_path / "cut", "ring", die_at=7)
    assert life(tmp_path / "cut", "threads") == whole[6:]


# ---- processes that the user forks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["ring", "threads", "processes"])
def test_a_forked_process_reads_by_itself(photos: lw.ImageFolder, engine: str) -> None:
    """Workers serve the process that began them: a child that iterates, too, has its own, and disturbs nobody."""
    made, expected = loader(photos, engine), list(loader(photos, "here", 0).epoch_batches(1))
    list(made.epoch_batches(0))  # so there are workers that wait

    def read() -> None:
        assert same(list(made.epoch_batches(1)), expected)
        made.close()

    child = forked(read)
    assert same(list(made.epoch_batches(1)), expected)
    assert os.waitpid(child, 0)[1] == 0
    assert same(list(made.epoch_batches(1)), expected)
    assert made.incidents == []
    made.close()


@pytest.mark.parametrize("engine", ["ring", "threads", "processes"])
def test_an_iteration_goes_on_in_one_process_only(photos: lw.ImageFolder, engine: str) -> None:
    """What a child does with its copy of an iteration is an error there, and no matter here."""
    made, expected = loader(photos, engine), list(loader(photos, "here", 0).epoch_batches(1))
    batches = made.epoch_batches(1)
    first = next(batches)

    def go_on() -> None:
        with pytest.raises(DataError, match="forked from it: iterate over the loader anew here"):
            next(batches)

    children = [forked(go_on), forked(batches.close)]  # type: ignore[attr-defined] - a generator
    assert same([first, *batches], expected)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    made.close()
