"""Bytes, JSON values and trees of files, spoiled by a random generator. Knows no formats."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

Tree = dict[str, "bytes | str"]  # path -> content of a file; text: "link:TARGET", "pipe", "folder"

HUGE = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**60, 2**63 - 1, 2**63, 2**64 - 1)
NAMES = (
    "../../outside/secret",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a/../../b",
    "a\0b",
    "\ud800",
    "x" * 5000,
    "\x1b[2J",
    "C:\\x",
)
STRANGE: tuple[Any, ...] = (
    None, True, -1, 0.5, 2**64, 10**400, 1e308, float("inf"), float("nan"), "", "nan", [], {}, [[]], {"a": {}}, "latest",
    *NAMES,
)  # fmt: skip


def spoiled_bytes(data: bytes, random: Random) -> bytes:
    """One to four changes: flips, cuts, splices, numbers set to huge ones, text made long or deep."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        data = random.choice(_BYTES)(data, random)
    return data


def _flip(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8)) if data else 0):
        changed[random.randrange(len(changed))] = random.choice((0, 255, 128, 127, random.randrange(256)))
    return bytes(changed)


def _cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _splice(data: bytes, random: Random) -> bytes:
    start, end, to = [*sorted(random.randrange(len(data) + 1) for _ in range(2)), random.randrange(len(data) + 1)]
    end = min(end, start + random.choice((8, 64, 512, 4096)))
    return random.choice((data[:start] + data[end:], data[:to] + data[start:end] + data[to:]))


def _number(data: bytes, random: Random) -> bytes:
    size, order = random.choice("BHIQ"), random.choice("<>")
    number = struct.pack(order + size, random.choice(HUGE) % 256 ** struct.calcsize(size))
    place = random.randrange(max(1, len(data)))
    place -= place % len(number) if random.random() < 0.5 else 0
    return data[:place] + number + data[place + len(number) :]


def _insert(data: bytes, random: Random) -> bytes:
    place, count = random.randrange(len(data) + 1), random.choice((1, 10, 1000, 100_000))
    piece = random.choice(
        (b"[", b"{", b"(", b"- ", b"\0", b"9", b"a,", b'"', b"\n", b"[[],", b'{"a":', b"&a *a ", b"!", b"\xff")
    )
    return data[:place] + piece * count + data[place:]


def _digits(data: bytes, random: Random) -> bytes:
    """A written number made another."""
    places = [place for place in range(len(data)) if data[place : place + 1].isdigit()][:10_000]
    if not places:
        return _flip(data, random)
    place = random.choice(places)
    text = random.choice(
        (b"-1", b"9" * 20, b"9" * 5000, b"1e999", b"nan", b"0x" + b"f" * 5000, str(2**60).encode(), b"0")
    )
    return data[:place] + text + data[place + 1 :]


_BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (_flip, _flip, _cut, _splice, _number, _number, _insert, _digits)


def spoiled_json(data: bytes, random: Random) -> bytes:
    """JSON in which values are exchanged for strange ones; or its bytes spoiled."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return spoiled_bytes(data, random)
    if random.random() < 0.2:
        return spoiled_bytes(data, random)
    for _ in range(random.choice((1, 1, 2, 5))):
        values = spoiled_value(values, random)
    return json.dumps(values).encode()


def spoiled_value(value: Any, random: Random) -> Any:
    """One value somewhere inside exchanged, taken away, doubled or named anew."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        act = random.random()
        if act < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if act < 0.25:
            return {random.choice(NAMES) + random.choice(("", ".pt")) if k == key else k: v for k, v in value.items()}
        return {**value, key: spoiled_value(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.85:
        place = random.randrange(len(value))
        if random.random() < 0.15:
            return [*value[:place], *value[place : place + 1] * random.choice((0, 2, 100)), *value[place + 1 :]]
        return [*value[:place], spoiled_value(value[place], random), *value[place + 1 :]]
    return random.choice((*STRANGE, *HUGE))


def spoiled_tree(tree: Tree, random: Random, inner: list[str]) -> Tree:
    """One of the inner files made a link out of the tree, a pipe, a device, a folder, or taken away."""
    if not inner:
        return tree
    name = random.choice(inner)
    kinds = ("link:OUTSIDE/secret", "link:OUTSIDE", "link:/dev/zero", f"link:{name}", "pipe", "folder", "")
    kind = random.choice(kinds)
    below = {path for path in tree if path == name or path.startswith(name + "/")}
    return {path: content for path, content in tree.items() if path not in below} | ({name: kind} if kind else {})
