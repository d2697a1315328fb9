"""One number put into a YAML file, the rest of which stays as it is: comments, layout, byte for byte.

It knows two levels of keys, ``optimizer.lr``. What the edited text means is checked against what it should, so that a
form that is not understood is refused instead of spoiled.
"""

import os
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from ._errors import ConfigError
from ._files import open_regular, read_within, replace_file
from ._yaml import MOST_BYTES, apply_overrides, parse_yaml

_NOTHING = ("", "~", "null", "Null", "NULL")


def write_number(path: str | os.PathLike[str], key: str, value: float) -> None:
    """Set ``part.key`` in a YAML file, which a reader sees as it was or as it will be, never in between.

    Raises:
        ConfigError: the file cannot be read or edited; it stays as it is.
    """
    file = Path(path).resolve()  # of a link the file itself is replaced
    try:
        text = read_within(open_regular(file), MOST_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"'{path}' cannot be edited: {error}") from None
    edited = with_number(text, key, value, os.fspath(path))
    mode = file.stat().st_mode
    replace_file(file, edited.encode())
    file.chmod(mode)


def with_number(text: str, key: str, value: float, file: str = "<text>") -> str:
    r"""The YAML text with ``part.key`` set, and nothing else changed.

    >>> with_number("optimizer: {name: SGD, lr: 0.1}  # tuned by hand\n", "optimizer.lr", 0.3)
    'optimizer: {name: SGD, lr: 0.3}  # tuned by hand\n'
    >>> print(with_number("optimizer: SGD\n", "optimizer.lr", 0.3), end="")
    optimizer: {name: SGD, lr: 0.3}
    """
    wanted = apply_overrides(parse_yaml(text, file), [f"{key}={value!r}"]).values
    part, name = key.split(".")
    start, end, new = _change(text, part, name, repr(value))
    edited = text[:start] + new + text[end:]
    try:
        made = parse_yaml(edited, file).values
    except ConfigError:
        made = None
    if made != wanted:
        line = text.count("\n", 0, start) + 1
        raise ConfigError(
            f"{file}:{line}: {key} cannot be set without changing more of the file: write the value {value!r} by hand"
        )
    return edited


def _change(text: str, part: str, key: str, number: str) -> tuple[int, int, str]:
    """What to put in place of which characters."""
    root = yaml.compose(text, Loader=yaml.BaseLoader)
    newline = "\r\n" if "\r\n" in text else "\n"
    at = None if root is None else _value(root, part)
    if at is None or (isinstance(at, ScalarNode) and at.style is None and at.value in _NOTHING):
        return _new_part(text, root, at, part, f"{key}: {number}", newline)
    if isinstance(at, ScalarNode):  # the short form: a name
        start, end = _span(at)
        return start, end, f"{{name: {text[start:end]}, {key}: {number}}}"
    if (old := _value(at, key)) is not None:
        start, end = _span(old)
        return start, end, number if end > start else f" {number}"
    return _new_key(text, at, f"{key}: {number}", newline)


def _new_part(
    text: str, root: Node | None, at: Node | None, part: str, pair: str, newline: str
) -> tuple[int, int, str]:
    """The part is not there, or is empty."""
    if at is not None:
        start, end = _span(at)
        return start, end, f"{{{pair}}}" if end > start else f" {{{pair}}}"
    if isinstance(root, MappingNode) and root.flow_style:
        return _new_key(text, root, f"{part}: {{{pair}}}", newline)
    before = "" if not text or text.endswith("\n") else newline
    return len(text), len(text), f"{before}{part}:{newline}  {pair}{newline}"


def _new_key(text: str, at: Node, pair: str, newline: str) -> tuple[int, int, str]:
    """A key in a mapping: behind its name where it has one, else as its first."""
    assert isinstance(at, MappingNode)
    if at.flow_style:
        last = _span(at)[1] - 1  # the bracket that closes it
        behind = text[: _span(at.value[-1][1])[1]] if at.value else ""
        place = len(behind) if behind else last
        return place, place, f", {pair}" if at.value else pair
    first = at.value[0][0]
    indent = " " * first.start_mark.column
    name = next((value for key, value in at.value if key.value == "name" and isinstance(value, ScalarNode)), None)
    end = -1 if name is None else text.find(newline, _span(name)[1])
    if end >= 0:
        return end, end, f"{newline}{indent}{pair}"
    return first.start_mark.index, first.start_mark.index, f"{pair}{newline}{indent}"


def _value(node: Node, name: str) -> Node | None:
    if not isinstance(node, MappingNode):
        return None
    return next((value for key, value in node.value if key.value == name), None)


def _span(node: Node) -> tuple[int, int]:
    return node.start_mark.index, node.end_mark.index
