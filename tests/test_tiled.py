"""A picture in parts is the picture at once, as far as the model sees no further than the overlap."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import loopwright as lw
from loopwright._errors import ConfigError, DataError


def convolutions(reach: int) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1 if n == 0 else 4, 4, 3, padding=1) for n in range(reach)]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU()))).eval().requires_grad_(False)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 3), st.integers(9, 40), st.sampled_from([1, 4]))
def test_it_is_the_whole_at_once(height: int, width: int, reach: int, tile: int, align: int) -> None:
    model, picture = convolutions(reach), torch.rand(2, 1, height, width)
    if tile - reach - -(-reach // align) * align < align:
        return
    sides: list[int] = []

    def watched(part: torch.Tensor) -> torch.Tensor:
        sides.extend(part.shape[2:])
        return model(part)

    made = lw.tiled(watched, picture, tile=tile, overlap=reach, align=align)
    assert max(sides) <= tile + reach, "a rest that is but context is kept with the last tile"
    torch.testing.assert_close(made, model(picture), atol=1e-6, rtol=1e-5)


def test_bits_are_the_same_in_exact_arithmetic() -> None:
    layer = nn.Conv2d(1, 3, 5, padding=2, bias=False, dtype=torch.float64).requires_grad_(False)
    layer.weight.copy_(torch.randint(-3, 4, layer.weight.shape))  # sums of small integers are exact in any order
    picture = torch.randint(0, 256, (1, 1, 61, 83)).double()
    assert torch.equal(lw.tiled(layer, picture, tile=16, overlap=2), layer(picture))


def test_a_shorter_overlap_is_seen() -> None:
    model, picture = convolutions(3), torch.rand(1, 1, 64, 64)
    assert not torch.allclose(lw.tiled(model, picture, tile=20, overlap=2), model(picture), atol=1e-6)


@pytest.mark.parametrize("size", [(96, 128), (75, 101)])
def test_dncnn_and_unet_in_parts(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    picture = torch.rand(1, 1, *size)
    dncnn, unet = lw.dncnn(depth=6, width=8).eval(), lw.unet(1, width=4, levels=2).eval()
    with torch.no_grad():
        torch.testing.assert_close(lw.tiled(dncnn, picture, tile=32, overlap=6), dncnn(picture), atol=1e-5, rtol=1e-5)
        made = lw.tiled(unet, picture, tile=72, overlap=28, align=unet.multiple)
        torch.testing.assert_close(made, unet(picture), atol=1e-5, rtol=1e-5)


class Twice(nn.Module):
    """Super-resolution of two."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.shuffle = nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shuffle(self.layer(x))


@pytest.mark.parametrize("size", [(33, 47), (16, 16), (40, 9)])
def test_models_that_enlarge_or_reduce(size: tuple[int, int]) -> None:
    model, picture = Twice().eval(), torch.rand(1, 1, *size)
    with torch.no_grad():
        assert torch.allclose(lw.tiled(model, picture, tile=12, overlap=1), model(picture), atol=1e-6)
        half, even = nn.AvgPool2d(2), picture[:, :, : size[0] // 2 * 2, : size[1] // 2 * 2]
        assert torch.allclose(lw.tiled(half, even, tile=12, overlap=2, align=2), half(even))


def test_several_inputs_and_a_place_to_write_to() -> None:
    pictures = torch.rand(1, 1, 30, 40), torch.rand(1, 3, 30, 40)
    out = torch.empty(1, 3, 30, 40, dtype=torch.float64)
    made = lw.tiled(lambda gray, color: gray + color, pictures, tile=16, overlap=2, out=out)
    assert made is out
    assert torch.equal(out.float(), pictures[0] + pictures[1])


def test_mistakes_are_named() -> None:
    picture = torch.rand(1, 1, 30, 40)
    with pytest.raises(ConfigError, match="make tile larger"):
        lw.tiled(nn.Identity(), picture, tile=16, overlap=8)
    with pytest.raises(ConfigError, match="overlap must be a whole number, 0 or more"):
        lw.tiled(nn.Identity(), picture, overlap=-1)
    with pytest.raises(DataError, match="of one size"):
        lw.tiled(lambda a, b: a, [picture, picture[..., 1:]])
    with pytest.raises(DataError, match="needs a size that is a multiple"):
        lw.tiled(lambda x: x[..., 1:], picture)


LARGE = """
import resource, sys, torch, numpy as np, loopwright as lw
from torch import nn
torch.set_num_threads(1)
side, folder = int(sys.argv[1]), sys.argv[2]
source = np.memmap(folder + "/in.raw", np.uint8, "w+", shape=(1, 1, side, side))
target = np.memmap(folder + "/out.raw", np.uint8, "w+", shape=(1, 1, side, side))
for row in range(0, side, 500):
    source[0, 0, row : row + 500] = np.arange(side, dtype=np.uint8)
net = nn.Conv2d(1, 1, 3, padding=1).requires_grad_(False)
def model(part):
    return net(part.float() / 255).mul(255).clamp(0, 255).round().byte()
small = torch.from_numpy(source[:, :, :600, :600])
lw.tiled(model, small, tile=512, overlap=8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
lw.tiled(model, torch.from_numpy(source), tile=512, overlap=8, out=torch.from_numpy(target))
def anonymous():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("RssAnon"))
corner = model(torch.from_numpy(source[:, :, :700, :700]))[..., :600, :600]
whole = torch.equal(corner, torch.from_numpy(target[:, :, :600, :600]))
print(anonymous() // 1024, whole)
"""


@pytest.mark.slow
def test_a_picture_of_100_megapixels_takes_no_more_memory_than_its_tiles(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LARGE, "10000", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    mebibytes, whole = done.stdout.split()
    assert whole == "True"
    assert int(mebibytes) < 400, "of which Python and torch have about 200"
