"""``export``: a run's model as a file for other programs, compared with the module before the file exists."""

import contextlib
import io
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from ._demo import demo_photos
from ._errors import ConfigError, DataError, LoopwrightError, MissingExtra
from ._files import replace_file
from ._names import did_you_mean
from ._trained import TrainedModel, data_of, held_out, open_model
from .data._gathered import Gathered
from .data._loader import Loader
from .data._open import open_data

Format = Literal["safetensors", "torch", "onnx"]
ENDINGS: dict[Format, str] = {"safetensors": ".safetensors", "torch": ".pt2", "onnx": ".onnx"}
INPUT, OUTPUT = "pictures", "logits"
METADATA = "loopwright"  # the name under which a file holds its facts, as JSON
TOLERANCE = 1e-4  # of the largest absolute logit: float32 in another order of additions differs by some 1e-6
PICTURES = 8  # that are compared, together and the first one alone


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how far its numbers are from the module's."""

    path: Path
    format: Format
    facts: Mapping[str, Any]  # what the file says of itself
    difference: float  # the largest, of logits; of safetensors 0: the weights are bit for bit the same
    tolerance: float
    pictures: str  # what was compared

    def text(self) -> str:
        """For a terminal."""
        size = self.path.stat().st_size / 2**20
        facts = self.facts
        same = (
            "every weight is bit for bit the same"
            if self.format == "safetensors"
            else f"logits differ by at most {self.difference:.2g} ({self.tolerance:.2g} is allowed), {self.pictures}"
        )
        lines = [f"weights    {facts['checkpoint']} of run {facts['run']}", f"same       {same}"]
        if self.format != "safetensors":
            lines.append(f"input      {INPUT}: {facts['input']}")
            lines.append(f"output     {OUTPUT}: float32 (N, {len(facts['classes'])}); softmax gives probabilities")
        return "\n".join([*lines, f"written    {self.path} ({size:.1f} MiB, {self.format})"])


class Normalized(nn.Module):
    """A model behind its normalisation: uint8 pictures (N, 3, H, W) to logits."""

    scale: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.model = model
        mean_64, std_64 = (torch.tensor(v, dtype=torch.float64).view(1, -1, 1, 1) for v in (mean, std))
        self.register_buffer("scale", (1 / (255 * std_64)).float())
        self.register_buffer("shift", (-mean_64 / std_64).float())

    def forward(self, pictures: Tensor) -> Tensor:
        return self.model(pictures.to(torch.float32) * self.scale + self.shift)


def export(
    run: str | Path | TrainedModel,
    out: str | Path | None = None,
    *,
    format: Format | None = None,
    normalize: bool = False,
    checkpoint: str | None = None,
    tolerance: float = TOLERANCE,
    trust: bool = False,
) -> Exported:
    """Write a run's model to a file that needs no loopwright, after comparing the two on real pictures.

    - ``"safetensors"``: the weights alone; ``lw.load_weights`` and others read them, bit for bit the same.
    - ``"torch"``: a program of ``torch.export``, for ``torch.export.load`` and AOTInductor.
    - ``"onnx"``: for ONNX Runtime and others; the extra ``onnx``.

    Programs take any number of pictures of the run's ``image_size``, cropped as ``lw.CenterCrop`` does. Class names, size,
    mean, standard deviation, the run's id and its commit are in the file, as JSON under ``loopwright``.

    Args:
        run: its folder, or what ``open_model`` gave.
        out: the file. Default: ``model.safetensors``, ``model.pt2`` or ``model.onnx`` in the run's folder.
        format: default: by the ending of ``out``, else ``"safetensors"``.
        normalize: the program takes uint8 pictures 0..255 and normalises them itself; without, normalised float32.
        checkpoint, trust: of ``open_model``.
        tolerance: largest difference of logits that is let pass, as a share of the largest absolute logit.

    Raises:
        DataError: the exported model computes other numbers, or cannot be exported; no file is written.
        MissingExtra: a package is not installed.
        ConfigError, RunError, CheckpointError: as their names say.
    """
    trained = run if isinstance(run, TrainedModel) else open_model(run, checkpoint, trust=trust)
    chosen = _format(out, format)
    path = Path(out) if out is not None else trained.folder / f"model{ENDINGS[chosen]}"
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent} to write it in")
    if normalize and chosen == "safetensors":
        raise ConfigError("normalize= is for programs: safetensors holds weights and computes nothing")
    facts = _facts(trained, normalize)
    trained.model.to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    if chosen == "safetensors":
        content = _safetensors(trained.model, facts)
        difference, allowed, compared = 0.0, 0.0, "all weights"
    else:
        content, difference, allowed, compared = _program(trained, chosen, facts, normalize, tolerance)
    replace_file(path, content)
    return Exported(path, chosen, facts, difference, allowed, compared)


def _format(out: str | Path | None, asked: str | None) -> Format:
    if asked is None:
        return "safetensors" if out is None else _format_of(Path(out))
    if asked not in ENDINGS:
        question = did_you_mean(asked, ENDINGS)
        raise ConfigError(f"there is no format {asked!r}: {question or 'write ' + ', '.join(ENDINGS)}")
    return cast(Format, asked)


def _format_of(path: Path) -> Format:
    for kind, ending in ENDINGS.items():
        if path.suffix.lower() == ending:
            return kind
    raise ConfigError(f"{path}: the ending says no format: write {', '.join(ENDINGS.values())}, or say format=")


def _facts(trained: TrainedModel, normalize: bool) -> dict[str, Any]:
    size = trained.image_size
    kind = "uint8 0..255" if normalize else "float32, normalised with mean and std after division by 255"
    return trained.facts() | {"input": f"(N, 3, {size}, {size}), RGB, {kind}", "normalizes": normalize}


# ---- weights -------------------------------------------------------------------------------------------------------


def _safetensors(model: nn.Module, facts: Mapping[str, Any]) -> bytes:
    try:
        from safetensors.torch import load, save
    except ImportError:
        raise MissingExtra("safetensors", "export to safetensors", "safetensors") from None
    # Cloned: tensors that share memory, such as tied weights, are refused by the format.
    state = {name: tensor.detach().contiguous().clone() for name, tensor in model.state_dict().items()}
    content = save(state, metadata={"format": "pt", METADATA: json.dumps(facts)})
    back = load(content)
    wrong = [name for name, tensor in state.items() if name not in back or not _same_bits(tensor, back[name])]
    if wrong or len(back) != len(state):
        raise DataError(f"safetensors gave other weights back: {', '.join(wrong[:5])}; nothing was written")
    return content


def _same_bits(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    pairs = (tensor.contiguous().view(-1).view(torch.uint8) for tensor in (one, other))
    return torch.equal(*pairs)


# ---- programs ------------------------------------------------------------------------------------------------------


def _program(
    trained: TrainedModel, chosen: Format, facts: Mapping[str, Any], normalize: bool, tolerance: float
) -> tuple[bytes, float, float, str]:
    """The file's content, the largest difference, what is allowed, and on which pictures."""
    pictures, compared = _real_pictures(trained)
    mean, std = trained.normalize.mean, trained.normalize.std
    module = Normalized(trained.model, mean, std).eval() if normalize else trained.model
    given = pictures if normalize else trained.normalize(pictures)
    with _quietly():
        content, computes = (_torch if chosen == "torch" else _onnx)(module, given, facts)
    with torch.no_grad():
        expected = [module(part) for part in (given, given[:1])]
    allowed = tolerance * max(1.0, float(expected[0].abs().max()))
    difference = max(
        _difference(computes(part), logits) for part, logits in zip((given, given[:1]), expected, strict=True)
    )
    if not difference <= allowed:  # NaN is none
        raise DataError(
            f"the exported model's logits differ from the module's by up to {difference:.3g}; {allowed:.3g} is allowed "
            f"(tolerance {tolerance:g}), {compared}. Nothing was written. Does its forward draw random numbers, or depend "
            "on values of the pictures?"
        )
    return content, difference, allowed, compared


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max()) if one.shape == other.shape else float("inf")


def _real_pictures(trained: TrainedModel) -> tuple[Tensor, str]:
    """A uint8 batch of pictures of the run's data, or of the demo where that is gone."""
    folder = data_of(trained.folder, trained.settings)
    try:
        data = None if folder is None else open_data(folder, "val", **held_out(trained.settings), on_error="skip")
    except LoopwrightError:
        data = None
    where = f"{PICTURES} pictures of {folder}" if data is not None else f"{PICTURES} pictures of the demo"
    dataset = data if data is not None else Gathered(demo_photos() / "val")
    step = max(1, len(dataset) // PICTURES)
    loader = Loader(
        dataset, PICTURES, transform=trained.transform, workers=0, sampler=range(0, len(dataset), step), on_error="skip"
    )
    return next(iter(loader.epoch_batches(0)))[0].contiguous(), f"on {where}"


def _torch(module: nn.Module, given: Tensor, facts: Mapping[str, Any]) -> tuple[bytes, Callable[[Tensor], Tensor]]:
    program = _exported(module, given)
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={f"{METADATA}.json": json.dumps(facts)})
    loaded = torch.export.load(io.BytesIO(file.getvalue())).module()
    return file.getvalue(), lambda pictures: loaded(pictures).detach()


def _exported(module: nn.Module, given: Tensor) -> torch.export.ExportedProgram:
    shapes = {INPUT: {0: torch.export.Dim("batch", min=1)}}
    try:
        # The argument is called as the module's forward calls it: a list of shapes says it by its place.
        return torch.export.export(module, (given,), dynamic_shapes=(shapes[INPUT],), strict=False)
    except Exception as error:  # torch raises many kinds for a forward that it cannot trace
        raise DataError(
            f"torch.export cannot follow the {type(module).__name__}: {str(error).strip()[:600]}\nFormat safetensors has "
            "its weights all the same"
        ) from error


def _onnx(module: nn.Module, given: Tensor, facts: Mapping[str, Any]) -> tuple[bytes, Callable[[Tensor], Tensor]]:
    onnxruntime = _onnx_packages()
    program = torch.onnx.export(
        _exported(module, given), input_names=[INPUT], output_names=[OUTPUT], dynamo=True, verbose=False
    )
    assert program is not None
    program.model.metadata_props[METADATA] = json.dumps(facts)
    try:
        content = program.model_proto.SerializeToString()
    except ValueError as error:  # protobuf's limit
        raise DataError(f"the model is larger than the 2 GiB of an ONNX file ({error}): take torch") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def computes(pictures: Tensor) -> Tensor:
        return torch.from_numpy(np.array(session.run([OUTPUT], {INPUT: pictures.numpy()})[0]))

    return content, computes


def _onnx_packages() -> Any:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(package)
        except ImportError:
            raise MissingExtra(package, "export to ONNX", "onnx") from None
    import onnxruntime  # type: ignore[reportMissingImports]

    return onnxruntime


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """What the exporters print is for their authors; what they cannot do is an error."""
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        warnings.simplefilter("ignore")
        yield
