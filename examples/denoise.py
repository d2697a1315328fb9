"""Image to image: remove noise, with a loop of your own over pairs of pictures.

    python examples/denoise.py [FOLDER] [--epochs 10]

FOLDER has train/noisy, train/clean, val/noisy and val/clean, with files of the same names; by default pairs are made of
the embedded photos. A small residual network learns the noise, as in Zhang et al., "Beyond a Gaussian denoiser", TIP 2017.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import loopwright as lw

TO_1 = lw.Normalize(mean=(0, 0, 0), std=(1, 1, 1))  # 0 to 255 becomes 0 to 1, of inputs and targets alike


class Denoiser(nn.Module):
    """What is left of a picture when the noise that a few convolutions see in it is taken away."""

    def __init__(self, width: int = 32, depth: int = 5) -> None:
        super().__init__()
        inner = [layer for _ in range(depth - 2) for layer in (nn.Conv2d(width, width, 3, padding=1), nn.ReLU())]
        self.noise = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), *inner, nn.Conv2d(width, 3, 3, padding=1)
        )

    def forward(self, noisy: Tensor) -> Tensor:
        return noisy - self.noise(noisy)


def make_pairs(folder: Path, *, sigma: float = 25) -> None:
    """Pairs of a photo and the same one with Gaussian noise of standard deviation ``sigma`` (of 255)."""
    for split, step in (("train", 5), ("val", 8)):
        for part in ("noisy", "clean"):
            (folder / split / part).mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(sorted((lw.demo_photos() / split).rglob("*.jpg"))[::step]):
            clean = np.asarray(lw.open_picture(path))
            noise = np.random.default_rng(number).normal(0, sigma, clean.shape)
            for part, pixels in (("clean", clean), ("noisy", np.rint(clean + noise).clip(0, 255).astype(np.uint8))):
                Image.fromarray(pixels).save(folder / split / part / f"{number:04}.png", compress_level=1)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--run", default="runs/denoise")
    asked = parser.parse_args(arguments)
    if asked.folder is None:
        asked.folder = Path("denoise-pairs")
        make_pairs(asked.folder)

    train = lw.PairedFolders(asked.folder, "train", noisy="noisy", clean="clean")
    val = lw.PairedFolders(asked.folder, "val", noisy="noisy", clean="clean")
    with lw.Run(asked.run, seed=0, config={"folder": str(asked.folder), "epochs": asked.epochs}) as run:
        crop = lw.RandomCrop(asked.size, turn=True)  # the same part of both, in the same attitude
        train_loader = lw.Loader(train, 16, transform=crop, shuffle=True, normalize=TO_1)
        val_loader = lw.Loader(val, 16, transform=lw.CenterCrop(96, share=None), normalize=TO_1)
        model = run.prepare(Denoiser())
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=asked.epochs * len(train_loader))
        run.register(model=model, optimizer=optimizer, scheduler=scheduler)

        for _ in run.epochs(asked.epochs):
            for batch in run.batches(train_loader):
                loss = F.mse_loss(model(batch["noisy"]), batch["clean"])
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                scheduler.step()
                run.log(loss=loss)
            with run.evaluate(model):
                for batch in run.batches(val_loader):
                    before = lw.psnr(batch["noisy"], batch["clean"])
                    run.log(psnr=lw.psnr(model(batch["noisy"]), batch["clean"]).mean(), psnr_before=before.mean())
            run.keep_best("val/psnr", mode="max")


if __name__ == "__main__":
    main()
