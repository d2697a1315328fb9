"""One measurement, in a process of its own: imports a system, trains once, writes what that cost as JSON.

python -m benchmarks.loops MODULE CASE STEPS RESULT.json
"""

import importlib
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.loops import DISPLAYED


def main(module: str, case: str, steps: int, result: Path) -> None:
    """Trains `steps` steps alone and as many in turns with the bare loop."""
    imports = time_imports(module)
    figures = {} if steps == 0 else time_training(module, case == DISPLAYED, steps)
    result.write_text(json.dumps(imports | figures | {"peak_mb": peak_resident_mb()}))


def time_imports(module: str) -> dict[str, float]:
    """Seconds to import torch, and after it the system and the names that its loop uses."""
    began = time.perf_counter()
    import torch

    imported = time.perf_counter()
    torch.set_num_threads(1)
    importlib.import_module("benchmarks._task")
    importlib.import_module("benchmarks._clock")
    system = time.perf_counter()
    importlib.import_module(f"benchmarks.loops.{module}")
    return {"import_torch_s": imported - began, "import_system_s": time.perf_counter() - system}


def time_training(module: str, display: bool, steps: int) -> dict[str, float]:
    """Microseconds a step, and the seconds that the run took besides its steps."""
    from benchmarks._clock import TimedBatches
    from benchmarks._task import bare_steps, new_batches, new_model, new_optimizer

    company = new_model()
    bare = bare_steps(company, new_optimizer(company), itertools.cycle(new_batches()))
    batches = TimedBatches(new_batches(), steps, steps, bare)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        importlib.import_module(f"benchmarks.loops.{module}").train(batches, display, Path(folder))
        whole = time.perf_counter() - began
    return batches.figures() | {"around_s": whole - batches.inside_s}


def peak_resident_mb() -> float:
    """The most memory this process ever held. Not `ru_maxrss`: that one inherits the parent's across exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
