"""Laws of ``Table`` and of the files it reads: what is written comes back, targets are what the cells say, and every
mistake is told at the start, with its line."""

import csv
import json
import math
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import loopwright as lw
from loopwright._errors import ConfigError, DataError, MissingExtra
from loopwright.data._labels import LabelSets
from loopwright.data._rows import read_rows

try:
    import pyarrow
except ImportError:
    pyarrow = None
needs_pyarrow = pytest.mark.skipif(pyarrow is None, reason="pyarrow, of the extra 'parquet', is not installed")
FORMATS = ["csv", "tsv", "json", "jsonl", pytest.param("parquet", marks=needs_pyarrow)]

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
AWKWARD = st.sampled_from(
    ["", " ", ",", '"', "\n", "\r", "\r\n", "\ufeff", "\t", "[", "nan", "\u2028", "\0", ";", '""']
)
ANY_TEXT = TEXT | AWKWARD | st.lists(AWKWARD | TEXT, max_size=3).map("".join)
COLUMNS = st.lists(ANY_TEXT, min_size=1, max_size=4, unique=True)


def a_table(cells: st.SearchStrategy, **options: Any) -> st.SearchStrategy:
    rows = COLUMNS.flatmap(lambda names: st.lists(st.fixed_dictionaries(dict.fromkeys(names, cells)), **options))
    return rows.map(lambda rows: [dict(row) for row in rows])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty pictures, 0.png to 29.png, and two in cat/."""
    root = tmp_path_factory.mktemp("pictures")
    (root / "cat").mkdir()
    for name in [*map(str, range(30)), "cat/a", "cat/b c\u00e4"]:
        Image.new("RGB", (3, 2), (hash(name) % 256, 0, 0)).save(root / f"{name}.png")
    return root


@pytest.fixture
def table(folder: Path, tmp_path: Path) -> Any:
    """A function from lines of CSV to a ``Table`` of these pictures."""

    def make(*lines: str, name: str = "t.csv", **options: Any) -> lw.Table:
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return lw.Table(path, root=folder, **options)

    return make


# ---- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "tsv"])
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=a_table(ANY_TEXT, min_size=1, max_size=4))
def test_texts_come_back_from_csv(ending: str, rows: list[dict], tmp_path: Path) -> None:
    path = tmp_path / f"t.{ending}"
    lw.write_table(rows, path)
    assert lw.read_table(path) == rows
    with open(path, encoding="utf-8-sig", newline="") as file:  # and others read the same
        others = list(csv.reader(file, delimiter="," if ending == "csv" else "\t"))
    assert [row for row in others if row] == [list(rows[0]), *([row[name] for name in rows[0]] for row in rows)]


ODD_BYTES = st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"])  # in names of files
CELLS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT
NESTED = st.recursive(CELLS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3))


@pytest.mark.parametrize("ending", ["json", "jsonl"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=a_table(NESTED | st.text(st.characters() | ODD_BYTES), max_size=4))
def test_everything_comes_back_from_json(ending: str, rows: list[dict], tmp_path: Path) -> None:
    path = tmp_path / f"t.{ending}"
    lw.write_table(rows, path)
    assert lw.read_table(path) == rows
    if ending == "json":
        assert json.loads(path.read_text(encoding="utf-8")) == rows


@needs_pyarrow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_columns_of_one_kind_come_back_from_parquet(data: st.DataObject, tmp_path: Path) -> None:
    kinds = [st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.booleans(), ANY_TEXT]
    kinds += [st.lists(st.integers(0, 9), max_size=3), st.lists(ANY_TEXT, max_size=3)]
    names = data.draw(COLUMNS)
    columns = {name: data.draw(st.sampled_from(kinds)) | st.none() for name in names}
    rows = data.draw(st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=4))
    path = tmp_path / "t.parquet"
    lw.write_table(rows, path)
    assert lw.read_table(path) == rows


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.floats() | st.integers(-(2**70), 2**70))
def test_numbers_in_csv_are_the_same_to_the_last_bit(number: float, tmp_path: Path) -> None:
    lw.write_table([{"n": number}], tmp_path / "t.csv")
    again = type(number)(lw.read_table(tmp_path / "t.csv")[0]["n"])
    assert again == number or (math.isnan(again) and math.isnan(number))


@pytest.mark.parametrize("ending", FORMATS)
def test_a_table_is_the_same_from_every_format(ending: str, folder: Path, tmp_path: Path) -> None:
    rows = [
        {"path": f"{n}.png", "label": ["ant", "bee"][n % 2], "age": n / 3, "w": n + 1, "split": ["train", "val"][n > 20],
         "tags": ["x", "y", "z"][: n % 4]} for n in range(30)
    ]  # fmt: skip
    path = tmp_path / f"t.{ending}"
    lw.write_table(rows, path)
    for split, chosen in (("train", range(21)), ("val", range(21, 30))):
        one = lw.Table(path, root=folder, split=split, weight="w")
        assert one.paths == [folder / f"{n}.png" for n in chosen]
        assert one.labels.tolist() == [n % 2 for n in chosen] and one.classes == ["ant", "bee"]
        assert one.weights is not None and one.weights.tolist() == [n + 1 for n in chosen]
        many = lw.Table(path, root=folder, split=split, labels="tags")
        assert list(many.labels) == [tuple(range(n % 4)) for n in chosen] and many.classes == ["x", "y", "z"]
        values = lw.Table(path, root=folder, split=split, values="age")
        assert values.labels.tolist() == np.array([n / 3 for n in chosen], dtype=np.float32).tolist()


def test_predictions_are_written_as_they_are(tmp_path: Path) -> None:
    rows = [
        {"path": Path("a/b.jpg"), "guess": np.int64(3), "p": torch.tensor(0.5), "scores": torch.tensor([0.25, 0.75])},
        {"path": "c.jpg", "guess": None, "extra": np.array([[1, 2]]), "right": True, "pair": (1, float("nan"))},
    ]
    lw.write_table(rows, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == (
        'path,guess,p,scores,extra,right,pair\na/b.jpg,3,0.5,"[0.25, 0.75]",,,\nc.jpg,,,,"[[1, 2]]",true,"[1, ""nan""]"\n'
    )
    lw.write_table(rows, tmp_path / "t.jsonl")
    assert (tmp_path / "t.jsonl").read_text().splitlines()[0] == (
        '{"path": "a/b.jpg", "guess": 3, "p": 0.5, "scores": [0.25, 0.75], "extra": null, "right": null, "pair": null}'
    )
    lw.write_table(iter(rows), tmp_path / "t.json")
    assert lw.read_table(tmp_path / "t.json") == lw.read_table(tmp_path / "t.jsonl")


def test_the_name_of_a_file_with_an_odd_byte_survives_in_json(tmp_path: Path) -> None:
    lw.write_table([{"path": "caf\udce9.jpg", "n": "\u00e9"}], tmp_path / "t.jsonl")
    assert lw.read_table(tmp_path / "t.jsonl") == [{"path": "caf\udce9.jpg", "n": "\u00e9"}]
    with pytest.raises(
        DataError, match=r"t\.csv: row 1, column 'path': 'caf\\udce9.jpg' is no Unicode text; only JSON"
    ):
        lw.write_table([{"path": "caf\udce9.jpg"}], tmp_path / "t.csv")


@pytest.mark.parametrize("ending", FORMATS)
def test_a_table_without_rows_comes_back(ending: str, tmp_path: Path) -> None:
    lw.write_table([], tmp_path / f"t.{ending}")
    assert lw.read_table(tmp_path / f"t.{ending}") == []


@pytest.mark.parametrize(
    ("rows", "name", "message"),
    [
        ([{"a": object()}], "t.csv", "row 1, 'a': type object cannot be written"),
        ([{"a": 1}, {"a": {"b": b""}}], "t.json", "row 2, 'a', 'b': type bytes cannot be written"),
        ([{1: 2}], "t.json", "row 1: names are strings. Found: 1"),
        ([[1]], "t.csv", "row 1: a row is a dictionary of its cells. Found: list"),
        ([{}], "t.csv", "the rows have no columns"),
        ([{"a": 1}], "t.xls", r"t\.xls: a table ends in one of \.csv, .*\. Found: '\.xls'"),
        ([{"a": 1}], "no/t.csv", "there is no folder .*no to write it in"),
        pytest.param([{"a": 1}, {"a": "x"}], "t.parquet", "column 'a' does not fit Parquet", marks=needs_pyarrow),
    ],
)
def test_what_cannot_be_written_is_named_and_nothing_is_written(
    rows: Any, name: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        lw.write_table(rows, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_table(tmp_path: Path) -> None:
    lw.write_table([{"a": "old"}], tmp_path / "t.csv")
    with pytest.raises(DataError):
        lw.write_table([{"a": "new"}, {"a": object()}], tmp_path / "t.csv")
    assert lw.read_table(tmp_path / "t.csv") == [{"a": "old"}]


@pytest.mark.parametrize("ending", ["parquet", "pq"])
def test_without_pyarrow_the_extra_is_named(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / f"t.{ending}"
    with pytest.raises(
        MissingExtra, match=r"writing .* needs the package 'pyarrow': pip install 'loopwright\[parquet\]'"
    ):
        lw.write_table([{"a": 1}], path)
    path.write_bytes(b"")
    with pytest.raises(MissingExtra, match="reading .* needs the package 'pyarrow'"):
        lw.Table(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "a,b\n1,2\n3\n4,5,6\n", r"has 2 columns, but line 3 has 1; line 4 has 3"),
        ("t.csv", "a,b\n" + "1\n" * 9, r"line 6 has 1; and 4 more"),
        ("t.csv", 'a,b\n1,"2\n3,4\n', r"t\.csv: line 2: unexpected end of data; is a quote left open\?"),
        ("t.csv", "a,b,a\n", r"a column's name comes twice: 'a'"),
        ("t.csv", "a,,b,,c\n", r"a column's name comes twice: ''"),
        ("t.csv", "a,b,,\n1,2,,\n1,2,,3\n", r"2 columns, but line 3 has a cell in a column without a name"),
        (
            "t.csv",
            "a\n1,2\n",
            r"has 1 column, but line 2 has 2\. The first line .* a cell with ',' in it stands in quotes",
        ),
        ("t.json", '{"a": 1}\n{"a": 2}\n', r"line 2, column 1: Extra data; expected JSON; an object a line is \.jsonl"),
        ("t.json", '{"a": {"0": 1}}', r"expected a list of objects.* pandas writes one with orient='records'"),
        ("t.json", "[{]", r"t\.json: line 1, column 3: .*; expected JSON"),
        ("t.json", '{"a": 1}', r"expected a list of objects, one a row. Found: dict"),
        ("t.json", '[{"a": 1}, 3, []]', r"expected a list of objects, but row 2 is of type int; row 3 is of type list"),
        ("t.jsonl", '{"a": 1}\n\n{"a": \n[]\n', r"but line 3, column 6: .*; line 4 is of type list"),
        ("t.txt", "a", r"a table ends in one of \.csv"),
        ("t", "a", r"Found: 'no ending'"),
    ],
)
def test_a_damaged_file_is_refused_with_its_lines(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        lw.read_table(tmp_path / name)


@needs_pyarrow
def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match=r"t\.parquet: not a readable Parquet file"):
        lw.read_table(tmp_path / "t.parquet")


def test_what_spreadsheets_leave_behind_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf\r\n,path,label,,\r\n0,a.jpg,ant,,\r\n\r\n1,b.jpg,bee,,\r\n")
    assert lw.read_table(tmp_path / "t.csv") == [
        {"": "0", "path": "a.jpg", "label": "ant"}, {"": "1", "path": "b.jpg", "label": "bee"},
    ]  # fmt: skip


def test_cells_may_be_as_long_as_they_like(tmp_path: Path) -> None:
    before, rows = csv.field_size_limit(), [{"path": "a.png", "runs": [*range(50_000)], "text": "x" * 200_000}]
    lw.write_table(rows, tmp_path / "t.csv")
    (found,) = lw.read_table(tmp_path / "t.csv")
    assert json.loads(found["runs"]) == rows[0]["runs"] and found["text"] == rows[0]["text"]
    assert csv.field_size_limit() == before


def test_a_missing_table_is_named_with_what_was_meant(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("")
    with pytest.raises(DataError, match=r"lables\.csv: no such table; did you mean 'labels\.csv'\?"):
        lw.Table(tmp_path / "lables.csv")
    with pytest.raises(DataError, match=r"no such table$"):
        lw.Table(tmp_path / "nowhere" / "labels.csv")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(DataError, match="is a folder, not a table"):
        lw.Table(tmp_path / "d.csv")


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    for encoding in ("latin-1", "utf-16"):
        (tmp_path / "t.csv").write_text("path,label\n1,\u00e4\n", encoding=encoding)
        with pytest.raises(DataError, match=r"t\.csv: not UTF-8 text \(byte 0x.. at offset \d+\): save it as UTF-8"):
            lw.read_table(tmp_path / "t.csv")


def test_lines_are_those_of_an_editor(tmp_path: Path) -> None:
    """Also behind cells of several lines, and empty ones."""
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbfa,b\r\n1,"x\r\ny\r\nz"\r\n\r\n2,\r\n')
    rows = read_rows(path)
    assert rows.columns == {"a": ["1", "2"], "b": ["x\r\ny\r\nz", ""]}
    assert [rows.place(0), rows.place(1)] == ["line 2", "line 6"]


# ---- targets -------------------------------------------------------------------------------------------------------


def test_a_sample_is_the_picture_and_the_index_of_its_class(table: Any, folder: Path) -> None:
    made = table("path,label,note", "3.png,dog,x", "cat/a.png, cat ,y", "cat/b c\u00e4.png,dog,z")
    assert (made.classes, made.class_to_idx, made.labels.tolist()) == (["cat", "dog"], {"cat": 0, "dog": 1}, [1, 0, 1])
    for index, name in enumerate(["3.png", "cat/a.png", "cat/b c\u00e4.png"]):
        picture, label = made[index]
        assert picture.mode == "RGB" and picture.tobytes() == lw.open_picture(folder / name).tobytes()
        assert label == made.labels[index] and type(label) is int
        assert made.undecoded(index) == (folder / name, label)
        assert made.name_of(index) == str(folder / name)
    assert made.counts() == {"cat": 1, "dog": 2} and len(made) == 3
    assert made[-1][1] == 1 and [label for _, label in made] == [1, 0, 1]
    for index in (3, -4):
        with pytest.raises(IndexError):
            made[index]
    assert repr(made).endswith("t.csv', split=None): 3 pictures of 2 classes")


def test_paths_begin_in_the_folder_of_the_table(folder: Path) -> None:
    path = folder / "beside.csv"
    lw.write_table([{"path": "cat/a.png", "label": 1}], path)
    assert lw.Table(path).paths == [folder / "cat" / "a.png"]


def test_a_table_equals_the_folder_that_it_lists(tmp_path: Path) -> None:
    photos = lw.ImageFolder(lw.demo_photos(), split="val")
    path = tmp_path / "photos.csv"
    lw.write_table(
        [
            {"path": name, "label": photos.classes[label]}
            for name, label in zip(photos.paths.names, photos.labels, strict=True)
        ],
        path,
    )
    listed = lw.Table(path, root=lw.demo_photos())
    assert (listed.classes, listed.counts(), listed.paths) == (photos.classes, photos.counts(), photos.paths)
    options: dict[str, Any] = {"transform": lw.RandomResizedCrop(32), "shuffle": True, "workers": 0}
    ours, theirs = (next(iter(lw.Loader(data, 16, **options))) for data in (listed, photos))
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "2", "0"], ["0", "2", "10"]),  # by value
        (["10", "-2", "0"], ["-2", "0", "10"]),
        (["10.0", "2.0", "0.0"], ["0.0", "2.0", "10.0"]),  # as pandas writes whole numbers where some are missing
        (["10", "2", "x"], ["10", "2", "x"]),
        (["01", "1", "2"], ["01", "1", "2"]),  # two classes, whatever they mean
        (["-1", "1"], ["-1", "1"]),
    ],
)
def test_classes_are_sorted_whole_numbers_by_value(table: Any, labels: list[str], classes: list[str]) -> None:
    made = table("path,label", *(f"{n}.png,{label}" for n, label in enumerate(labels)))
    assert made.classes == classes
    assert [made.classes[label] for label in made.labels] == labels


def test_given_classes_decide_the_indices_and_no_other_may_come(table: Any) -> None:
    lines = "path,label", "1.png,dog", "2.png,cat", "3.png,dgo"
    made = table(*lines[:3], classes=["dog", "emu", "cat"])
    assert (made.labels.tolist(), made.counts()) == ([0, 2], {"dog": 1, "emu": 0, "cat": 1})
    with pytest.raises(
        DataError,
        match=r"column 'label': not among the given classes \(1 of 3 rows\): 'dgo' \(line 4\); did you mean 'dog'",
    ):
        table(*lines, classes=["dog", "cat"])
    with pytest.raises(DataError, match="classes= has names more than once: dog"):
        table(*lines, classes=["dog", "dog"])
    assert table("path,label", "1.png,1", classes=[1, 0]).labels.tolist() == [0]


def test_the_classes_are_those_of_all_splits(table: Any) -> None:
    lines = "path,label,split", "1.png,dog,train", "2.png,ant,val", "3.png,,test", "4.png,,test"
    with pytest.warns(UserWarning, match="split 'train' has no row of .*: 'ant'"):
        made = table(*lines, split="train")
    assert (made.classes, made.labels.tolist(), made.counts()) == (["ant", "dog"], [1], {"ant": 0, "dog": 1})
    assert table(*lines, split="val").labels.tolist() == [0]
    assert len(table(*lines, split="test", label=None)) == 2
    with pytest.raises(DataError, match=r"column 'label' is empty \(2 of 2 rows\): line 4, line 5"):
        table(*lines, split="test")


@pytest.mark.parametrize(
    ("cells", "options"),
    [
        (["x|z", "y", "", " z | x "], {"separator": "|"}),
        (["x z", "y", "", " z  x x"], {"separator": " "}),
        (['"[""x"", ""z""]"', '"[""y""]"', "[]", '"[""z"", "" x""]"'], {}),
        (["x;z", '"[""y""]"', "", "z;x"], {"separator": ";"}),
    ],
)
def test_many_labels_in_a_cell_become_multi_hot(table: Any, cells: list[str], options: dict) -> None:
    made = table("path,tags", *(f"{n}.png,{cell}" for n, cell in enumerate(cells)), labels="tags", **options)
    assert made.classes == ["x", "y", "z"] and isinstance(made.labels, LabelSets)
    assert list(made.labels) == [(0, 2), (1,), (), (0, 2)]
    target = made[0][1]
    assert target.dtype == torch.float32 and target.tolist() == [1, 0, 1]
    assert made.counts() == {"x": 2, "y": 1, "z": 2}
    _, targets = next(iter(lw.Loader(made, 4, workers=0)))
    assert targets.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 1]]
    part = lw.Part(made, [1, 3])
    assert list(part.labels) == [(1,), (0, 2)] and part.counts() == {"x": 1, "y": 1, "z": 1}


def test_a_column_a_class_becomes_multi_hot(table: Any) -> None:
    made = table("path,cat,dog,emu", "1.png,1,0,true", "2.png,0,1.0,False", "3.png,0,0,0", labels=["emu", "cat", "dog"])
    assert made.classes == ["emu", "cat", "dog"]
    assert [made[index][1].tolist() for index in range(3)] == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    with pytest.raises(
        DataError, match=r"column 'dog': neither 0 nor 1 \(2 of 2 rows\): '' \(line 2\), '0.3' \(line 3\)"
    ):
        table("path,cat,dog", "1.png,1,", "2.png,0,0.3", labels=["cat", "dog"])


def test_labels_that_cannot_be_told_apart_ask_for_the_separator(table: Any) -> None:
    with pytest.raises(
        DataError, match=r"neither a list nor a JSON list \(1 of 2 rows\): 'x y' \(line 3\); say .* separator='\|'"
    ):
        table("path,tags", "1.png,[]", "2.png,x y", labels="tags")
    with pytest.raises(DataError, match=r"\(2 of 2 rows\): '\[x\]' \(line 2\), '\[\"a\",null\]' \(line 3\)$"):
        table("path;tags", "1.png;[x]", '2.png;"[""a"",null]"', labels="tags", separator=" ", delimiter=";")
    with pytest.raises(DataError, match=r"not among the given classes .*: 'zz' \(line 2\)"):
        table("path,tags", "1.png,x zz", labels="tags", separator=" ", classes=["x"])


def test_numbers_become_float32(table: Any) -> None:
    lines = "path,x,y", "1.png,0.1,1e3", "2.png, -2 ,3"
    one, two = table(*lines, values="x"), table(*lines, values=["y", "x"])
    assert one.labels.dtype == np.float32 and one.labels.shape == (2,) and two.labels.shape == (2, 2)
    assert one[0][1].dtype == torch.float32 and one[0][1].shape == () and one[1][1] == -2
    assert two[0][1].tolist() == [1000, np.float32(0.1)]
    batches = [next(iter(lw.Loader(made, 2, workers=0)))[1] for made in (one, two)]
    assert [(batch.shape, batch.dtype) for batch in batches] == [((2,), torch.float32), ((2, 2), torch.float32)]
    assert one.classes == [] and one.counts() == two.counts() == {} and repr(two).endswith("2 pictures")


@pytest.mark.parametrize("cell", ["many", "nan", "inf", "1e39", "1,5", "[1]", "true"])
def test_what_is_no_number_is_named(table: Any, cell: str) -> None:
    with pytest.raises(DataError, match=r"column 'x': no finite number \(1 of 2 rows\): .* \(line 3\)$"):
        table("path\tx", "1.png\t1", f"2.png\t{cell}", values="x", name="t.tsv")


def test_without_targets_the_target_is_the_index(table: Any) -> None:
    made = table("path", "1.png", "2.png", label=None)
    assert [made[0][1], made[-1][1]] == [0, 1] and made.labels is None and made.counts() == {}
    assert next(iter(lw.Loader(made, 2, workers=0)))[1].tolist() == [0, 1]
    with pytest.raises(DataError, match="a Table has no labels"):
        lw.k_fold(made, 2)
    assert lw.Part(made, [1])[0][1] == 1 and lw.Part(made, [1]).labels is None


def test_weights_are_for_the_loader(table: Any) -> None:
    made = table("path,label,w", "1.png,a,0", "2.png,b,1", "3.png,c,3.5", weight="w")
    assert made.weights.tolist() == [0, 1, 3.5]
    drawn = torch.cat([labels for _, labels in lw.Loader(made, 3, weights=made.weights, workers=0)])
    assert 0 not in drawn
    assert lw.Part(made, [2]).weights.tolist() == [3.5]
    assert table("path,label", "1.png,a").weights is None


# ---- splits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "split"), [("val", "val"), ("VALID", "val"), ("dev", "val"), ("Training", "train"),
                                             ("fold 3", "fold 3"), (" val ", "validation")])  # fmt: skip
def test_splits_are_found_under_their_usual_names(table: Any, word: str, split: str) -> None:
    made = table("path,label,split", "1.png,a,other", f"2.png,a,{word}", "3.png,a,another", split=split)
    assert [path.name for path in made.paths] == ["2.png"]


def test_a_split_may_be_a_number(tmp_path: Path, folder: Path) -> None:
    lw.write_table([{"path": f"{n}.png", "label": "a", "fold": n % 3} for n in range(9)], tmp_path / "t.json")
    made = lw.Table(tmp_path / "t.json", root=folder, split=2, split_column="fold")
    assert [path.name for path in made.paths] == ["2.png", "5.png", "8.png"]


def test_the_very_name_goes_before_its_likes(table: Any) -> None:
    lines = "path,label,part", "1.png,a,val", "2.png,a,dev"
    assert table(*lines, split="dev", split_column="part").paths[0].name == "2.png"
    with pytest.warns(UserWarning, match=r"another name of split 'val', left out.*: 'dev' \(line 3\)"):
        assert table(*lines, split="val", split_column="part").paths[0].name == "1.png"


def test_classes_that_are_likely_slips_are_warned_of(table: Any) -> None:
    lines = "path,label,split", "1.png,fox,train", "2.png,Fox,train", "3.png,caf\u00e9,train", "4.png,cafe\u0301,val"
    with pytest.warns(UserWarning, match="classes") as caught:
        made = table(*lines, split="train")
    assert [str(warning.message) for warning in caught] == made.notices
    assert [notice.split("csv: ")[1] for notice in made.notices] == [
        "classes that differ in capitals, spaces or Unicode forms only (2 of 4): "
        r"'Fox' and 'fox', 'cafe\u0301' and 'caf\xe9'",
        "classes that split 'train' has no row of (1 of 4): 'cafe\u0301'",
    ]
    assert table(*lines, split="train", classes=["fox", "Fox", "caf\u00e9", "cafe\u0301"]).notices == []


def test_no_row_of_a_split_is_lost_without_a_word(table: Any) -> None:
    lines = "path,label,split", "1.png,a,train", "2.png,b,Train ", "3.png,a,TRAIN", "4.png,b,", "5.png,b,test"
    with pytest.warns(UserWarning, match=r"'split' is empty: no split has these rows \(1 of 5 rows\): '' \(line 5\)"):
        made = table(*lines, split="train")
    assert [path.stem for path in made.paths] == ["1", "2", "3"] and len(made.notices) == 1


def test_a_split_must_be_chosen_where_there_are_some(table: Any) -> None:
    lines = "path,label,split", "1.png,a,train", "2.png,a,train", "3.png,a,"
    with pytest.raises(
        DataError, match=r"has a column 'split' \(empty: 1, train: 2\): say split=, or split_column=None"
    ):
        table(*lines)
    assert len(table(*lines, split_column=None)) == 3
    with pytest.raises(DataError, match=r"no row is of split 'val'; column 'split' has empty: 1, train: 2"):
        table(*lines, split="val")
    with pytest.raises(DataError, match=r"has no column 'part'; it has 'path', 'label', 'split'"):
        table(*lines, split="val", split_column="part")
    with pytest.raises(DataError, match="has no column 'split'"):
        table("path,label", "1.png,a", split="val")
    with pytest.raises(ConfigError, match="split= needs split_column="):
        table(*lines, split="val", split_column=None)


NAMES = [f"{n}.png" for n in range(24)]
PARTS = {
    "no column": ("path,label,w", [f"{name},{'ab'[n % 2]},{n}" for n, name in enumerate(NAMES)]),
    "no rows of it": ("path,label,w,split", [f"{name},{'ab'[n % 2]},{n},train" for n, name in enumerate(NAMES)]),
}


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("seed", [0, 7])
def test_what_is_held_out_is_what_hold_out_says(table: Any, kind: str, seed: int) -> None:
    head, rows = PARTS[kind]
    indices = lw.hold_out([n % 2 for n in range(24)], 0.25, seed=seed)
    for split, kept in zip(("train", "validation"), indices, strict=True):
        made = table(head, *rows, split=split, holdout=0.25, seed=seed, weight="w")
        assert [path.name for path in made.paths] == [NAMES[n] for n in kept]
        assert made.labels.tolist() == [n % 2 for n in kept] and made.weights.tolist() == kept.tolist()
        assert made[0][1] == kept[0] % 2 and made.name_of(1) == str(made.paths[1])


def test_rows_for_validation_are_taken_where_there_are_some(table: Any) -> None:
    lines = "path,label,split", "1.png,a,train", "2.png,b,train", "3.png,b,dev", "4.png,a,test"
    found = {split: table(*lines, split=split, holdout=0.5) for split in ("train", "val", "test")}
    assert {split: [path.stem for path in made.paths] for split, made in found.items()} == {
        "train": ["1", "2"], "val": ["3"], "test": ["4"],
    }  # fmt: skip


@pytest.mark.parametrize("target", [{"labels": "label", "separator": "|"}, {"values": "w"}, {"label": None}])
def test_other_targets_are_divided_without_regard_to_them(table: Any, target: dict[str, Any]) -> None:
    head, rows = PARTS["no column"]
    parts = [table(head, *rows, split=split, holdout=0.25, **target) for split in ("train", "val")]
    assert [[NAMES.index(path.name) for path in part.paths] for part in parts] == [
        kept.tolist() for kept in lw.hold_out(range(24), 0.25, stratified=False)
    ]
    whole = table(head, *rows, **target)
    if whole.labels is not None:
        at = {path.name: place for place, path in enumerate(whole.paths)}
        for part in parts:
            assert all(torch.equal(part[i][1], whole[at[path.name]][1]) for i, path in enumerate(part.paths))


def test_a_part_cannot_be_held_out_of_one_row_of_a_class_nor_of_rows_of_no_training(table: Any) -> None:
    with pytest.raises(DataError, match="has 1 row of class 'b', 'c': a class needs two or more"):
        table("path,label", "1.png,a", "2.png,a", "3.png,b", "4.png,c", split="train", holdout=0.5)
    with pytest.raises(DataError, match="no row is of split 'train'; column 'split' has test: 1"):
        table("path,label,split", "1.png,a,test", split="val", holdout=0.5)
    with pytest.raises(DataError, match="has no column 'split'"):
        table("path,label", "1.png,a", "2.png,a", split="test", holdout=0.5)
    with pytest.raises(DataError, match="has no column 'prt'; .* did you mean 'part'"):
        table("path,label,part", "1.png,a,x", "2.png,a,x", split="val", split_column="prt", holdout=0.5)
    with pytest.raises(ConfigError, match="holdout must be a share between 0 and 1. Found: 1"):
        table("path,label", "1.png,a", split="val", holdout=1)


def test_a_picture_in_both_parts_is_warned_of(table: Any) -> None:
    lines = [f"{n // 2}.png,a" for n in range(40)]
    with warnings.catch_warnings(action="ignore"):
        made = table("path,label", *lines, split="val", holdout=0.5)
    assert "pictures of split 'val' that are in another split too" in made.notices[-1]


def test_open_data_holds_out_of_tables_as_of_folders(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").symlink_to(lw.demo_photos() / "train")
    photos, whole = (lw.ImageFolder(tmp_path / "photos", split) for split in ("val", None))
    rows = [
        {"path": path, "label": whole.classes[label]} for path, label in zip(whole.paths, whole.labels, strict=True)
    ]
    lw.write_table(rows, tmp_path / "t.jsonl")
    made = lw.open_data(tmp_path / "t.jsonl", "val", outside=True)
    assert [*made.paths] == [*photos.paths] and made.labels.tolist() == photos.labels
    assert made.classes == photos.classes


# ---- mistakes ------------------------------------------------------------------------------------------------------


def test_unknown_columns_are_named_with_what_was_meant(table: Any) -> None:
    with pytest.raises(
        DataError,
        match=r"has no column 'path', 'label'; it has 'paths', 'lable', 'x': did you mean 'paths'\? did you mean 'lable'\?",
    ):
        table("paths,lable,x", "1.png,a,1")
    with pytest.raises(DataError, match=r"has no column 'weight'; it has 'path', 'label'$"):
        table("path,label", "1.png,a", weight="weight")
    with pytest.raises(DataError, match=r"it has 'path;label'; if ';' stands between the cells, say delimiter=';'$"):
        table("path;label", "1.png;a")
    with pytest.raises(
        DataError, match=r"no column 'path', 'label'; it has 'file', 'kind'; image=, label= name others$"
    ):
        table("file,kind", "1.png,a")
    assert table("path;label", "1.png;a", delimiter=";").classes == ["a"]


def test_a_table_without_rows_or_columns_says_so(table: Any) -> None:
    with pytest.raises(DataError, match="the table has no rows"):
        table("path,label")
    for name, lines in (("t.csv", ()), ("t.jsonl", ("{}",)), ("t.json", ("[]",))):
        with pytest.raises(DataError, match="the table is empty: it has no columns"):
            table(*lines, name=name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("7", "; did you mean '7.png'?"),
        ("cat/a", "; did you mean 'cat/a.png'?"),
        ("1.jpg", "; did you mean '1.png'?"),
        ("cat/b ca\u0308.png", "; 'cat/b c\u00e4.png' is there, in another Unicode form"),
        (r"cat\a.png", "; '/' stands between folders: did you mean 'cat/a.png'?"),
        ("photos/1.png", "; root= is the folder that paths begin in"),
        ("1\0", "; root= is the folder that paths begin in"),
    ],
)
def test_a_picture_that_is_not_there_is_looked_for(name: str, hint: str, table: Any) -> None:
    with pytest.raises(DataError) as caught:
        table("path,label", f"{name},a")
    assert str(caught.value).endswith(f"{name!r} (line 2){hint}")
    with pytest.raises(DataError, match=r"\(1 of 2 rows\): 'nothing' \(line 3\)$"):
        table("path,label", "1.png,a", "nothing,b")


def test_all_mistakes_are_told_at_once(table: Any, folder: Path) -> None:
    lines = [
        "path,x,w", "1.png,1,1", "none.png,2,1", ",3,1", "../etc,4,1", "3.png,,1", "4.png,many,-1", "cat,5,nan",
        *(f"lost{n}.png,1,1" for n in range(7)),
    ]  # fmt: skip
    with pytest.raises(DataError) as caught:
        table(*lines, values="x", weight="w")
    head, *mistakes = str(caught.value).splitlines()
    assert head.endswith("t.csv cannot be used, for 7 reasons:")
    assert [mistake.strip() for mistake in mistakes] == [
        "column 'path' is empty (1 of 14 rows): line 4",
        f"no such picture below {folder} (9 of 14 rows): 'none.png' (line 3), 'cat' (line 8), 'lost0.png' (line 9), "
        "'lost1.png' (line 10), 'lost2.png' (line 11) and 4 more",
        f"paths lead out of {folder} (1 of 14 rows): '../etc' (line 5); give the root= that holds them all, or outside=True",
        "column 'x' is empty (1 of 14 rows): line 6",
        "column 'x': no finite number (1 of 14 rows): 'many' (line 7)",
        "column 'w': no finite number (1 of 14 rows): 'nan' (line 8)",
        "column 'w': weights are 0 or more (1 of 14 rows): '-1' (line 7)",
    ]


def test_nothing_is_found_outside_the_root(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    Image.new("RGB", (2, 2)).save(root / "in" / "a.png")
    (root / "in" / "link.png").symlink_to("a.png")
    (root / "in" / "out.png").symlink_to(folder / "1.png")
    (root / "away").symlink_to(folder)
    (root / "here").symlink_to("in")
    (root / "broken.png").symlink_to("nothing.png")
    inside = ["in/a.png", "in/link.png", "here/a.png", "in/../in/a.png", f"{root}/in/a.png", "./in//a.png"]
    out = ["in/out.png", "away/2.png", f"../../{folder.parent.name}", str(folder / "3.png"), "away/../1.png"]
    missing = ["broken.png", "in", "in/b.png", "a\0b.png", "in/a.png/x", "nowhere/a.png", "in/"]

    def make(names: list[str], **options: Any) -> lw.Table:
        lw.write_table([{"path": name} for name in names], tmp_path / "t.jsonl")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return lw.Table(tmp_path / "t.jsonl", root=options.pop("root", root), label=None, **options)

    assert all(picture.size == (2, 2) for picture, _ in make(inside))
    for name in out:
        with pytest.raises(DataError, match=r"paths lead out of .* \(1 of 1 rows\): .* \(line 1\); give the root="):
            make([name])
    for name in missing:
        with pytest.raises(DataError, match="no such picture below"):
            make([name])
    assert len(make([out[0], out[1], out[3]], outside=True)) == 3
    with pytest.raises(DataError, match=r"no such picture below .* \(1 of 2 rows\): 'x.png' \(line 2\)"):
        make([out[0], "x.png"], outside=True)
    assert len(make([str(root / "in" / "a.png"), str(folder / "1.png")], root="/")) == 2
    with pytest.raises(DataError, match="is no folder; root= gives another"):
        make(inside, root=tmp_path / "gone")


def test_pictures_that_come_twice_are_told(table: Any) -> None:
    lines = "path,label,split", "1.png,a,train", "2.png,b,train", "./1.png,b,train", "2.png,b,train", "2.png,b,val"
    with pytest.warns(UserWarning, match="pictures") as caught:
        made = table(*lines, split="train")
    assert [str(warning.message) for warning in caught] == made.notices
    assert [notice.split("csv: ")[1] for notice in made.notices] == [
        "pictures that came before, 1 of them with other targets (2 of 4 rows): './1.png' (line 4), '2.png' (line 5)",
        "pictures of split 'train' that are in another split too (1 of 4 rows): '2.png' (line 6)",
    ]
    assert caught[0].filename == __file__
    assert len(made) == 4
    assert table(*lines[:3], split="train").notices == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "on_error must be 'raise' or 'skip'. Found: 'ignore'"),
        ({"labels": "label", "values": "label"}, "labels=, values= exclude each other"),
        ({"label": "x", "values": "label"}, "label=, values= exclude each other"),
        ({"labels": []}, "labels= needs the name of a column, or several"),
        ({"separator": "|"}, "separator= stands between the labels in the cells of labels='COLUMN'"),
        ({"labels": "label", "separator": ""}, "separator= stands"),
        ({"values": "label", "classes": ["a"]}, "classes= names those of label=COLUMN or labels='COLUMN'"),
        ({"labels": ["label"], "classes": ["a"]}, "columns have names already"),
        ({"delimiter": "||"}, r"delimiter= is one character, for \.csv and \.tsv. Found: '\|\|' for t\.csv"),
    ],
)
def test_a_wrong_setting_is_refused(table: Any, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        table("path,label", "1.png,a", **options)


def test_several_labels_in_the_column_of_one_are_named(tmp_path: Path, folder: Path) -> None:
    lw.write_table([{"path": "1.png", "label": ["a", "b"]}, {"path": "2.png", "label": None}], tmp_path / "t.json")
    with pytest.raises(
        DataError, match=r"several labels, read by labels='label' \(1 of 2 rows\): row 1\n.* is empty .* row 2"
    ):
        lw.Table(tmp_path / "t.json", root=folder)


def test_unreadable_pictures_can_be_skipped(tmp_path: Path) -> None:
    for name in "abc":
        Image.new("RGB", (2, 2)).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    lw.write_table([{"path": f"{name}.png", "label": name} for name in "abc"], tmp_path / "t.csv")
    loader = lw.Loader(lw.Table(tmp_path / "t.csv", on_error="skip"), 3, workers=0)
    assert [labels.tolist() for _, labels in loader] == [[0, 2]]
    assert "b.png: not a readable picture" in loader.skipped[0]


@needs_pyarrow
def test_other_kinds_of_parquet_are_read_as_their_text(tmp_path: Path, folder: Path) -> None:
    import datetime
    import decimal

    import pyarrow.parquet

    columns = {
        "path": pyarrow.array(["1.png", "2.png"]).dictionary_encode(),
        "label": [datetime.date(2024, 1, 2), datetime.date(2023, 1, 2)],
        "x": [decimal.Decimal("1.5"), decimal.Decimal("2.5")],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    made = lw.Table(tmp_path / "t.parquet", root=folder)
    assert (made.classes, made.labels.tolist()) == (["2023-01-02", "2024-01-02"], [1, 0])
    assert lw.Table(tmp_path / "t.parquet", root=folder, values="x").labels.tolist() == [1.5, 2.5]


@pytest.mark.parametrize("options", [{}, {"labels": "label", "separator": " "}, {"values": "x"}, {"label": None}])
def test_a_table_survives_pickling(table: Any, options: dict) -> None:
    made = table("path,label,x", "1.png,a,1", "2.png,b,2", **options)
    again = pickle.loads(pickle.dumps(made))
    for index in range(2):
        (path, target), (other_path, other) = made.undecoded(index), again.undecoded(index)
        assert path == other_path and (torch.equal(target, other) if torch.is_tensor(target) else target == other)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(table: Any, workers: int) -> None:
    made = table("path,tags", *(f"{n}.png,{'xyz'[n % 3]}" for n in range(30)), labels="tags", separator=" ")
    batches = []
    for count in (0, workers):
        loader = lw.Loader(made, 8, shuffle=True, workers=count)
        batches.append(list(loader))
        loader.close()
    for (one, these), (other, those) in zip(*batches, strict=True):
        assert torch.equal(one, other) and torch.equal(these, those)
