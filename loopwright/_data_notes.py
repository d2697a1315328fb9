"""``DataNotes``: which data a run reads, worked out beside the loop and written into its record."""

import threading
from collections.abc import Mapping
from typing import Any

from ._record import Record
from .data._inventory import Inventory, inventory

WAIT = 1.0  # seconds before it begins: the first batches go first
LAST_SECONDS = 2.0  # for what is not done when the run ends


class DataNotes:
    """One look at each of a run's datasets, in a thread; the loop never waits for it.

    Args:
        record: of the run; environment.json gets a summary, data.jsonl a line a file.
        environment: what environment.json holds so far.
    """

    def __init__(self, record: Record, environment: Mapping[str, Any]) -> None:
        self._record, self._environment = record, environment
        self._loaders: dict[str, Any] = {}
        self._found: dict[str, Inventory | str] = {}
        self._leaving, self._late = threading.Event(), threading.Event()
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None

    def see(self, phase: str, loader: Any) -> None:
        """A phase ("train", "val", ...) reads from this loader; the first one of each phase counts."""
        if phase in self._loaders:
            return
        self._loaders[phase] = loader
        self._changed.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="loopwright-data", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """The run ends: what is left is listed, and given a moment."""
        self._leaving.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join(LAST_SECONDS / 2)
            self._late.set()
            self._thread.join(LAST_SECONDS / 2)

    def _work(self) -> None:
        self._leaving.wait(WAIT)
        while True:
            is_last = self._leaving.is_set()
            for phase in [phase for phase in list(self._loaders) if phase not in self._found]:
                self._found[phase] = self._look(self._loaders[phase])
                if not self._late.is_set():
                    self._write()
            if is_last:
                return
            self._changed.wait()
            self._changed.clear()

    def _look(self, loader: Any) -> Inventory | str:
        try:
            return inventory(loader, lambda: not self._late.is_set())
        except Exception as error:  # of a user's dataset: training goes on without
            return f"could not be listed: {type(error).__name__}: {error}"

    def _write(self) -> None:
        facts = {k: {"note": f} if isinstance(f, str) else f.facts() for k, f in self._found.items()}
        lines = (
            {"phase": phase, **line}
            for phase, found in self._found.items()
            if isinstance(found, Inventory)
            for line in found.lines()
        )
        self._record.write_data({**self._environment, "data": facts}, lines)
