"""``Staging``: copies of states in host memory that stay as they are while training goes on. Knows no files."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from ._nested import leaves, map_nested
from ._split import local


class Staging:
    """Copies tensors, each storage once, into memory that is kept for the next copy: fresh memory costs more than copying.

    What shared memory shares it in the copy, so the copy is written to a file as the original would be, byte for byte.
    Tensors of a GPU are copied into pinned memory; they are waited for once, at the end.

    >>> staging, weights = Staging(), torch.ones(3)
    >>> copied = staging.copy({"w": weights, "first": weights[:1]})
    >>> _ = weights.zero_()
    >>> copied["w"].tolist(), copied["first"].data_ptr() == copied["w"].data_ptr()
    ([1.0, 1.0, 1.0], True)
    """

    def __init__(self) -> None:
        self._rooms: dict[tuple[int, bool], list[Tensor]] = {}  # flat bytes, by their number and whether pinned

    def copy(self, tree: Any) -> Any:
        """The same containers with copied tensors. The copy made before is overwritten by it: it must not be in use."""
        free = {kind: list(rooms) for kind, rooms in self._rooms.items()}
        taken: dict[tuple[int, bool], list[Tensor]] = {}
        copies: dict[tuple[Any, int, int], Tensor] = {}
        devices: set[torch.device] = set()

        def copied(tensor: Tensor) -> Tensor:
            if not _is_plain(tensor):
                return tensor.detach().cpu().clone()
            storage = tensor.untyped_storage()
            key = (tensor.device, storage.data_ptr(), storage.nbytes())
            if key not in copies:
                kind = (storage.nbytes(), tensor.device.type == "cuda")
                room = free[kind].pop() if free.get(kind) else _new_room(kind)
                taken.setdefault(kind, []).append(room)
                room.copy_(_bytes_of(tensor), non_blocking=True)
                copies[key] = room
                devices.add(tensor.device)
            home = copies[key].untyped_storage()
            view = torch.empty(0, dtype=tensor.dtype)
            return view.set_(home, tensor.storage_offset(), tensor.size(), tensor.stride())  # type: ignore[call-overload]

        made = map_nested(copied, tree, Tensor)
        for device in devices:
            if device.type != "cpu":
                torch.accelerator.synchronize(device)
        self._rooms = taken
        return made


def bytes_of(tree: Any) -> int:
    """Bytes of all tensors of a tree, each storage counted once; of split ones this rank's part."""
    storages = {(t.device, s.data_ptr()): s.nbytes() for t in _strided(tree) for s in [t.untyped_storage()]}
    return sum(storages.values())


def _strided(tree: Any) -> Iterator[Tensor]:
    return (tensor for tensor in map(local, leaves(tree, Tensor)) if _is_plain(tensor))


def _is_plain(tensor: Tensor) -> bool:
    usual = type(tensor) in (Tensor, Parameter) and tensor.layout is torch.strided and tensor.device.type != "meta"
    return usual and not (tensor.is_quantized or tensor.is_conj() or tensor.is_neg())


def _bytes_of(tensor: Tensor) -> Tensor:
    flat = torch.empty(0, dtype=torch.uint8, device=tensor.device)
    storage = tensor.untyped_storage()
    return flat.set_(storage, 0, (storage.nbytes(),), (1,))  # type: ignore[call-overload]


def _new_room(kind: tuple[int, bool]) -> Tensor:
    size, pinned = kind
    return torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
