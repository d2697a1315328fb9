"""Running one step of a run again, to look at it: its program is started again on a copy of its folder. No torch here."""

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._errors import RunError
from ._files import json_text, read_json
from ._names import shown_samples
from ._record import CHECKPOINTS, CONFIG, METRICS, REPLAYS, RUN, SPEED
from ._restart import read_finished, recorded_command, start
from ._run_order import ENVIRONMENT, RunOrder

REPORT, OUTPUT = "replay.json", "output.txt"


@dataclass(frozen=True)
class Replayed:
    """What was seen at a step."""

    run: Path
    folder: Path  # of the copy, with the report and all that was printed
    step: int
    begun_from: str  # the checkpoint, or "the beginning"
    agrees: int | None  # lines of metrics.jsonl that came out again, byte for byte; None where the first to differ is
    differs: str  # that line
    seen: dict[str, Any] = field(repr=False)

    @property
    def is_sound(self) -> bool:
        """Whether everything was finite."""
        s = self.seen
        found = s.get("error") or s.get("layer") or s.get("bad_gradients") or s.get("weights_after") != "finite"
        return not (found or s.get("bad_values"))

    def text(self) -> str:
        """The report for a terminal."""
        return "\n".join(_lines(self))


def replay(folder: str | Path, step: int, *, command: Sequence[str] | None = None) -> Replayed:
    """Run a step again, as it was: from the newest checkpoint before it, on a copy of the run in RUN/replays/step-N.

    The copy's program is the one that the run recorded, started in the folder that it was started in. It ends after the
    step. Where the weights were not finite before it, the step that made them so is looked at instead.

    Args:
        step: from 1; the batch that ``global_step`` counted as this one.
        command: the program to start instead of the recorded one.

    Raises:
        RunError: the run cannot be repeated, or its program did not come to the step.
    """
    folder = Path(folder)
    info = _checked(folder, step, command)
    replayed = _replay(folder, info, step, command)
    since, began = replayed.seen.get("weights_bad_since"), replayed.seen.get("began_at")
    if since is not None and began is not None and began < since < step:
        return _replay(folder, info, since, command)
    return replayed


def _checked(folder: Path, step: int, command: Sequence[str] | None) -> dict[str, Any]:
    info = read_finished(folder)
    last = info.get("step")
    if step < 1 or (isinstance(last, int) and step > last):
        raise RunError(f"{folder} has no step {step}: its steps are 1 to {last}")
    if command is None:
        recorded_command(folder, info, f"say it: loopwright replay {folder} --step N --program 'python train.py ...'")
    return info


def _replay(folder: Path, info: dict[str, Any], step: int, command: Sequence[str] | None) -> Replayed:
    copy = folder / REPLAYS / f"step-{step:06d}"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    begun_from = _copy_run(folder, copy, info, step)
    order = RunOrder(str(folder.absolute()), str((copy / "run").absolute()), step, str((copy / REPORT).absolute()))
    _start(info, order, command, copy / OUTPUT)
    if not (copy / REPORT).exists():
        tail = "\n  ".join((copy / OUTPUT).read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise RunError(
            f"the program did not come to step {step} of {folder} again. It printed (all in {copy / OUTPUT}):\n  {tail}"
        )
    agrees, differs = _compare(folder / METRICS, copy / "run" / METRICS, step)
    return Replayed(folder, copy, step, begun_from, agrees, differs, read_json(copy / REPORT))


def _copy_run(folder: Path, copy: Path, info: dict[str, Any], step: int) -> str:
    """A copy of the run as it was at its newest checkpoint before a step; what it goes on from."""
    entry, index = _entry_before(folder, step)
    if entry is None:
        if not info.get("seeded"):
            raise RunError(
                f"{folder} has no checkpoint from before step {step}, and was given no seed: its beginning cannot be "
                "repeated. Give runs a seed: lw.Run(..., seed=42)"
            )
        return "the beginning"
    target, name = copy / "run", entry["name"]
    (target / CHECKPOINTS / name).mkdir(parents=True)
    for path in (folder / CHECKPOINTS / name).iterdir():
        _link(path, target / CHECKPOINTS / name / path.name)
    one = {**index, "latest": name, "best": {}, "modes": {}, "checkpoints": [entry]}
    (target / CHECKPOINTS / "index.json").write_text(json_text(one), encoding="utf-8")
    for name_of_file in (CONFIG, METRICS, SPEED):
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(folder / name_of_file, target / name_of_file)
    (target / RUN).write_text(json_text({**info, "state": "stopped"}), encoding="utf-8")
    return str(name)


def _entry_before(folder: Path, step: int) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    path = folder / CHECKPOINTS / "index.json"
    if not path.exists():
        return None, {}
    try:
        index = read_json(path)
        before = [e for e in index["checkpoints"] if e["step"] < step and os.sep not in e["name"]]
        return max(before, key=lambda e: e["step"], default=None), index
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is not an index of checkpoints ({error})") from None


def _link(source: Path, target: Path) -> None:
    """Checkpoints are large and never changed: another name for the same file will do, where the disk has that."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _start(info: dict[str, Any], order: RunOrder, command: Sequence[str] | None, output: Path) -> None:
    started = list(command) if command is not None else list(info["command"])
    place = Path.cwd() if command is not None else Path(str(info.get("working_folder")))
    with open(output, "wb") as file:
        start(started, place, {ENVIRONMENT: order.text()}, file)


def _compare(old: Path, new: Path, step: int) -> tuple[int | None, str]:
    """How many lines of the record up to a step came out again; the first one that did not."""
    had = old.read_bytes().splitlines() if old.exists() else []
    has = new.read_bytes().splitlines() if new.exists() else []
    count = 0
    for before, now in zip(had, has, strict=False):
        if before != now:
            return None, now.decode(errors="replace")
        with contextlib.suppress(ValueError):
            if json.loads(before).get("step", 0) > step:
                break
        count += 1
    return count, ""


def _lines(replayed: Replayed) -> list[str]:
    seen = replayed.seen
    lines = [f"replayed   step {replayed.step} of {replayed.run}, from {replayed.begun_from}"]
    if replayed.agrees is None:
        lines.append(f"record     differs from the run's: {replayed.differs[:120]}")
    else:
        lines.append(f"record     the {replayed.agrees} lines up to there came out again, byte for byte")
    lines += [f"samples    {shown_samples(seen['samples'])}"] if seen.get("samples") else []
    lines += [f"input      {_input(facts)}" for facts in seen.get("inputs", ())]
    lines += [f"logged     {', '.join(f'{n} {v}' for n, v in _logged(seen).items())}"] if _logged(seen) else []
    lines += [f"layer      not finite: {seen['layer']}"] if seen.get("layer") else []
    bad = seen.get("bad_gradients") or []
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        lines.append(f"gradient   not finite, from the loss on the first: {bad[0]}{more}")
    elif seen.get("gradient_norm") is not None:
        lines.append(f"gradient   finite, of norm {seen['gradient_norm']:.6g}")
    made = seen.get("made") or {}
    for kind in ("nan", "inf"):
        if kind in made and (kind == "nan" or seen.get("bad_values")):
            what = f"the first {kind}: by {made[kind]['operation']}, from numbers that are finite"
            lines += [f"made       {what}", f"           {made[kind]['line']}"]
    if seen.get("error"):
        error = seen["error"]
        lines += [f"error      {error['message'].splitlines()[0]}", f"           {error['place']}"]
    lines += [f"made at    {seen['made_at']}"] if seen.get("made_at") else []
    if seen.get("weights_after"):
        after = seen["weights_after"]
        lines.append(
            "weights    finite afterwards" if after == "finite" else f"weights    not finite afterwards: {after}"
        )
    if seen.get("weights_bad_since") is not None and seen["weights_bad_since"] < replayed.step:
        lines.append(f"before     {seen['bad_weights']} was not finite already after step {seen['weights_bad_since']}")
    return [*lines, f"folder     {replayed.folder}"]


def _logged(seen: dict[str, Any]) -> dict[str, str]:
    return {name: ", ".join(f"{float(v):.6g}" for v in values) for name, values in (seen.get("logged") or {}).items()}


def _input(facts: dict[str, Any]) -> str:
    spread = f", {facts['lowest']:.4g} to {facts['highest']:.4g}" if "lowest" in facts else ""
    bad = f", {facts['not_finite']} not finite" if facts.get("not_finite") else ""
    return f"{facts['dtype']} {tuple(facts['shape'])}{spread}{bad}"
