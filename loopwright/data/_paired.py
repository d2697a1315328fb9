"""``PairedFolders``: samples of several pictures from parallel folders. Knows nothing about batches or transforms."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from .._errors import ConfigError, DataError
from ._folder import SPLITS
from ._folds import hold_out
from ._pair import Pair
from ._pairing import Place, pair_by_name, pair_by_order
from ._role import Role
from ._strings import Paths, Strings


class PairedFolders:
    """Several pictures a sample, from parallel folders: a map-style dataset of dictionaries from role to picture.

    Files belong together by name: the path below their role's folder, without the extension. A ``Loader`` shows the same
    part of all pictures of a sample, each by the interpolation of its role; ``PerRole`` changes one of them alone.

    Args:
        root: the folder that the roles' folders are in. Default: the current one.
        split: ``"train"``, ``"val"`` or ``"test"``, under their usual names, either above the roles' folders
            (``root/train/noisy``) or in them (``root/noisy/train``). Without a validation folder a seeded part of the
            training samples is held out.
        pair_by: ``"name"``, or ``"order"``: the first file of each folder, the second, and so on, numbers in names
            ordered as numbers. No name is compared then.
        on_unpaired: ``"skip"`` leaves files without a partner out and lists their names in ``left_out``.
        holdout: share of the samples that is held out where there is no validation folder, 0 to 1.
        seed: of the hold-out.
        on_error: ``"skip"`` lets a ``Loader`` leave samples out of which a picture is unreadable or of another size.
        roles: a name each and a folder, or a ``Role`` that says how its files are read.

    Raises:
        DataError: at once, for all folders: missing or empty, two files of one name, files without a partner. When a
            sample is read: a file is unreadable, or the sizes differ.

    >>> from loopwright import demo_photos
    >>> pairs = PairedFolders(demo_photos(), noisy="val/hat", clean=Role("val/hat", "gray"))
    >>> {role: picture.mode for role, picture in pairs[0].items()}
    {'noisy': 'RGB', 'clean': 'L'}
    """

    def __init__(
        self,
        root: str | Path = ".",
        split: str | None = None,
        *,
        pair_by: Literal["name", "order"] = "name",
        on_unpaired: Literal["raise", "skip"] = "raise",
        holdout: float = 0.2,
        seed: int = 0,
        on_error: str = "raise",
        **roles: str | Path | Role,
    ) -> None:
        self.root, self.split, self.on_error = Path(root), split, on_error
        _check(split, pair_by, on_unpaired, holdout, seed, on_error, roles)
        self.roles = {name: role if isinstance(role, Role) else Role(role) for name, role in roles.items()}
        places, share = self._locate(split)
        pairs = (
            pair_by_order(places) if pair_by == "order" else pair_by_name(places, skip_unpaired=on_unpaired == "skip")
        )
        self.names, self.left_out = Strings(pairs.names), pairs.left_out
        self.paths = {name: Paths.below(places[name].folder, paths) for name, paths in pairs.paths.items()}
        if share:
            self._keep_part(split == "val", holdout, seed)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The pictures of a sample, each as its role's kind says."""
        paths = self.files(index)
        pair = Pair({name: role.read(paths[name]) for name, role in self.roles.items()}, self.roles, paths)
        pair.size()
        return pair

    def joint(self, index: int) -> Pair:
        """The sample for a ``Loader``: no more of a file is decoded than the transform shows."""
        paths = self.files(index)
        return Pair({name: role.undecoded(paths[name]) for name, role in self.roles.items()}, self.roles, paths)

    def together(self, index: int, pictures: Mapping[str, Any]) -> Pair:
        """The sample of pictures that are decoded already, such as those of a cache."""
        return Pair(pictures, self.roles, self.files(index))

    def __repr__(self) -> str:
        kinds = {name: role.kind for name, role in self.roles.items()}
        shown = ", ".join(name if kind == "picture" else f"{name} ({kind})" for name, kind in kinds.items())
        return f"PairedFolders({str(self.root)!r}, split={self.split!r}): {len(self)} samples of {shown}"

    def files(self, index: int) -> dict[str, Path]:
        """The file of each role."""
        return {name: paths[index] for name, paths in self.paths.items()}

    def name_of(self, index: int) -> str:
        """What the files of a sample have in common: what messages and predictions call it."""
        return self.names[index]

    def _locate(self, split: str | None) -> tuple[dict[str, Place], bool]:
        """Where each role's files are, and whether a part of them is held out."""
        whole = {name: self.root / role.folder for name, role in self.roles.items()}
        if split is None:
            self._refuse_splits()
            return self._places(whole), False
        found = {kind: self._split_folders(kind) for kind in SPLITS}
        if split == "test" and not found["test"]:
            raise DataError(f"{self.root} has no folders for split 'test': looked for {_looked_for(self.roles, split)}")
        if split == "test" or found["val"]:
            return self._places(found[split] or whole), False
        return self._places(found["train"] or whole), True

    def _places(self, folders: Mapping[str, Path]) -> dict[str, Place]:
        return {name: Place(role, folders[name]) for name, role in self.roles.items()}

    def _split_folders(self, split: str) -> dict[str, Path]:
        """The folders of a split, also of roles that have none; empty where no role has one."""
        found = {}
        for name, role in self.roles.items():
            above, within = _child(self.root, split), _child(self.root / role.folder, split)
            found[name] = above / role.folder if above and (above / role.folder).is_dir() else within
        missing = [name for name, folder in found.items() if folder is None]
        if missing and len(missing) < len(found):
            there = next(folder for folder in found.values() if folder)
            raise DataError(
                f"{there} is of split {split!r}, but {self.root} has no such folder for role {missing[0]!r}: looked for "
                f"{_looked_for({missing[0]: self.roles[missing[0]]}, split)}"
            )
        return {} if missing else {name: folder for name, folder in found.items() if folder}

    def _refuse_splits(self) -> None:
        """All of a folder that holds training and validation would be trained on."""
        train, val = self._split_folders("train"), self._split_folders("val")
        if train and val:
            raise DataError(
                f"{self.root} holds splits ({', '.join(map(str, (*train.values(), *val.values())))}): say split='train', "
                "or give the folders of one"
            )

    def _keep_part(self, held_out: bool, holdout: float, seed: int) -> None:
        if len(self) < 2:
            raise DataError(f"{self.root} has 1 sample: two or more are needed where no validation folder is given")
        kept = hold_out(range(len(self)), holdout, seed=seed, stratified=False)[held_out]
        self.names = self.names.take(kept)
        self.paths = {name: paths.take(kept) for name, paths in self.paths.items()}


def _check(
    split: Any, pair_by: Any, on_unpaired: Any, holdout: Any, seed: Any, on_error: Any, roles: Mapping[str, Any]
) -> None:
    choices = {
        "split": (split, (None, *SPLITS)),
        "pair_by": (pair_by, ("name", "order")),
        "on_unpaired": (on_unpaired, ("raise", "skip")),
        "on_error": (on_error, ("raise", "skip")),
    }
    for name, (value, allowed) in choices.items():
        if value not in allowed:
            raise ConfigError(f"{name} must be one of {', '.join(map(repr, allowed))}. Found: {value!r}")
    if not isinstance(seed, int) or not isinstance(holdout, float | int) or not 0 < holdout < 1:
        raise ConfigError(f"seed must be a whole number, holdout a share between 0 and 1. Found: {seed!r}, {holdout!r}")
    if not roles:
        raise ConfigError('PairedFolders needs roles: a name and a folder each, as in inputs="noisy", targets="clean"')
    for name, role in roles.items():
        if not isinstance(role, str | Path | Role):
            raise ConfigError(f"role {name!r} must be a folder or a Role. Found: {role!r}")
    if pair_by == "order" and on_unpaired == "skip":
        raise ConfigError("pair_by='order' knows no names, so on_unpaired='skip' has no effect: leave one of them out")


def _child(folder: Path, split: str) -> Path | None:
    """The folder of a split in another one."""
    if not folder.is_dir():
        return None
    names = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    return next((names[name] for name in SPLITS[split] if name in names), None)


def _looked_for(roles: Mapping[str, Role], split: str) -> str:
    return ", ".join(f"{split}/{role.folder} and {role.folder}/{split}" for role in roles.values())
