"""Pieces of an SVG picture as text. Everything that is written into one passes here and is escaped."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

_WIDE, _NARROW = set("mwMW@%…"), set("iljtfI1 .,:;'|!()[]/·")


def element(name: str, content: str = "", **attributes: Any) -> str:
    """One element. ``content`` is SVG already; values of attributes are not. ``class_`` is class, ``a_b`` is a-b.

    >>> element("circle", cx=1.23456, class_="dot")
    '<circle cx="1.23" class="dot"/>'
    """
    said = "".join(f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"' for key, value in attributes.items())
    return f"<{name}{said}>{content}</{name}>" if content else f"<{name}{said}/>"


def words(text: str, x: float, y: float, **attributes: Any) -> str:
    """A line of text, escaped.

    >>> words("<b>", 1, 2)
    '<text x="1" y="2">&lt;b&gt;</text>'
    """
    return element("text", escape(clean(text)), x=x, y=y, **attributes)


def path(points: Iterable[tuple[float, float]]) -> str:
    """The ``d`` of a line through points.

    >>> path([(0, 1), (2.5, 3)])
    'M0 1L2.5 3'
    """
    return "".join(f"{'L' if place else 'M'}{_value(x)} {_value(y)}" for place, (x, y) in enumerate(points))


def clean(text: str) -> str:
    r"""Without characters that XML cannot hold, which would make the whole file unreadable, and on one line.

    >>> clean("a\x00b\ud800\n c\u202e")
    'a\ufffdb\ufffd c\ufffd'
    """
    return "".join(
        letter if letter.isprintable() else " " if letter.isspace() else "\ufffd" for letter in text
    ).replace("  ", " ")


def text_width(text: str, size: float) -> float:
    """About how wide a text is in a sans-serif, in pixels: SVG cannot ask."""
    return size * sum(0.85 if letter in _WIDE else 0.3 if letter in _NARROW else 0.56 for letter in text)


def wrapped(text: str, size: float, width: float) -> list[str]:
    """The text in lines that fit; a word that does not fit is cut."""
    lines: list[str] = []
    for word in text.split():
        word = shortened(word, size, width)
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def shortened(text: str, size: float, width: float) -> str:
    """The text, cut off with an ellipsis where it is too wide."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text, size) > width - size:
        text = text[:-1]
    return f"{text.rstrip()}…"


def bounded(values: Sequence[float], empty: tuple[float, float] = (0.0, 1.0)) -> tuple[float, float]:
    """The lowest and highest of the values, apart from each other in any case."""
    low, high = min(values, default=empty[0]), max(values, default=empty[1])
    if low < high:
        return low, high
    reach = abs(low) * 0.05 or 0.5
    return low - reach, high + reach


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".").replace("-0", "0") if abs(value) < 0.005 else _short(value)
    return escape(str(value), quote=True)


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else "0"


def text_of(value: object) -> str:
    """A value as a text of HTML, escaped; a number stays with its per cent sign."""
    return escape(clean(str(value))).replace(" %", "&nbsp;%")
