"""``start_procs``: a command as several processes of this machine, which find each other; torch's elastic agent starts them.

A process that dies ends the others, and all are started again as often as was asked for: each start goes on from the
run's last checkpoint. One that was told to stop, and saved, is not started again.
"""

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ._cores import cores
from ._errors import ConfigError
from ._signals import LEFT

_THREADS = "OMP_NUM_THREADS"
_PASSED_ON = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1")  # torch's own, and what schedulers send


def start_procs(
    module: str, arguments: Sequence[str], procs: int, *, restarts: int = 0, tell: Callable[[str], object] = print
) -> int:
    """Run ``python -m MODULE ARGUMENTS`` ``procs`` times and wait for all.

    Args:
        restarts: how often all are started again when one has died.
        tell: takes lines for the user.

    Returns:
        0, or the exit code of the process that failed first; 128 and more where a signal ended it, or had it save and leave.
    """
    if procs < 1:
        raise ConfigError(f"procs must be 1 or more. Found: {procs}")
    if restarts < 0:
        raise ConfigError(f"max-restarts must be 0 or more. Found: {restarts}")
    os.environ.setdefault(_THREADS, str(max(1, cores() // procs)))  # read by torch when it is imported
    from torch.distributed.elastic.agent.server.api import SignalException  # type: ignore[reportPrivateImportUsage]
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=procs,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=f"{os.getpid()}-{time.time_ns()}",  # no other command's: see _distributed.job
        max_restarts=restarts,
        monitor_interval=0.1,
        signals_to_handle=",".join(_passed_on()),
    )
    tell(f"procs      {procs} processes, {os.environ[_THREADS]} threads each")
    with _left_by() as left:
        try:
            elastic_launch(config, sys.executable)("-u", "-m", module, *arguments)
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            code = failure.exitcode
            how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            tell(f"failed     rank {rank} (process {failure.pid}) was the first: {how}; its own words stand above")
            return 128 - code if code < 0 else code
        except SignalException as error:
            return 128 + int(error.sigval)
        number = left.read_text()
    return 128 + int(number) if number else 0


def _passed_on() -> list[str]:
    """A hang-up that was to be ignored from the start, as under nohup and in the background, stays ignored."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [name for name in _PASSED_ON if name != "SIGHUP" or not ignored]


@contextlib.contextmanager
def _left_by() -> Iterator[Path]:
    """A file for the number of the signal that has the processes save and leave; empty where they come to their end."""
    with tempfile.NamedTemporaryFile(prefix="loopwright-left-") as file:
        before, os.environ[LEFT] = os.environ.get(LEFT), file.name
        try:
            yield Path(file.name)
        finally:
            os.environ.pop(LEFT) if before is None else os.environ.update({LEFT: before})
