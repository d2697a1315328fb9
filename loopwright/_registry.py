"""``Registry``: what must survive, named once; captured for a checkpoint and put back from one. Reads no files itself."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ._errors import CheckpointError, ConfigError, NonFiniteError
from ._split import alike, whole
from ._state import Stateful, clean_names, load_state

GRADIENTS = "gradients"
_RESERVED = {"run", GRADIENTS, "manifest"}


class Registry:
    """Objects with ``state_dict`` and ``load_state_dict``, by name."""

    def __init__(self) -> None:
        self._objects: dict[str, Stateful] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def add(self, name: str, value: Any) -> None:
        """Take an object under a name; ``ConfigError`` where it has no state, or the name is taken."""
        if not isinstance(value, Stateful):
            raise ConfigError(
                f"register({name}=...): a {type(value).__name__} has no state_dict and load_state_dict, so it cannot "
                "survive. Register modules, optimizers, schedulers, or objects of your own that have both"
            )
        if not name.isidentifier():
            raise ConfigError(f"register: {name!r} is no name: write letters, digits and underscores")
        if name in self._objects or name in _RESERVED:
            raise ConfigError(f"register({name}=...): the name is {'taken' if name in self._objects else 'reserved'}")
        self._objects[name] = value

    def models(self) -> dict[str, nn.Module]:
        return {name: value for name, value in self._objects.items() if isinstance(value, nn.Module)}

    def optimizers(self) -> dict[str, Optimizer]:
        return {name: value for name, value in self._objects.items() if isinstance(value, Optimizer)}

    def name_of(self, value: Any) -> str:
        """The name that an object was registered under; ``ConfigError`` if it was not."""
        for name, registered in self._objects.items():
            if registered is value:
                return name
        raise ConfigError(f"this {type(value).__name__} is not registered: run.register(NAME=...) before it is used")

    def learning_rates(self) -> dict[str, float]:
        """The rates that the optimizers use now: ``lr``, or ``lr/NAME``, or ``lr/NAME/GROUP`` where they differ."""
        rates, optimizers = {}, self.optimizers()
        for name, optimizer in optimizers.items():
            key = "lr" if len(optimizers) == 1 else f"lr/{name}"
            values = [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]
            if len(set(values)) == 1:
                rates[key] = values[0]
            else:
                rates |= {f"{key}/{index}": value for index, value in enumerate(values)}
        return rates

    def weights_version(self) -> int:
        """A number that grows whenever a registered module's tensors are changed in place."""
        return sum(tensor._version for model in self.models().values() for tensor in _tensors(model))

    def blame(self) -> str:
        """The first gradient that is not finite, in words."""
        for name, model in self.models().items():
            for parameter_name, parameter in model.named_parameters():
                if parameter.grad is not None and not bool(whole(parameter.grad).isfinite().all()):
                    return f"of {name}.{parameter_name}"
        return "of parameters that no registered module has"

    def check_finite(self, states: Mapping[str, Any]) -> None:
        """``NonFiniteError`` where a captured state has a trained weight that is not finite."""
        for name, model in self.models().items():
            trained = clean_names({key: value for key, value in model.named_parameters() if value.requires_grad})
            weights = {key: states[name][key].detach() for key in trained if states[name][key].is_floating_point()}
            weights = {key: value for key, value in weights.items() if value.numel()}  # of this rank
            if weights and not bool(nn.utils.get_total_norm(weights.values(), math.inf).isfinite()):
                bad = next(key for key, value in weights.items() if not bool(value.isfinite().all()))
                raise NonFiniteError(f"the weights {name}.{bad} are not finite: they were not saved")

    def capture(self) -> dict[str, Any]:
        """All states by name, and the gradients where there are any: they may be half of an accumulation."""
        states: dict[str, Any] = {}
        for name, value in self._objects.items():
            state = value.state_dict()
            states[name] = clean_names(state) if isinstance(value, nn.Module) else state
        gradients = {name: _gradients(model) for name, model in self.models().items()}
        return states | ({GRADIENTS: gradients} if any(gradients.values()) else {})

    def restore(self, name: str, state: Any, place: str) -> None:
        """Put one object back to a captured state."""
        value = self._objects[name]
        try:
            if isinstance(value, nn.Module):
                load_state(value, state, place=place)
            else:
                _check_length(value, state)
                value.load_state_dict(_split_alike(value, state) if isinstance(value, Optimizer) else state)
            if isinstance(value, Optimizer):
                # It did step, in an earlier life; torch's schedulers would warn of the wrong order of calls.
                value._opt_called = True  # type: ignore[attr-defined]
        except CheckpointError:
            raise
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{place} does not fit the {type(value).__name__} {name!r}: {error}") from error

    def restore_all(self, states: Mapping[str, Any], place: str) -> None:
        """Put every object and its gradients back."""
        for name in self._objects:
            self.restore(name, states[name], f"{place}/{name}.pt")
        gradients = states.get(GRADIENTS, {})
        for name, model in self.models().items():
            saved = gradients.get(name, {})
            for parameter_name, parameter in model.named_parameters():
                gradient = saved.get(parameter_name)
                parameter.grad = None if gradient is None else alike(parameter, gradient).to(parameter.device)

    def check_complete(self, saved: Iterable[str], place: str) -> None:
        """Every object of a checkpoint must have been registered again."""
        unknown = sorted(set(saved) - set(self._objects) - _RESERVED)
        if unknown:
            raise CheckpointError(
                f"{place} also holds {', '.join(unknown)}: register the same names as when it was saved "
                f"(registered now: {', '.join(self._objects) or 'nothing'})"
            )


def _split_alike(optimizer: Optimizer, state: Any) -> Any:
    """An optimizer's state with what it remembers of each parameter split as the parameter is."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if "optimizers" in state:  # several together
        parts = [_split_alike(*pair) for pair in zip(optimizer.optimizers, state["optimizers"], strict=True)]  # type: ignore[attr-defined]
        return {**state, "optimizers": parts}
    if "state" not in state:
        return state

    def fitted(number: int, remembered: Mapping[str, Any]) -> dict[str, Any]:
        own = parameters[number] if isinstance(number, int) and number < len(parameters) else None
        return {
            key: alike(own, value) if isinstance(value, Tensor) and (own is None or value.shape == own.shape) else value
            for key, value in remembered.items()
        }

    return {**state, "state": {number: fitted(number, held) for number, held in state["state"].items()}}


def _check_length(value: Any, state: Any) -> None:
    """A schedule has the length of the training that it was made for, and cannot be stretched afterwards."""
    for name in ("total_steps", "T_max", "total_iters"):
        now, then = getattr(value, name, None), state.get(name) if isinstance(state, Mapping) else None
        if now is not None and then is not None and now != then:
            raise CheckpointError(
                f"the {type(value).__name__} was made for {name}={then} and is now made for {now}: a schedule that has "
                "begun cannot be stretched. Train as long as before; or begin a new run from these weights "
                "(lw.load_weights, weights=RUN), or train further with a scheduler that has no length"
            )


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
