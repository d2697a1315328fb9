"""A trial for the tests of sweeps: a run of a few numbers, without torch, that saves after each epoch and goes on exactly.

python tiny_trial.py run=FOLDER lr=0.1 epochs=4 [wait=0.05] [trouble=nan|killed|odd|mistake|error]

It adds a line to done.txt for each epoch that it does, so that a test sees what was done twice.
"""

import math
import os
import signal
import sys
import time
from pathlib import Path

from loopwright._files import read_json, write_json
from loopwright._record import Record

NAN = "loopwright._errors.NonFiniteError: train/loss became nan"


def main() -> None:
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    folder, lr = Path(given["run"]), float(given["lr"])
    state_file = folder / "state.json"
    if given.get("trouble") == "mistake":
        print("error: data: no such folder", file=sys.stderr)
        sys.exit(2)
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    record = Record(folder)
    state = read_json(state_file) if state_file.exists() else {"epoch": 0, "loss": 1.0, "mark": 0}
    record.cut(state["mark"])
    record.begin({})
    for epoch in range(state["epoch"], int(given["epochs"])):
        time.sleep(float(given.get("wait", 0)))
        trouble(given.get("trouble"), record)
        loss = state["loss"] * (1 - lr) + abs(math.log10(lr) + 2) / 10
        record.metrics.append({"kind": "evaluation", "step": epoch + 1, "epoch": epoch, "val/loss": loss})
        with open("done.txt", "a") as done:
            done.write(f"{folder.name} {epoch} {os.environ['OMP_NUM_THREADS']}\n")
        state = {"epoch": epoch + 1, "loss": loss, "mark": record.mark()}
        write_json(state_file, state)
        if stopped:
            record.update(state="stopped")
            sys.exit(143)
    record.update(state="finished")


def trouble(kind: str | None, record: Record) -> None:
    if kind == "nan":
        record.update(state="failed", reason=NAN)
        sys.exit(1)
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "error":
        raise MemoryError("20 GiB")
    if kind == "odd":
        record.metrics.append({"kind": "evaluation", "step": 1, "epoch": 0, "val/lossy": 1.0})
        record.update(state="finished")
        sys.exit(0)


if __name__ == "__main__":
    main()
