"""Settings of every command: all defaults in one place, validated once, recorded in run.json."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from flashbulb.audit.planted.paths import CAPTIONS, IMAGES, MODEL, REFERENCE
from flashbulb.audit.recover.strategies import find_strategies

SiteKind = Literal["text_mlp", "cross_k", "cross_v", "cross_out", "feed_forward"]
if TYPE_CHECKING:
    Strategy = str
else:
    Strategy = Literal[tuple(find_strategies())]
Tiers = Literal["full", "screened"]
AscentSiteKind = Literal["feed_forward", "cross_out"]
AscentVariable = Literal["token_embeddings", "prompt_embeds"]
Replacement = Literal["unconditional", "mean", "zero"]
Dtype = Literal["auto", "float32", "float16", "bfloat16"]
DescriptorName = Literal["sscd-disc-large", "sscd-disc-mixup", "dinov2"]
ALL_SITES: tuple[SiteKind, ...] = ("text_mlp", "cross_k", "cross_v", "cross_out", "feed_forward")
DEFAULT_DETECTORS = ("nemo", "text_conditional_noise", "one_step_agreement", "picture_agreement")
"""Published detectors that need no more denoiser evaluations than the spike scores, which are always computed."""


class SettingsError(ValueError):
    """Settings that are invalid or contradict each other. The message says how to fix them."""


class ModelSettings(BaseModel):
    """The model to examine, where it runs, and the training images to compare with. Paths are as the user gave them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    train_images: Path | None
    out: Path
    descriptor: DescriptorName | None = None
    descriptor_weights: Path | None = None
    descriptor_sha256: str | None = None
    seed: int = Field(default=0, ge=0, lt=2**31)
    num_inference_steps: int = Field(default=50, ge=1)
    n_components: int = Field(default=10, ge=0)
    checkpointing: bool = False
    dtype: Dtype = "auto"
    device: str = "auto"
    allow_pickle: bool = False
    images: bool = True


def default_strategies(fields: dict[str, Any]) -> tuple[Strategy, ...]:
    """Return the default strategies that these settings have all prerequisites for."""
    found = find_strategies().items()
    return tuple(name for name, strategy in found if strategy.is_default and strategy.missing(fields) is None)


class AuditSettings(ModelSettings):
    """An audit: the model, the prompts, and how they are recorded, flagged, recovered and judged."""

    prompts: str
    reference: str | None
    text_column: str | None = None
    reference_column: str | None = None
    calibration: Path | None = None
    detectors: tuple[str, ...] = DEFAULT_DETECTORS
    max_style_shift: float = Field(default=0.65, ge=0.5, le=1)
    strict: bool = False
    tiers: Tiers = "full"
    screened_share: float = Field(default=0.5, gt=0, lt=1)
    sites: tuple[SiteKind, ...] = ALL_SITES
    n_seeds: int = Field(default=4, ge=1, le=64)
    fpr: float = Field(default=0.01, gt=0, lt=0.5)
    batch_size: int = Field(default=32, ge=1)
    shard_size: int = Field(default=256, ge=1)
    max_store_gib: float = Field(default=20.0, gt=0)
    sample_steps: int = Field(default=25, ge=1)
    guidance_scale: float = Field(default=3.0, ge=1)
    n_samples: int = Field(default=4, ge=2, le=64)
    n_top_neurons: int = Field(default=50, ge=1)
    min_group_prompts: int = Field(default=3, ge=2)
    max_sampled: int = Field(default=200, ge=0)
    ascend_restarts: int = Field(default=2, ge=1, le=64)
    ascend_steps: int = Field(default=20, ge=1, le=1000)
    ascend_rate: float = Field(default=0.005, gt=0)
    ascend_radius: float = Field(default=0.3, gt=0)
    ascend_neurons: int = Field(default=50, ge=1)
    ascend_kind: AscentSiteKind = "feed_forward"
    ascend_variable: AscentVariable = "token_embeddings"
    strategies: tuple[Strategy, ...] = Field(default_factory=default_strategies)
    show_prompts: bool = False
    redact_prompts: bool = False
    blur: bool = False
    policy: Path | None = None
    waivers: Path | None = None


class DiscoverSettings(ModelSettings):
    """A search for memorized images that needs no prompts: the model, the budget, and the ascents."""

    budget: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=48, ge=1)
    n_starts: int = Field(default=48, ge=1)
    steps: int = Field(default=15, ge=1, le=1000)
    learning_rate: float = Field(default=0.01, gt=0)
    radius: float = Field(default=0.5, gt=0)
    seen_share: float = Field(default=0.1, gt=0, le=1)
    n_highest: int = Field(default=20, ge=1)
    n_reference: int = Field(default=400, ge=8)
    n_samples: int = Field(default=3, ge=2, le=64)
    sample_steps: int = Field(default=15, ge=2)
    patience: int = Field(default=5, ge=1)
    kind: AscentSiteKind = "feed_forward"


class LocalizeSettings(BaseModel):
    """The findings of a finished audit to localize, and how neurons are selected and tested."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: Path
    prompts: tuple[str, ...] = ()
    kind: SiteKind = "cross_v"
    share: float = Field(default=0.3, gt=0, le=1)
    minimal: bool = False
    n_checks: int = Field(default=5, ge=1, le=20)
    by: Replacement = "unconditional"
    max_prompts: int = Field(default=16, ge=1)
    n_controls: int = Field(default=2, ge=0)
    n_seeds: int = Field(default=1, ge=1, le=64)
    n_points: int = Field(default=4, ge=1, le=64)
    n_samples: int = Field(default=4, ge=2, le=64)
    sample_steps: int = Field(default=25, ge=1)
    guidance_scale: float = Field(default=3.0, gt=1)
    again: bool = True
    show_prompts: bool = False
    allow_pickle: bool = False
    seed: int = Field(default=0, ge=0, lt=2**31)
    batch_size: int = Field(default=32, ge=1)
    device: str = "auto"


def embedded_model() -> str:
    """Return the folder of the pipeline that comes with Flashbulb.

    Raises:
        SettingsError: the folder is missing.
    """
    if not (MODEL / "model_index.json").is_file():
        raise SettingsError(f"the embedded model is missing from {MODEL}; install flashbulb again or pass --model")
    return str(MODEL)


def default_run_name(model: str | None) -> str:
    """Return the name of a model's run directory where the user gives no --out. None is the embedded model."""
    return "embedded" if model is None else Path(model.rstrip("/")).name or "model"


def resolve_inputs(
    model: str | None, prompts: str | None, reference: str | None, train_images: Path | None, out: Path | None
) -> dict[str, object]:
    """Fill in the inputs that the user left out.

    Without a model or prompts, these are the embedded model, its captions, reference prompts and training images.

    Raises:
        SettingsError: the user gave a model without prompts.
    """
    if model is not None and prompts is None:
        raise SettingsError("--prompts is required with --model; give a file of prompts to audit (csv, txt, jsonl, …)")
    if model is None and prompts is None:
        reference = reference or str(REFERENCE)
        train_images = train_images or IMAGES
    return {
        "model": embedded_model() if model is None else model,
        "prompts": prompts or str(CAPTIONS),
        "reference": reference,
        "train_images": train_images,
        "out": out or Path("runs") / default_run_name(model),
    }


class AblateSettings(BaseModel):
    """An ablation: the model, the neurons to ablate, and the prompts to sample with and without them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    neurons: Path
    prompt: tuple[str, ...] = Field(min_length=1)
    out: Path
    by: Replacement = "unconditional"
    n_samples: int = Field(default=4, ge=2, le=64)
    sample_steps: int = Field(default=25, ge=1)
    guidance_scale: float = Field(default=3.0, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    batch_size: int = Field(default=32, ge=1)
    dtype: Dtype = "auto"
    device: str = "auto"
    allow_pickle: bool = False
