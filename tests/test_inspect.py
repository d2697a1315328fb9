"""Laws of looking at a data set: every fault is found and named, no other is, and nothing is passed over in silence."""

import contextlib
import io
import json
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import loopwright as lw
from loopwright import cli
from loopwright.data._duplicates import near, same
from loopwright.data._escaped import columns, escaped, fitted, oddities
from loopwright.data._facts import facts_of

CLOTHING = Path(os.environ.get("LOOPWRIGHT_CLOTHING", Path(__file__).parents[2] / "shared" / "data" / "clothing"))


def encoded(picture: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def scene(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """A picture like no other: soft random blobs."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def bomb(side: int = 60000) -> bytes:
    """A PNG whose header promises very many pixels."""
    good = encoded(Image.new("L", (1, 1)), "PNG")
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return good[:12] + header + struct.pack(">I", zlib.crc32(header)) + good[33:]


def holed(data: bytes) -> bytes:
    """A JPEG with a hole in the middle, which Pillow reads without a word."""
    return data[: len(data) // 2] + data[len(data) // 2 + 100 :]


def inspect(path: Path, **options: Any) -> lw.DataReport:
    return lw.inspect_data(path, progress=False, **options)


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def sound_folder(root: Path, each: int = 2) -> Path:
    for number, (split, label) in enumerate([(s, c) for s in ("train", "val") for c in ("cat", "dog")]):
        for index in range(each):
            write(root / split / label / f"{index}.jpg", encoded(scene(10 * number + index)))
    return root


def every_fault(root: Path) -> Path:
    """A folder of splits with all that can be wrong in one."""
    sound_folder(root)
    cat, dog, noisy = root / "train" / "cat", root / "train" / "dog", encoded(scene(50, (400, 300)), quality=95)
    write(cat / "empty.jpg", b"")
    write(cat / "cut.jpg", noisy[: len(noisy) // 2])
    write(cat / "holed.jpg", holed(noisy))
    write(cat / "page.jpg", b"<!DOCTYPE html><p>404")
    write(cat / "bomb.png", bomb())
    write(cat / "png.jpg", encoded(scene(51), "PNG"))
    (cat / "gone.jpg").symlink_to(root / "nowhere.jpg")
    write(dog / "gray.jpg", encoded(scene(52).convert("L")))
    write(dog / "cmyk.jpg", encoded(scene(53).convert("CMYK")))
    write(dog / "palette.png", encoded(scene(54).quantize(16), "PNG"))
    write(dog / "alpha.png", encoded(scene(55).convert("RGBA"), "PNG"))
    deep = np.asarray(scene(56).convert("L")).astype(np.uint16) * 257
    write(dog / "deep.png", encoded(Image.fromarray(deep), "PNG"))
    exif = Image.Exif()
    exif[0x0112] = 6
    write(dog / "turned.jpg", encoded(scene(57, (90, 60)), exif=exif))
    frames = [scene(58), scene(59)]
    write(dog / "moving.gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    write(dog / "a space.jpg", encoded(scene(60)))
    write(dog / "two\nlines.jpg", encoded(scene(61)))
    write(dog / "cafe\u0301.jpg", encoded(scene(62)))
    write(dog / "bell\a.jpg", encoded(scene(63)))
    write(dog / "bytes\udcff.jpg", encoded(scene(64)))
    write(dog / "flat.png", encoded(Image.new("RGB", (64, 64), "white"), "PNG"))
    write(root / "train" / "bird" / "bird.jpg", encoded(scene(65)))
    (root / "train" / "void").mkdir()
    write(root / "val" / "fox" / "fox.jpg", encoded(scene(66)))
    write(root / "val" / "cat" / "leak.jpg", (cat / "0.jpg").read_bytes())
    write(root / "val" / "cat" / "nearly.png", encoded(scene(1).resize((48, 36)), "PNG"))
    write(root / "train" / "dog" / "torn.jpg", (cat / "1.jpg").read_bytes())
    write(root / "train" / "dog" / "again.jpg", (dog / "0.jpg").read_bytes())
    for name in (".hidden.jpg", "notes.txt", "labels.txt", "no_ending"):
        write(dog / name, b"a note")
    write(dog / "photo.jfif", encoded(scene(67)))
    write(dog / ".cache" / "x.jpg", encoded(scene(68)))
    write(root / "train" / "loose.jpg", encoded(scene(69)))
    write(root / "extra" / "x.jpg", encoded(scene(70)))
    return root


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, lw.DataReport]:
    root = every_fault(tmp_path_factory.mktemp("data") / "faulty")
    return root, inspect(root, out=root.parent / "sheet.png")


def named(findings: list[Any]) -> dict[str, str]:
    return {finding.name: finding.what for finding in findings}


# ---- the folder with every fault -----------------------------------------------------------------------------------


def test_every_broken_file_is_named_with_its_reason(faulty: tuple[Path, lw.DataReport]) -> None:
    broken = named(faulty[1].broken)
    expected = {
        "empty.jpg": "empty: 0 bytes", "cut.jpg": "cut short: ", "holed.jpg": "damaged JPEG data: ",
        "page.jpg": "not a picture: HTML", "bomb.png": "3600000000 pixels, more than", "gone.jpg": "no such picture",
    }  # fmt: skip
    assert set(broken) == {f"train/cat/{name}" for name in expected}
    for name, reason in expected.items():
        assert broken[f"train/cat/{name}"].startswith(reason)


def test_what_is_broken_is_what_cannot_be_read_and_silent_damage(faulty: tuple[Path, lw.DataReport]) -> None:
    root, report = faulty
    broken = set(named(report.broken))
    for path in sorted(root.glob("*/*/*")):
        name = str(path.relative_to(root))
        if path.suffix in (".jpg", ".png", ".gif") and not path.name.startswith(".") and not name.startswith("extra"):
            try:
                lw.open_picture(path)
            except lw.DataError:
                assert name in broken
            else:
                assert name not in broken or path.name == "holed.jpg"


def test_kinds_of_pictures_are_counted(faulty: tuple[Path, lw.DataReport]) -> None:
    report = faulty[1]
    kinds = {kind: report.modes[kind] for kind in ("gray", "CMYK", "palette", "alpha", "16-bit")}
    assert kinds == {"gray": 1, "CMYK": 1, "palette": 1 + 1, "alpha": 1, "16-bit": 1}  # the GIF has a palette, too
    assert (
        sum(report.modes.values()) == sum(report.formats.values()) == sum(report.pictures.values()) - len(report.broken)
    )
    assert (report.turned, report.flat) == (1, 1)
    assert named(report.misnamed) == {"train/cat/png.jpg": "PNG, not JPEG"}
    assert named(report.animated) == {"train/dog/moving.gif": "2 frames"}
    assert report.sizes["width"][0] == 48 and report.sizes["height"][2] == 90  # the turned one stands upright


def test_odd_names_are_found_and_each_is_one_line(faulty: tuple[Path, lw.DataReport]) -> None:
    odd = named(faulty[1].odd_names)
    assert odd == {
        "train/dog/a space.jpg": "a space",
        "train/dog/two\nlines.jpg": "a line break",
        "train/dog/cafe\u0301.jpg": "Unicode that is not NFC",
        "train/dog/bell\a.jpg": "a control character",
        "train/dog/bytes\udcff.jpg": "bytes that are not UTF-8",
    }
    lines = faulty[1].text(120).split("\n")
    for shown in ("two\\nlines.jpg", "cafe\\u0301.jpg", "bell\\x07.jpg", "bytes\\udcff.jpg"):
        assert sum(f"train/dog/{shown}" in line for line in lines) == 1


def test_leaks_and_torn_labels_are_told_apart_from_copies(faulty: tuple[Path, lw.DataReport]) -> None:
    found = {frozenset(copies.names): copies for copies in faulty[1].copies}
    assert len(found) == len(faulty[1].copies) == 4
    leak = found[frozenset({"train/cat/0.jpg", "val/cat/leak.jpg"})]
    assert (leak.exact, leak.leaks, leak.disagrees) == (True, True, False)
    again = found[frozenset({"train/dog/0.jpg", "train/dog/again.jpg"})]
    assert (again.exact, again.leaks, again.disagrees) == (True, False, False)
    torn = found[frozenset({"train/cat/1.jpg", "train/dog/torn.jpg"})]
    assert (torn.exact, torn.leaks, torn.disagrees) == (True, False, True)
    nearly = found[frozenset({"train/cat/1.jpg", "train/dog/torn.jpg", "val/cat/nearly.png"})]
    assert (nearly.exact, nearly.leaks, nearly.disagrees) == (False, True, True)


def test_what_is_passed_over_is_counted(faulty: tuple[Path, lw.DataReport]) -> None:
    report = faulty[1]
    assert report.passed_over == {
        "hidden files": (1, "train/dog/.hidden.jpg"),
        "hidden folders": (1, "train/dog/.cache"),
        "other files (.txt)": (2, "train/dog/labels.txt"),
        "other files (no extension)": (1, "train/dog/no_ending"),
        "pictures with an unknown extension (.jfif)": (1, "train/dog/photo.jfif"),
        "pictures in no class folder": (1, "train/loose.jpg"),
        "folders beside the splits": (1, "extra"),
    }
    assert report.empty_folders == ["train/void"]
    assert report.missing == {"val": ["bird"]}
    assert report.unknown == {"val": ["fox"]}


GOLDEN = """\
broken     6 files cannot be used
  train/cat/bomb.png
      3600000000 pixels, more than Pillow's 89478485: it may be a decompression
      bomb
  train/cat/cut.jpg  cut short: image file is truncated"""


def test_the_report_reads_like_this(faulty: tuple[Path, lw.DataReport]) -> None:
    text = faulty[1].text(80)
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("train "))
    assert lines[start : start + 3] == [
        "train      27 pictures, 3 classes, imbalance 17.0 (dog 17 / bird 1)",
        "val        7 pictures, 3 classes, imbalance 4.0 (cat 4 / fox 1)",
        "",
    ]
    assert GOLDEN in text
    for part in (
        "misnamed   1 file with an extension of another format",
        "leaks      2 pictures in more than one split: 1 exactly, 1 nearly\n"
        "    train/cat/0.jpg\n  = val/cat/leak.jpg\n",
        "labels     1 picture more than once, with different labels: 1 exactly\n"
        "    train/cat/1.jpg  (cat)\n  = train/dog/torn.jpg  (dog)\n",
        "missing    val: no picture of bird\nunknown    val: training lacks fox\nempty      1 class folder",
        "  train/cat/page.jpg  not a picture: HTML or XML\n",
    ):
        assert part in text
    assert lines[-3:] == [
        "verdict    not sound: 6 broken files, 2 pictures in more than one split (1 of",
        "           them nearly), 1 picture with different labels, 1 class without",
        "           pictures in a split, 1 class that training does not have",
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(faulty: tuple[Path, lw.DataReport], width: int) -> None:
    folder = str(faulty[0])  # a path is never broken
    assert all(columns(line) <= width or folder in line for line in faulty[1].text(width).split("\n"))


def test_the_sheet_has_pictures_of_each_class_and_the_leaks(faulty: tuple[Path, lw.DataReport]) -> None:
    with Image.open(faulty[0].parent / "sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).reshape(-1, 3)
    red = (pixels == np.array([0xCF, 0x22, 0x2E])).all(1)
    assert red.sum() > 4 * 4 * 100  # four frames
    assert len(set(map(bytes, pixels[::7]))) > 1000


def test_json_holds_all_of_it(faulty: tuple[Path, lw.DataReport]) -> None:
    report = faulty[1]
    read = json.loads(json.dumps(report.as_json()))
    assert {found["name"]: found["what"] for found in read["broken"]} == named(report.broken)
    assert [found["name"] for found in read["odd_names"]] == [found.name for found in report.odd_names]
    assert [group["names"] for group in read["copies"]] == [list(group.names) for group in report.copies]
    assert read["sound"] is False and read["verdict"] == report.faults
    assert read["classes"] == report.classes


def test_workers_change_nothing(faulty: tuple[Path, lw.DataReport]) -> None:
    assert inspect(faulty[0], workers=1) == inspect(faulty[0], workers=5) == faulty[1]


# ---- shapes of data ------------------------------------------------------------------------------------------------


def test_a_sound_folder_is_sound_and_one_fault_makes_it_not(tmp_path: Path) -> None:
    root = sound_folder(tmp_path / "data")
    assert inspect(root).faults == []
    write(root / "val" / "cat" / "x.jpg", b"")
    assert inspect(root).faults == ["1 broken file"]
    assert "train      4 pictures, 2 classes, 2 each\n" in inspect(root).text(80)


def test_the_embedded_photos_are_sound() -> None:
    report = inspect(lw.demo_photos())
    assert report.sound and report.kind == "splits"
    assert report.classes["train"] == lw.ImageFolder(lw.demo_photos(), split="train").counts()
    assert report.pictures == {"train": 1000, "val": 249}


def test_class_folders_a_flat_folder_and_usual_names_of_splits(tmp_path: Path) -> None:
    root = sound_folder(tmp_path / "data")
    assert (inspect(root / "train").kind, inspect(root / "train").classes) == ("classes", {"": {"cat": 2, "dog": 2}})
    flat = inspect(root / "train" / "cat")
    assert (flat.kind, flat.pictures, flat.classes) == ("flat", {"": 2}, {"": {}})
    (root / "val").rename(root / "Validation")
    (root / "train").rename(root / "training")
    assert list(inspect(root).pictures) == ["train", "val"]


def test_flat_splits_are_looked_at(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path / "data" / split / "same.jpg", encoded(scene(1)))
    report = inspect(tmp_path / "data")
    assert (report.kind, report.pictures, len(report.leaks)) == ("splits", {"train": 1, "test": 1}, 1)


def test_the_counts_are_those_of_the_image_folder(tmp_path: Path) -> None:
    root = sound_folder(tmp_path / "data")
    write(root / "train" / "cat" / "deep" / "er" / "x.jpg", encoded(scene(70)))
    write(root / "train" / ".git" / "x.jpg", encoded(scene(71)))
    assert inspect(root).classes["train"] == lw.ImageFolder(root, split="train").counts()


@pytest.mark.parametrize("format", ["raw", "jpeg"])
def test_a_pack_is_looked_at_and_its_damage_is_found(tmp_path: Path, format: Any) -> None:
    root = sound_folder(tmp_path / "data")
    write(root / "val" / "cat" / "leak.jpg", (root / "train" / "cat" / "0.jpg").read_bytes())
    lw.pack_folder(root, tmp_path / "packed", format=format, progress=False)
    report = inspect(tmp_path / "packed")
    assert (report.kind, report.pictures, report.broken) == ("packs", {"train": 4, "val": 5}, [])
    assert [set(copies.splits) for copies in report.leaks if copies.exact] == [{"train", "val"}]
    path = tmp_path / "packed" / "train.pack"
    data = bytearray(path.read_bytes())
    data[4096 + 40] ^= 255
    path.write_bytes(data)
    (found,) = inspect(path).broken
    assert found.name.endswith("train/cat/0.jpg") and found.what.startswith("its record in")


def test_a_pack_whose_source_has_changed_says_so(tmp_path: Path) -> None:
    root = sound_folder(tmp_path / "data")
    lw.pack(root / "train", tmp_path / "train.pack", progress=False)
    write(root / "train" / "cat" / "0.jpg", encoded(scene(99)))
    (notice,) = inspect(tmp_path / "train.pack").notices
    assert "1 source files have changed" in notice


def test_a_table_is_looked_at_row_by_row(tmp_path: Path) -> None:
    root = sound_folder(tmp_path / "data")
    write(tmp_path / "outside.jpg", encoded(scene(98)))
    rows = [
        ("train/cat/0.jpg", "cat", "train"), ("train/dog/0.jpg", "dog", "train"), ("val/cat/0.jpg", "cat", "Validation"),
        ("train/cat/0.jpg", "dog", "valid"), ("nothing.jpg", "cat", "train"), ("../outside.jpg", "cat", "train"),
        ("train/cat/1.jpg", "", "train"),
    ]  # fmt: skip
    table = root / "photos.csv"
    table.write_text("path,label,split\n" + "".join(",".join(row) + "\n" for row in rows))
    report = inspect(table)
    assert (report.kind, report.pictures) == ("table", {"train": 5, "val": 2})
    assert named(report.broken) == {
        "nothing.jpg": "line 6: there is no such file",
        "../outside.jpg": "line 7: the path leads out of the root",
        "train/cat/1.jpg": "line 8: its label is empty",
    }
    (leak,) = report.leaks
    assert leak.names == ("train/cat/0.jpg",) * 2 and leak.disagrees


def test_a_split_of_a_table_may_lack_a_class_but_not_have_one_more(tmp_path: Path) -> None:
    root = sound_folder(tmp_path / "data")
    rows = [("train/cat/0.jpg", "cat", "train"), ("train/dog/0.jpg", "dog", "train"), ("val/cat/0.jpg", "cat", "val")]
    lw.write_table([dict(zip(("path", "label", "split"), row, strict=True)) for row in rows], root / "t.tsv")
    report = inspect(root / "t.tsv")
    assert report.missing == {"val": ["dog"]} and report.sound
    rows.append(("val/dog/0.jpg", "fox", "val"))
    lw.write_table([dict(zip(("path", "label", "split"), row, strict=True)) for row in rows], root / "t.tsv")
    assert inspect(root / "t.tsv").faults == ["1 class that training does not have"]


def test_the_columns_of_a_table_may_have_other_names(tmp_path: Path) -> None:
    root = sound_folder(tmp_path / "data")
    lw.write_table(
        [{"file": "cat/0.jpg", "tags": ["a", "b"]}, {"file": "dog/0.jpg", "tags": ["b"]}], tmp_path / "t.jsonl"
    )
    report = inspect(tmp_path / "t.jsonl", image="file", label="tags", root=root / "train")
    assert report.classes == {"": {"a": 1, "b": 2}} and report.sound
    with pytest.raises(lw.DataError, match="no column 'path' of pictures; it has 'file', 'tags'"):
        inspect(tmp_path / "t.jsonl")
    (tmp_path / "t.csv").write_text("path;label\ntrain/cat/0.jpg;a\n")
    with pytest.raises(lw.DataError, match="it has 'path;label'; if ';' stands between the cells, say delimiter=';'$"):
        inspect(tmp_path / "t.csv")
    assert cli.main(["data", str(tmp_path / "t.csv"), "--root", str(root), "--delimiter", ";"]) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file or folder"),
        (lambda path: path.mkdir(), "has no pictures"),
        (lambda path: path.write_text("x"), "expected a folder, a .pack file, or a table"),
    ],
)
def test_what_cannot_be_inspected_is_one_error(tmp_path: Path, make: Callable[[Path], Any], message: str) -> None:
    make(tmp_path / "data")
    with pytest.raises(lw.DataError, match=message):
        inspect(tmp_path / "data")


def test_a_pipe_named_as_a_picture_holds_nobody_up(tmp_path: Path) -> None:
    root = sound_folder(tmp_path / "data")
    os.mkfifo(root / "train" / "cat" / "pipe.jpg")
    assert named(inspect(root).broken) == {"train/cat/pipe.jpg": "no file that can be read"}


def test_names_that_other_systems_cannot_tell_apart(tmp_path: Path) -> None:
    root = sound_folder(tmp_path / "data")
    write(root / "train" / "cat" / "A.jpg", encoded(scene(80)))
    write(root / "train" / "cat" / "a.jpg", encoded(scene(81)))
    write(root / "train" / "cat" / "0.png", encoded(scene(82), "PNG"))
    assert named(inspect(root).odd_names) == {
        "train/cat/a.jpg": "differs only in capitals or Unicode form from train/cat/A.jpg",
        "train/cat/0.png": "the same stem as 0.jpg",
    }


def test_many_classes_are_shown_in_part(tmp_path: Path) -> None:
    for number in range(60):
        write(tmp_path / "data" / f"class{number:02d}" / "x.jpg", encoded(scene(number, (24, 18))))
    report = inspect(tmp_path / "data", out=tmp_path / "sheet.png")
    assert "(30 classes between)" in report.text(80)
    assert len(report.as_json()["classes"][""]) == 60


# ---- one file ------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"]), st.data())
def test_any_damage_is_told_and_nothing_is_raised(seed: int, format: str, data: st.DataObject) -> None:
    whole = encoded(scene(seed % 100, (40, 30)), format)
    start = data.draw(st.integers(0, len(whole)))
    damaged = whole[:start] + data.draw(st.binary(max_size=20)) + whole[start + data.draw(st.integers(0, 40)) :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as inspect_data does
        found = facts_of(damaged)
        try:
            picture = lw.open_picture("x", damaged)
        except lw.DataError:
            assert found.fault
        else:
            assert found.fault.startswith("damaged JPEG") or (found.width, found.height) == picture.size


def test_damage_behind_the_frame_that_is_read_is_none() -> None:
    frames = [scene(58), scene(59)]
    whole = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    found = [facts_of(whole[:length]) for length in range(len(whole) // 2, len(whole), 50)]
    read = 0
    for length, facts in zip(range(len(whole) // 2, len(whole), 50), found, strict=True):
        with contextlib.suppress(lw.DataError):
            lw.open_picture("x", whole[:length])
            assert not facts.fault
            read += 1
    assert read


@pytest.mark.parametrize("side", [60000, 9600])  # Pillow refuses the one and warns of the other
def test_a_bomb_is_told_by_its_header(side: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert facts_of(bomb(side)).fault.startswith(f"{side * side} pixels, more than Pillow's")


def test_a_jpeg_with_a_few_odd_bytes_is_doubtful_not_broken() -> None:
    whole = encoded(scene(1))
    found = facts_of(whole[:-2] + bytes(40) + whole[-2:])
    assert not found.fault and "extraneous bytes before marker" in found.doubt


# ---- duplicates ----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 3)), max_size=30), st.integers(0, 12), st.data())
def test_near_groups_are_those_of_comparing_all_pairs(
    bases: list[tuple[int, int]], distance: int, data: st.DataObject
) -> None:
    hashes = [base for base, _ in bases]
    for base, copies in bases:
        for _ in range(copies):
            bits = data.draw(st.lists(st.integers(0, 63), max_size=distance + 2))
            hashes.append(base ^ sum(1 << bit for bit in set(bits)))
    looks = np.array([[value % 7 * 10] * 4 for value in hashes], np.uint8).reshape(-1, 4)
    close = {
        (i, j)
        for i in range(len(hashes)) for j in range(i)
        if (hashes[i] ^ hashes[j]).bit_count() <= distance and abs(int(looks[i][0]) - int(looks[j][0])) <= 10
    }  # fmt: skip
    groups: list[set[int]] = [{index} for index in range(len(hashes))]
    for i, j in close:
        one, other = (next(g for g in groups if k in g) for k in (i, j))
        if one is not other:
            groups.remove(other)
            one |= other
    expected = sorted(sorted(group) for group in groups if len(group) > 1)
    assert sorted(near(np.array(hashes, np.uint64), looks, distance, 10.0)) == expected


def test_many_equal_pictures_do_not_fill_the_memory() -> None:
    """Twenty thousand frames of one scene are 200 million pairs."""
    hashes, looks = np.zeros(20000, np.uint64), np.zeros((20000, 3), np.uint8)
    assert near(hashes, looks, 7, 8.0) == [list(range(20000))]


def test_equal_digests_are_grouped() -> None:
    assert same([b"a", b"b", b"a", b"c", b"b", b"a"]) == [[0, 2, 5], [1, 4]]


def test_recompressed_halved_and_converted_photos_are_found_and_others_are_not(tmp_path: Path) -> None:
    photos = sorted((lw.demo_photos() / "train").rglob("*.jpg"))[::25]
    for number, photo in enumerate(photos):
        picture = lw.open_picture(photo)
        write(tmp_path / "data" / "train" / "a" / f"{number}.jpg", photo.read_bytes())
        changed = [
            encoded(picture, quality=40),
            encoded(picture.resize((picture.width // 2, picture.height // 2))),
            encoded(picture, "PNG"),
        ][number % 3]
        write(tmp_path / "data" / "val" / "a" / f"{number}{'.png' if number % 3 == 2 else '.jpg'}", changed)
    found = {copies.names for copies in inspect(tmp_path / "data").leaks}
    endings = [".png" if number % 3 == 2 else ".jpg" for number in range(len(photos))]
    expected = {(f"train/a/{number}.jpg", f"val/a/{number}{ending}") for number, ending in enumerate(endings)}
    assert found <= expected
    assert len(found) >= 0.95 * len(expected)


@pytest.mark.slow
@pytest.mark.skipif(not CLOTHING.is_dir(), reason="the shared clothing photos are not here")
def test_the_shared_photos_have_one_picture_twice() -> None:
    report = inspect(CLOTHING)
    assert report.sound and sum(report.pictures.values()) == 2148
    assert [copies.exact for copies in report.copies] == [False]


# ---- names ---------------------------------------------------------------------------------------------------------


@given(st.text(), st.text())
def test_a_name_is_one_visible_line_and_two_are_never_shown_alike(one: str, other: str) -> None:
    shown = escaped(one)
    assert shown.isprintable() or not shown
    assert "\n" not in shown and shown == shown.strip()
    assert (shown == escaped(other)) == (one == other)


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("IMG_0001.JPG", []), ("Köder.jpg", []), ("蟻.jpg", []), (" x.jpg", ["a space at its beginning"]),
        ("x.jpg ", ["a space at its end"]), ("a\u200bb.jpg", ["an invisible character"]), ("a\\b.jpg", ["a backslash"]),
        ("a\u00a0b.jpg", ["a space"]), ("a\tb.jpg", ["a control character"]),
    ],
)  # fmt: skip
def test_odd_names(name: str, odd: list[str]) -> None:
    assert oddities(name) == odd


@given(st.text(alphabet="ab蟻é\u0301", max_size=20), st.integers(1, 12))
def test_a_text_is_fitted_to_its_columns(text: str, width: int) -> None:
    assert columns(fitted(text, width)) == width


# ---- the command ---------------------------------------------------------------------------------------------------


def test_the_command_prints_the_report_and_its_code_is_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    root = sound_folder(tmp_path / "data")
    out, found = tmp_path / "sheet.png", tmp_path / "found.json"
    assert cli.main(["data", str(root), "--out", str(out), "--json", str(found)]) == 0
    assert capsys.readouterr().out == inspect(root).text(100) + "\n"
    assert out.exists() and json.loads(found.read_text())["sound"] is True
    write(root / "val" / "dog" / "bytes\udcff.jpg", (root / "train" / "dog" / "0.jpg").read_bytes())
    assert cli.main(["data", str(root), "--json", str(found), "--exact"]) == 1
    assert "verdict    not sound: 1 picture in more than one split\n" in capsys.readouterr().out
    assert json.loads(found.read_text())["copies"][0]["names"][1] == "val/dog/bytes\udcff.jpg"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere"],
        ["data", "--out", "sheet.jpg"],
        ["data", "--out", "no/sheet.png"],
        ["data", "--json", "no/x"],
        ["data", "--workers", "-1"],
    ],
)
def test_a_mistake_is_code_2_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sound_folder(tmp_path / "data")
    assert cli.main(["data", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.out == ""


def test_a_terminal_of_another_encoding_gets_the_report(tmp_path: Path) -> None:
    root = sound_folder(tmp_path / "data")
    write(root / "train" / "dog" / "蟻 x.jpg", encoded(scene(90)))
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    with contextlib.redirect_stdout(stream):
        assert cli.main(["data", str(root)]) == 0
    stream.flush()
    assert b"train/dog/\\u87fb x.jpg" in stream.buffer.getvalue()  # type: ignore[attr-defined]
