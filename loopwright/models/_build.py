"""Models by name: torchvision's, timm's where it is installed, loopwright's small ones, or your own function."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from .._errors import ConfigError, MissingExtra
from .._names import check_arguments, did_you_mean, load_object
from ._dncnn import dncnn
from ._segmenter import find_segmenter, segmenter_names
from ._small_resnet import small_resnet
from ._unet import unet

_OWN: dict[str, Callable[..., nn.Module]] = {"small_resnet": small_resnet, "dncnn": dncnn, "unet": unet}


def build_model(
    name: str, *, num_classes: int | None = None, offered: Mapping[str, Any] | None = None, **arguments: Any
) -> nn.Module:
    """A model by name.

    Args:
        name: of ``torchvision.models`` (``resnet18``) or its segmentation models (``lraspp_mobilenet_v3_large``), of timm
            (``timm/resnet18``, or the bare name where torchvision has none), ``small_resnet``, ``dncnn``, ``unet``, or
            ``package.module:function``, which is called with ``num_classes`` where that is given.
        num_classes: outputs of the last layer of a classifier.
        offered: arguments that a function is given if it names them and ``arguments`` does not have them, such as
            ``in_channels`` and ``out_channels`` of networks from pictures to pictures.
        arguments: the model's own. With torchvision's ``weights="DEFAULT"`` the pretrained model gets a new last layer.

    >>> sum(p.numel() for p in build_model("resnet18", num_classes=10).parameters())
    11181642
    """
    function, source = find_model(name)
    check_arguments(function, arguments, place="model", given=("num_classes",))
    arguments = {**{key: value for key, value in (offered or {}).items() if names(function, key)}, **arguments}
    if num_classes is None:
        model = function(**arguments)
    elif source == "torchvision" and arguments.get("weights") is not None:
        return with_new_head(function(**arguments), num_classes)
    elif source == "own" and name in _OWN and not names(function, "num_classes"):
        raise ConfigError(f"model {name!r} has no classes: it is no classifier; see 'task: restore' for such models")
    else:
        model = function(num_classes=num_classes, **arguments)
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model {name!r} gave a {type(model).__name__}, not a torch.nn.Module")
    return model


def names(function: Callable[..., Any], argument: str) -> bool:
    """Whether a function has an argument of this name; ``**kwargs`` is none.

    >>> names(dncnn, "in_channels"), names(dncnn, "num_classes")
    (True, False)
    """
    try:
        return argument in inspect.signature(function).parameters
    except ValueError:  # written in C
        return False


def find_model(name: str) -> tuple[Callable[..., nn.Module], str]:
    """The function that builds a model, and where it comes from; ``ConfigError`` with near names where there is none."""
    if ":" in name:
        return load_object(name), "own"
    if name in _OWN:
        return _OWN[name], "own"
    if name.startswith("timm/"):
        return _timm_model(name.removeprefix("timm/")), "timm"
    from torchvision import models

    # Detection models give no logits, and are not among them.
    listed = models.list_models(module=models)
    if name.lower() in listed:
        return models.get_model_builder(name.lower()), "torchvision"
    if name.lower() in segmenter_names():
        return find_segmenter(name.lower()), "segmentation"
    if name in _timm_names():
        return _timm_model(name), "timm"
    question = did_you_mean(name, [*_OWN, *listed, *segmenter_names(), *_timm_names()])
    raise ConfigError(
        f"there is no model {name!r}: {question or 'name one of torchvision or timm, or write package.module:function'}"
    )


def with_new_head(model: nn.Module, num_classes: int) -> nn.Module:
    """Replace a model's last linear layer by a fresh one with another number of outputs.

    >>> with_new_head(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1000)), 10)[1]
    Linear(in_features=8, out_features=10, bias=True)
    """
    name, last = next(
        ((n, m) for n, m in reversed(list(model.named_modules())) if isinstance(m, nn.Linear)), ("", None)
    )
    if last is None:
        raise ConfigError(
            f"the {type(model).__name__} ends in no linear layer: build it with {num_classes} outputs yourself"
        )
    parent = model.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], nn.Linear(last.in_features, num_classes, bias=last.bias is not None))
    return model


def _timm_names() -> list[str]:
    try:
        import timm
    except ImportError:
        return []
    return timm.list_models()


def _timm_model(name: str) -> Callable[..., nn.Module]:
    try:
        import timm
    except ImportError:
        raise MissingExtra("timm", f"model 'timm/{name}'", "timm") from None
    names = timm.list_models()
    if name.partition(".")[0] not in names:
        question = did_you_mean(name, names)
        raise ConfigError(f"timm has no model {name!r}: {question or 'see timm.list_models()'}")

    def create(**arguments: Any) -> nn.Module:
        return timm.create_model(name, **arguments)

    return create
