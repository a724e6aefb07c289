"""Findings as cards: one per distinct image, worst first, with the prompts that lead to it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from flashbulb.reports.bounds.replication import how_often_text
from flashbulb.reports.checks.findings import Finding, FoundImage
from flashbulb.reports.gate.judgement import JudgedFinding
from flashbulb.reports.page.card_facts import card_details, card_facts, card_title
from flashbulb.reports.page.card_images import ImageGroup, image_groups, small_image
from flashbulb.reports.page.labels import Labels
from flashbulb.reports.page.thumbnails import ImageMode
from flashbulb.reports.tables.schema import TableRow

MAX_CARDS = 1000
MAX_ILLUSTRATED = 100
"""Cards with images, neurons and a figure: more would take a browser seconds and the page many megabytes."""
MAX_PROMPTS = 12  # per card
N_NEURONS = 8


@dataclass(frozen=True, slots=True)
class CardPrompt:
    """A prompt that leads to the image of a card, how often its samples show it, and every recovery attempt on it.

    `number` is that of its finding, worst first.
    """

    number: int
    judged: JudgedFinding
    label: str
    how_often: str | None
    attempts: tuple[TableRow, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """One distinct image, or one flagged prompt that gave none. `judged` is its worst finding, of the first prompt.

    A prompt that gives several images stands on the card of each.

    Args:
        numbers: of all its findings, by which `flashbulb show` knows them; the worst first.
        standings, changes: of all its findings.
        thumb: a small image as a data URI; None if none may be shown.
        facts: the four that matter most; `details` are the others.
    """

    anchor: str
    numbers: tuple[int, ...]
    title: str
    judged: JudgedFinding
    standings: tuple[str, ...]
    changes: tuple[str, ...]
    thumb: str | None
    groups: tuple[ImageGroup, ...]
    prompts: tuple[CardPrompt, ...]
    n_more_prompts: int
    verdict: str
    facts: tuple[tuple[str, str], ...]
    details: tuple[tuple[str, str], ...]
    neurons: tuple[TableRow, ...]
    prompt_id: str | None


class CardSource(NamedTuple):
    """What cards are built from: the run directory, its training images, and rows of its tables by prompt_id.

    `memories` are by prompt_id and finding_id.
    """

    directory: Path
    train_images: object
    attempts: Mapping[str | None, Sequence[TableRow]]
    memories: Mapping[tuple[str, str], TableRow]
    neurons: Mapping[str | None, Sequence[TableRow]]


def card_source(
    directory: Path,
    train_images: object,
    recoveries: Sequence[TableRow],
    memories: Sequence[TableRow],
    spikes: Sequence[TableRow],
) -> CardSource:
    """Group the rows of the tables by prompt, in the order of each table.

    Args:
        train_images: as the settings of the run name it.
    """
    by_image = {(row["prompt_id"], row["finding_id"]): row for row in memories}
    return CardSource(directory, train_images, _group_by_prompt(recoveries), by_image, _group_by_prompt(spikes))


def build_cards(
    findings: Sequence[JudgedFinding], source: CardSource, labels: Labels, mode: ImageMode
) -> tuple[Card, ...]:
    """Build the first `MAX_CARDS` cards. Findings that share an image share its card."""
    return tuple(
        _card(group, source, labels, mode, is_illustrated=position < MAX_ILLUSTRATED)
        for position, group in enumerate(_group_by_card(findings))
    )


def card_anchors(findings: Sequence[JudgedFinding]) -> dict[str, str]:
    """Return the id of the first card that shows each prompt, by prompt_id. Prompts beyond `MAX_CARDS` have none."""
    anchors: dict[str, str] = {}
    for group in _group_by_card(findings):
        for shown in group:
            if shown.judged.finding.prompt_id is not None:
                anchors.setdefault(shown.judged.finding.prompt_id, _anchor(group[0]))
    return anchors


def image_anchors(findings: Sequence[JudgedFinding]) -> dict[str, str]:
    """Return the id of the card of each image that came back, by finding_id. Images beyond `MAX_CARDS` have none."""
    anchors = {}
    for group in _group_by_card(findings):
        image = group[0].image.finding_id if group[0].image else group[0].judged.finding.image
        if image is not None:
            anchors[image] = _anchor(group[0])
    return anchors


class _Shown(NamedTuple):
    """A finding on a card, and the image of it that the card shows; None if it has none, or no prompt."""

    number: int
    judged: JudgedFinding
    image: FoundImage | None


def _group_by_card(findings: Sequence[JudgedFinding]) -> list[list[_Shown]]:
    """Return the findings of each card, worst first."""
    by_image: dict[str, list[_Shown]] = defaultdict(list)
    for number, judged in enumerate(findings, 1):
        finding = judged.finding
        for image in finding.images:
            by_image[image.finding_id].append(_Shown(number, judged, image))
        if not finding.images:
            by_image[finding.image or finding.fingerprint].append(_Shown(number, judged, None))
    return list(by_image.values())[:MAX_CARDS]


def _anchor(worst: _Shown) -> str:
    finding, image = worst.judged.finding, worst.image
    is_first = image is None or image is finding.images[0]
    return f"finding-{finding.fingerprint}" + ("" if is_first or image is None else f"-{image.finding_id}")


def _card(
    group: Sequence[_Shown], source: CardSource, labels: Labels, mode: ImageMode, *, is_illustrated: bool
) -> Card:
    _, worst, image = group[0]
    finding = worst.finding
    attempts = _attempts(finding, source)
    best = next((row for row in attempts if row["finding_id"] is not None), attempts[-1] if attempts else None)
    if best is not None and image is not None:
        best = {**best, **source.memories[finding.prompt_id or "", image.finding_id]}
    prompts = [_card_prompt(shown, source, labels) for shown in group[:MAX_PROMPTS]]
    shown_as = mode if is_illustrated else "none"
    groups = image_groups(finding, best, source.directory, source.train_images, labels, shown_as)
    return Card(
        anchor=_anchor(group[0]),
        numbers=tuple(shown.number for shown in group),
        title=card_title(image.verdict if image else finding.verdict, best, labels),
        judged=worst,
        standings=tuple(sorted({shown.judged.standing for shown in group})),
        changes=tuple(sorted({shown.judged.change for shown in group if shown.judged.change})),
        thumb=small_image(groups),
        groups=groups,
        prompts=tuple(prompts),
        n_more_prompts=len(group) - len(prompts),
        verdict=image.verdict if image else finding.verdict,
        facts=tuple(card_facts(finding, image, best, labels)),
        details=tuple(card_details(finding, best, attempts)),
        neurons=tuple(source.neurons.get(finding.prompt_id, ())[:N_NEURONS]) if is_illustrated else (),
        prompt_id=finding.prompt_id if is_illustrated else None,
    )


def _attempts(finding: Finding, source: CardSource) -> list[TableRow]:
    """Return the attempts on the prompt of a finding, or those that gave its image without one."""
    attempts = [row for row in source.attempts.get(finding.prompt_id, ()) if not row["is_control"]]
    return attempts if finding.prompt_id else [row for row in attempts if row["finding_id"] == finding.image]


def _card_prompt(shown: _Shown, source: CardSource, labels: Labels) -> CardPrompt:
    judged, finding = shown.judged, shown.judged.finding
    attempts = source.attempts.get(finding.prompt_id, ()) if finding.prompt_id else ()
    how_often = None if shown.image is None else how_often_text(shown.image.replication)
    return CardPrompt(shown.number, judged, labels.prompt(finding.prompt, finding.location), how_often, tuple(attempts))


def _group_by_prompt(rows: Sequence[TableRow]) -> dict[str | None, list[TableRow]]:
    by_prompt: dict[str | None, list[TableRow]] = defaultdict(list)
    for row in rows:
        by_prompt[row["prompt_id"]].append(row)
    return by_prompt
