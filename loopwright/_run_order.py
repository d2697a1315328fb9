"""``RunOrder``: what who starts a program again wants of its run. Passed on by the environment; imports no torch.

``loopwright replay`` looks at one step of a copy of the run, ``loopwright reproduce`` runs it again elsewhere, and
``loopwright train --commit`` runs other code than that of the folder it is started in.
"""

import json
import os
import re
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

ENVIRONMENT = "LOOPWRIGHT_ORDER"


@dataclass(frozen=True)
class RunOrder:
    """What to do with the run, or with the code. What is empty or 0 is not asked for."""

    run: str = ""  # absolute: the folder that the program means
    copy: str = ""  # where it runs instead
    step: int = 0  # the one to look at; the last one
    report: str = ""  # a file to write what was seen into
    until: int = 0  # the last step of a run that came no further: nothing is looked at
    code: str = ""  # absolute: a copy of a folder of code
    original: str = ""  # absolute: that folder
    command: tuple[str, ...] = ()  # to be recorded in place of this process's own

    def text(self) -> str:
        """For the environment."""
        return json.dumps(asdict(self))

    def means(self, folder: str | Path) -> bool:
        """Whether a folder is that of the run."""
        return bool(self.run) and os.path.realpath(self.original_of(folder)) == os.path.realpath(self.run)

    def elsewhere(self, folder: str | Path) -> Path:
        """Where another run of the same program goes, which is not meant and shall not be changed."""
        real = os.path.realpath(self.original_of(folder))
        return Path(self.copy).parent / "others" / f"{Path(real).name}-{zlib.crc32(os.fsencode(real)):08x}"

    def numbered(self, base: Path) -> Path | None:
        """The run's folder where it is one of BASE, BASE-2, BASE-3, ...: a name that was free then is taken now."""
        run, base = Path(self.run), self.original_of(base)
        same = bool(self.run) and os.path.realpath(run.parent) == os.path.realpath(base.parent)
        return run if same and re.fullmatch(re.escape(base.name) + r"(-\d+)?", run.name) else None

    def original_of(self, path: str | Path) -> Path:
        """The place of which a path inside the copied code is a copy; any other path stays as it is."""
        return _moved(Path(path), self.code, self.original)

    def copy_of(self, path: str | Path) -> Path:
        """Where a path of the folder of code is in its copy; any other path stays as it is."""
        return _moved(Path(path), self.original, self.code)


def run_order() -> RunOrder | None:
    """The order that this process was started with, if any."""
    text = os.environ.get(ENVIRONMENT)
    if text is None:
        return None
    values = json.loads(text)
    return RunOrder(**{**values, "command": tuple(values.get("command", ()))})


def _moved(path: Path, old: str, new: str) -> Path:
    """A path below one folder, below another one."""
    if not old:
        return path
    absolute = os.path.abspath(path)
    for root in {os.path.abspath(old), os.path.realpath(old)}:
        if absolute == root or absolute.startswith(root + os.sep):
            return Path(new, os.path.relpath(absolute, root))
    return path
