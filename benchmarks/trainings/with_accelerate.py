"""accelerate as its examples have it: `save_state` every few steps, `load_state` and `skip_first_batches` to resume."""

from pathlib import Path

import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import load_file

from benchmarks import _photos as photos
from benchmarks._witness import Witness, digest
from benchmarks.trainings import CHECKPOINTS, Saved
from benchmarks.trainings._pictures import new_loaders

FILES = {"model.safetensors", "optimizer.bin", "scheduler.bin", "sampler.bin", "random_states_0.pkl"}


def train(folder: Path, witness: Witness, workers: int) -> None:
    set_seed(0)
    accelerator = Accelerator(cpu=True)
    model = photos.new_model()
    optimizer = photos.new_optimizer(model)
    train_loader, val_loader = new_loaders(workers)
    model, optimizer, train_loader, val_loader, scheduler = accelerator.prepare(
        model, optimizer, train_loader, val_loader, photos.new_scheduler(optimizer)
    )
    step = _resume(accelerator, folder)
    first_epoch, done = divmod(step, len(train_loader))
    for epoch in range(first_epoch, photos.EPOCHS):
        model.train()
        skips = epoch == first_epoch and done > 0
        for images, labels, numbers in accelerator.skip_first_batches(train_loader, done) if skips else train_loader:
            loss = F.cross_entropy(model(images), labels)
            accelerator.backward(loss)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            step += 1
            witness.saw(step, epoch, numbers, accelerator.unwrap_model(model))
            if step % photos.SAVE_EVERY == 0:
                accelerator.save_state(str(folder / CHECKPOINTS / f"step_{step}"))
        model.eval()
        for images, labels, _ in val_loader:
            accelerator.gather_for_metrics((model(images).argmax(1), labels))


def _resume(accelerator: Accelerator, folder: Path) -> int:
    """Loads the newest state that can be loaded; the step it was saved at, 0 if there is none."""
    for path in _newest_first(folder):
        try:
            accelerator.load_state(str(path))
            return _step(path)
        except Exception as failure:  # whatever a torn folder raises; a person would then try the one before
            print(f"{path.name} does not load: {failure!r}")
    return 0


def saved(folder: Path) -> list[Saved]:
    return [Saved(path.name, _step(path), _load(path)) for path in _newest_first(folder)]


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in _newest_first(folder) if _load(path) is None}


def history(folder: Path) -> bytes | None:
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted((folder / CHECKPOINTS).glob("step_*"), key=_step, reverse=True)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step_"))


def _load(path: Path) -> str | None:
    if not {file.name for file in path.iterdir()} >= FILES:
        return None
    try:
        return digest(load_file(path / "model.safetensors"))
    except Exception:  # whatever a torn file raises
        return None
