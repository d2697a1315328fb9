"""Settings: what a configuration may hold, checked at once and as a whole, loaded and saved.

``Settings`` and ``Named`` are the bases of the models that stand beside their owners; which settings there are is
theirs to say. How YAML is read is ``_yaml``'s business. Nothing is built here from the names in a configuration.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, overload

import pydantic
from pydantic import ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import ErrorDetails, PydanticCustomError, core_schema

from ._errors import ConfigError
from ._files import replace_file
from ._names import did_you_mean
from ._yaml import COMMAND_LINE, Keys, Source, Tree, apply_overrides, dump_yaml, plain, read_yaml, show


class Settings(pydantic.BaseModel):
    """A group of settings: declared fields with their defaults, frozen, unknown keys refused.

    A number is not made from text or from true and false, nor these from a number; ``1`` is a fine float and ``1e3``
    a fine int. A validator that raises ValueError may begin its message with the dotted key that it is about, one
    line for each: ``load_config`` then gives the file and line of that key.

    >>> class Train(Settings):
    ...     epochs: int = Field(10, ge=1)
    >>> Train(epochs=1e3)
    Train(epochs=1000)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())

    @pydantic.field_validator("*", mode="wrap")
    @classmethod
    def _keep_kind(cls, value: Any, handler: pydantic.ValidatorFunctionWrapHandler) -> Any:
        result = handler(value)
        if not _same_kind(value, result):
            raise PydanticCustomError(_OTHER_KIND, "should be of another type")
        return result


class Named(Settings):
    """A part chosen by name, with its own arguments: ``SGD``, or ``{name: SGD, lr: 0.1, momentum: 0.9}``.

    Subclasses declare the fields that every choice has, and may give ``name`` a default; all other keys are the
    arguments of the chosen part.

    >>> class Optimizer(Named):
    ...     name: str = "AdamW"
    ...     lr: float = Field(1e-3, gt=0)
    >>> optimizer = Optimizer.model_validate({"name": "SGD", "lr": 0.1, "momentum": 0.9})
    >>> optimizer.name, optimizer.lr, optimizer.arguments
    ('SGD', 0.1, {'momentum': 0.9})
    >>> Optimizer.model_validate("SGD") == Optimizer(name="SGD", lr=1e-3)
    True
    """

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def arguments(self) -> dict[str, Any]:
        """The keys that are no declared fields: what the chosen part is called with."""
        return dict(self.model_extra or {})


Schema = TypeVar("Schema", bound=Settings)


@overload
def load_config(source: Any, overrides: Iterable[str] = (), *, schema: type[Schema]) -> Schema: ...
@overload
def load_config(source: Any, overrides: Iterable[str] = (), *, schema: None = None) -> dict[str, Any]: ...
def load_config(
    source: Any, overrides: Iterable[str] = (), *, schema: type[Schema] | None = None
) -> Schema | dict[str, Any]:
    """The configuration from a YAML file or from values, with "key.sub=value" overrides on top, checked.

    ``source`` is a path, a mapping (a YACS CfgNode too), a Namespace, a dataclass, or None for the defaults alone.
    Without a schema the plain values are returned. Raises one ConfigError that lists every mistake, a line each,
    with the file and line it stands on.

    >>> class Train(Settings):
    ...     epochs: int = Field(10, ge=1)
    ...     image_size: int = 224
    >>> load_config({"image_size": 128}, ["epochs=3"], schema=Train)
    Train(epochs=3, image_size=128)
    >>> load_config({"imagesize": 128}, ["epochs=many"], schema=Train)
    Traceback (most recent call last):
    loopwright._errors.ConfigError: unknown key 'imagesize': did you mean 'image_size'?
    command line: epochs should be a whole number of at least 1, is 'many'
    """
    main_file = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    tree = read_yaml(main_file) if main_file else Tree({} if source is None else plain(source))
    tree, mistakes = overridden(tree, overrides)
    config: Any = tree.values
    if schema is not None:
        config, wrong = checked(tree, schema, main_file)
        mistakes = [*wrong, *mistakes]
    raise_mistakes(mistakes, main_file)
    return config


def overridden(tree: Tree, overrides: Iterable[str]) -> tuple[Tree, list["Mistake"]]:
    """The tree with those overrides on top that can be put there, and what is wrong with the others."""
    mistakes: list[Mistake] = []
    for override in [overrides] if isinstance(overrides, str) else overrides:
        try:
            tree = apply_overrides(tree, [override])
        except ConfigError as error:
            mistakes.append(Mistake(Source(COMMAND_LINE), str(error).removeprefix(f"{COMMAND_LINE}: ")))
    return tree, mistakes


def checked(tree: Tree, schema: type[Schema], main_file: str = "") -> tuple[Schema | None, list["Mistake"]]:
    """The configuration that a tree stands for, or None and all that is wrong with it."""
    try:
        return schema.model_validate(tree.values), []
    except pydantic.ValidationError as error:
        return None, _Report(schema, tree, main_file).mistakes(error)


def raise_mistakes(mistakes: Iterable["Mistake"], main_file: str = "") -> None:
    """Raise one ConfigError with a line for each of the mistakes, in the order of their places; none, no error."""
    in_order = sorted(mistakes, key=lambda mistake: mistake.order(main_file))
    if in_order:
        raise ConfigError("\n".join(dict.fromkeys(map(str, in_order))))


def config_text(config: Any) -> str:
    """The whole configuration, defaults included, as YAML that ``load_config`` reads back equal.

    >>> class Train(Settings):
    ...     epochs: int = 10
    ...     data: str = ""
    >>> print(config_text(Train(data="photos")), end="")
    epochs: 10
    data: photos
    """
    return dump_yaml(config)


def save_config(config: Any, path: str | os.PathLike[str]) -> None:
    """Write ``config_text(config)`` to a file; a reader sees the old file or the new one, never a part."""
    replace_file(Path(path), config_text(config))


# ---- mistakes in words ----------------------------------------------------------------------------------------------

_OTHER_KIND = "other_kind"
_OWN_WORDS = {"value_error", "assertion_error"}
# Errors of other types are raised by an owner's validator, in its own words.
_PYDANTICS = {*get_args(core_schema.ErrorType), "path_type", _OTHER_KIND} - _OWN_WORDS


def _same_kind(value: Any, result: Any) -> bool:
    """Whether validation kept text text, numbers numbers, and true and false what they are."""
    if isinstance(value, list | tuple) and isinstance(result, list | tuple):
        return len(value) != len(result) or all(map(_same_kind, value, result))
    if isinstance(value, dict) and isinstance(result, dict):
        return all(_same_kind(value[key], result[key]) for key in value.keys() & result.keys())
    made_anew = isinstance(result, bool | int | float) and isinstance(value, bool | int | float | str | bytes)
    return not made_anew or _kind(value) == _kind(result)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else "text"


class Mistake(NamedTuple):
    """One thing that is wrong, and where it was given."""

    source: Source
    text: str

    def __str__(self) -> str:
        return f"{self.source}: {self.text}" if self.source.file else self.text

    def order(self, main_file: str) -> tuple[Any, ...]:
        """The configuration itself first, then what it includes, then the command line; what has no line at the end."""
        file = self.source.file
        rank = 0 if file == main_file else 2 if file == COMMAND_LINE else 1
        return rank, file, self.source.line is None, self.source.line or 0


class _Words(GenerateJsonSchema):
    """The JSON schema of a model as the source of its description; what JSON cannot say stays undescribed."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - pydantic's own attribute

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        return {}


class _Report:
    """Puts the errors of pydantic into words: the place, the dotted key, what it should be, what it is."""

    def __init__(self, schema: type[Settings], tree: Tree, main_file: str) -> None:
        self.tree = tree
        self.main_file = main_file
        self.root = schema.model_json_schema(schema_generator=_Words)
        self.definitions = self.root.get("$defs", {})

    def mistakes(self, error: pydantic.ValidationError) -> list[Mistake]:
        found = [(self._keys(details["loc"]), details) for details in error.errors()]
        # Of a choice between types pydantic reports every branch: the one that got deepest was meant.
        deepest = [
            (keys, details)
            for keys, details in found
            if not any(len(other) > len(keys) and other[: len(keys)] == keys for other, _ in found)
        ]
        return [mistake for keys, details in deepest for mistake in self._words(keys, details)]

    def _keys(self, location: tuple[int | str, ...]) -> Keys:
        """The way to the value in the configuration: ``location`` without pydantic's marks for branches of a choice."""
        keys: Keys = ()
        for part in location:
            further = (*keys, str(part))
            declared = any(part in node.get("properties", ()) for node in self._nodes(keys))
            if declared or _has(self.tree.values, further):
                keys = further
        return keys

    def _nodes(self, keys: Keys) -> list[dict[str, Any]]:
        """The JSON schemas of what may stand at ``keys``, one for each branch of a choice."""
        nodes = list(self._branches(self.root))
        for key in keys:
            nodes = [branch for node in nodes for below in _below(node, key) for branch in self._branches(below)]
        return nodes

    def _branches(self, node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if "$ref" in node:
            yield from self._branches(self.definitions[node["$ref"].rpartition("/")[2]])
        elif "anyOf" in node or "oneOf" in node or "allOf" in node:
            for branch in node.get("anyOf") or node.get("oneOf") or node["allOf"]:
                yield from self._branches(branch)
        else:
            yield node

    def _words(self, keys: Keys, details: ErrorDetails) -> Iterator[Mistake]:
        path = ".".join(keys)
        expected = self._expected(self._nodes(keys))
        if details["type"] == "missing" and keys[-1:] == details["loc"][-1:]:  # else a value of a tuple is missing
            yield self._at(keys, f"{path} is missing{expected and f': it should be {expected}'}")
        elif details["type"] == "extra_forbidden":
            yield self._at(keys, self._unknown(keys))
        elif details["type"] == "finite_number":
            yield self._at(keys, f"{path} should be a finite number, is {show(details['input'])}")
        elif details["type"] in _PYDANTICS:
            given = _get(self.tree.values, keys, details["input"])
            wanted = f"should be {expected}" if expected else details["msg"].replace("Input should", "should", 1)
            yield self._at(keys, f"{path} {wanted}, is {show(given)}{self._hint(keys, given)}".lstrip())
        else:
            own_words = details.get("ctx", {}).get("error", details["msg"])
            for line in str(own_words).splitlines():
                yield self._own_words(keys, line)

    def _own_words(self, keys: Keys, line: str) -> Mistake:
        """A validator's message, at the key that it begins with if there is such a key, else at the validated one."""
        named = tuple(line.partition(" ")[0].rstrip(":").split("."))
        if _has(self.tree.values, named):
            return self._at(named, line)
        if _has(self.tree.values, (*keys, *named)):
            return self._at((*keys, *named), ".".join((*keys, line)))
        return self._at(keys, f"{'.'.join(keys)}: {line}" if keys else line)

    def _at(self, keys: Keys, text: str) -> Mistake:
        """The mistake, with the place of the nearest key above it that was given somewhere."""
        places = [keys[:length] for length in range(len(keys), 0, -1)]
        given = (self.tree.sources[place] for place in places if place in self.tree.sources)
        return Mistake(next(given, Source(self.main_file)), text)

    def _unknown(self, keys: Keys) -> str:
        path = ".".join(keys)
        known = list(self._known(self.root, (), depth=6))
        if path in known:  # the file has a key with a dot in it
            levels = path.split(".")
            return f"unknown key '{path}': write {': {'.join(levels)}: ...{'}' * (len(levels) - 1)}"
        beside = [key for node in self._nodes(keys[:-1]) for key in node.get("properties", ())]
        return f"unknown key '{path}': {did_you_mean(path, known) or 'there are ' + ', '.join(beside)}"

    def _known(self, node: dict[str, Any], keys: Keys, depth: int) -> Iterator[str]:
        for branch in self._branches(node) if depth else ():
            for key, below in branch.get("properties", {}).items():
                yield ".".join((*keys, key))
                yield from self._known(below, (*keys, key), depth - 1)

    def _expected(self, nodes: Iterable[dict[str, Any]]) -> str:
        return _listed(list(dict.fromkeys(filter(None, map(self._described, nodes)))))

    def _described(self, node: dict[str, Any]) -> str:
        """What a value should be, in words, by its JSON schema; empty when that does not say."""
        if "enum" in node:
            return f"{'one of ' if len(node['enum']) > 1 else ''}{_listed([show(value) for value in node['enum']])}"
        if "const" in node:
            return show(node["const"])
        match node.get("type"):
            case "boolean":
                return "true or false"
            case "integer" | "number" as kind:
                return f"a {'whole ' if kind == 'integer' else ''}number{_range(node)}"
            case "string":
                return f"{'a path' if 'path' in node.get('format', '') else 'text'}{_text_form(node)}"
            case "array":
                return f"a list{self._items(node)}"
            case "object":
                takes_name = "name" in node.get("properties", {}) and node.get("additionalProperties") is True
                return "a name or a mapping with a name" if takes_name else "a mapping of keys to values"
            case "null":
                return "null"
        return ""

    def _items(self, node: dict[str, Any]) -> str:
        least, most = node.get("minItems"), node.get("maxItems")
        count = f" of {least} values" if least == most and least is not None else _bounds(" of", least, most, " values")
        fixed = [self._expected(self._branches(item)) for item in node.get("prefixItems", ())]
        each = self._expected(self._branches(node["items"])) if isinstance(node.get("items"), dict) else ""
        if fixed and len(set(fixed)) > 1:
            return f"{count}: {', '.join(fixed)}"
        each = fixed[0] if fixed else each
        return f"{count or ' of values'}, each {each}" if each else count

    def _hint(self, keys: Keys, given: Any) -> str:
        nodes = self._nodes(keys)
        choices = [str(choice) for node in nodes for choice in node.get("enum", [node.get("const", "")])]
        types = {node.get("type") for node in nodes}
        if isinstance(given, str) and (question := did_you_mean(given, filter(None, choices))):
            return f": {question}"
        if "string" in types and not any(choices) and isinstance(given, bool | int | float):
            return ": put it in quotes if it is meant as text"
        if "number" in types and isinstance(given, str) and given.lower().lstrip("+-") in ("inf", "nan"):
            return ": write .inf, -.inf or .nan"
        return ""


def _listed(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _range(node: Mapping[str, Any]) -> str:
    least, most = node.get("minimum"), node.get("maximum")
    over, under = node.get("exclusiveMinimum"), node.get("exclusiveMaximum")
    if least is not None and most is not None:
        return f" between {_bound(least)} and {_bound(most)}"
    parts = [
        f"{words} {_bound(bound)}"
        for words, bound in (("of at least", least), ("greater than", over), ("of at most", most), ("less than", under))
        if bound is not None
    ]
    step = f", a multiple of {_bound(node['multipleOf'])}" if "multipleOf" in node else ""
    return (f" {' and '.join(parts)}" if parts else "") + step


def _bound(number: float) -> str:
    return show(int(number) if float(number).is_integer() else number)


def _bounds(before: str, least: int | None, most: int | None, unit: str) -> str:
    parts = [f"at least {least}"] * (least is not None) + [f"at most {most}"] * (most is not None)
    return f"{before} {' and '.join(parts)}{unit}" if parts else ""


def _text_form(node: Mapping[str, Any]) -> str:
    least, most = node.get("minLength"), node.get("maxLength")
    length = " that is not empty" if (least, most) == (1, None) else _bounds(" of", least, most, " characters")
    return length + (f" that matches {show(node['pattern'])}" if "pattern" in node else "")


def _below(node: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The JSON schemas of what stands at ``key`` below a node."""
    if key in node.get("properties", {}):
        return [node["properties"][key]]
    fixed = node.get("prefixItems", [])
    if key.isdecimal() and int(key) < len(fixed):
        return [fixed[int(key)]]
    further = node.get("items") if node.get("type") == "array" else node.get("additionalProperties")
    return [further] if isinstance(further, dict) else []


def _has(values: Any, keys: Keys) -> bool:
    return _get(values, keys, _NOTHING) is not _NOTHING


def _get(values: Any, keys: Keys, default: Any) -> Any:
    """The value at ``keys``, or the default."""
    for key in keys:
        if isinstance(values, Mapping) and key in values:
            values = values[key]
        elif isinstance(values, list | tuple) and key.isdecimal() and int(key) < len(values):
            values = values[int(key)]
        else:
            return default
    return values


_NOTHING = object()
