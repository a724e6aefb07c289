"""The `engram` command: parse, call a stage, turn errors into one line and an exit code. Heavy imports wait."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from audit.config import AuditSettings, DiscoverSettings, SettingsError, with_defaults
from reports.decide import Policy, Verdict, decide
from reports.files import RunFileError, RunIncompleteError
from reports.run_record import load_run, results_of
from reports.text import visible_text

EXIT_USAGE, EXIT_UNTRUSTED, EXIT_INTERNAL, EXIT_INTERRUPTED = 2, 3, 4, 130

_UsageError: Any = typer.BadParameter.__base__  # typer carries its own click, whose names are private
_OPTION_OF_FIELD = {
    "n_seeds": "seeds",
    "n_samples": "samples",
    "strategies": "strategy",
    "n_starts": "starts",
    "learning_rate": "rate",
}
_LONGEST_LINE = 1000  # characters of an error message, which may quote a stranger's file

app = typer.Typer(
    name="engram",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Find out which training images a text-to-image diffusion model gives back.",
)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"engram: {visible_text(' '.join(message.split()), _LONGEST_LINE)}", err=True)
    raise typer.Exit(code)


@contextmanager
def _errors_as_lines() -> Iterator[None]:
    """Answer a user's mistake with a line and 2, an untrustworthy audit with 3, our own bug with a traceback and 4."""
    try:
        yield
    except KeyboardInterrupt:
        _fail("interrupted; run the same command again to go on where it stopped", EXIT_INTERRUPTED)
    except RunIncompleteError as error:
        _fail(str(error), EXIT_UNTRUSTED)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0])
        option = _OPTION_OF_FIELD.get(field, field).replace("_", "-")
        _fail(f"--{option}: {first['msg']}, got {first['input']!r}", EXIT_USAGE)
    except (SettingsError, RunFileError) as error:
        _fail(str(error), EXIT_USAGE)
    except typer.Exit:
        raise
    except Exception as error:  # the outermost boundary: every error becomes an exit code
        _fail_by_kind(error)


def _fail_by_kind(error: Exception) -> NoReturn:
    """Errors of the parts that need torch, which this file does not import until it runs them."""
    from audit.labels import LabelsError

    if isinstance(error, LabelsError):
        _fail(str(error), EXIT_USAGE)
    from audit.stages import UNTRUSTED_ERRORS, USAGE_ERRORS

    if isinstance(error, USAGE_ERRORS):
        _fail(str(error), EXIT_USAGE)
    if isinstance(error, UNTRUSTED_ERRORS):
        _fail(f"the audit cannot be trusted: {error}", EXIT_UNTRUSTED)
    traceback.print_exception(error)
    _fail("internal error; this is a bug in engram, please report it with the lines above", EXIT_INTERNAL)


def _set_up_logging(verbose: bool) -> None:
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING, format="%(message)s", stream=sys.stderr, force=True
    )
    for package in ("audit", "hooks", "reports"):
        logging.getLogger(package).setLevel(logging.DEBUG if verbose else logging.INFO)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@app.callback()
def _root(verbose: Annotated[bool, typer.Option("--verbose", help="Log every detail.")] = False) -> None:
    _set_up_logging(verbose)


_MODEL_HELP = "Pipeline folder or hub id; by default the embedded model."
_TRAIN_IMAGES_HELP = "Training pictures to compare with: a folder, an imagefolder, .tar shards, or an index."
_DESCRIPTOR_HELP = "Learnt descriptor to compare pictures with as well: sscd-disc-large, sscd-disc-mixup, dinov2."
_WEIGHTS_HELP = "Its weights: a TorchScript file (SSCD) or a transformers folder (DINOv2)."
_AllowPickle = Annotated[bool, typer.Option(help="Load pickled weights, which can run code.")]


@app.command()
def audit(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help=_MODEL_HELP)] = None,
    prompts: Annotated[
        str | None,
        typer.Option(help="Captions to audit: txt, csv, tsv, jsonl, json, parquet, a folder, '-' (also .gz)."),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Captions that are surely not memorized, in the candidates' style.")
    ] = None,
    train_images: Annotated[Path | None, typer.Option(help=_TRAIN_IMAGES_HELP)] = None,
    descriptor: Annotated[str | None, typer.Option(help=_DESCRIPTOR_HELP)] = None,
    descriptor_weights: Annotated[Path | None, typer.Option(help=_WEIGHTS_HELP)] = None,
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
    allow_pickle: _AllowPickle = False,
    images: Annotated[bool, typer.Option(help="Keep pictures on disk.")] = True,
    show_prompts: Annotated[bool, typer.Option(help="Write whole prompts into summary.md.")] = False,
    force: Annotated[bool, typer.Option(help="Delete what the run directory holds and start over.")] = False,
    gate: Annotated[bool, typer.Option(help="Exit with the verdict: 0 pass, 1 fail, 3 not to be trusted.")] = False,
) -> None:
    """Audit a model on a list of captions and write a run directory.

    Without options it audits the embedded model, which memorized pictures on purpose. It exits 0 when the audit
    completed, whatever it found; with --gate the verdict is the exit code.

    Example: engram audit --model ./my-pipeline --prompts captions.csv --reference clean.txt --out runs/mine
    """
    with _errors_as_lines():
        settings = _settings(context.params)
        from audit.stages import run_audit

        verdict = run_audit(settings, force=force)
        raise typer.Exit(verdict.exit_code if gate else 0)


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
    model: Annotated[str | None, typer.Option(help=_MODEL_HELP)] = None,
    reference_column: Annotated[str | None, typer.Option(help="Column of the captions.")] = None,
    sites: Annotated[list[str] | None, typer.Option(help="Kind of site to record (repeat for more).")] = None,
    detectors: Annotated[list[str] | None, typer.Option(help="As for `audit`.")] = None,
    n_seeds: Annotated[int | None, typer.Option("--seeds", help="Seeds of the first step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Run seed; every random number follows from it.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Latents in one UNet call.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, float16 or bfloat16.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    max_store_gib: Annotated[float | None, typer.Option(help="Refuse to record more than this.")] = None,
    allow_pickle: _AllowPickle = False,
    force: Annotated[bool, typer.Option(help="Delete what the folder holds and start over.")] = False,
) -> None:
    """Record reference captions once, for many audits of the same model with the same settings.

    Example: engram calibrate --model ./my-pipeline --reference clean.txt --out calibrations/mine
    Then: engram audit --model ./my-pipeline --prompts captions.csv --calibration calibrations/mine
    """
    with _errors_as_lines():
        given = {**context.params, "prompts": reference, "text_column": reference_column, "train_images": None}
        settings = _settings({**given, "reference": None, "reference_column": None})
        from audit.stages import run_calibration

        typer.echo(f"calibration in {run_calibration(settings, force=force)}")


@app.command()
def discover(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help=_MODEL_HELP)] = None,
    budget: Annotated[int | None, typer.Option(help="UNet evaluations to spend at most.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes after which no new round begins.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; by default runs/<model>-discovery.")] = None,
    train_images: Annotated[Path | None, typer.Option(help=_TRAIN_IMAGES_HELP)] = None,
    descriptor: Annotated[str | None, typer.Option(help=_DESCRIPTOR_HELP)] = None,
    descriptor_weights: Annotated[Path | None, typer.Option(help=_WEIGHTS_HELP)] = None,
    descriptor_sha256: Annotated[str | None, typer.Option(help="Refuse weights of another hash.")] = None,
    n_starts: Annotated[int | None, typer.Option("--starts", help="Starts of a round.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of each ascent.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--rate", help="Learning rate of the ascents.")] = None,
    radius: Annotated[
        float | None, typer.Option(help="How far an ascent may move a token, in units of its norm.")
    ] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many rounds without a new picture.")] = None,
    seed: Annotated[int | None, typer.Option(help="Run seed; every random number follows from it.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Starts in one UNet call.")] = None,
    checkpointing: Annotated[
        bool, typer.Option(help="Take less memory and more time (gradient checkpointing).")
    ] = False,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, float16 or bfloat16.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    allow_pickle: _AllowPickle = False,
    images: Annotated[
        bool, typer.Option(help="Keep pictures on disk; without them an interrupted search starts anew.")
    ] = True,
    force: Annotated[bool, typer.Option(help="Delete what the run directory holds and start over.")] = False,
) -> None:
    """Search a model for memorized pictures without any caption.

    Findings are printed as they are verified; the same command goes on where it was interrupted. The search ends when
    its budget is spent or round after round brings nothing new.

    Example: engram discover ./my-pipeline --budget 80000 --out runs/found
    """
    with _errors_as_lines():
        settings = _discover_settings(context.params)
        from audit.discovering import run_discovery

        run_discovery(settings, force=force)


def _discover_settings(given: Mapping[str, Any]) -> DiscoverSettings:
    """Settings from the options of `discover`, which are named like them; what was not given keeps its default."""
    embedded = with_defaults(None, None, None, None, None) if given["model"] is None else None
    model = given["model"] if embedded is None else str(embedded["model"])
    name = "embedded" if embedded is not None else Path(model.rstrip("/")).name or "model"
    chosen = {key: given[key] for key in DiscoverSettings.model_fields if given.get(key) is not None}
    if embedded is not None:
        chosen.setdefault("train_images", embedded["train_images"])
    chosen.setdefault("train_images", None)
    return DiscoverSettings.model_validate(
        {**chosen, "model": model, "out": given["out"] or Path("runs") / f"{name}-discovery"}
    )


@app.command()
def index(
    source: Annotated[Path, typer.Argument(help="A folder, an imagefolder, a .tar or a folder of .tar shards.")],
    out: Annotated[Path, typer.Argument(help="Folder of the index.")],
    aspect: Annotated[float, typer.Option(help="Width over height of the pictures that the audited model makes.")] = 1,
    descriptor: Annotated[str | None, typer.Option(help=_DESCRIPTOR_HELP)] = None,
    descriptor_weights: Annotated[Path | None, typer.Option(help=_WEIGHTS_HELP)] = None,
    descriptor_sha256: Annotated[str | None, typer.Option(help="Refuse weights of another hash.")] = None,
) -> None:
    """Hash training pictures once, for audits that compare with millions of them.

    Example: engram index shards/ indexes/mine
    Then: engram audit ... --train-images indexes/mine
    """
    with _errors_as_lines():
        if (descriptor is None) != (descriptor_weights is None):
            raise SettingsError("--descriptor and --descriptor-weights belong together; give both or neither")
        from audit.training.descriptors import load_descriptor
        from audit.training_images import build_index

        learnt = None
        if descriptor is not None and descriptor_weights is not None:
            learnt = load_descriptor(descriptor_weights, descriptor, descriptor_sha256)
        n_pictures = build_index(source, out, aspect=aspect, descriptor=learnt)
        typer.echo(f"{n_pictures} pictures in {out}")


@app.command()
def detectors() -> None:
    """List the detectors: what each reads, what it costs, and the paper it comes from."""
    with _errors_as_lines():
        from audit.listing import detector_rows
        from reports.terminal import print_detectors

        print_detectors(Console(width=None if sys.stdout.isatty() else 160), detector_rows())


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory of a finished audit.")],
    labels: Annotated[
        Path, typer.Option(help="csv, tsv, jsonl or parquet: prompt or prompt_id, label (0 or 1), kind if you like.")
    ],
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Hold every score of a finished audit against labels: AUC, TPR at 1 % and 0.1 %, average precision.

    Each has a 95 % interval. Writes evaluation.md, evaluation.parquet and two pictures into the run directory.

    Example: engram evaluate runs/mine --labels labels.csv
    """
    with _errors_as_lines():
        from audit.evaluating import evaluate_run
        from reports.evaluation import EVALUATION_PAGE

        evaluate_run(run, labels, seed)
        typer.echo((run / EVALUATION_PAGE).read_text(encoding="utf-8"))


@app.command()
def gate(run: Annotated[Path, typer.Argument(help="Run directory of a finished audit.")]) -> None:
    """Turn a finished audit into an exit code: 0 pass, 1 fail, 2 usage, 3 not to be trusted."""
    with _errors_as_lines():
        verdict = _verdict_of(run)
        typer.echo(f"{verdict.outcome}: {' '.join(verdict.reasons)}")
        raise typer.Exit(verdict.exit_code)


def _verdict_of(run: Path) -> Verdict:
    from reports.check import check_tables

    record = load_run(run)
    check_tables(run, record)
    return decide(results_of(record), Policy())


@app.command()
def sites(
    model: Annotated[str | None, typer.Argument(help=_MODEL_HELP)] = None, allow_pickle: _AllowPickle = False
) -> None:
    """List the sites that can be recorded in a model: kind, where, how many neurons."""
    with _errors_as_lines():
        from audit.stages import list_sites
        from reports.terminal import print_sites

        found = list_sites(model or str(with_defaults(None, None, None, None, None)["model"]), allow_pickle)
        print_sites(Console(), [(site.kind, site.name, site.reads, site.n_neurons) for site in found])


def main() -> None:
    """Run the command line; an option that does not exist or cannot be read is one line, too."""
    try:
        code = app(standalone_mode=False)
    except _UsageError as error:
        code = EXIT_USAGE
        if message := error.format_message():  # without arguments it is empty: the help was shown
            typer.echo(f"engram: {visible_text(' '.join(message.split()), _LONGEST_LINE)}", err=True)
    sys.exit(code)
