"""What the tests share: a small picture folder, a tiny model, and a way to compare weights bit for bit."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import loopwright as lw

os.environ.setdefault("NO_COLOR", "1")
torch.set_num_threads(2)
# A first backward before torch makes stand-in tensors, for which it feigns a CUDA device: later, its engine would start a
# thread for that device, and then no forked process could train.
torch.ones(1, requires_grad=True).sum().backward()


@pytest.fixture(scope="session")
def photos() -> Path:
    """The embedded photos."""
    return lw.demo_photos()


@pytest.fixture(scope="session")
def trained_run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a tiny classifier on them, trained for two epochs; to be read only."""
    from loopwright.recipes._classify import train
    from loopwright.recipes._settings import TrainSettings

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    settings = {
        "data": str(photos), "run": str(folder), "model": {"name": "small_resnet", "width": 4}, "image_size": 16,
        "epochs": 2, "workers": 0, "device": "cpu", "optimizer": {"name": "AdamW", "lr": 0.01},
    }  # fmt: skip
    train(lw.load_config(settings, schema=TrainSettings), progress=False)
    return folder


@pytest.fixture(scope="module")
def one_thread():
    """Sums in one order, whatever else the machine does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def last_top1(run: Path) -> float:
    """What validation measured at a run's best checkpoint."""
    entry = lw.Checkpoints(run / "checkpoints").find("best")
    return next(line["val/top1"] for line in lw.read_metrics(run) if "val/top1" in line and line["step"] == entry.step)


@pytest.fixture(autouse=True)
def _streams_are_put_back():
    """No test may leave standard streams or signal handlers changed."""
    import signal
    import sys

    before = sys.stdout, sys.stderr, signal.getsignal(signal.SIGTERM)
    yield
    assert (sys.stdout, sys.stderr, signal.getsignal(signal.SIGTERM)) == before


def forked(work: Callable[[], object]) -> int:
    """Run something in a forked process, which never comes back into pytest; returns its process number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        # torch makes a pool of threads anew after a fork: by itself, before two of its threads do so at once and abort.
        torch.set_num_threads(torch.get_num_threads())
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def tiny_model(classes: int = 10) -> nn.Module:
    """A small convolutional network with everything that must survive: batch norm statistics and dropout."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, classes),
    )  # fmt: skip


def same_bits(one: nn.Module | dict, other: nn.Module | dict) -> bool:
    """Whether two modules or states hold the same tensors, bit for bit."""
    states = [s.state_dict() if isinstance(s, nn.Module) else s for s in (one, other)]
    return states[0].keys() == states[1].keys() and all(torch.equal(states[0][k], states[1][k]) for k in states[0])
