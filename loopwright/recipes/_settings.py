"""What a training configuration may hold: every key, its default, its range, and that its names exist.

Names and arguments are checked by the files that own them, so that a wrong one is reported together with all other
mistakes, before anything is built.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from .._by_epoch import ByEpoch, read_epochs
from .._config import Named, Settings
from .._device import choose_compute
from .._errors import ConfigError
from .._names import check_arguments
from .._parallel import Kind
from .._watch import Policy, check_policy
from .._when import Limits, parse_spans
from ..augment._by_name import find_mix
from ..data._augment import NO_AUGMENTATION, find_transform
from ..data._rows import is_table
from ..models._build import find_model
from ..optim._course import Course
from ..optim._groups import check_rules
from ..optim._losses import GIVEN as LOSS_GIVEN
from ..optim._losses import find_loss
from ..optim._optimizers import check_optimizer_arguments, find_optimizer
from ..optim._schedulers import NO_SCHEDULER, check_warmup, find_scheduler, missing_arguments
from ..trackers._by_name import make_tracker
from ._table_settings import TableSettings, check_is_table

Side = Annotated[int, Field(ge=8, le=4096)]


class ModelSettings(Named):
    """A model by name, with its own arguments."""

    @field_validator("name")
    @classmethod
    def _exists(cls, name: str) -> str:
        find_model(name)
        return name

    @model_validator(mode="after")
    def _known(self) -> "ModelSettings":
        check_arguments(find_model(self.name)[0], self.arguments, place="model", given=("num_classes",))
        return self


class OptimizerSettings(Named):
    """An optimizer by name, with its own arguments."""

    name: str = "AdamW"
    lr: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    rules: dict[str, dict[str, Any]] = Field(default_factory=dict)  # patterns to lr, lr_factor, weight_decay, frozen
    layer_decay: float | None = Field(default=None, gt=0, le=1)  # of the rate, from each layer to the one before it

    @field_validator("name")
    @classmethod
    def _exists(cls, name: str) -> str:
        find_optimizer(name)
        return name

    @model_validator(mode="after")
    def _known(self) -> "OptimizerSettings":
        check_optimizer_arguments(self.name, self.arguments)
        check_rules(self.rules, lr=self.lr)
        return self


class SchedulerSettings(Named):
    """A scheduler by name, with its own arguments; what follows from the length of training is filled in."""

    name: str = "OneCycleLR"
    warmup: str | float = 0  # "500 steps", "2 epochs", or a share of the training, before the scheduler
    per: Literal["step", "epoch"] | None = None  # what it is stepped with; by default as is customary

    @field_validator("warmup", mode="before")
    @classmethod
    def _is_warmup(cls, value: Any) -> Any:
        check_warmup(value)
        return value

    @field_validator("name")
    @classmethod
    def _exists(cls, name: str) -> str:
        if name.lower() != NO_SCHEDULER:
            find_scheduler(name)
        return name

    @model_validator(mode="after")
    def _known(self) -> "SchedulerSettings":
        if self.name.lower() != NO_SCHEDULER:
            check_arguments(find_scheduler(self.name), self.arguments, place="scheduler", given=("optimizer",))
            missing = missing_arguments(self.name, self.arguments)
            if missing:
                raise ConfigError("\n".join(f"{name} is missing: {self.name} needs it" for name in missing))
        return self


class LossSettings(Named):
    """A loss by name, with its own arguments; one of several has a weight and a name of its own."""

    name: str = "cross_entropy"
    weight: float | dict[str, float] = 1.0  # or points {epoch 0: 0.0, epoch 9: 1.0}, with straight lines between
    log_as: str | None = Field(default=None, min_length=1)  # its name in the record; by default the loss's
    phase: Literal["both", "train", "val"] = "both"  # where it counts

    @field_validator("weight")
    @classmethod
    def _is_course(cls, weight: Any) -> Any:
        Course(_course(weight), "weight")
        return weight

    @field_validator("name")
    @classmethod
    def _exists(cls, name: str) -> str:
        find_loss(name)
        return name

    @model_validator(mode="after")
    def _known(self) -> "LossSettings":
        check_arguments(find_loss(self.name), self.arguments, place="loss", given=LOSS_GIVEN)
        return self

    @property
    def shown_name(self) -> str:
        """The name of one of several losses in the record."""
        return self.log_as or self.name.rpartition(":")[2].rpartition(".")[2]

    @property
    def course(self) -> float | dict[float, float]:
        """The weight as ``Losses`` takes it."""
        return _course(self.weight)


class AugmentSettings(Named):
    """One transform of the training pictures by name, with its own arguments."""

    @field_validator("name")
    @classmethod
    def _exists(cls, name: str) -> str:
        if name.lower() != NO_AUGMENTATION:
            find_transform(name)
        return name

    @model_validator(mode="after")
    def _known(self) -> "AugmentSettings":
        if self.name.lower() != NO_AUGMENTATION:
            check_arguments(find_transform(self.name), self.arguments, place=f"augment.{self.name}")
        return self


class MixSettings(Named):
    """``Mixup`` or ``CutMix`` of the training batches, in any case, with its own arguments."""

    @field_validator("name")
    @classmethod
    def _exists(cls, name: str) -> str:
        find_mix(name)
        return name

    @model_validator(mode="after")
    def _known(self) -> "MixSettings":
        check_arguments(find_mix(self.name), self.arguments, place="mix", given=("classes",))
        find_mix(self.name)(1, **self.arguments)  # its ranges are its own affair
        return self


class EMASettings(Settings):
    """An exponential average of the weights; ``ema: 0.999`` is short for its decay."""

    decay: float = Field(0.999, ge=0, le=1)
    warmup: bool = True

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        return {"decay": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class TTASettings(Settings):
    """Several views of each validation picture; ``tta: true`` is short for the defaults."""

    flip: bool = True
    crops: Literal[1, 5] = 1
    share: float = Field(0.875, gt=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _from_true(cls, value: Any) -> Any:
        return {} if value is True else value


class TrackerSettings(Named):
    """A tracker by name, with its own settings."""

    @model_validator(mode="after")
    def _known(self) -> "TrackerSettings":
        make_tracker(self.asked)
        return self

    @property
    def asked(self) -> dict[str, Any]:
        """As ``Run`` takes it."""
        return {"name": self.name, **self.arguments}


class DistillSettings(Settings):
    """A teacher: its model, and where its weights are."""

    weights: str = Field(min_length=1)  # a run, checkpoint or file; all of it must fit
    model: ModelSettings = Field(default_factory=lambda: ModelSettings(name="resnet18"))
    weight: float = Field(0.5, ge=0, le=1)  # of the teacher in the loss
    temperature: float = Field(2.0, gt=0)


class CommonSettings(Settings):
    """The keys that every task of ``loopwright train`` has."""

    data: str = Field(min_length=1)  # a folder of splits, or of class folders; of classifiers a table, too
    run: str | None = None  # where to write; by default runs/DATA-MODEL
    model: ModelSettings = Field(default_factory=lambda: ModelSettings(name="resnet18"))
    image_size: Side | dict[str, Side] = (
        128  # pixels, or several sizes by their first epochs: {epoch 0: 96, epoch 9: 128}
    )
    epochs: int | str = 20  # or a length such as "500 steps" or "2 hours"
    batch_size: int = Field(64, ge=1)
    workers: int | None = Field(None, ge=0)  # processes that read ahead; by default by the number of cores
    seed: int = Field(42, ge=0, lt=2**32)
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    save_every: str | list[str] = "1 epoch"
    optimizer: OptimizerSettings = Field(default_factory=OptimizerSettings)
    scheduler: SchedulerSettings = Field(default_factory=SchedulerSettings)
    loss: LossSettings | list[LossSettings] = Field(default_factory=LossSettings)

    ema: EMASettings | None = None  # validate and end with an average of the weights
    swa: int | None = Field(None, ge=0)  # the same with the mean of the epochs' ends, from this epoch on
    freeze: str | list[str] = Field(default_factory=list)  # patterns of what is not trained
    unfreeze: dict[str, str | list[str]] = Field(
        default_factory=dict
    )  # {epoch 0: fc, epoch 2: '*'}: trained from then on

    weights: str | None = None  # a run, checkpoint or file to start from; layers that do not fit stay fresh
    accumulate: int = Field(1, ge=1)  # batches a step
    clip: float | None = Field(None, gt=0)  # largest norm of the gradient
    drop_last: bool = False  # leave out a last training batch that is short
    holdout: float = Field(0.2, gt=0, lt=1)  # share held out where there is no validation folder
    patience: int | None = Field(None, ge=1)  # epochs without improvement before stopping
    pictures: int = Field(16, ge=0, le=256)  # validation pictures in the record after each epoch; 0 for none
    on_error: Literal["raise", "skip"] = "raise"  # for unreadable pictures
    deterministic: bool = False
    nonfinite: Policy = "stop"  # where a loss or gradient is NaN or infinite
    parallel: Kind = "ddp"  # of several processes: each has the whole model, or with fsdp a part of each weight
    trackers: list[TrackerSettings] = Field(default_factory=list)  # who mirrors the record, off the loop

    @field_validator("trackers", mode="before")
    @classmethod
    def _trackers_listed(cls, value: Any) -> Any:
        """One, or a list of them."""
        return value if isinstance(value, list | tuple) else [] if value is None else [value]

    @field_validator("loss", mode="before")
    @classmethod
    def _by_weight(cls, value: Any) -> Any:
        """``{l1: 1, ssim: 0.2}``, names with their weights, as a list of losses."""
        if not isinstance(value, Mapping) or not value or not all(map(_is_loss, value)):
            return value
        return [{"name": name, **(given if isinstance(given, Mapping) else {"weight": given})}
                for name, given in value.items()]  # fmt: skip

    @field_validator("unfreeze")
    @classmethod
    def _unfreezing_begins(cls, value: Any) -> Any:
        return _from_the_start(value) if value else value

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.ema is not None and self.swa is not None:
            raise ConfigError("swa and ema exclude each other: validation would not know which average to measure")
        if isinstance(self.loss, list):
            check_names(self.loss)
        check_policy(self.nonfinite, self.precision)
        return self

    @property
    def data_name(self) -> str:
        """What a run's folder is named after."""
        place = Path(self.data).resolve()
        return place.stem if is_table(place) else place.name

    @property
    def unfreezing(self) -> dict[int, str | list[str]] | None:
        """What is trained from which epoch on, as ``Unfreezing`` takes it."""
        return read_epochs(self.unfreeze) or None

    @property
    def losses(self) -> list[LossSettings]:
        """All of them, also where there is one."""
        return list(self.loss) if isinstance(self.loss, list) else [self.loss]

    @field_validator("epochs", mode="before")
    @classmethod
    def _is_length(cls, value: Any) -> Any:
        whole: Any = int(value) if isinstance(value, float) and value.is_integer() else value
        Limits([whole])
        return whole

    @field_validator("save_every", mode="before")
    @classmethod
    def _are_spans(cls, value: Any) -> Any:
        parse_spans(value if isinstance(value, str | list | tuple) else [value])
        return value

    @field_validator("device")
    @classmethod
    def _is_here(cls, value: str) -> str:
        choose_compute(value)
        return value


class TrainSettings(CommonSettings):
    """The keys of ``loopwright train`` for ``task: classify``, which is what it does where no task is said."""

    task: Literal["classify"] = "classify"
    table: TableSettings | None = None  # the columns of data that is a table
    augment: list[AugmentSettings] = Field(default_factory=lambda: [AugmentSettings(name="RandomResizedCrop")])
    mix: list[MixSettings] = Field(default_factory=list)  # of several, one is drawn for each step
    tta: TTASettings | None = None  # validate with several views of each picture
    distill: DistillSettings | None = None  # learn from a teacher, too

    @field_validator("augment", "mix", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        """``RandomResizedCrop``, ``{name: ..., scale: ...}`` or a list of them."""
        return value if isinstance(value, list | tuple) else [] if value is None else [value]

    @field_validator("tta", mode="before")
    @classmethod
    def _false_is_none(cls, value: Any) -> Any:
        return None if value is False else value

    @field_validator("image_size")
    @classmethod
    def _sizes_begin(cls, value: Any) -> Any:
        return _from_the_start(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _has_columns(self) -> Self:
        if self.table is not None:
            check_is_table(self.data)
        return self

    @property
    def reads_table(self) -> bool:
        """Whether the data is a table, and no folder."""
        return is_table(self.data)

    @property
    def data_options(self) -> dict[str, Any]:
        """Of ``open_data``, beside the hold-out."""
        return {} if self.table is None else self.table.arguments

    def options_of(self, split: str) -> dict[str, Any]:
        """The same for one split. Weights say what is drawn for training, so rows for validation need none."""
        return {name: value for name, value in self.data_options.items() if name != "weight" or split == "train"}

    @property
    def sizes(self) -> ByEpoch[int]:
        """The size of the training pictures, by epochs."""
        return ByEpoch(read_epochs(self.image_size) if isinstance(self.image_size, dict) else {0: self.image_size})

    @property
    def last_size(self) -> int:
        """The size of pictures in the end, which validation has throughout."""
        return self.sizes.last


def _is_loss(name: Any) -> bool:
    try:
        return isinstance(name, str) and (":" in name or callable(find_loss(name)))
    except ConfigError:
        return False


def _from_the_start(by_epoch: dict[str, Any]) -> dict[str, Any]:
    if 0 not in read_epochs(by_epoch):
        raise ConfigError("say what holds from the start: 'epoch 0' is missing")
    return by_epoch


def _course(weight: float | dict[str, float]) -> float | dict[float, float]:
    return {float(epoch): value for epoch, value in read_epochs(weight).items()} if isinstance(weight, dict) else weight


def check_names(losses: Sequence[LossSettings]) -> None:
    """``ConfigError`` where two losses of a phase would be logged under one name, or a phase has none."""
    for phase in ("train", "val"):
        names = [loss.shown_name for loss in losses if loss.phase in ("both", phase)]
        if not names:
            raise ConfigError(f"loss: none of the losses is for {phase}")
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ConfigError(f"loss: two are named {twice!r}: give one of them log_as")
