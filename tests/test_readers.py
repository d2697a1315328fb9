"""Laws of readers that die or hang: the batches stay the same, bit for bit, and somebody is told at which sample."""

import contextlib
import faulthandler
import fcntl
import math
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import loopwright as lw
from loopwright._errors import DataError
from loopwright.data import _crew, _engine, _reader_process, _ring
from loopwright.data._incidents import TIMES
from loopwright.data._messages import Outbox, message_pipe
from loopwright.data._ring import SLOTS

Trap = Callable[[int], None]  # given the index of a sample that a reader begins
MAIN = os.getpid()
BAD = 37


class Trapped(lw.ImageFolder):
    """Photos, some of which do something to the process that reads them."""

    trap: Trap

    def undecoded(self, index: int) -> Any:
        if os.getpid() != MAIN:
            self.trap(index)
        return super().undecoded(index)


def photos(trap: Trap = lambda index: None) -> Trapped:
    made = Trapped(lw.demo_photos(), split="val")
    made.trap = trap
    return made


def loader(dataset: Any, engine: str = "ring", workers: int = 2, **options: Any) -> lw.Loader:
    options = {"transform": lw.RandomResizedCrop(24), "shuffle": True, "seed": 3} | options
    return lw.Loader(dataset, 16, workers=workers, engine=engine, **options)  # type: ignore[arg-type]


def same(one: list, other: list) -> bool:
    return len(one) == len(other) and all(
        torch.equal(x, a) and torch.equal(y, b) for (x, y), (a, b) in zip(one, other, strict=True)
    )


def readers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if _lives(child)]


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def kill_some(rng: random.Random, most: int) -> int:
    """Kill one reader or as many as are told; how many it were."""
    found = readers()
    chosen = rng.sample(found, min(len(found), rng.choice([1, most])))
    for reader in chosen:
        with contextlib.suppress(psutil.NoSuchProcess):
            reader.kill()
    return len(chosen)


def once(marker: Path) -> bool:
    """Whether no process asked this before."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def die(number: int = signal.SIGKILL) -> None:
    faulthandler.disable()
    os.kill(os.getpid(), number)


@pytest.fixture(scope="module")
def expected() -> list:
    return list(loader(photos(), "here", 0))


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_crew, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(_crew, "HUNG_AFTER", 0.4)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    before, files = {child.pid for child in readers()}, psutil.Process().num_fds()
    yield
    assert {child.pid for child in readers()} <= before
    assert psutil.Process().num_fds() <= files + 3  # the first fork opens some for ever


@pytest.mark.parametrize("workers", [1, 3])
def test_readers_killed_between_batches_change_nothing(workers: int) -> None:
    """One or all, at random moments: while they read, and while they wait for orders."""
    rng, killed = random.Random(workers), 0
    made, here = loader(photos(lambda _: time.sleep(0.0005)), "ring", workers), loader(photos(), "here", 0)
    for epoch in range(3):
        for batch, reference in zip(made.epoch_batches(epoch), here.epoch_batches(epoch), strict=True):
            assert same([batch], [reference])
            if rng.random() < 0.4:
                time.sleep(rng.choice([0, 0, 0.001, 0.004]))
                killed += kill_some(rng, workers)
    assert 8 <= len(made.incidents) <= killed  # who is killed twice dies once; of the last ones nobody may have heard
    assert all("was ended by SIGKILL; it was at" in incident for incident in made.incidents)
    assert any(".jpg" in incident for incident in made.incidents)
    made.close()


def test_readers_killed_at_any_moment_change_nothing(expected: list) -> None:
    """A thread kills while the loop waits, and forks."""
    made, over, rng = loader(photos(lambda _: time.sleep(0.001)), "ring", 3), threading.Event(), random.Random(0)

    def kill() -> None:
        while not over.wait(rng.random() * 0.1):
            kill_some(rng, 3)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for _ in range(3):
            assert same(list(made.epoch_batches(0)), expected)
    finally:
        over.set()
        killer.join()
    assert len(made.incidents) >= 5
    made.close()


def test_leaving_early_while_readers_die() -> None:
    made, here = loader(photos(lambda _: time.sleep(0.001)), "ring", 2), loader(photos(), "here", 0)
    for epoch in range(6):
        for batch, reference in zip(made.epoch_batches(epoch), here.epoch_batches(epoch), strict=True):
            assert same([batch], [reference])
            for reader in readers()[: 1 + epoch % 2]:
                reader.kill()
            break
    assert same(list(made.epoch_batches(7)), list(here.epoch_batches(7)))
    made.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_it_is_said_who_died_at_what(expected: list, tmp_path: Path, number: signal.Signals) -> None:
    dataset = photos(lambda index: die(number) if index == BAD and once(tmp_path / "died") else None)
    made = loader(dataset)
    assert same(list(made), expected)
    [incident] = made.incidents
    assert f"was ended by {number.name}; it was at {dataset.name_of(BAD)} (sample {BAD})" in incident
    assert made.skipped == []
    made.close()


def test_a_sample_that_ends_every_reader_is_one_clear_error(expected: list) -> None:
    dataset = photos(lambda index: die() if index == BAD else None)
    made, got = loader(dataset), []
    for _ in range(2):  # and it can be asked again
        with pytest.raises(DataError) as caught:
            for batch in made.epoch_batches(0):
                got.append(batch)
        assert (
            f"{dataset.name_of(BAD)}: {TIMES} processes died or hung at it in turn; the last was ended by SIGKILL"
            in str(caught.value)
        )
        assert "Remove it, or leave it out with on_error='skip'" in str(caught.value)
        before = next(number for number, (_, labels) in enumerate(expected) if number == len(got))
        assert same(got, expected[:before])  # all that comes before it was handed out
        got.clear()
    assert len(made.incidents) == 2 * TIMES
    made.close()


@pytest.mark.parametrize("bad", [{BAD}, {5, BAD, 38, 39, 101}])
def test_samples_that_end_every_reader_are_left_out(bad: set[int]) -> None:
    class Unreadable(Trapped):
        def undecoded(self, index: int) -> Any:
            if index in bad:
                raise DataError(f"{self.name_of(index)}: of no use")
            return super().undecoded(index)

    dataset = photos(lambda index: die() if index in bad else None)
    plain = Unreadable(lw.demo_photos(), split="val")
    made, here = loader(dataset, on_error="skip"), loader(plain, "here", 0, on_error="skip")
    for epoch in range(3):
        assert same(list(made.epoch_batches(epoch)), list(here.epoch_batches(epoch)))
        assert len(made.incidents) == TIMES * len(bad)  # and not again in the next epoch
    assert len(made.skipped) == len(bad)
    assert sorted(message.split(": ")[0] for message in made.skipped) == sorted(map(dataset.name_of, bad))
    made.close()


def test_a_batch_of_nothing_but_samples_left_out(expected: list) -> None:
    first = set(range(16))
    made = loader(photos(lambda index: die() if index in first else None), on_error="skip", shuffle=False)
    here = loader(photos(), "here", 0, shuffle=False)
    assert same(list(made), list(here)[1:])
    assert len(made.skipped) == 16
    made.close()


@pytest.mark.usefixtures("_impatient")
def test_a_reader_that_hangs_is_replaced(expected: list, tmp_path: Path) -> None:
    dataset = photos(lambda index: time.sleep(100) if index == BAD and once(tmp_path / "hung") else None)
    made = loader(dataset)
    assert same(list(made), expected)
    [incident] = made.incidents
    assert f"hung, and was ended after 0.4 seconds; it was at {dataset.name_of(BAD)}" in incident
    made.close()


@pytest.mark.usefixtures("_impatient")
def test_a_sample_at_which_every_reader_hangs_is_named(tmp_path: Path) -> None:
    dataset = photos(lambda index: time.sleep(100) if index == BAD else None)
    made = loader(dataset, workers=1)
    with pytest.raises(DataError, match=rf"{dataset.name_of(BAD)}: 3 processes.*the last hung, and was ended"):
        list(made)
    made.close()


@pytest.mark.usefixtures("_impatient")
def test_a_reader_that_is_stopped_is_replaced(expected: list) -> None:
    made = loader(photos(lambda _: time.sleep(0.001)))
    iterator = iter(made)
    first = next(iterator)
    readers()[0].send_signal(signal.SIGSTOP)
    assert same([first, *iterator], expected)
    assert len(made.incidents) == 1 and "hung" in made.incidents[0]
    made.close()


@pytest.mark.usefixtures("_impatient")
def test_a_loop_that_takes_its_time_is_no_hang() -> None:
    """Readers that wait for orders, or for their messages to be taken, are as idle as the loop."""
    made = loader(photos())
    for number, _ in enumerate(made):
        if number % 5 == 0:
            time.sleep(0.6)
    assert made.incidents == []
    made.close()


def _die_behind(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, marker: Path, times: int = 1) -> None:
    """Have readers die directly behind a call, the first few times."""
    whole = getattr(owner, name)

    def deadly(self: Any, *arguments: Any) -> Any:
        value = whole(self, *arguments)
        if os.getpid() != MAIN and value is not False and any(once(marker / str(n)) for n in range(times)):
            die()
        return value

    monkeypatch.setattr(owner, name, deadly)


@pytest.mark.parametrize("times", [1, 2, 5])
def test_death_between_taking_an_order_and_saying_so(
    expected: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """What it took is found by elimination."""
    _die_behind(monkeypatch, _reader_process.Orders, "take", tmp_path, times)
    made = loader(photos())
    for _ in range(2):
        assert same(list(made.epoch_batches(0)), expected)
    assert len(made.incidents) == times
    assert all("it was at no picture" in incident for incident in made.incidents)
    made.close()


@pytest.mark.parametrize("times", [1, 2, 5])
def test_death_directly_behind_an_answer(
    expected: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """What was answered is not ordered again."""
    _die_behind(monkeypatch, Outbox, "send", tmp_path, times)
    made = loader(photos())
    for _ in range(2):
        assert same(list(made.epoch_batches(0)), expected)
    assert len(made.incidents) == times
    assert all("it was at no picture" in incident for incident in made.incidents)
    made.close()


def test_death_in_the_middle_of_an_answer(expected: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Outbox.send

    def half(self: Outbox, message: Any) -> None:
        if once(tmp_path / "died"):
            copy, end = message_pipe()
            whole(end, message)
            os.write(self._descriptor, os.read(copy.fileno(), 40))
            die()
        whole(self, message)

    monkeypatch.setattr(Outbox, "send", half)
    made = loader(photos())
    assert same(list(made), expected)
    assert len(made.incidents) == 1
    made.close()


def test_readers_that_die_faster_than_they_read_are_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reader_process, "_keep_freed_memory", lambda: os._exit(3))
    with pytest.raises(
        DataError, match=r"ended with exit code 3; it was at no picture. It is the last of 16 that died"
    ):
        next(iter(loader(photos())))


def test_where_no_process_can_be_started_the_others_go_on(expected: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_crew, "LOOK_EVERY", 0.02)
    made, possible, start = loader(photos(lambda _: time.sleep(0.001))), False, _crew.ReaderProcess

    def refuse(*arguments: Any) -> Any:
        if possible:
            return start(*arguments)
        raise BlockingIOError("Resource temporarily unavailable")

    iterator = iter(made)
    batches = [next(iterator)]
    monkeypatch.setattr(_crew, "ReaderProcess", refuse)
    readers()[0].kill()
    batches += [next(iterator) for _ in range(SLOTS)]
    assert len(readers()) == 1
    possible = True
    assert same([*batches, *iterator], expected)
    assert len(readers()) == 2
    possible = False
    for reader in readers():
        reader.kill()
    with pytest.raises(DataError, match="no process that reads pictures can be started .*temporarily unavailable"):
        list(made)
    made.close()


def test_a_small_pipe_holds_nobody_up(expected: list, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for a hundred orders, and a part for each picture: some wait in the loop, also while readers die."""
    pipe = _reader_process.Orders

    class Small(pipe):
        def __init__(self) -> None:
            super().__init__()
            fcntl.fcntl(self.given, fcntl.F_SETPIPE_SZ, 4096)

    monkeypatch.setattr(_crew, "Orders", Small)
    monkeypatch.setattr(_ring, "_MOST_ROWS", 1)
    monkeypatch.setattr(_ring, "SLOTS", 12)
    made = loader(photos(lambda _: time.sleep(0.001)))
    batches = []
    for batch in made:
        batches.append(batch)
        for reader in readers()[: 2 * (len(batches) % 2)]:
            reader.kill()
    assert same(batches, expected)
    assert len(made.incidents) > 4
    made.close()


def test_what_cannot_go_through_a_pipe_is_an_error_and_no_death() -> None:
    class Odd(lw.ImageFolder):
        def undecoded(self, index: int) -> Any:
            return super().undecoded(index)[0], lambda: index

    made = loader(Odd(lw.demo_photos(), split="val"))
    with pytest.raises(DataError, match="making the batch of samples .* failed: .*pickle"):
        list(made)
    assert made.incidents == []
    made.close()


def deadly_transform(dataset: Trapped, dies: Callable[[], bool]) -> Callable[[Any], Any]:
    deadly = dataset[BAD][0].tobytes()

    def transform(picture: Any) -> Any:
        if os.getpid() != MAIN and deadly == picture.tobytes() and dies():
            die()
        return picture.resize((8, 8))

    return transform


def test_a_worker_process_that_dies_is_named_with_its_sample() -> None:
    dataset = photos()
    made = loader(dataset, "processes", transform=deadly_transform(dataset, lambda: not time.sleep(0.3)))
    held = rf"died at {dataset.name_of(BAD)} \(sample {BAD}, in the batch of samples \d.*\)\. Did"
    for _ in range(2):
        with pytest.raises(DataError, match=held):
            list(made.epoch_batches(0))
    made.close()


def test_a_worker_process_that_dies_while_the_loop_computes_is_replaced(tmp_path: Path) -> None:
    """Nobody interrupts the loop: another team goes on with the batch that is missing."""
    dataset = photos()

    def dies() -> bool:
        while not (tmp_path / "computing").exists():
            time.sleep(0.01)
        return once(tmp_path / "died")

    transform = deadly_transform(dataset, dies)
    made = loader(dataset, "processes", transform=transform, shuffle=False, sampler=[*range(16), BAD])
    sizes = []
    for _, labels in made:
        sizes.append(len(labels))
        (tmp_path / "computing").touch()
        time.sleep(0.5)
    assert sizes == [16, 1]
    [incident] = made.incidents
    assert f"died at {dataset.name_of(BAD)} (sample {BAD}, in the batch of samples {BAD}). Others take" in incident
    made.close()


@pytest.mark.parametrize("how", ["died", "hung"])
def test_worker_processes_that_die_or_hang_change_no_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(_engine, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(_engine, "HUNG_AFTER", 0.5)
    dataset = photos()

    def ends() -> bool:
        if once(tmp_path / "ended"):
            os.kill(os.getpid(), signal.SIGKILL) if how == "died" else time.sleep(100)
        return False

    plain = list(loader(dataset, "here", workers=0, transform=lambda picture: picture.resize((8, 8))).epoch_batches(1))
    made = loader(dataset, "processes", transform=deadly_transform(dataset, ends))
    assert same(list(made.epoch_batches(1)), plain)
    [incident] = made.incidents
    assert {"died": "died at", "hung": "hung, and was ended after 0.5 seconds,"}[how] in incident
    made.close()


def test_a_long_message_comes_in_pieces() -> None:
    inbox, outbox = message_pipe()
    message = bytes(range(256)) * 4000
    sender = threading.Thread(target=lambda: [outbox.send(message) for _ in range(3)])
    sender.start()
    come: list[Any] = []
    while len(come) < 3:
        come += inbox.read()
    sender.join()
    outbox.close()
    assert come == [message] * 3
    assert inbox.read() == [] and inbox.ended
    inbox.close()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 3, 4)])
def test_tensors_arrive_as_they_were(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    inbox, outbox = message_pipe()
    sent = [torch.arange(24)[: math.prod(shape)].reshape(shape).to(dtype), torch.ones(2, 3).t().to(dtype)]
    outbox.send(sent)
    [come] = inbox.read()
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(come, sent, strict=True))
    come[1][0, 0] = 0  # the receiver's own
    inbox.close(), outbox.close()
