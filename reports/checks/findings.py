"""Findings: flagged prompts and the images recovered from them, each with a fingerprint that outlives the run."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import NamedTuple

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.bounds.replication import Replication, replication_text
from flashbulb.reports.tables.limits import TEMPLATE
from flashbulb.reports.tables.schema import RECOVERY_VERDICTS, SEVERITIES
from flashbulb.reports.tables.verdict import Results
from flashbulb.reports.views.text import format_location, visible_text

IMAGE, SPIKE = "picture", "spike"
"""Kinds of finding, as the files write them."""
NOT_TRIED = "not_tried"


class Nearest(NamedTuple):
    """The training image nearest to a recovered image.

    Args:
        path: as the tables name it; None if names are hidden.
        kind: `verbatim` or `template` if the recovered image copies it, else None.
    """

    path: str | None
    similarity: float
    kind: str | None

    @property
    def name(self) -> str | None:
        """The name of its file, which is often its caption; folders are left out."""
        return None if self.path is None else visible_text(PurePath(self.path).name, 120)

    @property
    def text(self) -> str:
        """Describe it as the end of a sentence: `a copy of fox.png (similarity 0.97)`."""
        if self.kind is not None:
            part = "a part of " if self.kind == TEMPLATE else ""
            return f"a copy of {part}{self.name or 'a training image'} (similarity {self.similarity:.2f})"
        return f"nearest training image{f' {self.name}' if self.name else ''} (similarity {self.similarity:.2f})"


class FoundImage(NamedTuple):
    """A distinct image that a prompt gives: its finding_id, its verdict, and how often plain samples show it.

    `n_prompts` flagged prompts give it.
    """

    finding_id: str
    verdict: str
    replication: Replication
    nearest: Nearest | None
    n_prompts: int


@dataclass(frozen=True, slots=True)
class Finding:
    """A flagged prompt, or an image that was recovered without a prompt.

    Args:
        kind: `IMAGE` if an image was recovered, else `SPIKE`.
        subject: what the finding is about: the prompt_id, or without a prompt the name of the nearest training image.
        image: the run's finding_id of the distinct image, the first of `images`; None if none was recovered.
        images: every distinct image that the prompt gives; empty without a prompt.
        verdict: of the best attempt: confirmed, likely, not_shown, or not_tried.
        nearest: the training image nearest to the recovered image; None without one, or without training images.
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
    nearest: Nearest | None
    images: tuple[FoundImage, ...]

    @property
    def n_prompts(self) -> int:
        """How many flagged prompts give its first image."""
        return self.images[0].n_prompts if self.images else 0

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
        nearest = f", {self.nearest.text}" if self.nearest else ""
        return f"{self.location}: {image} was recovered{nearest}{self._how_often()}{text}"

    def without_names(self) -> "Finding":
        """Return the finding without the names of training images, which are often captions."""
        images = tuple(image._replace(nearest=_nameless(image.nearest)) for image in self.images)
        return replace(self, nearest=_nameless(self.nearest), images=images)

    def _how_often(self) -> str:
        """Return how often samples of the prompt show its image, and how many other images it gives."""
        if self.replication is None:
            return ""
        others = len(self.images) - 1
        more = f"; the prompt also gives {count_text(others, 'other memorized image')}" if others else ""
        shared = f"; {self.n_prompts} prompts lead to it" if self.n_prompts > 1 else ""
        return f", in {replication_text(self.replication)}{shared}{more}"


def _nameless(nearest: Nearest | None) -> Nearest | None:
    return None if nearest is None else nearest._replace(path=None)


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
    with_prompt = {image.finding_id for finding in findings for image in finding.images if image.verdict == verdict}
    without = {finding.image for finding in findings if finding.prompt_id is None and finding.verdict == verdict}
    return with_prompt | without
