"""Laws of models that are split over ranks (FSDP2), and of checkpoints whose parts each rank writes.

They train as one process does, survive every death, and their checkpoints go from any number of ranks to any other, and
between FSDP, DDP and one process.
"""

import json
import os
import signal
import subprocess
import sys
import weakref
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo  # with the next one, so that the ranks, which are forked, need not import it one by one
import torch.distributed.fsdp
from fsdp_trial import Model, call_fit, change_late, train, train_pair
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ranks import CLOSE, ended, means, samples, start
from torch import nn

import loopwright as lw
from loopwright._distributed import Position
from loopwright._errors import CheckpointError, ConfigError
from loopwright._sharding import Sharded, blocks_of
from loopwright._split import rows_of, take_whole
from loopwright._split_states import apart, joined

DDP, FSDP = {"parallel": "ddp"}, {"parallel": "fsdp"}


def begun(folder: Path, ranks: int, attempt: int = 0, *, work: Any = train, **settings: Any) -> list[int]:
    return start(folder, ranks, attempt, work=work, **settings)


def trained(folder: Path, ranks: int, attempt: int = 0, **settings: Any) -> Path:
    codes = ended(begun(folder, ranks, attempt, **settings))
    texts = "\n".join(path.read_text() for path in sorted(folder.glob("out-*.txt")))
    assert codes == [0] * ranks, texts
    return folder


def last(folder: Path) -> Path:
    saved = lw.Checkpoints(folder / "run/checkpoints")
    return saved.folder / saved.find("latest").name


def state(folder: Path) -> dict[str, Any]:
    """What the run ended with, all tensors whole."""
    found = lw.read_checkpoint(last(folder))
    return {name: value for name, value in found.items() if name != "run"}


def tensors(tree: Any, name: str = "") -> dict[str, torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return {name: tree}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    return {key: value for part, below in items for key, value in tensors(below, f"{name}/{part}").items()}


def equal(one: Path, other: Path) -> bool:
    first, second = tensors(state(one)), tensors(state(other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def distance(one: Path, other: Path, of: str = "model") -> float:
    first, second = tensors(state(one)[of]), tensors(state(other)[of])
    assert first.keys() == second.keys()
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)


# ---- files -------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(1, 9))
def test_the_rows_of_all_ranks_are_the_rows(rows: int, ranks: int) -> None:
    parts = [rows_of(rows, ranks, rank) for rank in range(ranks)]
    assert [row for first, end in parts for row in range(first, end)] == list(range(rows))
    chunks = [len(chunk) for chunk in torch.zeros(rows, 2).chunk(ranks)] if rows else []
    assert [end - first for first, end in parts if end > first] == chunks  # as torch splits them


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=4), st.integers(1, 6), st.integers(1, 6))
def test_parts_of_any_ranks_are_read_as_rows_of_any_others(lengths: list[int], ranks: int, others: int) -> None:
    wholes = [torch.randn(length, 3) for length in lengths]
    tree = {"name": "x", "nested": [{"w": whole, "step": 1.5} for whole in wholes], "none": None}
    plan = {2 * number + 1: (list(whole.shape), whole.dtype) for number, whole in enumerate(wholes)}

    def saved(rank: int) -> Any:
        own = [whole[slice(*rows_of(len(whole), ranks, rank))] for whole in wholes]
        nested = [{"w": part, "step": 1.5} for part in own]
        return apart({**tree, "nested": nested}, plan)

    files = [saved(rank) for rank in range(ranks)]
    assert all(file.tree == {**tree, "nested": [{"w": None, "step": 1.5}] * len(wholes)} for file in files)
    back = joined(files[0].tree, plan, ranks, lambda rank: files[rank].parts, take_whole)
    for whole, held in zip(wholes, back["nested"], strict=True):
        assert torch.equal(held["w"], whole)
    for other in range(others):
        asked: set[int] = set()

        def read(rank: int, asked: set[int] = asked) -> Any:
            asked.add(rank)
            return files[rank].parts

        def own(shape: Any, rows: Any, other: int = other) -> torch.Tensor:
            return rows(*rows_of(shape[0], others, other))

        part = joined(files[0].tree, plan, ranks, read, own)
        for whole, held in zip(wholes, part["nested"], strict=True):
            assert torch.equal(held["w"], whole[slice(*rows_of(len(whole), others, other))])
        if ranks == others:
            assert asked <= {other}  # its own file is enough


def test_blocks_are_the_items_of_lists_outermost_and_large() -> None:
    big = nn.Linear(400, 400)
    model = nn.ModuleDict(
        {"a": nn.Sequential(nn.Sequential(big, nn.ReLU()), nn.Linear(3, 3)), "b": nn.Linear(500, 500)}
    )
    assert blocks_of(model) == [big]
    model["b"] = nn.Linear(400, 400)
    model["b"].weight = big.weight  # what is shared stays where both find it
    assert blocks_of(model) == []


# ---- training ----------------------------------------------------------------------------------------------------------

NORM = {"norm": True, "dropout": 0.3, "samples": 56}


@pytest.mark.parametrize(
    ("settings", "ranks"),
    [
        ({"clip": 0.5}, 2),
        ({"by_hand": True}, 3),
        ({"accumulate": 4, "clip": 0.5, "early": True}, 3),
        pytest.param({"by_hand": True, "frozen": True, "double": True}, 4, marks=pytest.mark.slow),
        pytest.param({"by_hand": True, "accumulate": 2}, 2, marks=pytest.mark.slow),
        pytest.param({"ema": 0.9, "val": 3}, 4, marks=pytest.mark.slow),
        pytest.param({"block": 10**9, "optimizer": "SGD"}, 3, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_ranks_with_parts_of_a_model_train_as_one_process(tmp_path: Path, ranks: int, settings: dict[str, Any]) -> None:
    plain = {**settings, "early": False}
    if settings.get("by_hand") and "accumulate" in settings:
        plain["samples"] = settings["samples"] = 60  # by hand every batch of a group weighs alike
    one, many = trained(tmp_path / "one", 1, **plain), trained(tmp_path / "many", ranks, **settings)
    assert samples(many) == samples(one)
    for name in {"model", *(["ema"] if "ema" in settings else [])}:
        assert distance(one, many, name) < CLOSE
    assert distance(one, many, "optimizer") < 1e-6
    for line, other in zip(means(one), means(many), strict=True):
        assert line.keys() == other.keys()
        for name, value in line.items():
            if isinstance(value, float):
                assert other[name] == pytest.approx(value, abs=1e-5), (line, other)


def test_with_dropout_and_batch_norm_it_repeats_itself_and_a_rank_that_is_killed_changes_nothing(
    tmp_path: Path,
) -> None:
    settings = {**NORM, "save_every": "3 steps", "accumulate": 2, "ema": 0.9}
    first, second = (trained(tmp_path / name, 2, **settings) for name in ("first", "second"))
    assert equal(first, second)
    broken = tmp_path / "broken"
    assert -signal.SIGKILL in ended(begun(broken, 2, **settings, die_at=[1, 14]))
    trained(broken, 2, 1, **settings)
    assert samples(broken) == samples(first)
    assert equal(first, broken)
    for folder in (second, broken):
        assert (first / "run/metrics.jsonl").read_bytes() == (folder / "run/metrics.jsonl").read_bytes()


def test_gradients_of_half_a_group_are_part_of_a_checkpoint(tmp_path: Path) -> None:
    settings = {"by_hand": True, "accumulate": 4, "save_every": "2 steps", "samples": 60}
    whole, broken = trained(tmp_path / "whole", 2, **settings), tmp_path / "broken"
    ended(begun(broken, 2, **settings, die_at=[1, 7]))
    assert "gradients.1.pt" in os.listdir(broken / "run/checkpoints/step-000006")
    trained(broken, 2, 1, **settings)
    assert equal(whole, broken)


@pytest.mark.slow
def test_a_step_that_one_rank_cannot_take_is_left_out_by_all(tmp_path: Path) -> None:
    one = trained(tmp_path / "one", 1, nonfinite="skip", nan_at=[0, 5])
    two = trained(tmp_path / "two", 2, nonfinite="skip", nan_at=[1, 5])
    assert distance(one, two) < CLOSE
    told = [line for line in means(two) if line["kind"] == "left_out"]
    assert [line["step"] for line in told] == [5]


@pytest.mark.slow
def test_one_call_gives_back_a_whole_model(tmp_path: Path) -> None:
    one, two = trained(tmp_path / "one", 1, work=call_fit), trained(tmp_path / "two", 2, work=call_fit)
    first, second = (torch.load(folder / "fitted.pt", weights_only=True) for folder in (one, two))
    assert first.keys() == second.keys()
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)
    assert torch.equal(second["stem.weight"], lw.read_checkpoint(last(two))["ema"]["model"]["stem.weight"])


def test_several_models_shared_weights_and_loops_that_are_left(tmp_path: Path) -> None:
    one, two = (trained(tmp_path / str(ranks), ranks, work=train_pair) for ranks in (1, 2))
    for name in ("first", "second"):
        assert distance(one, two, name) < CLOSE
    held = state(two)["first"]
    assert torch.equal(held["items.0.weight"], held["last.weight"])


def test_weights_that_change_behind_keep_best_are_noticed(tmp_path: Path) -> None:
    assert ended(begun(tmp_path, 2, work=change_late)) != [0, 0]
    assert "the weights changed between keep_best" in (tmp_path / "out-0-0.txt").read_text()


@pytest.mark.slow
def test_a_configuration_goes_on_with_the_other_kind_and_its_run_predicts(tmp_path: Path, photos: Path) -> None:
    def train(kind: str, epochs: int, *more: str) -> None:
        keys = [f"data={photos}", "model=small_resnet", "image_size=16", "batch_size=64", "seed=0", "workers=0"]
        command = [
            *keys,
            f"run={tmp_path / 'run'}",
            f"parallel={kind}",
            f"epochs={epochs}",
            "ema=0.9",
            "scheduler=none",
        ]
        command += more
        done = subprocess.run([sys.executable, "-m", "loopwright", "train", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    train("fsdp", 2, "--procs", "2")
    assert "ema.1.pt" in os.listdir(last(tmp_path))
    first = lw.open_model(tmp_path / "run", "latest")
    train("ddp", 3, "--procs", "2", "--resume")
    assert "ema.1.pt" not in os.listdir(last(tmp_path))
    train("fsdp", 4, "--procs", "3", "--resume")
    assert "ema.2.pt" in os.listdir(last(tmp_path))
    found = lw.predict(tmp_path / "run", photos, device="cpu")
    assert len(found) > 0 and first.weights == "ema"
    assert [line["epoch"] for line in lw.read_metrics(tmp_path / "run") if line["kind"] == "evaluation"] == [0, 1, 2, 3]


# ---- checkpoints -------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_as_fsdp_ddp_and_one_process_on_any_ranks(tmp_path: Path) -> None:
    whole, changed = trained(tmp_path / "whole", 1, ema=0.9), tmp_path / "changed"
    lives = [(2, FSDP, 5), (2, DDP, 8), (3, FSDP, 11), (1, DDP, 14), (4, FSDP, None)]
    seen: dict[int, list[int]] = {}
    for attempt, (ranks, kind, step) in enumerate(lives):
        (changed / "died").unlink(missing_ok=True)
        for path in changed.glob("seen-*.jsonl"):
            path.unlink()
        death = {} if step is None else {"die_at": [0, step]}
        codes = ended(begun(changed, ranks, attempt, ema=0.9, save_every="3 steps", **kind, **death))
        texts = [path.read_text() for path in sorted(changed.glob(f"out-{attempt}-*.txt"))]
        assert codes == [0] * ranks if step is None else -signal.SIGKILL in codes, texts
        assert step is None or (changed / "died").exists(), texts
        seen |= {step: sorted(indices) for step, indices in samples(changed).items()}
    assert seen == {step: sorted(indices) for step, indices in samples(whole).items()}
    assert distance(whole, changed) < CLOSE
    assert distance(whole, changed, "ema") < CLOSE
    assert distance(whole, changed, "optimizer") < 1e-6


def test_every_rank_writes_its_parts_once_and_anybody_reads_them(tmp_path: Path) -> None:
    folder = trained(tmp_path, 3, norm=True, samples=56)
    manifest = json.loads((last(folder) / "manifest.json").read_text())
    parts = {f"{name}.{rank}.pt" for name in ("model", "optimizer") for rank in range(3)}
    assert set(manifest["files"]) == parts | {"model.pt", "optimizer.pt", "run.pt"}
    assert manifest["format"] == 2
    for name, facts in manifest["files"].items():
        data = (last(folder) / name).read_bytes()
        assert (len(data), zlib.crc32(data)) == (facts["size"], facts["crc32"])
    model = Model(norm=True)
    assert lw.load_weights(model, folder / "run").complete
    found = lw.read_checkpoint(last(folder))["optimizer"]["state"]
    assert {number: held["exp_avg"].shape for number, held in found.items()} == {
        number: parameter.shape for number, parameter in enumerate(model.parameters())
    }
    stored = {
        name: sum(p.numel() for p in torch.load(last(folder) / name, weights_only=True).values()) for name in parts
    }
    every = sum(p.numel() for p in model.parameters())
    assert sum(stored[f"model.{rank}.pt"] for rank in range(3)) == every
    assert max(stored[f"model.{rank}.pt"] for rank in range(3)) < 0.42 * every


@pytest.mark.parametrize("damage", ["missing", "changed", "short"])
def test_a_checkpoint_of_which_one_part_is_damaged_is_none(tmp_path: Path, damage: str) -> None:
    folder = _saved_in_parts(tmp_path)
    part = folder / "model.1.pt"
    if damage == "missing":
        part.unlink()
    elif damage == "changed":
        data = bytearray(part.read_bytes())
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
    else:  # a part of another shape, with its checksum
        torch.save({0: torch.zeros(1, 3)}, part)
        manifest = json.loads((folder / "manifest.json").read_text())
        data = part.read_bytes()
        manifest["files"][part.name] = {"size": len(data), "crc32": zlib.crc32(data)}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="model"):
        lw.read_checkpoint(folder)


def _saved_in_parts(tmp_path: Path) -> Path:
    """As two ranks would."""
    files: dict[str, Any] = {}
    folder = tmp_path / "step-000001"
    folder.mkdir()
    whole = torch.arange(15.0).view(5, 3)
    plan = {0: ([5, 3], torch.float32)}
    states = {
        "model.pt": {"tree": {"w": None}, "split": plan},
        "model.0.pt": {0: whole[:3]},
        "model.1.pt": {0: whole[3:]},
    }
    for name, held in states.items():
        torch.save(held, folder / name)
        data = (folder / name).read_bytes()
        files[name] = {"size": len(data), "crc32": zlib.crc32(data)}
    (folder / "manifest.json").write_text(json.dumps({"format": 2, "step": 1, "epoch": 0, "files": files}))
    assert torch.equal(lw.read_checkpoint(folder)["model"]["w"], whole)
    return folder


@pytest.mark.parametrize(
    ("rank", "background"),
    [
        (0, False),
        (1, True),
        pytest.param(0, True, marks=pytest.mark.slow),
        pytest.param(1, False, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_rank_that_is_killed_while_it_writes_leaves_no_checkpoint(
    tmp_path: Path, rank: int, background: bool
) -> None:
    settings = {"background": background, "save_every": "4 steps"}
    ended(begun(tmp_path, 2, **settings, die_writing=[rank, 12]))
    assert (tmp_path / "died").exists()
    saved = lw.Checkpoints(tmp_path / "run/checkpoints")
    assert saved.find("latest").step == 8 and saved.newest_sound()[1] == []
    assert not (saved.folder / "step-000012").exists()
    trained(tmp_path, 2, 1, **settings)
    assert not [name for name in os.listdir(saved.folder) if name.startswith(".step")]


@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_where_the_disk_of_one_rank_is_full_all_go_on_and_save_later(tmp_path: Path, rank: int) -> None:
    plain = trained(tmp_path / "plain", 2)
    full = trained(tmp_path / "full", 2, full=[rank, 8])
    assert "step 8 could not be saved" in (full / "out-0-0.txt").read_text()
    assert equal(plain, full)


def test_an_optimizer_that_has_stepped_before_is_refused() -> None:
    """See the parametrized law above for one that was only made before: it gets the new parameters."""
    old, new = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    sharded = Sharded(Position(0, 2))
    sharded._replaced[id(old)] = weakref.ref(old), new
    optimizer = torch.optim.SGD([old], lr=0.1, momentum=0.9)
    fresh = torch.optim.SGD([old], lr=0.1)
    sharded.adopt(fresh)
    assert fresh.param_groups[0]["params"][0] is new
    old.sum().backward()
    optimizer.step()
    with pytest.raises(ConfigError, match="make it of what run.prepare gives back"):
        sharded.adopt(optimizer)


def test_what_cannot_be_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'ddp', 'fsdp'"):
        lw.Run(tmp_path, parallel="zero", device="cpu")  # type: ignore[arg-type]
