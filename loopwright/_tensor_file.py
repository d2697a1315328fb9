"""Whether a file of ``torch.save`` is one that may be loaded: it takes no more memory than its size. Imports no torch.

``torch.load(weights_only=True)`` runs no code of the file. But it unpacks what is packed, a thousand times as large as
the file, and some of the functions that it allows make much of little: ``bytearray(n)``, ``_codecs.encode(text, "hex")``.
"""

import io
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

_PUTS, _GETS = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), ("GET", "BINGET", "LONG_BINGET")
_GREEDY = {"builtins bytearray", "__builtin__ bytearray"}
_LONGEST_NAME = 300
_OLD_PICKLES = 5  # a magic number, the version, the machine, the values, the names of their numbers
_ENCODE = "_codecs encode"  # how protocol 2 writes bytes: encode(text, "latin1")

Op = tuple[str, Any]  # an operation's name and its argument; what is fetched from the memo has the name it had before


def check_tensor_file(path: Path, *, old: bool = False) -> None:
    """``ValueError`` where it is not as ``torch.save`` writes files: an archive without packing, of tensors and values.

    Args:
        old: take files as they were before torch 1.6, too: some pickles, and the numbers behind them.

    >>> import tempfile, torch
    >>> path = Path(tempfile.mkdtemp(), "model.pt")
    >>> torch.save({"weight": torch.ones(2)}, path)
    >>> check_tensor_file(path)
    """
    with open(path, "rb") as file:
        if file.read(4) != b"PK\x03\x04":
            if not old:
                raise ValueError("it is no archive, as torch.save writes them")
            file.seek(0)
            for _ in range(_OLD_PICKLES):
                _check_values(file)
            return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("its parts are packed, which torch.save does not do: unpacked they may fill the memory")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("its parts overlap")
        for member in members:
            if member.filename.endswith(".pkl"):
                _check_values(io.BytesIO(archive.read(member)))


def _check_values(file: BinaryIO) -> None:
    """Look for the functions that make much of little, used otherwise than ``torch.save`` does it."""
    operations = _operations(file)
    for name, value in operations:
        if (
            name == "GLOBAL" and len(value) > _LONGEST_NAME
        ):  # torch's advice on it takes time by the square of its length
            raise ValueError("it asks for something of a name that no function has")
        if name == "GLOBAL" and value in _GREEDY:
            raise ValueError(f"it asks for {value.split()[1]}, which can take any amount of memory")
        if name == "STACK_GLOBAL" or (name == "GLOBAL" and value == _ENCODE and not _is_bytes(operations)):
            raise ValueError("its values are not written as torch.save writes them")


def _is_bytes(operations: Iterator[Op]) -> bool:
    """Whether what follows ``encode`` are its arguments, a text and latin1, and the call."""
    (text, _), code, (pair, _), (call, _) = (next(operations, ("", None)) for _ in range(4))
    return (text, code, pair, call) == ("BINUNICODE", ("BINUNICODE", "latin1"), "TUPLE2", "REDUCE")


def _operations(file: BinaryIO) -> Iterator[Op]:
    """Those of a pickle, without what is put into the memo, and with what is fetched from it where it is a name."""
    memo: dict[int, Op] = {}
    last: Op = ("", None)
    for operation, value, _ in pickletools.genops(file):
        if operation.name in _PUTS:
            memo[len(memo) if value is None else int(value or 0)] = last
            continue
        last = memo.get(int(value or 0), ("", None)) if operation.name in _GETS else (operation.name, value)
        yield last
