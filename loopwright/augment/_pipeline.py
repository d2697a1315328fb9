"""``BatchAugment``: several changes of a batch in their order; ``OneOf``: one of several."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .._errors import ConfigError, DataError
from ._geometry import Geometric, apply_geometry, plan_geometry
from ._member import Batch, BatchTransform, Plan, Shape, carry_out
from ._pixels import check_images
from ._random import StepRandom

Member = Callable[[Tensor, Any, StepRandom], Batch]


class BatchAugment:
    """Changes of whole batches, one after the other, on the device that the batch is on, drawn from (seed, step).

    A batch is the same whatever happened before: after a resume, in another process, on another device, whatever the
    global generators hold; these are neither read nor changed. Nothing waits for the device: the random numbers are
    drawn on the CPU, a few for each picture, and go to the device in one copy.

    Each member draws from a stream of its own, so to add one at the end changes nothing that those before it draw.
    Crops, flips and affine maps in a row are one resampling. Members may also be functions of your own,
    ``f(images, labels, rng)``, that keep the shape.

    Args:
        members: ``BatchFlip``, ``BatchResizedCrop``, ..., ``OneOf``, functions.

    Raises:
        ConfigError: a member cannot be called, or is a class.

    >>> import torch, loopwright as lw
    >>> augment = lw.BatchAugment([lw.BatchResizedCrop(16), lw.BatchColor(brightness=0.4), lw.BatchErase()])
    >>> images, labels = torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.arange(4)
    >>> images, labels = augment(images, labels, seed=0, step=1)
    >>> images.shape, images.dtype
    (torch.Size([4, 3, 16, 16]), torch.uint8)
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = _checked("BatchAugment", members)
        self._chain = _Chain(_grouped(self.members), self.members)

    def __call__(self, images: Tensor, labels: Any = None, *, seed: int | None, step: int, first: int = 0) -> Batch:
        """New images and labels; the given ones are not changed, and are what comes back where nothing is to be done.

        Args:
            images: (N, C, H, W), uint8 in 0..255 or floating point, on any device; dtype and memory format are kept.
            labels: whatever belongs to them; only ``Mixup`` and ``CutMix`` look at it.
            seed: ``run.seed``.
            step: ``run.global_step``.
            first: the place of the first picture in the batch of all processes, where there are several.

        Raises:
            DataError: images or labels are of another kind.
        """
        rng = StepRandom(seed, step, first=first)
        check_images(images)
        if len(images):
            self._chain.check_values(images)
        for chain in [self._chain] if _on_accelerator(images) else self._chain.halves:
            images, labels = carry_out(chain, images, labels, rng)
        return images, labels

    def __repr__(self) -> str:
        return f"BatchAugment({self.members})"


class OneOf(BatchTransform):
    """One of several members for the whole batch, drawn anew for each step, as mixup or cutmix usually is.

    Args:
        members: as ``BatchAugment``'s; a ``BatchAugment`` among them stands for its own members in a row.
        weights: how likely each is, relative to the others; by default all alike.

    >>> import torch, loopwright as lw
    >>> either = lw.OneOf([lw.Mixup(10, alpha=0.2), lw.CutMix(10)], weights=[1, 3])
    >>> either(torch.zeros(2, 3, 8, 8), torch.tensor([1, 2]), lw.StepRandom(seed=0, step=1))[1].shape
    torch.Size([2, 10])
    """

    def __init__(self, members: Sequence[Any], weights: Sequence[float] | None = None) -> None:
        self.members = _checked("OneOf", [m._chain if isinstance(m, BatchAugment) else m for m in members])
        given = [1.0] * len(self.members) if weights is None else [float(weight) for weight in weights]
        if not self.members or len(given) != len(self.members) or min(given) < 0 or not 0 < sum(given) < float("inf"):
            raise ConfigError(
                f"OneOf needs members, and weights that are one number for each, 0 or more and not all 0. "
                f"Found: {len(self.members)} members, weights {weights}"
            )
        self.weights = tuple(given)
        self._chains = [_Chain(_grouped([member]), [member]) for member in self.members]
        self.by_sample = all(chain.by_sample for chain in self._chains)

    def check_values(self, images: Tensor) -> None:
        for chain in self._chains:
            chain.check_values(images)

    def plan(self, shape: Shape, rng: StepRandom) -> Plan:
        reached = np.cumsum(self.weights)
        chosen = int(np.searchsorted(reached, rng.shared(1)[0] * reached[-1], side="right"))
        plan = self._chains[chosen].plan(shape, rng.stream(chosen))
        return plan._replace(facts=(chosen, plan.facts))

    def apply(self, images: Tensor, labels: Any, numbers: Mapping[str, Tensor], facts: Any) -> Batch:
        chosen, inner = facts
        return self._chains[chosen].apply(images, labels, numbers, inner)

    def __repr__(self) -> str:
        return f"OneOf({self.members}, weights={self.weights})"


class _Chain(BatchTransform):
    """Members in a row, planned together so that their numbers travel together."""

    def __init__(self, parts: Sequence[BatchTransform], members: Sequence[Member]) -> None:
        self._parts, self._members = parts, members
        self.by_sample = all(part.by_sample for part in parts)

    @property
    def halves(self) -> list["_Chain"]:
        """The parts up to the first that looks at the whole batch, and the rest."""
        first = next((i for i, part in enumerate(self._parts) if not part.by_sample), len(self._parts))
        return [_Chain(self._parts[:first], self._members), _Chain(self._parts[first:], self._members)]

    def check_values(self, images: Tensor) -> None:
        for part in self._parts:
            if isinstance(part, _Foreign):
                return  # what it makes of them is its own affair
            part.check_values(images)

    def plan(self, shape: Shape, rng: StepRandom) -> Plan:
        numbers: dict[str, np.ndarray] = {}
        facts, size = [], None
        for number, part in enumerate(self._parts):
            plan = part.plan(shape, rng)
            numbers |= {f"{number}/{name}": value for name, value in plan.numbers.items()}
            if plan.size is not None:
                size, shape = plan.size, shape._replace(height=plan.size[0], width=plan.size[1])
            facts.append((tuple(plan.numbers), plan.facts))
        return Plan(numbers, facts, size)

    def apply(self, images: Tensor, labels: Any, numbers: Mapping[str, Tensor], facts: Any) -> Batch:
        for number, (part, (names, inner)) in enumerate(zip(self._parts, facts, strict=True)):
            mine = {name: numbers[f"{number}/{name}"] for name in names}
            images, labels = part.apply(images, labels, mine, inner)
        return images, labels

    def __repr__(self) -> str:
        return f"BatchAugment({list(self._members)})"


class _Alone(BatchTransform):
    """A member with the stream of its place."""

    def __init__(self, member: BatchTransform, place: int) -> None:
        self._member, self._place = member, place
        self.by_sample = member.by_sample

    def check_values(self, images: Tensor) -> None:
        self._member.check_values(images)

    def plan(self, shape: Shape, rng: StepRandom) -> Plan:
        return self._member.plan(shape, rng.stream(self._place))

    def apply(self, images: Tensor, labels: Any, numbers: Mapping[str, Tensor], facts: Any) -> Batch:
        return self._member.apply(images, labels, numbers, facts)


class _Fused(BatchTransform):
    """Geometric members in a row, as one resampling: their matrices multiplied."""

    def __init__(self, members: Sequence[tuple[Geometric, int]]) -> None:
        self._members = members
        self._fill = next((member.fill for member, _ in members if member.fill is not None), None)

    def plan(self, shape: Shape, rng: StepRandom) -> Plan:
        now, matrices = shape, np.tile(np.eye(3), (shape.samples, 1, 1))
        for member, place in self._members:
            matrices = matrices @ member.matrices(now, rng.stream(place))
            height, width = member.size(now.height, now.width)
            now = now._replace(height=height, width=width)
        return plan_geometry(matrices, shape, (now.height, now.width))

    def apply(self, images: Tensor, labels: Any, numbers: Mapping[str, Tensor], facts: Any) -> Batch:
        return apply_geometry(images, numbers, facts, self._fill), labels


class _Foreign(BatchTransform):
    """A function of the user's, which draws when it is called."""

    by_sample = False

    def __init__(self, member: Member, place: int) -> None:
        self._member, self._place = member, place

    def plan(self, shape: Shape, rng: StepRandom) -> Plan:
        return Plan({}, rng.stream(self._place))

    def apply(self, images: Tensor, labels: Any, numbers: Mapping[str, Tensor], facts: Any) -> Batch:
        made, made_labels = self._member(images, labels, facts)
        if made.shape != images.shape:
            raise DataError(
                f"{self._member} made {tuple(made.shape)} of {tuple(images.shape)}: a function among the members of "
                "BatchAugment keeps the shape; call it before or after instead"
            )
        return made, made_labels


def _grouped(members: Sequence[Member]) -> list[BatchTransform]:
    """Geometric members in a row become one part, unless they show different colours outside."""
    parts: list[BatchTransform] = []
    row: list[tuple[Geometric, int]] = []
    for place, member in enumerate(members):
        if isinstance(member, Geometric) and _same_fill([*(other for other, _ in row), member]):
            row.append((member, place))
            continue
        parts += [_Fused(row)] if row else []
        row = [(member, place)] if isinstance(member, Geometric) else []
        if not row:
            parts.append(_Alone(member, place) if isinstance(member, BatchTransform) else _Foreign(member, place))
    return parts + ([_Fused(row)] if row else [])


def _on_accelerator(images: Any) -> bool:
    return isinstance(images, Tensor) and images.device.type != "cpu"


def _same_fill(members: Sequence[Geometric]) -> bool:
    return len({member.fill for member in members if member.fill is not None}) <= 1


def _checked(name: str, members: Sequence[Any]) -> list[Any]:
    for member in members:
        if isinstance(member, type) or not callable(member):
            hint = f": write {member.__name__}(...)" if isinstance(member, type) else ""
            raise ConfigError(f"{name}: a member must be a function of images, labels, rng. Found: {member!r}{hint}")
        if isinstance(member, BatchAugment):
            raise ConfigError(f"{name}: a BatchAugment stands alone or in OneOf; here write its members themselves")
    return list(members)
