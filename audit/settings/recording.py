"""Settings of an audit's first stage: what to record of which model, on which prompts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from flashbulb.audit.settings.option import Option, Settings
from flashbulb.audit.settings.shared import (
    AllowPickle,
    Autoencoder,
    BatchSize,
    ClipSkip,
    Configs,
    DenoiserFile,
    Device,
    DtypeName,
    Examine,
    Loras,
    OffloadName,
    Seed,
    SiteKind,
    TextColumn,
    TextualInversions,
    WorkerCount,
)

ALL_SITES: tuple[SiteKind, ...] = get_args(SiteKind)
DEFAULT_DETECTORS = ("nemo", "text_conditional_noise", "mean_one_step_agreement", "picture_agreement")
"""Detectors that need no more denoiser evaluations than the spike scores, which are always computed."""


def detector_names() -> Iterator[str]:
    """Yield the values of --detectors, from the files of `flashbulb.audit.detectors`, as importing them needs torch."""
    import pkgutil

    from flashbulb.audit import detectors

    yield from ("all", "none")
    yield from (module.name for module in pkgutil.iter_modules(detectors.__path__) if module.name != "views")


class InputSettings(Settings):
    """What to audit, and where the results go. Paths are as the user gave them."""

    model: Annotated[
        str,
        Field(description="Pipeline folder, hub id, or single .safetensors file."),
        Option("Inputs", is_optional=True, changes_result=False),
    ]
    configs: Configs = None
    denoiser: DenoiserFile = None
    vae: Autoencoder = None
    textual_inversion: TextualInversions = ()
    lora: Loras = ()
    prompts: Annotated[
        str,
        Field(description="Prompts to audit: txt, csv, tsv, jsonl, json, parquet (also .gz), folder, or -."),
        Option("Inputs", is_optional=True, changes_result=False),
    ]
    reference: Annotated[
        str | None,
        Field(description="Prompts you know are not in the training set, in the style of --prompts; same formats."),
        Option("Inputs", changes_result=False),
    ]
    out: Annotated[
        Path,
        Field(description="Run directory; by default runs/<model>."),
        Option("Output", is_optional=True, changes_result=False),
    ]
    baseline_model: Annotated[
        str | None,
        Field(description="Model that --model was fine-tuned from; flags then say what the training added."),
        Option("Inputs", changes_result=False),
    ] = None
    calibration: Annotated[
        Path | None,
        Field(description="Reference recorded by `flashbulb calibrate`; replaces --reference."),
        Option("Inputs", changes_result=False),
    ] = None
    canaries: Annotated[
        Path | None,
        Field(
            description="Manifest of `flashbulb plant`: audit its canaries, which the model was trained on, as well."
        ),
        Option("Inputs", changes_result=False),
    ] = None
    text_column: TextColumn = None
    reference_column: Annotated[
        str | None,
        Field(description="Column that holds the reference prompts; by default prompt, text or caption."),
        Option("Inputs"),
    ] = None


class ActivationSettings(Settings):
    """How to record a model. Recordings with equal settings can be compared, whatever their prompts."""

    sites: Annotated[
        tuple[SiteKind, ...],
        Field(description=f"Kind of site to record (repeat for more): {', '.join(ALL_SITES)}."),
        Option("Neurons"),
    ] = ALL_SITES
    detectors: Annotated[
        tuple[str, ...],
        Field(description="Published detector to add (repeat for more), or all, or none; see `flashbulb detectors`."),
        Option("Neurons", words=detector_names),
    ] = DEFAULT_DETECTORS
    n_seeds: Annotated[
        int,
        Field(ge=1, le=64, description="Seeds to record the first denoising step with, 1 to 64."),
        Option("Neurons", "seeds"),
    ] = 4
    clip_skip: ClipSkip = None
    seed: Seed = 0
    num_inference_steps: Annotated[int, Field(ge=1)] = 50
    batch_size: Annotated[
        BatchSize,
        Field(description="Latents per call of the denoiser; auto finds the fastest that fits into memory."),
        Option("Machine", changes_result=False),
    ] = 32
    executor: Annotated[
        Literal["local", "ray"],
        Field(
            description="Where workers run: on this machine, or as actors of a Ray cluster; the results are the same."
        ),
        Option("Machine", changes_result=False),
    ] = "local"
    workers: Annotated[
        WorkerCount,
        Field(
            description="Processes that record and recover at a time, each with its own copy of the model and its "
            "share of the processor; auto is as many as cores and memory allow, on GPUs one each; the results are "
            "the same.",
        ),
        Option("Machine", changes_result=False),
    ] = 1
    ray_address: Annotated[
        str | None,
        Field(
            description="Address of a Ray cluster, such as host:6379 or auto; by default RAY_ADDRESS, else a cluster "
            "is started on this machine and ends with the command."
        ),
        Option("Machine", changes_result=False, can_run_code=True),  # what a cluster answers is unpickled
    ] = None
    worker_timeout: Annotated[
        float,
        Field(
            gt=0,
            description="Seconds after which a worker, or another rank, that shows no progress is given up.",
        ),
        Option("Machine", changes_result=False),
    ] = 900.0
    max_store_gib: Annotated[
        float,
        Field(gt=0, description="Refuse to record more than this many GiB of activations."),
        Option("Machine", changes_result=False),
    ] = 20.0
    dtype: Annotated[DtypeName, Option("Machine", changes_result=False)] = "auto"  # recorded with the model
    device: Device = "auto"
    offload: OffloadName = None
    examine: Examine = True
    allow_pickle: AllowPickle = False

    @property
    def latents_per_call(self) -> int:
        """The batch size, which has been chosen where it is to be found."""
        assert self.batch_size != "auto", "a size is chosen before anything is computed"
        return self.batch_size


class ScreeningSettings(Settings):
    """Which candidate prompts to record."""

    tiers: Annotated[
        Literal["full", "screened"],
        Field(description="full runs the denoiser on all prompts, screened drops those whose text side looks clean."),
        Option("Scores"),
    ] = "full"
    screened_share: Annotated[
        float,
        Field(gt=0, lt=1, description="With --tiers screened: share of reference-like prompts to drop, 0 to 1."),
        Option("Scores"),
    ] = 0.5
    n_components: Annotated[int, Field(ge=0)] = 10


class CandidateSettings(ScreeningSettings):
    """Which candidate prompts to record, and how many at a time."""

    sample: Annotated[
        int | None,
        Field(ge=1, description="Audit this many of the distinct prompts, drawn at random by --seed; by default all."),
        Option("Inputs"),
    ] = None
    shard_size: Annotated[int, Field(ge=1, description="Prompts per saved shard."), Option("Machine")] = 256
    layout: Annotated[
        Literal["auto", "dense", "bulk"],
        Field(
            description="What to keep of candidates: dense keeps all activations, bulk what detection reads of them, "
            "for the same scores in a fraction of the bytes; auto is bulk above 20,000 prompts."
        ),
        Option("Machine", changes_result=False),
    ] = "auto"


class RecordingSettings(CandidateSettings, ActivationSettings, InputSettings):  # fields of the last class come first
    """The first stage of an audit: the model, the prompts, and how they are recorded."""
