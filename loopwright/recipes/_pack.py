"""``loopwright pack CONFIG.yaml``: the data of a configuration into packs, which ``train`` reads as it reads folders."""

import contextlib
from pathlib import Path
from typing import Any

from .._errors import DataError
from ..data._open import SUFFIX
from ..data._pack import pack, pack_folder
from ._pairs import PairSettings, open_pairs
from ._settings import TrainSettings


def pack_data(settings: TrainSettings | PairSettings, folder: str | Path, **options: Any) -> list[Any]:
    """As the settings read and hold out; ``options`` of ``pack``."""
    if not isinstance(settings, TrainSettings):
        return _pack_pairs(settings, folder, **options)
    s = settings
    return pack_folder(s.data, folder, holdout=s.holdout, on_error=s.on_error, **s.data_options, **options)


def _pack_pairs(settings: PairSettings, folder: str | Path, **options: Any) -> list[Any]:
    """``FOLDER/train.pack``, ``val.pack`` and, where there is one, ``test.pack``; ``options`` of ``pack``.

    A validation part is held out as in training where the data have none.
    """
    s = settings.model_copy(update={"cache": None})
    splits = {split: open_pairs(s, split) for split in ("train", "val")}
    with contextlib.suppress(DataError):
        splits["test"] = open_pairs(s, "test")
    return [pack(pairs, Path(folder) / f"{split}{SUFFIX}", **options) for split, pairs in splits.items()]
