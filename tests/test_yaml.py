"""Laws of reading and writing YAML: what is written reads back equal, and what is wrong names file and line."""

import argparse
import copy
import dataclasses
import enum
import itertools
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loopwright._errors import ConfigError
from loopwright._yaml import (
    COMMAND_LINE,
    MISSING,
    Source,
    Tree,
    apply_overrides,
    differences,
    dump_yaml,
    parse_override,
    parse_yaml,
    plain,
    read_yaml,
    show,
)


def exact(value: Any) -> Any:
    """The value in a form that is equal only for the same types, -0.0 apart from 0.0, and nan equal to nan."""
    if isinstance(value, dict):
        return [(key, exact(below)) for key, below in value.items()]
    if isinstance(value, list | tuple):
        return type(value).__name__, [exact(item) for item in value]
    return type(value).__name__, repr(value)


def read(tmp_path: Path, text: str, name: str = "train.yaml") -> Tree:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_yaml(tmp_path / name)


# ---- round trip -----------------------------------------------------------------------------------------------------

WORDS = """
    1 -1 1.0 1e-3 .5 5. 0x1F 0o17 010 1_000 .inf -.inf .nan true True yes no on off null None ~ << = - ? : !!str --- ...
    (0.5,1.0) () (1,) 0,1 [1] {a} !x &x *x # % @ ` | > ' " 2024-01-01 12:30 a:b a: :a x#y
"""
LOOKALIKES = [
    *WORDS.split(),
    *("", " ", "a: b", "x #y", " lead", "trail ", "(1, 2)", "a, b", "'a', 'b'"),
    *("a\nb", "a\n", "\n", "\ta", "a\r\nb", "ä€😀", "\x85", "\u2028", "\ufeff", "\xa0", "\x07", "\x00"),
]

texts = st.one_of(st.text(), st.sampled_from(LOOKALIKES), st.text("()[]{},:'\"#-0123456789eE.N one\n", max_size=12))
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
nested = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(texts, inner, max_size=4),
    ),
    max_leaves=12,
)
configs = st.dictionaries(texts.filter(lambda key: key != "include"), nested, max_size=5)


@settings(max_examples=200, deadline=None)
@given(configs)
@example({"a": 1e-07, "b": -0.0, "c": math.inf, "d": -math.inf, "e": math.nan, "f": 1e22, "g": 10**40})
@example({"t": (0.9, (0.999, [1, (True, None)], {}), {"a": ()})})
@example({"x" * 300: "word " * 100, "lone surrogate": "\ud800", "": {"": ""}})
def test_what_is_written_reads_back_equal(config: dict[str, Any]) -> None:
    assert exact(parse_yaml(dump_yaml(config)).values) == exact(config)


@pytest.mark.parametrize("text", LOOKALIKES)
def test_a_text_that_looks_like_something_else_stays_text(tmp_path, text: str) -> None:
    config = {text: text, "list": [text], "tuple": (text,)}
    assert exact(read(tmp_path, dump_yaml(config)).values) == exact(config)


def test_the_written_text_is_one_that_people_read() -> None:
    config = {
        "scale": (0.2, 1.0),
        "model": {"name": "resnet18", "layers": [2, 2]},
        "augment": [{"name": "flip"}],
        "run": None,
    }
    assert dump_yaml(config) == (
        "scale: !!python/tuple [0.2, 1.0]\n"
        "model:\n"
        "  name: resnet18\n"
        "  layers: [2, 2]\n"
        "augment:\n"
        "- name: flip\n"
        "run: null\n"
    )


def test_scalars_of_numpy_paths_and_enums_are_saved_as_plain_values() -> None:
    class Colour(enum.Enum):
        RED = ("r", 1)

    class Level(enum.IntEnum):
        HIGH = 3

    config = {
        "float64": np.float64(0.1), "float32": np.float32(0.5), "int": np.int64(3), "bool": np.bool_(True),
        "str": np.str_("a"), "path": Path("a") / "b", "enum": Colour.RED, "int enum": Level.HIGH,
    }  # fmt: skip
    expected = {
        "float64": 0.1, "float32": 0.5, "int": 3, "bool": True,
        "str": "a", "path": str(Path("a/b")), "enum": ("r", 1), "int enum": 3,
    }  # fmt: skip
    assert exact(parse_yaml(dump_yaml(config)).values) == exact(plain(config)) == exact(expected)


@pytest.mark.parametrize("value", [object(), np.zeros(2), {1, 2}, b"x", len, Path, 1j, np.longdouble(1)])
def test_what_yaml_cannot_hold_is_refused_with_its_key_and_type(value: Any) -> None:
    with pytest.raises(
        ConfigError, match=rf"^model\.layers\.1: a value of type .*{type(value).__name__}.* cannot be saved"
    ):
        dump_yaml({"model": {"layers": [1, value]}})


def test_a_setting_named_include_is_refused_at_the_top_only() -> None:
    with pytest.raises(ConfigError, match="'include' cannot be saved"):
        dump_yaml({"include": "x"})
    assert parse_yaml(dump_yaml({"data": {"include": "x"}})).values == {"data": {"include": "x"}}


# ---- scalars --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("1E5", 1e5), ("1.e2", 100.0), (".5", 0.5), ("-.5", -0.5), ("5.", 5.0), ("+1", 1), ("1_0", 10),
        ("1_000.5", 1000.5), ("010", 10), ("0x1F", 31), ("0o17", 15), (".inf", math.inf), ("-.INF", -math.inf),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("None", None), ("'None'", None),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("NO", "NO"), ("y", "y"), ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"), ("2024-01-01 10:00:00", "2024-01-01 10:00:00"), ("1__0", "1__0"), ("_1", "_1"),
        ("1.2.3", "1.2.3"), ("inf", "inf"), ("nan", "nan"), ("'1e-3'", "1e-3"), ("''", ""), ("!!str 1", "1"),
        ("!!float 1", 1.0), ("(0.5, 1.0)", (0.5, 1.0)), ("'(0.5, 1.0)'", (0.5, 1.0)), ("(1,)", (1,)), ("()", ()),
        ("(1, ('a', None))", (1, ("a", None))), ("0, 1", (0, 1)), ("(1)", "(1)"), ("(a, b)", "(a, b)"),
        ("(1j, 2)", "(1j, 2)"), (r"'''\d'', 1, ('", r"'\d', 1, ("), ("!!str (1, 2)", "(1, 2)"), ("'[1, 2]'", "[1, 2]"),
        ("!!python/tuple [1, [2]]", (1, [2])), ("<<", "<<"), ("=", "="),
    ],
)  # fmt: skip
def test_scalars_are_what_a_person_expects(text: str, value: Any) -> None:
    assert exact(parse_yaml(f"x: {text}").values["x"]) == exact(value)


def test_nan_is_a_number() -> None:
    assert math.isnan(parse_yaml("x: .nan").values["x"])


def test_keys_are_never_read_as_other_values_by_surprise() -> None:
    assert parse_yaml("on: 1\nno: 2\n'1': 3\n(1, 2): 4\nNone: 5").values == {
        "on": 1,
        "no": 2,
        "1": 3,
        "(1, 2)": 4,
        "None": 5,
    }


def test_an_empty_file_is_an_empty_configuration(tmp_path) -> None:
    assert read(tmp_path, "# nothing yet\n") == Tree({}, {})


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path) -> None:
    (tmp_path / "train.yaml").write_bytes(b"\xef\xbb\xbfepochs: 3\r\nmodel:\r\n  name: vit\r\n")
    assert read_yaml(tmp_path / "train.yaml").values == {"epochs": 3, "model": {"name": "vit"}}


def test_anchors_and_merges() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc:\n  <<: [{x: 5, z: 6}, *a]\n  w: 7\nd: *a\n"
    tree = parse_yaml(text)
    assert tree.values == {
        "a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 5, "y": 2, "z": 6, "w": 7}, "d": {"x": 1, "y": 2},
    }  # fmt: skip
    assert tree.values["a"] is not tree.values["d"]


# ---- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr: 1\nmodel:\n  a: 1\n  a: 2", r"^F:4: 'model\.a' is given twice, first on line 3"),
        ("- 1\n- 2", r"^F:1: a configuration is 'key: value' lines, this is a list"),
        ("just words", r"^F:1: a configuration is 'key: value' lines, this is text"),
        ("1: a", r"^F:1: a key should be text, is 1: write '1' in quotes"),
        ("a: {true: 1}", r"^F:1: a key should be text, is true"),
        ("a:\n  [b, c]: 1", r"^F:2: a key should be text, is a list or a mapping"),
        ("a:\n\tb: 1", r"^F:2:1: this is not YAML in 'b: 1': .*spaces, not with tabs"),
        ("a: b: c", r"^F:1:5: this is not YAML in 'a: b: c': .*needs quotes"),
        ("a: 1\n\nb: [1, 2", r"^F:3:9: this is not YAML .*a bracket is not closed"),
        ("a: 'x\nb: 3\n", r"^F:3:1: .*begins on line 1 \(a quote is not closed\)"),
        ("a: 1\n---\nb: 2", r"^F:2:1: .*remove the line '---'"),
        ("a: @x", r"^F:1:4: .*quote a text"),
        ("a: *x", r"^F:1:4: .*undefined alias 'x'"),
        ("a: &a [*a]", r"^F:1: an anchor is used inside itself"),
        ("a: \x07", r"^F:1: the character '\\x07' is not allowed"),
        ('a: "\\UFFFFFFFF"', r"^F: an escape"),
        ("a: !!python/object/apply:os.getcwd []", r"^F:1: the tag !!python/object/apply:os.getcwd is not read"),
        ("a: !!python/tuple {b: 1}", r"^F:1: the tag !!python/tuple"),
        ("a: !!set {b}", r"^F:1: the tag !!set"),
        ("a: !mine b", r"^F:1: the tag !mine"),
        ("a: !!int b", r"^F:1: 'b' cannot be read as a value of type int"),
        ("a: !!bool yes", r"^F:1: 'yes' cannot be read as a value of type bool"),
        ("a: " + 5000 * "9", r"^F:1: '999.*\.\.\. cannot be read as a value of type int"),
        ("a: {b:1}", r"^F:1: 'b:1' has no value: write a space after the colon"),
        ("<<: 3", r"^F:1: '<<' merges mappings"),
        ("a: " + 1000 * "[", r"^F: the values are nested too deeply"),
    ],
)
def test_each_mistake_is_one_error_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("F", "train.yaml", 1)) as caught:
        parse_yaml(text, "train.yaml")
    assert "\n" not in str(caught.value)


def test_all_mistakes_within_valid_yaml_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml("a: 1\na: 2\n3: x\nb: !mine y\n", "t.yaml")
    assert [line.partition(": ")[0] for line in str(caught.value).splitlines()] == ["t.yaml:2", "t.yaml:3", "t.yaml:4"]


def test_nested_anchors_cannot_blow_up() -> None:
    names = "abcdefghi"
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"{name}: &{name} [{', '.join([f'*{above}'] * 10)}]" for above, name in itertools.pairwise(names)]
    with pytest.raises(ConfigError, match="more than 100000 values"):
        parse_yaml("\n".join(lines))


def test_files_that_cannot_be_read(tmp_path) -> None:
    (tmp_path / "train.yaml").write_bytes(b"epochs: 3\nname: caf\xe9\n")
    with pytest.raises(ConfigError, match=r"train.yaml:2: this is not UTF-8 text"):
        read_yaml(tmp_path / "train.yaml")
    with pytest.raises(ConfigError, match=r"there is no file '.*trian.yaml': did you mean 'train.yaml'\?"):
        read_yaml(tmp_path / "trian.yaml")
    with pytest.raises(ConfigError, match=r"there is no file '.*none.yaml'$"):
        read_yaml(tmp_path / "no" / "none.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        read_yaml(tmp_path)


# ---- sources and includes -------------------------------------------------------------------------------------------


def test_every_key_knows_its_line() -> None:
    tree = parse_yaml("# head\nepochs: 3\noptimizer:\n  name: SGD\n\n  betas:\n  - 1\n  - 2\n", "t.yaml")
    lines = {".".join(keys): str(source) for keys, source in tree.sources.items()}
    assert lines == {
        "epochs": "t.yaml:2", "optimizer": "t.yaml:3", "optimizer.name": "t.yaml:4", "optimizer.betas": "t.yaml:6",
        "optimizer.betas.0": "t.yaml:7", "optimizer.betas.1": "t.yaml:8",
    }  # fmt: skip


def test_a_base_file_lies_under_the_file_that_includes_it(tmp_path) -> None:
    (tmp_path / "base").mkdir()
    read(
        tmp_path,
        "epochs: 1\noptimizer: {name: SGD, lr: 0.1}\nmodel: {name: resnet18, width: 2}\nscale: [1, 2]\n",
        "base/a.yaml",
    )
    tree = read(tmp_path, "include: base/a.yaml\noptimizer:\n  lr: 0.2\nmodel: vit\nscale: [3]\n")
    assert tree.values == {"epochs": 1, "optimizer": {"name": "SGD", "lr": 0.2}, "model": "vit", "scale": [3]}
    name = str(tmp_path / "train.yaml")
    base = str(tmp_path / "base" / "a.yaml")
    assert tree.sources == {
        ("epochs",): Source(base, 1), ("optimizer",): Source(name, 2), ("optimizer", "name"): Source(base, 2),
        ("optimizer", "lr"): Source(name, 3), ("model",): Source(name, 4), ("scale",): Source(name, 5),
        ("scale", "0"): Source(name, 5),
    }  # fmt: skip


def test_includes_are_relative_to_their_file_and_later_ones_win(tmp_path) -> None:
    (tmp_path / "base").mkdir()
    read(tmp_path, "a: 1\nb: 1\nc: 1\n", "base/deep.yaml")
    read(tmp_path, "include: deep.yaml\nb: 2\nc: 2\n", "base/one.yaml")
    read(tmp_path, "c: 3\n", "base/two.yaml")
    assert read(tmp_path, "include: [base/one.yaml, base/two.yaml]\n").values == {"a": 1, "b": 2, "c": 3}


def test_a_short_form_in_the_base_takes_arguments_from_above(tmp_path) -> None:
    read(tmp_path, "optimizer: SGD\n", "base.yaml")
    tree = read(tmp_path, "include: base.yaml\noptimizer: {lr: 0.1}\n")
    assert tree.values == {"optimizer": {"name": "SGD", "lr": 0.1}}


def test_includes_in_a_circle_are_refused_with_the_chain(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        Path(f"{name}.yaml").write_text(f"x: 1\ninclude: {other}.yaml\n")
    with pytest.raises(ConfigError, match=r"^c.yaml:2: include: .* circle: a.yaml -> b.yaml -> c.yaml -> a.yaml$"):
        read_yaml("a.yaml")


def test_includes_have_a_greatest_depth(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(20):
        Path(f"{number}.yaml").write_text(f"include: {number + 1}.yaml\n")
    with pytest.raises(ConfigError, match=r"more than 10 files include each other: 0.yaml -> 1.yaml -> .* -> 11.yaml"):
        read_yaml("0.yaml")


@pytest.mark.parametrize("value", ["3", "''", "{a: b}", "[base.yaml, 3]", ""])
def test_an_include_that_is_no_file_name_is_refused(tmp_path, value: str) -> None:
    (tmp_path / "base.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"train.yaml:2: include: should be a file name"):
        read(tmp_path, f"a: 1\ninclude: {value}\n")


def test_a_missing_base_is_reported_where_it_is_included(tmp_path) -> None:
    (tmp_path / "base.yaml").write_text("")
    with pytest.raises(
        ConfigError, match=r"train.yaml:1: include: there is no file '.*bas.yaml': did you mean 'base.yaml'"
    ):
        read(tmp_path, "include: bas.yaml\n")


# ---- YACS -----------------------------------------------------------------------------------------------------------

YACS_TEXT = """
SYSTEM:
  NUM_GPUS: 8
  OUTPUT: ''
  NOTHING: None
  BLANK:
TRAIN:
  LR: 1e-3
  DECAY: 0.0005
  WARMUP: 1_000
  SCALES: (2, 4, 8, 16)
  MEAN: "(0.485, 0.456, 0.406)"
  ONE: (600,)
  EMPTY: ()
  NESTED: ((1, 2), ('a', None))
  GPUS: 0, 1
  STEPS: [60000, 80000]
  NAMES: ("coco_train", "coco_val")
  FLIP: True
  ARCH: resnet50
  PATH: data/coco (2017)
"""


def test_yacs_files_are_read_as_yacs_reads_them(tmp_path) -> None:
    yacs = pytest.importorskip("yacs.config", reason="compares with the yacs package")
    (tmp_path / "yacs.yaml").write_text(YACS_TEXT)
    defaults = {"SYSTEM": yacs.CfgNode(new_allowed=True), "TRAIN": yacs.CfgNode(new_allowed=True)}
    config = yacs.CfgNode(defaults, new_allowed=True)
    config.set_new_allowed(True)
    config.merge_from_file(str(tmp_path / "yacs.yaml"))
    assert exact(read_yaml(tmp_path / "yacs.yaml").values) == exact(plain(config))


def test_a_cfgnode_becomes_plain_unchanged_and_saves_back_equal(tmp_path) -> None:
    yacs = pytest.importorskip("yacs.config", reason="compares with the yacs package")
    config = yacs.CfgNode(
        {"SCALE": (0.5, 1.0), "OUT": "", "LR": 1e-3, "TEXT": "None", "MODEL": {"NAME": "r", "W": [1, 2]}}
    )
    config.freeze()
    before = copy.deepcopy(config)
    values = plain(config)
    assert type(values["MODEL"]) is dict
    assert exact(read(tmp_path, dump_yaml(config)).values) == exact(values) == exact(dict(before))
    values["MODEL"]["W"].append(3)
    assert config == before
    assert config.is_frozen()


def test_any_subclass_of_dict_is_a_configuration() -> None:
    class Node(dict):
        pass

    config = Node(a=Node(b=[Node(c=(1, Node(d=2)))]))
    assert exact(plain(config)) == exact({"a": {"b": [{"c": (1, {"d": 2})}]}})
    assert not any(isinstance(value, Node) for value in (plain(config), plain(config)["a"], plain(config)["a"]["b"][0]))


def test_other_kinds_of_configuration_become_plain() -> None:
    @dataclasses.dataclass
    class Model:
        name: str
        layers: tuple[int, ...] = (2, 2)

    class Dumped:
        def model_dump(self, **_: Any) -> dict[str, Any]:
            return {"lr": 0.1}

    config = argparse.Namespace(model=Model("r"), optimizer=Dumped(), parts=[Model("s")])
    expected = {
        "model": {"name": "r", "layers": (2, 2)}, "optimizer": {"lr": 0.1}, "parts": [{"name": "s", "layers": (2, 2)}],
    }  # fmt: skip
    assert plain(config) == expected
    assert config.model == Model("r")


def test_what_is_no_configuration_is_refused() -> None:
    with pytest.raises(ConfigError, match="this is a list"):
        plain([1])
    with pytest.raises(ConfigError, match=r"model.sizes: the key 3 should be text, is a value of type int"):
        plain({"model": {"sizes": {3: 1}}})


# ---- overrides ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "keys", "value"),
    [
        ("optimizer.lr=3e-3", ("optimizer", "lr"), 3e-3),
        ("scale=[0.2,1]", ("scale",), [0.2, 1]),
        ("x={a: 1, b: {c: [d]}}", ("x",), {"a": 1, "b": {"c": ["d"]}}),
        ("x=(0.5, 1)", ("x",), (0.5, 1)),
        ("x=", ("x",), ""),
        ("x=null", ("x",), None),
        ("x=None", ("x",), None),
        ("x=true", ("x",), True),
        ("x=yes", ("x",), "yes"),
        ("x='1'", ("x",), "1"),
        ("x=!!str 1", ("x",), "1"),
        ("x=a=b", ("x",), "a=b"),
        ("x=a: b", ("x",), "a: b"),
        ("x=# 3", ("x",), "# 3"),
        ("x=*.jpg", ("x",), "*.jpg"),
        ("x=@home", ("x",), "@home"),
        ("x=- 1", ("x",), "- 1"),
        ("x=C:\\data", ("x",), "C:\\data"),
        (" x = 3 ", ("x",), 3),
    ],
)
def test_an_override_is_read_like_a_value_in_a_file(text: str, keys: tuple[str, ...], value: Any) -> None:
    found = parse_override(text)
    assert (found[0], exact(found[1])) == (keys, exact(value))


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats()))
def test_a_number_given_as_override_is_the_number_of_the_file(value: Any) -> None:
    text = dump_yaml({"x": value}).removeprefix("x: ").strip()
    assert exact(parse_override(f"x={text}")[1]) == exact(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.lr", "'optimizer.lr' has no '=': write optimizer.lr=VALUE"),
        ("=3", "'=3' has no complete key"),
        ("a..b=3", "no complete key"),
        ("--lr=3", "a setting has no dashes: write lr=3"),
        ("x=[1, 2", "'x=.1, 2': this is not YAML .*a bracket is not closed"),
        ("x={a:1}", "'x={a:1}': 'a:1' has no value: write a space after the colon"),
        ("x={a: 1, a: 2}", r"'x\.a' is given twice: remove one of them"),
        ("x=!mine 1", "the tag !mine is not read"),
        ("x=" + 5000 * "9", "cannot be read as a value of type int"),
    ],
)
def test_a_wrong_override_names_itself_and_the_command_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^command line: .*{message}"):
        parse_override(text)


def test_overrides_go_over_the_tree_in_their_order_and_leave_it_unchanged() -> None:
    tree = parse_yaml("optimizer:\n  name: SGD\nmodel:\n  name: resnet18\n  width: 2\nloss: ce", "t.yaml")
    before = copy.deepcopy(tree)
    result = apply_overrides(
        tree, ["model=vit", "optimizer.lr=0.1", "loss.smoothing=0.2", "new.part={a: 1}", "optimizer.lr=1"]
    )
    assert result.values == {
        "optimizer": {"name": "SGD", "lr": 1}, "model": "vit", "loss": {"name": "ce", "smoothing": 0.2},
        "new": {"part": {"a": 1}},
    }  # fmt: skip
    command_line = Source(COMMAND_LINE)
    assert result.sources == {
        ("optimizer",): Source("t.yaml", 1), ("optimizer", "name"): Source("t.yaml", 2),
        ("optimizer", "lr"): command_line, ("model",): command_line, ("loss",): Source("t.yaml", 6),
        ("loss", "smoothing"): command_line, ("new",): command_line, ("new", "part"): command_line,
        ("new", "part", "a"): command_line,
    }  # fmt: skip
    assert tree == before


def test_all_wrong_overrides_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        apply_overrides(Tree({"epochs": 3}), ["epochs.x=2", "lr", "=3"])
    assert str(caught.value).splitlines() == [
        "command line: 'epochs.x' cannot be set: 'epochs' is 3, which has no keys; set it as a whole",
        "command line: 'lr' has no '=': write lr=VALUE",
        "command line: '=3' has no complete key: write key=VALUE or key.sub=VALUE",
    ]


# ---- differences ----------------------------------------------------------------------------------------------------


def test_differences_name_each_setting_with_both_values() -> None:
    old = {
        "epochs": 3,
        "optimizer": {"lr": 1e-3, "name": "SGD"},
        "model": {"name": "r", "width": 2},
        "gone": 1,
        "n": math.nan,
    }
    new = {"epochs": 3, "optimizer": {"lr": 3e-3, "name": "SGD"}, "model": "vit", "n": math.nan, "momentum": 0.9}
    assert [str(one) for one in differences(old, new)] == [
        "optimizer.lr: 0.001 -> 0.003",
        "model: {name: 'r', width: 2} -> 'vit'",
        "gone: 1 -> (not set)",
        "momentum: (not set) -> 0.9",
    ]
    assert differences(old, new)[2].new is MISSING


@given(configs)
@settings(max_examples=50, deadline=None)
def test_nothing_differs_from_what_was_saved(config: dict[str, Any]) -> None:
    assert differences(config, parse_yaml(dump_yaml(config)).values) == []


@pytest.mark.parametrize(
    ("old", "new", "count"), [(1, 1.0, 0), ((1, 2), [1, 2], 0), (1, True, 1), ([True], [1], 1), ({}, None, 1)]
)
def test_a_difference_is_one_of_value_not_of_spelling(old: Any, new: Any, count: int) -> None:
    assert len(differences({"x": old}, {"x": new})) == count


def test_long_values_are_cut_off_in_messages() -> None:
    assert show("x" * 100) == "'" + 56 * "x" + "..."


def test_reading_yaml_imports_neither_pydantic_nor_torch() -> None:
    code = "import sys, loopwright._yaml; print(*sorted({'pydantic', 'torch', 'numpy'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
