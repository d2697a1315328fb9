"""Two models, two optimizers, one loop: a GAN needs nothing special. Draws small pictures from the embedded photos.

python examples/gan.py [--epochs 20]
"""

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import loopwright as lw

NOISE = 32


def generator(size: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(NOISE, 64 * (size // 4) ** 2), nn.Unflatten(1, (64, size // 4, size // 4)), nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip


def critic(size: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(32, 64, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Flatten(), nn.Linear(64 * (size // 4) ** 2, 1),
    )  # fmt: skip


def against(scores: Tensor, real: bool) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, float(real)))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--run", default="runs/gan")
    asked = parser.parse_args(arguments)

    photos = lw.ImageFolder(lw.demo_photos(), split="train")
    with lw.Run(asked.run, seed=0, config=vars(asked)) as run:
        loader = lw.Loader(
            photos, 64, shuffle=True, drop_last=True,
            transform=lw.RandomResizedCrop(asked.size, scale=(0.8, 1.0)),
            normalize=lw.Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        )  # fmt: skip
        draw, judge = run.prepare(generator(asked.size)), run.prepare(critic(asked.size))
        draw_optimizer = torch.optim.Adam(draw.parameters(), lr=2e-4, betas=(0.5, 0.999))
        judge_optimizer = torch.optim.Adam(judge.parameters(), lr=2e-4, betas=(0.5, 0.999))
        run.register(draw=draw, judge=judge, draw_optimizer=draw_optimizer, judge_optimizer=judge_optimizer)

        for _ in run.epochs(asked.epochs):
            for real, _labels in run.batches(loader):
                fake = draw(torch.randn(len(real), NOISE, device=run.device))

                judge_loss = against(judge(real), True) + against(judge(fake.detach()), False)
                judge_loss.backward()
                judge_optimizer.step()
                judge.zero_grad()

                draw_loss = against(judge(fake), True)
                draw_loss.backward()
                draw_optimizer.step()
                draw.zero_grad()
                judge.zero_grad()
                run.log(judge_loss=judge_loss, draw_loss=draw_loss)
        with torch.no_grad():
            pictures = draw(torch.randn(16, NOISE, device=run.device)).mul(0.5).add(0.5).cpu()
        lw.picture_grid(pictures.numpy(), columns=8, side=96, path=run.folder / "drawn.png")


if __name__ == "__main__":
    main()
