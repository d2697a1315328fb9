"""``ImageFolder``: a folder of classes, each a folder of pictures. Knows nothing about batches or transforms."""

import os
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from .._errors import DataError
from ._folds import hold_out
from ._part import one
from ._picture import EXTENSIONS, open_picture
from ._strings import Paths
from ._walk import inside, is_hidden, walk

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid", "dev"),
    "test": ("test", "testing"),
}


class ImageFolder:
    """Pictures labelled by the folder they lie in, as a map-style dataset of (RGB picture, class index).

    Args:
        root: a folder of class folders (``woof/train``), or of splits (``woof``) together with ``split``.
        split: ``"train"``, ``"val"`` or ``"test"``, found under its usual names (val, validation, valid, ...). A root
            without a validation folder is split: a seeded, stratified part of its training pictures is held out.
        holdout: share of each class that is held out where the root has no validation folder, 0 to 1.
        seed: of the hold-out. The same seed gives the same parts; no picture is in both.
        classes: their names in the order of their indices. By default the sorted folder names; a validation or test
            folder takes them from the training folder beside it, and must have pictures of each.
        on_error: ``"skip"`` lets a ``Loader`` leave unreadable pictures out, counting and listing them.
        cache: decode each picture once: ``"memory"``, ``"disk"`` or a folder, as ``lw.Cached`` has it. The pixels stay the
            same bits. ``folder.cached.report()`` says how many are kept.
        cache_limit: most bytes that this takes.

    Links to files and folders are followed. Hidden ones are passed over, and so is a class folder without pictures.

    Raises:
        DataError: the folder is missing or has no pictures, one in it cannot be read, or the splits do not have the same
            classes.

    >>> from loopwright import demo_photos
    >>> train = ImageFolder(demo_photos(), split="train")
    >>> picture, label = train[0]
    >>> picture.mode, train.classes[label], len(train.classes)
    ('RGB', 'dress', 10)
    """

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        *,
        holdout: float = 0.2,
        seed: int = 0,
        classes: Sequence[str] | None = None,
        on_error: str = "raise",
        cache: str | os.PathLike[str] | None = None,
        cache_limit: int | str = "4 GiB",
    ) -> None:
        self.root, self.split, self.on_error = Path(root), split, on_error
        if isinstance(classes, str):
            raise DataError(f"classes= is a list of names. Found: {classes!r}")
        self._given = list(classes) if classes is not None else []
        self._check(holdout)
        folder, sibling = self._locate(split)
        found = _scan(folder)
        self.classes = self._given or sorted(_scan(sibling) if sibling is not None else found)
        self.class_to_idx = {name: index for index, name in enumerate(self.classes)}
        self._check_classes(found, folder)
        self.paths = Paths.below(self.root, (path for name in self.classes for path in found.get(name, ())))
        self.labels = [self.class_to_idx[name] for name in self.classes for _ in found.get(name, ())]
        if self._is_held_out(split):
            self._keep_part(folder, split == "val", holdout, seed)
        source = _Plain(self)
        self.cached: Any = None
        if cache is not None:
            from ._cached import Cached  # imported when it is used: most have no cache

            self.cached = Cached(source, cache, limit=cache_limit)
        self._samples = source if self.cached is None else self.cached

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return self._samples[one(self, index)]

    def undecoded(self, index: int) -> tuple[Any, int]:
        """The sample with the file in place of the picture: a ``Loader`` decodes no more of it than its transform shows.

        With ``cache``, what is kept of the picture, which is shown like a file.
        """
        return self._samples.undecoded(index)

    def __repr__(self) -> str:
        what = f"{len(self)} pictures of {len(self.classes)} classes"
        return f"ImageFolder({str(self.root)!r}, split={self.split!r}): {what}"

    def counts(self) -> dict[str, int]:
        """Pictures a class."""
        counted = Counter(self.labels)
        return {name: counted[index] for index, name in enumerate(self.classes)}

    def name_of(self, index: int) -> str:
        """The file of one sample: what messages and predictions call it."""
        return str(self.paths[index])

    def _check(self, holdout: float) -> None:
        if self.split is not None and self.split not in SPLITS:
            raise DataError(f"split must be one of {', '.join(map(repr, SPLITS))}. Found: {self.split!r}")
        if not 0 < holdout < 1:
            raise DataError(f"holdout must be a share between 0 and 1. Found: {holdout}")
        if len(set(self._given)) < len(self._given):
            twice = sorted(name for name, times in Counter(self._given).items() if times > 1)
            raise DataError(f"classes= has names more than once: {', '.join(twice)}")
        if self.on_error not in ("raise", "skip"):
            raise DataError(f"on_error must be 'raise' or 'skip'. Found: {self.on_error!r}")
        if not os.path.isdir(self.root):
            what = "not a folder" if os.path.exists(self.root) else "no such folder"
            raise DataError(f"{self.root}: {what}{_nearby(self.root)}")

    def _locate(self, split: str | None) -> tuple[Path, Path | None]:
        """The folder of class folders, and the training folder beside it that decides the classes."""
        if split is None:
            inside = {kind: path for kind in SPLITS if (path := self._split_folder(kind))}
            if "train" in inside:
                raise DataError(
                    f"{self.root} holds splits ({', '.join(p.name for p in inside.values())}): say split='train', or "
                    f"give {inside['train']}; if {inside['train'].name!r} is a class, list them all in classes="
                )
            place = self.root.absolute()  # "." has no name
            is_part = place.name.lower() in SPLITS["val"] + SPLITS["test"]
            return self.root, _split_folder(place.parent, "train") if is_part else None
        train, folder = self._split_folder("train"), self._split_folder(split)
        if folder is None and split == "test":
            raise DataError(f"{self.root} has no folder for split 'test': looked for {', '.join(SPLITS['test'])}")
        if folder is None and train is None:
            self._refuse_part_of_part()
        return folder or train or self.root, train if folder != train else None

    def _refuse_part_of_part(self) -> None:
        """``woof/val`` with ``split="val"`` stands for all of that folder, not for a part that is held out of it."""
        place = self.root.absolute()
        beside = [_split_folder(place.parent, kind) for kind in ("train", "val")]
        if None not in beside and any(place.name.lower() in names for names in SPLITS.values()):
            raise DataError(f"{self.root} is itself a split: leave split={self.split!r} out, or give {place.parent}")

    def _is_held_out(self, split: str | None) -> bool:
        """Whether this part shares its folder with the other one, because the root has no validation folder."""
        return split in ("train", "val") and self._split_folder("val") is None

    def _split_folder(self, split: str) -> Path | None:
        """The folder of a split in the root; one whose name is among the classes that were given is a class."""
        return _split_folder(self.root, split, self._given)

    def _check_classes(self, found: dict[str, list[Path]], folder: Path) -> None:
        unknown = sorted(set(found) - set(self.classes))
        missing = [name for name in self.classes if name not in found]
        if unknown:
            raise DataError(f"{folder} has classes that are not among those of training: {', '.join(unknown)}")
        if missing and not self._given:
            raise DataError(
                f"{folder} has no pictures of {len(missing)} of the {len(self.classes)} classes of training: "
                f"{', '.join(missing)}. Add some, or give classes=... to say that this is intended"
            )

    def _keep_part(self, folder: Path, held_out: bool, holdout: float, seed: int) -> None:
        """Keep the held-out pictures of each class, or the others; both parts have at least one of each class."""
        for name, count in self.counts().items():
            if count == 1:
                raise DataError(
                    f"{folder / name} has 1 picture: a class needs two or more where no validation folder is given"
                )
        kept = hold_out(self.labels, holdout, seed=seed)[held_out]
        self.paths, self.labels = self.paths.take(kept), [self.labels[index] for index in kept]


class _Plain:
    """The samples as the files give them."""

    def __init__(self, folder: ImageFolder) -> None:
        self._folder, self.on_error = folder, folder.on_error

    @property
    def paths(self) -> Paths:
        return self._folder.paths

    def __len__(self) -> int:
        return len(self._folder)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return open_picture(self._folder.paths[index]), self._folder.labels[index]

    def undecoded(self, index: int) -> tuple[str, int]:
        return self._folder.paths.text(index), self._folder.labels[index]

    def __repr__(self) -> str:
        return repr(self._folder)


def _split_folder(root: Path, split: str, classes: Collection[str] = ()) -> Path | None:
    folders = (root / name for name in inside(root) if name not in classes and os.path.isdir(root / name))
    names = {path.name.lower(): path for path in folders}
    return next((names[name] for name in SPLITS[split] if name in names), None)


def _scan(folder: Path) -> dict[str, list[Path]]:
    """Class names to their pictures, sorted; a class folder may hold folders. Hidden files are passed over."""
    names, found = inside(folder), {}
    for name in names:
        if not is_hidden(name) and os.path.isdir(folder / name):
            pictures = sorted(_pictures(folder / name))
            if pictures:
                found[name] = pictures
    if not found:
        loose = any(os.path.splitext(name)[1].lower() in EXTENSIONS for name in names)
        hint = "its pictures lie in no class folder" if loose else "expected FOLDER/CLASS/PICTURE.jpg"
        raise DataError(f"{folder} has no pictures in class folders: {hint} ({', '.join(sorted(EXTENSIONS))})")
    return found


def _pictures(folder: Path) -> list[Path]:
    found = []
    for where, folders, files, _ in walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        found += [
            Path(where, name)
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS
        ]
    return found


def _nearby(path: Path) -> str:
    if str(path).startswith("~"):
        return f"; no shell has put a home for the ~: give {path.expanduser()}"
    parent = next((p for p in path.absolute().parents if os.path.isdir(p)), Path("/"))
    try:
        names = [name for name in inside(parent) if not is_hidden(name) and os.path.isdir(parent / name)]
    except DataError as error:
        return f"; {error}"
    return f"; {parent} holds: {', '.join(names[:8]) or 'no folders'}"
