"""A trace of the steps that were asked for, written whatever happens in the loop."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import loopwright as lw


@pytest.fixture(autouse=True)
def _torch_warns_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says some things once a process; here each test would hear them."""
    monkeypatch.setattr("torch.profiler.profiler._WARNINGS_SHOWN", set(), raising=False)


def loop(profiler: lw.Profiler, steps: int, stops_at: int | None = None) -> None:
    layer = nn.Linear(4, 4)
    for step in range(steps):
        with torch.profiler.record_function(f"number {step + 1}"):
            layer(torch.ones(2, 4)).sum().backward()
        if step + 1 == stops_at:
            raise ZeroDivisionError
        profiler.step()


def steps_in(trace: Path) -> list[str]:
    events = json.loads(trace.read_text())["traceEvents"]
    return sorted({event["name"] for event in events if str(event.get("name", "")).startswith("number")})


def test_it_records_the_steps_that_were_asked_for(tmp_path: Path) -> None:
    with lw.profile(tmp_path, steps=2, skip=3) as profiler:
        loop(profiler, 9)
    assert profiler.trace == tmp_path / "profile" / "steps-4-5.json"
    assert steps_in(profiler.trace) == ["number 4", "number 5"]
    assert "aten::addmm" in (tmp_path / "profile" / "steps-4-5.txt").read_text()
    assert sorted(path.name for path in (tmp_path / "profile").iterdir()) == ["steps-4-5.json", "steps-4-5.txt"]


def test_from_the_first_step_on(tmp_path: Path) -> None:
    with lw.profile(tmp_path, steps=1, skip=0) as profiler:
        loop(profiler, 2)
    assert profiler.trace is not None and steps_in(profiler.trace) == ["number 1"]


def test_a_loop_that_ends_early_or_fails_leaves_what_was_recorded(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lw.profile(tmp_path, steps=5, skip=1) as profiler:
        loop(profiler, 9, stops_at=3)
    assert profiler.trace is not None and steps_in(profiler.trace) == ["number 2", "number 3"]


def test_nothing_recorded_is_said(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="2 steps were counted and 5 are skipped"), lw.profile(tmp_path) as profiler:
        loop(profiler, 2)
    assert profiler.trace is None and not [*tmp_path.iterdir()]


def test_a_length_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(lw.ConfigError, match="steps must be 1 or more"), lw.profile(tmp_path, steps=0):
        pass


def test_in_a_run_it_changes_no_bit_of_the_training(tmp_path: Path) -> None:
    ends = []
    for name in ("plain", "profiled"):
        with lw.Run(tmp_path / name, seed=0, device="cpu", progress=False) as run:
            model = run.prepare(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)))
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            run.register(model=model, optimizer=optimizer)
            with lw.profile(run.folder, steps=1, skip=int(name == "plain")) as profiler:
                for _ in run.epochs(1):
                    for batch in run.batches([torch.ones(8, 4)] * 3):
                        loss = model(batch).square().mean()
                        run.step(loss, optimizer)
                        run.log(loss=loss)
                        profiler.step()
        ends.append(model[0].weight)
    assert torch.equal(*ends)
