"""A run's folder: its files, who holds it, what it says about itself. Imports no torch; knows nothing of the loop.

run.json           id, state, command, host, times, device and why, progress
config.yaml        the whole resolved configuration
environment.json   commit and snapshot of the code, packages, hardware, data; code.patch holds uncommitted changes
data.jsonl         one line a file of the data: its name, size and a hash of sampled bytes
metrics.jsonl      one line a report: step, epoch, names -> values; the record of truth, the same for every replay
histograms.jsonl   how gradients and parameters are spread, where a tracker asked for it
speed.jsonl        seconds, samples a second, share of waiting: what differs from replay to replay
pictures.jsonl     one line a sheet of pictures in pictures/: step, epoch, name, file, captions
classes.json       the names of the classes in the order of the model's outputs, where the run was told them
log.txt            everything printed
start.txt          what a start in the background printed that came to no run
nonfinite.json     where a run stopped for a number that is not finite: the step, its samples, how to look at it
checkpoints/
mirrors/           which trackers have how much of the record
ranks/             of a run on several ranks, what each but the first has to say: its log, its end
replays/           copies of the run, in which a step was looked at, and runs that reproduced it
"""

import contextlib
import os
import re
import socket
import stat
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ._errors import RunError
from ._files import JsonLines, json_line, make_folder, read_json, read_json_lines, replace_file, write_json
from ._lock import LOCK, FolderLock, holder
from ._run_order import run_order

RUN, CONFIG, ENVIRONMENT, PATCH, DATA = "run.json", "config.yaml", "environment.json", "code.patch", "data.jsonl"
METRICS, SPEED, LOG, CHECKPOINTS = "metrics.jsonl", "speed.jsonl", "log.txt", "checkpoints"
NONFINITE, REPLAYS, CLASSES, START = "nonfinite.json", "replays", "classes.json", "start.txt"
PICTURES, PICTURES_FOLDER, HISTOGRAMS = "pictures.jsonl", "pictures", "histograms.jsonl"
RANKS = "ranks"
INSIDE = (CHECKPOINTS, REPLAYS, RANKS)  # folders of a run: what looks like runs in them is none of the user's
_KINDS: dict[str, Any] = {  # of what a run reads back from run.json; all else that it says is shown as it is
    "id": str, "state": str, "created": str, "started": str, "host": str, "pid": int, "seed": int, "lives": list,
}  # fmt: skip
_OWN = (  # and START, which goes by itself
    RUN, CONFIG, ENVIRONMENT, PATCH, DATA, METRICS, SPEED, LOG, NONFINITE, CLASSES, PICTURES, HISTOGRAMS,
)  # fmt: skip
_LEFT_OVER = re.compile(
    r"\.(run\.json|config\.yaml|environment\.json|code\.patch|data\.jsonl|nonfinite\.json|classes\.json)\.\d+\.tmp"
    r"|\.probe\.\d+"
)  # by a kill


class Record:
    """The folder of one run, held by this process while it is open."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._make_folder()
        self._check_files()
        self._lock = FolderLock(self.folder)
        try:
            self._sweep()
            self.info = read_run(self.folder) if (self.folder / RUN).exists() else {}
            self.metrics = JsonLines(self.folder / METRICS)
            self.speed = JsonLines(self.folder / SPEED)
        except BaseException:
            self._lock.release()
            raise

    @property
    def state(self) -> str | None:
        """What the folder said before this process took it: None for a new one, "killed" where nobody said goodbye."""
        state = self.info.get("state")
        left_over = state is None and (self.metrics.size() > 0 or (self.folder / CHECKPOINTS / "index.json").exists())
        return "killed" if state == "running" or left_over else state

    def clear(self, *, keep_lives: bool) -> None:
        """Remove the files of the run that was here; files that loopwright did not write are left alone."""
        for name in _OWN:
            if name not in (METRICS, SPEED):  # held open: cut instead
                (self.folder / name).unlink(missing_ok=True)
        self.metrics.cut(0)
        self.speed.cut(0)
        self.info = self.info if keep_lives else {}

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Say that the run is running, keeping what earlier lives said."""
        (self.folder / NONFINITE).unlink(missing_ok=True)
        lives = [*(self.info.get("lives") or [])]
        if self.info:
            lives.append(
                {key: self.info.get(key) for key in ("started", "ended", "host", "pid", "step", "snapshot")}
                | {"state": self.state}
            )
            lives[-1]["ended"] = lives[-1]["ended"] or self._last_sign()
        order = run_order()
        here = os.getcwd()
        self.info = {
            "id": self.info.get("id") or uuid.uuid4().hex[:12],
            "created": self.info.get("created") or _now(),
            **facts,
            "state": "running",
            "command": list(order.command) if order and order.command else [sys.executable, *sys.orig_argv[1:]],
            "working_folder": str(order.original_of(here)) if order and order.run else here,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": _now(),
            "lives": lives,
        }
        self._write_info()

    def update(self, **facts: Any) -> None:
        """Change what run.json says; whole after a kill. Where the disk does not take it, it waits for the next change."""
        self.info |= facts
        with contextlib.suppress(OSError):
            self._write_info()

    def check_config(self, text: str) -> None:
        """A configuration that somebody else put into a new folder is not overwritten."""
        path = self.folder / CONFIG
        if not self.info and path.exists() and path.read_text(encoding="utf-8") != text:
            raise RunError(
                f"{path} is there already and is not of a run: a run writes its whole configuration under that name. "
                "Rename it, or give the run another folder"
            )

    def write_config(self, text: str) -> None:
        replace_file(self.folder / CONFIG, text, sync=False)

    def write_environment(self, environment: Mapping[str, Any], patch: str) -> None:
        write_json(self.folder / ENVIRONMENT, environment, sync=False)
        (self.folder / DATA).unlink(missing_ok=True)
        (self.folder / PATCH).unlink(missing_ok=True)
        if patch:
            replace_file(self.folder / PATCH, patch, sync=False)

    def write_classes(self, classes: Sequence[str], *, resumes: bool) -> None:
        """Names that would change their meaning in a run that goes on are refused."""
        before = read_classes(self.folder) if resumes else None
        if before is not None and before != list(classes):
            name = next((b for b, c in zip(before, classes, strict=False) if b != c), "the number of classes")
            raise RunError(
                f"{self.folder / CLASSES} names {len(before)} classes, and this life would have {len(classes)} that differ "
                f"from there on: {name}. Were class folders added or renamed? Restore them, or begin a new run"
            )
        write_json(self.folder / CLASSES, {"classes": list(classes)}, sync=False)

    def write_data(self, environment: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]) -> None:
        """What is known of the data, best effort; called beside the loop."""
        with contextlib.suppress(OSError):
            replace_file(self.folder / DATA, b"".join(json_line(line) for line in lines), sync=False)
            write_json(self.folder / ENVIRONMENT, environment, sync=False)

    def write_nonfinite(self, facts: Mapping[str, Any]) -> None:
        """Where this life ended for a number that is not finite; best effort, the error itself is told anyway."""
        with contextlib.suppress(OSError):
            write_json(self.folder / NONFINITE, facts, sync=False)

    def mark(self) -> int:
        """How many bytes of metrics there are: what a checkpoint remembers, once they are on disk (``metrics.sync``)."""
        self.metrics.settle()
        return self.metrics.size()

    def cut(self, mark: int) -> None:
        """Take back every metrics line that was written after a checkpoint's mark."""
        size = self.metrics.size()
        if size < mark:
            raise RunError(
                f"{self.folder / METRICS} has {size} bytes; the checkpoint was taken when it had {mark}: "
                "it was changed since. Restore it, or start a new run from the weights"
            )
        self.metrics.cut(mark)

    def close(self) -> None:
        self.metrics.close()
        self.speed.close()
        self._lock.release()

    def _last_sign(self) -> str | None:
        """When a life that was killed was last heard of."""
        paths = [path for name in (SPEED, LOG) if (path := self.folder / name).exists()]
        return _now(max(path.stat().st_mtime for path in paths)) if paths else None

    def _write_info(self) -> None:
        write_json(self.folder / RUN, self.info, sync=False)

    def _sweep(self) -> None:
        """Remove what a kill left of writing; other processes do not write here, the folder is held."""
        for path in self.folder.iterdir():
            if _LEFT_OVER.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def _make_folder(self) -> None:
        try:
            make_folder(self.folder)
            probe = self.folder / f".probe.{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except FileExistsError:
            raise RunError(f"{self.folder} is a file, not a folder: give the run another name") from None
        except OSError as error:
            raise RunError(
                f"cannot write into the run folder {self.folder}: {error.strerror}. Give it write permission, "
                "or put the run elsewhere"
            ) from None

    def _check_files(self) -> None:
        """A folder may be a stranger's: nothing is written through a link, and no pipe keeps us waiting."""
        for path in map(self.folder.joinpath, (*_OWN, LOCK, START)):
            if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
                raise RunError(
                    f"{path} is a link, or no file: a run writes into files of its own. Remove it, or give this run "
                    "another folder"
                )


def is_held(folder: Path) -> bool:
    """Whether a living process holds the folder."""
    return holder(folder) is not None


def read_run(folder: str | Path) -> dict[str, Any]:
    """What run.json says; ``RunError`` where it cannot be read."""
    path = Path(folder) / RUN
    try:
        info = read_json(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is not the record of a run ({error})") from None
    strange = next((key for key, kind in _KINDS.items() if not isinstance(info.get(key), kind | None)), None)
    if strange is not None:
        raise RunError(f"{path} is not the record of a run: its {strange!r} is a {type(info[strange]).__name__}")
    return info


def read_classes(folder: str | Path) -> list[str] | None:
    """The names of a run's classes, in the order of the model's outputs; None where it was not told them."""
    path = Path(folder) / CLASSES
    if not path.exists():
        return None
    try:
        classes = read_json(path)["classes"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{path} does not hold the classes of a run ({error})") from None
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise RunError(f"{path} does not hold the classes of a run: a list of their names is expected")
    return classes


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, oldest first: ``step``, ``epoch``, ``kind`` and the values by name.

    Raises ``RunError`` where the file is of something else.
    """
    path = Path(folder) / METRICS
    try:
        return list(read_json_lines(path)) if path.exists() else []
    except (OSError, ValueError) as error:
        raise RunError(f"{path} does not hold the metrics of a run ({error})") from None


def _now(seconds: float | None = None) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))
