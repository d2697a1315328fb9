"""``ByEpoch``: a value that changes at given epochs. Knows nothing about what it is a value of."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from ._errors import ConfigError

Value = TypeVar("Value")


class ByEpoch(Generic[Value]):
    """A pure function of the epoch, by steps: the size of pictures, the loader, what is trained.

    Since nothing is remembered, a resumed run has the right value.

    Args:
        values: from the first epoch that it holds for, a whole number, to the value; epoch 0 must be there.

    Raises:
        ConfigError: there is no epoch 0, or an epoch is no whole number, 0 or more.

    >>> sizes = ByEpoch({0: 96, 10: 128})
    >>> sizes(0), sizes(9), sizes(10), sizes.last
    (96, 96, 128, 128)
    """

    def __init__(self, values: Mapping[int, Value]) -> None:
        for epoch in values:
            if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
                raise ConfigError(f"an epoch is a whole number, 0 or more. Found: {epoch!r}")
        if 0 not in values:
            listed = ", ".join(map(str, values)) or "none"
            raise ConfigError(f"say what holds from epoch 0 on, as in {{0: ..., 10: ...}}. Epochs found: {listed}")
        self._values = dict(sorted(values.items()))

    def __call__(self, epoch: int) -> Value:
        """What holds in an epoch, 0 the first."""
        return self._values[max(start for start in self._values if start <= epoch)]

    @property
    def last(self) -> Value:
        """What holds in the end."""
        return next(reversed(self._values.values()))

    def items(self) -> Iterator[tuple[int, Value]]:
        """First epochs and their values, in order."""
        return iter(self._values.items())

    def map(self, function: Any) -> "ByEpoch[Any]":
        """The same epochs with other values."""
        return ByEpoch({epoch: function(value) for epoch, value in self._values.items()})

    def __repr__(self) -> str:
        return f"ByEpoch({self._values})"


def read_epochs(values: Mapping[str, Value]) -> dict[int, Value]:
    """The values of a configuration, whose keys are text with the unit written out.

    >>> read_epochs({"epoch 0": 96, "epoch 10": 128})
    {0: 96, 10: 128}
    """
    found: dict[int, Value] = {}
    for key, value in values.items():
        match = re.fullmatch(r"epoch (\d{1,9})", key)
        if match is None:
            raise ConfigError(f"{key!r} is not an epoch: write 'epoch 0', 'epoch 10', counted from 0")
        if int(match[1]) in found:
            raise ConfigError(f"epoch {int(match[1])} is given twice")
        found[int(match[1])] = value
    return found
