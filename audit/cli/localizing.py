"""`engram localize`: the levers of a finished audit's memories."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.cli.app import app, errors_as_lines
from audit.cli.options import AllowPickle
from audit.config import LocalizeSettings


@app.command()
def localize(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="Run directory of a finished audit.")],
    prompts: Annotated[
        list[str] | None, typer.Option("--prompt", help="Only this prompt, by its text or id (repeat for more).")
    ] = None,
    max_prompts: Annotated[int | None, typer.Option(help="Localize at most this many, worst first.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="Kind of site that levers are taken from: see `engram sites`.")
    ] = None,
    share: Annotated[float | None, typer.Option(help="Share of that kind's neurons that are replaced.")] = None,
    minimal: Annotated[bool, typer.Option(help="Bisect towards the fewest neurons that erase the picture.")] = False,
    n_checks: Annotated[int | None, typer.Option("--checks", help="With --minimal: bisections.")] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="What stands in for a neuron: unconditional (its value without the prompt), "
            "mean (of clean prompts), or zero."
        ),
    ] = None,
    n_controls: Annotated[
        int | None, typer.Option("--controls", help="Clean prompts that each edit is tried on.")
    ] = None,
    n_seeds: Annotated[int | None, typer.Option("--seeds", help="Noises that attribution is averaged over.")] = None,
    n_points: Annotated[int | None, typer.Option("--points", help="Points of the attribution's path.")] = None,
    n_samples: Annotated[int | None, typer.Option("--samples", help="Pictures sampled before and after.")] = None,
    sample_steps: Annotated[int | None, typer.Option(help="Steps of each sampling.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Guidance of each sampling, above 1.")] = None,
    again: Annotated[bool, typer.Option(help="Try to recover each picture again from the ablated model.")] = True,
    show_prompts: Annotated[bool, typer.Option(help="Write whole prompts into localization.md.")] = False,
    seed: Annotated[int | None, typer.Option(help="Every random number follows from it.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Latents in one UNet call of the attribution.")] = None,
    allow_pickle: AllowPickle = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
) -> None:
    """Find the neurons that bring memorized pictures out, and test them by replacing them.

    Works on prompts of a finished audit whose picture came back. Writes RUN/localization: neuron sets for
    `engram ablate`, tables, pictures before and after, and a page. The same command goes on where it stopped.

    Example: engram localize runs/mine --max-prompts 5
    Then: engram ablate ./my-pipeline --neurons runs/mine/localization/neurons/ID.json --prompt "..." --out runs/without
    """
    with errors_as_lines():
        settings = _localize_settings(context.params)
        from audit.localizing import run_localization

        run_localization(settings)


def _localize_settings(given: Mapping[str, Any]) -> LocalizeSettings:
    """Settings from the options of `localize`, which are named like them; what was not given keeps its default."""
    chosen = {key: given[key] for key in LocalizeSettings.model_fields if given.get(key) not in (None, [])}
    return LocalizeSettings.model_validate({**chosen, "prompts": tuple(chosen.get("prompts", ()))})
