"""The keys of a configuration, as the help of the commands that take one shows them."""

KEYS = """\
keys of train (key=value, or in CONFIG.yaml):
  data           folder of train/ and val/, or of classes; a table    required
  table          its columns: image, label, split_column, weight,     path label split
                 root, ...
  run            folder to write to                                   runs/DATA-MODEL
  model          torchvision's, timm's, or package.module:function    resnet18
  image_size     pixels, or '{epoch 0: 96, epoch 10: 128}'            128
  epochs         a number, or '500 steps', '2 hours'                  20
  batch_size     pictures a step                                      64
  workers        processes that read ahead                            by the cores
  seed           of everything random                                 42
  device         auto, cpu, cuda, cuda:1, mps                         auto
  precision      auto, fp32, bf16, fp16                               auto
  save_every     '1 epoch', '500 steps', '10 minutes', or several     1 epoch
  optimizer      name, lr, weight_decay and its own arguments;        AdamW 0.003 0.05
                 rules, layer_decay: rates by name and by layer
  scheduler      name and its own arguments, or none;                 OneCycleLR
                 warmup ('500 steps', 0.05), per (step, epoch)
  loss           name and its own arguments, or a list with weights   cross_entropy
  augment        one transform or a list, by name                     RandomResizedCrop
  mix            Mixup, CutMix or a list of them                      none
  ema, swa       an average of the weights: decay, or first epoch     none
  tta            several views of each validation picture             none
  freeze         patterns of parameters that are not trained          none
  unfreeze       '{epoch 0: fc, epoch 2: "*"}': trained from then on  none
  distill        a teacher: weights, model, weight, temperature       none
  trackers       tensorboard, mlflow, wandb, or a list of them          none
  nonfinite      a loss or gradient is NaN: stop, skip, lower_scale,  stop
                 log
  parallel       what each of several processes has: ddp, fsdp        ddp
  task           classify, restore or segment (pairs of pictures)     classify
                 restore: inputs, targets or degrade, crops, ...: see docs/image-to-image.md
  weights, accumulate, clip, drop_last, holdout, patience, pictures, on_error, deterministic: see docs/configuration.md

exit codes: 0 done, 1 failed while training, 2 a mistake in what was asked for; saved and to be run again to go on:
  143 SIGTERM or 'loopwright stop', 138 SIGUSR1, 130 Ctrl-C
"""
