"""Laws of packed data: what was put in comes out, for any engine; an interrupted pack goes on; damage is named."""

import json
import os
import resource
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import forked
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import loopwright as lw
from loopwright import cli
from loopwright._errors import ConfigError, DataError
from loopwright.data._pack_file import PackReader, PackWriter, checksum, sole_writer
from loopwright.data._recipe import Recipe
from loopwright.data._view import lines, lines_of_parts


@pytest.fixture(scope="module")
def photos() -> lw.ImageFolder:
    return lw.ImageFolder(lw.demo_photos(), split="val")


@pytest.fixture(scope="module")
def raw(photos: lw.ImageFolder, tmp_path_factory: pytest.TempPathFactory) -> lw.Packed:
    return lw.pack(photos, tmp_path_factory.mktemp("raw") / "val.pack", progress=False)


def few(folder: Path, photos: lw.ImageFolder, count: int = 12) -> lw.ImageFolder:
    for number, path in enumerate(photos.paths[:count]):
        (folder / f"c {number % 2}").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"c {number % 2}" / f"ü {number:02d}.jpg")
    return lw.ImageFolder(folder)


def test_a_pack_at_source_size_holds_the_very_pictures(photos: lw.ImageFolder, raw: lw.Packed) -> None:
    assert len(raw) == len(photos)
    assert raw.classes == photos.classes
    assert raw.labels == photos.labels
    assert raw.counts() == photos.counts()
    for index in range(0, len(photos), 17):
        assert np.array_equal(np.asarray(raw[index][0]), np.asarray(photos[index][0]))
        assert Path(raw.name_of(index)).samefile(photos.name_of(index))


@pytest.mark.parametrize("transform", [lw.RandomResizedCrop(80), lw.CenterCrop(48)])
@pytest.mark.parametrize(
    ("engine", "workers"), [("ring", 1), ("ring", 3), ("threads", 2), ("processes", 2), ("here", 0)]
)
def test_a_pack_at_source_size_gives_the_batches_of_the_folder(
    photos: lw.ImageFolder, raw: lw.Packed, transform: lw.Geometry, engine: str, workers: int
) -> None:
    """The crop is too large for the folder's files to be read at a reduced size, so the bits are the same."""

    def batches(dataset: object) -> list:
        options = {"transform": transform, "shuffle": True, "seed": 1, "workers": workers, "engine": engine}
        loader = lw.Loader(dataset, 32, **options)  # type: ignore[arg-type]
        made = list(loader)
        loader.close()
        return made

    for (x, y), (a, b) in zip(batches(photos), batches(raw), strict=True):
        assert torch.equal(x, a)
        assert torch.equal(y, b)


@pytest.mark.parametrize("transform", [lw.RandomCrop(40), lw.RandomResizedCrop(40), lw.CenterCrop(20), None])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_pictures_that_are_alike_are_cut_the_same_way(
    photos: lw.ImageFolder, tmp_path: Path, transform: lw.Geometry | None, on_error: str
) -> None:
    packed = lw.pack(few(tmp_path / "few", photos, 70), tmp_path / "x.pack", size=48, crop=True, progress=False)
    if on_error == "skip":
        content = bytearray(packed.path.read_bytes())
        for index in (3, 30, 69):
            content[PackReader(packed.path).entries[index][0]] ^= 1
        packed.path.write_bytes(content)
        packed = lw.Packed(packed.path)
    made = {}
    for engine, workers in (("here", 0), ("ring", 1), ("ring", 3), ("threads", 2), ("processes", 1)):
        options = {"transform": transform, "shuffle": True, "workers": workers, "engine": engine, "on_error": on_error}
        loader = lw.Loader(packed, 33, **options)  # type: ignore[arg-type]
        made[engine, workers] = list(loader.epoch_batches(1))
        assert len(loader.skipped) == (3 if on_error == "skip" else 0)
        loader.close()
    expected = made.pop(("here", 0))
    assert expected[0][0].shape[2] == (48 if transform is None else transform.size)
    for batches in made.values():
        assert all(torch.equal(x, a) and torch.equal(y, b) for (x, y), (a, b) in zip(batches, expected, strict=True))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]), st.data())
def test_lines_of_a_part_are_its_pixels(count: int, high: int, wide: int, channels: int, choice: st.DataObject) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (count, high * wide * channels + 5), dtype=np.uint8)
    pictures = pixels[:, : high * wide * channels].reshape(count, high, wide, channels)  # with a gap between two
    height, width = choice.draw(st.integers(1, high)), choice.draw(st.integers(1, wide))
    parts = lines_of_parts(pictures, height, width)
    assert parts.shape[:3] == (count, high - height + 1, wide - width + 1)
    index, top, left = (choice.draw(st.integers(0, size - 1)) for size in parts.shape[:3])
    made = np.zeros((1, height, width, channels), np.uint8)
    lines(made, 1 if width == wide else height)[0] = parts[index, top, left]
    assert np.array_equal(made[0], pictures[index, top : top + height, left : left + width])


@pytest.mark.parametrize("transform", [lw.RandomCrop(40), None])
@pytest.mark.parametrize("engine", ["ring", "threads"])
def test_records_that_lie_unevenly_are_cut_the_same_way(
    photos: lw.ImageFolder, tmp_path: Path, transform: object, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.pack"
    lw.pack(few(tmp_path / "few", photos, 20), path, size=48, crop=True, progress=False)

    def batches() -> tuple[bool, list]:
        loader = lw.Loader(lw.Packed(path), 8, transform=transform, workers=2, engine=engine, shuffle=True, seed=5)  # type: ignore[arg-type]
        made = [(x.clone(), y.clone()) for x, y in loader]
        loader.close()
        return loader.sample_maker.cutter is not None, made

    copied, expected = batches()
    monkeypatch.setattr(PackReader, "evenly", lambda self: None)
    copied_then, made = batches()
    assert (copied, copied_then) == (True, False)
    assert all(torch.equal(x, a) and torch.equal(y, b) for (x, y), (a, b) in zip(made, expected, strict=True))


def test_a_recipe_is_what_is_stored(photos: lw.ImageFolder, tmp_path: Path) -> None:
    shrunk = lw.pack(photos, tmp_path / "shrunk.pack", size=50, progress=False)
    cropped = lw.pack(photos, tmp_path / "cropped.pack", size=50, crop=True, progress=False)
    jpeg = lw.pack(photos, tmp_path / "jpeg.pack", size=50, format="jpeg", quality=95, progress=False)
    assert {min(shrunk[i][0].size) for i in range(0, 100, 9)} == {50}
    assert {cropped[i][0].size for i in range(0, 100, 9)} == {(50, 50)}
    assert os.path.getsize(tmp_path / "jpeg.pack") < os.path.getsize(tmp_path / "shrunk.pack") / 2
    for index in range(0, 100, 9):
        before, after = np.asarray(shrunk[index][0], float), np.asarray(jpeg[index][0], float)
        assert 10 * np.log10(255**2 / ((before - after) ** 2).mean()) > 33


@pytest.mark.parametrize("sides", [(500, 375), (375, 500), (256, 256), (100, 90), (1000, 10), (1, 1)])
def test_a_recipe_shrinks_and_never_enlarges(sides: tuple[int, int]) -> None:
    view = Recipe(size=256).view(*sides)
    assert min(view.width, view.height) == min(256, *sides)
    assert abs(view.width / view.height - sides[0] / sides[1]) <= sides[0] / sides[1] / 2 / min(view.width, view.height)
    square = Recipe(size=256, crop=True).view(*sides)
    assert (square.width, square.height) == (256, 256)
    assert square.box[2] - square.box[0] == square.box[3] - square.box[1] == min(sides)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size must be a whole number"), ({"crop": True}, "crop=True needs the size"),
        ({"format": "png"}, "format must be 'raw' or 'jpeg'"), ({"quality": 0}, "quality must be a whole number, 1 to 100"),
        ({"quality": "90"}, "Found: '90'"), ({"workers": 0}, "workers must be a whole number, 1 or more, or None. Found: 0"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_refused(photos: lw.ImageFolder, tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lw.pack(photos, tmp_path / "x.pack", **arguments)
    assert not list(tmp_path.iterdir())


def test_the_same_pack_is_not_made_twice(photos: lw.ImageFolder, tmp_path: Path) -> None:
    folder = few(tmp_path / "few", photos)
    lw.pack(folder, tmp_path / "x.pack", progress=False)
    before = (tmp_path / "x.pack").stat()
    lw.pack(folder, tmp_path / "x.pack", progress=False)
    assert (tmp_path / "x.pack").stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(DataError, match="made with .*'size': None.*overwrite"):
        lw.pack(folder, tmp_path / "x.pack", size=9, progress=False)
    assert lw.pack(folder, tmp_path / "x.pack", size=9, overwrite=True, progress=False).recipe["size"] == 9


def test_a_changed_source_is_noticed(photos: lw.ImageFolder, tmp_path: Path) -> None:
    folder = few(tmp_path / "few", photos)
    lw.pack(folder, tmp_path / "x.pack", progress=False)
    before = Path(folder.paths[3]).read_bytes()
    Path(folder.paths[3]).write_bytes(before[:-9])
    with pytest.raises(DataError, match="1 source files have changed since it was packed, such as .*jpg"):
        lw.Packed(tmp_path / "x.pack")
    assert len(lw.Packed(tmp_path / "x.pack", check_source=False)) == 12
    with pytest.raises(DataError, match="were changed since: say overwrite=True"):
        lw.pack(folder, tmp_path / "x.pack", progress=False)
    shutil.rmtree(folder.root)
    assert len(lw.Packed(tmp_path / "x.pack")) == 12  # the source may be elsewhere


@pytest.mark.parametrize("recipe", [{}, {"size": 40, "crop": True}, {"format": "jpeg", "quality": 70}])
def test_a_source_that_was_copied_has_not_changed(photos: lw.ImageFolder, tmp_path: Path, recipe: dict) -> None:
    folder = few(tmp_path / "few", photos)
    lw.pack(folder, tmp_path / "x.pack", **recipe, progress=False)
    before = (tmp_path / "x.pack").stat()
    for number, path in enumerate(folder.paths):
        os.utime(path, (number, number))
    assert len(lw.Packed(tmp_path / "x.pack")) == 12
    shutil.copytree(folder.root, tmp_path / "copy")
    for source in (folder, lw.ImageFolder(tmp_path / "copy", split=None)):
        lw.pack(source, tmp_path / "x.pack", **recipe, progress=False)
        assert (tmp_path / "x.pack").stat().st_mtime_ns == before.st_mtime_ns


def test_a_source_of_the_same_size_with_another_picture_has_changed(tmp_path: Path) -> None:
    place = tmp_path / "photos" / "kind"
    place.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(place / f"{number}.bmp")
    folder = lw.ImageFolder(tmp_path / "photos", split=None)
    lw.pack(folder, tmp_path / "x.pack", progress=False)
    Image.new("RGB", (8, 8), (9, 9, 9)).save(place / "1.bmp")
    assert lw.Packed(tmp_path / "x.pack", check_source=False).changed() == [str(place / "1.bmp")]
    with pytest.raises(DataError, match="were changed since: say overwrite=True"):
        lw.pack(folder, tmp_path / "x.pack", progress=False)
    (place / "1.bmp").unlink()
    os.mkfifo(place / "1.bmp")
    with pytest.raises(DataError, match="1 source files have changed"):
        lw.Packed(tmp_path / "x.pack")  # nothing waits for a pipe


def test_another_recipe_than_asked_for_is_noticed(raw: lw.Packed) -> None:
    assert lw.Packed(raw.path, recipe={"size": None, "format": "raw"}).recipe == raw.recipe
    with pytest.raises(DataError, match=r"packed with size=None, asked for size=256"):
        lw.Packed(raw.path, recipe={"size": 256})


def test_a_damaged_record_is_named(photos: lw.ImageFolder, tmp_path: Path) -> None:
    packed = lw.pack(few(tmp_path / "few", photos), tmp_path / "x.pack", progress=False)
    content = bytearray(packed.path.read_bytes())
    content[PackReader(packed.path).entries[5][0] + 1000] ^= 4
    packed.path.write_bytes(content)
    damaged = lw.Packed(packed.path)
    name = damaged.name_of(5)
    assert damaged.verify() == [name]
    damaged[4]
    for read in (lambda: damaged[5], lambda: list(lw.Loader(damaged, 4, transform=lw.CenterCrop(8), workers=1))):
        with pytest.raises(DataError, match=r"ü \d\d.jpg: its record in .*x.pack is damaged"):
            read()


@pytest.mark.parametrize("damage", ["cut", "facts", "index", "empty", "other"])
def test_a_damaged_file_is_refused(photos: lw.ImageFolder, tmp_path: Path, damage: str) -> None:
    path = lw.pack(few(tmp_path / "few", photos), tmp_path / "x.pack", progress=False).path
    content = bytearray(path.read_bytes())
    places = PackReader(path).facts["arrays"]
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "facts":
        content[-60] ^= 1
    elif damage == "index":
        content[places["index"]["offset"] + 3] ^= 1
    else:
        content = bytearray(b"" if damage == "empty" else b"something else" * 1000)
    path.write_bytes(content)
    expected = "not a packed data set" if damage in ("empty", "other") else "damaged"
    with pytest.raises(DataError, match=rf"x\.pack: {expected}"):
        lw.Packed(path)
    with pytest.raises(DataError, match="overwrite=True"):
        lw.pack(tmp_path / "few", path, progress=False)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.pack: no such file$"):
        lw.Packed(tmp_path / "x.pack")
    (tmp_path / "x.pack.part").touch()
    with pytest.raises(DataError, match="an unfinished pack lies there"):
        lw.Packed(tmp_path / "x.pack")
    with pytest.raises(ConfigError, match=r"lw\.Cached"):
        lw.pack(list(range(4)), tmp_path / "y.pack")


def test_a_pack_is_not_packed_again(raw: lw.Packed, tmp_path: Path) -> None:
    for again in (raw, lw.Part(raw, [2, 1])):
        with pytest.raises(ConfigError, match="are in no files of their own: pack what it was made from"):
            lw.pack(again, tmp_path / "y.pack", size=32)


def test_a_killed_pack_goes_on(photos: lw.ImageFolder, raw: lw.Packed, tmp_path: Path) -> None:
    """Killed again and again, at any instant; no record is lost that was flushed, and the end is the same file."""
    path, attempts, grown = tmp_path / "x.pack", 0, []
    while not path.exists():
        child = forked(lambda: lw.pack(photos, path, workers=1, progress=False))
        time.sleep(0.02 + 0.01 * attempts)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        part = tmp_path / "x.pack.part"
        grown.append(part.stat().st_size if part.exists() else 0)
        attempts += 1
        assert attempts < 200
    assert attempts > 1
    assert path.read_bytes() == raw.path.read_bytes()
    lw.pack(photos, path, progress=False)
    assert os.listdir(tmp_path) == ["x.pack"]


def test_a_pack_that_failed_goes_on_where_it_was(photos: lw.ImageFolder, tmp_path: Path) -> None:
    folder = few(tmp_path / "few", photos)
    good = folder.paths[8].read_bytes()
    folder.paths[8].write_bytes(b"broken")
    with pytest.raises(DataError, match=r"ü \d\d.jpg: not a readable picture"):
        lw.pack(folder, tmp_path / "x.pack", workers=1, progress=False)
    stat = folder.paths[8].stat()
    folder.paths[8].write_bytes(good)
    assert len(lw.pack(folder, tmp_path / "x.pack", progress=False)) == 12
    assert stat.st_size != folder.paths[8].stat().st_size  # so it began anew: the source is another


def test_several_that_pack_to_one_place_make_one_pack(photos: lw.ImageFolder, raw: lw.Packed, tmp_path: Path) -> None:
    """As the ranks of one script do: one packs, the others wait for it and open what it made."""
    path = tmp_path / "x.pack"
    children = [forked(lambda: lw.pack(photos, path, workers=1, progress=False).verify()) for _ in range(3)]
    time.sleep(0.1)
    os.kill(children[0], signal.SIGKILL)  # whoever that was: the next one goes on
    assert [os.waitpid(child, 0)[1] for child in children][1:] == [0, 0]
    assert path.read_bytes() == raw.path.read_bytes()
    assert os.listdir(tmp_path) == ["x.pack"]


def test_what_is_being_packed_is_left_alone(photos: lw.ImageFolder, raw: lw.Packed, tmp_path: Path) -> None:
    """Opening a pack tidies up behind a writer that was killed, not behind one that writes."""
    path = Path(shutil.copy(raw.path, tmp_path))
    with sole_writer(path, None), PackWriter(path, {"a": 1}) as writer:
        writer.add(0, np.arange(9, dtype=np.uint8), 3, 3)
        with pytest.raises(BlockingIOError), sole_writer(path, None):
            pass
        lw.pack(photos, path, progress=False)
        assert len(os.listdir(tmp_path)) == 3
    lw.pack(photos, path, progress=False)
    assert os.listdir(tmp_path) == [path.name]


def test_a_full_disk_is_said_and_packing_goes_on(photos: lw.ImageFolder, raw: lw.Packed, tmp_path: Path) -> None:
    path = tmp_path / "x.pack"

    def pack_within(most: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))  # a file that grows beyond it is an OSError
        with pytest.raises(DataError, match=r"x\.pack cannot be written \(File too large\): give another place"):
            lw.pack(photos, path, progress=False)

    half = raw.path.stat().st_size // 2
    assert os.waitpid(forked(lambda: pack_within(half)), 0)[1] == 0
    assert (tmp_path / "x.pack.part").stat().st_size > half * 0.9
    assert lw.pack(photos, path, progress=False).verify() == []
    assert path.read_bytes() == raw.path.read_bytes()


def test_where_no_pack_can_be_is_said_before_packing(photos: lw.ImageFolder, raw: lw.Packed, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/x\.pack cannot be written .*give another place"):
        lw.pack(photos, tmp_path / "file" / "x.pack", progress=False)
    with pytest.raises(ConfigError, match=r"is a folder: give the file a name in it, such as .*/train\.pack"):
        lw.pack(photos, tmp_path, overwrite=True, progress=False)
    with pytest.raises(DataError, match=r"a folder, not a pack; it has packs, give one: val\.pack"):
        lw.Packed(raw.path.parent)


def test_what_is_gone_is_left_out_and_listed(photos: lw.ImageFolder, tmp_path: Path) -> None:
    few(tmp_path / "few", photos)
    folder = lw.ImageFolder(tmp_path / "few", on_error="skip")
    folder.paths[5].unlink()
    packed = lw.pack(folder, tmp_path / "x.pack", progress=False)
    assert (len(packed), packed.skipped) == (11, [f"{folder.paths[5]}: no such picture"])
    assert len(lw.pack(folder, tmp_path / "x.pack", progress=False)) == 11


@pytest.mark.parametrize("killed", [False, True])
def test_the_unreadable_are_left_out_and_listed(photos: lw.ImageFolder, tmp_path: Path, killed: bool) -> None:
    few(tmp_path / "few", photos)
    folder = lw.ImageFolder(tmp_path / "few", on_error="skip")
    for index in (0, 5, 11):
        folder.paths[index].write_bytes(b"broken")
    if killed:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PackWriter, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                lw.pack(folder, tmp_path / "x.pack", progress=False)
    packed = lw.pack(folder, tmp_path / "x.pack", progress=False)
    assert len(packed) == 9
    assert [message.split(":")[0] for message in packed.skipped] == [str(folder.paths[i]) for i in (0, 5, 11)]
    assert packed.labels == [label for index, label in enumerate(folder.labels) if index not in (0, 5, 11)]


def test_targets_may_be_vectors(photos: lw.ImageFolder, tmp_path: Path) -> None:
    class Many:
        def __len__(self) -> int:
            return 5

        def undecoded(self, index: int) -> tuple[Path, torch.Tensor]:
            return photos.paths[index], torch.tensor([index, 0.5])

    packed = lw.pack(Many(), tmp_path / "x.pack", progress=False)
    batch = next(iter(lw.Loader(packed, 5, transform=lw.CenterCrop(8), workers=1)))
    assert batch[1].tolist() == [[i, 0.5] for i in range(5)]


def test_an_exif_turned_picture_is_stored_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "in" / "a").mkdir(parents=True)
    Image.linear_gradient("L").resize((60, 40)).save(tmp_path / "in" / "a" / "1.jpg", exif=exif)
    packed = lw.pack(tmp_path / "in", tmp_path / "x.pack", progress=False)
    assert packed[0][0].size == (40, 60)


def test_the_command_packs_and_train_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pack", str(lw.demo_photos()), str(tmp_path / "packed"), "--size", "32"]) == 0
    said = capsys.readouterr().out
    assert "1000 pictures of 10 classes, size=32, format='raw'" in said
    assert sorted(os.listdir(tmp_path / "packed")) == ["train.pack", "val.pack"]
    plan = ["train", f"data={tmp_path / 'packed'}", f"run={tmp_path / 'run'}", "model=small_resnet", "image_size=32"]
    assert cli.main([*plan, "--dry-run"]) == 0
    assert "1000" in capsys.readouterr().out
    assert cli.main(["pack", str(tmp_path / "nothing"), str(tmp_path / "packed")]) == 2
    assert "no such folder" in capsys.readouterr().err


@settings(deadline=None, max_examples=100)
@given(st.lists(st.binary(max_size=200), max_size=6), st.integers(0, 6))
def test_records_come_back_whatever_they_hold(
    tmp_path_factory: pytest.TempPathFactory, datas: list[bytes], cut: int
) -> None:
    path = tmp_path_factory.mktemp("pack") / "x.pack"
    facts = {"a": 1}

    def fill(upto: int | None = None) -> None:
        with PackWriter(path, facts) as writer:
            for number in range(len(writer), len(datas) if upto is None else min(upto, len(datas))):
                writer.add(number, np.frombuffer(datas[number], np.uint8), 3, 4)
            if upto is None:
                writer.finish({"more": np.arange(3)}, {"b": [1, "ü"]})

    fill(cut)
    fill()
    reader = PackReader(path)
    assert [reader.record(number).tobytes() for number in range(len(datas))] == datas
    assert all(reader.is_whole(number) for number in range(len(datas)))
    assert reader.array("more").tolist() == [0, 1, 2]
    assert reader.facts["b"] == [1, "ü"]


@settings(deadline=None, max_examples=200)
@given(st.binary(min_size=1, max_size=100), st.data())
def test_any_changed_byte_changes_the_checksum(data: bytes, choice: st.DataObject) -> None:
    place = choice.draw(st.integers(0, len(data) - 1))
    changed = bytearray(data)
    changed[place] ^= choice.draw(st.integers(1, 255))
    assert checksum(np.frombuffer(data, np.uint8)) != checksum(np.frombuffer(bytes(changed), np.uint8))
    assert checksum(np.frombuffer(data, np.uint8)) != checksum(np.frombuffer(data[:-1], np.uint8))


def test_a_part_of_another_pack_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "x.pack"
    with PackWriter(path, {"a": 1}) as writer:
        writer.add(0, np.arange(9, dtype=np.uint8), 3, 3)
    assert json.loads((tmp_path / "x.pack.part.journal").read_bytes().splitlines()[0]) == {"a": 1}
    with PackWriter(path, {"a": 1}) as writer:
        assert len(writer) == 1
    with PackWriter(path, {"a": 2}) as writer:
        assert len(writer) == 0
