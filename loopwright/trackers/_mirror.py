"""``Mirror``: brings one tracker to where a run's record is. Works on the run's folder alone, so the run may be alive,
finished or dead, in this process or another one. Waits for nobody, and raises whatever the tracker raises.

metrics.jsonl is cut back when a killed run goes on, and then grows again: by exact resume with the same bytes. So a tracker
that is ahead of the record is left as it is until the record is there again. Are its bytes the same then, nothing is
handed over twice; are they not (other settings, another machine), the tracker begins anew with the whole record.
"""

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .._files import open_regular, read_within
from .._record import CLASSES, CONFIG, ENVIRONMENT, HISTOGRAMS, LOG, METRICS, PATCH, PICTURES
from ._facts import read_facts
from ._position import MirrorLock, Position, Sending, position_path, read_position, write_position
from ._tail import Tail
from ._tracker import Histogram, Lost, Picture, RunFacts, Scalars, Tracker

FILES = (METRICS, PICTURES, HISTOGRAMS)
_KEPT_FILES = (CONFIG, ENVIRONMENT, PATCH, CLASSES, LOG)
_PLOTS = ("*.png", "*.svg", "*.html")
_LARGEST = 2**28  # bytes of a file that is kept
_AT_ONCE = {METRICS: 2000, PICTURES: 1, HISTOGRAMS: 500}  # lines, of which all are taken, or none
_KINDS = {
    "steps": "",
    "epoch": "epoch/",
    "evaluation": "",
}  # of lines that hold numbers, to what their names begin with

Numbered = Sequence[tuple[int, Mapping[str, Any]]]


class Mirror:
    """One run, one tracker.

    Args:
        folder: of the run.
        tracker: whom the record is handed over to.
    """

    def __init__(self, folder: Path, tracker: Tracker) -> None:
        self.folder, self.tracker = folder, tracker
        self._path = position_path(folder, tracker)
        self._tails = {file: Tail(folder / file) for file in FILES}
        self._lock: MirrorLock | None = None
        self._behind: set[str] = set()  # files that are not yet where they were when they were handed over
        self._position = Position()
        self.handed_over: dict[str, int] = dict.fromkeys(FILES, 0)  # lines, by this object

    def open(self) -> None:
        """Find out where the tracker is, and open it there. May be called again after it failed."""
        if self._lock is None:
            self._lock = MirrorLock(self._path)
        facts, position = read_facts(self.folder), read_position(self._path)
        if position.run not in ("", facts.id):
            position = Position(kept=position.kept, state="other run")
        verdicts = {file: tail.compare(position.goal(file)) for file, tail in self._tails.items()}
        if "changed" in verdicts.values() or position.state == "other run":
            self._begin_anew(facts, position)
            return
        self._behind = {file for file, verdict in verdicts.items() if verdict == "behind"}
        try:
            self.tracker.open(replace(facts, kept=position.kept))
        except Lost:
            self._begin_anew(facts, Position())
        else:
            self._write(self._named(position, facts.id))

    def hand_over(self) -> bool:
        """The next lines that the tracker has not; False when there are none."""
        for file, tail in self._tails.items():
            if self._is_behind(file):
                continue
            sending = self._position.sending
            if sending is None or sending.file != file:
                if sending is not None:  # the other one first
                    continue
                _, place = tail.read(self._position.place(file), lines=_AT_ONCE[file])
                if place.offset == self._position.place(file).offset:
                    continue
                sending = Sending(file, place, round(time.time(), 3))
                self._write(replace(self._position, sending=sending, state="open"))
            self._send(sending)
            return True
        return False

    @property
    def is_ahead(self) -> bool:
        """Whether the tracker has lines that the record has not, since it was cut back."""
        return any(map(self._is_behind, FILES))

    def lacks(self) -> int:
        """How many bytes of the record the tracker does not have yet."""
        return sum(max(0, tail.size() - self._position.place(file).offset) for file, tail in self._tails.items())

    def begin_anew(self) -> None:
        """The tracker gets the whole record as it is now, in place of what it has."""
        self._begin_anew(read_facts(self.folder), self._position)

    def close(self, state: str) -> None:
        """Hand over the rest, the files to keep, and the state. May be called again after it failed."""
        if state == "finished" and self.is_ahead:
            self.begin_anew()
        while self.hand_over():
            pass
        for path in self._to_keep():
            digest = _digest(path)
            if self._position.artifacts.get(path.name) != digest:
                self.tracker.artifact(path)
                artifacts = {**self._position.artifacts, path.name: digest}
                self._write(replace(self._position, artifacts=artifacts, kept=dict(self.tracker.kept())))
        self.tracker.close(state)
        self._write(replace(self._position, state=state, kept=dict(self.tracker.kept())))
        self.leave()

    def leave(self) -> None:
        """Let another process do it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # ---- one batch -------------------------------------------------------------------------------------------------

    def _send(self, sending: Sending) -> None:
        begin = self._position.place(sending.file)
        lines, _ = self._tails[sending.file].read(begin, until=sending.place.offset)
        numbered = list(enumerate(lines, begin.lines + 1))
        if sending.file == METRICS:
            batch = list(_scalars(numbered, sending.time))
            if batch:
                self.tracker.scalars(batch)
        elif sending.file == PICTURES:
            for picture in self._pictures(numbered, sending.time):
                self.tracker.picture(picture)
        else:
            histograms = list(_histograms(numbered, sending.time))
            if histograms:
                self.tracker.histograms(histograms)
        self._write(self._position.sent(self.tracker.kept()))
        self.handed_over[sending.file] += len(lines)

    def _pictures(self, lines: Numbered, at: float) -> Iterator[Picture]:
        for number, line in lines:
            path = self.folder / str(line["file"])
            if path.resolve().is_relative_to(self.folder.resolve()) and path.is_file():  # it may have been removed
                captions = [str(caption) for caption in line.get("captions") or []]
                step, epoch = int(line["step"]), int(line["epoch"])
                yield Picture(number, step, epoch, at, str(line["name"]), path, captions)

    # ---- where the tracker is --------------------------------------------------------------------------------------

    def _is_behind(self, file: str) -> bool:
        if file in self._behind:
            verdict = self._tails[file].compare(self._position.goal(file))
            if verdict == "changed":
                self.begin_anew()
            elif verdict == "same":
                self._behind.discard(file)
        return file in self._behind

    def _begin_anew(self, facts: RunFacts, old: Position) -> None:
        self._behind = set()
        self.tracker.open(replace(facts, replaces=old.kept))
        self._write(self._named(Position(), facts.id))

    def _named(self, position: Position, run: str) -> Position:
        named = {"tracker": self.tracker.name, "settings": self.tracker.settings, "run": run}
        return replace(position, **named, kept=dict(self.tracker.kept()) or position.kept)

    def _write(self, position: Position) -> None:
        write_position(self._path, position)
        self._position = position

    def _to_keep(self) -> Iterator[Path]:
        found = [self.folder / name for name in _KEPT_FILES]
        found += sorted(path for pattern in _PLOTS for path in self.folder.glob(pattern))
        for path in found:
            if path.is_file() and not path.is_symlink() and 0 < path.stat().st_size < _LARGEST:
                yield path


def _scalars(lines: Numbered, at: float) -> Iterator[Scalars]:
    """The lines that hold numbers."""
    for number, line in lines:
        prefix = _KINDS.get(str(line.get("kind")))
        if prefix is None:
            continue
        values = {
            f"{prefix}{name}": float(value)
            for name, value in line.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and name not in ("step", "epoch", "kind")
        }
        if values:
            yield Scalars(number, int(line["step"]), int(line["epoch"]), at, values)


def _histograms(lines: Numbered, at: float) -> Iterator[Histogram]:
    for number, line in lines:
        known = {key: line[key] for key in ("name", "low", "high", "counts", "mean", "std")}
        yield Histogram(number, int(line["step"]), int(line["epoch"]), at, **known)


def _digest(path: Path) -> str:
    data = read_within(open_regular(path), _LARGEST)
    return f"{len(data)}-{zlib.crc32(data):08x}"
