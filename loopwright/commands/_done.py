"""The last lines of a training: how good it became, and where it is."""

from typing import Any

# By task: what is said, the metric, how it is written, and the sheet of pictures.
_SAID = {
    "classify": ("accuracy", "val/top1", "{:.1%}", "predictions.png"),
    "restore": ("PSNR", "val/psnr", "{:.2f} dB", "restored.png"),
    "segment": ("mean IoU", "val/pixels/mean_iou", "{:.1%}", "segmented.png"),
}


def say_done(fitted: Any, task: str = "classify") -> None:
    """Print them."""
    word, metric, shape, sheet = _SAID[task]
    if fitted.best is not None and metric not in fitted.best.metrics:  # of several targets, the first
        metric = next(name for name in fitted.best.metrics if name.startswith(metric))
    best = (
        ""
        if fitted.best is None
        else f", best {shape.format(fitted.best.metrics[metric])} after {fitted.best.epoch:g} epochs"
    )
    print(f"\n{word:<10} {shape.format(fitted.last(metric))} of the validation pictures{best}")
    print(f"pictures   {fitted.folder / sheet}")
    print(f"run        {fitted.folder}")
