"""Which parameters train: frozen, dead, not in the optimizer, in it twice. Reads gradients that others have seen.

How intention is told: what is frozen from the front on, up to the first layer that trains, is fine-tuning. A layer that is
frozen behind one that trains, the last one above all, is not; unless ``frozen=`` names it.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ._subject import Subject
from ._training import Curve
from ._verdict import Verdict, failed, passed, warning


def forward_order(subject: Subject, batch: Any) -> dict[str, int]:
    """When the layer of each parameter first computed, by the parameter's name; those of layers that never did are left out.

    A layer whose own parameters another one uses (attention's projection) counts with the layer around it.
    """
    when: dict[str, int] = {}

    def note(name: str) -> Any:
        def hook(*_: Any) -> None:
            when.setdefault(name, len(when))

        return hook

    layers = dict(subject.model.named_modules())
    owners = [name for name, layer in layers.items() if list(layer.parameters(recurse=False))]
    hooks = [layers[name].register_forward_pre_hook(note(name)) for name in owners]
    try:
        with torch.no_grad():
            subject.loss(batch)
    finally:
        for hook in hooks:
            hook.remove()
    found = {}
    for name in owners:
        around = [name, *(name[:end] for end in range(len(name) - 1, 0, -1) if name[end] == "."), ""]
        layer = next((outer for outer in around if outer in when), None)
        if layer is not None:
            for own, _ in layers[name].named_parameters(recurse=False):
                found[f"{name}.{own}" if name else own] = when[layer]
    return found


def parameters_train(
    model: nn.Module, optimizer: Optimizer, order: dict[str, int], curve: Curve | None, frozen: Sequence[str] | None
) -> Verdict:
    """The first thing that is wrong, the gravest first; what is odd, as a warning."""
    name = "parameters"
    named = dict(model.named_parameters())
    held = [p for group in optimizer.param_groups for p in group["params"]]
    inside = {id(p) for p in held}
    still = [n for n, p in named.items() if not p.requires_grad]
    norms = {
        f"{layer}.{own}" for layer, module in model.named_modules() if "norm" in type(module).__name__.lower()
        for own, _ in module.named_parameters(recurse=False)
    }  # fmt: skip
    outside = [n for n, p in named.items() if p.requires_grad and id(p) not in inside]
    numbers: dict[str, Any] = {
        "parameters": len(named), "frozen": len(still), "not in the optimizer": len(outside),
        "without gradient": [n for n, what in (curve.touched if curve else {}).items() if what != "moved"],
    }  # fmt: skip
    found = [
        *_of_optimizer(name, named, held, numbers),
        *(
            _frozen(name, named, still, order, norms, numbers)
            if frozen is None
            else _stated(name, named, still, frozen, numbers)
        ),
        *_outside(name, named, outside, order, numbers),
        *(_dead(name, curve, order, numbers) if curve else []),
    ]
    found.sort(key=lambda verdict: verdict.outcome != "failed")
    if found:
        return found[0]
    count = sum(p.numel() for p in named.values() if p.requires_grad)
    said = f"{count:,} values in {len(named) - len(still)} parameters get gradients and are in the optimizer once"
    if still:
        said += f"; {len(still)} are frozen, " + (
            "as frozen= says" if frozen is not None else "all in front of what trains, as in fine-tuning"
        )
    return passed(name, said, **numbers)


def _of_optimizer(name: str, named: dict[str, nn.Parameter], held: list[Any], numbers: dict[str, Any]) -> list[Verdict]:
    found, own = [], {id(p): n for n, p in named.items()}
    foreign = sum(id(p) not in own for p in held)
    if held and foreign == len(held):
        found.append(failed(
            name, f"none of the optimizer's {len(held)} parameters is the model's: it trains another model",
            "make the optimizer after the model, from model.parameters()", **numbers,
        ))  # fmt: skip
    twice = [own.get(i, "?") for i in dict.fromkeys(map(id, held)) if sum(id(p) == i for p in held) > 1]
    if twice:
        found.append(
            failed(
                name,
                f"in the optimizer twice: {_listed(twice)}",
                "give it every parameter once: lw.param_groups(model)",
                **numbers,
            )
        )
    idle = [own[id(p)] for p in held if id(p) in own and not p.requires_grad and p.grad is not None]
    if idle:
        found.append(warning(name, f"frozen, with a gradient left, and in the optimizer, which moves them: {_listed(idle)}",
                             "set their .grad to None", **numbers))  # fmt: skip
    return found


def _stated(
    name: str, named: dict[str, nn.Parameter], still: list[str], stated: Sequence[str], numbers: dict[str, Any]
) -> list[Verdict]:
    """Exactly what ``frozen=`` names must be frozen."""
    meant = {n for n in named if any(fnmatchcase(n, pattern) or n.startswith(f"{pattern}.") for pattern in stated)}
    moving, extra = sorted(meant - set(still)), [n for n in still if n not in meant]
    found = []
    if moving:
        said, todo = f"to be frozen, and trained: {_listed(moving)}", "requires_grad_(False) on them"
        found.append(failed(name, said, todo, **numbers))
    if extra:
        said, todo = f"frozen, and not named in frozen=: {_listed(extra)}", "requires_grad_(True) on them"
        found.append(failed(name, said, todo, **numbers))
    return found


def _frozen(
    name: str, named: dict[str, nn.Parameter], still: list[str], order: dict[str, int], norms: set[str],
    numbers: dict[str, Any],
) -> list[Verdict]:  # fmt: skip
    """What is frozen behind a layer that trains is no fine-tuning, norms excepted."""
    if not still:
        return []
    if len(still) == len(named):
        return [
            failed(
                name, f"all {len(named)} parameters are frozen", "requires_grad_(True) on what is to train", **numbers
            )
        ]
    begins = min((order[n] for n, p in named.items() if p.requires_grad and n in order), default=0)
    behind = [n for n in still if order.get(n, -1) > begins]
    grave = [n for n in behind if n not in norms]
    if grave:
        last = max(order.values())
        head = any(order[n] == last for n in grave)
        said = f"frozen behind layers that train: {_listed(grave)}" + (
            ": the last layer, which gives the answers" if head else ""
        )
        todo = "requires_grad_(True) on them; if they are to stay as they are, say frozen=[...]"
        return [(failed if head else warning)(name, said, todo, **numbers)]
    return []


def _outside(
    name: str, named: dict[str, nn.Parameter], outside: list[str], order: dict[str, int], numbers: dict[str, Any]
) -> list[Verdict]:
    if not outside or len(outside) == sum(p.requires_grad for p in named.values()):
        return []  # none, or said already: the optimizer is another model's
    inside = [n for n, p in named.items() if p.requires_grad and n not in set(outside)]
    begins = min((order[n] for n in inside if n in order), default=0)
    said = f"not in the optimizer, though they get gradients: {_listed(outside)}"
    if all(order.get(n, -1) < begins for n in outside):
        return [
            warning(
                name,
                f"{said}, all in front of what trains",
                "requires_grad_(False) on them saves their gradients",
                **numbers,
            )
        ]
    return [failed(name, said, "give the optimizer all of model.parameters(), after the model is complete", **numbers)]


def _dead(name: str, curve: Curve, order: dict[str, int], numbers: dict[str, Any]) -> list[Verdict]:
    if len(curve.losses) < 3:
        return []
    none = [n for n, what in curve.touched.items() if what == "none"]
    zero = [n for n, what in curve.touched.items() if what == "zero"]
    used, unused = [n for n in none if n in order], [n for n in none if n not in order]
    found = []
    if used:
        found.append(failed(
            name, f"computed with, and no gradient reaches them: {_listed(used)}",
            "look for detach(), no_grad() or .data between them and the loss", **numbers,
        ))  # fmt: skip
    if zero and len(zero) == len(curve.touched):
        found.append(
            failed(
                name, "every gradient is 0 in every step", "look at the loss: does it depend on the output?", **numbers
            )
        )
    elif zero:
        found.append(warning(
            name, f"their gradient was 0 in each of {curve.steps} steps: {_listed(zero)}",
            "dead units or a branch that is multiplied by 0", **numbers,
        ))  # fmt: skip
    if unused:
        found.append(
            warning(name, f"never used: {_listed(unused)}", "take these layers out, or freeze them", **numbers)
        )
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
