"""Three faces, one body: the loop, the one call and the command give bit-identical weights for the same settings."""

import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import same_bits
from torchvision.models import resnet18

import loopwright as lw
from loopwright import cli

CLOTHING = Path(os.environ.get("LOOPWRIGHT_CLOTHING", Path(__file__).parents[2] / "shared" / "data" / "clothing"))


def by_the_loop(folder: Path, data: Path, size: int, epochs: int) -> dict:
    """The loop of the tutorial, as the user writes it."""
    train, val = lw.ImageFolder(data, split="train"), lw.ImageFolder(data, split="val")
    with lw.Run(folder, seed=42, device="cpu", progress=False) as run:
        train_loader = lw.Loader(train, 64, transform=lw.RandomResizedCrop(size), shuffle=True, workers=0)
        val_loader = lw.Loader(val, 256, transform=lw.CenterCrop(size), workers=0)
        model = run.prepare(resnet18(num_classes=10))
        optimizer = torch.optim.AdamW(lw.param_groups(model, weight_decay=0.05), lr=1e-3)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=epochs * len(train_loader))
        run.register(model=model, optimizer=optimizer, scheduler=scheduler)
        for _ in run.epochs(epochs):
            for images, labels in run.batches(train_loader):
                with run.autocast():
                    loss = F.cross_entropy(model(images), labels)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                scheduler.step()
                run.log(loss=loss)
            with run.evaluate(model):
                for images, labels in run.batches(val_loader):
                    run.log(top1=lw.topk_accuracy(model(images), labels))
            run.keep_best("val/top1")
    return model.state_dict()


def by_one_call(folder: Path, data: Path, size: int, epochs: int) -> dict:
    torch.manual_seed(42)
    model = resnet18(num_classes=10)
    fitted = lw.fit(
        model,
        lw.ImageFolder(data, split="train"),
        lw.ImageFolder(data, split="val"),
        loss=F.cross_entropy,
        optimizer=torch.optim.AdamW(lw.param_groups(model, weight_decay=0.05), lr=1e-2),
        scheduler="OneCycleLR",
        metrics={"top1": lw.topk_accuracy},
        epochs=epochs,
        batch_size=64,
        transform=lw.RandomResizedCrop(size),
        val_transform=lw.CenterCrop(size),
        run=folder,
        seed=42,
        device="cpu",
        workers=0,
        progress=False,
    )
    return fitted.model.state_dict()


def by_the_command(folder: Path, data: Path, size: int, epochs: int) -> dict:
    settings = {
        "data": data, "run": folder, "model": "resnet18", "image_size": size, "epochs": epochs, "batch_size": 64,
        "seed": 42, "device": "cpu", "optimizer.name": "AdamW", "optimizer.lr": 0.01, "optimizer.weight_decay": 0.05,
        "scheduler.name": "OneCycleLR", "loss": "cross_entropy", "workers": 0,
    }  # fmt: skip
    assert cli.main(["train", *(f"{key}={value}" for key, value in settings.items())]) == 0
    return lw.Checkpoints(folder / "checkpoints").load("latest", only="model")


def small_copy(photos: Path, where: Path, train: int, val: int) -> Path:
    """A few photos of each class."""
    for split, count in (("train", train), ("val", val)):
        for folder in sorted((photos / split).iterdir()):
            (where / split / folder.name).mkdir(parents=True)
            for path in sorted(folder.iterdir())[:count]:
                (where / split / folder.name / path.name).symlink_to(path)
    return where


def check(tmp_path: Path, data: Path, size: int, epochs: int) -> None:
    loop = by_the_loop(tmp_path / "loop", data, size, epochs)
    call = by_one_call(tmp_path / "call", data, size, epochs)
    command = by_the_command(tmp_path / "command", data, size, epochs)
    assert same_bits(loop, call)
    assert same_bits(loop, command)
    last = [
        [v for line in lw.read_metrics(tmp_path / name) if (v := line.get("val/top1")) is not None]
        for name in ("loop", "call", "command")
    ]
    assert last[0] == last[1] == last[2] and len(last[0]) == epochs


def test_the_three_faces_give_the_same_bits(tmp_path: Path, photos: Path) -> None:
    check(tmp_path, small_copy(photos, tmp_path / "data", 10, 3), 32, 2)


@pytest.mark.slow
@pytest.mark.skipif(not CLOTHING.is_dir(), reason=f"the clothing photographs are not at {CLOTHING}")
def test_the_three_faces_give_the_same_bits_on_real_photographs_at_128_pixels(tmp_path: Path) -> None:
    check(tmp_path, CLOTHING, 128, 2)
