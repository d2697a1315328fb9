"""loopwright: the pictures packed first (counted), then its loop with growing pictures and averaged weights."""

import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import loopwright as lw
from benchmarks.races import BATCH, SIZE

LR, SMALL_SHARE = 1e-2, 0.6  # of the epochs, with smaller pictures


def race(data: Path, seed: int, epochs: int) -> list[tuple[float, float]]:
    began, seen = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as folder:
        packs = {
            split: lw.pack(
                lw.ImageFolder(data, split=split), f"{folder}/{split}.pack", size=SIZE * 5 // 4, progress=False
            )
            for split in ("train", "val")
        }
        with lw.Run(f"{folder}/run", seed=seed, device="cpu", save_every="100 epochs", progress=False) as run:
            crops = {size: lw.RandomResizedCrop(size, scale=(0.35, 1.0)) for size in (SIZE * 3 // 4, SIZE)}
            loaders = [
                lw.Loader(packs["train"], BATCH, transform=crop, shuffle=True, drop_last=True)
                for crop in crops.values()
            ]
            val_loader = lw.Loader(packs["val"], 128, transform=lw.CenterCrop(SIZE))
            model = run.prepare(lw.small_resnet(10))
            optimizer = torch.optim.AdamW(lw.param_groups(model, weight_decay=0.05), lr=LR)
            scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=epochs * len(loaders[0]))
            ema = lw.EMA(model, decay=0.98)
            run.register(model=model, optimizer=optimizer, scheduler=scheduler, ema=ema)
            for epoch in run.epochs(epochs):
                model.train()
                for images, labels in run.batches(loaders[epoch >= SMALL_SHARE * epochs]):
                    loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
                    run.step(loss, optimizer, scheduler=scheduler)
                    ema.update()
                with run.evaluate(model), ema.applied(model):
                    for images, labels in run.batches(val_loader):
                        run.log(top1=lw.topk_accuracy(model(images), labels))
                seen.append((time.perf_counter() - began, run.value("val/top1")))
    return seen
