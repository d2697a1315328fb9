"""Python source, laid out as a person would: on one line where it fits, else an argument a line. Knows no training.

Formatters leave it as it is: no line that can be broken is longer than 88 columns, the narrowest that they have by
default, and what is broken ends in a comma, so that those of wider lines do not join it again.
"""

import keyword
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._errors import ConfigError

WIDTH = 88
INDENT = "    "


@dataclass(frozen=True)
class Name:
    """Source as it stands, such as a name or ``5 * len(loader)``, and the import that it needs."""

    text: str
    needs: str = ""

    def __call__(self, /, *arguments: Any, **named: Any) -> "Call":
        """The call of this name, with values, names and calls as arguments."""
        return Call(self, arguments, named)

    def __getattr__(self, attribute: str) -> "Name":
        if attribute.startswith("__"):  # what copy and pickle ask for is no attribute in the source
            raise AttributeError(attribute)
        return Name(f"{self.text}.{attribute}", self.needs)


@dataclass(frozen=True)
class Call:
    """A call; an argument is a ``Name``, a ``Call``, or a plain value."""

    function: Name
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """Expressions with commas between them, in parentheses where they are broken over lines: those of a ``with``."""

    items: Sequence[Any]


@dataclass(frozen=True)
class Statement:
    """Text, an expression that may be broken over lines, and text: ``x = `` f(...), or ``with `` f(...) `` as x:``."""

    before: str
    value: Any
    after: str = ""


@dataclass(frozen=True)
class Block:
    """A statement that ends in a colon, and what stands below it."""

    head: "Statement | str"
    body: Sequence["Line"] = field(default_factory=tuple)


Line = str | Statement | Block


def lay_out(lines: Iterable[Line], depth: int = 0) -> list[str]:
    """The lines of source that statements stand for.

    >>> lay_out([Block("for x in y:", [Statement("z = ", Name("f")(x=1, y="a"))])])
    ['for x in y:', '    z = f(x=1, y="a")']
    """
    laid: list[str] = []
    for line in lines:
        if isinstance(line, Block):
            laid += lay_out([line.head], depth) + lay_out(line.body, depth + 1)
        elif isinstance(line, Statement):
            laid += _broken(line.before, line.value, line.after, depth)
        else:
            laid.append(f"{INDENT * depth}{line}" if line else "")
    return laid


def needed(lines: Iterable[Any]) -> set[str]:
    """The imports that statements and expressions need."""
    return {found for line in lines for found in _needs(line)}


def show(value: Any) -> str:
    """An expression on one line; of a plain value what Python reads back as an equal one, quoted as formatters do.

    >>> print(show({"scale": (0.5, 1.0), "name": "it's"}))
    {"scale": (0.5, 1.0), "name": "it's"}
    """
    if isinstance(value, Name):
        return value.text
    if isinstance(value, Row):
        return ", ".join(map(show, value.items))
    opening, items, closing = _parts(value)
    if not opening:
        return _literal(value)
    lone = "," if isinstance(value, tuple) and len(items) == 1 else ""
    return f"{opening}{', '.join(before + show(item) for before, item in items)}{lone}{closing}"


def _needs(line: Any) -> Iterator[str]:
    if isinstance(line, Name):
        yield from [line.needs] if line.needs else []
    elif isinstance(line, Block):
        yield from needed([line.head, *line.body])
    elif isinstance(line, Statement):
        yield from _needs(line.value)
    elif not isinstance(line, str):
        yield from _needs(line.function) if isinstance(line, Call) else ()
        yield from needed(item for _, item in _parts(line)[1])


def _broken(before: str, value: Any, after: str, depth: int) -> list[str]:
    """An expression on one line if it fits, else one part of it a line."""
    whole = f"{INDENT * depth}{before}{show(value)}{after}"
    opening, items, closing = _parts(value)
    if _columns(whole) <= WIDTH or not items:
        return [whole]
    within = [line for name, item in items for line in _broken(name, item, ",", depth + 1)]
    return [f"{INDENT * depth}{before}{opening}", *within, f"{INDENT * depth}{closing}{after}"]


def _parts(value: Any) -> tuple[str, list[tuple[str, Any]], str]:
    """How an expression opens, what stands in it, each with what stands before it, and how it closes."""
    match value:
        case Call():
            return f"{value.function.text}(", [*_unnamed(value.arguments), *_named(value.named)], ")"
        case dict():
            return "{", [(f"{show(key)}: ", item) for key, item in value.items()], "}"
        case list():
            return "[", _unnamed(value), "]"
        case tuple():
            return "(", _unnamed(value), ")"
        case Row():
            return "(", _unnamed(value.items), ")"
    return "", [], ""


def _unnamed(values: Iterable[Any]) -> list[tuple[str, Any]]:
    return [("", value) for value in values]


def _named(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    strange = {name: value for name, value in values.items() if not name.isidentifier() or keyword.iskeyword(name)}
    plain = [(f"{name}=", value) for name, value in values.items() if name not in strange]
    return [*plain, ("**", strange)] if strange else plain


def _columns(text: str) -> int:
    """How wide it is on a screen: an ideogram is as wide as two letters."""
    return len(text) if text.isascii() else sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if value is None or isinstance(value, bool | int | float):
        return repr(value).replace("e+", "e")  # as formatters write 1e+16
    raise ConfigError(f"a {type(value).__name__} cannot be written into Python source: {value!r}")


def _quoted(text: str) -> str:
    """With double quotes, unless single ones save a backslash."""
    quote = '"' if text.count('"') <= text.count("'") else "'"
    marks = {"'": "'", '"': '"', quote: f"\\{quote}"}
    return f"{quote}{''.join(marks.get(char, repr(char)[1:-1]) for char in text)}{quote}"
