"""Hooks are lines: what is done at the ends of steps and epochs stands there, in a loop of your own.

    python examples/hooks.py [--epochs 20]

Gradients clipped by hand and their norm recorded, a rate changed at a step, a picture of what was predicted each epoch, an
early stop, and checkpoints by a rule of your own. Whatever is a function of the step or epoch needs no state to resume.
"""

import argparse

import torch
import torch.nn.functional as F
from torch import nn

import loopwright as lw


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--run", default="runs/hooks")
    asked = parser.parse_args(arguments)

    train, val = (lw.ImageFolder(lw.demo_photos(), split=split) for split in ("train", "val"))
    settings = {"seed": 0, "config": vars(asked), "save_every": ["1 epoch", "10 minutes"], "keep_best": 2}
    with lw.Run(asked.run, **settings) as run:
        train_loader = lw.Loader(train, 64, transform=lw.RandomResizedCrop(asked.size), shuffle=True)
        val_loader = lw.Loader(val, 256, transform=lw.CenterCrop(asked.size))
        model = run.prepare(lw.small_resnet(len(train.classes), width=8))
        optimizer = torch.optim.SGD(lw.param_groups(model, weight_decay=5e-4), lr=0.05, momentum=0.9)
        run.register(model=model, optimizer=optimizer)

        for epoch in run.epochs(asked.epochs):
            # the beginning of an epoch
            for images, labels in run.batches(train_loader):
                # the beginning of a step
                if run.global_step == 200:
                    for group in optimizer.param_groups:
                        group["lr"] /= 10
                loss = F.cross_entropy(model(images), labels)
                loss.backward()
                norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm=2.0)
                optimizer.step()
                optimizer.zero_grad()
                # the end of a step
                run.log(loss=loss, gradient_norm=norm)
            # the end of an epoch
            with run.evaluate(model):
                for images, labels in run.batches(val_loader):
                    output = model(images)
                    run.log(top1=lw.topk_accuracy(output, labels), loss=F.cross_entropy(output, labels))
                shown = [f"{train.classes[i]}" for i in output[:8].argmax(1).tolist()]
                pictures = lw.Normalize().inverse(images[:8]).cpu()
                lw.picture_grid(pictures, shown, columns=8, side=96, path=run.folder / f"epoch-{epoch}.png")
            run.keep_best("val/top1")
            run.stop_when("val/loss", patience=3)  # what it remembers survives a resume


if __name__ == "__main__":
    main()
