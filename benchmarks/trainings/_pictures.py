"""The loaders that the peers' documentation shows: torchvision's ImageFolder and transforms, torch's DataLoader."""

from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks import _photos as photos


def new_loaders(workers: int) -> tuple[DataLoader, DataLoader]:
    """For training, shuffled and augmented, and for validation."""
    size = photos.PIXELS
    augment = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    plain = [transforms.Resize(size), transforms.CenterCrop(size), transforms.ToTensor()]
    train = photos.Numbered(ImageFolder(photos.PHOTOS / "train", transforms.Compose(augment)), photos.TRAIN)
    val = photos.Numbered(ImageFolder(photos.PHOTOS / "val", transforms.Compose(plain)), photos.VALIDATION)
    return (
        DataLoader(train, photos.BATCH_SIZE, shuffle=True, num_workers=workers),  # type: ignore[arg-type]
        DataLoader(val, photos.BATCH_SIZE, num_workers=workers),  # type: ignore[arg-type]
    )
