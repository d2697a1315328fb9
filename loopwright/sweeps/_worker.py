"""``Worker``: takes trials that nobody has, runs each as a process, notes what came of it. Knows nothing of the table.

Any number of workers may be at one sweep's folder. What is done is in the trials' folders, who does it in the claims, and
both survive every kind of death: a dead worker's trials are taken up by the next that looks, and go on from their run's
checkpoint.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._errors import ConfigError, RunError
from .._lock import FolderLock
from .._record import METRICS, RUN, read_run
from .._signals import Signals
from ._optuna import Pruning, suggest
from ._outcome import ENDED, Outcome, Point, why_no_value
from ._plan import Plan, Trial
from ._process import TrialProcess, trial_command
from ._share import environment_of
from ._store import CONFIG, OUTPUT, Store
from ._table import harmless, settings_text

_TICK = 0.05  # seconds between two looks at what runs
_IDLE = 1.0  # seconds between two looks for a trial while all are taken
_REPEATS = 20  # askings of TPE in a row that brought nothing new: the space is used up
_MISTAKE = 2  # exit code of a trial that could not begin


@dataclass
class _Running:
    trial: Trial
    claim: FolderLock
    process: TrialProcess
    slot: int
    began: float
    size: int = 0  # bytes of its metrics when they were looked at
    pruned: Point | None = None


class Worker:
    """Works at a sweep until nothing is left, or until it is told to stop.

    Args:
        retry: do trials again that failed.
        say: is given a line for what begins and ends.
        noted: is called after each trial that ended.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        *,
        workers: int,
        threads: int,
        retry: bool,
        say: Callable[[str], None],
        noted: Callable[[], object],
    ) -> None:
        self._plan, self._store, self._study = plan, store, plan.study
        self._workers, self._threads, self._retry, self._say = workers, threads, retry, say
        self._noted = noted
        self._running: list[_Running] = []
        self._over: set[str] = set()  # trials that are nothing more to us
        self._misfits: list[str] = []  # why trials could not begin
        self._next_look = 0.0
        self._is_waiting = self._has_room = self._has_measured = False
        self.signals = Signals()
        prune = self._study.prune
        epochs = plan.base.values.get("epochs")
        self._pruning = prune and Pruning(
            prune.name, prune.arguments, self._study.direction, epochs if isinstance(epochs, int) else None
        )

    def work(self) -> None:
        """Do trials until nothing is left to do, here or elsewhere."""
        self.signals.install()
        try:
            self._note_first()
            while self._turn():
                time.sleep(_TICK)
        finally:
            for running in self._running:
                running.process.end()
            for running in list(self._running):
                self._settle(running)
            self.signals.remove()

    def _note_first(self) -> None:
        """Note the trial that TPE begins with before anybody asks for the next: its number is taken."""
        if self._study.method == "tpe":
            with self._store.alone():
                for trial in self._plan.trials:
                    self._store.add(trial)

    def _turn(self) -> bool:
        """One look at everything; False when it is over."""
        for running in list(self._running):
            if running.process.poll() is not None:
                self._settle(running)
                self._next_look = 0.0
                self._stop_if_hopeless()
            elif self._pruning:
                self._prune(running, self._pruning)
        if self.signals.received is not None:
            for running in self._running:
                running.process.ask_to_leave()
            return bool(self._running)
        if len(self._running) < self._workers and time.monotonic() >= self._next_look:
            self._fill()
        return bool(self._running) or self._has_room

    def _fill(self) -> None:
        """Begin trials in all free slots; where there is none to begin, look again a little later."""
        self._has_room = True
        while len(self._running) < self._workers and self.signals.received is None:
            taken = self._take()
            if taken is None:
                self._next_look = time.monotonic() + _IDLE
                self._has_room = self._is_taken_elsewhere()
                return
            self._begin(*taken)

    # ---- which trial -----------------------------------------------------------------------------------------------

    def _take(self) -> tuple[Trial, FolderLock] | None:
        """A trial that is to be done and that nobody has: first those that somebody began."""
        for trial in self._known():
            if taken := self._claimed(trial):
                return taken
        return self._ask() if self._study.method == "tpe" else None

    def _known(self) -> Iterator[Trial]:
        """The planned trials; of TPE those that were asked for."""
        yield from self._plan.trials
        if self._study.method == "tpe":
            for facts in self._store.all_facts():
                trial = self._plan.trial(facts["settings"], facts["number"])
                if trial.id == facts["id"] and not facts.get("is_default"):  # else of an earlier tree
                    yield trial

    def _claimed(self, trial: Trial) -> tuple[Trial, FolderLock] | None:
        if trial.id in self._over or not self._is_open(self._store.facts(trial.id)):
            return None
        claim = self._store.claim(trial.id)
        if claim is None:
            return None
        if not self._is_open(self._store.facts(trial.id)):  # another did it in between
            claim.release()
            return None
        self._store.add(trial)
        return trial, claim

    def _is_open(self, facts: dict[str, Any]) -> bool:
        """Whether something is left to be done about a trial."""
        state = facts.get("state", "waiting")
        again = self._retry or facts.get("code") == _MISTAKE  # it could not even begin; its mistake may be mended
        is_open = state not in ENDED or (state == "failed" and again)
        if not is_open:
            self._over.add(facts["id"])
        return is_open

    def _is_taken_elsewhere(self) -> bool:
        """Whether trials are left that other workers have: should one of these die, its trials are ours."""
        mine = {running.trial.id for running in self._running}
        others = [trial for trial in self._known() if trial.id not in self._over and trial.id not in mine]
        busy = [trial for trial in others if self._store.is_busy(trial.id)]
        if busy and not self._running and not self._is_waiting:
            self._is_waiting = True
            self._say(f"waiting    for {', '.join(trial.id for trial in busy)}, which others have")
        return bool(others)

    def _ask(self) -> tuple[Trial, FolderLock] | None:
        """The next trial of TPE, noted and claimed while nobody else asks."""
        with self._store.alone():
            past = self._outcomes()
            number = 1 + max((one.number for one in past), default=-1)
            if len(list(self._known())) >= (self._plan.count or 0):
                return None
            ids = {one.id for one in past}
            for attempt in range(_REPEATS):
                settings = suggest(
                    self._plan.space,
                    past,
                    mode=self._study.direction,
                    seed=self._study.seed,
                    number=number,
                    attempt=attempt,
                )
                trial = self._plan.trial(settings, number)
                if trial.id not in ids:
                    self._store.add(trial)
                    return self._claimed(trial)
        return None

    def _outcomes(self) -> list[Outcome]:
        study = self._study
        return self._store.outcomes((), study.metric, study.direction, study.pick)

    # ---- one trial -------------------------------------------------------------------------------------------------

    def _begin(self, trial: Trial, claim: FolderLock) -> None:
        folder = self._store.trial_folder(trial.id)
        try:
            if _is_finished(folder):  # and its worker died before it could say so
                return self._note(trial, claim, "finished")
            if self._pruning and (point := self._end_early(trial.id, self._pruning)) is not None:
                return self._note(trial, claim, "pruned", reason=self._pruned_words(point))
            used = {running.slot for running in self._running}
            slot = next(number for number in range(self._workers) if number not in used)
            command = trial_command(self._study.command, folder, folder / CONFIG, trial.config)
            attempts = self._store.facts(trial.id).get("attempts", 0) + 1
            self._store.update(trial.id, state="running", attempts=attempts, reason=None, code=None, command=command)
            environment = environment_of(slot, self._threads, self._workers)
            process = TrialProcess(command, folder / OUTPUT, environment)
        except BaseException:
            claim.release()
            raise
        self._running.append(_Running(trial, claim, process, slot, time.monotonic()))
        again = f", attempt {attempts}" if attempts > 1 else ""
        self._say(f"begin      {trial.id}  {self._words(trial)}{again}")
        return None

    def _settle(self, running: _Running) -> None:
        """Note how a trial that is no more running ended."""
        self._running.remove(running)
        folder, process, code = self._store.trial_folder(running.trial.id), running.process, running.process.poll()
        seconds = round((self._store.facts(running.trial.id).get("seconds") or 0) + time.monotonic() - running.began, 1)
        if code == 0:
            state, reason = "finished", ""
        elif running.pruned is not None and process.stopped():
            state, reason = "pruned", self._pruned_words(running.pruned)
        elif process.stopped():
            state, reason = "stopped", ""
            self._over.add(running.trial.id)  # somebody wants it stopped: the next command goes on with it
        else:
            state, reason = "failed", process.reason(folder)
        if code == _MISTAKE:
            self._misfits.append(reason)
        self._note(running.trial, running.claim, state, reason=reason, code=code, seconds=seconds)

    def _note(self, trial: Trial, claim: FolderLock, state: str, **facts: Any) -> None:
        """Write down how a trial ended, then let go of it."""
        try:
            self._store.update(trial.id, state=state, **facts)
        finally:
            claim.release()
        if state in ENDED:
            self._over.add(trial.id)
        study = self._study
        outcome = self._store.outcome(self._store.facts(trial.id), study.metric, study.direction, study.pick)
        value = f"{study.metric} {outcome.value:.4g}" if outcome.value is not None else ""
        said = ", ".join(filter(None, [state, value, outcome.reason]))
        self._say(f"end        {trial.id}  {self._words(trial)}: {harmless(said)}")
        self._noted()

    def _words(self, trial: Trial) -> str:
        return "the defaults" if trial.is_default else settings_text(trial.values, self._plan.space.keys)

    def _stop_if_hopeless(self) -> None:
        """A mistake that all trials have is said once, instead of failing every one of them."""
        if self._has_measured:
            return
        outcomes = [one for one in self._outcomes() if one.state in ENDED]
        self._has_measured = any(one.curve for one in outcomes)
        if self._has_measured:
            return
        ended = [one for one in outcomes if one.state == "finished"]
        if ended:
            raise ConfigError(f"study.metric: {why_no_value(ended[0].folder, self._study.metric, ())}")
        if len(self._misfits) > 1:
            raise RunError(f"no trial could begin: {self._misfits[-1]}")

    # ---- ending early ----------------------------------------------------------------------------------------------

    def _prune(self, running: _Running, pruning: Pruning) -> None:
        size = _size(self._store.trial_folder(running.trial.id) / METRICS)
        if running.pruned is not None or size == running.size:
            return
        running.size, running.pruned = size, self._end_early(running.trial.id, pruning)
        if running.pruned is not None:
            running.process.ask_to_leave()

    def _end_early(self, id: str, pruning: Pruning) -> Point | None:
        """The measurement after which a trial should end, by those that ended before."""
        facts = self._store.facts(id)
        study = self._study
        curve = self._store.outcome(facts, study.metric, study.direction, study.pick).curve if facts else ()
        if not curve or not pruning.is_news(id, curve):
            return None
        pruning.learn(self._outcomes())
        return pruning.follow(id, curve)

    def _pruned_words(self, point: Point) -> str:
        name = self._study.prune.name if self._study.prune else ""
        return f"by {name} after {point.count} measurement{'s' * (point.count != 1)} ({point.value:.4g})"


def _is_finished(folder: Path) -> bool:
    """Whether a trial's run went to its end."""
    try:
        return (folder / RUN).exists() and read_run(folder).get("state") == "finished"
    except RunError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
