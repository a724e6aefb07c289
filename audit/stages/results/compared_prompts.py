"""Choose the prompts of a comparison: the first of a file, or the flagged prompts and controls of a finished audit."""

from __future__ import annotations

from pathlib import Path

from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.prompts.prompt_set import read_prompts
from flashbulb.audit.settings import CompareSettings, SettingsError
from flashbulb.audit.stages.results.comparison import ComparedPrompts
from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.tables.rows import iter_rows, take_rows

_CONTROLS = 4
"""One in so many prompts of an audit is a control, or more where fewer prompts are flagged."""


def choose_prompts(settings: CompareSettings) -> ComparedPrompts:
    """Read the prompts of a file or of an audit, at most as many as the settings allow.

    Raises:
        SettingsError: neither or both are given, or the audit flagged no prompt.
        PromptFileError, RunFileError: the file or the audit cannot be read.
    """
    if (settings.prompts is None) == (settings.run is None):
        raise SettingsError("give the prompts to sample: --prompts with a file, or --run with a finished audit")
    if settings.run is not None:
        return _choose_from_run(settings.run, settings.max_prompts)
    assert settings.prompts is not None, "refused above"
    found = read_prompts(settings.prompts, settings.text_column).prompts
    return ComparedPrompts(tuple(found[: settings.max_prompts]), max(0, len(found) - settings.max_prompts))


def _choose_from_run(run: Path, limit: int) -> ComparedPrompts:
    """Return the flagged prompts of an audit, highest score first, then its controls."""
    checked = load_checked(run)
    tried = checked.tables.recoveries.to_pylist()
    controls = {row["prompt_id"] for row in tried if row["is_control"]}
    scores = checked.tables.scores
    names = enumerate(iter_rows(scores, ["prompt_id", "flagged"]))
    rows = take_rows(scores, [i for i, row in names if row["flagged"] or row["prompt_id"] in controls])
    rows.sort(key=lambda row: -row["spike_score"])
    flagged, calm = ([row for row in rows if row["flagged"] == is_flagged] for is_flagged in (True, False))
    if not flagged:
        raise SettingsError(f"{run} flagged no prompt; give prompts with --prompts")
    n_controls = min(len(calm), max(limit // _CONTROLS, limit - len(flagged)))
    chosen = [*flagged[: limit - n_controls], *calm[:n_controls]]
    named = ("prompt_id", "prompt", "source_file", "source_row", "n_duplicates")
    return ComparedPrompts(
        tuple(Prompt(*(row[name] for name in named)) for row in chosen),
        len(rows) - len(chosen),
        frozenset(row["prompt_id"] for row in chosen if not row["flagged"]),
        {row["prompt_id"]: {name: row[name] for name in ("spike_score", "p_value", "severity")} for row in chosen},
        checked.record.model.fingerprint,
    )
