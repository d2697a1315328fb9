"""The last lines of a training: how good it became, and where it is."""

from typing import Any


def say_done(fitted: Any) -> None:
    """Print them."""
    best = (
        ""
        if fitted.best is None
        else f", best {fitted.best.metrics['val/top1']:.1%} after {fitted.best.epoch:g} epochs"
    )
    print(f"\naccuracy   {fitted.last('val/top1'):.1%} of the validation pictures{best}")
    print(f"pictures   {fitted.folder / 'predictions.png'}")
    print(f"run        {fitted.folder}")
