"""What a run runs on: packages, driver, hardware. Only looks; writes nothing."""

import functools
import os
import platform
import socket
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ._variables import known_variables


def describe_environment() -> dict[str, Any]:
    """What is worth knowing when a run is to be repeated: plain values only."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpu": {
            "name": _cpu_name(),
            "cores": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
        },
        "memory_gib": _memory_gib(),
        "gpus": _gpus(),
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.cuda.is_available() else None,
        "variables": known_variables(os.environ),
        "packages": _packages(),
    }


@functools.cache
def _packages() -> dict[str, str]:
    """Installed packages and their versions; reading them takes a tenth of a second, once a process."""
    return {d.name: d.version for d in sorted(metadata.distributions(), key=lambda d: d.name.lower())}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (OSError, ValueError):
        return None


def _driver() -> str | None:
    """The version of NVIDIA's driver."""
    try:
        first = Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except (OSError, IndexError):
        return None
    return next((word for word in first.split() if word[:1].isdigit() and "." in word), first)


def _gpus() -> list[dict[str, Any]]:
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": g.name, "memory_gib": round(g.total_memory / 2**30, 1), "cuda": torch.version.cuda} for g in found]
