"""Files of a run directory that only tests write or read: records, the footer of a table, the record of an ablation."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import TypeAdapter

from flashbulb.reports.tables.files import RUN_FILE, write_json
from flashbulb.reports.tables.record_files import read_content, validate_record
from flashbulb.reports.tables.seal import SEAL_KEY, seal_of
from flashbulb.reports.views.ablation import AblationRecord

_PREFIX = "flashbulb."
_ABLATION = TypeAdapter(AblationRecord)


def write_record(directory: Path, record: Any) -> None:
    """Write a dataclass as `run.json`, as the stages of an audit do."""
    write_json(directory / RUN_FILE, asdict(record))


def seal_again(directory: Path) -> str:
    """Seal a run that was changed, as its writer does, and return the digest."""
    content = read_content(directory, "audit")
    seal = seal_of(directory, content)
    write_json(directory / RUN_FILE, {**content, SEAL_KEY: asdict(seal)})
    return seal.digest


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata that `write_table` was given, without the schema version that it adds."""
    footer = {key.decode(): value.decode() for key, value in (pq.read_schema(path).metadata or {}).items()}
    metadata = {key.removeprefix(_PREFIX): value for key, value in footer.items() if key.startswith(_PREFIX)}
    del metadata["schema_version"]
    return metadata


def read_ablation(directory: Path) -> AblationRecord:
    """Return the record of an ablation, checked as the records of audits and discoveries are."""
    return validate_record(_ABLATION, directory / RUN_FILE, read_content(directory, "ablation"), "ablation")
