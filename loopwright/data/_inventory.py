"""``inventory``: the files that a dataset is read from, so that they can be told from others: names, sizes, sampled bytes.

It asks a dataset for the names of its files alone, never for a sample. Bytes are read of a sample of the files, which is
chosen by their names: another file more or less leaves it what it was.
"""

import hashlib
import heapq
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_LISTED = 20_000  # files that are named one by one; of more, folders are
MOST_READ, PIECE = 1000, 16 << 10  # files of which bytes are read: so many from the beginning, middle and end
SECONDS = 10.0  # for that
_DEEPEST = 8  # datasets that stand around one another


@dataclass
class Inventory:
    """What a dataset is read from."""

    kind: str  # of the dataset
    samples: int | None
    root: str  # the folder that all files are below
    sizes: dict[str, int] = field(repr=False)  # bytes by name below the root; -1 of one that is not there
    hashes: dict[str, str] = field(default_factory=dict, repr=False)  # of sampled bytes
    is_whole: bool = True  # whether there was time to look at all

    def facts(self) -> dict[str, Any]:
        """In short."""
        if not self.sizes:
            return {"kind": self.kind, "samples": self.samples, "note": "it names no files: its data are not recorded"}
        return {
            "kind": self.kind,
            "samples": self.samples,
            "root": self.root,
            "files": len(self.sizes),
            "bytes": sum(size for size in self.sizes.values() if size > 0),
            "names_and_sizes": _digest_of_all(self.sizes),
            "files_read": len(self.hashes),
            **({} if self.is_whole else {"note": "the run ended before all of them were looked at"}),
        }

    def lines(self) -> Iterator[dict[str, Any]]:
        """One a file; where there are many, one a folder, and one for each file that was read."""
        if len(self.sizes) <= MOST_LISTED:
            for name, size in sorted(self.sizes.items()):
                yield {"file": name, "bytes": size} | ({"hash": self.hashes[name]} if name in self.hashes else {})
            return
        for folder, here in sorted(_by_folder(self.sizes).items()):
            yield {"folder": folder, "files": len(here), "bytes": sum(here.values()), "hash": _digest(here)}
        for name, known in sorted(self.hashes.items()):
            yield {"file": name, "bytes": self.sizes[name], "hash": known}


def inventory(loader: Any, is_wanted: Callable[[], bool] = lambda: True) -> Inventory:
    """Look at the files of a loader's dataset, or of a dataset.

    Args:
        is_wanted: asked now and then; where it says no, bytes of no further files are read.

    >>> from loopwright import ImageFolder, demo_photos
    >>> found = inventory(ImageFolder(demo_photos(), split="val"))
    >>> found.facts()["files"] == found.facts()["files_read"] == found.samples
    True
    """
    dataset = getattr(loader, "dataset", loader)
    here = os.getcwd()
    files = dict.fromkeys(
        file if file[:1] == "/" and "/." not in file else _whole(file, here) for file in _files(dataset)
    )
    root = _common(files)
    cut = len(root) + 1 if len(root) > 1 else len(root)
    sizes: dict[str, int] = {}
    for number, file in enumerate(files):
        sizes[file[cut:]] = _size(file)
        if number % 500 == 499:
            time.sleep(0.0005)  # the loop goes first
    found = Inventory(type(dataset).__name__, _length(dataset), root, sizes)
    _read_some(found, is_wanted)
    return found


def what_changed(old: Iterable[Mapping[str, Any]], new: Iterable[Mapping[str, Any]]) -> list[str]:
    """In words, which files of two lists (``Inventory.lines``) differ.

    >>> what_changed([{"file": "a", "bytes": 1}, {"file": "b", "bytes": 2}], [{"file": "a", "bytes": 3}])
    ['a: 1 bytes became 3', 'b: is gone']
    """
    before, now = _by_name(old), _by_name(new)
    told = []
    for name in dict.fromkeys([*before, *now]):
        a, b = before.get(name), now.get(name)
        if a is None or b is None:
            told.append(f"{name}: is {'new' if a is None else 'gone'}")
        elif a.get("files") != b.get("files"):
            told.append(f"{name}: {a.get('files')} files became {b.get('files')}")
        elif a.get("bytes") != b.get("bytes"):
            told.append(f"{name}: {a.get('bytes'):,} bytes became {b.get('bytes'):,}")
        elif a.get("hash") and b.get("hash") and a["hash"] != b["hash"]:
            told.append(f"{name}: other {'names or sizes' if 'files' in a else 'bytes of the same number'}")
    return told


def _by_name(lines: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {line["file"] if "file" in line else f"{line.get('folder', '?')}/": line for line in lines}


def _files(dataset: Any, depth: int = 0) -> Iterator[str]:
    """Of a dataset of ours, of torchvision's kind, or of one that stands around others."""
    one = getattr(dataset, "path", None)
    if isinstance(one, str | Path) and os.path.isfile(one):
        yield os.fspath(one)
    for name in ("paths", "shards"):
        found = getattr(dataset, name, None)
        for listed in found.values() if isinstance(found, Mapping) else [found]:
            if isinstance(listed, Sequence) and not isinstance(listed, str) and _are_files(listed):
                yield from _names(listed)
                if not isinstance(found, Mapping):
                    return
        if found is not None:
            return
    samples = getattr(dataset, "samples", None)
    if isinstance(samples, list) and samples and isinstance(samples[0], tuple) and _are_files(samples[0][:1]):
        yield from (os.fspath(sample[0]) for sample in samples)
        return
    inner = [getattr(dataset, "dataset", None), *(getattr(dataset, "datasets", None) or ())]
    for one in inner if depth < _DEEPEST else ():
        if one is not None:
            yield from _files(one, depth + 1)


def _are_files(listed: Sequence[Any]) -> bool:
    return len(listed) > 0 and isinstance(listed[0], str | Path)


def _names(listed: Sequence[Any]) -> Iterator[str]:
    """As strings; a hundred thousand ``Path`` objects would take a second to make."""
    names, root = getattr(listed, "names", None), getattr(listed, "root", None)
    if names is None or root is None:
        yield from map(os.fspath, listed)
        return
    prefix = "" if str(root) == "." else os.path.join(root, "")
    for name in names:
        yield name if name[:1] == "/" else prefix + name


def _whole(file: str, here: str) -> str:
    return os.path.normpath(os.path.join(here, file))


def _common(files: Iterable[str]) -> str:
    """The folder that all of them are below."""
    folders = {file.rpartition("/")[0] or "/" for file in files}
    return os.path.commonpath(folders) if folders else ""


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:
        return None


def _size(file: str) -> int:
    try:
        return os.stat(file).st_size
    except OSError:
        return -1


def _read_some(found: Inventory, is_wanted: Callable[[], bool]) -> None:
    """Those with the lowest checksums of their names, until the time is over."""
    chosen = heapq.nsmallest(MOST_READ, found.sizes, key=lambda name: (zlib.crc32(os.fsencode(name)), name))
    ends = time.monotonic() + SECONDS
    for name in chosen:
        if time.monotonic() > ends or not is_wanted():
            found.is_whole = False
            return
        known = _hash(os.path.join(found.root, name), found.sizes[name])
        if known is not None:
            found.hashes[name] = known


def _hash(file: str, size: int) -> str | None:
    """Of the beginning, middle and end of a file; of all where it is small."""
    hashed = hashlib.blake2b(digest_size=8)
    try:
        with open(file, "rb", buffering=0) as opened:
            for place in (0, max(0, size // 2 - PIECE // 2), max(0, size - PIECE)) if size > 3 * PIECE else (0,):
                opened.seek(place)
                hashed.update(opened.read(PIECE if size > 3 * PIECE else 3 * PIECE))
    except OSError:
        return None
    return hashed.hexdigest()


def _by_folder(sizes: Mapping[str, int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for name, size in sizes.items():
        folder, _, file = name.rpartition("/")
        found.setdefault(folder, {})[file] = size
    return found


def _digest(sizes: Mapping[str, int]) -> str:
    """Of the files of one folder."""
    text = "".join(f"{name}\0{size}\n" for name, size in sorted(sizes.items()))
    return hashlib.blake2b(os.fsencode(text), digest_size=16).hexdigest()


def _digest_of_all(sizes: Mapping[str, int]) -> str:
    """Folder by folder: sorting all names at once would hold up the loop."""
    hashed = hashlib.blake2b(digest_size=16)
    for folder, files in sorted(_by_folder(sizes).items()):
        hashed.update(os.fsencode(f"{folder}\0{_digest(files)}\n"))
    return hashed.hexdigest()
