"""The lines of the ejected program of ``task: restore`` and ``segment``, where they are not those of a classifier."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._code import Block, Line, Name, Statement
from ..data._degrade import find_degradation
from ..data._normalize import Normalize
from ..models._build import find_model, names
from ._ejected_loop import autocast, contexts, judging_lines, step_lines
from ._ejected_names import (
    LOSS,
    LW,
    MODEL,
    OUTPUT,
    TAKEN,
    is_weighted,
    judged,
    own,
    stepped_with,
    unless_default,
    weights_change,
)
from ._ejected_pieces import criterion_lines, loss_name, optimizer_lines, scheduler_lines
from ._pairs import PACK, PairSettings, in_channels, to_floats
from ._picture_settings import WORSE, DegradeSettings, RestoreSettings, RoleSettings, SegmentSettings
from ._segment import ignoring

SETTINGS = frozenset({
    "task", "trackers", "data", "run", "model", "image_size", "epochs", "batch_size", "workers", "seed", "device",
    "precision", "save_every", "optimizer", "scheduler", "loss", "ema", "freeze", "weights", "accumulate", "clip",
    "drop_last", "holdout", "patience", "on_error", "deterministic", "nonfinite", "pictures",
    "inputs", "targets", "crops", "flip", "turn", "pad", "tile", "overlap", "cache", "degrade", "border", "luminance",
    "classes", "ignore",
})  # fmt: skip
BATCH, TARGET, NORMALIZE = Name("batch"), Name("target"), Name("normalize")


def refused(s: PairSettings) -> Iterator[str]:
    """What no loop is written for."""
    if len(s.target_names) > 1:
        yield "targets: eject writes loops of one target; docs/image-to-image.md has the loop of several"
    for name in (*s.input_names, *s.target_names):
        if not name.isidentifier():
            yield f"inputs: {name!r} is no name in Python: name the role, as in {{noisy: folder}}"


def best_of(s: PairSettings) -> str:
    """The metric whose best checkpoint is kept."""
    return "val/pixels/mean_iou" if isinstance(s, SegmentSettings) else "val/psnr"


def with_ignored(s: PairSettings) -> PairSettings:
    """The settings with the label that does not count among the losses' arguments."""
    return s.model_copy(update={"loss": ignoring(s)}) if isinstance(s, SegmentSettings) else s


# ---- data -------------------------------------------------------------------------------------------------------------


def data_lines(s: PairSettings) -> Iterator[Line]:
    """The two parts of the data."""
    packed = (Path(s.data) / f"train{PACK}").is_file()
    if not packed:
        yield Statement("roles = ", {name: _role(role) for name, role in s.roles.items()})
    for split in ("train", "val"):
        options = unless_default(s, "holdout", "on_error")
        made = LW.PairedFolders(s.data, split, Name("**roles"), **options)
        if packed:
            made = LW.open_data(s.data, split)
        elif s.cache is not None:
            where = s.cache if s.cache in ("memory", "disk") else str(Path(s.cache) / split)
            made = LW.Cached(made, where)
        yield Statement(f"{split} = ", made)


def _role(role: RoleSettings) -> Any:
    kind = [] if role.kind == "picture" else [role.kind]
    defaults = {"prefix": "", "suffix": "", "scale": 1}
    options = {key: getattr(role, key) for key, value in defaults.items() if getattr(role, key) != value}
    return LW.Role(role.folder, *kind, **options)


def _loader_lines(s: PairSettings) -> Iterator[Line]:
    normal = {
        name: LW.Normalize() if isinstance(how, Normalize) else LW.ToUnit(*(["last"] if how.channels == "last" else []))
        for name, how in to_floats(s).items()
    }
    yield Statement("normalize = ", normal)
    options = unless_default(s, "workers", "on_error")
    samples = Name("train")
    if s.crops > 1:
        yield Statement("samples = ", LW.Part(samples, Name(f"[*range(len(train))] * {s.crops}")))
        samples = Name("samples")
    crop = {**({} if s.flip else {"flip": 0.0}), **({"turn": True} if s.turn else {})}
    crop |= {"pad": s.pad} if s.pad is not None else {}
    yield Statement(
        "train_loader = ",
        LW.Loader(
            samples, s.batch_size, transform=LW.RandomCrop(s.image_size, **crop), **_worse(s), shuffle=True,
            normalize=NORMALIZE, **unless_default(s, "drop_last"), **options,
        ),
    )  # fmt: skip
    whole = LW.Loader(Name("val"), 1, **_worse(s, fixed=s.seed), normalize=NORMALIZE, **options)
    yield Statement("val_loader = ", whole)


def _worse(s: PairSettings, **fixed: int) -> dict[str, Any]:
    if not isinstance(s, RestoreSettings) or not s.degrade:
        return {}
    source = {} if s.target_names == ["target"] else {"source": s.target_names[0]}
    return {"sample_transform": LW.Degrade([_degradation(step) for step in s.degrade], **source, **fixed)}


def _degradation(step: DegradeSettings) -> Any:
    made = own(step.name) if ":" in step.name else getattr(LW, find_degradation(step.name).__name__)
    return made(**step.arguments)


# ---- what trains ------------------------------------------------------------------------------------------------------


def piece_lines(s: PairSettings) -> Iterator[Line]:
    """All that the loop uses, and what of it must survive."""
    yield from _loader_lines(s)
    yield Statement("model = ", Name("run.prepare")(_model(s)))
    if s.weights is not None:
        yield Statement("print(", LW.load_weights(MODEL, s.weights, strict=False), ")")
    if s.freeze:
        yield Statement("", LW.freeze(MODEL, *([s.freeze] if isinstance(s.freeze, str) else s.freeze)))
    for part in (optimizer_lines, scheduler_lines, criterion_lines):
        yield from part(s)
    if s.ema is not None:
        yield Statement("ema = ", LW.EMA(MODEL, s.ema.decay, **({} if s.ema.warmup else {"warmup": False})))
    if s.tiles:
        yield Statement("parts = ", LW.Tiled(MODEL, **s.tiles))
    if isinstance(s, SegmentSettings):
        ignored = {} if s.ignore is None else {"ignore_index": s.ignore}
        yield Statement("pixels = ", LW.Confusion(len(s.classes), s.classes, **ignored))
    scheduler = {} if stepped_with(s) is None else {"scheduler": Name("scheduler")}
    average = {} if s.ema is None else {"ema": Name("ema")}
    yield Statement("", Name("run.register")(model=MODEL, optimizer=Name("optimizer"), **scheduler, **average))
    if ":" in s.model.name:
        yield Block("if not model.training:", ["model.train()"])


def _model(s: PairSettings) -> Any:
    function, source = find_model(s.model.name)
    segment = isinstance(s, SegmentSettings)
    outputs = len(s.classes) if segment else sum(s.roles[name].planes for name in s.target_names)
    offered = {"in_channels": in_channels(s), "out_channels": outputs} | ({"num_classes": outputs} if segment else {})
    given = {**{key: value for key, value in offered.items() if names(function, key)}, **s.model.arguments}
    if ":" in s.model.name:
        return own(s.model.name)(**given)
    return getattr(LW, s.model.name)(**given) if source == "own" else LW.build_model(s.model.name, **given)


def epoch_lines(s: PairSettings) -> Block:
    """The loop over epochs, and all that is in it."""
    body: list[Line] = ["losses.at(epoch=epoch)"] if weights_change(s) else []
    body += [_training(s), _validation(s), *judging_lines(s, best_of(s))]
    name = "epoch" if weights_change(s) else "_"
    return Block(Statement(f"for {name} in ", Name("run.epochs")(s.epochs), ":"), body)


def _part(name: str) -> Name:
    return Name(f'batch["{name}"]')


def _logged(s: PairSettings) -> tuple[list[Name], dict[str, Any]]:
    """What ``run.log`` is given of the loss: several by their names."""
    return ([Name("losses.values")], {}) if is_weighted(s) else ([], {"loss": LOSS})


def _training(s: PairSettings) -> Block:
    made, target = MODEL(*map(_part, s.input_names)), _part(s.target_names[0])
    computed = Statement("loss = ", loss_name(s)(made, target))
    unnamed, named = _logged(s)
    log = Statement("", Name("run.log")(*unnamed, **named))
    body = [*autocast(s, computed), *step_lines(s), log]
    return Block("for batch in run.batches(train_loader):", body)


def _validation(s: PairSettings) -> Block:
    target = s.target_names[0]
    lines: list[Line] = [
        Statement("output = ", judged(s)(*map(_part, s.input_names))),
        Statement("target = ", _part(target)),
    ]
    unnamed, named = _logged(s)
    lines.append(Statement("loss = " if named else "", loss_name(s)(OUTPUT, TARGET)))
    if isinstance(s, SegmentSettings):
        lines += ["pixels.update(output, target)"]
        measured: dict[str, Any] = {"pixels": Name("pixels")}
    else:
        written = "output.float()" if s.roles[target].kind == "raw" else "lw.quantized(output)"
        lines.append(f"written = {written}")
        options: dict[str, Any] = {"border": s.border} if s.border else {}
        options |= {"luminance": True} if s.luminance and s.roles[target].planes == 3 else {}
        measured = {name: getattr(LW, name)(Name("written"), TARGET, **options) for name in ("psnr", "ssim", "mae")}
    lines.append(Statement("", Name("run.log")(*unnamed, **named, **measured)))
    body = autocast(s, *lines)
    if s.pictures and _can_be_shown(s):
        most = {} if s.pictures == 16 else {"most": s.pictures}
        shown = Name("run.log_images")("val/samples", _part(s.input_names[0]), output=OUTPUT, target=TARGET, **most)
        body = [*body, Statement("", shown)]
    loop = Block("for batch in run.batches(val_loader):", body)
    return Block(Statement("with ", contexts(s), ":"), [loop])


def _can_be_shown(s: PairSettings) -> bool:
    """As ``fit`` shows them: of 1, 3 or 4 channels."""
    shown = [s.roles[name] for name in (s.input_names[0], *s.target_names[:1]) if name in s.roles]
    return all(role.kind == "mask" or role.planes in (1, 3, 4) for role in shown)


def result_lines(s: PairSettings) -> Iterator[Line]:
    """What is said in the end."""
    best = best_of(s)
    shown = f"print(f\"best: {{best.metrics['{best}']:.4g}} in checkpoint {{best.name}}\")"
    yield Block(Statement("if best := ", Name("run.checkpoints.best")(best), ":"), [shown])


assert WORSE == "input"  # the program takes it by Degrade's default
assert {"batch", "target", "parts", "pixels"} <= TAKEN
