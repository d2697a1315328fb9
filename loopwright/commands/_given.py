"""What a command was given: a configuration file, and ``key=value`` on top of it."""

from collections.abc import Sequence
from typing import Any


def read_settings(arguments: Sequence[str]) -> Any:
    """A configuration file, if the first argument is one, and overrides on top of it."""
    from .._config import load_config
    from ..recipes._settings import TrainSettings

    given = list(arguments)
    path = given.pop(0) if given and "=" not in given[0] else None
    return load_config(path, given, schema=TrainSettings)
