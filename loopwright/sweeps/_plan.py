"""``Plan``: what a sweep was asked for, read and checked before anything runs. Knows nothing of what was done already."""

import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from .._config import Mistake, Settings, checked, overridden, raise_mistakes
from .._errors import ConfigError
from .._resume import HARMLESS
from .._yaml import Source, Tree, dump_yaml, plain, put, read_yaml
from ._draw import grid, grid_mistakes, probe_settings, random_draws
from ._range import Range
from ._settings import STUDY, TRIALS, StudySettings
from ._space import SWEEP, Space, read_space
from ._text import flat
from ._validate import validate

_OWN = (SWEEP, STUDY)
RUN = "run"


@dataclass(frozen=True)
class Trial:
    """One trial to do: what it sets, and the whole configuration that this makes.

    Attributes:
        id: a hash of the configuration; the same settings are the same trial.
        number: its place in the plan, or in the order of asking.
        settings: what it sets, by dotted key.
        values: what it has of the settings that are varied, as far as that is known.
    """

    id: str
    number: int
    settings: Mapping[str, Any]
    values: Mapping[str, Any]
    config: Mapping[str, Any]
    is_default: bool = False


@dataclass(frozen=True)
class Plan:
    """The configuration without its ``sweep`` and ``study``, the space, and how it is searched.

    Attributes:
        defaults: the values of the varied settings in the configuration as it stands; None where it cannot run so.
    """

    base: Tree
    space: Space
    study: StudySettings
    folder: Path
    defaults: Mapping[str, Any] | None = None

    @property
    def count(self) -> int | None:
        """How many trials there are to be at most; None for a grid, which has what it has."""
        return None if self.study.method == "grid" else self.study.trials or TRIALS

    def trial(self, settings: Mapping[str, Any], number: int) -> Trial:
        config = _with(self.base, self.space, settings).values
        return Trial(trial_id(config, settings), number, dict(settings), dict(settings), config)

    def default_trial(self) -> Trial | None:
        """The configuration as it stands; None where it cannot run so, or is not wanted."""
        if self.defaults is None or not self.study.defaults or self.study.method == "grid":
            return None
        config = self.base.values
        return Trial(trial_id(config, {}), 0, {}, self.defaults, config, is_default=True)

    @cached_property
    def trials(self) -> list[Trial]:
        """Every trial that is known beforehand, in the order of doing: of TPE, only the first."""
        first = self.default_trial()
        begun = [] if first is None else [first]
        if self.study.method == "tpe":
            return begun
        drawn = grid(self.space) if self.study.method == "grid" else self._random(len(begun))
        found = begun + [self.trial(settings, number) for number, settings in enumerate(drawn, start=len(begun))]
        return list({trial.id: trial for trial in reversed(found)}.values())[::-1]  # the same settings are one trial

    def _random(self, begun: int) -> Iterable[Mapping[str, Any]]:
        return itertools.islice(random_draws(self.space, self.study.seed), (self.count or 0) - begun)


def read_plan(source: Any, overrides: Iterable[str] = (), *, folder: str | Path | None = None) -> Plan:
    """The plan of a configuration with ``sweep`` and ``study``.

    Raises ConfigError with all that is wrong in it, each mistake with file and line: of the tree, of the study, and of the
    configurations that the trials would have; of random draws and grids all of them are checked, else the ends of ranges.
    """
    main_file = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    tree, mistakes = overridden(read_yaml(main_file) if main_file else Tree(plain(source)), overrides)
    study, wrong = _study(tree, main_file)
    space, unsound = read_space(tree)
    base = Tree(
        {key: value for key, value in tree.values.items() if key not in _OWN},
        {keys: place for keys, place in tree.sources.items() if keys[0] not in _OWN},
    )
    mistakes += [*wrong, *unsound, *_own_folders(base, space)]
    dump_yaml(base.values)  # each trial gets a file of it
    if study is not None and study.method == "grid":
        mistakes += grid_mistakes(space)
    root = Path(folder or (study and study.folder) or _default_folder(main_file))
    if study is None:  # what it says of the trials counts for checking them all the same
        study = StudySettings(command=["unknown"] if _has_command(tree) else None)
    plan = Plan(base, space, study, root)
    defaults, wrong = _checked_trials(plan, main_file, sound=not mistakes)
    raise_mistakes([*mistakes, *wrong], main_file)
    return replace(plan, defaults=defaults)


def _study(tree: Tree, main_file: str) -> tuple[StudySettings | None, list[Mistake]]:
    class Whole(Settings):
        study: StudySettings = StudySettings()

    sources = {keys: source for keys, source in tree.sources.items() if keys[0] == STUDY}
    given = {} if tree.values.get(STUDY) is None else {STUDY: tree.values[STUDY]}
    whole, mistakes = checked(Tree(given, sources), Whole, main_file)
    return (None if whole is None else whole.study), mistakes


def _has_command(tree: Tree) -> bool:
    study = tree.values.get(STUDY)
    return isinstance(study, Mapping) and study.get("command") is not None


def _own_folders(base: Tree, space: Space) -> list[Mistake]:
    text = "each trial has a folder of its own: name that of the sweep, study.folder"
    found = (
        [Mistake(base.sources.get((RUN,), Source("")), f"{RUN}: {text}")] if base.values.get(RUN) is not None else []
    )
    return found + [Mistake(one.source, f"{SWEEP}.{RUN}: {text}") for one in space.parameters if one.key == RUN]


def _default_folder(main_file: str) -> Path:
    if not main_file:
        raise ConfigError("a sweep of settings that are in no file needs a folder: folder='sweeps/NAME'")
    return Path("sweeps") / Path(main_file).stem


def _checked_trials(plan: Plan, main_file: str, *, sound: bool) -> tuple[dict[str, Any] | None, list[Mistake]]:
    """What the configuration itself says about the varied settings, and what is wrong with the trials."""
    wanted = probe_settings(plan.space) or [{}]
    if sound:
        wanted += [dict(trial.settings) for trial in plan.trials]
    trees, mistakes = [], []
    for settings in wanted:
        try:
            trees.append(_with(plan.base, plan.space, settings))
        except ConfigError as error:
            mistakes.append(Mistake(Source(""), str(error)))
    if plan.study.command is not None:
        known = dict(flat(plan.base.values))
        return {key: known[key] for key in plan.space.keys if key in known}, mistakes
    verdict = validate(plan.base, trees, main_file)
    return _known(plan.space, verdict.base), [*mistakes, *_of_each_once(verdict.mistakes, plan.space)]


def _of_each_once(mistakes: Iterable[Mistake], space: Space) -> list[Mistake]:
    """Of a setting that several trials have wrong in the same way, the first; with what a range may lack."""
    fractions = {one.key for one in space.parameters if isinstance(one.domain, Range) and not one.domain.is_whole}
    found: dict[tuple[Source, str], Mistake] = {}
    for mistake in mistakes:
        key, _, said = mistake.text.partition(" ")
        lacks = key in fractions and said.startswith("should be a whole number")
        text = f"{mistake.text}: add 'whole: true' to its range" if lacks else mistake.text
        found.setdefault((mistake.source, mistake.text.rpartition(", is ")[0] or text), Mistake(mistake.source, text))
    return list(found.values())


def _known(space: Space, config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The values of the varied settings in a whole configuration, without those whose conditions do not hold."""
    if config is None:
        return None
    known: dict[str, Any] = {}
    for one in space.parameters:
        value: Any = config
        for key in one.keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None and one.is_active(known):
            known[one.key] = value
    return known


def _with(base: Tree, space: Space, settings: Mapping[str, Any]) -> Tree:
    """The configuration with a trial's settings put in, each as if given where the tree has it."""
    tree = base
    for one in space.active(settings):
        if one.key in settings:
            tree = put(tree, one.keys, settings[one.key], one.source)
    return tree


def trial_id(config: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """A name that stands for a configuration; settings that change no weights count only where they are varied.

    >>> trial_id({"lr": 1, "workers": 2}, {}) == trial_id({"workers": 4, "lr": 1.0}, {})
    True
    """
    counted = {key: value for key, value in flat(config) if key.rpartition(".")[2] not in HARMLESS or key in settings}
    text = json.dumps({key: _canonical(value) for key, value in counted.items()}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:10]


def _canonical(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return [_canonical(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _canonical(below) for key, below in value.items()}
    return value
