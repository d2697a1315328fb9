"""Stands for torchrun and its one process, without torch: the process runs until it is told to stop, or as MODE says.

MODE=finishes|fails|deaf, else it waits; READY: a file that it makes when it listens
"""

import os
import subprocess
import sys
import time
from pathlib import Path


def agent() -> int:
    """Says what its process says, and starts none again."""
    os.environ["TORCHELASTIC_RUN_ID"] = "1"
    return subprocess.run([sys.executable, __file__, "process"]).returncode


def process() -> int:
    from loopwright._signals import Signals

    mode, signals = os.environ.get("MODE", ""), Signals()
    if mode != "deaf":
        signals.install()
    Path(os.environ["READY"]).touch()
    while mode not in ("finishes", "fails") and signals.noted is None:
        time.sleep(0.01)
    if mode == "slow":
        time.sleep(0.5)
    signals.received = signals.noted
    signals.leave()
    return int(mode == "fails")


if __name__ == "__main__":
    sys.exit(agent() if len(sys.argv) == 1 else process())
