"""``check``: Karpathy's recipe on a model, its loss and its data. Runs the checks in their order; judges nothing itself.

Source: Andrej Karpathy, "A Recipe for Training Neural Networks", 2019.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from .._distributed import ranks_here
from .._errors import ConfigError, DataError
from .._mentioned import mentioned
from .._snapshot import Snapshot
from ..data._loader import Loader
from ..data._normalize import Normalize
from ..optim._groups import param_groups
from ..optim._optimizers import build_optimizer
from ._agreement import labels_agree
from ._batches import augmented, labels_fit, mixed_order, steady
from ._feed import Feed, samples_of, selected
from ._inputs import coherent, finite, input_range, splits_alike
from ._leak import no_leak
from ._learning import best_overfit, inputs_matter, learning_rate, one_batch
from ._loss_facts import LossFacts, loss_facts
from ._modes import modes_agree
from ._outputs import loss_sign, output_fits_loss, start
from ._parameters import forward_order, parameters_train
from ._pictures import Seen, seen_pictures
from ._report import CheckReport
from ._splits import splits_apart
from ._stepping import gradients_cleared
from ._subject import Subject
from ._training import Curve
from ._verdict import CannotLook, Verdict, not_seen

_BATCHES = 4  # of training that are looked at
_SPREAD = 64  # samples of validation
_BY_HEART = 16  # samples
_SHARES = {
    "labels agree": 0.15,
    "splits apart": 0.15,
    "one batch": 0.3,
    "inputs matter": 0.15,
    "learning rate": 0.15,
}  # of the time


def check(
    model: nn.Module,
    train: Any,
    val: Any = None,
    *,
    loss: Callable[..., Tensor] | None = None,
    optimizer: Optimizer | Callable[..., Optimizer] | str = "AdamW",
    step: Callable[[Any], Any] | None = None,
    compute: Callable[[nn.Module, Any], Tensor | Mapping[str, Any]] | None = None,
    augment: bool | None = None,
    frozen: Sequence[str] | None = None,
    batch_size: int = 64,
    transform: Callable[..., Any] | None = None,
    val_transform: Callable[..., Any] | None = None,
    normalize: Normalize | Mapping[str, Callable[[Any], Any] | None] | None = Normalize(),  # noqa: B008 - it never changes
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    seed: int = 0,
    seconds: float = 60.0,
    title: str = "",
    on_verdict: Callable[[Verdict], Any] | None = None,
) -> CheckReport:
    """Look for the bugs that make a network train badly instead of failing, by Karpathy's recipe.

    Data as the network sees them, labels, duplicates between splits, the loss at the start and its sign, what the loss
    expects, one batch by heart, with and without inputs, leaks across the batch, frozen and dead parameters, evaluation
    mode, the learning rate, and, with ``step``, gradients that are not cleared.

    Model, optimizer, gradients, modules that the loss names, random generators and loaders are bit for bit what they were,
    also after an error. What a dataset or a ``step`` of your own changes beside them stays changed. The model stays on its
    device. Of several ranks the first one looks, in one process, and all have its report.

    Args:
        model, train, val, loss, compute: as for ``fit``.
        optimizer: as for ``fit``; one that holds the model's parameters, if there is a ``step``.
        step: your own training step, from a batch to its loss: whatever you do in the loop between getting a batch and
            the next. It is called on the model and with the optimizer given here.
        augment: whether training samples are to differ between epochs. Default: it is a warning if those of a small set
            of classified pictures do not.
        frozen: names of the parameters or layers that are to be frozen, also as patterns: ``["backbone.*"]``. Default:
            whatever stands in front of what trains may be.
        batch_size, transform, val_transform, normalize: of the loaders that are made of datasets.
        lr, weight_decay: for an optimizer that is given as a name.
        seed: of everything random here.
        seconds: about how long it may take; trainings that are cut short by it are "could not look".
        on_verdict: told of each verdict as it is found.

    Raises:
        ConfigError: the loss of the first batch cannot be computed, or a loader can be read only once.

    >>> data = [(torch.randn(4), torch.tensor(i % 2)) for i in range(64)]
    >>> report = check(nn.Linear(4, 2), data, loss=nn.functional.cross_entropy, lr=0.01)
    >>> report["loss sign"].outcome
    'passed'
    """
    model = model.module if isinstance(model, DistributedDataParallel) else model  # one process looks

    def report() -> CheckReport:
        return _report(
            model, train, val, loss, optimizer, step, compute, augment, frozen, batch_size, transform, val_transform,
            normalize, lr, weight_decay, seed, seconds, title, on_verdict,
        )  # fmt: skip

    ranks = ranks_here()
    ranks.open()
    try:
        return ranks.from_main(report)
    finally:
        ranks.close()


def _report(
    model: nn.Module, train: Any, val: Any, loss: Any, optimizer: Any, step: Any, compute: Any, augment: bool | None,
    frozen: Sequence[str] | None, batch_size: int, transform: Any, val_transform: Any, normalize: Any, lr: float,
    weight_decay: float, seed: int, seconds: float, title: str, on_verdict: Callable[[Verdict], Any] | None,
) -> CheckReport:  # fmt: skip
    """What ``check`` gives back, of one process."""
    began = time.monotonic()
    if step is not None and not isinstance(optimizer, Optimizer):
        raise ConfigError("step= needs the optimizer that it steps: optimizer=torch.optim....")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    made = _as_optimizer(optimizer, model, lr, weight_decay)
    feeds = [
        Feed(_as_loader(data, batch_size, how, normalize, shuffle, what), device, seed, what)
        for data, how, what, shuffle in ((train, transform, "train", True), (val, val_transform, "val", False))
        if data is not None
    ]
    snapshot = Snapshot([model, made])
    named = {id(part): part for function in (loss, compute) if function is not None for part in mentioned(function)}
    beside = Snapshot(part for part in named.values() if isinstance(part, nn.Module) and part is not model)

    def put_back() -> None:
        snapshot.put_back()
        torch.manual_seed(seed)

    try:
        torch.manual_seed(seed)
        examination = _Examination(
            model, loss, compute, feeds, made, step, put_back, augment, frozen, seconds, on_verdict
        )
        examination.run()
    finally:
        beside.put_back()
        snapshot.put_back()
    return CheckReport(
        title or f"{type(model).__name__}, {sum(p.numel() for p in model.parameters()):,} parameters",
        examination.verdicts, examination.pictures, time.monotonic() - began,
    )  # fmt: skip


class _Examination:
    """The checks in their order, and what one hands to the next."""

    def __init__(
        self, model: nn.Module, loss: Any, compute: Any, feeds: list[Feed], optimizer: Optimizer,
        step: Callable[[Any], Any] | None, put_back: Callable[[], None], augment: bool | None,
        frozen: Sequence[str] | None, seconds: float, on_verdict: Callable[[Verdict], Any] | None,
    ) -> None:  # fmt: skip
        self.model, self.optimizer, self.step, self.put_back = model, optimizer, step, put_back
        self.train, self.val = feeds[0], feeds[1] if len(feeds) > 1 else None
        self.augment, self.frozen, self.seconds, self.on_verdict = augment, frozen, seconds, on_verdict
        self.batches = self.train.batches(_BATCHES)
        self.val_batch = self.val.spread(_SPREAD) if self.val is not None else None
        model.train()
        self.subject = Subject(model, loss, compute, self.batches[0])
        self.verdicts: list[Verdict] = []
        self.pictures: list[Seen] = []
        self.curve: Curve | None = None

    def run(self) -> None:
        """All checks; those that change the model put it back before the next."""
        self._of_data()
        self._of_loss()
        self._of_training()
        self._of_parameters()

    def _of_data(self) -> None:
        subject, batch, names = self.subject, self.batches[0], self.train.classes
        self.pictures = seen_pictures(subject, self.train, batch, names)
        if self.val is not None:
            self.pictures += seen_pictures(subject, self.val, self.val_batch, names)
        done = subject.run(batch)
        self.output = done.output
        self.facts = LossFacts("unknown")
        if self.output is not None:
            few = range(min(_BY_HEART, samples_of(batch)))  # outputs can be large, and are asked for many times
            frequencies = self._frequencies(self.output)
            self.facts = loss_facts(subject, selected(batch, few), self.output[: len(few)], frequencies)
        values = [(f"input {n}", t) for n, t in enumerate(subject.inputs(batch)) if t.is_floating_point()]
        values += [("the output", self.output)] if self.output is not None else []
        self._say("finite", lambda: finite([*values, ("the loss", done.loss.detach())]))
        self._say("input range", self._input_range)
        self._say("pictures", lambda: coherent(self._views()))
        if self.val is not None:
            self._say("splits alike", lambda: splits_alike(subject.inputs(batch), subject.inputs(self.val_batch)))
        self._say("labels", lambda: labels_fit(subject, self.facts, self._known_output(), self.batches, names))
        self._say("labels agree", self._labels_agree)
        self._say("order", lambda: mixed_order(subject, self.batches, self.train))
        whole = self.output is not None and self.output.ndim == 2  # one answer a sample
        kind = self.facts.kind if whole else "unknown"
        self._say("augmentation", lambda: augmented(subject, self.train, self.val, kind, self.augment))
        if (val := self.val) is not None:
            self._say("validation steady", lambda: steady(subject, val, kind))
            self._say("splits apart", lambda: splits_apart(self.train, val, self.seconds * _SHARES["splits apart"]))

    def _of_loss(self) -> None:
        self._say("output for loss", lambda: output_fits_loss(self.facts, self._known_output()))
        self._say("loss sign", lambda: loss_sign(self.facts, self._known_output()))
        self._say("loss at start", lambda: start(self.subject, self.facts, self.batches))

    def _of_training(self) -> None:
        subject, facts = self.subject, self.facts
        few = selected(self.batches[0], range(min(_BY_HEART, samples_of(self.batches[0]))))
        dense = self._is_noisy(few) or (self.output is not None and self.output.ndim >= 3)
        self._say("one batch", lambda: self._one_batch(few, dense), keep=True)
        curve = self.curve
        if curve is not None:  # the model knows the batch by heart now
            self._say("train and eval", lambda: modes_agree(subject, few, facts, curve), keep=True)
            self._say("samples apart", lambda: self._samples_apart(few))
            budget = self.seconds * _SHARES["inputs matter"]
            self._say("inputs matter", lambda: inputs_matter(subject, few, facts, curve, budget))
        else:
            self._say("samples apart", lambda: no_leak(subject, few))
        budget = self.seconds * _SHARES["learning rate"]
        batch = self.batches[0]
        self._say("learning rate", lambda: learning_rate(subject, batch, self.optimizer, self.step, budget))
        if (step := self.step) is not None:
            self._say("gradients cleared", lambda: gradients_cleared(self.model, self.optimizer, step, self.batches))

    def _of_parameters(self) -> None:
        def look() -> Verdict:
            order = forward_order(self.subject, self.batches[0])
            return parameters_train(self.model, self.optimizer, order, self.curve, self.frozen)

        self._say("parameters", look)

    def _is_noisy(self, few: Any) -> bool:
        """Whether the loss gives the model other inputs each time, as in diffusion: then nothing is known by heart."""
        with torch.no_grad():
            one, other = self.subject.run(few).given, self.subject.run(few).given
        self.put_back()
        self.model.train()
        return any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(one, other, strict=False))

    def _one_batch(self, few: Any, dense: bool) -> Verdict:
        seconds, enough = self.seconds * _SHARES["one batch"], 0.1 if dense else 0.9
        curve = best_overfit(self.subject, few, self.facts, seconds, self.put_back, enough)
        verdict = one_batch(curve, self.facts, samples_of(few), dense)
        self.curve = curve
        return verdict

    def _samples_apart(self, few: Any) -> Verdict:
        """By weights that know the batch, because some networks start with layers that are zero; else as they came."""
        try:
            return no_leak(self.subject, few)
        except CannotLook:
            self.put_back()
            return no_leak(self.subject, few)

    def _input_range(self) -> Verdict:
        view = self.subject.first_view(self.batches[0])
        if view is None:
            raise CannotLook("the model has no layer with parameters that gets a tensor")
        return input_range(view)

    def _labels_agree(self) -> Verdict:
        if self.facts.kind not in ("classes", "unknown"):
            raise CannotLook("targets are no classes")
        classes = self.facts.classes or len(self.train.classes)
        if classes < 2:  # a model that returns nothing but its loss
            raise CannotLook("how many classes there are is not known")
        return labels_agree(self.train, self.val, classes, self.seconds * _SHARES["labels agree"])

    def _views(self) -> list[tuple[str, Tensor]]:
        """Pictures as the batch holds them, as the first layer gets them, and targets."""
        batch = self.batches[0]
        found = [("input pictures", tensor) for tensor in self.subject.inputs(batch)]
        view = self.subject.first_view(batch)
        if view is not None and view.tensor.ndim == 4 and view.tensor.shape[1] <= 4:
            found.append((f"the pictures that {view.name} sees", view.tensor))
        with contextlib.suppress(CannotLook):
            found.append(("target pictures", self.subject.target(batch)))
        return [(what, tensor) for what, tensor in found if tensor.ndim == 4]

    def _known_output(self) -> Tensor:
        if self.output is None:
            raise CannotLook("the model returns its loss only: let it return logits too")
        return self.output

    def _frequencies(self, output: Tensor) -> Tensor | None:
        """Of each class in the batches that were read."""
        try:
            targets = [self.subject.target(batch).flatten() for batch in self.batches]
        except CannotLook:
            return None
        if any(target.is_floating_point() or target.dtype == torch.bool for target in targets) or output.ndim < 2:
            return None
        valid = torch.cat(targets)
        valid = valid[(valid >= 0) & (valid < output.shape[1])]
        return torch.bincount(valid, minlength=output.shape[1]).float() + 1e-3

    def _say(self, name: str, look: Callable[[], Verdict], *, keep: bool = False) -> None:
        """One check. What goes wrong in it is said, not raised: the others are of use all the same."""
        try:
            verdict = look()
        except CannotLook as reason:
            verdict = not_seen(name, str(reason))
        except Exception as error:  # the user's model on inputs that it was not made for, such as zeros
            verdict = not_seen(name, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        if not keep:
            self.put_back()
            self.model.train()
        self.verdicts.append(verdict)
        if self.on_verdict is not None:
            self.on_verdict(verdict)


def _as_loader(data: Any, batch_size: int, transform: Any, normalize: Any, shuffle: bool, what: str) -> Any:
    """As ``fit`` does: a dataset becomes a loader; what yields batches already stays as it is."""
    if isinstance(data, Loader) or not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        return data
    if not len(data):
        raise DataError(f"{what} has no samples: a {type(data).__name__} that is empty")
    return Loader(
        data, min(batch_size, len(data)), transform=transform, workers=0, normalize=normalize, shuffle=shuffle
    )


def _as_optimizer(optimizer: Any, model: nn.Module, lr: float, weight_decay: float) -> Optimizer:
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str):
        trained = any(p.requires_grad for p in model.parameters())
        groups: Any = param_groups(model, weight_decay=weight_decay) if trained else list(model.parameters())
        return build_optimizer(optimizer, groups, lr=lr)
    if isinstance(optimizer, list | tuple):
        raise ConfigError(
            "optimizer= is an optimizer, a name, or a function of parameters; of several the one that is to be looked at. "
            f"Found: a {type(optimizer).__name__}"
        )
    return optimizer([p for p in model.parameters() if p.requires_grad])
