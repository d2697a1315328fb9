"""Source as a person lays it out: it says what it was made of, and no formatter moves a line of it."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import loopwright as lw
from loopwright._code import WIDTH, Block, Line, Name, Row, Statement, lay_out, needed, show

RUFF = Path(sys.executable).with_name("ruff")
TEXT = st.text(st.characters(codec="latin-1", exclude_characters="\xad") | st.sampled_from("写真'\"\\"), max_size=60)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES: Any = st.recursive(
    PLAIN,
    lambda v: st.lists(v, max_size=4) | st.dictionaries(TEXT, v, max_size=4) | st.tuples(v, v),
    max_leaves=9,
)


@given(VALUES)
def test_what_is_shown_reads_back_equal(value: Any) -> None:
    assert ast.literal_eval(show(value)) == value


@given(VALUES, st.integers(0, 8))
def test_what_is_broken_over_lines_reads_back_equal(value: Any, depth: int) -> None:
    lines = lay_out([Statement("f(", value, ")")], depth)
    tree: Any = ast.parse("\n".join([line[4 * depth :] for line in lines])).body[0]
    assert ast.literal_eval(tree.value.args[0]) == value


def test_numbers_that_have_no_literal() -> None:
    assert [eval(show(value)) for value in (float("inf"), -float("inf"))] == [float("inf"), -float("inf")]


@pytest.mark.parametrize("width", [88, 100, 120])
@settings(max_examples=10, deadline=None, phases=[Phase.generate])
@given(
    calls=st.lists(
        st.tuples(st.lists(VALUES, max_size=3), st.dictionaries(st.from_regex("[a-z]{1,9}_", fullmatch=True), VALUES)),
        min_size=9,
    )
)
def test_no_formatter_moves_a_line(width: int, calls: list[tuple[list[Any], dict[str, Any]]]) -> None:
    function = Name("some.function_of_theirs")
    body: list[Line] = [Statement("value = ", function(*values, **named)) for values, named in calls]
    source = "\n".join([*lay_out([Block("def f(some):", [Block("if some:", body)])]), ""])
    done = subprocess.run(
        [RUFF, "format", "--isolated", "--line-length", str(width), "-"],
        input=source, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == source


def test_a_tuple_of_one_stays_a_tuple() -> None:
    assert show([("a",), ()]) == '[("a",), ()]'
    assert ast.literal_eval("\n".join(lay_out([Statement("", (["a" * 50, "b" * 50],))]))) == (["a" * 50, "b" * 50],)


def test_a_line_is_broken_only_where_it_must_be() -> None:
    call = Name("f")("a" * (WIDTH - 5))
    assert len(lay_out([Statement("", call)])) == 1 and len(lay_out([Statement(" ", call)])) == 3


def test_names_know_their_imports_wherever_they_stand() -> None:
    torch, own = Name("torch", "import torch"), Name("f", "from own import f")
    lines = [Block(Statement("with ", torch.autocast("cpu"), ":"), [Statement("x = ", [{"a": (own(b=torch.float),)}])])]
    assert needed(lines) == {"import torch", "from own import f"} and needed(["pass"]) == set()
    assert lay_out(lines) == ['with torch.autocast("cpu"):', '    x = [{"a": (f(b=torch.float),)}]']


def test_arguments_whose_names_are_no_names() -> None:
    assert show(Name("f")(a=1, **{"b-c": 2, "if": 3})) == 'f(a=1, **{"b-c": 2, "if": 3})'


def test_what_has_no_source_is_refused() -> None:
    with pytest.raises(lw.ConfigError, match="a object cannot be written into Python source"):
        show([object()])


def test_the_contexts_of_a_with_are_in_parentheses_where_they_are_broken() -> None:
    row = Row([Name("first_of_them")(1), Name("second_of_them")])
    assert lay_out([Statement("with ", row, ":")]) == ["with first_of_them(1), second_of_them:"]
    assert lay_out([Statement("with ", row, ":")], depth=14) == [
        " " * 56 + "with (", " " * 60 + "first_of_them(1),", " " * 60 + "second_of_them,", " " * 56 + "):",
    ]  # fmt: skip
