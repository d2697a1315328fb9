"""``layer_order``: a model's parameters by depth, from the input to the head, read off the tree of its modules.

No model is run and no list of architectures kept. Knows nothing about optimizers.
"""

from collections.abc import Iterator

from torch import nn

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def layer_order(model: nn.Module) -> list[list[str]]:
    """The names of a model's parameters, a list for each layer, the first at the input.

    The tree is walked in the order in which modules were made part of their parents, which for torchvision's and timm's
    classifiers is the order in which they are used. Containers (``Sequential``, ``ModuleList``, ``ModuleDict``), and
    modules that hold a container of blocks, are opened; anything else, such as a residual block, is one layer. What has
    no matrix, such as the norm behind a convolution, belongs to the layer before it, and so do parameters that hang on
    an opened module itself, such as position embeddings. A shared parameter is in the first layer that has it.

    >>> layer_order(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 2)))
    [['0.weight', '0.bias', '1.weight', '1.bias'], ['3.weight', '3.bias']]
    """
    layers: list[list[str]] = []
    first: list[str] = []  # what comes before the first layer belongs to it
    seen: set[nn.Parameter] = set()
    for prefix, module, opened in _pieces(model):
        own = [(f"{prefix}{name}", p) for name, p in module.named_parameters(recurse=not opened) if p not in seen]
        seen.update(parameter for _, parameter in own)
        if not opened and any(parameter.ndim > 1 for _, parameter in own):
            layers.append([])
        (layers[-1] if layers else first).extend(name for name, _ in own)
    if layers:
        layers[0][:0] = first
        return layers
    return [first] if first else []


def _pieces(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module, bool]]:
    """Modules in their order, each with the prefix of its names, and whether it is opened: its children follow then."""
    yield prefix, model, True
    children = [(name, child) for name, child in model.named_children() if _has_parameters(child)]
    for name, child in children:
        below = f"{prefix}{name}."
        wraps_one = len(children) == 1 and any(_has_parameters(part) for part in child.children())
        if wraps_one or isinstance(child, _CONTAINERS) or _holds_blocks(child):
            yield from _pieces(child, below)
        else:
            yield below, child, False


def _holds_blocks(module: nn.Module) -> bool:
    """Whether it has a container of modules that are more than single layers."""
    stacks = (child for child in module.children() if isinstance(child, _CONTAINERS))
    return any(_has_parameters(block) and any(True for _ in block.children()) for s in stacks for block in s.children())


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None
