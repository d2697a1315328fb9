"""What Optuna (the extra ``sweep``) is for: the next settings by TPE, and which trials to end early.

It keeps nothing. The trials' folders are the record, and a study is made from them in memory when one is needed: there is
no second account that could disagree after a kill, and no trial that stays running in it. What TPE asks for is a pure
function of (seed, number, what the trials before reached).
"""

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from .._errors import ConfigError, MissingExtra
from .._names import check_arguments, did_you_mean
from .._yaml import show
from ._draw import Settings, share_of
from ._outcome import Outcome, Point
from ._range import Choices, Range
from ._space import Parameter, Space

PRUNERS = {"median": "MedianPruner", "hyperband": "HyperbandPruner"}
_STATES = {"finished": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}


def require_optuna(purpose: str) -> Any:
    """Optuna; raises MissingExtra where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise MissingExtra("optuna", purpose, "sweep") from None
    return optuna


def check_pruner(name: str, arguments: Mapping[str, Any]) -> None:
    """Raise ConfigError unless there is such a pruner and it takes these arguments."""
    if name not in PRUNERS:
        hint = did_you_mean(name, PRUNERS) or f"there are {' and '.join(PRUNERS)}"
        raise ConfigError(f"there is no pruner {name!r}: {hint}")
    pruner = getattr(require_optuna(f"study.prune: {name}").pruners, PRUNERS[name])
    check_arguments(pruner, arguments, place="study.prune")


def suggest(
    space: Space, past: Sequence[Outcome], *, mode: Literal["min", "max"], seed: int, number: int, attempt: int = 0
) -> Settings:
    """The settings that TPE would try next, given all trials so far.

    Source: Bergstra, Bardenet, Bengio and Kegl, Algorithms for Hyper-Parameter Optimization (NeurIPS 2011), as in Optuna.
    """
    optuna = require_optuna("study.method: tpe")
    with _quiet(optuna):
        own_seed = int(share_of(seed, number, f"tpe {attempt}") * 2**32)
        sampler = optuna.samplers.TPESampler(seed=own_seed, multivariate=True, group=True, constant_liar=True)
        trial = _study(optuna, space, past, mode, sampler, unfinished="RUNNING").ask()
        chosen: Settings = {}
        for one in space.parameters:
            if one.is_active(chosen):
                chosen[one.key] = _suggested(trial, one)
    return chosen


def as_study(space: Space, past: Sequence[Outcome], mode: Literal["min", "max"]) -> Any:
    """All trials as an Optuna study in memory, for its plots and importances, or to be copied into a storage."""
    optuna = require_optuna("an Optuna study")
    with _quiet(optuna):
        return _study(optuna, space, past, mode, None, unfinished="FAIL")


class Pruning:
    """Follows the curves of trials and says which to end early, as one of Optuna's pruners would.

    Args:
        resource: how many measurements a whole trial makes, if known; hyperband divides it into brackets.
    """

    def __init__(
        self, name: str, arguments: Mapping[str, Any], mode: Literal["min", "max"], resource: int | None = None
    ) -> None:
        self._optuna = require_optuna(f"study.prune: {name}")
        given = dict(arguments)
        if name == "hyperband" and resource is not None:
            given.setdefault("max_resource", resource)
        with _quiet(self._optuna):
            pruner = getattr(self._optuna.pruners, PRUNERS[name])(**given)
            self._study = self._optuna.create_study(
                study_name="sweep",
                direction=_direction(mode),
                sampler=self._optuna.samplers.RandomSampler(0),
                pruner=pruner,
            )
        self._name = name
        self._trials: dict[str, Any] = {}
        self._seen: dict[str, int] = {}  # how many measurements of each
        self._ended: set[str] = set()

    def is_news(self, id: str, curve: Sequence[Point]) -> bool:
        """Whether a curve has measurements that were not looked at."""
        return len(curve) > self._seen.get(id, 0)

    def follow(self, id: str, curve: Sequence[Point]) -> Point | None:
        """Look at what a trial has measured since the last time; the measurement after which it should end, if any."""
        with _quiet(self._optuna):
            if id not in self._trials:
                self._trials[id] = self._study.ask()
            trial = self._trials[id]
            for point in curve[self._seen.get(id, 0) :]:
                self._seen[id] = point.count
                trial.report(point.value, point.count)
                if trial.should_prune():
                    return point
        return None

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Take in trials that ended, each once: what others are compared with."""
        for outcome in outcomes:
            if outcome.state in _STATES and outcome.id not in self._ended:
                self._ended.add(outcome.id)
                self.follow(outcome.id, ())
                while self.follow(outcome.id, outcome.curve) is not None:
                    pass  # the pruner keeps notes of what it looked at; the trial ended as it did
                self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        state = "FAIL" if outcome.state == "finished" and outcome.value is None else _STATES[outcome.state]
        value = outcome.value if state == "COMPLETE" else None
        with _quiet(self._optuna):
            self._study.tell(self._trials[outcome.id], value, state=self._optuna.trial.TrialState[state])


def _study(
    optuna: Any, space: Space, past: Sequence[Outcome], mode: Literal["min", "max"], sampler: Any, *, unfinished: str
) -> Any:
    """A study of these trials; those that somebody will go on with count as ``unfinished``."""
    study = optuna.create_study(study_name="sweep", direction=_direction(mode), sampler=sampler)
    for outcome in past:
        study.add_trial(_frozen(optuna, space, outcome, mode, unfinished))
    return study


def _frozen(optuna: Any, space: Space, outcome: Outcome, mode: Literal["min", "max"], unfinished: str) -> Any:
    """A trial as Optuna has it. One whose loss became NaN is the worst of all, so that TPE keeps away from it."""
    known = [one for one in space.active(outcome.values) if one.key in outcome.values]
    fits = [one for one in known if outcome.values[one.key] in one.domain]
    state, value = _STATES.get(outcome.state, "RUNNING" if outcome.state == "running" else unfinished), outcome.value
    if outcome.diverged:
        state, value = "COMPLETE", -math.inf if mode == "max" else math.inf
    elif state == "COMPLETE" and value is None:
        state = "FAIL"
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState[state],
        value=value if state == "COMPLETE" else None,
        params={one.name: _internal(one, outcome.values[one.key]) for one in fits},
        distributions={one.name: _distribution(optuna, one) for one in fits},
        intermediate_values={point.count: point.value for point in outcome.curve},
        user_attrs={"id": outcome.id, "state": outcome.state, "folder": outcome.folder},
    )


def _distribution(optuna: Any, one: Parameter) -> Any:
    if isinstance(one.domain, Choices):
        return optuna.distributions.CategoricalDistribution([_internal(one, value) for value in one.domain.values])
    kind = optuna.distributions.IntDistribution if one.domain.is_whole else optuna.distributions.FloatDistribution
    return kind(**_bounds(one.domain))


def _suggested(trial: Any, one: Parameter) -> Any:
    domain = one.domain
    if isinstance(domain, Choices):
        text = trial.suggest_categorical(one.name, [_internal(one, value) for value in domain.values])
        return next(value for value in domain.values if _internal(one, value) == text)
    suggest_number = trial.suggest_int if domain.is_whole else trial.suggest_float
    return domain.fitted(suggest_number(one.name, **_bounds(domain)))


def _bounds(domain: Range) -> dict[str, Any]:
    """The arguments that Optuna's ranges take; the upper end is one that the steps reach."""
    high = domain.grid()[-1] if domain.step is not None else domain.high
    kind = int if domain.is_whole else float
    step = domain.step if domain.step is not None else 1 if domain.is_whole else None
    return {"low": kind(domain.low), "high": kind(high), "log": domain.log, "step": step and kind(step)}


def _internal(one: Parameter, value: Any) -> Any:
    """A value as Optuna takes it: of a list, as text."""
    return show(value, width=10_000) if isinstance(one.domain, Choices) else value


def _direction(mode: Literal["min", "max"]) -> str:
    return "maximize" if mode == "max" else "minimize"


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Without Optuna's log lines, and without its warnings of what may change in later versions."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        optuna.logging.set_verbosity(before)
