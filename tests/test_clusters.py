"""Trainings on clusters: told to leave, taken away, queued again, they end with the weights of an undisturbed one."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster_fakes import JOB, ROOT, asked_of, fakes_in
from conftest import same_bits

import loopwright as lw
from loopwright.launch._group import Group
from loopwright.launch._sbatch_options import SbatchOptions
from loopwright.launch._slurm import training_script

pytestmark = pytest.mark.slow
TRAIN = ["train", f"data={lw.demo_photos()}", "model=small_resnet", "image_size=16", "batch_size=32", "seed=0",
         "workers=0", "pictures=0", "device=cpu", "epochs=4"]  # fmt: skip
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
WAIT = 300.0


def arguments(folder: Path, *more: str) -> list[str]:
    return [*TRAIN, "save_every=2 steps", f"run={folder}", *more]


def weights(folder: Path) -> dict[str, Any]:
    return lw.Checkpoints(folder / "checkpoints").load("latest")["model"]


def assert_equal(one: Path, other: Path) -> None:
    assert same_bits(weights(one), weights(other))
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that nobody told anything."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    command = Group(1, 2, "run").words("", arguments(folder), [sys.executable, "-m", "torch.distributed.run"])
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True)
    return folder


def until(condition: Callable[[], Any], what: str | Callable[[], Any]) -> Any:
    given_up = time.monotonic() + WAIT
    while not (found := condition()):
        assert time.monotonic() < given_up, what() if callable(what) else what
        time.sleep(0.05)
    return found


def step(folder: Path) -> int:
    """Of the latest checkpoint; 0 where there is none."""
    latest = lw.Checkpoints(folder / "checkpoints", writes=False).latest if (folder / "checkpoints").exists() else None
    return 0 if latest is None else latest.step


def script_in(folder: Path, run: Path, **more: Any) -> Path:
    path = folder / "job.sbatch"
    group = Group(1, 2, "run", restarts=1)
    path.write_text(training_script(group, SbatchOptions("the run", **more), arguments(run), here=folder))
    return path


def test_a_job_that_was_told_goes_on_where_it_was(tmp_path: Path, undisturbed: Path) -> None:
    environment = fakes_in(tmp_path / "bin") | {"PYTHONPATH": str(ROOT)}
    run, command = tmp_path / "run", ["bash", str(script_in(tmp_path, tmp_path / "run"))]
    job = subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    until(lambda: step(run) > 3, "no checkpoint")
    job.send_signal(signal.SIGUSR1)
    text, _ = job.communicate()
    assert job.returncode == -signal.SIGTERM, text
    assert asked_of(tmp_path / "bin", "scontrol") == [f"requeue {JOB}"]
    assert lw.read_run(run)["state"] == "stopped" and lw.read_run(run)["step"] == step(run), text
    again = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "goes on from" in again.stdout and len(asked_of(tmp_path / "bin", "scontrol")) == 1
    assert_equal(run, undisturbed)


# ---- SLURM -----------------------------------------------------------------------------------------------------------

_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={first}
SlurmdPort={second}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def _why_not() -> str | None:
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)}: not installed (Debian: slurm-wlm, munge)"
    return None if getpass.getuser() == "root" else "the daemons of SLURM are started by root only"


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """A cluster of this machine alone; a function that runs its commands."""
    reason = _why_not()
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path / "slurm"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o600)
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0)), other.bind(("127.0.0.1", 0))
        ports = {"first": one.getsockname()[1], "second": other.getsockname()[1]}
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(_CONF.format(host=host, folder=folder, cpus=os.cpu_count(), **ports))
    environment = ENVIRONMENT | {"SLURM_CONF": str(folder / "slurm.conf")}
    files = {
        "socket": "munge.socket",
        "key-file": "key",
        "pid-file": "munge.pid",
        "log-file": "munge.log",
        "seed-file": "seed",
    }
    munged = ["munged", "--foreground", "--force", *(f"--{name}={folder / file}" for name, file in files.items())]
    daemons = [munged, ["slurmctld", "-D"], ["slurmd", "-D"]]
    started: list[subprocess.Popen[bytes]] = []

    def ask(*words: str) -> str:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout.strip()

    try:
        for command in daemons:
            with open(folder / f"{command[0]}.out", "w") as output:
                started.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
            time.sleep(0.5)
        is_up = lambda: subprocess.run(["sinfo", "-h", "-o", "%t"], env=environment, capture_output=True, text=True)  # noqa: E731
        until(lambda: is_up().stdout.strip() == "idle", "the machine does not come up")
        yield ask
        subprocess.run(["scancel", "--full", "--signal=KILL", "--user=root"], env=environment, check=False)
    finally:
        for process in reversed(started):
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait()


def test_slurm_requeues_and_the_run_goes_on(tmp_path: Path, slurm: Callable[..., str], undisturbed: Path) -> None:
    run = tmp_path / "the run"
    script = script_in(tmp_path, run, cpus=2, more={"output": str(tmp_path / "job.txt")})

    def text() -> str:
        return (tmp_path / "job.txt").read_text() if (tmp_path / "job.txt").exists() else ""

    def state() -> str:
        return slurm("squeue", "-h", "-j", job, "-o", "%T", "--states=all")

    def goes_on() -> None:
        """Without the two minutes that SLURM waits; a job that still ends takes no such wish."""

        def asked() -> bool:
            if state() == "PENDING":
                slurm("scontrol", "update", f"JobId={job}", "StartTime=now")
                time.sleep(1)
            return state() == "RUNNING"

        until(asked, lambda: (slurm("squeue", "--states=all", "-o", "%i %T %r"), slurm("sinfo", "-R"), text()))

    job = slurm("sbatch", "--parsable", str(script))
    assert slurm("squeue", "-h", "-o", "%j", "-j", job) == "the run"
    until(lambda: step(run) > 3, text)
    slurm("scancel", "--batch", "--signal=USR1", job)  # what --signal=B:USR1 sends before the time is up
    until(lambda: state() == "PENDING", text)
    assert lw.read_run(run)["state"] == "stopped" and lw.read_run(run)["step"] == step(run), text()
    assert "notice" in text() and "requeue" in text()
    goes_on()
    told = step(run)
    until(lambda: step(run) > told, text)
    slurm("scontrol", "requeue", job)  # without a notice, as by a machine that is gone
    until(lambda: state() == "PENDING", text)
    goes_on()
    until(lambda: state() == "COMPLETED", lambda: (state(), text()))
    assert text().count("goes on from") >= 2
    assert_equal(run, undisturbed)


# ---- Ray -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dies", [False, True])
def test_ray_trains_the_same_and_starts_again_after_a_death(tmp_path: Path, undisturbed: Path, dies: bool) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'loopwright[ray]'")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "loopwright", "launch", "ray", *arguments(run)[1:], "--procs", "2"]
    process = subprocess.Popen(command, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if dies:
        until(lambda: step(run) > 3, "no checkpoint")
        os.kill(lw.read_run(run)["pid"], signal.SIGKILL)
    text, _ = process.communicate()
    assert process.returncode == 0, text
    assert text.count("accuracy ") == 1 and (len(lw.read_run(run)["lives"]) > 0) == dies
    assert not run.with_name("run.ray").exists()
    assert_equal(run, undisturbed)
