"""Laws of hold-outs, folds, parts and balanced weights: never twice, never lost, alike in each class, the same again."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_folder import make

import loopwright as lw
from loopwright._errors import ConfigError, DataError
from loopwright.data._labels import LabelSets, class_indices
from loopwright.data._strings import Strings

several = st.dictionaries(st.integers(0, 30), st.integers(2, 12), min_size=1, max_size=6).flatmap(
    lambda counts: st.permutations([label for label, count in counts.items() for _ in range(count)])
)


def per_class(labels: list, indices: np.ndarray) -> Counter:
    return Counter(labels[index] for index in indices.tolist())


# ---- folds ---------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(labels=several, folds=st.integers(2, 6), seed=st.integers())
def test_each_sample_is_validated_once_and_trained_on_otherwise(labels: list[int], folds: int, seed: int) -> None:
    if len(labels) < folds:
        return
    parts = lw.k_fold(labels, folds, seed=seed)
    assert len(parts) == folds
    assert sorted(index for _, val in parts for index in val.tolist()) == list(range(len(labels)))
    for train, val in parts:
        assert sorted([*train.tolist(), *val.tolist()]) == list(range(len(labels)))
        assert train.tolist() == sorted(train) and val.tolist() == sorted(val) and train.dtype == val.dtype == np.int64
        assert set(per_class(labels, train)) == set(labels)
    sizes = [len(val) for _, val in parts]
    assert max(sizes) - min(sizes) <= 1
    for label in set(labels):
        counts = [per_class(labels, val)[label] for _, val in parts]
        assert max(counts) - min(counts) <= 1


@settings(max_examples=50, deadline=None)
@given(count=st.integers(2, 40), folds=st.integers(2, 9), seed=st.integers(0))
def test_without_labels_the_folds_are_complete_and_even(count: int, folds: int, seed: int) -> None:
    if count < folds:
        with pytest.raises(DataError, match=f"{count} samples cannot be divided into {folds} folds"):
            lw.k_fold(range(count), folds, stratified=False)
        return
    parts = lw.k_fold(range(count), folds, seed=seed, stratified=False)
    assert sorted(index for _, val in parts for index in val.tolist()) == list(range(count))
    assert {len(val) for _, val in parts} <= {count // folds, -(-count // folds)}


def test_folds_are_the_same_again_and_others_for_another_seed() -> None:
    labels = [number % 3 for number in range(60)]

    def first(seed: int) -> tuple[int, ...]:
        return tuple(lw.k_fold(labels, 4, seed=seed)[0][1].tolist())

    assert first(1) == first(1)
    assert len({first(seed) for seed in range(20)}) == 20


def test_every_sample_is_in_the_first_fold_equally_often() -> None:
    labels = [0, 1] * 5
    counted = Counter(i for seed in range(500) for i in lw.k_fold(labels, 5, seed=seed)[0][1].tolist())
    chi_squared = sum((counted[index] - 100) ** 2 / 100 for index in range(10))
    assert chi_squared < 27.9  # 9 degrees of freedom, 99.9 %


# ---- hold-out ------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(labels=several, share=st.floats(0.001, 0.999), seed=st.integers())
def test_a_share_of_each_class_is_held_out(labels: list[int], share: float, seed: int) -> None:
    train, val = lw.hold_out(labels, share, seed=seed)
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(len(labels)))
    for label, total in Counter(labels).items():
        assert per_class(labels, val)[label] == min(max(1, round(total * share)), total - 1)


@pytest.mark.parametrize("seed", [0, 7])
def test_it_is_the_hold_out_of_a_picture_folder(tmp_path: Path, seed: int) -> None:
    make(tmp_path, "ant/2", "bee/17", "cat/40")
    everything = lw.ImageFolder(tmp_path)
    for names in (everything, everything.labels, np.array(everything.labels), torch.tensor(everything.labels)):
        train, val = (lw.Part(everything, part) for part in lw.hold_out(names, 0.3, seed=seed))
        for part, split in ((train, "train"), (val, "val")):
            folder = lw.ImageFolder(tmp_path, split, holdout=0.3, seed=seed)
            assert (list(part.paths), part.labels) == (list(folder.paths), folder.labels)


def test_the_hold_out_of_a_picture_folder_has_not_changed(tmp_path: Path) -> None:
    """Runs that were recorded go on with the parts that they had."""
    make(tmp_path, "ant/6", "bee/9")
    held = [
        path.relative_to(tmp_path).as_posix() for path in lw.ImageFolder(tmp_path, "val", holdout=0.4, seed=5).paths
    ]
    assert held == ["ant/2.png", "ant/4.png", "bee/1.png", "bee/4.png", "bee/5.png", "bee/7.png"]


def test_labels_may_be_names_and_the_parts_do_not_depend_on_what_they_are_called() -> None:
    numbers = [0, 1, 2, 1, 0, 2, 2, 1, 0] * 3
    for names in (["ant", "bee", "cat"], ["a", "b", "c"]):
        texts = [names[number] for number in numbers]
        for labels in (texts, tuple(texts), np.array(texts), Strings(texts)):
            assert [p.tolist() for p in lw.hold_out(labels)] == [p.tolist() for p in lw.hold_out(numbers)]


@pytest.mark.parametrize("divide", [lw.hold_out, lambda source, **o: lw.k_fold(source, 2, **o)])
def test_what_cannot_be_divided_says_why(divide: Any, tmp_path: Path) -> None:
    lonely = lw.ImageFolder(make(tmp_path, "ant/4", "bee/1"))
    for source, message in [
        (np.array([0, 0, 7]), "class 7 has 1 sample: a class needs two or more to be in both parts; stratified=False"),
        (lonely, "class 'bee' has 1 sample: a class needs two or more to be in both parts; stratified=False"),
        (["ant", "ant", "bee"], "class 'bee' has 1 sample"),
        ([], "there are no samples to divide"),
        ([0.5, 0.25], "expected one class a sample: whole numbers or names. Found: float64 .*; stratified=False"),
        (np.zeros((4, 2), dtype=int), r"shape \(4, 2\); stratified=False"),
        (LabelSets([(0,), (1,)], 2), "several labels each are of no single class; stratified=False"),
        (torch.utils.data.TensorDataset(torch.zeros(4)), "a TensorDataset has no labels: give .*; stratified=False"),
    ]:
        with pytest.raises(DataError, match=message):
            divide(source)
    assert divide(lonely, stratified=False)
    assert divide(torch.utils.data.TensorDataset(torch.zeros(4)), stratified=False)


def test_wrong_settings_are_refused() -> None:
    for share in (0, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="share must lie between 0 and 1. Found: "):
            lw.hold_out([0, 0], share)
    for folds in (1, 2.0):
        with pytest.raises(ConfigError, match="folds must be a whole number, 2 or more. Found: "):
            lw.k_fold([0, 0], folds)  # type: ignore[arg-type]


# ---- parts ---------------------------------------------------------------------------------------------------------


def test_a_part_is_the_dataset_at_its_indices() -> None:
    photos = lw.ImageFolder(lw.demo_photos(), split="val")
    part = lw.Part(photos, [200, 3, 3])
    assert len(part) == 3
    for place, index in enumerate([200, 3, 3]):
        assert part[place][0].tobytes() == photos[index][0].tobytes()
        assert part.undecoded(place) == photos.undecoded(index)
        assert part.name_of(place) == photos.name_of(index)
    assert list(part.paths) == [photos.paths[200], photos.paths[3], photos.paths[3]]
    assert part.labels == [photos.labels[200], photos.labels[3], photos.labels[3]]
    assert part.classes is photos.classes and part.class_to_idx == photos.class_to_idx
    assert part.counts() == {name: part.labels.count(index) for index, name in enumerate(photos.classes)}
    assert part[-1][1] == photos.labels[3]
    assert [label for _, label in part] == part.labels
    for index in (3, -4):
        with pytest.raises(IndexError):
            part[index]


def test_a_part_of_a_part_is_a_part() -> None:
    photos = lw.ImageFolder(lw.demo_photos(), split="val")
    part = lw.Part(lw.Part(photos, range(0, 100, 2)), [1, 0])
    assert list(part.paths) == [photos.paths[2], photos.paths[0]]
    assert part.undecoded(0) == photos.undecoded(2)
    assert lw.k_fold(lw.Part(photos, range(100)), 3)[0][1].tolist() == lw.k_fold(photos.labels[:100], 3)[0][1].tolist()


def test_parts_have_transforms_of_their_own_and_the_same_batches_with_workers() -> None:
    photos = lw.ImageFolder(lw.demo_photos(), split="train")
    train, val = (lw.Part(photos, indices) for indices in lw.k_fold(photos, 50)[0])
    cropped = lw.Loader(train, 4, transform=lw.RandomResizedCrop(24), shuffle=True, workers=0)
    batches = {workers: lw.Loader(val, 8, transform=lw.CenterCrop(32), workers=workers) for workers in (0, 1)}
    assert next(iter(cropped))[0].shape == (4, 3, 24, 24)
    with_workers, without = (list(batches[workers]) for workers in (1, 0))
    batches[1].close()
    assert sum(len(labels) for _, labels in without) == len(val)
    for (one, these), (other, those) in zip(without, with_workers, strict=True):
        assert torch.equal(one, other) and torch.equal(these, those)


def test_a_part_skips_what_its_dataset_skips(tmp_path: Path) -> None:
    make(tmp_path, "ant/4", "bee/4")
    (tmp_path / "ant" / "1.png").write_bytes(b"")
    assert lw.Part(lw.ImageFolder(tmp_path), [0]).on_error == "raise"
    loader = lw.Loader(lw.Part(lw.ImageFolder(tmp_path, on_error="skip"), [0, 1, 5]), 3, workers=0)
    assert [len(labels) for _, labels in loader] == [2]
    assert len(loader.skipped) == 1


def test_a_part_has_what_its_dataset_has() -> None:
    class Torchvisions:
        targets = torch.tensor([2, 1, 0])
        classes = ("a", "b", "c")
        weights = np.array([0.5, 1, 2])

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> int:
            return index

    plain, labelled = lw.Part(range(5), [4]), lw.Part(Torchvisions(), [2, 0])
    for name in ("labels", "classes", "class_to_idx", "paths", "weights", "undecoded"):
        assert not hasattr(plain, name)
    assert plain.on_error == "raise" and plain[0] == 4
    assert labelled.labels.tolist() == [0, 2] and labelled.weights.tolist() == [2, 0.5]
    assert labelled.counts() == {"a": 1, "b": 0, "c": 1}


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([5], "the dataset has samples 0 to 4. Found: 5 to 5"),
        ([-1, 2], "Found: -1 to 2"),
        ([0.0], "given by whole numbers"),
        ([[0]], r"shape \(1, 1\)"),
        ([True, False], "np.flatnonzero makes indices of a mask"),
    ],
)
def test_indices_that_are_none_are_refused(indices: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lw.Part(range(5), indices)


def test_a_part_does_not_change_with_the_indices_it_was_made_of() -> None:
    indices = np.array([1, 2])
    part = lw.Part(range(5), indices)
    indices[0] = 4
    assert part[0] == 1


# ---- balance -------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(labels=several, power=st.floats(0, 2))
def test_a_class_weighs_its_count_to_the_power_of_the_rest(labels: list[int], power: float) -> None:
    weights, counts = lw.balanced_weights(labels, power=power), Counter(labels)
    total = {label: weights[[this == label for this in labels]].sum() for label in counts}
    expected = {label: count ** (1 - power) for label, count in counts.items()}
    scale = sum(total.values()) / sum(expected.values())
    assert all(total[label] == pytest.approx(scale * expected[label]) for label in counts)
    assert weights.mean() == pytest.approx(1) and weights.dtype == np.float64


def test_balanced_drawing_draws_all_classes_alike() -> None:
    labels = [0] * 900 + [1] * 90 + [2] * 10
    loader = lw.Loader(labels, 1000, weights=lw.balanced_weights(labels), workers=0)
    counts = torch.stack([torch.bincount(next(iter(loader.epoch_batches(epoch)))) for epoch in range(3)]).sum(0)
    assert ((counts - 1000).abs() < 5 * (3000 * 2 / 9) ** 0.5).all()


def test_of_several_labels_the_rarest_counts() -> None:
    labels = LabelSets([(0,), (0,), (0, 1), (), (0,), (2, 1)], 3)  # 4 of class 0, 2 of 1, 1 of 2, 1 without
    weights = lw.balanced_weights(labels)
    expected = np.array([1 / 4, 1 / 4, 1 / 2, 1, 1 / 4, 1])
    assert np.allclose(weights, expected / expected.mean())


def test_weights_need_classes() -> None:
    with pytest.raises(DataError, match="expected one class a sample"):
        lw.balanced_weights([0.5])
    with pytest.raises(ConfigError, match="power must be 0 or more. Found: -1"):
        lw.balanced_weights([0], power=-1)
    assert len(lw.balanced_weights([])) == 0


# ---- labels --------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), max_size=5), max_size=8), st.data())
def test_label_sets_are_the_sets_that_they_stand_for(sets: list[list[int]], data: st.DataObject) -> None:
    labels, expected = LabelSets(sets, 7), [tuple(sorted(set(one))) for one in sets]
    assert list(labels) == expected == [labels[index] for index in range(len(sets))]
    for index, members in enumerate(expected):
        assert np.flatnonzero(labels.multi_hot(index)).tolist() == list(members)
    assert labels.counts().tolist() == [sum(number in members for members in expected) for number in range(7)]
    part = data.draw(st.slices(len(sets)))
    assert list(labels[part]) == expected[part]


def test_label_sets_hold_class_indices() -> None:
    with pytest.raises(DataError, match="must be 0 to 1. Found: 0 to 2"):
        LabelSets([(0, 2)], 2)


def test_negative_class_numbers_are_numbered_anew() -> None:
    assert class_indices([-1, 5, 5, 3]).tolist() == [0, 2, 2, 1]
    assert class_indices([True, False]).tolist() == [1, 0]
