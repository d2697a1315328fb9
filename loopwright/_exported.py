"""``export``: a run's model as a file for other programs, compared with the module before the file exists."""

import contextlib
import io
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from ._errors import ConfigError, DataError, MissingExtra
from ._exported_model import ExportedModel, Form, of_classifier, of_pictures
from ._files import replace_file
from ._names import did_you_mean
from ._trained import TrainedModel, open_model
from ._trained_pictures import TASKS, TrainedPictures, open_pictures_model, task_of

Format = Literal["safetensors", "torch", "onnx"]
ENDINGS: dict[Format, str] = {"safetensors": ".safetensors", "torch": ".pt2", "onnx": ".onnx"}
Computes = Callable[[Sequence[Tensor]], list[Tensor]]  # from inputs to outputs
METADATA = "loopwright"  # the name under which a file holds its facts, as JSON
TOLERANCE = 1e-4  # of the largest absolute logit: float32 in another order of additions differs by some 1e-6


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
            else f"outputs differ by at most {self.difference:.2g} ({self.tolerance:.2g} is allowed), {self.pictures}"
        )
        lines = [f"weights    {facts['checkpoint']} of run {facts['run']}", f"same       {same}"]
        if self.format != "safetensors":
            lines += [f"input      {name}: {what}" for name, what in facts["program"]["inputs"].items()]
            lines += [f"output     {name}: {what}" for name, what in facts["program"]["outputs"].items()]
        return "\n".join([*lines, f"written    {self.path} ({size:.1f} MiB, {self.format})"])


def export(
    run: str | Path | TrainedModel | TrainedPictures,
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

    Programs of classifiers take any number of pictures of the run's ``image_size``, cropped as ``lw.CenterCrop`` does; those
    of ``task: restore`` and ``segment`` any number of pictures of any size where the network can be followed so, else of
    sizes that are multiples of 32, else of ``image_size``, which is said. Names, sizes, mean, standard deviation, the run's
    id and its commit are in the file, as JSON under ``loopwright``.

    Args:
        run: its folder, or what ``open_model`` or ``open_pictures_model`` gave.
        out: the file. Default: ``model.safetensors``, ``model.pt2`` or ``model.onnx`` in the run's folder.
        format: default: by the ending of ``out``, else ``"safetensors"``.
        normalize: the program takes uint8 pictures 0..255 and normalises them itself; without, normalised float32, which
            are shares of 0..1 for ``task: restore``.
        checkpoint, trust: of ``open_model``.
        tolerance: largest difference of logits that is let pass, as a share of the largest absolute logit.

    Raises:
        DataError: the exported model computes other numbers, or cannot be exported; no file is written.
        MissingExtra: a package is not installed.
        ConfigError, RunError, CheckpointError: as their names say.
    """
    trained = run if isinstance(run, TrainedModel | TrainedPictures) else _opened(run, checkpoint, trust)
    chosen = _format(out, format)
    path = Path(out) if out is not None else trained.folder / f"model{ENDINGS[chosen]}"
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent} to write it in")
    if normalize and chosen == "safetensors":
        raise ConfigError("normalize= is for programs: safetensors holds weights and computes nothing")
    trained.model.to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    facts = trained.facts()
    if chosen == "safetensors":
        content = _safetensors(trained.model, facts)
        difference, allowed, compared = 0.0, 0.0, "all weights"
    else:
        if chosen == "onnx":
            _onnx_packages()
        of_classes = isinstance(trained, TrainedModel)
        model = of_classifier(trained, normalize) if of_classes else of_pictures(trained, normalize)
        content, facts, difference, allowed = _program(model, chosen, tolerance)
        compared = model.compared
    replace_file(path, content)
    return Exported(path, chosen, facts, difference, allowed, compared)


def _opened(run: str | Path, checkpoint: str | None, trust: bool) -> TrainedModel | TrainedPictures:
    if task_of(run) in TASKS:
        return open_pictures_model(run, checkpoint, trust=trust)
    return open_model(run, checkpoint, trust=trust)


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


def _program(model: ExportedModel, chosen: Format, tolerance: float) -> tuple[bytes, Mapping[str, Any], float, float]:
    """The file's content and facts, the largest difference, and what is allowed: of the first of its forms that can be."""
    for number, form in enumerate(model.forms):
        try:
            return _attempt(model, form, chosen, tolerance)
        except DataError:
            if number + 1 == len(model.forms):
                raise
    raise AssertionError("a model has a form")


def _attempt(
    model: ExportedModel, form: Form, chosen: Format, tolerance: float
) -> tuple[bytes, Mapping[str, Any], float, float]:
    """The same of one form; ``DataError`` where it cannot be, or computes other numbers."""
    facts = {**model.facts, "program": form.described}
    with _quietly():
        content, computes = (_torch if chosen == "torch" else _onnx)(model, form, facts)
    differences, allowed = [], 0.0
    for given in form.examples:
        with torch.no_grad():
            expected = _tensors(model.module(*given))
        allowed = max(allowed, tolerance * max(1.0, *(float(tensor.abs().max()) for tensor in expected)))
        try:
            found = computes(given)
        except Exception as error:  # programs refuse sizes in many ways
            sizes = ", ".join(str(tuple(part.shape)) for part in given)
            raise DataError(f"the exported model cannot compute {sizes}: {str(error)[:300]}") from error
        differences += [_difference(one, other) for one, other in zip(found, expected, strict=True)]
    difference = max(differences, key=_worst)
    if not difference <= allowed:  # NaN is none
        raise DataError(
            f"the exported model's outputs differ from the module's by up to {difference:.3g}; {allowed:.3g} is allowed "
            f"(tolerance {tolerance:g}), {model.compared}. Nothing was written. Does its forward draw random numbers, or "
            "depend on values of the pictures?"
        )
    return content, facts, difference, allowed


def _worst(difference: float) -> float:
    """NaN is the worst."""
    return float("inf") if difference != difference else difference


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max()) if one.shape == other.shape else float("inf")


def _tensors(result: Any) -> list[Tensor]:
    """The outputs, as a program gives them."""
    if isinstance(result, Mapping):
        return [*result.values()]
    return [result] if isinstance(result, Tensor) else [*result]


def _torch(model: ExportedModel, form: Form, facts: Mapping[str, Any]) -> tuple[bytes, Computes]:
    program = _exported(model, form)
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={f"{METADATA}.json": json.dumps(facts)})
    loaded = torch.export.load(io.BytesIO(file.getvalue())).module()
    return file.getvalue(), lambda given: [tensor.detach() for tensor in _tensors(loaded(*given))]


def _exported(model: ExportedModel, form: Form) -> torch.export.ExportedProgram:
    try:
        # The argument is called as the module's forward calls it: a list of shapes says it by its place.
        return torch.export.export(model.module, form.examples[0], dynamic_shapes=form.shapes, strict=False)
    except Exception as error:  # torch raises many kinds for a forward that it cannot trace
        raise DataError(
            f"torch.export cannot follow the {type(model.module).__name__}: {str(error).strip()[:600]}\nFormat "
            "safetensors has its weights all the same"
        ) from error


def _onnx(model: ExportedModel, form: Form, facts: Mapping[str, Any]) -> tuple[bytes, Computes]:
    onnxruntime = _onnx_packages()
    program = torch.onnx.export(
        _exported(model, form), input_names=model.inputs, output_names=model.outputs, dynamo=True, verbose=False
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

    def computes(given: Sequence[Tensor]) -> list[Tensor]:
        named = {name: tensor.numpy() for name, tensor in zip(model.inputs, given, strict=True)}
        return [torch.from_numpy(np.array(value)) for value in session.run(model.outputs, named)]

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
