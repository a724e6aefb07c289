"""`run.json` of a discovery: a search for memorized pictures without any prompt, its budget and what it found."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import JsonValue, TypeAdapter

from reports.files import RUN_FILE, RunFileError, RunIncompleteError
from reports.record_files import read_as, read_content, write_record
from reports.run_record import DISCOVERY, DISCOVERY_RUNNING, Count, ModelIdentity

StopReason = Literal["budget", "nothing_new", "interrupted"]
STOP_MEANINGS: Mapping[StopReason, str] = {
    "budget": "its budget of evaluations or time was spent",
    "nothing_new": "round after round brought nothing new",
    "interrupted": "it was interrupted; the same command goes on",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One picture that a search brought out for the first time.

    Args:
        evaluations: UE that the whole search had spent by then.
        confidence: calibrated probability that it is a memorized picture; None if not judged.
        nearest_image: nearest training image, None if none were given.
    """

    finding_id: str
    verdict: str
    confidence: float | None
    evaluations: Count
    nearest_image: str | None


@dataclass(frozen=True, slots=True)
class DiscoveryRecord:
    """The whole of a discovery's `run.json`, readable as soon as `status` is "discovery".

    Args:
        inputs: training images, if any were given, with their hashes.
        budget: UE that the search was allowed; None if only its time was limited.
        evaluations, timings: UE and seconds, by part, e.g. baseline, climb, glance, verify.
        findings: in the order found.
        tables: SHA-256 of the tables' files, by file name.
    """

    schema_version: int
    status: str
    model: ModelIdentity
    settings: Mapping[str, JsonValue]
    inputs: Mapping[str, JsonValue]
    budget: Count | None
    evaluations: Mapping[str, Count]
    n_rounds: Count
    n_starts: Count
    n_confirmed: Count
    n_likely: Count
    findings: tuple[Finding, ...]
    stopped_because: StopReason
    timings: Mapping[str, float]
    versions: Mapping[str, str]
    tables: Mapping[str, str]
    warnings: tuple[str, ...]

    @property
    def curve(self) -> tuple[tuple[int, int], ...]:
        """Points (UE, distinct pictures) of `discovery_curves`, up to the UE that were spent in all."""
        found = [(finding.evaluations, n) for n, finding in enumerate(self.findings, start=1)]
        return (*found, (sum(self.evaluations.values()), len(found)))


_ADAPTER = TypeAdapter(DiscoveryRecord)


def write_discovery(directory: Path, discovery: DiscoveryRecord) -> None:
    """Write `run.json`, whole or not at all; numbers that are not finite are refused."""
    write_record(directory, discovery)


def load_discovery(directory: Path) -> DiscoveryRecord:
    """Read the record of a finished discovery, or say in one line why there is none to read.

    Raises:
        RunFileError: no discovery, or one of another version.
        RunIncompleteError: one that did not finish, is damaged, or whose counts contradict each other.
    """
    path = directory / RUN_FILE
    content = read_content(directory, "discovery")
    status = content.get("status")
    if status == DISCOVERY_RUNNING:
        raise RunIncompleteError(f"{path}: the discovery is not complete; run it again to finish it")
    if status != DISCOVERY:
        raise RunFileError(f"{path} is not of a discovery (status {status!r}); give the OUT of `engram discover`")
    discovery = read_as(_ADAPTER, path, content, "discovery")
    counted = [finding.verdict for finding in discovery.findings]
    for stated, verdict in ((discovery.n_confirmed, "confirmed"), (discovery.n_likely, "likely")):
        if stated != counted.count(verdict):
            raise RunIncompleteError(
                f"{path} states {stated} {verdict} findings and lists {counted.count(verdict)}; run the discovery again"
            )
    return discovery
