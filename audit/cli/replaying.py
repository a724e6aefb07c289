"""`--replay RUN`: settings of a finished run, with what the command line gives beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audit.cli.layers import named_on_command_line, option_name
from audit.cli.options import chosen_settings
from audit.config import AuditSettings, SettingsError
from audit.replay import Replay, Settings
from reports.files import RunFileError

TWO_REFERENCES = "--reference and --calibration are two references; give one of them"
_OTHER_REFERENCE = {"reference": "calibration", "calibration": "reference"}


def replay_of(context: Any, run: Path, model: type[Settings]) -> Replay[Settings]:
    """The settings in `run`'s run.json under those of the command line.

    Pickled weights are allowed by the command line alone, not by a run directory that somebody handed on.

    Raises:
        SettingsError: no other --out is given, or the run is unfinished, damaged, newer, of another command, or read
            its prompts from standard input.
    """
    out, named = context.params["out"], named_on_command_line(context)
    if "out" not in named:
        raise SettingsError(f"--replay {run} needs a run directory of its own; give --out")
    if out.resolve() == run.resolve():
        raise SettingsError(f"--out {out} is the run to replay; give another directory")
    settings, identity = _read(run, model)
    given = chosen_settings({name: context.params[name] for name in named}, model)
    for name in _OTHER_REFERENCE.keys() & given.keys():
        if _OTHER_REFERENCE[name] in given:
            raise SettingsError(TWO_REFERENCES)
        settings = {**settings, _OTHER_REFERENCE[name]: None}
    chosen = {**settings, "allow_pickle": False, **given}
    for param in context.command.params:
        if settings.get(param.name) == "-" and param.name not in given:
            raise SettingsError(f"{run} read standard input; give the same lines as --{option_name(param)} FILE")
    return Replay(run, model.model_validate(chosen), identity, frozenset(given))


def _read(run: Path, model: type[Settings]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Settings and identity of a finished run."""
    from reports.discovery import load_discovery
    from reports.record_files import read_content
    from reports.run_record import load_run

    try:
        settings = load_run(run).settings if model is AuditSettings else load_discovery(run).settings
        identity = read_content(run, "run").get("identity")
    except RunFileError as error:
        raise SettingsError(f"--replay: {error}") from error
    if not isinstance(identity, dict):
        raise SettingsError(f"--replay: {run} does not say what it was made from; run it again")
    return settings, identity
