"""Train a classifier with a loop of your own: the first face of loopwright, complete.

    python examples/your_loop.py [FOLDER] [--epochs 20]

FOLDER has train/ and val/ with a folder for each class; by default the embedded clothing photos.
Interrupt it however you like, Ctrl-C or kill -9, and run it again: it goes on as if nothing had happened.
"""

import argparse

import torch
import torch.nn.functional as F
from torchvision.models import resnet18

import loopwright as lw


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default=lw.demo_photos())
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--run", default="runs/your-loop")
    asked = parser.parse_args(arguments)

    train, val = lw.ImageFolder(asked.folder, split="train"), lw.ImageFolder(asked.folder, split="val")
    with lw.Run(asked.run, seed=42, config=vars(asked)) as run:
        train_loader = lw.Loader(train, 64, transform=lw.RandomResizedCrop(asked.size), shuffle=True)
        val_loader = lw.Loader(val, 256, transform=lw.CenterCrop(asked.size))
        model = run.prepare(resnet18(num_classes=len(train.classes)))
        optimizer = torch.optim.AdamW(lw.param_groups(model, weight_decay=0.05), lr=1e-3)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=asked.epochs * len(train_loader))
        run.register(model=model, optimizer=optimizer, scheduler=scheduler)

        for _ in run.epochs(asked.epochs):
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


if __name__ == "__main__":
    main()
