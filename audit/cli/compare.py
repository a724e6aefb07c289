"""`flashbulb compare`: the images of a base and of a fine-tune, side by side."""

from __future__ import annotations

from typing import Any

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.shell.options import ForceFolder, Json, chosen_settings, options_of, takes
from flashbulb.audit.cli.shell.output import lines_to_stderr, print_json, print_lines, run_document
from flashbulb.audit.settings import CompareSettings


@app.command()
@takes(options_of(CompareSettings))
def compare(
    *,
    force: ForceFolder = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Sample the same prompts with the same seeds on a base and its fine-tune, and show the images side by side.

    Prompts whose images changed most towards copying come first. Files that options add to a model, such as --lora, are
    added to the fine-tune; without FINETUNE, to BASE. Run the same command again to resume an interrupted comparison.

    Reads both models, prompts or a finished audit, and training images if given. Writes to --out: compare.html,
    compare.md, compare.parquet, run.json and images/.

    Example: flashbulb compare ./base ./fine-tune --prompts captions.csv --out runs/compared
    Example: flashbulb compare ./base --lora mine.safetensors --prompts captions.csv --out runs/compared
    Example: flashbulb compare ./base ./fine-tune --run runs/fine-tune --out runs/compared

    Exit codes: 0 compared, whatever changed; 2 error in options, settings or files; 3 the result cannot be trusted;
    4 internal error; 130 interrupted.
    """
    with errors_as_lines():
        settings = CompareSettings.model_validate({"train_images": None, **chosen_settings(options, CompareSettings)})
        from flashbulb.audit.stages.compare import run_comparison
        from flashbulb.reports.tables.compare import comparison_lines

        with lines_to_stderr(as_json):
            compared = run_comparison(settings, force=force)
        if as_json:
            print_json(run_document(settings.out))
        else:
            print_lines(comparison_lines(compared, settings.out))
