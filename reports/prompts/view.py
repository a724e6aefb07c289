"""Collect the results of one prompt from the tables of a run, which needs scores but may be unfinished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from flashbulb.reports.checks.findings import Finding
from flashbulb.reports.prompts.search import find_prompt
from flashbulb.reports.tables.evidence import NEURON_GROUPS_SCHEMA, SITE_PROFILES_SCHEMA
from flashbulb.reports.tables.files import (
    IMAGES_DIRECTORY,
    MEMORIES_FILE,
    NEURON_GROUPS_FILE,
    RECOVERIES_FILE,
    SCORES_FILE,
    SITE_PROFILES_FILE,
    SPIKES_FILE,
)
from flashbulb.reports.tables.record_files import read_content
from flashbulb.reports.tables.run_tables import RunTables
from flashbulb.reports.tables.schema import (
    MEMORIES_SCHEMA,
    RECOVERIES_SCHEMA,
    SPIKES_SCHEMA,
    TableRow,
    detector_columns,
    scores_schema,
)


@dataclass(frozen=True, slots=True)
class SpikingNeuron:
    """One of the neurons with the highest |z| of a flagged prompt."""

    neuron: int
    token_class: str
    activation: float
    z: float
    share: float


@dataclass(frozen=True, slots=True)
class SpikingSite:
    """A site with those spiking neurons that are in it, highest |z| first.

    `rms_z` is over all neurons of the site; it is None before recovery.
    """

    site: str
    neurons: tuple[SpikingNeuron, ...]
    rms_z: float | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to recover an image from the prompt; paths are relative to the run directory."""

    strategy: str
    restart: int
    verdict: str
    evaluations: int
    seed_agreement: float
    confidence: float | None
    kind: str | None
    similarity: float | None
    nearest_image: str | None
    fixed_share: float | None
    alike_seeds: int | None
    alike_prompts: int | None
    image_path: str | None
    mask_path: str | None
    finding_id: str | None


@dataclass(frozen=True, slots=True)
class Memory:
    """A distinct image that the prompt gives, and how many of its plain samples show it, with bounds of that share."""

    finding_id: str | None
    verdict: str
    evidence: str
    p_hits: int
    p_samples: int
    p_low: float
    p_high: float
    image_path: str | None
    nearest_image: str | None


@dataclass(frozen=True, slots=True)
class NeuronGroup:
    """A group of neurons that spike together; `n_listed` of them spike for this prompt."""

    group_id: str
    n_neurons: int
    n_listed: int
    n_prompts: int
    n_findings: int | None
    p_value: float


@dataclass(frozen=True, slots=True)
class OtherPrompt:
    """Another prompt that recovered the same image."""

    prompt_id: str
    prompt: str


@dataclass(frozen=True, slots=True)
class PromptView:
    """The results of one prompt of a run.

    Args:
        status: the status of the run; recovery has no results until it is complete.
        detectors: score of each detector, None if its tier was not reached; the tier-0 score is `screen`.
        style: the style group that the prompt is compared with, as numbered in `run.json`.
        finding_number, fingerprint: of its finding; None if it has none, or the audit is not complete.
        is_control: the prompt is unflagged and was tried to measure false recoveries.
        sites: highest |z| first.
        rungs: attempts in the order in which they were tried.
        memories: the distinct images that the prompt gives.
        images: every saved image of the prompt, relative to the run directory.
        same_picture: other prompts that recovered the same image.
    """

    run: str
    status: str
    prompt_id: str
    finding_number: int | None
    fingerprint: str | None
    prompt: str
    source_file: str
    source_row: int
    n_duplicates: int
    tier: int
    detectors: Mapping[str, float | None]
    style: int | None
    spike_score: float | None
    p_value: float | None
    q_value: float | None
    flagged: bool
    severity: str
    is_control: bool
    sites: tuple[SpikingSite, ...]
    rungs: tuple[Attempt, ...]
    memories: tuple[Memory, ...]
    images: tuple[str, ...]
    groups: tuple[NeuronGroup, ...]
    same_picture: tuple[OtherPrompt, ...]


def view_prompt(directory: Path, wanted: str, findings: Sequence[Finding] | None = None) -> PromptView:
    """Collect the results of the prompt that `wanted` names, as `find_prompt` looks for it.

    Args:
        findings: of the run, worst first; None before it is complete.

    Raises:
        RunIncompleteError: there are no scores yet, or a table does not match its hash in run.json.
        RunFileError: there is no run, or `wanted` matches no prompt or several.
    """
    content = read_content(directory, "audit")
    tables = RunTables(directory, content)
    scores = tables.read(SCORES_FILE, scores_schema(()))
    row = find_prompt(scores, wanted, findings, directory)
    prompt_id = row["prompt_id"]
    recoveries, memories = tables.read(RECOVERIES_FILE, RECOVERIES_SCHEMA), tables.read(MEMORIES_FILE, MEMORIES_SCHEMA)
    attempts = _prompt_rows(recoveries, prompt_id)
    own = ((n, finding.fingerprint) for n, finding in enumerate(findings or (), 1) if finding.prompt_id == prompt_id)
    number, fingerprint = next(own, (None, None))
    return PromptView(
        run=str(directory),
        status=str(content.get("status")),
        finding_number=number,
        fingerprint=fingerprint,
        **{name: row[name] for name in scores_schema(()).names},
        detectors={name: row[name] for name in _score_columns(scores.schema)},
        is_control=any(attempt["is_control"] for attempt in attempts),
        sites=_sites(tables, prompt_id),
        rungs=tuple(Attempt(**_select_fields(Attempt, attempt)) for attempt in attempts),
        memories=tuple(Memory(**_select_fields(Memory, row)) for row in _prompt_rows(memories, prompt_id)),
        images=_images(directory, prompt_id),
        groups=_groups(tables.read(NEURON_GROUPS_FILE, NEURON_GROUPS_SCHEMA), prompt_id),
        same_picture=_prompts_with_same_image(scores, memories, prompt_id),
    )


def _prompt_rows(table: pa.Table, prompt_id: str) -> list[dict[str, Any]]:
    """Return the rows of one prompt; not filtered by pyarrow, whose comparisons import pandas."""
    positions = [i for i, row_prompt in enumerate(table["prompt_id"].to_pylist()) if row_prompt == prompt_id]
    return [table.slice(i, 1).to_pylist()[0] for i in positions]


def _select_fields(record_type: Any, row: TableRow) -> dict[str, Any]:
    """Return the columns of a row that are fields of a dataclass."""
    return {field.name: row[field.name] for field in fields(record_type)}


def _score_columns(schema: pa.Schema) -> list[str]:
    return [name for name in detector_columns(schema) if schema.field(name).type == pa.float64()]


def _images(directory: Path, prompt_id: str) -> tuple[str, ...]:
    if not prompt_id.isalnum():  # not written by flashbulb, and perhaps a path out of the run
        return ()
    paths = sorted((directory / IMAGES_DIRECTORY / prompt_id).glob("*.png"))
    return tuple(path.relative_to(directory).as_posix() for path in paths)


def _sites(tables: RunTables, prompt_id: str) -> tuple[SpikingSite, ...]:
    profiles = _prompt_rows(tables.read(SITE_PROFILES_FILE, SITE_PROFILES_SCHEMA), prompt_id)
    rms_z: dict[str, float] = {row["site"]: row["rms_z"] for row in profiles}
    neurons_by_site: dict[str, list[SpikingNeuron]] = {site: [] for site in rms_z}
    for row in _prompt_rows(tables.read(SPIKES_FILE, SPIKES_SCHEMA), prompt_id):
        neurons_by_site.setdefault(row["site"], []).append(SpikingNeuron(**_select_fields(SpikingNeuron, row)))
    sites = [
        SpikingSite(site, tuple(sorted(neurons, key=lambda neuron: -abs(neuron.z))), rms_z.get(site))
        for site, neurons in neurons_by_site.items()
    ]
    return tuple(sorted(sites, key=_highest_z, reverse=True))


def _highest_z(site: SpikingSite) -> tuple[float, float]:
    return abs(site.neurons[0].z) if site.neurons else 0.0, site.rms_z or 0.0


def _groups(table: pa.Table, prompt_id: str) -> tuple[NeuronGroup, ...]:
    rows_by_group: dict[str, list[TableRow]] = {}
    for row in table.to_pylist():
        rows_by_group.setdefault(row["group_id"], []).append(row)
    groups = []
    for group_id, rows in rows_by_group.items():
        n_listed = sum(prompt_id in row["prompt_ids"] for row in rows)
        if n_listed:
            shared = (rows[0][name] for name in ("n_group_prompts", "n_findings", "p_value"))
            groups.append(NeuronGroup(group_id, len(rows), n_listed, *shared))
    return tuple(groups)


def _prompts_with_same_image(scores: pa.Table, memories: pa.Table, prompt_id: str) -> tuple[OtherPrompt, ...]:
    rows = memories.select(["finding_id", "prompt_id"]).to_pylist()
    findings = {row["finding_id"] for row in rows if row["prompt_id"] == prompt_id} - {None}
    other_ids = {row["prompt_id"] for row in rows if row["finding_id"] in findings} - {prompt_id}
    prompts = scores.select(["prompt_id", "prompt"]).to_pylist() if other_ids else ()
    return tuple(OtherPrompt(row["prompt_id"], row["prompt"]) for row in prompts if row["prompt_id"] in other_ids)
