"""Settings of `flashbulb compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from flashbulb.audit.settings.option import Option
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
    OffloadName,
    SampleSteps,
    Seed,
    TextColumn,
    TextualInversions,
    TrainingImageSettings,
)


class CompareSettings(TrainingImageSettings):
    """A comparison of the images of two models: the base, the fine-tune, and the prompts to sample."""

    base: Annotated[
        str,
        Field(description="Model that the fine-tune was trained from: folder, hub id, or single .safetensors file."),
        Option("Inputs", is_argument=True, changes_result=False),
    ]
    finetune: Annotated[
        str | None,
        Field(description="The fine-tune, likewise; by default BASE with what options such as LoRAs add."),
        Option("Inputs", is_argument=True, changes_result=False),
    ] = None
    configs: Configs = None
    denoiser: DenoiserFile = None
    vae: Autoencoder = None
    textual_inversion: TextualInversions = ()
    lora: Loras = ()
    prompts: Annotated[
        str | None,
        Field(description="Prompts to sample: txt, csv, tsv, jsonl, json, parquet (also .gz), folder, or -."),
        Option("Inputs", changes_result=False),
    ] = None
    text_column: TextColumn = None
    run: Annotated[
        Path | None,
        Field(description="Finished audit of the fine-tune: compare its flagged prompts and controls."),
        Option("Inputs", changes_result=False),
    ] = None
    max_prompts: Annotated[
        int,
        Field(ge=1, description="Sample at most this many prompts: the first of --prompts, the worst of --run."),
        Option("Inputs"),
    ] = 24
    out: Annotated[Path, Field(description="Folder to write the results to."), Option("Output", changes_result=False)]
    redact_prompts: Annotated[
        bool,
        Field(description="In compare.html and compare.md, name prompts by file and row, and link to no file."),
        Option("Output", changes_result=False),
    ] = False
    clip_skip: ClipSkip = None
    n_samples: Annotated[
        int,
        Field(ge=2, le=64, description="Images per prompt and model, one per seed, 2 to 64."),
        Option("Images", "samples"),
    ] = 4
    sample_steps: SampleSteps = 25
    guidance_scale: GuidanceScale = 3.0
    seed: Seed = 0
    batch_size: ImagesPerCall = 32
    dtype: Annotated[DtypeName, Option("Machine")] = "auto"
    device: Device = "auto"
    offload: OffloadName = None
    allow_pickle: AllowPickle = False
    examine: Examine = True

    @property
    def model(self) -> str:
        """The pipeline of the fine-tune, to which files may be added."""
        return self.base if self.finetune is None else self.finetune
