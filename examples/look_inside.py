"""Look inside a model and a loop: layers and costs, what layers compute, where the time of some steps goes.

    python examples/look_inside.py [--epochs 1]

Nothing of the training changes by it: without the lines that look, the weights are the same, bit for bit.
"""

import argparse

import torch
import torch.nn.functional as F

import loopwright as lw


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--run", default="runs/look-inside")
    asked = parser.parse_args(arguments)

    train = lw.ImageFolder(lw.demo_photos(), split="train")
    with lw.Run(asked.run, seed=42, config=vars(asked)) as run:
        loader = lw.Loader(train, 32, transform=lw.RandomResizedCrop(asked.size), shuffle=True)
        model = run.prepare(lw.small_resnet(num_classes=len(train.classes)))
        optimizer = torch.optim.AdamW(lw.param_groups(model, weight_decay=0.05), lr=3e-3)
        run.register(model=model, optimizer=optimizer)
        print(lw.summary(model, (32, 3, asked.size, asked.size)).table(depth=1))

        with (
            lw.profile(run.folder, skip=3, steps=2) as profiler,
            lw.record_layers(model, "*", gradients=True) as seen,
        ):
            for _ in run.epochs(asked.epochs):
                for images, labels in run.batches(loader):
                    loss = F.cross_entropy(model(images), labels)
                    run.step(loss, optimizer)
                    largest = max(gradient.abs().max() for values in seen.gradients.values() for gradient in values)
                    run.log(loss=loss, largest_gradient=largest)
                    seen.clear()
                    profiler.step()
    print(f"trace      {profiler.trace}")


if __name__ == "__main__":
    main()
