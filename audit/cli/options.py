"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

MODEL_HELP = "Pipeline folder or hub id; by default the embedded model."
TRAIN_IMAGES_HELP = "Training pictures to compare with: a folder, an imagefolder, .tar shards, or an index."
DESCRIPTOR_HELP = "Learnt descriptor to compare pictures with as well: sscd-disc-large, sscd-disc-mixup, dinov2."
WEIGHTS_HELP = "Its weights: a TorchScript file (SSCD) or a transformers folder (DINOv2)."
POLICY_HELP = "Limits (TOML); by default no memorized picture at all."
WAIVERS_HELP = "Findings that somebody answers for (TOML)."
AllowPickle = Annotated[bool, typer.Option(help="Load pickled weights, which can run code.")]
