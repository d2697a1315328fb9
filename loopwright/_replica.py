"""``Replica``: a model on one of several ranks that is used like the model itself. Knows nothing of batches or loops."""

import contextlib
import functools
import operator
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ._errors import RunError

TRIES = 10  # training batches after which it is known which parameters a model uses


class Replica(DistributedDataParallel):
    """A model with its attributes, and its parameters' names; its backward pass averages the gradients of all ranks.

    **Which parameters are used.** torch either walks through the graph of every batch to find out, or has to be promised
    that all are. Here it walks in the first batches; where each of these gave gradients to all parameters that are to be
    trained, on every rank, it is promised from then on, which saves an eighth of a small model's step. Whenever other
    parameters are to be trained, this begins anew. A model with ``find_unused = True`` is never promised anything.

    **Its buckets**, in which gradients are added up, are those of the parameters that are to be trained, from the last to
    the first: the same before and after the promise, and in a resumed run, which so adds up in the same order. torch by
    itself makes them anew after the first batch.

    **Buffers** are rank 0's whenever a training batch goes through; in an evaluation ranks may have different numbers of
    batches, so there nobody waits for anybody.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        with _unheard():
            _warned_once()
        super().__init__(model, device_ids=[device] if device.type == "cuda" else None, find_unused_parameters=True)
        self._weighing: dict[Tensor, Any] = {}  # hooks
        self._begin_looking()

    def forward(self, *inputs: Any, **named: Any) -> Any:
        trains = self.training and torch.is_grad_enabled()
        if self.require_forward_param_sync is not trains:  # to set what a module has takes ten times as long
            self.require_forward_param_sync = trains
        if trains and not torch.compiler.is_compiling():
            self.check_reduced()
            self._look()
        return super().forward(*inputs, **named)

    def weigh(self, change: Callable[[Tensor], Tensor] | None) -> None:
        """Have a function change what the present batch adds to each gradient; None leaves it as it is."""
        if change is None and not self._weighing:  # the usual case
            return
        wanted = [p for p in self._all if p.requires_grad] if change is not None else []
        if len(wanted) == len(self._weighing) and all(map(operator.contains, self._weighing, wanted)):
            return
        for hook in self._weighing.values():
            hook.remove()
        self._weighing = {} if change is None else {parameter: parameter.register_hook(change) for parameter in wanted}

    def release(self) -> None:
        """Take from the parameters what was put on them."""
        self.weigh(None)
        self._stop_looking()
        del self.reducer, self.logger

    # ---- which parameters are used ---------------------------------------------------------------------------------

    def _begin_looking(self) -> None:
        """Ask of each parameter that is to be trained whether it is given a gradient."""
        self._all = list(self.module.parameters())
        self._trains = self._present()
        self._seen: set[int] = set()  # in the present batch
        self._batches, self._always = 0, True  # that gave gradients; whether to all
        seen = self._seen  # alone: the parameters shall not hold this replica
        self._looking = [
            parameter.register_post_accumulate_grad_hook(lambda p: seen.add(id(p)))
            for parameter in self._all
            if parameter.requires_grad
        ]

    def _stop_looking(self) -> None:
        for hook in self._looking:
            hook.remove()
        self._looking = []

    def _present(self) -> tuple[bool, ...]:
        """Which parameters are to be trained."""
        return tuple(map(_is_trained, self._all))

    def _look(self) -> None:
        """Before a training batch: whether what is known of those before it is enough."""
        if self._present() != self._trains:
            if any(self._present()):
                self._stop_looking()
                self._begin_looking()
                self._make_reducer(walks=True)
            return
        if not self._looking or not self._seen:
            return
        self._batches, self._always = self._batches + 1, self._always and len(self._seen) == len(self._looking)
        self._seen.clear()
        if self._batches < TRIES:
            return
        promised = self._always and not getattr(self.module, "find_unused", False)
        everywhere = torch.tensor(float(promised), device=self._all[0].device)
        dist.all_reduce(everywhere, dist.ReduceOp.MIN)
        self._stop_looking()
        if everywhere.item():
            self._make_reducer(walks=False)

    def check_reduced(self) -> None:
        """``RunError`` where the last backward pass did not reduce all gradients: what was promised is not so."""
        try:
            self.reducer._check_reducer_finalized()
        except RuntimeError as error:
            if "Expected to have finished reduction" not in str(error):
                raise
            raise RunError(
                "the last batch gave no gradients to parameters of the model that every batch before it gave some. Where a "
                "model uses other parts of itself from batch to batch, say so before run.prepare(model): "
                "model.find_unused = True"
            ) from error

    # ---- buckets ---------------------------------------------------------------------------------------------------

    def _make_reducer(self, *, walks: bool) -> None:
        self.find_unused_parameters = walks
        parameters, sparse = self._build_params_for_reducer()
        del self.reducer, self.logger  # the old hooks, before the new ones
        self._ddp_init_helper(parameters, sparse, self._build_debug_param_to_name_mapping(parameters), False)
        if not walks:  # torch makes its buckets once more, by the order that it is told: this one, and now
            self.reducer._push_all_rebuilt_params()
            self.reducer._rebuild_buckets()

    def _build_params_for_reducer(self) -> Any:
        parameters, sparse = super()._build_params_for_reducer()
        return parameters[::-1], sparse[::-1]

    # ---- as the model itself ---------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)

    def state_dict(self, *arguments: Any, **named: Any) -> Any:
        return self.module.state_dict(*arguments, **named)

    def load_state_dict(self, *arguments: Any, **named: Any) -> Any:
        return self.module.load_state_dict(*arguments, **named)

    def named_parameters(self, *arguments: Any, **named: Any) -> Any:
        return self.module.named_parameters(*arguments, **named)

    def named_buffers(self, *arguments: Any, **named: Any) -> Any:
        return self.module.named_buffers(*arguments, **named)

    def named_modules(self, *arguments: Any, **named: Any) -> Any:
        """Itself, for its mode, then the model's."""
        yield "", self
        yield from self.module.named_modules(*arguments, **named)


_is_trained = operator.attrgetter("requires_grad")


@functools.cache
def _warned_once() -> None:
    """Have torch say now what it says once: that looking for unused parameters costs time."""
    tiny = DistributedDataParallel(nn.Linear(1, 1), find_unused_parameters=True)
    tiny(torch.zeros(1, 1)).sum().backward()


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Nothing that is written to stderr below Python is shown."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
