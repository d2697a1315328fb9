"""Writing a script, and handing it to ``sbatch``. Knows nothing of what it says."""

import subprocess
from pathlib import Path

from .._errors import ConfigError, RunError
from .._files import replace_file
from ._group import quoted
from ._slurm import MARK


def write_script(path: Path, text: str) -> None:
    """Write it, over one that was written before.

    Raises:
        ConfigError: there is a file of somebody else's, or it cannot be written.
    """
    try:
        if path.exists() and MARK not in path.read_text("utf-8", "replace"):
            raise ConfigError(f"{path} was not written by loopwright: name another file with --out")
        replace_file(path, text)
        path.chmod(0o755)
    except OSError as error:
        raise ConfigError(f"cannot write the script {path}: {error.strerror}; name another file with --out") from None


def submit(path: Path) -> str:
    """What sbatch says of it.

    Raises:
        RunError: there is no sbatch here, or it refuses the job; the script is kept.
    """
    command = ["sbatch", str(path.resolve())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RunError(
            f"there is no 'sbatch' on this machine. The script is {path}: submit it where there is one, with "
            f"'{quoted(['sbatch', str(path)])}'"
        ) from None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise RunError(f"sbatch refuses {path} (exit code {done.returncode}): {said}")
    return done.stdout.strip()
