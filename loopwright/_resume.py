"""Whether a run begins, goes on or is refused, given what its folder holds. Decides only; changes nothing."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ._errors import RunError
from ._record import CONFIG, RUN, START, is_held, read_run
from ._run_order import run_order
from ._yaml import Difference, differences, read_yaml

# Settings that do not change the weights: shown when they changed, never a reason to refuse.
HARMLESS = frozenset({
    "workers", "save_every", "report_every", "run", "device", "resume", "keep_last", "keep_best",
    "pictures", "trackers", "parallel",
})  # fmt: skip


def decide(
    folder: Any, state: str | None, *, has_checkpoint: bool, resume: bool | Literal["auto"], overwrite: bool
) -> bool:
    """Whether to go on with what the folder holds, by the state that it was left in; False begins anew.

    Raises:
        RunError: a finished run would be changed, or an unfinished one lost, without being told to.
    """
    if resume not in (True, False, "auto"):
        raise RunError(f"resume must be True, False or 'auto'. Found: {resume!r}")
    if overwrite and resume is True:
        raise RunError("resume and overwrite exclude each other: say whether to go on with the run or to replace it")
    if state is None or overwrite:
        if resume is True and state is None:
            raise RunError(f"{folder} holds no run to resume: leave resume out to begin one")
        return False
    if state == "finished" and resume is not True:
        raise RunError(
            f"{folder} holds a finished run. To train it further say resume=True (--resume), to replace it "
            "overwrite=True (--overwrite), or give this run another folder"
        )
    if resume is False:
        raise RunError(
            f"{folder} holds a run that was {state}. To go on leave resume=False out, to replace it say "
            "overwrite=True (--overwrite), or give this run another folder"
        )
    return has_checkpoint


def changed_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list[Difference], list[Difference]]:
    """What differs between two configurations: first what changes the result, then what does not."""
    found = differences(old, new)
    harmless = [d for d in found if d.path.rpartition(".")[2] in HARMLESS]
    return [d for d in found if d not in harmless], harmless


def read_settings(path: Any) -> dict[str, Any]:
    """The configuration that a run was begun with; empty if its file is gone."""
    return dict(read_yaml(path).values) if path.exists() else {}


def refuse_changes(folder: Any, changed: list[Difference]) -> None:
    """Raise ``RunError`` naming every setting that differs from the run in the folder."""
    if changed:
        lines = "\n  ".join(map(str, changed))
        raise RunError(
            f"{folder} holds an unfinished run of another configuration:\n  {lines}\n"
            "To go on with the new settings say resume=True (--resume), to replace the run overwrite=True "
            "(--overwrite), or give this run another folder"
        )


def free_folder(base: str | Path, settings: Mapping[str, Any] | None = None) -> Path:
    """The first of BASE, BASE-2, BASE-3, ... that holds no run, or an unfinished one with the same settings.

    >>> free_folder("/nowhere/runs/woof").name
    'woof'
    """
    base, order = Path(base), run_order()
    if order is not None and (again := order.numbered(base)) is not None:
        return again
    names = (base if number == 1 else base.with_name(f"{base.name}-{number}") for number in itertools.count(1))
    return next(folder for folder in names if _is_free(folder, settings))


def _is_free(folder: Path, settings: Mapping[str, Any] | None) -> bool:
    if not (folder / RUN).exists():
        return not folder.exists() or all(path.name == START for path in folder.iterdir())  # of a start that failed
    if settings is None or read_run(folder).get("state") == "finished" or is_held(folder):
        return False
    return not changed_settings(read_settings(folder / CONFIG), settings)[0]
