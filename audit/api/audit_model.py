"""`audit_model`: audit a model or a pipeline object in one call."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flashbulb.audit.api.result import AuditResult
from flashbulb.audit.run.quiet import quieten_libraries
from flashbulb.audit.settings import ADDED, AuditSettings, SettingsError, default_run_name, resolve_inputs
from flashbulb.audit.stores.fetching import fetched
from flashbulb.audit.stores.sending import send
from flashbulb.reports.tables.files import RUN_FILE, write_text
from flashbulb.reports.tables.stores import in_store
from flashbulb.reports.views.suggestions import nearest_word

_OF_THE_PIPELINE = {*ADDED, "device", "dtype", "offload", "allow_pickle"}
_OF_WORKERS = {"workers", "executor", "worker_timeout", "ray_address"}


def audit_model(
    model: Any,
    prompts: str | os.PathLike[str] | Iterable[str],
    *,
    reference: str | os.PathLike[str] | Iterable[str] | None = None,
    train_images: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    **settings: Any,
) -> AuditResult:
    """Audit a model, as `flashbulb audit` does, and return the result.

    Running the same call again resumes an interrupted audit, and takes a finished one from its run directory.

    Args:
        model: pipeline folder, hub id, .safetensors file, or a pipeline object. An object is left as it was.
        prompts: file of prompts, or the prompts; these are written beside the run directory.
        reference: prompts that are surely not in the training set, likewise.
        train_images: training images to compare with.
        out: run directory; by default runs/<model>.
        force: delete the contents of the run directory and start over.
        settings: fields of `AuditSettings`, such as n_samples or fpr.

    Raises:
        ValueError: a mistake in the inputs or settings; says what to do.
    """
    _refuse_unknown(settings)
    is_path = isinstance(model, str | os.PathLike)
    if not is_path and (foreign := sorted(_OF_THE_PIPELINE & settings.keys())):
        raise SettingsError(f"{foreign[0]} is a matter of the pipeline object; set it there, or give its folder")
    if not is_path and (foreign := sorted(_OF_WORKERS & settings.keys())):
        raise SettingsError(f"{foreign[0]}: workers load the model themselves; give the folder of the pipeline")
    quieten_libraries()
    name = fetched(os.fspath(model)) if is_path else _name_of(model)
    directory = Path(fetched(os.fspath(out))) if out is not None else Path("runs") / default_run_name(name)
    given: dict[str, Any] = {
        "prompts": _as_file(prompts, directory, "prompts", force=force),
        "reference": None if reference is None else _as_file(reference, directory, "reference", force=force),
        "train_images": None if train_images is None else Path(fetched(os.fspath(train_images))),
        "out": directory,
    }
    settings = {
        key: fetched(os.fspath(value)) if isinstance(value, str | os.PathLike) else value
        for key, value in settings.items()
    }
    if is_path:
        resolve_inputs(name, **given)
    with ExitStack() as stack:
        loaded = None
        if not is_path:
            from flashbulb.audit.additions.lent import lent

            loaded = stack.enter_context(lent(model))
            settings |= {"device": loaded.device, "dtype": loaded.dtype}
        chosen = _validated({**settings, **given, "model": name})
        from flashbulb.audit.stages.audit import run_audit
        from flashbulb.reports.views.terminal import silent

        with silent():  # the result shows itself
            run_audit(chosen, force=force, loaded=loaded)
    return AuditResult(directory)


def _name_of(pipe: Any) -> str:
    from flashbulb.audit.additions.lent import pipe_name

    if isinstance(pipe, type) or not hasattr(pipe, "components"):
        raise SettingsError(f"model is a {type(pipe).__name__}; give a path, a hub id or a pipeline of diffusers")
    return pipe_name(pipe)


def _refuse_unknown(settings: dict[str, Any]) -> None:
    fields = AuditSettings.model_fields
    names = {option.name.replace("-", "_"): field for field, option in AuditSettings.options().items() if option.name}
    for name in settings.keys() - fields.keys():
        nearest = names.get(name) or nearest_word(name, fields)
        hint = f"did you mean {nearest}?" if nearest else "flashbulb.AuditSettings lists them"
        raise SettingsError(f"{name} is no setting; {hint}")


def _validated(values: dict[str, Any]) -> AuditSettings:
    try:
        return AuditSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        said, where = first["msg"].removeprefix("Value error, "), first["loc"][0] if first["loc"] else "settings"
        got = "" if first["type"] == "value_error" else f", got {first['input']!r}"
        raise SettingsError(f"{where}: {said}{got}") from error


def _as_file(texts: str | os.PathLike[str] | Iterable[str], run: Path, name: str, *, force: bool) -> str:
    """Return the path of a file of prompts; prompts themselves are written beside the run directory.

    Raises:
        SettingsError: these are no texts, the file cannot be written, or the directory holds an audit of others, whose
            file is left as it is.
    """
    if isinstance(texts, str | os.PathLike):
        return fetched(os.fspath(texts))
    if hasattr(texts, "columns") or isinstance(texts, Mapping):  # whose items are the names of columns
        raise SettingsError(f"{name} is a {type(texts).__name__}; give its column of texts, such as table['prompt']")
    lines: Sequence[str] = list(texts) if isinstance(texts, Iterable) else [texts]
    if not all(isinstance(line, str) for line in lines):
        raise SettingsError(f"{name} holds something other than texts; give a file or a list of str")
    named = run if run.name.strip(".") else run.resolve()  # a path such as "." has no name of its own
    path = named.with_name(f"{named.name}-{name}.jsonl")
    try:
        _write_prompts(path, lines, run, name, force=force)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror or error}; choose another out") from error
    return str(path)


def _write_prompts(path: Path, lines: Sequence[str], run: Path, name: str, *, force: bool) -> None:
    content = "".join(f"{json.dumps({'prompt': line})}\n" for line in lines)
    if path.is_file() and (run / RUN_FILE).is_file() and not force and path.read_text(encoding="utf-8") != content:
        raise SettingsError(
            f"{run} holds an audit of the {name} in {path}, which are others; choose another out, or give "
            "force=True to start over"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, content)
    if in_store(path):
        send(path)
