"""``DataLoader`` with Pillow's ``draft``: the box is drawn first, then no more is decoded than it needs.

The box is moved by nothing: Pillow resizes from boxes between pixels.
"""

import random
from typing import Any

from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms
from torchvision.transforms.functional import pil_to_tensor

from benchmarks.feeds import SIDE, Epoch, Job
from benchmarks.feeds._dataloader import epochs_of, labelled_files


class Drafted(Dataset[Any]):
    """Random resized crops of files, flipped half of the time."""

    def __init__(self, files: list[tuple[str, int]]) -> None:
        self.files = files
        self.crop = transforms.RandomResizedCrop(SIDE)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        path, label = self.files[index]
        with Image.open(path) as picture:
            width, height = picture.size
            top, left, high, wide = self.crop.get_params(picture, list(self.crop.scale), list(self.crop.ratio))
            picture.draft("RGB", (width * SIDE // wide, height * SIDE // high))
            across, down = picture.width / width, picture.height / height
            box = (left * across, top * down, (left + wide) * across, (top + high) * down)
            small = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR, box)
        if random.random() < 0.5:
            small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return pil_to_tensor(small), label


def open_feed(job: Job) -> Epoch:
    return epochs_of(Drafted(labelled_files(job.photos)), job)
