"""``eject``: the loop that a configuration stands for, as a program that its user owns. Builds and trains nothing.

``_ejected_pieces`` and ``_ejected_loop`` write the lines, each function those of one part of the configuration, with the
values in them; what the configuration does not use is not there. ``SETTINGS`` are those that have a rule; any other one is
refused where it is set.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .._code import Block, Line, Name, Statement, lay_out, needed
from .._demo import demo_photos
from .._errors import ConfigError
from . import _ejected_pictures
from ._ejected_loop import epoch_lines, result_lines, run_line
from ._ejected_names import default, takes_closure
from ._ejected_pieces import data_lines, piece_lines
from ._pairs import PairSettings
from ._picture_settings import RestoreSettings, SegmentSettings
from ._settings import TrainSettings

SETTINGS = frozenset({
    "trackers",
    "data", "run", "model", "image_size", "epochs", "batch_size", "workers", "seed", "device", "precision", "save_every",
    "optimizer", "scheduler", "loss", "augment", "mix", "ema", "swa", "tta", "distill", "freeze", "unfreeze", "weights",
    "accumulate", "clip", "drop_last", "holdout", "patience", "on_error", "deterministic", "nonfinite",
    "pictures", "parallel", "table",
})  # fmt: skip


def eject(settings: TrainSettings | PairSettings) -> str:
    """The program that trains as ``loopwright train`` does with these settings, bit for bit, of whichever task.

    Raises:
        ConfigError: a setting that no plain loop can be written for, named; settings that exclude each other.

    >>> print(eject(TrainSettings(data="photos", epochs=5)).splitlines()[0])
    \"""Train resnet18 on photos.
    """
    _check(settings)
    pictures = isinstance(settings, RestoreSettings | SegmentSettings)
    lines: Any = _ejected_pictures if pictures else _Classifier
    s: Any = _ejected_pictures.with_ignored(settings) if pictures else settings
    program: list[Line] = [
        Statement("EJECTED_FROM = ", _given(settings)),
        "",
        "",
        Block(
            Statement("def main(", Name(f"folder: str = {_folder(settings)}"), ") -> None:"),
            [
                *lines.data_lines(s),
                "",
                Block(run_line(s), [*lines.piece_lines(s), "", lines.epoch_lines(s)]),
                "",
                *lines.result_lines(s),
            ],
        ),
        "",
        "",
        Block('if __name__ == "__main__":', [Statement("main(*", Name("sys.argv[1:]", "import sys"), ")")]),
    ]
    return "\n".join([*_head(settings), "", *_imports(program), "", *lay_out(program), ""])


class _Classifier:
    """The lines of a classifier's program."""

    data_lines, piece_lines, epoch_lines = (
        staticmethod(data_lines),
        staticmethod(piece_lines),
        staticmethod(epoch_lines),
    )

    @staticmethod
    def result_lines(_: TrainSettings) -> Iterable[Line]:
        return result_lines()


def _check(s: Any) -> None:
    pictures = isinstance(s, RestoreSettings | SegmentSettings)
    given = s.model_fields_set - (_ejected_pictures.SETTINGS if pictures else SETTINGS)
    unknown = sorted(key for key in given if getattr(s, key) != default(type(s), key))
    if unknown:
        raise ConfigError(
            "\n".join(f"{key}: eject cannot write this setting as a loop: leave it out" for key in unknown)
        )
    if pictures and takes_closure(s):
        raise ConfigError(f"optimizer: eject writes no loop with LBFGS for task: {s.task}")
    if pictures and (reasons := [*_ejected_pictures.refused(s)]):
        raise ConfigError("\n".join(reasons))
    if takes_closure(s) and (s.accumulate != 1 or s.clip is not None or s.precision == "fp16"):
        raise ConfigError("LBFGS measures the loss several times a step: accumulate, clip and fp16 are not for it")


# ---- the head ---------------------------------------------------------------------------------------------------------


def _head(s: Any) -> list[str]:
    where = f" on {s.data}" if re.fullmatch(r"[\w./-]{1,40}", s.data, re.ASCII) else ""
    where = " on the embedded photos" if s.data == str(demo_photos()) else where
    return [
        f'"""Train {s.model.name}{where}.',
        "",
        "    python train.py [FOLDER]",
        "",
        "FOLDER is where the run is written. Interrupt it however you like and run it again: it",
        "goes on as if nothing had happened.",
        "",
        "Ejected by loopwright from the settings below: `loopwright train` with them gives the",
        "same weights, bit for bit. From here on it is yours.",
        '"""',
    ]


def _imports(program: Iterable[Line]) -> list[str]:
    """In the customary order: Python's, then others', then those of the current folder."""
    groups: dict[int, list[str]] = {}
    for line in sorted(_joined(needed(program)), key=lambda line: (line.startswith("from"), line)):
        groups.setdefault(_rank(re.split(r"[ .]", line)[1]), []).append(line)
    return "\n\n".join("\n".join(groups[rank]) for rank in sorted(groups)).split("\n")


def _joined(lines: Iterable[str]) -> list[str]:
    """What comes from one module, on one line."""
    found: dict[str, list[str]] = {}
    for line in sorted(lines):
        before, separator, name = line.partition(" import ") if line.startswith("from") else (line, "", "")
        found.setdefault(before + separator, []).append(name)
    return [before + ", ".join(names) for before, names in found.items()]


def _rank(package: str) -> int:
    """As isort tells what is whose: a project's own is what lies in its folder, or in its src."""
    if package in sys.stdlib_module_names:
        return 0
    own = (Path(place, name) for place in (".", "src") for name in (package, f"{package}.py"))
    return 2 if any(path.exists() for path in own) else 1


def _given(s: Any) -> dict[str, Any]:
    """What was set, the rest being defaults; a part with no arguments by its name alone."""
    given = s.model_dump(exclude_unset=True)
    return {
        key: [*map(_shortened, value)] if isinstance(value, list) else _shortened(value)
        for key, value in given.items()
        if value is not None
    }


def _shortened(part: Any) -> Any:
    return part["name"] if isinstance(part, dict) and part.keys() == {"name"} else part


def _folder(s: Any) -> str:
    if s.run is not None:
        return _text(s.run)
    name = re.sub("[/:]", "-", s.model.name)
    return _text(f"runs/{s.data_name}-{name}-ejected")


def _text(value: str) -> str:
    return lay_out([Statement("", value)])[0]
