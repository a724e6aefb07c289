"""The page's first screen: the images that leak, as a grid of tiles, and what to do next."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.gate.judgement import GateReport
from flashbulb.reports.leaks.images import LeakedImage
from flashbulb.reports.leaks.next_steps import RUN, Step
from flashbulb.reports.page.card_images import CardImage, card_image
from flashbulb.reports.page.labels import Labels
from flashbulb.reports.page.thumbnails import ImageMode
from flashbulb.reports.page.training_files import find_training_file
from flashbulb.reports.tables.files import IMAGES_DIRECTORY, RECOVERIES_FILE
from flashbulb.reports.tables.run_paths import path_in_run
from flashbulb.reports.tables.schema import TableRow

MAX_TILES = 24


class LeakTile(NamedTuple):
    """An image that leaks: what it is called, a thumbnail if one may be shown, and how often it comes.

    Args:
        image: of the training image; of the recovered image if that is unknown.
        near: how many near-duplicates it has in the training set; empty if none or not known.
        anchor: id of its card; None if the page shows none.
    """

    name: str
    image: CardImage | None
    prompts: str
    p: str
    verdict: str
    note: str
    near: str
    anchor: str | None


class Leaks(NamedTuple):
    """What leaked, in a line and as tiles, and what to do next. `n_more` images have no tile."""

    counts: str
    tiles: tuple[LeakTile, ...]
    n_more: int
    steps: tuple[Step, ...]


def leaks_of(
    report: GateReport,
    directory: Path,
    train_images: object,
    memories: Mapping[tuple[str, str], TableRow],
    anchors: Mapping[str, str],
    labels: Labels,
    mode: ImageMode,
) -> Leaks:
    """Return the first screen of the run in `directory`.

    Args:
        train_images: as the settings of the run name it.
        memories: by prompt_id and finding_id.
        anchors: ids of cards, by finding_id.
    """
    shown = report.leaks[:MAX_TILES]
    tiles = (
        LeakTile(
            name=_name(leak, labels),
            image=_image(leak, directory, train_images, memories, labels, mode),
            prompts=count_text(leak.n_prompts, "prompt"),
            p=_p_text(leak),
            verdict=leak.verdict,
            note=_note(leak),
            near=count_text(n, "near-duplicate") if (n := leak.copied and leak.copied.near_duplicates) else "",
            anchor=anchors.get(leak.finding_id),
        )
        for leak in shown
    )
    steps = tuple(step.of_run(RUN if labels.redact else report.run_name) for step in report.steps)
    return Leaks(report.leak_counts, tuple(tiles), len(report.leaks) - len(shown), steps)


def _name(leak: LeakedImage, labels: Labels) -> str:
    if leak.is_training_image and leak.nearest is not None and leak.nearest.path is not None:
        return labels.image(leak.nearest.path)
    return leak.finding_id


def _p_text(leak: LeakedImage) -> str:
    often = leak.replication
    return "p not known" if often is None or not often.samples else f"p {often.share:.2g}"


def _note(leak: LeakedImage) -> str:
    """Return what else a reader needs of it: its similarity, a waiver."""
    known = leak.nearest and leak.is_training_image
    similarity = f"similarity {leak.nearest.similarity:.2f}" if known and leak.nearest else "origin unknown"
    return similarity + (", waived" if leak.is_waived else "")


def _image(
    leak: LeakedImage,
    directory: Path,
    train_images: object,
    memories: Mapping[tuple[str, str], TableRow],
    labels: Labels,
    mode: ImageMode,
) -> CardImage | None:
    """Return the training image, or else the image that came back; None if neither may be shown or read."""
    files = _files(leak, directory, train_images, memories, labels)
    images = (card_image(path, alt, directory, labels, mode) for path, alt in files)
    return next((image for image in images if image is not None), None)


def _files(
    leak: LeakedImage,
    directory: Path,
    train_images: object,
    memories: Mapping[tuple[str, str], TableRow],
    labels: Labels,
) -> Sequence[tuple[Path, str]]:
    first, nearest = leak.findings[0], leak.nearest
    folder = f"{IMAGES_DIRECTORY}/{first.prompt_id or first.image}"
    files = []
    if leak.is_training_image and nearest is not None and nearest.path is not None:
        training = find_training_file(nearest.path, directory, folder, train_images)
        files += [(training, f"leaked training image {labels.image(nearest.path)}")] if training else []
    keys = [(finding.prompt_id or "", leak.finding_id) for finding in leak.findings]
    row = next((memories[key] for key in keys if key in memories), None)
    if row is not None and row["image_path"] is not None:
        recovered = path_in_run(directory, RECOVERIES_FILE, row["image_path"])
        files.append((recovered, f"recovered image {leak.finding_id}"))
    return files
