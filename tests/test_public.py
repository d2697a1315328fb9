"""The public interface: its names, that each can be had, and what asking for it costs."""

import subprocess
import sys

import pytest

import loopwright as lw

NAMES = """
BatchAffine BatchAugment BatchColor BatchErase BatchFit BatchFlip BatchRandAugment BatchResizedCrop ByEpoch Cached
CenterCrop CheckReport CheckpointError Checkpoints Compose ConfigError Confusion CutMix DataError DataReport
Distillation EMA Entry Evaluation Exported Fitted Flips FoundLR Geometry ImageFolder LRCurve LabelSets LayerSummary
LayerValues Loader LoopwrightError Losses MLflow MissingExtra Mixup NonFiniteError Normalize OneOf Packed PadCollate Padded
PairedFolders Part PerRole Predictions Profiler RandomCrop RandomResizedCrop Replayed Report Reproduced Role Run
RunError SWA ShardStream Shards StepRandom Summary SweepResult Synced TTA Table TensorBoard Together Tracker
TrainedModel
Transform Unfreezing Verdict View WandB balanced_weights build_loss build_mix build_model build_optimizer build_scheduler
build_transform check
choose_compute collate demo_photos direction_of distillation_loss eject evaluate evaluation_weights export find_lr fit
fit_batch free_folder freeze hold_out inspect_data is_main k_fold layer_hooks layer_order load_config load_weights map_nested
mean_std open_data open_model open_picture pack pack_folder param_groups picture_grid predict prediction_sheet profile
psnr read_checkpoint read_metrics read_run read_table record_layers replay report reproduce seed_everything
small_resnet ssim steps_per summary sweep sync takes_metric topk_accuracy total_steps unfreeze update_batch_norm
write_shards write_table
AddNoise BatchJoint Blur Degrade Downscale JPEG OfTarget Perceptual Restored StoredPicture ToUnit TrainedPictures
build_degradation
charbonnier_loss dice_loss dncnn focal_loss gradient_loss luminance mae open_pictures_model overlay quantized read_stored
PackedPairs Tiled restore segment ssim_loss tiled unet write_picture
""".split()


def test_the_public_names_are_these() -> None:
    assert sorted(lw.__all__) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_can_be_had_and_says_what_it_is(name: str) -> None:
    assert getattr(lw, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        lw.nonsense  # noqa: B018


@pytest.mark.parametrize("command", [["--help"], ["runs", "/nowhere"], ["train", "--help"]])
def test_the_command_line_answers_without_torch(command: list[str]) -> None:
    code = (
        "import sys, loopwright.cli\n"
        f"try: loopwright.cli.main({command})\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_the_type_checkers_list_is_the_same() -> None:
    import ast
    from pathlib import Path

    tree = ast.parse(Path(lw.__file__).read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    listed = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert listed == set(lw.__all__)
