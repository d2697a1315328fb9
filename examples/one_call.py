"""Train a classifier with one call: the second face of loopwright.

python examples/one_call.py [--epochs 10]
"""

import argparse

import torch
import torch.nn.functional as F
from torchvision.models import resnet18

import loopwright as lw


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--run", default="runs/one-call")
    asked = parser.parse_args(arguments)

    torch.manual_seed(42)
    fitted = lw.fit(
        resnet18(num_classes=10),
        lw.ImageFolder(lw.demo_photos(), split="train"),
        lw.ImageFolder(lw.demo_photos(), split="val"),
        loss=F.cross_entropy,
        optimizer="AdamW",
        lr=3e-3,
        scheduler="OneCycleLR",
        metrics={"top1": lw.topk_accuracy},
        transform=lw.RandomResizedCrop(asked.size),
        val_transform=lw.CenterCrop(asked.size),
        epochs=asked.epochs,
        run=asked.run,
        seed=42,
    )
    print(f"accuracy {fitted.last('val/top1'):.1%}, best {fitted.best}")


if __name__ == "__main__":
    main()
