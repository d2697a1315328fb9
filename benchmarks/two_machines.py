"""A training on two machines of which one is killed and comes back, beside one that nobody disturbed: the same end?

    python -m benchmarks.two_machines [--quick] [--json FILE] [--seed N]

The machines are two network namespaces joined by a cable (see `_netns.py`; root makes them), and on each there is a
`torchrun` that starts `loopwright train`; the agents find each other by c10d rendezvous over the cable. Killed, by SIGKILL
of the agent and its rank at once, are first the machine that joined and then the one that keeps the rendezvous. The killed
machine is started again; where it kept the rendezvous, the other's agent ends by itself, and is started again, too.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import loopwright as lw
from benchmarks._netns import Machine, two_machines, why_not
from benchmarks._rank_life import ENVIRONMENT, SETTINGS, same_history, same_weights
from benchmarks._table import Row, arguments, print_machine, print_matrix, versions, write_json

PORT = 29400
HANGS_S = 400.0
RESTARTS = 20  # at most, of an agent's ranks


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    options = parser.parse_args()
    if (reason := why_not()) is not None:
        sys.exit(reason)
    print_machine("start")
    with tempfile.TemporaryDirectory() as folder:
        rows = compare(Path(folder), random.Random(options.seed), 1 if options.quick else 3)
    print_matrix(rows)
    print_machine("\nend")
    write_json(rows, options.json)


@dataclass
class Node:
    """A machine with the torchrun that is on it."""

    machine: Machine
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """As a power cut would: everything on it at once."""
        for pid in self.machine.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def compare(folder: Path, rng: random.Random, times: int) -> list[Row]:
    """The rows: of each machine, how many trainings in which it was killed ended as the undisturbed one."""
    with two_machines() as machines:
        whole, seconds, _ = train(folder / "whole", machines, None, rng)
        print(f"  undisturbed: {seconds:.0f} s", flush=True)
        rows = []
        for victim, title in ((1, "the machine that joined"), (0, "the machine that keeps the rendezvous")):
            equal, steps = 0, []
            for number in range(times):
                broken, seconds, step = train(folder / f"broken-{victim}-{number}", machines, victim, rng)
                same = same_weights(whole, broken) and same_history(whole, broken)
                equal, steps = equal + same, [*steps, step]
                print(
                    f"  {title} killed after the checkpoint of step {step}: {seconds:.0f} s, same end: {same}",
                    flush=True,
                )
            rows.append(
                Row(
                    f"killed and back: {title}", "loopwright", equal, f"of {times}", equal / times, times,
                    versions=versions(["torch"])[0], note=f"killed after the checkpoints of steps {steps}",
                )
            )  # fmt: skip
        return rows


def train(folder: Path, machines: list[Machine], victim: int | None, rng: random.Random) -> tuple[Path, float, int]:
    """Train to the end; the run's folder, the seconds, and the last checkpoint's step when a machine was killed."""
    folder.mkdir()
    began, step, life = time.perf_counter(), 0, f"{folder.name}-{os.getpid()}"
    nodes = [start(machine, machines[0], folder, life) for machine in machines]
    try:
        if victim is not None:
            step = _await_checkpoints(folder, rng.randint(2, 8), nodes)
            nodes[victim].kill()
            if victim == 0:  # the other agent has lost the rendezvous, and ends
                nodes[1].process.wait(HANGS_S)
                nodes = [start(machine, machines[0], folder, f"{life}-again") for machine in machines]
            else:
                time.sleep(1.0)  # a machine takes a while to come back
                nodes[1] = start(machines[1], machines[0], folder, life)
        codes = [node.process.wait(HANGS_S) for node in nodes]
    finally:
        for node in nodes:
            if node.process.poll() is None:
                node.kill()
    if any(codes):
        texts = "\n".join(path.read_text()[-3000:] for path in sorted(folder.glob("*.txt")))
        raise RuntimeError(f"exit codes {codes}\n{texts}")
    return folder / "run", time.perf_counter() - began, step


def start(machine: Machine, keeper: Machine, folder: Path, life: str) -> Node:
    """torchrun on a machine, its output beside the run."""
    inside = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d"]
    inside += [f"--rdzv-endpoint={keeper.address}:{PORT}", f"--rdzv-id={life}", f"--max-restarts={RESTARTS}"]
    inside += [f"--local-addr={machine.address}", "--monitor-interval=0.1"]
    # Whether an agent keeps the rendezvous it tells by its machine's name, which both of these share.
    inside += [f"--rdzv-conf=is_host={int(machine == keeper)},keep_alive_interval=1,keep_alive_max_attempt=3"]
    inside += ["-m", "loopwright", "train", f"data={lw.demo_photos()}", *SETTINGS, f"run={folder / 'run'}"]
    told = ENVIRONMENT | {"GLOO_SOCKET_IFNAME": machine.interface, "OMP_NUM_THREADS": "1"}
    # Else torch 2.15 tells a machine that comes back nothing of where rank 0 is, and both wait until they give up.
    told["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    with (folder / f"{machine.interface}.txt").open("ab") as out:
        command = machine.command(inside)
        return Node(
            machine,
            subprocess.Popen(command, env=os.environ | told, stdout=out, stderr=out, start_new_session=True),
        )


def _await_checkpoints(folder: Path, count: int, nodes: list[Node]) -> int:
    """Wait until so many checkpoints were written; the step of the last one."""
    seen: set[str] = set()
    given_up = time.perf_counter() + HANGS_S
    while len(seen) < count:
        if any(node.process.poll() is not None for node in nodes) or time.perf_counter() > given_up:
            texts = "\n".join(path.read_text()[-3000:] for path in sorted(folder.glob("*.txt")))
            raise RuntimeError(f"no {count} checkpoints came to be\n{texts}")
        seen |= {path.name for path in (folder / "run/checkpoints").glob("step-*")}
        time.sleep(0.005)
    return max(int(name.rpartition("-")[2]) for name in seen)


if __name__ == "__main__":
    main()
