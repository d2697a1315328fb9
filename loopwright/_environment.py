"""What a run runs on: code, packages, hardware. Only looks; writes nothing."""

import functools
import os
import platform
import socket
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ._git import describe_code


def describe_environment(folder: Path) -> dict[str, Any]:
    """Everything worth knowing when a run is to be repeated: plain values only."""
    return {
        "code": describe_code(folder),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpu": {"name": _cpu_name(), "cores": os.cpu_count(), "torch_threads": torch.get_num_threads()},
        "gpus": _gpus(),
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


def _gpus() -> list[dict[str, Any]]:
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": g.name, "memory_gib": round(g.total_memory / 2**30, 1), "cuda": torch.version.cuda} for g in found]
