"""Parameters of a model by pattern: shell patterns of names, each of which must match something.

Knows nothing about what is done with the parameters.
"""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from .._errors import ConfigError
from .._names import did_you_mean


def names_by_parameter(model: nn.Module) -> dict[nn.Parameter, list[str]]:
    """Each parameter once, in the model's order, with all names that it has: a shared one has several."""
    found: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        found.setdefault(parameter, []).append(name)
    return found


def is_like(name: str, pattern: str) -> bool:
    """Whether a pattern means a parameter: by its name, or by that of a module that holds it.

    >>> is_like("layer1.0.conv1.weight", "layer1"), is_like("layer1.0.conv1.weight", "*.conv?.weight")
    (True, True)
    """
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def check_pattern(pattern: str, model: nn.Module, place: str) -> None:
    """``ConfigError`` with near names where no parameter is like the pattern."""
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    if any(is_like(name, pattern) for name in names):
        return
    modules = [name for name, module in model.named_modules() if name and any(True for _ in module.parameters())]
    plain = pattern.replace("*", "").strip(".")
    question = did_you_mean(plain, [*modules, *names]) or f"it has {', '.join(_heads(names))}"
    raise ConfigError(f"{place}: no parameter of the {type(model).__name__} is like {pattern!r}: {question}")


def matching(model: nn.Module, patterns: str | Iterable[str], place: str) -> list[nn.Parameter]:
    """The parameters that are like one of the patterns, each once; every pattern must match something."""
    asked = as_patterns(patterns)
    for pattern in asked:
        check_pattern(pattern, model, place)
    return [p for p, names in names_by_parameter(model).items() if _is_any(names, asked)]


def as_patterns(patterns: str | Iterable[str]) -> list[str]:
    return [patterns] if isinstance(patterns, str) else list(patterns)


def _is_any(names: Sequence[str], patterns: Sequence[str]) -> bool:
    return any(is_like(name, pattern) for name in names for pattern in patterns)


def _heads(names: Sequence[str]) -> list[str]:
    """The first parts of names, for a message: few, and each once."""
    heads = list(dict.fromkeys(name.partition(".")[0] for name in names))
    return heads if len(heads) <= 12 else [*heads[:12], "..."]
