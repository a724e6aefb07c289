"""Hold the run directory's tables against run.json, so that a truncated or edited run is never trusted."""

from pathlib import Path

import pyarrow.compute as pc

from reports.files import RECOVERIES_FILE, SCORES_FILE, SPIKES_FILE, RunIncompleteError
from reports.run_record import RunRecord
from reports.schema import RECOVERIES_SCHEMA, SPIKES_SCHEMA, read_table, scores_schema


def check_tables(directory: Path, run: RunRecord) -> None:
    """Read every table and compare its counts with run.json.

    Raises:
        RunIncompleteError: a table is missing, damaged, or tells another story than run.json.
    """
    scores = read_table(directory / SCORES_FILE, scores_schema(()))
    recoveries = read_table(directory / RECOVERIES_FILE, RECOVERIES_SCHEMA)
    read_table(directory / SPIKES_FILE, SPIKES_SCHEMA)
    counts = run.counts
    is_high = pc.equal(scores["severity"], "high")
    confirmed = pc.and_(pc.invert(recoveries["is_control"]), pc.equal(recoveries["verdict"], "confirmed"))
    found = {
        "scored prompts": (counts.n_scored, scores.num_rows),
        "flagged prompts": (counts.n_flagged, pc.sum(scores["flagged"]).as_py() or 0),
        "prompts of high severity": (counts.n_high, pc.sum(is_high).as_py() or 0),
        "controls": (counts.n_controls, pc.sum(recoveries["is_control"]).as_py() or 0),
        "distinct pictures": (
            counts.n_confirmed_pictures,
            len(pc.unique(recoveries.filter(confirmed)["finding_id"])),
        ),
    }
    for what, (stated, counted) in found.items():
        if stated != counted:
            raise RunIncompleteError(
                f"{directory}: run.json states {stated} {what}, the tables hold {counted}; run the audit again"
            )
