"""Fetch what options and arguments name in object stores, before a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flashbulb.audit.cli.shell.layers import origin_of
from flashbulb.audit.settings import SettingsError
from flashbulb.reports.tables.stores import local_path

_TEXTS = frozenset({"model", "prompts", "reference", "baseline_model", "base", "finetune", "captions", "checkpoints"})
"""Parameters that are text and can name a place."""
_LOCAL = frozenset({"summary", "junit", "sarif", "findings", "to_remove", "model_card", "sign", "key", "signature"})
_ADDED = frozenset({"textual_inversion", "lora"})
_LOCAL_OUTPUTS = frozenset({"index", "index-runs", "plant", "reference", "report", "sweep", "train"})
"""Commands whose --out is no run, and stays on this machine; the same holds for files of waivers."""
_READERS = frozenset({"gate", "show", "report", "diff", "verify", "index-runs"})
_READ_RUNS = frozenset({"replay", "baseline"})
_RECORDINGS = ("activations",)  # the largest part of a run, which its readers do without


def fetch_stored_(context: Any) -> None:
    """Replace every URI of an object store among the parameters by its path in the cache, and fetch what lies there.

    Raises:
        SettingsError: the parameter takes paths of this machine only.
        StoreError: a store cannot be read, or a URI is none that Flashbulb takes.
    """
    command = context.command.name
    for name, given in context.params.items():
        values = list(given) if isinstance(given, list | tuple) else [given]
        paths = [_path_of(name, value) for value in values]
        if all(path is None for path in paths):
            continue
        is_output = (name == "out" and command in _LOCAL_OUTPUTS) or (name == "directory" and not context.params["out"])
        if is_output or name in _LOCAL | _ADDED or name == "file":
            way_out = "give --out on this machine" if name == "directory" else "give a path of this machine"
            raise SettingsError(f"{origin_of(context, name)} takes no object store; {way_out}")
        placed = [value if path is None else type(value)(path) for value, path in zip(values, paths, strict=True)]
        context.params[name] = type(given)(placed) if isinstance(given, list | tuple) else placed[0]
        from flashbulb.audit.stores.fetching import fetch

        fetch(*placed, without=_RECORDINGS if command in _READERS or name in _READ_RUNS else ())


def _path_of(name: str, value: object) -> Path | None:
    if isinstance(value, Path) or (isinstance(value, str) and name in _TEXTS | _ADDED):
        return local_path(value)
    return None
