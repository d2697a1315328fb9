"""Laws of caching: the same bits as without, within the limit, never a half-written item, whoever is killed when."""

import copy
import itertools
import json
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from conftest import forked
from counted import Counted, read_all
from PIL import Image
from test_codec import same

import loopwright as lw
from loopwright._errors import ConfigError, DataError
from loopwright.data import _arena, _cached, _shelf
from loopwright.data._arena import Arena
from loopwright.data._shared import Mutex, SharedMemory
from loopwright.data._shelf import Shelf, Stamp
from loopwright.data._size import parse_size

TRANSFORMS = {"random": lw.RandomResizedCrop(24), "reduced": lw.RandomResizedCrop(9), "central": lw.CenterCrop(24)}
ENGINES = [("ring", 2), ("threads", 3), ("processes", 2), ("here", 0)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> lw.ImageFolder:
    """Some embedded photos, one gray, one PNG, each orientation, and some that may be read at a reduced size."""
    folder = tmp_path_factory.mktemp("photos")
    found = sorted((lw.demo_photos() / "val").rglob("*.jpg"))[::8]
    for number, path in enumerate(found):
        target = folder / f"class{number % 3}" / f"{number:02d}.jpg"
        target.parent.mkdir(exist_ok=True)
        with Image.open(path) as picture:
            if number < 8:
                exif = Image.Exif()
                exif[0x0112] = number + 1
                picture.resize((256, 192 + number % 2)).save(target, exif=exif)
            elif number == 8:
                picture.convert("L").save(target)
            elif number == 9:
                picture.save(target.with_suffix(".png"))
            else:
                shutil.copy(path, target)
    return lw.ImageFolder(folder)


def batches(dataset: Any, engine: str = "here", workers: int = 0, name: str = "random", epochs: int = 2) -> list:
    loader = lw.Loader(
        dataset, 8, transform=TRANSFORMS[name], shuffle=True, seed=3, workers=workers, engine=engine,  # type: ignore[arg-type]
    )  # fmt: skip
    made = [batch for epoch in range(epochs) for batch in loader.epoch_batches(epoch)]
    made = [(pictures.clone(), labels) for pictures, labels in made]
    loader.close()
    return made


def equal(one: list, other: list) -> bool:
    return len(one) == len(other) and all(
        torch.equal(x, a) and torch.equal(y, b) for (x, y), (a, b) in zip(one, other, strict=True)
    )


def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, whoever reads a file fails; so do processes that are forked from now on."""

    def fail(*_: Any) -> None:
        raise DataError("a file was read")

    for name in ("PictureFile", "read_file"):
        monkeypatch.setattr(_cached, name, fail)


# The same bits


@pytest.fixture(scope="module")
def expected(photos: lw.ImageFolder) -> dict[str, list]:
    """What the files give without a cache, of each transform."""
    return {name: batches(photos, name=name) for name in TRANSFORMS}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("where", ["memory", "path"])
@pytest.mark.parametrize("what", ["pixels", "files"])
def test_batches_are_the_same_bits_as_without(
    photos: lw.ImageFolder, tmp_path: Path, expected: dict[str, list], engine: tuple[str, int], where: str, what: Any
) -> None:
    cached = lw.Cached(photos, "memory" if where == "memory" else tmp_path / "cache", what=what)
    for name in ["reduced"] if engine[0] == "processes" else TRANSFORMS:
        assert equal(batches(cached, *engine, name), expected[name])
        assert equal(batches(cached, name=name), expected[name])
    assert cached.report().samples == len(photos)


def test_pictures_are_kept_at_the_sizes_that_are_asked_for(photos: lw.ImageFolder) -> None:
    """Else the law above would say nothing about them."""
    cached = lw.Cached(photos)
    batches(cached, name="reduced")
    sizes = Counter((cached._store.held() % 4).tolist())
    assert len(sizes) >= 3 and sum(sizes.values()) > len(photos)


@pytest.mark.parametrize("limit", ["40 KB", "1 MB", "4 MB"])
@pytest.mark.parametrize("where", ["memory", "path"])
def test_whatever_fits_the_bits_are_the_same(
    photos: lw.ImageFolder, tmp_path: Path, expected: dict[str, list], limit: str, where: str
) -> None:
    cached = lw.Cached(photos, "memory" if where == "memory" else tmp_path / "cache", limit=limit)
    for name in TRANSFORMS:
        for engine, workers in ENGINES[:2]:
            assert equal(batches(cached, engine, workers, name), expected[name])
    report = cached.report()
    assert 0 < report.bytes <= parse_size(limit, "limit")
    assert (report.samples < len(photos)) == (limit != "4 MB")
    assert (report.refused > 0) == (limit != "4 MB") == ("did not fit" in str(report))


def test_an_image_folder_does_it_by_itself(photos: lw.ImageFolder, tmp_path: Path) -> None:
    for cache in ("memory", tmp_path / "cache"):
        folder = lw.ImageFolder(photos.root, cache=cache, cache_limit="50 MB")
        assert batches(folder, "ring", 2) and equal(batches(folder, "ring", 2), batches(photos))
        picture, label = folder[3]
        assert picture.mode == "RGB" and np.array_equal(picture, photos[3][0]) and label == photos[3][1]
        assert folder.cached is not None
        assert (folder.cached.report().samples, folder.cached.report().limit) == (len(photos), 50_000_000)
    assert photos.cached is None


@pytest.mark.parametrize("what", ["pixels", "files", "samples"])
def test_samples_are_those_of_the_dataset(photos: lw.ImageFolder, what: Any) -> None:
    cached = lw.Cached(photos, what=what)
    for _ in range(2):
        for index in range(len(photos)):
            (picture, label), (expected, expected_label) = cached[index], photos[index]
            assert (picture.mode, label) == ("RGB", expected_label)
            assert np.array_equal(picture, expected)


def test_whole_samples_are_those_of_a_full_decode(photos: lw.ImageFolder) -> None:
    """As the documentation says: the files themselves would be decoded at a reduced size for this transform."""

    class Whole:
        __len__, __getitem__ = photos.__len__, photos.__getitem__

    whole = lw.Cached(photos, what="samples")
    assert equal(batches(whole, name="reduced"), batches(Whole(), name="reduced"))


def test_transforms_of_others_are_given_the_same_pictures(photos: lw.ImageFolder) -> None:
    def halved(picture: Image.Image) -> Image.Image:
        return picture.rotate(random.random() * 90).resize((20, 20))

    cached = lw.Cached(photos)
    made = [
        list(lw.Loader(dataset, 8, transform=halved, seed=1, workers=workers))
        for dataset, workers in [(photos, 0), (cached, 2), (cached, 0)]
    ]
    assert equal(made[1], made[0]) and equal(made[2], made[0])


def test_a_resumed_run_goes_on_with_the_same_bits(photos: lw.ImageFolder, tmp_path: Path) -> None:
    def life(folder: Path, data: Any, workers: int, die_at: int | None = None) -> list[float]:
        sums = []
        with lw.Run(folder, seed=1, device="cpu", progress=False, save_every="2 steps") as run:
            run.register(model=run.prepare(torch.nn.Linear(2, 2)))
            train = lw.Loader(data, 4, transform=lw.RandomResizedCrop(16), shuffle=True, workers=workers)
            for _ in run.epochs(2):
                for pictures, labels in run.batches(train):
                    sums.append(float(pictures.double().sum() + labels.sum()))
                    if run.global_step == die_at:
                        raise KeyboardInterrupt
            train.close()
        return sums

    whole = life(tmp_path / "whole", photos, 0)
    with pytest.raises(KeyboardInterrupt):
        life(tmp_path / "cut", lw.Cached(photos, tmp_path / "cache"), 2, die_at=5)
    assert life(tmp_path / "cut", lw.Cached(photos, tmp_path / "cache"), 1) == whole[4:]
    assert life(tmp_path / "cached", lw.Cached(photos), 2) == whole


# Read once


@pytest.mark.parametrize("what", ["pixels", "files"])
def test_what_workers_read_serves_new_workers_and_the_training_process(
    photos: lw.ImageFolder, monkeypatch: pytest.MonkeyPatch, what: Any
) -> None:
    cached = lw.Cached(photos, what=what)
    expected = batches(cached, "processes", 2)
    no_reading(monkeypatch)
    if what == "files":
        monkeypatch.undo()
        monkeypatch.setattr(_cached, "read_file", None)
    for engine, workers in ENGINES:
        assert equal(batches(cached, engine, workers), expected)


def test_what_the_training_process_reads_serves_workers(
    photos: lw.ImageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = lw.Cached(photos)
    expected = batches(cached)
    no_reading(monkeypatch)
    assert equal(batches(cached, "ring", 2), expected)
    assert equal(batches(cached, "processes", 1), expected)


def test_a_cache_on_disk_survives_and_serves_another_run(
    photos: lw.ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def first_run() -> None:
        torch.set_num_threads(1)
        batches(lw.Cached(photos, "disk"), "threads", 2)
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(forked(first_run), 0)
    assert len(list((tmp_path / "loopwright").iterdir())) == 1
    again, expected = lw.ImageFolder(photos.root, cache="disk"), batches(photos)
    no_reading(monkeypatch)
    assert equal(batches(again, "ring", 2), expected)
    assert len(list((tmp_path / "loopwright").iterdir())) == 1  # the same one


def test_parts_tables_and_packs_work_with_it(photos: lw.ImageFolder, tmp_path: Path) -> None:
    cached = lw.Cached(photos)
    indices = [1, 5, 8, 30]
    assert equal(batches(lw.Part(cached, indices), "ring", 1), batches(lw.Part(photos, indices)))
    assert equal(batches(lw.Cached(lw.Part(photos, indices)), "ring", 1), batches(lw.Part(photos, indices)))
    lines = [
        f"{path.relative_to(photos.root)},{label}" for path, label in zip(photos.paths, photos.labels, strict=True)
    ]
    (tmp_path / "table.csv").write_text("\n".join(["path,label", *lines]))
    table = lw.Table(tmp_path / "table.csv", root=photos.root)
    on_disk = lw.Cached(table, tmp_path / "cache")
    assert on_disk.what == "pixels"
    assert equal(batches(on_disk, "ring", 1), batches(table)) and on_disk.report().samples == len(photos)
    packed = lw.pack(cached, tmp_path / "photos.pack")  # reads the files by itself
    assert np.array_equal(lw.Cached(packed)[3][0], photos[3][0])
    assert equal(batches(lw.Cached(packed)), batches(packed))


def stacked(samples: list) -> list:
    return samples


@pytest.mark.parametrize("where", ["memory", "path"])
def test_any_dataset_is_read_once_by_any_number_of_workers(tmp_path: Path, where: str) -> None:
    dataset = Counted()
    cached = lw.Cached(dataset, "memory" if where == "memory" else tmp_path / "cache", check=False)
    for workers in (2, 0, 1):
        loader = lw.Loader(cached, 3, workers=workers, collate=stacked, shuffle=True, seed=1)
        for epoch in range(2):
            found = [sample for batch in loader.epoch_batches(epoch) for sample in batch]
            expected = [s for batch in lw.Loader(Counted(), 3, workers=0, collate=stacked, shuffle=True, seed=1)
                        .epoch_batches(epoch) for s in batch]  # fmt: skip
            assert same(found, expected)
        loader.close()
    assert dataset.read() == [1] * 20


def test_samples_are_the_callers_own() -> None:
    cached = lw.Cached(Counted())
    for _ in range(3):
        sample = cached[4]
        assert same(sample, Counted()[4])
        sample["array"][:] = 7
        sample["pair"].image.zero_()
        sample["more"].append(1)


def test_it_is_a_dataset_like_the_one_inside(photos: lw.ImageFolder) -> None:
    cached = lw.Cached(photos)
    assert (len(cached), cached.classes, cached.labels, cached.counts()) == (
        len(photos), photos.classes, photos.labels, photos.counts(),
    )  # fmt: skip
    assert repr(cached) == f"Cached({photos!r}, 'memory', limit='4.0 GiB', what='pixels')"
    assert np.array_equal(cached[-1][0], photos[len(photos) - 1][0])
    assert not hasattr(lw.Cached(Counted()), "undecoded") and not hasattr(cached, "nonsense")
    with pytest.raises(IndexError, match="index 20 of 20 samples"):
        lw.Cached(Counted())[20]
    assert len(list(iter(lw.Cached(Counted())))) == 20
    assert copy.deepcopy(lw.Cached(Counted()))[3]["pair"].label == "name 3"
    with pytest.raises(TypeError, match="forked or spawned"):
        pickle.dumps(lw.Cached(Counted()))


@pytest.mark.slow
@pytest.mark.parametrize("where", ["memory", "path"])
def test_processes_that_are_spawned_share_it_too(tmp_path: Path, where: str) -> None:
    cached = lw.Cached(Counted(), "memory" if where == "memory" else tmp_path / "cache", check=False)
    cached[3]
    process = multiprocessing.get_context("spawn").Process(target=read_all, args=(cached,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert cached.report().samples == 20
    assert cached.dataset.read() == [1] * 20


def test_unreadable_pictures_are_left_out_as_without(photos: lw.ImageFolder, tmp_path: Path) -> None:
    shutil.copytree(photos.root, tmp_path / "photos")
    folder = lw.ImageFolder(tmp_path / "photos", on_error="skip")
    for number in (0, 5):
        folder.paths[number].write_bytes(b"nothing")
    cached = lw.ImageFolder(tmp_path / "photos", on_error="skip", cache="memory")
    assert equal(batches(cached, "ring", 2), batches(folder))
    assert equal(batches(cached, "processes", 2), batches(folder))
    assert folder.cached is None and cached.cached is not None
    assert cached.cached.report().samples == len(folder) - 2


# What cannot be cached


class Noisy(Counted):
    draw: Callable[[], float] = random.random

    def __getitem__(self, index: int) -> Any:
        return {"noise": float(type(self).draw()), "index": index}


def test_a_random_dataset_is_refused() -> None:
    for draw in (random.random, np.random.rand, lambda: torch.rand(())):
        kind = type("Kind", (Noisy,), {"draw": staticmethod(draw)})
        state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[union-attr]
        with pytest.raises(DataError, match="sample 0 of .* was another when it was read again"):
            lw.Cached(kind())
        assert state == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # type: ignore[union-attr]
        frozen = lw.Cached(kind(), check=False)
        assert frozen[3] == frozen[3]


def test_a_sample_that_is_found_draws_as_much_as_one_that_is_read() -> None:
    class Drawing(Counted):
        def __getitem__(self, index: int) -> Any:
            random.random(), np.random.rand(), torch.rand(())
            return index

    cached, drawn = lw.Cached(Drawing()), []
    for _ in range(2):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        cached[0]
        drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))
    assert drawn[0] == drawn[1]


class Opaque:
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return {"thing": object()}


def test_what_cannot_be_kept_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sample 0 of .* cannot be cached: the sample\[0\]\['thing'\] is a object"):
        lw.Cached(Opaque())
    with pytest.raises(ConfigError, match="nothing tells this Opaque from another one .*fingerprint="):
        lw.Cached(Opaque(), tmp_path / "cache")
    with pytest.raises(ConfigError, match="nothing tells this Subset"):
        lw.Cached(torch.utils.data.Subset(Counted(), [1]), tmp_path / "cache")  # type: ignore[arg-type]
    subset = torch.utils.data.Subset(Counted(), [1])  # type: ignore[arg-type, var-annotated]
    assert lw.Cached(subset, tmp_path / "cache", fingerprint="counted, 1")[0]["pair"].label == "name 1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": 3}, "where must be 'memory', 'disk' or a folder. Found: 3"),
        ({"limit": "much"}, "limit must be a number of bytes or a text such as '4 GiB' or '500 MB'. Found: 'much'"),
        ({"limit": -1}, "limit must be a number of bytes .*Found: -1"),
        ({"limit": 100}, "limit must be more than .*which the table of 20 items takes. Found: 100 B"),
        ({"limit": 2**62}, "of shared memory cannot be had"),
        ({"what": "pictures"}, "what must be 'samples', 'pixels' or 'files'. Found: 'pictures'"),
        ({"what": "files"}, "what='files' needs a dataset whose undecoded.* a Counted has none"),
    ],
)
def test_arguments_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lw.Cached(Counted(), **options)


# Memory: never more than its limit, never half an item


def item(key: int, size: int) -> bytes:
    return bytes([key % 251 + 1]) * size


def check_arena(arena: Arena, count: int, size: int) -> int:
    """Every item is right or absent, and no two share a byte; how many are there."""
    places = []
    for key in range(count):
        found = arena.get(key)
        if found is not None:
            assert bytes(found) == item(key, size), key
            places.append(np.frombuffer(found, np.uint8).ctypes.data)
    places.sort()
    assert all(b - a >= size for a, b in itertools.pairwise(places))
    assert arena.held().tolist() == [key for key in range(count) if arena.get(key) is not None]
    return len(places)


def test_an_arena_is_never_larger_than_its_limit() -> None:
    arena = Arena(100, 20_000)
    put = [arena.put(key, [item(key, 100 + key)]) for key in range(100)]
    assert arena.used() <= arena._memory.size == 20_000
    assert put.count(False) == arena.refused() == 6
    assert arena.held().tolist() == [key for key in range(100) if put[key]]
    assert all(bytes(arena.get(int(key))) == item(key, 100 + key) for key in arena.held())  # type: ignore[arg-type]
    small = Arena(3, Arena(3, 10**5)._start + 64 * 3)
    assert [small.put(0, [b"a" * 64]), small.put(1, [b"b" * 129]), small.put(1, [b"c" * 128])] == [True, False, True]
    assert (small.refused(), small.put(2, [b""])) == (0, True)
    assert bytes(small.get(2, 5)) == b"" and bytes(small.get(1, 5)) == b"ccccc"  # type: ignore[arg-type]


def test_pages_that_are_not_used_take_no_memory() -> None:
    arena = Arena(10, 2**36)
    arena.put(0, [bytes(1000)])
    assert os.fstat(arena._memory.descriptor).st_blocks * 512 < 2**20


def steps(code: Any, work: Callable[[], object], at: int) -> None:
    """Do some work and die, by SIGKILL, before the ``at``-th line of a module that is run on the way.

    A line in a loop counts once.
    """
    lines, seen = 0, set()

    def on_line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename != code.__file__:
            return None
        if event == "line" and frame.f_lineno not in seen:
            seen.add(frame.f_lineno)
            lines += 1
            if lines == at:
                os.kill(os.getpid(), signal.SIGKILL)
        return on_line

    sys.settrace(on_line)
    work()
    sys.settrace(None)


def killed_at_every_line(code: Any, prepare: Callable[[], Any], work: Callable[[Any], object], least: int) -> Iterator:
    """What a process leaves that is killed at the first line of its work, at the second one, ..., and by one that is not."""
    for at in range(1, 1000):
        prepared = prepare()
        status = os.waitpid(forked(lambda prepared=prepared, at=at: steps(code, lambda: work(prepared), at)), 0)[1]
        yield prepared
        if status == 0:
            assert at > least
            return
        assert os.WTERMSIG(status) == signal.SIGKILL
    raise AssertionError("it never ended")


@pytest.mark.parametrize("left_behind", [False, True])
def test_killed_at_any_line_an_item_is_whole_or_absent_and_nothing_is_locked(left_behind: bool) -> None:
    size = 1000
    parts = [item(0, size)[:400], item(0, size)[400:]]

    def arena() -> Arena:
        made = Arena(3, 24 * 1024)
        if left_behind:  # by one that came as far as half of the item
            made._fill = lambda *_: [][0]  # type: ignore[method-assign, assignment, misc]
            with pytest.raises(IndexError):
                made.put(1, [item(1, size)])
            del made._fill
        return made

    there = []
    for left in killed_at_every_line(_arena, arena, lambda arena: arena.put(0, parts), 20):
        there.append(left.get(0) is not None)
        check_arena(left, 3, size)
        assert left.put(0, parts)
        used = left.used()
        assert left.put(1, [item(1, size)])
        assert check_arena(left, 3, size) == 2
        assert left.used() - used in (0, 1024)  # what was left behind is used again
    assert there[0] is False and there[-1] is True and there == sorted(there)


def test_the_lock_opens_when_its_holder_dies() -> None:
    memory = SharedMemory(1)
    mutex = Mutex(memory.descriptor)
    ready, say = os.pipe()

    def hold() -> None:
        with mutex:
            os.write(say, b"x")
            time.sleep(60)

    holder = forked(hold)
    os.read(ready, 1)
    began = time.monotonic()
    threading.Timer(0.1, os.kill, (holder, signal.SIGKILL)).start()
    with mutex:
        assert time.monotonic() - began > 0.05
    os.waitpid(holder, 0)


def test_what_ctrl_c_leaves_half_written_is_not_read_and_its_space_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    arena = Arena(3, 24 * 1024)

    def interrupted(offset: int, parts: Any) -> None:
        arena._bytes[offset : offset + 100] = item(0, 100)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(arena, "_fill", interrupted)
        arena.put(0, [item(0, 1000)])
    used = arena.used()
    assert arena.get(0) is None and arena.put(1, [item(1, 1000)]) and arena.used() == used
    assert arena.put(0, [item(0, 1000)]) and check_arena(arena, 3, 1000) == 2


def test_writers_killed_at_random_harm_nobody() -> None:
    count, size, rng = 400, 3000, random.Random(0)
    arena = Arena(count, 1000_000)
    for _ in range(6):

        def fill(seed: int) -> None:
            order = list(range(count))
            random.Random(seed).shuffle(order)
            for key in order:
                found = arena.get(key)
                assert found is None or bytes(found) == item(key, size)
                arena.put(key, [item(key, size)[:1000], item(key, size)[1000:]])

        writers = [forked(lambda seed=seed: fill(seed)) for seed in (rng.random(), rng.random(), 1)]
        time.sleep(rng.random() * 0.01)
        for writer in writers[:2]:
            os.kill(writer, signal.SIGKILL)
        codes = [os.waitpid(writer, 0)[1] for writer in writers]
        assert codes[2] == 0 and set(codes) <= {0, signal.SIGKILL}
        check_arena(arena, count, size)
    assert arena.used() <= 1000_000
    assert check_arena(arena, count, size) > 300  # about 325 fit; what the killed left behind was used again


def test_processes_may_be_forked_at_any_moment() -> None:
    """While threads add items all the time: no child finds a lock that nobody will open."""
    count, size, stop = 20_000, 500, threading.Event()
    arena = Arena(count, 20_000_000)

    def add(start: int) -> None:
        for key in range(start, count, 3):
            if stop.is_set():
                return
            arena.put(key, [item(key, size)])

    threads = [threading.Thread(target=add, args=(start,)) for start in range(2)]
    for thread in threads:
        thread.start()

    def child(number: int) -> None:
        for key in range(count - 3 * number - 1, count - 3 * number - 60, -3):
            assert arena.put(key, [item(key, size)])
            assert bytes(arena.get(key)) == item(key, size)  # type: ignore[arg-type]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads
        for number in range(15):
            assert os.waitpid(forked(lambda number=number: child(number)), 0)[1] == 0
    stop.set()
    for thread in threads:
        thread.join()
    assert check_arena(arena, count, size) >= 15


def test_nothing_is_left_behind_by_a_killed_run(photos: lw.ImageFolder) -> None:
    def names() -> set[str]:
        return {*os.listdir("/dev/shm"), *(name for name in os.listdir("/tmp") if "loopwright" in name)}

    before = names()

    def train() -> None:
        torch.set_num_threads(1)
        batches(lw.Cached(photos), "processes", 1)
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(forked(train), 0)
    assert names() - before == set()


# Disk: complete or absent, checked, several runs


class Source(NamedTuple):
    """The stamps of a dataset without files."""

    time_ns: int = 0

    def __call__(self, key: int) -> Stamp:
        return Stamp(0, self.time_ns)


def shelf(folder: Path, limit: int = 10**7, count: int = 10, time_ns: int = 0) -> Shelf:
    return Shelf(folder, count, limit, Source(time_ns), "identity", "words")


def test_killed_at_any_line_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    parts, there, names = [b"a" * 3000, b"b" * 3000], [], map(str, range(1000))
    prepare, work = lambda: tmp_path / next(names), lambda folder: shelf(folder).put(0, parts, Stamp(0, 0))
    for folder in killed_at_every_line(_shelf, prepare, work, 60):
        made = shelf(folder)
        found = made.get(0)
        assert found is None or bytes(found) == b"".join(parts)
        there.append(found is not None)
        assert not list(folder.rglob("*.tmp"))  # swept
        assert made.used() == (8192 if there[-1] else 0)  # counted anew
        assert made.put(0, parts, Stamp(0, 0)) and made.put(1, parts, Stamp(0, 0))
        assert made.used() == 16384 == sum(-(-p.stat().st_size // 4096) * 4096 for p in folder.rglob("*.item"))
    assert there[-1] is True and there == sorted(there)


def test_several_runs_fill_one_folder_within_one_limit(tmp_path: Path) -> None:
    limit, count = 100_000, 60

    def run(seed: int) -> None:
        made = shelf(tmp_path / "cache", limit, count)
        order = list(range(count))
        random.Random(seed).shuffle(order)
        for key in order:
            found = made.get(key)
            assert found is None or bytes(found) == item(key, 3000)
            if found is None:
                made.put(key, [item(key, 3000)], Stamp(0, 0))

    for code in [os.waitpid(child, 0)[1] for child in [forked(lambda seed=seed: run(seed)) for seed in range(4)]]:
        assert code == 0
    files = list((tmp_path / "cache").rglob("*.item"))
    assert 20 <= len(files) == limit // 4096
    made = shelf(tmp_path / "cache", limit, count)
    assert made.used() == 4096 * len(files)
    assert made.held().tolist() == sorted(int(file.stem) for file in files)


def test_a_changed_source_is_read_anew(photos: lw.ImageFolder, tmp_path: Path) -> None:
    shutil.copytree(photos.root, tmp_path / "photos")
    folder = lw.ImageFolder(tmp_path / "photos")
    for what in ("pixels", "files", "samples"):
        before = batches(lw.Cached(folder, tmp_path / what, what=what))
        Image.new("RGB", (70, 50), (1, 2, 3)).save(folder.paths[4], "PNG")
        expected = batches(folder)
        assert not equal(before, expected)
        again = lw.Cached(folder, tmp_path / what, what=what)
        if what == "samples":
            assert all(np.array_equal(again[index][0], folder[index][0]) for index in range(len(folder)))
        else:
            assert equal(batches(again, "threads", 2), expected)
        times = folder.paths[4].stat()
        shutil.copy(photos.paths[4], folder.paths[4])
        os.utime(folder.paths[4], ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    folder.paths[4].unlink()
    with pytest.raises(DataError, match="no such picture"):
        batches(lw.Cached(folder, tmp_path / "pixels"))


def test_a_source_that_changes_while_it_is_read_is_not_kept_as_the_new_one(
    photos: lw.ImageFolder, tmp_path: Path
) -> None:
    shutil.copytree(photos.root, tmp_path / "photos")
    folder = lw.ImageFolder(tmp_path / "photos")

    class Slow(lw.ImageFolder):
        def __getitem__(self, index: int) -> Any:
            sample = super().__getitem__(index)
            Image.new("RGB", (7, 5)).save(self.paths[index], "PNG")  # just behind the reading
            return sample

    for what, kind in (("samples", Slow), ("pixels", lw.ImageFolder)):
        dataset = kind(tmp_path / "photos")
        cached = lw.Cached(dataset, tmp_path / what, what=what, check=False)
        if what == "pixels":
            sample = cached.undecoded(3)
            Image.new("RGB", (7, 5)).save(folder.paths[3], "PNG")
            assert sample[0].picture().size != (7, 5)
        else:
            assert cached[2][0].size != (7, 5)
        again = (
            lw.Cached(folder, tmp_path / what, what=what, check=False, fingerprint=None) if what == "pixels" else cached
        )
        assert again[3 if what == "pixels" else 2][0].size == (7, 5)


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[:-1]
    elif how == "empty":
        content = bytearray()
    elif how == "another's":
        content = bytearray(path.with_name("1.item").read_bytes())
    else:
        content[{"header": 9, "content": 3000, "magic": 0, "stamp": 30}[how]] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "empty", "another's", "header", "content", "magic", "stamp"])
def test_damage_is_noticed_and_read_anew_with_one_warning(tmp_path: Path, how: str) -> None:
    dataset = Counted(size=5000)
    list(iter(lw.Cached(dataset, tmp_path / "cache")))
    files = [tmp_path / "cache" / "00000" / f"{index}.item" for index in (0, 7)]
    for file in files:
        damage(file, how)
    cached = lw.Cached(dataset, tmp_path / "cache", check=False)
    with pytest.warns(RuntimeWarning, match=r"0\.item: (cut short|damaged); it is read anew") as caught:
        assert same([cached[index] for index in range(20)], [Counted(size=5000)[index] for index in range(20)])
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = lw.Cached(dataset, tmp_path / "cache")
        reads = dataset.read()
        assert same([again[index] for index in range(20)], [Counted(size=5000)[index] for index in range(20)])
    assert dataset.read() == reads
    assert again.report().bytes == sum(
        -(-f.stat().st_size // 4096) * 4096 for f in (tmp_path / "cache").rglob("*.item")
    )


def test_a_folder_that_is_something_else_is_refused(photos: lw.ImageFolder, tmp_path: Path) -> None:
    lw.Cached(Counted(), tmp_path / "cache")
    with pytest.raises(
        DataError, match=r"is the cache of another dataset: Counted\(20, 50\) \(samples\). Now it is Counted"
    ):
        lw.Cached(Counted(size=3), tmp_path / "cache")
    with pytest.raises(DataError, match="is the cache of another dataset"):
        lw.Cached(photos, tmp_path / "cache")
    lw.Cached(photos, tmp_path / "photos")
    with pytest.raises(DataError, match="is the cache of another dataset"):
        lw.Cached(photos, tmp_path / "photos", what="files")
    with pytest.raises(DataError, match="is not empty and no cache: give a folder of its own"):
        lw.Cached(Counted(), photos.root)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot hold a cache: .*give another folder"):
        lw.Cached(Counted(), tmp_path / "file")
    (tmp_path / "cache" / "cache.json").write_text("{")
    with pytest.raises(DataError, match="cache.json is damaged .*remove the folder"):
        lw.Cached(Counted(), tmp_path / "cache")


def test_a_dataset_that_changed_unseen_is_refused(tmp_path: Path) -> None:
    class Changed(Counted):
        def __getitem__(self, index: int) -> Any:
            return index

    list(iter(lw.Cached(Counted(), tmp_path / "cache", fingerprint="a")))
    with pytest.raises(DataError, match="sample 0 of .* is not what .* has kept of it"):
        lw.Cached(Changed(), tmp_path / "cache", fingerprint="a")


def test_a_disk_that_takes_nothing_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = lw.Cached(Counted(), tmp_path / "cache")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(RuntimeWarning, match="cannot be written .No space left on device") as caught:
        assert same([cached[index] for index in range(20)], [Counted()[index] for index in range(20)])
    assert len(caught) == 1
    assert cached.report().bytes == 0 and not list((tmp_path / "cache").rglob("*.tmp"))


def test_a_cache_holds_no_pickle(tmp_path: Path) -> None:
    cached = lw.Cached(Counted(), tmp_path / "cache")
    list(iter(cached))
    for file in (tmp_path / "cache").rglob("*.item"):
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it says
            pickle.loads(file.read_bytes())
    assert json.loads((tmp_path / "cache" / "cache.json").read_text())["dataset"] == "Counted(20, 50) (samples)"


def test_torchvisions_folder_is_known_by_its_files(photos: lw.ImageFolder, tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    shutil.copytree(photos.root, tmp_path / "photos")
    folder = ImageFolder(str(tmp_path / "photos"))
    cached = lw.Cached(folder, tmp_path / "cache")
    assert np.array_equal(cached[0][0], folder[0][0])
    Image.new("RGB", (7, 5)).save(folder.samples[0][0], "PNG")
    assert lw.Cached(folder, tmp_path / "cache")[0][0].size == (7, 5)
