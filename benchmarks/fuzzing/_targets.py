"""For each parser: a valid folder, how what is inside is spoiled (with its checksums made right again), and the reading."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

import loopwright as lw
from benchmarks.fuzzing._spoil import Tree, spoiled_bytes, spoiled_json
from loopwright._checkpoint import read_checkpoint
from loopwright._checkpoints import Checkpoints
from loopwright._config import config_text
from loopwright._record import Record
from loopwright._runs import list_runs, runs_table
from loopwright.data._codec import decode, encode
from loopwright.data._npy import array_of
from loopwright.data._pack_file import _END, _TRAILER
from loopwright.data._rows import read_table, write_table
from loopwright.data._shard_index import SUFFIX
from loopwright.data._shelf import _HEADER, _MAGIC, _SIZE, Shelf, Stamp

Spoil = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Target:
    """A parser.

    Args:
        make: writes a valid folder.
        spoil: for each file (by its path's ending), how it is spoiled.
        read: reads the folder, and uses what it was given.
        repair: makes right what a stranger would make right too, such as checksums.
        inner: whether the files are named by others of the folder, not by the user: then links are spoils, too.
    """

    name: str
    make: Callable[[Path], None]
    spoil: dict[str, Spoil]
    read: Callable[[Path], Any]
    repair: Callable[[Tree], Tree] = lambda tree: tree
    inner: bool = True


class _Bomb:
    """What a pickle can do."""

    def __reduce__(self) -> Any:
        import os

        return os.system, ("touch ../outside/ran",)


# ---- checkpoints ---------------------------------------------------------------------------------------------------


def _make_checkpoints(folder: Path) -> None:
    model = nn.Linear(3, 2)
    saved = Checkpoints(folder / "checkpoints")
    for step in (10, 20):
        states = {"model": model.state_dict(), "extra": {"a": [1, "x", b"\xff", None, 2.5], "t": torch.arange(5)}}
        saved.save(states, step=step, epoch=0.5, metrics={"val/top1": step / 100}, best={"val/top1": "max"})


def _read_checkpoints(folder: Path) -> None:
    saved = Checkpoints(folder / "checkpoints")
    str((saved.best(), saved.latest, saved.is_best("val/top1", 0.5, "max")))
    for which in ("latest", "best"):
        saved.load(which)


def _right_manifests(tree: Tree) -> Tree:
    tree = dict(tree)
    for path, data in list(tree.items()):
        if path.endswith("manifest.json") and isinstance(data, bytes):
            folder = path.removesuffix("manifest.json")
            files = {p.removeprefix(folder): d for p, d in tree.items() if p.startswith(folder) and p.endswith(".pt")}
            facts = {n: {"size": len(d), "crc32": zlib.crc32(d)} for n, d in files.items() if isinstance(d, bytes)}
            tree[path] = json.dumps({**json.loads(data), "files": facts}).encode()
    return tree


def spoiled_zip(data: bytes, random: Random, spoil: Spoil = spoiled_bytes) -> bytes:
    """An archive of which one member is spoiled, and all are perhaps packed; or its bytes are."""
    if random.random() < 0.3:
        return spoiled_bytes(data, random)
    file, packing = io.BytesIO(), random.choice((zipfile.ZIP_STORED,) * 4 + (zipfile.ZIP_DEFLATED,))
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", packing) as new:
        names = old.namelist()
        chosen = random.choice([name for name in names if name.endswith(".pkl")] * 5 + names)
        for name in names:
            content = old.read(name)
            new.writestr(name, spoil(content, random) if name == chosen else content)
    return file.getvalue()


def spoiled_tensors(data: bytes, random: Random) -> bytes:
    """A file of `torch.save`, spoiled, or with a pickle that does something, or takes much."""
    if random.random() < 0.9:
        return spoiled_zip(data, random)
    huge = random.choice((2**31, 2**40, 2**60))
    number = b"\x8a\x08" + struct.pack("<Q", huge)  # LONG1
    hexed = b"c_codecs\nencode\n" * 60 + b"X\x04\0\0\0abcd" + b"X\x03\0\0\0hex\x86R" * 60
    values = random.choice((
        torch_pickle(_Bomb()), b"\x80\x02cbuiltins\nbytearray\n" + number + b"\x85R.", b"\x80\x02" + hexed + b".",
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", b"\x80\x02c__builtin__\neval\nX\x01\0\0\x001\x85R.",
        b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b".", b"\x80\x02r" + struct.pack("<I", 2**31) + b"N.",
    ))  # fmt: skip
    return spoiled_zip(data, random, lambda content, random: values)


def torch_pickle(value: Any) -> bytes:
    import pickle

    return pickle.dumps({"model": value}, protocol=2)


def _make_weights(folder: Path) -> None:
    torch.save({"state_dict": nn.Linear(3, 2).state_dict()}, folder / "model.pt")


def _read_weights(folder: Path) -> None:
    lw.load_weights(nn.Linear(3, 2), folder / "model.pt", strict=False)


# ---- runs and configurations ---------------------------------------------------------------------------------------


def _make_run(folder: Path) -> None:
    record = Record(folder / "run")
    record.begin({"seed": 1, "best": {"val/top1": 0.5}, "epochs_done": 1, "length": 3})
    record.write_config("epochs: 3\n")
    for step in range(5):
        record.metrics.append({"step": step, "epoch": 0.5, "kind": "train", "loss": float("nan")})
    record.close()


def _read_run(folder: Path) -> None:
    runs_table(list_runs(folder)).encode()
    kinds = []
    for read in (lw.read_run, lw.read_metrics, _take_over):
        try:
            read(folder / "run")
        except lw.LoopwrightError as error:
            kinds.append(error)
    if kinds:
        raise kinds[0]


def _take_over(folder: Path) -> None:
    record = Record(folder)
    try:
        record.begin({})
        record.write_config("epochs: 4\n")
        record.metrics.append({"step": 9})
    finally:
        record.close()


_YAML = """
include: base.yaml
data: photos
epochs: 1_0
image_size: 128
optimizer: &o {name: SGD, lr: 1e-3, betas: (0.9, 0.999), nesterov: true}
scale: (0.5, 1.0)
more: [1, 2.5, null, "a: b", 'c', ~, 0x1F, .inf, *o]
again:
  <<: *o
  text: |
    some lines
  escaped: "a\\tb\\u00e4"
"""


def _make_config(folder: Path) -> None:
    (folder / "train.yaml").write_text(_YAML)
    (folder / "base.yaml").write_text("seed: 3\nmodel: resnet18\n")


def _read_config(folder: Path) -> None:
    values = lw.load_config(folder / "train.yaml")
    (folder / "again.yaml").write_text(config_text(values))
    lw.load_config(folder / "again.yaml")


# ---- packs, caches, arrays -----------------------------------------------------------------------------------------


class _Photos:
    """Six small pictures of two classes, as files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.classes, self.labels, self.on_error = folder, ["a", "b"], [0, 1] * 3, "raise"
        folder.mkdir(exist_ok=True)
        self.paths = [folder / f"{number}.jpg" for number in range(6)]
        for number, path in enumerate(self.paths):
            values = np.random.default_rng(number).integers(0, 256, (9, 12, 3), np.uint8)
            Image.fromarray(values).save(path)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        with Image.open(self.paths[index]) as picture:
            return picture.convert("RGB"), self.labels[index]

    def undecoded(self, index: int) -> Any:
        return self.paths[index], self.labels[index]


def _make_packs(folder: Path) -> None:
    photos = _Photos(folder / "photos")
    for kind in ("raw", "jpeg"):
        lw.pack(photos, folder / f"{kind}.pack", size=8, format=kind, progress=False)


def _read_packs(folder: Path) -> None:
    for kind in ("raw", "jpeg"):
        packed = lw.Packed(folder / f"{kind}.pack", check_source=False)
        str((packed, packed.counts(), packed.sides, packed.verify()))
        for index in range(len(packed)):
            packed[index][0].load()
        with contextlib.suppress(lw.DataError):  # the pictures were written again
            packed._check_source()


def spoiled_pack(data: bytes, random: Random) -> bytes:
    """A pack whose facts are spoiled, its trailer and the checksums of its arrays made right; or its bytes are."""
    if random.random() < 0.25:
        return spoiled_bytes(data, random)
    start, size, _, _ = _TRAILER.unpack(data[-_TRAILER.size :])
    text, body = data[start : start + size], data[:start]
    if random.random() < 0.4:
        body = spoiled_bytes(data[4096:start], random)
        body = (data[:4096] + body)[:start].ljust(start, b"\0")
    else:
        text = spoiled_json(text, random)
    try:
        facts = json.loads(text)
        for place in facts["arrays"].values():
            count = (
                int(np.prod(place["shape"]))
                * np.dtype(
                    [tuple(f) for f in place["dtype"]] if isinstance(place["dtype"], list) else place["dtype"]
                ).itemsize
            )
            place["crc32"] = zlib.crc32(body[place["offset"] : place["offset"] + count])
        text = json.dumps(facts).encode()
    except Exception:  # whatever was spoiled: then without
        pass
    return body + text + _TRAILER.pack(start, len(text), zlib.crc32(text), _END)


def _sample() -> Any:
    picture = Image.new("RGB", (5, 4), (1, 2, 3))
    return (picture, {"box": np.zeros((2, 4), np.float32), 7: [1.5, "cat", b"x", None, True]}, torch.arange(6).reshape(2, 3),
            np.float32(2), 2**70, Path("a/b"), picture.convert("P"), np.asfortranarray(np.ones((3, 2))))  # fmt: skip


def _make_sample(folder: Path) -> None:
    (folder / "sample").write_bytes(b"".join(encode(_sample())))


def _read_sample(folder: Path) -> None:
    data = (folder / "sample").read_bytes()
    decode(data)
    decode(data, copy=False)


def _shelf(folder: Path) -> Shelf:
    return Shelf(folder / "cache", 3000, 2**24, lambda key: Stamp(5, 6), "identity", "words")


def _make_shelf(folder: Path) -> None:
    shelf = _shelf(folder)
    for key in (0, 1, 2500):
        shelf.put(key, [b"".join(encode(_sample()))], Stamp(5, 6))


def _read_shelf(folder: Path) -> None:
    shelf = _shelf(folder)
    found = [shelf.get(key) for key in (0, 1, 2500)]
    shelf.put(3, [b"new"], Stamp(5, 6))
    str((shelf.used(), shelf.held(), shelf.refused()))
    for data in found:
        if data is not None:
            decode(bytes(data))


def _right_items(tree: Tree) -> Tree:
    tree = dict(tree)
    for path, data in tree.items():
        if path.endswith(".item") and isinstance(data, bytes) and path.split("/")[-1].split(".")[0].isdecimal():
            content, key = data[_SIZE:], int(path.split("/")[-1].split(".")[0])
            facts = (_MAGIC, zlib.crc32(content), len(content), key, 5, 6)
            head = _HEADER.pack(*facts, zlib.crc32(_HEADER.pack(*facts, 0)))
            tree[path] = head.ljust(_SIZE, b"\0") + content
    return tree


def _make_array(folder: Path) -> None:
    np.save(folder / "a.npy", np.arange(12.0).reshape(3, 4))


def _read_array(folder: Path) -> None:
    try:
        array_of((folder / "a.npy").read_bytes())
    except ValueError as error:  # its callers name the file
        raise lw.DataError(str(error)) from None


# ---- tables --------------------------------------------------------------------------------------------------------


def _make_table(ending: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        photos = _Photos(folder / "photos")
        rows = [
            {"path": f"photos/{path.name}", "label": f"c{number % 2}", "tags": '["x", "y"]', "age": number / 2, "w": 1,
             "split": "train"}
            for number, path in enumerate(photos.paths)
        ]  # fmt: skip
        write_table(rows, folder / f"t{ending}")

    return make


def _read_tables(ending: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        path, refused = folder / f"t{ending}", []
        kinds: tuple[dict[str, Any], ...] = (
            {},
            {"labels": "tags"},
            {"values": ["age", "w"], "weight": "w"},
            {"label": None},
        )
        for kind in kinds:
            try:
                table = lw.Table(path, split="train", **kind)
                str((table, table.counts(), [table.undecoded(index) for index in range(len(table))]))
            except lw.LoopwrightError as error:
                refused.append(error)
        read_table(path)
        if refused:
            raise refused[0]

    return read


# ---- shards --------------------------------------------------------------------------------------------------------

_FIELDS = ("jpg", "cls", "json", "npy", "txt")


def _make_shards(folder: Path) -> None:
    _Photos(folder / "photos")
    file = io.BytesIO()
    np.save(file, np.arange(3))
    for form in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with tarfile.open(folder / f"s-{form}.tar", "w", format=form) as tar:
            for number in range(3):
                contents = {"jpg": (folder / "photos" / f"{number}.jpg").read_bytes(), "cls": b"7", "json": b'{"a": [1]}',
                            "npy": file.getvalue(), "txt": "\u00e4".encode()}  # fmt: skip
                for name, data in contents.items():
                    info = tarfile.TarInfo(("long/" * 40 if number == 2 else "") + f"{number:04}.{name}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        (folder / f"s-{form}.tar.gz").write_bytes(gzip.compress((folder / f"s-{form}.tar").read_bytes(), mtime=0))


def _each_sample(shards: lw.Shards) -> None:
    str(shards.labels[:1])
    for index in range(len(shards)):
        shards[index][0].load()


def _read_plain(folder: Path) -> None:
    names = [str(path) for path in sorted(folder.glob("*.tar"))]
    for how in ("skip", "raise"):
        shards = lw.Shards(names, fields=_FIELDS, on_error=how)
        if how == "raise":
            _each_sample(shards)


def _read_stream(folder: Path) -> None:
    names = [str(path) for path in sorted(folder.glob("*.tar.gz"))]
    for how in ("skip", "raise"):
        stream = lw.ShardStream(
            names, 2, fields=_FIELDS, transform=lw.CenterCrop(8), shuffle=3, workers=0, on_error=how
        )
        for _ in stream:
            pass


def spoiled_tar(data: bytes, random: Random) -> bytes:
    """An archive with a spoiled header whose sum is right, or spoiled bytes."""
    if random.random() < 0.3:
        return spoiled_bytes(data, random)
    changed = bytearray(data)
    headers = [place for place in range(0, len(data), 512) if data[place + 257 : place + 262] == b"ustar"]
    for place in random.sample(headers, min(len(headers), random.choice((1, 1, 3)))):
        start, size = random.choice(((0, 100), (100, 8), (124, 12), (124, 12), (156, 1), (345, 155), (512, 300)))
        field = spoiled_bytes(data[place + start : place + start + size], random)[:size].ljust(size, b"\0")
        if size == 12 and random.random() < 0.5:
            field = b"\x80" + random.choice((2**31, 2**40, 2**60, 2**87)).to_bytes(11, "big")
        if size == 1:
            field = random.choice((b"0", b"1", b"2", b"5", b"L", b"K", b"x", b"g", b"V", b"S", b"7", b"\0"))
        changed[place + start : place + start + size] = field
        changed[place + 148 : place + 156] = b" " * 8
        changed[place + 148 : place + 156] = b"%06o\0 " % sum(changed[place : place + 512])
    return bytes(changed)


def spoiled_gzip(data: bytes, random: Random) -> bytes:
    if random.random() < 0.3:
        return spoiled_bytes(data, random)
    inside = spoiled_tar(gzip.decompress(data), random)
    if random.random() < 0.02:  # a bomb
        inside = inside[:512] + bytes(64 * 2**20) + inside[512:]
    return gzip.compress(inside, 1, mtime=0)


_TIME = 1_000_000_000


def _make_indices(folder: Path) -> None:
    import os

    _make_shards(folder)
    for path in folder.glob("*.tar"):
        os.utime(path, (_TIME, _TIME))
    lw.Shards([str(path) for path in folder.glob("*.tar")], fields=_FIELDS, keep_index=True)


def _read_indices(folder: Path) -> None:
    import os

    names = [str(path) for path in sorted(folder.glob("*.tar"))]
    for name in names:
        os.utime(name, (_TIME, _TIME))
    _each_sample(lw.Shards(names, fields=_FIELDS, keep_index=True))


_BYTES_AND_TEXT: dict[str, Spoil] = {"": spoiled_bytes}
TARGETS = (
    Target("index of checkpoints", _make_checkpoints, {"index.json": spoiled_json}, _read_checkpoints),
    Target("manifest", _make_checkpoints, {"manifest.json": spoiled_json, ".pt": spoiled_bytes},
           lambda folder: read_checkpoint(folder / "checkpoints" / "step-000010")),
    Target("tensors", _make_checkpoints, {".pt": spoiled_tensors}, _read_checkpoints, _right_manifests),
    Target("weights", _make_weights, {".pt": spoiled_tensors}, _read_weights, inner=False),
    Target("run folder", _make_run, {".json": spoiled_json, ".jsonl": spoiled_bytes}, _read_run),
    Target("configuration", _make_config, {".yaml": spoiled_bytes}, _read_config, inner=False),
    Target("pack", _make_packs, {".pack": spoiled_pack}, _read_packs, inner=False),
    Target("cached sample", _make_sample, _BYTES_AND_TEXT, _read_sample, inner=False),
    Target("cache on disk", _make_shelf, {".item": spoiled_bytes, ".json": spoiled_json, "space": spoiled_bytes},
           _read_shelf, _right_items),
    Target("array", _make_array, _BYTES_AND_TEXT, _read_array, inner=False),
    Target("table csv", _make_table(".csv"), {".csv": spoiled_bytes}, _read_tables(".csv"), inner=False),
    Target("table json", _make_table(".json"), {".json": spoiled_json}, _read_tables(".json"), inner=False),
    Target("table jsonl", _make_table(".jsonl"), {".jsonl": spoiled_bytes}, _read_tables(".jsonl"), inner=False),
    Target("table parquet", _make_table(".parquet"), {".parquet": spoiled_bytes}, _read_tables(".parquet"), inner=False),
    Target("shards", _make_shards, {".tar": spoiled_tar}, _read_plain, inner=False),
    Target("shards packed", _make_shards, {".tar.gz": spoiled_gzip}, _read_stream, inner=False),
    Target("index of a shard", _make_indices, {SUFFIX: spoiled_zip}, _read_indices),
)  # fmt: skip
