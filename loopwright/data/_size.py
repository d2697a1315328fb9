"""Amounts of memory with their unit written out: "4 GiB", "500 MB". Knows nothing about what takes them."""

import re

from .._errors import ConfigError

_UNITS = {
    "b": 1, "byte": 1, "bytes": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-z]+)\s*", re.IGNORECASE)


def parse_size(size: int | str, place: str) -> int:
    """Bytes from a number of them, or from a text with a unit; ``ConfigError`` naming ``place`` for anything else.

    >>> parse_size("4 GiB", "limit"), parse_size("1.5 kB", "limit"), parse_size(100, "limit")
    (4294967296, 1500, 100)
    """
    match = _PATTERN.fullmatch(size) if isinstance(size, str) else None
    unit = _UNITS.get(match[2].lower()) if match else None
    if match and unit:
        return int(float(match[1]) * unit)
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    raise ConfigError(f"{place} must be a number of bytes or a text such as '4 GiB' or '500 MB'. Found: {size!r}")


def shown_size(size: float) -> str:
    """Bytes for people.

    >>> shown_size(4 * 2**30), shown_size(1536), shown_size(0)
    ('4.0 GiB', '1.5 KiB', '0 B')
    """
    for name, unit in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size:.0f} B"
