"""``SbatchOptions``: what a job asks SLURM for: the ``#SBATCH`` lines of its script. Knows nothing of what the job does.

Source: https://slurm.schedmd.com/sbatch.html
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from .._errors import ConfigError

NOTICE_SECONDS = 300


@dataclass(frozen=True)
class SbatchOptions:
    """What is None is left to the cluster.

    Args:
        cpus: for each task: a machine's processes together, or one worker of a sweep.
        gpus: on each machine, or of each worker of a sweep.
        notice: seconds before the time is up at which the job is told.
        more: further options of sbatch by their long names, which win over all else.

    Raises:
        ConfigError: a name or a value that would not stay within its line.

    >>> print("\\n".join(SbatchOptions(name="my run", time="4:00:00", more={"qos": "low"}).lines(nodes=2)))
    #SBATCH --job-name='my run'
    #SBATCH --nodes=2
    #SBATCH --ntasks-per-node=1
    #SBATCH --time=4:00:00
    #SBATCH --signal=B:USR1@300
    #SBATCH --requeue
    #SBATCH --open-mode=append
    #SBATCH --qos=low
    """

    name: str
    cpus: int | None = None
    gpus: int | None = None
    time: str | None = None
    partition: str | None = None
    notice: int = NOTICE_SECONDS
    more: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for option, count in (("cpus", self.cpus), ("gpus", self.gpus)):
            if count is not None and count < 1:
                raise ConfigError(f"--{option} should be at least 1, is {count}")
        if self.notice < 60:
            raise ConfigError(f"--notice should be 60 seconds or more, for SLURM looks at its jobs' time twice a minute. "
                              f"Found: {self.notice}")  # fmt: skip
        for key, value in {"job-name": self.name, "time": self.time, "partition": self.partition, **self.more}.items():
            _check(key, value or "")

    def lines(self, *, nodes: int, array: int | None = None) -> list[str]:
        """The ``#SBATCH`` lines: of ``nodes`` machines with a task each, or of an array of so many jobs."""
        asked: dict[str, object] = {
            "job-name": self.name,
            "array": None if array is None else f"0-{array - 1}",
            "nodes": nodes,
            "ntasks-per-node": 1,
            "gpus-per-node": self.gpus,
            "cpus-per-task": self.cpus,
            "time": self.time,
            "partition": self.partition,
            "signal": f"B:USR1@{self.notice}",  # to the script alone, which passes it on
            "requeue": "",
            "open-mode": "append",
            **self.more,
        }
        return [_line(key, str(value)) for key, value in asked.items() if value is not None]


def _line(key: str, value: str) -> str:
    return f"#SBATCH --{key}" + (f"={shlex.quote(value)}" if value else "")


def _check(key: str, value: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9-]*", key):
        raise ConfigError(f"--sbatch {key}: a long name of an option of sbatch, without its dashes, was expected")
    if not value.isprintable() or "'" in value or "\\" in value:  # sbatch's own parser knows no quote within quotes
        raise ConfigError(
            f"{key}: {value!r} has a quote, a backslash or a line's end, which no line of sbatch can hold"
        )
