"""``param_groups``: a model's parameters in groups, each with its learning rate and weight decay."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

from .._errors import ConfigError
from .._names import did_you_mean
from ._layers import layer_order
from ._patterns import check_pattern, is_like, names_by_parameter

Rules = Mapping[str, Mapping[str, Any]]
RULE_KEYS = ("lr", "lr_factor", "weight_decay", "frozen")


class _Place(NamedTuple):
    """Which group a parameter belongs to."""

    lr: float | None
    is_vector: bool
    weight_decay: float


def param_groups(
    model: nn.Module,
    *,
    weight_decay: float = 0.0,
    lr: float | None = None,
    rules: Rules | None = None,
    layer_decay: float | None = None,
) -> list[dict[str, Any]]:
    """Groups for an optimizer: weights that decay, norms, biases and other vectors that do not, and rates by name.

    Frozen parameters (``requires_grad=False``) are left out. Every other parameter is in exactly one group, once, also
    where layers share it. Without ``rules`` and ``layer_decay`` there are two groups at most.

    Args:
        model: whose parameters to train.
        weight_decay: of all parameters with two dimensions or more, 0 or more; the others have 0.
        lr: the learning rate that factors are of, above 0. Default: the optimizer's own, for all.
        rules: patterns of names to what holds for the parameters that are like them: ``lr``, or ``lr_factor`` times
            ``lr``; ``weight_decay``, of those that decay; ``frozen=True``, which sets ``requires_grad=False`` here. A
            pattern is as in the shell, or the name of a module, which means all below it. Each must match something.
            Of several that match, the later wins, setting by setting.
        layer_decay: above 0, at most 1. The last layer learns with ``lr``, each one before it with so many times the
            rate of the layer behind it; ``layer_order`` says which these are. It multiplies with ``lr_factor`` and
            leaves a rule's ``lr`` as it is.

    Raises:
        ConfigError: a number out of range, a pattern without a match, an unknown setting, or nothing left to train.

    Sources: Goyal et al., "Accurate, large minibatch SGD", 2017, section 5.1, which leaves norms without decay; Clark et
    al., "ELECTRA", ICLR 2020, and Bao et al., "BEiT", ICLR 2022, for the decay by layers.

    >>> groups = param_groups(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), weight_decay=0.05)
    >>> [(group["weight_decay"], len(group["params"])) for group in groups]
    [(0.05, 1), (0.0, 3)]
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Linear(3, 3, bias=False), nn.Linear(3, 1, bias=False))
    >>> [group["lr"] for group in param_groups(model, lr=0.1, rules={"2": {"lr": 1.0}}, layer_decay=0.5)]
    [0.025, 0.05, 1.0]
    """
    _check_numbers(weight_decay, lr, layer_decay)
    rules = rules or {}
    check_rules(rules, lr=lr)
    for pattern in rules:
        check_pattern(pattern, model, "rules")
    factors = _layer_factors(model, layer_decay)
    places: dict[_Place, list[nn.Parameter]] = {}
    for parameter, names in names_by_parameter(model).items():
        said = _said(names, rules)
        if said.get("frozen"):
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            place = _place(parameter, said, weight_decay, lr, factors.get(names[0], 1.0))
            places.setdefault(place, []).append(parameter)
    if not places:
        raise ConfigError(
            f"the {type(model).__name__} has no parameter that is trained: all are frozen, or it has none"
        )
    return [_group(place, places[place]) for place in _in_order(list(places))]


def check_rules(rules: Rules, *, lr: float | None) -> None:
    """``ConfigError`` for a rule with an unknown setting or a number out of range; the patterns are not looked at."""
    for pattern, rule in rules.items():
        place = f"rules[{pattern!r}]"
        if not isinstance(rule, Mapping):
            raise ConfigError(f"{place} must be a mapping of {', '.join(RULE_KEYS)}. Found: {rule!r}")
        for key, value in rule.items():
            _check_setting(place, key, value)
        if "lr" in rule and "lr_factor" in rule:
            raise ConfigError(f"{place} has lr and lr_factor: give the rate itself, or its share of lr")
        if "lr_factor" in rule and lr is None:
            raise ConfigError(f"{place}: lr_factor is a factor of lr: give param_groups(..., lr=...)")


def _check_setting(place: str, key: str, value: Any) -> None:
    if key not in RULE_KEYS:
        question = did_you_mean(key, RULE_KEYS) or f"there are {', '.join(RULE_KEYS)}"
        raise ConfigError(f"{place}: there is no setting {key!r}: {question}")
    if key == "frozen":
        if not isinstance(value, bool):
            raise ConfigError(f"{place}: frozen must be true or false. Found: {value!r}")
    elif not _is_number(value) or value < 0 or (key != "weight_decay" and value == 0):
        least = "0 or more" if key == "weight_decay" else "above 0"
        raise ConfigError(f"{place}: {key} must be a number {least}. Found: {value!r}")


def _check_numbers(weight_decay: float, lr: float | None, layer_decay: float | None) -> None:
    if not _is_number(weight_decay) or weight_decay < 0:
        raise ConfigError(f"weight_decay must be a number, 0 or more. Found: {weight_decay!r}")
    if lr is not None and (not _is_number(lr) or not lr > 0):
        raise ConfigError(f"lr must be a number above 0. Found: {lr!r}")
    if layer_decay is not None:
        if not 0 < layer_decay <= 1:
            raise ConfigError(f"layer_decay must be above 0 and at most 1. Found: {layer_decay}")
        if lr is None:
            raise ConfigError("layer_decay is a factor of lr: give param_groups(..., lr=...)")


def _is_number(value: Any) -> bool:
    # NumPy's and torch's numbers are taken too, and become Python's: a checkpoint holds plain values.
    try:
        return not isinstance(value, bool | str) and float(value) < float("inf")
    except (TypeError, ValueError):
        return False


def _layer_factors(model: nn.Module, layer_decay: float | None) -> dict[str, float]:
    if layer_decay is None:
        return {}
    layers = layer_order(model)
    return {name: float(layer_decay) ** (len(layers) - 1 - i) for i, names in enumerate(layers) for name in names}


def _said(names: list[str], rules: Rules) -> dict[str, Any]:
    """What the rules say of a parameter."""
    said: dict[str, Any] = {}
    for pattern, rule in rules.items():
        if any(is_like(name, pattern) for name in names):
            for key in rule:  # a rate takes the place of an earlier factor, and the other way round
                said.pop({"lr": "lr_factor", "lr_factor": "lr"}.get(key), None)  # type: ignore[arg-type]
            said |= rule
    return said


def _place(
    parameter: nn.Parameter, said: Mapping[str, Any], weight_decay: float, lr: float | None, factor: float
) -> _Place:
    if "lr" in said:
        rate = float(said["lr"])
    else:
        rate = None if lr is None else float(lr) * factor * float(said.get("lr_factor", 1.0))
    is_vector = parameter.ndim <= 1
    return _Place(rate, is_vector, 0.0 if is_vector else said.get("weight_decay", weight_decay))


def _in_order(places: list[_Place]) -> list[_Place]:
    """Groups of one rate stay together, in the model's order; what decays comes first."""
    rates = list(dict.fromkeys(place.lr for place in places))
    return sorted(places, key=lambda place: (rates.index(place.lr), place.is_vector))


def _group(place: _Place, parameters: list[nn.Parameter]) -> dict[str, Any]:
    group: dict[str, Any] = {"params": parameters, "weight_decay": float(place.weight_decay)}
    return group if place.lr is None else group | {"lr": place.lr}
