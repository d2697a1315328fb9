"""The process of a tracker that stands apart from the training: follows the run until its end, or the training's.

Started by ``_apart``, which sends an order, a line of JSON, and later the state in which the run ended.
"""

import contextlib
import json
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ._by_name import make_tracker
from ._follow import follow
from ._mirror import Mirror

_LOOK = 0.5  # seconds between two looks whether the training process is there


def main(order: Mapping[str, Any]) -> None:
    """Do what the order says; ends the process."""
    with contextlib.suppress(OSError):
        os.nice(10)  # the training has the cores
    said = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print goes into the log
    tracker = make_tracker({"name": order["kind"], **order["settings"]})
    end = _End(order["parent"], tracker.patience)

    def say(text: str) -> None:
        _tell(said, {"say": text.replace(order["folder"], order["shown"])})

    complete = follow(Mirror(Path(order["folder"]), tracker), end.wait, say)
    _tell(said, {"end": complete})
    os._exit(0)  # whatever threads and exit handlers a library has left


class _End:
    """How the run ended: as the training process says, or "killed" where it is gone."""

    def __init__(self, parent: int, patience: float) -> None:
        self._parent, self._patience = parent, patience
        self._known, self._state = threading.Event(), ""
        threading.Thread(target=self._hear, daemon=True).start()
        threading.Thread(target=self._look, daemon=True).start()

    def wait(self, seconds: float) -> str | None:
        return self._state if self._known.wait(seconds) else None

    def _hear(self) -> None:
        line = sys.stdin.readline()
        if line:
            self._state = str(json.loads(line)["state"])
            self._known.set()

    def _look(self) -> None:
        while os.getppid() == self._parent:
            if self._known.wait(_LOOK):
                threading.Event().wait(_LOOK)
        if not self._known.is_set():
            self._state = "killed"
            self._known.set()
        threading.Event().wait(self._patience)
        os._exit(1)  # nobody is there who would end it


def _tell(said: BinaryIO, what: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        said.write(json.dumps(what).encode() + b"\n")
