"""The distinct images that leak, each with the training image that it copies and the prompts that lead to it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.bounds.replication import Replication
from flashbulb.reports.checks.findings import IMAGE, Finding, FoundImage, Nearest
from flashbulb.reports.tables.schema import RECOVERY_VERDICTS


class CopiedImage(NamedTuple):
    """What an audit records of a training image that came back.

    Args:
        file: where it lies in the source of training images; None if it is not recorded.
        near_duplicates: other training images that are nearly the same; None if they were not counted.
    """

    file: str | None
    near_duplicates: int | None


@dataclass(frozen=True, slots=True)
class LeakedImage:
    """A distinct image that came back.

    Args:
        finding_id: the run's id of the image; the first, if several show the same training image.
        verdict: the best one.
        nearest: the training image that it copies, or else the nearest; None without training images.
        copied: what is recorded of that training image; None if it copies none.
        findings: prompts that lead to it, the one whose samples show it most often first.
        replication: how often samples of that prompt show it; None without a prompt.
        is_waived: every one of its findings is waived.
    """

    finding_id: str
    verdict: str
    nearest: Nearest | None
    copied: CopiedImage | None
    findings: tuple[Finding, ...]
    replication: Replication | None
    is_waived: bool

    @property
    def n_prompts(self) -> int:
        """How many prompts lead to it."""
        return sum(finding.prompt_id is not None for finding in self.findings)

    @property
    def is_training_image(self) -> bool:
        """Whether it is known which training image came back."""
        return self.nearest is not None and self.nearest.kind is not None

    @property
    def name(self) -> str:
        """The name of the training image that it copies; the run's id of it if that is unknown or hidden."""
        nearest = self.nearest
        return nearest.name if nearest and nearest.kind and nearest.name else self.finding_id


class _Shown(NamedTuple):
    finding: Finding
    image: FoundImage | None

    @property
    def nearest(self) -> Nearest | None:
        return self.image.nearest if self.image else self.finding.nearest

    @property
    def finding_id(self) -> str:
        return self.image.finding_id if self.image else self.finding.image or self.finding.fingerprint

    @property
    def low(self) -> float:
        return self.image.replication.low if self.image else -1.0


def leaked_images(
    findings: Sequence[Finding], copied: Mapping[str, CopiedImage], waived: Set[str]
) -> tuple[LeakedImage, ...]:
    """Return every distinct image that came back, in the order of the findings. A training image counts once.

    Args:
        copied: what is recorded of training images that came back, by path.
        waived: fingerprints of findings.
    """
    by_image: dict[str, list[_Shown]] = defaultdict(list)
    for finding in findings:
        shown = [_Shown(finding, image) for image in finding.images]
        if finding.kind == IMAGE and not shown:
            shown = [_Shown(finding, None)]
        for image in shown:
            by_image[_key(image)].append(image)
    return tuple(_leaked(group, copied, waived) for group in by_image.values())


def _key(shown: _Shown) -> str:
    nearest = shown.nearest
    return f"path {nearest.path}" if nearest and nearest.kind and nearest.path else f"id {shown.finding_id}"


def _leaked(group: Sequence[_Shown], copied: Mapping[str, CopiedImage], waived: Set[str]) -> LeakedImage:
    ordered = sorted(group, key=lambda shown: -shown.low)
    first, best = group[0], min(group, key=_worst_first)
    nearest = best.nearest
    is_copy = nearest is not None and nearest.kind is not None
    return LeakedImage(
        finding_id=first.finding_id,
        verdict=_verdict(best),
        nearest=nearest,
        copied=copied.get(nearest.path or "", CopiedImage(None, None)) if nearest and is_copy else None,
        findings=tuple({shown.finding.fingerprint: shown.finding for shown in ordered}.values()),
        replication=ordered[0].image.replication if ordered[0].image else None,
        is_waived=all(shown.finding.fingerprint in waived for shown in group),
    )


def _verdict(shown: _Shown) -> str:
    return shown.image.verdict if shown.image else shown.finding.verdict


def _worst_first(shown: _Shown) -> tuple[int, float]:
    return RECOVERY_VERDICTS.index(_verdict(shown)), -(shown.nearest.similarity if shown.nearest else 0.0)


def leak_counts(leaks: Sequence[LeakedImage], n_ordinary_copies: int | None = None) -> str:
    """Return `6 leaking prompts, 6 distinct training images`; images that copy none of these are counted apart.

    Args:
        n_ordinary_copies: ordinary prompts whose only sample is a copy, which are no leaking prompts.
    """
    n_prompts = len({finding.prompt_id for leak in leaks for finding in leak.findings} - {None})
    n_training = sum(leak.is_training_image for leak in leaks)
    n_other = len(leaks) - n_training
    prompts = count_text(n_prompts, "leaking prompt")
    images = [count_text(n_training, "distinct training image")] if n_training else []
    images += [count_text(n_other, "distinct image") + (" of unknown origin" if n_training else "")] if n_other else []
    if images:
        return ", ".join((prompts, *images))
    if n_ordinary_copies:
        return f"no flagged prompt gave an image, {count_text(n_ordinary_copies, 'ordinary prompt')} a copy of one"
    return "no image came back"


def recorded_copies(inputs: Mapping[str, object]) -> dict[str, CopiedImage]:
    """Return what the `inputs` of run.json record of training images that came back, by path.

    What is not recorded as an audit records it is left out: run.json may come from an earlier version.
    """
    described = inputs.get("training_images")
    copied = described.get("copied") if isinstance(described, Mapping) else None
    rows = copied.items() if isinstance(copied, Mapping) else ()
    return {path: _recorded(row) for path, row in rows if isinstance(row, Mapping)}


def _recorded(row: Mapping[str, object]) -> CopiedImage:
    file, n = row.get("file"), row.get("near_duplicates")
    return CopiedImage(file if isinstance(file, str) else None, n if type(n) is int and n >= 0 else None)
