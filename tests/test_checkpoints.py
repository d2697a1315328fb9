"""A checkpoint is complete or absent; the index says which are there; the best is the best."""

import json
import math
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import loopwright as lw
from loopwright._checkpoint import read_checkpoint
from loopwright._checkpoints import Checkpoints


def state(value: float) -> dict:
    return {"model": {"w": torch.full((3,), value)}, "counts": {"n": 1, "text": "ü", "pair": (1, 2.5), "none": None}}


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path)
    saved.save(state(1.0), step=5)
    back = saved.load("latest")
    assert torch.equal(back["model"]["w"], torch.ones(3))
    assert back["counts"] == state(1.0)["counts"]
    assert saved.load("latest", only="counts") == back["counts"]


def test_another_process_sees_the_same(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(state(1.0), step=5, metrics={"a": math.nan, "b": 2.0}, best={"b": "max"})
    again = Checkpoints(tmp_path)
    assert again.latest is not None and again.latest.name == "step-000005" and again.modes == {"b": "max"}
    assert math.isnan(again.latest.metrics["a"]) and again.latest.metrics["b"] == 2.0


def test_numpy_values_are_saved_as_plain_ones(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path)
    saved.save({"o": {"lr": np.float64(0.1), "n": np.int64(3), "a": np.arange(3)}}, step=0)
    back = saved.load()["o"]
    assert back["lr"] == 0.1 and type(back["lr"]) is float and torch.equal(back["a"], torch.arange(3))


def test_an_object_that_only_a_pickle_could_hold_is_named_and_leaves_no_trace(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path)
    saved.save(state(1.0), step=1)
    with pytest.raises(lw.CheckpointError, match=r"optimizer\.groups\[0\]\.fn is a builtins\.function"):
        saved.save({"optimizer": {"groups": [{"fn": lambda: None}]}}, step=2)
    assert saved.load()["model"]["w"][0] == 1.0
    assert sorted(os.listdir(tmp_path)) == ["index.json", "step-000001"]


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path, keep_last=2, keep_best=1)
    for step, top1 in enumerate([0.1, 0.9, 0.5, 0.6, 0.7]):
        saved.save(state(step), step=step, metrics={"val/top1": top1}, best={"val/top1": "max"})
    assert [entry.step for entry in saved.entries] == [1, 3, 4]
    assert saved.load("best")["model"]["w"][0] == 1
    assert sorted(p.name for p in tmp_path.glob("step-*")) == ["step-000001", "step-000003", "step-000004"]


def test_the_best_k_by_a_direction(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path, keep_last=1, keep_best=2)
    for step, loss in enumerate([3.0, 1.0, 2.0, 4.0]):
        saved.save(state(step), step=step, metrics={"loss": loss}, best={"loss": "min"})
    assert [entry.step for entry in saved.entries] == [1, 2, 3]


def test_the_users_own_condition(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path, keep=lambda entries: [e for e in entries if e.step % 10 == 0])
    for step in (5, 10, 15, 20, 25):
        saved.save(state(step), step=step)
    assert [entry.step for entry in saved.entries] == [10, 20, 25]  # the newest always


def test_nan_is_never_best_and_an_equal_value_displaces_none(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path, keep_last=9)
    for step, value in enumerate([math.nan, 0.5, math.nan, 0.5]):
        assert saved.is_best("m", value, "max") == (step == 1)
        saved.save(state(step), step=step, metrics={"m": value}, best={"m": "max"})
    best = saved.best("m")
    assert best is not None and best.step == 1


def test_the_history_of_best_values_survives_a_restart(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(state(1), step=1, metrics={"m": 0.9}, best={"m": "max"})
    assert not Checkpoints(tmp_path).is_best("m", 0.8, "max")


def test_two_saves_at_one_step_are_two_checkpoints(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path)
    assert [saved.save(state(i), step=7).name for i in range(3)] == ["step-000007", "step-000007.1", "step-000007.2"]
    assert saved.load()["model"]["w"][0] == 2


def test_leftovers_of_a_killed_save_are_swept(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path)
    saved.save(state(1), step=1)
    (tmp_path / ".step-000002.99.tmp").mkdir()
    (tmp_path / "step-000003").mkdir()  # renamed, but never entered into the index
    saved.save(state(4), step=4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index.json", "step-000001", "step-000004"]


class TestDamage:
    """Whatever is wrong with a checkpoint, the error names it and nothing is half loaded."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        Checkpoints(tmp_path).save(state(1), step=1)
        return tmp_path / "step-000001"

    def test_cut_short(self, folder: Path) -> None:
        file = folder / "model.pt"
        file.write_bytes(file.read_bytes()[:-10])
        with pytest.raises(lw.CheckpointError, match=r"model\.pt has .* bytes and should have"):
            read_checkpoint(folder)

    def test_a_flipped_bit(self, folder: Path) -> None:
        file = folder / "model.pt"
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        with pytest.raises(lw.CheckpointError, match="does not match its checksum"):
            read_checkpoint(folder)

    def test_a_missing_file(self, folder: Path) -> None:
        (folder / "model.pt").unlink()
        with pytest.raises(lw.CheckpointError, match=r"model\.pt is missing"):
            read_checkpoint(folder)

    def test_no_manifest(self, folder: Path) -> None:
        (folder / "manifest.json").unlink()
        with pytest.raises(lw.CheckpointError, match="not a checkpoint of loopwright"):
            read_checkpoint(folder)

    @pytest.mark.parametrize(
        "text",
        ["", "[]", "{}", '{"format": 99, "files": {}}', '{"format": 1, "files": {"../x.pt": {"size": 1, "crc32": 1}}}'],
    )
    def test_a_foreign_manifest(self, folder: Path, text: str) -> None:
        (folder / "manifest.json").write_text(text)
        with pytest.raises(lw.CheckpointError):
            read_checkpoint(folder)

    def test_a_file_that_would_run_code_is_refused(self, folder: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple:
                return (os.mkdir, (str(folder / "evil"),))

        import zlib

        data = pickle.dumps(Evil())
        (folder / "model.pt").write_bytes(data)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"]["model.pt"] = {"size": len(data), "crc32": zlib.crc32(data)}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(lw.CheckpointError, match="cannot be read as tensors"):
            read_checkpoint(folder)
        assert not (folder / "evil").exists()

    @pytest.mark.parametrize(
        "text", ["", "[]", "{}", '{"format": 7, "checkpoints": []}', '{"format": 1, "checkpoints": [{}], "modes": {}}']
    )
    def test_a_damaged_index(self, folder: Path, text: str) -> None:
        (folder.parent / "index.json").write_text(text)
        with pytest.raises(lw.CheckpointError, match=r"index\.json"):
            Checkpoints(folder.parent)

    def test_an_unknown_name_lists_what_is_there(self, folder: Path) -> None:
        with pytest.raises(lw.CheckpointError, match="it holds: step-000001"):
            Checkpoints(folder.parent).load("step-000009")


class TestLoadWeights:
    """Strict by default, with a report of names; parts on request; from wherever weights are."""

    def test_missing_unexpected_and_misshapen_are_named_and_nothing_changes(self) -> None:
        model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
        before = {k: v.clone() for k, v in model.state_dict().items()}
        given = {
            "0.weight": torch.ones(4, 2),
            "0.bias": torch.ones(3),
            "2.weight": torch.ones(1),
            "1.weight": torch.ones(2, 3),
        }
        with pytest.raises(lw.CheckpointError) as caught:
            lw.load_weights(model, given)
        for part in ("1.bias", "2.weight", "0.weight (3, 2) here, (4, 2) in the state"):
            assert part in str(caught.value)
        assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())

    def test_what_fits_is_loaded_when_asked(self) -> None:
        model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
        report = lw.load_weights(model, {"0.bias": torch.full((3,), 7.0), "x": torch.ones(1)}, strict=False)
        assert report.loaded == ["0.bias"] and report.unexpected == ["x"] and len(report.missing) == 3
        assert torch.equal(model[0].bias, torch.full((3,), 7.0))

    def test_parts_by_pattern(self) -> None:
        source, model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 9))
        assert lw.load_weights(model, source.state_dict(), only="0.*").complete
        assert torch.equal(model[0].weight, source[0].weight)
        with pytest.raises(lw.CheckpointError, match="has a name like"):
            lw.load_weights(model, source.state_dict(), only="head.*")

    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
    def test_prefixes_of_ddp_and_compile_are_taken_off(self, prefix: str) -> None:
        model = nn.Linear(2, 2)
        assert lw.load_weights(model, {prefix + k: v for k, v in nn.Linear(2, 2).state_dict().items()}).complete

    @pytest.mark.parametrize("kind", ["pt", "wrapped", "safetensors", "checkpoint", "folder"])
    def test_from_wherever_they_are(self, tmp_path: Path, kind: str) -> None:
        source, model = nn.Linear(2, 2), nn.Linear(2, 2)
        if kind == "safetensors":
            save_file = pytest.importorskip("safetensors.torch").save_file
            save_file(source.state_dict(), tmp_path / "w.safetensors")
        elif kind in ("checkpoint", "folder"):
            Checkpoints(tmp_path / "checkpoints").save({"model": source.state_dict()}, step=1)
        else:
            torch.save(
                {"state_dict": source.state_dict()} if kind == "wrapped" else source.state_dict(), tmp_path / "w.pt"
            )
        place = {"safetensors": "w.safetensors", "checkpoint": "checkpoints/step-000001", "folder": "."}.get(
            kind, "w.pt"
        )
        lw.load_weights(model, tmp_path / place)
        assert torch.equal(source.weight, model.weight)

    def test_a_missing_or_foreign_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(lw.CheckpointError, match="no such file"):
            lw.load_weights(nn.Linear(1, 1), tmp_path / "none.pt")
        (tmp_path / "text.pt").write_text("not tensors")
        with pytest.raises(lw.CheckpointError, match=r"text\.pt"):
            lw.load_weights(nn.Linear(1, 1), tmp_path / "text.pt")


def test_a_full_disk_leaves_the_last_checkpoint_good(tmp_path: Path, monkeypatch) -> None:
    saved = Checkpoints(tmp_path)
    saved.save(state(1), step=1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="No space"):
        saved.save(state(2), step=2)
    monkeypatch.undo()
    assert Checkpoints(tmp_path).load()["model"]["w"][0] == 1
    assert not list(tmp_path.glob(".*"))
    shutil.rmtree(tmp_path)
