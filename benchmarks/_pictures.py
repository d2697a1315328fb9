"""The clothing photographs, decoded once into small tensors, so that a benchmark of training spends its time training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

import loopwright as lw

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1) * 255

Pictures = tuple[Tensor, Tensor]  # uint8 (N, 3, H, W), labels (N,)


def decoded(folder: Path, split: str, pixels: int) -> Pictures:
    """All pictures of a split, their middles at a size."""
    loader = lw.Loader(lw.ImageFolder(folder, split=split), 64, transform=lw.CenterCrop(pixels), workers=1)
    batches = [(pictures.clone(), labels.clone()) for pictures, labels in loader]
    loader.close()
    pictures, labels = (torch.cat(column) for column in zip(*batches, strict=True))
    return pictures.contiguous(), labels


class RandomParts(torch.utils.data.Dataset):
    """A square part of each picture at random, half of them mirrored, normalised: randomness from torch's generator."""

    def __init__(self, pictures: Pictures, pixels: int) -> None:
        self._pictures, self._labels = pictures
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        room = self._pictures.shape[-1] - self._pixels + 1
        top, left, mirrored = torch.randint(room, (2,)).tolist() + torch.randint(2, (1,)).tolist()
        part = self._pictures[index, :, top : top + self._pixels, left : left + self._pixels]
        return normalized(part[None])[0].flip(-1) if mirrored else normalized(part[None])[0], self._labels[index]


def middles(pictures: Tensor, pixels: int) -> Tensor:
    """The middle of each picture, normalised."""
    start = (pictures.shape[-1] - pixels) // 2
    return normalized(pictures[:, :, start : start + pixels, start : start + pixels])


def normalized(pictures: Tensor) -> Tensor:
    """As floats of mean 0 and deviation 1."""
    return (pictures.float() - MEAN) / STD
