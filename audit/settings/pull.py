"""Settings of `flashbulb pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from flashbulb.audit.settings.option import Option, Settings
from flashbulb.audit.settings.shared import (
    AUTO_BATCH_SIZE,
    AllowPickle,
    Autoencoder,
    BatchSize,
    Checkpointing,
    ClipSkip,
    Configs,
    DenoiserFile,
    Device,
    DtypeName,
    Examine,
    Loras,
    Model,
    OffloadName,
    Seed,
    TextualInversions,
)


class PullSettings(Settings):
    """Which of these images can be brought out of a model, without their captions: the model and the images.

    The limits were chosen on planted models (docs/pull.md). A larger budget resumes a pull that has ended.
    """

    model: Annotated[Model, Option("Inputs", is_argument=True, is_optional=True, changes_result=False)]
    source: Annotated[
        Path,
        Field(
            description="Images to pull at: folder, imagefolder, .tar, .zip or .parquet shards, or index (`flashbulb "
            "index`)."
        ),
        Option("Inputs", is_argument=True, is_optional=True),
    ]
    controls: Annotated[
        Path | None,
        Field(
            description="Images of the same kind that the model was never trained on, at least 49; they set the "
            "threshold."
        ),
        Option("Inputs", changes_result=False),
    ] = None
    configs: Configs = None
    denoiser: DenoiserFile = None
    vae: Autoencoder = None
    textual_inversion: TextualInversions = ()
    lora: Loras = ()
    out: Annotated[
        Path,
        Field(description="Run directory; by default runs/<model>-pull."),
        Option("Output", is_optional=True, changes_result=False),
    ]
    clip_skip: ClipSkip = None
    budget: Annotated[
        int | None,
        Field(ge=1, description="Maximum number of denoiser evaluations; ranks and controls come first."),
        Option("Search", changes_result=False),
    ] = None
    max_false: Annotated[
        float,
        Field(gt=0, lt=1, description="Largest share of never-trained images that may come out."),
        Option("Judgement", changes_result=False),
    ] = 0.02
    seed: Seed = 0
    batch_size: Annotated[
        BatchSize,
        Field(description=f"Images per call of the denoiser; {AUTO_BATCH_SIZE}"),
        Option("Machine", changes_result=False),
    ] = 32
    checkpointing: Checkpointing = False
    dtype: Annotated[DtypeName, Option("Machine")] = "auto"
    device: Device = "auto"
    offload: OffloadName = None
    examine: Examine = True
    allow_pickle: AllowPickle = False
    rank_share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    rank_noises: Annotated[int, Field(ge=1)] = 2
    steps: Annotated[int, Field(ge=1, le=50)] = 50
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    radius: Annotated[float, Field(gt=0)] = 1.0
    lowest: Annotated[float, Field(gt=0, lt=1)] = 0.6
    highest: Annotated[float, Field(gt=0, lt=1)] = 0.99
    n_samples: Annotated[int, Field(ge=2)] = 6
    sample_steps: Annotated[int, Field(ge=2)] = 10
    guidance_scale: Annotated[float, Field(ge=1)] = 2.0
    min_copies: Annotated[int, Field(ge=1)] = 2
    planted_threshold: float = 0.8

    @property
    def train_images(self) -> Path:
        """The images to pull at, which an examination of the model reads as well."""
        return self.source
