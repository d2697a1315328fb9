"""Many attempts in a process of its own, with a limit of memory, watched from outside: who hangs or crashes is named.

python -m benchmarks.fuzzing._batch TARGET SEED FIRST SECONDS FOLDER     (started by `run_target`)
"""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

LONGEST = 20.0  # seconds that one attempt may take
MOST_ADDRESSES = 6 * 2**30  # bytes of address space beyond what the imports take
_PLACE = struct.Struct("<QQQd")  # the attempt now, how many were refused and loaded, when the attempt began
QUIET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


@dataclass
class Tally:
    """What came of the attempts at a target; of failures of one kind the first is kept, and how many there were."""

    target: str
    tried: int = 0
    refused: int = 0
    loaded: int = 0
    failures: dict[str, tuple[int, int]] = field(default_factory=dict)  # what -> first number, how often

    def fail(self, number: int, what: str) -> None:
        first, count = self.failures.get(what, (number, 0))
        self.failures[what] = first, count + 1


def run_target(name: str, seed: int, seconds: float, folder: Path) -> Tally:
    """Attempts at a target for so long."""
    tally, number, end = Tally(name), 0, time.monotonic() + seconds
    folder.mkdir(parents=True, exist_ok=True)
    while (left := end - time.monotonic()) > 0 or not tally.tried:
        number = _run_batch(tally, name, seed, number, max(left, 1.0), folder)
    return tally


def _run_batch(tally: Tally, name: str, seed: int, first: int, seconds: float, folder: Path) -> int:
    """One process, until its time is up, or it hangs or crashes; the number to go on with."""
    place, notes = folder / "place", folder / "notes"
    place.write_bytes(_PLACE.pack(first, 0, 0, 0.0))
    notes.write_bytes(b"")
    command = [
        sys.executable,
        "-m",
        "benchmarks.fuzzing._batch",
        name,
        str(seed),
        str(first),
        str(seconds),
        str(folder),
    ]
    with open(folder / "errors", "wb") as errors:
        process = subprocess.Popen(
            command, env=os.environ | QUIET, stderr=errors, stdout=errors, start_new_session=True
        )
        while (code := _code(process)) is None:
            now, _, _, began = _PLACE.unpack(place.read_bytes())
            if began and time.monotonic() - began > LONGEST:
                process.kill()
                process.wait()
                code = f"takes more than {LONGEST:.0f} s"
                break
    now, refused, loaded, began = _PLACE.unpack(place.read_bytes())
    said = [json.loads(line) for line in notes.read_text().splitlines()]
    for number, what in said:
        tally.fail(number, what)
    if code:
        if not began:
            raise RuntimeError((folder / "errors").read_text()[-2000:])
        tally.fail(now, code if isinstance(code, str) else f"ends the process with code {code}")
    tally.refused, tally.loaded = tally.refused + refused, tally.loaded + loaded
    tally.tried += refused + loaded + len(said) + bool(code)
    return now + 1


def _code(process: subprocess.Popen[bytes]) -> int | str | None:
    try:
        return process.wait(0.5)
    except subprocess.TimeoutExpired:
        return None


def main(name: str, seed: str, first: str, seconds: str, folder: str) -> None:
    from benchmarks.fuzzing._attempt import Attempts
    from benchmarks.fuzzing._targets import TARGETS

    target = next(target for target in TARGETS if target.name == name)
    attempts = Attempts(target, int(seed), Path(folder, "files").absolute())
    place = os.open(Path(folder, "place"), os.O_WRONLY)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MOST_ADDRESSES, size + MOST_ADDRESSES))
    number, refused, loaded, end = int(first), 0, 0, time.monotonic() + float(seconds)
    with open(Path(folder, "notes"), "a", buffering=1) as notes:
        while True:
            os.pwrite(place, _PLACE.pack(number, refused, loaded, time.monotonic()), 0)
            outcome = attempts.of(number)
            if outcome not in ("refused", "loaded"):
                notes.write(json.dumps([number, outcome]) + "\n")
            refused, loaded = refused + (outcome == "refused"), loaded + (outcome == "loaded")
            if time.monotonic() >= end:
                os.pwrite(place, _PLACE.pack(number, refused, loaded, 0.0), 0)
                return
            number += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
