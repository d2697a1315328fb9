"""``Gathered``: pictures without labels, from files, folders, patterns, packs and tables. Opens no picture."""

import bisect
import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from .._errors import DataError
from .._names import did_you_mean
from ._listing import SUFFIX, list_pictures
from ._packed import Packed
from ._picture import EXTENSIONS, open_picture
from ._rows import FORMATS, is_delimited
from ._strings import Strings
from ._undecoded import PictureFile
from ._walk import is_hidden, walk

_PATTERN = "*?["
_NAMED = 5  # sources that a message names


class Gathered:
    """Pictures in the order in which they are given, as a map-style dataset of (RGB picture, index).

    Args:
        sources: files; folders, all of whose pictures are taken, sorted by name, those of a folder below it too; patterns
            (``photos/*.jpg``, ``**`` for folders below); packs; tables.
        columns: of tables: image, root, outside, delimiter, as ``Table``'s.
        on_error: ``"skip"`` lets a ``Loader`` leave unreadable pictures out, counting and listing them.

    Attributes: ``passed_over``, files of folders that have no ending of a picture.

    Raises:
        DataError: a source is not there or has no pictures: all such are named at once.

    >>> from loopwright import demo_photos
    >>> photos = Gathered([demo_photos() / "val" / "hat", demo_photos() / "val" / "dress"])
    >>> len(photos), photos[0][0].mode, photos[0][1]
    (50, 'RGB', 0)
    """

    def __init__(self, sources: str | Path | Iterable[str | Path], *, on_error: str = "raise", **columns: Any) -> None:
        self.on_error, self.passed_over, self._columns = on_error, Passed(), columns
        parts, wrong = [], []
        for source in [sources] if isinstance(sources, str | Path) else sources:
            try:
                parts += self._parts(str(source))
            except DataError as error:
                wrong.append(str(error))
        if wrong:
            more = f"\nand {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
            raise DataError("\n".join(wrong[:_NAMED]) + more)
        if not parts:
            raise DataError("no pictures were given: name files, folders, patterns, packs or tables")
        self._set(parts)
        if on_error == "raise":
            self._check_there()

    def _set(self, parts: list["_Files | _Pack"]) -> None:
        self._sources, self._starts = parts, [0]
        for part in parts:
            self._starts.append(self._starts[-1] + len(part))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        part, place = self._find(index)
        return part.picture(place), index

    def undecoded(self, index: int) -> tuple[Any, int]:
        """A sample with the file in place of the picture."""
        part, place = self._find(index)
        return part.undecoded(place), index

    def name_of(self, index: int) -> str:
        """The file of one sample, as it was given."""
        part, place = self._find(index)
        return part.name(place)

    def names(self) -> Iterator[str]:
        return (part.name(place) for part in self._sources for place in range(len(part)))

    def _find(self, index: int) -> tuple["_Files | _Pack", int]:
        index = range(len(self))[index]  # negative ones, and IndexError
        number = bisect.bisect_right(self._starts, index) - 1
        return self._sources[number], index - self._starts[number]

    def _check_there(self) -> None:
        faults = [f"{part.name(i)}: {fault}" for part in self._sources for i, fault in part.faults.items()]
        if faults:
            shown = "\n  ".join(faults[:_NAMED])
            raise DataError(
                f"{len(faults)} of {len(self)} pictures are not there, such as\n  {shown}\n"
                "Correct the table, or leave them out and have them listed: on_error='skip' (--on-error skip)"
            )

    def _parts(self, source: str) -> list["_Files | _Pack"]:
        if os.path.isdir(source):
            return [_Files(self._of_folder(source))]
        ending = os.path.splitext(source)[1].lower()
        if os.path.lexists(source) and ending == SUFFIX:
            return [_Pack(Packed(source, check_source=False))]
        if os.path.lexists(source) and ending in FORMATS:
            return [_of_table(source, self._columns)]
        if os.path.lexists(source):
            return [_Files([source])]
        if any(letter in source for letter in _PATTERN):
            found = sorted(path for path in glob.glob(source, recursive=True) if os.path.isfile(path))
            if found:
                return [part for path in found for part in self._parts(path)]
            raise DataError(f"{source}: no file is of this pattern")
        parent = Path(source).absolute().parent
        question = did_you_mean(Path(source).name, sorted(os.listdir(parent))) if parent.is_dir() else ""
        raise DataError(f"{source}: no such picture or folder{'; ' if question else ''}{question}")

    def _of_folder(self, folder: str) -> list[str]:
        found, strays = [], []
        for where, folders, files, _ in walk(folder):
            folders[:] = [name for name in folders if not is_hidden(name)]
            for name in sorted(files):
                is_picture = os.path.splitext(name)[1].lower() in EXTENSIONS
                if not name.startswith("."):
                    (found if is_picture else strays).append(os.path.join(where, name))
        self.passed_over.add(strays)
        if not found:
            packs = [name for name in sorted(os.listdir(folder)) if name.endswith(SUFFIX)]
            hint = f"; it has packs, give one: {', '.join(packs)}" if packs else ""
            raise DataError(f"{folder} has no pictures ({', '.join(sorted(EXTENSIONS))}){hint}")
        return found

    def __repr__(self) -> str:
        return f"Gathered: {len(self)} pictures"


class Passed:
    """Files that were passed over: how many, and the first of them."""

    def __init__(self) -> None:
        self.count, self.first = 0, ""

    def add(self, names: list[str]) -> None:
        if names and not self.count:
            self.first = names[0]
        self.count += len(names)


class _Files:
    """Pictures that are files; ``faults`` says why one is not."""

    def __init__(self, names: Iterable[str], faults: dict[int, str] | None = None) -> None:
        self._names, self.faults = Strings(names), faults or {}

    def __len__(self) -> int:
        return len(self._names)

    def name(self, place: int) -> str:
        return self._names[place]

    def undecoded(self, place: int) -> PictureFile:
        self._check(place)
        return PictureFile(self._names[place])

    def picture(self, place: int) -> Image.Image:
        self._check(place)
        return open_picture(self._names[place])

    def _check(self, place: int) -> None:
        name = self._names[place]
        if place in self.faults:
            raise DataError(f"{name}: {self.faults[place]}")
        if os.path.lexists(name) and not os.path.isfile(name):  # a pipe would keep its reader waiting
            raise DataError(f"{name}: no file that can be read")


class _Pack:
    """The pictures of a pack."""

    def __init__(self, packed: Packed) -> None:
        self._packed = packed
        self.faults: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._packed)

    def name(self, place: int) -> str:
        return self._packed.name_of(place)

    def undecoded(self, place: int) -> Any:
        return self._packed.undecoded(place)[0]

    def picture(self, place: int) -> Image.Image:
        return self._packed[place][0]


_NO_COLUMN = "\0"  # labels and splits are not asked for: an empty one is no fault


def _of_table(path: str, columns: Mapping[str, Any]) -> _Files:
    known = {name: value for name, value in columns.items() if name != "delimiter" or is_delimited(path)}
    listing = list_pictures(path, label=_NO_COLUMN, split=_NO_COLUMN, **known)
    names = (os.path.join(listing.root, entry.name) for entry in listing.entries)
    return _Files(names, {row: entry.fault for row, entry in enumerate(listing.entries) if entry.fault})
