"""``Examiner``: looks closely at one step of a replayed run, and ends the run after it. It changes no number."""

import contextlib
import math
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ._agenda import Agenda
from ._cursor import Cursor
from ._files import write_json
from ._first_bad import FirstBad
from ._nested import leaves
from ._registry import Registry
from ._run_order import RunOrder
from ._watch import is_loss

MOST_NAMED = 20  # gradients


class NoExaminer:
    """Where nothing is replayed."""

    def look(self) -> None:
        """At a boundary."""

    def note(self, error: BaseException) -> None:
        """The run ends by an error."""


class Ending:
    """Ends a run that is reproduced, behind the last step that the other one came to."""

    def __init__(self, step: int, cursor: Cursor, agenda: Agenda) -> None:
        self._step, self._cursor = step, cursor
        agenda.always = True

    def look(self) -> None:
        """At a boundary."""
        if self._cursor.step > self._step:
            raise SystemExit(0)

    def note(self, error: BaseException) -> None:
        """The run ends by an error."""


class Examiner:
    """Watches the weights on the way, and everything at the step of its order.

    Args:
        pending: the values that were logged since they were last read.
        read: reads them.
        samples: the names of the samples of the present step.
    """

    def __init__(
        self,
        order: RunOrder,
        registry: Registry,
        cursor: Cursor,
        agenda: Agenda,
        *,
        pending: Callable[[], dict[str, list[float]]],
        read: Callable[[], object],
        samples: Callable[[], list[str]],
    ) -> None:
        self._order, self._registry, self._cursor = order, registry, cursor
        agenda.always = True
        self._pending, self._read, self._samples = pending, read, samples
        self._open = contextlib.ExitStack()  # what is to be undone after the step
        self._seen: dict[str, Any] = {"step": order.step, "began_at": None, "weights_bad_since": None}
        self._squares: list[float] = []
        self._is_looking = False

    def look(self) -> None:
        """At a boundary: between two steps."""
        step = self._cursor.step
        if self._seen["began_at"] is None:
            self._seen["began_at"] = step
        if self._seen["weights_bad_since"] is None and (name := self._bad_weights()) is not None:
            self._seen |= {"weights_bad_since": step, "bad_weights": name}
        if step == self._order.step - 1:
            self._begin()
        elif step >= self._order.step:
            self._end()
            raise SystemExit(0)

    def note(self, error: BaseException) -> None:
        """The run ends by an error, at the step or before it."""
        if isinstance(error, SystemExit | KeyboardInterrupt | GeneratorExit) or self._seen["began_at"] is None:
            return
        self._seen["error"] = {
            "at_step": self._cursor.step,
            "message": f"{type(error).__name__}: {error}",
            "place": _users_line(error),
        }
        self._end()

    def _begin(self) -> None:
        self._is_looking = True
        self._read()  # what is pending afterwards is the step's own
        self._open.enter_context(_forward_traces(self._seen))
        self._open.enter_context(torch.autograd.set_detect_anomaly(True))
        if not any(model._compiled_call_impl for model in self._registry.models().values()):
            self._open.enter_context(FirstBad(self._seen.setdefault("made", {}), lambda path: not _is_library(path)))
        for name, model in self._registry.models().items():
            self._watch_layers(name, model)
            self._watch_gradients(name, model)

    def _end(self) -> None:
        self._open.close()
        if self._is_looking:
            self._seen |= {"epoch": self._cursor.epoch, "samples": self._samples(), "logged": self._pending()}
            logged = self._seen["logged"].items()
            self._seen["bad_values"] = [n for n, values in logged if is_loss(n) and not all(map(math.isfinite, values))]
            self._seen["gradient_norm"] = math.sqrt(sum(self._squares)) if self._squares else None
            self._seen["weights_after"] = self._bad_weights() or "finite"
        write_json(Path(self._order.report), self._seen, sync=False)

    def _watch_layers(self, model_name: str, model: nn.Module) -> None:
        for name, layer in model.named_modules():
            place = f"{model_name}.{name}" if name else model_name
            hook = layer.register_forward_hook(self._layer_hook(place, is_model=not name), with_kwargs=True)
            self._open.callback(hook.remove)

    def _layer_hook(self, place: str, *, is_model: bool) -> Callable[..., None]:
        def looked(layer: nn.Module, inputs: Any, named: Any, output: Any) -> None:
            if is_model:
                self._seen.setdefault("inputs", [_summary(tensor) for tensor in leaves((inputs, named), Tensor)])
            if "layer" in self._seen:
                return
            enters = [tensor for tensor in leaves((inputs, named), Tensor) if not _is_finite(tensor)]
            leaves_it = [tensor for tensor in leaves(output, Tensor) if not _is_finite(tensor)]
            if enters or leaves_it:
                kind = f"{place} ({type(layer).__name__})"
                self._seen["layer"] = (
                    f"what enters {kind}" if enters else f"what leaves {kind}; what enters it is finite"
                )

        return looked

    def _watch_gradients(self, model_name: str, model: nn.Module) -> None:
        bad = self._seen.setdefault("bad_gradients", [])

        def looked(name: str) -> Callable[[Tensor], None]:
            def hook(gradient: Tensor) -> None:
                self._squares.append(float(gradient.detach().double().square().sum()))
                if not _is_finite(gradient) and len(bad) < MOST_NAMED:
                    bad.append(name)

            return hook

        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                self._open.callback(parameter.register_hook(looked(f"{model_name}.{name}")).remove)

    def _bad_weights(self) -> str | None:
        """The first trained weight that is not finite."""
        for model_name, model in self._registry.models().items():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad and not _is_finite(parameter):
                    return f"{model_name}.{name}"
        return None


@contextlib.contextmanager
def _forward_traces(seen: dict[str, Any]) -> Iterator[None]:
    """Keep what anomaly detection says about where the bad result was made: it says it in a warning."""
    shown = warnings.showwarning

    def keep(message: Any, *others: Any, **named: Any) -> None:
        if "forward call that caused the error" in str(message):
            seen["made_at"] = _last_users_frame(str(message))
        shown(message, *others, **named)

    with warnings.catch_warnings():
        warnings.filterwarnings("always", message="Error detected in")
        warnings.filterwarnings("ignore", message="Anomaly Detection has been enabled")
        warnings.showwarning = keep
        yield


def _last_users_frame(trace: str) -> str:
    """The innermost frame of a traceback's text that is neither torch's nor ours."""
    lines = trace.splitlines()
    frames = [
        (line.strip(), lines[i + 1].strip()) for i, line in enumerate(lines[:-1]) if line.strip().startswith("File ")
    ]
    own = [frame for frame in frames if not _is_library(frame[0])]
    return ": ".join((own or frames or [("", "")])[-1])


def _users_line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_library(frame.filename)]
    return "" if not own else f'File "{own[-1].filename}", line {own[-1].lineno}: {own[-1].line}'


def _is_library(place: str) -> bool:
    return (
        "/torch/" in place
        or ("/loopwright/" in place and "/site-packages/" in place)
        or __file__.rpartition("/")[0] in place
    )


def _is_finite(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex()) or bool(tensor.detach().isfinite().all())


def _summary(tensor: Tensor) -> dict[str, Any]:
    values = tensor.detach()
    facts: dict[str, Any] = {"shape": list(values.shape), "dtype": str(values.dtype).removeprefix("torch.")}
    if values.numel() and not values.is_complex():
        finite = values[values.isfinite()] if values.is_floating_point() else values
        facts["not_finite"] = values.numel() - finite.numel()
        if finite.numel():
            facts |= {"lowest": float(finite.min()), "highest": float(finite.max())}
    return facts
