"""``FirstBad``: the first operation of a forward pass that makes a NaN out of none, or an infinity out of finite numbers."""

import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ._nested import leaves


class FirstBad(TorchDispatchMode):
    """Looks at the result of every operation while it is open; changes none.

    Infinities can be meant (masks of attention are), so they are told apart from NaN, which never is.

    Args:
        found: takes ``"nan"`` and ``"inf"``: the operation, and the user's line that asked for it.
        is_own: whether a file's path is the user's.

    >>> found = {}
    >>> with FirstBad(found, lambda path: True):
    ...     _ = torch.log(torch.zeros(2, requires_grad=True)) * 0.0
    >>> found["inf"]["operation"], found["nan"]["operation"]
    ('aten.log', 'aten.mul')
    """

    def __init__(self, found: dict[str, Any], is_own: Callable[[str], bool]) -> None:
        super().__init__()
        self._found, self._is_own = found, is_own

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if (
            torch.is_grad_enabled() and "empty" not in str(func) and "nan" not in self._found
        ):  # fresh memory holds anything
            self._look(func, (args, kwargs), result)
        return result

    def _look(self, func: Any, given: Any, result: Any) -> None:
        for kind, has in (("nan", torch.isnan), ("inf", torch.isinf)):
            if kind not in self._found and _any(has, result) and not _any(has, given) and not _any(torch.isnan, given):
                self._found[kind] = {"operation": str(func).rpartition(".")[0], "line": self._users_line()}

    def _users_line(self) -> str:
        own = [frame for frame in traceback.extract_stack() if self._is_own(frame.filename)]
        return "" if not own else f'File "{own[-1].filename}", line {own[-1].lineno}: {own[-1].line}'


def _any(has: Callable[[Tensor], Tensor], tree: Any) -> bool:
    return any(bool(has(t).any()) for t in leaves(tree, Tensor) if t.is_floating_point() and not t.is_meta)
