"""What ``train`` and ``launch`` share: the training that settings say, and its folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._distributed import is_main
from ._done import say_done
from ._given import TASKS, read_settings


def recipe_of(settings: Any) -> Any:
    """What knows how to train these settings."""
    from importlib import import_module

    return import_module(f"..recipes._{settings.task}", __package__)


def train(arguments: Sequence[str], *, resume: bool = False, overwrite: bool = False) -> None:
    """Train what the arguments of the command say, and tell what came of it."""
    settings = read_settings(arguments, TASKS)
    fitted = recipe_of(settings).train(settings, resume=True if resume else "auto", overwrite=overwrite)
    if is_main():
        say_done(fitted, settings.task)


def with_folder(arguments: Sequence[str]) -> tuple[Path, list[str]]:
    """The run's folder, and the arguments with the setting that says it: checked, the same for all that get them."""
    from ..recipes._optimisation import run_folder

    settings = read_settings(arguments, TASKS)
    folder = run_folder(settings)
    return folder, [*arguments] if settings.run is not None else [*arguments, f"run={folder}"]
