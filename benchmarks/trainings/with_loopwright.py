"""loopwright: its own folder, whatever it holds. Every part of a checkpoint is loaded, not only the model.

Each life reads with another engine than the one before, from files or from a pack of them, and saves beside the loop or
waits for it, in turn: none of it may change a bit.
"""

import json
from pathlib import Path

import torch.nn.functional as F

import loopwright as lw
from benchmarks import _photos as photos
from benchmarks._witness import Witness, digest
from benchmarks.trainings import CHECKPOINTS, Saved

ENGINES = ("ring", "threads", "processes")


def train(folder: Path, witness: Witness, workers: int) -> None:
    if _finished(folder / "run"):  # killed after the run had ended: there is nothing left to do
        return
    turn = _lives(folder / "run")
    pictures = lw.ImageFolder(photos.PHOTOS / "train")
    packed = lw.pack(pictures, folder.parent / "train.pack", progress=False)  # opened only, but for the first time
    train = photos.Numbered(packed if turn % 2 else pictures, photos.TRAIN)
    val = photos.Numbered(lw.ImageFolder(photos.PHOTOS / "val"), photos.VALIDATION)
    engine = ENGINES[turn % len(ENGINES)] if workers else "auto"
    save_every, background = f"{photos.SAVE_EVERY} steps", turn % 5 != 4
    with lw.Run(folder / "run", seed=0, save_every=save_every, save_in_background=background) as run:
        augment, plain = lw.RandomResizedCrop(photos.PIXELS), lw.CenterCrop(photos.PIXELS)
        options = {"shuffle": True, "workers": workers, "engine": engine}
        train_loader = lw.Loader(train, photos.BATCH_SIZE, transform=augment, **options)
        val_loader = lw.Loader(val, photos.BATCH_SIZE, transform=plain, workers=workers)
        model = run.prepare(photos.new_model())
        optimizer = photos.new_optimizer(model)
        scheduler = photos.new_scheduler(optimizer)
        run.register(model=model, optimizer=optimizer, scheduler=scheduler)
        for epoch in run.epochs(photos.EPOCHS):
            for images, labels, numbers in run.batches(train_loader):
                loss = F.cross_entropy(model(images), labels)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                scheduler.step()
                run.log(loss=loss)
                witness.saw(run.global_step, epoch, numbers, model)
            with run.evaluate(model):
                for images, labels, _ in run.batches(val_loader):
                    run.log(top1=lw.topk_accuracy(model(images), labels))
            run.keep_best("val/top1")


def saved(folder: Path) -> list[Saved]:
    checkpoints = lw.Checkpoints(folder / "run" / CHECKPOINTS)
    return [Saved(entry.name, entry.step, _weights(checkpoints, entry.name)) for entry in checkpoints.entries]


def _weights(checkpoints: lw.Checkpoints, name: str) -> str | None:
    try:
        return digest(checkpoints.load(name)["model"])
    except lw.CheckpointError:
        return None


def leftovers(folder: Path) -> set[str]:
    checkpoints = folder / "run" / CHECKPOINTS
    if not checkpoints.is_dir():
        return set()
    index = checkpoints / "index.json"
    named = {e["name"] for e in json.loads(index.read_text())["checkpoints"]} if index.exists() else set()
    return {path.name for path in checkpoints.iterdir()} - named - {"index.json"}


def history(folder: Path) -> bytes | None:
    return (folder / "run" / "metrics.jsonl").read_bytes()


def _lives(run: Path) -> int:
    """How often the run was begun."""
    file = run / "run.json"
    return 1 + len(json.loads(file.read_text())["lives"]) if file.exists() else 0


def _finished(run: Path) -> bool:
    return (run / "run.json").exists() and json.loads((run / "run.json").read_text())["state"] == "finished"
