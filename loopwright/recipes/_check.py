"""``loopwright check``: Karpathy's recipe on what a configuration stands for. It trains a little and keeps nothing.

python -m loopwright check data=photos model=resnet18 --out check
"""

from collections.abc import Callable

from .._device import choose_compute
from ..checks._check import check
from ..checks._report import CheckReport
from ..checks._verdict import Verdict
from ..data._augment import NO_AUGMENTATION
from ._any_task import build, loss_of
from ._pairs import val_squares
from ._picture_settings import PictureSettings, RestoreSettings, SegmentSettings
from ._settings import TrainSettings


def check_settings(
    settings: TrainSettings | RestoreSettings | SegmentSettings,
    *,
    seconds: float = 60.0,
    on_verdict: Callable[[Verdict], object] | None = None,
) -> CheckReport:
    """Build the pieces of a training, and check them. Augmentation is expected where the settings name some.

    Of pictures to pictures validation is looked at in squares as large as those of training; what is about classes of whole
    pictures is left out, each such check saying so.
    """
    pieces = build(settings)
    pieces.model.to(choose_compute(settings.device, settings.precision).device)
    for group in pieces.optimizer.param_groups:
        # The scheduler has set it to where it begins: its own is the peak, else the one that it begins from.
        group["lr"] = group.get("max_lr", group.get("initial_lr", group["lr"]))
    title = f"{settings.data}, {settings.model.name} at {settings.last_size} px"
    if isinstance(settings, PictureSettings):
        return check(
            pieces.model, pieces.train_loader, val_squares(settings, pieces.val), compute=loss_of(settings, pieces),
            optimizer=pieces.optimizer, augment=True, seed=settings.seed, seconds=seconds, title=title,
            on_verdict=on_verdict,
        )  # fmt: skip
    named = [step.name.lower() for step in settings.augment]
    return check(
        pieces.model,
        pieces.train_loader,
        pieces.val_loader,
        loss=pieces.loss,
        optimizer=pieces.optimizer,
        augment=NO_AUGMENTATION not in named,
        seed=settings.seed,
        seconds=seconds,
        title=title,
        on_verdict=on_verdict,
    )
