"""``Store``: a sweep's folder, which is all that its workers share, on one machine or several.

study.json         what it is a sweep of, and the threads of each trial: the same for whoever joins
trials/ID/         one run: trial.json (what became of it), trial.yaml (configuration), output.txt, and the run's own files
claims/ID/.lock    held by the worker that runs the trial; freed by every kind of death
sweep.json         all outcomes, for the report
best.yaml          the best configuration

Nothing here knows how trials are chosen or started.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from .._errors import RunError
from .._files import make_folder, read_json, replace_file, write_json
from .._lock import FolderLock, holder
from .._resume import changed_settings
from .._yaml import dump_yaml, read_yaml
from ._outcome import ENDED, Outcome, picked, read_curve, why_no_value
from ._plan import Trial

STUDY_FILE, TRIAL, CONFIG, OUTPUT, RESULT, BEST = (
    "study.json", "trial.json", "trial.yaml", "output.txt", "sweep.json", "best.yaml",
)  # fmt: skip
_WAIT = 0.2  # seconds between two looks at a lock


class Store:
    """The folder of one sweep; nothing is written before ``begin``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, fixed: Mapping[str, Any], threads: int) -> int:
        """Make the folder, or join the sweep that is in it; returns the threads of its trials.

        Raises RunError where the folder is of a sweep with other fixed settings, or cannot be written.
        """
        try:
            return self._begin(fixed, threads)
        except OSError as error:
            raise RunError(
                f"cannot write into the folder of the sweep {self.folder}: {error.strerror}. Give it write permission, or "
                "put the sweep elsewhere (study.folder=...)"
            ) from error

    def _begin(self, fixed: Mapping[str, Any], threads: int) -> int:
        make_folder(self.folder / "trials")
        make_folder(self.folder / "claims")
        with self.alone():
            path = self.folder / STUDY_FILE
            if not path.exists():
                write_json(path, {"fixed": dict(fixed), "threads": threads, "begun": _now()})
                return threads
            study = self._study()
            changed, _ = changed_settings(study["fixed"], fixed)
            if changed:
                lines = "\n  ".join(map(str, changed))
                raise RunError(
                    f"{self.folder} holds a sweep of other settings:\n  {lines}\nTrials of the two cannot be compared: give "
                    "this one another folder (study.folder=...), or remove the old one"
                )
            return int(study["threads"])

    def _study(self) -> dict[str, Any]:
        path = self.folder / STUDY_FILE
        try:
            study = read_json(path)
            if isinstance(study["fixed"], dict) and int(study["threads"]) >= 1:
                return study
            raise ValueError("what it is a sweep of is missing")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} is not the record of a sweep ({error})") from None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other worker is choosing a trial; held for milliseconds."""
        while True:
            try:
                lock = FolderLock(self.folder)
                break
            except RunError:
                time.sleep(_WAIT)
        try:
            yield
        finally:
            lock.release()

    # ---- trials ----------------------------------------------------------------------------------------------------

    def trial_folder(self, id: str) -> Path:
        return self.folder / "trials" / id

    def add(self, trial: Trial) -> None:
        """Note a trial, unless it is noted already; whole after a kill."""
        path = self.trial_folder(trial.id) / TRIAL
        if path.exists():
            return
        path.parent.mkdir(exist_ok=True)
        replace_file(path.parent / CONFIG, dump_yaml(trial.config), sync=False)
        facts = {"id": trial.id, "number": trial.number, "state": "waiting", "settings": trial.settings}
        write_json(path, facts | {"values": trial.values, "is_default": trial.is_default})

    def facts(self, id: str) -> dict[str, Any]:
        """What trial.json says; empty where there is none yet."""
        path = self.trial_folder(id) / TRIAL
        try:
            facts = read_json(path)
            if facts.get("id") != id or not all(isinstance(facts.get(key), dict) for key in ("settings", "values")):
                raise ValueError("it is of no trial with this name")
            return facts
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise RunError(
                f"{path} is not the record of a trial ({error}): remove {path.parent} to do it again"
            ) from None

    def config(self, id: str) -> dict[str, Any]:
        """The whole configuration of a trial."""
        return read_yaml(self.trial_folder(id) / CONFIG).values

    def update(self, id: str, **facts: Any) -> None:
        write_json(self.trial_folder(id) / TRIAL, self.facts(id) | facts)

    def all_facts(self) -> list[dict[str, Any]]:
        """Every trial that is noted, in the order of their numbers."""
        found = [self.facts(path.parent.name) for path in (self.folder / "trials").glob(f"*/{TRIAL}")]
        return sorted(found, key=lambda facts: (facts.get("number", 0), facts.get("id", "")))

    # ---- who does it -----------------------------------------------------------------------------------------------

    def claim(self, id: str) -> FolderLock | None:
        """Take a trial for this worker; None where somebody has it, or where its run goes on without its worker."""
        folder = self.folder / "claims" / id
        if self.is_busy(id):
            return None
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = FolderLock(folder)
        except RunError:
            return None
        if holder(self.trial_folder(id)) is not None:
            lock.release()
            return None
        return lock

    def is_busy(self, id: str) -> bool:
        """Whether a living worker has the trial, or a living process its run."""
        return holder(self.folder / "claims" / id) is not None or holder(self.trial_folder(id)) is not None

    # ---- what came of it -------------------------------------------------------------------------------------------

    def outcome(
        self, facts: Mapping[str, Any], metric: str, mode: Literal["min", "max"], pick: Literal["best", "last"]
    ) -> Outcome:
        """A trial as its files say: the value is read anew from its metrics, so another metric ranks the same trials."""
        id = str(facts["id"])
        folder = self.trial_folder(id)
        state, reason = facts.get("state", "waiting"), str(facts.get("reason") or "")
        if state == "running" and not self.is_busy(id):
            state = "killed"
        curve, unread = (), ""
        try:
            curve = read_curve(folder, metric)
        except RunError as error:
            unread = str(error)
        point = picked(curve, mode, pick)
        if state == "finished" and point is None:
            reason = unread or why_no_value(folder, metric, curve)
        counts = state in ENDED and state != "failed" and point is not None
        return Outcome(
            id=id, number=int(facts.get("number", 0)), folder=str(folder), state=state, reason=reason, curve=curve,
            settings=facts.get("settings", {}), values=facts.get("values", {}),
            value=point.value if counts and point else None, at=point.count if counts and point else None,
            seconds=facts.get("seconds"), is_default=bool(facts.get("is_default")),
        )  # fmt: skip

    def outcomes(
        self, planned: Sequence[Trial], metric: str, mode: Literal["min", "max"], pick: Literal["best", "last"]
    ) -> list[Outcome]:
        """Every trial that is noted or planned, in the order of their numbers; nothing is dropped."""
        found = {facts["id"]: self.outcome(facts, metric, mode, pick) for facts in self.all_facts()}
        for trial in planned:
            if trial.id not in found:
                folder = str(self.trial_folder(trial.id))
                found[trial.id] = Outcome(
                    trial.id, trial.number, folder, "waiting", trial.settings, trial.values, is_default=trial.is_default
                )
        return sorted(found.values(), key=lambda one: (one.number, one.id))

    def write_result(self, result: Mapping[str, Any], best: str | None) -> None:
        write_json(self.folder / RESULT, result)
        if best is not None:
            replace_file(self.folder / BEST, best)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
