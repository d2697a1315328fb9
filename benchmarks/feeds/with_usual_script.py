"""The base as most training scripts have it: with ``ToTensor`` and ``Normalize`` for each picture."""

from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.feeds import SIDE, Epoch, Job
from benchmarks.feeds._dataloader import epochs_of


def open_feed(job: Job) -> Epoch:
    crop = [transforms.RandomResizedCrop(SIDE), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    normalize = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return epochs_of(ImageFolder(str(job.photos), transforms.Compose([*crop, normalize])), job)
