"""What a sweep tries: the tree with every mistake at its place, ranges, draws, names, settings as text."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import loopwright as lw
from loopwright._yaml import Tree, parse_override, parse_yaml
from loopwright.sweeps._draw import grid, grid_mistakes, probe_settings, random_draws, random_settings
from loopwright.sweeps._plan import read_plan, trial_id
from loopwright.sweeps._process import trial_command
from loopwright.sweeps._range import Choices, Range, same
from loopwright.sweeps._share import environment_of, gpus, threads_each
from loopwright.sweeps._space import Space, read_space
from loopwright.sweeps._text import flat, setting_text

ROOT = Path(lw.__file__).parents[1]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def space_of(text: str) -> Space:
    space, mistakes = read_space(parse_yaml(text, "s.yaml"))
    assert not mistakes, mistakes
    return space


# ---- the tree -------------------------------------------------------------------------------------------------------

TREE = """
sweep:
  optimizer:
    momentum: {values: [0.8, 0.9], when: {optimizer.name: SGD}}
    name: [AdamW, SGD, Adam]
    lr:
    - {low: 1e-4, high: 1e-2, log: true, points: 3, when: {optimizer: {name: [AdamW, Adam]}}}
    - {low: 0.1, high: 0.3, step: 0.1, when: {optimizer.name: SGD}}
  augment: [[Flip, Crop], none]
  batch_size: {low: 16, high: 17, whole: true}
"""


def test_a_grid_has_every_combination_whose_conditions_hold() -> None:
    found = grid(space_of(TREE))
    assert len(found) == (2 * 3 + 1 * 3 * 2) * 2 * 2 and len({str(one) for one in found}) == len(found)
    for one in found:
        assert ("optimizer.momentum" in one) == (one["optimizer.name"] == "SGD")
        lrs = (0.1, 0.2, 0.3) if one["optimizer.name"] == "SGD" else (1e-4, 1e-3, 1e-2)
        assert one["optimizer.lr"] in lrs and one["augment"] in (["Flip", "Crop"], "none")
        assert one["batch_size"] in (16, 17)


def test_probes_hold_every_value_and_both_ends() -> None:
    found = probe_settings(space_of(TREE))
    assert {one.get("optimizer.momentum") for one in found} == {None, 0.8, 0.9}
    assert {one["optimizer.lr"] for one in found} >= {1e-4, 1e-2, 0.1, 0.3}
    for one in found:
        assert ("optimizer.momentum" in one) == (one["optimizer.name"] == "SGD")


MISTAKES = {
    "lr: 0.1": "2: sweep.lr is one value, 0.1: write several, [0.1, ...], or put it outside of 'sweep'",
    "lr: {}": "2: sweep.lr is empty: write a list of values, or {low: ..., high: ...}",
    "lr: []": "2: sweep.lr should be a list of values that is not empty, is []",
    "lr: [1, 2, 1.0]": "2: sweep.lr has 1.0 twice: remove one of them",
    "lr: {low: 1}": "2: sweep.lr has no 'high': a range needs both ends, {low: ..., high: ...}",
    "lr: {low: 1, hihg: 2}": "2: sweep.lr.hihg is no part of a range: did you mean 'high'?",
    "lr: {low: 2, high: 1}": "2: sweep.lr: low 2 should be below high 1",
    "lr: {low: 0, high: 1, log: true}": "2: sweep.lr: low 0 should be above 0: a logarithm is taken of it",
    "lr: {low: 0, high: 1, log: 1}": "2: sweep.lr.log should be true or false, is 1",
    "lr: {low: a, high: 1}": "2: sweep.lr.low should be a number, is 'a'",
    "lr: {low: 0, high: 1, points: 1}": "2: sweep.lr.points should be a whole number of at least 2, is 1",
    "lr: {low: 1, high: 9, step: 2, log: true}": "2: sweep.lr: a range with 'step' cannot have log",
    "lr: {low: 1.5, high: 9, whole: true}": "2: sweep.lr: a range of whole numbers needs whole ends and a whole step",
    "lr: {values: 3}": "2: sweep.lr.values should be a list of values that is not empty, is 3",
    "lr: {values: [3], log: true}": "2: sweep.lr.log is no part of a list: there are values, when",
    "lr: {lwo: 1, hihg: 2}": [
        "2: sweep.lr.lwo is one value, 1: did you mean 'low' or 'log'?",
        "2: sweep.lr.hihg is one value, 2: did you mean 'high'?",
    ],
    "a.b: [1]": "2: sweep.a.b: write 'a: {b: ...', a key below another",
    "lr: {values: [1], when: SGD}": (
        "2: sweep.lr.when should name settings and their values, such as {optimizer.name: SGD}, is 'SGD'"
    ),
    "lr: {values: [1], when: {nam: x}}\n  name: [x, y]": (
        "2: sweep.lr: its 'when' asks for nam, which is not varied here: did you mean 'name'?"
    ),
    "lr: {values: [1], when: {name: SDG}}\n  name: [SGD, Adam]": (
        "2: sweep.lr: its 'when' asks for 'SDG', which is no value of name: did you mean 'SGD'?"
    ),
    "lr: {values: [1], when: {x: 1}}\n  x: {low: 0, high: 2}": (
        "2: sweep.lr: its 'when' asks for x, which is a range, no list"
    ),
    "a: {values: [1], when: {b: 1}}\n  b: {values: [1], when: {a: 1}}": "2: conditions that ask for each other: a, b",
    "n: [1, 2, 3]\n  a: [{values: [1], when: {n: [1, 2]}}, {values: [2], when: {n: [2, 3]}}]": (
        "3: sweep.a: two of its conditions can hold at the same time"
    ),
    "n: [1, 2]\n  a: [{values: [1], when: {n: 1}}, 3]": "3: sweep.a: either all of its ranges have a 'when', or none",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_of_the_tree_is_said_with_its_line(text: str) -> None:
    _, mistakes = read_space(parse_yaml(f"sweep:\n  {text}", "s.yaml"))
    wanted = MISTAKES[text] if isinstance(MISTAKES[text], list) else [MISTAKES[text]]
    assert [str(one) for one in mistakes] == [f"s.yaml:{line}" for line in wanted]


def test_a_range_that_a_grid_cannot_take_is_a_mistake_of_the_grid_alone() -> None:
    (mistake,) = grid_mistakes(space_of("sweep:\n  lr: {low: 0, high: 1}"))
    assert str(mistake).startswith("s.yaml:2: sweep.lr: a grid needs to know which numbers of a range to take")
    thousand = "[" + ", ".join(map(str, range(1000))) + "]"
    (mistake,) = grid_mistakes(space_of(f"sweep:\n  a: {thousand}\n  b: {thousand}"))
    assert "more than 10,000 trials" in str(mistake)


WRONG = """\
data: photos
epochs: many
run: here
sweep:
  optimizer:
    lrr: [1, 2]
    lr: {low: 1e-3, hgh: 1}
    weight_decay: {low: -1, high: 0.1}
  image_size: {low: 16, high: 64}
  loss: [cross_entropy, crossentropy]
study:
  methd: grid
  trials: 0
"""
GOLDEN = """\
wrong.yaml:2: epochs: 'many' is not a length of training: write a number above 0 and its unit, such as '1 epoch', \
'0.5 epochs', '500 steps' or '10 minutes'
wrong.yaml:3: run: each trial has a folder of its own: name that of the sweep, study.folder
wrong.yaml:6: optimizer.lrr is not an argument of AdamW: did you mean 'lr'?
wrong.yaml:7: sweep.optimizer.lr.hgh is no part of a range: did you mean 'high'?
wrong.yaml:8: optimizer.weight_decay should be a number of at least 0, is -1
wrong.yaml:9: image_size should be a whole number between 8 and 4096 or a mapping of keys to values, is 45.66: add 'whole: true' to its range
wrong.yaml:10: loss.name: there is no loss 'crossentropy': did you mean 'cross_entropy'?
wrong.yaml:12: unknown key 'study.methd': did you mean 'study.method' or 'study'?
wrong.yaml:13: study.trials should be a whole number between 1 and 10000 or null, is 0
command line: unknown key 'epoch': did you mean 'epochs'?"""  # noqa: E501


def test_all_mistakes_are_said_at_once_and_nothing_is_written(capsys) -> None:
    Path("wrong.yaml").write_text(WRONG)
    from loopwright import cli

    assert cli.main(["sweep", "wrong.yaml", "epoch=3"]) == 2
    assert capsys.readouterr().err == f"error: {GOLDEN}\n"
    assert [path.name for path in Path().iterdir()] == ["wrong.yaml"]


STUDY_MISTAKES = {
    "{method: grid, trials: 3}": "study.trials: a grid tries every combination: leave it out, or use method: random",
    "{metric: val/thing}": "study.metric: is more of 'val/thing' better, or less? Add mode: max or mode: min",
    "{prune: hyperbnad}": "study.prune: there is no pruner 'hyperbnad': did you mean 'hyperband'?",
    "{prune: {name: median, n_warmup: 3}}": (
        "study.prune.n_warmup is not an argument of MedianPruner: did you mean 'n_warmup_steps'?"
    ),
    "{method: bayes}": "study.method should be one of 'grid', 'random' or 'tpe', is 'bayes'",
}


@pytest.mark.parametrize("text", STUDY_MISTAKES)
def test_a_mistake_of_the_study_is_said_with_its_line(text: str) -> None:
    Path("s.yaml").write_text(
        f"lr: 1\nsweep: {{lr: [1, 2]}}\nstudy: {text}\n".replace("study: {", "study: {command: [x], ")
    )
    with pytest.raises(lw.ConfigError) as caught:
        read_plan("s.yaml")
    assert str(caught.value) == f"s.yaml:3: {STUDY_MISTAKES[text]}"


def test_a_command_in_one_text_is_split_as_a_shell_does() -> None:
    study: dict[str, Any] = {"method": "grid", "command": "python 'my train.py' --out={run}"}
    given: dict[str, Any] = {"lr": 1, "sweep": {"lr": [1, 2]}, "study": study}
    assert read_plan(given, folder="out").study.command == ["python", "my train.py", "--out={run}"]
    study["command"] = "python 'my train.py"
    with pytest.raises(
        lw.ConfigError, match=r"study.command: .*No closing quotation. As a list of words nothing needs"
    ):
        read_plan(given, folder="out")


def test_without_optuna_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    given: dict[str, Any] = {"lr": 1, "sweep": {"lr": [1, 2]}, "study": {"method": "tpe", "command": ["x"]}}
    with pytest.raises(lw.MissingExtra, match=r"study.method: tpe needs .*pip install 'loopwright\[sweep\]'"):
        read_plan(given, folder="out")
    assert len(read_plan(given, ["study.method=grid"], folder="out").trials) == 2


def test_the_sweep_itself_does_without_torch() -> None:
    code = (
        "import sys, loopwright as lw\n"
        "lw.sweep({'lr': 1, 'sweep': {'lr': [1, 2]}, 'study': {'command': 'python x.py'}}, folder='out', dry_run=True)\n"
        "print({'torch', 'numpy', 'optuna'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


# ---- ranges and draws -----------------------------------------------------------------------------------------------

NUMBERS = st.floats(1e-6, 1e6)
SHARES = st.floats(0, 1, exclude_max=True)


@given(st.tuples(NUMBERS, NUMBERS).filter(lambda ends: ends[0] < ends[1]), st.booleans(), SHARES, SHARES)
def test_a_range_is_never_left_and_keeps_the_order(
    ends: tuple[float, float], log: bool, one: float, other: float
) -> None:
    range_ = Range(*ends, log=log)
    low, high = sorted((one, other))
    assert ends[0] <= range_.at(low) <= range_.at(high) <= ends[1]
    assert all(number in range_ for number in range_.probes())


@given(st.integers(-50, 50), st.integers(1, 100), st.booleans(), st.integers(1, 7), SHARES)
def test_whole_numbers_stay_whole(low: int, more: int, log: bool, step: int, share: float) -> None:
    low = low if not log else abs(low) + 1
    whole, stepped = Range(low, low + more, log=log, whole=True), Range(low, low + more, step=min(step, more))
    for range_ in (whole, stepped):
        value = range_.at(share)
        assert isinstance(value, int) and value in range_ and value in range_.grid()
        assert range_.count() == len(range_.grid())


def test_draws_are_even_and_by_the_logarithm_where_asked() -> None:
    space = space_of("sweep:\n  a: {low: 1e-4, high: 1, log: true}\n  b: {low: 1, high: 4, whole: true}\n  c: [x, y]")
    drawn = [random_settings(space, 0, number) for number in range(2000)]
    assert 0.45 < sum(one["a"] < 1e-2 for one in drawn) / 2000 < 0.55
    assert all(0.2 < sum(one["b"] == value for one in drawn) / 2000 < 0.3 for value in (1, 2, 3, 4))
    assert 0.45 < sum(one["c"] == "x" for one in drawn) / 2000 < 0.55
    together = sum(one["c"] == "x" and one["a"] < 1e-2 for one in drawn) / 2000
    assert 0.2 < together < 0.3, "the streams are independent"


def test_another_parameter_leaves_the_draws_of_the_others() -> None:
    few, more = space_of("sweep: {a: {low: 0, high: 1}}"), space_of("sweep: {b: [1, 2], a: {low: 0, high: 1}}")
    assert [random_settings(few, 7, n)["a"] for n in range(9)] == [random_settings(more, 7, n)["a"] for n in range(9)]
    assert random_settings(few, 7, 0) != random_settings(few, 8, 0)


def test_a_small_space_is_used_up() -> None:
    assert sorted(one["a"] for one in random_draws(space_of("sweep: {a: [1, 2, 3]}"), 0)) == [1, 2, 3]


# ---- names and text -------------------------------------------------------------------------------------------------

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=300)
@given(PLAIN)
def test_a_setting_reads_back_as_it_was(value: Any) -> None:
    keys, read = parse_override(setting_text("a.b", value))
    assert keys == ("a", "b") and repr(read) == repr(value)


def test_a_trials_name_is_of_what_changes_its_result() -> None:
    one = {"lr": 0.1, "optimizer": {"name": "SGD", "betas": [0.9, 1.0]}, "workers": 3}
    same_run = {"optimizer": {"betas": (0.9, 1), "name": "SGD"}, "lr": 0.1, "workers": 0, "save_every": "1 epoch"}
    assert trial_id(one, {}) == trial_id(same_run, {})
    assert trial_id(one, {}) != trial_id(one | {"lr": 0.2}, {})
    assert trial_id(one, {}) != trial_id(one | {"flag": True}, {}) != trial_id(one | {"flag": 1}, {})
    assert trial_id(one, {"workers": 3}) != trial_id(same_run, {"workers": 0}), "unless they are what is varied"


def test_a_command_gets_every_setting() -> None:
    config = {"lr": 0.1, "optimizer": {"name": "SGD", "betas": [0.9, 1]}, "note": "a: b"}
    command = trial_command(["python", "train.py"], Path("out/x"), Path("out/x/trial.yaml"), config)
    assert command[0] == sys.executable and command[1:3] == ["train.py", "run=out/x"]
    assert dict(flat(lw.load_config(None, command[2:]))) == {**dict(flat(config)), "run": "out/x"}


def test_true_is_not_one() -> None:
    assert True not in Choices((1, 2)) and 1 not in Choices((True,)) and (1, 2) in Choices(([1, 2],))
    assert not same(1, True) and True not in Range(0, 2)


def test_threads_and_gpus_are_divided(monkeypatch) -> None:
    assert [threads_each(n, 8, {})[0] for n in (1, 3, 16)] == [8, 2, 1]
    assert gpus({}, "/nowhere") == [] and gpus({"CUDA_VISIBLE_DEVICES": ""}) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert [environment_of(slot, 1, 3)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["3", "5", "3"]
    assert (
        environment_of(1, 4, 1)["CUDA_VISIBLE_DEVICES"] == "3,5" and environment_of(1, 4, 1)["OMP_NUM_THREADS"] == "4"
    )


def test_an_empty_sweep_says_what_to_write() -> None:
    (mistake,) = read_space(Tree({"data": "x"}))[1]
    assert str(mistake).startswith("sweep is missing: write below it what to vary")
