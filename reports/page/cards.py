"""Findings as cards: one per distinct image, worst first, with the prompts that lead to it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from flashbulb.reports.checks.findings import Finding
from flashbulb.reports.gate.judgement import JudgedFinding
from flashbulb.reports.page.labels import Labels
from flashbulb.reports.page.thumbnails import ImageMode, thumbnail
from flashbulb.reports.page.training_files import find_training_file
from flashbulb.reports.tables.files import IMAGES_DIRECTORY, RECOVERIES_FILE
from flashbulb.reports.tables.limits import TEMPLATE
from flashbulb.reports.tables.run_paths import path_in_run
from flashbulb.reports.tables.schema import TableRow

MAX_CARDS = 100
MAX_PROMPTS = 12  # per card
N_SAMPLES = 4
N_NEURONS = 8

_TITLES = {
    "confirmed": "A memorized image was recovered",
    "likely": "A likely memorized image was recovered",
    "not_shown": "Neurons spike, but no image was recovered",
    "not_tried": "Neurons spike; recovery was not tried",
}


class CardImage(NamedTuple):
    """A thumbnail, its description, and a link to the full image if that may be shown."""

    src: str
    alt: str
    href: str | None


class ImageGroup(NamedTuple):
    """Images under one heading, and the text that replaces them if there are none."""

    title: str
    images: tuple[CardImage, ...]
    missing: str


@dataclass(frozen=True, slots=True)
class CardPrompt:
    """A prompt that leads to the image of a card, and every recovery attempt on it."""

    judged: JudgedFinding
    label: str
    attempts: tuple[TableRow, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """One distinct image, or one flagged prompt that gave none. `judged` is its worst finding, of the first prompt."""

    anchor: str
    title: str
    judged: JudgedFinding
    groups: tuple[ImageGroup, ...]
    prompts: tuple[CardPrompt, ...]
    n_more_prompts: int
    facts: tuple[tuple[str, str], ...]
    neurons: tuple[TableRow, ...]
    prompt_id: str | None


class CardSource(NamedTuple):
    """What cards are built from: the run directory, its training images, and rows of its tables by prompt_id."""

    directory: Path
    train_images: object
    attempts: Mapping[str | None, Sequence[TableRow]]
    neurons: Mapping[str | None, Sequence[TableRow]]


def card_source(
    directory: Path, train_images: object, recoveries: Sequence[TableRow], spikes: Sequence[TableRow]
) -> CardSource:
    """Group the rows of two tables by prompt, in the order of each table.

    Args:
        train_images: as the settings of the run name it.
    """
    return CardSource(directory, train_images, _group_by_prompt(recoveries), _group_by_prompt(spikes))


def build_cards(
    findings: Sequence[JudgedFinding], source: CardSource, labels: Labels, mode: ImageMode
) -> tuple[Card, ...]:
    """Build the first `MAX_CARDS` cards. Findings that share an image share its card."""
    return tuple(_card(group, source, labels, mode) for group in _group_by_card(findings))


def card_anchors(findings: Sequence[JudgedFinding]) -> dict[str, str]:
    """Return the id of the card that shows each prompt, by prompt_id. Prompts beyond `MAX_CARDS` have none."""
    return {
        judged.finding.prompt_id: _anchor(group[0])
        for group in _group_by_card(findings)
        for judged in group
        if judged.finding.prompt_id is not None
    }


def _group_by_card(findings: Sequence[JudgedFinding]) -> list[list[JudgedFinding]]:
    """Return the findings of each card, worst first."""
    by_image: dict[str, list[JudgedFinding]] = defaultdict(list)
    for judged in findings:
        by_image[judged.finding.image or judged.finding.fingerprint].append(judged)
    return list(by_image.values())[:MAX_CARDS]


def _anchor(worst: JudgedFinding) -> str:
    return f"finding-{worst.finding.fingerprint}"


def _card(group: Sequence[JudgedFinding], source: CardSource, labels: Labels, mode: ImageMode) -> Card:
    worst = group[0]
    finding = worst.finding
    attempts = [row for row in source.attempts.get(finding.prompt_id, ()) if not row["is_control"]]
    if finding.prompt_id is None:
        attempts = [row for row in attempts if row["finding_id"] == finding.image]
    best = next((row for row in attempts if row["finding_id"] is not None), attempts[-1] if attempts else None)
    prompts = [_card_prompt(judged, source, labels) for judged in group[:MAX_PROMPTS]]
    return Card(
        anchor=_anchor(worst),
        title=_TITLES[finding.verdict],
        judged=worst,
        groups=_image_groups(finding, best, source, labels, mode),
        prompts=tuple(prompts),
        n_more_prompts=len(group) - len(prompts),
        facts=tuple(_facts(best, attempts, labels)),
        neurons=tuple(source.neurons.get(finding.prompt_id, ())[:N_NEURONS]),
        prompt_id=finding.prompt_id,
    )


def _card_prompt(judged: JudgedFinding, source: CardSource, labels: Labels) -> CardPrompt:
    finding = judged.finding
    attempts = source.attempts.get(finding.prompt_id, ()) if finding.prompt_id else ()
    return CardPrompt(judged, labels.prompt(finding.prompt, finding.location), tuple(attempts))


def _facts(best: TableRow | None, attempts: Sequence[TableRow], labels: Labels) -> Iterable[tuple[str, str]]:
    """Yield name and value of each property of the best attempt."""
    if best is None:
        return
    yield "strategy", str(best["strategy"]).replace("_", " ")
    if best["kind"]:
        yield "kind of copy", str(best["kind"])
    if best["nearest_image"]:
        yield "nearest training image", labels.image(best["nearest_image"])
    for column in ("similarity", "confidence", "fixed_share"):
        if best[column] is not None:
            yield column.replace("_", " "), f"{best[column]:.2f}"
    yield "seed agreement", f"{best['seed_agreement']:.2f}"
    yield "denoiser evaluations", f"{sum(row['evaluations'] for row in attempts):,}"


def _image_groups(
    finding: Finding, best: TableRow | None, source: CardSource, labels: Labels, mode: ImageMode
) -> tuple[ImageGroup, ...]:
    """Return the images of a card: the training image, samples, the recovered image, and its fixed part if any."""
    directory, folder = source.directory, f"{IMAGES_DIRECTORY}/{finding.prompt_id or finding.image}"
    nearest = best["nearest_image"] if best else None
    has_mask = best is not None and best["kind"] == TEMPLATE
    recovered = _image_path(directory, best["image_path"] if best else None)
    mask = _image_path(directory, best["mask_path"] if best and has_mask else None)
    samples = _sample_paths(directory, folder)
    is_copy = best is not None and bool(best["kind"])
    is_shown = best is not None and best["verdict"] != "not_shown"
    location = finding.location

    def images(path: Path | None, alt: str, mask: Path | None = None) -> tuple[CardImage, ...]:
        src = None if path is None else thumbnail(path, mode, mask)
        if path is None or src is None:
            return ()
        return (CardImage(src, alt, labels.link_to(path, directory) if mode == "shown" else None),)

    training = find_training_file(nearest, directory, folder, source.train_images) if nearest else None
    training_alt = f"{'training image' if is_copy else 'nearest training image'} {labels.image(nearest or '')}"
    recovered_alt = f"{'recovered image' if is_shown else 'image of the last attempt'} of {location}"
    sampled = [images(path, f"plain sample {index} of {location}") for index, path in enumerate(samples)]
    groups = (
        ImageGroup(
            "training image" if is_copy else "nearest image",
            images(training, training_alt),
            "none given, or none similar",
        ),
        ImageGroup("plain samples", sum(sampled, ()), "no image saved"),
        ImageGroup(
            "recovered image" if is_shown else "last attempt", images(recovered, recovered_alt), "no image saved"
        ),
    )
    if mask is None:
        return groups
    fixed_alt = f"part of {location} that is the same for every seed"
    return (*groups, ImageGroup("fixed part", images(recovered, fixed_alt, mask), ""))


def _image_path(directory: Path, name: str | None) -> Path | None:
    return None if name is None else path_in_run(directory, RECOVERIES_FILE, name)


def _sample_paths(directory: Path, folder: str) -> list[Path]:
    """Return the first plain samples in a folder of the run."""
    names = [path.name for path in path_in_run(directory, RECOVERIES_FILE, folder).glob("seed-*.png")]
    first = sorted(names, key=lambda name: (len(name), name))[:N_SAMPLES]
    return [path_in_run(directory, RECOVERIES_FILE, f"{folder}/{name}") for name in first]


def _group_by_prompt(rows: Sequence[TableRow]) -> dict[str | None, list[TableRow]]:
    by_prompt: dict[str | None, list[TableRow]] = defaultdict(list)
    for row in rows:
        by_prompt[row["prompt_id"]].append(row)
    return by_prompt
