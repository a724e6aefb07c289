"""`--replay RUN`: take the settings of a finished run, and override them from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flashbulb.audit.cli.shell.layers import COMMAND_LINE_ONLY, command_line_parameters, option_name
from flashbulb.audit.cli.shell.options import chosen_settings
from flashbulb.audit.settings import AuditSettings, DiscoverSettings, SettingsError
from flashbulb.audit.stages.kept.replay import Replay, Settings
from flashbulb.reports.tables.files import RunFileError

TWO_REFERENCES = "--reference and --calibration exclude each other; give one of them"
_OTHER_REFERENCE = {"reference": "calibration", "calibration": "reference"}


def load_replay(context: Any, run: Path, model: type[Settings]) -> Replay[Settings]:
    """Load the settings in `run`'s run.json, overridden by the options on the command line.

    Only the command line names weights that can run code, because the run directory may come from somebody else.

    Raises:
        SettingsError: --out is missing or is `run` itself, or `run` is unfinished, damaged, newer than this version,
            of another command, or read its prompts from standard input.
    """
    from flashbulb.audit.stores.fetching import fetch

    out, named = context.params["out"], command_line_parameters(context)
    if "out" not in named:
        raise SettingsError(f"--replay {run} needs a new run directory; give --out")
    if out.resolve() == run.resolve():
        raise SettingsError(f"--out {out} is the run to replay; give another directory")
    settings, identity = _read(run, model)
    overrides = chosen_settings({name: context.params[name] for name in named}, model)
    for name in _OTHER_REFERENCE.keys() & overrides.keys():
        if _OTHER_REFERENCE[name] in overrides:
            raise SettingsError(TWO_REFERENCES)
        settings = {**settings, _OTHER_REFERENCE[name]: None}
    typed = COMMAND_LINE_ONLY | model.never_restored()
    restored = {name: value for name, value in settings.items() if name not in typed}
    chosen = {**restored, **overrides}
    for param in context.command.params:
        if settings.get(param.name) == "-" and param.name not in overrides:
            raise SettingsError(f"{run} read standard input; give the same lines as --{option_name(param)} FILE")
    replayed = model.model_validate(chosen)
    fetch(*vars(replayed).values())
    return Replay(run, replayed, identity, frozenset(overrides))


def _read(run: Path, model: type[Settings]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Read the settings and the identity of a finished run."""
    from flashbulb.reports.pull.record import load_pull
    from flashbulb.reports.tables.record_files import read_content
    from flashbulb.reports.tables.run_record import load_run
    from flashbulb.reports.views.discovery import load_discovery

    try:
        if model is AuditSettings:
            settings = load_run(run).settings
        else:
            settings = load_discovery(run).settings if model is DiscoverSettings else load_pull(run).settings
        identity = read_content(run, "run").get("identity")
    except RunFileError as error:
        raise SettingsError(f"--replay: {error}") from error
    if not isinstance(identity, dict):
        raise SettingsError(f"--replay: {run} does not record what it was made from; run it again")
    return settings, identity
