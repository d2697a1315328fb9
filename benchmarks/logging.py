"""What one logged scalar a step costs the training loop, and what of 2,000 of them SIGKILL takes.

    python -m benchmarks.logging [--quick] [--json FILE] [--rounds N]

Steps of about half a millisecond on one thread. Chunks of 10 steps that log alternate with as many of the bare work, in one
process, so that what the machine does to one it does to the other. The figure is the mean difference of neighbours, with all
that the loop around the step costs, of pairs in which the core was taken from neither; the note has the processor time of
the loop's thread. Ours logs with `report_every="1 steps"`, a line of the record for each scalar, while the mirror is
at work; the others are called directly, as their documentation has it, in a plain loop. Each measurement is a fresh process,
all in a new random order each round, and begins when the tracker has taken its first scalars.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks._clock import Instant
from benchmarks._table import Row, arguments, median_row, print_machine, print_rows, versions, write_json

CHUNK = 10
KILLED_AT = 2000
QUIET = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "WANDB_MODE": "offline",
    "WANDB_SILENT": "true", "MLFLOW_DISABLE_TELEMETRY": "true",
}  # fmt: skip
PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
OURS = ("record", "tensorboard", "mlflow", "wandb", "all three")
DIRECT = ("JSON lines", "TensorBoard", "MLflow", "MLflow, asynchronous", "MLflow, log_batch of 500", "W&B offline")
SLOW = {"MLflow": 300}  # scalars, of what takes 20 ms for each
BASE = {"tensorboard": "TensorBoard", "mlflow": "MLflow", "wandb": "W&B offline"}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, help="measurements of each (default 5; 2 if --quick)")
    parser.add_argument("--one", nargs=3, metavar="X", help="one measurement: used by the program itself")
    parser.add_argument("--kill", nargs=2, metavar="X", help="one life that kills itself: used by the program itself")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    if options.kill:
        live_and_die(*options.kill)
    print_machine("start")
    rounds = options.rounds or (2 if options.quick else 5)
    rows = [*costs(rounds, 1000 if options.quick else 4000), *kills()]
    print_rows(rows, ratio="x direct")
    print_machine("\nend")
    write_json(rows, options.json)


# ---- what a scalar costs ----------------------------------------------------------------------------------------------


def costs(rounds: int, scalars: int) -> Iterator[Row]:
    """Microseconds a scalar, of all systems, in a new random order each round."""
    systems = [f"ours: {name}" for name in OURS] + list(DIRECT)
    found: dict[str, list[dict[str, float]]] = {system: [] for system in systems}
    missing: dict[str, str] = {}
    for number in range(rounds):
        for system in random.Random(number).sample(systems, len(systems)):
            if system not in missing:
                try:
                    found[system].append(in_new_process("--one", system, min(scalars, SLOW.get(system, scalars))))
                except subprocess.CalledProcessError as error:
                    missing[system] = error.stderr.strip().splitlines()[-1]
    medians = {s: statistics.median(v["us"] for v in values) for s, values in found.items() if values}
    case = "microseconds a scalar for the loop"
    for system in systems:
        if system in missing:
            yield Row(case, system, None, "us", note=missing[system])
            continue
        base = medians.get(BASE.get(system.removeprefix("ours: "), ""))
        ratio = medians[system] / base if base and system.startswith("ours") else None
        step = statistics.median(v["step_us"] for v in found[system])
        cpu = statistics.median(v["cpu_us"] for v in found[system])
        share = statistics.median(v["undisturbed"] for v in found[system])
        yield median_row(
            case, system, [v["us"] for v in found[system]], "us", ratio=ratio, versions=_versions(system),
            note=f"{cpu:.1f} us of processor time; steps of {step:.0f} us; {share:.0%} undisturbed",
        )  # fmt: skip


def measure(system: str, scalars: str, folder: str) -> dict[str, float]:
    """One measurement, in this process."""
    import torch

    torch.set_num_threads(1)
    os.chdir(folder)
    count = int(scalars)
    weights = torch.randn(180, 180)

    def work() -> float:
        value = weights
        for _ in range(3):
            value = torch.tanh(value @ weights) * 0.1
        return float(value[0, 0])

    clock = Chunks(count // CHUNK, work)
    if system.startswith("ours: "):
        _ours(system.removeprefix("ours: "), work, clock)
    else:
        log, close = direct(system)
        for step in range(1, 200):  # warm
            log(work(), step)
            if system == "MLflow" and step > 20:
                break
        clock.begin()
        step = 200
        while not clock.is_over:
            log(work(), step)
            step += 1
            clock.step()
        close()
    return clock.figures()


def _ours(trackers: str, work: Callable[[], float], clock: Chunks) -> None:
    import torch

    import loopwright as lw

    names = {"record": [], "all three": [*BASE]}.get(trackers, [trackers])
    with lw.Run("runs/r", seed=0, device="cpu", progress=False, report_every="1 steps", save_every="60 minutes",
                trackers=[{"name": name, "patience": 120} for name in names]) as run:  # fmt: skip
        run.register(model=torch.nn.Linear(1, 1))
        given_up = time.monotonic() + 120
        for _ in run.epochs(1):
            for _ in run.batches([torch.zeros(1)] * 2_000_000):
                value = work()
                if not clock.began:
                    run.log(loss=value)
                    if run.global_step % 200 == 0 and all(map(_is_up, names)):
                        clock.begin()
                    assert time.monotonic() < given_up, "the tracker took nothing"
                    continue
                run.log(loss=value)
                clock.step()
                if clock.is_over:
                    run.stop("measured")


def _is_up(name: str) -> bool:
    """Whether a mirror has handed over its first lines."""
    try:
        return bool(json.loads(Path(f"runs/r/mirrors/{name}.json").read_text())["places"])
    except OSError:
        return False


class Chunks:
    """Chunks of steps that log, and between them as many steps of the work alone; times both."""

    def __init__(self, pairs: int, work: Callable[[], float]) -> None:
        self._left, self._place, self._work, self.began = pairs, 0, work, False
        self._pairs: list[tuple[Instant, Instant]] = []
        self._edge = Instant.now()

    def begin(self) -> None:
        self.began, self._edge = True, Instant.now()

    @property
    def is_over(self) -> bool:
        return self._left == 0

    def step(self) -> None:
        """A step that logged is over."""
        self._place += 1
        if self._place < CHUNK:
            return
        between = Instant.now()
        for _ in range(CHUNK):
            self._work()
        self._pairs.append((between - self._edge, Instant.now() - between))
        self._place, self._left, self._edge = 0, self._left - 1, Instant.now()

    def figures(self) -> dict[str, float]:
        """Microseconds: a scalar (the mean of the differences of neighbours), and a step without.

        On the wall, of pairs in which the core was taken from neither, if there are any; and by the thread's own clock.
        """
        undisturbed = [pair for pair in self._pairs if not (pair[0].preempted or pair[1].preempted)]
        pairs = undisturbed if len(undisturbed) >= 10 else self._pairs
        per_step = 1e6 / CHUNK
        return {
            "us": statistics.fmean(logged.wall - bare.wall for logged, bare in pairs) * per_step,
            "cpu_us": statistics.fmean(logged.thread - bare.thread for logged, bare in self._pairs) * per_step,
            "step_us": statistics.median(bare.wall for _, bare in pairs) * per_step,
            "undisturbed": len(undisturbed) / len(self._pairs),
        }


def direct(system: str) -> tuple[Callable[[float, int], object], Callable[[], object]]:
    """How to log one scalar, and how to end."""
    if system == "JSON lines":
        file = open("lines.jsonl", "a", buffering=1)  # noqa: SIM115 - closed by the caller
        return lambda value, step: file.write(json.dumps({"step": step, "loss": value}) + "\n"), file.close
    if system == "TensorBoard":
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter("tb")
        return lambda value, step: writer.add_scalar("loss", value, step), writer.close
    if system.startswith("W&B"):
        import wandb

        wandb_run = wandb.init(project="p", mode="offline", settings=wandb.Settings(console="off"))
        return lambda value, step: wandb_run.log({"loss": value}, step=step), wandb_run.finish
    return _mlflow(system)


def _mlflow(system: str) -> tuple[Callable[[float, int], object], Callable[[], object]]:
    import mlflow
    from mlflow.entities import Metric

    mlflow.set_tracking_uri(f"sqlite:///{os.getcwd()}/mlflow.db")
    run = mlflow.start_run()
    if system == "MLflow, asynchronous":
        return lambda value, step: mlflow.log_metric("loss", value, step, synchronous=False), mlflow.end_run
    if system == "MLflow":
        return lambda value, step: mlflow.log_metric("loss", value, step), mlflow.end_run
    client, waiting = mlflow.MlflowClient(), []

    def log(value: float, step: int) -> None:
        waiting.append(Metric("loss", value, int(time.time() * 1000), step))
        if len(waiting) == 500:
            client.log_batch(run.info.run_id, metrics=waiting)
            waiting.clear()

    return log, mlflow.end_run


# ---- what SIGKILL takes -----------------------------------------------------------------------------------------------


def kills() -> Iterator[Row]:
    """How many of 2,000 scalars a tracker lacks when the training process is killed right behind the last one."""
    case = f"lost of {KILLED_AT:,} after SIGKILL"
    for system in ("ours: tensorboard", "ours: mlflow", "ours: wandb", "TensorBoard", "MLflow, asynchronous",
                   "MLflow, log_batch of 500", "W&B offline"):  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                _command("--kill", system, folder), env=os.environ | QUIET, capture_output=True, text=True
            )
            if done.returncode != -signal.SIGKILL:
                yield Row(case, system, None, "scalars", note=(done.stderr.strip().splitlines() or ["?"])[-1])
                continue
            if not system.startswith("ours"):
                time.sleep(5)  # for what processes of its own still do
                yield Row(case, system, KILLED_AT - _there(system, Path(folder)), "scalars", runs=1)
                continue
            name = system.removeprefix("ours: ")
            sync = [sys.executable, "-m", "loopwright", "sync", f"{folder}/runs/r", "--to", name]
            for _ in range(60):  # while its own process is still at it, it says so
                synced = subprocess.run(sync, env=os.environ | QUIET, capture_output=True, text=True)
                if synced.returncode == 0:
                    break
                time.sleep(1)
            note = "after loopwright sync" if synced.returncode == 0 else synced.stderr.strip()[-200:]
            yield Row(case, system, KILLED_AT - _there(name, Path(folder)), "scalars", runs=1, note=note)


def live_and_die(system: str, folder: str) -> None:
    os.chdir(folder)
    if system.startswith("ours: "):
        import torch

        import loopwright as lw

        with lw.Run("runs/r", seed=0, device="cpu", progress=False, report_every="1 steps", save_every="60 minutes",
                    trackers=[system.removeprefix("ours: ")]) as run:  # fmt: skip
            run.register(model=torch.nn.Linear(1, 1))
            for _ in run.epochs(1):
                for _ in run.batches([torch.zeros(1)] * 3000):
                    if run.global_step > KILLED_AT:
                        os.kill(os.getpid(), signal.SIGKILL)
                    run.log(loss=1.0 / run.global_step)
    log, _ = direct(system)
    for step in range(1, KILLED_AT + 1):
        log(1.0 / step, step)
    os.kill(os.getpid(), signal.SIGKILL)


def _there(system: str, folder: Path) -> int:
    """How many scalars a tracker has, each counted once."""
    if "ensor" in system:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        place = folder / ("tb" if system == "TensorBoard" else "runs/r/tensorboard")
        found = EventAccumulator(str(place), size_guidance={"scalars": 0})
        found.Reload()
        tags = found.Tags()["scalars"]
        return sum(len({event.step for event in found.Scalars(tag)}) for tag in tags if tag in ("loss", "train/loss"))
    if system.lower().startswith("mlflow"):
        import sqlite3

        with sqlite3.connect(folder / ("mlflow.db" if system != "mlflow" else "runs/mlflow.db")) as database:
            query = "SELECT COUNT(DISTINCT step) FROM metrics WHERE key IN ('loss', 'train/loss')"
            return int(database.execute(query).fetchone()[0])
    return len(_steps_of_wandb(folder))


def _steps_of_wandb(folder: Path) -> set[int]:
    """The steps that stand in W&B's own files."""
    from benchmarks._wandb_file import rows

    found = [row for file in folder.glob("**/*.wandb") for row in rows(file)]
    return {int(row["_number"]) for row in found if row.keys() & {"loss", "train/loss"}}


# ---- the rest ---------------------------------------------------------------------------------------------------------


def in_new_process(what: str, system: str, scalars: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            _command(what, system, str(scalars), folder),
            env=os.environ | QUIET,
            check=True,
            capture_output=True,
            text=True,
        )
    return json.loads(done.stdout.strip().splitlines()[-1])


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.logging", *arguments]


def _versions(system: str) -> str:
    packages = [package for name, package in PACKAGES.items() if name in system.lower().replace("w&b", "wandb")]
    return versions(packages)[0] if packages else ""


if __name__ == "__main__":
    main()
