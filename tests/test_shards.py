"""Laws of tar shards: archives are read as Python's own reader reads them, a dataset comes back as it was written, the
batches are those of the folder for any engine and any workers, a resumed stream goes on where it was, and every fault is
named."""

import copy
import gzip
import io
import os
import pickle
import random
import re
import signal
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import forked, same_bits, tiny_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import loopwright as lw
from loopwright.data._engine import one_thread
from loopwright.data._shard_fields import Fields
from loopwright.data._shard_names import expand_braces, find_shards
from loopwright.data._shard_samples import ShardFault, ShardSample, shard_samples, split_name
from loopwright.data._shuffle_buffer import ShuffleBuffer
from loopwright.data._source import open_source
from loopwright.data._stream_source import StreamSource
from loopwright.data._tar import Archive, BrokenTar

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # more workers than cores
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class FewPhotos:
    """Some of the embedded photos of all classes, few enough for many lives."""

    def __init__(self, count: int = 47) -> None:
        photos = lw.ImageFolder(lw.demo_photos(), split="val")
        self._photos = lw.Part(photos, np.arange(count) * len(photos) // count)

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, index: int) -> Any:
        return self._photos[index]

    def undecoded(self, index: int) -> Any:
        return self._photos.undecoded(index)


@pytest.fixture(scope="module")
def photos() -> FewPhotos:
    return FewPhotos()


@pytest.fixture(scope="module")
def plain(photos: FewPhotos, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five shards, of 10 photos and of 7."""
    return lw.write_shards(photos, tmp_path_factory.mktemp("plain") / "photo-%03d.tar", samples_per_shard=10)


@pytest.fixture(scope="module")
def packed(photos: FewPhotos, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return lw.write_shards(photos, tmp_path_factory.mktemp("packed") / "photo-%03d.tar.gz", samples_per_shard=10)


def write_tar(path: Path, files: list[tuple[str, bytes]], **options: Any) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w", **options) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def of_texts(path: Path, count: int = 6, size: int = 700) -> Path:
    """A shard of samples 0 to count - 1, whose .txt says so at length, with a .cls each."""
    files = [
        (f"{n}.{end}", data) for n in range(count) for end, data in (("cls", b"%d" % n), ("txt", b"%d " % n * size))
    ]
    return write_tar(path, files)


def same(one: Any, other: Any) -> bool:
    one, other = list(one), list(other)
    return len(one) == len(other) and all(
        torch.equal(x, a) and torch.equal(y, b) for (x, y), (a, b) in zip(one, other, strict=True)
    )


# ---- archives ------------------------------------------------------------------------------------------------------

NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40).filter(
    lambda name: not name.endswith("/")
)
LONG = st.builds(lambda part, times: f"{part}x" * times, NAME, st.integers(20, 90))
FILES = st.lists(st.tuples(NAME | LONG, st.binary(max_size=1100)), max_size=5)


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@QUICK
@given(files=FILES)
def test_an_archive_is_read_as_pythons_own_reader_reads_it(files: list, kind: int, tmp_path: Path) -> None:
    try:
        path = write_tar(tmp_path / "a.tar", files, format=kind)
    except ValueError:
        assert kind == tarfile.USTAR_FORMAT  # it has no such long names
        return
    with tarfile.open(path) as tar:
        expected = [(m.name, m.offset_data, m.size) for m in tar.getmembers()]
    whole = path.read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(whole, 1))
    for source in (path, tmp_path / "a.tar.gz", io.BytesIO(whole), _Pipe(whole)):
        with Archive(source) as archive:  # type: ignore[arg-type]
            found = [(member[:3], archive.read() if number % 2 else None) for number, member in enumerate(archive)]
        assert [place for place, _ in found] == expected
        assert all(data in (None, files[number][1]) for number, (_, data) in enumerate(found))


class _Pipe:
    """Can be read in small pieces only, once."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, 1000))


@QUICK
@given(files=FILES.filter(bool), cut=st.floats(0, 1, exclude_max=True))
def test_an_archive_cut_anywhere_is_noticed(files: list, cut: float, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", files)
    with tarfile.open(path) as tar:
        end = tar.getmembers()[-1]
    whole = path.read_bytes()[: end.offset_data + end.size + -end.size % 512]
    part = whole[: int(len(whole) * cut)]
    path.write_bytes(part)
    for source in (path, io.BytesIO(part), io.BytesIO(gzip.compress(part, 1))):
        with pytest.raises(BrokenTar), Archive(source) as archive:
            list(archive)


@QUICK
@given(place=st.integers(0, 511).filter(lambda n: not 148 <= n < 156), bit=st.integers(0, 7))
def test_a_flipped_bit_of_a_header_is_noticed(place: int, bit: int, tmp_path: Path) -> None:
    data = bytearray(write_tar(tmp_path / "a.tar", [("1.txt", b"one"), ("2.txt", b"two")]).read_bytes())
    data[1024 + place] ^= 1 << bit
    with pytest.raises(BrokenTar, match="damaged"), Archive(io.BytesIO(data)) as archive:
        list(archive)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"hello", "no tar archive"),
        (b"hello" * 300, "no tar archive"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\x28\xb5\x2f\xfd1234", "zstd"),
        (gzip.compress(b"hello" * 300, mtime=0), "no tar archive"),
        (gzip.compress(bytes(2000), mtime=0)[:-8] + b"12345678", "damaged"),
    ],
)
def test_what_is_no_archive_is_said_to_be_none(data: bytes, message: str) -> None:
    with pytest.raises(BrokenTar, match=message), Archive(io.BytesIO(data)) as archive:
        list(archive)


def test_archives_put_one_behind_the_other_lose_nothing_in_silence(tmp_path: Path) -> None:
    one = of_texts(tmp_path / "a.tar").read_bytes()
    (tmp_path / "b.tar").write_bytes(one + one)
    with pytest.raises(lw.DataError, match=r"b\.tar: something follows its end mark"):
        lw.Shards(tmp_path / "b.tar", fields="txt")


# ---- names ---------------------------------------------------------------------------------------------------------


@QUICK
@given(first=st.integers(0, 30), count=st.integers(1, 12), digits=st.integers(1, 5), back=st.booleans())
def test_a_range_in_braces_gives_its_numbers(first: int, count: int, digits: int, back: bool) -> None:
    numbers = [f"{number:0{digits}}" for number in range(first, first + count)]
    numbers = numbers[::-1] if back else numbers
    assert list(expand_braces(f"a{{{numbers[0]}..{numbers[-1]}}}b")) == [f"a{number}b" for number in numbers]


PLAIN_TEXT = st.text("ab{}.-", max_size=3).filter(lambda t: "{" not in t and "}" not in t)


@QUICK
@given(rows=st.lists(st.tuples(PLAIN_TEXT, st.lists(PLAIN_TEXT, min_size=2, max_size=3)), max_size=3), end=PLAIN_TEXT)
def test_braces_are_the_product_of_their_choices(rows: list, end: str) -> None:
    pattern, expected = "", [""]
    for before, choices in rows:
        pattern += f"{before}{{{','.join(choices)}}}"
        expected = [f"{head}{before}{choice}" for head in expected for choice in choices]
    assert list(expand_braces(pattern + end)) == [head + end for head in expected]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{a,b{1..3},{c,d}}e", "ae b1e b2e b3e ce de"),
        ("{x{a,b}y}", "{xay} {xby}"),
        ("{a}{", "{a}{"),
        ("}{a,b", "}{a,b"),
        ("{9..11}", "9 10 11"),
        ("{09..11}", "09 10 11"),
    ],
)
def test_braces_are_those_of_a_shell(pattern: str, expected: str) -> None:
    assert list(expand_braces(pattern)) == expected.split()


def test_shards_are_found_in_their_order(tmp_path: Path) -> None:
    for name in ("a-1.tar", "a-2.tar", "a-10.tar", "b{1}.tar"):
        (tmp_path / name).touch()
    names = lambda urls: [path.name for path in find_shards(urls)]  # noqa: E731
    assert names(f"{tmp_path}/a-{{1..2}}.tar") == ["a-1.tar", "a-2.tar"]
    assert names(f"{tmp_path}/a-*.tar") == ["a-1.tar", "a-10.tar", "a-2.tar"]
    assert names([tmp_path / "a-2.tar", f"{tmp_path}/a-1?.tar"]) == ["a-2.tar", "a-10.tar"]
    assert names(f"{tmp_path}/b{{1}}.tar") == names(tmp_path / "b{1}.tar") == ["b{1}.tar"]
    assert names(tmp_path / "a-{1..2}.tar") == ["a-1.tar", "a-2.tar"] and len(names(tmp_path / "a-*.tar")) == 3
    for urls, message in (
        (f"{tmp_path}/a-{{1..3}}.tar", r"1 of 3 shards are missing: .*a-3\.tar"),
        (f"{tmp_path}/c-*.tar", "no shard has such a name"),
        ([f"{tmp_path}/a-*.tar", f"{tmp_path}/../{tmp_path.name}/a-1.tar"], "more than once"),
        ([], "no shards"),
        (tmp_path, r"is a folder; name the shards in it, such as .*/\*\.tar"),
    ):
        with pytest.raises(lw.DataError, match=message):
            find_shards(urls)
    for address in ("https://example.org/a.tar", "pipe:cat a.tar"):
        with pytest.raises(lw.ConfigError, match="only files of this machine"):
            find_shards(address)


# ---- samples -------------------------------------------------------------------------------------------------------

KEY = st.text("ab0", min_size=1, max_size=3)
EXTENSIONS = st.lists(st.sampled_from(["jpg", "cls", "seg.png", "json"]), min_size=1, max_size=4, unique=True)


@QUICK
@given(
    st.lists(st.tuples(KEY, EXTENSIONS), max_size=8, unique_by=lambda row: row[0]), st.sampled_from(["", "./", "a.b/"])
)
def test_consecutive_files_of_one_name_are_a_sample(rows: list, folder: str) -> None:
    names = [f"{folder}{key}.{extension}" for key, extensions in rows for extension in extensions]
    with Archive(_tar_of([".DS_Store", *names, "a/README"])) as archive:
        found = list(shard_samples(archive, "s.tar"))
    inside = folder.removeprefix("./")
    assert [(sample.number, sample.key, list(sample.members)) for sample in found] == [  # type: ignore[union-attr]
        (number, f"{inside}{key}", extensions) for number, (key, extensions) in enumerate(rows)
    ]


def _tar_of(names: list[str], **links: str) -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
        for name, kind in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = {"symbolic": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE}[kind], names[0]
            tar.addfile(info)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.txt", "2.txt", "1.cls"], "s.tar/1: this name came before in the shard"),
        (["1.txt", "1.TXT"], "s.tar/1.txt: this name came before"),
        (["1.txt", "../2.txt"], "s.tar: member '../2.txt' leads out"),
        (["1.txt", "a/../../2.txt"], "leads out"),
        (["1.txt", "/2.txt"], "leads out"),
    ],
)
def test_what_is_wrong_in_a_shard_is_named(names: list[str], message: str) -> None:
    with Archive(_tar_of(names)) as archive:
        found = list(shard_samples(archive, "s.tar"))
    faults = [one.message for one in found if isinstance(one, ShardFault)]
    assert len(faults) == 1 and message in faults[0]
    assert any(isinstance(one, ShardSample) and one.key == "1" for one in found)


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_links_are_named(kind: str) -> None:
    with Archive(_tar_of(["1.txt"], link=kind)) as archive:
        assert "'link' is a link" in next(
            one.message for one in shard_samples(archive, "s") if isinstance(one, ShardFault)
        )


def test_a_name_without_an_extension_is_no_samples() -> None:
    assert [split_name(name) for name in ("a/b", ".x", "a/.x.jpg", "a.", "b.c/d")] == [None] * 5


def test_fields_take_the_first_that_is_there(tmp_path: Path) -> None:
    fields = Fields(("jpg;PNG", "cls"))
    assert fields.chosen({"png": 1, "jpg": 1, "cls": 1}) == ["jpg", "cls"]
    assert fields.chosen({"png": 1, "cls": 1}) == ["png", "cls"]
    assert fields.chosen({"gif": 1, "cls": 1}) is None
    for wrong in ((), ("jpg;",), ".jpg"):
        with pytest.raises(lw.ConfigError, match="without dot"):
            Fields(wrong)


# ---- there and back ------------------------------------------------------------------------------------------------


def test_a_folder_comes_back_as_it_was(photos: FewPhotos, plain: list[Path]) -> None:
    shards = lw.Shards(plain)
    assert len(plain) == 5 and len(shards) == len(photos)
    for index in range(len(photos)):
        path, label = photos.undecoded(index)
        picture, number = shards.files(index)
        assert (picture.data, int(number.data)) == (Path(path).read_bytes(), label)
        assert shards[index] == photos[index]
    assert shards.name_of(-1) == f"{plain[-1]}/000046.jpg"
    assert shards.labels.tolist() == [photos.undecoded(index)[1] for index in range(len(photos))]
    assert sum(map(len, lw.hold_out(shards, 0.3, seed=0, stratified=False))) == len(photos)
    with pytest.raises(IndexError):
        shards[len(photos)]


VALUES = st.tuples(
    st.integers(-(2**40), 2**40),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    st.binary(max_size=9),
    st.lists(st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False), max_size=3),
    st.lists(st.floats(width=32, allow_nan=False), max_size=4).map(lambda row: np.array(row, np.float32)),
)


@settings(QUICK, max_examples=20)
@given(rows=st.lists(VALUES, min_size=1, max_size=7), most=st.integers(1, 4), packed=st.booleans())
def test_any_values_come_back(rows: list, most: int, packed: bool, tmp_path: Path) -> None:
    pattern, fields = tmp_path / f"v-%d.tar{'.gz' * packed}", ("cls", "txt", "bin", "json", "npy")
    written = lw.write_shards(rows, pattern, samples_per_shard=most, overwrite=True)
    assert len(written) == -(-len(rows) // most)
    read: Any = lw.ShardStream(written, 1, fields=fields, collate=lambda batch: batch[0], workers=0)
    read = read if packed else lw.Shards(written, fields=fields)
    for row, found in zip(rows, read, strict=True):
        assert row[:4] == found[:4] and row[4].dtype == found[4].dtype and np.array_equal(row[4], found[4])


def test_the_same_dataset_gives_the_same_bytes(
    photos: FewPhotos, plain: list[Path], packed: list[Path], tmp_path: Path
) -> None:
    for before, end in ((plain, "tar"), (packed, "tar.gz")):
        again = lw.write_shards(photos, tmp_path / f"photo-%03d.{end}", samples_per_shard=10)
        assert [path.read_bytes() for path in again] == [path.read_bytes() for path in before]
    of_shards = lw.write_shards(lw.Shards(plain), tmp_path / "again-%03d.tar", samples_per_shard=10)
    assert [path.read_bytes() for path in of_shards] == [path.read_bytes() for path in plain]
    with tarfile.open(plain[0]) as tar:
        members = tar.getmembers()
    assert [m.name for m in members[:3]] == ["000000.cls", "000000.jpg", "000001.cls"]
    assert {(m.mtime, m.uid, m.uname) for m in members} == {(0, 0, "")}


def test_shards_end_where_they_are_told_to(tmp_path: Path) -> None:
    data = [bytes([n]) * 100 for n in range(10)]
    few = lw.write_shards(data, tmp_path / "a-%d.tar", bytes_per_shard=250)
    assert [len(lw.Shards(path, fields="bin")) for path in few] == [2] * 5
    each = lw.write_shards(data, tmp_path / "b-%d.tar", bytes_per_shard=1)  # a sample larger than that has its own
    assert len(each) == 10
    assert len(lw.write_shards(data, tmp_path / "c-%d.tar", samples_per_shard=None)) == 1


def test_a_row_of_shards_is_not_mixed_with_an_older_one(tmp_path: Path) -> None:
    pattern = tmp_path / "a-%02d.tar"
    lw.write_shards(list(range(9)), pattern, samples_per_shard=3)
    (tmp_path / "a-x.tar").touch()
    with pytest.raises(lw.DataError, match=r"a-00\.tar is there already, and 2 more"):
        lw.write_shards(["new"], pattern)
    lw.write_shards(["new"], pattern, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-00.tar", "a-x.tar"]


def test_a_shard_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    class Failing(list):
        def __getitem__(self, index: Any) -> Any:
            if index == 5:
                raise OSError("gone")
            return super().__getitem__(index)

    with pytest.raises(OSError, match="gone"):
        lw.write_shards(Failing(range(9)), tmp_path / "%d.tar", samples_per_shard=4)
    assert [path.name for path in tmp_path.iterdir()] == ["0.tar"]
    assert len(lw.Shards(tmp_path / "0.tar", fields="cls")) == 4


def test_values_are_named_by_type_and_name(tmp_path: Path) -> None:
    picture = Image.new("RGB", (3, 2), (1, 2, 3))
    sample = {"image": picture, "label": 3, "jpg": b"123", "other": b"45", "score": 0.5, "mask.npy": torch.ones(2)}
    (path,) = lw.write_shards([sample], tmp_path / "%d.tar")
    fields = ("image.png", "label.cls", "jpg", "other.bin", "score.json", "mask.npy")
    with tarfile.open(path) as tar:
        assert sorted(tar.getnames()) == sorted(f"000000.{field}" for field in fields)
    read = lw.Shards(path, fields=("image.png", "label.cls", "other.bin", "score.json", "mask.npy"))[0]
    assert read[0] == picture and read[1:4] == (3, b"45", 0.5) and read[4].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("dataset", "pattern", "options", "message"),
    [
        ([1], "a.tar", {}, "place of one number"),
        ([1], "%d/a.tar", {}, "place of one number"),
        ([1], "%d-%d.tar", {}, "place of one number"),
        ([1], "%d.zip", {}, "end in .tar"),
        ([1], "%d.tar", {"samples_per_shard": 0}, "samples_per_shard must be"),
        ([(1, 2)], "%d.tar", {}, "two values for .cls"),
        ([(1, "a")], "%d.tar", {"fields": ["cls"]}, "2 values, and fields= 1"),
        ([1], "%d.tar", {"fields": ["txt"]}, "value for .txt is cls content"),
        ([1], "%d.tar", {"fields": ["../cls"]}, "cannot be an extension|is cls content"),
        ([], "%d.tar", {}, "no samples"),
        ([object()], "%d.tar", {}, "object cannot be written"),
    ],
)
def test_what_cannot_be_written_is_said(
    dataset: Any, pattern: str, options: dict, message: str, tmp_path: Path
) -> None:
    with pytest.raises((lw.ConfigError, lw.DataError), match=message):
        lw.write_shards(dataset, tmp_path / pattern, **options)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# ---- plain shards --------------------------------------------------------------------------------------------------

ENGINES = [("ring", 1), ("ring", 3), ("threads", 2), ("processes", 2), ("here", 0)]


def test_batches_are_those_of_the_folder_with_any_engine(photos: FewPhotos, plain: list[Path]) -> None:
    options: dict[str, Any] = {"transform": lw.RandomResizedCrop(16), "shuffle": True, "seed": 4}
    expected = list(lw.Loader(photos, 6, workers=0, **options))
    for engine, workers in ENGINES:
        loader = lw.Loader(lw.Shards(plain), 6, workers=workers, engine=engine, **options)  # type: ignore[arg-type]
        assert same(loader.epoch_batches(0), expected), engine
        assert same(loader.epoch_batches(0, start=18), expected[3:]), engine
        loader.close()
    assert "shared memory" in lw.Loader(lw.Shards(plain), 6, workers=1, **options).engine


def test_without_a_picture_first_there_is_nothing_undecoded(plain: list[Path]) -> None:
    shards = lw.Shards(plain, fields=("cls", "jpg"))
    assert not hasattr(shards, "undecoded")
    assert not hasattr(lw.Shards(plain, fields="jpg;npy"), "undecoded")
    assert not hasattr(lw.Shards(plain, fields="jpg"), "labels")
    loader = lw.Loader(lw.Shards(plain, fields="cls"), 47, workers=0)
    assert next(iter(loader))[0].tolist() == shards.labels.tolist()


def test_few_files_are_held_open_and_all_are_read(
    photos: FewPhotos, plain: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loopwright.data._shards._OPEN", 2)
    shards = lw.Shards(plain)
    before = len(os.listdir("/proc/self/fd"))
    for index in random.Random(0).sample(range(len(photos)), len(photos)):
        assert shards[index] == photos[index]
        assert len(os.listdir("/proc/self/fd")) <= before + 2
    for other in (pickle.loads(pickle.dumps(shards)), copy.deepcopy(shards)):
        assert other[3] == photos[3]
    del shards, other
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_kept_index_is_used_until_the_shard_changes(
    plain: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = of_texts(tmp_path / "a.tar")
    first = lw.Shards(path, fields=("txt", "cls"), keep_index=True)
    beside = tmp_path / "a.tar.index"
    assert beside.exists()
    with monkeypatch.context() as patch:
        patch.setattr("loopwright.data._shard_index.Archive", None)  # the shard is not opened again
        again = lw.Shards(path, fields=("txt", "cls"), keep_index=True)
    assert [again[i] for i in range(6)] == [first[i] for i in range(6)]
    of_texts(path, count=3)
    assert len(lw.Shards(path, fields="txt", keep_index=True)) == 3  # another size
    os.utime(path, ns=(1, 1))
    assert len(lw.Shards(path, fields="txt", keep_index=True)) == 3  # another time
    for damaged in (b"", b"hello", beside.read_bytes()[:-30], beside.read_bytes().replace(b"0.cls", b"0.xls")):
        beside.write_bytes(damaged)
        assert lw.Shards(path, fields=("txt", "cls"), keep_index=True)[2][1] == 2
    assert not list(plain[0].parent.glob("*.index"))  # only if asked for


def test_a_shard_that_changes_under_the_dataset_is_noticed(tmp_path: Path) -> None:
    shards = lw.Shards(of_texts(tmp_path / "a.tar"), fields="txt")
    of_texts(tmp_path / "a.tar", count=9)
    with pytest.raises(lw.DataError, match=r"a\.tar has changed since it was opened"):
        shards[0]
    (tmp_path / "a.tar").unlink()
    with pytest.raises(lw.DataError, match="cannot be opened any more"):
        shards[0]


# ---- faults --------------------------------------------------------------------------------------------------------


def cut_short(path: Path, share: float = 0.6) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def broken_shards(folder: Path, end: str) -> tuple[list[Path], list[str]]:
    """Shards with a fault of each kind, and what is said of each."""
    whole = of_texts(folder / f"a.{end}")
    cut = cut_short(of_texts(folder / f"b.{end}", count=20), 0.6 if end == "tar" else 0.8)
    lacking = write_tar(folder / f"c.{end}", [("1.txt", b"one"), ("1.cls", b"1"), ("2.txt", b"two"), ("2.json", b"2")])
    no_tar = folder / f"d.{end}"
    no_tar.write_bytes(b"hello" * 300)
    wrong = write_tar(folder / f"e.{end}", [("1.txt", b"one"), ("1.cls", b"one"), ("../2.txt", b"")])
    messages = [
        rf"b\.{end}: it is cut short.*; the last whole sample is '\d+'",
        rf"c\.{end}/2: has no 'cls'; it has 'json', 'txt'",
        rf"d\.{end}: it is no tar archive; no sample of it is whole",
        rf"e\.{end}: member '../2.txt' leads out",
        rf"e\.{end}/1\.cls: not a whole number",
    ]
    return [whole, cut, lacking, no_tar, wrong], messages


def test_all_faults_of_plain_shards_are_named_at_the_start(tmp_path: Path) -> None:
    paths, messages = broken_shards(tmp_path, "tar")
    with pytest.raises(lw.DataError) as error:
        lw.Shards(paths, fields=("txt", "cls"))
    for message in messages[:-1]:
        assert re.search(message, str(error.value)), message
    shards = lw.Shards(paths, fields=("txt", "cls"), on_error="skip")
    loader = lw.Loader(shards, 4, workers=0)
    kept = [number for _, numbers in loader for number in numbers.tolist()]
    last = int(re.findall(r"sample is '(\d+)'", shards.skipped[0])[0])
    assert kept == [*range(6), *range(last + 1), 1] and 5 < last < 19
    for message, found in zip(messages, [*shards.skipped, *loader.skipped], strict=True):
        assert re.search(message, found)


@pytest.mark.parametrize("end", ["tar", "tar.gz"])
@pytest.mark.parametrize("workers", [0, 2])
def test_all_faults_of_streamed_shards_are_named_in_their_turn(end: str, workers: int, tmp_path: Path) -> None:
    paths, messages = broken_shards(tmp_path, end)
    stream = lw.ShardStream(paths, 4, fields=("txt", "cls"), on_error="skip", workers=workers)
    kept = [number for _, numbers in stream for number in numbers.tolist()]
    last = int(re.findall(r"sample is '(\d+)'", stream.skipped[0])[0])
    assert kept == [*range(6), *range(last + 1), 1] and 5 < last < 19
    assert sorted(stream.skipped) == sorted(
        found for message in messages for found in stream.skipped if re.search(message, found)
    )
    assert len(stream.skipped) == len(messages)
    raising = lw.ShardStream(paths, 4, fields=("txt", "cls"), workers=workers)
    given, error = [], None
    try:
        for _, numbers in raising:
            given += numbers.tolist()
    except lw.DataError as caught:
        error = str(caught)
    assert error and re.search(messages[0], error) and given == kept[: len(given)] and len(given) >= 8


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_of_no_batch_is_an_error(workers: int, tmp_path: Path) -> None:
    empty, texts = write_tar(tmp_path / "a.tar", []), of_texts(tmp_path / "b.tar", count=3)
    for options, message in (
        ({"urls": empty}, r"a\.tar and the others of the stream hold no samples$"),
        ({"urls": texts, "fields": ("txt", "png"), "on_error": "skip"}, r"left out were 3, such as .*/0: has no 'png'"),
        ({"urls": texts, "fields": ("txt",), "drop_last": True}, r"fewer than batch_size 4, and drop_last leaves"),
    ):
        with pytest.raises(lw.DataError, match=message):
            list(lw.ShardStream(batch_size=4, workers=workers, **options))


def test_an_unreadable_picture_is_named(tmp_path: Path) -> None:
    photo = next(lw.demo_photos().rglob("*.jpg")).read_bytes()
    files = [
        (f"{n}.{end}", data)
        for n, jpg in enumerate([photo, photo[:200], photo])
        for end, data in (("jpg", jpg), ("cls", b"1"))
    ]
    path = write_tar(tmp_path / "a.tar", files)
    for workers in (0, 1):
        for made in (
            lw.Loader(lw.Shards(path), 3, transform=lw.CenterCrop(8), workers=workers),
            lw.ShardStream(path, 3, transform=lw.CenterCrop(8), workers=workers),
        ):
            with pytest.raises(lw.DataError, match=r"a\.tar/1\.jpg: not a readable picture"):
                list(made)
            made.close()
        for made in (
            lw.Loader(lw.Shards(path, on_error="skip"), 3, transform=lw.CenterCrop(8), workers=workers),
            lw.ShardStream(path, 3, transform=lw.CenterCrop(8), workers=workers, on_error="skip"),
        ):
            assert [len(labels) for _, labels in made] == [2]
            assert len(made.skipped) == 1 and f"{path}/1.jpg: not a readable" in made.skipped[0]
            made.close()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("cls", b"1.5", "not a whole number"),
        ("txt", b"\xff\xff", "not UTF-8 text"),
        ("json", b"{", "not JSON"),
        ("npy", b"hello", "not an array"),
        ("npy", pickle.dumps([1]), "not an array"),
        ("seg.png", b"", "not a readable picture"),
    ],
)
def test_what_cannot_be_decoded_is_named(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [(f"k.{name}", data)])
    with pytest.raises(lw.DataError, match=rf"a\.tar/k\.{name}: {message}"):
        lw.Shards(path, fields=name)[0]


def test_packed_shards_are_for_the_stream(packed: list[Path]) -> None:
    with pytest.raises(lw.DataError, match=r"packed by gzip.*use lw\.ShardStream"):
        lw.Shards(packed)


# ---- streams -------------------------------------------------------------------------------------------------------


@QUICK
@given(count=st.integers(0, 300), size=st.integers(0, 250), seed=st.integers(0, 9), cut=st.floats(0, 1))
def test_a_buffer_gives_each_once_and_goes_on_from_anywhere(count: int, size: int, seed: int, cut: float) -> None:
    buffer: ShuffleBuffer[int] = ShuffleBuffer(size, seed=seed, epoch=1)
    incoming = iter(range(count))
    whole, states = [], [(0, [], 0)]
    taken = 0

    def counted() -> Iterator[int]:
        nonlocal taken
        for item in incoming:
            taken += 1
            yield item

    for item in buffer.shuffled(counted()):
        whole.append(item)
        states.append((buffer.position, list(buffer.items), taken))
        assert len(buffer.items) <= size
    assert sorted(whole) == list(range(count))
    assert size or whole == list(range(count))
    position, items, begun = states[int(cut * (len(states) - 1))]
    other = ShuffleBuffer(size, seed=seed, epoch=1, position=position, items=items)
    assert list(other.shuffled(range(begun, count))) == whole[position:]


def stream_of(urls: Any, batch_size: int = 6, **options: Any) -> lw.ShardStream:
    options = {"transform": lw.RandomResizedCrop(16), "shuffle": 15, "seed": 3, "workers": 0} | options
    return lw.ShardStream(urls, batch_size, **options)


def test_a_stream_in_turn_is_the_folder_in_turn(photos: FewPhotos, plain: list[Path], packed: list[Path]) -> None:
    expected = list(lw.Loader(photos, 6, transform=lw.CenterCrop(16), workers=0))
    for urls in (plain, packed):
        assert same(stream_of(urls, transform=lw.CenterCrop(16), shuffle=0), expected)
        short = stream_of(urls, transform=lw.CenterCrop(16), shuffle=0, drop_last=True)
        assert same(short, expected[:-1])


def test_batches_are_the_same_for_any_workers_and_packing(plain: list[Path], packed: list[Path]) -> None:
    for shuffle in (0, 15):
        expected = [list(stream_of(plain, shuffle=shuffle).epoch_batches(epoch)) for epoch in (0, 1)]
        assert not same(*expected)  # augmentation at least is new each epoch
        for workers in (1, 3):
            assert same(stream_of(packed, shuffle=shuffle, workers=workers).epoch_batches(1), expected[1])
    labels = [torch.cat([labels for _, labels in epoch]).tolist() for epoch in expected]
    assert labels[0] != labels[1] and sorted(labels[0]) == sorted(labels[1])


def test_global_generators_stay_as_they_were(packed: list[Path]) -> None:
    for workers in (0, 1):
        before = torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)["state"]["pos"]
        list(stream_of(packed, transform=lambda picture: picture.resize((8, 8)), workers=workers))
        assert torch.equal(before[0], torch.get_rng_state()) and before[1] == random.getstate()
        assert before[2] == np.random.get_state(legacy=False)["state"]["pos"]


@pytest.mark.parametrize("shuffle", [0, 15, 100])
def test_a_state_goes_on_where_it_was_taken(shuffle: int, plain: list[Path], packed: list[Path]) -> None:
    whole = [batch for _ in range(2) for batch in stream_of(packed, shuffle=shuffle).epoch_batches(_)]
    for stop in (1, 6, 8, 9):
        first, seen = stream_of(packed, shuffle=shuffle), []
        while len(seen) < stop:
            for batch in first:
                seen.append(batch)
                if len(seen) == stop:
                    break
        other = stream_of(packed, shuffle=shuffle, workers=stop // 9 * 2)
        other.load_state_dict(first.state_dict())
        rest = list(other) + (list(other) if stop <= 8 else [])
        assert same([*seen, *rest], whole), stop


class Watched(lw.RandomResizedCrop):
    """Counts the pictures that it is asked for."""

    planned = 0

    def plan(self, width: int, height: int, rng: random.Random) -> lw.View:
        Watched.planned += 1
        return super().plan(width, height, rng)


def test_resuming_reads_no_more_than_is_left_and_what_waited(
    packed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from loopwright.data import _shard_walk

    opened: list[str] = []
    real = _shard_walk.ShardSource.open
    monkeypatch.setattr(_shard_walk.ShardSource, "open", lambda self: (opened.append(self.name), real(self))[1])
    source = open_source(stream_of(packed, shuffle=0))
    batches = source.open(0, 3, 0)
    for _ in range(6):
        next(batches)
    state = source.state_dict()
    resumed = open_source(stream_of(packed, shuffle=0, transform=Watched(16)))
    assert isinstance(resumed, StreamSource)
    resumed.load_state_dict(state)
    opened.clear()
    rest = list(resumed.open(0, 3, 36))
    assert opened == [str(path) for path in packed[3:]]  # sample 36 is in the fourth
    assert Watched.planned == 11 == sum(batch.samples for batch in rest)
    assert same([batch.data for batch in rest], [batch.data for batch in batches])
    without = open_source(stream_of(packed, shuffle=0))  # a place that was not kept is found by reading up to it
    assert same([batch.data for batch in without.open(0, 3, 36)], [batch.data for batch in rest])


def test_a_place_in_other_shards_is_refused(plain: list[Path], packed: list[Path]) -> None:
    state = stream_of(packed).state_dict()
    for other in (stream_of(packed[:-1]), stream_of(plain), stream_of(packed, shuffle=14), stream_of(packed, seed=4)):
        with pytest.raises(lw.CheckpointError, match="shards|seed"):
            other.load_state_dict(state)


def test_pipes_and_open_files_are_read_here(plain: list[Path], packed: list[Path]) -> None:
    expected = [list(stream_of(plain[:1]).epoch_batches(epoch)) for epoch in (0, 1)]
    with open(packed[0], "rb") as file:
        stream = stream_of(file)
        assert same(stream, expected[0]) and same(stream, expected[1]) and "read by one only" in stream.engine
        with pytest.raises(lw.ConfigError, match="workers=0 reads it"):
            stream_of(file, workers=1)
    with subprocess.Popen(["cat", plain[0]], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        stream = stream_of(cat.stdout)
        assert same(stream, expected[0])
        with pytest.raises(lw.DataError, match="a pipe can be read once"):
            next(iter(stream))


def test_a_named_pipe_is_read(packed: list[Path], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar.gz")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe.tar.gz").write_bytes(packed[0].read_bytes()))
    writer.start()
    assert same(stream_of(tmp_path / "pipe.tar.gz"), stream_of(packed[:1]))
    writer.join()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be"),
        ({"shuffle": True}, "how many samples"),
        ({"workers": -1}, "workers must be"),
        ({"on_error": "ignore"}, "on_error must be"),
        ({"fields": ()}, "fields="),
    ],
)
def test_wrong_arguments_are_named(options: dict, message: str, packed: list[Path]) -> None:
    with pytest.raises(lw.ConfigError, match=message):
        stream_of(packed, **options)


# ---- in a run ------------------------------------------------------------------------------------------------------


def train(folder: Path, batches: Any, die_after: int | None = None, workers: int = 0) -> dict[str, torch.Tensor]:
    """Two epochs of a tiny model, killed after a step if asked. By one thread: a forked process has none of the others."""
    with (
        one_thread(),
        lw.Run(
            folder,
            seed=5,
            device="cpu",
            progress=False,
            save_in_background=False,
            save_every="3 steps",
            report_every="1 steps",
        ) as run,
    ):
        model = run.prepare(tiny_model())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        run.register(model=model, optimizer=optimizer)
        for _ in run.epochs(2):
            for pictures, labels in run.batches(batches):
                loss = torch.nn.functional.cross_entropy(model(pictures), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log(loss=loss)
                if run.global_step == die_after:
                    os.kill(os.getpid(), signal.SIGKILL)
        return model.state_dict()


@pytest.mark.parametrize("kind", ["stream", "shards"])
def test_a_killed_run_ends_with_the_same_bits(kind: str, plain: list[Path], packed: list[Path], tmp_path: Path) -> None:
    def made(workers: int = 0) -> Any:
        if kind == "stream":
            return stream_of(packed, seed=None, workers=workers)
        return lw.Loader(lw.Shards(plain), 6, transform=lw.RandomResizedCrop(16), shuffle=True, workers=workers)

    whole = train(tmp_path / "whole", made())
    for life, step in enumerate((5, 12)):
        child = forked(lambda step=step, life=life: train(tmp_path / "cut", made(life % 2), step))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert same_bits(train(tmp_path / "cut", made(1)), whole)
    assert (tmp_path / "cut/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()


def test_a_run_refuses_to_go_on_with_other_shards(packed: list[Path], tmp_path: Path) -> None:
    child = forked(lambda: train(tmp_path / "run", stream_of(packed, seed=None), 5))
    os.waitpid(child, 0)
    with pytest.raises(lw.CheckpointError, match="place in the shards was saved for others"):
        train(tmp_path / "run", stream_of(packed[:-1], seed=None))
