"""Settings of `flashbulb discover`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from flashbulb.audit.settings.option import Option
from flashbulb.audit.settings.shared import (
    AUTO_BATCH_SIZE,
    MOST,
    AllowPickle,
    AscentSiteKind,
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
    TrainingImageSettings,
)


class DiscoverSettings(TrainingImageSettings):
    """A search for memorized images that needs no prompts: the model, the budget, and the ascents.

    A larger budget, more minutes or more patience resume a search that has ended.
    """

    model: Annotated[Model, Option("Inputs", is_argument=True, is_optional=True, changes_result=False)]
    configs: Configs = None
    denoiser: DenoiserFile = None
    vae: Autoencoder = None
    textual_inversion: TextualInversions = ()
    lora: Loras = ()
    starts_from: Annotated[
        str | None,
        Field(
            description="Text or captions (txt, csv, jsonl, parquet or a folder): every second ascent starts from one "
            "to four of their consecutive words."
        ),
        Option("Inputs", changes_result=False),
    ] = None
    out: Annotated[
        Path,
        Field(description="Run directory; by default runs/<model>-discovery."),
        Option("Output", is_optional=True, changes_result=False),
    ]
    clip_skip: ClipSkip = None
    budget: Annotated[
        int | None,
        Field(ge=1, description="Maximum number of denoiser evaluations; give this, --minutes, or both."),
        Option("Search", changes_result=False),
    ] = None
    minutes: Annotated[
        float | None,
        Field(gt=0, description="Start no new round after this many minutes."),
        Option("Search", changes_result=False),
    ] = None
    n_starts: Annotated[
        int, Field(ge=1, description="Ascents per round, each from random words."), Option("Search", "starts")
    ] = 24
    text_starts: Annotated[
        int,
        Field(
            ge=0,
            description="Ascents of the text encoder alone for each of these; they cost 8 denoiser evaluations each, "
            "and what they show waits for a closing look.",
        ),
        Option("Search"),
    ] = 24
    steps: Annotated[int, Field(ge=1, le=1000, description="Gradient steps per ascent."), Option("Search")] = 15
    learning_rate: Annotated[
        float, Field(gt=0, le=MOST, description="Learning rate of the ascents."), Option("Search", "rate")
    ] = 0.01
    radius: Annotated[
        float,
        Field(gt=0, le=MOST, description="How far an ascent may move a token, as a multiple of the token's norm."),
        Option("Search"),
    ] = 0.5
    patience: Annotated[
        int,
        Field(ge=1, description="Stop after this many rounds without a new image."),
        Option("Search", changes_result=False),
    ] = 5
    stop_at: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="Stop once at most this share of further finds would be new, by the upper bound of Good and "
            "Turing's estimate.",
        ),
        Option("Search", changes_result=False),
    ] = None
    closing_looks: Annotated[
        bool,
        Field(
            description="Look a second time, within the limit, at what was found and at single samples: an ascent "
            "towards each confirms or refuses it.",
        ),
        Option("Search", changes_result=False),
    ] = True
    words_budget: Annotated[
        int,
        Field(
            ge=0,
            description="Denoiser evaluations to spend, after the search, on prompts in words that give the found "
            "images back; about 2,000 a finding.",
        ),
        Option("Search", changes_result=False),
    ] = 0
    seed: Seed = 0
    batch_size: Annotated[
        BatchSize,
        Field(description=f"Ascents per call of the denoiser; {AUTO_BATCH_SIZE}"),
        Option("Machine", changes_result=False),
    ] = 48
    checkpointing: Checkpointing = False
    dtype: Annotated[DtypeName, Option("Machine")] = "auto"
    device: Device = "auto"
    offload: OffloadName = None
    examine: Examine = True
    allow_pickle: AllowPickle = False
    images: Annotated[
        bool,
        Field(description="Keep images on disk; without them, an interrupted search starts over."),
        Option("Output"),
    ] = True
    num_inference_steps: Annotated[int, Field(ge=1)] = 50
    n_components: Annotated[int, Field(ge=0)] = 10
    seen_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    n_highest: Annotated[int, Field(ge=1)] = 20
    n_candidates: Annotated[int, Field(ge=0)] = 96
    n_reference: Annotated[int, Field(ge=8)] = 400
    n_samples: Annotated[int, Field(ge=2, le=64)] = 3
    sample_steps: Annotated[int, Field(ge=2)] = 15
    kind: AscentSiteKind = "feed_forward"
