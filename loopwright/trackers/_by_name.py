"""Trackers as users ask for them: by name, by name with settings, or as objects."""

from collections.abc import Iterable, Mapping
from typing import Any

from .._errors import ConfigError
from .._names import check_arguments, did_you_mean, load_object
from ._mlflow import MLflow
from ._tensorboard import TensorBoard
from ._tracker import Tracker, check_installed
from ._wandb import WandB

TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}
Asked = str | Mapping[str, Any] | Tracker


def make_tracker(asked: Asked) -> Tracker:
    """A tracker: itself, by name, or by a mapping with a name and settings.

    Raises:
        ConfigError: the name or a setting is unknown.

    >>> make_tracker({"name": "MLflow", "experiment": "woof"})
    MLflow(uri=None, experiment='woof')
    >>> make_tracker("tensorbord")
    Traceback (most recent call last):
    loopwright._errors.ConfigError: there is no tracker 'tensorbord': did you mean 'tensorboard'?
    """
    if isinstance(asked, Tracker):
        return asked
    if isinstance(asked, str):
        asked = {"name": asked}
    if not isinstance(asked, Mapping) or not isinstance(asked.get("name"), str):
        raise ConfigError(
            f"a tracker is a name, a mapping with a name and settings, or a loopwright.Tracker. Found: {asked!r}"
        )
    kind = find_tracker(asked["name"])
    settings = {key: value for key, value in asked.items() if key != "name"}
    check_arguments(kind, settings, place=f"trackers.{asked['name']}")
    return kind(**settings)


def find_tracker(name: str) -> type[Tracker]:
    """The class of a tracker by its name, in any case, or by ``package.module:Class``; ``ConfigError`` for others."""
    if ":" in name:
        found = load_object(name)
        if not (isinstance(found, type) and issubclass(found, Tracker)):
            raise ConfigError(f"{name} is no tracker: a class below loopwright.Tracker is expected")
        return found
    kind = TRACKERS.get(name.lower())
    if kind is None:
        hint = did_you_mean(name, TRACKERS) or f"there are {', '.join(TRACKERS)}, and package.module:Class"
        raise ConfigError(f"there is no tracker {name!r}: {hint}")
    return kind


def make_trackers(asked: Iterable[Asked] | Asked | None) -> list[Tracker]:
    """All trackers of a run, each with its packages installed.

    Raises:
        ConfigError: as ``make_tracker``, or one is asked for twice.
        MissingExtra: a package is not installed.
    """
    given: Any = () if asked is None else asked
    listed = [given] if isinstance(given, str | Mapping | Tracker) else list(given)
    trackers = [make_tracker(one) for one in listed]
    places = [(tracker.name, tracker.target) for tracker in trackers]
    twice = next((name for name, target in places if places.count((name, target)) > 1), None)
    if twice is not None:
        raise ConfigError(f"trackers: {twice} is asked for twice: give one of them another name or place")
    for tracker in trackers:
        check_installed(tracker)
    return trackers
