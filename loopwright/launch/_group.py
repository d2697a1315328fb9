"""``Group``: how many machines train together, with how many processes each, and how they find each other: the words of
``torchrun``. Knows nothing of who starts it there.

Source: torch's elastic launch, https://docs.pytorch.org/docs/stable/elastic/run.html
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from .._errors import ConfigError

PORT = 29400  # torchrun's own
_COMES_BACK = ("env", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1")  # else torch 2.15 leaves out a machine that comes back


@dataclass(frozen=True)
class Group:
    """Machines that train one run. Each of them is given the same words.

    Args:
        nodes: machines; ``"2:4"``: at least 2, at most 4, and who is lost is done without.
        procs: processes on each: one for each GPU.
        name: by which they know that they belong together.
        restarts: how often all processes start again, from the last checkpoint, when one has died.

    Raises:
        ConfigError: a number that is none, or too small.

    >>> print(quoted(Group(2, 8, "woof").words("n01:29400", ["train", "woof.yaml", "run=/shared/woof"])))
    env TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun --nnodes=2 --nproc-per-node=8 --max-restarts=3 \
--rdzv-backend=c10d --rdzv-endpoint=n01:29400 --rdzv-id=woof -m loopwright train woof.yaml run=/shared/woof
    """

    nodes: int | str
    procs: int
    name: str
    restarts: int = 3

    def __post_init__(self) -> None:
        least, _, most = str(self.nodes).partition(":")
        if not re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", str(self.nodes)) or int(most or least) < int(least):
            raise ConfigError(f"--nodes should be a number of machines, or MIN:MAX, is {self.nodes!r}")
        if self.procs < 1:
            raise ConfigError(f"--procs should be at least 1, is {self.procs}")
        if self.restarts < 0:
            raise ConfigError(f"--max-restarts should be 0 or more, is {self.restarts}")

    @property
    def is_one_machine(self) -> bool:
        return str(self.nodes) == "1"

    def words(self, endpoint: str, arguments: Sequence[str], launcher: Sequence[str] = ("torchrun",)) -> list[str]:
        """The command of each machine.

        Args:
            endpoint: HOST:PORT of the machine at which they meet, one of them; on one machine it is not needed.
            arguments: of loopwright.
            launcher: what stands for torchrun.
        """
        meet = (
            ["--standalone"]
            if self.is_one_machine
            else ["--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}", f"--rdzv-id={self.name}"]
        )
        size = [f"--nnodes={self.nodes}", f"--nproc-per-node={self.procs}", f"--max-restarts={self.restarts}"]
        return [*(() if self.is_one_machine else _COMES_BACK), *launcher, *size, *meet, "-m", "loopwright", *arguments]


def quoted(words: Sequence[str]) -> str:
    """The line of a shell that means these very words."""
    return shlex.join(words)
