"""The files that a pattern of shards stands for: braces, wildcards, lists. Opens none of them."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from .._errors import ConfigError, DataError

_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST = 1_000_000  # files; more are a slip of the finger
_ADDRESS = re.compile(r"[a-z][a-z0-9+]+:", re.IGNORECASE)


def expand_braces(pattern: str) -> Iterator[str]:
    """The texts that a pattern stands for, in its order: ranges of numbers with their zeros, and alternatives.

    >>> list(expand_braces("{train,val}-{08..10}.tar"))
    ['train-08.tar', 'train-09.tar', 'train-10.tar', 'val-08.tar', 'val-09.tar', 'val-10.tar']

    Braces with neither a comma nor two dots are left as they are, as in a shell.
    """
    for start, end in _braces(pattern):
        choices = _choices(pattern[start + 1 : end])
        if choices is not None:
            tails = list(expand_braces(pattern[end + 1 :]))
            heads = (head for choice in choices for head in expand_braces(choice))
            yield from (f"{pattern[:start]}{head}{tail}" for head in heads for tail in tails)
            return
    yield pattern


def find_shards(urls: str | Path | Iterable[str | Path]) -> list[Path]:
    """The shards, each there and named once: in the order of the list and its braces; those of a wildcard sorted.

    Raises:
        ConfigError: an address of another machine.
        DataError: a shard is missing, a wildcard finds none, or one comes twice.
    """
    listed = [urls] if isinstance(urls, str | Path) else list(urls)
    found = [path for url in listed for path in _found(url)]
    if not found:
        raise DataError("no shards: the list of them is empty")
    missing = [path for path in found if not os.path.exists(path)]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(
            f"{len(missing)} of {len(found)} shards are missing: {', '.join(map(str, missing[:3]))}{more}. Correct the "
            "pattern, or fetch them"
        )
    twice = [path for path, times in Counter(os.path.realpath(path) for path in found).items() if times > 1]
    if twice:
        raise DataError(f"{len(twice)} shards are named more than once, such as {twice[0]}: name each once")
    return found


def _found(url: str | Path) -> list[Path]:
    if os.path.isdir(url):
        raise DataError(f"{url}: is a folder; name the shards in it, such as {os.path.join(url, '*.tar')}")
    if os.path.exists(url):  # a file may have braces in its name
        return [Path(url)]
    url = str(url)
    if _ADDRESS.match(url):
        raise ConfigError(f"{url}: only files of this machine are read. Copy the shards here first")
    paths: list[Path] = []
    for name in expand_braces(url):
        matches = [] if os.path.exists(name) or not glob.has_magic(name) else sorted(glob.glob(name, recursive=True))
        if glob.has_magic(name) and not (matches or os.path.exists(name)):
            raise DataError(f"{name}: no shard has such a name")
        paths += [Path(match) for match in matches or [name]]
    return paths


def _braces(pattern: str) -> Iterator[tuple[int, int]]:
    """Where braces open and where the same ones close, from the left; those that do not close are none."""
    for start, mark in enumerate(pattern):
        end = _closing(pattern, start) if mark == "{" else None
        if end is not None:
            yield start, end


def _closing(pattern: str, start: int) -> int | None:
    depth = 0
    for place in range(start, len(pattern)):
        depth += (pattern[place] == "{") - (pattern[place] == "}")
        if not depth:
            return place
    return None


def _choices(inside: str) -> list[str] | None:
    if (ends := _RANGE.fullmatch(inside)) is None:
        parts = _parts(inside)
        return parts if len(parts) > 1 else None
    first, last = int(ends[1]), int(ends[2])
    if abs(last - first) >= _MOST:
        raise ConfigError(f"{{{inside}}} stands for more than {_MOST} shards")
    digits = max(map(len, ends.groups())) if any(end.startswith("0") and len(end) > 1 for end in ends.groups()) else 0
    step = 1 if last >= first else -1
    return [f"{number:0{digits}}" for number in range(first, last + step, step)]


def _parts(inside: str) -> list[str]:
    """The text between commas that stand in no inner braces."""
    parts, depth = [""], 0
    for mark in inside:
        depth += (mark == "{") - (mark == "}")
        if mark == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += mark
    return parts
