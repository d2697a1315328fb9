"""A run without torch, for tests of what looks at runs from outside: its record, its log, and every end that it can have.

python tiny_run.py FOLDER [END]      END: finished failed refused crash killed hang; else it goes on until it is told to
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from loopwright._record import LOG, Record
from loopwright._signals import Signals
from loopwright._start_file import adopt_output
from loopwright._tee import Tee


def main(folder: Path, end: str) -> int:
    print("before the run")
    os.write(2, b"from below Python\n")
    if end == "refused":
        print("error: nowhere: no such folder", file=sys.stderr)
        return 2
    if end == "crash":
        raise ImportError("no such thing")
    if end == "killed at start":
        os.kill(os.getpid(), signal.SIGKILL)
    record = Record(folder)
    if "--overwrite" in sys.argv[3:]:
        record.clear(keep_lives=False)
    record.begin({"seed": 0})
    adopt_output(folder)
    tee, signals = Tee(folder / LOG, lambda text: None), Signals()
    signals.install()
    print("run opened")
    record.update(loader="none", length="100 epochs", steps_per_epoch=10)
    state, step = "finished", 0
    try:
        while not (folder / "end").exists() and end == "" and signals.received is None:
            step += 1
            record.metrics.append({"kind": "evaluation", "step": step, "epoch": step // 10, "val/loss": 1 / step})
            print(f"step {step}")
            time.sleep(0.02)
        end = end or ((folder / "end").read_text() if (folder / "end").exists() else "stopped")
        if end == "killed":
            sys.stdout.write("half a line")
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        state = end if end in ("finished", "failed", "stopped") else state
        if end == "failed":
            raise ValueError("this went wrong")
    except ValueError as error:
        state, reason = "failed", f"ValueError: {error}"
        record.update(reason=reason)
        raise
    finally:
        record.update(state=state, step=step, ended=time.strftime("%Y-%m-%dT%H:%M:%S%z"))
        tee.close()
        record.close()
        signals.remove()
    if state == "finished":
        time.sleep(0.3)
        print("behind the run", json.dumps({"step": step}))
    return {"finished": 0, "stopped": 143}[state]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""))
