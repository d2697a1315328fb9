"""``Apart``: a mirror in a process of its own, for libraries that are large, slow or hold the interpreter.

The process is given the run's folder and the tracker's settings, reads the record by itself, and says in lines of JSON what
the user should read. It is told the state in which the run ends. When the training process dies without a word it hands
over what is in the record and ends, too.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from ._beside import left_behind
from ._follow import sync_command
from ._mirror import Mirror

_BOOT = (
    "import json, sys; order = json.loads(sys.stdin.readline()); sys.path[:] = order['path']; "
    "from loopwright.trackers._child import main; main(order)"
)
_NOISE = {  # of the libraries; what the user has set stays
    "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true",
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
}  # fmt: skip
_LAST = 5.0  # seconds for a process that was killed to be gone


class Apart:
    """Follows a run in another process; a thread listens to it."""

    def __init__(self, mirror: Mirror, say: Callable[[str], object]) -> None:
        self._mirror, self._say = mirror, say
        self._is_killed = False
        order = {
            "path": [os.getcwd() if path == "" else path for path in sys.path],
            "parent": os.getpid(),
            "folder": str(mirror.folder.absolute()),
            "shown": str(mirror.folder),
            "tracker": mirror.tracker.name,
            "kind": f"{type(mirror.tracker).__module__}:{type(mirror.tracker).__qualname__}",
            "settings": mirror.tracker.settings,
        }
        self._process = _start(order)
        self._thread = threading.Thread(target=self._listen, name=f"loopwright-{mirror.tracker.name}", daemon=True)
        self._thread.start()

    def end(self, state: str) -> None:
        """The run has ended; does not wait."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it is gone already
            self._process.stdin.write(json.dumps({"state": state}).encode() + b"\n")
            self._process.stdin.flush()

    def wait(self, until: float) -> None:
        """Give the tracker the time that is left until then, of ``time.monotonic``, then end its process."""
        try:
            self._process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._is_killed = True
            self._process.kill()
            self._say(left_behind(self._mirror))
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST)
        self._thread.join(_LAST)
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError, ValueError):
                pipe.close()  # type: ignore[union-attr]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        ended = False
        with contextlib.suppress(OSError, ValueError):
            for line in self._process.stdout:
                told = _parsed(line)
                ended = ended or "end" in told
                if "say" in told:
                    self._say(str(told["say"]))
        if not ended and not self._is_killed:
            code = self._process.wait()
            self._say(
                f"the process of {self._mirror.tracker.name} died (exit code {code}): {sync_command(self._mirror)}"
            )


def _start(order: Mapping[str, Any]) -> "subprocess.Popen[bytes]":
    log = os.path.join(order["folder"], "mirrors", f"{order['tracker']}.log")
    os.makedirs(os.path.dirname(log), exist_ok=True)
    with open(log, "wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**_NOISE, **os.environ},
            start_new_session=True,  # Ctrl-C is for the training
        )
    assert process.stdin is not None
    process.stdin.write(json.dumps(order).encode() + b"\n")
    process.stdin.flush()
    return process


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
