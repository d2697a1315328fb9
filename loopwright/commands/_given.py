"""What a command was given: a configuration file, and ``key=value`` on top of it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._errors import ConfigError
from .._files import make_folder

TASKS = ("classify", "restore", "segment")  # each a file in recipes/


def read_settings(arguments: Sequence[str], tasks: Sequence[str] = ("classify",)) -> Any:
    """A configuration file, if the first argument is one, and overrides on top of it; of one of some tasks."""
    from .._config import load_config
    from ..recipes._tasks import settings_of

    given = list(arguments)
    path = given.pop(0) if given and "=" not in given[0] else None
    try:
        values = load_config(path, given)
    except ConfigError:
        values = {}  # what is wrong is said below, together with all else
    schema = settings_of(values)
    task = values.get("task", "classify")
    if task not in tasks:
        raise ConfigError(f"this command is not for task: {task}, only for {', '.join(tasks)}; see 'loopwright train'")
    return load_config(path, given, schema=schema)


def check_writable(folder: Path, option: str) -> None:
    """Make a folder for what a command will write; ``ConfigError`` now where that cannot be, not when the work is done."""
    try:
        make_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"{option}: cannot write into the folder {folder}: {error.strerror}") from error
