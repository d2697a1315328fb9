"""Laws of putting a number into a YAML file: it is there, and nothing else has changed, neither values nor layout."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import loopwright as lw
from loopwright._yaml import apply_overrides, dump_yaml, parse_yaml
from loopwright._yaml_edit import with_number, write_number

KEY = "optimizer.lr"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("optimizer: {name: SGD, lr: 0.1}  # x\n", "optimizer: {name: SGD, lr: 0.3}  # x\n"),
        ("optimizer:\n  lr:   3e-3 # old\n  name: SGD\n", "optimizer:\n  lr:   0.3 # old\n  name: SGD\n"),
        ("optimizer: SGD # c\nx: 1\n", "optimizer: {name: SGD, lr: 0.3} # c\nx: 1\n"),
        ("optimizer: 'SGD'\n", "optimizer: {name: 'SGD', lr: 0.3}\n"),
        ("optimizer:\n  # why\n  name: SGD   # n\n\n  b: 0.9\n",
         "optimizer:\n  # why\n  name: SGD   # n\n  lr: 0.3\n\n  b: 0.9\n"),
        ("optimizer:\n  b: 0.9\nc: 2\n", "optimizer:\n  lr: 0.3\n  b: 0.9\nc: 2\n"),
        ("optimizer:\n    name: SGD", "optimizer:\n    lr: 0.3\n    name: SGD"),
        ("optimizer:\nb: 1\n", "optimizer: {lr: 0.3}\nb: 1\n"),
        ("optimizer: null\n", "optimizer: {lr: 0.3}\n"),
        ("optimizer: {}\n", "optimizer: {lr: 0.3}\n"),
        ("optimizer:\n  lr:\n  name: SGD\n", "optimizer:\n  lr: 0.3\n  name: SGD\n"),
        ("a: 1", "a: 1\noptimizer:\n  lr: 0.3\n"),
        ("", "optimizer:\n  lr: 0.3\n"),
        ("# only\n", "# only\noptimizer:\n  lr: 0.3\n"),
        ("{a: 1}\n", "{a: 1, optimizer: {lr: 0.3}}\n"),
        ("include: base.yaml\n", "include: base.yaml\noptimizer:\n  lr: 0.3\n"),
        ("\ufeffoptimizer:\r\n  name: SGD # é\r\n  b: 1\r\n",
         "\ufeffoptimizer:\r\n  name: SGD # é\r\n  lr: 0.3\r\n  b: 1\r\n"),
        ("b: &b {name: SGD}\noptimizer:\n  <<: *b\n", "b: &b {name: SGD}\noptimizer:\n  lr: 0.3\n  <<: *b\n"),
    ],
)  # fmt: skip
def test_one_number_changes_and_nothing_else(before: str, after: str) -> None:
    assert with_number(before, KEY, 0.3) == after
    assert with_number(after, KEY, 0.3) == after


@pytest.mark.parametrize(
    "text",
    [
        "a: &l 0.1\noptimizer: {lr: *l}\n",
        "optimizer: {lr: &l 0.1}\na: *l\n",
        "b: &b {lr: 1}\noptimizer: *b\n",
        "a: 1\n...\n",
    ],
)
def test_what_would_change_more_is_refused(text: str) -> None:
    with pytest.raises(lw.ConfigError, match=r"<text>:\d: optimizer.lr cannot be set"):
        with_number(text, KEY, 0.3)


PLAIN = st.one_of(st.integers(), st.booleans(), st.none(), st.text(max_size=8), st.floats(allow_nan=False))
PART = st.one_of(
    st.just("SGD"), st.none(), st.dictionaries(st.sampled_from(["name", "lr", "b", "betas"]), PLAIN, max_size=4)
)


@given(st.dictionaries(st.sampled_from(["a", "optimizer", "z"]), PART), st.floats(1e-12, 1e6))
def test_any_written_configuration_takes_the_number(values, number: float) -> None:
    text = dump_yaml(values)
    edited = with_number(text, KEY, number)
    assert parse_yaml(edited).values == apply_overrides(parse_yaml(text), [f"{KEY}={number!r}"]).values


def test_a_file_keeps_its_rights_and_a_link_stays_one(tmp_path: Path) -> None:
    file, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    file.write_text("optimizer: SGD\n")
    file.chmod(0o640)
    link.symlink_to(file)
    write_number(link, KEY, 0.3)
    assert link.is_symlink() and file.read_text() == "optimizer: {name: SGD, lr: 0.3}\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["link.yaml", "real.yaml"]
    with pytest.raises(lw.ConfigError, match="cannot be edited"):
        write_number(tmp_path / "none.yaml", KEY, 0.3)
