"""Which pictures a path stands for: splits, class folders, a flat folder, a pack or a table. Opens no picture.

The rules are those of ``ImageFolder``, ``Packed`` and ``Table``, but nothing is refused here that can be told about.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._errors import DataError
from .._files import parse_json
from .._names import did_you_mean
from ._folder import SPLITS
from ._packed import Packed
from ._picture import EXTENSIONS, read_file
from ._places import faults_of
from ._rows import FORMATS, Rows, as_text, read_rows
from ._targets import is_empty
from ._walk import is_hidden, walk

SUFFIX = ".pack"
_SNIFFED = 1000  # files of no known extension that are looked into
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"BM")


class Entry(NamedTuple):
    """One picture, as it is listed."""

    name: str  # below the root
    split: str = ""
    labels: tuple[str, ...] = ()
    fault: str = ""  # why it cannot be used, where that is known already


@dataclass
class Listing:
    """The pictures that a path stands for, and what was passed over."""

    path: Path
    root: Path  # what names are below
    kind: str  # "splits", "classes", "flat", "packs" or "table"
    entries: list[Entry]
    read: Callable[[int], bytes | np.ndarray]  # the content of a file, or the pixels of a pack
    passed_over: dict[str, tuple[int, str]] = field(default_factory=dict)  # why: how many, and the first
    notices: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)  # names of class folders without pictures, "SPLIT/CLASS"


def list_pictures(
    path: str | Path, *, image: str = "path", label: str = "label", split: str = "split", root: str | Path | None = None,
    outside: bool = False, delimiter: str | None = None,
) -> Listing:  # fmt: skip
    """Find what there is.

    Args:
        image, label, split, root, outside, delimiter: of a table, as ``Table``'s; ``split`` is its split_column.

    Raises:
        DataError: the path is missing, cannot be read, or has no pictures.
    """
    path = Path(path)
    if path.is_dir():
        packs = sorted(p for p in path.glob(f"*{SUFFIX}") if p.is_file())
        listing = _of_folder(path) if _looks_like_pictures(path) or not packs else _of_packs(path, packs)
    elif path.suffix.lower() == SUFFIX:
        listing = _of_packs(path, [path])
    elif path.suffix.lower() in FORMATS and path.exists():
        rows = read_rows(path, {image, label, split}, delimiter)
        listing = _of_table(rows, image, label, split, path.parent if root is None else Path(root), outside)
    else:
        kinds = f"a folder, a {SUFFIX} file, or a table ({', '.join(FORMATS)})"
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, sorted(beside))
        raise DataError(
            f"{path}: {f'expected {kinds}' if path.exists() else f'no such file or folder; {hint or kinds}'}"
        )
    if not listing.entries:
        raise DataError(f"{path} has no pictures ({', '.join(sorted(EXTENSIONS))})")
    return listing


# ---- folders -------------------------------------------------------------------------------------------------------


def _of_folder(root: Path) -> Listing:
    walk = _Walk(root)
    inside = walk.folders(root)
    splits = {kind: name for kind in SPLITS if (name := _named(inside, SPLITS[kind]))}
    known = {name for names in SPLITS.values() for name in names}
    if "train" in splits or (splits and all(name.lower() in known for name in inside)):
        for kind, name in splits.items():
            walk.classes(root / name, kind)
        walk.beside(root, set(splits.values()))
        kind = "splits"
    else:
        walk.classes(root, "")
        kind = "classes" if any(entry.labels for entry in walk.entries) else "flat"
    listing = Listing(root, root, kind, walk.entries, lambda index: _content(root / walk.entries[index].name))
    listing.passed_over, listing.folders = walk.passed_over, walk.empty
    return listing


def _named(folders: list[str], names: tuple[str, ...]) -> str | None:
    """The folder that stands for a split, chosen as ``ImageFolder`` does."""
    lower = {folder.lower(): folder for folder in folders}
    return next((lower[name] for name in names if name in lower), None)


def _looks_like_pictures(folder: Path) -> bool:
    return any(path.is_dir() or _is_picture(path.name) for path in folder.iterdir())


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def _content(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: no file that can be read")  # a pipe would keep its reader waiting
    return read_file(path)


class _Walk:
    """Goes through folders and notes pictures and what is passed over."""

    def __init__(self, root: Path) -> None:
        self._prefix = os.path.join(root, "")
        self.entries: list[Entry] = []
        self.passed_over: dict[str, tuple[int, str]] = {}
        self.empty: list[str] = []
        self._sniffed = 0

    def folders(self, folder: Path) -> list[str]:
        try:
            return sorted(path.name for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))
        except OSError as error:
            raise DataError(f"{folder}: cannot be read ({error.strerror})") from None

    def classes(self, folder: Path, split: str) -> None:
        """Class folders; pictures in none of them count where there is no class folder at all."""
        before = len(self.entries)
        for name in self.folders(folder):
            found = len(self.entries)
            self.entries += [Entry(picture, split, (name,)) for picture in sorted(self._pictures(folder / name))]
            if len(self.entries) == found:
                self.empty.append(f"{split}/{name}" if split else name)
        loose = [Entry(self._below(path), split) for path in self._loose(folder)]
        if len(self.entries) == before:
            self.entries += loose
        else:
            for entry in loose:
                self._pass_over("pictures in no class folder", entry.name)

    def beside(self, root: Path, known: set[str]) -> None:
        """What lies beside the splits."""
        for name in self.folders(root):
            if name not in known:
                self._pass_over("folders beside the splits", name)
        for path in self._loose(root):
            self._pass_over("pictures in no class folder", self._below(path))

    def _loose(self, folder: Path) -> list[str]:
        """Pictures that lie in the folder itself."""
        found = []
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if os.path.isdir(path):
                if is_hidden(name):
                    self._pass_over("hidden folders", self._below(path))
            elif self._is_taken(path, name):
                found.append(path)
        return found

    def _pictures(self, folder: Path) -> Iterator[str]:
        for where, folders, files, back in walk(folder, self._unreadable):
            for name in back:
                self._pass_over("links that lead back", self._below(os.path.join(where, name)))
            for name in folders:
                if is_hidden(name):
                    self._pass_over("hidden folders", self._below(os.path.join(where, name)))
            folders[:] = [name for name in folders if not is_hidden(name)]
            for name in sorted(files):
                path = os.path.join(where, name)
                if self._is_taken(path, name):
                    yield self._below(path)

    def _is_taken(self, path: str, name: str) -> bool:
        if name.startswith("."):
            self._pass_over("hidden files", self._below(path))
        elif _is_picture(name):
            return True
        else:
            extension = os.path.splitext(name)[1].lower() or "no extension"
            what = "pictures with an unknown extension" if self._is_picture_inside(path) else "other files"
            self._pass_over(f"{what} ({extension})", self._below(path))
        return False

    def _is_picture_inside(self, path: str) -> bool:
        self._sniffed += 1
        if self._sniffed > _SNIFFED or not os.path.isfile(path):
            return False
        try:
            with open(path, "rb") as file:
                start = file.read(16)
        except OSError:
            return False
        return start.startswith(_SIGNATURES) or start[8:12] == b"WEBP" or start[4:12] in (b"ftypheic", b"ftypavif")

    def _unreadable(self, error: OSError) -> None:
        self._pass_over("folders that cannot be read", self._below(str(error.filename)))

    def _pass_over(self, why: str, name: str) -> None:
        count, first = self.passed_over.get(why, (0, name))
        self.passed_over[why] = (count + 1, first)

    def _below(self, path: str) -> str:
        return path.removeprefix(self._prefix)


# ---- packs ---------------------------------------------------------------------------------------------------------


def _of_packs(path: Path, packs: list[Path]) -> Listing:
    opened = [Packed(pack, check_source=False) for pack in packs]
    places = [(packed, index) for packed in opened for index in range(len(packed))]
    entries = [Entry(packed.name_of(index), _split_of(packed), _labels_of(packed, index)) for packed, index in places]

    def read(number: int) -> bytes | np.ndarray:
        packed, index = places[number]
        return packed.pixels(index) if packed.recipe["format"] == "raw" else packed._record(index).tobytes()

    listing = Listing(path, Path(), "packs", entries, read)
    for packed in opened:
        listing.notices += [f"left out when it was packed: {message}" for message in packed.skipped]
        try:
            packed._check_source()
        except DataError as error:
            listing.notices.append(str(error))
    return listing


def _split_of(packed: Packed) -> str:
    return canonical(packed.path.stem)


def _labels_of(packed: Packed, index: int) -> tuple[str, ...]:
    target = packed._targets[index]
    return (packed.classes[int(target)],) if packed.classes and target.ndim == 0 else ()


def canonical(split: str) -> str:
    """The usual name of a split: "val" for "Validation"."""
    return next((kind for kind, names in SPLITS.items() if split.strip().lower() in names), split.strip())


# ---- tables --------------------------------------------------------------------------------------------------------


def _of_table(rows: Rows, image: str, label: str, split: str, root: Path, outside: bool) -> Listing:
    path = rows.path
    if image not in rows.columns:
        listed = ", ".join(map(repr, rows.names[:20]))
        hint = rows.joined or f". {did_you_mean(image, rows.names)}".rstrip()
        raise DataError(f"{path} has no column {image!r} of pictures; it has {listed or 'none'}{hint}")
    if not root.is_dir():
        raise DataError(f"{root}: the root of the paths in {path} is no folder; root= (--root) gives another")
    names = ["" if is_empty(cell) else as_text(cell) for cell in rows.columns[image]]
    faults = faults_of(root, names, outside=outside)
    entries = [
        _entry(rows, row, name, fault, label, split)
        for row, (name, fault) in enumerate(zip(names, faults, strict=True))
    ]
    listing = Listing(path, root, "table", entries, lambda index: _content(root / entries[index].name))
    for column, what in ((label, "label"), (split, "split")):
        if column not in rows.columns and len(rows.names) > 1:
            listing.notices.append(
                f"no column {column!r}, so there is no {what}; the table has {', '.join(rows.names)}"
            )
    return listing


def _entry(rows: Rows, row: int, name: str, fault: str | None, label: str, split: str) -> Entry:
    labels, why = (), ""
    if label in rows.columns:
        labels = _labels(rows.columns[label][row])
        why = "" if labels else f"{rows.place(row)}: its label is empty"
    if fault is not None:
        place = rows.place(row)
        why = f"{place}: the path leads out of the root" if fault == "outside" else f"{place}: there is no such file"
    if not name.strip():
        why = f"{rows.place(row)}: the path is empty"
    return Entry(name, canonical(as_text(rows.columns[split][row])) if split in rows.columns else "", labels, why)


def _labels(cell: object) -> tuple[str, ...]:
    """One label, or those of a list or a JSON list."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        with contextlib.suppress(ValueError):
            cell = parse_json(cell)
    cells = cell if isinstance(cell, list) else [cell]
    return tuple(as_text(inner).strip() for inner in cells if not is_empty(inner))
