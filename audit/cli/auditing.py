"""`engram audit` and `engram calibrate`: options to settings, and on to the stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.cli.app import app, errors_as_lines
from audit.cli.layers import weaker_of
from audit.cli.options import (
    MODEL_HELP,
    POLICY_HELP,
    WAIVERS_HELP,
    AllowPickle,
    Descriptor,
    DescriptorSha256,
    DescriptorWeights,
    Detectors,
    Device,
    DtypeOption,
    Seed,
    Sites,
    Strategies,
    TrainImages,
)
from audit.cli.replaying import TWO_REFERENCES, replay_of
from audit.config import (
    AuditSettings,
    ClimbedKind,
    ClimbedVariable,
    SettingsError,
    Tiers,
    with_defaults,
)


@app.command()
def audit(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    prompts: Annotated[
        str | None,
        typer.Option(help="Captions to audit: txt, csv, tsv, jsonl, json, parquet, a folder, '-' (also .gz)."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Captions that are surely not memorized, in the candidates' style: a file as well."),
    ] = None,
    train_images: TrainImages = None,
    descriptor: Descriptor = None,
    descriptor_weights: DescriptorWeights = None,
    descriptor_sha256: DescriptorSha256 = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; by default runs/<model>.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Reference recorded by `engram calibrate`, instead of --reference.")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Column of the captions; by default prompt, text or caption.")
    ] = None,
    reference_column: Annotated[
        str | None, typer.Option(help="Column of the reference captions; by default prompt, text or caption.")
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(help="Finished audit whose settings are taken again; what is typed beside it wins."),
    ] = None,
    sites: Sites = None,
    detectors: Detectors = None,
    n_seeds: Annotated[int | None, typer.Option("--seeds", help="Seeds of the first step, 1 to 64.")] = None,
    fpr: Annotated[
        float | None, typer.Option(help="False-positive rate of the threshold, a share of clean captions below 0.5.")
    ] = None,
    max_style_shift: Annotated[
        float | None,
        typer.Option(help="AUC, 0.5 to 1, of words alone between candidates and reference that is still one style."),
    ] = None,
    tiers: Annotated[
        Tiers | None,
        typer.Option(help="Whether the UNet sees every prompt, or the text side first leaves the calmest out."),
    ] = None,
    screened_share: Annotated[
        float | None, typer.Option(help="With --tiers screened: the share of reference-like prompts left out, 0 to 1.")
    ] = None,
    strict: Annotated[bool, typer.Option(help="Trust no audit without a reference of the candidates' style.")] = False,
    seed: Seed = None,
    batch_size: Annotated[int | None, typer.Option(help="Latents in one UNet call.")] = None,
    shard_size: Annotated[int | None, typer.Option(help="Prompts recorded before they are saved.")] = None,
    max_store_gib: Annotated[
        float | None, typer.Option(help="Refuse to record activations of more GiB than this.")
    ] = None,
    max_sampled: Annotated[int | None, typer.Option(help="Sample at most this many flagged prompts.")] = None,
    n_samples: Annotated[
        int | None, typer.Option("--samples", help="Pictures sampled of a prompt, one a seed, 2 to 64.")
    ] = None,
    sample_steps: Annotated[int | None, typer.Option(help="Denoising steps of each sampling.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Guidance of each sampling; 1 is none.")] = None,
    strategies: Strategies = None,
    ascend_restarts: Annotated[int | None, typer.Option(help="Ascents of a prompt, at most.")] = None,
    ascend_steps: Annotated[int | None, typer.Option(help="Gradient steps of each ascent.")] = None,
    ascend_rate: Annotated[float | None, typer.Option(help="Learning rate of the first ascent.")] = None,
    ascend_radius: Annotated[
        float | None, typer.Option(help="How far the first ascent may move a token, in units of its norm.")
    ] = None,
    ascend_neurons: Annotated[int | None, typer.Option(help="Spiking neurons that are climbed.")] = None,
    ascend_kind: Annotated[ClimbedKind | None, typer.Option(help="Their kind of site.")] = None,
    ascend_variable: Annotated[ClimbedVariable | None, typer.Option(help="What an ascent moves.")] = None,
    checkpointing: Annotated[
        bool, typer.Option(help="Take less memory and more time for ascents (gradient checkpointing).")
    ] = False,
    dtype: DtypeOption = None,
    device: Device = None,
    allow_pickle: AllowPickle = False,
    images: Annotated[bool, typer.Option(help="Keep pictures on disk.")] = True,
    show_prompts: Annotated[bool, typer.Option(help="Name prompts by their words in what is handed on.")] = False,
    force: Annotated[bool, typer.Option(help="Delete what the run directory holds and start over.")] = False,
    gate: Annotated[bool, typer.Option(help="Exit with the verdict: 0 pass, 1 fail, 3 not to be trusted.")] = False,
    policy: Annotated[Path | None, typer.Option(help=POLICY_HELP)] = None,
    waivers: Annotated[Path | None, typer.Option(help=WAIVERS_HELP)] = None,
) -> None:
    """Audit a model on a list of captions and write a run directory.

    Without options it audits the embedded model, which memorized pictures on purpose. The same command goes on where
    it was interrupted.

    Reads a pipeline, captions and, if given, a reference and training pictures. Writes --out: run.json, the verdict in
    summary.md, findings.jsonl, findings.parquet, junit.xml and results.sarif, scores.parquet and other tables,
    activations/, images/ (`reports/README.md` describes every file).

    Example: engram audit
    Example: engram audit --model ./my-pipeline --prompts captions.csv --reference clean.txt --out runs/mine
    Example: engram audit --model ./my-pipeline --prompts captions.csv --train-images pictures/ --gate
    Example: engram audit --replay runs/mine --model ./next-checkpoint --out runs/next

    Exit codes: 0 the audit completed, whatever it found; with --gate 0 pass and 1 the model leaks; 2 a mistake in
    options, settings or files; 3 not to be trusted; 4 internal error; 130 interrupted.
    """
    with errors_as_lines():
        replayed = None if replay is None else replay_of(context, replay, AuditSettings)
        settings = _settings(_without_weaker_reference(context)) if replayed is None else replayed.settings
        from audit.stages import run_audit
        from reports.files import SUMMARY_FILE
        from reports.gate_outputs import writing
        from reports.step_summary import append_step_summary

        verdict = run_audit(settings, force=force, replayed=replayed)
        if not gate:
            return
        with writing("the step summary"):
            append_step_summary((settings.out / SUMMARY_FILE).read_text(encoding="utf-8"))
        raise typer.Exit(verdict.exit_code)


def _without_weaker_reference(context: typer.Context) -> dict[str, Any]:
    """The options given; of a reference and a calibration from different layers the higher one's alone."""
    given = dict(context.params)
    is_double = given["reference"] is not None and given["calibration"] is not None
    if is_double and (weaker := weaker_of(context, "reference", "calibration")):
        given[weaker] = None
    return given


def _settings(given: Mapping[str, Any]) -> AuditSettings:
    """Settings from the options of `audit`, which are named like them; what was not given keeps its default."""
    paths = with_defaults(*(given[name] for name in ("model", "prompts", "reference", "train_images", "out")))
    chosen = {name: given[name] for name in AuditSettings.model_fields if given.get(name) not in (None, (), [])}
    for name in ("sites", "detectors", "strategies"):
        if name in chosen:
            chosen[name] = tuple(dict.fromkeys(chosen[name]))
    if "calibration" in chosen:
        if given["reference"] is not None:
            raise SettingsError(TWO_REFERENCES)
        paths["reference"] = None
    return AuditSettings.model_validate({**chosen, **paths})


@app.command()
def calibrate(
    context: typer.Context,
    reference: Annotated[str, typer.Option(help="Captions that are surely not memorized: a file as for `audit`.")],
    out: Annotated[Path, typer.Option(help="Folder of the calibration.")],
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    reference_column: Annotated[
        str | None, typer.Option(help="Column of the captions; by default prompt, text or caption.")
    ] = None,
    sites: Sites = None,
    detectors: Detectors = None,
    n_seeds: Annotated[int | None, typer.Option("--seeds", help="Seeds of the first step, 1 to 64.")] = None,
    seed: Seed = None,
    batch_size: Annotated[int | None, typer.Option(help="Latents in one UNet call.")] = None,
    dtype: DtypeOption = None,
    device: Device = None,
    max_store_gib: Annotated[
        float | None, typer.Option(help="Refuse to record activations of more GiB than this.")
    ] = None,
    allow_pickle: AllowPickle = False,
    force: Annotated[bool, typer.Option(help="Delete what the folder holds and start over.")] = False,
) -> None:
    """Record reference captions once, for many audits of the same model with the same settings.

    Reads a pipeline and captions. Writes --out: calibration.json, prompts.parquet, activations/reference/ and run.json.

    Example: engram calibrate --model ./my-pipeline --reference clean.txt --out calibrations/mine
    Then: engram audit --model ./my-pipeline --prompts captions.csv --calibration calibrations/mine

    Exit codes: 0 recorded; 2 a mistake in options, settings or files; 3 not to be trusted; 4 internal error;
    130 interrupted.
    """
    with errors_as_lines():
        given = {**context.params, "prompts": reference, "text_column": reference_column, "train_images": None}
        settings = _settings({**given, "reference": None, "reference_column": None})
        from audit.stages import run_calibration

        typer.echo(f"calibration in {run_calibration(settings, force=force)}")
