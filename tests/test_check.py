"""Laws of checking: planted bugs are named by the right verdict, sound set-ups raise no alarm, and nothing stays changed."""

import importlib.util
import itertools
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import same_bits, tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

import loopwright as lw
from loopwright import cli
from loopwright._seed import capture_rng
from loopwright.checks._agreement import _of_pairs
from loopwright.checks._feed import Feed, selected
from loopwright.checks._inputs import coherent, finite, input_range, splits_alike
from loopwright.checks._leak import no_leak
from loopwright.checks._loss_facts import loss_facts
from loopwright.checks._parameters import forward_order, parameters_train
from loopwright.checks._probe import Probe, binomial_tail, features
from loopwright.checks._stepping import gradients_cleared
from loopwright.checks._subject import FirstView, Subject
from loopwright.checks._verdict import CannotLook

SETUPS = Path(__file__).parents[1] / "examples" / "bugs" / "setups.py"


def load_setups() -> Any:
    spec = importlib.util.spec_from_file_location("setups", SETUPS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


setups = load_setups()
LONG = 1e6  # seconds: whatever else the machine does, no training is cut short
#: Pictures of a class, to be sure of labels; most where of the two only some are wrong.
NEED_MANY = {"swapped_labels": 25, "labels_sorted_differently": 25, "half_of_two_classes": 100}


def report_of(setup: Callable[[int], dict[str, Any]], seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return lw.check(**setup(NEED_MANY.get(setup.__name__, 10)), seed=seed, seconds=LONG)


def name_of(value: Any) -> str:
    return getattr(value, "__name__", str(value))


# ---- the law -----------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _one_thread():
    """Of computing: the networks are small, and threads that wait for each other slow them down."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("setup", "verdict"), setups.BUGS.items(), ids=name_of)
def test_a_planted_bug_is_named(setup: Callable, verdict: str) -> None:
    report = report_of(setup)
    assert report[verdict].outcome == "failed", report.text()
    assert report[verdict].todo and not report.ok


@pytest.mark.slow
@pytest.mark.parametrize(("setup", "verdict"), setups.DRESSED.items(), ids=name_of)
def test_a_bug_in_other_clothes_is_named(setup: Callable, verdict: str) -> None:
    assert report_of(setup)[verdict].outcome == "failed"


@pytest.mark.parametrize("setup", setups.SOUND, ids=name_of)
def test_a_sound_set_up_raises_no_alarm(setup: Callable) -> None:
    report = report_of(setup)
    assert report.ok and not report.warnings, report.text()


# ---- nothing stays changed ---------------------------------------------------------------------------------------------


def state_of(given: dict[str, Any]) -> dict[str, Any]:
    model, optimizer = given["model"], given.get("optimizer")
    return {
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "modes": [layer.training for layer in model.modules()],
        "trained": [p.requires_grad for p in model.parameters()],
        "optimizer": repr(optimizer.state_dict()) if optimizer is not None else "",
        "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()),
        "rng": capture_rng(),
    }


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert same_bits(one["weights"], other["weights"])
    for a, b in zip(one["gradients"], other["gradients"], strict=True):
        assert (a is None) == (b is None) and (a is None or torch.equal(a, b))
    for key in ("modes", "trained", "optimizer", "hooks"):
        assert one[key] == other[key], key
    assert repr(one["rng"]["python"]) == repr(other["rng"]["python"])
    assert torch.equal(one["rng"]["torch"], other["rng"]["torch"])
    assert torch.equal(one["rng"]["numpy"][1], other["rng"]["numpy"][1])


@pytest.mark.parametrize("setup", [setups.torch_with_a_step, setups.wrong_loss_sign], ids=name_of)
def test_everything_is_bit_for_bit_as_it_was(setup: Callable) -> None:
    given = setup(8)
    model = given["model"]
    optimizer = given.setdefault("optimizer", torch.optim.Adam(model.parameters()))
    for pictures, labels in itertools.islice(given["train"], 2):  # states of the optimizer, gradients that are left
        pictures = lw.Normalize()(pictures)
        F.cross_entropy(model(pictures), labels).backward()
        optimizer.step()
    model.eval()
    random.random(), np.random.random(), torch.rand(1)
    before = state_of(given)
    lw.check(**given)
    assert_same(before, state_of(given))


def test_a_loader_goes_on_where_it_was() -> None:
    data = setups.photos("val", 6)
    loader = lw.Loader(data, 8, transform=lw.RandomResizedCrop(16), shuffle=True, workers=0)
    other = lw.Loader(data, 8, transform=lw.RandomResizedCrop(16), shuffle=True, workers=0)
    ours, theirs = iter(loader), iter(other)
    next(ours), next(theirs)
    lw.check(tiny_model(), loader, loss=F.cross_entropy)
    assert loader.state_dict() == other.state_dict()
    assert all(torch.equal(a[0], b[0]) for a, b in zip(ours, theirs, strict=True))


def test_a_generator_of_torchs_loader_is_put_back() -> None:
    generator = torch.Generator().manual_seed(3)
    data = [(torch.randn(4), torch.tensor(i % 2)) for i in range(64)]
    loader = DataLoader(data, 8, shuffle=True, generator=generator)  # type: ignore[arg-type]
    before = generator.get_state()
    lw.check(nn.Linear(4, 2), loader, loss=F.cross_entropy)
    assert torch.equal(generator.get_state(), before)


def test_it_is_put_back_after_an_error_too() -> None:
    model, calls = tiny_model(), []

    def on_verdict(verdict: Any) -> None:
        calls.append(verdict)
        if verdict.name == "one batch":
            raise KeyboardInterrupt

    given = {
        "model": model,
        **setups.loaders(setups.photos("val", 4), setups.photos("val", 4)),
        "loss": F.cross_entropy,
    }
    before = state_of(given)
    with pytest.raises(KeyboardInterrupt):
        lw.check(**given, on_verdict=on_verdict)
    assert calls
    assert_same(before, state_of(given))


def test_the_same_seed_gives_the_same_verdicts() -> None:
    given = setups.vision_transformer(8)
    one, other = (lw.check(**given, seed=7, seconds=LONG) for _ in range(2))
    assert [v.as_json() for v in one.verdicts] == [v.as_json() for v in other.verdicts]


# ---- arguments ---------------------------------------------------------------------------------------------------------

PLAIN = [(torch.randn(4), torch.tensor(i % 2)) for i in range(64)]


def test_what_cannot_be_checked_is_one_clear_error() -> None:
    with pytest.raises(lw.ConfigError, match="iterator"):
        lw.check(nn.Linear(4, 2), iter(DataLoader(PLAIN, 8)), loss=F.cross_entropy)  # type: ignore[arg-type]
    with pytest.raises(lw.ConfigError, match="cannot be computed.*16, 4"):
        lw.check(nn.Linear(5, 2), PLAIN, loss=F.cross_entropy, batch_size=16)
    with pytest.raises(lw.ConfigError, match="needs the optimizer"):
        lw.check(nn.Linear(4, 2), PLAIN, loss=F.cross_entropy, step=lambda batch: None)
    with pytest.raises(lw.DataError, match="val has no samples"):
        lw.check(nn.Linear(4, 2), PLAIN, [], loss=F.cross_entropy)
    with pytest.raises(lw.ConfigError, match="of several the one .* Found: a list"):
        lw.check(nn.Linear(4, 2), PLAIN, loss=F.cross_entropy, optimizer=[])  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["Muon", "LBFGS", "Adam"])
def test_a_step_is_made_with_any_optimizer(kind: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = lw.build_optimizer(kind, lw.param_groups(model), lr=0.01)
    assert (
        lw.check(model, PLAIN, loss=F.cross_entropy, optimizer=optimizer)["learning rate"].outcome != "could not look"
    )


def test_a_loss_with_a_state_is_put_back_too() -> None:
    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            self.get_buffer("calls").add_(1)
            return F.cross_entropy(output, target)

    counted = Counted()
    lw.check(nn.Linear(4, 2), PLAIN, loss=counted)
    lw.check(nn.Linear(4, 2), PLAIN, compute=lambda model, batch: counted(model(batch[0]), batch[1]))
    assert counted.get_buffer("calls") == 0


def test_samples_of_bfloat16_are_looked_at_as_others() -> None:
    half = [(x.bfloat16(), y) for x, y in PLAIN]
    report = lw.check(nn.Linear(4, 2).bfloat16(), half, half, loss=F.cross_entropy)
    assert not [verdict.evidence for verdict in report.verdicts if "Error" in verdict.evidence]


def test_an_error_in_one_check_is_said_and_the_others_go_on() -> None:
    class Fussy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            if not x.any():
                raise ZeroDivisionError("no zeros, please")
            return self.layer(x)

    report = lw.check(Fussy(), PLAIN, loss=F.cross_entropy, lr=0.01, seconds=LONG)
    assert report["inputs matter"].outcome == "could not look"
    assert "no zeros, please" in report["inputs matter"].evidence
    assert report["parameters"].outcome == "passed"


def test_augmentation_is_judged_by_what_is_said_of_it() -> None:
    data = setups.photos("train", 3)
    fixed = lw.Loader(data, 8, transform=lw.CenterCrop(16), shuffle=True, workers=0)
    changing = lw.Loader(data, 8, transform=lw.RandomResizedCrop(16), shuffle=True, workers=0)

    def outcome(loader: Any, augment: bool | None) -> str:
        return lw.check(tiny_model(), loader, loss=F.cross_entropy, augment=augment, seconds=LONG)[
            "augmentation"
        ].outcome

    assert [outcome(fixed, said) for said in (None, True, False)] == ["warning", "failed", "passed"]
    assert [outcome(changing, said) for said in (None, False)] == ["passed", "failed"]


def test_random_validation_fails() -> None:
    data = setups.photos("train", 3)
    loader = lw.Loader(data, 8, transform=lw.RandomResizedCrop(16), shuffle=True, workers=0)
    report = lw.check(tiny_model(), loader, loader, loss=F.cross_entropy, seconds=LONG)
    assert {v.name for v in report.failed} >= {"validation steady", "splits apart"}


def test_overlapping_subsets_fail() -> None:
    data = setups.files("train", 4, setups.val_transform())
    report = lw.check(
        setups.plain_network(), DataLoader(Subset(data, range(30)), 8, shuffle=True),
        DataLoader(Subset(data, range(28, 40)), 8),
        loss=F.cross_entropy, seconds=LONG,
    )  # fmt: skip
    assert report["splits apart"].outcome == "failed" and "2 of 12" in report["splits apart"].evidence


def test_sorted_data_fail() -> None:
    data = sorted(PLAIN, key=lambda sample: int(sample[1]))
    report = lw.check(nn.Linear(4, 2), DataLoader(data, 8), loss=F.cross_entropy, lr=0.01)  # type: ignore[arg-type]
    assert report["order"].outcome == "failed"


@pytest.mark.parametrize(
    ("target", "outputs", "evidence"), [(2, 2, "0 to 2"), (0, 2, "all 64 labels are the same"), (-1, 2, "-1 to")]
)
def test_labels_out_of_range(target: int, outputs: int, evidence: str) -> None:
    data = [(torch.randn(4), torch.tensor(target if i % 3 == 0 or target == 0 else i % 2)) for i in range(64)]
    report = lw.check(nn.Linear(4, outputs), data, loss=lambda o, t: F.cross_entropy(o, t.clamp(0, outputs - 1)))
    assert report["labels"].outcome == "failed" and evidence in report["labels"].evidence


# ---- losses, asked -----------------------------------------------------------------------------------------------------


def facts_of(loss: Callable[..., Tensor], output: Tensor, target: Tensor) -> Any:
    """Of a loss that is only known as a function."""
    batch = (output.clone(), target)
    return loss_facts(Subject(nn.Identity(), loss, None, batch), batch, output)


@given(st.integers(2, 20), st.integers(0, 10))
@settings(max_examples=20, deadline=None)
def test_cross_entropy_is_known_by_what_it_answers(classes: int, seed: int) -> None:
    torch.manual_seed(seed)
    target = torch.arange(4 * classes) % classes
    facts = facts_of(lambda o, t: F.cross_entropy(o, t), torch.randn(len(target), classes), target)
    assert (facts.kind, facts.classes, facts.softmax_inside) == ("classes", classes, True)
    assert math.isclose(facts.constant, math.log(classes), rel_tol=1e-4)
    assert facts.perfect < 1e-4 and facts.prefers_right


def test_the_floor_of_smoothed_labels_is_their_entropy() -> None:
    target = torch.arange(40) % 10
    facts = facts_of(nn.CrossEntropyLoss(label_smoothing=0.1), torch.randn(40, 10), target)
    entropy = -(0.91 * math.log(0.91) + 9 * 0.01 * math.log(0.01))
    assert entropy <= facts.perfect < entropy + 0.1


def test_other_losses_are_known_too() -> None:
    output, values, marks = torch.randn(40, 3), 3 + 2 * torch.randn(40, 3), (torch.rand(40, 3) < 0.3).float()
    squared = facts_of(F.mse_loss, output, values)
    assert (squared.kind, squared.perfect) == ("values", 0)
    assert math.isclose(squared.constant, float(values.var(0, correction=0).mean()), rel_tol=1e-4)
    absolute = facts_of(F.l1_loss, output, values)
    assert math.isclose(absolute.constant, float((values - values.median(0).values).abs().mean()), rel_tol=1e-4)
    binary = facts_of(F.binary_cross_entropy_with_logits, output, marks)
    share = marks.mean(0)
    entropy = -(share * share.log() + (1 - share) * (1 - share).log()).mean()
    assert binary.sigmoid_inside and math.isclose(binary.constant, float(entropy), rel_tol=1e-4)
    assert not facts_of(F.binary_cross_entropy, output.sigmoid(), marks).sigmoid_inside
    assert not facts_of(F.mse_loss, output, marks).sigmoid_inside
    assert facts_of(F.nll_loss, output.log_softmax(1), torch.arange(40) % 3).wants_log_probabilities
    for loss in (F.mse_loss, F.l1_loss):
        assert not facts_of(lambda o, t, loss=loss: -loss(o, t), output, values).prefers_right


def test_shares_of_classes_are_classes() -> None:
    torch.manual_seed(0)
    share = torch.rand(40, 5).softmax(1)
    facts = facts_of(F.cross_entropy, torch.randn(40, 5), share)
    assert (facts.kind, facts.softmax_inside) == ("classes", True)
    assert (
        math.isclose(facts.perfect, float(-(share * share.log()).sum(1).mean()), rel_tol=1e-4) and facts.prefers_right
    )


def test_a_models_own_loss_is_known_by_its_number() -> None:
    report = report_of(setups.own_loss_and_dictionaries)
    assert report["loss sign"].outcome == "passed" and "log 10" in report["loss at start"].evidence


@pytest.mark.parametrize(
    ("last", "loss", "outcome"),
    [
        (nn.Identity(), F.cross_entropy, "passed"), (nn.Softmax(1), F.cross_entropy, "failed"),
        (nn.LogSoftmax(1), F.cross_entropy, "passed"), (nn.LogSoftmax(1), F.nll_loss, "passed"),
        (nn.Softmax(1), F.nll_loss, "failed"), (nn.Identity(), F.nll_loss, "failed"),
        (nn.Softmax(1), nn.CrossEntropyLoss(label_smoothing=0.1), "failed"),
    ],
)  # fmt: skip
def test_what_a_loss_of_classes_expects(last: nn.Module, loss: Any, outcome: str) -> None:
    model = nn.Sequential(nn.Linear(4, 2), last)
    assert lw.check(model, PLAIN, loss=loss, seconds=LONG)["output for loss"].outcome == outcome


def test_a_loop_of_ones_own_is_asked_through_compute() -> None:
    def compute(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        scores = model(batch["x"])
        return {"loss": F.cross_entropy(scores, batch["kind"]), "norm": scores.norm()}

    data = [{"x": torch.randn(4), "kind": torch.tensor(i % 2)} for i in range(64)]
    report = lw.check(nn.Sequential(nn.Linear(4, 2), nn.Softmax(1)), data, compute=compute)
    assert report["output for loss"].outcome == "failed"


# ---- what the network sees ---------------------------------------------------------------------------------------------


def pictures(size: int = 32) -> Tensor:
    """Photos as float (N, 3, S, S)."""
    loader = lw.Loader(setups.photos("val", 2), 20, transform=lw.CenterCrop(size), workers=0)
    return lw.Normalize()(next(iter(loader))[0]).contiguous()


@pytest.mark.parametrize("size", [24, 31, 64])
@pytest.mark.parametrize("gray", [False, True])
def test_a_view_instead_of_permute_is_seen(size: int, gray: bool) -> None:
    torch.manual_seed(0)
    right = pictures(size)
    right = right.mean(1, keepdim=True).expand(-1, 3, -1, -1).contiguous() if gray else right
    assert coherent([("inputs", right)]).outcome == "passed"
    assert coherent([("inputs", right.flip(-1))]).outcome == "passed"
    assert coherent([("inputs", right.transpose(2, 3))]).outcome == "passed"
    last = right.permute(0, 2, 3, 1).contiguous()
    assert coherent([("inputs", last.view(right.shape))]).outcome == "failed"
    shuffled = right.flatten(2)[..., torch.randperm(size * size)].view(right.shape)
    assert coherent([("inputs", shuffled)]).outcome == "warning"


def test_ranges() -> None:
    layer = nn.Conv2d(3, 1, 1)
    seen = pictures()
    in_1 = (seen - seen.min()) / (seen.max() - seen.min())

    def outcome(tensor: Tensor, layer: nn.Module = layer) -> str:
        return input_range(FirstView("conv", layer, tensor)).outcome

    assert outcome(seen) == outcome(in_1) == outcome(255 * in_1, nn.BatchNorm2d(3)) == "passed"
    assert outcome(255 * in_1) == outcome(in_1 / 255) == outcome(torch.zeros(4, 3, 8, 8)) == "failed"
    assert outcome(20 * in_1) == "warning"


def test_splits_that_are_normalised_differently_fail() -> None:
    seen = pictures()
    assert splits_alike([seen], [seen.flip(0)]).outcome == "passed"
    assert splits_alike([seen], [seen * 0.25 + 0.5]).outcome == "failed"
    assert splits_alike([seen], [(seen * 60 + 120).to(torch.uint8)]).outcome == "failed"


def test_nan_is_named() -> None:
    bad = torch.ones(3)
    bad[1] = math.nan
    assert "1 of 3 values of the output" in finite([("input", torch.ones(1)), ("the output", bad)]).evidence


# ---- leaks, gradients, parameters --------------------------------------------------------------------------------------


def leak_of(model: nn.Module, shape: tuple[int, ...] = (6, 4)) -> str:
    batch = (torch.randn(shape), torch.arange(len(torch.randn(shape))) % 2)
    return no_leak(Subject(model, F.cross_entropy, None, batch), batch).outcome


class Mixing(nn.Module):
    def __init__(self, share: float) -> None:
        super().__init__()
        self.layer, self.share = nn.Linear(4, 2), share

    def forward(self, x: Tensor) -> Tensor:
        scores = self.layer(x)
        return scores + self.share * scores.roll(1, 0)


def test_leaks() -> None:
    assert leak_of(nn.Linear(4, 2)) == leak_of(Mixing(0.0)) == "passed"
    assert leak_of(Mixing(1e-3)) == leak_of(nn.Sequential(nn.Linear(4, 2), nn.Softmax(0))) == "failed"
    assert leak_of(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))) == "passed"
    assert leak_of(nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2))) == "warning"
    constant = nn.Linear(4, 2)
    nn.init.zeros_(constant.weight)
    with pytest.raises(CannotLook):
        leak_of(constant)


@pytest.mark.parametrize("batch_first", [True, False])
def test_leaks_between_sentences_without_gradients_of_inputs(batch_first: bool) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(50, 8)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
            self.head = nn.Linear(8, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.words(tokens)
            return self.head(self.attention(x, x, x)[0].mean(1))

    batch = (torch.arange(60).reshape(6, 10) % 50, torch.arange(6) % 2)
    assert no_leak(Subject(Reader(), F.cross_entropy, None, batch), batch).outcome == (
        "passed" if batch_first else "failed"
    )


def scored(right: int, each: int = 25, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Scores that have all samples right but for those of classes 0 and 1, of which so many."""
    labels = torch.arange(classes).repeat_interleave(each)
    scores = 2 * torch.nn.functional.one_hot(labels, classes).double()
    scores[: 2 * each, :2] += 1
    scores[right : 2 * each, :2] = scores[right : 2 * each, :2].flip(1)
    return scores, labels


@pytest.mark.parametrize(
    ("within", "across", "back", "validation", "outcome"),
    [
        (27, 25, 24, 45, "failed"),  # at chance wherever training's labels are used
        (27, 40, 33, 45, "passed"),  # a hard draw of training's pictures: what it teaches holds
        (27, 25, 24, 30, "passed"),  # a hard pair of classes
        (46, 5, 5, 45, "failed"),  # changed places
        (46, 45, 44, 45, "passed"),
    ],
)
def test_labels_of_two_classes_are_mixed_up_where_they_teach_nothing(
    within: int, across: int, back: int, validation: int, outcome: str
) -> None:
    numbers = {"accuracy": {"training": 0.6}}
    right = map(scored, (within, across, back, validation))
    verdict = _of_pairs(*right, present=range(3), names=["a", "b", "c"], numbers=numbers)
    assert verdict.outcome == outcome, verdict.evidence
    if outcome == "failed":
        assert verdict.numbers["pairs"] == [["a", "b"]]


@pytest.mark.parametrize(
    ("clears", "accumulates", "outcome"),
    [
        ("before", 1, "passed"),
        ("after", 1, "passed"),
        ("after", 3, "passed"),
        ("never", 1, "failed"),
        ("never", 2, "failed"),
    ],
)
def test_gradients_cleared_wherever(clears: str, accumulates: int, outcome: str) -> None:
    model, calls = tiny_model(2), itertools.count(1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def step(batch: Any) -> Tensor:
        if clears == "before":
            optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        if next(calls) % accumulates == 0:
            optimizer.step()
            if clears == "after":
                optimizer.zero_grad()
        return loss

    batches = [(torch.randn(8, 3, 8, 8), torch.arange(8) % 2) for _ in range(3)]
    assert gradients_cleared(model, optimizer, step, batches).outcome == outcome


def test_a_step_that_never_steps_fails() -> None:
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    verdict = gradients_cleared(model, optimizer, lambda batch: None, [PLAIN[0]])
    assert verdict.outcome == "failed" and "never stepped" in verdict.evidence


def parameters_of(
    change: Callable[[nn.Sequential], Any] = lambda model: None, held: Callable[[nn.Sequential], Any] = nn.Module.parameters,
    frozen: list[str] | None = None,
) -> Any:  # fmt: skip
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    change(model)
    batch = (torch.randn(6, 4), torch.arange(6) % 2)
    order = forward_order(Subject(model, F.cross_entropy, None, batch), batch)
    return parameters_train(model, torch.optim.SGD(held(model), 0.1), order, None, frozen)


def test_how_intention_is_told_of_frozen_layers() -> None:
    def freeze(*places: int) -> Callable[[nn.Sequential], Any]:
        return lambda model: [model[place].requires_grad_(False) for place in places]

    assert (
        parameters_of().outcome == parameters_of(freeze(0)).outcome == parameters_of(freeze(0, 2)).outcome == "passed"
    )
    assert parameters_of(freeze(3)).outcome == "passed"  # norms are often kept as they are
    assert parameters_of(freeze(4)).outcome == parameters_of(freeze(0, 4)).outcome == "failed"
    assert parameters_of(freeze(2)).outcome == "warning"
    assert parameters_of(freeze(0, 2, 3, 4)).outcome == "failed"
    assert (
        parameters_of(freeze(4), frozen=["4"]).outcome == parameters_of(freeze(0), frozen=["0.*"]).outcome == "passed"
    )
    assert (
        parameters_of(freeze(0), frozen=["0", "2"]).outcome
        == parameters_of(freeze(0, 2), frozen=["0"]).outcome
        == "failed"
    )


@pytest.mark.filterwarnings("ignore:optimizer contains")
def test_parameters_and_the_optimizer() -> None:
    assert parameters_of(held=lambda model: model[:4].parameters()).outcome == "failed"
    assert parameters_of(held=lambda model: model[4].parameters()).outcome == "warning"
    assert "another model" in parameters_of(held=lambda model: nn.Linear(4, 2).parameters()).evidence
    assert "twice" in parameters_of(held=lambda model: [*model.parameters(), model[0].weight]).evidence


def test_a_cut_graph_is_seen() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last, self.spare = nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).detach().relu())

    found = lw.check(Cut(), PLAIN, loss=F.cross_entropy)["parameters"]
    assert found.outcome == "failed" and "first.weight" in found.evidence and "spare" not in found.evidence


# ---- the probe ---------------------------------------------------------------------------------------------------------


def test_leaving_one_out_is_what_leaving_it_out_gives() -> None:
    torch.manual_seed(0)
    values, labels = torch.randn(12, 5).double(), torch.arange(12) % 3
    probe = Probe(values, values[:0])
    scores = probe.own(labels, 3)
    kernel = probe._kernel
    for left in range(12):
        rest = [place for place in range(12) if place != left]
        signs = 2 * F.one_hot(labels[rest], 3).double() - 1
        weights = torch.linalg.solve(kernel[rest][:, rest] + 0.2 * torch.eye(11), signs)
        assert torch.allclose(scores[left], kernel[left, rest] @ weights)


@given(st.integers(0, 30), st.integers(1, 30), st.sampled_from([0.1, 0.5]))
@settings(deadline=None)
def test_the_tail_of_the_binomial(successes: int, trials: int, chance: float) -> None:
    exact = sum(math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(successes, trials + 1))
    assert math.isclose(binomial_tail(successes, trials, chance), exact, rel_tol=1e-6, abs_tol=1e-12)


def test_features_do_not_depend_on_the_range() -> None:
    seen = pictures()
    assert torch.allclose(features(seen), features(60 * seen + 100), atol=1e-4)


# ---- other kinds of data -----------------------------------------------------------------------------------------------


def test_segmentation_with_pixels_to_pass_over() -> None:
    torch.manual_seed(0)
    shapes = [torch.zeros(3, 16, 16) for _ in range(32)]
    for shape in shapes:
        shape[:, :, int(torch.randint(4, 12, ())) :] = 1
    data = [
        (shape + 0.1 * torch.randn(3, 16, 16), (shape[0] > 0.5).long().index_fill(0, torch.tensor([0]), 255))
        for shape in shapes
    ]
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    report = lw.check(model, data, loss=nn.CrossEntropyLoss(ignore_index=255), lr=0.01, batch_size=8, seconds=LONG)
    assert report.ok and not report.warnings, report.text()


def test_tables_and_plain_lists() -> None:
    torch.manual_seed(0)
    way = torch.randn(6)
    data = [(x := torch.randn(6), (x @ way)[None] + 0.01 * torch.randn(1)) for _ in range(256)]
    model = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 1))
    report = lw.check(model, data[:192], data[192:], loss=F.mse_loss, lr=0.01, seconds=LONG)
    assert report.ok and not report.warnings, report.text()


def test_an_autoencoder_of_single_tensors() -> None:
    torch.manual_seed(0)
    base = torch.randn(4, 16)
    data = list(torch.randn(128, 4) @ base)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))
    report = lw.check(model, data, loss=F.mse_loss, lr=0.01, seconds=LONG)
    assert report.ok and not report.warnings, report.text()


def test_a_diffusion_loss_draws_its_own_noise() -> None:
    def compute(model: nn.Module, batch: Tensor) -> Tensor:
        noise = torch.randn_like(batch)
        return F.mse_loss(model(batch + noise), noise)

    data = list(torch.randn(64, 8))
    report = lw.check(
        nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8)), data, compute=compute, lr=0.01, seconds=LONG
    )
    assert report.ok, report.text()


def test_samples_are_selected_from_any_batch() -> None:
    batch = {"x": torch.arange(8).reshape(4, 2), "name": ["a", "b", "c", "d"], "scale": torch.tensor(2.0)}
    assert selected(batch, [3, 0])["x"].tolist() == [[6, 7], [0, 1]]


def test_a_dataset_is_read_without_its_random_transform() -> None:
    data = setups.files("train", 2, setups.train_transform())
    feed = Feed(DataLoader(data, 4), torch.device("cpu"), 0, "train")
    assert feed.raw_is_steady() and data.transform is not None
    picture, label = feed.sample(0)
    assert (
        isinstance(picture, np.ndarray)
        and picture.dtype == np.uint8
        and picture.shape[2] == 3
        and label == data.labels[0]
    )


# ---- report and command ------------------------------------------------------------------------------------------------


def test_the_report_is_text_json_and_a_sheet(tmp_path: Path) -> None:
    report = report_of(setups.double_softmax)
    text = report.text(80)
    assert text.index("failed   output for loss") < text.index("passed   finite")
    assert all(len(line) <= 80 for line in text.splitlines())
    folder = report.write(tmp_path / "a" / "b")
    found = json.loads((folder / "check.json").read_text())
    assert [v["name"] for v in found["verdicts"]] == [v.name for v in report.verdicts] and found["ok"] is False
    assert len(report.pictures) == 40 and report.pictures[0].caption.startswith("train ")
    with Image.open(folder / "check.png") as sheet:
        assert sheet.width > 1000
    with pytest.raises(KeyError, match="there are: finite"):
        report["nothing"]


def test_the_sheet_shows_pictures_as_they_were() -> None:
    photo = setups.photos("train", 1)
    loader = lw.Loader(photo, 8, transform=lw.CenterCrop(32), workers=0)
    report = lw.check(tiny_model(), loader, loss=F.cross_entropy, augment=False, seconds=LONG)
    shown = next(iter(loader))[0][0].permute(1, 2, 0).numpy()
    assert np.abs(report.pictures[0].pixels.astype(int) - shown).max() <= 1
    assert report.pictures[0].caption.removeprefix("train ") in photo.classes


@pytest.mark.parametrize("scheduler", ["OneCycleLR", "{name: CosineAnnealingLR, warmup: 0.5}", "none"])
def test_each_group_is_tried_at_the_rate_that_the_configuration_gives_it(
    photos: Path, monkeypatch, scheduler: str
) -> None:
    from loopwright.recipes import _check
    from loopwright.recipes._settings import TrainSettings

    tried: list[set[float]] = []
    monkeypatch.setattr(
        _check, "check", lambda *_, optimizer, **__: tried.append({g["lr"] for g in optimizer.param_groups})
    )
    given = [
        f"data={photos}",
        "model=small_resnet",
        "image_size=16",
        "epochs=2",
        f"scheduler={scheduler}",
        "optimizer.lr=0.1",
    ]
    for more in ([], ["optimizer.rules={stem: {lr_factor: 0.1}}"]):
        _check.check_settings(lw.load_config(None, [*given, *more], schema=TrainSettings))
    assert [sorted(rates) for rates in tried] == [[pytest.approx(0.1)], [pytest.approx(0.01), pytest.approx(0.1)]]


def test_the_command(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from test_faces import small_copy

    small_copy(photos, tmp_path / "data", 6, 4)
    given = [
        f"data={tmp_path / 'data'}",
        "image_size=16",
        "batch_size=32",
        "model=loopwright.models._small_resnet:small_resnet",
    ]
    assert cli.main(["check", *given, "--out", str(tmp_path / "out")]) == 0
    assert "19 passed" in (said := capsys.readouterr().out) or "could not look" in said
    assert (tmp_path / "out" / "check.json").exists() and (tmp_path / "out" / "check.png").exists()
    assert cli.main(["check", *given, "augment=CenterCrop"]) == 1
    assert "failed   augmentation" in capsys.readouterr().out
    assert cli.main(["check", *given, "augment=none"]) == 0
    assert cli.main(["check", "data=nowhere"]) == 2
    (tmp_path / "file").write_text("")
    capsys.readouterr()
    assert cli.main(["check", *given, "--out", str(tmp_path / "file")]) == 2
    said = capsys.readouterr()  # before anything is looked at
    assert f"--out: cannot write into the folder {tmp_path / 'file'}: File exists" in said.err and not said.out
