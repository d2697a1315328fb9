"""Files from strangers: they run nothing, lead nowhere else, and take no more memory than they have bytes."""

import contextlib
import gzip
import io
import json
import os
import pickle
import resource
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import loopwright as lw
from loopwright._checkpoint import read_checkpoint
from loopwright._checkpoints import Checkpoints
from loopwright._files import open_regular, open_unlinked, parse_json, read_json
from loopwright._record import Record
from loopwright._runs import list_runs, runs_table
from loopwright._tensor_file import check_tensor_file
from loopwright.data._codec import decode, encode
from loopwright.data._npy import array_of
from loopwright.data._rows import read_table
from loopwright.data._shard_index import SUFFIX
from loopwright.data._shelf import Shelf, Stamp
from loopwright.data._tar import Archive, BrokenTar

quickly = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DEEP = "[" * 100_000


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder of one checkpoint."""
    folder = tmp_path / "checkpoints"
    Checkpoints(folder).save({"model": nn.Linear(3, 2).state_dict()}, step=10, metrics={"m": 0.5}, best={"m": "max"})
    return folder


@pytest.fixture(autouse=True)
def _memory_is_limited():
    """A file that promises much gets at most 8 GiB of addresses; without the checks that would not do."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + 2**33, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def changed_json(path: Path, change: Callable[[dict], Any]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def with_values(path: Path, values: bytes, packing: int = zipfile.ZIP_STORED) -> None:
    """A file of torch.save with other values in it; its manifest says that it is whole."""
    with zipfile.ZipFile(path) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", packing) as new:
        for name, content in contents.items():
            new.writestr(name, values if name.endswith("data.pkl") else content)
    right_manifest(path)


def right_manifest(path: Path) -> None:
    data = path.read_bytes()
    facts = {"size": len(data), "crc32": zlib.crc32(data)}
    changed_json(path.parent / "manifest.json", lambda manifest: manifest["files"].update({path.name: facts}))


# ---- checkpoints ---------------------------------------------------------------------------------------------------


class Code:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_does_not_run(saved: Path, tmp_path: Path) -> None:
    with_values(saved / "step-000010/model.pt", pickle.dumps(Code(tmp_path / "ran"), protocol=2))
    with pytest.raises(lw.CheckpointError, match="cannot be read as tensors"):
        read_checkpoint(saved / "step-000010")
    assert not (tmp_path / "ran").exists()


HUGE = b"\x8a\x08" + struct.pack("<q", 2**40)


@pytest.mark.parametrize(
    "values",
    [
        b"\x80\x02cbuiltins\nbytearray\n" + HUGE + b"\x85R.",
        b"\x80\x02" + b"c_codecs\nencode\n" * 60 + b"X\x04\0\0\0abcd" + b"X\x03\0\0\0hex\x86R" * 60 + b".",
        b"\x80\x02c" + b"a" * 400_000 + b"\nb\n.",
        b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"abc",
    ],
    ids=["bytearray", "hex of hex", "long name", "long text"],
)
def test_values_that_make_much_of_little_are_refused(saved: Path, tmp_path: Path, values: bytes) -> None:
    with_values(saved / "step-000010/model.pt", values)
    with pytest.raises(lw.CheckpointError, match="cannot be read as tensors"):
        read_checkpoint(saved / "step-000010")
    (tmp_path / "old.pth").write_bytes(values)
    with pytest.raises(lw.CheckpointError, match="cannot be read as tensors"):
        lw.load_weights(nn.Linear(3, 2), tmp_path / "old.pth")


def test_packed_tensors_are_refused(saved: Path) -> None:
    path = saved / "step-000010/model.pt"
    torch.save({"w": torch.zeros(2**22)}, path)
    with zipfile.ZipFile(path) as archive:
        values = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    with_values(path, values, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**20 and torch.load(path, weights_only=True)["w"].numel() == 2**22  # 64 times as many
    with pytest.raises(lw.CheckpointError, match="packed"):
        read_checkpoint(path.parent)


def test_old_and_new_files_of_torch_are_taken(tmp_path: Path) -> None:
    state = {
        "b": b"\xff\0",
        "n": [1, 2**70, None, 1j],
        "s": {1},
        "t": torch.ones(2, dtype=torch.bfloat16),
        "d": torch.int8,
    }
    for old in (False, True):
        torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=not old)
        check_tensor_file(tmp_path / "a.pt", old=old)
    with pytest.raises(ValueError, match="no archive"):
        check_tensor_file(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["../secret.pt", "/etc/passwd.pt", "a/../../b.pt", "..", "\x1b[2J.pt", "a\0.pt"])
def test_a_manifest_names_files_of_its_folder_only(saved: Path, name: str) -> None:
    changed_json(saved / "step-000010/manifest.json", lambda m: m["files"].update({name: m["files"].pop("model.pt")}))
    with pytest.raises(lw.CheckpointError, match="is not a manifest"):
        read_checkpoint(saved / "step-000010")


@pytest.mark.parametrize("name", ["../other", "/etc", "..", ".", "", 7, "a/b", "\x1b[2J", "f" * 256])
def test_an_index_names_folders_beside_it_only(saved: Path, name: Any) -> None:
    changed_json(saved / "index.json", lambda index: index["checkpoints"][0].update(name=name))
    with pytest.raises(lw.CheckpointError, match="is not the name of a checkpoint"):
        Checkpoints(saved)


def test_links_and_pipes_in_a_checkpoint_are_not_followed(saved: Path, tmp_path: Path) -> None:
    path = saved / "step-000010/model.pt"
    for make in (
        lambda: path.symlink_to(tmp_path / "moved"),
        lambda: os.mkfifo(path),
        lambda: path.symlink_to("/dev/zero"),
    ):
        path.rename(tmp_path / "moved") if path.is_file() else path.unlink()
        make()
        with pytest.raises(lw.CheckpointError, match="is a link, or no file"):
            read_checkpoint(path.parent)
    path.parent.rename(tmp_path / "elsewhere")
    path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(lw.CheckpointError, match="step-000010 is a link"):
        Checkpoints(saved)


# ---- JSON, run folders, configurations -----------------------------------------------------------------------------


def test_deep_nesting_is_one_clear_error(saved: Path, tmp_path: Path) -> None:
    for path, read, kind in (
        (saved / "index.json", Checkpoints, lw.CheckpointError),
        (saved / "step-000010/manifest.json", lambda path: read_checkpoint(path), lw.CheckpointError),
        (tmp_path / "run.json", lw.read_run, lw.RunError),
        (tmp_path / "metrics.jsonl", lw.read_metrics, lw.RunError),
    ):
        path.write_text('{"a": ' + DEEP + "\n")
        with pytest.raises(kind, match="nested too deeply"):
            read(path.parent)
    for ending, text in ((".json", DEEP), (".jsonl", '{"a": ' + DEEP), (".yaml", "a: " + DEEP)):
        path = tmp_path / f"t{ending}"
        path.write_text(text)
        with pytest.raises((lw.DataError, lw.ConfigError), match="nested too deeply"):
            lw.load_config(path) if ending == ".yaml" else read_table(path)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "to zero").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "a.json")
    for name in ("to zero", "pipe"):
        with pytest.raises(OSError, match="no regular file"):
            open_regular(tmp_path / name)
    with pytest.raises(OSError, match="is a link"):
        open_unlinked(tmp_path / "link")
    assert read_json(tmp_path / "a.json") == {}
    (tmp_path / "train.yaml").write_text("include: to zero")
    with pytest.raises(lw.ConfigError, match="no regular file"):
        lw.load_config(tmp_path / "train.yaml")


@pytest.mark.parametrize("name", ["metrics.jsonl", "log.txt", "speed.jsonl", "run.json", "config.yaml", ".lock"])
def test_a_run_writes_through_no_link(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "mine")
    with pytest.raises(lw.RunError, match="is a link"):
        Record(tmp_path / "run")
    assert (tmp_path / "mine").read_text() == "mine"


def test_what_a_run_says_of_itself_cannot_steer_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(
        json.dumps({"state": "\x1b[2J\r\n\ud800", "best": {"a": 10**400, "b": []}, "step": []})
    )
    table = runs_table(list_runs(tmp_path))
    assert "\\x1b[2J\\r\\n\\ud800" in table and len(table.splitlines()) == 2


@pytest.mark.parametrize("facts", [{"lives": 7}, {"id": {}}, {"seed": "x"}, {"state": []}])
def test_a_record_of_other_kinds_is_refused(tmp_path: Path, facts: dict) -> None:
    (tmp_path / "run.json").write_text(json.dumps(facts))
    with pytest.raises(lw.RunError, match=f"its '{next(iter(facts))}' is a"):
        lw.read_run(tmp_path)


@pytest.mark.parametrize(
    "text", ['include: "a\\0b"', "a: 0x" + "f" * 5000, "a: " + "9" * 5000, "a: !!python/object/apply:os.getcwd []"]
)
def test_hostile_yaml_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(lw.ConfigError):
        lw.load_config(tmp_path / "a.yaml")


# ---- data ----------------------------------------------------------------------------------------------------------


def test_columns_and_rows_do_not_multiply(tmp_path: Path) -> None:
    rows = [json.dumps({f"c{number}": 1}) for number in range(20_000)]  # 400,000,000 cells
    (tmp_path / "t.jsonl").write_text("\n".join(rows))
    with pytest.raises(lw.DataError, match="nearly all cells are missing"):
        read_table(tmp_path / "t.jsonl")
    (tmp_path / "t.csv").write_text(",".join(f"c{number}" for number in range(50_000)) + ",c1\n")
    with pytest.raises(lw.DataError, match="comes twice: 'c1'"):
        read_table(tmp_path / "t.csv")


def test_long_numbers_and_odd_names_in_tables(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"path,label\na.jpg,{'9' * 5000}\n")
    (tmp_path / "t.json").write_text('[{"path": "\\ud800/a.jpg", "label": 1}]')
    (tmp_path / "n.json").write_text('[{"path": "a.jpg", "label": ' + "9" * 5000 + "}]")
    for name in ("t.csv", "t.json", "n.json"):
        with pytest.raises(lw.DataError):
            lw.Table(tmp_path / name)


def npy(shape: str, kind: str = "<f8", data: bytes = b"") -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@pytest.mark.parametrize(
    "data",
    [
        npy(f"({2**60},)"),
        npy(f"({2**33},)"),
        npy("(-1, -8)"),
        npy("(2,)", "|O", b"\0" * 16),
        npy("(" * 3000),
        b"",
        npy("(1,"),
    ],
)
def test_arrays_that_promise_too_much(data: bytes) -> None:
    with pytest.raises(ValueError, match="promises|objects|header|magic|damaged|parse"):
        array_of(data)


@given(st.integers(0, 3), st.integers(0, 3), st.booleans(), st.sampled_from(["<f4", ">i2", "|b1", "<U3", "<M8[s]"]))
@quickly
def test_arrays_come_back_as_numpy_reads_them(rows: int, columns: int, turned: bool, kind: str) -> None:
    array = np.zeros((rows, columns)).astype("i8").astype(kind)
    file = io.BytesIO()
    np.save(file, array.T if turned else array)
    found, expected = array_of(file.getvalue()), np.load(io.BytesIO(file.getvalue()))
    assert found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()


def test_a_sample_that_repeats_its_bytes_is_refused() -> None:
    tree = b"(" + struct.pack("<Q", 1000) + (b"b" + struct.pack("<QQ", 0, 2**24)) * 1000
    head = len(tree).to_bytes(8, "little") + tree
    with pytest.raises(lw.DataError, match="lies in another"):
        decode(head + bytes(-len(head) % 64) + bytes(2**24))
    picture = b"p" + struct.pack("<II", 0, 2**32 - 1) + struct.pack("<Q", 1) + b"L" + bytes(16) + b"N" + bytes(16)
    with pytest.raises(lw.DataError):
        decode(len(picture).to_bytes(8, "little") + picture)


SAMPLE = b"".join(
    encode((Image.new("P", (3, 2)), {"a": np.zeros((2, 3), np.int16)}, torch.ones(2), [b"x", "y", 2**70]))
)


@given(st.integers(0, 2**32))
@quickly
def test_a_spoiled_sample_is_a_sample_or_a_data_error(seed: int) -> None:
    random, data = Random(seed), bytearray(SAMPLE)
    for _ in range(random.randrange(1, 5)):
        data[random.randrange(len(data))] = random.choice((0, 255, 128, random.randrange(256)))
    with contextlib.suppress(lw.DataError):
        decode(bytes(data[: random.randrange(len(data) + 1)] if random.random() < 0.2 else data))


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("pack")
    photos = lw.Part(lw.ImageFolder(lw.demo_photos(), split="val"), range(3))
    lw.pack(photos, folder / "a.pack", size=8, progress=False)
    return (folder / "a.pack").read_bytes()


def spoil_pack(pack: bytes, path: Path, change: Callable[[dict], Any]) -> None:
    start, size, _, end = struct.unpack("<QQI12s", pack[-32:])
    facts = json.loads(pack[start : start + size])
    change(facts)
    text = json.dumps(facts).encode()
    path.write_bytes(pack[:start] + text + struct.pack("<QQI12s", start, len(text), zlib.crc32(text), end))


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("offset", lambda f: f["arrays"]["index"].update(offset=2**60)),
        ("negative", lambda f: f["arrays"]["index"].update(offset=-64)),
        ("shape", lambda f: f["arrays"]["targets"].update(shape=[2**62, 2])),
        ("objects", lambda f: f["arrays"]["targets"].update(dtype="|O")),
        ("names", lambda f: f.update(names=["a"])),
        ("zero", lambda f: f["names"].__setitem__(0, "a\0b")),
        ("recipe", lambda f: f.update(recipe=7)),
        ("none", lambda f: f.pop("arrays")),
    ],
)
def test_a_pack_that_does_not_fit_together(
    pack: bytes, tmp_path: Path, key: str, change: Callable[[dict], Any]
) -> None:
    spoil_pack(pack, tmp_path / "a.pack", lambda facts: None)
    assert len(lw.Packed(tmp_path / "a.pack")) == 3
    spoil_pack(pack, tmp_path / "a.pack", change)
    with pytest.raises(lw.DataError, match="pack it again"):
        lw.Packed(tmp_path / "a.pack", check_source=False)


def test_a_cache_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".draft.tmp").write_text("mine")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "00000").symlink_to(tmp_path / "mine")
    with pytest.raises(lw.DataError, match="00000 is a link"):
        Shelf(tmp_path / "cache", 10, 2**20, lambda key: Stamp(0, 0), "identity", "words")
    assert (tmp_path / "mine" / ".draft.tmp").exists()


def test_a_cache_waits_for_no_pipe(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "cache", 10, 2**20, lambda key: Stamp(0, 0), "identity", "words")
    (tmp_path / "cache" / "00000").mkdir()
    os.mkfifo(tmp_path / "cache" / "00000" / "1.item")
    (tmp_path / "cache" / "00000" / "2.item").symlink_to("/dev/zero")
    (tmp_path / "cache" / "00000" / "3.item").write_bytes(b"")
    os.truncate(tmp_path / "cache" / "00000" / "3.item", 2**40)  # holes
    with pytest.warns(RuntimeWarning):
        assert [shelf.get(key) for key in (1, 2, 3)] == [None] * 3


# ---- shards --------------------------------------------------------------------------------------------------------


def tar_of(contents: dict[str, bytes], **more: Any) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **more) as tar:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def with_size(data: bytes, size: int) -> bytes:
    """The first member promises so many bytes."""
    head = bytearray(data[:512])
    head[124:136] = b"\x80" + size.to_bytes(11, "big")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + data[512:]


@pytest.mark.parametrize("size", [2**31, 2**40, 2**60, 2**80])
@pytest.mark.parametrize("packed", [False, True])
def test_a_member_that_promises_too_much(size: int, packed: bool) -> None:
    data = with_size(tar_of({"1.txt": b"hi"}), size)
    with pytest.raises(BrokenTar), Archive(io.BytesIO(gzip.compress(data) if packed else data)) as archive:
        for _ in archive:
            archive.read()


def test_many_small_records_take_no_long_time() -> None:
    note = b"5 a=\n" * 200_000  # a million bytes; by the square of their number it would take a minute
    head = bytearray(tar_of({"x": b""})[:512])
    head[156:157], head[124:136] = b"x", b"%011o\0" % len(note)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    data = bytes(head) + note + bytes(-len(note) % 512) + tar_of({"1.txt": b"hi"})
    with Archive(io.BytesIO(data)) as archive:
        assert [member.name for member in archive] == ["1.txt"]


def test_an_index_beside_a_shard_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of({"1.txt": b"hi", "2.txt": b"you"}))
    lw.Shards(path, fields="txt", keep_index=True)
    beside, facts = path.with_name(path.name + SUFFIX), os.stat(path)
    about, names = np.array([1, facts.st_size, facts.st_mtime_ns]), np.frombuffer(b"1.txt", np.uint8)
    for save in (np.savez, np.savez_compressed):
        for places in ([[2**50, 2]], [[0, 2**50]], [[-5, 5]], [[2**63 - 1, 2**63 - 1]], np.zeros(2**20, np.int64)):
            with open(beside, "wb") as file:
                save(file, about=about, names=names, places=np.array(places))
            assert [sample[0] for sample in lw.Shards(path, fields="txt", keep_index=True)] == ["hi", "you"]


@pytest.mark.parametrize("name", ["../../x.txt", "/etc/x.txt", "a/../../x.txt"])
def test_a_member_that_leads_out_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of({name: b"hi"}))
    with pytest.raises(lw.DataError, match="leads out of the archive"):
        lw.Shards(tmp_path / "a.tar", fields="txt")


def test_a_class_of_too_many_digits_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of({"1.cls": b"9" * 30}))
    with pytest.raises(lw.DataError, match="64 bits"):
        _ = lw.Shards(tmp_path / "a.tar", fields="cls").labels


# ---- any bytes -----------------------------------------------------------------------------------------------------


@given(st.binary(max_size=600))
@example(b"\x93NUMPY\x01\x00\xff\xff")
@example(b"PK\x03\x04")
@quickly
def test_any_bytes_are_refused_in_our_words(tmp_path: Path, data: bytes) -> None:
    def tried(name: str, read: Callable[[Path], Any]) -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        try:
            read(path)
        except lw.LoopwrightError as error:
            assert str(error)

    tried("a.pack", lw.Packed)
    tried("a.pt", lambda path: lw.load_weights(nn.Linear(1, 1), path))
    tried("a.yaml", lw.load_config)
    for ending in ("csv", "json", "jsonl", "tsv"):
        tried(f"a.{ending}", read_table)
    tried("a.tar", lambda path: list(lw.Shards(path, fields="txt")))
    tried("run/run.json", lambda path: lw.read_run(path.parent))
    tried("run/metrics.jsonl", lambda path: lw.read_metrics(path.parent))
    tried("c/index.json", lambda path: Checkpoints(path.parent))
    tried("c/manifest.json", lambda path: read_checkpoint(path.parent))
    with contextlib.suppress(ValueError):
        parse_json(data.decode("latin-1"))
