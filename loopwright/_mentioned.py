"""What a function mentions that has a state: the models, optimizers, schedulers and the like that it may change.

Knows nothing of what they are for. Python's own libraries and torch's are not looked into.
"""

import functools
import gc
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader

from ._state import Stateful

_FOREIGN = {*sys.stdlib_module_names, "torch", "torchvision", "numpy", "loopwright"}
_MOST = 1000  # items of a container that are looked at: the models of a loop are few
_DEAD_ENDS = (str, bytes, int, float, complex, Tensor, type, ModuleType, BuiltinFunctionType, DataLoader, type(None))


def mentioned(function: Any) -> list[Stateful]:
    """Everything with ``state_dict`` and ``load_state_dict`` that a callable can name, each once.

    That is: what its closure, its defaults and its global names hold, the attributes of its object, what is in lists and
    dictionaries of these, and the same of the functions among them. Loaders are left out.

    >>> layer = nn.Linear(2, 1)
    >>> mentioned(layer.forward) == [layer]
    True
    """
    found: list[Stateful] = []
    seen: set[int] = set()
    waiting = [function]
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, _DEAD_ENDS) or _is_loader(value):
            continue
        seen.add(id(value))
        is_stateful = isinstance(value, Stateful)
        if is_stateful:
            found.append(value)
        if not is_stateful or value is function:
            waiting.extend(_parts(value))
    return _outermost(found)


def modules_with(parameters: Iterable[Tensor]) -> list[nn.Module]:
    """Every module of this process that holds one of the parameters, without the layers of others among them."""
    wanted = {id(parameter) for parameter in parameters}
    # By type(), not isinstance(), which would ask each object for its class: proxies answer that by importing.
    modules = [value for value in gc.get_objects() if issubclass(type(value), nn.Module) and "_modules" in vars(value)]
    return _outermost(module for module in modules if any(id(p) in wanted for p in module.parameters()))


def _outermost(values: Iterable[Any]) -> list[Any]:
    """The values without those modules that are layers of others among them."""
    listed = list(values)
    modules = [value for value in listed if isinstance(value, nn.Module)]
    inner = {id(layer) for module in modules for layer in module.modules() if layer is not module}
    return [value for value in listed if id(value) not in inner]


def _is_loader(value: Any) -> bool:
    """A loader has a place, which is the affair of whoever reads it."""
    return isinstance(value, Stateful) and hasattr(value, "__iter__") and not isinstance(value, nn.Module)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, FunctionType):
        yield from _named(value)
    elif isinstance(value, SimpleNamespace):
        yield from vars(value).values()
    elif isinstance(value, Mapping):
        yield from value.values() if len(value) <= _MOST else ()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value if len(value) <= _MOST else ()
    elif not _is_foreign(type(value)):
        yield from getattr(value, "__dict__", {}).values()
        yield vars(type(value)).get("__call__")


def _named(function: FunctionType) -> Iterator[Any]:
    if _is_foreign(function):
        return
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a name that has no value yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for name in _names(function.__code__):
        yield function.__globals__.get(name)
    yield getattr(function, "__wrapped__", None)


def _names(code: CodeType) -> Iterator[str]:
    """The global names of a function and of those defined in it; attributes' names are among them."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_foreign(value: Any) -> bool:
    return str(getattr(value, "__module__", None)).partition(".")[0] in _FOREIGN
