"""`engram audit` and `engram calibrate`: options to settings, and on to the stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.cli.app import app, errors_as_lines
from audit.cli.options import (
    DESCRIPTOR_HELP,
    MODEL_HELP,
    POLICY_HELP,
    TRAIN_IMAGES_HELP,
    WAIVERS_HELP,
    WEIGHTS_HELP,
    AllowPickle,
)
from audit.config import AuditSettings, SettingsError, with_defaults


@app.command()
def audit(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    prompts: Annotated[
        str | None,
        typer.Option(help="Captions to audit: txt, csv, tsv, jsonl, json, parquet, a folder, '-' (also .gz)."),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Captions that are surely not memorized, in the candidates' style.")
    ] = None,
    train_images: Annotated[Path | None, typer.Option(help=TRAIN_IMAGES_HELP)] = None,
    descriptor: Annotated[str | None, typer.Option(help=DESCRIPTOR_HELP)] = None,
    descriptor_weights: Annotated[Path | None, typer.Option(help=WEIGHTS_HELP)] = None,
    descriptor_sha256: Annotated[str | None, typer.Option(help="Refuse weights of another hash.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; by default runs/<model>.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Reference recorded by `engram calibrate`, instead of --reference.")
    ] = None,
    text_column: Annotated[str | None, typer.Option(help="Column of the captions.")] = None,
    reference_column: Annotated[str | None, typer.Option(help="Column of the reference captions.")] = None,
    sites: Annotated[
        list[str] | None, typer.Option(help="Kind of site to record (repeat for more); see `engram sites`.")
    ] = None,
    detectors: Annotated[
        list[str] | None,
        typer.Option(help="Published detector to add (repeat for more), `all` or `none`; see `engram detectors`."),
    ] = None,
    n_seeds: Annotated[int | None, typer.Option("--seeds", help="Seeds of the first step.")] = None,
    fpr: Annotated[float | None, typer.Option(help="False-positive rate of the threshold.")] = None,
    max_style_shift: Annotated[
        float | None, typer.Option(help="AUC of words alone between candidates and reference that is still one style.")
    ] = None,
    tiers: Annotated[
        str | None,
        typer.Option(help="full: the UNet sees every prompt; screened: the text side first leaves the calmest out."),
    ] = None,
    screened_share: Annotated[
        float | None, typer.Option(help="With --tiers screened: the share of reference-like prompts left out.")
    ] = None,
    strict: Annotated[bool, typer.Option(help="Trust no audit without a reference of the candidates' style.")] = False,
    seed: Annotated[int | None, typer.Option(help="Run seed; every random number follows from it.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Latents in one UNet call.")] = None,
    shard_size: Annotated[int | None, typer.Option(help="Prompts recorded before they are saved.")] = None,
    max_store_gib: Annotated[float | None, typer.Option(help="Refuse to record more than this.")] = None,
    max_sampled: Annotated[int | None, typer.Option(help="Sample at most this many flagged prompts.")] = None,
    n_samples: Annotated[int | None, typer.Option("--samples", help="Pictures sampled of a prompt.")] = None,
    sample_steps: Annotated[int | None, typer.Option(help="Steps of each sampling.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Guidance of each sampling.")] = None,
    strategies: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy", help="Rung of the ladder of recovery (repeat for more): sample, ascend, cyclic, known_image."
        ),
    ] = None,
    ascend_restarts: Annotated[int | None, typer.Option(help="Ascents of a prompt, at most.")] = None,
    ascend_steps: Annotated[int | None, typer.Option(help="Steps of each ascent.")] = None,
    ascend_rate: Annotated[float | None, typer.Option(help="Learning rate of the first ascent.")] = None,
    ascend_radius: Annotated[
        float | None, typer.Option(help="How far the first ascent may move a token, in units of its norm.")
    ] = None,
    ascend_neurons: Annotated[int | None, typer.Option(help="Spiking neurons that are climbed.")] = None,
    ascend_kind: Annotated[str | None, typer.Option(help="Their kind: feed_forward or cross_out.")] = None,
    ascend_variable: Annotated[str | None, typer.Option(help="What moves: token_embeddings or prompt_embeds.")] = None,
    checkpointing: Annotated[
        bool, typer.Option(help="Take less memory and more time for ascents (gradient checkpointing).")
    ] = False,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, float16 or bfloat16.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    allow_pickle: AllowPickle = False,
    images: Annotated[bool, typer.Option(help="Keep pictures on disk.")] = True,
    show_prompts: Annotated[bool, typer.Option(help="Name prompts by their words in what is handed on.")] = False,
    force: Annotated[bool, typer.Option(help="Delete what the run directory holds and start over.")] = False,
    gate: Annotated[bool, typer.Option(help="Exit with the verdict: 0 pass, 1 fail, 3 not to be trusted.")] = False,
    policy: Annotated[Path | None, typer.Option(help=POLICY_HELP)] = None,
    waivers: Annotated[Path | None, typer.Option(help=WAIVERS_HELP)] = None,
) -> None:
    """Audit a model on a list of captions and write a run directory.

    Without options it audits the embedded model, which memorized pictures on purpose. It exits 0 when the audit
    completed, whatever it found; with --gate the verdict is the exit code. The run directory states the verdict in
    every format: findings.jsonl, findings.parquet, junit.xml, results.sarif, summary.md.

    Example: engram audit --model ./my-pipeline --prompts captions.csv --reference clean.txt --out runs/mine
    """
    with errors_as_lines():
        settings = _settings(context.params)
        from audit.stages import run_audit
        from reports.files import SUMMARY_FILE
        from reports.gate_outputs import writing
        from reports.step_summary import append_step_summary

        verdict = run_audit(settings, force=force)
        if not gate:
            return
        with writing("the step summary"):
            append_step_summary((settings.out / SUMMARY_FILE).read_text(encoding="utf-8"))
        raise typer.Exit(verdict.exit_code)


def _settings(given: Mapping[str, Any]) -> AuditSettings:
    """Settings from the options of `audit`, which are named like them; what was not given keeps its default."""
    paths = with_defaults(*(given[name] for name in ("model", "prompts", "reference", "train_images", "out")))
    chosen = {name: given[name] for name in AuditSettings.model_fields if given.get(name) not in (None, (), [])}
    for name in ("sites", "detectors", "strategies"):
        if name in chosen:
            chosen[name] = tuple(dict.fromkeys(chosen[name]))
    if "calibration" in chosen:
        if given["reference"] is not None:
            raise SettingsError("--reference and --calibration are two references; give one of them")
        paths["reference"] = None
    return AuditSettings.model_validate({**chosen, **paths})


@app.command()
def calibrate(
    context: typer.Context,
    reference: Annotated[str, typer.Option(help="Captions that are surely not memorized: a file as for `audit`.")],
    out: Annotated[Path, typer.Option(help="Folder of the calibration.")],
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    reference_column: Annotated[str | None, typer.Option(help="Column of the captions.")] = None,
    sites: Annotated[list[str] | None, typer.Option(help="Kind of site to record (repeat for more).")] = None,
    detectors: Annotated[list[str] | None, typer.Option(help="As for `audit`.")] = None,
    n_seeds: Annotated[int | None, typer.Option("--seeds", help="Seeds of the first step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Run seed; every random number follows from it.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Latents in one UNet call.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, float16 or bfloat16.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    max_store_gib: Annotated[float | None, typer.Option(help="Refuse to record more than this.")] = None,
    allow_pickle: AllowPickle = False,
    force: Annotated[bool, typer.Option(help="Delete what the folder holds and start over.")] = False,
) -> None:
    """Record reference captions once, for many audits of the same model with the same settings.

    Example: engram calibrate --model ./my-pipeline --reference clean.txt --out calibrations/mine
    Then: engram audit --model ./my-pipeline --prompts captions.csv --calibration calibrations/mine
    """
    with errors_as_lines():
        given = {**context.params, "prompts": reference, "text_column": reference_column, "train_images": None}
        settings = _settings({**given, "reference": None, "reference_column": None})
        from audit.stages import run_calibration

        typer.echo(f"calibration in {run_calibration(settings, force=force)}")
