"""Closures: LBFGS measures the loss as often as it likes, and the loop stays a loop. A linear classifier of small photos.

python examples/lbfgs.py [--epochs 5]
"""

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import loopwright as lw


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--run", default="runs/lbfgs")
    asked = parser.parse_args(arguments)

    photos = lw.ImageFolder(lw.demo_photos(), split="train")
    some = lw.Part(photos, range(0, len(photos), 4))
    with lw.Run(asked.run, seed=0, config=vars(asked)) as run:
        loader = lw.Loader(some, len(some), transform=lw.CenterCrop(asked.size))  # all at once, and always the same
        model = run.prepare(nn.Sequential(nn.Flatten(), nn.Linear(3 * asked.size**2, len(photos.classes))))
        optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=10, line_search_fn="strong_wolfe")
        run.register(model=model, optimizer=optimizer)  # its history of curvature survives, too

        for _ in run.epochs(asked.epochs):
            for images, labels in run.batches(loader):

                def closure(images: Tensor = images, labels: Tensor = labels) -> Tensor:
                    optimizer.zero_grad()
                    loss = F.cross_entropy(model(images), labels) + 1e-3 * model[1].weight.square().sum()
                    loss.backward()
                    return loss.detach()

                run.log(loss=optimizer.step(closure))  # the loss before the step
                optimizer.zero_grad()


if __name__ == "__main__":
    main()
