"""``train_at``: ``loopwright train`` on the code of a commit, from the folder that one is in. No torch here."""

import os
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from ._code_copy import CodeCopy, environment_for, repository_of, snapshot_of
from ._errors import RunError
from ._files import read_json
from ._record import ENVIRONMENT, RUN
from ._restart import start
from ._run_order import ENVIRONMENT as ORDER
from ._run_order import RunOrder


def train_at(revision: str, settings: Sequence[str], options: Sequence[str]) -> int:
    """Train with the modules and the configuration file of a commit; data and run are found from the present folder.

    Args:
        revision: a commit, branch, tag, or the folder of a run, whose snapshot is meant.
        settings: a configuration file, if the first one has no "=", and ``key=value``.
        options: further ones of ``loopwright train``.

    Returns:
        The exit code of the training.
    """
    here = Path.cwd()
    root = repository_of(here)
    with CodeCopy(root, _commit_of(revision)) as copy:
        order = RunOrder(
            code=str(copy.folder),
            original=str(root),
            command=(sys.executable, "-m", "loopwright", "train", *settings, *options),
        )
        place = order.copy_of(here)
        place = place if place.is_dir() else copy.folder
        print(f"code       {revision}: commit {copy.commit[:12]} of {root}", flush=True)
        given = [*_with_config(list(settings), order), *options]
        variables = environment_for(copy, place, ["."], os.environ)
        variables = {"PYTHONPATH": os.pathsep.join([variables["PYTHONPATH"], *_own_place()]), ORDER: order.text()}
        return start([sys.executable, "-P", "-m", "loopwright", "train", *given], here, variables)


def _commit_of(revision: str) -> str:
    if not (Path(revision) / RUN).exists():
        return revision
    try:
        found = snapshot_of(read_json(Path(revision) / ENVIRONMENT))
    except (OSError, ValueError) as error:
        raise RunError(f"{revision}/{ENVIRONMENT} cannot be read: {error}") from None
    if found is None:
        raise RunError(f"{revision} does not say on which code it was run: give a commit, branch or tag")
    return found


def _with_config(settings: list[str], order: RunOrder) -> list[str]:
    """The configuration file of the commit, where it has one."""
    if not settings or "=" in settings[0]:
        return settings
    copy = order.copy_of(settings[0])
    if copy.is_file():
        return [str(copy), *settings[1:]]
    print(f"config     {settings[0]} is not in the commit: the file as it is now", flush=True)
    return settings


def _own_place() -> list[str]:
    """Where this package is, unless Python finds it there anyway."""
    place = Path(__file__).resolve().parent.parent
    installed = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    return [] if place in installed else [str(place)]
