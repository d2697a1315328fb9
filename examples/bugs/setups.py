"""Ten classic bugs of training networks, planted on purpose, and set-ups that are sound, for `lw.check` to look at.

    python examples/bugs/setups.py                   # names them
    python examples/bugs/setups.py double_softmax    # what check says of it

Each function returns the arguments of `lw.check`: a model, its data and its loss as somebody might have written them. None
of the bugs raises an error, and most of them still train: worse than they should.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import loopwright as lw

SIZE = 48  # pixels
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Arguments = dict[str, Any]


# ---- data and models -------------------------------------------------------------------------------------------------


def photos(split: str, each: int) -> lw.Part:
    """At most `each` pictures of each class of the embedded photos, drawn by torch's generator."""
    folder = lw.ImageFolder(lw.demo_photos(), split=split)
    taken: dict[int, int] = {}
    indices = []
    for index in torch.randperm(len(folder)).tolist():
        label = folder.labels[index]
        taken[label] = taken.get(label, 0) + 1
        if taken[label] <= each:
            indices.append(index)
    return lw.Part(folder, indices)


class Files(Dataset):
    """Pictures with labels, as people write it for torch's `DataLoader`."""

    def __init__(self, paths: Sequence[Path], labels: Sequence[Any], transform: Callable[..., Any]) -> None:
        self.paths, self.labels, self.transform = list(paths), list(labels), transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.transform(lw.open_picture(self.paths[index])), self.labels[index]


def files(split: str, each: int, transform: Callable[..., Any]) -> Files:
    part = photos(split, each)
    return Files(part.paths, part.labels, transform)


def to_tensor() -> list[Any]:
    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]


def train_transform() -> v2.Compose:
    return v2.Compose(
        [v2.RandomResizedCrop(SIZE, (0.35, 1)), v2.RandomHorizontalFlip(), *to_tensor(), v2.Normalize(MEAN, STD)]
    )


def val_transform() -> v2.Compose:
    return v2.Compose([v2.Resize(SIZE), v2.CenterCrop(SIZE), *to_tensor(), v2.Normalize(MEAN, STD)])


def loaders(train: Any, val: Any, **more: Any) -> Arguments:
    """Loopwright's, with its transforms."""
    return {
        "train": lw.Loader(train, 32, transform=lw.RandomResizedCrop(SIZE), shuffle=True, workers=0, **more),
        "val": lw.Loader(val, 64, transform=lw.CenterCrop(SIZE), workers=0, **more),
    }


def torch_loaders(train: Dataset, val: Dataset) -> Arguments:
    return {"train": DataLoader(train, 32, shuffle=True), "val": DataLoader(val, 64)}


def plain_network(classes: int = 10, last: Sequence[nn.Module] = ()) -> nn.Sequential:
    """A few convolutions without norms, which many scripts begin with."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(64 * (SIZE // 8) ** 2, 64), nn.ReLU(), nn.Linear(64, classes), *last,
    )  # fmt: skip


class SmallTransformer(nn.Module):
    """A vision transformer: patches, layer norms, dropout. With `mixing` its attention goes over the batch's axis."""

    def __init__(self, classes: int = 10, width: int = 48, patch: int = 8, mixing: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.places = nn.Parameter(0.02 * torch.randn(1, (SIZE // patch) ** 2, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.1, batch_first=not mixing, norm_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        tokens = self.patches(pictures).flatten(2).transpose(1, 2) + self.places
        return self.head(self.norm(self.body(tokens)).mean(1))


class BatchReshape(nn.Module):
    """Features (N, C, H, W) become (H * W, N, C) for a pooling over places; back it is reshaped instead of transposed."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        body = list(lw.small_resnet(classes, width=8).children())
        self.body, self.head = nn.Sequential(*body[:-3]), body[-1]

    def forward(self, pictures: Tensor) -> Tensor:
        features = self.body(pictures).flatten(2).permute(2, 0, 1)  # (places, N, C)
        return self.head(features.reshape(features.shape[1], -1, features.shape[2]).mean(1))


class Frozen(nn.Module):
    """A network that was trained, or stands for one, and a new last layer."""

    def __init__(self, freeze: str, classes: int = 10) -> None:
        super().__init__()
        body = list(lw.small_resnet(classes, width=8).children())
        self.backbone, self.head = nn.Sequential(*body[:-1]), body[-1]
        getattr(self, freeze).requires_grad_(False)


def _forward(self: Frozen, pictures: Tensor) -> Tensor:
    return self.head(self.backbone(pictures))


Frozen.forward = _forward  # type: ignore[method-assign]


# ---- bugs ------------------------------------------------------------------------------------------------------------


def swapped_labels(each: int) -> Arguments:
    """Each split lists its classes itself, one of them in another order: two classes change places."""
    train, val = files("train", each, train_transform()), files("val", each, val_transform())
    swap = {2: 7, 7: 2}
    val.labels = [swap.get(label, label) for label in val.labels]
    return {**torch_loaders(train, val), "model": lw.small_resnet(10, width=8), "loss": F.cross_entropy}


def double_softmax(each: int) -> Arguments:
    """The network ends with softmax, and cross entropy takes it again."""
    data = loaders(photos("train", each), photos("val", each))
    return {**data, "model": plain_network(last=[nn.Softmax(1)]), "loss": nn.CrossEntropyLoss()}


def forgotten_zero_grad(each: int) -> Arguments:
    """The loop never clears gradients: each step adds all that were before."""
    data = loaders(photos("train", each), photos("val", each))
    model = lw.small_resnet(10, width=8)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)

    def step(batch: Any) -> Tensor:
        pictures, labels = batch
        loss = F.cross_entropy(model(pictures), labels)
        loss.backward()
        optimizer.step()
        return loss

    return {**data, "model": model, "loss": F.cross_entropy, "optimizer": optimizer, "step": step}


def transposed_view(each: int) -> Arguments:
    """Pictures (H, W, 3) are viewed as (3, H, W) instead of permuted."""

    def wrong(transform: v2.Compose) -> Callable[..., Tensor]:
        def apply(picture: Any) -> Tensor:
            pixels = transform(picture)  # right: (3, H, W)
            return pixels.permute(1, 2, 0).contiguous().view(3, SIZE, SIZE)  # as NumPy has them, then "made to fit"

        return apply

    data = torch_loaders(files("train", each, wrong(train_transform())), files("val", each, wrong(val_transform())))
    return {**data, "model": lw.small_resnet(10, width=8), "loss": F.cross_entropy}


def unnormalised_input(each: int) -> Arguments:
    """Bytes go to the network as floats, 0 to 255."""
    train = v2.Compose(
        [v2.RandomResizedCrop(SIZE), v2.RandomHorizontalFlip(), v2.PILToTensor(), v2.ToDtype(torch.float32)]
    )
    val = v2.Compose([v2.Resize(SIZE), v2.CenterCrop(SIZE), v2.PILToTensor(), v2.ToDtype(torch.float32)])
    data = torch_loaders(files("train", each, train), files("val", each, val))
    return {**data, "model": plain_network(), "loss": F.cross_entropy}


def eval_transforms_on_train(each: int) -> Arguments:
    """One transform for both splits: that of validation."""
    transform = val_transform()
    data = torch_loaders(files("train", each, transform), files("val", each, transform))
    return {**data, "model": lw.small_resnet(10, width=8), "loss": F.cross_entropy, "augment": True}


def leaking_validation(each: int) -> Arguments:
    """The training list was made before the split: a tenth of the validation pictures is in it, too."""
    train, val = files("train", each, train_transform()), files("val", each, val_transform())
    train.paths += val.paths[::10]
    train.labels += val.labels[::10]
    return {**torch_loaders(train, val), "model": lw.small_resnet(10, width=8), "loss": F.cross_entropy}


def frozen_head(each: int) -> Arguments:
    """The wrong part is frozen: the new last layer, not the backbone."""
    data = loaders(photos("train", each), photos("val", each))
    return {**data, "model": Frozen("head"), "loss": F.cross_entropy}


def batch_mixing_reshape(each: int) -> Arguments:
    """A reshape where axes should be permuted mixes the samples of a batch."""
    data = loaders(photos("train", each), photos("val", each))
    return {**data, "model": BatchReshape(), "loss": F.cross_entropy}


def wrong_loss_sign(each: int) -> Arguments:
    """The log-likelihood is to be maximised, and is minimised."""

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return output.log_softmax(1).gather(1, target[:, None]).mean()

    data = loaders(photos("train", each), photos("val", each))
    return {**data, "model": lw.small_resnet(10, width=8), "loss": loss}


# ---- the same ten, dressed differently -------------------------------------------------------------------------------


def labels_sorted_differently(each: int) -> Arguments:
    """Validation numbers its classes in another order altogether."""
    train, val = files("train", each, train_transform()), files("val", each, val_transform())
    order = torch.randperm(10).tolist()
    val.labels = [order[label] for label in val.labels]
    return {**torch_loaders(train, val), "model": lw.small_resnet(10, width=8), "loss": F.cross_entropy}


def half_of_two_classes(each: int) -> Arguments:
    """Half of the training labels of two classes are each other's."""
    train, val = files("train", each, train_transform()), files("val", each, val_transform())
    swap = {2: 7, 7: 2}
    train.labels = [swap.get(label, label) if torch.rand(()) < 0.5 else label for label in train.labels]
    return {**torch_loaders(train, val), "model": lw.small_resnet(10, width=8), "loss": F.cross_entropy}


def double_sigmoid(each: int) -> Arguments:
    """Several marks a picture, with a sigmoid in front of a loss that takes it, too."""
    arguments = multi_label(each)
    arguments["model"] = nn.Sequential(arguments["model"], nn.Sigmoid())
    return arguments


def view_inside_the_model(each: int) -> Arguments:
    """As `transposed_view`, in the first line of forward."""

    class Wrong(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = lw.small_resnet(10, width=8)

        def forward(self, pictures: Tensor) -> Tensor:
            channels_last = pictures.permute(0, 2, 3, 1).contiguous()
            return self.body(channels_last.view(len(pictures), 3, SIZE, SIZE))

    return {**loaders(photos("train", each), photos("val", each)), "model": Wrong(), "loss": F.cross_entropy}


def recompressed_leak(each: int) -> Arguments:
    """The copies in training are smaller and were saved again: no byte of their files is the same."""
    import io

    from PIL import Image

    train, val = photos("train", each), photos("val", each)
    pictures = [(train[i][0], train[i][1]) for i in range(len(train))]
    for index in range(0, len(val), 10):
        picture, label = val[index]
        file = io.BytesIO()
        picture.resize((picture.width * 3 // 4, picture.height * 3 // 4)).save(file, "JPEG", quality=70)
        pictures.append((Image.open(file).convert("RGB"), label))
    return {**loaders(pictures, val), "model": lw.small_resnet(10, width=8), "loss": F.cross_entropy}


def attention_over_the_batch(each: int) -> Arguments:
    """A transformer layer without batch_first: it takes the batch for the sequence."""
    data = loaders(photos("train", each), photos("val", each))
    return {**data, "model": SmallTransformer(mixing=True), "loss": F.cross_entropy}


def gradient_ascent(each: int) -> Arguments:
    """The sign is wrong in the loop, not in the loss."""
    arguments = forgotten_zero_grad(each)
    model, optimizer = arguments["model"], arguments["optimizer"]

    def step(batch: Any) -> Tensor:
        pictures, labels = batch
        loss = F.cross_entropy(model(pictures), labels)
        optimizer.zero_grad()
        (-loss).backward()
        optimizer.step()
        return loss

    return {**arguments, "step": step}


def head_not_in_the_optimizer(each: int) -> Arguments:
    """The optimizer was made before the last layer was replaced."""
    model = Frozen("backbone")
    model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    model.head = nn.Linear(model.head.in_features, 10)
    data = loaders(photos("train", each), photos("val", each))
    return {**data, "model": model, "loss": F.cross_entropy, "optimizer": optimizer}


def broadcast_targets(each: int) -> Arguments:
    """Outputs (N, 1) and targets (N,): the squared error compares every sample with every other."""
    data = torch_loaders(_Color("train", each, ()), _Color("val", each, ()))
    return {**data, "model": plain_network(1), "loss": lambda output, target: (output - target).square().mean()}


def dropout_in_evaluation(each: int) -> Arguments:
    """F.dropout without training=self.training drops in evaluation, too."""

    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = plain_network()

        def forward(self, pictures: Tensor) -> Tensor:
            return self.body[-1](F.dropout(self.body[:-1](pictures), 0.5))

    return {**loaders(photos("train", each), photos("val", each)), "model": Dropping(), "loss": F.cross_entropy}


# ---- sound -----------------------------------------------------------------------------------------------------------


def resnet_with_batch_norm(each: int) -> Arguments:
    """The ordinary case."""
    data = loaders(photos("train", each), photos("val", each))
    return {**data, "model": lw.small_resnet(10, width=8), "loss": F.cross_entropy}


def torch_with_a_step(each: int) -> Arguments:
    """Torch's loaders, a loop of one's own that accumulates two batches, label smoothing."""
    data = torch_loaders(files("train", each, train_transform()), files("val", each, val_transform()))
    model, loss = lw.small_resnet(10, width=8), nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.SGD(lw.param_groups(model, weight_decay=1e-4), 0.05, momentum=0.9)
    seen = {"batches": 0}

    def step(batch: Any) -> Tensor:
        pictures, labels = batch
        value = loss(model(pictures), labels)
        (value / 2).backward()
        seen["batches"] += 1
        if seen["batches"] % 2 == 0:
            optimizer.step()
            optimizer.zero_grad()
        return value

    return {**data, "model": model, "loss": loss, "optimizer": optimizer, "step": step}


def fine_tuning(each: int) -> Arguments:
    """A backbone that is frozen on purpose, and a new last layer."""
    data = loaders(photos("train", each), photos("val", each))
    return {**data, "model": Frozen("backbone"), "loss": F.cross_entropy}


class _Denoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.noise = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
            nn.Conv2d(16, 3, 3, padding=1),
        )  # fmt: skip

    def forward(self, noisy: Tensor) -> Tensor:
        return noisy - self.noise(noisy)


class _Pairs(Dataset):
    """A picture with noise, the same noise each time, and the picture: floats in 0 to 1."""

    def __init__(self, split: str, each: int) -> None:
        self.files = files(split, each, v2.Compose([v2.Resize(SIZE), v2.CenterCrop(SIZE), *to_tensor()]))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        clean = torch.as_tensor(self.files[index][0])
        noise = np.random.default_rng(index).normal(0, 0.1, clean.shape)
        return clean + torch.from_numpy(noise).float(), clean


def denoiser(each: int) -> Arguments:
    """Image to image, L1, a network that learns the residual; no norms, no augmentation."""
    data = torch_loaders(_Pairs("train", each), _Pairs("val", each))
    return {**data, "model": _Denoiser(), "loss": F.l1_loss}


class _Color(Dataset):
    """How light a picture is, standardised: a number for each."""

    def __init__(self, split: str, each: int, shape: tuple[int, ...] = (1,)) -> None:
        self.files, self.shape = files(split, each, val_transform()), shape

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        picture = torch.as_tensor(self.files[index][0])
        return picture, picture.mean().reshape(self.shape)


def regression(each: int) -> Arguments:
    """A number for each picture, squared error."""
    data = torch_loaders(_Color("train", each), _Color("val", each))
    return {**data, "model": plain_network(1), "loss": F.mse_loss}


class _OwnLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = lw.small_resnet(10, width=8)

    def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.body(pixel_values)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def own_loss_and_dictionaries(each: int) -> Arguments:
    """As Hugging Face's models: batches are dictionaries, and the model computes its loss."""

    def collated(samples: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
        return {
            "pixel_values": torch.stack([picture for picture, _ in samples]),
            "labels": torch.tensor([label for _, label in samples]),
        }

    train, val = files("train", each, train_transform()), files("val", each, val_transform())
    return {
        "train": DataLoader(train, 32, shuffle=True, collate_fn=collated),
        "val": DataLoader(val, 64, collate_fn=collated),
        "model": _OwnLoss(),
    }


def vision_transformer(each: int) -> Arguments:
    """Layer norms and dropout, no batch norm."""
    data = loaders(photos("train", each), photos("val", each))
    return {**data, "model": SmallTransformer(), "loss": F.cross_entropy}


def multi_label(each: int) -> Arguments:
    """Several marks a picture, binary cross entropy of scores."""
    marks = torch.tensor([[label % 2, label % 3 == 0, label > 5] for label in range(10)]).float()

    def marked(split: str, transform: Callable[..., Any]) -> Files:
        found = files(split, each, transform)
        found.labels = [marks[label] for label in found.labels]
        return found

    data = torch_loaders(marked("train", train_transform()), marked("val", val_transform()))
    return {**data, "model": lw.small_resnet(3, width=8), "loss": nn.BCEWithLogitsLoss()}


#: Each bug, with the verdict that is to fail.
BUGS: dict[Callable[[int], Arguments], str] = {
    swapped_labels: "labels agree",
    double_softmax: "output for loss",
    forgotten_zero_grad: "gradients cleared",
    transposed_view: "pictures",
    unnormalised_input: "input range",
    eval_transforms_on_train: "augmentation",
    leaking_validation: "splits apart",
    frozen_head: "parameters",
    batch_mixing_reshape: "samples apart",
    wrong_loss_sign: "loss sign",
}
DRESSED: dict[Callable[[int], Arguments], str] = {
    labels_sorted_differently: "labels agree",
    half_of_two_classes: "labels agree",
    double_sigmoid: "output for loss",
    view_inside_the_model: "pictures",
    recompressed_leak: "splits apart",
    attention_over_the_batch: "samples apart",
    gradient_ascent: "learning rate",
    head_not_in_the_optimizer: "parameters",
    broadcast_targets: "labels",
    dropout_in_evaluation: "train and eval",
}
SOUND = (
    resnet_with_batch_norm, torch_with_a_step, fine_tuning, denoiser, regression, own_loss_and_dictionaries,
    vision_transformer, multi_label,
)  # fmt: skip


def main(names: Sequence[str]) -> None:
    """Print what check says of each."""
    known = {function.__name__: function for function in (*BUGS, *DRESSED, *SOUND)}
    if not names:
        print("\n".join(f"{name:<28}{(function.__doc__ or '').splitlines()[0]}" for name, function in known.items()))
    for name in names:
        torch.manual_seed(0)
        print(lw.check(**known[name](25), title=name), "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
