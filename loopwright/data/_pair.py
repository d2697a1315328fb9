"""``Pair``: a sample of several pictures that are shown as one. ``PerRole``: a transform for some of them alone."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .._errors import ConfigError, DataError
from .._names import did_you_mean
from ._picture import is_turned
from ._role import Role, size_of
from ._transforms import Joint, Transform, apply, is_pure, leading_geometry
from ._view import View


class Pair(dict[str, Any], Joint):
    """The pictures of a sample by their roles, with where each comes from. A geometry is planned once and shown of all."""

    def __init__(self, pictures: Mapping[str, Any], roles: Mapping[str, Role], paths: Mapping[str, Path]) -> None:
        super().__init__(pictures)
        self.roles, self.paths = roles, paths

    def size(self) -> tuple[int, int]:
        """Width and height at scale 1.

        Raises:
            DataError: the pictures differ in size; the files are named.
        """
        sizes = {name: self._size(name) for name in self.roles}
        first, (width, height) = next(iter(sizes.items()))
        scale = self.roles[first].scale
        for name, size in sizes.items():
            times = self.roles[name].scale
            if (size[0] * scale, size[1] * scale) != (width * times, height * times):
                raise DataError(self._sizes_differ(first, (width, height), name, size))
        if width % scale or height % scale:
            raise DataError(
                f"{self.paths[first]} is {width}x{height}, which is not {scale} times a whole number of pixels: crop it"
            )
        return width // scale, height // scale

    def shown(self, plan: Callable[[int, int], View]) -> "Pair":
        size = self.size()
        try:
            view = plan(*size)
        except DataError as error:
            raise DataError(f"{next(iter(self.paths.values()))}: {error}") from error
        return self.changed({name: role.show(self[name], view) for name, role in self.roles.items()})

    def changed(self, pictures: Mapping[str, Any]) -> "Pair":
        """The same sample with some other pictures."""
        return Pair({**self, **pictures}, self.roles, self.paths)

    def _size(self, name: str) -> tuple[int, int]:
        size = size_of(self[name])
        if size is None:
            raise DataError(
                f"the picture of role {name!r} is a {type(self[name]).__name__} already: what crops or flips comes before "
                "what makes tensors"
            )
        return size

    def _sizes_differ(self, first: str, size: tuple[int, int], name: str, other: tuple[int, int]) -> str:
        factor = self.roles[name].scale / self.roles[first].scale
        expected = "the same size" if factor == 1 else f"{factor:g} times the size"
        return (
            f"{self.paths[first]} is {size[0]}x{size[1]} and {self.paths[name]} is {other[0]}x{other[1]}: "
            f"role {name!r} must have {expected} as {first!r}. {self._repair(first, name)}"
        )

    def _repair(self, *roles: str) -> str:
        for role in roles:
            if is_turned(self.paths[role]):
                return (
                    f"{Path(self.paths[role]).name} is turned by its EXIF block: the others must show what viewers show"
                )
        return "Repair the files, or say lw.Role(..., scale=...)"


class PerRole(Transform):
    """Transforms for single pictures of a sample of several: what changes colours, of one alone.

    Args:
        transforms: by role, each called with this role's picture: any callable, torchvision's for one. Their order is the
            order in which they draw from the sample's randomness.

    What crops or flips is not among them: it would show other parts of one picture than of the others. loopwright's own are
    refused.

    >>> twice = PerRole(image=lambda number: 2 * number)
    >>> twice({"image": 4, "mask": 5}, random.Random(0))
    {'image': 8, 'mask': 5}
    """

    def __init__(self, **transforms: Callable[..., Any]) -> None:
        for role, transform in transforms.items():
            _check_member(role, transform)
        self.transforms = transforms

    @property
    def pure(self) -> bool:
        return all(is_pure(transform) for transform in self.transforms.values())

    def __call__(self, sample: Mapping[str, Any], rng: random.Random) -> Any:
        self._check(sample)
        made = {role: apply(transform, sample[role], rng) for role, transform in self.transforms.items()}
        return sample.changed(made) if isinstance(sample, Pair) else {**sample, **made}

    def _check(self, sample: Any) -> None:
        if not isinstance(sample, Mapping):
            raise DataError(f"PerRole is for samples of several named pictures. Found: {type(sample).__name__}")
        for role in self.transforms:
            if role not in sample:
                question = did_you_mean(role, sample) or f"there are {', '.join(map(str, sample))}"
                raise DataError(f"PerRole: there is no role {role!r}: {question}")

    def __repr__(self) -> str:
        return f"PerRole({', '.join(f'{role}={transform}' for role, transform in self.transforms.items())})"


def _check_member(role: str, transform: Any) -> None:
    if isinstance(transform, type) or not callable(transform):
        hint = f": write {transform.__name__}(...)" if isinstance(transform, type) else ""
        raise ConfigError(f"PerRole: {role}= is a function of one picture. Found: {transform!r}{hint}")
    if leading_geometry(transform) is not None:
        raise ConfigError(
            f"PerRole: {role}={transform!r} would show other parts of this picture than of the others: put it into "
            "Compose before PerRole, where one view is drawn for all"
        )
