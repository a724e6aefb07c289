"""A run whose prompts recovered the same image and others, and its tables."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flashbulb.reports.tables.evidence import NEURON_GROUPS_SCHEMA, SITE_PROFILES_SCHEMA
from flashbulb.reports.tables.files import (
    MEMORIES_FILE,
    NEURON_GROUPS_FILE,
    RECOVERIES_FILE,
    SITE_PROFILES_FILE,
    SPIKES_FILE,
    sha256_of,
)
from flashbulb.reports.tables.schema import MEMORIES_SCHEMA, RECOVERIES_SCHEMA, SPIKES_SCHEMA, write_table
from tests.reports.examples import attempt, attempts_table, memories_of, memories_table, memory
from tests.reports.runs import LEAKS, write_example


def rewrite_record(run: Path, **entries: Any) -> None:
    """Rewrite run.json with the hashes of the tables as they are, and with `entries`."""
    record = json.loads((run / "run.json").read_text())
    record["tables"] = {name: sha256_of(run / name) for name in record["tables"]}
    (run / "run.json").write_text(json.dumps(record | entries))


def spike(prompt_id: str, site: str, neuron: int, z: float) -> dict[str, Any]:
    return {
        "prompt_id": prompt_id,
        "site": site,
        "neuron": neuron,
        "token_class": "all",
        "activation": 1.0,
        "z": z,
        "share": 0.1,
        "attribution": None,
    }


def group(group_id: str, neuron: int, prompt_ids: list[str]) -> dict[str, Any]:
    return {
        "group_id": group_id,
        "site": "ff",
        "neuron": neuron,
        "token_class": "all",
        "n_prompts": len(prompt_ids),
        "mean_z": 9.0,
        "expected_prompts": 0.1,
        "prompt_ids": prompt_ids,
        "n_group_prompts": 3,
        "n_findings": 1,
        "unflagged_share": 0.0,
        "p_value": 1e-6,
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run in which p0 and p1 recovered the same image and p2 another; p5 is a control."""
    run = write_example(tmp_path / "run", LEAKS)
    attempts = [
        attempt("p0", "not_shown"),
        attempt(
            "p0", "confirmed", "ascend", finding_id="f", image_path="images/p0/ascend-0.png", nearest_image="x.png"
        ),
        attempt("p1", "confirmed", finding_id="f"),
        attempt("p2", "likely", finding_id="g"),
        attempt("p5", "not_shown", is_control=True),
    ]
    spikes = [
        spike("p0", "low z", 1, 5.0),
        *(spike("p0", "high z", n, -9.0 - n) for n in range(8)),
        spike("p1", "ff", 0, 7),
    ]
    groups = [group("group-001", 1, ["p0", "p1"]), group("group-001", 2, ["p1"]), group("group-002", 3, ["p2"])]
    profile = {"prompt_id": "p0", "is_control": False, "kind": "feed_forward", "n_neurons": 9, "spike_share": 0.1}
    profiles = [{**profile, "site": site, "rms_z": z} for site, z in (("high z", 3.5), ("no spike", 1.0))]
    write_table(run / RECOVERIES_FILE, attempts_table(attempts), RECOVERIES_SCHEMA, {})
    other = memory(attempts[2], finding_id="h", p_hits=1)
    memories = memories_table([*memories_of(attempts_table(attempts)).to_pylist(), other])
    write_table(run / MEMORIES_FILE, memories, MEMORIES_SCHEMA, {})
    for name, rows, schema in (
        (SPIKES_FILE, spikes, SPIKES_SCHEMA),
        (NEURON_GROUPS_FILE, groups, NEURON_GROUPS_SCHEMA),
        (SITE_PROFILES_FILE, profiles, SITE_PROFILES_SCHEMA),
    ):
        write_table(run / name, pa.Table.from_pylist(rows, schema=schema), schema, {})
    (run / "images" / "p0").mkdir(parents=True)
    (run / "images" / "p0" / "ascend-0.png").touch()
    rewrite_record(run)
    return run
