"""Settings of an audit: those of each stage, and how the result is judged and shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from flashbulb.audit.recover.strategies import find_strategies
from flashbulb.audit.settings.option import Option, Settings
from flashbulb.audit.settings.recording import RecordingSettings
from flashbulb.audit.settings.shared import (
    MOST,
    AscentSiteKind,
    GuidanceScale,
    SampleSteps,
    TrainingImageSettings,
)

if TYPE_CHECKING:
    Strategy = str
else:
    Strategy = Literal[tuple(find_strategies())]


class DetectionSettings(Settings):
    """How recorded prompts are scored and flagged."""

    fpr: Annotated[
        float,
        Field(
            gt=0,
            lt=0.5,
            description="False-positive rate of the flags: the expected share of flagged clean prompts, below 0.5.",
        ),
        Option("Scores"),
    ] = 0.01
    max_style_shift: Annotated[
        float,
        Field(
            ge=0.5,
            le=1,
            description="Warn if text alone separates candidate from reference prompts with an AUC above this, "
            "0.5 to 1.",
        ),
        Option("Scores"),
    ] = 0.65
    n_top_neurons: Annotated[int, Field(ge=1)] = 50
    min_group_prompts: Annotated[int, Field(ge=2)] = 3
    strict: Annotated[
        bool,
        Field(
            description="Trust the audit only if the reference has the style of the candidate prompts; "
            "with --gate, exit with 3 if it is inconclusive."
        ),
        Option("Scores", changes_result=False),
    ] = False


def default_strategies(fields: dict[str, Any]) -> tuple[Strategy, ...]:
    """Return the default strategies that these settings have all prerequisites for."""
    found = find_strategies().items()
    return tuple(name for name, strategy in found if strategy.is_default and strategy.missing(fields) is None)


class RecoverySettings(TrainingImageSettings):
    """How images are recovered, and what they are compared with."""

    max_sampled: Annotated[
        int, Field(ge=0, description="Try to recover images from at most this many flagged prompts."), Option("Images")
    ] = 200
    n_samples: Annotated[
        int,
        Field(ge=2, le=64, description="Images to sample per prompt, one per seed, 2 to 64."),
        Option("Images", "samples"),
    ] = 4
    seed_budget: Annotated[
        int,
        Field(
            ge=0,
            description="Denoiser evaluations to spend on 4 and then 16 times as many seeds, for prompts whose images "
            "come back at some seeds only or at none.",
        ),
        Option("Images"),
    ] = 0
    sample_steps: SampleSteps = 25
    guidance_scale: GuidanceScale = 3.0
    ascend_restarts: Annotated[
        int, Field(ge=1, le=64, description="Maximum number of ascents per prompt."), Option("Ascents")
    ] = 4
    ascend_steps: Annotated[
        int, Field(ge=1, le=1000, description="Gradient steps of the first ascent."), Option("Ascents")
    ] = 20
    ascend_rate: Annotated[
        float, Field(gt=0, le=MOST, description="Learning rate of the first ascent."), Option("Ascents")
    ] = 0.005
    ascend_radius: Annotated[
        float,
        Field(
            gt=0, le=MOST, description="How far the first ascent may move a token, as a multiple of the token's norm."
        ),
        Option("Ascents"),
    ] = 0.3
    ascend_neurons: Annotated[
        int, Field(ge=1, description="Number of spiking neurons to maximize in an ascent."), Option("Ascents")
    ] = 50
    ascend_kind: Annotated[AscentSiteKind, Field(description="Kind of site of these neurons."), Option("Ascents")] = (
        "feed_forward"
    )
    ascend_variable: Annotated[
        Literal["token_embeddings", "prompt_embeds"],
        Field(description="Tensor that an ascent optimizes."),
        Option("Ascents"),
    ] = "token_embeddings"
    checkpointing: Annotated[
        bool,
        Field(description="Use gradient checkpointing in ascents: less memory, more time."),
        Option("Ascents", changes_result=False),
    ] = False
    strategies: Annotated[
        tuple[Strategy, ...],
        Field(
            description="Recovery strategy to try (repeat for more): "
            f"{', '.join(find_strategies())}; sample is required."
        ),
        Option("Images", "strategy"),
    ] = Field(default_factory=default_strategies)
    n_ordinary: Annotated[
        int,
        Field(
            ge=0,
            description="Also sample this many ordinary prompts once each, drawn at random from the reference, or "
            "without one from unflagged prompts, and count the copies.",
        ),
        Option("Images", "propensity"),
    ] = 0
    images: Annotated[bool, Field(description="Keep images on disk."), Option("Output")] = True


class VerdictSettings(Settings):
    """What the prompts stand for, how the result is judged, and what the reports show."""

    targeted: Annotated[
        bool,
        Field(description="The prompts were chosen on suspicion: state no share of a population."),
        Option("Judgement", changes_result=False),
    ] = False
    population: Annotated[
        int | None,
        Field(ge=1, description="Number of distinct prompts that --prompts is a random sample of."),
        Option("Judgement", changes_result=False),
    ] = None
    policy: Annotated[
        Path | None,
        Field(description="Policy file with the gate's limits (TOML); by default no memorized image is allowed."),
        Option("Judgement", changes_result=False),
    ] = None
    waivers: Annotated[
        Path | None,
        Field(description="File of waivers, findings that somebody has accepted (TOML)."),
        Option("Judgement", changes_result=False),
    ] = None
    show_prompts: Annotated[
        bool,
        Field(description="Show the text of prompts in summary.md, JUnit, SARIF and findings."),
        Option("Output", changes_result=False),
    ] = False
    redact_prompts: Annotated[
        bool,
        Field(description="Name prompts by file and row, and leave out links to files and names of training images."),
        Option("Output", changes_result=False),
    ] = False
    blur: Annotated[
        bool,
        Field(description="In report.html, blur images beyond recognition."),
        Option("Output", changes_result=False),
    ] = False


class AuditSettings(VerdictSettings, RecoverySettings, DetectionSettings, RecordingSettings):  # the last come first
    """An audit: the model, the prompts, and how they are recorded, flagged, recovered and judged."""
