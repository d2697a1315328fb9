"""loopwright: you write the loop, loopwright does everything around it.

    import loopwright as lw

Names are imported when they are first used, so that ``import loopwright`` costs nothing and the command line can
answer without torch. The list below is the whole public interface; a test holds it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._by_epoch import ByEpoch as ByEpoch
    from ._checkpoint import read_checkpoint as read_checkpoint
    from ._checkpoints import Checkpoints as Checkpoints
    from ._checkpoints import Entry as Entry
    from ._config import load_config as load_config
    from ._demo import demo_photos as demo_photos
    from ._device import choose_compute as choose_compute
    from ._distributed import is_main as is_main
    from ._errors import CheckpointError as CheckpointError
    from ._errors import ConfigError as ConfigError
    from ._errors import DataError as DataError
    from ._errors import LoopwrightError as LoopwrightError
    from ._errors import MissingExtra as MissingExtra
    from ._errors import NonFiniteError as NonFiniteError
    from ._errors import RunError as RunError
    from ._evaluation import Evaluation as Evaluation
    from ._evaluation import evaluate as evaluate
    from ._exported import Exported as Exported
    from ._exported import export as export
    from ._find_lr import find_lr as find_lr
    from ._fit import Fitted as Fitted
    from ._fit import fit as fit
    from ._fit_batch import BatchFit as BatchFit
    from ._fit_batch import fit_batch as fit_batch
    from ._found_lr import FoundLR as FoundLR
    from ._layer_hooks import LayerValues as LayerValues
    from ._layer_hooks import layer_hooks as layer_hooks
    from ._layer_hooks import record_layers as record_layers
    from ._lr_curve import LRCurve as LRCurve
    from ._metrics import Confusion as Confusion
    from ._metrics import topk_accuracy as topk_accuracy
    from ._nested import map_nested as map_nested
    from ._overlay import overlay as overlay
    from ._picture_metrics import luminance as luminance
    from ._picture_metrics import mae as mae
    from ._picture_metrics import psnr as psnr
    from ._picture_metrics import quantized as quantized
    from ._picture_metrics import ssim as ssim
    from ._predictions import Predictions as Predictions
    from ._predictions import predict as predict
    from ._profile import Profiler as Profiler
    from ._profile import profile as profile
    from ._record import read_metrics as read_metrics
    from ._record import read_run as read_run
    from ._replay import Replayed as Replayed
    from ._replay import replay as replay
    from ._reproduce import Reproduced as Reproduced
    from ._reproduce import reproduce as reproduce
    from ._restored import Restored as Restored
    from ._restored import restore as restore
    from ._restored import segment as segment
    from ._resume import free_folder as free_folder
    from ._run import Run as Run
    from ._seed import seed_everything as seed_everything
    from ._sheet import picture_grid as picture_grid
    from ._sheet import prediction_sheet as prediction_sheet
    from ._stopping import direction_of as direction_of
    from ._summary import LayerSummary as LayerSummary
    from ._summary import Summary as Summary
    from ._summary import summary as summary
    from ._tiled import tiled as tiled
    from ._trained import TrainedModel as TrainedModel
    from ._trained import open_model as open_model
    from ._trained_pictures import TrainedPictures as TrainedPictures
    from ._trained_pictures import open_pictures_model as open_pictures_model
    from ._weights import load_weights as load_weights
    from .augment._by_name import build_mix as build_mix
    from .augment._color import BatchColor as BatchColor
    from .augment._erase import BatchErase as BatchErase
    from .augment._geometry import BatchAffine as BatchAffine
    from .augment._geometry import BatchFlip as BatchFlip
    from .augment._geometry import BatchResizedCrop as BatchResizedCrop
    from .augment._joint import BatchJoint as BatchJoint
    from .augment._mix import CutMix as CutMix
    from .augment._mix import Mixup as Mixup
    from .augment._pipeline import BatchAugment as BatchAugment
    from .augment._pipeline import OneOf as OneOf
    from .augment._rand import BatchRandAugment as BatchRandAugment
    from .augment._random import StepRandom as StepRandom
    from .checks._check import check as check
    from .checks._report import CheckReport as CheckReport
    from .checks._verdict import Verdict as Verdict
    from .data._augment import build_transform as build_transform
    from .data._balance import balanced_weights as balanced_weights
    from .data._cached import Cached as Cached
    from .data._collate import collate as collate
    from .data._data_report import DataReport as DataReport
    from .data._degrade import JPEG as JPEG
    from .data._degrade import AddNoise as AddNoise
    from .data._degrade import Blur as Blur
    from .data._degrade import Degrade as Degrade
    from .data._degrade import Downscale as Downscale
    from .data._degrade import build_degradation as build_degradation
    from .data._folder import ImageFolder as ImageFolder
    from .data._folds import hold_out as hold_out
    from .data._folds import k_fold as k_fold
    from .data._inspect import inspect_data as inspect_data
    from .data._labels import LabelSets as LabelSets
    from .data._loader import Loader as Loader
    from .data._normalize import Normalize as Normalize
    from .data._open import open_data as open_data
    from .data._pack import pack as pack
    from .data._pack import pack_folder as pack_folder
    from .data._packed import Packed as Packed
    from .data._packed_pairs import PackedPairs as PackedPairs
    from .data._pad import PadCollate as PadCollate
    from .data._pad import Padded as Padded
    from .data._pair import PerRole as PerRole
    from .data._paired import PairedFolders as PairedFolders
    from .data._part import Part as Part
    from .data._picture import open_picture as open_picture
    from .data._picture_file import StoredPicture as StoredPicture
    from .data._picture_file import read_stored as read_stored
    from .data._picture_file import write_picture as write_picture
    from .data._role import Role as Role
    from .data._rows import read_table as read_table
    from .data._rows import write_table as write_table
    from .data._shard_stream import ShardStream as ShardStream
    from .data._shard_writer import write_shards as write_shards
    from .data._shards import Shards as Shards
    from .data._statistics import mean_std as mean_std
    from .data._table import Table as Table
    from .data._to_unit import ToUnit as ToUnit
    from .data._transforms import CenterCrop as CenterCrop
    from .data._transforms import Compose as Compose
    from .data._transforms import Flips as Flips
    from .data._transforms import Geometry as Geometry
    from .data._transforms import RandomCrop as RandomCrop
    from .data._transforms import RandomResizedCrop as RandomResizedCrop
    from .data._transforms import Transform as Transform
    from .data._view import View as View
    from .models._build import build_model as build_model
    from .models._dncnn import dncnn as dncnn
    from .models._small_resnet import small_resnet as small_resnet
    from .models._tiled_model import Tiled as Tiled
    from .models._tta import TTA as TTA
    from .models._unet import unet as unet
    from .optim._average import EMA as EMA
    from .optim._average import SWA as SWA
    from .optim._batch_norm import update_batch_norm as update_batch_norm
    from .optim._distill import Distillation as Distillation
    from .optim._distill import distillation_loss as distillation_loss
    from .optim._evaluation_weights import evaluation_weights as evaluation_weights
    from .optim._freeze import Unfreezing as Unfreezing
    from .optim._freeze import freeze as freeze
    from .optim._freeze import unfreeze as unfreeze
    from .optim._groups import param_groups as param_groups
    from .optim._layers import layer_order as layer_order
    from .optim._losses import build_loss as build_loss
    from .optim._of_target import OfTarget as OfTarget
    from .optim._optimizers import build_optimizer as build_optimizer
    from .optim._picture_losses import Perceptual as Perceptual
    from .optim._picture_losses import charbonnier_loss as charbonnier_loss
    from .optim._picture_losses import dice_loss as dice_loss
    from .optim._picture_losses import focal_loss as focal_loss
    from .optim._picture_losses import gradient_loss as gradient_loss
    from .optim._picture_losses import ssim_loss as ssim_loss
    from .optim._schedulers import build_scheduler as build_scheduler
    from .optim._schedulers import steps_per as steps_per
    from .optim._schedulers import takes_metric as takes_metric
    from .optim._schedulers import total_steps as total_steps
    from .optim._several_losses import Losses as Losses
    from .optim._together import Together as Together
    from .recipes._eject import eject as eject
    from .reports._report import Report as Report
    from .reports._write import report as report
    from .sweeps._result import SweepResult as SweepResult
    from .sweeps._sweep import sweep as sweep
    from .trackers._mlflow import MLflow as MLflow
    from .trackers._sync import Synced as Synced
    from .trackers._sync import sync as sync
    from .trackers._tensorboard import TensorBoard as TensorBoard
    from .trackers._tracker import Tracker as Tracker
    from .trackers._wandb import WandB as WandB

__version__ = "0.1.0"

_WHERE = {
    "_by_epoch": ["ByEpoch"],
    "_checkpoint": ["read_checkpoint"],
    "_checkpoints": ["Checkpoints", "Entry"],
    "_config": ["load_config"],
    "_demo": ["demo_photos"],
    "_distributed": ["is_main"],
    "_device": ["choose_compute"],
    "_errors": [
        "CheckpointError", "ConfigError", "DataError", "LoopwrightError", "MissingExtra", "NonFiniteError",
        "RunError",
    ],
    "_evaluation": ["Evaluation", "evaluate"],
    "_exported": ["Exported", "export"],
    "_find_lr": ["find_lr"],
    "_fit": ["Fitted", "fit"],
    "_fit_batch": ["BatchFit", "fit_batch"],
    "_found_lr": ["FoundLR"],
    "_layer_hooks": ["LayerValues", "layer_hooks", "record_layers"],
    "_lr_curve": ["LRCurve"],
    "_metrics": ["Confusion", "topk_accuracy"],
    "_nested": ["map_nested"],
    "_overlay": ["overlay"],
    "_picture_metrics": ["luminance", "mae", "psnr", "quantized", "ssim"],
    "_predictions": ["Predictions", "predict"],
    "_profile": ["Profiler", "profile"],
    "_record": ["read_metrics", "read_run"],
    "_replay": ["Replayed", "replay"],
    "_reproduce": ["Reproduced", "reproduce"],
    "_restored": ["Restored", "restore", "segment"],
    "_resume": ["free_folder"],
    "_run": ["Run"],
    "_seed": ["seed_everything"],
    "_sheet": ["picture_grid", "prediction_sheet"],
    "_stopping": ["direction_of"],
    "_summary": ["LayerSummary", "Summary", "summary"],
    "_tiled": ["tiled"],
    "_trained": ["TrainedModel", "open_model"],
    "_trained_pictures": ["TrainedPictures", "open_pictures_model"],
    "_weights": ["load_weights"],
    "augment._by_name": ["build_mix"],
    "augment._color": ["BatchColor"],
    "augment._erase": ["BatchErase"],
    "augment._geometry": ["BatchAffine", "BatchFlip", "BatchResizedCrop"],
    "augment._joint": ["BatchJoint"],
    "augment._mix": ["CutMix", "Mixup"],
    "augment._pipeline": ["BatchAugment", "OneOf"],
    "augment._rand": ["BatchRandAugment"],
    "augment._random": ["StepRandom"],
    "checks._check": ["check"],
    "checks._report": ["CheckReport"],
    "checks._verdict": ["Verdict"],
    "data._augment": ["build_transform"],
    "data._balance": ["balanced_weights"],
    "data._cached": ["Cached"],
    "data._collate": ["collate"],
    "data._data_report": ["DataReport"],
    "data._degrade": ["AddNoise", "Blur", "Degrade", "Downscale", "JPEG", "build_degradation"],
    "data._folder": ["ImageFolder"],
    "data._folds": ["hold_out", "k_fold"],
    "data._inspect": ["inspect_data"],
    "data._labels": ["LabelSets"],
    "data._loader": ["Loader"],
    "data._normalize": ["Normalize"],
    "data._open": ["open_data"],
    "data._pack": ["pack", "pack_folder"],
    "data._packed": ["Packed"],
    "data._packed_pairs": ["PackedPairs"],
    "data._pad": ["PadCollate", "Padded"],
    "data._pair": ["PerRole"],
    "data._paired": ["PairedFolders"],
    "data._part": ["Part"],
    "data._picture": ["open_picture"],
    "data._picture_file": ["StoredPicture", "read_stored", "write_picture"],
    "data._role": ["Role"],
    "data._rows": ["read_table", "write_table"],
    "data._shard_stream": ["ShardStream"],
    "data._shard_writer": ["write_shards"],
    "data._shards": ["Shards"],
    "data._statistics": ["mean_std"],
    "data._table": ["Table"],
    "data._to_unit": ["ToUnit"],
    "data._transforms": ["CenterCrop", "Compose", "Flips", "Geometry", "RandomCrop", "RandomResizedCrop", "Transform"],
    "data._view": ["View"],
    "models._build": ["build_model"],
    "models._dncnn": ["dncnn"],
    "models._small_resnet": ["small_resnet"],
    "models._tiled_model": ["Tiled"],
    "models._tta": ["TTA"],
    "models._unet": ["unet"],
    "optim._average": ["EMA", "SWA"],
    "optim._batch_norm": ["update_batch_norm"],
    "optim._distill": ["Distillation", "distillation_loss"],
    "optim._evaluation_weights": ["evaluation_weights"],
    "optim._freeze": ["Unfreezing", "freeze", "unfreeze"],
    "optim._groups": ["param_groups"],
    "optim._layers": ["layer_order"],
    "optim._losses": ["build_loss"],
    "optim._of_target": ["OfTarget"],
    "optim._optimizers": ["build_optimizer"],
    "optim._picture_losses": ["Perceptual", "charbonnier_loss", "dice_loss", "focal_loss", "gradient_loss", "ssim_loss"],
    "optim._schedulers": ["build_scheduler", "steps_per", "takes_metric", "total_steps"],
    "optim._several_losses": ["Losses"],
    "optim._together": ["Together"],
    "recipes._eject": ["eject"],
    "reports._report": ["Report"],
    "reports._write": ["report"],
    "sweeps._result": ["SweepResult"],
    "sweeps._sweep": ["sweep"],
    "trackers._mlflow": ["MLflow"],
    "trackers._sync": ["Synced", "sync"],
    "trackers._tensorboard": ["TensorBoard"],
    "trackers._tracker": ["Tracker"],
    "trackers._wandb": ["WandB"],
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}

__all__ = sorted(_MODULE_OF)  # type: ignore[reportUnsupportedDunderAll] - computed from the one list


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'loopwright' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"loopwright.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
