"""``PictureLog``: pictures of progress in a run's folder, drawn and written beside the loop.

A sheet is pictures/NAME-STEP.png and a line of pictures.jsonl, which a resumed run cuts back as it does metrics.jsonl.
Of each name a bounded number stays on disk, spread over the training. What goes wrong here is told and stops nothing.
"""

import contextlib
import errno
import os
import re
import stat
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._errors import ConfigError
from ._files import JsonLines, make_folder, parse_json, read_json_lines, replace_file, sync_folder
from ._record import PICTURES, PICTURES_FOLDER
from ._state import Stateful
from ._when import Span, parse_span
from ._writer import Line

if TYPE_CHECKING:
    from ._picture_batch import PictureBatch
    from ._progress_sheet import Drawn

WAITING = 3  # sheets that may wait to be drawn
LAST_SECONDS = 60.0  # for what is not written when the run ends
_NAME = re.compile(r"[\w][\w .+-]*(/[\w][\w .+-]*)*")


@dataclass
class _Sheet:
    """What is to be drawn."""

    batch: "PictureBatch"
    columns: int | None
    keep: int


class PictureLog:
    """Of one run.

    Args:
        folder: of the run.
        classes: their names, where they are known.
        batches: what knows how they were normalised, and must survive with the rest.
    """

    def __init__(self, folder: Path, classes: Sequence[str] | None, batches: Stateful) -> None:
        self._folder, self._classes, self._batches = folder, classes, batches
        self._line = Line(WAITING)
        self._lines: JsonLines | None = None
        self._lock = threading.Lock()  # of the lines: a checkpoint that is written beside the loop flushes them
        self._number = 0  # sheets so far, over all lives
        self._last: dict[str, list[int]] = {}  # name -> step and epoch of its newest sheet
        self._counts: dict[str, int] = {}  # sheets of each name
        self._kept: dict[str, dict[int, int]] = {}  # name -> which of its sheets are on disk, and their steps
        self._open: dict[str, _Sheet] | None = None  # what an evaluation gathers
        self._messages: deque[str] = deque()
        self._told: set[str] = set()

    # ---- what the loop does ---------------------------------------------------------------------------------------

    def is_due(self, name: str, every: str | None, step: int, epoch: int) -> bool:
        """Whether a sheet of that name is wanted here: the first one of a step, and not before ``every`` is over."""
        check_name(name)
        span = None if every is None else _whole(every)
        if name not in self._last or self.is_gathering(name):
            return True
        at, epoch_then = self._last[name]
        if span is None:
            return at != step
        now, then = (step, at) if span.unit == "steps" else (epoch, epoch_then)
        return now // int(span.amount) > then // int(span.amount)

    def is_gathering(self, name: str) -> bool:
        """Whether an evaluation has begun a sheet of that name."""
        return self._open is not None and name in self._open

    def room(self, name: str, most: int) -> int:
        """How many pictures there is room for."""
        return most - self._open[name].batch.count if self._open is not None and name in self._open else most

    def add(
        self, name: str, batch: "PictureBatch", step: int, epoch: int, *, columns: int | None = None, keep: int = 10
    ) -> None:
        """Draw a sheet; within an evaluation, once it ends."""
        sheet = _Sheet(batch, columns, keep)
        if self._open is None:
            self._submit(name, sheet, step, epoch)
        elif name in self._open:
            self._open[name].batch.add(batch)
        else:
            self._open[name] = sheet

    def begin_evaluation(self) -> None:
        self._open = {}

    def end_evaluation(self, step: int, epoch: int) -> None:
        """Draw what was gathered."""
        gathered, self._open = self._open, None
        for name, sheet in (gathered or {}).items():
            self._submit(name, sheet, step, epoch)

    def leave_evaluation(self) -> None:
        """Forget what was gathered and not drawn."""
        self._open = None

    def messages(self) -> list[str]:
        """What should be told since this was asked for."""
        found = []
        with contextlib.suppress(IndexError):
            while True:
                found.append(self._messages.popleft())
        return found

    def settle(self) -> None:
        """All that was logged is on disk, as far as the disk takes it: before a checkpoint that counts it."""
        self._line.settle()
        if self._lines is None:
            return
        try:
            with self._lock:
                self._lines.settle()
                self._lines.sync()
            folders = {(self._folder / PICTURES_FOLDER / name).parent for name in list(self._counts)}
            for folder in filter(Path.is_dir, folders):
                sync_folder(folder)
        except OSError as error:
            self._tell("disk", f"{PICTURES} could not be written ({error.strerror or error})")

    def close(self) -> None:
        if not self._line.settle(LAST_SECONDS):
            self._tell("late", f"the last pictures were not written within {LAST_SECONDS:.0f} s")
            return  # whoever writes them still has the file
        if self._lines is not None:
            with contextlib.suppress(OSError):
                self._lines.settle()
            self._lines.close()
            self._lines = None

    # ---- what survives ---------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "number": self._number,
            "batches": self._batches.state_dict(),
            "last": {name: list(last) for name, last in self._last.items()},
            "counts": dict(self._counts),
            "kept": {name: {str(place): step for place, step in kept.items()} for name, kept in self._kept.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._number = state["number"]
        self._batches.load_state_dict(state["batches"])
        self._last = {name: list(last) for name, last in state["last"].items()}
        self._counts = dict(state["counts"])
        self._kept = {name: {int(place): step for place, step in kept.items()} for name, kept in state["kept"].items()}

    def go_back(self, state: Mapping[str, Any] | None) -> None:
        """Be as a checkpoint says, and take back all sheets that came after it."""
        if state is not None:
            self.load_state_dict(state)
        kept = {_file(name, step) for name, steps in self._kept.items() for step in steps.values()}
        path = self._folder / PICTURES
        if not os.path.lexists(path):
            return
        size = 0
        for line, end in _lines_of(path):
            number = line.get("number")
            if isinstance(number, int) and number <= self._number:
                size = end
            elif line.get("file") not in kept:
                _remove(self._folder, line.get("file"))
        with contextlib.closing(JsonLines(path)) as lines:
            lines.cut(size)

    # ---- beside the loop -------------------------------------------------------------------------------------------

    def _submit(self, name: str, sheet: _Sheet, step: int, epoch: int) -> None:
        from ._progress_sheet import draw  # only who shows pictures imports Pillow; in the thread others may be forking

        count = self._counts.get(name, 0)
        kept = self._kept.setdefault(name, {}) | {count: step}
        stays = staying(count, sheet.keep)
        gone = [old for place, old in kept.items() if place not in stays and old != step]
        self._kept[name] = {place: at for place, at in kept.items() if place in stays}
        self._number, self._counts[name], self._last[name] = self._number + 1, count + 1, [step, epoch]
        line = {"step": step, "epoch": epoch, "name": name, "file": _file(name, step)}
        number = self._number
        self._line.add(lambda: self._write(draw, sheet, line, number, gone))

    def _write(
        self, draw: Callable[..., "Drawn"], sheet: _Sheet, line: dict[str, Any], number: int, gone: Sequence[int]
    ) -> None:
        """In the thread. Whatever goes wrong, of the encoder or the disk, is told."""
        name = line["name"]
        try:
            drawn = draw(sheet.batch, f"{name}, step {line['step']}", classes=self._classes, columns=sheet.columns)
            path = self._folder / line["file"]
            _make_own_folder(self._folder, path.parent)
            replace_file(path, drawn.data, sync=False)
            self._append({**line, "captions": drawn.captions, **_more(sheet, drawn), "number": number})
            self._tell_of(name, drawn.notes, is_off=drawn.is_off)
        except Exception as error:
            said = getattr(error, "strerror", None) or str(error)
            self._tell(
                f"{name} {type(error).__name__}", f"{name}: a sheet of pictures is left out ({said}); training goes on"
            )
        for step in gone:
            _remove(self._folder, _file(name, step))

    def _append(self, line: Mapping[str, Any]) -> None:
        with self._lock:
            if self._lines is None:
                self._lines = JsonLines(self._folder / PICTURES)
            self._lines.append(line)

    def _tell_of(self, name: str, notes: Mapping[str, Any], *, is_off: bool) -> None:
        if "not_numbers" in notes:
            count = notes["not_numbers"]
            self._tell(f"{name} nan", f"{name}: {count:,} value{'s are' if count > 1 else ' is'} NaN, shown in magenta")
        if is_off:
            self._tell(
                f"{name} clamped",
                f"{name}: {notes['clamped']:,} values lie outside 0..1, from {notes['lowest']:.3g} to "
                f"{notes['highest']:.3g}, and were clamped. Were they normalised by a loader that the run does not know? "
                "Give log_images mean= and std=",
            )

    def _tell(self, key: str, text: str) -> None:
        """Each kind of trouble once."""
        if key not in self._told:
            self._told.add(key)
            self._messages.append(f"warning    {text}")


def staying(newest: int, keep: int) -> set[int]:
    """Which of the sheets 0 to ``newest`` stay on disk, at most ``keep``: the newest, and some spread evenly before it.

    It depends on nothing else, so a resumed run keeps what an uninterrupted one does; and what went is never wanted again.

    >>> [sorted(staying(newest, 4)) for newest in (2, 3, 7, 8)]
    [[0, 1, 2], [0, 2, 3], [0, 4, 7], [0, 4, 8]]
    """
    stride = 1
    while newest // stride + 1 > max(1, keep - 1):
        stride *= 2
    places = set(range(0, newest + 1, stride)) if keep > 1 else set()
    return places | {newest}


def check_name(name: str) -> None:
    """``ConfigError`` for a name that is no name of a file."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > 120:
        raise ConfigError(
            f"log_images: {name!r} is no name for pictures: letters, digits, spaces and ._+- in parts with / between them, "
            "such as 'val/samples'"
        )


def forget_pictures(folder: Path) -> None:
    """Remove the pictures of the run that was in a folder, as far as its record names them."""
    path = folder / PICTURES
    if not os.path.lexists(path) or not stat.S_ISREG(os.lstat(path).st_mode):
        return
    with contextlib.suppress(OSError, ValueError):
        for line in read_json_lines(path):
            _remove(folder, line.get("file"))
    path.unlink(missing_ok=True)
    if not (folder / PICTURES_FOLDER).is_symlink():
        for below, _, _ in os.walk(folder / PICTURES_FOLDER, topdown=False):
            _remove_empty(Path(below))


def _remove_empty(folder: Path) -> None:
    if not folder.is_symlink():
        with contextlib.suppress(OSError):
            folder.rmdir()


@cache
def _whole(every: str) -> Span:
    span = parse_span(every)
    if span.unit == "seconds" or span.amount.denominator != 1:
        raise ConfigError(
            f"log_images: every={every!r}: whole steps or epochs, such as '500 steps': by the clock a resumed run would log "
            "others"
        )
    return span


def _file(name: str, step: int) -> str:
    return f"{PICTURES_FOLDER}/{name}-{step:06d}.png"


def _more(sheet: _Sheet, drawn: "Drawn") -> dict[str, Any]:
    headings = [column.heading for column in sheet.batch.columns]
    more: dict[str, Any] = {"columns": headings} if any(headings) else {}
    if drawn.wrong is not None:
        more["wrong"] = drawn.wrong
    return more | drawn.notes


def _make_own_folder(run: Path, folder: Path) -> None:
    """The folder of a sheet; never through a link, which may lead anywhere in a folder that a stranger gave."""
    for path in (folder, *folder.parents):
        if path == run:
            break
        if path.is_symlink():
            raise OSError(errno.ELOOP, f"{path} is a link: a run writes into folders of its own")
    if not folder.is_dir():
        make_folder(folder)
    for left in folder.glob(".*.png.*.tmp"):  # by a kill; nobody else writes here
        left.unlink(missing_ok=True)


def _remove(run: Path, file: Any) -> None:
    """A sheet of ours; what a line of a stranger's file names is not believed."""
    if not isinstance(file, str):
        return
    path = Path(file)
    name = path.with_suffix("").as_posix().removeprefix(f"{PICTURES_FOLDER}/")
    if path.suffix != ".png" or path.parts[0] != PICTURES_FOLDER or not _NAME.fullmatch(name):
        return
    place = run / path
    if any(above.is_symlink() for above in (place, *place.parents) if above != run and run in above.parents):
        return
    with contextlib.suppress(OSError):
        place.unlink(missing_ok=True)


def _lines_of(path: Path) -> list[tuple[dict[str, Any], int]]:
    """The lines of the record, and where each ends."""
    found: list[tuple[dict[str, Any], int]] = []
    end = 0
    with contextlib.suppress(OSError, ValueError), open(path, "rb") as file:
        for row in file:
            end += len(row)
            line = parse_json(row.decode())
            found.append((line if isinstance(line, dict) else {}, end))
    return found
