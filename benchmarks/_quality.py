"""How far pictures decoded at a scale are from those decoded in full: PSNR of the same parts of the same photographs.

python -m benchmarks._quality FOLDER RESULT.json SIZE ...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.feeds.with_loopwright import scaled_and_full


def main(photos: Path, result: Path, sizes: list[int]) -> None:
    result.write_text(json.dumps({str(size): compare(photos, size) for size in sizes}))


def compare(photos: Path, size: int) -> dict[str, float]:
    """PSNR in dB of the pictures that differ at all: the others were decoded in full both times."""
    values: list[float] = []
    count = 0
    for scaled, full in scaled_and_full(photos, size):
        errors = ((scaled.astype(np.float64) - full) ** 2).reshape(len(scaled), -1).mean(axis=1)
        values += [float(10 * np.log10(255**2 / error)) for error in errors if error > 0]
        count += len(errors)
    if not values:
        return {"count": count, "differing": 0}
    return {
        "count": count,
        "differing": len(values),
        "median": float(np.median(values)),
        "worst": min(values),
        "one_in_a_hundred": float(np.percentile(values, 1)),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [int(size) for size in sys.argv[3:]])
