"""`engram ablate`: what a model gives without some of its neurons."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.cli.app import app, errors_as_lines
from audit.cli.options import MODEL_HELP, AllowPickle, Device, DtypeOption, Json, chosen_settings
from audit.cli.saying import lines_aside, run_document, say_json
from audit.config import AblateSettings, Engine, Replacement, SettingsError, embedded_model


@app.command()
def ablate(
    context: typer.Context,
    neurons: Annotated[Path, typer.Option(help="JSON file of the neurons, as hooks.save_neurons writes it.")],
    prompt: Annotated[list[str], typer.Option(help="Prompt to sample with and without them (repeat for more).")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    model: Annotated[str | None, typer.Argument(help=MODEL_HELP)] = None,
    by: Annotated[
        Replacement | None,
        typer.Option(
            help="What stands in for a neuron: its value for the empty prompt, its mean as the file states, or nothing."
        ),
    ] = None,
    engine: Annotated[Engine | None, typer.Option(help="What edits the model; both do the same.")] = None,
    n_samples: Annotated[
        int | None, typer.Option("--samples", help="Pictures of a prompt, one a seed, 2 to 64.")
    ] = None,
    sample_steps: Annotated[int | None, typer.Option(help="Denoising steps of each sampling.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Guidance of each sampling; 1 is none.")] = None,
    seed: Annotated[int | None, typer.Option(help="Run seed; with that of an audit the seeds are the audit's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures in one call of the pipeline.")] = None,
    dtype: DtypeOption = None,
    device: Device = None,
    allow_pickle: AllowPickle = False,
    force: Annotated[bool, typer.Option(help="Delete what the folder holds and start over.")] = False,
    as_json: Json = False,
) -> None:
    """Sample prompts before and after ablating neurons, at the same seeds, and measure what changed.

    Where a memorized picture gives way to others, the neurons bring it out. The same command goes on where it was
    interrupted.

    Reads a pipeline and a file of neurons. Writes --out: run.json, ablation.md, ablation.parquet, pictures and a panel
    of each prompt.

    Example: engram ablate ./my-pipeline --neurons levers.json --prompt "a red fox" --out runs/fox

    Exit codes: 0 sampled; 2 a mistake in options, settings or files; 3 not to be trusted; 4 internal error;
    130 interrupted.
    """
    with errors_as_lines():
        settings = _ablate_settings(context.params)
        from audit.ablating import run_ablation

        with lines_aside(as_json):
            run_ablation(settings, force=force)
        if as_json:
            say_json(run_document(settings.out))


def _ablate_settings(given: Mapping[str, Any]) -> AblateSettings:
    """Settings from the options of `ablate`, which are named like them; what was not given keeps its default."""
    if not all(prompt.strip() for prompt in given["prompt"]):
        raise SettingsError("--prompt is blank; give a prompt with words in it, the empty one answers to no neuron")
    try:
        "".join(given["prompt"]).encode()
    except UnicodeEncodeError as error:  # bytes that the shell handed on as they were
        raise SettingsError("--prompt is not UTF-8; give it in the encoding of the terminal") from error
    chosen = chosen_settings(given, AblateSettings)
    return AblateSettings.model_validate({**chosen, "model": chosen.get("model") or embedded_model()})
