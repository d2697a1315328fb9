"""Clean pictures made worse on the fly: noise, blur, fewer pixels, JPEG. Knows no files, datasets or batches.

It is done on the CPU, for each sample by itself and after its crop, with the sample's own stream: JPEG can be had nowhere
else, readers hide the time, and so what is drawn is a function of (seed, epoch, sample) like every crop. A data set of
clean pictures with ``Degrade`` behind it is a data set of pairs, in any engine, cached or not, cut short or not.
"""

import hashlib
import inspect
import io
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image

from .._errors import ConfigError, DataError
from .._names import check_arguments, did_you_mean, load_object
from .._seed import SampleRandom
from ._transforms import Transform

Span: TypeAlias = float | Sequence[float]  # a number, or the least and the most of a range to draw from


class Degradation(ABC):
    """One way of getting worse: from float32 pixels (H, W, C) in 0..1 to such pixels, which need not keep to 0..1.

    Subclasses draw from ``rng`` alone. ``factor`` is how many times fewer rows and columns come out.
    """

    factor = 1

    @abstractmethod
    def __call__(self, pixels: np.ndarray, rng: random.Random) -> np.ndarray: ...


class AddNoise(Degradation):
    """Gaussian noise, independent in each pixel and channel, neither clipped nor rounded, as denoising papers have it.

    Args:
        sigma: its standard deviation, of 255; or the least and the most of it ("blind"), each picture's drawn evenly.

    The numbers are those of NumPy's generator (Philox), keyed by the sample's stream.

    >>> noisy = AddNoise(25)(np.full((64, 64, 1), 0.5, np.float32), random.Random(0))
    >>> bool(abs(noisy.std() * 255 - 25) < 1)
    True
    """

    def __init__(self, sigma: Span) -> None:
        self.sigma = _span("AddNoise: sigma", sigma, 0)

    def __call__(self, pixels: np.ndarray, rng: random.Random) -> np.ndarray:
        sigma = _drawn(self.sigma, rng) / 255
        source = np.random.Generator(np.random.Philox(key=rng.getrandbits(128)))
        return pixels + np.float32(sigma) * source.standard_normal(pixels.shape, np.float32)

    def __repr__(self) -> str:
        return f"AddNoise({_shown(self.sigma)})"


class Blur(Degradation):
    """A Gaussian blur; the picture goes on beyond its edges as its mirror image.

    Args:
        sigma: its standard deviation in pixels, or the least and the most of it. 0 changes nothing.
    """

    def __init__(self, sigma: Span) -> None:
        self.sigma = _span("Blur: sigma", sigma, 0)

    def __call__(self, pixels: np.ndarray, rng: random.Random) -> np.ndarray:
        sigma = _drawn(self.sigma, rng)
        if sigma == 0:
            return pixels
        places = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
        taps = np.exp(-0.5 * (places / sigma) ** 2)
        taps = (taps / taps.sum()).astype(np.float32)
        return _along(_along(pixels, taps, 0), taps, 1)

    def __repr__(self) -> str:
        return f"Blur({_shown(self.sigma)})"


class Downscale(Degradation):
    """Fewer pixels: bicubic, with antialiasing, as the input of super-resolution.

    Args:
        factor: how many times fewer rows and columns, 2 or more.
        enlarge: bring the picture back to its size, bicubic too: for models that keep the size.

    What does not divide by the factor is cut off the clean picture, at its right and lower edge, by ``Degrade``.
    """

    def __init__(self, factor: int, *, enlarge: bool = False) -> None:
        if not isinstance(factor, int) or isinstance(factor, bool) or factor < 2:
            raise ConfigError(f"Downscale: factor must be a whole number, 2 or more. Found: {factor!r}")
        self.by, self.enlarge = factor, enlarge
        self.factor = 1 if enlarge else factor

    def __call__(self, pixels: np.ndarray, rng: random.Random) -> np.ndarray:
        height, width = pixels.shape[:2]
        if min(height, width) < self.by:
            raise DataError(f"Downscale({self.by}) of a picture of {width}x{height} pixels leaves nothing")
        small = _resized(pixels, height // self.by, width // self.by)
        return _resized(small, height, width) if self.enlarge else small

    def __repr__(self) -> str:
        return f"Downscale({self.by}{', enlarge=True' if self.enlarge else ''})"


class JPEG(Degradation):
    """What a JPEG file keeps of the picture, which is rounded to 8 bits for it.

    Args:
        quality: 1 to 100, or the least and the most of it.

    Colours are stored at half their resolution, as cameras and the web do.
    """

    def __init__(self, quality: Span) -> None:
        self.quality = _span("JPEG: quality", quality, 1, 100)

    def __call__(self, pixels: np.ndarray, rng: random.Random) -> np.ndarray:
        quality = round(_drawn(self.quality, rng))
        if pixels.shape[2] not in (1, 3):
            raise DataError(f"JPEG is for gray and RGB pictures. Found: {pixels.shape[2]} channels")
        stored = np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(stored[:, :, 0] if stored.shape[2] == 1 else stored).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file), np.float32).reshape(pixels.shape) / np.float32(255)

    def __repr__(self) -> str:
        return f"JPEG({_shown(self.quality)})"


class Degrade(Transform):
    """Beside each clean picture one that is worse: a ``sample_transform``, so that it comes behind the crop.

    Args:
        steps: what is done to it, in this order: ``AddNoise``, ``Blur``, ``Downscale``, ``JPEG``, or functions of yours
            from (float32 pixels (H, W, C) in 0..1, ``random.Random``) to such pixels.
        source: the role of the clean picture. A sample that is a picture, or a tuple that begins with one, becomes a
            dictionary that has it by this name, and nothing else.
        into: the role of what is made: float32 (C, H, W), about 0..1.
        fixed: a seed: what is drawn follows from it and from the clean picture alone, the same in each epoch, for
            validation. Default: it is drawn from (seed, epoch, sample).

    Raises:
        DataError: a sample has no such picture.

    >>> pair = Degrade([AddNoise(25)])({"target": Image.new("L", (8, 6), 128)}, random.Random(0))
    >>> pair["input"].shape, pair["target"].size
    (torch.Size([1, 6, 8]), (8, 6))
    """

    pure = True

    def __init__(
        self,
        steps: Sequence[Callable[[np.ndarray, random.Random], np.ndarray]],
        *,
        source: str = "target",
        into: str = "input",
        fixed: int | None = None,
    ) -> None:
        self.steps, self.source, self.into, self.fixed = list(steps), source, into, fixed
        if source == into:
            raise ConfigError(
                f"Degrade: source and into are both {source!r}: what is made worse needs a name of its own"
            )
        if wrong := [step for step in self.steps if not callable(step)]:
            raise ConfigError(f"Degrade: steps must be functions of (pixels, rng). Found: {wrong[0]!r}")
        self.factor = int(np.prod([getattr(step, "factor", 1) for step in self.steps], dtype=np.int64))

    def __call__(self, sample: Any, rng: random.Random) -> dict[str, Any]:
        roles = self._roles(sample)
        clean = roles[self.source] = self._whole(roles[self.source])
        pixels = unit_pixels(clean)
        if self.fixed is not None:
            content = hashlib.blake2b(pixels.tobytes(), digest_size=8).digest()
            rng = SampleRandom(self.fixed, 0, int.from_bytes(content, "little") >> 1)
        for step in self.steps:
            pixels = step(pixels, rng)
        worse = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)
        return {self.into: torch.from_numpy(worse), **roles}

    def _roles(self, sample: Any) -> dict[str, Any]:
        if isinstance(sample, Mapping):
            if self.source not in sample:
                raise DataError(f"Degrade: a sample has no {self.source!r}: {did_you_mean(self.source, sample)}")
            return dict(sample)
        picture = sample[0] if isinstance(sample, list | tuple) and sample else sample
        return {self.source: picture}

    def _whole(self, clean: Any) -> Any:
        """The clean picture, without the rows and columns that do not divide by the factor."""
        if self.factor == 1:
            return clean
        array = np.asarray(clean)
        height, width = (side - side % self.factor for side in array.shape[:2])
        part = array[:height, :width]
        return Image.fromarray(np.ascontiguousarray(part)) if isinstance(clean, Image.Image) else part

    def __repr__(self) -> str:
        fixed = "" if self.fixed is None else f", fixed={self.fixed}"
        return f"Degrade({self.steps}, source={self.source!r}, into={self.into!r}{fixed})"


DEGRADATIONS: dict[str, Callable[..., Any]] = {"noise": AddNoise, "blur": Blur, "downscale": Downscale, "jpeg": JPEG}


def build_degradation(name: str, **arguments: Any) -> Callable[[np.ndarray, random.Random], np.ndarray]:
    """A step of ``Degrade`` by name: ``noise``, ``blur``, ``downscale``, ``jpeg``, or ``package.module:Class``.

    >>> build_degradation("noise", sigma=(0, 55))
    AddNoise((0, 55))
    """
    found = find_degradation(name)
    check_arguments(found, arguments, place=f"degrade.{name}")
    try:
        inspect.signature(found).bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"degrade: {name} is {error}") from None
    return found(**arguments)


def find_degradation(name: str) -> Callable[..., Any]:
    """The class of a name; ``ConfigError`` with near names where there is none."""
    if ":" in name:
        return load_object(name)
    if name not in DEGRADATIONS:
        question = did_you_mean(name, DEGRADATIONS) or f"there are {', '.join(DEGRADATIONS)}"
        raise ConfigError(f"there is no degradation {name!r}: {question}, or write package.module:Class")
    return DEGRADATIONS[name]


def unit_pixels(picture: Any) -> np.ndarray:
    """A picture's numbers as float32 (H, W, C): integers as shares of the most that their type holds, floats as they are."""
    array = np.asarray(picture)
    if array.ndim not in (2, 3) or array.dtype.kind not in "uf":
        raise DataError(
            f"a picture has unsigned integers or floats (H, W) or (H, W, C). Found: {array.dtype} {array.shape}"
        )
    array = array[:, :, None] if array.ndim == 2 else array
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)


def _along(pixels: np.ndarray, taps: np.ndarray, axis: int) -> np.ndarray:
    """The weighted sum of neighbours along one axis."""
    reach, size = len(taps) // 2, pixels.shape[axis]
    padding = [(reach, reach) if number == axis else (0, 0) for number in range(3)]
    padded = np.pad(pixels, padding, mode="symmetric")
    made = np.zeros_like(pixels)
    for place, weight in enumerate(taps):
        made += weight * padded[(slice(None),) * axis + (slice(place, place + size),)]
    return made


def _resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
    made = torch.nn.functional.interpolate(planes, (height, width), mode="bicubic", antialias=True)
    return made[0].numpy().transpose(1, 2, 0)


def _span(name: str, value: Any, least: float, most: float = float("inf")) -> tuple[float, float]:
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    numbers = len(pair) == 2 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in pair)
    if not numbers or not least <= pair[0] <= pair[1] <= most:
        limits = f"{least:g} or more" if most == float("inf") else f"{least:g} to {most:g}"
        raise ConfigError(f"{name} must be a number, or the least and the most of a range, {limits}. Found: {value!r}")
    return pair[0], pair[1]


def _drawn(span: tuple[float, float], rng: random.Random) -> float:
    return span[0] if span[0] == span[1] else span[0] + (span[1] - span[0]) * rng.random()


def _shown(span: tuple[float, float]) -> str:
    return f"{span[0]}" if span[0] == span[1] else f"{span}"
