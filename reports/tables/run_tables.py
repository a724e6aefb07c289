"""Read the tables of a run that may be unfinished; each is compared with its hash in run.json first."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from flashbulb.reports.tables.files import RUN_FILE, SCORES_FILE, RunIncompleteError, sha256_of
from flashbulb.reports.tables.run_record import DISCOVERY_STATUSES, NEXT_COMMANDS
from flashbulb.reports.tables.schema import read_table


class RunTables:
    """The tables of a run that has scores; a table that no stage has written yet is empty.

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
            raise RunIncompleteError(f"{directory / RUN_FILE}: no prompt is scored (status {status!r}); {way_out}")

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
    if status in DISCOVERY_STATUSES:
        return "it belongs to a search without prompts; give the --out directory of `flashbulb audit`"
    if isinstance(status, str) and status in NEXT_COMMANDS:
        return f"continue with `flashbulb {NEXT_COMMANDS[status]} {directory}`"
    return "run the audit again to finish it"
