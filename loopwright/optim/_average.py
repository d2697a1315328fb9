"""``EMA`` and ``SWA``: averages of a model's weights along its training, which often measure better than the last ones.

Knows nothing about loops: ``update`` is called after an optimizer's step, or at the end of an epoch. Both are registered
with a run and survive as everything else does.
"""

import contextlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Set
from typing import Any

import torch
from torch import Tensor, nn

from .._errors import CheckpointError, ConfigError
from .._over_ranks import as_on_rank_0
from .._split import alike, is_split, local, locals_of
from .._state import clean_names


class Averaged(ABC):
    """What both have in common: the averages, by the model's names, and the way to evaluate them."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.updates = 0  # how many weights the average is of
        self._names = frozenset(model.state_dict())  # what is saved: buffers that are not need no average
        floats, others = self._present()
        self._averages = {name: _precise(tensor.detach()) for name, tensor in floats.items()}
        self._copies = {name: tensor.detach().clone() for name, tensor in others.items()}
        if not self._averages:
            raise ConfigError(f"{type(self).__name__}: the {type(model).__name__} has no weights to average")
        self._is_applied = False  # whether the averages are in the model
        self._set_aside: dict[str, Tensor] | None = None  # the training weights meanwhile

    @abstractmethod
    def share(self) -> float:
        """Of the model's present weights in the next average, 0 to 1."""

    @torch.no_grad()
    def update(self) -> None:
        """Take the model's present weights into the average: after the optimizer's step."""
        if self._is_applied:
            raise ConfigError(f"{type(self).__name__}.update() inside applied(): the model holds the averages there")
        floats, others = self._present()
        self._follow(floats | others)
        share = self.share()
        self.updates += 1
        averages = locals_of(self._averages.values())
        weights = [local(t).detach().to(a.dtype) for t, a in zip(floats.values(), averages, strict=True)]
        if share == 1:
            _copy(averages, weights)
        else:
            torch._foreach_lerp_(averages, weights, share)  # type: ignore[reportPrivateImportUsage] - as torch's own EMA
        _copy(list(self._copies.values()), list(others.values()))

    @contextlib.contextmanager
    def applied(self, model: nn.Module | None = None) -> Iterator[None]:
        """The model has the averaged weights inside ``with``, and its own again afterwards, bit for bit.

        Evaluate there: ``with run.evaluate(model), ema.applied(model): ...``. Before the first ``update`` they are the
        weights that the model had when the average was made. The tensors stay the same ones, so optimizers, views and
        compiled models do not notice. A run that is stopped inside saves the training weights with the average's state,
        and goes on exactly. Of several ranks all call it: they have rank 0's buffers inside.

        Args:
            model: the one that was given at the start, said again so that the line can be read alone.
        """
        if model is not None and model is not self._model:
            raise ConfigError(f"{type(self).__name__}.applied(model): this is not the model that is averaged")
        if self._is_applied:
            raise ConfigError(f"{type(self).__name__}.applied() inside applied(): the model has the averages already")
        present = _joined(self._present())
        self._follow(present)
        buffers = {name for name, _ in self._model.named_buffers()}
        # Ranks measure statistics on their own parts of batches; weights are the same on all.
        as_on_rank_0(tensor for name, tensor in (self._averages | self._copies).items() if name in buffers)
        self._set_aside = {name: tensor.detach().clone() for name, tensor in present.items()}
        self._is_applied = True
        try:
            self._into_model(self._averages | self._copies)
            yield
        finally:
            # Where a resumed run arrived inside, these are the training weights of its checkpoint; see load_state_dict.
            kept, self._set_aside, self._is_applied = self._set_aside, None, False
            if kept is not None:
                self._into_model(kept)

    def keep_buffers(self) -> None:
        """Inside ``applied``: the model's buffers, such as statistics measured again, become the average's."""
        if not self._is_applied:
            raise ConfigError(
                f"{type(self).__name__}.keep_buffers() is for inside applied(): elsewhere they are not its"
            )
        buffers = dict(self._model.named_buffers())
        for name, tensor in (self._averages | self._copies).items():
            if name in buffers:
                tensor.copy_(buffers[name])

    def copy_to(self, model: nn.Module) -> None:
        """Give a model of the same kind the averages for good: at the end of training."""
        _assign(_joined(_tensors(model, frozenset(model.state_dict()))), self._averages | self._copies)

    def state_dict(self) -> dict[str, Any]:
        """``"model"`` holds the averages by the model's names, as ``lw.load_weights(model, run, name="ema")`` reads them."""
        state: dict[str, Any] = {"updates": self.updates, "model": clean_names(self._averages | self._copies)}
        aside = self._set_aside if self._is_applied else None
        return state if aside is None else state | {"set_aside": clean_names(aside)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved average. The model itself is not touched.

        A run that was stopped inside ``applied`` arrives inside it again: its checkpoint has the averages as the model, and
        the training weights, which ``applied`` puts back in the end, here.
        """
        self._follow(_joined(self._present()))
        own = self._averages | self._copies
        names = list(clean_names(own))
        _check(names, own, state["model"], type(self).__name__)
        with torch.no_grad():
            for name, tensor in zip(names, own.values(), strict=True):
                local(tensor).copy_(local(alike(tensor, state["model"][name])))
        self.updates = state["updates"]
        aside = state.get("set_aside")
        self._set_aside = (
            None if aside is None else {k: alike(own[k], aside[n]).clone() for n, k in zip(names, own, strict=True)}
        )

    def _present(self) -> "Tensors":
        return _tensors(self._model, self._names)

    def _into_model(self, values: Mapping[str, Tensor]) -> None:
        _assign(_joined(self._present()), values)

    def _follow(self, present: Mapping[str, Tensor]) -> None:
        """The averages go where the model was moved to, and have its memory format there; they are split where it is."""
        if present.keys() != (self._averages | self._copies).keys():
            raise ConfigError(self._changed(present.keys()))
        some = next(iter(self._averages))
        if is_split(present[some]) and not is_split(self._averages[some]):
            self._averages = {
                name: alike(present[name], t.to(present[name].device)) for name, t in self._averages.items()
            }
        if self._averages[some].device != present[some].device:
            self._averages = {name: _laid_like(t, present[name]) for name, t in self._averages.items()}
            self._copies = {name: _laid_like(t, present[name]) for name, t in self._copies.items()}

    def _changed(self, present: Set[str]) -> str:
        averaged = self._averages.keys() | self._copies.keys()
        gone = sorted(averaged - present)
        new = [name for name, _ in self._model.named_parameters() if name not in averaged]
        kinds = [f"{what} {', '.join(names[:3])}" for what, names in (("without", gone), ("with", new)) if names]
        return (
            f"{type(self).__name__}: the {type(self._model).__name__} is {' and '.join(kinds)} now, other than when the "
            "average was made: change a model first (torch.nn.utils.parametrize and the like), then average it"
        )

    def __len__(self) -> int:
        return self.updates


class EMA(Averaged):
    """An exponential moving average of a model's weights.

    Parameters and floating-point buffers, such as the statistics of batch norm, are averaged, those of half precision in
    single; integer buffers are the model's last ones. Where the statistics should fit the averaged weights more closely,
    ``update_batch_norm``.

    Args:
        model: whose weights to average; its tensors must stay the same ones, as all of torch's optimizers leave them.
        decay: what each update keeps of the average, 0 to 1; 0.999 averages over the last thousand steps or so.
        warmup: keep less at first, (1 + n) / (10 + n) at the n-th update, so that the start is forgotten.

    Source: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017; the warm-up is TensorFlow's.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> ema = EMA(model, decay=0.9, warmup=False)
    >>> before = model.weight.item()
    >>> with torch.no_grad(): _ = model.weight.add_(1)
    >>> ema.update()
    >>> with ema.applied(model): round(model.weight.item() - before, 4)
    0.1
    >>> round(model.weight.item() - before, 4)
    1.0
    """

    def __init__(self, model: nn.Module, decay: float = 0.999, *, warmup: bool = True) -> None:
        if isinstance(decay, bool) or not isinstance(decay, int | float) or not 0 <= decay <= 1:
            raise ConfigError(f"EMA: decay must be a number from 0 to 1, such as 0.999. Found: {decay!r}")
        super().__init__(model)
        self.decay, self.warmup = float(decay), warmup

    def share(self) -> float:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        return 1 - decay

    def __repr__(self) -> str:
        return f"EMA(decay={self.decay}, warmup={self.warmup}): {self.updates} updates"


class SWA(Averaged):
    """The mean of a model's weights at several times, usually the ends of the last epochs.

    The statistics of batch norm are averaged as well, which is an approximation: they belong to other weights. Let
    ``update_batch_norm`` measure them inside ``applied``, as ``fit(swa=...)`` does.

    Args:
        model: as ``EMA``'s.

    Source: Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> swa = SWA(model)
    >>> for value in (1.0, 2.0, 6.0):
    ...     with torch.no_grad(): _ = model.weight.fill_(value)
    ...     swa.update()
    >>> with swa.applied(model): model.weight.item()
    3.0
    """

    def share(self) -> float:
        return 1 / (self.updates + 1)

    def __repr__(self) -> str:
        return f"SWA(): {self.updates} updates"


Tensors = tuple[dict[str, Tensor], dict[str, Tensor]]  # by name: those to average, and those to copy


def _tensors(model: nn.Module, saved: frozenset[str]) -> Tensors:
    """Everything that the model's state has, each tensor once."""
    floats: dict[str, Tensor] = {}
    others: dict[str, Tensor] = {}
    for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        if name in saved:
            (floats if tensor.is_floating_point() or tensor.is_complex() else others)[name] = tensor
    return floats, others


def _joined(tensors: Tensors) -> dict[str, Tensor]:
    return tensors[0] | tensors[1]


def _precise(tensor: Tensor) -> Tensor:
    """A copy to average in: in half precision a thousandth of a difference would be rounded away."""
    return tensor.to(torch.float32 if tensor.dtype in (torch.bfloat16, torch.float16) else tensor.dtype, copy=True)


def _laid_like(tensor: Tensor, other: Tensor) -> Tensor:
    return torch.empty_like(other, dtype=tensor.dtype).copy_(tensor)


@torch.no_grad()
def _assign(into: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    if into.keys() != values.keys():
        missing = ", ".join(sorted(into.keys() ^ values.keys()))
        raise ConfigError(f"the model is not of the averaged one's kind: only one of them has {missing}")
    # .data: what counts changes of weights, to tell whether they are still the measured ones, must not see this.
    _copy([local(into[name]).data for name in values], list(values.values()))


def _copy(into: list[Tensor], values: list[Tensor]) -> None:
    if into:
        torch._foreach_copy_(  # type: ignore[reportPrivateImportUsage] - what torch's optimizers use
            locals_of(into), locals_of(values)
        )


def _check(names: list[str], own: Mapping[str, Tensor], saved: Mapping[str, Tensor], kind: str) -> None:
    wrong = sorted(set(names) ^ set(saved))
    wrong += [n for n, t in zip(names, own.values(), strict=True) if n in saved and saved[n].shape != t.shape]
    if wrong:
        raise CheckpointError(f"the {kind}'s state is of another model: {', '.join(wrong[:5])} do not fit")
