"""``Counted``: a dataset of one's own. Apart from tests, so that a process that is spawned can read it."""

from typing import Any

import numpy as np
import torch
from test_codec import Pair

from loopwright.data._shared import SharedMemory


class Counted:
    """A dataset of one's own: nested samples, no files; tells how often it was read."""

    def __init__(self, count: int = 20, size: int = 50) -> None:
        self.count, self.size, self.reads = count, size, SharedMemory(8 * count)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        self.reads.bytes.cast("Q")[index] += 1
        made = np.random.RandomState(index).randint(0, 255, (self.size, index + 1), np.uint8)
        return {"array": made, "pair": Pair(torch.from_numpy(made.copy()).T, f"name {index}"), "more": [None, 1.5]}

    def __repr__(self) -> str:
        return f"Counted({self.count}, {self.size})"

    def read(self) -> list[int]:
        return self.reads.bytes.cast("Q").tolist()


def read_all(dataset: Any) -> None:
    assert [dataset[index]["pair"].label for index in range(20)] == [f"name {index}" for index in range(20)]
