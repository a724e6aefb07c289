"""Findings as cards of the report: one a distinct picture, worst first, with the prompts that lead to it."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from reports.files import IMAGES_DIRECTORY
from reports.gate import JudgedFinding
from reports.page_words import Words
from reports.thumbnails import Images, thumbnail

MAX_CARDS = 100
MAX_PROMPTS = 12  # of a card
N_SAMPLES = 4
N_NEURONS = 8
_STATED = "engram"  # key under which our PNG files say what they show

_TITLES = {
    "confirmed": "A memorized picture came back",
    "likely": "A likely memory came back",
    "not_shown": "Neurons spike, but no picture came back",
    "not_tried": "Neurons spike; recovery was not tried",
}

Row = Mapping[str, Any]


class Picture(NamedTuple):
    """A thumbnail, what it shows, and the full picture beside the page, if that may be shown."""

    src: str
    alt: str
    href: str | None


class PictureGroup(NamedTuple):
    """Pictures that share a heading; where there are none, why."""

    title: str
    pictures: tuple[Picture, ...]
    missing: str


@dataclass(frozen=True, slots=True)
class CardPrompt:
    """A prompt that leads to the picture, its scores, and every rung that it was tried on."""

    finding: JudgedFinding
    words: str
    rungs: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Card:
    """One distinct picture, or one prompt whose neurons spiked and gave none; the first prompt is the worst."""

    anchor: str
    title: str
    judged: JudgedFinding
    groups: tuple[PictureGroup, ...]
    prompts: tuple[CardPrompt, ...]
    n_more_prompts: int
    facts: tuple[tuple[str, str], ...]
    neurons: tuple[Mapping[str, Any], ...]
    prompt_id: str | None


class RowsByPrompt(NamedTuple):
    """What cards are made from: rows of the run's tables by prompt, and where the run lies."""

    directory: Path
    rungs: Mapping[str | None, Sequence[Row]]
    neurons: Mapping[str | None, Sequence[Row]]


def rows_by_prompt(directory: Path, recoveries: Sequence[Row], spikes: Sequence[Row]) -> RowsByPrompt:
    """Group rows by prompt, each in the order of its table."""
    return RowsByPrompt(directory, _by_prompt(recoveries), _by_prompt(spikes))


def cards_of(judged: Sequence[JudgedFinding], tables: RowsByPrompt, words: Words, images: Images) -> tuple[Card, ...]:
    """The first hundred cards; a picture that several prompts lead to has one."""
    return tuple(_card(group, tables, words, images) for group in _groups_shown(judged))


def anchors_of(judged: Sequence[JudgedFinding]) -> dict[str, str]:
    """Where the page shows a prompt, by prompt_id: its own card, or that of the picture it leads to."""
    return {
        one.finding.prompt_id: _anchor(group[0])
        for group in _groups_shown(judged)
        for one in group
        if one.finding.prompt_id is not None
    }


def _groups_shown(judged: Sequence[JudgedFinding]) -> list[list[JudgedFinding]]:
    """The findings of each card, worst first."""
    by_picture: dict[str, list[JudgedFinding]] = defaultdict(list)
    for one in judged:
        by_picture[one.finding.picture or one.finding.fingerprint].append(one)
    return list(by_picture.values())[:MAX_CARDS]


def _anchor(worst: JudgedFinding) -> str:
    return f"finding-{worst.finding.fingerprint}"


def _card(group: Sequence[JudgedFinding], tables: RowsByPrompt, words: Words, images: Images) -> Card:
    worst = group[0]
    finding = worst.finding
    rungs = [row for row in tables.rungs.get(finding.prompt_id, ()) if not row["is_control"]]
    if finding.prompt_id is None:
        rungs = [row for row in rungs if row["finding_id"] == finding.picture]
    best = next((row for row in rungs if row["finding_id"] is not None), rungs[-1] if rungs else None)
    prompts = [_card_prompt(one, tables, words) for one in group[:MAX_PROMPTS]]
    return Card(
        anchor=_anchor(worst),
        title=_TITLES[finding.verdict],
        judged=worst,
        groups=_groups(worst, best, tables.directory, words, images),
        prompts=tuple(prompts),
        n_more_prompts=len(group) - len(prompts),
        facts=tuple(_facts(best, rungs, words)),
        neurons=tuple(tables.neurons.get(finding.prompt_id, ())[:N_NEURONS]),
        prompt_id=finding.prompt_id,
    )


def _card_prompt(judged: JudgedFinding, tables: RowsByPrompt, words: Words) -> CardPrompt:
    finding = judged.finding
    rungs = tables.rungs.get(finding.prompt_id, ()) if finding.prompt_id else ()
    return CardPrompt(judged, words.of_prompt(finding.prompt, finding.place), tuple(rungs))


def _facts(best: Row | None, rungs: Sequence[Row], words: Words) -> Iterable[tuple[str, str]]:
    if best is None:
        return
    yield "strategy", str(best["strategy"]).replace("_", " ")
    if best["kind"]:
        yield "kind of copy", str(best["kind"])
    if best["nearest_image"]:
        yield "nearest training image", words.of_image(best["nearest_image"])
    for column in ("similarity", "confidence", "fixed_share"):
        if best[column] is not None:
            yield column.replace("_", " "), f"{best[column]:.2f}"
    yield "agreement of seeds", f"{best['seed_agreement']:.2f}"
    yield "UNet evaluations", f"{sum(row['evaluations'] for row in rungs):,}"


def _groups(
    judged: JudgedFinding, best: Row | None, directory: Path, words: Words, images: Images
) -> tuple[PictureGroup, ...]:
    finding = judged.finding
    place = finding.place
    folder = directory / IMAGES_DIRECTORY / (finding.prompt_id or finding.picture or "")
    recovered = directory / best["image_path"] if best and best["image_path"] else None
    mask = directory / best["mask_path"] if best and best["mask_path"] and best["kind"] == "template" else None
    training = training_file(best["nearest_image"], folder) if best and best["nearest_image"] else None
    samples = sorted(folder.glob("seed-*.png"), key=lambda path: (len(path.name), path.name))[:N_SAMPLES]

    def shown(path: Path | None, alt: str, mask: Path | None = None) -> tuple[Picture, ...]:
        src = None if path is None else thumbnail(path, images, mask)
        if path is None or src is None:
            return ()
        return (Picture(src, alt, words.link_to(path, directory) if images == "shown" else None),)

    name = words.of_image(best["nearest_image"]) if best and best["nearest_image"] else ""
    sampled = [shown(path, f"plain sample {index} of {place}") for index, path in enumerate(samples)]
    is_shown = best is not None and best["verdict"] != "not_shown"
    came_back = best is not None and bool(best["kind"])
    which = "training image" if came_back else "nearest training image"
    what = "recovered picture" if is_shown else "last picture that was tried"
    return (
        PictureGroup(
            "training image" if came_back else "nearest image",
            shown(training, f"{which} {name}"),
            "none given, or none alike",
        ),
        PictureGroup("plain samples", sum(sampled, ()), "no picture kept"),
        PictureGroup(
            "recovered" if is_shown else "last try", shown(recovered, f"{what} of {place}"), "no picture kept"
        ),
        *(
            [PictureGroup("fixed part", shown(recovered, f"part of {place} that every seed gives alike", mask), "")]
            if mask
            else []
        ),
    )


def training_file(nearest_image: str, folder: Path) -> Path | None:
    """The file of a training image, or the copy that the audit made of one inside an archive; None if gone."""
    path = Path(nearest_image)
    if path.is_file():
        return path
    for copy in sorted(folder.glob("training-*.png")):
        try:
            with Image.open(copy) as opened:
                stated = json.loads(opened.info.get(_STATED, "{}"))
        except (OSError, ValueError):
            continue
        if stated.get("training_image") == nearest_image:
            return copy
    return None


def _by_prompt(rows: Sequence[Row]) -> dict[str | None, list[Row]]:
    by_prompt: dict[str | None, list[Row]] = defaultdict(list)
    for row in rows:
        by_prompt[row["prompt_id"]].append(row)
    return by_prompt
