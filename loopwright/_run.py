"""``Run``: the boundaries of a training loop that is the user's own. Everything around the loop happens at them.

It only joins what other files do: ``_record`` keeps the folder, ``_keeper`` saves and brings back, ``_cursor`` knows where
training is, ``_agenda`` what is due, ``_feeder`` gets the batches, ``_ledger`` the values, ``_display`` the screen.
"""

import contextlib
import itertools
import os
import socket
import sys
import time
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ._agenda import Agenda
from ._alarms import Alarms
from ._capture import Captured, capture_code
from ._checkpoints import Checkpoints, Entry, Mode, Team
from ._cursor import Cursor, Place
from ._data_notes import DataNotes
from ._device import choose_compute
from ._display import Display
from ._distributed import job, ranks_here
from ._environment import describe_environment
from ._errors import ConfigError, LoopwrightError, RunError
from ._examiner import Ending, Examiner, NoExaminer
from ._feeder import Feeder
from ._histograms import choose_histograms
from ._keeper import Keeper
from ._ledger import Ledger
from ._meetings import meetings_of
from ._memory import out_of_memory_note
from ._parallel import Kind, parallel_of
from ._picture_log import PictureLog, forget_pictures
from ._picture_rows import evenly, given_scale, scale_of_batches
from ._progress import choose_screen
from ._record import CHECKPOINTS, CONFIG, LOG, RANKS, RUN, Record
from ._registry import Registry
from ._resume import changed_settings, decide, read_settings, refuse_changes
from ._run_order import RunOrder, run_order
from ._seed import (
    be_deterministic,
    capture_rng,
    deterministic_settings,
    fresh_seed,
    put_back_determinism,
    rank_seed,
    restore_rng,
    seed_everything,
)
from ._signals import Signals
from ._start_file import adopt_output
from ._stepper import Steppers
from ._stopping import Stopping, direction_of
from ._tee import Tee
from ._watch import Policy, Watch, check_policy
from ._when import Due, Limits, parse_span, parse_spans
from ._yaml import Difference, dump_yaml, plain
from .data._slice import Slice
from .data._source import Batch, OwnLoader, Source, open_source
from .optim._lbfgs import lay_out_in_closures
from .trackers._by_name import Asked, make_trackers
from .trackers._mirrors import Mirrors

if TYPE_CHECKING:
    from ._picture_batch import Scale

SPEED_SECONDS = 1.0  # between two lines of speed.jsonl

Model = TypeVar("Model", bound=nn.Module)


class Run:
    """A folder that a training loop lives in: opened with ``with``, resumed if it holds an unfinished run.

    Args:
        folder: where everything is written. New, or that of an unfinished run with the same settings.
        seed: of everything random. Default: the seed that torch has, which is recorded.
        config: the settings of this run (a dictionary, ``CfgNode``, dataclass or pydantic model), saved as config.yaml.
        classes: their names in the order of the model's outputs, saved as classes.json: what predictions are called.
        save_every: ``"1 epoch"``, ``"500 steps"``, ``"10 minutes"``, ``"0.5 epochs"``, or several of them.
        report_every: how many steps one line of metrics.jsonl stands for, as ``"50 steps"``.
        keep_last: how many of the newest checkpoints are kept.
        keep_best: how many of the best checkpoints by each metric are kept.
        keep: instead of the two numbers, a function from all checkpoints to those to keep; see ``Checkpoints``.
        save_in_background: the loop waits for a copy of the states only, a thread writes it, one at a time. ``"auto"``
            does so where the copy takes less than a quarter of the memory that is free.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        precision: ``"auto"``, ``"fp32"``, ``"bf16"`` or ``"fp16"``; see ``autocast``.
        resume: ``"auto"`` goes on with an unfinished run of the same settings; True also with changed settings, and
            trains a finished run further; False wants a new folder.
        overwrite: replace a run that is there.
        deterministic: ask torch for deterministic algorithms while the run is open.
        nonfinite: what to do where a logged training loss, or a gradient that ``step`` is to use, is NaN or infinite.
            ``"stop"`` raises ``NonFiniteError`` with the step and its samples; ``"skip"`` leaves the step out (``step``
            has to be used), tells and goes on; ``"lower_scale"`` does so with fp16, whose scale is halved; ``"log"``
            does nothing. See also ``loopwright replay``.
        trackers: who mirrors the record, off the loop: ``"tensorboard"``, ``"mlflow"``, ``"wandb"``, mappings with a name
            and settings, or objects: ``lw.MLflow(uri=...)``, or a ``Tracker`` of your own. See docs/trackers.md.
        parallel: what each of several ranks holds: ``"ddp"`` the whole model, ``"fsdp"`` (torch's FSDP2) its part of every
            weight, gradient and optimizer state, so that larger models fit; each then writes its part of a checkpoint. See
            docs/many-gpus.md. One process has all of the model with either.
        sync_batch_norm: with several GPUs, batch norm measures the whole batch instead of each rank's part.
        progress: None shows what suits the terminal, notebook or log; False shows nothing.

    Raises:
        RunError: the folder is in use, finished, of other settings, or cannot be written to.
        ConfigError, CheckpointError: as their names say; all before training starts.

    >>> import tempfile
    >>> with Run(tempfile.mkdtemp(), seed=0, device="cpu", progress=False) as run:
    ...     model = run.prepare(nn.Linear(4, 1))
    ...     optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ...     run.register(model=model, optimizer=optimizer)
    ...     for epoch in run.epochs(2):
    ...         for batch in run.batches([torch.ones(8, 4)] * 3):
    ...             loss = model(batch).square().mean()
    ...             loss.backward(); optimizer.step(); optimizer.zero_grad()
    ...             run.log(loss=loss)
    >>> run.global_step
    6
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        seed: int | None = None,
        config: Any = None,
        classes: Sequence[str] | None = None,
        save_every: str | Sequence[str] = "1 epoch",
        report_every: str = "50 steps",
        keep_last: int = 2,
        keep_best: int = 1,
        keep: Callable[[Sequence[Entry]], Iterable[Entry]] | None = None,
        save_in_background: bool | Literal["auto"] = "auto",
        device: str | torch.device = "auto",
        precision: str = "auto",
        resume: bool | Literal["auto"] = "auto",
        overwrite: bool = False,
        deterministic: bool = False,
        nonfinite: Policy = "stop",
        trackers: Iterable[Asked] | Asked = (),
        parallel: Kind = "ddp",
        sync_batch_norm: bool = False,
        progress: bool | None = None,
    ) -> None:
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63):
            raise ConfigError(f"seed must be a whole number, 0 or more and below 2**63. Found: {seed!r}")
        self._order, order = _order_for(folder), run_order()
        if self._order is None and order is not None and order.run:  # another run of that program stays as it is
            folder, resume, overwrite = order.elsewhere(folder), "auto", True
        if self._order is not None:  # a copy of this run is looked at, in a process of its own
            folder, overwrite = self._order.copy, False
            resume = True if (Path(folder) / RUN).exists() else "auto"
        if self._order is not None and self._order.step:
            progress, save_every = False, ()
        self.folder = Path(folder)
        self.seed = seed
        self._ranks = ranks_here()
        self._parallel = parallel_of(self._ranks.position, parallel, sync_batch_norm=sync_batch_norm)
        self.compute = choose_compute(device, precision, self._ranks.position.local_rank)
        self._save_due, self._report_steps = Due(parse_spans(save_every)), _whole_steps(report_every)
        self._keep_last, self._keep_best, self._keep = keep_last, keep_best, keep
        self._save_in_background: bool | Literal["auto"] = save_in_background
        self._config = None if config is None else plain(config)
        self._classes = classes
        self._resume: bool | Literal["auto"] = resume
        self._trackers = make_trackers(() if order is not None and order.run else trackers)  # not of a copy
        self._nonfinite: Policy = check_policy(nonfinite, self.compute.precision)
        self._overwrite, self._deterministic, self._progress = overwrite, deterministic, progress
        self._state: Literal["new", "open", "closed"] = "new"

    # ---- opening and closing ---------------------------------------------------------------------------------------

    def __enter__(self) -> "Run":
        if self._state != "new":
            raise RunError("a Run is opened once: make another Run(...) of the same folder to go on")
        self._ranks.open()
        try:
            self.folder = self._ranks.from_main(lambda: self.folder)
            self._record = self._ranks.after_main(lambda: Record(self._own_folder))
            try:
                self._open()
            except BaseException:
                self._record.close()
                raise
        except BaseException:
            self._ranks.close()
            raise
        self._state = "open"
        return self

    @property
    def _own_folder(self) -> Path:
        """Where this rank writes: rank 0 into the run's folder, each other one into a folder of its own in it."""
        rank = self._ranks.position.rank
        return self.folder / RANKS / str(rank) if rank else self.folder

    def _open(self) -> None:
        """In order: what the folder holds and may become, the parts, the seed, the record, then prints and signals."""
        if not self._ranks.is_main:
            self._record.cut(0)  # what it says of its life before helps nobody
        self._check_watched()
        self._team = Team(self._ranks.aside(), self._parallel.take) if self._parallel.splits else None
        self._open_checkpoints()
        resumes, changed, begun_with = self._ranks.from_main(self._decide)
        self._open_checkpoints()  # as rank 0 left them
        damaged: list[str] = []
        settings = dump_yaml(self._settings())
        self._ranks.from_main(lambda: self._check_and_write_classes(settings, resumes))
        self._make_parts()
        self._choose_seed(resumes, begun_with)
        if resumes:
            damaged = self._keeper.go_back()
        if not self._ranks.is_main:
            self._trackers = []
        watched = [tracker.watch for tracker in self._trackers]
        models = self._keeper.registry.models
        self._histograms = choose_histograms(self.folder, watched, self._cursor, models)
        self._determinism = deterministic_settings()
        promise = be_deterministic() if self._deterministic else None
        self._record.begin(
            {"seed": self.seed, "seeded": self._seeded, **self.compute.reasons, "deterministic": promise}
            | ({} if job() is None else {"job": job()})
        )
        self._record.write_config(settings)
        self._describe()
        self._display = Display(choose_screen(self._progress, sys.stdout))
        adopt_output(self._own_folder)
        self._tee = Tee(self._own_folder / LOG, self._display.erase, quiet=not self._ranks.is_main)
        self._signals.install()
        self._announce(changed, damaged)
        self._mirrors = Mirrors(self.folder, self._trackers, self._tell)

    def _check_watched(self) -> None:
        watched = [tracker for tracker in self._trackers if tracker.watch is not None]
        if watched and self._parallel.splits:
            raise ConfigError(f"{watched[0]}: watch= shows whole weights, which no rank has with parallel='fsdp'")

    def _check_and_write_classes(self, settings: str, resumes: bool) -> None:
        self._record.check_config(settings)
        if self._classes is not None:
            self._record.write_classes(self._classes, resumes=resumes)

    def _describe(self) -> None:
        """What this life runs on, and its code."""
        captured = self._capture()
        self._record.update(snapshot=captured.facts.get("snapshot"))
        environment = {"code": captured.facts, **describe_environment()}
        self._record.write_environment(environment, captured.patch)
        self._data = DataNotes(self._record, environment)

    def _capture(self) -> Captured:
        if not self._ranks.is_main:
            return Captured({"commit": None, "note": "see the environment.json of the run"})
        order, here, info = run_order(), Path.cwd(), self._record.info
        if self._order is not None and (self._order.step or self._order.code):  # known, from the run itself
            return Captured({"commit": None, "note": f"the code that {self._order.run} was begun with"})
        lives = len(info["lives"])
        name = f"{info['id']}-{lives + 1}" if lives else info["id"]
        captured = capture_code(here if order is None else order.copy_of(here), name, own=self.folder)
        if order is not None and order.original:
            captured.facts["repository"] = order.original  # the copy will be gone
        return captured

    def _open_checkpoints(self) -> None:
        self.checkpoints = Checkpoints(
            self.folder / CHECKPOINTS,
            keep_last=self._keep_last,
            keep_best=self._keep_best,
            keep=self._keep,
            written=lambda: self._agenda.hurry(),  # so that the next boundary hears of it
            writes=self._ranks.is_main,
            team=self._team,
        )

    def _decide(self) -> tuple[bool, list[Difference], tuple[int | None, bool]]:
        """Whether this life goes on from a checkpoint, which settings changed since, the seed and whether it was given."""
        state, found = self._record.state, self.checkpoints.latest is not None
        resume, overwrite = (True, False) if self._began_here() else (self._resume, self._overwrite)
        if not decide(self.folder, state, has_checkpoint=found, resume=resume, overwrite=overwrite):
            if state is not None:
                self.checkpoints.clear()  # first: a checkpoint without its record could not be gone on from
                forget_pictures(self.folder)
                self._record.clear(keep_lives=not overwrite)
            return False, [], (fresh_seed(), False)
        changed, harmless = changed_settings(read_settings(self.folder / CONFIG), self._settings())
        begun_with = self._record.info.get("seed")
        if self.seed is not None and begun_with not in (None, self.seed):  # not even with resume=True: another order
            refuse_changes(self.folder, [Difference("seed", begun_with, self.seed)])
        if self._resume == "auto":
            refuse_changes(self.folder, changed)
        info = self._record.info
        return True, [*changed, *harmless], (info.get("seed"), bool(info.get("seeded")))

    def _began_here(self) -> bool:
        """Whether an attempt before this one of the same command left the run: it is gone on with, even from its end, where
        a process was lost after it; and what was to be replaced has been."""
        info = self._record.info
        same = job() is not None and info.get("job") == job()
        return same and (info.get("host"), info.get("pid")) != (socket.gethostname(), os.getpid())

    def _settings(self) -> dict[str, Any]:
        return self._config if self._config is not None else {} if self.seed is None else {"seed": self.seed}

    def _make_parts(self) -> None:
        self._cursor, self._stopping, registry = Cursor(), Stopping(), Registry()
        self._signals = Signals()
        self._agenda = Agenda(self._save_due, self._report_steps, meetings_of(self._ranks, self._signals))
        self._watch = Watch(self._nonfinite, self._cursor, blame=registry.blame, hurry=self._agenda.hurry)
        self._steppers = Steppers(self._watch, self._parallel)
        self._ledger = Ledger(self._record.metrics, self._watch, self._ranks)
        self._alarms = Alarms(self._watch, self._ledger, self._record, self._cursor, self._tell)
        self._feeder = Feeder(self.compute, Slice(*self._ranks.position[:2]))
        self._pictures = PictureLog(self._own_folder, self._classes, self._feeder)
        parts = {"stopping": self._stopping, "steppers": self._steppers, "watch": self._watch}
        self._keeper = Keeper(
            self.checkpoints,
            self._record,
            self._cursor,
            self._agenda,
            self._ledger,
            self._pictures,
            parts,
            self._save_in_background,
            self._tell,
            registry,
            registry.check_finite if self._watch.looks else lambda states: None,
            self._ranks,
            self._parallel,
        )
        self._examiner = self._make_examiner(self._order)
        self._evaluation_rng: dict[str, Any] | None = None  # while an evaluation goes on
        self._source: Source | None = None  # while a training loop goes on
        self._epoch_open = self._trained = False
        self._told: set[str] = set()  # incidents that were shown
        self._next_speed = 0.0  # when a line of speed.jsonl may follow the last one
        self._rates: dict[str, float] = {}  # the learning rates of the step that is reported
        self._phase = ""  # the name of the evaluation
        self._evaluated: Sequence[nn.Module] = ()  # in it
        self._share: tuple[int, int | None] = (0, None)  # which of how many batches an evaluation's present one is
        self._evaluation_place = Place(0, 0, 0)  # before it
        self._count, self._last = 1, False  # of the present batch: its samples, whether its loop ends with it
        self._whole = 1  # its samples over all ranks
        self._loaders: weakref.WeakSet[OwnLoader] = weakref.WeakSet()  # with workers that end with the run

    def _make_examiner(self, order: RunOrder | None) -> NoExaminer | Ending | Examiner:
        if order is None or not (order.step or order.until):
            return NoExaminer()
        if not order.step:
            return Ending(order.until, self._cursor, self._agenda)
        return Examiner(
            order,
            self._keeper.registry,
            self._cursor,
            self._agenda,
            pending=self._ledger.pending,
            read=self._ledger.peek,
            samples=self._alarms.samples,
        )

    def _choose_seed(self, resumes: bool, begun_with: tuple[int | None, bool]) -> None:
        self._seeded = self.seed is not None
        if self.seed is None:
            self.seed, self._seeded = begun_with
        if self.seed is None:
            self.seed = fresh_seed()
        if self._seeded:
            seed_everything(self.seed)

    def _announce_source(self, source: Source) -> None:
        """Say once how the training data are read, and record that training has begun."""
        facts: dict[str, Any] = {}
        if "steps_per_epoch" not in self._record.info:
            facts = {"length": self._agenda.limits.text, "steps_per_epoch": source.length()}
        reason = source.describe()
        if reason and "loader" not in self._record.info:
            facts["loader"] = reason
            if self._progress is not False:
                self._display.print([f"loader     {reason}"])
        if facts:
            self._record.update(**facts)

    def _announce(self, changed: Sequence[Difference], damaged: Sequence[str]) -> None:
        for complaint in damaged:
            self._display.print([f"warning    {complaint}"])
        if self._progress is False:
            return
        origin = self._keeper.resumed_from
        came = "new" if origin is None else f"goes on from {origin.name}"
        lines = [f"run        {self.folder}: {came}, seed {self.seed}"]
        lines += [f"{name:<10} {reason}" for name, reason in self.compute.reasons.items()]
        self._display.print([*lines, *(f"changed    {difference}" for difference in changed)])

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        facts: dict[str, Any] = {"state": "finished"}
        try:
            if error is None:
                self._finish()
            else:
                facts = self._farewell(error)
        except BaseException as late:
            facts = self._farewell(late)
            raise
        finally:
            self._close(facts)

    def _finish(self) -> None:
        """The loop ended, or the user broke out of it: close the epoch that is open, save what is not saved."""
        if self._epoch_open:
            self._end_epoch()
        self._keeper.settle()
        if self._trained and not self._keeper.is_saved():
            self._save(Place(self._cursor.epoch, 0, 0), surely=True)
        self._ranks.gather(None)  # what rank 0 writes is there for all that come out of the run
        self._signals.leave()

    def _farewell(self, error: BaseException) -> dict[str, Any]:
        if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
            if self._progress is not False:
                self._display.print([f"stopped    after step {self._cursor.step}; run it again to go on"])
            return {"state": "stopped", "reason": repr(error)}
        self._examiner.note(error)
        for note in (self._memory_note(error), self._alarms.note(error)):
            if note is not None:
                error.add_note(note)
        if isinstance(error, LoopwrightError) or not self._tee.has_errors:  # else Python itself prints it there
            self._tee.note("".join(traceback.format_exception(error)))
        return {"state": "failed", "reason": "".join(traceback.format_exception_only(error)).strip()}

    def _memory_note(self, error: BaseException) -> str | None:
        """Where a GPU's memory ran out: what took it, and which batch would fit."""
        registry = self._keeper.registry
        models, optimizers = registry.models().values(), registry.optimizers().values()
        return out_of_memory_note(error, models, optimizers, batch=self._count, device=self.device)

    def _close(self, facts: Mapping[str, Any]) -> None:
        self._state = "closed"
        try:
            self._keeper.settle()
        finally:
            self._let_go(facts)

    def _let_go(self, facts: Mapping[str, Any]) -> None:
        self._display.erase()
        self._pictures.close()
        self._display.print(self._pictures.messages())
        self._signals.remove()
        self._data.close()
        for loader in self._loaders:
            loader.close()
        if self._deterministic:
            put_back_determinism(self._determinism)
        self._histograms.close()
        self._ledger.close()
        self._record.update(**facts, ended=time.strftime("%Y-%m-%dT%H:%M:%S%z"), **self._keeper.whereabouts())
        try:
            self._mirrors.close(facts["state"])
        finally:
            self._tee.close()
            self._record.close()
            self._ranks.close()

    # ---- what the user reads ---------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where batches and prepared models are."""
        return self.compute.device

    @property
    def global_step(self) -> int:
        """Training batches handed out, over all epochs and lives; the present one counts."""
        return self._cursor.step

    @property
    def first_sample(self) -> int:
        """The place of this rank's first sample in the present training batch of all ranks: 0 with one process.

        For what draws for each sample by its place: ``augment(images, labels, seed=run.seed, step=run.global_step,
        first=run.first_sample)``.
        """
        return Slice(*self._ranks.position[:2]).of(self._whole)[0]

    @property
    def resumed(self) -> bool:
        """Whether this life goes on from a checkpoint."""
        return self._keeper.resumed_from is not None

    # ---- before the loop -------------------------------------------------------------------------------------------

    def prepare(self, model: Model, *, compile: bool = False) -> Model:
        """Put a model on the device, in the memory format that suits it; the same object comes back.

        On several ranks it comes back wrapped, as ``DistributedDataParallel``, with the attributes, the parameters' names
        and the state of the model: call what comes back. With ``parallel="fsdp"`` the same object comes back, and its
        parameters are new ones, split over the ranks.

        Args:
            compile: also compile it with ``torch.compile``, in place, so that its parameters keep their names.
        """
        self._check_open("prepare")
        self._record.update(memory_format=self.compute.place(model))
        prepared = self._parallel.wrap(model, self.device)
        if compile:
            prepared.compile()
        return prepared  # type: ignore[return-value] - it stands for the model

    def register(self, **objects: Any) -> None:
        """Name what must survive: anything with ``state_dict`` and ``load_state_dict``.

        In a resumed run each object is given its saved state here, so that what is built from it is right.
        """
        self._check_open("register")
        for name, value in objects.items():
            self._keeper.registry.add(name, value)
            if isinstance(value, Optimizer):
                self._parallel.adopt(value)
                lay_out_in_closures(value)
                scaler = torch.amp.GradScaler(self.device.type) if self.compute.precision == "fp16" else None
                self._steppers.add(name, value, scaler)
                self._histograms.watch(value)
            if self._cursor.target is not None:
                self._keeper.restore(name)

    # ---- the loop --------------------------------------------------------------------------------------------------

    def epochs(self, *lengths: int | str) -> Iterator[int]:
        """The numbers of the epochs that are still to be done, 0 first; ends at the first of the given lengths.

        Args:
            lengths: how long to train in all: ``run.epochs(20)``, ``run.epochs("500 steps")``,
                ``run.epochs(20, "2 hours")``.
        """
        self._check_open("epochs")
        if self._epoch_open:  # the user broke out of an earlier loop
            self._end_epoch()
        self._agenda.limits = Limits(lengths)
        self._begin_training()
        while not self._agenda.is_over(self._cursor.step, self._cursor.epoch):
            self._begin_epoch()
            yield self._cursor.epoch
            self._end_epoch()
        if self._cursor.target == Place(self._cursor.epoch, 0, 0):  # resumed behind the last epoch
            self._keeper.arrive(None)

    def batches(self, loader: Any) -> Iterator[Any]:
        """The batches of a ``Loader``, a ``ShardStream`` or any iterable: on the device, normalised, counted, resumable.

        Inside ``evaluate`` nothing is counted as a step. A loop inside another one belongs to the outer one's step.
        """
        self._check_open("batches")
        source = open_source(loader)
        if isinstance(loader, OwnLoader):
            self._loaders.add(loader)
        return itertools.chain.from_iterable(
            self._loop(source, loader)
        )  # not a generator around one: a step less for each batch

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context for the forward pass and the loss: half precision where that was chosen, nothing for fp32.

        With fp16, which must be asked for, take the step with ``run.step``: it scales the gradients.
        """
        return self.compute.autocast()

    def step(
        self,
        loss: Tensor,
        optimizer: Optimizer,
        *,
        accumulate: int = 1,
        clip: float | None = None,
        scheduler: Any = None,
    ) -> bool:
        """Backward, and every ``accumulate`` batches scale, clip, step and clear; returns whether it stepped.

        The gradient is that of the mean over all samples of the group: a short batch weighs what it weighs, and a last
        group that is short is stepped too.

        Args:
            loss: mean loss of this batch.
            optimizer: registered; it owns the parameters that are stepped.
            accumulate: batches a step, 1 or more.
            clip: largest norm of the gradient, over all parameters of the optimizer.
            scheduler: stepped with the optimizer.
        """
        if accumulate < 1:
            raise ConfigError(f"accumulate must be 1 or more. Found: {accumulate}")
        stepper = self._steppers[self._keeper.registry.name_of(optimizer)]
        stepper.add(loss, self._count, clip, scheduler, whole=self._whole, accumulate=accumulate)
        full = stepper.batches >= accumulate or self._last
        stepped = full and stepper.step()
        if stepped and stepper.norm is not None:
            self._ledger.meters.log({"grad_norm": stepper.norm}, self._count, self._cursor.step)
        return stepped

    def log(self, values: Mapping[str, Any] | None = None, /, *, samples: int | None = None, **metrics: Any) -> None:
        """Add to the means of the present phase, weighted by samples; never waits for the device.

        Args:
            values: names to values, for names that are no identifiers.
            samples: the weight. Default: the samples of the present batch.
            metrics: numbers, tensors of one element, one number a sample (N,), or metric objects (``compute`` and
                ``reset``, as torchmetrics' have), which are read at the end of the phase.
        """
        weight = self._count if samples is None else samples
        self._ledger.meters.log({**values, **metrics} if values else metrics, weight, self._cursor.step)

    def log_images(
        self,
        name: str,
        pictures: Any,
        captions: Sequence[str] | None = None,
        *,
        output: Tensor | None = None,
        target: Any = None,
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
        every: str | None = None,
        most: int | None = None,
        columns: int | None = None,
        keep: int = 10,
    ) -> bool:
        """Put a sheet of pictures into the record, as pictures/NAME-STEP.png. The loop pays for a copy of what is shown.

        In a loop over batches it stands for every batch: within ``evaluate`` the sheet gathers ``most`` pictures that are
        spread over the whole evaluation, the same ones each time; elsewhere the first call of a step counts.

        Args:
            name: such as ``"val/samples"``.
            pictures: one or many: a tensor or array (N, C, H, W), (C, H, W) or (H, W) with 1, 3 or 4 channels, a PIL
                image, a list of such; or several columns of them, as a mapping from headings, in which ``"error": True``
                stands for the absolute difference of the two columns before it (a number instead of True is the top of its
                scale). Bytes, 16 bits and bool are shown by their range. Floats in 0..1 are, and those that ``batches``
                has normalised are brought back; values outside are clamped, NaN is magenta and told. Whole
                numbers of other types are classes (N, H, W), each with its colour.
            captions: one text a picture.
            output: what the model made of the pictures: scores (N, classes) become captions such as "cat 0.93, was dog",
                wrong ones framed in red; pictures (N, C, H, W), or scores of masks (N, classes, H, W), become columns.
            target: the class numbers (N,), pictures (N, C, H, W) or masks (N, H, W) that were wanted.
            mean, std: what floats were normalised with, one number or one a channel, instead of what ``batches`` did; 0
                and 1 for floats that were not. In a mapping, for all columns.
            every: in training, how often: ``"500 steps"`` or ``"2 epochs"``; the first call always counts.
            most: at most so many pictures; 16, or 8 where there are columns.
            columns: how many pictures stand side by side.
            keep: how many sheets of this name stay on disk: the newest, and others spread over the training.

        Returns:
            Whether the pictures were taken.

        Raises:
            DataError: what is given cannot be shown. A full disk or the like is told, and training goes on.
            ConfigError: a name or number is none.

        >>> import tempfile
        >>> with Run(tempfile.mkdtemp(), seed=0, device="cpu", progress=False) as run:
        ...     noisy, clean = torch.rand(2, 1, 16, 16), torch.full((2, 1, 16, 16), 0.5)
        ...     taken = run.log_images("val/denoised", {"noisy": noisy, "clean": clean, "error": True})
        >>> taken, [path.name for path in run.folder.glob("pictures/val/*")]
        (True, ['denoised-000000.png'])
        """
        from ._picture_batch import take  # here, so that a run that shows no pictures does not import Pillow

        self._check_open("log_images")
        _check_numbers(most=most, columns=columns, keep=keep)
        step, epoch = self._cursor.step, self._cursor.epoch
        passes = self._cursor.target is not None or not self._ranks.is_main
        if passes or not self._pictures.is_due(name, every, step, epoch):
            return False
        self._display.print(self._pictures.messages())
        several = isinstance(pictures, Mapping) or getattr(output, "ndim", 0) == 4
        wanted = most or (8 if several else 16)
        room, share = self._pictures.room(name, wanted), self._share if self._evaluation_rng is not None else (0, None)
        known = self._feeder.normalize

        def scale_of(heading: str, place: int, channels: int) -> "Scale | None":
            if mean is not None or std is not None:
                return given_scale(mean, std, channels)
            return scale_of_batches(known, heading, place, channels)

        batch = take(
            pictures,
            lambda count: evenly(count, wanted, *share)[:room],
            captions=captions,
            output=output,
            target=target,
            scale_of=scale_of,
        )
        if not batch.count:
            return False
        self._pictures.add(name, batch, step, epoch, columns=columns, keep=keep)
        return True

    @contextlib.contextmanager
    def evaluate(self, *models: nn.Module, name: str = "val") -> Iterator[None]:
        """A phase without gradients: models in evaluation mode, metrics named ``NAME/...``, steps not counted.

        Afterwards each layer is in the mode it was in and the random generators are where they were, so evaluating
        more or less often changes no training.
        """
        self._check_open("evaluate")
        if self._evaluation_rng is not None:
            raise RunError(f"evaluate(name={name!r}) inside another evaluate: end one before the other")
        training = [layer for model in models for layer in model.modules() if layer.training]
        self._parallel.same_buffers(models)
        self._evaluated = models
        batch, self._count = (self._count, self._last), 1
        self._evaluation_rng = capture_rng()
        self._evaluation_place = Place(self._cursor.epoch, self._cursor.loops, 0)
        self._pictures.begin_evaluation()
        normalize = self._feeder.normalize
        self._share = (0, None)
        self._ledger.begin_evaluation(name)
        self._phase = name
        try:
            for model in models:
                model.eval()
            with torch.no_grad():
                yield
            if self._cursor.target is None:
                self._ledger.end_evaluation(self._cursor.step, self._cursor.epoch)
                self._pictures.end_evaluation(self._cursor.step, self._cursor.epoch)
        finally:
            self._pictures.leave_evaluation()
            self._feeder.normalize = normalize
            restore_rng(self._evaluation_rng)
            self._evaluation_rng = None
            self._ledger.leave_evaluation()
            self._count, self._last = batch
            for layer in training:
                layer.training = True

    def keep_best(self, metric: str, mode: Mode | None = None) -> bool:
        """Keep a checkpoint of these very weights if the metric is the best so far; returns whether it is.

        Call it right after the evaluation: the checkpoint is taken at the next boundary, the end of the step or epoch,
        and the weights must be the measured ones until then. NaN is never the best.

        Args:
            metric: a name that was logged at this step, such as ``"val/top1"``.
            mode: ``"max"`` or ``"min"``. Default: by the customary names (loss, top1, psnr, ...); else it must be said.
        """
        if self._cursor.target is not None:
            return False
        direction = direction_of(metric, mode)
        value = self._ledger.value_at(metric, self._cursor.step, "keep_best")
        return self._keeper.mark_best(metric, value, direction)

    def value(self, metric: str) -> float:
        """What a metric was at this step, such as ``"val/loss"`` for a plateau scheduler."""
        if self._cursor.target is not None:  # a resumed run on its way to its place: as it was measured then
            return self._ledger.last_value(metric)
        return self._ledger.value_at(metric, self._cursor.step, "value")

    def stop_when(
        self, metric: str, *, patience: int | None = None, reaches: float | None = None, mode: Mode | None = None
    ) -> bool:
        """Stop after this epoch if a metric got no better for ``patience`` measurements, or reached a goal.

        Returns whether the run will stop. What it remembers survives a resume.
        """
        if self._cursor.target is not None:
            return False
        direction = direction_of(metric, mode)
        value = self._ledger.value_at(metric, self._cursor.step, "stop_when")
        if reaches is not None and (value >= reaches if direction == "max" else value <= reaches):
            self.stop(f"{metric} reached {value:.6g}")
        if patience is not None and self._stopping.no_better(metric, value, direction, patience):
            self.stop(f"{metric} got no better for {patience} measurements")
        return self._agenda.stop_reason is not None

    def stop(self, reason: str) -> None:
        """End the loop over batches after this step, and the loop over epochs after this epoch."""
        self._agenda.stop(reason)

    # ---- epochs ----------------------------------------------------------------------------------------------------

    def _begin_training(self) -> None:
        if self._trained:
            return
        self._trained = True
        self._keeper.check_registered()
        self._keeper.check_room()
        if self._seeded and self.seed is not None and not self.resumed:
            # What was drawn so far, by building the model say, must not matter to the loop.
            seed_everything(rank_seed(self.seed, self._ranks.position.rank))

    def _begin_epoch(self) -> None:
        self._cursor.begin_epoch()
        self._epoch_open = True
        self._display.begin_epoch()
        if self._cursor.target == Place(self._cursor.epoch, 0, 0):
            self._keeper.arrive(None)

    def _end_epoch(self) -> None:
        """Close the means, write the record, save when due, leave when asked to."""
        self._leave_loop()  # an iterator that the user broke out of may still be held
        self._keeper.check_arrived()
        cursor, agenda = self._cursor, self._agenda
        step, epoch = cursor.step, cursor.epoch
        if cursor.epoch_step == 0 and agenda.limits.epochs is None and agenda.stop_reason is None:
            raise RunError(f"epoch {epoch} had no steps, so {agenda.limits.text} would never be reached")
        self._alarms.look()
        agenda.meet(step, surely=True)
        self._ledger.end_epoch(step, epoch)
        self._alarms.tell_spikes()
        self._record.speed.append({"kind": "epoch", "step": step, "epoch": epoch, **self._display.epoch_rates()})
        self._print_epoch()
        self._epoch_open = False
        cursor.end_epoch()
        last = agenda.is_over(step, cursor.epoch) or self._signals.received is not None
        if last or self._keeper.best_is_due or agenda.save_is_due_after(cursor.epoch):
            self._save(Place(cursor.epoch, 0, 0), surely=last and self._signals.received is None)
        self._signals.leave()

    def _print_epoch(self) -> None:
        if self._progress is False:
            self._display.print(self._pictures.messages())
            return
        step, limits = self._cursor.step, self._agenda.limits
        remark = "  best" if self._keeper.best_is_due else ""
        self._display.print_epoch(self._cursor.epoch, limits.epochs, step, self._ledger.measured_at(step), remark)
        incidents = [message for loader in self._loaders for message in loader.incidents]
        self._display.print(self._pictures.messages())
        self._display.print([f"warning    {message}" for message in incidents if message not in self._told])
        self._told.update(incidents)
        skipped = [message for loader in self._loaders for message in loader.skipped]
        if skipped:
            self._display.print([f"skipped    {len(skipped)} so far, the last: {skipped[-1]}"])
        if self._agenda.stop_reason:
            self._display.print([f"stopping   {self._agenda.stop_reason}"])

    # ---- batches ---------------------------------------------------------------------------------------------------

    def _loop(self, source: Source, loader: Any) -> Iterator[Iterator[Any]]:
        """Which kind of loop it is shows when it starts, not when it is asked for."""
        if self._evaluation_rng is not None:
            self._data.see(self._phase, loader)
            yield self._evaluation_loop(source)
        elif self._source is not None:
            yield self._inner_loop(source)
        else:
            self._data.see("train", loader)
            yield self._training_loop(source)

    def _training_loop(self, source: Source) -> Iterator[Any]:
        """The hot loop: one comparison a step decides whether anything at all is due."""
        if not self._enter_loop(source):
            return
        cursor, agenda, signals, clock = self._cursor, self._agenda, self._signals, time.perf_counter
        try:
            with self._display.loop("train", source.length(), training=True) as speed:
                asked = clock()
                for data, samples, whole, drawn, last in self._feed(source, cursor.drawn):
                    speed.add(whole, clock() - asked)
                    cursor.count_step(whole, drawn)
                    self._count, self._whole, self._last = samples, whole, last
                    self._steppers.begin_batch(samples, whole, last=last)
                    if cursor.step >= agenda.next_report:
                        self._rates = self._keeper.registry.learning_rates()
                    yield data
                    asked = clock()
                    if cursor.step >= agenda.next_step or asked >= agenda.next_time or signals.received:
                        if self._boundary(asked):
                            break
                        asked = clock()
            self._steppers.finish(
                self._keeper.registry.models().values()
            )  # where the loop's length was not known, its last group may be short
        finally:
            if self._source is source:
                self._leave_loop()

    def _enter_loop(self, source: Source) -> bool:
        """Whether there is anything left to do in a training loop that begins."""
        if not self._epoch_open:
            raise RunError(
                "a training loop over run.batches(...) stands inside 'for epoch in run.epochs(...)'; outside it "
                "there are only evaluations"
            )
        if not self._cursor.begin_loop():
            return False
        if self._cursor.target is not None:
            self._keeper.arrive(source)
        elif self._keeper.best_is_due:  # measured before this loop changes the weights
            self._save(self._cursor.loop_start)
        self._agenda.begin_loop(source.length())
        self._agenda.plan(self._cursor, self._display.next_draw)
        if self._agenda.is_enough(self._cursor.step):
            return False
        assert self.seed is not None
        self._source = source
        self._steppers.begin_loop(source.length() is not None)
        self._alarms.begin_loop(source, self.seed)
        self._examiner.look()
        self._announce_source(source)
        return True

    def _leave_loop(self) -> None:
        self._source = None
        self._count, self._whole, self._last = 1, 1, False

    def _feed(self, source: Source, drawn: int) -> Iterator[Batch]:
        assert self.seed is not None
        return self._feeder.feed(source, self._cursor.epoch, self.seed, drawn)

    def _boundary(self, now: float) -> bool:
        """Between two steps: report, save, leave, draw, as each is due; True when the loop shall end."""
        cursor, agenda = self._cursor, self._agenda
        agenda.meet(cursor.step)
        self._ledger.look()
        self._keeper.look()
        self._examiner.look()
        self._alarms.look()
        if cursor.step >= agenda.next_report:
            self._report(now)
        if agenda.save_is_due(cursor.step) or self._keeper.best_is_due or self._signals.received is not None:
            self._save(cursor.in_loop)
            self._signals.leave()
        if now >= self._display.next_draw:
            self._draw()
        enough = agenda.is_enough(cursor.step)
        agenda.plan(cursor, self._display.next_draw)
        return enough

    def _inner_loop(self, source: Source) -> Iterator[Any]:
        """A loop inside a training step: its batches are prepared, its steps belong to the outer one."""
        outer = self._count, self._whole, self._last
        normalize = self._feeder.normalize
        try:
            step = self._cursor.step
            for batch in self._feed(source, 0):
                if self._cursor.step != step:
                    raise RunError(
                        "two run.batches(...) loops went on side by side, as in zip(): a resumed run could not find both "
                        "places. Loop over one of them, and give its dataset what the other one holds"
                    )
                self._count, self._whole = batch.samples, batch.whole
                yield batch.data
        finally:
            self._count, self._whole, self._last = outer
            self._feeder.normalize = normalize

    def _evaluation_loop(self, source: Source) -> Iterator[Any]:
        outside_step = self._source is None
        top_level = outside_step and self._epoch_open
        if top_level and not self._cursor.begin_loop():
            return
        if top_level and self._cursor.target is not None:
            self._keeper.arrive(None)
            self._evaluation_rng = capture_rng()
        with self._display.loop(self._phase, source.length(), training=False) as speed, self._parallel.gathered():
            self._parallel.same_buffers(self._evaluated)  # an average that was put into them has its own on each rank
            asked, length = time.perf_counter(), source.length()
            for number, batch in enumerate(self._feed(source, 0)):
                self._share = (number, length)
                self._count, waited = batch.samples, time.perf_counter() - asked
                if batch.samples:  # else this rank has no part of it
                    yield batch.data
                speed.add(batch.whole, waited)
                asked = time.perf_counter()
                if asked >= self._display.next_draw:
                    self._draw()
                if self._signals.received and outside_step:
                    self._leave_evaluation(top_level)
        self._count = 1

    def _leave_evaluation(self, top_level: bool) -> None:
        """Asked to stop: save the place before this evaluation, which changes nothing that is saved."""
        assert self._evaluation_rng is not None
        if top_level:
            restore_rng(self._evaluation_rng)
            self._save(self._evaluation_place)
        self._signals.leave()

    def _report(self, now: float) -> None:
        cursor = self._cursor
        if now >= self._next_speed:
            self._next_speed = now + SPEED_SECONDS
            facts = {"kind": "steps", "step": cursor.step, "epoch": cursor.epoch}
            self._record.speed.append(facts | self._display.loop_rates())
        self._ledger.report(cursor.step, cursor.epoch, self._rates)
        self._alarms.tell_spikes()

    def _draw(self) -> None:
        values = self._ledger.shown
        if self.device.type == "cpu":  # reading the means costs no wait here
            values = {**self._ledger.peek(), **self._keeper.registry.learning_rates()}
        cursor = self._cursor
        self._display.draw(values, epoch=cursor.epoch, epochs=self._agenda.limits.epochs, step=cursor.step)

    # ---- the rest --------------------------------------------------------------------------------------------------

    def _save(self, place: Place, *, surely: bool = False) -> None:
        if len(self._keeper.registry):
            save = self._keeper.save_surely if surely else self._keeper.save
            save(place, self._source)
            return
        if self._keeper.saved_step is None:
            self._display.print(["warning    nothing is registered, so nothing is saved: run.register(model=model)"])
        self._keeper.saved_step = self._cursor.step
        self._agenda.saved()

    def _tell(self, line: str) -> None:
        self._display.print(line.split("\n"))

    def _check_open(self, name: str) -> None:
        if self._state != "open":
            hint = "write 'with lw.Run(...) as run:' around it" if self._state == "new" else "it is closed"
            raise RunError(f"run.{name}(...) outside the run: {hint}")


def _check_numbers(**numbers: int | None) -> None:
    for name, value in numbers.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConfigError(f"log_images: {name} must be 1 or more. Found: {value!r}")


def _order_for(folder: str | Path) -> RunOrder | None:
    order = run_order()
    return order if order is not None and order.means(folder) else None


def _whole_steps(text: str) -> int:
    span = parse_span(text)
    if span.unit != "steps":
        raise ConfigError(f"report_every counts steps, such as '50 steps'. Found: {text!r}")
    return int(span.amount)
