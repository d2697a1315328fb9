"""``ReplayOrder``: a program is run again to look at one step of its run. Passed on by the environment; imports no torch."""

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

ENVIRONMENT = "LOOPWRIGHT_REPLAY"


@dataclass(frozen=True)
class ReplayOrder:
    """Run a copy of a run up to a step."""

    run: str  # absolute: the folder that the program means
    copy: str  # where it runs instead
    step: int  # the one to look at; the last one
    report: str  # a file to write what was seen into

    def text(self) -> str:
        """For the environment."""
        return json.dumps(asdict(self))

    def means(self, folder: str | Path) -> bool:
        """Whether a folder is that of the run."""
        return os.path.realpath(folder) == os.path.realpath(self.run)

    def numbered(self, base: Path) -> Path | None:
        """The run's folder where it is one of BASE, BASE-2, BASE-3, ...: a name that was free then is taken now."""
        run = Path(self.run)
        same = os.path.realpath(run.parent) == os.path.realpath(base.parent)
        return run if same and re.fullmatch(re.escape(base.name) + r"(-\d+)?", run.name) else None


def replay_order() -> ReplayOrder | None:
    """The order that this process was started with, if any."""
    text = os.environ.get(ENVIRONMENT)
    return None if text is None else ReplayOrder(**json.loads(text))
