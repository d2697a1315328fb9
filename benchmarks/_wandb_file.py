"""The rows in a file of Weights & Biases' own (.wandb): what an offline run has. Its blocks are those of LevelDB's logs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FILE_HEADER, _HEADER, _BLOCK = 7, struct.Struct("<IHB"), 2**15
_FULL, _FIRST, _LAST = 1, 2, 4


def rows(file: Path) -> Iterator[dict[str, str]]:
    """Names and values, as JSON, of each row that was logged; ``_number`` is W&B's own step. A torn end is left out."""
    from wandb.proto import wandb_internal_pb2 as pb

    for content in _contents(file.read_bytes()):
        record: Any = pb.Record()
        record.ParseFromString(content)
        if record.WhichOneof("record_type") == "history":
            values = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            yield values | {"_number": str(record.history.step.num)}


def _contents(data: bytes) -> Iterator[bytes]:
    place, parts = _FILE_HEADER, b""
    while True:
        left = _BLOCK - place % _BLOCK
        if left < _HEADER.size:
            place += left
        if place + _HEADER.size > len(data):
            return
        _, length, kind = _HEADER.unpack_from(data, place)
        place += _HEADER.size
        if kind == 0 or place + length > len(data):
            return
        parts = (b"" if kind in (_FULL, _FIRST) else parts) + data[place : place + length]
        place += length
        if kind in (_FULL, _LAST):
            yield parts
