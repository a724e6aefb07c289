"""The record of a discovery in `run.json`: a search for memorized images without prompts, its cost and findings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import JsonValue, TypeAdapter

from flashbulb.reports.bounds.rates import Rate, count_text
from flashbulb.reports.bounds.unseen import Unseen
from flashbulb.reports.tables.files import RUN_FILE, RunIncompleteError
from flashbulb.reports.tables.record_files import Count, read_finished, validate_record
from flashbulb.reports.tables.run_record import DISCOVERY, DISCOVERY_RUNNING, ModelIdentity

StopReason = Literal["budget", "nothing_new", "little_left"]
STOP_MEANINGS: Mapping[StopReason, str] = {
    "budget": "its budget of evaluations or time was spent",
    "nothing_new": "several rounds in a row found nothing new",
    "little_left": "too few of further finds would be new (--stop-at)",
}


@dataclass(frozen=True, slots=True)
class FindingWords:
    """A prompt in words that gives a found image back.

    Args:
        rate: samples that replicate what the prompt gave before, with seeds that the search for it never saw.
        verdict: of these samples, judged as plain samples of any prompt are.
        image_path: sample that represents them, relative to the run; None where no image is kept.
        confirms: the finding is confirmed by these samples; the search alone found it likely.
    """

    text: str
    rate: Rate
    verdict: str
    image_path: str | None
    confirms: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A memorized image that the search found.

    Args:
        evaluations: UE that the search had spent in total when it found the image, closing looks included.
        confidence: calibrated probability that it is a memorized image; None if not judged.
        nearest_image: the nearest training image; None if none were given.
        words: a prompt in words that gives it; None if none was found, or none was searched for.
        times_found: starts that showed it and no nearer finding.
    """

    finding_id: str
    verdict: str
    confidence: float | None
    evaluations: Count
    nearest_image: str | None
    words: FindingWords | None = None
    times_found: Count = 1


@dataclass(frozen=True, slots=True)
class ClosingCounts:
    """What closing looks at the findings of a search did.

    Args:
        n_looked: looks at findings and at single samples.
        n_refused: findings that a look refused.
        n_repeated: findings that show the image of a surer one.
    """

    n_looked: Count = 0
    n_refused: Count = 0
    n_repeated: Count = 0


@dataclass(frozen=True, slots=True)
class DiscoveryRecord:
    """The complete `run.json` of a finished discovery.

    Args:
        inputs: training images with their hashes, if any were given.
        budget: UE that the search was allowed; None if only its time was limited.
        evaluations, timings: UE and seconds, by part, e.g. reference, climb, verify, close.
        findings: in the order found.
        tables: SHA-256 of each table, by file name.
        n_text_starts: starts that climbed without the denoiser, beside `n_starts`.
        n_words_searched: findings for which a prompt in words was searched.
        words_evaluations: UE of these searches, beside `evaluations`.
        unseen: estimated share of further finds that are new findings; None if no start showed any.
        closing: what closing looks did; their UE are in `evaluations`.
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
    n_text_starts: Count = 0
    n_words_searched: Count = 0
    words_evaluations: Count = 0
    unseen: Unseen | None = None
    closing: ClosingCounts = ClosingCounts()

    @property
    def starts_text(self) -> str:
        """How many starts climbed, in words."""
        if not self.n_text_starts:
            return count_text(self.n_starts, "start")
        return (
            f"{count_text(self.n_starts, 'start')}, {count_text(self.n_text_starts, 'text start')} without the denoiser"
        )

    @property
    def n_words(self) -> int:
        """Findings with a prompt in words."""
        return sum(finding.words is not None for finding in self.findings)

    @property
    def words_text(self) -> str:
        """What the search for words brought, in words; empty if none was asked for."""
        if self.n_words_searched:
            searched = count_text(self.n_words_searched, "finding")
            return f"{self.n_words} of {searched} searched, {self.words_evaluations:,} UE"
        if not self.settings.get("words_budget"):
            return ""
        return f"none searched, for {'the time was over' if self.findings else 'there is no finding'}"

    @property
    def unseen_text(self) -> str:
        """What further searching would bring, in words."""
        if self.unseen is None:
            return "not estimated, for no start showed a finding"
        share, low, high = (f"{100 * x:.0f}" for x in (self.unseen.share, self.unseen.low, self.unseen.high))
        return f"about {share} % of further finds would be new (95 % interval {low} to {high} %)"

    @property
    def curve(self) -> tuple[tuple[int, int], ...]:
        """Points (UE, distinct images) for `discovery_curves`, up to the total UE."""
        found = [(spent, n) for n, spent in enumerate(sorted(f.evaluations for f in self.findings), start=1)]
        return (*found, (sum(self.evaluations.values()), len(found)))


def looks_text(counts: ClosingCounts) -> str:
    """Say what closing looks did, in a few words."""
    shown = " (--no-closing-looks lists them)" if counts.n_refused else ""
    refused = count_text(counts.n_refused, "finding")
    return f"{counts.n_looked}, {refused} refused{shown}, {counts.n_repeated} show a surer one's image"


_ADAPTER = TypeAdapter(DiscoveryRecord)


def load_discovery(directory: Path) -> DiscoveryRecord:
    """Read the record of a finished discovery.

    Raises:
        RunFileError: there is no discovery, or it has another schema version.
        RunIncompleteError: it is unfinished or damaged, or its counts contradict its findings.
    """
    path = directory / RUN_FILE
    content = read_finished(directory, "discovery", "discover", DISCOVERY, DISCOVERY_RUNNING)
    discovery = validate_record(_ADAPTER, path, content, "discovery")
    verdicts = [finding.verdict for finding in discovery.findings]
    for recorded, verdict in ((discovery.n_confirmed, "confirmed"), (discovery.n_likely, "likely")):
        if recorded != verdicts.count(verdict):
            raise RunIncompleteError(
                f"{path} records {recorded} {verdict} findings but lists {verdicts.count(verdict)}; "
                "run the discovery again"
            )
    return discovery
