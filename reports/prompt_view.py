"""Everything that a run knows of one prompt, gathered from its tables; works as soon as there are scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from reports.evidence_tables import SITE_PROFILES_SCHEMA
from reports.files import (
    IMAGES_DIRECTORY,
    NEURON_GROUPS_FILE,
    RECOVERIES_FILE,
    SCORES_FILE,
    SITE_PROFILES_FILE,
    SPIKES_FILE,
    RunFileError,
)
from reports.neuron_groups import NEURON_GROUPS_SCHEMA
from reports.record_files import read_content
from reports.run_tables import RunTables
from reports.schema import RECOVERIES_SCHEMA, SPIKES_SCHEMA, detector_columns, scores_schema

_N_NAMED = 5  # of several prompts that could be meant


@dataclass(frozen=True, slots=True)
class SpikingNeuron:
    """One of the loudest neurons of a flagged prompt."""

    neuron: int
    token_class: str
    activation: float
    z: float
    share: float


@dataclass(frozen=True, slots=True)
class SpikingSite:
    """A site with the prompt's loudest neurons in it; `rms_z` over all of its neurons, None before recovery."""

    site: str
    neurons: tuple[SpikingNeuron, ...]
    rms_z: float | None


@dataclass(frozen=True, slots=True)
class TriedRung:
    """A rung of the ladder that the prompt was tried on; paths are relative to the run."""

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
    image_path: str | None
    mask_path: str | None
    finding_id: str | None


@dataclass(frozen=True, slots=True)
class GroupOfPrompt:
    """A group of neurons, `n_listed` of which this prompt lists."""

    group_id: str
    n_neurons: int
    n_listed: int
    n_prompts: int
    n_findings: int | None
    p_value: float


@dataclass(frozen=True, slots=True)
class OtherPrompt:
    """Another prompt that gave the same picture."""

    prompt_id: str
    prompt: str


@dataclass(frozen=True, slots=True)
class PromptView:
    """One prompt of a run.

    Args:
        status: of the run; before it is complete nothing is known of recovery.
        detectors: score of each, None where its tier was not reached; the tier-0 score is `screen`.
        style: the group of captions alike that it is judged among, as `run.json` numbers them.
        is_control: it was not flagged, and tried to measure false recoveries.
        sites: loudest first.
        images: every picture that is kept of it, relative to the run.
    """

    run: str
    status: str
    prompt_id: str
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
    rungs: tuple[TriedRung, ...]
    images: tuple[str, ...]
    groups: tuple[GroupOfPrompt, ...]
    same_picture: tuple[OtherPrompt, ...]


def view_prompt(directory: Path, wanted: str) -> PromptView:
    """Gather what the run knows of the prompt whose text, id or beginning of an id is `wanted`.

    Raises:
        RunIncompleteError: there are no scores yet, or a table is not the one that run.json vouches for.
        RunFileError: no run directory, or none or several prompts are meant.
    """
    content = read_content(directory, "audit")
    tables = RunTables(directory, content)
    scores = tables.read(SCORES_FILE, scores_schema(()))
    row = _row_of(scores, wanted, directory)
    prompt_id = row["prompt_id"]
    recoveries = tables.read(RECOVERIES_FILE, RECOVERIES_SCHEMA)
    tried = _of_prompt(recoveries, prompt_id)
    return PromptView(
        run=str(directory),
        status=str(content.get("status")),
        **{name: row[name] for name in scores_schema(()).names},
        detectors={name: row[name] for name in _scored_by(scores.schema)},
        is_control=any(rung["is_control"] for rung in tried),
        sites=_sites(tables, prompt_id),
        rungs=tuple(TriedRung(**_named(TriedRung, rung)) for rung in tried),
        images=_images(directory, prompt_id),
        groups=_groups(tables.read(NEURON_GROUPS_FILE, NEURON_GROUPS_SCHEMA), prompt_id),
        same_picture=_same_picture(scores, recoveries, tried),
    )


def _row_of(scores: pa.Table, wanted: str, directory: Path) -> dict[str, Any]:
    ids, text = scores["prompt_id"].to_pylist(), wanted.strip()
    for found in (
        [i for i, prompt_id in enumerate(ids) if prompt_id == text],
        [i for i, prompt in enumerate(scores["prompt"].to_pylist()) if prompt == text],
        [i for i, prompt_id in enumerate(ids) if prompt_id.startswith(text)],
    ):
        if len(found) == 1:
            row: dict[str, Any] = scores.slice(found[0], 1).to_pylist()[0]
            return row
        if found:
            some = ", ".join(ids[i] for i in found[:_N_NAMED])
            raise RunFileError(f"{wanted!r} can be {len(found)} prompts of {directory}, e.g. {some}; give more of it")
    raise RunFileError(
        f"no prompt of {directory} has the id or the exact text {wanted!r}; {directory / SCORES_FILE} lists them"
    )


def _of_prompt(table: pa.Table, prompt_id: str) -> list[dict[str, Any]]:
    """Rows of one prompt; not filtered by pyarrow, whose comparisons import pandas."""
    found = [i for i, owner in enumerate(table["prompt_id"].to_pylist()) if owner == prompt_id]
    return [table.slice(i, 1).to_pylist()[0] for i in found]


def _named(kind: Any, row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a row that a dataclass names."""
    return {field.name: row[field.name] for field in fields(kind)}


def _scored_by(schema: pa.Schema) -> list[str]:
    return [name for name in detector_columns(schema) if schema.field(name).type == pa.float64()]


def _images(directory: Path, prompt_id: str) -> tuple[str, ...]:
    if not prompt_id.isalnum():  # no id of ours, and perhaps a path to somewhere else
        return ()
    kept = sorted((directory / IMAGES_DIRECTORY / prompt_id).glob("*.png"))
    return tuple(path.relative_to(directory).as_posix() for path in kept)


def _sites(tables: RunTables, prompt_id: str) -> tuple[SpikingSite, ...]:
    profiles = _of_prompt(tables.read(SITE_PROFILES_FILE, SITE_PROFILES_SCHEMA), prompt_id)
    rms_z: dict[str, float] = {row["site"]: row["rms_z"] for row in profiles}
    by_site: dict[str, list[SpikingNeuron]] = {site: [] for site in rms_z}
    for row in _of_prompt(tables.read(SPIKES_FILE, SPIKES_SCHEMA), prompt_id):
        by_site.setdefault(row["site"], []).append(SpikingNeuron(**_named(SpikingNeuron, row)))
    sites = [
        SpikingSite(site, tuple(sorted(neurons, key=lambda neuron: -abs(neuron.z))), rms_z.get(site))
        for site, neurons in by_site.items()
    ]
    return tuple(sorted(sites, key=_loudness, reverse=True))


def _loudness(site: SpikingSite) -> tuple[float, float]:
    return abs(site.neurons[0].z) if site.neurons else 0.0, site.rms_z or 0.0


def _groups(table: pa.Table, prompt_id: str) -> tuple[GroupOfPrompt, ...]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault(row["group_id"], []).append(row)
    found = []
    for group_id, of_group in rows.items():
        n_listed = sum(prompt_id in row["prompt_ids"] for row in of_group)
        if n_listed:
            shared = (of_group[0][name] for name in ("n_group_prompts", "n_findings", "p_value"))
            found.append(GroupOfPrompt(group_id, len(of_group), n_listed, *shared))
    return tuple(found)


def _same_picture(
    scores: pa.Table, recoveries: pa.Table, tried: Sequence[Mapping[str, Any]]
) -> tuple[OtherPrompt, ...]:
    findings = {rung["finding_id"] for rung in tried} - {None}
    own = {rung["prompt_id"] for rung in tried}
    rows = recoveries.select(["finding_id", "prompt_id"]).to_pylist()
    others = {row["prompt_id"] for row in rows if row["finding_id"] in findings} - own - {None}
    named = scores.select(["prompt_id", "prompt"]).to_pylist() if others else ()
    return tuple(OtherPrompt(row["prompt_id"], row["prompt"]) for row in named if row["prompt_id"] in others)
