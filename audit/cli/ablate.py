"""`flashbulb ablate`: sample a model without some of its neurons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.shell.options import ForceFolder, Json, chosen_settings, options_of, takes
from flashbulb.audit.cli.shell.output import lines_to_stderr, print_json, run_document
from flashbulb.audit.settings import AblateSettings, SettingsError, given_model


@app.command()
@takes(options_of(AblateSettings))
def ablate(
    *,
    force: ForceFolder = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Sample prompts before and after ablating neurons, at the same seeds, and measure what changed.

    If a memorized image disappears, the prompt needs these neurons to recall it; other prompts may still recall it.
    Run the same command again to resume an interrupted ablation.

    Reads a pipeline and a file of neurons. Writes to --out: run.json, ablation.md, ablation.parquet, the images, and
    one panel per prompt.

    Example: flashbulb ablate ./my-pipeline --neurons neurons.json --prompt "a red fox" --out runs/fox

    Exit codes: 0 sampled; 2 error in options, settings or files; 3 the result cannot be trusted; 4 internal error;
    130 interrupted.
    """
    with errors_as_lines():
        settings = _build_settings(options)
        from flashbulb.audit.stages.ablate import run_ablation

        with lines_to_stderr(as_json):
            run_ablation(settings, force=force)
        if as_json:
            print_json(run_document(settings.out))


def _build_settings(options: Mapping[str, Any]) -> AblateSettings:
    """Build settings from options, which have the names of the fields. Missing options keep the defaults.

    Raises:
        SettingsError: no model is given, or a prompt is blank or not UTF-8.
    """
    model = given_model(options["model"], "ablate")
    if not all(prompt.strip() for prompt in options["prompt"]):
        raise SettingsError(
            "--prompt is blank; give a prompt with words in it, because no neuron responds to the empty prompt"
        )
    try:
        "".join(options["prompt"]).encode()
    except UnicodeEncodeError as error:  # the shell passed bytes that it could not decode
        raise SettingsError("--prompt is not UTF-8; type it in the encoding of the terminal") from error
    return AblateSettings.model_validate({**chosen_settings(options, AblateSettings), "model": model})
