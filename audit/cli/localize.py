"""`flashbulb localize`: find the neurons behind the findings of a finished audit."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.shell.options import Json, chosen_settings, options_of, takes
from flashbulb.audit.cli.shell.output import lines_to_stderr, print_json
from flashbulb.audit.settings import LocalizeSettings


@app.command()
@takes(options_of(LocalizeSettings))
def localize(*, as_json: Json = False, **options: Any) -> None:
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
        settings = LocalizeSettings.model_validate(chosen_settings(options, LocalizeSettings))
        from flashbulb.audit.stages.localize import run_localization
        from flashbulb.reports.views.localization import LOCALIZATION_DIRECTORY

        with lines_to_stderr(as_json):
            counts = run_localization(settings)
        if as_json:
            print_json({"localization": str(settings.run / LOCALIZATION_DIRECTORY), **asdict(counts)})
