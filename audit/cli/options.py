"""Options that several commands share, by what they belong to; `takes` gives a command whole groups of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, get_type_hints

import typer

MODEL_HELP = "Pipeline folder or hub id; by default the embedded model."
TRAIN_IMAGES_HELP = "Training pictures to compare with: a folder, an imagefolder, .tar shards, or an index."
DESCRIPTOR_HELP = "Learnt descriptor to compare pictures with as well: sscd-disc-large, sscd-disc-mixup, dinov2."
WEIGHTS_HELP = "Its weights: a TorchScript file (SSCD) or a transformers folder (DINOv2)."
AllowPickle = Annotated[bool, typer.Option(help="Load pickled weights, which can run code.")]
BatchSize = Annotated[int | None, typer.Option(help="Latents in one UNet call.")]
Force = Annotated[bool, typer.Option(help="Delete what the run directory holds and start over.")]
Gate = Annotated[bool, typer.Option(help="Exit with the verdict: 0 pass, 1 fail, 3 not to be trusted.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, for programs.")]


class InputOptions:
    """What is audited, and where the results go."""

    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None
    prompts: Annotated[
        str | None,
        typer.Option(help="Captions to audit: txt, csv, tsv, jsonl, json, parquet, a folder, '-' (also .gz)."),
    ] = None
    reference: Annotated[
        str | None, typer.Option(help="Captions that are surely not memorized, in the candidates' style.")
    ] = None
    out: Annotated[Path | None, typer.Option(help="Run directory; by default runs/<model>.")] = None
    calibration: Annotated[
        Path | None, typer.Option(help="Reference recorded by `engram calibrate`, instead of --reference.")
    ] = None
    text_column: Annotated[str | None, typer.Option(help="Column of the captions.")] = None
    reference_column: Annotated[str | None, typer.Option(help="Column of the reference captions.")] = None


class RecordingOptions:
    """How a model is recorded."""

    sites: Annotated[
        list[str] | None, typer.Option(help="Kind of site to record (repeat for more); see `engram sites`.")
    ] = None
    detectors: Annotated[
        list[str] | None,
        typer.Option(help="Published detector to add (repeat for more), `all` or `none`; see `engram detectors`."),
    ] = None
    n_seeds: Annotated[int | None, typer.Option("--seeds", help="Seeds of the first step.")] = None
    seed: Annotated[int | None, typer.Option(help="Run seed; every random number follows from it.")] = None
    batch_size: BatchSize = None
    max_store_gib: Annotated[float | None, typer.Option(help="Refuse to record more than this.")] = None
    dtype: Annotated[str | None, typer.Option(help="auto, float32, float16 or bfloat16.")] = None
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None
    allow_pickle: AllowPickle = False


class CandidateOptions:
    """Which candidates are recorded, and in what portions."""

    tiers: Annotated[
        str | None,
        typer.Option(help="full: the UNet sees every prompt; screened: the text side first leaves the calmest out."),
    ] = None
    screened_share: Annotated[
        float | None, typer.Option(help="With --tiers screened: the share of reference-like prompts left out.")
    ] = None
    shard_size: Annotated[int | None, typer.Option(help="Prompts recorded before they are saved.")] = None


class DetectionOptions:
    """How what is recorded is judged."""

    fpr: Annotated[float | None, typer.Option(help="False-positive rate of the threshold.")] = None
    max_style_shift: Annotated[
        float | None, typer.Option(help="AUC of words alone between candidates and reference that is still one style.")
    ] = None
    strict: Annotated[
        bool | None, typer.Option(help="Trust no audit without a reference of the candidates' style.")
    ] = None


class RecoveryOptions:
    """How pictures are brought back, and what they are compared with."""

    train_images: Annotated[Path | None, typer.Option(help=TRAIN_IMAGES_HELP)] = None
    descriptor: Annotated[str | None, typer.Option(help=DESCRIPTOR_HELP)] = None
    descriptor_weights: Annotated[Path | None, typer.Option(help=WEIGHTS_HELP)] = None
    descriptor_sha256: Annotated[str | None, typer.Option(help="Refuse weights of another hash.")] = None
    max_sampled: Annotated[int | None, typer.Option(help="Sample at most this many flagged prompts.")] = None
    n_samples: Annotated[int | None, typer.Option("--samples", help="Pictures sampled of a prompt.")] = None
    sample_steps: Annotated[int | None, typer.Option(help="Steps of each sampling.")] = None
    guidance_scale: Annotated[float | None, typer.Option(help="Guidance of each sampling.")] = None
    strategies: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy", help="Rung of the ladder of recovery (repeat for more): sample, ascend, cyclic, known_image."
        ),
    ] = None
    ascend_restarts: Annotated[int | None, typer.Option(help="Ascents of a prompt, at most.")] = None
    ascend_steps: Annotated[int | None, typer.Option(help="Steps of each ascent.")] = None
    ascend_rate: Annotated[float | None, typer.Option(help="Learning rate of the first ascent.")] = None
    ascend_radius: Annotated[
        float | None, typer.Option(help="How far the first ascent may move a token, in units of its norm.")
    ] = None
    ascend_neurons: Annotated[int | None, typer.Option(help="Spiking neurons that are climbed.")] = None
    ascend_kind: Annotated[str | None, typer.Option(help="Their kind: feed_forward or cross_out.")] = None
    ascend_variable: Annotated[str | None, typer.Option(help="What moves: token_embeddings or prompt_embeds.")] = None
    checkpointing: Annotated[
        bool | None, typer.Option(help="Take less memory and more time for ascents (gradient checkpointing).")
    ] = None
    images: Annotated[bool | None, typer.Option(help="Keep pictures on disk, as is the default.")] = None
    show_prompts: Annotated[bool | None, typer.Option(help="Write whole prompts into summary.md.")] = None


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
