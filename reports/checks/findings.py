"""Findings: flagged prompts and the images recovered from them, each with a fingerprint that outlives the run."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, NamedTuple

import pyarrow as pa

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.bounds.replication import Replication, replication_text
from flashbulb.reports.tables.recoveries import best_rows
from flashbulb.reports.tables.schema import RECOVERY_VERDICTS, SEVERITIES, TableRow
from flashbulb.reports.tables.verdict import Results
from flashbulb.reports.views.text import visible_text

IMAGE, SPIKE = "picture", "spike"
"""Kinds of finding, as the files write them."""
NOT_TRIED = "not_tried"


class FoundImage(NamedTuple):
    """A distinct image that a prompt gives: its finding_id, its verdict, and how often plain samples show it."""

    finding_id: str
    verdict: str
    replication: Replication


@dataclass(frozen=True, slots=True)
class Finding:
    """A flagged prompt, or an image that was recovered without a prompt.

    Args:
        kind: `IMAGE` if an image was recovered, else `SPIKE`.
        subject: what the finding is about: the prompt_id, or without a prompt the name of the nearest training image.
        image: the run's finding_id of the distinct image, the first of `images`; None if none was recovered.
        images: every distinct image that the prompt gives; empty without a prompt.
        verdict: of the best attempt: confirmed, likely, not_shown, or not_tried.
    """

    kind: str
    subject: str
    prompt_id: str | None
    prompt: str | None
    source_file: str | None
    source_row: int | None
    severity: str
    spike_score: float | None
    p_value: float | None
    q_value: float | None
    verdict: str
    strategy: str | None
    image: str | None
    confidence: float | None
    similarity: float | None
    images: tuple[FoundImage, ...]

    @property
    def replication(self) -> Replication | None:
        """How often plain samples of the prompt show its first image; None if none was recovered from a prompt."""
        return self.images[0].replication if self.images else None

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of SHA-256(subject, kind), the same in every run and for every checkpoint.

        Scores and model are left out, so that a waiver also holds for the next checkpoint. The kind is included, so
        that the waiver of a spike does not cover an image that a later checkpoint reproduces.
        """
        return hashlib.sha256(f"{self.subject}\n{self.kind}".encode()).hexdigest()[:16]

    @property
    def rank(self) -> tuple[int, int]:
        """Sort key by severity, then verdict; greater is worse."""
        verdict = self.verdict if self.verdict in RECOVERY_VERDICTS else "not_shown"
        return SEVERITIES.index(self.severity), -RECOVERY_VERDICTS.index(verdict)

    @property
    def location(self) -> str:
        """Where the prompt comes from, such as `captions.csv, row 17`; folders are left out."""
        if self.source_file is None:
            return f"no prompt ({visible_text(self.image or self.subject, 80)})"
        return format_location(self.source_file, self.source_row or 0)

    def headline(self, show_prompt: bool) -> str:
        """Describe the finding in one sentence, with the location of its prompt, and its text if `show_prompt`."""
        text = f": {visible_text(self.prompt, 200)}" if show_prompt and self.prompt else ""
        if self.kind == SPIKE:
            recovery = "recovery was not tried" if self.verdict == NOT_TRIED else "no image was recovered"
            return (
                f"{self.location}: neurons spike as for a memorized image; {recovery} ({self.severity} severity){text}"
            )
        image = "a memorized image" if self.verdict == "confirmed" else "a likely memorized image"
        return f"{self.location}: {image} was recovered{self._how_often()}{text}"

    def _how_often(self) -> str:
        """Return how often samples of the prompt show its image, and how many other images it gives."""
        if self.replication is None:
            return ""
        others = len(self.images) - 1
        more = f"; the prompt also gives {count_text(others, 'other memorized image')}" if others else ""
        return f", in {replication_text(self.replication)}{more}"


def format_location(source_file: str, source_row: int) -> str:
    """Return where a prompt comes from, such as `captions.csv, row 17`; folders are left out."""
    return f"{visible_text(PurePath(source_file).name, 80)}, row {source_row}"


def collect_findings(scores: pa.Table, recoveries: pa.Table, memories: pa.Table) -> tuple[Finding, ...]:
    """Return every flagged prompt and every image recovered without a prompt, worst first.

    Among equals, images that are known to come back more often come first, then prompts of higher spike score.
    """
    attempts = [row for row in recoveries.to_pylist() if not row["is_control"]]
    best, images = best_rows(attempts), _images_by_prompt(memories)
    positions = [position for position, is_flagged in enumerate(scores["flagged"].to_pylist()) if is_flagged]
    flagged = [scores.slice(position, 1).to_pylist()[0] for position in positions]  # a filter loads pyarrow.compute
    by_image = {a["finding_id"]: a for a in attempts if a["prompt_id"] is None and a["verdict"] != "not_shown"}
    findings = [_prompt_finding(row, best.get(row["prompt_id"]), images[row["prompt_id"]]) for row in flagged]
    findings += [_image_finding(attempt) for attempt in by_image.values()]
    return tuple(sorted(findings, key=_worst_last, reverse=True))


def _worst_last(finding: Finding) -> tuple[tuple[int, int], float, float]:
    return finding.rank, finding.replication.low if finding.replication else 0.0, finding.spike_score or 0.0


def recount(results: Results, findings: Sequence[Finding]) -> Results:
    """Return `results` as they would be if the audit had found only `findings`."""
    n_by_severity = Counter(finding.severity for finding in findings if finding.prompt_id is not None)
    return replace(
        results,
        n_flagged=n_by_severity.total(),
        n_high=n_by_severity["high"],
        n_medium=n_by_severity["medium"],
        n_low=n_by_severity["low"],
        n_recovered=sum(finding.kind == IMAGE and finding.prompt_id is not None for finding in findings),
        n_untried=sum(finding.verdict == NOT_TRIED for finding in findings),
        n_confirmed_pictures=len(distinct_images(findings, "confirmed")),
    )


def distinct_images(findings: Sequence[Finding], verdict: str) -> set[str | None]:
    """Return the finding_ids of the images that some of the findings give with this verdict."""
    of_prompts = {image.finding_id for finding in findings for image in finding.images if image.verdict == verdict}
    without = {finding.image for finding in findings if finding.prompt_id is None and finding.verdict == verdict}
    return of_prompts | without


def _images_by_prompt(memories: pa.Table) -> Mapping[str, tuple[FoundImage, ...]]:
    """Return the images of every flagged prompt, in the order of the table."""
    images: dict[str, tuple[FoundImage, ...]] = defaultdict(tuple)
    for row in memories.to_pylist():
        if not row["is_control"]:
            replication = Replication(*(row[name] for name in ("p_hits", "p_samples", "p_low", "p_high")))
            images[row["prompt_id"]] += (FoundImage(row["finding_id"], row["verdict"], replication),)
    return images


def _prompt_finding(row: dict[str, Any], attempt: TableRow | None, images: tuple[FoundImage, ...]) -> Finding:
    """Build the finding of a flagged row of the scores from its best attempt, if any was made."""
    is_shown = attempt is not None and attempt["verdict"] != "not_shown"
    return Finding(
        kind=IMAGE if is_shown else SPIKE,
        subject=row["prompt_id"],
        **{name: row[name] for name in ("prompt_id", "prompt", "source_file", "source_row", "severity")},
        **{name: row[name] for name in ("spike_score", "p_value", "q_value")},
        **_recovery_fields(attempt),
        images=images,
    )


def _image_finding(attempt: dict[str, Any]) -> Finding:
    """Build the finding of an image that was recovered without a prompt."""
    nearest = attempt["nearest_image"]
    return Finding(
        kind=IMAGE,
        subject=PurePath(nearest).name if nearest else attempt["finding_id"],
        prompt_id=None,
        prompt=None,
        source_file=None,
        source_row=None,
        severity="high",
        spike_score=None,
        p_value=None,
        q_value=None,
        **_recovery_fields(attempt),
        images=(),
    )


def _recovery_fields(attempt: TableRow | None) -> dict[str, Any]:
    """Return the fields of a finding that come from an attempt."""
    columns = {"strategy": "strategy", "image": "finding_id", "confidence": "confidence", "similarity": "similarity"}
    if attempt is None:
        return {"verdict": NOT_TRIED, **dict.fromkeys(columns)}
    return {"verdict": attempt["verdict"], **{name: attempt[column] for name, column in columns.items()}}
