"""``find_lr``: a learning rate by trying: short ramps, or short runs, after which everything is what it was.

It decides which rates are tried on which batches. What a step is, how a rate is set, and what curves say, others know.
"""

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from ._as_found import AsFound
from ._device import Compute, choose_compute
from ._distributed import ranks_here
from ._errors import ConfigError, NonFiniteError
from ._feeder import Feeder
from ._found_lr import FoundLR, Mode, judge_ramps, judge_runs, no_suggestion, rounded
from ._lr_curve import LRCurve, Reading, read_ramps, smooth
from ._lr_dial import Dial
from ._lr_tolerance import tolerance
from ._mentioned import mentioned, modules_with
from ._ramp import Spacing, chosen_rates, ramp
from ._seed import rank_seed, sample_seed, seed_everything
from ._trial_ranks import TrialRanks
from ._trial_step import FunctionStep, ModelStep, TrialStep, as_number
from .data._borrowed import Borrowed
from .data._source import Batch

WIDEST, SCOUT_STEPS = (1e-7, 10.0), 56  # of a ramp that finds where to look: 7 steps a decade
PER_DECADE = 17  # steps of a ramp: a slower one would turn at a lower rate
MOST_SCOUTS = 4  # until they say clearly where to look
MOST_WIDENINGS = 2
RUN_STEPS = 50
# Times below and above the edge that coarse ramps show: where the ramps begin and end. Where these have done half of their
# fall scatters by four times, for it needs the level before the fall; and a ramp that begins lower reads lower.
_BEFORE, _BEYOND = 120.0, 30.0
_FIRST_RUN = 7.0  # times below that edge: where runs begin
_WIDER = 10.0
_PATIENCE = 3  # steps whose mean says that a ramp has diverged
_RUN_REACH = 3.0  # steps: of the kernel that smooths runs

Validate = Callable[[], float]


def find_lr(
    trained: nn.Module | Callable[[Any], Any],
    optimizer: Optimizer,
    loader: Any,
    *,
    loss: Callable[..., Tensor] | None = None,
    mode: Mode = "ramp",
    low: float | None = None,
    high: float | None = None,
    steps: int | None = None,
    ramps: int = 8,
    spacing: Spacing = "exponential",
    rates: int | Sequence[float] = 8,
    val: Any = None,
    val_batches: int = 4,
    accumulate: int = 1,
    clip: float | None = None,
    precision: str = "auto",
    restore: Any = (),
    seed: int = 0,
    on_curve: Callable[[LRCurve], Any] | None = None,
) -> FoundLR:
    """Find a learning rate for a model and the very optimizer, as the peak of one cycle or the rate to begin from.

    ``mode="ramp"`` raises the rate from step to step until the loss diverges, several times from the same start with
    other batches, and reads the mean of these ramps: see ``FoundLR.reason``. ``mode="runs"`` trains some steps at each of
    several rates, from the same start, on the same batches.

    Afterwards model, buffers, gradients, modes, optimizer, schedulers, global generators and loader are what they were,
    bit for bit, also after an error. In between the model is in training mode; layers of it that are in evaluation mode,
    such as frozen batch norm, stay so, unless all is.

    Of several ranks each takes its part of the batches; losses and gradients are those of the whole batches, and all ranks
    are given the same suggestion. Give the model itself, or a function that calls a ``DistributedDataParallel`` of it.

    Args:
        trained: a model; or a function that trains on one batch, ``optimizer.step()`` included, and returns the loss: any
            loop, several optimizers, closures. The batches that it gets are on the device and normalised, as those of
            ``run.batches``. What it can name with a state is put back, see ``restore``.
        optimizer: whose rate is tried: its groups keep their ratios, and the rate is that of the largest. It stands at
            each of its steps, whatever a scheduler sets.
        loader: a ``Loader``, a ``DataLoader`` or any iterable of batches that can be gone through again, however short.
        loss: of a model, as in ``fit``: ``loss(model(*inputs), target)``. None: the model returns its own loss, of any
            batch: dictionaries, tuples, tensors.
        low, high: the ends of the rates. Default: a first, coarse ramp from 1e-7 to 10 finds them.
        steps: of the optimizer: a ramp (default 17 a decade), 8 or more, or a run (default 50).
        ramps: how many; the range of the suggestion comes from 3 or more. A single one costs least and knows no range.
        spacing: of the rates: ``"exponential"`` or ``"linear"``.
        rates: of ``mode="runs"``: the rates themselves, or how many.
        val: the suggestion is read from a validation loss instead: a loader, of which the first ``val_batches`` are used,
            after each step of a ramp and at the end of a run; or a function without arguments that gives the loss.
        accumulate: batches a step.
        clip: largest norm of the gradient, of a model.
        precision: as in ``Run``: ``"auto"``, ``"fp32"``, ``"bf16"``, ``"fp16"``; of a model.
        restore: what else a step changes: anything with ``state_dict`` and ``load_state_dict``, one or several. Not
            needed for the model, the optimizer, what ``trained``, ``loss`` and ``val`` mention by name, and modules that
            hold the optimizer's parameters.
        seed: of everything random in the trials: the same seed, the same suggestion.
        on_curve: told of each ramp and run as it ends, on rank 0.

    Raises:
        ConfigError: an argument is out of range, a step is none, or the loss does not fall at any rate.
        NonFiniteError: the first loss is NaN or infinite.

    >>> torch.manual_seed(0); model = nn.Linear(4, 1)
    <torch._C.Generator object at ...>
    >>> batches = [(x, x.sum(1, keepdim=True)) for x in torch.randn(20, 32, 4)]
    >>> found = find_lr(model, torch.optim.SGD(model.parameters(), lr=0.1), batches, loss=nn.functional.mse_loss)
    >>> 0.05 < found.lr < 1.0
    True
    """
    _checked(mode, steps, ramps, accumulate, val_batches)
    listed = chosen_rates(rates, 1.0, 2.0, "exponential")  # wrong ones are said now
    compute = choose_compute(_device_of(optimizer), precision)
    trained = trained.module if isinstance(trained, DistributedDataParallel) else trained  # it is wrapped anew
    dial, borrowed = Dial(optimizer), Borrowed(loader)
    with TrialRanks(ranks_here()) as ranks:
        found = AsFound(_states(trained, optimizer, loss, val, restore))
        dial.hold()
        try:
            step = _as_step(trained, optimizer, loss, compute, clip, ranks)
            # Ranks begin with rank 0's weights, and have their own ones back in the end.
            start = AsFound(found.objects) if ranks.several else found
            search = _Search(step, dial, borrowed, start, compute, seed, accumulate, on_curve, ranks)
            search.validate = _as_validation(val, val_batches, step, compute, seed, ranks)
            if mode == "runs":
                return search.runs(
                    listed if not isinstance(rates, int) else rates, low, high, steps or RUN_STEPS, spacing
                )
            return search.ramps(ramps, low, high, steps, spacing)
        finally:
            dial.let_go()
            found.put_back()
            borrowed.give_back()
            found.check()


class _Search:
    """Makes ramps and runs, each from the start."""

    validate: Validate | None = None

    def __init__(
        self,
        step: TrialStep,
        dial: Dial,
        borrowed: Borrowed,
        found: AsFound,
        compute: Compute,
        seed: int,
        accumulate: int,
        on_curve: Callable[[LRCurve], Any] | None,
        ranks: TrialRanks,
    ) -> None:
        self._step, self._dial, self._borrowed, self._found = step, dial, borrowed, found
        self._feeder, self._seed, self._accumulate = Feeder(compute, ranks.part), seed, accumulate
        self._ranks = ranks
        self._on_curve = on_curve if on_curve is not None and not ranks.position.rank else lambda curve: None
        self._tolerance = tolerance(found.objects)
        self._numbers = itertools.count()

    def ramps(self, count: int, low: float | None, high: float | None, steps: int | None, spacing: Spacing) -> FoundLR:
        """Ramps over the given rates, or over those that a coarse ramp points to, widened where they turn out narrow."""
        given = low is not None and high is not None
        low, high = self._window(low, high)
        curves = self._several(count, ramp(low, high, steps or _usual_steps(low, high), spacing))
        for _ in range(MOST_WIDENINGS):
            reading = _try(curves)
            if given or _is_inside(reading, low):
                break
            low, high = (low / _WIDER, high) if reading and reading.turns else (low, high * _WIDER)
            curves = self._several(count, ramp(low, high, steps or _usual_steps(low, high), spacing))
        try:
            return judge_ramps(curves, self._dial.rates(1.0), self._dial.steps, self._tolerance)
        except ConfigError as error:
            raise no_suggestion(curves, error) from None

    def runs(
        self, rates: int | list[float], low: float | None, high: float | None, steps: int, spacing: Spacing
    ) -> FoundLR:
        """A run at each rate: the listed ones, or so many between the ends."""
        if isinstance(rates, int):
            ends = self._window(low, high, before=_FIRST_RUN, beyond=_BEYOND / 3)
            rates = list(map(rounded, chosen_rates(rates, *ends, spacing)))
        number = next(self._numbers)
        curves = [self._run(rate, steps, number) for rate in rates]
        try:
            return judge_runs(curves, self._dial.rates(1.0), steps, self._dial.steps)
        except ConfigError as error:
            raise no_suggestion(curves, error) from None

    def _window(
        self, low: float | None, high: float | None, before: float = _BEFORE, beyond: float = _BEYOND
    ) -> tuple[float, float]:
        """The ends that are given; for those that are not, what coarse ramps say."""
        if low is not None and high is not None:
            return low, high
        least, most = low or min(WIDEST[0], (high or 1) / 1e6), high or max(WIDEST[1], (low or 1) * 1e6)
        rates, curves = ramp(least, most, SCOUT_STEPS), []
        for _ in range(MOST_SCOUTS):
            curves.append(self._ramp(rates, next(self._numbers)))
            reading = _try(curves)
            if reading is not None and reading.turns:
                return low or reading.edge / before, high or reading.edge * beyond
        return least, most

    def _several(self, count: int, rates: Sequence[float]) -> list[LRCurve]:
        return [self._ramp(rates, next(self._numbers)) for _ in range(count)]

    def _ramp(self, rates: Sequence[float], number: int) -> LRCurve:
        watch = _Watch(len(rates))
        tried: list[float] = []
        losses: list[float] = []
        measured: list[float] = []
        with contextlib.closing(self._fresh(number, epoch=1000 * number)) as batches:
            for rate in rates:
                losses.append(self._one(rate, batches, number, first=not losses))
                tried.append(rate)
                if self.validate is not None and math.isfinite(losses[-1]):
                    measured.append(self.validate())
                watch.see(rate, measured[-1] if measured and math.isfinite(losses[-1]) else losses[-1])
                if watch.stopped:
                    break
        if measured:
            measured += [losses[-1]] * (len(losses) - len(measured))
        read = smooth([math.log10(rate) for rate in tried], measured or losses)
        return self._told(LRCurve(tried, losses, read, watch.stopped, measured))

    def _run(self, rate: float, steps: int, number: int) -> LRCurve:
        losses: list[float] = []
        stopped = ""
        with contextlib.closing(self._fresh(number, epoch=0)) as batches:
            for _ in range(steps):
                losses.append(self._one(rate, batches, number, first=not losses))
                if not math.isfinite(losses[-1]):
                    stopped = f"the loss is {losses[-1]} at step {len(losses)}"
                    break
            measured = [self.validate()] if self.validate is not None and not stopped else []
        smoothed = smooth(range(len(losses)), losses, _RUN_REACH)
        return self._told(LRCurve([rate] * len(losses), losses, smoothed, stopped, measured))

    def _fresh(self, number: int, epoch: int) -> Generator[Batch, None, None]:
        """Begin from the start; the batches of a trial. All of its randomness follows from the seed and its number."""
        self._found.put_back()
        self._found.clear_gradients()
        seed_everything(rank_seed(sample_seed(self._seed, number, -1) % 2**63, self._ranks.position.rank))
        self._step.begin()
        return self._borrowed.endless(epoch, lambda source, at: self._feeder.feed(source, at, self._seed, 0))

    def _one(self, rate: float, batches: Iterator[Batch], number: int, *, first: bool) -> float:
        group = list(itertools.islice(batches, self._accumulate))
        self._dial.set(rate)
        try:
            loss = self._step(group)
        except Exception as error:
            error.add_note(
                f"find_lr: this is what the step raised at the learning rate {rate:.3g}, in trial {number + 1}"
            )
            raise
        if first and not number and not math.isfinite(loss):
            raise NonFiniteError(
                f"the loss is {loss} at the first step, before anything was trained: no learning rate can help. Look at "
                "the batch, at the weights that the model starts from, and at the loss"
            )
        return loss

    def _told(self, curve: LRCurve) -> LRCurve:
        if not self._dial.steps:
            raise ConfigError(
                "the optimizer made no step: a function that is given in place of a model does the whole step, "
                "optimizer.step() included; and the optimizer is the one that it steps"
            )
        self._ranks.check_alike(self._dial.weights())
        self._on_curve(curve)
        return curve


class _Watch:
    """Says when a ramp has diverged: the loss has risen above where it began by as much as it had fallen."""

    def __init__(self, length: int) -> None:
        self._losses: list[float] = []
        self._first = max(_PATIENCE, length // 10)
        self.stopped = ""

    def see(self, rate: float, loss: float) -> None:
        self._losses.append(loss)
        if not math.isfinite(loss):
            self.stopped = f"the loss is {loss} at {rate:.2g}"
        elif len(self._losses) > self._first + _PATIENCE:
            first = self._losses[: self._first]
            start = sum(first) / len(first)
            means = [sum(part) / _PATIENCE for part in _windows(self._losses)]
            room = max(start - min(means), 2 * (max(first) - min(first)))
            if means[-1] > start + room:
                self.stopped = f"the loss diverges at {rate:.2g}"


def _windows(losses: list[float]) -> list[list[float]]:
    return [losses[end - _PATIENCE : end] for end in range(_PATIENCE, len(losses) + 1)]


def _try(curves: list[LRCurve]) -> Reading | None:
    try:
        return read_ramps(curves)
    except ConfigError:
        return None


def _is_inside(reading: Reading | None, low: float) -> bool:
    """Whether the ramps began before the fall and ended behind it."""
    return reading is not None and reading.turns and reading.half > 2 * low


def _usual_steps(low: float, high: float) -> int:
    return max(20, round(PER_DECADE * math.log10(high / low)))


def _checked(mode: str, steps: int | None, ramps: int, accumulate: int, val_batches: int) -> None:
    if mode not in ("ramp", "runs"):
        raise ConfigError(f"mode must be 'ramp' or 'runs'. Found: {mode!r}")
    for name, value, least in (("ramps", ramps, 1), ("accumulate", accumulate, 1), ("val_batches", val_batches, 1)):
        if not isinstance(value, int) or value < least:
            raise ConfigError(f"{name} must be a whole number, {least} or more. Found: {value!r}")
    least = 8 if mode == "ramp" else 1
    if steps is not None and (not isinstance(steps, int) or steps < least):
        raise ConfigError(f"steps must be a whole number, {least} or more, for mode={mode!r}. Found: {steps!r}")


def _as_step(
    trained: Any,
    optimizer: Optimizer,
    loss: Callable[..., Tensor] | None,
    compute: Compute,
    clip: float | None,
    ranks: TrialRanks,
) -> TrialStep:
    if isinstance(trained, nn.Module):
        return ModelStep(trained, optimizer, loss, compute, clip, ranks)
    if not callable(trained):
        raise ConfigError(f"give a model, or a function that trains on a batch. Found: a {type(trained).__name__}")
    if loss is not None or clip is not None:
        raise ConfigError("loss= and clip= are for a model: a function that trains on a batch has its own")
    return FunctionStep(trained, ranks)


def _as_validation(
    val: Any, count: int, step: TrialStep, compute: Compute, seed: int, ranks: TrialRanks
) -> Validate | None:
    if val is None:
        return None
    if callable(val) and not hasattr(val, "__iter__"):
        return lambda: ranks.mean([(as_number(val()), 1)])
    if not isinstance(step, ModelStep):
        raise ConfigError(
            "val= of a function that trains is a function, too: without arguments, it gives the validation loss"
        )
    borrowed = Borrowed(val)
    try:
        source_batches = borrowed.once(lambda source, epoch: Feeder(compute, ranks.part).feed(source, epoch, seed, 0))
        with contextlib.closing(source_batches) as batches:
            held = list(itertools.islice(batches, count))
    finally:
        borrowed.give_back()
    return functools.partial(step.validate, held)


def _states(trained: Any, optimizer: Optimizer, loss: Any, val: Any, restore: Any) -> list[Any]:
    """Everything that a step may change and that has a state, each once."""
    several = isinstance(restore, Sequence) or (hasattr(restore, "__iter__") and not hasattr(restore, "state_dict"))
    listed = [optimizer, *(restore if several else [restore])]
    if isinstance(trained, nn.Module):
        listed.append(trained)
    else:
        listed += mentioned(trained)
    for function in (loss, val):
        if callable(function):
            listed += mentioned(function)
    optimizers = [value for value in listed if isinstance(value, Optimizer)]
    held = {id(p) for value in listed if isinstance(value, nn.Module) for p in value.parameters()}
    optimized = [p for o in optimizers for group in o.param_groups for p in group["params"]]
    listed += modules_with([p for p in optimized if id(p) not in held])
    return list({id(value): value for value in listed}.values())


def _device_of(optimizer: Optimizer) -> torch.device:
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    first = next(parameters, None)
    return torch.device("cpu") if first is None else first.device
