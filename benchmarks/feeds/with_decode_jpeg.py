"""``DataLoader`` with torchvision's own JPEG decoder and its transforms on tensors."""

import torch
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

from benchmarks.feeds import SIDE, Epoch, Job
from benchmarks.feeds._dataloader import epochs_of


def new_crop() -> v2.Transform:
    """Antialiased, as Pillow's is."""
    return v2.Compose([v2.RandomResizedCrop(SIDE, antialias=True), v2.RandomHorizontalFlip()])


def open_picture(path: str) -> torch.Tensor:
    return decode_jpeg(read_file(path), mode=ImageReadMode.RGB)


def open_feed(job: Job) -> Epoch:
    return epochs_of(ImageFolder(str(job.photos), new_crop(), loader=open_picture), job)
