"""Which paths are files below a folder. Reads folders, not files: a folder is listed once, however many paths it holds.

On a network's disk a question for each of a million files takes minutes, their folders' lists seconds.
"""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class _Listing(NamedTuple):
    inside: bool  # where the folder really is, after links and ".."
    files: frozenset[str]
    links: frozenset[str]


class Places:
    """Looks up paths below a root.

    Args:
        root: the folder that relative paths begin in.
        outside: whether a path may lead out of it, by "..", as an absolute one, or by a link.
    """

    def __init__(self, root: Path, *, outside: bool = False) -> None:
        self._root, self._outside = root, outside
        self._real_root = Path(os.path.realpath(root))
        self._listings: dict[str, _Listing] = {}

    def fault_of(self, name: str) -> str | None:
        """``"outside"`` when the path leads out of the root, ``"missing"`` when no file is there, else None."""
        if "\0" in name or not _is_name(name):
            return "missing"
        path = os.path.join(self._root, name)
        folder, file = os.path.split(path)
        listing = self._listings.get(folder) or self._listed(folder)
        is_inside = listing.inside
        if not is_inside and not self._outside:
            return "outside"
        if file in listing.files:
            is_there = True
        else:  # a link, another Unicode form or other capitals on a disk that does not mind, or not there
            is_there = os.path.isfile(path)
            is_inside = is_inside and (file not in listing.links or self._is_inside(path))
        if not is_inside and not self._outside:
            return "outside"
        return None if is_there else "missing"

    def _listed(self, folder: str) -> _Listing:
        files, links, inside = set(), set(), self._is_inside(folder)
        if not inside and not self._outside:  # what is there is nobody's business
            self._listings[folder] = _Listing(inside, frozenset(), frozenset())
            return self._listings[folder]
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        links.add(entry.name)
                    elif entry.is_file(follow_symlinks=False):
                        files.add(entry.name)
        except OSError:
            pass  # not there, no folder, not allowed: its files are not there either, or found one by one
        self._listings[folder] = _Listing(inside, frozenset(files), frozenset(links))
        return self._listings[folder]

    def _is_inside(self, path: str) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self._real_root)


def likely_name(root: Path, name: str) -> str:
    """What a path that is not there may stand for, as the end of a sentence; empty where nothing below the root is like it.

    >>> from loopwright import demo_photos
    >>> likely_name(demo_photos(), "README"), likely_name(demo_photos(), "nothing")
    ("; did you mean 'README.md'?", '')
    """
    if "\0" in name or not _is_name(name):
        return ""
    plain = name.strip().replace("\\", "/")
    folder, file = os.path.split(plain)
    stem = os.path.splitext(file)[0]
    there = sorted(Places(root)._listed(os.path.join(root, folder)).files)
    for found in there:
        if _composed(found) == _composed(file) and file != found:
            return f"; {os.path.join(folder, found)!r} is there, in another Unicode form"
    like = [found for found in there if found == file or os.path.splitext(found)[0] in (file, stem)]
    if not like:
        return ""
    slash = "; '/' stands between folders: " if "\\" in name else "; "
    return f"{slash}did you mean {os.path.join(folder, like[0])!r}?"


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _is_name(name: str) -> bool:
    """Whether the system can be asked for it: half a pair of surrogates, which JSON may hold, stands for no byte."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def faults_of(root: Path, names: Iterable[str], *, outside: bool = False) -> list[str | None]:
    """``Places.fault_of`` for many paths.

    >>> from loopwright import demo_photos
    >>> faults_of(demo_photos(), ["README.md", "../photos/README.md", "../__init__.py", "nothing.jpg"])
    [None, None, 'outside', 'missing']
    """
    places = Places(root, outside=outside)
    return [places.fault_of(name) for name in names]
