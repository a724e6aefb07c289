"""Read the tables of a run: all of a finished audit at once, or single ones of a run that may be unfinished."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from flashbulb.reports.tables.evidence import (
    NEURON_GROUPS_SCHEMA,
    REFERENCE_SCORES_SCHEMA,
    SITE_PROFILES_SCHEMA,
    TEXT_NULL_SCHEMA,
)
from flashbulb.reports.tables.files import (
    MEMORIES_FILE,
    NEURON_GROUPS_FILE,
    RECOVERIES_FILE,
    REFERENCE_SCORES_FILE,
    RUN_FILE,
    SCORES_FILE,
    SITE_PROFILES_FILE,
    SPIKES_FILE,
    TEXT_NULL_FILE,
    RunIncompleteError,
    sha256_of,
)
from flashbulb.reports.tables.rows import Rows, StoredTable
from flashbulb.reports.tables.run_record import NEXT_COMMANDS, NO_AUDIT
from flashbulb.reports.tables.schema import (
    MEMORIES_SCHEMA,
    RECOVERIES_SCHEMA,
    SPIKES_SCHEMA,
    read_table,
    scores_schema,
)


@dataclass(frozen=True, slots=True)
class AuditTables:
    """Every table of a finished audit. The names are those of the files, without their suffix.

    Scores, which have a row for each prompt, are read from their file whenever they are asked for.
    """

    scores: Rows
    spikes: pa.Table
    neuron_groups: pa.Table
    recoveries: pa.Table
    memories: pa.Table
    reference_scores: pa.Table
    site_profiles: pa.Table
    text_null: pa.Table


AUDIT_SCHEMAS = {
    SCORES_FILE: scores_schema(()),
    SPIKES_FILE: SPIKES_SCHEMA,
    NEURON_GROUPS_FILE: NEURON_GROUPS_SCHEMA,
    RECOVERIES_FILE: RECOVERIES_SCHEMA,
    MEMORIES_FILE: MEMORIES_SCHEMA,
    REFERENCE_SCORES_FILE: REFERENCE_SCORES_SCHEMA,
    SITE_PROFILES_FILE: SITE_PROFILES_SCHEMA,
    TEXT_NULL_FILE: TEXT_NULL_SCHEMA,
}


def read_audit_tables(directory: Path) -> AuditTables:
    """Read every table of a finished audit and check it against its schema; the scores stay in their file.

    Raises:
        RunFileError, RunIncompleteError: as `read_table`.
    """
    readers = {SCORES_FILE: StoredTable}
    tables = {
        name.partition(".")[0]: readers.get(name, read_table)(directory / name, schema)
        for name, schema in AUDIT_SCHEMAS.items()
    }
    return AuditTables(**tables)


class RunTables:
    """The tables of a run that has scores, each compared with its hash in run.json before it is read.

    A table that no stage has written yet is empty.

    Args:
        content: the object in the directory's run.json.

    Raises:
        RunIncompleteError: the run has no scores yet.
    """

    def __init__(self, directory: Path, content: Mapping[str, Any]) -> None:
        digests = content.get("tables")
        self._directory = directory
        self._digests: Mapping[str, Any] = digests if isinstance(digests, Mapping) else {}
        if SCORES_FILE not in self._digests:
            status = content.get("status")
            way_out = _way_out(directory, status)
            raise RunIncompleteError(f"{directory / RUN_FILE}: there are no scores yet (status {status!r}); {way_out}")

    def read(self, name: str, schema: pa.Schema) -> pa.Table:
        """Return the table in the file `name`.

        Raises:
            RunIncompleteError: the file is missing, damaged, or not the one that run.json describes.
        """
        if name not in self._digests:
            return schema.empty_table()
        path = self._directory / name
        if path.is_file() and sha256_of(path) != self._digests[name]:
            raise RunIncompleteError(f"{path} is not the file that run.json describes; run the audit again")
        return read_table(path, schema)


def _way_out(directory: Path, status: object) -> str:
    if isinstance(status, str) and status in NO_AUDIT:
        return f"it belongs to {NO_AUDIT[status]}; give the --out directory of `flashbulb audit`"
    if isinstance(status, str) and status in NEXT_COMMANDS:
        return f"continue with `flashbulb {NEXT_COMMANDS[status]} {directory}`"
    return "run the audit again to finish it"
