"""What a dataset is made from: its files, and a text that tells it from others. Reads no sample."""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._errors import ConfigError

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def source_files(dataset: Any) -> Sequence[Any] | None:
    """The file of each sample: the dataset's ``paths``, or the first of each of torchvision's ``samples``; or None.

    Where samples have several files, as those of ``PairedFolders``, a tuple of them each.
    """
    paths: Any = getattr(dataset, "paths", None)
    if isinstance(paths, Mapping) and paths and all(_are_files(one, len(dataset)) for one in paths.values()):
        return [*zip(*paths.values(), strict=True)]
    if _are_files(paths, len(dataset)):
        return paths  # type: ignore[reportReturnType] - a sequence, as was just seen
    samples = getattr(dataset, "samples", None)
    if isinstance(samples, list) and all(isinstance(sample, tuple) and sample for sample in samples):
        files = [sample[0] for sample in samples]
        return files if _are_files(files, len(dataset)) else None
    return None


def _are_files(paths: Any, count: int) -> bool:
    return isinstance(paths, Sequence) and len(paths) == count and all(isinstance(p, str | Path) for p in paths)


def fingerprint(dataset: Any, what: str, given: str | None) -> str:
    """32 letters: of ``what`` of it is kept, of its length, its files' names, type and ``repr``; or of what was given.

    Sizes and times of the files are not in it: these are looked at for each sample, so that one changed file costs one
    reading.

    Raises:
        ConfigError: nothing tells this dataset from another of its class.
    """
    count, files = len(dataset), source_files(dataset)
    parts = [what, str(count)]
    if given is not None:
        parts.append(given)
    elif what != "samples" and files is not None:  # pixels and files follow from the paths alone
        parts += map(os.path.abspath, files)
    else:
        parts += [type(dataset).__module__, type(dataset).__qualname__, _own_words(dataset, files is not None)]
        parts += (
            os.path.abspath(path) for file in files or () for path in (file if isinstance(file, tuple) else (file,))
        )
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _own_words(dataset: Any, has_files: bool) -> str:
    words = repr(dataset)
    is_vague = _ADDRESS.search(words) is not None or "..." in words
    if is_vague and not has_files:
        raise ConfigError(
            f"nothing tells this {type(dataset).__name__} from another one ({_ADDRESS.sub('', words)[:100]}): give it a "
            "__repr__ that says all that decides its samples, or give fingerprint='...', a text that does"
        )
    return _ADDRESS.sub("", words)
