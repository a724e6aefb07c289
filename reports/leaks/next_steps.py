"""What to do after an audit: remove training images, compare after retraining, or accept a finding until a day."""

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.checks.findings import Finding
from flashbulb.reports.leaks.images import LeakedImage
from flashbulb.reports.tables.files import REMOVAL_FILE
from flashbulb.reports.tables.verdict import Outcome
from flashbulb.reports.views.text import visible_text

RUN = "RUN"
"""Stands for the run directory until `Step.of_run` names it."""
_RUN = re.compile(rf"\b{RUN}\b")  # not the end of NEXT_RUN
_WAIVED_FOR = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do next, in a sentence, and command lines that do it."""

    text: str
    commands: tuple[str, ...] = ()

    def of_run(self, run: str) -> "Step":
        """Return the step with the name of its run directory, quoted for a shell."""
        name = visible_text(run, 1000)
        commands = tuple(_RUN.sub(lambda _: shlex.quote(name), command) for command in self.commands)
        return Step(_RUN.sub(lambda _: name, self.text), commands)


AGAIN = Step("Repeat the audit, with every option as it was.", (f"flashbulb audit --replay {RUN} --out {RUN}-again",))


def next_steps(
    outcome: Outcome,
    leaks: Sequence[LeakedImage],
    findings: Sequence[Finding],
    *,
    has_training_images: bool,
    audited: str | None,
) -> tuple[Step, ...]:
    """Return what to do, most urgent first.

    Args:
        leaks: images that came back and are not waived.
        findings: findings that are not waived, worst first.
        audited: when the audit was finished (ISO 8601); a waiver is proposed until 90 days after that.
    """
    return (
        *_after_verdict(outcome),
        *(_after_leaks(leaks, has_training_images) if leaks else _after_spikes(findings)),
        *(_keep() if outcome == "pass" else _waiver(findings[0], audited) if findings else ()),
    )


def _after_verdict(outcome: Outcome) -> Iterator[Step]:
    if outcome == "untrusted":
        yield Step("Mend what the verdict names, and audit again: until then nothing is shown, for or against.")
    if outcome == "inconclusive":
        yield Step(
            "Change what the verdict names, such as too few prompts or a reference of another style, or plant "
            "canaries. Then audit again. An inconclusive audit is no pass."
        )


def _after_leaks(leaks: Sequence[LeakedImage], has_training_images: bool) -> Iterator[Step]:
    n_known = sum(leak.is_training_image for leak in leaks)
    n_other = len(leaks) - n_known
    if n_known:
        yield Step(
            f"Drop or deduplicate {count_text(n_known, 'training image')}: RUN/{REMOVAL_FILE} lists "
            f"{'its path' if n_known == 1 else 'their paths'}, caption rows, near-duplicates and p. Keep "
            f"{'it' if n_known == 1 else 'them'} for the next audit, which finds no copy of what it is not given."
        )
    if n_other and has_training_images:
        yield Step(
            f"Look at {count_text(n_other, 'image')} that came back and {'is' if n_other == 1 else 'are'} a copy of no "
            "given training image."
        )
    if n_other and not has_training_images:
        yield Step(
            f"Find the training images behind {count_text(n_other, 'image')} that came back: audit again with them.",
            (f"flashbulb audit --replay {RUN} --train-images FOLDER --out {RUN}-traced",),
        )
    yield Step(
        "Retrain, audit the new model in the same way, and compare: an image that is gone is listed as fixed, or as "
        "better if its prompt is still flagged.",
        (
            f"flashbulb audit --replay {RUN} --model NEW_MODEL --out {RUN}-retrained",
            f"flashbulb diff {RUN} {RUN}-retrained",
        ),
    )


def _after_spikes(findings: Sequence[Finding]) -> Iterator[Step]:
    if findings:
        yield Step(
            f"Look at {count_text(len(findings), 'flagged prompt')}: no image came back, so each is only a suspicion.",
            (f"flashbulb show {RUN} 1",),
        )


def _waiver(worst: Finding, audited: str | None) -> Iterator[Step]:
    expires = "YYYY-MM-DD"
    with suppress(ValueError, OverflowError):  # not an ISO date
        expires = str(date.fromisoformat((audited or "")[:10]) + _WAIVED_FOR)
    yield Step(
        "Or accept a finding until a day, with a reason and an owner, such as the worst one.",
        (
            f"flashbulb waivers add waivers.toml {worst.fingerprint} --run {RUN} --reason 'WHY' --owner 'WHO' "
            f"--expires {expires}",
        ),
    )


def _keep() -> Iterator[Step]:
    yield Step(
        "Keep this run, and compare the next checkpoint with it.",
        (f"flashbulb gate NEXT_RUN --baseline {RUN} --new-only",),
    )
