"""``Gauge``: the most memory that a piece of work takes on a device, and how much there is. Knows nothing of batches."""

import contextlib
import ctypes
import gc
from pathlib import Path
from typing import Protocol

import torch

from ._available import available_memory
from ._errors import ConfigError


class Gauge(Protocol):
    """Watches the memory of one device."""

    kills: bool  # whether taking too much ends the process, where others raise an error

    def clean(self) -> None:
        """Collect garbage and give back what nothing uses, so that what comes next finds all there is."""
        ...

    def start(self) -> None:
        """Give back what nothing uses, and measure from here."""
        ...

    def peak(self) -> int:
        """The most bytes that were held at once since ``start``."""
        ...

    def limit(self) -> int:
        """The bytes that this process can have, what it holds now included."""
        ...


def open_gauge(device: torch.device) -> Gauge:
    """The gauge of a device; ``ConfigError`` where its memory cannot be measured."""
    if device.type == "cuda":
        return CudaGauge(device)
    if device.type == "cpu":
        return CpuGauge()
    raise ConfigError(f"the memory that a step takes can be measured on cuda and cpu, not on {device.type}")


class CudaGauge:
    """All that torch took from a GPU: tensors, and the gaps between them, which nothing else can use either.

    What torch has *reserved* is measured, not what tensors fill: it is what runs out.
    """

    kills = False

    def __init__(self, device: torch.device) -> None:
        torch.cuda.init()
        self._device = device

    def clean(self) -> None:
        gc.collect()
        self._return_unused()

    def start(self) -> None:
        self._return_unused()
        torch.cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> int:
        return torch.cuda.max_memory_reserved(self._device)

    def limit(self) -> int:
        free, total = torch.cuda.mem_get_info(self._device)
        allowed = int(total * torch.cuda.get_per_process_memory_fraction(self._device))
        return min(free + torch.cuda.memory_reserved(self._device), allowed)

    def _return_unused(self) -> None:
        with torch.cuda.device(self._device):
            torch.cuda.empty_cache()


class CpuGauge:
    """What this process grew by since the first ``start``. Linux only: elsewhere the peak cannot be set back."""

    kills = True
    _before: int | None = None  # KiB
    _STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def __init__(self) -> None:
        room = available_memory()
        try:
            self._CLEAR.write_text("5")
            self._kilobytes("VmHWM")
        except OSError as error:
            raise ConfigError(
                f"the memory that a step takes on the CPU cannot be measured here: {error}. It needs Linux's /proc, which "
                "gVisor and other systems lack; measure on a GPU"
            ) from None
        assert room is not None  # where there is /proc, there is meminfo
        self._limit = room

    def clean(self) -> None:
        gc.collect()
        self._return_unused()

    def start(self) -> None:
        self._return_unused()
        self._CLEAR.write_text("5")  # the kernel's word for: the peak is what it is now
        if self._before is None:
            self._before = self._kilobytes("VmRSS")

    def peak(self) -> int:
        assert self._before is not None
        return max(0, self._kilobytes("VmHWM") - self._before) * 1024

    def limit(self) -> int:
        return self._limit

    def _kilobytes(self, name: str) -> int:
        for line in self._STATUS.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        raise OSError(f"{self._STATUS} has no {name}")

    def _return_unused(self) -> None:
        """The C library keeps freed memory for later, which would look as if it were in use."""
        with contextlib.suppress(OSError, AttributeError):  # not glibc
            ctypes.CDLL("libc.so.6").malloc_trim(0)
