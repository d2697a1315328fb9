"""The keys of ``task: restore`` and ``task: segment``: every one, its default, its range, and that its names exist."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from .._config import Named, Settings
from .._errors import ConfigError
from .._names import check_arguments
from .._tiled import check_tiles
from ..data._degrade import build_degradation, find_degradation
from ..data._role import Kind, Role
from ..data._rows import is_table
from ..data._view import Pad
from ._settings import CommonSettings, LossSettings, ModelSettings, OptimizerSettings, Side

ALIGN = 32  # tiles begin at multiples of it: five halvings
WORSE, CLEAN = "input", "target"  # the roles where one is made from the other


class RoleSettings(Settings):
    """One of the pictures of a sample: a folder, and how its files are read; see ``Role``."""

    folder: str
    kind: Kind = "picture"
    prefix: str = ""
    suffix: str = ""
    scale: int = Field(default=1, ge=1)
    channels: int = Field(default=1, ge=1)  # of kind raw; pictures have 3, gray ones 1

    @property
    def planes(self) -> int:
        """Channels of its batches."""
        return 3 if self.kind == "picture" else self.channels if self.kind == "raw" else 1

    @model_validator(mode="before")
    @classmethod
    def _from_folder(cls, value: Any) -> Any:
        return {"folder": value} if isinstance(value, str) else value

    def role(self) -> Role:
        """As ``PairedFolders`` takes it."""
        return Role(self.folder, self.kind, prefix=self.prefix, suffix=self.suffix, scale=self.scale)


class DegradeSettings(Named):
    """One step of ``Degrade`` by name, with its own arguments."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        check_arguments(find_degradation(self.name), self.arguments, place=f"degrade.{self.name}")
        self.step()
        return self

    def step(self) -> Any:
        """As ``Degrade`` takes it."""
        return build_degradation(self.name, **self.arguments)


class TargetLossSettings(LossSettings):
    """A loss; where there are several targets, of one of them."""

    target: str | None = None

    @property
    def shown_name(self) -> str:
        return super().shown_name if self.target is None or self.log_as else f"{super().shown_name}_{self.target}"


class PictureSettings(CommonSettings):
    """The keys of both tasks."""

    task: Literal["restore", "segment"] = "restore"
    inputs: dict[str, RoleSettings] = Field(default_factory=dict)  # folders of what the model is given, by role
    targets: dict[str, RoleSettings] = Field(default_factory=dict)  # and of what it is to give
    image_size: Side = 64  # type: ignore[reportIncompatibleVariableOverride] - one size; pixels of the square that is trained on
    crops: int = Field(1, ge=1)  # squares of each picture an epoch
    flip: bool = True  # left to right, half of the time
    turn: bool = True  # by quarters
    pad: Pad | None = None  # of pictures smaller than the square: reflect, edge, fill
    tile: int | None = Field(None, ge=8)  # validate larger pictures in parts of so many pixels
    overlap: int = Field(64, ge=0)  # of such parts: the reach of the model
    cache: str | None = None  # keep decoded pictures: memory, disk, or a folder
    loss: TargetLossSettings | list[TargetLossSettings] = Field(  # type: ignore[reportIncompatibleVariableOverride]
        default_factory=lambda: TargetLossSettings(name="l1")
    )

    @field_validator("data")
    @classmethod
    def _is_folder(cls, value: str) -> str:
        if is_table(value):
            raise ConfigError("a table lists pictures and their classes, task: classify; pairs lie in folders")
        return value

    @field_validator("inputs", "targets", mode="before")
    @classmethod
    def _roles(cls, value: Any) -> Any:
        """A folder, several, or roles with a folder each."""
        if isinstance(value, str):
            return {_role_name(value): value}
        if isinstance(value, list | tuple):
            return {_role_name(folder): folder for folder in value if isinstance(folder, str)} if value else {}
        return value

    @model_validator(mode="after")
    def _roles_agree(self) -> Self:
        if twice := self.inputs.keys() & self.targets.keys():
            raise ConfigError(
                f"targets: {sorted(twice)[0]!r} is an input, too: name the roles, as in {{clean: folder}}"
            )
        unknown = [one.target for one in self.losses if one.target not in (None, *self.target_names)]  # type: ignore[attr-defined]
        if unknown:
            raise ConfigError(f"loss: there is no target {unknown[0]!r}: there are {', '.join(self.target_names)}")
        return self

    @model_validator(mode="after")
    def _tiles_hold_something(self) -> Self:
        if self.tile is not None:
            check_tiles(self.tile, self.overlap, ALIGN)
        return self

    @property
    def target_names(self) -> list[str]:
        return list(self.targets)

    @property
    def input_names(self) -> list[str]:
        return list(self.inputs)

    @property
    def last_size(self) -> int:
        """Pixels of the squares that are trained on."""
        return self.image_size

    @property
    def tiles(self) -> dict[str, int] | None:
        """How ``fit`` and ``Tiled`` are told of the parts of large pictures; None where there are none."""
        return None if self.tile is None else {"tile": self.tile, "overlap": self.overlap, "align": ALIGN}


class RestoreSettings(PictureSettings):
    """The keys of ``task: restore``."""

    task: Literal["restore"] = "restore"  # type: ignore[reportIncompatibleVariableOverride] - one of the two
    model: ModelSettings = Field(default_factory=lambda: ModelSettings(name="unet"))
    optimizer: OptimizerSettings = Field(default_factory=lambda: OptimizerSettings(lr=1e-3, weight_decay=0.0))
    degrade: list[DegradeSettings] = Field(default_factory=list)  # makes the inputs of the pictures of targets
    border: int = Field(0, ge=0)  # pixels of each edge that PSNR and SSIM leave out
    luminance: bool = False  # they compare the luminance alone

    @field_validator("degrade", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else [] if value is None else [value]

    @model_validator(mode="after")
    def _has_pairs(self) -> Self:
        if self.degrade and self.inputs:
            raise ConfigError("degrade: the inputs are made of the targets: leave inputs out, or do without degrade")
        if not self.degrade and not (self.inputs and self.targets):
            raise ConfigError(
                "inputs: name the folders, as in inputs=noisy targets=clean, or say how clean pictures become worse, as "
                "in degrade={name: noise, sigma: 25}"
            )
        if self.degrade and len(self.targets) > 1:
            raise ConfigError(f"degrade: is for one target. Found: {', '.join(self.targets)}")
        if masks := [name for name, role in self.roles.items() if role.kind == "mask"]:
            raise ConfigError(f"{masks[0]} is a mask: see task: segment")
        return self

    @property
    def roles(self) -> dict[str, RoleSettings]:
        """Of all files: with ``degrade`` the clean pictures alone, by default those of the data's own folder."""
        if self.degrade:
            return dict(self.targets or {CLEAN: RoleSettings(folder=".")})
        return {**self.inputs, **self.targets}

    @property
    def input_names(self) -> list[str]:
        return [WORSE] if self.degrade else list(self.inputs)

    @property
    def target_names(self) -> list[str]:
        return list(self.roles) if self.degrade else list(self.targets)


class SegmentSettings(PictureSettings):
    """The keys of ``task: segment``."""

    task: Literal["segment"] = "segment"  # type: ignore[reportIncompatibleVariableOverride] - one of the two
    classes: list[str] = Field(min_length=2)  # names in the order of the labels: 0, 1, ...
    ignore: int | None = 255  # the label of pixels that do not count
    model: ModelSettings = Field(default_factory=lambda: ModelSettings(name="unet"))
    optimizer: OptimizerSettings = Field(default_factory=lambda: OptimizerSettings(lr=1e-3, weight_decay=0.01))
    loss: TargetLossSettings | list[TargetLossSettings] = Field(
        default_factory=lambda: TargetLossSettings(name="cross_entropy")
    )
    turn: bool = False

    @field_validator("classes", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        """Names, or how many there are."""
        return [str(number) for number in range(value)] if type(value) is int else value

    @model_validator(mode="before")
    @classmethod
    def _masks(cls, value: Any) -> Any:
        """What is to be given are masks, unless it is said otherwise."""
        if isinstance(value, Mapping) and isinstance(value.get("targets"), str):
            folder = value["targets"]
            return {**value, "targets": {_role_name(folder): {"folder": folder, "kind": "mask"}}}
        return value

    @model_validator(mode="after")
    def _has_pairs(self) -> Self:
        if not self.inputs or len(self.targets) != 1:
            raise ConfigError(
                "targets: name a folder of pictures and one of masks, as in inputs=pictures targets=masks"
            )
        (name, role), *_ = self.targets.items()
        if role.kind != "mask":
            raise ConfigError(f"targets.{name}.kind should be 'mask', is {role.kind!r}")
        return self

    @property
    def roles(self) -> dict[str, RoleSettings]:
        return {**self.inputs, **self.targets}

    @property
    def input_names(self) -> list[str]:
        return list(self.inputs)


def _role_name(folder: str) -> str:
    """The last part of a folder's name, as a name."""
    last = folder.rstrip("/").rpartition("/")[2]
    return "".join(c if c.isalnum() or c == "_" else "_" for c in last).strip("_") or "picture"
