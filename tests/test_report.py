"""``report``: nothing is dropped, numbers are those of SciPy, texts of runs stay texts, and odd folders become rows."""

import itertools
import json
import math
import re
import threading
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import loopwright as lw
from loopwright._errors import ConfigError, RunError
from loopwright.reports._colors import DARK, LIGHT
from loopwright.reports._curve import Curve, curves_of
from loopwright.reports._finding import find
from loopwright.reports._found import find_runs
from loopwright.reports._group import group_runs
from loopwright.reports._mean import mean_of
from loopwright.reports._numbers import Scale
from loopwright.reports._one_run import OneRun, read_one
from loopwright.reports._page import _asset, live_page, page
from loopwright.reports._payload import payload, payload_text
from loopwright.reports._picture_file import picture
from loopwright.reports._report import Question, Reader, compare
from loopwright.reports._serve import HOST, ReportServer
from loopwright.reports._settings import MISSING, differing, identity, labels
from loopwright.reports._spread import spread
from loopwright.reports._student import mean_interval, t_probability, t_quantile, welch_interval
from loopwright.reports._thin import averaged, thin
from loopwright.reports._ticks import ticks
from loopwright.reports._write import report

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def make_run(
    folder: Path, settings: dict[str, Any], seed: int, values: list[float], *, state: str = "finished", **info: Any
) -> Path:
    """A run's folder as ``Run`` writes it: one evaluation an epoch of 10 steps."""
    folder.mkdir(parents=True)
    facts = {"id": "0", "state": state, "seed": seed, "started": "2026-01-01T00:00:00+0000", "best": {"val/top1": 0.5}}
    (folder / "run.json").write_text(json.dumps(facts | info))
    (folder / "config.yaml").write_text(json.dumps({**settings, "seed": seed, "run": str(folder)}))
    lines = [
        {"kind": "evaluation", "step": 10 * (e + 1), "epoch": e, "val/top1": v if math.isfinite(v) else str(v)}
        for e, v in enumerate(values)
    ]
    lines += [
        {"kind": "epoch", "step": 10 * (e + 1), "epoch": e, "train/loss": 2.0 / (e + 1), "train/loss.std": 0.1}
        for e in range(len(values))
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    speed = [
        {"kind": "epoch", "step": 10 * (e + 1), "epoch": e, "seconds": 2.0, "samples_per_second": 50.0, "waiting": 0.25}
        for e in range(len(values))
    ]
    (folder / "speed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in speed))
    return folder


@pytest.fixture
def three_by_three(tmp_path: Path) -> Path:
    for lr, top in [(0.1, 0.5), (0.2, 0.8), (0.3, 0.52)]:
        for seed in (1, 2, 3):
            make_run(tmp_path / f"lr{lr}-{seed}", {"optimizer": {"lr": lr}}, seed, [0.1, top / 2, top + 0.01 * seed])
    return tmp_path


# ---- statistics -----------------------------------------------------------------------------------------------------


# scipy.stats.t.ppf(p, df), scipy 1.17
@pytest.mark.parametrize(
    ("p", "freedom", "value"),
    [
        (0.975, 1, 12.706204736174696), (0.975, 2, 4.302652729749462), (0.975, 2.5, 3.5746548420036817),
        (0.995, 3.7, 4.8692522532278275), (0.9999, 2, 70.70007107496818), (0.975, 1e6, 1.959966356814107),
    ],
)  # fmt: skip
def test_the_t_quantiles_are_those_of_scipy(p: float, freedom: float, value: float) -> None:
    assert t_quantile(p, freedom) == pytest.approx(value, rel=1e-9)


@given(st.floats(0.51, 0.99999), st.floats(1, 1e4))
def test_quantile_and_probability_are_inverse(p: float, freedom: float) -> None:
    assert t_probability(t_quantile(p, freedom), freedom) == pytest.approx(p, abs=1e-9)


def test_an_interval_of_a_mean_is_the_formula() -> None:
    values = [0.3, 0.5, 0.45, 0.41]
    found = mean_interval(values)
    reach = t_quantile(0.975, 3) * np.std(values, ddof=1) / 2
    assert found.value == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx((np.mean(values) - reach, np.mean(values) + reach))


def test_welch_is_that_of_scipy() -> None:
    # scipy.stats.ttest_ind([0.71, 0.74, 0.69], [0.62, 0.66, 0.67, 0.61], equal_var=False).confidence_interval()
    found = welch_interval([0.71, 0.74, 0.69], [0.62, 0.66, 0.67, 0.61])
    assert (found.low, found.high) == pytest.approx((0.019578631618455404, 0.1270880350482111), rel=1e-9)


def test_one_value_or_no_spread_has_no_interval() -> None:
    assert mean_interval([0.5]).low is None
    assert welch_interval([0.5], [0.1, 0.2]).low is None
    assert welch_interval([0.5, 0.5], [0.1, 0.1]).low is None


def test_nothing_is_found_where_there_is_nothing() -> None:
    """Of 400 reports on three equal configurations at most a twentieth may find a difference; by far not half."""
    generator, found = np.random.default_rng(0), 0
    for _ in range(400):
        runs = [_one(f"{g}-{s}", {"lr": g}, s, generator.normal(0.7, 0.02)) for g in range(3) for s in range(3)]
        found += find(group_runs(runs, "m", "max"), "m", "max", Scale()).kind in ("best", "leads")
    assert found <= 0.05 * 400 + 10


def _one(
    name: str, settings: dict[str, Any], seed: int | None, value: float | None, state: str = "finished", **more: Any
) -> OneRun:
    curves = {} if value is None else {"m": Curve((1, 2), (0.1, float(value)), float(value))}
    return OneRun(name, Path(name), state, seed=seed, settings=settings, curves=curves, **more)


# ---- what is said ---------------------------------------------------------------------------------------------------


def test_a_clear_difference_is_the_headline(three_by_three: Path) -> None:
    found = report(three_by_three)
    assert found.headline == "Best with lr 0.2: val/top1 82.0 %, 28.0 points above lr 0.3"
    assert [group.title for group in found.groups] == ["lr 0.2", "lr 0.3", "lr 0.1"]
    assert found.finding.kind == "best" and found.finding.pairs == 3


def test_lower_is_better_where_it_is_a_loss(three_by_three: Path) -> None:
    assert report(three_by_three, metric="train/loss").mode == "min"
    assert report(three_by_three, metric="val/top1", mode="min").groups[0].title == "lr 0.1"


def test_a_difference_that_may_be_luck_is_no_finding(tmp_path: Path) -> None:
    for lr, tops in [(0.1, (0.5, 0.6)), (0.2, (0.55, 0.62))]:
        for seed, top in enumerate(tops):
            make_run(tmp_path / f"{lr}-{seed}", {"lr": lr}, seed, [top])
    found = report(tmp_path)
    assert found.finding.kind == "no difference"
    assert found.headline == "No difference in val/top1 that these seeds can show"


def test_one_seed_each_is_no_finding(tmp_path: Path) -> None:
    for lr, top in [(0.1, 0.5), (0.2, 0.9)]:
        make_run(tmp_path / f"{lr}", {"lr": lr}, 1, [top])
    found = report(tmp_path)
    assert found.finding.kind == "one seed" and "may be luck" in found.headline


def test_a_mean_that_leaves_out_failures_says_so(three_by_three: Path) -> None:
    make_run(
        three_by_three / "lr0.2-4", {"optimizer": {"lr": 0.2}}, 4, [0.1, math.nan], state="failed", reason="NaN at 17"
    )
    found = report(three_by_three)
    assert "1 of 4 runs of lr 0.2 did not finish: its mean is of the rest." in found.finding.deck
    assert len(found.groups[0].values) == 3


def test_the_same_seed_twice_is_no_further_evidence(three_by_three: Path) -> None:
    make_run(three_by_three / "again", {"optimizer": {"lr": 0.2}}, 1, [0.1, 0.9], started="2026-01-02")
    group = report(three_by_three).groups[0]
    assert len(group.runs) == 4 and len(group.values) == 3
    assert [one.name for one in group.repeats] == ["lr0.2-1"]  # the newer one counts


def test_runs_that_go_on_are_no_result(tmp_path: Path) -> None:
    make_run(tmp_path / "a", {"lr": 1}, 1, [0.4], state="stopped")
    found = report(tmp_path)
    assert found.headline == "No run has finished with a value of val/top1"
    assert "a: stopped" in str(found)


def test_the_best_of_a_run_counts_where_it_is_asked_for(tmp_path: Path) -> None:
    make_run(tmp_path / "a", {}, 1, [0.1, 0.9, 0.3])
    assert report(tmp_path).groups[0].values == (0.3,)
    assert report(tmp_path, pick="best").groups[0].values == (0.9,)


def test_a_metric_that_nobody_has_is_a_mistake(three_by_three: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'val/top1'"):
        report(three_by_three, metric="val/top2")
    with pytest.raises(ConfigError, match="no run has a setting 'optimizer.lrr'"):
        report(three_by_three, by=["optimizer.lrr"])
    with pytest.raises(ConfigError, match="'last' or 'best'"):
        report(three_by_three, pick="worst")


def test_folders_without_runs_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run is below"):
        report(tmp_path)
    with pytest.raises(RunError, match="is no folder"):
        report(tmp_path / "nowhere")


# ---- groups ---------------------------------------------------------------------------------------------------------

_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(-1, 1),
    st.text("ab<", max_size=3),
    st.lists(st.integers(0, 1), max_size=2),
)
_CONFIGS = st.dictionaries(
    st.sampled_from(["lr", "name", "model", "seed", "x"]),
    st.one_of(_VALUES, st.dictionaries(st.sampled_from("pq"), _VALUES)),
    max_size=4,
)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            _CONFIGS,
            st.integers(0, 2),
            st.one_of(st.none(), st.floats(0, 1)),
            st.sampled_from(["finished", "failed", "running"]),
        ),
        max_size=8,
    )
)
def test_every_run_is_in_exactly_one_group(rows: list[Any]) -> None:
    runs = [_one(f"r{place}", config, seed, value, state) for place, (config, seed, value, state) in enumerate(rows)]
    groups = group_runs(runs, "m", "max")
    assert sorted(one.name for group in groups for one in group.runs) == sorted(one.name for one in runs)
    assert len({group.label for group in groups}) == len(groups)  # never two of one name
    for group in groups:
        assert (
            len(
                {
                    json.dumps({k: v for k, v in one.settings.items() if k != "seed"}, sort_keys=True)
                    for one in group.runs
                }
            )
            >= 1
        )
        assert all(one.state == "finished" for one in group.counted)
    means = [group.interval.value for group in groups if group.interval]
    assert means == sorted(means, reverse=True)


@settings(deadline=None)
@given(st.lists(_CONFIGS, min_size=2, max_size=5))
def test_runs_are_together_if_and_only_if_nothing_but_the_seed_differs(configs: list[dict[str, Any]]) -> None:
    runs = [_one(f"r{place}", config, place, 0.5) for place, config in enumerate(configs)]
    where = {one.name: place for place, group in enumerate(group_runs(runs, "m", "max")) for one in group.runs}
    for one in runs:
        for other in runs:
            bare = [{k: v for k, v in each.settings.items() if k != "seed" and v != {}} for each in (one, other)]
            if all(bare):  # an empty section is as good as none
                assert (where[one.name] == where[other.name]) == (identity(bare[0]) == identity(bare[1]))


def test_what_does_not_change_the_result_groups_nothing() -> None:
    runs = [
        _one("a", {"lr": 1, "workers": 0, "run": "a"}, 1, 0.1),
        _one("b", {"lr": 1, "workers": 4, "run": "b"}, 2, 0.1),
    ]
    assert len(group_runs(runs, "m", "max")) == 1


def test_runs_without_settings_are_grouped_by_their_names() -> None:
    names = ["base-1", "base-2", "wide_seed1", "wide_seed2", "x/1", "x/2"]
    runs = [_one(name, {"seed": 1}, place, 0.1) for place, name in enumerate(names)]
    assert sorted(group.title for group in group_runs(runs, "m", "max")) == ["base", "wide", "x"]


def test_settings_to_group_by_may_be_given() -> None:
    runs = [_one(f"{lr}{wd}", {"optimizer": {"lr": lr}, "wd": wd}, 1, 0.1) for lr in (1, 2) for wd in (1, 2)]
    groups = group_runs(runs, "m", "max", by=["lr"])
    assert sorted(group.title for group in groups) == ["lr 1", "lr 2"]
    assert all(len(group.counted) == 2 for group in groups)  # other settings: no repeats of a seed


def test_lists_of_steps_are_compared_step_by_step() -> None:
    one, other = ({"augment": [{"name": "Flip"}, {"name": "Jitter", "hue": hue}]} for hue in (0.1, 0.2))
    assert differing([one, other]) == {"augment.1.hue": [0.1, 0.2]}
    assert list(differing([one, {"augment": [{"name": "Flip"}]}])) == ["augment"]


def test_labels_name_what_tells_apart() -> None:
    assert labels({"optimizer.name": ["SGD", "AdamW"], "optimizer.momentum": [0.9, MISSING]}) == [("SGD",), ("AdamW",)]
    long = {
        "model": ["m" * 30] * 3 + ["n" * 30],
        "augment": ["a" * 20, "a" * 20, "b" * 20, "a" * 20],
        "lr": [1, 2, 1, 1],
    }
    assert labels({"data": ["/a/b", "/a/b/c"]}) == [("/a/b",), ("/a/b/c",)]
    assert labels({"data": ["/a/b/c", "/a/d/c"], "lr": [1, 2]}) == [("b/c",), ("d/c",)]
    assert labels(long) == [("baseline",), ("lr 2",), ("b" * 20,), ("n" * 30,)]


# ---- curves ---------------------------------------------------------------------------------------------------------


def test_a_curve_keeps_what_is_finite_and_says_where_it_broke() -> None:
    lines = [
        {"kind": "steps", "step": s, "epoch": 0, "loss": v} for s, v in [(1, 2.0), (2, math.nan), (3, 10**400), (4, 1)]
    ]
    assert curves_of(lines)["loss"] == Curve((1, 4), (2.0, 1.0), 1.0, 2)


def test_a_value_of_whole_epochs_is_the_last_one() -> None:
    steps = [{"kind": "steps", "step": s, "epoch": 0, "loss": float(s)} for s in (1, 2, 3)]
    found = curves_of([*steps, {"kind": "epoch", "step": 3, "epoch": 0, "loss": 2.0, "loss.std": 1.0}])
    assert list(found) == ["loss"] and found["loss"].steps == (1, 2, 3) and found["loss"].last == 2.0


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 50), st.floats(-5, 5)), min_size=2, max_size=8, unique_by=lambda p: p[0]),
        min_size=1,
        max_size=4,
    )
)
def test_a_mean_is_numpys_interpolation_where_all_are(points: list[list[tuple[int, float]]]) -> None:
    curves = [Curve(*map(tuple, zip(*sorted(rows), strict=True)), 0.0) for rows in points]  # type: ignore[misc]
    mean = mean_of(curves)
    begin, end = max(c.steps[0] for c in curves), min(c.steps[-1] for c in curves)
    assert list(mean.steps) == sorted({s for c in curves for s in c.steps if begin <= s <= end})
    rows = np.array([np.interp(mean.steps, c.steps, c.values) for c in curves])
    assert mean.values == pytest.approx(rows.mean(0), abs=1e-9)
    assert mean.low == pytest.approx(rows.min(0), abs=1e-9) and mean.high == pytest.approx(rows.max(0), abs=1e-9)


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=300), st.integers(6, 60))
def test_thinning_keeps_ends_and_extremes(values: list[float], most: int) -> None:
    kept = thin([values], most)
    assert kept == sorted(set(kept)) and len(kept) <= max(most, 4)
    assert {0, len(values) - 1} <= set(kept)
    assert {min(values), max(values)} == {min(values[k] for k in kept), max(values[k] for k in kept)}


@given(st.integers(1, 100), st.integers(2, 20))
def test_averaging_keeps_the_mean_of_even_stretches(count: int, most: int) -> None:
    values = [float(place) for place in range(count * most)]
    steps, means = averaged(range(count * most), values, most)
    assert len(steps) == most and np.mean(means) == pytest.approx(np.mean(values))


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(1, 15)), max_size=6))
def test_labels_never_cover_each_other_and_keep_their_order(rows: list[tuple[float, float]]) -> None:
    wanted, heights = [row[0] for row in rows], [row[1] for row in rows]
    middles = spread(wanted, heights, 0, 100)
    spans = sorted((m - h / 2, m + h / 2) for m, h in zip(middles, heights, strict=True))
    assert all(one[1] <= other[0] + 1e-6 for one, other in itertools.pairwise(spans))
    assert all(low >= -1e-6 and high <= 100 + 1e-6 for low, high in spans)
    order = sorted(range(len(wanted)), key=lambda place: wanted[place])
    assert [middles[place] for place in order] == sorted(middles)


@given(st.floats(-1e6, 1e6), st.floats(1e-2, 1e6))
def test_ticks_are_few_even_and_inside(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert 1 <= len(found) <= 6
    assert all(low - 1e-3 * width <= value <= low + width * 1.001 for value in found)


# Machado, Oliveira, Fernandes: A physiologically-based model for simulation of color vision deficiency (2009)
_SEEN = {
    "all": np.eye(3),
    "protan": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deutan": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "tritan": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}  # fmt: skip
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def _light(color: str) -> np.ndarray:
    parts = np.array([int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def _lab(light: np.ndarray) -> np.ndarray:
    xyz = _XYZ @ np.clip(light, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize(("colors", "paper"), [(LIGHT, "#fffdfa"), (DARK, "#17181a")])
def test_colors_can_be_read_and_told_apart_by_the_colour_blind(colors: tuple[str, ...], paper: str) -> None:
    for color in colors:  # as text: WCAG asks for 4.5
        bright, dark = sorted(((_XYZ @ _light(one))[1] for one in (color, paper)), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5
    for seen in _SEEN.values():
        labs = [_lab(seen @ _light(color)) for color in colors]
        assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(labs, 2)) > 10


def test_the_page_has_the_same_colors() -> None:
    style = _asset("page.css").lower()
    assert all(color.lower() in style for color in (*LIGHT, *DARK))


# ---- folders in any condition ---------------------------------------------------------------------------------------

_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
_LINE = st.dictionaries(
    st.sampled_from(["kind", "step", "epoch", "val/top1", "seconds", "waiting", "samples_per_second", EVIL]),
    st.one_of(_JSON, st.sampled_from(["epoch", "steps", "evaluation"])),
    max_size=5,
)
_INFO = st.dictionaries(
    st.sampled_from(["state", "seed", "started", "best", "reason", "stop_reason", "lives"]), _JSON, max_size=4
)
_FILE = st.one_of(
    st.binary(max_size=40), st.text(max_size=40).map(str.encode), _JSON.map(lambda v: json.dumps(v).encode())
)


def _lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@settings(deadline=None, max_examples=60)
@given(
    st.one_of(_FILE, _INFO.map(lambda info: json.dumps(info).encode())),
    st.one_of(_FILE, _CONFIGS.map(lambda config: json.dumps(config).encode())),
    st.one_of(_FILE, st.lists(_LINE, max_size=4).map(_lines)),
    st.one_of(_FILE, st.lists(_LINE, max_size=4).map(_lines)),
    _FILE,
)
def test_an_odd_folder_is_a_row_and_never_a_crash(
    tmp_path_factory: Any, run: bytes, config: bytes, metrics: bytes, speed: bytes, sheet: bytes
) -> None:
    root = tmp_path_factory.mktemp("odd")
    for name, seed in (("good-1", 1), ("good-2", 2)):
        make_run(root / name, {"lr": 0.1}, seed, [0.1, 0.2])
    odd = root / EVIL.replace("/", "_")
    odd.mkdir()
    for name, data in [
        ("run.json", run),
        ("config.yaml", config),
        ("metrics.jsonl", metrics),
        ("speed.jsonl", speed),
        ("predictions.png", sheet),
        ("pictures.jsonl", speed),
        ("sweep.json", run),
    ]:
        (odd / name).write_bytes(data)
    found = compare(*Reader().read([root]), Question(metric="val/top1"))
    assert len(found.runs) == 3
    html, svg = page(found), picture(found)
    check_page(html)
    ET.fromstring(svg)
    assert odd.name[:20] in str(found) or any(one.name == odd.name for one in found.runs)


def test_pipes_links_and_folders_in_place_of_files(tmp_path: Path) -> None:
    import os

    make_run(tmp_path / "good", {}, 1, [0.5])
    secret = tmp_path / "secret.txt"
    secret.write_text('{"state": "finished", "reason": "SECRET"}')
    for name, make in [("pipe", os.mkfifo), ("folder", os.mkdir), ("link", lambda path: os.symlink(secret, path))]:
        (tmp_path / name).mkdir()
        for file in ("run.json", "metrics.jsonl", "config.yaml", "predictions.png", "pictures.jsonl"):
            make(tmp_path / name / file)
    found = report(tmp_path)
    assert sorted(one.name for one in found.runs) == ["folder", "good", "link", "pipe"]
    assert "SECRET" not in page(found)


def test_a_configuration_includes_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("lr: SECRET")
    for name in "ab":
        make_run(tmp_path / name, {}, 1, [0.5])
        (tmp_path / name / "config.yaml").write_text(f"include: ../other.yaml\nx: {name}\n")
    assert "SECRET" not in page(report(tmp_path))


def test_a_record_that_breaks_off_is_kept_up_to_there(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", {}, 1, [0.1, 0.2])
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('nonsense\n{"kind": "evaluation", "step": 99, "epoch": 9, "val/top1": 0.9}\n')
    one = read_one("a", folder)
    assert one.curves["val/top1"].values == (0.1, 0.2)
    assert any("metrics.jsonl cannot be read to its end" in note for note in one.notes)


def test_parts_of_a_run_are_no_runs(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", {}, 1, [0.1])
    make_run(folder / "replays" / "step-1", {}, 1, [0.1])
    make_run(folder / "checkpoints" / "x", {}, 1, [0.1])
    assert list(find_runs([tmp_path]).runs) == ["a"]
    assert len(find_runs([tmp_path, folder]).runs) == 1  # named twice


def test_a_run_that_nobody_holds_was_killed(tmp_path: Path) -> None:
    make_run(tmp_path / "a", {}, 1, [0.1], state="running")
    assert report(tmp_path).runs[0].state == "killed"


def test_time_throughput_and_waiting_are_those_of_the_record(tmp_path: Path) -> None:
    pace = read_one("a", make_run(tmp_path / "a", {}, 1, [0.1, 0.2])).pace
    assert (pace.seconds, pace.rate, pace.waiting) == (4.0, 50.0, 0.25)


# ---- sweeps ---------------------------------------------------------------------------------------------------------


def test_a_sweep_gives_importance_pruned_trials_and_those_that_never_began(tmp_path: Path) -> None:
    make_run(tmp_path / "trials" / "aaa", {"lr": 1}, 1, [0.5])
    make_run(tmp_path / "trials" / "bbb", {"lr": 2}, 1, [0.2], state="stopped")
    trials = [
        {"id": "aaa", "state": "finished"},
        {"id": "bbb", "state": "pruned", "reason": "median"},
        {"id": "ccc", "state": "waiting"},
        {"id": "../x", "state": "failed"},
    ]
    shares = [
        {"key": "lr", "share": 0.8, "p": 0.01, "verdict": "80 % of the differences"},
        {"key": EVIL, "share": None, "p": None, "verdict": "too few trials"},
    ]
    (tmp_path / "sweep.json").write_text(
        json.dumps({"metric": "val/top1", "mode": "max", "importance": shares, "trials": trials})
    )
    found = report(tmp_path)
    assert {one.folder.name: one.state for one in found.runs} == {"aaa": "finished", "bbb": "pruned", "ccc": "waiting"}
    html = page(found)
    assert "80&nbsp;% of the differences" in html and "too few trials" in html
    check_page(html)


# ---- the page -------------------------------------------------------------------------------------------------------


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def check_page(html: str) -> None:
    """No element and no address but the page's own."""
    parser = _Elements()
    parser.feed(html)
    assert sum(tag == "script" for tag, _ in parser.found) == 2
    assert not {"iframe", "object", "embed", "base", "form"} & {tag for tag, _ in parser.found}
    for _, attributes in parser.found:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "data:").startswith("data:")


def test_texts_of_runs_stay_texts(tmp_path: Path) -> None:
    for seed in (1, 2):
        folder = make_run(
            tmp_path / f"{EVIL.replace('/', '_')}{seed}", {"model": EVIL, EVIL: seed}, seed, [0.5], reason=EVIL
        )
        with open(folder / "metrics.jsonl", "a") as file:
            file.write(json.dumps({"kind": "evaluation", "step": 10, "epoch": 0, EVIL: 0.5}) + "\n")
    make_run(tmp_path / "failed", {"model": EVIL}, 3, [0.5], state="failed", reason=EVIL)
    found = report(tmp_path, metric=EVIL, mode="max")
    html = page(found)
    check_page(html)
    assert "alert(1)" in html  # said, not done
    assert "<script>alert" not in html and "<img src=x" not in html and "onerror=alert(2)>" not in html
    assert "<img" not in picture(found)
    ET.fromstring(picture(found))


def test_the_data_of_the_page_is_json_that_ends_nowhere_else() -> None:
    values = {"a": EVIL, "b": ["<!--", "\u2028"]}
    text = payload_text(values)
    assert not set("<>&\u2028") & set(text) and json.loads(text) == values


def test_the_policy_names_the_script_and_nothing_else(three_by_three: Path) -> None:
    import base64
    import hashlib

    html = page(report(three_by_three))
    script = html.rpartition("<script>")[2].rpartition("</script>")[0]
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy and f"script-src &#x27;sha256-{checksum}&#x27;" in policy[1]
    assert "connect-src &#x27;none&#x27;" in policy[1] and "default-src &#x27;none&#x27;" in policy[1]
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


def test_nothing_that_a_run_says_is_missing_from_the_page(three_by_three: Path) -> None:
    make_run(three_by_three / "failing", {"optimizer": {"lr": 0.9}}, 1, [0.1], state="failed", reason="it fell over")
    html = page(report(three_by_three))
    assert all(
        text in html for text in ("failing", "it fell over", "lr0.1-3", "1 run not finished", "25&nbsp;%", "6 s")
    )


def test_a_page_of_many_points_is_thinned(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", {}, 1, [])
    rows = [
        {"kind": "steps", "step": s, "epoch": 0, "train/loss": 9.0 if s == 7777 else 1 / s} for s in range(1, 20_001)
    ]
    (folder / "metrics.jsonl").write_bytes(_lines(rows))
    data = payload(report(tmp_path))
    line = data["metrics"][0]["lines"][0]
    assert len(line["s"]) <= 800 and len(line["as"]) <= 400
    assert line["m"][line["s"].index(7777)] == 9.0


def test_the_last_value_beside_a_line_is_not_rounded_twice(tmp_path: Path) -> None:
    make_run(tmp_path / "a", {}, 1, [0.1, 0.20749732])
    data = payload(report(tmp_path))
    assert data["metrics"][0]["lines"][0]["m"][-1] == 0.20749732


def test_files_are_written_and_listed(three_by_three: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    found = lw.report([three_by_three], out)
    assert found.files is not None and {"html", "svg", "json"} <= set(found.files)
    said = json.loads((out / "report.json").read_text())
    assert said["headline"] == found.headline and len(said["runs"]) == 9
    assert said["comparisons"][0]["clear"] is True
    assert (out / "report.html").stat().st_size < 500_000


def test_the_png_is_a_picture(three_by_three: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from PIL import Image

    lw.report(three_by_three, tmp_path / "out")
    with Image.open(tmp_path / "out" / "report.png") as image:
        assert image.size[0] == 1800


def test_without_matplotlib_there_is_no_png_and_no_error(
    three_by_three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    assert "png" not in (lw.report(three_by_three, tmp_path / "out").files or {})


def test_the_command_writes_it(three_by_three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from loopwright.cli import main

    assert (
        main(["report", str(three_by_three), "--out", str(tmp_path / "o"), "--metric", "train/loss", "--by", "lr"]) == 0
    )
    assert "train/loss" in capsys.readouterr().out and (tmp_path / "o" / "report.html").exists()
    assert main(["report", str(tmp_path / "nowhere")]) == 2


# ---- served ---------------------------------------------------------------------------------------------------------


def _get(url: str, **headers: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return answer.read().decode()


def test_it_is_served_to_this_machine_under_its_name_only() -> None:
    server = ReportServer()
    try:
        server.show("<p>page</p>", "1")
        assert server.url.startswith(f"http://{HOST}:") and HOST == "127.0.0.1"
        assert (_get(server.url), _get(f"{server.url}version")) == ("<p>page</p>", "1")
        for path, headers in [("../etc/passwd", {}), ("page.js", {}), ("", {"Host": "evil.example:80"})]:
            with pytest.raises(urllib.error.HTTPError) as caught:
                _get(server.url + path, **headers)
            caught.value.close()
            assert caught.value.code in (403, 404)
    finally:
        server.close()


def test_a_live_page_has_a_new_version_when_a_run_went_on(three_by_three: Path) -> None:
    reader = Reader()
    first = live_page(compare(*reader.read([three_by_three]), Question()))[1]
    before = reader.mark
    assert live_page(compare(*reader.read([three_by_three]), Question()))[1] == first and reader.mark == before
    with open(three_by_three / "lr0.1-1" / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"kind": "evaluation", "step": 40, "epoch": 3, "val/top1": 0.99}) + "\n")
    html, second = live_page(compare(*reader.read([three_by_three]), Question()))
    assert second != first and reader.mark != before and second in html and "connect-src &#x27;self&#x27;" in html


def test_watching_ends_with_ctrl_c_and_refreshes(three_by_three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from loopwright.reports import _write

    said: list[str] = []

    def rounds(make: Any, every: float) -> None:
        assert not make()  # nothing new
        with open(three_by_three / "lr0.1-1" / "metrics.jsonl", "a") as file:
            file.write("{}\n")
        assert make() and not make()
        url = re.search(r"http://\S+", said[0])
        assert url and "lr 0.2" in _get(url[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(_write, "repeat", rounds)
    _write.watch(three_by_three, None, Question(), say=said.append)
    assert threading.active_count() < 10 and said[0].startswith("Best with lr 0.2")
