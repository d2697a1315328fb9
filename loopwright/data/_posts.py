"""``Posts``: what each of several processes is at, in memory that all see. Knows nothing about tasks."""

from collections.abc import Iterator
from typing import Any

from ._shared import SharedMemory

IDLE = -1  # as a task: none
_WORDS = 8  # a post: a cache line, so that nobody waits for what another writes


class Post:
    """What one process is at: its task, and the place in it. That process alone writes it, before it begins.

    Each is one aligned word, which is written at once: who reads it meanwhile has the one before or this one.
    """

    def __init__(self, words: memoryview) -> None:
        self._words = words

    @property
    def task(self) -> int:
        return self._words[0]

    @task.setter
    def task(self, task: int) -> None:
        self._words[0] = task

    @property
    def place(self) -> int:
        return self._words[1]

    def begin(self, task: int, place: int = 0) -> None:
        self._words[1] = place
        self._words[0] = task

    def at(self, place: int) -> None:
        """Go on to another place of the task."""
        self._words[1] = place


class Posts:
    """Posts for processes that are forked or spawned from this one: shared memory without a name.

    >>> post = Posts(3)[2]
    >>> post.task == IDLE
    True
    >>> post.begin(17); post.at(5)
    >>> post.task, post.place
    (17, 5)
    """

    def __init__(self, count: int) -> None:
        self._open(SharedMemory(8 * _WORDS * count), count)
        for post in self._posts:
            post.begin(IDLE)

    def _open(self, memory: SharedMemory, count: int) -> None:
        self._memory, words = memory, memory.bytes.cast("q")
        self._posts = [Post(words[_WORDS * number : _WORDS * (number + 1)]) for number in range(count)]

    def __iter__(self) -> Iterator[Post]:
        return iter(self._posts)

    def __len__(self) -> int:
        return len(self._posts)

    def __getitem__(self, number: int) -> Post:
        return self._posts[number]

    def __getstate__(self) -> dict[str, Any]:
        return {"memory": self._memory, "count": len(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._open(state["memory"], state["count"])
