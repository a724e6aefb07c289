"""Groups of options, shared by the commands that fill the settings of an audit."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, get_type_hints

import typer

from flashbulb.audit.cli.options import (
    MODEL_HELP,
    AllowPickle,
    BatchSize,
    Descriptor,
    DescriptorSha256,
    DescriptorWeights,
    Detectors,
    Device,
    DtypeOption,
    Policy,
    Seed,
    Sites,
    Strategies,
    TextColumn,
    TrainImages,
    Waivers,
)
from flashbulb.audit.settings import AscentSiteKind, AscentVariable, Tiers


class InputOptions:
    """What to audit, and where the results go."""

    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None
    prompts: Annotated[
        str | None,
        typer.Option(help="Prompts to audit: txt, csv, tsv, jsonl, json, parquet (also .gz), folder, or -."),
    ] = None
    reference: Annotated[
        str | None,
        typer.Option(help="Prompts you know are not in the training set, in the style of --prompts; same formats."),
    ] = None
    out: Annotated[Path | None, typer.Option(help="Run directory; by default runs/<model>.")] = None
    calibration: Annotated[
        Path | None, typer.Option(help="Reference recorded by `flashbulb calibrate`; replaces --reference.")
    ] = None
    text_column: TextColumn = None
    reference_column: Annotated[
        str | None, typer.Option(help="Column that holds the reference prompts; by default prompt, text or caption.")
    ] = None
    replay: Annotated[
        Path | None,
        typer.Option(help="Take all settings from this finished audit; options on the command line override them."),
    ] = None


class RecordingOptions:
    """How to record a model."""

    sites: Sites = None
    detectors: Detectors = None
    n_seeds: Annotated[
        int | None, typer.Option("--seeds", help="Seeds to record the first denoising step with, 1 to 64.")
    ] = None
    seed: Seed = None
    batch_size: BatchSize = None
    max_store_gib: Annotated[
        float | None, typer.Option(help="Refuse to record more than this many GiB of activations.")
    ] = None
    dtype: DtypeOption = None
    device: Device = None
    allow_pickle: AllowPickle = False


class CandidateOptions:
    """Which candidate prompts to record, and how many at a time."""

    tiers: Annotated[
        Tiers | None,
        typer.Option(help="full runs the UNet on all prompts, screened drops those whose text side looks clean."),
    ] = None
    screened_share: Annotated[
        float | None,
        typer.Option(help="With --tiers screened: share of reference-like prompts to drop, 0 to 1."),
    ] = None
    shard_size: Annotated[int | None, typer.Option(help="Prompts per saved shard.")] = None


class DetectionOptions:
    """How to flag recorded prompts."""

    fpr: Annotated[
        float | None,
        typer.Option(help="False-positive rate of the flags: the expected share of flagged clean prompts, below 0.5."),
    ] = None
    max_style_shift: Annotated[
        float | None,
        typer.Option(
            help="Warn if text alone separates candidate from reference prompts with an AUC above this, 0.5 to 1."
        ),
    ] = None
    strict: Annotated[
        bool | None, typer.Option(help="Trust the audit only if the reference has the style of the candidate prompts.")
    ] = None


class RecoveryOptions:
    """How to recover images, and what to compare them with."""

    train_images: TrainImages = None
    descriptor: Descriptor = None
    descriptor_weights: DescriptorWeights = None
    descriptor_sha256: DescriptorSha256 = None
    max_sampled: Annotated[
        int | None, typer.Option(help="Try to recover images from at most this many flagged prompts.")
    ] = None
    n_samples: Annotated[
        int | None, typer.Option("--samples", help="Images to sample per prompt, one per seed, 2 to 64.")
    ] = None
    sample_steps: Annotated[int | None, typer.Option(help="Denoising steps per image.")] = None
    guidance_scale: Annotated[float | None, typer.Option(help="Guidance scale; 1 is no guidance.")] = None
    strategies: Strategies = None
    ascend_restarts: Annotated[int | None, typer.Option(help="Maximum number of ascents per prompt.")] = None
    ascend_steps: Annotated[int | None, typer.Option(help="Gradient steps per ascent.")] = None
    ascend_rate: Annotated[float | None, typer.Option(help="Learning rate of the first ascent.")] = None
    ascend_radius: Annotated[
        float | None, typer.Option(help="How far the first ascent may move a token, as a multiple of the token's norm.")
    ] = None
    ascend_neurons: Annotated[int | None, typer.Option(help="Number of spiking neurons to maximize in an ascent.")] = (
        None
    )
    ascend_kind: Annotated[AscentSiteKind | None, typer.Option(help="Kind of site of these neurons.")] = None
    ascend_variable: Annotated[AscentVariable | None, typer.Option(help="Tensor that an ascent optimizes.")] = None
    checkpointing: Annotated[
        bool | None, typer.Option(help="Use gradient checkpointing in ascents: less memory, more time.")
    ] = None
    images: Annotated[bool | None, typer.Option(help="Keep images on disk.")] = None


class VerdictOptions:
    """How to judge the result, and what the reports show."""

    policy: Policy = None
    waivers: Waivers = None
    show_prompts: Annotated[
        bool | None, typer.Option(help="Show the text of prompts in summary.md, JUnit, SARIF and findings.")
    ] = None
    redact_prompts: Annotated[
        bool | None, typer.Option(help="In report.html, name prompts by file and row, and leave out links to files.")
    ] = None
    blur: Annotated[bool | None, typer.Option(help="In report.html, blur images beyond recognition.")] = None


def takes(*groups: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options of `groups` to a command, in this order. The command receives them in its `**options`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters.values()
        kind = inspect.Parameter.KEYWORD_ONLY
        shared = [
            inspect.Parameter(name, kind, default=getattr(group, name), annotation=annotation)
            for group in groups
            for name, annotation in get_type_hints(group, include_extras=True).items()
        ]
        arguments = [parameter for parameter in own if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
        flags = [parameter for parameter in own if parameter.kind is kind]
        parameters = [*arguments, *shared, *flags]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate
