"""Which files of parallel folders belong together: by name, or by order where that is asked for. Opens no picture."""

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .._errors import DataError
from ._role import Role

SHOWN = 3  # names in a message
Names = dict[str, list[Path]]  # files by the name that they pair by; several files of one name are a mistake


class Place(NamedTuple):
    """A role and where its files are."""

    role: Role
    folder: Path


class Pairs(NamedTuple):
    """The samples: their names and, for each role, their files, all in one order."""

    names: list[str]
    paths: dict[str, list[Path]]
    left_out: list[str]


def pair_by_name(places: Mapping[str, Place], *, skip_unpaired: bool = False) -> Pairs:
    """The files with one relative path without extension, in the order of these names.

    Names that differ in their Unicode form only (é as one sign or as two) are the same.

    Raises:
        DataError: listing everything at once: missing and empty folders, two files of one name, files without partner.
    """
    found = _found(places)
    problems = [line for role, names in found.items() for line in _doubles(role, names)]
    common = set.intersection(*(set(names) for names in found.values()))
    left_out = sorted(set.union(*(set(names) for names in found.values())) - common)
    if not skip_unpaired:
        problems += _unpaired(places, found)
    elif not common:
        first, second, *_ = found.values()
        problems.append("no name is in all folders" + _difference(first, second))
    _refuse(problems)
    names = sorted(common)
    return Pairs(names, {role: [found[role][name][0] for name in names] for role in places}, left_out)


def pair_by_order(places: Mapping[str, Place]) -> Pairs:
    """The first file of each folder, the second of each, and so on; numbers in names are ordered as numbers.

    Raises:
        DataError: missing and empty folders, or another number of files in one of them.
    """
    found = _found(places)
    files = {
        role: sorted((p for paths in names.values() for p in paths), key=_natural) for role, names in found.items()
    }
    counts = {role: len(paths) for role, paths in files.items()}
    if len(set(counts.values())) > 1:
        each = ", ".join(f"{count} {role!r} in {places[role].folder}" for role, count in counts.items())
        raise DataError(f"pairing by order needs as many files of each role. Found: {each}")
    first = next(iter(places))
    return Pairs([str(path.relative_to(places[first].folder)) for path in files[first]], files, [])


def _found(places: Mapping[str, Place]) -> dict[str, Names]:
    missing = [f"role {role!r}: {_not_there(folder)}" for role, (_, folder) in places.items() if not folder.is_dir()]
    _refuse(missing)
    found = {role: _names(place, _rivals(role, places)) for role, place in places.items()}
    _refuse([_empty(role, places[role]) for role, names in found.items() if not names])
    return found


def _rivals(role: str, places: Mapping[str, Place]) -> list[Role]:
    """The other roles that look into the same folder: of them all, a file is the one's that asks for most of its name."""
    return [other for name, (other, folder) in places.items() if name != role and folder == places[role].folder]


def _names(place: Place, rivals: Sequence[Role]) -> Names:
    found: Names = {}
    for path in sorted(_files(place.folder)):
        where = unicodedata.normalize("NFC", str(path.parent.relative_to(place.folder)))
        file = unicodedata.normalize("NFC", path.name)
        name = _name(file, place.role)
        if name is None or any(_name(file, rival) and _asked(rival) > _asked(place.role) for rival in rivals):
            continue
        found.setdefault(name if where == "." else f"{where}/{name}", []).append(path)
    return found


def _asked(role: Role) -> int:
    return len(role.prefix) + len(role.suffix)


def _name(file: str, role: Role) -> str | None:
    """What a file pairs by; None where it is not of this role."""
    stem, extension = os.path.splitext(file)
    if role.extensions is not None and extension.lower() not in role.extensions:
        return None
    prefix, suffix = (unicodedata.normalize("NFC", part) for part in (role.prefix, role.suffix))
    whole = file if "." in suffix else stem
    if not whole.startswith(prefix) or not whole.endswith(suffix):
        return None
    return whole[len(prefix) : len(whole) - len(suffix)] or None


def _files(folder: Path) -> list[Path]:
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(where, name) for name in files if not name.startswith(".")]
    return found


def _natural(path: Path) -> list[str | int]:
    parts = re.split("([0-9]+)", unicodedata.normalize("NFC", str(path)))
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def _doubles(role: str, names: Names) -> list[str]:
    several = [paths for paths in names.values() if len(paths) > 1]
    if not several:
        return []
    shown = "; ".join(" and ".join(repr(path.name) for path in paths) for paths in several[:SHOWN])
    where = several[0][0].parent
    return [f"role {role!r}: {_count(len(several), 'name')} with several files in {where}: {shown}{_more(several)}"]


def _unpaired(places: Mapping[str, Place], found: Mapping[str, Names]) -> list[str]:
    """Each role against the first: what it lacks and what it has more."""
    first, *others = found
    problems = []
    for role in others:
        lacking, extra = sorted(set(found[first]) - set(found[role])), sorted(set(found[role]) - set(found[first]))
        here, there = places[role].folder, places[first].folder
        if lacking:
            problems.append(
                f"role {role!r}: {here} has no partner for {len(lacking)} of {len(found[first])} in {there}: "
                f"{_list(lacking)}"
            )
        if extra:
            problems.append(
                f"role {first!r}: {there} has no partner for {len(extra)} of {len(found[role])} in {here}: {_list(extra)}"
            )
        if (lacking or extra) and (hint := _difference(found[first], found[role], role)):
            problems[-1] += hint
    return problems


def _difference(names: Names, others: Names, role: str = "") -> str:
    """A word for what all the others' names have before or behind them, if there is such a thing."""
    mine, theirs = sorted(set(names) - set(others)), sorted(set(others) - set(names))
    if not mine or not theirs:
        return ""
    for argument, at in (("suffix", theirs[0].removeprefix(mine[0])), ("prefix", theirs[0].removesuffix(mine[0]))):
        added = [f"{name}{at}" if argument == "suffix" else f"{at}{name}" for name in mine]
        if at != theirs[0] and sorted(added) == theirs:
            return f". Is it lw.Role(..., {argument}={at!r}){f' for {role!r}' if role else ''}?"
    return ""


def _not_there(folder: Path) -> str:
    parent = next((path for path in folder.absolute().parents if path.is_dir()), Path("/"))
    inside = sorted(path.name for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))[:8]
    what = "not a folder" if folder.exists() else "no such folder"
    return f"{folder}: {what}; {parent} holds: {', '.join(map(repr, inside)) or 'no folders'}"


def _empty(role: str, place: Place) -> str:
    kinds = sorted({path.suffix.lower() or path.name for path in _files(place.folder)})
    asked = ", ".join(f"{name}={value!r}" for name in ("prefix", "suffix") if (value := getattr(place.role, name)))
    wanted = f"of kind {place.role.kind!r}" + (f" with {asked}" if asked else "")
    return f"role {role!r}: {place.folder} has no files {wanted}; it has {', '.join(kinds[:8]) or 'no files'}"


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + _more(names)


def _more(items: Sequence[object]) -> str:
    return ", ..." if len(items) > SHOWN else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        head = (
            "the folders do not pair" if len(problems) == 1 else f"the folders do not pair, for {len(problems)} reasons"
        )
        raise DataError("".join([head, ":", *(f"\n  {problem}" for problem in problems)]))
