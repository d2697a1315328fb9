"""One attempt: a spoiled folder is written and read; what came of it, what it took, what it touched. Linux only."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzzing._spoil import Tree, spoiled_tree
from benchmarks.fuzzing._targets import Target
from loopwright import LoopwrightError

MOST_GROWTH = 512 * 2**20  # bytes that one attempt may take
_CODE = tuple(
    os.path.realpath(path)
    for path in {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), Path(__file__).parents[2], "/proc/self"}
)
_WATCHED = {  # event -> which of its arguments are paths
    "open": 1, "os.remove": 1, "os.rename": 2, "os.mkdir": 1, "os.rmdir": 1, "os.truncate": 1, "os.link": 2,
    "os.symlink": 2, "os.chmod": 1, "os.listdir": 1, "os.scandir": 1, "shutil.rmtree": 1, "os.utime": 1,
}  # fmt: skip
_FORBIDDEN = {
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
    "ctypes.dlopen",
}


class Attempts:
    """Attempts at one target, below a folder; the same number gives the same attempt anywhere.

    `of(number)` returns "loaded", "refused", or a text that says what failed.
    """

    def __init__(self, target: Target, seed: int, folder: Path) -> None:
        self._target, self._seed = target, seed
        self._sandbox, self._outside = folder / "sandbox", folder / "outside"
        shutil.rmtree(folder, ignore_errors=True)
        self._outside.mkdir(parents=True)
        (self._outside / "secret").write_text('{"secret": 1}')
        (self._outside / ".mine.tmp").write_text("not yours")
        self._before = self._state()
        self._sandbox.mkdir()
        target.make(self._sandbox)
        self._valid = self._tree()
        self._touched: list[str] = []
        self._watching = False
        sys.addaudithook(self._note)

    def of(self, number: int) -> str:
        tree = self._spoiled(Random(f"{self._seed}/{self._target.name}/{number}")) if number else self._valid
        self._write(tree)
        self._touched.clear()
        began = _resident(reset=True)
        outcome = self._read()
        if not number and outcome != "loaded":
            return f"valid files: {outcome}"
        grown = _resident() - began
        if self._touched:
            return f"touched: {', '.join(sorted(set(self._touched))[:3])}"
        if self._state() != self._before:
            return "changed what is outside its folder"
        if grown > MOST_GROWTH:
            return f"took much memory: {grown // 2**20} MiB"
        return outcome

    def _spoiled(self, random: Random) -> Tree:
        tree = dict(self._valid)
        spoils = [(name, spoil) for end, spoil in self._target.spoil.items() for name in tree if name.endswith(end)]
        if self._target.inner and random.random() < 0.15:
            folders = {
                folder for name in tree if "/" in (folder := name.rpartition("/")[0])
            }  # not those that are asked for
            tree = spoiled_tree(tree, random, [*(name for name, _ in spoils), *sorted(folders)])
            return tree
        for name, spoil in random.sample(spoils, min(len(spoils), random.choice((1, 1, 1, 2)))):
            content = tree[name]
            assert isinstance(content, bytes)
            tree[name] = spoil(content, random)
        return self._target.repair(tree) if random.random() < 0.8 else tree

    def _read(self) -> str:
        here = os.getcwd()
        os.chdir(self._sandbox)
        self._watching = True
        try:
            with warnings.catch_warnings(action="ignore"):
                self._target.read(self._sandbox)
            return "loaded"
        except LoopwrightError as error:
            return "refused" if str(error) else "an error without a message"
        except Exception as error:
            return _summary(error)
        finally:
            self._watching = False
            os.chdir(here)

    def _note(self, event: str, values: tuple[Any, ...]) -> None:
        if not self._watching:
            return
        if event in _FORBIDDEN:
            self._touched.append(event)
        for path in values[: _WATCHED.get(event, 0)]:
            if isinstance(path, str | bytes | os.PathLike) and not self._is_ours(os.fspath(path), event, values):
                self._touched.append(f"{event} {path!r}")

    def _is_ours(self, path: Any, event: str, values: tuple[Any, ...]) -> bool:
        try:
            text = os.fsdecode(path)
            if event == "open" and isinstance(values[2], int) and values[2] & os.O_NOFOLLOW:
                real = os.path.join(os.path.realpath(os.path.dirname(text)), os.path.basename(text))
            elif event in ("open", "os.listdir", "os.scandir", "os.truncate", "os.chmod"):
                real = os.path.realpath(text)
            else:  # of a link itself
                real = os.path.join(os.path.realpath(os.path.dirname(text)), os.path.basename(text))
        except ValueError:
            return True  # no path: the system will say so
        if real in ("/dev/null", "/dev/urandom") or real.startswith(_CODE):
            return True
        return real == str(self._sandbox) or real.startswith((f"{self._sandbox}/", "/usr/", "/sys/", "/proc/"))

    def _tree(self) -> Tree:
        files = sorted(path for path in self._sandbox.rglob("*") if path.is_file())
        return {path.relative_to(self._sandbox).as_posix(): path.read_bytes() for path in files}

    def _write(self, tree: Tree) -> None:
        shutil.rmtree(self._sandbox)
        self._sandbox.mkdir()
        for name, content in tree.items():
            path = self._sandbox / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif content == "pipe":
                os.mkfifo(path)
            elif content == "folder":
                path.mkdir()
            else:
                path.symlink_to(content.removeprefix("link:").replace("OUTSIDE", str(self._outside)))

    def _state(self) -> list[tuple[str, int, int]]:
        return sorted((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in self._outside.iterdir())


def _summary(error: Exception) -> str:
    """The kind of error, and the innermost line of loopwright that it came through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/loopwright/" in f.filename]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__} at {place}: {str(error)[:150]!r}"


def _resident(*, reset: bool = False) -> int:
    """The most memory that was resident since the last reset, in bytes."""
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    line = next(_lines("VmHWM"))
    return int(line.split()[1]) * 1024


def _lines(name: str) -> Iterator[str]:
    with open("/proc/self/status") as file:
        yield from (line for line in file if line.startswith(name))
