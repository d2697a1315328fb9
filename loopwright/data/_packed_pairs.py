"""``PackedPairs``: samples of several pictures in one file, with their very numbers. Reads packs; ``_pack`` makes them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .._errors import ConfigError, DataError
from ._changes import changed_records
from ._codec import decode, encode
from ._pack_file import PackReader
from ._pair import Pair
from ._role import Role
from ._shared import SharedMemory

FORMAT = "pairs"  # of such a pack's recipe
_SAVED = ("kind", "prefix", "suffix", "interpolation", "scale", "fill")


class PackedPairs:
    """The samples of a pack of pairs, as ``PairedFolders`` gives them: dictionaries from role to picture.

    Gray stays gray, 16 bits stay 16 bits, floats and masks stay what they are: what a ``Loader`` makes of them is bit for
    bit what it makes of the folders, decoding nothing. Each record is checked against its checksum when it is first read.

    Args:
        path: a file that ``lw.pack`` made of ``PairedFolders``, or ``loopwright pack`` of a configuration.

    Raises:
        DataError: the file is missing, damaged, or holds no pairs.

    >>> import tempfile, loopwright as lw
    >>> pairs = lw.PairedFolders(lw.demo_photos(), color="val/hat", gray=lw.Role("val/hat", "gray"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     packed = lw.pack(pairs, f"{folder}/hats.pack", progress=False)
    >>> len(packed) == len(pairs), packed[0]["gray"].mode
    (True, 'L')
    """

    def __init__(self, path: str | Path) -> None:
        self._file = PackReader(path)
        facts = self._file.facts
        if fault := next((what for what, is_right in _laws(self._file) if not is_right), None):
            raise DataError(f"{path}: damaged or no pack of pairs ({fault}); pack it again")
        self.path, self.recipe, self.on_error = self._file.path, facts["recipe"], facts["on_error"]
        self.skipped: list[str] = facts["skipped"]
        self.names: list[str] = facts["names"]
        self.roles = {name: _role_of(saved, str(path)) for name, saved in facts["roles"].items()}
        self._read = SharedMemory(len(self)).bytes  # which records were checked, by this process or its children

    def __len__(self) -> int:
        return len(self._file.entries)

    def __getitem__(self, index: int) -> Pair:
        pair = self.joint(index)
        pair.size()
        return pair

    def joint(self, index: int) -> Pair:
        """The sample for a ``Loader``."""
        return self.together(index, self._pictures(range(len(self))[index]))

    def together(self, index: int, pictures: Mapping[str, Any]) -> Pair:
        """The sample of pictures that are decoded already."""
        return Pair(pictures, self.roles, {name: Path(self.name_of(index)) for name in self.roles})

    def name_of(self, index: int) -> str:
        """What the files of a sample had in common."""
        return self.names[index]

    def verify(self) -> list[str]:
        """Read everything; the names of the damaged records."""
        return [self.name_of(index) for index in range(len(self)) if not self._file.is_whole(index)]

    def changed(self, pairs: Any) -> list[str]:
        """The names of the samples whose files are not what was packed, as ``Packed.changed`` tells them.

        Args:
            pairs: the source as it is now, of the same samples in the same order.
        """
        stats = self._file.array("stats")
        if stats.shape != (len(self), len(self.roles), 2):
            raise DataError(f"{self.path}: damaged (it has other sources than records); pack it again")
        found = changed_records(
            stats,
            lambda index: [str(path) for path in pairs.files(index).values()],
            lambda index: self._is_made_of(pairs, index),
        )
        return [self.name_of(index) for index in found]

    def _is_made_of(self, pairs: Any, index: int) -> bool:
        try:
            data, height, width = pair_record(pairs[index])
        except DataError:
            return False
        alike = (height, width) == self._file.entries[index][2:]
        return alike and np.array_equal(data, self._file.record(index))

    def check_roles(self, roles: Mapping[str, Role]) -> None:
        """``DataError`` where a pack was made of other roles than are asked for."""
        for name, role in roles.items():
            packed = self.roles.get(name)
            if packed is None or (packed.kind, packed.scale) != (role.kind, role.scale):
                has = "there is none" if packed is None else f"it is of kind {packed.kind!r}, scale {packed.scale}"
                raise DataError(
                    f"{self.path}: role {name!r} is asked for with kind {role.kind!r}, scale {role.scale}, and in the "
                    f"pack {has} (there are {', '.join(self.roles)}): pack it again with this configuration"
                )

    def _pictures(self, index: int) -> dict[str, Any]:
        if not self._read[index]:
            if not self._file.is_whole(index):
                raise DataError(f"{self.name_of(index)}: its record in {self.path} is damaged; pack it again")
            self._read[index] = 1
        sample = decode(self._file.record(index).data)[0]
        if not isinstance(sample, dict) or sample.keys() != self.roles.keys():
            raise DataError(f"{self.name_of(index)}: its record in {self.path} has other roles; pack it again")
        return {name: _as_read(self.roles[name], value) for name, value in sample.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])

    def __repr__(self) -> str:
        shown = ", ".join(
            name if role.kind == "picture" else f"{name} ({role.kind})" for name, role in self.roles.items()
        )
        return f"PackedPairs({str(self.path)!r}): {len(self)} samples of {shown}"


def is_of_pairs(path: str | Path) -> bool:
    """Whether a pack is one of pairs."""
    recipe = PackReader(path).facts.get("recipe")
    return isinstance(recipe, dict) and recipe.get("format") == FORMAT


def role_facts(roles: Mapping[str, Role]) -> dict[str, dict[str, Any]]:
    """What a pack keeps of roles."""
    return {
        name: {"folder": str(role.folder), **{key: getattr(role, key) for key in _SAVED}}
        for name, role in roles.items()
    }


def pair_record(pictures: Mapping[str, Any]) -> tuple[np.ndarray, int, int]:
    """The record of a sample: flat uint8, and height and width of its first picture."""
    stored = {name: _as_stored(value) for name, value in pictures.items()}
    data = np.frombuffer(b"".join(encode((stored,))), np.uint8)
    first = next(iter(pictures.values()))
    width, height = first.size if isinstance(first, Image.Image) else (first.shape[1], first.shape[0])
    return data, height, width


def _as_stored(value: Any) -> Any:
    """Labels in as few bytes as hold them; all else as it is."""
    if isinstance(value, np.ndarray) and value.dtype == np.int64 and value.size and value.min() >= 0:
        return value.astype(np.min_scalar_type(value.max()))
    return value


def _as_read(role: Role, value: Any) -> Any:
    return value.astype(np.int64) if role.kind == "mask" and isinstance(value, np.ndarray) else value


def _role_of(saved: Any, path: str) -> Role:
    try:
        options = {key: saved[key] for key in _SAVED if key != "kind"}
        return Role(str(saved["folder"]), saved["kind"], **options)
    except (ConfigError, KeyError, TypeError) as error:
        raise DataError(f"{path}: what it says of its roles is damaged ({error}); pack it again") from None


def _laws(file: PackReader) -> Iterator[tuple[str, bool]]:
    """What has to hold, in an order in which each may rely on those before it."""
    facts = file.facts
    yield "it does not say how it was made", isinstance(facts.get("recipe"), dict)
    yield "its records are no pairs", facts["recipe"].get("format") == FORMAT
    yield "it does not say what to do with errors", facts.get("on_error") in ("raise", "skip")
    yield "it names no roles", isinstance(facts.get("roles"), dict) and len(facts["roles"]) > 0
    for what in ("names", "skipped"):
        texts = facts.get(what)
        yield f"its {what} are no texts", isinstance(texts, list) and all(isinstance(text, str) for text in texts)
    yield "it has other names than records", len(facts["names"]) == len(file.entries)
