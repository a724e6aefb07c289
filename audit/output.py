"""Write what recovery adds to a detected run: tables, evidence, the verdict in every format, run.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime

from audit.account import run_record
from audit.evidence_tables import site_profiles_table
from audit.neuron_groups import (
    MAX_P_VALUE,
    MIN_JACCARD,
    ListedNeuron,
    NeuronGroup,
    group_neurons,
    neuron_groups_table,
)
from audit.recovering import Recovered, sample_paths
from audit.results import Inputs, Results
from audit.rundir import RunDirectory
from audit.scoring import Spike, top_spikes
from audit.shards import Shards
from audit.tables import finding_id, recoveries_table, scores_table, spikes_table
from reports.check import check_run
from reports.console import SummaryConsole
from reports.decide import Verdict
from reports.evidence_tables import SITE_PROFILES_SCHEMA
from reports.files import (
    EVIDENCE_FILE,
    NEURON_GROUPS_FILE,
    RECOVERIES_FILE,
    REPORT_FILE,
    SCORES_FILE,
    SITE_PROFILES_FILE,
    SUMMARY_FILE,
    withdraw_verdict,
    write_text,
)
from reports.gate import judge
from reports.gate_outputs import outputs_beside, write_outputs
from reports.html import PageOptions, images_mode, write_report
from reports.markdown import summary_markdown
from reports.neuron_groups import NEURON_GROUPS_SCHEMA
from reports.panels import PanelRow, evidence_panel
from reports.schema import RECOVERIES_SCHEMA, detector_columns, scores_schema, write_table
from reports.terminal import print_summary


def write_results(results: Results, run: RunDirectory, seconds: Mapping[str, float]) -> Verdict:
    """Write what recovery adds to a detected run, print the summary, and give the verdict.

    Args:
        seconds: spent so far, by stage.
    """
    inputs, scored = results.recorded.inputs, results.scored
    prompts, candidates = inputs.candidates.prompts, results.recorded.shards("candidates")
    scores = scores_table(
        prompts,
        scored,
        results.severities,
        results.recovered,
        results.picture_detectors,
        inputs.left_out,
        inputs.screen_scores,
    )
    recoveries = recoveries_table(prompts, results.recovered)
    groups = neuron_groups_table(_neuron_groups(inputs, results, candidates))
    profiles = site_profiles_table(prompts, scored, candidates, results.recovered)
    footer = {"model_fingerprint": inputs.model.fingerprint}
    write_table(run.path / SCORES_FILE, scores, scores_schema(detector_columns(scores.schema)), footer)
    write_table(run.path / RECOVERIES_FILE, recoveries, RECOVERIES_SCHEMA, footer)
    write_table(run.path / NEURON_GROUPS_FILE, groups, NEURON_GROUPS_SCHEMA, footer)
    write_table(run.path / SITE_PROFILES_FILE, profiles, SITE_PROFILES_SCHEMA, footer)
    _draw_evidence(inputs, results, run)
    now = datetime.now(UTC)
    record = replace(run_record(results, recoveries, run.path, seconds), finished=now.isoformat(timespec="seconds"))
    checked = check_run(run.path, record)
    report = judge(checked, inputs.policy, inputs.waivers, None, new_only=False, today=now.date())
    limits = inputs.policy.model_dump(mode="json")
    finished = replace(record, verdict=report.verdict, policy=limits, notes=report.notes)
    show_prompts = inputs.settings.show_prompts
    with _all_or_none(run):
        write_text(run.path / SUMMARY_FILE, summary_markdown(finished, scores, recoveries, show_prompts))
        write_outputs(outputs_beside(run.path, show_prompts), report, checked)
        write_report(run.path / REPORT_FILE, run.path, checked, report, _page_options(inputs))
        run.update(**asdict(finished))
    spikes = spikes_table(prompts, results.found.spikes)
    print_summary(SummaryConsole(), finished, run.path, scores, spikes, recoveries)
    return report.verdict


@contextmanager
def _all_or_none(run: RunDirectory) -> Iterator[None]:
    """Keep what says the verdict only if all of it was written; run.json, which calls the audit complete, goes last."""
    try:
        yield
    except BaseException:
        withdraw_verdict(run.path)
        raise


def _page_options(inputs: Inputs) -> PageOptions:
    settings = inputs.settings
    return PageOptions(settings.redact_prompts, images_mode(settings.images, settings.blur))


def _neuron_groups(inputs: Inputs, results: Results, candidates: Shards) -> tuple[NeuronGroup, ...]:
    """Neurons that spike together in several flagged prompts, the controls showing what caption style explains."""
    prompts, groups = inputs.candidates.prompts, results.scored.groups
    controls = [one.position for one in results.recovered if one.is_control]
    of_controls = top_spikes(groups, candidates, controls, inputs.settings.n_top_neurons)
    return group_neurons(
        {prompts[position].prompt_id: _listed(spikes) for position, spikes in results.found.spikes.items()},
        n_neurons=sum(column.site.n_neurons for group in groups for column in group.columns),
        min_prompts=inputs.settings.min_group_prompts,
        min_jaccard=MIN_JACCARD,
        max_p_value=MAX_P_VALUE,
        unflagged={prompts[position].prompt_id: _listed(spikes) for position, spikes in of_controls.items()},
        findings={
            prompts[s.position].prompt_id: finding_id(s.finding) for s in results.recovered if s.finding is not None
        },
    )


def _listed(spikes: Sequence[Spike]) -> list[ListedNeuron]:
    return [ListedNeuron(s.column.site.name, s.neuron, s.column.token_class, s.z) for s in spikes]


def _draw_evidence(inputs: Inputs, results: Results, run: RunDirectory) -> None:
    heads: dict[int, Recovered] = {}
    for one in results.recovered:
        if one.finding is not None:
            heads.setdefault(one.finding, one)
    rows = [_panel_row(inputs, results, run, head) for head in heads.values()]
    if rows and inputs.settings.images:
        evidence_panel(rows, run.path / EVIDENCE_FILE)


def _panel_row(inputs: Inputs, results: Results, run: RunDirectory, head: Recovered) -> PanelRow:
    best, prompt = head.best, inputs.candidates.prompts[head.position]
    return PanelRow(
        prompt=prompt.text,
        verdict=best.outcome.verdict,
        strategy=best.strategy,
        spike_score=float(results.scored.spike_score[head.position]),
        q_value=float(results.scored.q_value[head.position]),
        confidence=best.outcome.confidence,
        evaluations=sum(rung.evaluations for rung in head.rungs),
        training_image=best.training_picture,
        samples=sample_paths(run.path, prompt, inputs.settings.n_samples),
        recovered=run.path / best.image_path if best.image_path else None,
        mask=run.path / best.mask_path if best.mask_path else None,
    )
