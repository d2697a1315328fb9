"""Which engine makes a loader's batches, and why. Knows all engines; reads nothing."""

import multiprocessing
from typing import Literal

from .._cores import cores
from .._errors import ConfigError
from ._engine import Engine, InProcess, WorkerProcesses
from ._incidents import Incidents
from ._ring import RingEngine
from ._samples import Samples

EngineName = Literal["auto", "ring", "threads", "processes", "here"]
NAMES: tuple[EngineName, ...] = ("auto", "ring", "threads", "processes", "here")


def choose_engine(
    samples: Samples, workers: int, name: EngineName = "auto", incidents: Incidents | None = None
) -> tuple[Engine, str]:
    """An engine, and the reason for it in words.

    - ``"ring"``: processes that put pictures straight into batches in shared memory.
    - ``"threads"``: threads of this process that do the same.
    - ``"processes"``: worker processes, for any dataset and transform.
    - ``"here"``: each batch is made when it is asked for, in this process.

    ``"auto"`` takes the first that can do it. All give the same batches. ``incidents`` is told of readers that died.
    """
    incidents = incidents or Incidents()
    obstacle = samples.why_not_shown()
    if name in ("ring", "threads") and obstacle is not None:
        raise ConfigError(f"engine={name!r}: {obstacle}. engine='processes' takes any dataset and transform")
    if workers == 0 or name == "here":
        return InProcess(samples), "in this process, as workers=0 asks" if workers == 0 else "in this process, as asked"
    if name == "processes" or obstacle is not None:
        if _is_child():
            return InProcess(samples), "in this process: a worker process may have none of its own"
        return WorkerProcesses(
            samples, workers, incidents
        ), f"{_count(workers, 'process', 'es')}: {obstacle or 'as asked'}"
    if name == "threads" or _is_child() or "fork" not in multiprocessing.get_all_start_methods():
        why = "as asked" if name == "threads" else "no process can be forked here"
        return RingEngine(samples, workers, None), f"{_count(workers, 'thread', 's')}: {why}"
    why = f"{_count(workers, 'process', 'es')} with shared memory: pictures are decoded straight into batches"
    return RingEngine(samples, workers, incidents), why


def default_workers(samples: Samples | None = None) -> int:
    """One a core, leaving one for the loop: at most 16 that share memory, or 8 that take memory each."""
    shared = samples is not None and samples.why_not_shown() is None
    return max(1, min(16 if shared else 8, cores() - 1))


def _is_child() -> bool:
    return bool(multiprocessing.current_process().daemon)


def _count(number: int, noun: str, plural: str) -> str:
    return f"{number} {noun}{plural if number != 1 else ''}"
