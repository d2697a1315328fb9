"""Transforms of one picture whose randomness is handed to them. Knows nothing about datasets, seeds or workers.

A loopwright transform is called with the picture and a ``random.Random`` that belongs to this sample alone, so it gives
the same result in any worker, thread or process. Any other callable may stand in its place: it is called with the
picture only, and the global generators are seeded for it.
"""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
from PIL import Image

from .._errors import ConfigError, DataError
from ._view import Pad, Pixels, View, Viewable, reduced_view

Box = tuple[int, int, int, int]


class Transform(ABC):
    """The interface: a picture and its own source of randomness in, a picture (or anything) out.

    ``pure`` says that all its randomness comes from the source that it is handed and that threads may share it. The
    fast engine takes only such transforms.
    """

    pure = False

    @abstractmethod
    def __call__(self, picture: Any, rng: random.Random) -> Any: ...


class Joint(ABC):
    """A sample of several pictures of one scene: what is shown of one is shown of all."""

    @abstractmethod
    def shown(self, plan: Callable[[int, int], View]) -> Any:
        """The same sample, of each picture the view that ``plan`` gives for their width and height."""


class Geometry(Transform):
    """A transform that only decides which part of the picture is shown, at which size.

    So no more of a file need be decoded than it shows. Subclasses have ``plan``, and the ``size`` of the square that they
    make; 0 where it depends on the picture.
    """

    pure = True
    size: int = 0

    @abstractmethod
    def plan(self, width: int, height: int, rng: random.Random) -> View:
        """What to show of an upright picture of so many pixels."""

    def __call__(self, picture: Image.Image | Viewable | Joint, rng: random.Random | None = None) -> Any:
        chance = rng or random.Random(0)
        if isinstance(picture, Joint):
            return picture.shown(lambda width, height: self.plan(width, height, chance))
        source = Pixels(np.asarray(picture)) if isinstance(picture, Image.Image) else picture
        return Image.fromarray(source.show(self.plan(source.width, source.height, chance)))


class Cut(Geometry):
    """A geometry that takes a part as it is, without resizing: of pictures that are alike, many are placed at once.

    ``draws`` is how many random numbers a sample takes. ``placed`` says that ``place`` tells all: nothing is turned, and
    no part goes beyond the edges.
    """

    draws = 0
    placed = True

    @abstractmethod
    def place(self, width: int, height: int, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the parts of n pictures begin, and which are mirrored: left (n,), top (n,), bool (n,).

        Args:
            drawn: numbers in [0, 1): (n, ``draws``).
        """

    def part(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of what is taken."""
        return self.size, self.size

    def plan(self, width: int, height: int, rng: random.Random) -> View:
        drawn = np.array([[rng.random() for _ in range(self.draws)]])
        left, top, flip = (values[0].item() for values in self.place(width, height, drawn))
        wide, high = self.part(width, height)
        return View((left, top, left + wide, top + high), wide, high, flip)


class Whole(Cut):
    """The picture as it is: for pictures that are all alike, such as those of a cropped pack."""

    def place(self, width: int, height: int, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        zeros = np.zeros(len(drawn), np.int64)
        return zeros, zeros, zeros.astype(bool)

    def part(self, width: int, height: int) -> tuple[int, int]:
        return width, height


class RandomCrop(Cut):
    """A random square of the picture at its own size: what restoration and segmentation train on.

    Args:
        size: height and width of the square, in pixels.
        flip: probability of a flip from left to right, 0 to 1.
        turn: whether to turn by 0 to 3 quarters, too; with ``flip=0.5`` each of the 8 attitudes is as likely.
        pad: what to do with a smaller picture: ``None`` refuses it with a ``DataError``; ``"reflect"`` mirrors it in its
            edges, ``"edge"`` repeats these, ``"fill"`` takes black (or a role's ``fill``); it lies in the middle.

    >>> RandomCrop(8)(Image.new("RGB", (40, 30)), random.Random(0)).size
    (8, 8)
    """

    draws = 3

    def __init__(self, size: int, *, flip: float = 0.5, turn: bool = False, pad: Pad | None = None) -> None:
        _check_size("RandomCrop", size)
        _check_probability("RandomCrop: flip", flip)
        if pad is not None and pad not in get_args(Pad):
            raise ConfigError(f"RandomCrop: pad must be None or one of {', '.join(get_args(Pad))}. Found: {pad!r}")
        self.size, self.flip, self.turn = size, flip, turn
        self.pad: Pad | None = pad
        self.placed = pad is None and not turn

    def place(self, width: int, height: int, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.pad is None and min(width, height) < self.size:
            raise DataError(
                f"RandomCrop({self.size}) of a picture of {width}x{height} pixels: take a smaller crop, or "
                "RandomResizedCrop, or pad the picture: pad='reflect'"
            )
        left, top = (_begins(room, drawn[:, i]) for i, room in enumerate((width - self.size, height - self.size)))
        return left, top, drawn[:, 2] < self.flip

    def plan(self, width: int, height: int, rng: random.Random) -> View:
        view = super().plan(width, height, rng)
        return view._replace(turns=_randint(rng, 3) if self.turn else 0, pad=self.pad)

    def __repr__(self) -> str:
        return f"RandomCrop({self.size}, flip={self.flip}, turn={self.turn}, pad={self.pad!r})"


class Compose(Transform):
    """Several transforms, one after the other; loopwright's, torchvision's and your own functions may be mixed.

    >>> shrink = Compose([CenterCrop(4), lambda picture: picture.convert("L")])
    >>> shrink(Image.new("RGB", (10, 8)), random.Random(0)).mode
    'L'
    """

    def __init__(self, transforms: Sequence[Callable[..., Any]]) -> None:
        self.transforms = list(transforms)

    @property
    def pure(self) -> bool:
        return all(is_pure(transform) for transform in self.transforms)

    def __call__(self, picture: Any, rng: random.Random) -> Any:
        for transform in self.transforms:
            picture = apply(transform, picture, rng)
        return picture

    def __repr__(self) -> str:
        return f"Compose({self.transforms})"


class RandomResizedCrop(Geometry):
    """A random part of the picture, resized to a square, flipped left to right half of the time.

    Args:
        size: height and width of the result, in pixels.
        scale: smallest and largest share of the picture's area to take, 0 to 1.
        ratio: smallest and largest width / height of the part.
        flip: probability of a flip from left to right, 0 to 1. Use 0 where left and right differ, as in digits.

    Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6; antialiased bilinear resizing.
    Where the part is large, its edges are moved to even pixels, so that a JPEG file can be decoded at half its size.

    >>> RandomResizedCrop(8)(Image.new("RGB", (40, 30)), random.Random(0)).size
    (8, 8)
    """

    def __init__(
        self,
        size: int,
        *,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
    ) -> None:
        _check_size("RandomResizedCrop", size)
        _check_range("RandomResizedCrop: scale", scale, 0.0, 1.0)
        _check_range("RandomResizedCrop: ratio", ratio, 0.0, math.inf)
        _check_probability("RandomResizedCrop: flip", flip)
        self.size, self.scale, self.ratio, self.flip = size, (scale[0], scale[1]), (ratio[0], ratio[1]), flip
        self._log_ratio = (math.log(ratio[0]), math.log(ratio[1]))

    def plan(self, width: int, height: int, rng: random.Random) -> View:
        box = self.box(width, height, rng)
        return reduced_view(box, self.size, self.size, rng.random() < self.flip)

    def box(self, width: int, height: int, rng: random.Random) -> Box:
        """The part to take, as left, top, right, bottom in pixels; ten tries, then the largest central part."""
        (least, most), (low, high) = self.scale, self._log_ratio
        for _ in range(10):
            area = width * height * (least + (most - least) * rng.random())
            ratio = math.exp(low + (high - low) * rng.random())
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                left, top = _randint(rng, width - w), _randint(rng, height - h)
                return (left, top, left + w, top + h)
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        w, h = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
        left, top = (width - w) // 2, (height - h) // 2
        return (left, top, left + w, top + h)

    def __repr__(self) -> str:
        return f"RandomResizedCrop({self.size}, scale={self.scale}, ratio={self.ratio}, flip={self.flip})"


class Flips(Geometry):
    """The whole picture in one of its 8 attitudes, each as likely: flipped or not, turned by 0 to 3 quarters.

    Not for pictures that have an up and down. A turned picture has its width and height exchanged, so give it squares.

    >>> Flips()(Image.new("RGB", (8, 8)), random.Random(0)).size
    (8, 8)
    """

    size = 0

    def plan(self, width: int, height: int, rng: random.Random) -> View:
        flip, turns = rng.random() < 0.5, _randint(rng, 3)
        size = (height, width) if turns % 2 else (width, height)
        return View((0, 0, width, height), *size, flip, turns=turns)

    def __repr__(self) -> str:
        return "Flips()"


class CenterCrop(Geometry):
    """The central square of the picture, resized: what validation uses.

    Args:
        size: height and width of the result, in pixels.
        share: which share of the short side the square spans; the customary 0.875 is 224 of 256. ``None``: no resizing,
            the central ``size`` pixels as they are; a smaller picture is a ``DataError``.

    >>> CenterCrop(8)(Image.new("RGB", (40, 30)), random.Random(0)).size
    (8, 8)
    """

    def __init__(self, size: int, *, share: float | None = 0.875) -> None:
        _check_size("CenterCrop", size)
        if share is not None and not 0 < share <= 1:
            raise ConfigError(f"CenterCrop: share must be above 0 and at most 1. Found: {share}")
        self.size, self.share = size, share

    def plan(self, width: int, height: int, rng: random.Random) -> View:
        if self.share is None:
            self._check_fits(width, height)
        side = self.size if self.share is None else max(1, round(min(width, height) * self.share))
        left, top = (width - side) // 2, (height - side) // 2
        return View((left, top, left + side, top + side), self.size, self.size)

    def _check_fits(self, width: int, height: int) -> None:
        if min(width, height) < self.size:
            raise DataError(
                f"CenterCrop({self.size}, share=None) of a picture of {width}x{height} pixels: take a smaller crop, or let "
                "it resize: share=1"
            )

    def __repr__(self) -> str:
        return f"CenterCrop({self.size}, share={self.share})"


def apply(transform: Callable[..., Any] | None, picture: Any, rng: random.Random) -> Any:
    """Call one of loopwright's transforms with its randomness, any other callable without."""
    if transform is None:
        return picture
    if isinstance(transform, Transform):
        return transform(picture, rng)
    if isinstance(picture, Joint):
        raise DataError(
            f"transform= has {getattr(transform, '__name__', transform)}, which is for one picture, and this sample has "
            "several: name the one, as in lw.PerRole(image=...), or use sample_transform=, which is given the whole sample"
        )
    return transform(picture)


def is_pure(transform: Any) -> bool:
    """Whether threads may share it, each with its own source of randomness."""
    return transform is None or (isinstance(transform, Transform) and transform.pure)


def leading_geometry(transform: Any) -> Geometry | None:
    """The transform that meets the picture first, if it is one that need not see all of it."""
    while type(transform) is Compose and transform.transforms:
        transform = transform.transforms[0]
    return transform if isinstance(transform, Geometry) else None


def _randint(rng: random.Random, highest: int) -> int:
    """0 to ``highest``, from one ``random()``: the one draw that Python promises never to change."""
    return int(rng.random() * (highest + 1))


def _begins(room: int, drawn: np.ndarray) -> np.ndarray:
    """Where crops begin that leave so much room; where there is less than none, the picture lies in the middle."""
    return (drawn * (room + 1)).astype(np.int64) if room >= 0 else np.full(len(drawn), -(-room // 2))


def _check_size(name: str, size: int) -> None:
    if not isinstance(size, int) or size < 1:
        raise ConfigError(f"{name}: size must be a whole number of pixels, 1 or more. Found: {size!r}")


def _check_range(name: str, pair: Any, low: float, high: float) -> None:
    if not isinstance(pair, Sequence) or len(pair) != 2 or not low < pair[0] <= pair[1] <= high:
        raise ConfigError(
            f"{name} must be two numbers, the smaller first, above {low:g} and at most {high:g}. Found: {pair}"
        )


def _check_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} must be a probability from 0 to 1. Found: {value}")
