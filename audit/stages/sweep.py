"""Audit the checkpoints of one training with one plan, and find the first whose gate fails."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flashbulb.audit.additions.checkpoints import Checkpoint, OrderedCheckpoints, Step, find_checkpoint, in_order
from flashbulb.audit.run.directory import RECORDING, RunDirectory, flatten_json
from flashbulb.audit.run.lock import check_free
from flashbulb.audit.settings import AuditSettings, SettingsError
from flashbulb.audit.stages.audit import run_audit
from flashbulb.audit.stages.claim import former_results
from flashbulb.audit.stages.kept.recorded import ACTIVATIONS, RECORDING_FILE
from flashbulb.audit.stages.opening.prompt_sets import read_sets
from flashbulb.audit.statistics.excess import StyledScores, measure_excess
from flashbulb.hooks.files import unsealed
from flashbulb.reports.checks.run import CheckedRun, load_checked
from flashbulb.reports.figures.sweep import write_sweep_figure
from flashbulb.reports.page.sweep import write_sweep_page
from flashbulb.reports.tables.differences import first_difference
from flashbulb.reports.tables.files import RUN_FILE, write_json, write_text
from flashbulb.reports.tables.rows import Rows, iter_rows
from flashbulb.reports.tables.run_record import SWEEP, SWEEP_RUNNING
from flashbulb.reports.tables.schema import write_table
from flashbulb.reports.tables.sweep import (
    SWEEP_DOCUMENT,
    SWEEP_FIGURE,
    SWEEP_FILES,
    SWEEP_PAGE,
    SWEEP_SCHEMA,
    SWEEP_SUMMARY,
    SWEEP_TABLE,
    Sweep,
    SweepRow,
    row_documents,
    sweep_document,
    sweep_table,
)
from flashbulb.reports.views.sweep import sweep_markdown

logger = logging.getLogger(__name__)

_IDENTITY = {SWEEP: True}


def run_sweep(
    checkpoints: Sequence[str], model: str | None, shared: Mapping[str, Any], out: Path, *, force: bool
) -> Sweep:
    """Audit every checkpoint below `out`, write the curves, and return what was found.

    Each audit is that of `run_audit`, in a run directory of its own. What is finished is kept, so the same call resumes
    an interrupted sweep, and a checkpoint whose files changed is refused. A base is recorded once.

    Args:
        checkpoints: pipeline folders, single files, LoRA files or folders of one.
        model: the pipeline that LoRAs belong to; None if there are none.
        shared: settings of every audit but its model, LoRA and directory, by their names.

    Raises:
        the errors of `run_audit`.
    """
    check_free(out)  # before anything takes long
    ordered = in_order([find_checkpoint(checkpoint) for checkpoint in checkpoints])
    _check_inputs(ordered, model, shared)
    settings = [_settings_of(step.checkpoint, model, shared, out) for step in ordered.steps]
    read_sets(settings[0])
    audited: list[CheckedRun] = []
    stated = _stated_rows(out)
    former = former_results(*SWEEP_FILES, hold=lambda: _agree(stated, map(_row_of, ordered.steps, audited)))
    with RunDirectory.open(out, _IDENTITY, force=force, former=former) as run:
        for name in SWEEP_FILES:
            (out / name).unlink(missing_ok=True)
        run.update(status=SWEEP_RUNNING)
        for place, (step, chosen) in enumerate(zip(ordered.steps, settings, strict=True), 1):
            logger.info("checkpoint %d of %d: %s", place, len(settings), step.checkpoint.name)
            donors = [other.out for other in settings if other.out != chosen.out]
            run_audit(chosen, force=False, donors=donors)
            audited.append(load_checked(chosen.out))
            _check_plan(settings[0].out, chosen.out)
        sweep = _sweep_of(ordered, audited)
        _write(out, sweep)
        run.update(status=SWEEP)
    return sweep


def _stated_rows(out: Path) -> Mapping[str, Any]:
    """Return the rows of sweep.json by their run; none if there is none that can be read."""
    try:
        rows = json.loads((out / SWEEP_DOCUMENT).read_text(encoding="utf-8"))["checkpoints"]
        return {row["run"]: row for row in rows}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}


def _agree(stated: Mapping[str, Any], rows: Iterable[SweepRow]) -> bool:
    """Return whether audits that were made again, as far as a sweep came, say what its former results state of them."""
    made = {row["run"]: row for row in json.loads(json.dumps(row_documents([*rows])))}
    return all(stated[run] == row for run, row in made.items() if run in stated)


def _check_inputs(ordered: OrderedCheckpoints, model: str | None, shared: Mapping[str, Any]) -> None:
    loras = [step.checkpoint for step in ordered.steps if step.checkpoint.kind == "LoRA"]
    if loras and model is None:
        raise SettingsError(f"{loras[0].path} is a LoRA; give the pipeline that it belongs to with --model")
    if model is not None and not loras:
        raise SettingsError(
            f"--model {model} is the pipeline of LoRA checkpoints, and none is given; leave it out, or give the model "
            "that the training started from with --baseline-model"
        )
    for name in ("prompts", "reference"):
        source = shared.get(name)
        if source == "-" or (source is not None and Path(source).is_fifo()):
            raise SettingsError(
                f"--{name} {source} can be read once, and a sweep reads it for each checkpoint; give a file"
            )


def _settings_of(checkpoint: Checkpoint, model: str | None, shared: Mapping[str, Any], out: Path) -> AuditSettings:
    is_lora = checkpoint.kind == "LoRA"
    pipeline = model if is_lora and model is not None else str(checkpoint.path)
    return AuditSettings.model_validate(
        {
            **shared,
            "model": pipeline,
            "lora": (str(checkpoint.path),) if is_lora else (),
            "configs": shared.get("configs") if Path(pipeline).expanduser().is_file() else None,
            "out": out / checkpoint.name,
        }
    )


def _check_plan(first: Path, other: Path) -> None:
    """Refuse a checkpoint that was not recorded, flagged and recovered as the first one."""
    difference = first_difference(_plan_of(first), _plan_of(other))
    if difference is not None:
        raise SettingsError(
            f"{other.name} was not audited as {first.name}: {difference.key} is {difference.new!r}, not "
            f"{difference.old!r}{difference.others}; a sweep compares checkpoints of one model on the same prompts"
        )


def _plan_of(run: Path) -> dict[str, Any]:
    """Return what a run's results depend on besides its weights, and its sites."""
    identity = json.loads((run / RUN_FILE).read_text(encoding="utf-8"))["identity"]
    del identity[RECORDING]["model_fingerprint"]
    sites = unsealed(run / ACTIVATIONS / RECORDING_FILE)["sites"]
    return {**flatten_json(identity), **{f"neurons.{site['name']}": site["n_neurons"] for site in sites}}


def _sweep_of(ordered: OrderedCheckpoints, audited: Sequence[CheckedRun]) -> Sweep:
    record = audited[0].record
    prompts, reference = (record.inputs[name] for name in ("prompts", "reference"))
    return Sweep(
        unit=ordered.unit,
        rows=tuple(map(_row_of, ordered.steps, audited)),
        fpr=record.calibration.fpr,
        prompts=_source_of(prompts) or "",
        reference=_source_of(reference),
        base=None if record.base is None else record.base.name,
        policy=record.policy or {},
        strict=record.settings.get("strict") is True,
    )


def _source_of(prompts: object) -> str | None:
    return str(prompts["source"]) if isinstance(prompts, Mapping) else None


def _row_of(step: Step, audited: CheckedRun) -> SweepRow:
    record, tables, checkpoint = audited.record, audited.tables, step.checkpoint
    assert record.verdict is not None, f"the audit of {checkpoint.name} is complete without a verdict"
    excess = measure_excess(_styled_scores(tables.scores), _styled_scores(tables.reference_scores))
    confirmed = {finding.prompt_id for finding in audited.findings if finding.verdict == "confirmed"} - {None}
    return SweepRow(
        checkpoint=checkpoint.name,
        kind=checkpoint.kind,
        step=step.number,
        model_fingerprint=record.model.fingerprint,
        n_prompts=record.counts.n_scored,
        n_flagged=record.counts.n_flagged,
        median_excess=None if excess is None else excess.median,
        top_excess=None if excess is None else excess.top,
        n_confirmed_images=record.counts.n_confirmed_pictures,
        n_confirmed_prompts=len(confirmed),
        gate=record.verdict.outcome,
        reasons=record.verdict.reasons,
        run=checkpoint.name,
    )


def _styled_scores(table: Rows) -> StyledScores:
    """Return the scores of the prompts that have one; those that tier 0 left out have none."""
    scored = [row for row in iter_rows(table, ["spike_score", "style"]) if None not in row.values()]
    return StyledScores(*(np.array([row[name] for row in scored]) for name in ("spike_score", "style")))


def _write(out: Path, sweep: Sweep) -> None:
    write_table(out / SWEEP_TABLE, sweep_table(sweep), SWEEP_SCHEMA, {"unit": sweep.unit})
    write_sweep_figure(sweep, out / SWEEP_FIGURE)
    write_sweep_page(out / SWEEP_PAGE, sweep)
    write_text(out / SWEEP_SUMMARY, sweep_markdown(sweep))
    write_json(out / SWEEP_DOCUMENT, sweep_document(sweep))
