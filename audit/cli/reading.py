"""Commands that read what is there: a finished run (`evaluate`), a model's sites, the detectors."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from audit.cli.app import app, errors_as_lines
from audit.cli.options import MODEL_HELP, AllowPickle, Json
from audit.cli.saying import say_json, say_text
from audit.config import embedded_model


@app.command()
def detectors(as_json: Json = False) -> None:
    """List the detectors: what each reads, what it costs, and the paper it comes from.

    Example: engram detectors
    """
    with errors_as_lines():
        from audit.listing import detector_rows
        from reports.terminal import print_detectors

        if as_json:
            names = ("name", "reads", "evaluations", "by_default", "source")
            say_json({"detectors": [dict(zip(names, row, strict=True)) for row in detector_rows()]})
        else:
            console = Console(width=None if sys.stdout.isatty() else 160)
            with console.capture() as table:
                print_detectors(console, detector_rows())
            say_text(table.get().rstrip("\n"))


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory of a finished audit.")],
    labels: Annotated[
        Path, typer.Option(help="csv, tsv, jsonl or parquet: prompt or prompt_id, label (0 or 1), kind if you like.")
    ],
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    as_json: Json = False,
) -> None:
    """Hold every score of a finished audit against labels: AUC, TPR at 1 % and 0.1 %, average precision.

    Each has a 95 % interval. Reads RUN, a finished audit, and the labels. Writes evaluation.md, evaluation.parquet and
    two pictures into RUN.

    Example: engram evaluate runs/mine --labels labels.csv

    Exit codes: 0 evaluated; 2 a mistake in options, settings or files; 3 the audit is unfinished or damaged;
    4 internal error; 130 interrupted.
    """
    with errors_as_lines():
        from audit.evaluating import evaluate_run
        from reports.evaluation import EVALUATION_PAGE

        evaluation = evaluate_run(run, labels, seed)
        if as_json:
            say_json({"run": str(run), **asdict(evaluation)})
        else:
            say_text((run / EVALUATION_PAGE).read_text(encoding="utf-8"))


@app.command()
def sites(
    model: Annotated[str | None, typer.Argument(help=MODEL_HELP)] = None,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """List the sites that can be recorded in a model: kind, where, how many neurons.

    Example: engram sites ./my-pipeline
    """
    with errors_as_lines():
        from audit.stages import list_sites
        from reports.terminal import print_sites

        chosen = model or embedded_model()
        found = list_sites(chosen, allow_pickle)
        if as_json:
            say_json({"model": chosen, "sites": [asdict(site) for site in found]})
        else:
            console = Console()
            with console.capture() as table:
                print_sites(console, [(site.kind, site.name, site.reads, site.n_neurons) for site in found])
            say_text(table.get().rstrip("\n"))
