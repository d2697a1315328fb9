"""``TensorBoard``: event files in the run's folder, written without the package, which is only needed to look at them.

pip install 'loopwright[tensorboard]' && loopwright ui runs/
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .._files import make_folder, open_unlinked
from ._events import (
    COLORS,
    first_event,
    histogram,
    image,
    markdown_table,
    scalar,
    start_event,
    summary_event,
    text,
)
from ._tracker import Histogram, Lost, Picture, RunFacts, Scalars, Tracker

_PREFIX = "events.out.tfevents."  # of the names of its files


class TensorBoard(Tracker):
    """TensorBoard's event files. Needs no package; to look at them, ``pip install 'loopwright[tensorboard]'``.

    A run has one file: after a kill it goes on in it, behind what was acknowledged, so that nothing stands in it twice.
    Where the record has become another one, a new file holds it and the old one is removed.

    Args:
        folder: of the event files; by default ``tensorboard`` in the run's folder. A relative one is below the run's.
        watch: such as ``"500 steps"``: histograms of gradients and parameters that often.
        patience: seconds that the end of a run waits.

    >>> import json, tempfile
    >>> run = Path(tempfile.mkdtemp())
    >>> tracker = TensorBoard()
    >>> tracker.open(RunFacts(run, "4711", "woof", {"lr": "0.1"}, {}, {}))
    >>> tracker.scalars([Scalars(1, step=50, epoch=0, time=0.0, values={"train/loss": 0.5})])
    >>> [path.name.startswith("events.out.tfevents.") for path in (run / "tensorboard").iterdir()]
    [True]
    """

    name = "tensorboard"

    def __init__(self, folder: str | os.PathLike[str] | None = None, watch: str | None = None, patience: float = 30.0):
        self.folder = None if folder is None else os.fspath(folder)
        self.watch, self.patience = watch, patience
        self._path = Path()
        self._bytes = 0  # of the file that are acknowledged, or about to be

    def __repr__(self) -> str:
        return f"TensorBoard(folder={self.folder!r})"

    @property
    def target(self) -> str:
        return self.folder or ""

    @property
    def settings(self) -> dict[str, Any]:
        return {"folder": self.folder, "watch": self.watch, "patience": self.patience}

    def open(self, facts: RunFacts) -> None:
        folder = facts.folder / (self.folder or "tensorboard")
        make_folder(folder)
        self._path = folder / Path(str(facts.kept.get("file", ""))).name
        self._bytes = int(facts.kept.get("bytes", 0))
        if not facts.kept:
            self._begin(folder, facts)
        elif not self._is_there():
            raise Lost(f"{self._path} is not there any more, or shorter than it was")
        replaced = folder / Path(str(facts.replaces.get("file", ""))).name
        if replaced.name.startswith(_PREFIX) and replaced != self._path and replaced.is_file():
            replaced.unlink()

    def kept(self) -> Mapping[str, Any]:
        return {"file": self._path.name, "bytes": self._bytes}

    def scalars(self, batch: Sequence[Scalars]) -> None:
        self._append(
            summary_event(line.time, line.step, [scalar(name, value) for name, value in line.values.items()])
            for line in batch
        )

    def picture(self, picture: Picture) -> None:
        from PIL import Image

        with Image.open(picture.path) as opened:
            width, height, mode = *opened.size, opened.mode
        shown = image(picture.name, picture.path.read_bytes(), width, height, COLORS.get(mode, COLORS["RGB"]))
        values = (
            [shown, text(f"{picture.name}/captions", "\n\n".join(picture.captions))] if picture.captions else [shown]
        )
        self._append([summary_event(picture.time, picture.step, values)])

    def histograms(self, batch: Sequence[Histogram]) -> None:
        self._append(
            summary_event(h.time, h.step, [histogram(h.name, h.low, h.high, h.counts, h.mean, h.std)]) for h in batch
        )

    def close(self, state: str) -> None:
        self._append([summary_event(time.time(), 0, [text("run/state", state)])])

    def _begin(self, folder: Path, facts: RunFacts) -> None:
        """A new file: the configuration first, and a mark that takes the place of all that was read before."""
        now = time.time()
        number = sum(1 for _ in folder.iterdir())
        name = f"{_PREFIX}{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{number}"
        self._path, self._bytes = folder / name, 0
        texts = [text("run/settings", markdown_table(facts.parameters)), text("run/facts", markdown_table(facts.tags))]
        try:
            self._append([first_event(now), start_event(now, 0), summary_event(now, 0, texts)])
        except OSError:  # a full disk: the next try takes another name
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            raise

    def _is_there(self) -> bool:
        with contextlib.suppress(OSError):
            return self._path.is_file() and not self._path.is_symlink() and self._path.stat().st_size >= self._bytes
        return False

    def _append(self, events: Iterable[bytes]) -> None:
        """Behind what was acknowledged; what a kill or a full disk has left of more goes."""
        data = b"".join(events)
        with os.fdopen(open_unlinked(self._path, os.O_WRONLY | os.O_CREAT), "wb", buffering=0) as file:
            file.truncate(self._bytes)
            file.seek(self._bytes)
            written = 0
            while written < len(data):
                written += file.write(data[written:]) or 0
        self._bytes += len(data)
