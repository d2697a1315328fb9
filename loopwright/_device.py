"""Which device, precision and memory format to use, each with its reason. Knows nothing of loops or runs."""

import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ._errors import ConfigError
from ._nested import map_nested

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
_NO_AUTOCAST = contextlib.nullcontext()


@dataclass(frozen=True)
class Compute:
    """Where and how to compute: chosen once, with the reason of each choice."""

    device: torch.device
    precision: str  # "fp32", "bf16" or "fp16"
    reasons: Mapping[str, str] = field(default_factory=dict)

    def autocast(self) -> AbstractContextManager[Any]:
        """The context to compute a forward pass and a loss in; does nothing for fp32."""
        dtype = _HALF.get(self.precision)
        return _NO_AUTOCAST if dtype is None else torch.autocast(self.device.type, dtype)

    def place(self, model: nn.Module) -> str:
        """Move a model to the device, in the memory format that suits it; returns the reason of the format."""
        if any(isinstance(layer, nn.Conv2d) for layer in model.modules()):
            model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            return "channels_last: it has 2-d convolutions, whose kernels are faster on N,H,W,C memory"
        model.to(self.device)
        return "contiguous: it has no 2-d convolution"

    def move(self, batch: Any) -> Any:
        """Every tensor of a nested batch to the device, without waiting where its memory is pinned."""
        if self.device.type == "cpu":
            return batch
        return map_nested(lambda tensor: tensor.to(self.device, non_blocking=True), batch, Tensor)


def choose_compute(
    device: str | torch.device = "auto", precision: str = "auto", local_rank: int | None = None
) -> Compute:
    """Choose where to compute.

    Args:
        device: ``"auto"`` (a GPU where there is one), or torch's name of one: ``"cpu"``, ``"cuda:1"``, ``"mps"``.
        precision: ``"auto"``, ``"fp32"``, ``"bf16"`` or ``"fp16"`` (which needs a gradient scaler: ``run.step`` has it).
        local_rank: which of the processes on this machine asks: each has a GPU of its own.

    >>> choose_compute("cpu").precision
    'fp32'
    """
    if local_rank and device in ("auto", "cuda") and torch.cuda.is_available():
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    chosen, why_device = _choose_device(device)
    kind, why_precision = _choose_precision(precision, chosen)
    return Compute(chosen, kind, {"device": f"{chosen}: {why_device}", "precision": f"{kind}: {why_precision}"})


def _choose_device(name: str | torch.device) -> tuple[torch.device, str]:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device()), f"a GPU is there ({torch.cuda.get_device_name()})"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "an Apple GPU is there"
        return torch.device("cpu"), f"no GPU is there; {torch.get_num_threads()} threads"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(
            f"device {name!r} is not one that torch knows: write 'auto', 'cpu', 'cuda' or 'cuda:1'"
        ) from None
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(
            f"device {str(name)!r} is not here: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices. "
            "Use device='auto' to take what there is"
        )
    return device, "asked for"


def _choose_precision(precision: str, device: torch.device) -> tuple[str, str]:
    if precision not in PRECISIONS:
        raise ConfigError(f"precision must be one of {', '.join(PRECISIONS)}. Found: {precision!r}")
    if precision != "auto":
        return precision, "asked for"
    if device.type != "cuda":
        return "fp32", f"half precision is not sure to be faster on {device.type}"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16", "this GPU computes it natively; it has the range of fp32 and needs no scaler"
    return "fp32", "this GPU has no native bf16; fp16 needs a scaler, so it is not taken unasked"
