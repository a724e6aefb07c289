"""Settings of `flashbulb ablate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from flashbulb.audit.settings.option import Option, Settings
from flashbulb.audit.settings.shared import (
    AllowPickle,
    Autoencoder,
    ClipSkip,
    Configs,
    DenoiserFile,
    Device,
    DtypeName,
    Examine,
    GuidanceScale,
    ImagesPerCall,
    Loras,
    Model,
    OffloadName,
    Replacement,
    SampleSteps,
    TextualInversions,
)


def _distinct(prompts: tuple[str, ...]) -> tuple[str, ...]:
    """Return each prompt once, without surrounding whitespace, as an audit reads them."""
    return tuple(dict.fromkeys(prompt.strip() for prompt in prompts))


class AblateSettings(Settings):
    """An ablation: the model, the neurons to ablate, and the prompts to sample with and without them."""

    model: Annotated[Model, Option("Inputs", is_argument=True, is_optional=True, changes_result=False)]
    configs: Configs = None
    denoiser: DenoiserFile = None
    vae: Autoencoder = None
    textual_inversion: TextualInversions = ()
    lora: Loras = ()
    neurons: Annotated[
        Path,
        Field(description="JSON file of neurons, as `flashbulb localize` and flashbulb.save_neurons write it."),
        Option("Inputs", changes_result=False),
    ]
    prompt: Annotated[
        tuple[str, ...],
        AfterValidator(_distinct),
        Field(min_length=1, description="Prompt to sample with and without the neurons (repeat for more)."),
        Option("Inputs"),
    ]
    out: Annotated[Path, Field(description="Folder to write the results to."), Option("Output", changes_result=False)]
    by: Annotated[
        Replacement,
        Field(
            description="What replaces a neuron's value: its value for the empty prompt, its mean in the file, or zero."
        ),
        Option("Neurons"),
    ] = "unconditional"
    clip_skip: ClipSkip = None
    n_samples: Annotated[
        int, Field(ge=2, le=64, description="Images per prompt, one per seed, 2 to 64."), Option("Images", "samples")
    ] = 4
    sample_steps: SampleSteps = 25
    guidance_scale: GuidanceScale = 3.0
    seed: Annotated[
        int,
        Field(ge=0, lt=2**31, description="Run seed; pass an audit's run seed to sample the audit's images."),
        Option("Machine"),
    ] = 0
    batch_size: ImagesPerCall = 32
    dtype: Annotated[DtypeName, Option("Machine")] = "auto"
    device: Device = "auto"
    offload: OffloadName = None
    allow_pickle: AllowPickle = False
    examine: Examine = True

    @property
    def train_images(self) -> None:
        """An ablation is given no training images to examine the model on."""
