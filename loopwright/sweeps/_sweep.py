"""``sweep``: from a configuration to trials to a table. Joins what the other files do, and holds no mechanism of its own."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .._cores import cores
from .._yaml import plain
from ._plan import Plan, read_plan
from ._result import SweepResult
from ._share import threads_each
from ._store import Store
from ._table import settings_text
from ._worker import Worker


def sweep(
    config: Any,
    overrides: Iterable[str] = (),
    *,
    folder: str | Path | None = None,
    workers: int | None = None,
    retry: bool = False,
    dry_run: bool = False,
    progress: bool = True,
) -> SweepResult:
    """Run the trials of a configuration that has a ``sweep`` tree, each an ordinary run in a process of its own.

    A trial's name is a hash of its settings, so calling it again goes on: what is finished is kept, what was interrupted, by
    SIGKILL too, continues from its checkpoint, and what the tree has gained is added. Called elsewhere at the same time,
    on the same folder, it joins. ``docs/sweep.md`` says what the tree and ``study`` may hold.

    Args:
        config: a YAML file, or a mapping.
        overrides: ``"key=value"`` on top of it, as ``"study.trials=40"`` or ``"epochs=5"``.
        folder: of the sweep. Default: ``study.folder``, else sweeps/NAME of the file.
        workers: how many trials at once. Default: ``study.workers``.
        retry: do trials again that failed.
        dry_run: only say which trials there are; nothing is written.
        progress: print what begins and ends, and the table at the end.

    Raises:
        ConfigError: all that is wrong with the configuration, before anything runs.
        RunError: the folder is of a sweep with other settings.
        MissingExtra: TPE or pruning was asked for without Optuna.
        KeyboardInterrupt, SystemExit: it was told to stop; the trials saved and left.

    >>> study = {"method": "grid", "command": ["python", "train.py"]}
    >>> config = {"epochs": 5, "sweep": {"optimizer": {"lr": [0.001, 0.01]}}, "study": study}
    >>> [trial.settings for trial in sweep(config, folder="runs/none", dry_run=True, progress=False).trials]
    [{'optimizer.lr': 0.001}, {'optimizer.lr': 0.01}]
    """
    say: Callable[[str], None] = (lambda line: print(line, flush=True)) if progress else (lambda line: None)
    plan = read_plan(config, overrides, folder=folder)
    workers = workers or plan.study.workers
    threads, reason = threads_each(workers, cores(), os.environ)
    if plan.study.threads is not None:
        threads, reason = plan.study.threads, "study.threads"
    store = Store(plan.folder)
    if dry_run:
        result = _result(plan, store, threads)
        _say_plan(plan, result, say)
        return result
    kept = store.begin(_fixed(plan), threads)
    reason = reason if kept == threads else f"as its first trials had; {reason} would be {threads}"
    say(f"sweep      {plan.folder}: {_method(plan)}, {workers} at once")
    say(f"threads    {kept} each ({reason}); the same number gives the same bits")
    worker = Worker(
        plan, store, workers=workers, threads=kept, retry=retry, say=say, noted=lambda: _written(plan, store, kept)
    )
    worker.work()
    result = _written(plan, store, kept)
    say(f"\n{result}")
    worker.signals.leave()
    return result


def _result(plan: Plan, store: Store, threads: int) -> SweepResult:
    study = plan.study
    trials = store.outcomes(plan.trials, study.metric, study.direction, study.pick)
    return SweepResult(
        plan.folder, study.method, study.metric, study.direction, study.pick, tuple(trials), plan.space, threads
    )


def _written(plan: Plan, store: Store, threads: int) -> SweepResult:
    """What came of it so far, in its files too."""
    result = _result(plan, store, threads)
    best = result.best
    store.write_result(result.as_json(), None if best is None else result.best_yaml(store.config(best.id)))
    return result


def _fixed(plan: Plan) -> dict[str, Any]:
    """What all trials share, and may not change while there are any."""
    command = {} if plan.study.command is None else {"study.command": plan.study.command}
    return plain(plan.base.values) | command


def _method(plan: Plan) -> str:
    study = plan.study
    count = plan.count if study.method == "tpe" else len(plan.trials)
    return f"{count} trials, {study.method} over {', '.join(plan.space.keys)}, by {study.metric} ({study.direction})"


def _say_plan(plan: Plan, result: SweepResult, say: Callable[[str], None]) -> None:
    say(f"sweep      {plan.folder}: {_method(plan)}")
    for one in result.trials:
        words = "the defaults" if one.is_default else settings_text(one.values, plan.space.keys)
        say(f"trial      {one.id}  {words}" + ("" if one.state == "waiting" else f"  {one.state}"))
    if plan.study.method == "tpe":
        say("           the others follow from what came of those before them")
