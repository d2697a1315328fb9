"""``load_weights``: a model's weights from wherever they are. Loads tensors only, never code."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ._checkpoint import read_checkpoint
from ._checkpoints import Checkpoints
from ._errors import CheckpointError, MissingExtra
from ._state import LoadReport, load_state
from ._tensor_file import check_tensor_file


def load_weights(
    model: nn.Module,
    source: str | Path | Mapping[str, Any],
    *,
    name: str = "model",
    strict: bool = True,
    only: str | Iterable[str] = "*",
) -> LoadReport:
    """Load weights into a model and report by name what did not fit.

    Args:
        model: receives them, on whatever device it is.
        source: a run's folder (its best checkpoint, else its latest), a checkpoint's folder, a ``.pt``, ``.pth`` or
            ``.safetensors`` file, or a state dictionary.
        name: which registered object of a run or checkpoint to take.
        strict: raise ``CheckpointError`` unless every name and shape fits; nothing is changed then.
        only: shell patterns of the names to load, such as ``"backbone.*"``.

    >>> load_weights(nn.Linear(2, 2), nn.Linear(2, 2).state_dict()).complete
    True
    """
    if isinstance(source, Mapping):
        return load_state(model, source, strict=strict, only=only)
    path = Path(source)
    return load_state(model, _read(path, name), strict=strict, only=only, place=str(path))


def _read(path: Path, name: str) -> Mapping[str, Any]:
    if path.is_dir():
        if (path / "manifest.json").exists():
            return _unwrapped(read_checkpoint(path, only=name))
        saved = Checkpoints(path / "checkpoints" if (path / "checkpoints").is_dir() else path)
        return _unwrapped(saved.load("best" if saved.best() else "latest", only=name))
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder of weights")
    return _unwrapped(_read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path))


def _unwrapped(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights in a state that holds other things, too: of a file by somebody else, or an average's."""
    for key in ("model", "state_dict"):  # customary wrappings
        if isinstance(state.get(key), Mapping):
            return state[key]
    return state


def _read_torch(path: Path) -> Mapping[str, Any]:
    try:
        check_tensor_file(path, old=True)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a foreign file
        raise CheckpointError(f"{path} cannot be read as tensors and plain values: {error}") from error
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not a dictionary of named tensors")
    return state


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise MissingExtra("safetensors", f"reading {path}", "safetensors") from None
    try:
        return load_file(path)
    except Exception as error:  # errors of its own kinds, not all of them public
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error
