"""Finish an audit: write the tables and figures of recovery, the verdict in every format, and run.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa

from flashbulb.audit.recover.memories import Memory
from flashbulb.audit.recover.recovered import Recovered
from flashbulb.audit.recover.samples import sample_paths
from flashbulb.audit.run.directory import RunDirectory
from flashbulb.audit.stages.results.account import build_run_record
from flashbulb.audit.stages.results.recovery_tables import finding_id, memories_table, recoveries_table
from flashbulb.audit.stages.results.state import Inputs, Results
from flashbulb.audit.stages.results.tables import scores_table, site_profiles_table
from flashbulb.audit.statistics.neuron_groups import (
    MAX_P_VALUE,
    MIN_JACCARD,
    ListedNeuron,
    NeuronGroup,
    group_neurons,
    neuron_groups_table,
)
from flashbulb.audit.statistics.spikes import PromptNeurons
from flashbulb.reports.checks.run import check_run
from flashbulb.reports.figures.panels import PanelRow, evidence_panel
from flashbulb.reports.gate.formats import Judgement
from flashbulb.reports.gate.judgement import judge
from flashbulb.reports.gate.outputs import audit_outputs, write_outputs
from flashbulb.reports.leaks.markdown import leaks_markdown, steps_markdown
from flashbulb.reports.leaks.terminal import leak_lines, step_lines
from flashbulb.reports.page.report import PageOptions, image_mode, write_report
from flashbulb.reports.power.sensitivity import audit_power
from flashbulb.reports.tables.evidence import CANARIES_SCHEMA, NEURON_GROUPS_SCHEMA, SITE_PROFILES_SCHEMA
from flashbulb.reports.tables.files import (
    CANARIES_FILE,
    EVIDENCE_FILE,
    MEMORIES_FILE,
    NEURON_GROUPS_FILE,
    RECOVERIES_FILE,
    REPORT_FILE,
    SCORES_FILE,
    SITE_PROFILES_FILE,
    SUMMARY_FILE,
    withdraw_verdict,
    write_text,
)
from flashbulb.reports.tables.schema import MEMORIES_SCHEMA, RECOVERIES_SCHEMA, schema_of_scores, write_table
from flashbulb.reports.tables.seal import seal_of
from flashbulb.reports.tables.stores import as_uri
from flashbulb.reports.tables.verdict import Verdict
from flashbulb.reports.views.markdown import summary_markdown
from flashbulb.reports.views.terminal import SummaryConsole, print_summary


def write_results(results: Results, run: RunDirectory, seconds: Mapping[str, float]) -> Verdict:
    """Write everything that recovery adds to a detected run, print the summary, and return the verdict.

    Args:
        seconds: time spent so far, by stage.
    """
    inputs, settings = results.recorded.inputs, results.recorded.inputs.settings
    written = _write_tables(results, run)
    _draw_evidence(inputs, results, run)
    now = datetime.now(UTC)
    record = build_run_record(results, written.recoveries, written.memories, run.path, seconds)
    record = replace(
        record,
        inputs={**record.inputs, "training_images": _training_source(results)},
        finished=now.isoformat(timespec="seconds"),
        power=audit_power(record, written.scores, written.recoveries),
    )
    del written  # the same tables are read again
    checked = check_run(run.path, record)
    tables = checked.tables
    report = judge(checked, inputs.policy, inputs.waivers, None, new_only=False, today=now.date())
    limits = inputs.policy.model_dump(mode="json")
    finished = replace(record, verdict=report.verdict, policy=limits, notes=report.notes)
    finished = replace(finished, seal=seal_of(run.path, {**run.record, **asdict(finished)}))
    checked = checked._replace(record=finished)
    named = report.without_names() if settings.redact_prompts else report
    leaks = leaks_markdown(named.leaks), steps_markdown(named.steps, named.run_name)
    page_options = PageOptions(settings.redact_prompts, image_mode(settings.images, settings.blur))
    with _all_or_none(run):
        write_text(
            run.path / SUMMARY_FILE,
            summary_markdown(finished, tables.scores, tables.recoveries, settings.show_prompts, leaks),
        )
        write_outputs(audit_outputs(run.path), Judgement(named, checked, settings.show_prompts))
        write_report(run.path / REPORT_FILE, run.path, checked, report, page_options)
        run.update(**asdict(finished))
    lines = (*leak_lines(named.leaks), *step_lines(named.steps, as_uri(run.path)))
    print_summary(SummaryConsole(), finished, run.path, tables.scores, tables.spikes, tables.recoveries, lines)
    return report.verdict


def _training_source(results: Results) -> dict[str, Any] | None:
    """Return which training images were compared with; without a flagged or ordinary prompt none were opened."""
    source, training = results.recorded.inputs.settings.train_images, results.training
    if source is None:
        return None
    if training is None:
        return {"source": as_uri(source), "n_images": None, "sha256": None}
    nearest = (memory.outcome.nearest for recovered in results.recovered for memory in recovered.memories)
    copied = {near.index: near for near in nearest if near is not None and near.kind is not None}
    return {
        "source": as_uri(source),
        "n_images": len(training),
        "sha256": training.sha256,
        "copied": {
            near.name: {"file": training.label(index), "near_duplicates": len(training.near_duplicates(index))}
            for index, near in copied.items()
        },
    }


class _Tables(NamedTuple):
    """The tables that counts and the power of an audit rest on."""

    scores: pa.Table
    recoveries: pa.Table
    memories: pa.Table


def _write_tables(results: Results, run: RunDirectory) -> _Tables:
    """Write the tables that depend on recovery."""
    inputs, detection = results.recorded.inputs, results.detection
    prompts, footer = inputs.candidates.prompts, {"model_fingerprint": inputs.model.fingerprint}
    scores = scores_table(
        prompts,
        results.scored,
        results.severities,
        results.recovered,
        results.image_detectors,
        inputs.screened,
    )
    recoveries = recoveries_table(prompts, results.recovered)
    memories = memories_table(prompts, results.recovered)
    groups = neuron_groups_table(_neuron_groups(inputs, results))
    profiles = site_profiles_table(prompts, detection.flagged, detection.controls)
    write_table(run.path / SCORES_FILE, scores, schema_of_scores(scores), footer)
    write_table(run.path / RECOVERIES_FILE, recoveries, RECOVERIES_SCHEMA, footer)
    write_table(run.path / MEMORIES_FILE, memories, MEMORIES_SCHEMA, footer)
    write_table(run.path / NEURON_GROUPS_FILE, groups, NEURON_GROUPS_SCHEMA, footer)
    write_table(run.path / SITE_PROFILES_FILE, profiles, SITE_PROFILES_SCHEMA, footer)
    if results.canaries is not None:
        write_table(run.path / CANARIES_FILE, results.canaries.table, CANARIES_SCHEMA, footer)
    return _Tables(scores, recoveries, memories)


@contextmanager
def _all_or_none(run: RunDirectory) -> Iterator[None]:
    """Withdraw every file that holds the verdict unless all are written; run.json goes last and completes the audit."""
    try:
        yield
    except BaseException:
        withdraw_verdict(run.path)
        raise


def _neuron_groups(inputs: Inputs, results: Results) -> tuple[NeuronGroup, ...]:
    """Group neurons that spike together in several flagged prompts; the controls show what prompt style explains."""
    prompts, detection = inputs.candidates.prompts, results.detection
    return group_neurons(
        {prompts[position].prompt_id: _listed(neurons) for position, neurons in detection.flagged.items()},
        n_neurons=sum(group.columns.n_neurons for group in results.scored.groups),
        min_prompts=inputs.settings.min_group_prompts,
        min_jaccard=MIN_JACCARD,
        max_p_value=MAX_P_VALUE,
        unflagged={prompts[position].prompt_id: _listed(neurons) for position, neurons in detection.controls.items()},
        findings={
            prompts[s.position].prompt_id: finding_id(s.finding) for s in results.recovered if s.finding is not None
        },
    )


def _listed(neurons: PromptNeurons) -> list[ListedNeuron]:
    return [ListedNeuron(s.column.site.name, s.neuron, s.column.token_class, s.z) for s in neurons.spikes]


def _draw_evidence(inputs: Inputs, results: Results, run: RunDirectory) -> None:
    first_of_findings: dict[int, tuple[Recovered, Memory]] = {}
    for recovered in results.recovered:
        for memory in recovered.memories:
            if memory.finding is not None:
                first_of_findings.setdefault(memory.finding, (recovered, memory))
    rows = [_panel_row(inputs, results, run, *first) for first in first_of_findings.values()]
    if rows and inputs.settings.images:
        evidence_panel(rows, run.path / EVIDENCE_FILE)


def _panel_row(inputs: Inputs, results: Results, run: RunDirectory, recovered: Recovered, memory: Memory) -> PanelRow:
    best, prompt = recovered.best, inputs.candidates.prompts[recovered.position]
    return PanelRow(
        prompt=prompt.text,
        verdict=memory.outcome.verdict,
        strategy=memory.strategy,
        spike_score=float(results.scored.spike_score[recovered.position]),
        q_value=float(results.scored.q_value[recovered.position]),
        confidence=memory.outcome.confidence,
        evaluations=sum(attempt.evaluations for attempt in recovered.attempts),
        training_image=memory.training_image,
        samples=sample_paths(run.path, prompt.prompt_id, inputs.settings.n_samples),
        recovered=run.path / memory.image_path if memory.image_path else None,
        mask=run.path / best.mask_path if best.mask_path else None,
    )
