"""Which task a configuration is of, and who checks its keys. Trains nothing."""

from collections.abc import Mapping
from typing import Any

from .._errors import ConfigError
from .._names import did_you_mean
from ._picture_settings import RestoreSettings, SegmentSettings
from ._settings import CommonSettings, TrainSettings

TASKS: dict[str, type[CommonSettings]] = {
    "classify": TrainSettings,
    "restore": RestoreSettings,
    "segment": SegmentSettings,
}


def settings_of(values: Mapping[str, Any]) -> type[CommonSettings]:
    """The keys of the task that a configuration names; of ``classify`` where it names none."""
    task = values.get("task", "classify")
    if task not in TASKS:
        question = did_you_mean(str(task), TASKS) or f"there are {', '.join(TASKS)}"
        raise ConfigError(f"task should be one of {', '.join(map(repr, TASKS))}, is {task!r}: {question}")
    return TASKS[task]
