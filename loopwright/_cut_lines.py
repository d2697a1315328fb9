"""Files of JSON lines beside a run's metrics: cut back to where a resumed run goes on. Knows nothing of runs."""

import os
from pathlib import Path

from ._files import open_unlinked, parse_json


def cut_after_step(path: Path, step: int) -> None:
    """Remove the lines of later steps, which a killed life has written, and a last line that is none.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "histograms.jsonl")
    >>> _ = path.write_text('{"step": 2}\\n{"step": 4}\\n{"st')
    >>> cut_after_step(path, 2)
    >>> path.read_text()
    '{"step": 2}\\n'
    """
    if not path.exists():
        return
    with os.fdopen(open_unlinked(path, os.O_RDWR), "r+b") as file:
        keep = 0
        for line in file:
            if not line.endswith(b"\n") or _step(line) > step:
                break
            keep += len(line)
        file.truncate(keep)


def _step(line: bytes) -> float:
    try:
        return float(parse_json(line.decode("utf-8", "replace"))["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
