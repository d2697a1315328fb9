"""``reproduce``: a run's program once more, on the code that it was run on, and whether the same numbers come out.

Where they do not, it says where they part, and what is not as it was: code, settings, data, packages, hardware. No torch.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._capture import capture_code, changed_lines
from ._code_copy import CodeCopy, environment_for, snapshot_of
from ._comparison import Comparison, compare_records
from ._errors import LoopwrightError, RunError
from ._files import read_json, read_json_lines, write_json
from ._git import GitError
from ._record import CHECKPOINTS, CONFIG, DATA, ENVIRONMENT, METRICS, PATCH, REPLAYS, RUN
from ._restart import read_finished, recorded_command, start
from ._run_order import ENVIRONMENT as ORDER
from ._run_order import RunOrder
from ._variables import known_variables
from ._yaml import differences, read_yaml
from .data._inventory import what_changed

OUTPUT, REPORT = "output.txt", "reproduced.json"
MOST_TOLD = 10  # of one kind
_NOT_COMPARED = {"code", "data", "host"}  # of environment.json


@dataclass(frozen=True)
class Reproduced:
    """How a run came out when it was run again."""

    run: Path
    folder: Path  # of the new run, with all that was printed beside it
    code: str  # what was run, in words
    exit_code: int  # of the program
    record: Comparison
    differs: dict[str, list[str]] = field(
        default_factory=dict
    )  # code, settings, data, environment: what is not as it was
    since: list[str] = field(default_factory=list)  # what has changed in the user's folder, and was not used
    missing: list[str] = field(default_factory=list)  # what was not recorded
    kept: Path | None = None  # the copy of the code

    @property
    def is_identical(self) -> bool:
        """Whether every line of the record came out again, byte for byte."""
        return self.record.is_identical

    def text(self) -> str:
        """The report for a terminal."""
        return "\n".join(_lines(self))


def reproduce(
    folder: str | Path,
    *,
    here: bool = False,
    keep: bool = False,
    command: Sequence[str] | None = None,
    tell: Callable[[str], object] = lambda line: None,
) -> Reproduced:
    """Run a run's program again from its beginning, as a new run in RUN/replays/reproduced-N, and compare the two.

    The program runs in a copy of the code as it was, changes and new files included. What git does not keep there
    (ignored files, such as data) is the present one. A run that was stopped is run as far as it came.

    Args:
        here: run the code as it is now, in the folder where the run was started: what a change does to the numbers.
        keep: leave the copy of the code, and the new run's checkpoints.
        command: the program to start instead of the recorded one.
        tell: is given a line before the program starts.

    Raises:
        RunError: the run cannot be repeated, or its program did not begin it again.
    """
    folder = Path(folder)
    info = read_finished(folder)
    instead = f"say it: loopwright reproduce {folder} --program 'python train.py ...'"
    started = list(command) if command is not None else recorded_command(folder, info, instead)
    known = _read(folder / ENVIRONMENT)
    target = _free(folder)
    with _code(folder, info, known, here, keep) as (place, copy, code):
        tell(f"starting   {code}; it prints into {target / OUTPUT}")
        order = _order(folder, info, target, copy)
        variables = known_variables(_part(known, "variables")) | {ORDER: order.text()}
        if copy is not None:
            paths = _part(known, "code").get("import_paths") or []
            variables |= environment_for(copy, place, map(str, paths), os.environ)
            started = [_moved(part, order) for part in started]
        with open(target / OUTPUT, "wb") as file:
            exit_code = start(started, place, variables, file)
        new = target / "run"
        _check_begun(folder, new, target / OUTPUT)
        since = _since(known) if copy is not None else []
    found = Reproduced(
        folder, new, code, exit_code, _compared(folder, new), _differs(folder, new, known), since,
        _missing(info, known), copy.folder if copy is not None and keep else None,
    )  # fmt: skip
    write_json(target / REPORT, {"identical": found.is_identical, "text": found.text().splitlines()}, sync=False)
    if not keep:
        shutil.rmtree(new / CHECKPOINTS, ignore_errors=True)
    return found


# ---- starting it -------------------------------------------------------------------------------------------------------


def _free(folder: Path) -> Path:
    """A folder for the new run."""
    for number in range(1, 10_000):
        target = folder / REPLAYS / f"reproduced-{number}"
        with contextlib.suppress(FileExistsError):
            target.mkdir(parents=True)
            return target
    raise RunError(f"{folder / REPLAYS} is full of reproduced runs: remove some")


@contextlib.contextmanager
def _code(
    folder: Path, info: Mapping[str, Any], known: Mapping[str, Any], here: bool, keep: bool
) -> Iterator[tuple[Path, CodeCopy | None, str]]:
    """Where to start the program, the copy of its code, and what that is."""
    facts, snapshot = _part(known, "code"), snapshot_of(known)
    place = Path(str(info.get("working_folder")))
    if here or snapshot is None:
        yield place, None, "the code as it is now" if here else "the code as it is now, as none was recorded"
        return
    root = Path(str(facts.get("repository")))
    if not root.is_dir():
        raise RunError(
            f"the repository of {folder} is not at {root} any more: put it back, or run the present code with --here"
        )
    patch = folder / PATCH if facts.get("snapshot") is None and (folder / PATCH).exists() else None
    with CodeCopy(root, snapshot, patch=patch, link=list(_part(facts, "left_out")), keep=keep) as copy:
        inside = os.path.normpath(copy.folder / str(facts.get("folder", ".")))
        is_changed = patch is not None or snapshot != facts.get("commit")
        what = f"commit {str(facts.get('commit'))[:12]}" + (" and the changes of then" if is_changed else "")
        yield Path(inside), copy, f"{what}, of {root}"


def _order(folder: Path, info: Mapping[str, Any], target: Path, copy: CodeCopy | None) -> RunOrder:
    last = info.get("step")
    return RunOrder(
        run=str(folder.absolute()),
        copy=str((target / "run").absolute()),
        until=last if info.get("state") != "finished" and isinstance(last, int) else 0,
        code="" if copy is None else str(copy.folder),
        original="" if copy is None else str(copy.root),
        command=tuple(info.get("command") or ()),
    )


def _moved(part: str, order: RunOrder) -> str:
    """A program that was named by its whole path is taken from the copy, where it is there."""
    if not os.path.isabs(part):
        return part
    copy = order.copy_of(part)
    is_own = os.path.isfile(copy) and os.path.realpath(copy).startswith(os.path.realpath(order.code) + os.sep)
    return str(copy) if is_own else part


def _check_begun(folder: Path, new: Path, output: Path) -> None:
    if not (new / RUN).exists():
        tail = "\n  ".join(output.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise RunError(f"the program did not begin {folder} again. It printed (all in {output}):\n  {tail}")


# ---- comparing ---------------------------------------------------------------------------------------------------------


def _compared(folder: Path, new: Path) -> Comparison:
    try:
        return compare_records(folder / METRICS, new / METRICS)
    except (OSError, ValueError) as error:
        raise RunError(f"{folder / METRICS} does not hold the metrics of a run ({error})") from None


def _differs(folder: Path, new: Path, known: Mapping[str, Any]) -> dict[str, list[str]]:
    now = _read(new / ENVIRONMENT)
    found = {
        "code": _code_differs(known, now),
        "settings": _settings_differ(folder / CONFIG, new / CONFIG),
        "data": _data_differ(folder / DATA, new / DATA),
        "machine": [str(d) for d in differences(_compared_part(known), _compared_part(now))] if known else [],
    }
    return {kind: told for kind, told in found.items() if told}


def _compared_part(environment: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in environment.items() if key not in _NOT_COMPARED}


def _code_differs(known: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Where the present code was run."""
    old, new, root = snapshot_of(known), _part(now, "code").get("snapshot"), _part(known, "code").get("repository")
    if old is None or new is None or root is None or old == new:
        return []
    try:
        return changed_lines(Path(str(root)), old, str(new))
    except GitError as error:
        return [f"it cannot be compared: {error}"]


def _since(known: Mapping[str, Any]) -> list[str]:
    """What has changed in the user's folder since the run."""
    facts = _part(known, "code")
    if facts.get("snapshot") is None:
        return []
    place = Path(str(facts.get("repository")), str(facts.get("folder", ".")))
    return _code_differs(known, {"code": capture_code(place, "").facts}) if place.is_dir() else []


def _settings_differ(old: Path, new: Path) -> list[str]:
    try:
        return [str(difference) for difference in differences(read_yaml(old).values, read_yaml(new).values)]
    except (OSError, LoopwrightError):
        return []


def _data_differ(old: Path, new: Path) -> list[str]:
    try:
        before, now = (list(read_json_lines(path)) if path.exists() else [] for path in (old, new))
    except (OSError, ValueError):
        return []
    phases = [
        p for p in dict.fromkeys(str(line.get("phase")) for line in before) if any(n.get("phase") == p for n in now)
    ]
    return [
        f"{phase}: {told}"
        for phase in phases
        for told in what_changed(*([line for line in lines if line.get("phase") == phase] for lines in (before, now)))
    ]


def _missing(info: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """What the run's record cannot say."""
    code, told = _part(known, "code"), []
    told += [] if info.get("seeded") else ["it was given no seed: only its own program can make it repeat"]
    told += [f"code: {code['note']}"] if code.get("note") else []
    out = [name for name, why in _part(code, "left_out").items() if why != "a run"]
    told += [f"not in the snapshot: {', '.join(out[:MOST_TOLD])}"] if out else []
    lives = info.get("lives") or []
    others = {life.get("snapshot") for life in lives if isinstance(life, dict)} - {info.get("snapshot"), None}
    told += ["it was continued with changed code: the code of its last life was run"] if others else []
    notes = [f"data of {phase}: {facts['note']}" for phase, facts in _part(known, "data").items() if facts.get("note")]
    return [*told, *notes]


def _part(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None


# ---- telling -----------------------------------------------------------------------------------------------------------


def _lines(found: Reproduced) -> list[str]:
    lines = [f"reproduced {found.run}: {found.code}"]
    lines += _told("record", found.record.lines())
    for kind, told in found.differs.items():
        lines += _told(kind, told)
    if not found.is_identical and not found.differs and found.exit_code == 0:
        reason = "nothing that was recorded differs: something that is not seeded takes part, or the device adds in "
        lines += _told("why", [f"{reason}another order each time (lw.Run(..., deterministic=True))"])
    lines += _told("ended", [f"with exit code {found.exit_code}"]) if found.exit_code else []
    if found.since:
        lines += _told("since then", ["the folder has changed; this was not used (--here runs it):", *found.since])
    lines += _told("missing", found.missing)
    lines += _told("code", [f"kept in {found.kept}"]) if found.kept else []
    return [*lines, f"folder     {found.folder}"]


def _told(name: str, told: list[str]) -> list[str]:
    more = [f"and {len(told) - MOST_TOLD} more"] if len(told) > MOST_TOLD else []
    return [f"{name if not number else '':<10} {line}" for number, line in enumerate([*told[:MOST_TOLD], *more])]
