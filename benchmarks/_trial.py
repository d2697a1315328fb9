"""A trial: one system's training killed many times, and what came out of it each time, against no kill at all."""

from __future__ import annotations

import importlib
import itertools
import random
import re
import shutil
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import _photos as photos
from benchmarks._life import Death, FileOperations, Kill, await_death, end_group, fork_life, in_child, spawn_life
from benchmarks._witness import Witness, count_samples, read_uses, surviving
from benchmarks.trainings import Training

WORKERS = (0, 1, 2)
FRESH_SHARE = 0.1  # of the lives, that are new interpreters
GROUP_SHARE = 0.3  # of the kills, that also kill the workers
LONGEST_PAUSE_S = 0.012  # between a change in the folder of checkpoints and the kill: about as long as a save


@dataclass
class Reference:
    """What a training does when nobody kills it."""

    weights: str
    by_step: dict[int, str]  # the weights after each step
    history: str | None
    seconds: float
    operations: int


@dataclass
class Tally:
    """What came out of all the kills."""

    kills: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)  # of the kills at a file operation
    workers: Counter[str] = field(default_factory=Counter)  # of one life and of the next
    fresh: int = 0  # lives that were new interpreters
    groups: int = 0  # kills that killed the workers too
    inside_saves: int = 0
    runs: int = 0  # trainings that were killed at least once and came to their end
    failed_lives: int = 0
    same_weights: int = 0
    same_history: int = 0
    checkpoints: int = 0  # looked at after kills
    torn: int = 0  # of these, that do not load
    foreign: int = 0  # of these, whose weights are not those of that step without kills
    twice: list[int] = field(default_factory=list)  # a run
    never: list[int] = field(default_factory=list)
    agreeing: int = 0  # of the references, that end with the weights of the first
    references: int = 0


class Trial:
    """Kills the training of one system in folders below `root`; everything random about it comes from `seed`."""

    def __init__(self, training: Training, root: Path, seed: int) -> None:
        self.training, self.root = training, root
        self.system: Any = importlib.import_module(f"benchmarks.trainings.{training.module}")
        self.random = random.Random(seed)
        self.tally = Tally()
        self.references: dict[int, Reference] = {}
        self.import_s = 0.0
        self._groups: list[int] = []

    def run(self, kills: int) -> dict[str, Any]:
        """The whole trial, as values that JSON can hold."""
        self._refer()
        number = 0
        while self.tally.kills < kills and self.tally.failed_lives < 5:
            number += 1
            self._besiege(self.root / f"training-{number:03d}", kills)
            self._say(kills)
        return vars(self.tally)

    # ---- without kills ---------------------------------------------------------------------------------------------

    def _refer(self) -> None:
        """Uninterrupted trainings: one for each number of workers, and one more in a new interpreter."""
        for workers in WORKERS:
            self.references[workers], _ = self._train_unharmed(workers, fresh=False)
        again, seconds = self._train_unharmed(WORKERS[0], fresh=True)
        self.import_s = max(0.0, seconds - self.references[WORKERS[0]].seconds)
        for workers, found in (*self.references.items(), (WORKERS[0], again)):
            expected = self._reference(workers)
            self.tally.references += 1
            self.tally.agreeing += (found.weights, found.history) == (expected.weights, expected.history)
        print(f"  {self.training.title}: {again.operations} file operations, {seconds:.1f} s a training", flush=True)

    def _train_unharmed(self, workers: int, fresh: bool) -> tuple[Reference, float]:
        folder = self.root / f"reference-{workers}{'-fresh' * fresh}"
        folder.mkdir(parents=True)
        death = self._live(folder, 0, workers, None, fresh)
        if death.code != 0:
            raise RuntimeError(f"{self.training.title} fails without any kill:\n{_tail(folder)}")
        by_step = {use.step: use.weights for use in read_uses(folder / "uses.jsonl")}
        history = in_child(partial(_history, self.system, folder))
        operations = int((folder / "operations").read_text())
        return Reference(by_step[photos.STEPS], by_step, history, death.seconds, operations), death.seconds

    def _reference(self, workers: int) -> Reference:
        return self.references[WORKERS[0] if self.training.mixes_workers else workers]

    # ---- with kills ------------------------------------------------------------------------------------------------

    def _besiege(self, folder: Path, kills: int) -> None:
        """One training, killed one to three times; after every kill a copy of it goes on to the end unharmed."""
        folder.mkdir(parents=True)
        workers = self.random.choice(WORKERS)
        planned = min(self.random.randint(1, 3), kills - self.tally.kills)
        life = survived = 0
        while True:
            before = in_child(partial(_leftovers, self.system, folder))
            if survived == planned:
                self._complete(folder, life, workers)
                break
            fresh = self.random.random() < FRESH_SHARE
            kill = self._plan(folder, workers, fresh)
            death = self._live(folder, life, workers, kill, fresh)
            if not death.killed:
                self._judge(folder, workers, death) if survived or death.code else None
                break
            survived, life = survived + 1, life + 1
            self._autopsy(folder, kill, fresh, set(before), workers)
            last, workers = workers, self._next_workers(workers)
            self.tally.workers[f"{last}->{workers}"] += 1
            if survived < planned:
                copy = folder.with_name(f"{folder.name}-after-{survived}")
                shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("pymp-*"))  # sockets of dead workers
                self._complete(copy, life, self._next_workers(last))
        shutil.rmtree(folder, ignore_errors=True)

    def _next_workers(self, workers: int) -> int:
        return self.random.choice(WORKERS) if self.training.mixes_workers else workers

    def _plan(self, folder: Path, workers: int, fresh: bool) -> Kill:
        """A kill at a random instant of what is left to do, or aimed at a save."""
        saved = in_child(partial(_saved, self.system, folder))
        left = 1 - max((step for _, step, weights in saved if weights), default=0) / photos.STEPS
        reference = self.references[workers]
        group = self.random.random() < GROUP_SHARE
        kind = self.random.choices(("clock", "save", "operation"), (0.35, 0.35, 0.30))[0]
        if kind == "save":
            saves = max(1, round(left * photos.STEPS / photos.SAVE_EVERY))
            pause_s = self.random.uniform(0, LONGEST_PAUSE_S)
            return Kill(change=self.random.randint(1, saves), pause_s=pause_s, group=group)
        if kind == "operation":
            return Kill(operation=self.random.randint(1, max(1, round(left * reference.operations))), group=group)
        longest_s = left * reference.seconds + (self.import_s if fresh else 0.0)
        return Kill(after_s=self.random.uniform(0, longest_s), group=group)

    def _live(self, folder: Path, life: int, workers: int, kill: Kill | None, fresh: bool) -> Death:
        deadly = kill.operation if kill else None
        log = folder / "output.txt"
        if fresh:
            command = [sys.executable, "-m", "benchmarks.trainings", "--live", self.training.module, str(folder)]
            child = spawn_life([*command, str(life), str(workers), str(deadly or 0)], log)
        else:
            child = fork_life(partial(live, self.system, folder, life, workers, deadly), log)
        self.tally.fresh += fresh
        self._groups.append(child)
        return await_death(child, kill, folder / self.training.saves_in)

    def _complete(self, folder: Path, life: int, workers: int) -> None:
        """The last life, which nobody kills, and the verdict."""
        self._judge(folder, workers, self._live(folder, life, workers, None, fresh=False))

    def _autopsy(self, folder: Path, kill: Kill, fresh: bool, before: set[str], workers: int) -> None:
        """What a kill has left: was it inside a save, and does every checkpoint that is offered load completely?"""
        tally = self.tally
        tally.kills += 1
        tally.kinds[kill.kind] += 1
        tally.groups += kill.group
        if kill.operation and (_place(folder)).exists():
            tally.places[_nameless((_place(folder)).read_text())] += 1
            (_place(folder)).unlink()
        tally.inside_saves += bool(set(in_child(partial(_leftovers, self.system, folder))) - before)
        expected = self._reference(workers).by_step
        for _, step, weights in in_child(partial(_saved, self.system, folder)):
            tally.checkpoints += 1
            tally.torn += weights is None
            tally.foreign += weights is not None and weights != expected.get(step)

    def _judge(self, folder: Path, workers: int, death: Death) -> None:
        """Compares a training that has been killed and has ended with one that was not killed."""
        for leader in self._groups:
            end_group(leader)
        self._groups.clear()
        tally, reference = self.tally, self._reference(workers)
        tally.runs += 1
        if death.code != 0:
            tally.failed_lives += 1
            print(f"  a life of {folder.name} {'hung' if death.hung else 'failed'}:\n{_tail(folder)}", flush=True)
            return
        uses = surviving(read_uses(folder / "uses.jsonl"))
        all_steps = [use.step for use in uses] == list(reference.by_step)
        tally.same_weights += all_steps and uses[-1].weights == reference.weights
        history = in_child(partial(_history, self.system, folder))
        tally.same_history += history == reference.history
        if history != reference.history:
            print(f"  the history of {folder.name} {_parting(history, reference.history)}", flush=True)
        twice, never = count_samples(uses, photos.TRAIN, photos.EPOCHS)
        tally.twice.append(twice)
        tally.never.append(never)
        shutil.rmtree(folder, ignore_errors=True)

    def _say(self, kills: int) -> None:
        t = self.tally
        so_far = f"{t.kills}/{kills} kills, {t.inside_saves} inside a save; same weights {t.same_weights}/{t.runs}"
        print(f"  {self.training.title}: {so_far}; torn checkpoints {t.torn}/{t.checkpoints}", flush=True)


def live(system: Any, folder: Path, life: int, workers: int, deadly: int | None) -> None:
    """One life of a training: what runs in the process that is killed."""
    import torch

    torch.set_num_threads(1)
    operations = FileOperations(folder, deadly, _place(folder))
    system.train(folder, Witness(folder / "uses.jsonl", life), workers)
    (folder / "operations").write_text(str(operations.count))


def _place(folder: Path) -> Path:
    """Beside the folder, not in it: writing it must not count as an operation in it."""
    return folder.with_name(f"{folder.name}.place")


def _leftovers(system: Any, folder: Path) -> list[str]:
    return sorted(system.leftovers(folder))


def _saved(system: Any, folder: Path) -> list[tuple[str, int, str | None]]:
    return [(s.name, s.step, s.weights) for s in system.saved(folder)]


def _history(system: Any, folder: Path) -> str | None:
    history = system.history(folder)
    return None if history is None else history.decode()


def _parting(found: str | None, expected: str | None) -> str:
    """Where two histories first differ."""
    pairs = itertools.zip_longest((found or "").splitlines(), (expected or "").splitlines())
    number, (here, there) = next((n, pair) for n, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    return f"parts at line {number}:\n    {here}\n    {there}"


def _nameless(place: str) -> str:
    """`os.rename .step-000015.4711.tmp step-000015` without its numbers, so that equal places are counted together."""
    return re.sub(r"tmp[a-z0-9_]{8}|\d+", "#", place)


def _tail(folder: Path) -> str:
    return "\n".join(f"    {line}" for line in (folder / "output.txt").read_text(errors="replace").splitlines()[-12:])
