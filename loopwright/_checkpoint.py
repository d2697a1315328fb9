"""One checkpoint: a folder with one file an object, and a manifest of their sizes and checksums. Knows no other checkpoint.

A manifest is written last and flushed, so a folder that has one is whole; every file is compared with it before it is read.
"""

import os
import re
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ._errors import CheckpointError
from ._files import json_text, read_json, sync_folder, write_synced
from ._split import Take, take_whole
from ._split_states import Apart, joined
from ._tensor_file import check_tensor_file

FORMAT = 1
FORMAT_IN_PARTS = 2  # of the manifest of a checkpoint with parts of several ranks
_LONGEST_NAME = 255  # bytes


class _Checksum:
    """A binary file that sums up what is written through it.

    ``write`` never raises: torch's writer would make a ``RuntimeError`` of its own out of it. ``close`` tells.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb")  # noqa: SIM115 - closed by close()
        self._error: OSError | None = None
        self.size = self.crc32 = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        self.crc32 = zlib.crc32(data, self.crc32)
        if self._error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self._error = error
        return len(data)

    def flush(self) -> None:
        """Left to ``close``."""

    def close(self) -> None:
        try:
            if self._error is not None:
                raise self._error
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()


def _write_object(path: Path, state: Any) -> dict[str, int]:
    file = _Checksum(path)
    try:
        torch.save(state, file)  # type: ignore[arg-type] - all that it needs is write and flush
    finally:
        file.close()
    return {"size": file.size, "crc32": file.crc32}


def write_objects(folder: Path, objects: Mapping[str, Apart]) -> dict[str, dict[str, int]]:
    return {f"{name}.pt": _write_object(folder / f"{name}.pt", state.tree) for name, state in objects.items()}


def write_trees(folder: Path, objects: Mapping[str, Apart]) -> dict[str, dict[str, int]]:
    """What all ranks have alike, once."""
    trees = {
        name: state._replace(tree={"tree": state.tree, "split": state.plan}) if state.plan else state
        for name, state in objects.items()
    }
    return write_objects(folder, trees)


def write_parts(folder: Path, rank: int, objects: Mapping[str, Apart]) -> dict[str, dict[str, int]]:
    files = {f"{name}.{rank}.pt": state.parts for name, state in objects.items() if state.plan}
    return {name: _write_object(folder / name, parts) for name, parts in files.items()}


def write_manifest(folder: Path, step: int, epoch: float, files: Mapping[str, Mapping[str, int]]) -> None:
    """Complete a folder: what it says, and the folder itself, are on the disk after this."""
    version = FORMAT_IN_PARTS if any(map(_is_part, files)) else FORMAT
    manifest = {"format": version, "step": step, "epoch": epoch, "files": files}
    write_synced(folder / "manifest.json", json_text(manifest).encode())
    sync_folder(folder)


def _is_part(file: str) -> bool:
    """Whether it holds the parts of a rank, such as ``model.0.pt``: names of objects have no dots."""
    return re.fullmatch(r"[^.]+\.\d+\.pt", file) is not None


def _crc32(path: Path) -> int:
    total = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            total = zlib.crc32(block, total)
    return total


def is_name(name: str) -> bool:
    """Whether it is that of something in the folder itself: no way out of it, no odd bytes, nothing a terminal obeys, no
    more than a file system takes."""
    is_short = len(name.encode()) <= _LONGEST_NAME if name.isprintable() else False
    return is_short and name not in ("", ".", "..") and "/" not in name and "\\" not in name


def read_checkpoint(folder: str | Path, *, only: str | None = None, device: str | torch.device = "cpu") -> Any:
    """Read one checkpoint folder: a dictionary from object names to states, or one state with ``only``.

    Tensors that several ranks have saved in parts come back whole. Raises ``CheckpointError`` when the folder is not a whole
    checkpoint of loopwright. Nothing in it can run code: it is read with ``torch.load(weights_only=True)``.
    """
    return read_states(Path(folder), only, device, take_whole)


def names_in(folder: str | Path) -> list[str]:
    """The objects that a checkpoint holds."""
    return [name.removesuffix(".pt") for name in _manifest_files(Path(folder)) if not _is_part(name)]


def read_states(folder: Path, only: str | None, device: str | torch.device, take: Take) -> Any:
    files = _manifest_files(folder)
    held = [name.removesuffix(".pt") for name in files if not _is_part(name)]
    if only is None:
        return {name: _read_state(folder, name, files, device, take) for name in held}
    if only not in held:
        raise CheckpointError(f"{folder} holds no {only!r}; it holds: {', '.join(held)}")
    return _read_state(folder, only, files, device, take)


def _read_state(
    folder: Path, name: str, files: Mapping[str, Mapping[str, int]], device: str | torch.device, take: Take
) -> Any:
    ranks = sum(file.partition(".")[0] == name for file in files) - 1
    path = folder / f"{name}.pt"
    found = _read_object(path, files[path.name], device)
    if not ranks:
        return found

    def read(rank: int) -> Any:
        part = folder / f"{name}.{rank}.pt"
        return _read_object(part, files[part.name], "cpu", mmap=True)

    def put(shape: Any, rows: Any) -> Any:
        return take(shape, rows).to(device) if take is take_whole else take(shape, rows)

    try:
        return joined(found["tree"], found["split"], ranks, read, put)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{path} and its parts of {ranks} ranks do not fit together: {error}") from error


def check_checkpoint(folder: str | Path) -> None:
    """Compare all files with their sizes and checksums; ``CheckpointError`` names what differs. Reads no tensors."""
    folder = Path(folder)
    for name, facts in _manifest_files(folder).items():
        _check_file(folder / name, facts)


def _manifest_files(folder: Path) -> dict[str, dict[str, int]]:
    path = folder / "manifest.json"
    if not path.is_file():
        state = "is not a checkpoint of loopwright: it has no manifest.json" if folder.is_dir() else "does not exist"
        raise CheckpointError(f"{folder} {state}")
    try:
        manifest = read_json(path)
        version, files = manifest["format"], dict(manifest["files"])
        sound = all(is_name(n) and n.endswith(".pt") and _are_facts(f) for n, f in files.items())
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): use another checkpoint of this run") from None
    if version not in (FORMAT, FORMAT_IN_PARTS) or not sound:
        raise CheckpointError(f"{path} is not a manifest of format {FORMAT}: it was written by something else")
    return files


def _are_facts(facts: Any) -> bool:
    return isinstance(facts, dict) and all(type(facts.get(key)) is int and facts[key] >= 0 for key in ("size", "crc32"))


def _check_file(path: Path, facts: Mapping[str, int]) -> None:
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise CheckpointError(f"{path} is a link, or no file: what it leads to is not read; put the file itself there")
    found = path.stat().st_size if path.exists() else None
    if found != facts["size"]:
        state = "is missing" if found is None else f"has {found:,} bytes and should have {facts['size']:,}"
        raise CheckpointError(f"{path} {state}: the checkpoint is damaged; use another one of this run")
    try:
        found = _crc32(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}): use another checkpoint of this run") from None
    if found != facts["crc32"]:
        raise CheckpointError(f"{path} does not match its checksum: it is damaged; use another one of this run")


def _read_object(path: Path, facts: Mapping[str, int], device: str | torch.device, *, mmap: bool = False) -> Any:
    _check_file(path, facts)
    try:
        check_tensor_file(path)
        return torch.load(path, map_location=device, weights_only=True, mmap=mmap)
    except Exception as error:  # torch raises many kinds for a foreign file
        raise CheckpointError(f"{path} cannot be read as tensors and plain values: {error}") from error
