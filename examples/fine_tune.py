"""Fine-tuning with all that helps: weights from a file, rates by layer, the head first, an average, several views.

    python examples/fine_tune.py [--weights resnet18.pth] [--epochs 10]

Without --weights it begins at random, which only shows the way. With torchvision's own, downloaded once, build the model
with ``lw.build_model("resnet18", num_classes=10, weights="DEFAULT")``.
"""

import argparse

import torch
import torch.nn.functional as F

import loopwright as lw


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="a .pth or .safetensors file, or a run's folder")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--run", default="runs/fine-tune")
    asked = parser.parse_args(arguments)

    train, val = (lw.ImageFolder(lw.demo_photos(), split=split) for split in ("train", "val"))
    with lw.Run(asked.run, seed=0, config=vars(asked)) as run:
        train_loader = lw.Loader(train, 32, transform=lw.RandomResizedCrop(asked.size, scale=(0.35, 1.0)), shuffle=True)
        val_loader = lw.Loader(val, 128, transform=lw.CenterCrop(asked.size))
        model = run.prepare(lw.build_model("resnet18", num_classes=len(train.classes)))
        if asked.weights:
            print(lw.load_weights(model, asked.weights, strict=False))  # the head does not fit, and stays fresh
        unfreezing = lw.Unfreezing(model, {0: "fc", 1: ["layer3", "layer4"], 2: "*"})
        optimizer = torch.optim.AdamW(lw.param_groups(model, lr=2e-3, weight_decay=0.05, layer_decay=0.7))
        steps = lw.total_steps(train_loader, asked.epochs)
        scheduler = lw.build_scheduler("CosineAnnealingLR", optimizer, total_steps=steps, warmup=0.1)
        mix = lw.BatchAugment([lw.Mixup(len(train.classes), alpha=0.2)])
        ema = lw.EMA(model, 0.99)
        run.register(model=model, optimizer=optimizer, scheduler=scheduler, ema=ema)
        judged = lw.TTA(model)

        for epoch in run.epochs(asked.epochs):
            unfreezing(epoch)
            for images, labels in run.batches(train_loader):
                images, labels = mix(images, labels, seed=run.seed, step=run.global_step)
                with run.autocast():
                    loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
                run.step(loss, optimizer, clip=1.0, scheduler=scheduler)
                ema.update()
                run.log(loss=loss)
            with run.evaluate(judged), ema.applied(model):
                for images, labels in run.batches(val_loader):
                    run.log(top1=lw.topk_accuracy(judged(images), labels))
            run.keep_best("val/top1")
    # lw.load_weights(model, asked.run, name="ema") has the averaged weights of the best epoch


if __name__ == "__main__":
    main()
