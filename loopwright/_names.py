"""Names that people type: near matches for a misspelt one, objects by "package.module:name", names of arguments.

Knows nothing about what the names stand for, nor about files and configurations.
"""

import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import SequenceMatcher
from types import ModuleType
from typing import Any

from ._errors import ConfigError
from ._run_order import run_order

_LONGEST = 1000  # characters of a name that is compared
_ALIKE = 0.65  # below this, two names share letters rather than a meaning
_AS_GOOD = 0.15  # names this much less alike than the best one only distract


def near(name: str, candidates: Iterable[str], n: int = 3) -> list[str]:
    """Up to ``n`` of the candidates that the writer of ``name`` may have meant, the likeliest first.

    Capitals and separators do not count, beginnings and parts do, and so do the last part of a dotted
    candidate and its initials (``lr`` is near ``learning_rate``).

    >>> near("adamw", ["SGD", "Adam", "AdamW"])
    ['AdamW', 'Adam']
    >>> near("learning_rate", ["data", "optimizer.name", "optimizer.lr"])
    ['optimizer.lr']
    """
    if len(name) > _LONGEST:  # nobody typed it, and comparing takes time by its square
        return []
    likeness = {
        candidate: _likeness(name, candidate)
        for candidate in candidates
        if candidate != name and len(candidate) <= _LONGEST
    }
    least = max(_ALIKE, max(likeness.values(), default=0.0) - _AS_GOOD)
    ranked = sorted(likeness, key=lambda candidate: -likeness[candidate])  # stable: ties keep the given order
    return [candidate for candidate in ranked[:n] if likeness[candidate] >= least]


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """The question to put behind an unknown name; empty when no candidate is near.

    >>> did_you_mean("resnet", ["resnet18", "resnet34", "vit_b_16"])
    "did you mean 'resnet18' or 'resnet34'?"
    >>> did_you_mean("ADAM", ["Adam", "AdamW"])
    "did you mean 'Adam'?"
    >>> did_you_mean("zebra", ["Adam", "AdamW"])
    ''
    """
    found = near(name, candidates)
    same = [candidate for candidate in found if _folded(candidate) == _folded(name)]
    quoted = [f"'{candidate}'" for candidate in same or found]
    if not quoted:
        return ""
    return f"did you mean {' or '.join(filter(None, [', '.join(quoted[:-1]), quoted[-1]]))}?"


def load_object(reference: str) -> Any:
    """The object that "package.module:name" stands for; modules in the current directory are found too.

    Raises ConfigError when the reference is malformed, the module or the name does not exist, or an import
    inside the module fails (this last one with its cause). What else the module raises while it is imported
    is a fault of that code and passes through with its traceback.

    >>> load_object("collections:OrderedDict.fromkeys")("ab")
    OrderedDict([('a', None), ('b', None)])
    """
    module_name, _, attribute = reference.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), *attribute.split(".")]):
        raise ConfigError(
            f"'{reference}' does not name a Python object: write 'package.module:name', "
            "for example 'models:build' for the function build in models.py"
        )
    found: Any = _import(module_name, reference)
    for part in attribute.split("."):
        if not hasattr(found, part):
            owner = f"module '{found.__name__}'" if isinstance(found, ModuleType) else f"'{type(found).__name__}'"
            owner = f"class '{found.__name__}'" if isinstance(found, type) else owner
            names = [name for name in dir(found) if not name.startswith("_")]
            raise ConfigError(_sentence(f"'{reference}': {owner} has no '{part}'", did_you_mean(part, names)))
        found = getattr(found, part)
    return found


def check_arguments(
    callable: Callable[..., Any], arguments: Mapping[str, Any], *, place: str, given: Collection[str] = ()
) -> None:
    """Check that ``callable`` takes the ``arguments`` by these names; the values are not looked at.

    ``place`` is the dotted key they were configured under, and ``given`` names what the caller passes itself and
    the user therefore may not set. Raises one ConfigError with a line for each wrong name. A callable that
    takes any keyword, or that Python cannot inspect, accepts every name but the given ones.

    >>> def sgd(params, lr, momentum=0.0): ...
    >>> check_arguments(sgd, {"momentm": 0.9}, place="optimizer", given=["params", "lr"])
    Traceback (most recent call last):
    loopwright._errors.ConfigError: optimizer.momentm is not an argument of sgd: did you mean 'momentum'?
    """
    accepted = _keywords(callable)
    free = [name for name in accepted or () if name not in given]
    name_of = getattr(callable, "__name__", type(callable).__name__)
    mistakes = []
    for name in arguments:
        if name in given:
            mistakes.append(f"{place}.{name} cannot be set: loopwright itself passes it to {name_of}")
        elif accepted is not None and name not in accepted:
            listed = f"it takes {', '.join(free)}" if free else "it takes none"
            question = did_you_mean(name, accepted) or listed  # a given one may be a setting of its own
            mistakes.append(_sentence(f"{place}.{name} is not an argument of {name_of}", question))
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def _folded(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _sentence(statement: str, addition: str) -> str:
    return f"{statement}: {addition}" if addition else statement


def _likeness(name: str, candidate: str) -> float:
    """How likely it is, from 0 to 1, that someone who typed ``name`` meant ``candidate``."""
    whole = _letters_alike(name, candidate)
    last_name, last_candidate = name.rpartition(".")[2], candidate.rpartition(".")[2]
    if (last_name, last_candidate) == (name, candidate):
        return whole
    return max(whole, 0.85 * _letters_alike(last_name, last_candidate) + 0.1 * whole)


def _letters_alike(name: str, candidate: str) -> float:
    shorter, longer = sorted([_folded(name), _folded(candidate)], key=len)
    if shorter == longer:
        return 1.0
    if len(shorter) >= 3 and shorter in longer:
        return (0.8 if longer.startswith(shorter) else 0.7) + 0.1 * len(shorter) / len(longer)
    if shorter in (_initials(name), _initials(candidate)):
        return 0.8
    return SequenceMatcher(None, shorter, longer, autojunk=False).ratio()


def _initials(name: str) -> str | None:
    words = name.lower().replace("-", "_").split("_")
    return "".join(word[:1] for word in words) if len(words) > 1 else None


def _keywords(callable: Callable[..., Any]) -> list[str] | None:
    """The names that ``callable`` takes as keywords; None when it takes any, or when Python cannot tell."""
    try:
        parameters = inspect.signature(callable).parameters.values()
    except ValueError:  # some functions written in C have no signature
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [parameter.name for parameter in parameters if parameter.kind in by_keyword]


def _import(module_name: str, reference: str) -> ModuleType:
    with _current_directory_importable():
        importlib.invalidate_caches()  # the module may be younger than Python's listing of its folder
        try:
            return importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if module_name != missing and not module_name.startswith(f"{missing}."):
                raise _broken_import(module_name, reference, error) from error
            question = did_you_mean(missing.rpartition(".")[2], _modules_beside(missing))
            raise ConfigError(_sentence(f"'{reference}': there is no module '{missing}'", question)) from None
        except ImportError as error:
            raise _broken_import(module_name, reference, error) from error


def _broken_import(module_name: str, reference: str, error: ImportError) -> ConfigError:
    return ConfigError(f"'{reference}': module '{module_name}' exists, but an import inside it fails: {error}")


def _modules_beside(missing: str) -> list[str]:
    """Names of the modules that could have been meant: of the parent package, or of the current directory."""
    parent = sys.modules.get(missing.rpartition(".")[0])
    places = list(getattr(parent, "__path__", [])) if "." in missing else [_code_folder()]
    return [module.name for module in pkgutil.iter_modules(places)]


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    here = _code_folder()
    if here in sys.path or ("" in sys.path and here == os.getcwd()):
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:  # the imported module may have tidied up itself
            sys.path.remove(here)


def _code_folder() -> str:
    """The current directory; or its copy, where other code than the present one was asked for."""
    order = run_order()
    return os.getcwd() if order is None else str(order.copy_of(os.getcwd()))


def shown_samples(names: Sequence[str], most: int = 4) -> str:
    """Some of many names, and how many more there are.

    >>> shown_samples(["a", "b", "c"], most=2)
    'a, b, and 1 more'
    """
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
