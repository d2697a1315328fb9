"""A ``DataReport`` as text for a terminal: plain, one file a line, nothing wider than it must be. Finds nothing."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ._escaped import columns, escaped, fitted

if TYPE_CHECKING:
    from ._data_report import Copies, DataReport, Finding

_HEAD = 11  # columns of the word that each part begins with
_MOST = 8  # files shown of each kind
_ALL_CLASSES = 40  # of more, the largest and the smallest are shown
_SOME_CLASSES = 15
_LONGEST_NAME = 28
_TALLEST_BAR = 40
_KEPT = "\xa0"  # a space that no line ends at; in names it would be shown escaped


def report_text(report: "DataReport", width: int) -> str:
    """All parts that have something to say, then the verdict."""
    parts = [
        _head(report, width), _classes(report, width), _sizes(report), _kinds(report, width),
        _findings(report, width), _copies(report, width), _rest(report, width), _verdict(report, width),
    ]  # fmt: skip
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(part)))


def _head(report: "DataReport", width: int) -> Iterator[str]:
    total, names = sum(report.pictures.values()), {name for split in report.classes.values() for name in split}
    what = {"splits": "splits", "classes": "class folders", "flat": "one folder", "packs": "packed", "table": "a table"}
    classes = f" of {counted(len(names), 'class')}" if names else ""
    yield from _line(
        "data", f"{escaped(report.path)}: {what[report.kind]}, {counted(total, 'picture')}{classes}", width
    )
    for split, count in report.pictures.items():
        if split:
            text = [counted(count, "picture"), *_balance(report.classes[split])]
            yield from _line(escaped(split), ", ".join(text), width)
        elif report.classes[split]:
            yield from _line("balance", ", ".join(_balance(report.classes[split])), width)


def _balance(sizes: Mapping[str, int]) -> list[str]:
    """How many classes, and how much larger the largest is than the smallest."""
    if len(sizes) < 2:
        return [counted(len(sizes), "class")] if sizes else []
    most, least = max(sizes, key=lambda name: sizes[name]), min(sizes, key=lambda name: sizes[name])
    if sizes[most] == sizes[least]:
        return [counted(len(sizes), "class"), f"{sizes[most]} each"]
    pair = f"({escaped(most)} {sizes[most]} / {escaped(least)} {sizes[least]})".replace(" ", _KEPT)
    return [counted(len(sizes), "class"), f"imbalance {sizes[most] / sizes[least]:.1f} {pair}"]


def _classes(report: "DataReport", width: int) -> Iterator[str]:
    splits = list(report.classes)
    totals: dict[str, int] = {}
    for split in splits:
        for name, count in report.classes[split].items():
            totals[name] = totals.get(name, 0) + count
    if not totals:
        return
    names = sorted(totals)
    left_out = len(names) - 2 * _SOME_CLASSES if len(names) > _ALL_CLASSES else 0
    if left_out:
        names = sorted(names, key=lambda name: -totals[name])
        names = names[:_SOME_CLASSES] + names[-_SOME_CLASSES:]
    wide = min(_LONGEST_NAME, max(5, *(columns(escaped(name)) for name in names)))
    cells = [max(7, len(split) + 2) for split in splits]
    room = max(4, min(_TALLEST_BAR, width - wide - sum(cells) - 3))
    titles = "".join(f"{split or 'files':>{cell}}" for split, cell in zip(splits, cells, strict=True))
    yield f"{'class':<{wide}}{titles}"
    for number, name in enumerate(names):
        if left_out and number == _SOME_CLASSES:
            yield f"({counted(left_out, 'class')} between)"
        numbers = (report.classes[split].get(name, 0) for split in splits)
        row = "".join(f"{number or '-':>{cell}}" for number, cell in zip(numbers, cells, strict=True))
        yield f"{fitted(escaped(name), wide)}{row}  {'━' * max(1, round(room * totals[name] / max(totals.values())))}"


def _sizes(report: "DataReport") -> Iterator[str]:
    if report.sizes:
        yield f"{'sizes':<{_HEAD}}{'smallest':>10}{'median':>10}{'largest':>10}"
    for name, values in report.sizes.items():
        shown = {"bytes": _bytes, "megapixels": lambda value: f"{value:.3g}"}.get(name, lambda value: f"{value:.0f}")
        title = "file" if name == "bytes" else name
        yield f"{title:<{_HEAD}}{''.join(f'{shown(value):>10}' for value in values)}"


def _kinds(report: "DataReport", width: int) -> Iterator[str]:
    for head, counts in (("modes", report.modes), ("formats", report.formats)):
        if counts:
            yield from _line(head, _listed(counts), width)
    if report.turned:
        yield from _line("turned", f"{counted(report.turned, 'picture')} by EXIF; read upright", width)
    if report.flat:
        yield from _line("flat", f"{counted(report.flat, 'picture')} of nearly one colour; not compared", width)


def _findings(report: "DataReport", width: int) -> Iterator[str]:
    for head, found, what in (
        ("broken", report.broken, "cannot be used"),
        ("doubtful", report.doubtful, "can be read, with an odd content"),
        ("misnamed", report.misnamed, "with an extension of another format; they are read all the same"),
        ("animated", report.animated, "with several frames; the first is used"),
        ("names", report.odd_names, "with names that trip other programs"),
    ):
        if found:
            yield from _line(head, f"{counted(len(found), 'file')} {what}", width)
            yield from _some(found, width)


def _some(found: "Sequence[Finding]", width: int) -> Iterator[str]:
    for finding in found[:_MOST]:
        name, what = f"  {escaped(finding.name)}", " ".join(finding.what.split())
        if columns(name) + 2 + columns(what) <= width:
            yield f"{name}  {what}"
        else:
            yield name
            yield from textwrap.wrap(what, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    yield from _more(found)


def _copies(report: "DataReport", width: int) -> Iterator[str]:
    leaks = report.leaks
    torn = [copies for copies in report.copies if copies.disagrees and not copies.leaks]
    others = [copies for copies in report.copies if not copies.disagrees and not copies.leaks]
    for head, found, what in (
        ("leaks", leaks, "in more than one split"),
        ("labels", torn, "more than once, with different labels"),
        ("copies", others, "more than once, which weighs more in training"),
    ):
        if found:
            exact = sum(copies.exact for copies in found)
            kinds = [f"{exact} exactly"] * bool(exact) + [f"{len(found) - exact} nearly"] * (exact < len(found))
            yield from _line(head, f"{counted(len(found), 'picture')} {what}: {', '.join(kinds)}", width)
            for copies in found[:_MOST]:
                yield from _group(copies)
            yield from _more(found)


def _group(copies: "Copies") -> Iterator[str]:
    sign = "=" if copies.exact else "~"
    for number, name in enumerate(copies.names[:_MOST]):
        split = copies.splits[number]
        inside = name.startswith(f"{split}/") or not copies.leaks  # the path says it already
        labels = ", ".join(escaped(label) for label in copies.labels[number]) if copies.disagrees else ""
        told = "  ".join(filter(None, ["" if inside else escaped(split), labels]))
        yield f"  {sign if number else ' '} {escaped(name)}{f'  ({told})' if told else ''}"
    if len(copies.names) > _MOST:
        yield f"  {sign} and {len(copies.names) - _MOST} more"


def _rest(report: "DataReport", width: int) -> Iterator[str]:
    for head, lacking, what in (
        ("missing", report.missing, "no picture of"),
        ("unknown", report.unknown, "training lacks"),
    ):
        for split, names in lacking.items():
            listed = ", ".join(escaped(name) for name in names[:_MOST]) + _and_more(len(names))
            yield from _line(head, f"{escaped(split)}: {what} {listed}", width)
    if report.empty_folders:
        listed = ", ".join(escaped(name) for name in report.empty_folders[:_MOST]) + _and_more(
            len(report.empty_folders)
        )
        yield from _line(
            "empty", f"{counted(len(report.empty_folders), 'class folder')} without pictures: {listed}", width
        )
    for number, (why, (count, first)) in enumerate(report.passed_over.items()):
        such = f"{count}, such as" if count > 1 else "1,"
        yield from _line("" if number else "not read", f"{escaped(why)}: {such} {escaped(first)}", width)
    for notice in report.notices[:_MOST]:
        yield from _line("note", escaped(notice), width)
    yield from _more(report.notices)


def _verdict(report: "DataReport", width: int) -> Iterator[str]:
    yield from _line(
        "verdict", f"not sound: {', '.join(report.faults)}" if report.faults else _SOUND[_whole(report)], width
    )


_SOUND = {
    True: "sound: nothing is broken, and no picture is in two splits",
    False: "sound: nothing is broken",
}


def _whole(report: "DataReport") -> bool:
    return len(report.pictures) > 1


def _line(head: str, text: str, width: int) -> list[str]:
    """A part's first word and its text, wrapped below itself; names are never broken."""
    head = f"{head:<{_HEAD}}" if len(head) < _HEAD else f"{head} "
    wrapped = textwrap.wrap(
        text, max(width, 40), initial_indent=head, subsequent_indent=" " * _HEAD,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return [line.replace(_KEPT, " ") for line in wrapped] or [head]


def _more(found: Sequence[object]) -> Iterator[str]:
    if len(found) > _MOST:
        yield f"  and {len(found) - _MOST} more; --json FILE has all"


def _and_more(count: int) -> str:
    return f" and {count - _MOST} more" if count > _MOST else ""


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name or 'unknown'} {count}" for name, count in counts.items())


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def counted(number: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "class"), counted(2, "class"), counted(2, "file")
    ('1 class', '2 classes', '2 files')
    """
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
