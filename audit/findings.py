"""Turn sampled pictures into evidence: agreement of seeds, the nearest training picture, and distinct findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from audit.evidence import REPLICATION_DISTANCE, Picture, Pictures, agrees, medoid, seed_agreement, tile_distances
from audit.fixed_part import FixedPart, fixed_part
from audit.recover.signs import Signs
from audit.recover.verdict import confidence_of, verdict_of
from audit.training.templates import template_match
from audit.training_images import Nearest, TrainingImages

FALSE_DISCOVERY_RATE = 0.1
"""Flagged prompts with a q-value up to this are of medium severity even if no picture came back."""


MIN_AGREEMENT = {"confirmed": 0.5, "likely": 0.75}
"""Share of seeds that must give one picture before a prompt counts as recalling it."""

MIN_KINSHIP = 0.75
"""What an ascent reached is the prompt's own from this cosine on. In audits of the embedded model it was 0.81 to 0.96
where a flagged caption's own picture came out, and up to 0.70 where a caption was driven to a stranger's memory. Of
captions known in part, about half of the pictures that come out lie below it: they stay not_shown in the table."""

MIN_COPIES = 0.5
"""Share of the pictures of an ascent or of drifting samples that must copy a training picture: among many prompts
that are pushed about, one sample of one of them meets a memory by chance."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one prompt showed at one rung.

    Args:
        best: index of the picture that stands for it.
        agreement: share of the pictures that show one picture.
        nearest: the training picture nearest to the best; None without training pictures.
        confidence: probability that the pictures show a memory, from their signs alone; None where too few agree.
        verdict: confirmed, likely or not_shown.
    """

    best: int
    agreement: float
    nearest: Nearest | None
    confidence: float | None
    verdict: str

    @property
    def kind(self) -> str | None:
        """verbatim or template, of the training picture that came back; None where none did."""
        return self.nearest.kind if self.nearest is not None and self.verdict != "not_shown" else None


def judge(
    pictures: Pictures,
    training: TrainingImages | None,
    signs: Signs | None,
    *,
    kinship: float | None = None,
    is_blind: bool = False,
    is_pushed: bool = False,
) -> Outcome:
    """Judge one prompt's pictures [seed, height, width, 3].

    With training pictures, confirmed is what copies one of them; a part in common, or the signs, make an outcome likely
    at most: the pictures given may not be all. Without them the signs decide alone.

    Args:
        signs: None where too few of the pictures agree to look for any.
        kinship: of what an ascent reached to the prompt; below `MIN_KINSHIP` the picture, memory or not, is another's.
        is_pushed: the pictures are not plain samples; then `MIN_COPIES` of them have to copy a training picture.
        is_blind: no prompt is judged but what a search came upon; then the signs suffice without `MIN_AGREEMENT`.
    """
    agreement = seed_agreement(pictures)
    found = training.nearest(pictures) if training is not None else [None] * len(pictures)
    distances = [n.distance if n is not None and n.kind == "verbatim" else np.inf for n in found]
    copies = float(np.isfinite(distances).mean())
    closest, typical = int(np.argmin(distances)), medoid(pictures)
    confidence = confidence_of(signs) if signs is not None else None
    if kinship is not None and kinship < MIN_KINSHIP:
        return Outcome(typical, agreement, found[typical], confidence, "not_shown")
    if copies > 0 and (not is_pushed or copies >= MIN_COPIES):
        return Outcome(closest, agreement, found[closest], confidence, "confirmed")
    template = _template(pictures[typical], fixed_part(pictures), training, found[typical])
    if template is not None:
        return Outcome(typical, agreement, template, confidence, "likely")
    verdict = verdict_of(confidence) if confidence is not None else "not_shown"
    if not is_blind and not agrees(agreement, len(pictures), MIN_AGREEMENT.get(verdict, 0)):
        verdict = "not_shown"
    if training is not None and verdict == "confirmed":
        verdict = "likely"
    return Outcome(typical, agreement, found[typical], confidence, verdict)


def _template(
    picture: Picture, part: FixedPart, training: TrainingImages | None, nearest: Nearest | None
) -> Nearest | None:
    """The nearest training picture, if the part of the picture that every seed gives alike is that picture's."""
    if training is None or nearest is None or not part.is_a_part:
        return None
    match = template_match(picture, training.picture(nearest.index), part.mask)
    return replace(nearest, kind="template", distance=match.distance) if match.is_match else None


def severity(flagged: bool, q_value: float, outcome: Outcome | None) -> str:
    """high: flagged and its picture came back; medium: flagged and significant over the set; low: flagged; none."""
    if not flagged:
        return "none"
    if outcome is not None and outcome.verdict != "not_shown":
        return "high"
    return "medium" if q_value <= FALSE_DISCOVERY_RATE else "low"


def severities(flagged: Sequence[bool], q_values: Sequence[float], outcomes: Mapping[int, Outcome]) -> tuple[str, ...]:
    """Severity of each candidate; `outcomes` are those of the prompts that recovery was tried on, by position."""
    judged = zip(flagged, q_values, strict=True)
    return tuple(severity(flag, q, outcomes.get(i)) for i, (flag, q) in enumerate(judged))


def group_findings(outcomes: Sequence[Outcome], pictures: Sequence[Picture]) -> list[int | None]:
    """Number the distinct pictures among the shown outcomes: one finding can have many prompts; None if not shown.

    Args:
        outcomes: one a prompt, worst first, so that findings are numbered by severity.
        pictures: the picture standing for each outcome, [height, width, 3].
    """
    heads: list[tuple[int | None, Picture]] = []
    numbers: list[int | None] = []
    for outcome, picture in zip(outcomes, pictures, strict=True):
        if outcome.verdict == "not_shown":
            numbers.append(None)
            continue
        image = outcome.nearest.index if outcome.nearest and outcome.verdict == "confirmed" else None
        number = next((i for i, head in enumerate(heads) if _same(head, image, picture)), len(heads))
        if number == len(heads):
            heads.append((image, picture))
        numbers.append(number)
    return numbers


def _same(head: tuple[int | None, Picture], image: int | None, picture: Picture) -> bool:
    if head[0] is not None and image is not None:
        return head[0] == image
    return float(tile_distances(head[1][None], picture)[0]) <= REPLICATION_DISTANCE
