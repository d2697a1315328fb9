"""A trial's settings as text: ``key=value`` as the command line reads it back. Knows nothing of trials."""

from collections.abc import Iterator, Mapping
from typing import Any

from .._errors import ConfigError
from .._yaml import parse_override


def setting_text(key: str, value: Any) -> str:
    """``key=value`` that stands for this very value on a command line.

    >>> setting_text("optimizer.betas", [0.9, 0.999]), setting_text("name", "1e-3")
    ('optimizer.betas=[0.9, 0.999]', 'name="1e-3"')
    """
    if isinstance(value, str) and _reads_back(key, value):
        return f"{key}={value}"
    return f"{key}={_flow(value)}"


def flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The settings of a configuration by dotted key; lists are values.

    >>> dict(flat({"optimizer": {"lr": 0.1}, "epochs": 3}))
    {'optimizer.lr': 0.1, 'epochs': 3}
    """
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _reads_back(key: str, text: str) -> bool:
    try:
        return text != "" and parse_override(f"{key}={text}")[1] == text
    except ConfigError:
        return False


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, str):
        return '"' + "".join(map(_letter, value)) + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(below)}" for key, below in value.items()) + "}"
    if isinstance(value, list | tuple):
        items = f"[{', '.join(map(_flow, value))}]"
        return f"!!python/tuple {items}" if isinstance(value, tuple) else items
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(text, text)


def _letter(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"
