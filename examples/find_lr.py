"""Find the learning rate of a model and its optimizer, then train with it as the peak of one cycle.

python examples/find_lr.py [--epochs 10]
"""

import argparse

import torch
import torch.nn.functional as F

import loopwright as lw


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--run", default="runs/found-lr")
    asked = parser.parse_args(arguments)

    train = lw.ImageFolder(lw.demo_photos(), split="train", cache="memory")  # read once, tried often
    with lw.Run(asked.run, seed=42) as run:
        loader = lw.Loader(train, 64, transform=lw.RandomResizedCrop(asked.size), shuffle=True)
        model = run.prepare(lw.small_resnet(num_classes=10))
        optimizer = torch.optim.AdamW(lw.param_groups(model, weight_decay=0.05), lr=1e-3)

        # Without low= and high= it looks for the ends by itself, which takes a few hundred steps more.
        # Model, optimizer, generators and loader are afterwards what they were: the training below does not notice.
        found = lw.find_lr(model, optimizer, loader, loss=F.cross_entropy, low=1e-4, high=0.3, ramps=2, steps=40)
        print(found)
        found.write_json(run.folder / "lr.json")  # and found.save(run.folder / "lr.png"), with matplotlib

        steps = asked.epochs * len(loader)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, found.lrs, total_steps=steps)
        run.register(model=model, optimizer=optimizer, scheduler=scheduler)
        for _ in run.epochs(asked.epochs):
            for images, labels in run.batches(loader):
                with run.autocast():
                    loss = F.cross_entropy(model(images), labels)
                run.step(loss, optimizer, scheduler=scheduler)
                run.log(loss=loss)


if __name__ == "__main__":
    main()
