"""Configurations as plain nested values: read from YAML with the line of every key, overridden, compared, written.

Knows nothing about which keys exist or what they mean: checking them is ``_config``'s job. Values here are dict with
text keys, list, tuple, str, int, float, bool and None, nothing else.

The YAML is that of YAML 1.2: ``1e-3`` is a number, only ``true`` and ``false`` are booleans, dates and ``12:30``
stay text. Three additions: ``1_000`` is a number, ``<<: *anchor`` merges, and, as YACS has it, text that reads as a
Python tuple, ``(0.5, 1.0)``, or as ``None`` becomes that value, quoted or not. ``!!str (0.5, 1.0)`` stays text, and
``dump_yaml`` writes it so.
"""

import ast
import enum
import io
import math
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.emitter import Emitter
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner
from yaml.serializer import Serializer

from ._errors import ConfigError
from ._files import open_regular, read_within
from ._names import did_you_mean

Keys = tuple[str, ...]  # the way to a value: ("optimizer", "lr"); places in a list count as "0", "1", ...

INCLUDE = "include"
COMMAND_LINE = "command line"
MAX_INCLUDES = 10
MAX_VALUES = 100_000  # of one file, anchors filled in: some hundred bytes of nested anchors can stand for billions

MAX_DIGITS = 4300  # of a whole number: more Python does not write down again
MOST_BYTES = 16 * 2**20  # of one file
_LONGEST_TUPLE = 10_000  # characters

_TAG = "tag:yaml.org,2002:"
_STR, _TUPLE, _MERGE = _TAG + "str", _TAG + "python/tuple", _TAG + "merge"
_PYTHON = "!python-literal"  # never written in a file: the text resolves to it by itself


@dataclass(frozen=True)
class Source:
    """Where a value was given: a file and a line of it, or the command line."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Tree:
    """Plain nested values, and where each of them was given."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[Keys, Source] = field(default_factory=dict)


# ---- reading --------------------------------------------------------------------------------------------------------


def read_yaml(path: str | os.PathLike[str]) -> Tree:
    """Read a YAML file, and under it the files that its top-level ``include`` names, relative to the file itself.

    Raises ConfigError, naming file and line, for all that is wrong with the files.
    """
    return _read_with_includes(os.fspath(path), place="", chain=[])


def parse_yaml(text: str, file: str = "<text>") -> Tree:
    """Read YAML text whose origin is called ``file`` in messages; an ``include`` is a key like any other.

    >>> parse_yaml("optimizer: {lr: 1e-3}\\nscale: (0.5, 1.0)").values
    {'optimizer': {'lr': 0.001}, 'scale': (0.5, 1.0)}
    """
    root = _composed(text, file)
    builder = _Builder(file)
    values = None if root is None else builder.whole(root, ())
    if not isinstance(values, dict | None):
        raise ConfigError(f"{file}:1: a configuration is 'key: value' lines, this is {_kind(values)}")
    return Tree(values or {}, builder.sources)


def _composed(text: str, file: str) -> Node | None:
    """The nodes of a YAML text; None for one that holds nothing but comments."""
    try:
        return _Reader(text).get_single_node()
    except RecursionError:
        raise ConfigError(f"{file}: the values are nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax_message(text, file, error)) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{file}:{line}: the character {chr(error.character)!r} is not allowed in YAML") from None
    except (ValueError, OverflowError):  # PyYAML turns the code of an escape into a character unchecked
        raise ConfigError(f"{file}: an escape '\\U...' in a quoted text stands for no character") from None


def _read_with_includes(file: str, place: str, chain: list[str]) -> Tree:
    """Read ``file``; ``place`` is the line that includes it, ``chain`` the files that led to it."""
    if "\0" not in file and any(os.path.realpath(file) == os.path.realpath(earlier) for earlier in chain):
        raise ConfigError(f"{place}files include each other in a circle: {' -> '.join([*chain, file])}")
    if len(chain) > MAX_INCLUDES:
        raise ConfigError(f"{place}more than {MAX_INCLUDES} files include each other: {' -> '.join([*chain, file])}")
    tree = parse_yaml(_file_text(file, place), file)
    if INCLUDE not in tree.values:
        return tree
    place = f"{tree.sources[INCLUDE,]}: {INCLUDE}: "
    names = tree.values[INCLUDE] if isinstance(tree.values[INCLUDE], list) else [tree.values[INCLUDE]]
    base = Tree()
    for name in names:
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{place}should be a file name or a list of them, is {show(tree.values[INCLUDE])}")
        included = os.path.join(os.path.dirname(file), name)
        base = _merged(base, _read_with_includes(included, place, [*chain, file]))
    merged = _merged(base, tree)
    return _without_include(merged)


def _without_include(tree: Tree) -> Tree:
    return Tree(
        {key: value for key, value in tree.values.items() if key != INCLUDE},
        {keys: source for keys, source in tree.sources.items() if keys[0] != INCLUDE},
    )


def _file_text(file: str, place: str) -> str:
    path = Path(file)
    try:
        data = read_within(open_regular(path), MOST_BYTES)
    except ValueError:  # a zero, or half a pair of surrogates
        raise ConfigError(f"{place}{file!r} cannot be the name of a file") from None
    except FileNotFoundError:
        beside = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
        question = did_you_mean(path.name, beside)
        raise ConfigError(f"{place}there is no file '{file}'{question and f': {question}'}") from None
    except IsADirectoryError:
        raise ConfigError(f"{place}'{file}' is a folder: name the YAML file itself") from None
    except OSError as error:
        raise ConfigError(f"{place}'{file}' cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}:{line}: this is not UTF-8 text; save the file as UTF-8") from None


def _merged(base: Tree, top: Tree) -> Tree:
    """``top`` over ``base``: mappings are merged key by key, everything else is replaced."""
    replaced: list[Keys] = []
    values = _merged_values(base.values, top.values, (), replaced)
    kept = {keys: source for keys, source in base.sources.items() if not _below_any(keys, replaced)}
    return Tree(values, kept | top.sources)


def _merged_values(base: Mapping[str, Any], top: Mapping[str, Any], keys: Keys, replaced: list[Keys]) -> dict[str, Any]:
    values = dict(base)
    for key, value in top.items():
        below = _as_mapping(base.get(key))
        if isinstance(value, dict) and below is not None:
            values[key] = _merged_values(below, value, (*keys, key), replaced)
        else:
            values[key] = value
            replaced.append((*keys, key))
    return values


def _as_mapping(value: Any) -> Mapping[str, Any] | None:
    """A mapping itself; for the short form of a part, ``optimizer: SGD``, its long form ``{name: SGD}``."""
    if isinstance(value, str) and value:
        return {"name": value}
    return value if isinstance(value, Mapping) else None


def _below_any(keys: Keys, replaced: Iterable[Keys]) -> bool:
    starts = {keys[:length] for length in range(1, len(keys) + 1)}
    return not starts.isdisjoint(replaced)


_HINTS = (
    ("'\\t'", "YAML indents with spaces, not with tabs"),
    ("that cannot start any token", "quote a text that begins with a special character"),
    (
        "mapping values are not allowed",
        "lines are 'key: value', equally indented below each other; a text with ': ' needs quotes",
    ),
    ("could not find expected ':'", "each line needs 'key: value', with a space after the colon"),
    ("unexpected end of stream", "a quote is not closed"),
    ("expected ',' or", "a bracket is not closed"),
    ("expected <block end>", "keys below each other need the same indent"),
    ("but found another document", "a configuration is one document, remove the line '---'"),
    ("undefined alias", "name the anchor above its use; a text that begins with * needs quotes"),
)


def _syntax_message(text: str, file: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place, shown, began = str(_source(file, mark)), "", ""
    if mark is not None:
        line = text.splitlines()[mark.line : mark.line + 1]
        place += "" if place == file else f":{mark.column + 1}"
        shown = f" in {show(line[0].strip())}" if line and line[0].strip() else ""
    if error.context and error.context_mark and (mark is None or error.context_mark.line != mark.line):
        began = f" {error.context} that begins on line {error.context_mark.line + 1}"
    hint = next((f" ({hint})" for part, hint in _HINTS if part in (error.problem or "")), "")
    return f"{place}: this is not YAML{shown}: {error.problem}{began}{hint}"


def _source(file: str, mark: yaml.Mark | None) -> Source:
    if mark is None or file.startswith(COMMAND_LINE):
        return Source(file)
    return Source(file, mark.line + 1)


class _Resolver(BaseResolver):
    """Says what type an untagged scalar has; one law for the reader and the writer, so that they agree."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is ScalarNode and (value == "None" or _tuple_of(value) is not None):
            return _PYTHON
        return super().resolve(kind, value, implicit)


_DIGITS = r"[0-9]+(?:_[0-9]+)*"
for _name, _pattern in (
    ("null", r"(?:~|null|Null|NULL|)\Z"),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    ("int", rf"(?:[-+]?{_DIGITS}|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
    ("float", rf"(?:[-+]?(?:(?:{_DIGITS})?\.{_DIGITS}|{_DIGITS}\.?)(?:[eE][-+]?[0-9]+)?)\Z"),
    ("float", r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"),
    ("merge", r"<<\Z"),
):
    _Resolver.add_implicit_resolver(_TAG + _name, re.compile(_pattern), None)


class _Reader(Reader, Scanner, Parser, Composer, _Resolver):
    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        _Resolver.__init__(self)


class _Builder:
    """Builds values from nodes; notes where each was given, and every mistake instead of stopping at the first."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.sources: dict[Keys, Source] = {}
        self.mistakes: list[str] = []
        self._built = 0
        self._open: list[Node] = []

    def whole(self, root: Node, keys: Keys) -> Any:
        """The value of a whole text; raises ConfigError with all that is wrong in it."""
        try:
            value = self.build(root, keys)
        except RecursionError:
            raise ConfigError(f"{self.file}: the values are nested too deeply") from None
        if self.mistakes:
            raise ConfigError("\n".join(self.mistakes))
        return value

    def build(self, node: Node, keys: Keys) -> Any:
        self._built += 1
        if self._built > MAX_VALUES:
            raise ConfigError(f"{self.file}: holds more than {MAX_VALUES} values when its anchors are filled in")
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if any(node is one for one in self._open):
            return self._mistake(node, "an anchor is used inside itself")
        self._open.append(node)
        try:
            if isinstance(node, MappingNode) and node.tag == _TAG + "map":
                return self._mapping(node, keys)
            if isinstance(node, SequenceNode) and node.tag in (_TAG + "seq", _TUPLE):
                items = [self._item(item, (*keys, str(index))) for index, item in enumerate(node.value)]
                return tuple(items) if node.tag == _TUPLE else items
            return self._unknown_tag(node)
        finally:
            self._open.pop()

    def _item(self, node: Node, keys: Keys) -> Any:
        self.sources[keys] = _source(self.file, node.start_mark)
        return self.build(node, keys)

    def _scalar(self, node: ScalarNode) -> Any:
        read = _SCALARS.get(node.tag)
        if read is None:
            return self._unknown_tag(node)
        try:
            return read(node.value)
        except (ValueError, KeyError):
            kind = node.tag.removeprefix(_TAG)
            return self._mistake(node, f"{show(node.value)} cannot be read as a value of type {kind}")

    def _mapping(self, node: MappingNode, keys: Keys) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                values |= self._merge(value_node, keys)
        own: dict[str, Source] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key is None:
                continue
            if key in own:
                first = f", first on line {own[key].line}" if own[key].line else ""
                self._mistake(key_node, f"'{'.'.join((*keys, key))}' is given twice{first}: remove one of them")
            elif node.flow_style and ":" in key and value_node.value == "":
                self._mistake(key_node, f"'{key}' has no value: write a space after the colon")
            own[key] = self.sources[*keys, key] = _source(self.file, key_node.start_mark)
            values[key] = self.build(value_node, (*keys, key))
        return values

    def _key(self, node: Node) -> str | None:
        """The key; None for the sign of a merge and, noted as a mistake, for what is no text."""
        if node.tag == _MERGE:
            return None
        if not isinstance(node, ScalarNode):
            return self._mistake(node, "a key should be text, is a list or a mapping")
        if node.tag not in (_STR, _PYTHON):
            return self._mistake(node, f"a key should be text, is {node.value}: write '{node.value}' in quotes")
        return node.value

    def _merge(self, node: Node, keys: Keys) -> dict[str, Any]:
        """What ``<<: *anchor`` or ``<<: [*one, *two]`` brings in; of several, the first that has a key decides."""
        parts = node.value if isinstance(node, SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for part in reversed(parts):
            value = self.build(part, keys)
            if not isinstance(value, dict):
                self._mistake(node, "'<<' merges mappings: write '<<: *anchor' of one")
                return {}
            merged |= value
        return merged

    def _unknown_tag(self, node: Node) -> None:
        tag = node.tag.replace(_TAG, "!!")
        self._mistake(node, f"the tag {tag} is not read here: configurations hold plain values and !!python/tuple")

    def _mistake(self, node: Node, message: str) -> None:
        self.mistakes.append(f"{_source(self.file, node.start_mark)}: {message}")


def _tuple_of(text: str) -> tuple[Any, ...] | None:
    """The tuple of plain values that ``text`` spells in Python, if it does."""
    if ("," not in text and text.strip() != "()") or len(text) > _LONGEST_TUPLE:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes in what may be any text
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, tuple) and _is_plain(value) else None


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, str | int | float)


def _number(text: str) -> int | float:
    digits = text.replace("_", "")
    if len(digits) > MAX_DIGITS // 2:  # in hexadecimal Python reads any number of them
        raise ValueError("too many digits")
    return int(digits, 0) if digits.startswith(("0x", "0o")) else int(digits)


def _float(text: str) -> float:
    return float(re.sub(r"\.(inf|nan)\Z", r"\1", text.lower()))


_SCALARS = {
    _STR: str,
    _PYTHON: _tuple_of,  # None for "None", which is no tuple
    _MERGE: str,  # '<<' anywhere but as a key is text
    _TAG + "null": {"": None, "~": None, "null": None, "Null": None, "NULL": None}.__getitem__,
    _TAG + "bool": lambda text: {"true": True, "false": False}[text.lower()],
    _TAG + "int": _number,
    _TAG + "float": _float,
}


# ---- overrides ------------------------------------------------------------------------------------------------------


def parse_override(text: str) -> tuple[Keys, Any]:
    """Split "key.sub=value"; the value is read like one in a file, with lists and mappings in brackets.

    Nothing behind the "=" is the empty text; write null for None. Only a value that begins with a bracket, a
    quote or a tag is YAML beyond a single scalar, so "note=a: b" and "pattern=*.jpg" are the texts they look like.

    >>> parse_override("optimizer.lr=3e-3")
    (('optimizer', 'lr'), 0.003)
    >>> parse_override("scale=[0.2, 1]")
    (('scale',), [0.2, 1])
    >>> parse_override("data=")
    (('data',), '')
    """
    name, equals, value = text.partition("=")
    keys = tuple(part.strip() for part in name.split("."))
    if not equals:
        raise ConfigError(f"{COMMAND_LINE}: '{text}' has no '=': write {name.strip() or 'key'}=VALUE")
    if not all(keys):
        raise ConfigError(f"{COMMAND_LINE}: '{text}' has no complete key: write key=VALUE or key.sub=VALUE")
    if keys[0].startswith("-"):
        raise ConfigError(f"{COMMAND_LINE}: a setting has no dashes: write {text.lstrip('-')}")
    return keys, _override_value(value.strip(), keys, f"{COMMAND_LINE}: {show(text)}")


def _override_value(value: str, keys: Keys, place: str) -> Any:
    if value.startswith(("[", "{", "'", '"', "!")):
        node = _composed(value, place)
    else:
        node = ScalarNode(_Resolver().resolve(ScalarNode, value, (True, False)), value)
    return _Builder(place).whole(node, keys) if value and node is not None else ""


def apply_overrides(tree: Tree, overrides: Iterable[str]) -> Tree:
    """The tree with "key.sub=value" settings put over it, in their order; mappings on the way are made as needed.

    The given value replaces what was there, a mapping too: ``model=vit`` leaves nothing of a ``model`` with a width.
    Below the short form ``optimizer: SGD``, ``optimizer.lr=0.1`` makes ``{name: SGD, lr: 0.1}``.

    >>> apply_overrides(Tree({"optimizer": "SGD"}), ["optimizer.lr=0.1", "epochs=3"]).values
    {'optimizer': {'name': 'SGD', 'lr': 0.1}, 'epochs': 3}
    """
    mistakes = []
    for text in overrides:
        try:
            tree = put(tree, *parse_override(text))
        except ConfigError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return tree


def put(tree: Tree, keys: Keys, value: Any, source: Source | None = None) -> Tree:
    """The tree with one value put at ``keys``, as if it had been given at ``source``, by default the command line.

    >>> put(Tree({"model": "resnet18"}), ("model", "width"), 8).values
    {'model': {'name': 'resnet18', 'width': 8}}
    """
    source = source or Source(COMMAND_LINE)
    values = _placed(tree.values, keys, value, (), source)
    return Tree(values, _placed_sources(tree.sources, keys, value, source))


def _placed(values: Mapping[str, Any], keys: Keys, value: Any, above: Keys, source: Source) -> dict[str, Any]:
    key, *rest = keys
    if not rest:
        return {**values, key: value}
    here = (*above, key)
    below = {} if values.get(key) in (None, "") else _as_mapping(values[key])
    if below is None:
        raise ConfigError(
            f"{source}: '{'.'.join((*above, *keys))}' cannot be set: "
            f"'{'.'.join(here)}' is {show(values[key])}, which has no keys; set it as a whole"
        )
    return {**values, key: _placed(below, tuple(rest), value, here, source)}


def _placed_sources(sources: Mapping[Keys, Source], keys: Keys, value: Any, source: Source) -> dict[Keys, Source]:
    placed = {path: kept for path, kept in sources.items() if path[: len(keys)] != keys}
    for length in range(1, len(keys)):
        placed.setdefault(keys[:length], source)
    return placed | dict.fromkeys(_paths(value, keys), source)


def _paths(value: Any, keys: Keys) -> Iterator[Keys]:
    yield keys
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _paths(below, (*keys, key))


# ---- plain values and text ------------------------------------------------------------------------------------------


def plain(config: Any) -> dict[str, Any]:
    """A configuration of any common kind as a new nested dict: mapping, CfgNode, Namespace, dataclass, pydantic model.

    Paths become text, enum members their values, NumPy scalars Python's numbers; other objects stay what they are.
    The given object is not changed. Raises ConfigError for another kind of object and for keys that are no text.

    >>> from argparse import Namespace
    >>> plain(Namespace(lr=0.1, model={"name": "resnet18"}))
    {'lr': 0.1, 'model': {'name': 'resnet18'}}
    """
    values = _plain(config, ())
    if not isinstance(values, dict):
        raise ConfigError(f"a configuration is a mapping of settings, this is {_kind(config)}")
    return values


def _plain(value: Any, keys: Keys) -> Any:
    if _is_a(value, "numpy", "generic"):
        return value.item()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{_at(keys)}the key {key!r} should be text, is {_kind(key)}")
        return {str(key): _plain(below, (*keys, key)) for key, below in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return _plain({one.name: getattr(value, one.name) for one in fields(value)}, keys)
    if hasattr(value, "model_dump") and not isinstance(value, type):  # pydantic, without importing it
        return _plain(value.model_dump(serialize_as_any=True), keys)
    if _is_a(value, "argparse", "Namespace"):
        return _plain(vars(value), keys)
    if isinstance(value, list | tuple):
        items = [_plain(item, (*keys, str(index))) for index, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, enum.Enum):
        return _plain(value.value, keys)
    if isinstance(value, PurePath):
        return str(value)
    return value


def dump_yaml(values: Any) -> str:
    """YAML text that ``read_yaml`` reads back equal, types and order of keys included.

    Accepts what ``plain`` accepts, and saves what ``plain`` makes of it. Raises ConfigError, naming the dotted key,
    for a value that YAML cannot hold.

    >>> print(dump_yaml({"lr": 1e-3, "optimizer": {"name": "AdamW", "betas": (0.9, 0.999)}, "text": "1e-3"}))
    lr: 0.001
    optimizer:
      name: AdamW
      betas: !!python/tuple [0.9, 0.999]
    text: '1e-3'
    <BLANKLINE>
    """
    root = plain(values)
    if INCLUDE in root:
        raise ConfigError(f"a setting named '{INCLUDE}' cannot be saved: in a file it means another file; rename it")
    stream = io.StringIO()
    writer = _Writer(stream)
    writer.open()
    writer.serialize(_node(root, ()))
    writer.close()
    return stream.getvalue()


class _Writer(Emitter, Serializer, _Resolver):
    def __init__(self, stream: io.StringIO) -> None:
        Emitter.__init__(self, stream, allow_unicode=True, width=sys.maxsize)
        Serializer.__init__(self)
        _Resolver.__init__(self)


def _node(value: Any, keys: Keys) -> Node:
    if isinstance(value, dict):
        pairs = [(_node(key, keys), _node(below, (*keys, key))) for key, below in value.items()]
        return MappingNode(_TAG + "map", pairs, flow_style=not pairs)
    if isinstance(value, list | tuple):
        items = [_node(item, (*keys, str(index))) for index, item in enumerate(value)]
        flow = all(isinstance(item, ScalarNode) or getattr(item, "flow_style", False) for item in items)
        return SequenceNode(_TUPLE if isinstance(value, tuple) else _TAG + "seq", items, flow_style=flow)
    if isinstance(value, str):
        # Only between double quotes are line breaks of every kind, and the spaces around them, kept as they are.
        return ScalarNode(_STR, str(value), style=None if value.isprintable() else '"')
    kind, text = _scalar_text(value, keys)
    return ScalarNode(_TAG + kind, text)


def _scalar_text(value: Any, keys: Keys) -> tuple[str, str]:
    if value is None:
        return "null", "null"
    if isinstance(value, bool):
        return "bool", str(value).lower()
    if isinstance(value, int):
        return "int", str(value)
    if isinstance(value, float):
        return "float", _float_text(value)
    raise ConfigError(
        f"{_at(keys)}{_kind(value)} cannot be saved as YAML: give plain values, "
        "and functions and classes as 'package.module:name'"
    )


def _float_text(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else re.sub("(inf|nan)", r".\1", str(value))


def _is_a(value: Any, module: str, name: str) -> bool:
    """isinstance without the import: a module that nobody imported has no instances."""
    return module in sys.modules and isinstance(value, getattr(sys.modules[module], name))


def _at(keys: Keys) -> str:
    return f"{'.'.join(keys)}: " if keys else ""


def _kind(value: Any) -> str:
    kinds = {dict: "a mapping", list: "a list", tuple: "a tuple", str: "text", type(None): "nothing"}
    kind = type(value)
    named = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return kinds.get(kind, f"a value of type {named}")


def show(value: Any, width: int = 60) -> str:
    """A value on one line for a message: as YAML has it, text in quotes, cut off where it is long.

    >>> show({"name": "SGD", "nesterov": True, "betas": (0.9, None)})
    "{name: 'SGD', nesterov: true, betas: (0.9, null)}"
    """
    text = _shown(value)
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_shown(below)}' for key, below in value.items())}}}"
    if isinstance(value, list | tuple):
        items = ", ".join(_shown(item) for item in value)
        return f"[{items}]" if isinstance(value, list) else f"({items})"
    return repr(value)


# ---- comparing ------------------------------------------------------------------------------------------------------


class _Missing:
    def __repr__(self) -> str:
        return "(not set)"


MISSING = _Missing()


@dataclass(frozen=True)
class Difference:
    """One setting that two configurations disagree about; ``MISSING`` where one of them does not have it."""

    path: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.path}: {show(self.old)} -> {show(self.new)}"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """What changed from ``old`` to ``new``, setting by setting; a list and a tuple of equal values count as the same.

    >>> for one in differences({"epochs": 3, "optimizer": {"lr": 1e-3}}, {"epochs": 3, "optimizer": {"lr": 3e-3}}):
    ...     print(one)
    optimizer.lr: 0.001 -> 0.003
    """
    return list(_differences(old, new, ()))


def _differences(old: Any, new: Any, keys: Keys) -> Iterator[Difference]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(old.get(key, MISSING), new.get(key, MISSING), (*keys, key))
    elif not _same(old, new):
        yield Difference(".".join(keys), old, new)


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        return len(old) == len(new) and all(map(_same, old, new))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(_same(old[key], new[key]) for key in old)
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    return old == new or (old != old and new != new)
