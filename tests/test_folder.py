"""Laws of ``ImageFolder``: the usual names of splits, classes from training, hold-outs that are seeded and complete."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import forked
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from loopwright import Cached, Part, demo_photos, inspect_data, open_picture, pack
from loopwright._errors import DataError
from loopwright.data._folder import ImageFolder


def make(root: Path, *places: str) -> Path:
    """Pictures at these places; ``cat/3`` stands for three of them in ``cat``."""
    for place in places:
        folder, _, count = place.rpartition("/")
        for number in range(int(count)):
            path = root / folder / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (3, 2), (number, 0, 0)).save(path)
    return root


def names(folder: ImageFolder) -> list[str]:
    return [path.relative_to(folder.root).as_posix() for path in folder.paths]


# ---- what it holds -------------------------------------------------------------------------------------------------


def test_a_sample_is_the_picture_and_the_index_of_its_class() -> None:
    folder = ImageFolder(demo_photos(), split="val")
    for index in (0, 77, len(folder) - 1):
        picture, label = folder[index]
        assert picture.tobytes() == open_picture(folder.name_of(index)).tobytes()
        assert folder.classes[label] == folder.paths[index].parent.name
        assert folder.class_to_idx[folder.classes[label]] == label == folder.labels[index]


def test_classes_and_pictures_are_sorted_whatever_order_the_disk_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "b/3", "a/2", "B/1", "c/1")
    forward = ImageFolder(tmp_path)
    assert forward.classes == ["B", "a", "b", "c"]
    assert names(forward) == ["B/0.png", "a/0.png", "a/1.png", "b/0.png", "b/1.png", "b/2.png", "c/0.png"]
    walk, listdir = os.walk, os.listdir
    monkeypatch.setattr(os, "walk", lambda top, **options: ((w, d, f[::-1]) for w, d, f in walk(top, **options)))
    monkeypatch.setattr(os, "listdir", lambda path: sorted(listdir(path))[::-1])
    assert names(ImageFolder(tmp_path)) == names(forward)


def test_folders_within_a_class_belong_to_it(tmp_path: Path) -> None:
    make(tmp_path, "cat/1", "cat/black/2", "cat/black/old/1", "dog/train/1")
    folder = ImageFolder(tmp_path)
    assert folder.classes == ["cat", "dog"]
    assert folder.counts() == {"cat": 4, "dog": 1}


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "cat/1", ".hidden/1", "cat/.thumbnails/2", "dog/1")
    (tmp_path / "__MACOSX").mkdir()
    for name in ("._0.png", ".DS_Store", "Thumbs.db", "notes.txt", "no-extension", "0.png.part"):
        (tmp_path / "cat" / name).write_bytes(b"")
    (tmp_path / "labels.csv").write_text("")
    folder = ImageFolder(tmp_path)
    assert names(folder) == ["cat/0.png", "dog/0.png"]


def test_extensions_are_known_in_any_case(tmp_path: Path) -> None:
    make(tmp_path, "cat/1")
    for name in ("a.PNG", "b.JpG", "c.jpeg", "d.TIFF", "e.webp"):
        (tmp_path / "cat" / name).write_bytes((tmp_path / "cat" / "0.png").read_bytes())
    assert len(ImageFolder(tmp_path)) == 6


@pytest.mark.parametrize("name", ["with space", "new\nline", "Mütze 帽子 🧢", "a'b\"c", "%d{}", "-x"])
def test_any_name_of_a_class_is_right(tmp_path: Path, name: str) -> None:
    folder = ImageFolder(make(tmp_path, f"{name}/1", "other/1"))
    assert name in folder.classes
    assert folder[folder.classes.index(name)][1] == folder.classes.index(name)


def test_links_are_followed(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "cat/2", "dog/1")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    make(tmp_path / "root", "dog/1")
    (tmp_path / "root" / "dog" / "link.png").symlink_to(tmp_path / "elsewhere" / "dog" / "0.png")
    assert ImageFolder(tmp_path / "root").counts() == {"cat": 2, "dog": 2}


def test_links_to_folders_within_a_class_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "cats/3", "cats/more/1")
    root = make(tmp_path / "root", "cat/1", "dog/1", "dog/old/1")
    (root / "cat" / "link").symlink_to(tmp_path / "elsewhere" / "cats")
    (root / "cat" / "back").symlink_to(root)
    (root / "dog" / "old" / "back").symlink_to("..")
    (tmp_path / "elsewhere" / "cats" / "round").symlink_to(root / "cat")
    assert ImageFolder(root).counts() == {"cat": 5, "dog": 2}
    told = inspect_data(root)
    assert told.as_json()["pictures"] == {"": 7}
    assert told.as_json()["passed_over"]["links that lead back"]["count"] == 3


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that anybody may read; pytest keeps its own to itself."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_what_cannot_be_read_is_an_error_and_not_missing(public: Path) -> None:
    """By anybody but root, whom nothing stops: so in a process that is somebody else."""
    root = make(public / "root", "cat/1", "cat/more/1", "dog/1", "lost+found/1")
    (root / "lost+found").chmod(0)
    assert ImageFolder(root).classes == ["cat", "dog"]

    def read(closed: Path | None) -> None:
        if os.getuid() == 0:
            os.seteuid(65534)
        if closed is None:
            assert ImageFolder(root).classes == ["cat", "dog"]
            return
        with pytest.raises(DataError, match=f"{closed}: cannot be read .Permission denied.; allow it"):
            ImageFolder(root)

    for closed in (None, root / "cat" / "more", root / "dog", root):
        if closed is not None:
            closed.chmod(0)
        assert os.waitpid(forked(lambda closed=closed: read(closed)), 0)[1] == 0
        if closed is not None:
            closed.chmod(0o755)
    (root / "lost+found").chmod(0o755)


def test_it_is_a_sequence(tmp_path: Path) -> None:
    folder = ImageFolder(make(tmp_path, "cat/2", "dog/1"))
    assert [label for _, label in folder] == [0, 0, 1]
    assert folder[-1][1] == 1
    with pytest.raises(IndexError):
        folder[3]


def test_a_slice_says_how_to_have_a_part(tmp_path: Path) -> None:
    folder = ImageFolder(make(tmp_path / "root", "cat/4"))
    for dataset in (folder, Part(folder, range(4)), Cached(folder), pack(folder, tmp_path / "x.pack", progress=False)):
        with pytest.raises(DataError, match=r"lw\.Part\(dataset, range\(0, 2\)\) is a part of it"):
            dataset[:2]
        with pytest.raises(DataError, match=r"range\(3, -1, -2\)"):
            dataset[::-2]


# ---- splits --------------------------------------------------------------------------------------------------------

TRAIN, VAL, TEST = (
    ["train", "Train", "TRAINING"],
    ["val", "Val", "VALIDATION", "valid", "dev"],
    ["test", "Test", "testing"],
)


@pytest.mark.parametrize("train", TRAIN)
@pytest.mark.parametrize("val", VAL)
def test_splits_are_found_under_their_usual_names(tmp_path: Path, train: str, val: str) -> None:
    make(tmp_path, f"{train}/cat/3", f"{train}/dog/2", f"{val}/cat/1", f"{val}/dog/1")
    assert ImageFolder(tmp_path, "train").counts() == {"cat": 3, "dog": 2}
    assert ImageFolder(tmp_path, "val").counts() == {"cat": 1, "dog": 1}


@pytest.mark.parametrize("test", TEST)
def test_the_test_split_is_found_and_holds_nothing_out(tmp_path: Path, test: str) -> None:
    make(tmp_path, "train/cat/10", "train/dog/10", f"{test}/cat/2", f"{test}/dog/2")
    assert ImageFolder(tmp_path, "test").counts() == {"cat": 2, "dog": 2}
    assert ImageFolder(tmp_path, "train").counts() == {"cat": 8, "dog": 8}


def test_without_a_test_folder_the_test_split_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, "train/cat/2", "val/cat/2")
    with pytest.raises(DataError, match="no folder for split 'test': looked for test, testing"):
        ImageFolder(tmp_path, "test")


@pytest.mark.parametrize("val", VAL)
def test_validation_has_the_classes_of_training(tmp_path: Path, val: str) -> None:
    make(tmp_path, "train/ant/1", "train/bee/1", "train/cat/1", f"{val}/bee/1", f"{val}/cat/1", f"{val}/ant/2")
    for folder in (ImageFolder(tmp_path, "val"), ImageFolder(tmp_path / val), ImageFolder(str(tmp_path / val) + "/")):
        assert folder.classes == ["ant", "bee", "cat"]
        assert folder.labels == [0, 0, 1, 2]


def test_the_folder_that_one_stands_in_has_the_classes_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "train/ant/1", "train/bee/1", "val/bee/1")
    monkeypatch.chdir(tmp_path / "val")
    with pytest.raises(DataError, match=r"no pictures of 1 of the 2 classes of training: ant\."):
        ImageFolder(".")


@pytest.mark.parametrize("val", ["val", "Valid", "test"])
@pytest.mark.parametrize("plain", [True, False])
def test_a_class_without_validation_pictures_is_named(tmp_path: Path, val: str, plain: bool) -> None:
    make(tmp_path, "train/ant/1", "train/bee/1", "train/cat/1", f"{val}/bee/1")
    (tmp_path / val / "cat").mkdir()  # an empty folder is no class
    with pytest.raises(DataError, match=r"no pictures of 2 of the 3 classes of training: ant, cat\. Add some"):
        ImageFolder(tmp_path / val) if plain else ImageFolder(tmp_path, "test" if val == "test" else "val")


@pytest.mark.parametrize("plain", [True, False])
def test_a_class_that_training_does_not_have_is_named(tmp_path: Path, plain: bool) -> None:
    make(tmp_path, "train/ant/1", "val/ant/1", "val/wasp/1", "val/bee/1")
    with pytest.raises(DataError, match="not among those of training: bee, wasp"):
        ImageFolder(tmp_path / "val") if plain else ImageFolder(tmp_path, "val")


def test_given_classes_decide_the_indices(tmp_path: Path) -> None:
    make(tmp_path, "train/ant/1", "train/bee/1", "val/bee/1")
    for folder in (
        ImageFolder(tmp_path, "val", classes=["bee", "ant"]),
        ImageFolder(tmp_path / "val", classes=("bee", "ant")),
    ):
        assert (folder.classes, folder.labels) == (["bee", "ant"], [0])
        assert folder.counts() == {"bee": 1, "ant": 0}
    assert ImageFolder(tmp_path / "train", classes=["zebra", "bee", "ant"]).labels == [1, 2]


def test_given_classes_that_leave_out_a_folder_or_come_twice_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "ant/2", "bee/2")
    with pytest.raises(DataError, match="not among .*: bee"):
        ImageFolder(tmp_path, classes=["ant"])
    with pytest.raises(DataError, match="more than once: ant"):
        ImageFolder(tmp_path, classes=["ant", "bee", "ant"])


def test_a_root_of_splits_is_no_set_of_classes(tmp_path: Path) -> None:
    make(tmp_path, "train/cat/1", "val/cat/1", "test/cat/1")
    with pytest.raises(DataError, match=r"holds splits \(train, val, test\): say split='train', or give .*/train;"):
        ImageFolder(tmp_path)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    """A train is a vehicle, too: it is one of the classes of CIFAR-100 and PASCAL VOC."""
    make(tmp_path, "car/5", "plane/5", "train/5")
    with pytest.raises(DataError, match=r"if 'train' is a class, list them all in classes="):
        ImageFolder(tmp_path)
    vehicles = ["car", "plane", "train"]
    assert ImageFolder(tmp_path, classes=vehicles).counts() == dict.fromkeys(vehicles, 5)
    assert ImageFolder(tmp_path, "train", classes=vehicles).counts() == dict.fromkeys(vehicles, 4)
    assert ImageFolder(tmp_path, "val", classes=vehicles).counts() == dict.fromkeys(vehicles, 1)


@pytest.mark.parametrize(("folder", "split"), [("train", "train"), ("val", "val"), ("val", "train")])
def test_a_split_of_a_split_is_refused(tmp_path: Path, folder: str, split: str) -> None:
    """It would be a held-out fifth of what the user means."""
    make(tmp_path, "train/cat/10", "val/cat/10")
    with pytest.raises(DataError, match=f"is itself a split: leave split='{split}' out, or give {tmp_path}"):
        ImageFolder(tmp_path / folder, split)


def test_a_training_folder_alone_may_be_split(tmp_path: Path) -> None:
    make(tmp_path, "train/cat/10")
    for root in (tmp_path, tmp_path / "train"):
        assert (len(ImageFolder(root, "train")), len(ImageFolder(root, "val"))) == (8, 2)
    assert len(ImageFolder(tmp_path / "train")) == 10


# ---- hold-out ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("uneven"), "ant/2", "bee/7", "cat/40", "dog/11")


@settings(max_examples=60, deadline=None)
@given(holdout=st.floats(0.001, 0.999), seed=st.integers())
def test_hold_outs_are_disjoint_complete_and_stratified(uneven: Path, holdout: float, seed: int) -> None:
    train, val = (ImageFolder(uneven, split, holdout=holdout, seed=seed) for split in ("train", "val"))
    everything = ImageFolder(uneven)
    assert Counter(names(train)) + Counter(names(val)) == Counter(names(everything))
    assert train.classes == val.classes == everything.classes
    for name, total in everything.counts().items():
        assert val.counts()[name] == min(max(1, round(total * holdout)), total - 1)
    for part in (train, val):
        assert [part.classes[label] for label in part.labels] == [path.parent.name for path in part.paths]


def test_a_hold_out_is_the_same_again_and_another_for_another_seed(uneven: Path) -> None:
    def held_out(seed: int) -> list[str]:
        return names(ImageFolder(uneven, "val", seed=seed))

    assert held_out(3) == held_out(3)
    assert len({tuple(held_out(seed)) for seed in range(10)}) == 10


def test_every_picture_is_held_out_equally_often(tmp_path: Path) -> None:
    make(tmp_path, "ant/5", "bee/5")
    counted = Counter(name for seed in range(300) for name in names(ImageFolder(tmp_path, "val", seed=seed)))
    assert len(counted) == 10
    assert sum((count - 60) ** 2 / 60 for count in counted.values()) < 27.9  # 9 degrees of freedom, 99.9 %


def test_a_validation_folder_is_left_as_it_is(tmp_path: Path) -> None:
    make(tmp_path, "train/cat/10", "validation/cat/3")
    assert len(ImageFolder(tmp_path, "train", holdout=0.5)) == 10
    assert len(ImageFolder(tmp_path, "val", holdout=0.5)) == 3


def test_a_class_of_one_picture_cannot_be_split(tmp_path: Path) -> None:
    make(tmp_path, "train/ant/4", "train/bee/1")
    for split in ("train", "val"):
        with pytest.raises(DataError, match=r"train/bee has 1 picture: a class needs two or more"):
            ImageFolder(tmp_path, split)
    assert len(ImageFolder(tmp_path / "train")) == 5


def test_a_given_class_without_pictures_may_be_split(tmp_path: Path) -> None:
    make(tmp_path, "ant/4", "bee/4")
    assert ImageFolder(tmp_path, "val", classes=["ant", "bee", "cat"]).counts() == {"ant": 1, "bee": 1, "cat": 0}


# ---- what cannot be used -------------------------------------------------------------------------------------------


def test_a_missing_folder_shows_what_there_is(tmp_path: Path) -> None:
    make(tmp_path, "photos/train/cat/1", "videos/1", ".cache/1")
    with pytest.raises(DataError, match=rf"fotos: no such folder; {tmp_path} holds: photos, videos$"):
        ImageFolder(tmp_path / "fotos")
    with pytest.raises(DataError, match=rf"trian: no such folder; {tmp_path / 'photos'} holds: train$"):
        ImageFolder(tmp_path / "photos" / "trian", "val")
    with pytest.raises(DataError, match=rf"no such folder; {tmp_path / 'videos'} holds: no folders$"):
        ImageFolder(tmp_path / "videos" / "a" / "b" / "c")


def test_a_missing_relative_folder_shows_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make(tmp_path, "photos/cat/1"))
    with pytest.raises(DataError, match=rf"^fotos: no such folder; {tmp_path} holds: photos$"):
        ImageFolder("fotos")


def test_a_home_that_no_shell_put_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    with pytest.raises(DataError, match="~/photos: no such folder; .*give /home/someone/photos"):
        ImageFolder("~/photos")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    make(tmp_path, "1")
    with pytest.raises(DataError, match=r"0\.png: not a folder"):
        ImageFolder(tmp_path / "0.png")


def test_a_folder_without_pictures_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("")
    for split in (None, "train", "val"):
        with pytest.raises(DataError, match=r"no pictures in class folders: expected FOLDER/CLASS/PICTURE\.jpg"):
            ImageFolder(tmp_path, split)


def test_loose_pictures_are_told_to_be_loose(tmp_path: Path) -> None:
    make(tmp_path, "3")
    with pytest.raises(DataError, match="its pictures lie in no class folder"):
        ImageFolder(tmp_path)
    make(tmp_path, "train/cat/2", "val/2")
    with pytest.raises(DataError, match="val has no pictures in class folders: its pictures lie in no class folder"):
        ImageFolder(tmp_path, "val")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "vall"}, r"split must be one of 'train', 'val', 'test'\. Found: 'vall'"),
        ({"holdout": 0}, r"holdout must be a share between 0 and 1\. Found: 0"),
        ({"holdout": 1.0}, r"Found: 1\.0"),
        ({"on_error": "ignore"}, "on_error must be 'raise' or 'skip'"),
        ({"classes": "cat"}, "classes= is a list of names. Found: 'cat'"),
    ],
)
def test_a_wrong_setting_is_refused_when_it_is_given(uneven: Path, options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageFolder(uneven, **options)


def test_an_unreadable_picture_is_named_when_it_is_asked_for(tmp_path: Path) -> None:
    make(tmp_path, "cat/3")
    (tmp_path / "cat" / "1.png").write_bytes(b"no picture")
    folder = ImageFolder(tmp_path)
    assert isinstance(folder[0][0], Image.Image)
    with pytest.raises(DataError, match=rf"{tmp_path}/cat/1\.png: not a readable picture"):
        folder[1]


def test_the_embedded_photos_are_complete() -> None:
    train, val = (ImageFolder(demo_photos(), split=split) for split in ("train", "val"))
    assert train.classes == val.classes
    assert len(train.classes) == 10
    assert min(train.counts().values()) >= 80
    assert min(val.counts().values()) >= 20
    assert not set(map(str, train.paths)) & set(map(str, val.paths))
    assert np.asarray(train[0][0]).std() > 5
