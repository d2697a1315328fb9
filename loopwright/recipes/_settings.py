"""What a training configuration may hold: every key, its default, its range, and that its names exist.

Names and arguments are checked by the files that own them, so that a wrong one is reported together with all other
mistakes, before anything is built.
"""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from .._config import Named, Settings
from .._device import choose_compute
from .._errors import ConfigError
from .._names import check_arguments
from .._when import Limits, parse_spans
from ..data._augment import NO_AUGMENTATION, find_transform
from ..models._build import find_model
from ..optim._losses import GIVEN as LOSS_GIVEN
from ..optim._losses import find_loss
from ..optim._optimizers import find_optimizer
from ..optim._schedulers import NO_SCHEDULER, find_scheduler, missing_arguments


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

    @field_validator("name")
    @classmethod
    def _exists(cls, name: str) -> str:
        find_optimizer(name)
        return name

    @model_validator(mode="after")
    def _known(self) -> "OptimizerSettings":
        check_arguments(find_optimizer(self.name), self.arguments, place="optimizer", given=("params", "lr"))
        return self


class SchedulerSettings(Named):
    """A scheduler by name, with its own arguments; what follows from the length of training is filled in."""

    name: str = "OneCycleLR"

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
    """A loss by name, with its own arguments."""

    name: str = "cross_entropy"

    @field_validator("name")
    @classmethod
    def _exists(cls, name: str) -> str:
        find_loss(name)
        return name

    @model_validator(mode="after")
    def _known(self) -> "LossSettings":
        check_arguments(find_loss(self.name), self.arguments, place="loss", given=LOSS_GIVEN)
        return self


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


class TrainSettings(Settings):
    """The keys of ``loopwright train``."""

    data: str = Field(min_length=1)  # a folder of splits, or of class folders
    run: str | None = None  # where to write; by default runs/DATA-MODEL
    model: ModelSettings = Field(default_factory=lambda: ModelSettings(name="resnet18"))
    image_size: int = Field(128, ge=8, le=4096)  # pixels
    epochs: int | str = 20  # or a length such as "500 steps" or "2 hours"
    batch_size: int = Field(64, ge=1)
    workers: int | None = Field(None, ge=0)  # processes that read ahead; by default by the number of cores
    seed: int = Field(42, ge=0, lt=2**32)
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    save_every: str | list[str] = "1 epoch"
    optimizer: OptimizerSettings = Field(default_factory=OptimizerSettings)
    scheduler: SchedulerSettings = Field(default_factory=SchedulerSettings)
    loss: LossSettings = Field(default_factory=LossSettings)
    augment: list[AugmentSettings] = Field(default_factory=lambda: [AugmentSettings(name="RandomResizedCrop")])

    weights: str | None = None  # a run, checkpoint or file to start from; layers that do not fit stay fresh
    accumulate: int = Field(1, ge=1)  # batches a step
    clip: float | None = Field(None, gt=0)  # largest norm of the gradient
    drop_last: bool = False  # leave out a last training batch that is short
    holdout: float = Field(0.2, gt=0, lt=1)  # share held out where there is no validation folder
    patience: int | None = Field(None, ge=1)  # epochs without improvement before stopping
    on_error: Literal["raise", "skip"] = "raise"  # for unreadable pictures
    deterministic: bool = False

    @field_validator("augment", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        """``RandomResizedCrop``, ``{name: ..., scale: ...}`` or a list of them."""
        return value if isinstance(value, list | tuple) else [value]

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
