"""``inspect_data``: look at every picture of a data set, and say what is wrong. Threads read; ``DataReport`` tells."""

import os
import sys
import time
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from .._cores import cores
from .._errors import ConfigError, DataError
from .._progress import bar, choose_screen, seconds_text
from ._contact import Shown, contact_sheet
from ._data_report import Copies, DataReport, Finding, counts
from ._duplicates import near as near_groups
from ._duplicates import same
from ._escaped import escaped, oddities
from ._facts import Facts, facts_of, facts_of_pixels
from ._listing import Entry, Listing, list_pictures
from ._picture import open_picture

# Nearly the same: measured on the clothing photos, recompressed, halved and converted copies differ by at most 7 bits of 64
# and 7.5 levels of 255, other pictures of this set and of Imagewoof, of those with at most 10 bits, by 10.4 or more.
_DISTANCE, _DIFFERENCE = 7, 8.0
_FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".gif": "GIF", ".tif": "TIFF", ".tiff": "TIFF",
    ".webp": "WEBP", ".ppm": "PPM", ".pgm": "PPM", ".pnm": "PPM",
}  # fmt: skip


def inspect_data(
    path: str | Path,
    *,
    out: str | Path | None = None,
    near: bool = True,
    image: str = "path",
    label: str = "label",
    split: str = "split",
    root: str | Path | None = None,
    delimiter: str | None = None,
    workers: int | None = None,
    progress: bool | None = None,
) -> DataReport:
    """Read every picture of a data set once, in threads, and report counts, sizes, modes, faults and duplicates.

    Args:
        path: a folder of splits, of class folders or of pictures, a ``.pack`` file or a folder of them, or a table.
        out: draw a contact sheet into this PNG file.
        near: look for nearly equal pictures too: recompressed, resized or converted ones. They share most bits of a
            64-bit difference hash (Krawetz 2013), and tiny versions of them differ little.
        image, label, split, root, delimiter: the columns of a table, the folder that its paths begin in, and what stands
            between its cells, as ``Table``'s.
        workers: threads. Default: one a core.
        progress: draw it; default: if the output is a terminal.

    Raises:
        DataError: the path is missing or holds no pictures. What is wrong with single pictures is no error but reported.

    >>> from loopwright import demo_photos
    >>> inspect_data(demo_photos() / "val" / "hat", progress=False).formats
    {'JPEG': 25}
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers (--workers) must be 1 or more. Found: {workers}")
    _check_out(out)
    listing = list_pictures(path, image=image, label=label, split=split, root=root, delimiter=delimiter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow warns of is reported, or reads all the same
        facts = list(_facts(listing, workers or cores(), progress))
        groups = _groups(facts, near)
        report = _report(listing, facts, groups)
        if out is not None:
            _draw(listing, facts, groups, Path(out))
    return report


def _check_out(out: str | Path | None) -> None:
    if out is not None and (Path(out).suffix.lower() != ".png" or not Path(out).absolute().parent.is_dir()):
        raise ConfigError(f"out= (--out) is a .png file in a folder that exists. Found: {str(out)!r}")


# ---- reading -------------------------------------------------------------------------------------------------------


def _facts(listing: Listing, workers: int, progress: bool | None) -> Iterator[Facts]:
    """Of each picture, in their order."""
    screen, total = choose_screen(progress, sys.stdout), len(listing.entries)
    began = drawn = time.perf_counter()
    for done, found in enumerate(_in_threads(listing, workers), 1):
        yield found
        now = time.perf_counter()
        if now - drawn >= screen.seconds:
            drawn, rate = now, done / (now - began)
            left = seconds_text((total - done) / rate)
            screen.draw([f"look {bar(done, total)} {done}/{total}  {rate:.0f} pictures/s  {left} left"])
    screen.erase()


def _in_threads(listing: Listing, workers: int) -> Iterator[Facts]:
    """A little ahead of being taken, so that memory does not grow with their number."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: list[Future[Facts]] = []
        indices = iter(range(len(listing.entries)))
        try:
            waiting += [pool.submit(_look_at, listing, index) for index in islice(indices, 8 * workers)]
            while waiting:
                yield waiting.pop(0).result()
                waiting += [pool.submit(_look_at, listing, index) for index in islice(indices, 1)]
        finally:
            for future in waiting:
                future.cancel()


def _look_at(listing: Listing, index: int) -> Facts:
    entry = listing.entries[index]
    if entry.fault:
        return Facts(0, b"", fault=entry.fault)
    try:
        content = listing.read(index)
    except DataError as error:
        reason = str(error).removeprefix(f"{listing.root / entry.name}: ").partition("; repair")[0]
        return Facts(0, b"", fault=reason)
    return facts_of_pixels(content) if isinstance(content, np.ndarray) else facts_of(content)


# ---- copies --------------------------------------------------------------------------------------------------------


def _groups(facts: Sequence[Facts], near: bool) -> list[tuple[bool, list[int]]]:
    """Pictures that are the same, as their numbers, and whether they are so exactly."""
    good = [index for index, found in enumerate(facts) if not found.fault]
    exact = [[good[place] for place in group] for group in same([facts[index].digest for index in good])]
    found: list[tuple[bool, list[int]]] = [(True, group) for group in exact]
    return found + [(False, group) for group in _near_groups(facts, good, exact)] if near else found


def _near_groups(facts: Sequence[Facts], good: Sequence[int], exact: Sequence[list[int]]) -> list[list[int]]:
    """Of each exact group the first stands for all, and brings the others along."""
    behind = {index for group in exact for index in group[1:]}
    compared = [index for index in good if facts[index].hash >= 0 and index not in behind]
    if len(compared) < 2:
        return []
    hashes = np.array([facts[index].hash for index in compared], np.uint64)
    looks = np.frombuffer(b"".join(facts[index].look for index in compared), np.uint8).reshape(len(compared), -1)
    copies = {group[0]: group for group in exact}
    found = near_groups(hashes, looks, _DISTANCE, _DIFFERENCE)
    groups = [[compared[place] for place in group] for group in found]
    return [sorted(copy for index in group for copy in copies.get(index, [index])) for group in groups]


# ---- telling -------------------------------------------------------------------------------------------------------


def _report(listing: Listing, facts: Sequence[Facts], groups: Sequence[tuple[bool, list[int]]]) -> DataReport:
    entries = listing.entries
    good = [found for found in facts if not found.fault]
    pictures, classes = counts((entry.split, entry.labels) for entry in entries)

    def findings(what: Sequence[str]) -> list[Finding]:
        return [Finding(entry.name, text) for entry, text in zip(entries, what, strict=True) if text]

    return DataReport(
        path=str(listing.path), kind=listing.kind, pictures=pictures, classes=classes, sizes=_sizes(good),
        modes=_commonest(found.mode for found in good), formats=_commonest(found.format for found in good),
        turned=sum(found.turned for found in good),
        broken=findings([found.fault for found in facts]), doubtful=findings([found.doubt for found in facts]),
        misnamed=findings([_misnamed(*both) for both in zip(entries, facts, strict=True)]),
        animated=findings([f"{found.frames} frames" if found.frames > 1 else "" for found in facts]),
        odd_names=_odd_names(entries, absolute=listing.kind == "packs"), passed_over=listing.passed_over,
        copies=[_copies(entries, exact, group) for exact, group in groups],
        flat=sum(found.hash < 0 for found in good), notices=listing.notices, empty_folders=listing.folders,
    )  # fmt: skip


def _sizes(good: Sequence[Facts]) -> dict[str, tuple[float, float, float]]:
    if not good:
        return {}
    values = {
        "width": [found.width for found in good], "height": [found.height for found in good],
        "megapixels": [found.width * found.height / 1e6 for found in good], "bytes": [found.size for found in good],
    }  # fmt: skip
    return {name: (float(min(of)), float(np.median(of)), float(max(of))) for name, of in values.items()}


def _commonest(names: Iterator[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))


def _misnamed(entry: Entry, found: Facts) -> str:
    expected = _FORMATS.get(os.path.splitext(entry.name)[1].lower())
    unlike = expected is not None and found.format not in ("", "raw", expected)
    return f"{found.format}, not {expected}" if unlike and not found.fault else ""


def _odd_names(entries: Sequence[Entry], *, absolute: bool) -> list[Finding]:
    """Each file and folder once; then those that some systems, or those who pair by stem, cannot tell apart."""
    found, seen = [], set()
    for entry in entries:
        parts = entry.name.split("/")
        for depth in range(len(parts) - 1 if absolute else 0, len(parts)):
            place = "/".join(parts[: depth + 1])
            if place not in seen and (odd := oddities(parts[depth])):
                found.append(Finding(place + ("/" if depth < len(parts) - 1 else ""), ", ".join(odd)))
                seen.add(place)
    return found + _clashes(entries)


def _clashes(entries: Sequence[Entry]) -> list[Finding]:
    folded, stems, found = {}, {}, []
    for name in dict.fromkeys(entry.name for entry in entries):
        alike = unicodedata.normalize("NFC", name).casefold()
        if alike in folded:
            found.append(Finding(name, f"differs only in capitals or Unicode form from {escaped(folded[alike])}"))
            continue
        folded[alike] = name
        stem = os.path.splitext(name)[0]
        if stem in stems:
            found.append(Finding(name, f"the same stem as {escaped(stems[stem].rpartition('/')[2])}"))
        stems.setdefault(stem, name)
    return found


def _copies(entries: Sequence[Entry], exact: bool, group: Sequence[int]) -> Copies:
    members = [entries[index] for index in group]
    return Copies(exact, *(tuple(part) for part in zip(*((m.name, m.split, m.labels) for m in members), strict=True)))


def _draw(listing: Listing, facts: Sequence[Facts], groups: Sequence[tuple[bool, list[int]]], path: Path) -> None:
    entries = listing.entries

    def shown(index: int) -> Shown:
        entry = entries[index]
        return Shown(index, entry.name, entry.split, entry.labels[0] if entry.labels else "")

    def read(index: int) -> Image.Image:
        content = listing.read(index)
        return (
            Image.fromarray(content) if isinstance(content, np.ndarray) else open_picture(entries[index].name, content)
        )

    pairs = []
    for _, group in groups:
        other = next((index for index in group if entries[index].split != entries[group[0]].split), None)
        if other is not None:
            pairs.append([shown(group[0]), shown(other)])
    good = [shown(index) for index, found in enumerate(facts) if not found.fault]
    if good:
        title = f"{escaped(str(listing.path))}: {len(entries)} pictures" + (
            f", {len(pairs)} in two splits" if pairs else ""
        )
        contact_sheet(good, pairs, read, title, path)
