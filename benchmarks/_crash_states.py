"""What a disk may hold after a crash: built from recorded operations. Knows nothing of how they came about.

The model is the weakest one that POSIX allows and that an atomic rename can be used on at all:

- a flush (``fsync``) of a file makes its bytes and its length last, a flush of a folder its names; nothing else does;
- of what was not flushed any subset may be there, names before bytes and bytes before names; of a write any first part,
  or its length without its bytes (zeros);
- a rename is there or not; on file systems without a journal the old name may stay beside the new one;
- of two operations on the same name or the same bytes the later one wins if it is there: so an order of a subset is no
  state of its own.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._crash_disk import ROOT, Op

MISSING, ZEROS, BOTH_NAMES = -1, -2, -3  # forms of an operation; from 0 on: so many bytes of a write are there
Tree = dict[str, bytes | None]  # path -> bytes of a file, None for a folder


@dataclass(frozen=True)
class State:
    """One outcome of a crash: after ``point`` operations, some of them in another form than whole."""

    point: int
    label: str
    forms: Mapping[int, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.point}/{self.label}"


def killed_states(ops: Sequence[Op], point: int) -> Iterator[State]:
    """A process that is killed: all is there that was done; of the last write perhaps a part."""
    yield State(point, "all")
    if point and ops[point - 1].kind == "write":
        for cut in _cuts(ops[point - 1]):
            yield State(point, f"{point - 1} cut to {cut}", {point - 1: cut})


def cut_states(ops: Sequence[Op], point: int, seed: int, randoms: int) -> Iterator[State]:
    """A power cut: what was flushed is there, and of the rest whatever the file system came to."""
    loose = loose_ops(ops, point)
    writes = [i for i in loose if ops[i].kind == "write"]
    names = [i for i in loose if ops[i].is_name]
    content = [i for i in loose if not ops[i].is_name]
    yield State(point, "all")
    yield State(point, "none", dict.fromkeys(loose, MISSING))
    yield State(point, "names only", dict.fromkeys(content, MISSING))
    yield State(point, "names and lengths", dict.fromkeys(writes, ZEROS))
    yield State(point, "bytes only", dict.fromkeys(names, MISSING))
    for i in loose:
        yield State(point, f"all but {i}", {i: MISSING})
        yield State(point, f"only {i}", {j: MISSING for j in loose if j != i})
    for i in writes:
        yield State(point, f"{i} as zeros", {i: ZEROS})
    for i in writes[-1:]:
        for cut in _cuts(ops[i]):
            yield State(point, f"{i} cut to {cut}", {i: cut})
    for i in (i for i in loose if ops[i].kind == "rename"):
        yield State(point, f"both names of {i}", {i: BOTH_NAMES})
    for n in range(randoms if len(loose) > 1 else 0):
        yield State(point, f"random {n}", _random_forms(ops, loose, random.Random(f"{seed} {point} {n}")))


def loose_ops(ops: Sequence[Op], point: int) -> list[int]:
    """The operations before a point that nothing before the point has flushed."""
    flushed: set[int] = set()
    loose = []
    for i in reversed(range(point)):
        if ops[i].kind == "sync":
            flushed.add(ops[i].inode)
        elif ops[i].flushed_by not in flushed:
            loose.append(i)
    return loose[::-1]


def tree_of(ops: Sequence[Op], state: State) -> Tree:
    """The files and folders of a state."""
    names: dict[int, dict[str, int]] = {ROOT: {}}
    contents: dict[int, bytearray] = {}
    for i, op in enumerate(ops[: state.point]):
        form = state.forms.get(i)
        if op.kind == "mkdir":
            names.setdefault(op.inode, {})
        if form != MISSING and op.kind != "sync":
            _apply(op, form, names, contents)
    found: Tree = {}
    _walk(ROOT, "", names, contents, found)
    return found


def digest(tree: Tree) -> bytes:
    """Equal for equal trees."""
    total = hashlib.blake2b(digest_size=16)
    for path, content in sorted(tree.items()):
        total.update(f"{path}\0{-1 if content is None else len(content)}\0".encode() + (content or b""))
    return total.digest()


def build(tree: Tree, root: Path) -> None:
    """Write a tree into an empty folder."""
    for path, content in tree.items():  # a folder comes before what is in it
        if content is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(content)


def _apply(op: Op, form: int | None, names: dict[int, dict[str, int]], contents: dict[int, bytearray]) -> None:
    if op.kind in ("create", "mkdir"):
        names[op.folder][op.name] = op.inode
    elif op.kind in ("unlink", "rmdir"):
        names[op.folder].pop(op.name, None)
    elif op.kind == "rename":
        if form != BOTH_NAMES:
            names[op.folder].pop(op.name, None)
        names[op.folder][op.new_name] = op.inode
    else:
        _change(op, form, contents.setdefault(op.inode, bytearray()))


def _change(op: Op, form: int | None, content: bytearray) -> None:
    if op.kind == "truncate":
        del content[op.offset :]
        content.extend(bytes(op.offset - len(content)))
        return
    data = op.data if form is None else bytes(len(op.data)) if form == ZEROS else op.data[:form]
    content.extend(bytes(max(op.offset - len(content), 0)))
    content[op.offset : op.offset + len(data)] = data


def _walk(
    folder: int, path: str, names: dict[int, dict[str, int]], contents: dict[int, bytearray], found: Tree
) -> None:
    for name, inode in sorted(names[folder].items()):
        inner = f"{path}/{name}".lstrip("/")
        if inode in names:
            found[inner] = None
            _walk(inode, inner, names, contents, found)
        else:
            found[inner] = bytes(contents.get(inode, b""))


def _cuts(op: Op) -> list[int]:
    """Where a write may be torn: after its first byte, in the middle, before its last byte."""
    size = len(op.data)
    return sorted({cut for cut in (1, size // 2, size - 1) if 0 <= cut < size})


def _random_forms(ops: Sequence[Op], loose: Sequence[int], rng: random.Random) -> dict[int, int]:
    share, forms = rng.random(), dict[int, int]()
    for i in loose:
        if rng.random() < share:
            forms[i] = MISSING
        elif ops[i].kind == "write" and rng.random() < 0.3:
            forms[i] = rng.choice([ZEROS, rng.randrange(len(ops[i].data) + 1)])
        elif ops[i].kind == "rename" and rng.random() < 0.2:
            forms[i] = BOTH_NAMES
    return forms
