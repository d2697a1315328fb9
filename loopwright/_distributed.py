"""``Ranks``: the processes that train together, as torchrun starts them, and what they tell each other beside training.

One process is the small case: ``OneRank`` answers the same questions and waits for nobody, so nothing else asks which
of the two there is.
"""

import datetime
import functools
import os
import pickle
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

from ._errors import LoopwrightError, RunError

Said = TypeVar("Said")

RANK, SIZE, LOCAL_RANK, LOCAL_SIZE = "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"
JOB = "TORCHELASTIC_RUN_ID"
PATIENCE = datetime.timedelta(minutes=30)  # for a rank that is late
ROOM, LENGTH = 2048, 8  # bytes of what a rank says at once, and of its length


class Position(NamedTuple):
    """Which of the processes this one is: of all, and of those on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def position() -> Position:
    """As torchrun's environment variables say; the only process where they do not.

    Raises ``RunError`` where they make no sense.
    """
    told = [os.environ.get(name) for name in (RANK, SIZE)]
    if None in told:
        return Position()
    try:
        rank, size = (int(value or "") for value in told)
        local = Position(rank, size, int(os.environ.get(LOCAL_RANK, 0)), int(os.environ.get(LOCAL_SIZE, 1)))
    except ValueError:
        raise RunError(f"{RANK}={told[0]!r} and {SIZE}={told[1]!r} are no ranks: let torchrun set them") from None
    if not 0 <= rank < size:
        raise RunError(f"{RANK}={rank} is not below {SIZE}={size}: let torchrun set them")
    return local


def job() -> str | None:
    """What all attempts of the same command are called by torch's elastic agents; None where they have no name."""
    name = os.environ.get(JOB)
    return None if name in (None, "", "none") else name  # "none" is what torchrun calls those that nobody named


def alone() -> bool:
    """For what one process is enough for: rank 0 becomes the only process, the others learn that they are not needed."""
    if position().rank:
        return False
    for name in (RANK, SIZE, LOCAL_RANK, LOCAL_SIZE):
        os.environ.pop(name, None)
    return True


def is_main() -> bool:
    """Whether this process speaks for all that train together: rank 0, or the only one.

    For what a program does beside its run, such as printing a table at its end.

    >>> is_main()
    True
    """
    return position().rank == 0


class Answer(Protocol[Said]):
    """What the ranks say, when it is needed."""

    @property
    def is_here(self) -> bool:
        """Whether asking for it waits for nobody."""
        ...

    def get(self) -> list[Said]:
        """What each rank says, in the order of the ranks."""
        ...


class Ranks(Protocol):
    """All processes of a training, seen from one of them. Every method is called by all of them, in the same order."""

    position: Position

    @property
    def is_main(self) -> bool:
        """Whether this one writes the run's folder: rank 0."""
        ...

    def open(self) -> None:
        """Find the others."""
        ...

    def close(self) -> None: ...

    def from_main(self, ask: Callable[[], Said]) -> Said:
        """What rank 0 finds, on every rank; its error too."""
        ...

    def after_main(self, do: Callable[[], Said]) -> Said:
        """Each rank does it; the others when rank 0 has, or not at all where that went wrong."""
        ...

    def gather(self, value: Said) -> list[Said]:
        """What each rank says, in the order of the ranks: plain values."""
        ...

    def ask(self, value: Said) -> Answer[Said]:
        """The same without waiting: the loop goes on, and any rank takes the answer whenever it likes."""
        ...

    def aside(self) -> "Ranks":
        """The same processes with a line of their own, for a thread beside the loop."""
        ...


class _OwnWords:
    """All that is to be heard where nobody else is."""

    is_here = True

    def __init__(self, value: Any) -> None:
        self._value = value

    def get(self) -> list[Any]:
        return [self._value]


class OneRank:
    """The only process."""

    position = Position()
    is_main = True

    def open(self) -> None:
        """There are no others."""

    def close(self) -> None:
        """There are no others."""

    def from_main(self, ask: Callable[[], Said]) -> Said:
        return ask()

    def after_main(self, do: Callable[[], Said]) -> Said:
        return do()

    def gather(self, value: Said) -> list[Said]:
        return [value]

    def ask(self, value: Said) -> Answer[Said]:
        return _OwnWords(value)

    def aside(self) -> "OneRank":
        return self


class ManyRanks:
    """One of several processes.

    What they say goes through gloo, on the CPU, so it waits for no device and its order is that of the ranks. That of the
    exchanges is the order in which they were asked for: one that is on its way is ended before the next begins.
    """

    def __init__(self, place: Position) -> None:
        self.position = place
        self._group: Any = None
        self._on_its_way: _Words | None = None
        self._opened = False

    @property
    def is_main(self) -> bool:
        return self.position.rank == 0

    def open(self) -> None:
        import torch
        import torch.distributed as dist
        from torch._C._distributed_c10d import PrefixStore

        if not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            # Addresses of an attempt before lie in the store that the agent keeps: torch 2.15 would wait for the dead.
            store = PrefixStore(agreed_name(_store(), *self.position[:2]), _store())
            rank, size = self.position[:2]
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
            self._opened = True
        if (found := dist.get_world_size()) != self.position.size:
            raise RunError(f"{SIZE} says {self.position.size} processes and torch's group has {found}: which is it?")
        self._group = dist.new_group(backend="gloo", timeout=PATIENCE)

    def close(self) -> None:
        import torch.distributed as dist

        if self._opened and dist.is_initialized():
            dist.destroy_process_group()
        self._group, self._opened = None, False

    def from_main(self, ask: Callable[[], Said]) -> Said:
        import torch.distributed as dist

        told: list[Any] = [None]
        failure: BaseException | None = None
        if self.is_main:
            try:
                told = [(ask(), None)]
                pickle.dumps(told)
            except BaseException as error:
                failure, told = error, [(None, _plain(error))]
        self._end_exchange()
        dist.broadcast_object_list(told, src=0, group=self._group)
        if failure is not None:
            raise failure
        value, complaint = told[0]
        if complaint is not None:
            kind, message = complaint
            raise kind(message)
        return value

    def after_main(self, do: Callable[[], Said]) -> Said:
        done: list[Said] = []
        self.from_main(lambda: done.append(do()))
        return done[0] if self.is_main else do()

    def gather(self, value: Said) -> list[Said]:
        return self.ask(value).get()

    def ask(self, value: Said) -> Answer[Said]:
        self._end_exchange()
        self._on_its_way = words = _Words(pickle.dumps(value), self.position.size, self._group)
        return words

    def _end_exchange(self) -> None:
        if self._on_its_way is not None:
            self._on_its_way.end()
            self._on_its_way = None

    def aside(self) -> "ManyRanks":
        import torch.distributed as dist

        other = ManyRanks(self.position)
        other._group = dist.new_group(backend="gloo", timeout=PATIENCE)
        return other


class _Words:
    """An exchange: of what fits into ``ROOM`` in one collective, which takes milliseconds of waiting and little work; of
    longer words in two."""

    def __init__(self, said: bytes, ranks: int, group: Any) -> None:
        self._said, self._ranks, self._group = said, ranks, group
        self._words: list[bytes] | None = None
        self._begin(ROOM)

    @property
    def is_here(self) -> bool:
        return self._words is not None or self._work.is_completed()

    def _begin(self, room: int) -> None:
        import torch

        sent = len(self._said).to_bytes(LENGTH, "little") + self._said[:room].ljust(room, b"\0")
        own = torch.frombuffer(bytearray(sent), dtype=torch.uint8)
        self._heard = [torch.empty_like(own) for _ in range(self._ranks)]
        self._work: Any = self._group.allgather([self._heard], [own])  # what dist.all_gather calls, in half the time

    def end(self) -> list[bytes]:
        """Wait for the words of all."""
        if self._words is None:
            found = self._take()
            if (longest := max(length for length, _ in found)) > ROOM:
                self._begin(longest)
                found = self._take()
            self._words = [words for _, words in found]
        return self._words

    def _take(self) -> list[tuple[int, bytes]]:
        """Of each rank how many bytes it says, and as many of them as there was room for."""
        self._work.wait()
        told = [bytes(one.numpy()) for one in self._heard]
        lengths = [int.from_bytes(one[:LENGTH], "little") for one in told]
        return [(length, one[LENGTH:][:length]) for length, one in zip(lengths, told, strict=True)]

    def get(self) -> list[Any]:
        return [pickle.loads(words) for words in self.end()]


@functools.cache
def _store() -> Any:
    """Where the ranks find each other, for the life of this process: rank 0 may be who keeps it."""
    from torch.distributed.rendezvous import rendezvous

    return next(rendezvous("env://", timeout=PATIENCE))[0]


def agreed_name(store: Any, rank: int, size: int) -> str:
    """A name that the ranks which are alive share and nobody used before, though dead ones left words in the store.

    Agents on several machines count their attempts each for itself, so rank 0 makes the name. Each other rank says hello
    by a word of its own, and takes the name only as the answer to that word; rank 0 answers until all have taken it.
    """
    own, given_up = uuid.uuid4().hex, time.monotonic() + PATIENCE.total_seconds()
    if rank:
        store.set(f"hello {rank}", own)
        store.wait([f"answer to {own}"], PATIENCE)
        name = store.get(f"answer to {own}").decode()
        store.set(f"{rank} takes {name}", "")
        return name
    answered: dict[int, bytes] = {}
    while not all(store.check([f"{other} takes {own}"]) for other in range(1, size)):
        for other in range(1, size):
            if store.check([f"hello {other}"]) and answered.get(other) != (word := store.get(f"hello {other}")):
                answered[other] = word
                store.set(f"answer to {word.decode()}", own)
        if time.monotonic() > given_up:
            raise RunError(f"the {size} processes did not find each other within {PATIENCE}: look at what they say")
        time.sleep(0.005)
    return own


def all_of(ranks: Ranks, do: Callable[[], Any]) -> list[Any] | None:
    """What each rank has done.

    Where one failed, it raises its error, and so do the others; but of a disk's error only rank 0, and the others have None.
    """
    failure: BaseException | None = None
    done: Any = None
    try:
        done = do()
    except Exception as error:
        failure = error
    told = ranks.gather((done, None if failure is None else _complaint(failure)))
    if failure is not None:
        raise failure
    for rank, (_, complaint) in enumerate(told):
        if complaint is not None:
            kind, number, message = complaint
            if kind is not OSError:
                raise kind(f"rank {rank}: {message}")
            if not ranks.is_main:
                return None
            raise OSError(number, f"rank {rank}: {message}")
    return [done for done, _ in told]


def _complaint(error: Exception) -> tuple[type[Exception], int, str]:
    if isinstance(error, OSError):
        return OSError, error.errno or 0, error.strerror or str(error)
    return _kind(error), 0, str(error)


def _plain(error: BaseException) -> tuple[type[Exception], str]:
    """An error of rank 0 as it can be raised elsewhere: one of ours as it is."""
    return _kind(error), f"rank 0: {error or type(error).__name__}"


def _kind(error: BaseException) -> type[Exception]:
    """As what it is raised on other ranks."""
    return type(error) if isinstance(error, LoopwrightError) else RunError


def ranks_here() -> OneRank | ManyRanks:
    """The processes that this one was started with."""
    place = position()
    return OneRank() if place.size == 1 else ManyRanks(place)
