"""The loading benchmark's own laws: what it calls a picture, a rate, an epoch and a target. It measures nothing here."""

import mmap
import os
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import loading
from benchmarks._camera import Album, album_ready, photograph, source_photos
from benchmarks._memory import pss_of_tree
from benchmarks._table import Row
from benchmarks.feeds import BASE, COLD_LARGE, COLD_SMALL, OURS, TITLES, Job
from benchmarks.feeds.__main__ import LEAST_BATCHES, Checks, time_batches

TINY = Album(100, 75, photos=3, copies=2, bytes_each=5_000, mosaic=2)


def a_job(tmp_path: Path, samples: int) -> Job:
    for number in range(samples):
        (tmp_path / f"{number:03}").mkdir()
    return Job(COLD_SMALL, tmp_path, tmp_path, "default", 2)


def a_batch(labels: range) -> tuple[np.ndarray, np.ndarray]:
    pictures = np.random.default_rng(0).integers(0, 255, (64, 224, 224, 3), dtype=np.uint8)
    return pictures, np.array(labels)


def test_photographs_are_a_function_of_their_number():
    sources = source_photos()
    first, again, other = (np.asarray(photograph(TINY, number, sources)) for number in (0, 0, 1))
    assert first.shape == (75, 100, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_photograph_is_a_class_and_copies_take_no_room(tmp_path):
    about = album_ready(TINY, tmp_path)
    files = sorted(TINY.folder(tmp_path).rglob("*.jpg"))
    assert len(files) == len({file.parent for file in files}) == 6
    assert len({file.stat().st_ino for file in files}) == 3
    assert about.mean_bytes == pytest.approx(TINY.bytes_each, rel=0.15)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ((range(64), range(64, 128)), []),
        ((range(64), range(64)), ["samples came too often: 64", "samples of an epoch never came: 64 of 128"]),
        ((range(64),), ["samples of an epoch never came: 64 of 128"]),
    ],
)
def test_every_sample_comes_once_an_epoch_or_it_is_said(tmp_path, labels, said):
    checks = Checks(BASE, a_job(tmp_path, 128))
    for part in labels:
        checks.saw(0, a_batch(part))
    assert checks.problems(complete=True) == said


def test_a_batch_that_is_none_is_said(tmp_path):
    checks = Checks(BASE, a_job(tmp_path, 128))
    checks.saw(0, (np.zeros((64, 3, 224, 220), np.float32), np.arange(64)))
    assert checks.problems(complete=False) == [
        "a batch has the shape (64, 3, 224, 220)",
        "a batch is float32",
        "a picture has one colour",
        "pictures of a batch are the same",
    ]


def test_a_rate_is_of_an_even_number_of_batches_after_the_first(tmp_path):
    checks = Checks(BASE, a_job(tmp_path, 128))

    def epoch(number):
        time.sleep(0.05)  # what begins an epoch counts, but not before the first batch
        for start in (0, 64):
            time.sleep(0.005)
            yield a_batch(range(start, start + 64))

    found = time_batches(epoch, checks, seconds=0.0)
    assert found["batches"] == LEAST_BATCHES
    assert found["first_s"] >= 0.055
    assert found["images_s"] <= 128 / 0.06  # two batches an epoch
    assert checks.problems(complete=False) == []


def test_memory_of_a_process_is_counted():
    before = pss_of_tree(os.getpid())["Pss_Anon"]
    held = mmap.mmap(-1, 64 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # not from what malloc has kept
    for _ in range(64):
        held.write(b"1" * 2**20)
    assert 55 < pss_of_tree(os.getpid())["Pss_Anon"] - before < 75
    held.close()


def test_targets_are_met_missed_or_not_measured():
    small, large = TITLES[COLD_SMALL], TITLES[COLD_LARGE]

    def row(case, system, value):
        return Row(case, system, value, "images/s", values=[value])

    rows = [row(small, BASE.title, 100.0), row(small, OURS.title, 220.0), row(large, BASE.title, 10.0)]
    verdicts = {target.what: target.verdict() for target in loading.targets(loading.Figures(rows))}
    assert verdicts[f"500x375, over {BASE.title}"].endswith("2.2 x, at least 2.1 x: met")
    assert verdicts[f"2000x1500, over {BASE.title}"].endswith("not measured")
    rows.append(row(large, OURS.title, 30.0))
    verdicts = [target.verdict() for target in loading.targets(loading.Figures(rows))]
    assert any("2000x1500" in verdict and verdict.endswith("3 x, at least 4.2 x: MISSED") for verdict in verdicts)


def test_what_failed_stays_in_the_table_with_its_reason():
    ask = loading.Ask(OURS, COLD_SMALL, Path("/nowhere"))
    with pytest.raises(loading.MeasurementError, match="nowhere"):
        loading.run_feed(ask)
    row = loading.no_row("case", OURS, "images/s", "failed: so it was")
    assert row.value is None and row.note == "failed: so it was"
