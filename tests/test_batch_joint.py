"""Pictures and their masks go through one geometry in a batch: every label stays on its pixel."""

from typing import Any

import pytest
import torch
from torch import Tensor

import loopwright as lw

HEIGHT, WIDTH, COUNT = 40, 56, 24
MEMBERS = {
    "flips": [lw.BatchFlip(0.5, 0.5)],
    "crops": [lw.BatchResizedCrop(32, scale=(0.3, 1.0))],
    "affine": [lw.BatchAffine(degrees=30, scale=(0.9, 1.4))],
    "all": [lw.BatchFlip(), lw.BatchResizedCrop(40, scale=(0.5, 1.0)), lw.BatchAffine(degrees=20)],
}


def coordinates() -> dict[str, Tensor]:
    """A picture of columns and rows, and masks of the same."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    picture = torch.stack([x, y, torch.ones_like(x)]).float().expand(COUNT, -1, -1, -1).clone()
    return {"where": picture, "column": x.expand(COUNT, -1, -1).clone(), "row": y.expand(COUNT, -1, -1).clone(),
            "number": torch.arange(COUNT)}  # fmt: skip


@pytest.mark.parametrize("name", MEMBERS)
def test_every_label_stays_on_its_pixel(name: str) -> None:
    made = lw.BatchJoint(MEMBERS[name])(coordinates(), seed=3, step=7)
    assert torch.equal(made["number"], torch.arange(COUNT))
    inside = made["column"] != 255
    for number, role in enumerate(("column", "row")):
        assert torch.equal(made[role] != 255, inside)
        error = (made["where"][:, number] - made[role]).abs()
        whole = inside & (made["where"][:, 2] > 0.9999)  # the middle is not mixed with what lies outside
        assert whole.float().mean() > 0.5
        limit = 0 if name == "flips" else 0.51 if name == "affine" else 0.9  # averaging moves the edges of a picture
        assert error[whole].max() <= limit


@pytest.mark.parametrize("name", MEMBERS)
def test_pictures_are_those_of_batch_augment_to_the_bit(name: str) -> None:
    batch = coordinates()
    expected, _ = lw.BatchAugment(MEMBERS[name])(batch["where"], seed=3, step=7)
    assert torch.equal(lw.BatchJoint(MEMBERS[name])(batch, seed=3, step=7)["where"], expected)


def test_it_is_a_function_of_seed_and_step_and_of_the_place_in_the_batch() -> None:
    joint, batch = lw.BatchJoint(MEMBERS["all"]), coordinates()
    one, again, other = (joint(batch, seed=3, step=step)["column"] for step in (7, 7, 8))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    half = {name: part[10:] for name, part in batch.items()}
    assert torch.equal(joint(half, seed=3, step=7, first=10)["column"], one[10:])


def test_fit_takes_it(tmp_path: Any) -> None:
    data = [{"picture": torch.rand(3, 8, 8), "mask": torch.zeros(8, 8, dtype=torch.int64)} for _ in range(6)]
    fitted = lw.fit(
        torch.nn.Conv2d(3, 2, 1), data, inputs="picture", targets="mask", epochs=1, batch_size=3, workers=0,
        loss=torch.nn.functional.cross_entropy, augment=lw.BatchJoint([lw.BatchFlip()]), run=tmp_path / "r",
        device="cpu", progress=False,
    )  # fmt: skip
    assert len(fitted.history)


def test_mistakes_are_named() -> None:
    with pytest.raises(lw.ConfigError, match="is no flip, crop or affine map"):
        lw.BatchJoint([lw.BatchColor()])  # type: ignore[list-item]
    with pytest.raises(lw.DataError, match="of one size"):
        lw.BatchJoint([])({"a": torch.rand(1, 3, 8, 8), "b": torch.rand(1, 3, 8, 9)}, seed=0, step=1)
