"""The base of all ratios: ``ImageFolder``, Pillow and ``DataLoader``, handing on bytes.

torchvision's default loader and its transforms on Pillow pictures; no normalisation on the CPU, which most scripts have.
"""

from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.feeds import SIDE, Epoch, Job
from benchmarks.feeds._dataloader import epochs_of


def open_feed(job: Job) -> Epoch:
    crop = [transforms.RandomResizedCrop(SIDE), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    return epochs_of(ImageFolder(str(job.photos), transforms.Compose(crop)), job)
