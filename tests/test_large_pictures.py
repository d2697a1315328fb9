"""``predict`` of a picture of 100 megapixels, within the memory that docs/image-to-image.md states."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_data import clean_photos, of_restore
from PIL import Image

import loopwright as lw
from loopwright.recipes._picture_settings import RestoreSettings
from loopwright.recipes._restore import train

LIMITS = {"gray": 1024, "gray16": 1536}  # MiB at most, Python and torch included: docs/image-to-image.md
PREDICT = """
import resource, sys
import torch
from loopwright import cli
torch.set_num_threads(1)
code = cli.main(["predict", *sys.argv[1:], "--device", "cpu", "--tile", "1024", "--overlap", "8"])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("peak", int(peak.split()[1]) // 1024)
sys.exit(code)
"""


def written(path: Path, side: int, kind: str) -> np.ndarray:
    """A picture whose levels depend on their places."""
    rows, columns = np.arange(side, dtype=np.uint32)[:, None], np.arange(side, dtype=np.uint32)[None]
    values = (rows * 7 + columns * 3).astype(np.uint16)
    values = values if kind == "gray16" else (values >> 8).astype(np.uint8)
    if kind == "gray16":
        lw.write_picture(path, values)
    else:
        Image.fromarray(values).save(path, compress_level=1)
    return values


@pytest.mark.slow
@pytest.mark.parametrize("kind", LIMITS)
def test_predict_of_100_megapixels_stays_within_the_stated_memory(kind: str, tmp_path: Path) -> None:
    values = of_restore(clean_photos(tmp_path), tmp_path / "run", epochs=1)
    train(lw.load_config(values, schema=RestoreSettings), progress=False)
    source = written(tmp_path / "large.png", 10_000, kind)
    command = [sys.executable, "-c", PREDICT, str(tmp_path / "run"), str(tmp_path / "large.png")]
    done = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=True)
    peak = int(done.stdout.split()[-1])
    with lw.data._picture.large_pictures():
        made = lw.read_stored(tmp_path / "out" / "large.png").values
    assert (made.shape, made.dtype) == (source.shape, source.dtype)
    levels, model = np.iinfo(source.dtype).max, lw.open_pictures_model(tmp_path / "run").model
    corner = torch.from_numpy(source[-600:, -600:].astype(np.float32) / levels)[None, None]
    expected = (lw.quantized(model(corner), levels)[0, 0, 10:, 10:] * levels).round().numpy()
    assert np.abs(made[-590:, -590:].astype(int) - expected).max() <= (1 if kind == "gray" else 8)
    print(f"{kind}: {peak} MiB")
    assert peak < LIMITS[kind], f"{peak} MiB"
