"""``Position``: how much of a run's record a tracker has, remembered in the run's folder. Hands nothing over.

What is about to be handed over is written down before, with the time that it carries, and what was handed over behind:
after a kill between the two exactly the same is handed over again, which a tracker can tell from something new.
"""

import contextlib
import fcntl
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from .._errors import RunError
from .._files import make_folder, open_unlinked, read_json, write_json
from ._tail import Place
from ._tracker import Tracker

MIRRORS = "mirrors"


@dataclass(frozen=True)
class Sending:
    """What is being handed over: of which file, up to where, and at what time."""

    file: str
    place: Place
    time: float


@dataclass(frozen=True)
class Position:
    """What mirrors/NAME.json holds."""

    run: str = ""  # the id of the run
    places: Mapping[str, Place] = field(default_factory=dict)  # by file
    sending: Sending | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)  # what each file was when it was handed over
    state: str = "open"  # or that of the run, when its end was handed over
    tracker: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def place(self, file: str) -> Place:
        return self.places.get(file, Place())

    def goal(self, file: str) -> Place:
        """The place up to which the tracker may have something."""
        return self.sending.place if self.sending is not None and self.sending.file == file else self.place(file)

    def sent(self, kept: Mapping[str, Any]) -> "Position":
        """The one behind what was being handed over."""
        assert self.sending is not None
        places = {**self.places, self.sending.file: self.sending.place}
        return replace(self, places=places, sending=None, kept=dict(kept))


def position_path(folder: Path, tracker: Tracker) -> Path:
    """Where the position of a tracker is; of one that is to hand over elsewhere, under a name of its own."""
    suffix = f"-{zlib.crc32(tracker.target.encode()):08x}" if tracker.target else ""
    return folder / MIRRORS / f"{tracker.name}{suffix}.json"


def read_position(path: Path) -> Position:
    """The position that a file holds; a new one where there is none, or where it is none of ours."""
    try:
        values = read_json(path)
        sending = values.get("sending")
        return Position(
            run=values["run"],
            places={file: Place(**place) for file, place in values["places"].items()},
            sending=None if sending is None else Sending(sending["file"], Place(**sending["place"]), sending["time"]),
            kept=dict(values["kept"]),
            artifacts=dict(values["artifacts"]),
            state=values["state"],
            tracker=values["tracker"],
            settings=dict(values["settings"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Position()


def write_position(path: Path, position: Position) -> None:
    write_json(path, asdict(position), sync=False)


class MirrorLock:
    """One process at a time hands a run over to one tracker; every kind of death frees it."""

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self._file: BinaryIO = os.fdopen(open_unlinked(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT), "r+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise RunError(f"{path}: another process hands this run over just now, perhaps the run itself") from None
        except OSError:  # a disk without locks
            pass

    def release(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
