"""``Disk``: a layer between the package and the files of one folder: it records every operation, and makes some fail.

Operations are recorded as a file system sees them: names in folders, bytes in files, flushes of both. While the layer is
in place the package's own code runs unchanged: ``open`` is shadowed in its modules, the functions of ``os`` are wrapped
for paths below the root. It knows nothing of checkpoints, and nothing of what a crash leaves (``_crash_states``).
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal
from unittest import mock

Kind = Literal["create", "mkdir", "unlink", "rmdir", "rename", "write", "truncate", "sync"]
Fault = Literal["ENOSPC", "EIO", "short", "delay"]
ROOT = 0  # the number of the root folder: it was there before


@dataclass(frozen=True)
class Op:
    """One operation that was done. Files and folders have numbers, as inodes do: a renamed one keeps its own."""

    kind: Kind
    inode: int  # what it is about
    folder: int = -1  # whose names it changes; -1: it changes none
    name: str = ""
    new_name: str = ""
    offset: int = 0
    data: bytes = b""
    path: str = ""  # to be printed

    @property
    def is_name(self) -> bool:
        return self.folder >= 0

    @property
    def flushed_by(self) -> int:
        """The file or folder whose flush makes it last."""
        return self.folder if self.is_name else self.inode

    def __str__(self) -> str:
        more = {"write": f" {len(self.data)} bytes at {self.offset}", "truncate": f" to {self.offset}"}.get(
            self.kind, ""
        )
        return f"{self.kind} {self.path}{more}" + (f" -> {self.new_name}" if self.new_name else "")


class Disk:
    """Records the operations below a folder while it is entered, and makes the ones fail that ``fault`` names.

    Args:
        root: an empty folder.
        modules: those whose ``open`` is shadowed.
        fault: asked before each operation with its number, its kind and its path; None lets it be done.
        block: bytes that a file's buffer holds: small ones make many writes out of a save.
    """

    def __init__(
        self,
        root: Path,
        modules: list[ModuleType],
        fault: Callable[[int, Kind, str], Fault | None] = lambda *_: None,
        block: int = 1024,
    ) -> None:
        self.root, self.ops = root, list[Op]()
        self.tried = 0  # operations, those that failed too
        self.open_files: set[DiskFile] = set()
        self.beside: Callable[[], object] | None = None  # called between two operations, as another thread would act
        self._modules, self._fault, self._block = modules, fault, block
        self._names: dict[int, dict[str, int]] = {ROOT: {}}
        self._next = ROOT + 1
        self._descriptors: dict[int, int] = {}
        self._lock = threading.RLock()
        self._plain = {name: getattr(os, name) for name in ("open", "close", "fdopen", "fsync", "ftruncate", *_NAMING)}
        self._plain_rmtree = shutil.rmtree
        self._stack = ExitStack()

    def __enter__(self) -> Disk:
        wrapped: dict[str, Callable[..., Any]] = {
            "open": self._open_descriptor, "fdopen": self._fdopen, "close": self._close, "fsync": self._fsync,
            "ftruncate": self._ftruncate, "mkdir": self._mkdir, "unlink": self._unlink, "rmdir": self._rmdir,
            "rename": self._rename, "replace": self._rename,
        }  # fmt: skip
        for name, function in wrapped.items():
            self._stack.enter_context(mock.patch.object(os, name, function))
        self._stack.enter_context(mock.patch.object(shutil, "rmtree", self._rmtree))
        write_bytes = lambda path, data: self._write_bytes(path, data)  # noqa: E731 - a method of Path needs a function
        self._stack.enter_context(mock.patch.object(Path, "write_bytes", write_bytes))
        for module in self._modules:
            self._stack.enter_context(mock.patch.object(module, "open", self._open_file, create=True))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # ---- what the package calls ------------------------------------------------------------------------------------

    def _open_file(self, path: str | Path, mode: str = "r", buffering: int = -1, **options: Any) -> Any:
        if not self._is_mine(path) or mode not in ("wb", "ab"):
            return open(path, mode, buffering, **options)
        with self._lock:
            folder, name = self._place(path)
            there = self._names[folder].get(name)
            self._try("create" if there is None else "truncate", path)
            raw = DiskFile(self, path, mode, self._new_inode() if there is None else there)
            if there is None:
                self._names[folder][name] = raw.inode
                self._done(Op("create", raw.inode, folder, name, path=self._shown(path)))
            elif mode == "wb":
                self._done(Op("truncate", raw.inode, path=self._shown(path)))
            return raw if buffering == 0 else io.BufferedWriter(raw, self._block)

    def _write_bytes(self, path: Path, data: bytes) -> int:
        with self._open_file(path, "wb") as file:
            return file.write(data)

    def write(self, file: DiskFile, data: bytes) -> int:
        """Write to a file, or a part of it, or nothing, as the fault says."""
        with self._lock:
            fault = self._try("write", file.path)
            offset = os.fstat(file.fileno()).st_size if file.appends else file.tell()
            if fault == "short":
                data = data[: len(data) // 2]
            written = file.write_through(data)
            self._done(Op("write", file.inode, offset=offset, data=data[:written], path=self._shown(file.path)))
            return written

    def opened(self, file: DiskFile) -> None:
        self.open_files.add(file)
        self._descriptors[file.fileno()] = file.inode

    def closed(self, file: DiskFile) -> None:
        self.open_files.discard(file)
        self._descriptors.pop(file.fileno(), None)

    def _open_descriptor(self, path: Any, flags: int, *more: Any, **options: Any) -> int:
        if not self._is_mine(path, options):
            return self._plain["open"](path, flags, *more, **options)
        if not flags & (os.O_WRONLY | os.O_RDWR):
            descriptor = self._plain["open"](path, flags, *more, **options)
            if os.path.isdir(path):
                self._descriptors[descriptor] = self._inode(path)
            return descriptor
        with self._lock:
            folder, name = self._place(path)
            there = self._names[folder].get(name)
            self._try("create" if there is None else "truncate", path)
            descriptor = self._plain["open"](path, flags, *more, **options)
            inode = self._descriptors[descriptor] = self._new_inode() if there is None else there
            if there is None:
                self._names[folder][name] = inode
                self._done(Op("create", inode, folder, name, path=self._shown(path)))
            elif flags & os.O_TRUNC:
                self._done(Op("truncate", inode, path=self._shown(path)))
            return descriptor

    def _fdopen(self, descriptor: int, mode: str = "r", buffering: int = -1, *more: Any, **options: Any) -> Any:
        if descriptor not in self._descriptors or mode not in ("wb", "ab"):
            return self._plain["fdopen"](descriptor, mode, buffering, *more, **options)
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        raw = DiskFile(self, path, mode, self._descriptors[descriptor], descriptor)
        return raw if buffering == 0 else io.BufferedWriter(raw, self._block)

    def _close(self, descriptor: int) -> None:
        self._descriptors.pop(descriptor, None)
        self._plain["close"](descriptor)

    def _fsync(self, file: Any) -> None:
        descriptor = file if isinstance(file, int) else file.fileno()
        if descriptor not in self._descriptors:
            return self._plain["fsync"](file)
        with self._lock:
            inode = self._descriptors[descriptor]
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            self._try("sync", path)  # the machine's own disk need not be waited for
            return self._done(Op("sync", inode, path=self._shown(path)))

    def _ftruncate(self, descriptor: int, size: int) -> None:
        if descriptor not in self._descriptors:
            return self._plain["ftruncate"](descriptor, size)
        with self._lock:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            self._try("truncate", path)
            self._plain["ftruncate"](descriptor, size)
            return self._done(Op("truncate", self._descriptors[descriptor], offset=size, path=self._shown(path)))

    def _mkdir(self, path: Any, *more: Any, **options: Any) -> None:
        if not self._is_mine(path, options):
            return self._plain["mkdir"](path, *more, **options)
        with self._lock:
            self._try("mkdir", path)
            self._plain["mkdir"](path, *more)
            folder, name = self._place(path)
            inode = self._names[folder][name] = self._new_inode()
            self._names[inode] = {}
            return self._done(Op("mkdir", inode, folder, name, path=self._shown(path)))

    def _unlink(self, path: Any, **options: Any) -> None:
        self._remove("unlink", path, options)

    def _rmdir(self, path: Any, **options: Any) -> None:
        self._remove("rmdir", path, options)

    def _remove(self, kind: Literal["unlink", "rmdir"], path: Any, options: dict[str, Any]) -> None:
        if not self._is_mine(path, options):
            return self._plain[kind](path, **options)
        with self._lock:
            self._try(kind, path)
            self._plain[kind](path)
            folder, name = self._place(path)
            inode = self._names[folder].pop(name, None)
            if inode is not None:  # None: made past this layer
                self._done(Op(kind, inode, folder, name, path=self._shown(path)))
            return None

    def _rename(self, source: Any, target: Any, **options: Any) -> None:
        if not self._is_mine(source, options):
            return self._plain["replace"](source, target, **options)
        with self._lock:
            self._try("rename", source)
            self._plain["replace"](source, target)
            (folder, name), (other, new_name) = self._place(source), self._place(target)
            assert folder == other, "a name moves within its folder"
            inode = self._names[folder][new_name] = self._names[folder].pop(name)
            return self._done(Op("rename", inode, folder, name, new_name, path=self._shown(source)))

    def _rmtree(self, path: Any, ignore_errors: bool = False, **options: Any) -> None:
        if not self._is_mine(path):
            return self._plain_rmtree(path, ignore_errors, **options)
        try:
            for inner in sorted(os.scandir(path), key=lambda entry: entry.name):
                self._rmtree(inner.path) if inner.is_dir() else os.unlink(inner.path)
            os.rmdir(path)
        except OSError:
            if not ignore_errors:
                raise
        return None

    # ---- its own bookkeeping ---------------------------------------------------------------------------------------

    def _try(self, kind: Kind, path: Any) -> Fault | None:
        """Count an operation that is asked for, and raise what is planned for it."""
        number, self.tried = self.tried, self.tried + 1
        fault = self._fault(number, kind, self._shown(path))
        if fault in ("ENOSPC", "EIO"):
            code = getattr(errno, fault)
            raise OSError(code, os.strerror(code), str(path))
        if fault == "delay":
            time.sleep(0.002)
        return fault

    def _done(self, op: Op) -> None:
        self.ops.append(op)
        if self.beside is not None:
            beside, self.beside = self.beside, None  # what it does itself is not interrupted
            beside()
            self.beside = beside

    def _is_mine(self, path: Any, options: dict[str, Any] | None = None) -> bool:
        if isinstance(path, int) or (options or {}).get("dir_fd") is not None:
            return False
        return Path(os.path.abspath(path)).is_relative_to(self.root)

    def _place(self, path: Any) -> tuple[int, str]:
        path = Path(os.path.abspath(path))
        return self._inode(path.parent), path.name

    def _inode(self, path: Any) -> int:
        inode = ROOT
        for part in Path(os.path.abspath(path)).relative_to(self.root).parts:
            inode = self._names[inode][part]
        return inode

    def _new_inode(self) -> int:
        inode, self._next = self._next, self._next + 1
        return inode

    def _shown(self, path: Any) -> str:
        return str(Path(path).relative_to(self.root)).replace(f".{os.getpid()}.tmp", ".tmp")


_NAMING = ("mkdir", "unlink", "rmdir", "rename", "replace")


class DiskFile(io.FileIO):
    """A file whose writes go by way of its disk."""

    def __init__(self, disk: Disk, path: Any, mode: str, inode: int, descriptor: int | None = None) -> None:
        super().__init__(path if descriptor is None else descriptor, mode)
        self.path, self.inode, self.appends = path, inode, "a" in mode
        self._disk = disk
        disk.opened(self)

    def write(self, data: Any, /) -> int:
        return self._disk.write(self, bytes(data))

    def write_through(self, data: bytes) -> int:
        return super().write(data)

    def close(self) -> None:
        if not self.closed:
            self._disk.closed(self)
        super().close()
