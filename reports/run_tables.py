"""Read the tables of a run that need not be complete, each held against run.json before it is parsed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from reports.files import RUN_FILE, SCORES_FILE, RunIncompleteError, sha256_of
from reports.run_record import DISCOVERY_STATUSES, NEXT_COMMANDS
from reports.schema import read_table


class RunTables:
    """Tables of a run, each held against run.json before it is parsed; one that no stage wrote yet is empty."""

    def __init__(self, directory: Path, content: Mapping[str, Any]) -> None:
        self._directory, status, stated = directory, content.get("status"), content.get("tables")
        self._digests: Mapping[str, Any] = stated if isinstance(stated, Mapping) else {}
        if SCORES_FILE not in self._digests:
            way_out = _way_out(directory, status)
            raise RunIncompleteError(f"{directory / RUN_FILE}: no prompt is scored (status {status!r}); {way_out}")

    def read(self, name: str, schema: pa.Schema) -> pa.Table:
        """The table `name`."""
        if name not in self._digests:
            return schema.empty_table()
        path = self._directory / name
        if path.is_file() and sha256_of(path) != self._digests[name]:
            raise RunIncompleteError(f"{path} is not the file that run.json describes; run the audit again")
        return read_table(path, schema)


def _way_out(directory: Path, status: object) -> str:
    if status in DISCOVERY_STATUSES:
        return "it is of a search without prompts; give the OUT of `engram audit`"
    if isinstance(status, str) and status in NEXT_COMMANDS:
        return f"go on with `engram {NEXT_COMMANDS[status]} {directory}`"
    return "run the audit to its end"
