"""``train_on_ray``: a training as the workers of Ray Train, which finds machines for them and starts a broken group again.

Ray makes torch's process group; the body is the same as anywhere. Imports Ray when it is used.

Source: https://docs.ray.io/en/latest/train/getting-started-pytorch.html
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .._errors import ConfigError, MissingExtra


def train_on_ray(
    body: Callable[[], object],
    *,
    folder: Path,
    workers: int,
    gpus: bool = False,
    cpus: int = 1,
    restarts: int = 3,
    address: str | None = None,
    tell: Callable[[str], object] = print,
) -> int:
    """Run ``body`` in ``workers`` processes that find each other, wherever Ray has room for them.

    Args:
        body: what trains; it is sent to the workers, so it is a function of a module or a ``partial`` of one.
        folder: of the run, on storage that all machines see. Ray's own notes are beside it, and go when it is done.
        gpus: whether each worker is to have a GPU.
        cpus: cores for each worker.
        restarts: how often all start again, from the last checkpoint, when one has died.
        address: of a Ray cluster. Default: the one that is set, else one of this machine.
        tell: takes lines for the user.

    Returns:
        0, or 1 where it failed more often than that.
    """
    for option, count, least in (("procs", workers, 1), ("cpus", cpus, 1), ("max-restarts", restarts, 0)):
        if count < least:
            raise ConfigError(f"--{option} should be at least {least}, is {count}")
    ray, train, trainer = _ray()
    notes = folder.with_name(f"{folder.name}.ray")
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=True)
    tell(f"ray        {workers} workers, {cpus} cores{' and a GPU' if gpus else ''} each")
    resources = {"CPU": cpus} | ({"GPU": 1} if gpus else {})
    fitting = trainer(
        _rank,
        train_loop_config={"body": body, "folder": os.getcwd()},
        scaling_config=train.ScalingConfig(num_workers=workers, use_gpu=gpus, resources_per_worker=resources),
        run_config=train.RunConfig(
            name=folder.name,
            storage_path=str(notes.resolve()),
            failure_config=train.FailureConfig(max_failures=restarts),
        ),
    )
    try:
        result = fitting.fit()
    except Exception as error:  # Ray has a class of its own for each way to fail, and another one in each version
        tell(f"failed     {folder}: {_last_line(error)}")
        return 1
    if result.error is not None:
        tell(f"failed     {folder}: {_last_line(result.error)}")
        return 1
    shutil.rmtree(notes, ignore_errors=True)
    return 0


def place_of_context(context: Any) -> dict[str, str]:
    """What torchrun would have set, as Ray's context of a worker says it."""
    return {
        "RANK": str(context.get_world_rank()),
        "WORLD_SIZE": str(context.get_world_size()),
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
    }


def _rank(config: Mapping[str, Any]) -> None:
    """In each worker."""
    from ray import train  # type: ignore[reportMissingImports] - an extra

    os.environ.update(place_of_context(train.get_context()))
    os.chdir(config["folder"])  # relative paths are meant from where the command was given
    config["body"]()


def _ray() -> tuple[Any, Any, Any]:
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")  # it would print, and log, everything twice
    try:
        import ray  # type: ignore[reportMissingImports] - an extra
        from ray import train  # type: ignore[reportMissingImports] - an extra
        from ray.train.torch import TorchTrainer  # type: ignore[reportMissingImports] - an extra
    except ImportError:
        raise MissingExtra("ray[train]", "launch ray", "ray") from None
    return ray, train, TorchTrainer


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
