"""``loopwright pack CONFIG.yaml``: the pairs of a configuration into packs, which ``train`` reads as it reads folders."""

import contextlib
from pathlib import Path
from typing import Any

from .._errors import DataError
from ..data._open import SUFFIX
from ..data._pack import pack
from ._pairs import PairSettings, open_pairs


def pack_pairs(settings: PairSettings, folder: str | Path, **options: Any) -> list[Any]:
    """``FOLDER/train.pack``, ``val.pack`` and, where there is one, ``test.pack``; ``options`` of ``pack``.

    A validation part is held out as in training where the data have none.
    """
    s = settings.model_copy(update={"cache": None})
    splits = {split: open_pairs(s, split) for split in ("train", "val")}
    with contextlib.suppress(DataError):
        splits["test"] = open_pairs(s, "test")
    return [pack(pairs, Path(folder) / f"{split}{SUFFIX}", **options) for split, pairs in splits.items()]
