"""The loaders that the peers' documentation shows: torchvision's ImageFolder and transforms, torch's DataLoader."""

from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks import _photos as photos


def new_loaders(workers: int) -> tuple[DataLoader, DataLoader]:
    """For training, shuffled and augmented, and for validation."""
    augment = transforms.Compose([transforms.RandomResizedCrop(photos.PIXELS), transforms.RandomHorizontalFlip(), transforms.ToTensor()])
    plain = transforms.Compose([transforms.Resize(photos.PIXELS), transforms.CenterCrop(photos.PIXELS), transforms.ToTensor()])
    train = photos.Numbered(ImageFolder(photos.PHOTOS / "train", augment), photos.TRAIN)
    val = photos.Numbered(ImageFolder(photos.PHOTOS / "val", plain), photos.VALIDATION)
    return (
        DataLoader(train, photos.BATCH_SIZE, shuffle=True, num_workers=workers),  # type: ignore[arg-type]
        DataLoader(val, photos.BATCH_SIZE, num_workers=workers),  # type: ignore[arg-type]
    )
