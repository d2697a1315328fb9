"""What takes the memory of a training, and what to do when there is not enough: in bytes, then in words.

Knows nothing about loops or runs; the words are a pure function of numbers and of torch's message.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ._nested import leaves
from .data._size import parse_size, shown_size

MARGIN = 0.1  # of the memory that should stay free: for fragments, and for a batch that is a little larger than others
_MESSAGES = (  # of errors that are no OutOfMemoryError
    "out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)  # fmt: skip
_SIZE = r"([\d.]+ (?:bytes|[KMGT]iB))"
_UNMADE = 2  # states a parameter, of an optimizer that has not stepped yet: as Adam's


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error says that memory ran out, of whatever device: torch has several for that.

    >>> is_out_of_memory(torch.OutOfMemoryError()), is_out_of_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


@dataclass(frozen=True)
class Account:
    """Bytes on a device, shared memory counted once."""

    parameters: int  # and buffers
    trainable: int  # of the parameters: those that get gradients
    gradients: int
    optimizer_state: int | None  # None: still to be made, by the first step


def account(
    models: Iterable[nn.Module], optimizers: Iterable[Optimizer], device: str | torch.device | None = None
) -> Account:
    """What models and optimizers take.

    Args:
        device: count what is there. Default: wherever it is.

    >>> layer = nn.Linear(10, 10, bias=False)
    >>> account([layer], [torch.optim.AdamW(layer.parameters())])
    Account(parameters=400, trainable=400, gradients=0, optimizer_state=None)
    """
    models, optimizers = list(models), list(optimizers)
    parameters = [p for model in models for p in model.parameters()]
    buffers = [b for model in models for b in model.buffers()]
    states = [tensor for optimizer in optimizers for tensor in leaves(list(optimizer.state.values()), Tensor)]
    made = all(optimizer.state or _keeps_nothing(optimizer) for optimizer in optimizers)
    return Account(
        _bytes([*parameters, *buffers], device),
        _bytes([p for p in parameters if p.requires_grad], device),
        _bytes([p.grad for p in parameters if p.grad is not None], device),
        _bytes(states, device) if made else None,
    )


def _keeps_nothing(optimizer: Optimizer) -> bool:
    return isinstance(optimizer, torch.optim.SGD) and not any(group["momentum"] for group in optimizer.param_groups)


def _bytes(tensors: Iterable[Tensor], device: str | torch.device | None) -> int:
    return sum(dict(_storages(tensors, None if device is None else torch.device(device))).values())


def _storages(tensors: Iterable[Tensor], device: torch.device | None) -> Iterator[tuple[Any, int]]:
    for tensor in tensors:
        here = tensor.device
        if device is None or (here.type == device.type and device.index in (None, here.index)):
            storage = (tensor if tensor.layout == torch.strided else _values(tensor)).untyped_storage()
            yield (here, storage.data_ptr()), storage.nbytes()


def _values(sparse: Tensor) -> Tensor:
    return sparse._values() if sparse.layout == torch.sparse_coo else sparse.values()


def out_of_memory_note(
    error: BaseException,
    models: Iterable[nn.Module],
    optimizers: Iterable[Optimizer],
    *,
    batch: int | None,
    device: torch.device,
    training: bool = True,
) -> str | None:
    """``explain_out_of_memory`` with the numbers of a GPU; None for other errors, and where there is no GPU to ask.

    To be asked while the error is handled: its traceback holds the tensors that are to be counted.
    """
    if device.type != "cuda" or not is_out_of_memory(error):
        return None
    try:
        taken = account(models, optimizers, device)
        total = torch.cuda.get_device_properties(device).total_memory
        allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    except RuntimeError:  # of a GPU that answers nothing any more, or tensors without memory of their own
        return None  # the error itself matters more than what is said about it
    return explain_out_of_memory(
        error,
        parameters=taken.parameters,
        gradients=taken.gradients,
        optimizer_state=taken.optimizer_state,
        trainable=taken.trainable,
        batch=batch,
        total=total,
        allocated=allocated,
        reserved=reserved,
        training=training,
    )


def explain_out_of_memory(
    error: BaseException | str,
    *,
    parameters: int,
    gradients: int,
    optimizer_state: int | None,
    batch: int | None,
    total: int,
    allocated: int,
    reserved: int,
    trainable: int | None = None,
    training: bool = True,
) -> str:
    """Say what took a GPU's memory, which batch would fit, and what to do about it.

    The batch is told by proportion: what is not the model's, the gradients' or the optimizer's is the batch's, and
    grows with it. It is an estimate: memory ran out part of the way through a step, of which the rest is unknown.

    Args:
        error: torch's, whose message tells how much more was asked for and how much others hold.
        parameters, gradients, optimizer_state: bytes; see ``account``. ``optimizer_state`` None: not made yet, so it is
            reckoned with as Adam's.
        batch: samples of the batch, where that is known.
        total, allocated, reserved: bytes of the GPU, and of those what tensors hold and what torch has taken. What the
            message says of the two last goes before, for it was written at that very moment.
        trainable: bytes of the parameters that get gradients. Default: all.
        training: False for a batch of an evaluation.

    >>> print(explain_out_of_memory("Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB of which 1.00 GiB "
    ...     "is free.", parameters=2**29, gradients=2**29, optimizer_state=2**30, batch=64, total=2**33,
    ...     allocated=13 * 2**29, reserved=7 * 2**30))
    out of memory: 2.0 GiB more were needed, and of 8.0 GiB of the GPU 1.0 GiB were free
      model             512.0 MiB
      gradients         512.0 MiB
      optimizer           1.0 GiB
      activations, rest   4.5 GiB, of a batch of 64
    A batch of about 51 would fit, by proportion and with 10% left free. In this order:
      1. batch_size=32 and run.step(loss, optimizer, accumulate=2): the gradients of 64 samples, in smaller parts
      2. precision="bf16", if this is fp32: activations take half
      3. loopwright fit-batch CONFIG, or lw.fit_batch: measures the largest batch that fits
    """
    scene = _Scene.of(str(error), total, allocated, reserved)
    state = 0 if optimizer_state is None else optimizer_state
    rest = max(0, scene.allocated - parameters - gradients - state)
    fits = None
    if batch is not None:
        future = trainable if trainable is not None else parameters
        to_come = max(0, future - gradients) + (_UNMADE * future if optimizer_state is None else 0) if training else 0
        fixed = parameters + gradients + state + to_come
        fits = _fitting(batch, rest + scene.asked, (1 - MARGIN) * scene.limit - fixed)
    return "\n".join(
        [
            scene.said(),
            f"  model             {shown_size(parameters):>9}",
            f"  gradients         {shown_size(gradients):>9}",
            f"  optimizer         {shown_size(state):>9}"
            + (", before its first step" if optimizer_state is None else ""),
            f"  activations, rest {shown_size(rest):>9}" + ("" if batch is None else f", of a batch of {batch}"),
            _verdict(batch, fits),
            *(f"  {number}. {advice}" for number, advice in enumerate(_advice(scene, batch, fits, training), start=1)),
        ]
    )


@dataclass(frozen=True)
class _Scene:
    """The GPU at the moment that memory ran out, in bytes."""

    total: int
    limit: int  # what this process could have
    allocated: int
    reserved: int
    asked: int  # what was wanted on top

    @classmethod
    def of(cls, message: str, total: int, allocated: int, reserved: int) -> "_Scene":
        free, allowed = _found(f"of which {_SIZE} is free", message), _found(f"{_SIZE} allowed", message)
        allocated = _found(f"memory {_SIZE} is allocated by PyTorch", message) or allocated
        gaps = _found(f"{_SIZE} is reserved by PyTorch but unallocated", message)
        reserved = max(allocated, reserved if gaps is None else allocated + gaps)
        limit = min(total, total if free is None else reserved + free, total if allowed is None else allowed)
        return cls(total, limit, allocated, reserved, _found(f"Tried to allocate {_SIZE}", message) or 0)

    @property
    def gaps(self) -> int:
        """What torch has taken and no tensor fills."""
        return self.reserved - self.allocated

    @property
    def elsewhere(self) -> int:
        """What other processes hold, or a limit keeps from this one."""
        return self.total - self.limit

    def said(self) -> str:
        more = f"{shown_size(self.asked)} more were needed, and " if self.asked else ""
        free = max(0, self.limit - self.reserved)
        return f"out of memory: {more}of {shown_size(self.total)} of the GPU {shown_size(free)} were free"


def _found(pattern: str, message: str) -> int | None:
    match = re.search(pattern, message)
    return None if match is None else parse_size(match[1], "torch's message")


def _fitting(batch: int, needed: int, room: float) -> int:
    """The largest batch whose part of the need fits into the room, at least a margin below the one that did not."""
    by_need = int(batch * room / needed) if needed else batch
    return max(0, min(by_need, int(batch * (1 - MARGIN)), batch - 1))


def _verdict(batch: int | None, fits: int | None) -> str:
    if batch is None or fits is None:
        return "A smaller batch takes less, in proportion. In this order:"
    if fits:
        return f"A batch of about {fits} would fit, by proportion and with {MARGIN:.0%} left free. In this order:"
    return "Not even one sample would fit: the model itself is too large for this GPU. In this order:"


def _advice(scene: _Scene, batch: int | None, fits: int | None, training: bool) -> Iterator[str]:
    if scene.gaps > max(scene.asked, scene.limit // 20):
        yield (
            f"PYTORCH_ALLOC_CONF=expandable_segments:True in the environment: {shown_size(scene.gaps)} are free, but in "
            "pieces"
        )
    if scene.elsewhere > scene.total // 10:
        yield f"{shown_size(scene.elsewhere)} are held by other processes or kept from this one: see nvidia-smi"
    if fits != 0:
        yield _smaller(batch, fits, training)
    yield 'precision="bf16", if this is fp32: activations take half'
    if fits == 0:
        yield "smaller pictures, a smaller model, or an optimizer with less state, such as SGD"
    elif training:
        yield "loopwright fit-batch CONFIG, or lw.fit_batch: measures the largest batch that fits"


def _smaller(batch: int | None, fits: int | None, training: bool) -> str:
    if not training:
        return f"a smaller batch for evaluation{f', such as {fits}' if fits else ''}: it changes no result"
    if batch is None or fits is None:
        return "a smaller batch_size, and run.step(loss, optimizer, accumulate=N) for the gradients of the larger one"
    parts = -(-batch // fits)
    size = -(-batch // parts)
    return (
        f"batch_size={size} and run.step(loss, optimizer, accumulate={parts}): the gradients of {size * parts} samples, "
        "in smaller parts"
    )
