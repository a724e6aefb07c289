"""`engram localize`: the levers of a finished audit's memories."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from audit.cli.app import app, errors_as_lines
from audit.cli.options import AllowPickle, Device, Json, Seed, chosen_settings
from audit.cli.saying import lines_aside, say_json
from audit.config import LocalizeSettings, Replacement, SiteKind


@app.command()
def localize(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="Run directory of a finished audit.")],
    prompts: Annotated[
        list[str] | None, typer.Option("--prompt", help="Only this prompt, by its text or id (repeat for more).")
    ] = None,
    max_prompts: Annotated[int | None, typer.Option(help="Localize at most this many, worst first.")] = None,
    kind: Annotated[
        SiteKind | None, typer.Option(help="Kind of site that levers are taken from; see `engram sites`.")
    ] = None,
    share: Annotated[float | None, typer.Option(help="Share of that kind's neurons that are replaced, 0 to 1.")] = None,
    minimal: Annotated[bool, typer.Option(help="Bisect towards the fewest neurons that erase the picture.")] = False,
    n_checks: Annotated[int | None, typer.Option("--checks", help="With --minimal: bisections, 1 to 20.")] = None,
    by: Annotated[
        Replacement | None,
        typer.Option(
            help="What stands in for a neuron: its value without the prompt, its mean of clean prompts, or nothing."
        ),
    ] = None,
    n_controls: Annotated[
        int | None, typer.Option("--controls", help="Clean prompts that each edit is tried on.")
    ] = None,
    n_seeds: Annotated[
        int | None, typer.Option("--seeds", help="Noises that attribution is averaged over, 1 to 64.")
    ] = None,
    n_points: Annotated[int | None, typer.Option("--points", help="Points of the attribution's path, 1 to 64.")] = None,
    n_samples: Annotated[
        int | None, typer.Option("--samples", help="Pictures sampled before and after, 2 to 64.")
    ] = None,
    sample_steps: Annotated[int | None, typer.Option(help="Denoising steps of each sampling.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Guidance of each sampling, above 1.")] = None,
    again: Annotated[bool, typer.Option(help="Try to recover each picture again from the ablated model.")] = True,
    show_prompts: Annotated[bool, typer.Option(help="Write whole prompts into localization.md.")] = False,
    seed: Seed = None,
    batch_size: Annotated[int | None, typer.Option(help="Latents in one UNet call of the attribution.")] = None,
    allow_pickle: AllowPickle = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Find the neurons that bring memorized pictures out, and test them by replacing them.

    Works on prompts whose picture came back. The same command goes on where it stopped.

    Reads RUN, a finished audit, and the model that it names. Writes RUN/localization: settings.json, neuron sets for
    `engram ablate`, tables, pictures before and after, and the page localization.md.

    Example: engram localize runs/mine --max-prompts 5
    Then: engram ablate ./my-pipeline --neurons runs/mine/localization/neurons/ID.json --prompt "a fox" --out runs/fox

    Exit codes: 0 localized; 2 a mistake in options, settings or files; 3 not to be trusted; 4 internal error;
    130 interrupted.
    """
    with errors_as_lines():
        settings = LocalizeSettings.model_validate(chosen_settings(context.params, LocalizeSettings))
        from audit.localizing import run_localization
        from reports.localization import LOCALIZATION_DIRECTORY

        with lines_aside(as_json):
            counts = run_localization(settings)
        if as_json:
            say_json({"localization": str(run / LOCALIZATION_DIRECTORY), **asdict(counts)})
