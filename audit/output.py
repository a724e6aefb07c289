"""Write what an audit found: tables, figures, summary.md, run.json, and the summary on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from rich.console import Console
from safetensors.numpy import save_file

from audit.account import Inputs, Results, run_record
from audit.evidence_tables import (
    reference_scores_table,
    site_profiles_table,
    text_null_of,
    text_null_table,
    text_sets,
)
from audit.neuron_groups import (
    MAX_P_VALUE,
    MIN_JACCARD,
    ListedNeuron,
    NeuronGroup,
    group_neurons,
    neuron_groups_table,
)
from audit.recovering import Recovered, sample_paths
from audit.rundir import RunDirectory
from audit.scoring import Spike, baseline_arrays, baseline_columns, top_spikes
from audit.shards import Shards
from audit.tables import finding_id, recoveries_table, scores_table, spikes_table
from reports.decide import Verdict, decide
from reports.evidence_tables import REFERENCE_SCORES_SCHEMA, SITE_PROFILES_SCHEMA, TEXT_NULL_SCHEMA
from reports.files import (
    BASELINE_FILE,
    EVIDENCE_FILE,
    HISTOGRAM_FILE,
    NEURON_GROUPS_FILE,
    RECOVERIES_FILE,
    REFERENCE_SCORES_FILE,
    SCORES_FILE,
    SITE_PROFILES_FILE,
    SPIKES_FILE,
    SUMMARY_FILE,
    TEXT_NULL_FILE,
    whole_file,
    write_text,
)
from reports.markdown import summary_markdown
from reports.neuron_groups import NEURON_GROUPS_SCHEMA
from reports.panels import PanelRow, evidence_panel, score_histogram
from reports.policy import Policy
from reports.run_record import results_of
from reports.schema import RECOVERIES_SCHEMA, SPIKES_SCHEMA, detector_columns, scores_schema, write_table
from reports.terminal import print_summary


def write_results(
    inputs: Inputs, results: Results, candidates: Shards, run: RunDirectory, seconds: Mapping[str, float]
) -> Verdict:
    """Write everything into the run directory, print the summary, and give the verdict.

    Args:
        seconds: spent so far, by stage.
    """
    prompts, scored = inputs.candidates.prompts, results.scored
    flagged = [position for position, flag in enumerate(scored.flagged) if flag]
    n_top = inputs.settings.n_top_neurons
    of_flagged = top_spikes(scored.groups, candidates, flagged, n_top)
    spikes = spikes_table(prompts, of_flagged)
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
    with whole_file(run.path / BASELINE_FILE) as part:
        save_file(baseline_arrays(scored.groups), part, metadata=baseline_columns(scored.groups))
    footer = {"model_fingerprint": inputs.loaded.fingerprint}
    write_table(run.path / SCORES_FILE, scores, scores_schema(detector_columns(scores.schema)), footer)
    write_table(run.path / SPIKES_FILE, spikes, SPIKES_SCHEMA, footer)
    write_table(run.path / RECOVERIES_FILE, recoveries, RECOVERIES_SCHEMA, footer)
    shared = _neuron_groups(inputs, results, of_flagged, candidates)
    write_table(run.path / NEURON_GROUPS_FILE, neuron_groups_table(shared), NEURON_GROUPS_SCHEMA, footer)
    style_auc = _write_evidence(inputs, results, candidates, run, footer)
    _draw(inputs, results, run)
    record = run_record(inputs, results, recoveries, run.path, seconds, style_auc)
    verdict = decide(results_of(record), Policy())
    finished = replace(record, verdict=verdict)
    run.update(**asdict(finished))
    write_text(run.path / SUMMARY_FILE, summary_markdown(finished, scores, recoveries, inputs.settings.show_prompts))
    print_summary(Console(width=None if sys.stdout.isatty() else 120), finished, run.path, scores, spikes, recoveries)
    return verdict


def _write_evidence(
    inputs: Inputs, results: Results, candidates: Shards, run: RunDirectory, footer: Mapping[str, str]
) -> float | None:
    """Write the tables behind the verdict; returns how well words alone tell flagged prompts from others."""
    scored, sets = results.scored, text_sets(inputs, results.scored)
    null = text_null_of(sets, inputs.settings.seed)
    profiles = site_profiles_table(inputs.candidates.prompts, scored, candidates, results.recovered)
    references = reference_scores_table(inputs, scored)
    write_table(run.path / REFERENCE_SCORES_FILE, references, REFERENCE_SCORES_SCHEMA, footer)
    write_table(run.path / SITE_PROFILES_FILE, profiles, SITE_PROFILES_SCHEMA, footer)
    write_table(run.path / TEXT_NULL_FILE, text_null_table(sets, null), TEXT_NULL_SCHEMA, footer)
    return None if null is None else null.auc


def _neuron_groups(
    inputs: Inputs, results: Results, of_flagged: Mapping[int, Sequence[Spike]], candidates: Shards
) -> tuple[NeuronGroup, ...]:
    """Neurons that spike together in several flagged prompts, the controls showing what caption style explains."""
    prompts, groups = inputs.candidates.prompts, results.scored.groups
    controls = [one.position for one in results.recovered if one.is_control]
    of_controls = top_spikes(groups, candidates, controls, inputs.settings.n_top_neurons)
    return group_neurons(
        {prompts[position].prompt_id: _listed(spikes) for position, spikes in of_flagged.items()},
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


def _draw(inputs: Inputs, results: Results, run: RunDirectory) -> None:
    scored = results.scored
    score_histogram(
        scored.reference_score.tolist(),
        scored.spike_score.tolist(),
        scored.finite_threshold,
        run.path / HISTOGRAM_FILE,
    )
    heads: dict[int, Recovered] = {}
    for one in results.recovered:
        if one.finding is not None:
            heads.setdefault(one.finding, one)
    rows = [_panel_row(inputs, results, run, head) for head in heads.values()]
    (run.path / EVIDENCE_FILE).unlink(missing_ok=True)  # of an earlier try with other training pictures
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
