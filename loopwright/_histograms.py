"""``Histograms``: how gradients and parameters are spread, every so many steps, in histograms.jsonl. For trackers to show.

They are taken right before an optimizer steps, when the gradients are there and unscaled. Only looks: no bit of the training
changes. On the processor, whatever the device: counting bins on a GPU is not deterministic. Nobody asked: nothing is done.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ._cursor import Cursor
from ._cut_lines import cut_after_step
from ._errors import ConfigError
from ._files import JsonLines
from ._record import HISTOGRAMS
from ._when import parse_span

BINS = 64


class NoHistograms:
    """Nobody asked for any."""

    def watch(self, optimizer: Optimizer) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


class Histograms:
    """Of the parameters that the watched optimizers step, and of their gradients.

    Args:
        folder: of the run.
        every: how many steps.
        cursor: where training is; lines of later steps, which a kill has left, are cut off.
        models: the registered ones, by name; asked for when they are needed.
    """

    def __init__(self, folder: Path, every: int, cursor: Cursor, models: Callable[[], dict[str, nn.Module]]) -> None:
        self._every, self._cursor, self._models = every, cursor, models
        cut_after_step(folder / HISTOGRAMS, cursor.step)
        self._lines = JsonLines(folder / HISTOGRAMS)
        self._hooks: list[Any] = []

    def watch(self, optimizer: Optimizer) -> None:
        """Take histograms when this one steps."""
        self._hooks.append(optimizer.register_step_pre_hook(self._before_step))

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._lines.close()

    def _before_step(self, optimizer: Optimizer, arguments: Any, named: Any) -> None:
        if self._cursor.step % self._every == 0:
            for name, values in self._tensors(optimizer):
                line = histogram_of(values)
                if line is not None:
                    place = {"step": self._cursor.step, "epoch": self._cursor.epoch, "name": name}
                    self._lines.append({**place, **line})

    def _tensors(self, optimizer: Optimizer) -> Iterator[tuple[str, Tensor]]:
        stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
        models = self._models()
        for model_name, model in models.items():
            for name, parameter in model.named_parameters():
                if id(parameter) in stepped:
                    shown = name if len(models) == 1 else f"{model_name}.{name}"
                    yield f"parameters/{shown}", parameter
                    if parameter.grad is not None:
                        yield f"gradients/{shown}", parameter.grad


def choose_histograms(
    folder: Path, asked: Sequence[str | None], cursor: Cursor, models: Callable[[], dict[str, nn.Module]]
) -> Histograms | NoHistograms:
    """As often as the one who wants them most often asks."""
    steps = [_whole_steps(span) for span in asked if span is not None]
    return Histograms(folder, min(steps), cursor, models) if steps else NoHistograms()


def histogram_of(values: Tensor) -> dict[str, Any] | None:
    """Counts in ``BINS`` bins of the same width over the finite numbers; None where there are none.

    >>> histogram_of(torch.arange(128.0))["counts"][:3]
    [2, 2, 2]
    """
    numbers = values.detach().cpu().float().flatten()
    numbers = numbers[numbers.isfinite()]
    if not numbers.numel():
        return None
    low, high = float(numbers.min()), float(numbers.max())
    if low == high:  # one bin would have no width
        low, high = low - 0.5, high + 0.5
    counts = torch.histc(numbers, BINS, low, high)
    std = float(numbers.std(correction=0))
    return {"low": low, "high": high, "counts": [int(n) for n in counts], "mean": float(numbers.mean()), "std": std}


def _whole_steps(text: str) -> int:
    span = parse_span(text)
    if span.unit != "steps":
        raise ConfigError(f"watch counts steps, such as '500 steps'. Found: {text!r}")
    return int(span.amount)
