"""A data set that is made anew each epoch: other samples, other labels, another length if need be.

    python examples/new_data_each_epoch.py [--epochs 10]

What it holds is a function of the epoch, so a resumed run has the same. Here a network learns whether two photos, of which
new pairs are drawn each epoch, are of the same class.
"""

import argparse
import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import loopwright as lw


class Pairs:
    """Pairs of photos, half of them of one class."""

    def __init__(self, photos: lw.ImageFolder, count: int, size: int) -> None:
        self.photos, self.count, self.crop = photos, count, lw.CenterCrop(size)
        self.by_class: dict[int, list[int]] = {}
        for index, label in enumerate(photos.labels):
            self.by_class.setdefault(int(label), []).append(index)

    def reset(self, epoch: int) -> None:
        """Draw the pairs of an epoch."""
        rng = random.Random(f"pairs of epoch {epoch}")
        self.pairs = []
        for number in range(self.count):
            one, other = rng.sample(sorted(self.by_class), 2)
            other = one if number % 2 else other
            self.pairs.append((rng.choice(self.by_class[one]), rng.choice(self.by_class[other]), number % 2))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        one, other, same = self.pairs[index]
        left, right = (self.crop(self.photos[place][0]) for place in (one, other))
        return {"left": left, "right": right, "same": torch.tensor(float(same))}


class Compare(nn.Module):
    """How alike two photos are."""

    def __init__(self) -> None:
        super().__init__()
        self.see = lw.small_resnet(16, width=8)
        self.scale = nn.Parameter(torch.tensor(4.0))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.scale * F.cosine_similarity(self.see(left), self.see(right))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--run", default="runs/new-data-each-epoch")
    asked = parser.parse_args(arguments)

    pairs = Pairs(lw.ImageFolder(lw.demo_photos(), split="train"), 128, asked.size)
    with lw.Run(asked.run, seed=0, config=vars(asked)) as run:
        loader = lw.Loader(pairs, 32, shuffle=True)
        model = run.prepare(Compare())
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
        run.register(model=model, optimizer=optimizer)

        for epoch in run.epochs(asked.epochs):
            pairs.reset(epoch)
            loader.close()  # workers have the data set as it was when they began: new ones begin with the next batch
            for batch in run.batches(loader):
                output = model(batch["left"], batch["right"])
                loss = F.binary_cross_entropy_with_logits(output, batch["same"])
                run.step(loss, optimizer)
                run.log(loss=loss, right=((output > 0) == (batch["same"] > 0.5)).float())


if __name__ == "__main__":
    main()
