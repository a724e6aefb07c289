"""Options by what they belong to, for the commands that fill the settings of an audit."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, get_type_hints

import typer

from audit.cli.options import (
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
from audit.config import ClimbedKind, ClimbedVariable, Tiers


class InputOptions:
    """What is audited, and where the results go."""

    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None
    prompts: Annotated[
        str | None,
        typer.Option(help="Captions to audit: txt, csv, tsv, jsonl, json, parquet, a folder, '-' (also .gz)."),
    ] = None
    reference: Annotated[
        str | None,
        typer.Option(help="Captions that are surely not memorized, in the candidates' style: a file as well."),
    ] = None
    out: Annotated[Path | None, typer.Option(help="Run directory; by default runs/<model>.")] = None
    calibration: Annotated[
        Path | None, typer.Option(help="Reference recorded by `engram calibrate`, instead of --reference.")
    ] = None
    text_column: TextColumn = None
    reference_column: Annotated[
        str | None, typer.Option(help="Column of the reference captions; by default prompt, text or caption.")
    ] = None
    replay: Annotated[
        Path | None,
        typer.Option(help="Finished audit whose settings are taken again; what is typed beside it wins."),
    ] = None


class RecordingOptions:
    """How a model is recorded."""

    sites: Sites = None
    detectors: Detectors = None
    n_seeds: Annotated[int | None, typer.Option("--seeds", help="Seeds of the first step, 1 to 64.")] = None
    seed: Seed = None
    batch_size: BatchSize = None
    max_store_gib: Annotated[float | None, typer.Option(help="Refuse to record activations of more GiB than this.")] = (
        None
    )
    dtype: DtypeOption = None
    device: Device = None
    allow_pickle: AllowPickle = False


class CandidateOptions:
    """Which candidates are recorded, and in what portions."""

    tiers: Annotated[
        Tiers | None,
        typer.Option(help="Whether the UNet sees every prompt, or the text side first leaves the calmest out."),
    ] = None
    screened_share: Annotated[
        float | None, typer.Option(help="With --tiers screened: the share of reference-like prompts left out, 0 to 1.")
    ] = None
    shard_size: Annotated[int | None, typer.Option(help="Prompts recorded before they are saved.")] = None


class DetectionOptions:
    """How what is recorded is judged."""

    fpr: Annotated[
        float | None, typer.Option(help="False-positive rate of the threshold, a share of clean captions below 0.5.")
    ] = None
    max_style_shift: Annotated[
        float | None,
        typer.Option(help="AUC, 0.5 to 1, of words alone between candidates and reference that is still one style."),
    ] = None
    strict: Annotated[
        bool | None, typer.Option(help="Trust no audit without a reference of the candidates' style.")
    ] = None


class RecoveryOptions:
    """How pictures are brought back, and what they are compared with."""

    train_images: TrainImages = None
    descriptor: Descriptor = None
    descriptor_weights: DescriptorWeights = None
    descriptor_sha256: DescriptorSha256 = None
    max_sampled: Annotated[int | None, typer.Option(help="Sample at most this many flagged prompts.")] = None
    n_samples: Annotated[
        int | None, typer.Option("--samples", help="Pictures sampled of a prompt, one a seed, 2 to 64.")
    ] = None
    sample_steps: Annotated[int | None, typer.Option(help="Denoising steps of each sampling.")] = None
    guidance_scale: Annotated[float | None, typer.Option(help="Guidance of each sampling; 1 is none.")] = None
    strategies: Strategies = None
    ascend_restarts: Annotated[int | None, typer.Option(help="Ascents of a prompt, at most.")] = None
    ascend_steps: Annotated[int | None, typer.Option(help="Gradient steps of each ascent.")] = None
    ascend_rate: Annotated[float | None, typer.Option(help="Learning rate of the first ascent.")] = None
    ascend_radius: Annotated[
        float | None, typer.Option(help="How far the first ascent may move a token, in units of its norm.")
    ] = None
    ascend_neurons: Annotated[int | None, typer.Option(help="Spiking neurons that are climbed.")] = None
    ascend_kind: Annotated[ClimbedKind | None, typer.Option(help="Their kind of site.")] = None
    ascend_variable: Annotated[ClimbedVariable | None, typer.Option(help="What an ascent moves.")] = None
    checkpointing: Annotated[
        bool | None, typer.Option(help="Take less memory and more time for ascents (gradient checkpointing).")
    ] = None
    images: Annotated[bool | None, typer.Option(help="Keep pictures on disk.")] = None


class VerdictOptions:
    """How the result is judged, and what is shown to others."""

    policy: Policy = None
    waivers: Waivers = None
    show_prompts: Annotated[
        bool | None, typer.Option(help="Name prompts by their words in summary.md, JUnit, SARIF and findings.")
    ] = None
    redact_prompts: Annotated[
        bool | None, typer.Option(help="Name prompts in report.html by file and row, and link to no file.")
    ] = None
    blur: Annotated[bool | None, typer.Option(help="Blur pictures in report.html beyond recognition.")] = None


def takes(*groups: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command every option of `groups`, in their order; they arrive in its `**given`."""

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
