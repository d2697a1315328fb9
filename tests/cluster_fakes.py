"""Programs of a cluster for tests, put before the real ones: they write down what they were asked, and srun does it."""

import os
import stat
import sys
import textwrap
from pathlib import Path

import loopwright as lw

ROOT = Path(lw.__file__).parents[1]
JOB = "4711"

# As SLURM does, a signal is passed on to every process of the step, not only to its first.
_SRUN = """
    import os, signal, subprocess, sys, psutil
    words = sys.argv[1:]
    open(BIN + "/srun.txt", "a").write(repr(words) + "\\n")
    command = words[next(i for i, word in enumerate(words) if not word.startswith("--")):]
    if "WORK" in os.environ:
        command = [*command[:4], sys.executable, os.environ["WORK"]]
    signal.signal(signal.SIGUSR1, lambda number, _: [
        process.send_signal(number) for process in psutil.Process().children(recursive=True)])
    child = subprocess.Popen(command)
    code = child.wait()
    sys.exit(128 - code if code < 0 else code)
"""
_SCONTROL = """
    import os, signal, sys
    if sys.argv[1:3] == ["show", "hostnames"]:
        print("n01\\nn02")
    else:
        open(BIN + "/scontrol.txt", "a").write(" ".join(sys.argv[1:]) + "\\n")
        os.kill(os.getppid(), signal.SIGTERM)  # as SLURM ends the script of a job that it queues again
"""
_SBATCH = """
    import sys
    print("Submitted batch job 4711" if len(sys.argv) == 2 else sys.argv)
"""
_ECHO = """
    import os, sys
    open(BIN + "/" + os.path.basename(sys.argv[0]) + ".txt", "a").write(repr(sys.argv[1:]) + "\\n")
"""
PROGRAMS = {"srun": _SRUN, "scontrol": _SCONTROL, "sbatch": _SBATCH, "torchrun": _ECHO}


def fakes_in(folder: Path, *names: str) -> dict[str, str]:
    """Put programs into a folder; the environment in which they are found."""
    folder.mkdir(exist_ok=True)
    for name in names or PROGRAMS:
        path = folder / name
        path.write_text(f"#!{sys.executable}\nBIN = {str(folder)!r}\n{textwrap.dedent(PROGRAMS[name])}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return os.environ | {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SLURM_JOB_ID": JOB,
        "SLURM_JOB_NODELIST": "n[01-02]",
        "OMP_NUM_THREADS": "1",
    }


def asked_of(folder: Path, name: str) -> list[str]:
    """What a program was asked, in order."""
    path = folder / f"{name}.txt"
    return path.read_text().splitlines() if path.exists() else []
