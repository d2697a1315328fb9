"""Metrics equal what the definitions give by hand, and what the usual packages give; samples weigh, batches do not."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwright._errors import CheckpointError, DataError
from loopwright._metrics import Confusion, topk_accuracy
from loopwright._picture_metrics import psnr, ssim


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def integers(high: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


# Top-k


def test_topk_by_hand() -> None:
    logits = torch.tensor([[0.1, 0.5, 0.4], [0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.0, 1.0, 2.0]])
    labels = torch.tensor([2, 0, 0, 0])
    assert topk_accuracy(logits, labels).item() == 0.25
    assert topk_accuracy(logits, labels, k=2).item() in (0.5, 0.75)  # the third row ties
    assert topk_accuracy(logits, labels, k=3).item() == 1.0


def test_sixty_four_of_sixty_five_right_is_0_985() -> None:
    logits = torch.eye(2)[torch.ones(65, dtype=torch.long)]
    labels = torch.ones(65, dtype=torch.long)
    labels[-1] = 0
    assert topk_accuracy(logits, labels).item() == pytest.approx(64 / 65)
    confusion = Confusion(2)
    confusion.update(logits[:64], labels[:64])
    confusion.update(logits[64:], labels[64:])  # a batch of one, all wrong: a mean of means would say 0.5
    assert confusion.accuracy == 64 / 65


def test_topk_ranks_ties_as_torch_does() -> None:
    logits, labels = integers(3, 200, 10).float(), integers(10, 200, seed=1)
    for k in range(1, 11):
        expected = np.mean([label in row for label, row in zip(labels, logits.topk(k).indices, strict=True)])
        assert topk_accuracy(logits, labels, k).item() == pytest.approx(expected)


def test_topk_equals_torchmetrics_and_scikit_learn() -> None:
    functional = pytest.importorskip("torchmetrics.functional")
    logits, labels = random(300, 12), integers(12, 300)
    for k in (1, 3, 5):
        expected = functional.accuracy(logits, labels, task="multiclass", num_classes=12, top_k=k, average="micro")
        torch.testing.assert_close(topk_accuracy(logits, labels, k), expected)
    sklearn = pytest.importorskip("sklearn.metrics")
    expected = sklearn.top_k_accuracy_score(labels.numpy(), logits.numpy(), k=3)
    assert topk_accuracy(logits, labels, 3).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("logits", "labels", "k", "message"),
    [
        ((4, 3), (4,), 4, "1..3.*got 4"),
        ((4, 3), (4,), 0, "1..3.*got 0"),
        ((4, 3), (3,), 1, r"\(4, 3\) and \(3,\)"),
        ((4, 3, 8, 8), (4, 8, 8), 1, "Confusion"),
        ((4, 3), (4, 3), 1, r"\(4, 3\) and \(4, 3\)"),
    ],
)
def test_topk_names_shapes_that_do_not_fit(logits: tuple, labels: tuple, k: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        topk_accuracy(torch.zeros(logits), torch.zeros(labels, dtype=torch.long), k)


# Pictures


def test_psnr_by_hand() -> None:
    target = torch.zeros(3, 1, 4, 4)
    predicted = torch.zeros(3, 1, 4, 4)
    predicted[0] += 0.1  # mean squared error 0.01: 20 dB
    predicted[1, 0, 0, 0] = 1.0  # 1 / 16: 10 log10(16) dB
    assert psnr(predicted, target).tolist() == pytest.approx([20.0, 10 * math.log10(16), math.inf])


def test_uint8_does_not_wrap_round() -> None:
    black, white = torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    assert psnr(black, white, data_range=255).tolist() == psnr(white, black, data_range=255).tolist() == [0.0]
    assert ssim(black, white, data_range=255).item() == pytest.approx(1e-4 / (1 + 1e-4), rel=1e-4)


def test_ssim_of_flat_pictures_by_hand() -> None:
    a, b, c1 = 0.3, 0.8, 0.01**2
    value = ssim(torch.full((1, 1, 9, 9), a), torch.full((1, 1, 9, 9), b))
    assert value.item() == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1), rel=1e-6)


def ssim_by_definition(x: np.ndarray, y: np.ndarray, data_range: float) -> float:
    """One (C, H, W) picture, window by window, with NumPy's own covariance."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for channel in range(x.shape[0]):
        for top in range(x.shape[1] - 6):
            for left in range(x.shape[2] - 6):
                u, v = (z[channel, top : top + 7, left : left + 7].ravel() for z in (x, y))
                (var_u, cov), (_, var_v) = np.cov(u, v)
                mean_u, mean_v = u.mean(), v.mean()
                luminance = (2 * mean_u * mean_v + c1) / (mean_u**2 + mean_v**2 + c1)
                values.append(luminance * (2 * cov + c2) / (var_u + var_v + c2))
    return float(np.mean(values))


@pytest.mark.parametrize("shape", [(2, 3, 12, 9), (1, 1, 7, 7)])
def test_ssim_is_its_definition(shape: tuple[int, ...]) -> None:
    x = random(*shape)
    y = (x + 0.2 * random(*shape, seed=1)).clamp(0, 1)
    expected = [ssim_by_definition(a, b, 1.0) for a, b in zip(x.double().numpy(), y.double().numpy(), strict=True)]
    assert ssim(x, y).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.uint8])
def test_pictures_equal_scikit_image(dtype: type) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 4, 31, 24, 3))
    y = 0.7 * x + 0.3 * y
    data_range = 1.0
    if dtype is np.uint8:
        x, y, data_range = (255 * x).astype(np.uint8), (255 * y).astype(np.uint8), 255.0
    nchw = [torch.from_numpy(np.ascontiguousarray(np.moveaxis(z, -1, 1))) for z in (x, y)]
    for ours, theirs in (
        (psnr, metrics.peak_signal_noise_ratio),
        (ssim, lambda a, b, data_range: metrics.structural_similarity(a, b, data_range=data_range, channel_axis=-1)),
    ):
        expected = [theirs(a, b, data_range=data_range) for a, b in zip(x, y, strict=True)]
        assert ours(nchw[0], nchw[1], data_range).tolist() == pytest.approx(expected, abs=1e-5)


def test_psnr_equals_torchmetrics() -> None:
    functional = pytest.importorskip("torchmetrics.functional.image")
    x, y = random(5, 3, 16, 16), random(5, 3, 16, 16, seed=1)
    expected = functional.peak_signal_noise_ratio(x, y, data_range=1.0, dim=(1, 2, 3), reduction="none")
    torch.testing.assert_close(psnr(x, y), expected)


def test_the_values_of_a_picture_do_not_depend_on_its_batch() -> None:
    x, y = random(6, 3, 16, 16), random(6, 3, 16, 16, seed=1)
    for metric in (psnr, ssim):
        apart = torch.cat([metric(x[k : k + 1], y[k : k + 1]) for k in range(6)])
        torch.testing.assert_close(metric(x, y), apart)


def test_pictures_that_do_not_fit_are_named() -> None:
    with pytest.raises(DataError, match=r"\(2, 1, 8, 8\) and \(2, 8, 8\)"):
        psnr(torch.zeros(2, 1, 8, 8), torch.zeros(2, 8, 8))
    with pytest.raises(DataError, match=r"target is of dtype torch\.uint8.*255"):
        psnr(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(DataError, match=r"at least 7, got \(1, 3, 6, 9\)"):
        ssim(torch.zeros(1, 3, 6, 9), torch.zeros(1, 3, 6, 9))


# Confusion

TRUTH = [0, 0, 0, 1, 1, 2, 2, 2, 2]
GUESS = [0, 0, 1, 1, 0, 2, 0, 0, 2]


def counted(truth: list[int], guess: list[int], num_classes: int) -> Confusion:
    confusion = Confusion(num_classes)
    confusion.update(torch.tensor(guess), torch.tensor(truth))
    return confusion


def test_confusion_by_hand() -> None:
    confusion = counted(TRUTH, GUESS, 4)  # class 3 neither occurs nor is predicted
    assert confusion.matrix.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [2, 0, 2, 0], [0, 0, 0, 0]]
    assert confusion.matrix.dtype == torch.int64
    nan = math.nan
    assert confusion.recall.tolist() == pytest.approx([2 / 3, 1 / 2, 2 / 4, nan], nan_ok=True)
    assert confusion.precision.tolist() == pytest.approx([2 / 5, 1 / 2, 1.0, nan], nan_ok=True)
    assert confusion.iou.tolist() == pytest.approx([2 / 6, 1 / 3, 2 / 4, nan], nan_ok=True)
    assert confusion.compute() == pytest.approx(
        {"accuracy": 5 / 9, "mean_recall": (2 / 3 + 1 / 2 + 1 / 2) / 3, "mean_iou": (1 / 3 + 1 / 3 + 1 / 2) / 3}
    )


def test_undefined_figures_are_nan() -> None:
    confusion = counted([0, 0], [1, 1], 3)
    assert confusion.recall.tolist() == pytest.approx([0, math.nan, math.nan], nan_ok=True)
    assert confusion.precision.tolist() == pytest.approx([math.nan, 0, math.nan], nan_ok=True)
    assert confusion.iou.tolist() == pytest.approx([0, 0, math.nan], nan_ok=True)
    confusion.reset()
    assert all(math.isnan(value) for value in confusion.compute().values())
    assert confusion.most_confused() == []


def test_most_confused_pairs_come_in_order() -> None:
    confusion = Confusion(3, ["hat", "shirt", "shoes"])
    confusion.update(torch.tensor(GUESS), torch.tensor(TRUTH))
    assert confusion.most_confused() == [("shoes", "hat", 2), ("hat", "shirt", 1), ("shirt", "hat", 1)]
    assert confusion.most_confused(1) == [("shoes", "hat", 2)]


@settings(deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
)
def test_batches_do_not_matter(pairs: list[tuple[int, int]], cuts: list[int]) -> None:
    truth = torch.tensor([pair[0] for pair in pairs], dtype=torch.long)
    guess = torch.tensor([pair[1] for pair in pairs], dtype=torch.long)
    expected = torch.zeros(5, 5, dtype=torch.int64)
    for row, column in pairs:
        expected[row, column] += 1
    confusion = Confusion(5)
    edges = [0, *sorted(min(cut, len(pairs)) for cut in cuts), len(pairs)]
    for start, stop in itertools.pairwise(edges):
        confusion.update(guess[start:stop], truth[start:stop])
    assert torch.equal(confusion.matrix, expected)


def test_logits_indexes_and_pixels_are_counted_alike() -> None:
    logits, labels = random(2, 5, 6, 7), integers(5, 2, 6, 7)
    by_pixel, by_index, flat = Confusion(5), Confusion(5), Confusion(5)
    by_pixel.update(logits, labels)
    by_index.update(logits.argmax(1).to(torch.uint8), labels.to(torch.uint8))  # 255 * 5 would wrap in uint8
    flat.update(logits.movedim(1, -1).reshape(-1, 5), labels.reshape(-1))
    assert by_pixel.matrix.tolist() == by_index.matrix.tolist() == flat.matrix.tolist()
    assert int(by_pixel.matrix.sum()) == labels.numel()


def test_ignored_labels_are_not_counted() -> None:
    confusion = Confusion(2)
    confusion.update(torch.tensor([0, 1, 1]), torch.tensor([0, 255, 1]), ignore_index=255)
    confusion.update(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), ignore_index=0)
    assert confusion.matrix.tolist() == [[1, 0], [0, 2]]


def test_labels_out_of_range_are_told_and_not_counted_elsewhere() -> None:
    confusion = Confusion(3)
    confusion.update(torch.tensor([3, 0, -1, 1]), torch.tensor([0, 255, 1, 1]))
    with pytest.raises(DataError, match=r"3 labels or predictions lay outside 0..2.*ignore_index"):
        _ = confusion.accuracy


def test_counting_reads_no_value() -> None:
    """A tensor on the device "meta" has no values: whoever reads one, and so would wait for a GPU, fails."""
    confusion = Confusion(3)
    logits, labels = torch.empty(8, 3, device="meta"), torch.empty(8, dtype=torch.long, device="meta")
    confusion.update(logits, labels, ignore_index=1)
    confusion.update(labels, labels)
    confusion.load_state_dict(confusion.state_dict())
    assert topk_accuracy(logits, labels, 2).device.type == "meta"
    pictures = torch.empty(2, 3, 8, 8, device="meta")
    assert psnr(pictures, pictures).shape == ssim(pictures, pictures).shape == (2,)


def test_confusion_equals_scikit_learn_and_torchmetrics() -> None:
    truth, guess = integers(6, 500), integers(6, 500, seed=1)
    confusion = Confusion(6)
    confusion.update(guess, truth)
    classification = pytest.importorskip("torchmetrics.functional.classification")
    assert torch.equal(confusion.matrix, classification.multiclass_confusion_matrix(guess, truth, 6))
    iou = classification.multiclass_jaccard_index(guess, truth, 6, average="none")
    torch.testing.assert_close(confusion.iou.float(), iou)
    sklearn = pytest.importorskip("sklearn.metrics")
    assert np.array_equal(confusion.matrix.numpy(), sklearn.confusion_matrix(truth, guess))
    for ours, theirs in (
        (confusion.recall, sklearn.recall_score),
        (confusion.precision, sklearn.precision_score),
        (confusion.iou, sklearn.jaccard_score),
    ):
        assert ours.tolist() == pytest.approx(theirs(truth, guess, average=None).tolist())
    assert confusion.mean_recall == pytest.approx(sklearn.balanced_accuracy_score(truth, guess))
    assert confusion.mean_iou == pytest.approx(sklearn.jaccard_score(truth, guess, average="macro"))


def test_state_comes_back_and_is_a_copy() -> None:
    confusion = counted(TRUTH, GUESS, 3)
    state = confusion.state_dict()
    other = Confusion(3)
    other.load_state_dict(state)
    other.update(torch.tensor([0]), torch.tensor([0]))
    fresh = Confusion(3)
    fresh.load_state_dict(state)
    assert torch.equal(fresh.matrix, confusion.matrix)
    assert other.matrix[0, 0] == confusion.matrix[0, 0] + 1


def test_a_state_of_another_number_of_classes_is_refused() -> None:
    with pytest.raises(CheckpointError, match="has 4 classes, this one has 3"):
        Confusion(3).load_state_dict(Confusion(4).state_dict())


@pytest.mark.parametrize(
    ("predicted", "labels"),
    [
        (torch.zeros(4, 5), torch.zeros(4, dtype=torch.long)),
        (torch.zeros(4), torch.zeros(4, dtype=torch.long)),
        (torch.zeros(4, 3), torch.zeros(3, dtype=torch.long)),
    ],
)
def test_predictions_that_do_not_fit_are_named(predicted: torch.Tensor, labels: torch.Tensor) -> None:
    with pytest.raises(DataError, match="do not fit labels"):
        Confusion(3).update(predicted, labels)


def test_names_must_be_as_many_as_classes() -> None:
    for num_classes, names in ((3, ["a", "b"]), (0, None)):
        with pytest.raises(DataError, match=f"{num_classes} classes with"):
            Confusion(num_classes, names)
