"""Check that every table is of this run: of its model, its prompts, its sites and its reference.

The judgement reads few of these tables, but the report and `flashbulb show` read them all.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from flashbulb.reports.tables.evidence import PROPENSITY_SCHEMA
from flashbulb.reports.tables.files import (
    IMAGES_DIRECTORY,
    NEURON_GROUPS_FILE,
    PROPENSITY_FILE,
    REFERENCE_SCORES_FILE,
    SITE_PROFILES_FILE,
    SPIKES_FILE,
    TEXT_NULL_FILE,
    RunIncompleteError,
)
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE, TEMPLATE, VERBATIM
from flashbulb.reports.tables.propensity import ComparedWith, Propensity, is_copy, propensity_of
from flashbulb.reports.tables.rows import iter_column, iter_rows
from flashbulb.reports.tables.run_record import RunRecord
from flashbulb.reports.tables.run_tables import AuditTables
from flashbulb.reports.tables.schema import TableRow, read_table

_MODEL_KEY = b"flashbulb.model_fingerprint"


class _Prompts(NamedTuple):
    """The prompt_ids of a run: flagged ones, unflagged ones that tier 0 did not leave out, and tried controls."""

    flagged: set[str]
    unflagged: set[str]
    controls: set[str]


def check_evidence(directory: Path, tables: AuditTables, record: RunRecord) -> None:
    """Check the tables beside scores and recoveries, which must have been checked before.

    Raises:
        RunIncompleteError: a table is of another run.
    """
    for field in fields(tables):
        _check_model(directory / f"{field.name}.parquet", getattr(tables, field.name), record)
    prompts = _prompts_of(tables)
    sites = _check_profiles(directory / SITE_PROFILES_FILE, tables.site_profiles, prompts)
    _check_spikes(directory / SPIKES_FILE, tables.spikes, prompts, sites)
    _check_groups(directory / NEURON_GROUPS_FILE, tables, prompts, sites)
    _check_reference(directory / REFERENCE_SCORES_FILE, tables.reference_scores, record)
    reference = set(tables.reference_scores["prompt_id"].to_pylist())
    others = prompts.unflagged if record.compared_with == "unflagged" else reference
    _check_text_null(directory / TEXT_NULL_FILE, tables.text_null, prompts.flagged, others, record)


def check_propensity(directory: Path, tables: AuditTables, record: RunRecord, stated: Propensity) -> pa.Table:
    """Read propensity.parquet and check that it is of this run: of its model and its ordinary prompts, as counted.

    Raises:
        RunFileError, RunIncompleteError: it is not.
    """
    path, prompts = directory / PROPENSITY_FILE, _prompts_of(tables)
    table = read_table(path, PROPENSITY_SCHEMA)
    _check_model(path, table, record)
    pool = set(tables.reference_scores["prompt_id"].to_pylist())
    if record.compared_with != "reference":
        pool = set(iter_column(tables.scores, "prompt_id")) - prompts.flagged
    if stated.source != record.compared_with or stated.n_pool != len(pool):
        raise _error(path, f"run.json records {stated.n_pool} {stated.source} prompts to draw from, not {len(pool)}")
    rows = table.to_pylist()
    names = {row["prompt_id"] for row in rows}
    if not names <= pool or len(names) != len(rows):
        raise _error(path, f"its prompts are not {record.compared_with} prompts, once each")
    has_training_images = record.settings.get("train_images") is not None
    findings = set(tables.recoveries["finding_id"].to_pylist()) - {None}
    for row in rows:
        _check_ordinary(path, row, len(rows), findings, has_training_images)
    compared_with: ComparedWith = "training_images" if has_training_images else "findings"
    if propensity_of(table, stated.source, stated.n_pool, compared_with) != stated:
        raise _error(path, "run.json records other counts of it")
    return table


def _check_ordinary(
    path: Path, row: TableRow, n_rows: int, findings: Collection[object], has_training_images: bool
) -> None:
    """Check the sample of an ordinary prompt by the rules that its row was made by."""
    name, kind, similarity, finding = row["prompt_id"], row["kind"], row["similarity"], row["finding_id"]
    if {has_training_images} != {row["nearest_image"] is not None, similarity is not None}:
        raise _error(path, f"the sample of {name!r} has a nearest training image without training images, or none")
    is_copied = kind != VERBATIM or 1 - REPLICATION_DISTANCE <= (similarity or 0.0) <= 1
    counts = is_copy("training_images" if has_training_images else "findings", kind, finding)
    if not (is_copied and kind in (None, VERBATIM, TEMPLATE) and (finding is None or finding in findings)):
        raise _error(path, f"the copy of {name!r} rests on nothing: kind {kind!r}, similarity {similarity}")
    if row["is_copy"] != counts or not 0 <= row["n_recurring"] < n_rows:
        raise _error(path, f"the counts of {name!r} are impossible or contradict each other")
    if row["image_path"] not in (None, f"{IMAGES_DIRECTORY}/{name}/seed-0.png"):
        raise _error(path, f"the image of {name!r} is not in the folder of its prompt")


def _check_model(path: Path, table: pa.Table, record: RunRecord) -> None:
    if (table.schema.metadata or {}).get(_MODEL_KEY, b"") != record.model.fingerprint.encode():
        raise _error(path, "its model is not the one in run.json")


def _error(path: Path, reason: str) -> RunIncompleteError:
    return RunIncompleteError(f"{path} does not fit the rest of the run: {reason}; run the audit again")


def _prompts_of(tables: AuditTables) -> _Prompts:
    flagged, unflagged = set[str](), set[str]()
    for row in iter_rows(tables.scores, ["prompt_id", "flagged", "tier"]):
        if row["flagged"] or row["tier"] != 0:
            (flagged if row["flagged"] else unflagged).add(row["prompt_id"])
    tried = tables.recoveries.select(["prompt_id", "is_control"]).to_pylist()
    return _Prompts(
        flagged=flagged,
        unflagged=unflagged,
        controls={row["prompt_id"] for row in tried if row["is_control"]},
    )


def _check_profiles(path: Path, profiles: pa.Table, prompts: _Prompts) -> Mapping[str, int]:
    """Return the number of neurons of each site. Flagged prompts and controls have a row for every site."""
    rows = profiles.to_pylist()
    sites = {row["site"]: (row["kind"], row["n_neurons"]) for row in rows}
    expected = {(prompt, False) for prompt in prompts.flagged} | {(prompt, True) for prompt in prompts.controls}
    counts = Counter((row["prompt_id"], row["is_control"]) for row in rows)
    if counts.keys() != expected or len({(row["prompt_id"], row["site"]) for row in rows}) != len(rows):
        raise _error(path, "its prompts are not the flagged prompts and controls, once per site")
    if any(n != len(sites) for n in counts.values()):
        raise _error(path, "a prompt lacks a site")
    for row in rows:
        is_valid = row["n_neurons"] > 0 and 0 <= row["rms_z"] < math.inf and 0 <= row["spike_share"] <= 1
        if not is_valid or (row["kind"], row["n_neurons"]) != sites[row["site"]]:
            raise _error(path, f"the values of site {row['site']!r} are impossible or contradict each other")
    return {site: n_neurons for site, (_, n_neurons) in sites.items()}


def _check_spikes(path: Path, spikes: pa.Table, prompts: _Prompts, sites: Mapping[str, int]) -> None:
    rows = spikes.to_pylist()
    if {row["prompt_id"] for row in rows} != prompts.flagged:
        raise _error(path, "its prompts are not the flagged prompts")
    for row in rows:
        _check_neuron(path, row, sites)
        if not (math.isfinite(row["z"]) and math.isfinite(row["activation"]) and 0 <= row["share"] <= 1 + 1e-6):
            raise _error(path, f"a neuron of {row['prompt_id']} has a value that is impossible")


def _check_neuron(path: Path, row: TableRow, sites: Mapping[str, int]) -> None:
    if not 0 <= row["neuron"] < sites.get(row["site"], 0):
        raise _error(path, f"no site {row['site']!r} with a neuron {row['neuron']} was scored")


def _check_groups(path: Path, tables: AuditTables, prompts: _Prompts, sites: Mapping[str, int]) -> None:
    findings = set(tables.recoveries["finding_id"].to_pylist()) - {None}
    shared: dict[str, tuple[object, ...]] = {}
    for row in tables.neuron_groups.to_pylist():
        _check_neuron(path, row, sites)
        names = row["prompt_ids"]
        if not prompts.flagged.issuperset(names) or not row["n_prompts"] == len(set(names)) == len(names):
            raise _error(path, f"the prompts of {row['group_id']!r} are not {row['n_prompts']} flagged prompts")
        recorded_group = (row["n_group_prompts"], row["n_findings"], row["unflagged_share"], row["p_value"])
        if shared.setdefault(row["group_id"], recorded_group) != recorded_group:
            raise _error(path, f"the rows of {row['group_id']!r} contradict each other")
        is_possible = 0 < row["n_group_prompts"] <= len(prompts.flagged) and math.isfinite(row["mean_z"])
        shares = (row["p_value"], row["unflagged_share"] or 0.0)
        if not (is_possible and all(0 <= share <= 1 for share in shares)):
            raise _error(path, f"a value of {row['group_id']!r} is impossible")
        if row["n_findings"] is not None and not 0 <= row["n_findings"] <= len(findings):
            raise _error(path, f"{row['group_id']!r} has {row['n_findings']} findings, the run has {len(findings)}")


def _check_reference(path: Path, reference: pa.Table, record: RunRecord) -> None:
    """Check that each style has as many reference prompts as its calibration records; without a reference, none."""
    rows, calibration = reference.to_pylist(), record.calibration
    counts = Counter(row["style"] for row in rows)
    recorded = {number: style.n_calibrating for number, style in enumerate(calibration.styles) if style.on_reference}
    n_reference = 0 if record.compared_with == "unflagged" else calibration.n_reference
    if counts != Counter(recorded) or len(rows) != n_reference:
        raise _error(path, f"it has {len(rows)} prompts, the calibration {n_reference}, by style {recorded}")
    if len({row["prompt_id"] for row in rows}) != len(rows):
        raise _error(path, "a prompt occurs twice")
    for row in rows:
        p_value = 0.0 if row["held_out_p_value"] is None else row["held_out_p_value"]
        if not (math.isfinite(row["spike_score"]) and 0 <= p_value <= 1):
            raise _error(path, "a score or p-value is impossible")


def _check_text_null(
    path: Path, null: pa.Table, flagged: Collection[str], others: Collection[str], record: RunRecord
) -> None:
    """Check that the two sets of prompts are those that the calibration compared, or that none were."""
    rows = null.to_pylist()
    sets = tuple({row["prompt_id"] for row in rows if row["is_flagged"] is side} for side in (True, False))
    expected = (set(flagged), set(others)) if rows else (set(), set())
    if sets != expected or bool(rows) != (record.calibration.style_auc is not None):
        raise _error(path, f"its prompts are not the flagged and the {record.compared_with} prompts")
    if len(rows) != len(sets[0]) + len(sets[1]) or not all(0 <= row["score"] <= 1 for row in rows):
        raise _error(path, "a prompt occurs twice, or a score is not between 0 and 1")
