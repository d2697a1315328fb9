"""``TrialRanks``: the ranks that make a trial together: parts of the same batches, the same gradients, one number.

Knows nothing of steps or learning rates.
"""

from collections.abc import Iterable, Sequence
from types import TracebackType

import torch
from torch import Tensor

from ._distributed import Ranks
from ._errors import ConfigError
from ._parallel import parallel_of
from .data._slice import Slice


class TrialRanks:
    """Opened with ``with``; every method is called by all ranks. One process is the small case.

    >>> from ._distributed import OneRank
    >>> with TrialRanks(OneRank()) as ranks:
    ...     ranks.mean([(1.0, 3), (5.0, 1)])
    2.0
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self.position = ranks.position
        self.part = Slice(*ranks.position[:2])
        self.parallel = parallel_of(ranks.position)

    def __enter__(self) -> "TrialRanks":
        self._ranks.open()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.parallel.release()
        self._ranks.close()

    @property
    def several(self) -> bool:
        return self.position.size > 1

    def mean(self, values: Sequence[tuple[float, int]]) -> float:
        """The mean of numbers with weights over all ranks; of one number of one process the number itself."""
        if not self.several:
            return values[0][0] if len(values) == 1 else _mean(values)
        return _mean([pair for told in self._ranks.gather(list(values)) for pair in told])

    def check_alike(self, weights: Iterable[Tensor]) -> None:
        """``ConfigError`` where the ranks' weights went apart: nobody reduces their gradients."""
        if not self.several:
            return
        sums = torch.stack([weight.detach().double().sum().cpu() for weight in weights])
        told = self._ranks.gather(repr(sums.tolist()))  # as text, in which NaN is like NaN
        if len(set(told)) > 1:
            raise ConfigError(
                f"the weights of the {self.position.size} ranks went apart, each learned from its part alone: call a "
                "DistributedDataParallel of the model in the function, or give the model and its loss instead of a function"
            )


def _mean(values: Sequence[tuple[float, int]]) -> float:
    counted = [(value, weight) for value, weight in values if weight]
    return sum(value * weight for value, weight in counted) / sum(weight for _, weight in counted)
