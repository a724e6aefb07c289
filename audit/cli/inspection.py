"""Commands that inspect: `detectors`, `evaluate` (a finished audit against labels) and `sites` (of a model)."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.shell.options import Json, options_of, takes
from flashbulb.audit.cli.shell.output import print_json, print_text
from flashbulb.audit.settings import ADDED, DiscoverSettings, given_model


@app.command()
def detectors(as_json: Json = False) -> None:
    """List the detectors: what each one reads, what it costs, and its source.

    Example: flashbulb detectors
    """
    with errors_as_lines():
        from flashbulb.audit.stages.opening.detectors import list_detectors
        from flashbulb.reports.views.terminal import print_detectors

        if as_json:
            names = ("name", "reads", "evaluations", "by_default", "source")
            print_json({"detectors": [dict(zip(names, row, strict=True)) for row in list_detectors()]})
        else:
            console = Console(width=None if sys.stdout.isatty() else 160)
            with console.capture() as table:
                print_detectors(console, list_detectors())
            print_text(table.get().rstrip("\n"))


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory of a finished audit.")],
    labels: Annotated[
        Path,
        typer.Option(
            help="Labels (csv, tsv, jsonl, parquet) with columns prompt or prompt_id, label (0 or 1), optionally kind."
        ),
    ],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    as_json: Json = False,
) -> None:
    """Compare every score of a finished audit with labels: AUC, TPR at 1 % and 0.1 % FPR, average precision.

    Each value comes with a 95 % bootstrap interval.

    Reads RUN, a finished audit, and the labels. Writes evaluation.md, evaluation.parquet and two figures to RUN.

    Example: flashbulb evaluate runs/mine --labels labels.csv

    Exit codes: 0 evaluated; 2 error in options, settings or files; 3 the audit is unfinished or damaged;
    4 internal error; 130 interrupted.
    """
    with errors_as_lines():
        from flashbulb.audit.stages.evaluate import evaluate_run
        from flashbulb.reports.views.evaluation import EVALUATION_PAGE

        evaluation = evaluate_run(run, labels, seed)
        if as_json:
            print_json({"run": str(run), **asdict(evaluation)})
        else:
            print_text((run / EVALUATION_PAGE).read_text(encoding="utf-8"))


@app.command()
@takes(options_of(DiscoverSettings, "model", *ADDED, "allow_pickle"))
def sites(*, as_json: Json = False, **options: Any) -> None:
    """List the sites that can be recorded in a model: kind, location, number of neurons.

    Example: flashbulb sites ./my-pipeline
    """
    with errors_as_lines():
        chosen = given_model(options["model"], "sites")
        from flashbulb.audit.additions.chosen import ChosenModel
        from flashbulb.audit.additions.sites import list_sites
        from flashbulb.reports.views.audit_plan import offer_line
        from flashbulb.reports.views.terminal import print_sites

        tokens, loras = (tuple(options[name] or ()) for name in ("textual_inversion", "lora"))
        files = (options["configs"], options["denoiser"], options["vae"], tokens, loras)
        found = list_sites(ChosenModel(chosen, *files, options["allow_pickle"]))
        if as_json:
            sites_of_model = [asdict(site) for site in found.sites]
            print_json({"model": chosen, **found._asdict(), "sites": sites_of_model})
        else:
            console = Console()
            with console.capture() as table:
                print_sites(console, [(site.kind, site.name, site.reads, site.n_neurons) for site in found.sites])
                console.print(offer_line(found.family, found.not_offered), highlight=False, soft_wrap=True)
            print_text(table.get().rstrip("\n"))
