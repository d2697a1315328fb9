"""Laws of the copies in C: the numbers of NumPy's, wherever they lie, and the same batches without what was compiled."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import loopwright as lw
from loopwright.data import _cutter, _view

compiled = pytest.importorskip("loopwright.data._crop_copy")


@settings(deadline=None, max_examples=300)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 90),
    spare=st.tuples(*[st.integers(0, 3)] * 4),
    mirrored=st.booleans(),
    streamed=st.booleans(),
    upside_down=st.booleans(),
)
def test_pixels_are_copied_and_nothing_beside_them(
    height: int, width: int, spare: tuple[int, ...], mirrored: bool, streamed: bool, upside_down: bool
) -> None:
    left, top, right, bottom = spare
    pixels = np.random.default_rng(height * width).integers(0, 256, (height + 3, width + 3, 3), np.uint8)
    source = pixels[top : top + height, left : left + width][:: -1 if upside_down else 1]
    room = np.full((height + bottom, width + right, 3), 77, np.uint8)
    compiled.copy(source, room[:height, :width], mirrored, streamed)
    expected = np.full_like(room, 77)
    expected[:height, :width] = source[:, ::-1] if mirrored else source
    assert np.array_equal(room, expected)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("width", [1, 5, 16, 17, 64])
def test_pixels_are_mirrored_where_they_are(width: int, streamed: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, width, 3), np.uint8)
    expected = pixels[:, ::-1].copy()
    compiled.copy(pixels, pixels, True, streamed)
    assert np.array_equal(pixels, expected)


PIXELS = np.zeros((4, 6, 3), np.uint8)
REFUSED: dict[str, tuple[Callable[[], np.ndarray], Callable[[], np.ndarray]]] = {
    "rows": (lambda: PIXELS, lambda: np.zeros((5, 6, 3), np.uint8)),
    "columns": (lambda: PIXELS, lambda: np.zeros((4, 7, 3), np.uint8)),
    "channels": (lambda: np.zeros((4, 6, 4), np.uint8), lambda: np.zeros((4, 6, 4), np.uint8)),
    "axes": (lambda: np.zeros((4, 18), np.uint8), lambda: np.zeros((4, 18), np.uint8)),
    "wide numbers": (lambda: np.zeros((4, 6, 3), np.uint16), lambda: PIXELS.copy()),
    "columns apart": (lambda: np.zeros((4, 12, 3), np.uint8)[:, ::2], lambda: PIXELS.copy()),
    "columns backwards": (lambda: PIXELS, lambda: np.zeros((4, 6, 3), np.uint8)[:, ::-1]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_pixels_is_refused(what: str) -> None:
    source, target = (make() for make in REFUSED[what])
    with pytest.raises(ValueError, match="as many pixels"):
        compiled.copy(source, target, True, False)


def test_memory_that_may_not_be_written_to_is_not() -> None:
    locked = PIXELS.copy()
    locked.flags.writeable = False
    with pytest.raises((BufferError, ValueError)):
        compiled.copy(PIXELS, locked, False, False)
    with pytest.raises(TypeError):
        compiled.copy(PIXELS, "text", False, False)


@pytest.mark.parametrize(
    "transform", [lw.RandomCrop(32), lw.RandomCrop(37), lw.RandomResizedCrop(33), lw.CenterCrop(40)]
)
def test_batches_are_the_same_without_what_was_compiled(
    transform: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lw.pack(lw.ImageFolder(lw.demo_photos(), split="val"), tmp_path / "p.pack", size=48, crop=True, progress=False)

    def batches() -> list[torch.Tensor]:
        loader = lw.Loader(lw.Packed(tmp_path / "p.pack"), 8, transform=transform, engine="threads", workers=1, seed=3)  # type: ignore[arg-type]
        made = [pictures.clone() for pictures, _ in loader]
        loader.close()
        return made

    made = batches()
    monkeypatch.setattr(_cutter, "_crop_copy", None)
    monkeypatch.setattr(_view, "_crop_copy", None)
    assert all(torch.equal(one, other) for one, other in zip(made, batches(), strict=True))
