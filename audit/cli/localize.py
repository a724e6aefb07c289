"""`flashbulb localize`: find the neurons behind the findings of a finished audit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.options import AllowPickle, Device, Json, Seed, chosen_settings
from flashbulb.audit.cli.output import lines_to_stderr, print_json
from flashbulb.audit.settings import LocalizeSettings, Replacement, SiteKind


@app.command()
def localize(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="Run directory of a finished audit.")],
    prompts: Annotated[
        list[str] | None,
        typer.Option("--prompt", help="Localize only this prompt, given by text or id (repeat for more)."),
    ] = None,
    max_prompts: Annotated[
        int | None, typer.Option(help="Localize at most this many prompts, worst finding first.")
    ] = None,
    kind: Annotated[
        SiteKind | None, typer.Option(help="Kind of site to select neurons from; see `flashbulb sites`.")
    ] = None,
    share: Annotated[float | None, typer.Option(help="Share of that kind's neurons to replace, 0 to 1.")] = None,
    minimal: Annotated[bool, typer.Option(help="Bisect to find the fewest neurons that erase the image.")] = False,
    n_checks: Annotated[
        int | None, typer.Option("--checks", help="With --minimal: number of bisections, 1 to 20.")
    ] = None,
    by: Annotated[
        Replacement | None,
        typer.Option(
            help="What replaces a neuron's value: its value for the empty prompt, its mean over clean prompts, or zero."
        ),
    ] = None,
    n_controls: Annotated[int | None, typer.Option("--controls", help="Clean prompts to test each edit on.")] = None,
    n_seeds: Annotated[
        int | None, typer.Option("--seeds", help="Initial noises to average the attribution over, 1 to 64.")
    ] = None,
    n_points: Annotated[
        int | None, typer.Option("--points", help="Points on the path of the attribution, 1 to 64.")
    ] = None,
    n_samples: Annotated[
        int | None, typer.Option("--samples", help="Images per prompt before and after, 2 to 64.")
    ] = None,
    sample_steps: Annotated[int | None, typer.Option(help="Denoising steps per image.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Guidance scale, above 1.")] = None,
    again: Annotated[bool, typer.Option(help="Try to recover each image from the ablated model.")] = True,
    show_prompts: Annotated[bool, typer.Option(help="Write the text of prompts into localization.md.")] = False,
    seed: Seed = None,
    batch_size: Annotated[int | None, typer.Option(help="Latents per UNet call of the attribution.")] = None,
    allow_pickle: AllowPickle = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Find the neurons that recall memorized images, and test them by replacing their values.

    Works on prompts whose image was recovered. Run the same command again to resume an interrupted localization.

    Reads RUN, a finished audit, and the model that it names. Writes to RUN/localization: settings.json, neuron sets for
    `flashbulb ablate`, tables, images before and after, and a report, localization.md.

    Example: flashbulb localize runs/mine --max-prompts 5
    Then: flashbulb ablate ./my-pipeline --neurons runs/mine/localization/neurons/ID.json --prompt "a fox" --out out

    Exit codes: 0 localized; 2 error in options, settings or files; 3 the audit cannot be trusted; 4 internal error;
    130 interrupted.
    """
    with errors_as_lines():
        settings = LocalizeSettings.model_validate(chosen_settings(context.params, LocalizeSettings))
        from flashbulb.audit.stages.localize import run_localization
        from flashbulb.reports.views.localization import LOCALIZATION_DIRECTORY

        with lines_to_stderr(as_json):
            counts = run_localization(settings)
        if as_json:
            print_json({"localization": str(run / LOCALIZATION_DIRECTORY), **asdict(counts)})
