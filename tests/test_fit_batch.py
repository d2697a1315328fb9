"""Laws of finding a batch: what is found was trained and leaves its margin, and training afterwards is what it was; and
the words about memory that ran out add up."""

import copy
import gc
import mmap
import os
import re
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import loopwright as lw
from loopwright import cli
from loopwright._available import available_memory
from loopwright._fit_batch import even, largest
from loopwright._gauge import CudaGauge, open_gauge
from loopwright._memory import account, explain_out_of_memory, is_out_of_memory, out_of_memory_note
from loopwright._snapshot import Snapshot

MIB, GIB = 2**20, 2**30


@pytest.fixture(autouse=True)
def _quick_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made long ago, by imports and other tests, need not be looked through after each size."""
    monkeypatch.setattr("loopwright._gauge.gc", SimpleNamespace(collect=lambda: gc.collect(1)))


class Above:
    """A trial that raises as a GPU would, above a size."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.sizes: list[int] = []

    def __call__(self, batch: int) -> None:
        self.sizes.append(batch)
        if batch > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def block(mebibytes: int) -> torch.Tensor:
    """Memory straight from the system, which has it back at once: the C library would keep some, and round."""
    return torch.frombuffer(mmap.mmap(-1, mebibytes * MIB), dtype=torch.uint8).fill_(1)


def takes(batch: int) -> None:
    """A trial that holds a MiB a sample."""
    block(batch)


# ---- the search ------------------------------------------------------------------------------------------------------


@given(st.integers(1, 5000), st.integers(1, 200), st.integers(0, 5000))
def test_the_search_finds_what_trying_every_size_would(limit: int, start: int, more: int) -> None:
    most, limit = start + more, max(limit, start)
    asked: list[int] = []

    def fits(batch: int) -> bool:
        asked.append(batch)
        return batch <= limit

    best, failed = largest(fits, start, most)
    sizes = [size for size in range(start, most + 1) if size == start or size == even(size)]
    assert best == max(size for size in sizes if size <= limit)
    assert failed == next((size for size in sizes if size > limit), None)
    assert all(start < size <= most for size in asked)
    assert len(asked) == len(set(asked)) <= 2 * most.bit_length() + 2


@pytest.mark.parametrize(("most", "expected"), [(1, 1), (2, 1), (10, 9), (31, 27), (100, 80), (1000, 896)])
def test_where_bytes_explain_nothing_the_margin_is_one_of_samples(most: int, expected: int) -> None:
    trial = Above(most)
    found = lw.fit_batch(trial, device="cpu")
    assert found.batch_size == expected
    assert found.batch_size <= max(1, 0.9 * most)
    assert (found.batch_size, True) in [(t.batch, t.ok) for t in found.tried]
    assert all(t.ok == (t.batch <= most) for t in found.tried)
    assert trial.sizes.count(found.batch_size) == 2  # the second step has the optimizer's states beside it
    assert lw.fit_batch(Above(most), device="cpu", margin=0).batch_size == even(most)


def test_nothing_above_the_most_is_tried() -> None:
    trial = Above(10**9)
    assert lw.fit_batch(trial, device="cpu", most=50).batch_size == 48
    assert max(trial.sizes) == 48
    assert lw.fit_batch(Above(10**9), device="cpu", start=100, most=100).batch_size == 100


def test_it_says_itself_in_words() -> None:
    found = lw.BatchFit(24, 3 * GIB, 4 * GIB, 0.1, [(16, 2 * GIB, True), (32, 4 * GIB, False), (24, 3 * GIB, True)])
    found = lw.BatchFit(24, 3 * GIB, 4 * GIB, 0.1, [*lw.fit_batch(Above(9), device="cpu").tried])
    assert str(found) == (
        "a batch of 24 takes 3.0 GiB of 4.0 GiB: 25% stay free, at least 10% were to. 8 sizes tried; too large: 10, 12, 16"
    )


# ---- memory of the CPU, measured -------------------------------------------------------------------------------------


def test_on_the_cpu_what_the_process_grows_by_stays_in_the_limit() -> None:
    found = lw.fit_batch(takes, device="cpu", memory_limit="128 MiB")
    room = 0.9 * 128 * MIB
    assert 96 <= found.batch_size <= 112
    assert found.limit_bytes == 128 * MIB
    assert 0 < found.batch_size * MIB - 4 * MIB < found.peak_bytes <= room
    assert all(abs(t.bytes - t.batch * MIB) < 12 * MIB for t in found.tried)


def test_a_peak_is_that_of_one_measurement() -> None:
    gauge = open_gauge(torch.device("cpu"))
    gauge.start()
    takes(64)
    assert 60 * MIB < gauge.peak() < 80 * MIB
    gauge.start()
    takes(8)
    assert gauge.peak() < 32 * MIB


def test_what_would_kill_the_process_is_not_tried() -> None:
    sizes: list[int] = []

    def trial(batch: int) -> None:
        sizes.append(batch)
        takes(batch)

    found = lw.fit_batch(trial, device="cpu", memory_limit=100 * MIB)
    assert max(sizes) * MIB <= 100 * MIB
    assert found.batch_size >= 72


def test_states_that_the_first_step_makes_count() -> None:
    class Optimizer:
        state: Any = None

        def state_dict(self) -> dict[str, Any]:
            return {"state": self.state}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.state = state["state"]

    optimizer = Optimizer()

    def trial(batch: int) -> None:
        takes(batch)
        if optimizer.state is None:
            optimizer.state = block(50)

    found = lw.fit_batch(trial, device="cpu", memory_limit=128 * MIB, restore=optimizer)
    assert 48 <= found.batch_size <= 64
    assert optimizer.state is None


def test_a_size_that_failed_leaves_nothing_in_memory() -> None:
    held: list[tuple[int, weakref.ref]] = []

    def trial(batch: int) -> None:
        assert not [size for size, made in held if size != batch and made() is not None]
        activations = nn.Linear(batch, 1)
        activations.itself = [activations]  # type: ignore[assignment] - only the collector can free it
        held.append((batch, weakref.ref(activations)))
        Above(5)(batch)

    assert lw.fit_batch(trial, device="cpu").batch_size == 4


# ---- nothing is changed ----------------------------------------------------------------------------------------------


class Training:
    """Everything that a training holds, a few steps in; gradients of half an accumulation are there."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.model = tiny_model()
        self.model.register_buffer("kept", torch.zeros(3))
        self.model.register_buffer("unsaved", torch.arange(3.0), persistent=False)
        self.model[1].eval()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2, amsgrad=True)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, 1e-2, total_steps=1000)
        for _ in range(3):
            self.step(4)
        self.backward(4)

    def backward(self, batch: int) -> None:
        nn.functional.cross_entropy(self.model(torch.randn(batch, 3, 8, 8)), torch.randint(10, (batch,))).backward()

    def step(self, batch: int) -> None:
        self.backward(batch)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)
        self.scheduler.step()

    def states(self) -> list[Any]:
        gradients = [p.grad for p in self.model.parameters()]
        tensors = [*self.model.state_dict().values(), self.model.get_buffer("unsaved"), *gradients]
        layers = [layer.training for layer in self.model.modules()]
        return copy.deepcopy(
            [tensors, layers, self.optimizer.state_dict(), self.scheduler.state_dict(), torch.get_rng_state()]
        )


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def spoiling(training: Training, most: int) -> Any:
    """A trial that changes all there is, and runs out in the middle of a step."""

    def trial(batch: int) -> None:
        training.model.train()
        training.model.get_buffer("unsaved").add_(1)
        training.step(batch)
        training.backward(batch)
        torch.nn.init.normal_(training.model[0].weight)
        training.optimizer.param_groups[0]["lr"] = 7.0
        Above(most)(batch)

    return trial


def test_finding_a_batch_changes_no_training() -> None:
    quiet, found = Training(), Training()
    before = found.states()
    assert equal(before, quiet.states())  # the random generators, too
    result = lw.fit_batch(
        spoiling(found, 5), start=2, device="cpu", restore=(found.model, found.optimizer, found.scheduler)
    )
    assert result.batch_size == 4
    assert equal(found.states(), before)
    for training in (quiet, found):
        torch.manual_seed(0)
        for _ in range(3):
            training.step(4)
    assert equal(found.states(), quiet.states())


def test_each_size_begins_from_the_same_state() -> None:
    training = Training()
    seen: list[Any] = []

    def trial(batch: int) -> None:
        seen.append(training.states())
        spoiling(training, 5)(batch)

    lw.fit_batch(trial, start=2, device="cpu", restore=[training.model, training.optimizer, training.scheduler])
    assert sum(equal(states, seen[0]) for states in seen) == 6  # of 2, 3, 4, 8, 6, 5; not their second steps


def test_a_fault_of_the_trial_comes_through_and_all_is_put_back() -> None:
    training = Training()
    before = training.states()

    def trial(batch: int) -> None:
        spoiling(training, 100)(batch)
        if batch == 4:
            raise ValueError("shapes differ")

    with pytest.raises(ValueError, match="shapes differ") as raised:
        lw.fit_batch(trial, start=2, device="cpu", restore=(training.model, training.optimizer, training.scheduler))
    assert raised.value.__notes__ == [
        "fit_batch: this is what the trial of a batch of 4 raised; sizes go by start=, most="
    ]
    assert equal(training.states(), before)


def test_a_new_optimizer_is_new_again() -> None:
    model = tiny_model()
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer_state = copy.deepcopy(optimizer.state_dict())

    def trial(batch: int) -> None:
        model(torch.randn(batch, 3, 8, 8)).sum().backward()
        optimizer.step()
        Above(20)(batch)

    lw.fit_batch(trial, start=2, device="cpu", restore=(model, optimizer))
    assert equal(optimizer.state_dict(), optimizer_state)
    assert not optimizer.state
    assert all(p.grad is None for p in model.parameters())


def test_nan_and_half_precision_come_back_by_their_bits() -> None:
    layer = nn.Linear(3, 1).to(torch.bfloat16)
    layer.weight.data.copy_(torch.tensor([[float("nan"), -0.0, 1e-30]]))
    snapshot = Snapshot([layer])
    layer.weight.data.zero_()
    snapshot.put_back()
    snapshot.check()
    assert layer.weight.isnan().tolist() == [[True, False, False]]
    assert torch.signbit(layer.weight[0, 1])
    layer.weight.data[0, 1] = 0.0
    with pytest.raises(lw.ConfigError, match="the Linear is not what it was"):
        snapshot.check()


def test_what_cannot_be_put_back_is_said() -> None:
    class Forgetful:
        value = 0

        def state_dict(self) -> dict[str, int]:
            return {"value": self.value}

        def load_state_dict(self, state: dict[str, int]) -> None: ...

    forgetful = Forgetful()

    def trial(batch: int) -> None:
        forgetful.value += 1

    with pytest.raises(lw.ConfigError, match="the Forgetful is not what it was"):
        lw.fit_batch(trial, device="cpu", most=2, restore=forgetful)
    with pytest.raises(lw.ConfigError, match="a float has no state_dict"):
        lw.fit_batch(trial, device="cpu", most=2, restore=[1.5])


# ---- what is wrong is said -------------------------------------------------------------------------------------------


def test_not_even_the_first_size_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(lw.ConfigError, match=r"not even a batch of 4 trains.*a smaller start"):
        lw.fit_batch(Above(3), start=4, device="cpu")
    with pytest.raises(
        lw.ConfigError, match=r"not even a batch of 64 trains: it takes [678]\d\.. MiB .* 28.8 MiB of 32.0 MiB"
    ):
        lw.fit_batch(takes, start=64, device="cpu", memory_limit="32 MiB")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"start": 0}, "start must be 1 or more"),
        ({"start": 8, "most": 4}, "most no less. Found: start=8, most=4"),
        ({"margin": 1.0}, "margin must be 0 or more and below 1"),
        ({"memory_limit": 0}, "memory_limit must be above 0"),
        ({"memory_limit": "much"}, "memory_limit must be a number of bytes"),
        ({"device": "meta"}, "can be measured on cuda and cpu, not on meta"),
    ],
)
def test_arguments_are_checked_before_anything_is_tried(arguments: dict[str, Any], said: str) -> None:
    trial = Above(100)
    with pytest.raises(lw.ConfigError, match=re.escape(said)):
        lw.fit_batch(trial, **{"device": "cpu", **arguments})
    assert trial.sizes == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 17.00 GB)"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
        (None, False),
    ],
)
def test_errors_about_memory_are_known(error: BaseException | None, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_the_real_error_of_the_cpu_is_known() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


# ---- what memory there is --------------------------------------------------------------------------------------------


def machine(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_o_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_least_of_machine_job_and_container_is_what_is_available(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None
    machine(tmp_path, proc__meminfo="MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    assert available_memory(tmp_path) == 4000 * 1024
    machine(
        tmp_path,
        proc__self__cgroup="0::/job/step\n",
        sys__fs__cgroup__job__step__memory_o_max="max\n",
        sys__fs__cgroup__job__step__memory_o_current="1000\n",
        sys__fs__cgroup__job__memory_o_max="3000000\n",
        sys__fs__cgroup__job__memory_o_current="1000000\n",
        sys__fs__cgroup__job__memory_o_stat="anon 5\ninactive_file 500000\n",
    )
    assert available_memory(tmp_path) == 2_500_000
    machine(tmp_path, sys__fs__cgroup__memory_o_max="2000000\n", sys__fs__cgroup__memory_o_current="2100000\n")
    assert available_memory(tmp_path) == 0


def test_older_control_groups_count_too(tmp_path: Path) -> None:
    machine(
        tmp_path,
        proc__meminfo="MemAvailable: 4000 kB\n",
        proc__self__cgroup="9:cpu:/elsewhere\n4:hugetlb,memory:/docker/abc\n",
    )
    folder = tmp_path / "sys/fs/cgroup/memory"  # in a container the path leads outside of what it sees
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text("1000000")
    (folder / "memory.usage_in_bytes").write_text("400000")
    assert available_memory(tmp_path) == 600_000


def test_a_gpu_is_measured_by_what_torch_takes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    device = torch.device("cuda", 0)
    answers = {
        "init": None, "empty_cache": None, "reset_peak_memory_stats": None, "max_memory_reserved": 7 * GIB,
        "memory_reserved": 2 * GIB, "mem_get_info": (5 * GIB, 8 * GIB), "get_per_process_memory_fraction": 1.0,
    }  # fmt: skip
    for name in answers:
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: calls.append(name) or answers[name])
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.inference_mode(False))
    gauge = open_gauge(device)
    assert isinstance(gauge, CudaGauge) and not gauge.kills
    gauge.clean()
    gauge.start()
    assert calls == ["init", "empty_cache", "empty_cache", "reset_peak_memory_stats"]
    assert (gauge.peak(), gauge.limit()) == (7 * GIB, 7 * GIB)  # another process holds one
    answers["get_per_process_memory_fraction"] = 0.5
    assert gauge.limit() == 4 * GIB


# ---- what took it ----------------------------------------------------------------------------------------------------


def test_the_account_is_that_of_a_sum_by_hand() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.BatchNorm1d(8))
    model[1].weight = model[0].weight  # counted once
    model[2].requires_grad_(False)
    trained = 4 * (64 + 8 + 8)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    taken = account([model], [optimizer])
    assert taken.parameters == trained + 4 * (8 + 8 + 8 + 8) + 8  # affine, statistics and their int64 count
    assert (taken.trainable, taken.gradients, taken.optimizer_state) == (trained, 0, None)
    model(torch.randn(4, 8)).sum().backward()
    assert account([model], [optimizer]).gradients == trained
    optimizer.step()
    assert account([model, model], [optimizer]).optimizer_state == 2 * trained + 3 * 4  # and a step count each
    assert account([model], [optimizer]).parameters == taken.parameters
    assert account([model], [optimizer], "cuda").parameters == 0
    assert account([model], [torch.optim.SGD(model.parameters(), 0.1)]).optimizer_state == 0
    assert account([model], [torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)]).optimizer_state is None


TORCHS = (
    "CUDA out of memory. Tried to allocate 22.78 GiB. GPU 0 has a total capacity of 31.47 GiB of which 12.73 GiB is free. "
    "Including non-PyTorch memory, this process has 18.73 GiB memory in use. Of the allocated memory 9.08 GiB is allocated "
    "by PyTorch, and 9.35 GiB is reserved by PyTorch but unallocated."
)


def explained(message: str = "", **changed: Any) -> str:
    numbers = {
        "parameters": GIB, "gradients": GIB, "optimizer_state": 2 * GIB, "batch": 64, "total": 16 * GIB,
        "allocated": 15 * GIB, "reserved": 15 * GIB,
    }  # fmt: skip
    return explain_out_of_memory(torch.OutOfMemoryError(message), **{**numbers, **changed})


def suggested(text: str) -> tuple[int, int, int]:
    found = re.search(r"about (\d+) would fit", text), re.search(r"batch_size=(\d+) and .*accumulate=(\d+)\)", text)
    assert found[0] and found[1]
    return int(found[0][1]), int(found[1][1]), int(found[1][2])


def test_torchs_message_tells_what_the_numbers_do_not() -> None:
    text = explained(TORCHS, total=int(31.47 * GIB), allocated=1, reserved=2, batch=100)
    assert "22.8 GiB more were needed, and of 31.5 GiB of the GPU 12.7 GiB were free" in text
    assert re.search(r"activations, rest +5\.1 GiB, of a batch of 100", text)
    assert "expandable_segments:True in the environment: 9." not in text  # less than what was asked for
    small = explained(TORCHS.replace("22.78 GiB", "9.00 MiB"), total=int(31.47 * GIB))
    assert "1. PYTORCH_ALLOC_CONF=expandable_segments:True in the environment: 9.3 GiB are free, but in pieces" in small


@settings(deadline=None)
@given(st.integers(2, 4096), st.integers(0, 40), st.integers(1, 200), st.integers(0, 100), st.integers(0, 20))
def test_the_batch_that_is_named_fits_by_proportion_and_trains_alike(
    batch: int, model: int, rest: int, asked: int, elsewhere: int
) -> None:
    unit, total = GIB // 8, (4 * model + rest + elsewhere) * (GIB // 8)
    text = explained(
        f"Tried to allocate {asked / 8:.3f} GiB. GPU 0 has a total capacity of 1 GiB of which 0 bytes is free.",
        batch=batch, parameters=model * unit, gradients=model * unit, optimizer_state=2 * model * unit,
        total=total, allocated=total - elsewhere * unit, reserved=total - elsewhere * unit,
    )  # fmt: skip
    if "Not even one" in text:
        assert 4 * model + (rest + asked) / batch > 0.9 * (4 * model + rest) - 0.1 or batch == 1
        assert "accumulate" not in text and "smaller model" in text
        return
    fits, size, parts = suggested(text)
    assert 1 <= size <= fits < batch and fits <= 0.9 * batch
    assert (4 * model + fits / batch * (rest + asked)) <= 0.9 * (4 * model + rest) + 0.1
    assert batch <= size * parts < batch + parts


def test_states_that_are_still_to_be_made_are_reckoned_with() -> None:
    model = {"parameters": 2 * GIB, "total": 12 * GIB}
    made = explained(gradients=2 * GIB, optimizer_state=4 * GIB, allocated=12 * GIB, reserved=12 * GIB, **model)
    new = {"gradients": 0, "optimizer_state": None, "allocated": 6 * GIB, "reserved": 6 * GIB, **model}
    assert suggested(made) == suggested(explained(**new)) == (44, 32, 2)  # in the end the model takes the same
    assert "before its first step" in explained(**new) and "before its first step" not in made
    assert suggested(explained(**new, trainable=0))[0] == 57


def test_the_words_fit_the_case() -> None:
    assert "1. a smaller batch_size, and run.step(" in explained(batch=None)
    evaluation = explained(training=False)
    assert "a smaller batch for evaluation, such as" in evaluation and "accumulate" not in evaluation
    others = explained(
        "Tried to allocate 1.00 GiB. GPU 0 has of which 0 bytes is free", allocated=8 * GIB, reserved=8 * GIB
    )
    assert "1. 8.0 GiB are held by other processes" in others
    allowed = explained("of which 72.88 GiB is free. 16.00 GiB allowed;", total=80 * GIB)
    assert "1.0 GiB were free" in allowed


def test_an_error_is_not_hidden_by_one_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no CUDA here")

    monkeypatch.setattr(torch.cuda, "get_device_properties", fails)
    embedding = nn.Embedding(10, 4, sparse=True)
    embedding(torch.tensor([1, 2])).sum().backward()
    assert account([embedding], []).gradients == 2 * 4 * 4
    ran_out = torch.OutOfMemoryError("CUDA out of memory.")
    assert out_of_memory_note(ran_out, [embedding], [], batch=4, device=torch.device("cuda")) is None


def test_the_note_has_the_numbers_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=8 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 7 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 8 * GIB)
    ran_out = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.50 GiB.")
    note = out_of_memory_note(ran_out, [tiny_model()], [], batch=4, device=torch.device("cuda"))
    assert note is not None
    assert note.startswith("out of memory: 1.5 GiB more were needed, and of 8.0 GiB of the GPU 0 B were free\n")
    assert "activations, rest   7.0 GiB, of a batch of 4" in note


def test_there_is_no_note_where_no_gpu_ran_out() -> None:
    model = tiny_model()
    for device, error in (("cpu", torch.OutOfMemoryError()), ("cuda", ValueError("shapes differ"))):
        assert out_of_memory_note(error, [model], [], batch=4, device=torch.device(device)) is None


# ---- the command -----------------------------------------------------------------------------------------------------


def command(*arguments: str) -> int:
    keys = [f"data={lw.demo_photos()}", "model=small_resnet", "image_size=64", "device=cpu", "workers=0"]
    return cli.main(["fit-batch", *keys, *arguments])


LARGE_STEPS = ("batch_size=512", "accumulate=2", "clip=1.0", "--memory", "100 MiB")


def test_the_command_ends_with_the_setting_to_use_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*LARGE_STEPS) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("small_resnet at 64 px, AdamW, fp32 on cpu")
    size = int(lines[-1].removeprefix("batch_size="))
    fits = [int(line.split()[1]) for line in lines if line.startswith("tried") and line.endswith("fits")]
    assert size == max(fits) < 512
    smaller = re.search(r"batch_size=(\d+) accumulate=(\d+) for steps of (\d+)", lines[-2])
    assert smaller and int(smaller[1]) <= size and int(smaller[1]) * int(smaller[2]) == 2 * int(smaller[3]) >= 2 * 512
    assert os.listdir(tmp_path) == []


def test_a_command_that_cannot_be_is_said_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("image_size=128", "--memory", "1 MiB") == 2
    assert "error: not even a batch of 2 trains" in capsys.readouterr().err
    assert command("--margin", "2") == 2
    assert cli.main(["fit-batch", "data=nowhere"]) == 2
