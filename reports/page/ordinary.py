"""The page's section on capability and propensity: the rates, and the ordinary prompts whose sample is a copy."""

from pathlib import Path
from typing import NamedTuple

from flashbulb.reports.bounds.rates import rate_of
from flashbulb.reports.checks.run import CheckedRun
from flashbulb.reports.page.card_images import CardImage, card_image
from flashbulb.reports.page.labels import Labels
from flashbulb.reports.page.thumbnails import ImageMode
from flashbulb.reports.page.training_files import find_training_file
from flashbulb.reports.tables.files import IMAGES_DIRECTORY, PROPENSITY_FILE
from flashbulb.reports.tables.propensity import contrast_rows, contrast_sentences
from flashbulb.reports.tables.run_paths import path_in_run
from flashbulb.reports.tables.schema import TableRow
from flashbulb.reports.views.text import format_location

MAX_COPIES = 12


class OrdinaryCopy(NamedTuple):
    """An ordinary prompt whose sample is a copy: what it copies, and the images that may be shown, with titles."""

    label: str
    location: str
    copied: str
    images: tuple[tuple[str, CardImage], ...]


class Contrast(NamedTuple):
    """What the audit brought out, beside what ordinary prompts did.

    Args:
        rows: name, what was counted, rate.
        copies: the first `MAX_COPIES`, the most similar first.
    """

    sentences: tuple[str, ...]
    rows: tuple[tuple[str, str, str], ...]
    copies: tuple[OrdinaryCopy, ...]


def contrast_of(run: CheckedRun, directory: Path, labels: Labels, mode: ImageMode) -> Contrast | None:
    """Return the section; None if no ordinary prompts were sampled."""
    propensity, counts = run.record.propensity, run.record.counts
    if propensity is None or run.ordinary is None:
        return None
    rows = [row for row in run.ordinary.to_pylist() if row["is_copy"]]
    rows.sort(key=lambda row: -(row["similarity"] or 0.0))
    train_images = run.record.settings.get("train_images")
    return Contrast(
        contrast_sentences(propensity),
        contrast_rows(propensity, rate_of(counts.n_recovered, counts.n_scored)),
        tuple(_copy(row, directory, train_images, labels, mode) for row in rows[:MAX_COPIES]),
    )


def _copy(row: TableRow, directory: Path, train_images: object, labels: Labels, mode: ImageMode) -> OrdinaryCopy:
    location = format_location(row["source_file"], row["source_row"])
    sample = None if row["image_path"] is None else path_in_run(directory, PROPENSITY_FILE, row["image_path"])
    training, copied = None, f"shows the image of {row['finding_id']}"
    if row["nearest_image"] is not None:
        copied = f"copies {labels.image(row['nearest_image'])}, similarity {row['similarity']:.2f}"
        folder = f"{IMAGES_DIRECTORY}/{row['prompt_id']}"
        training = find_training_file(row["nearest_image"], directory, folder, train_images)
    shown = (
        ("training image", training, f"training image that the sample of {location} copies"),
        ("sample", sample, f"sample of {location}"),
    )
    images = [
        (title, image)
        for title, path, alt in shown
        if (image := card_image(path, alt, directory, labels, mode)) is not None
    ]
    return OrdinaryCopy(labels.prompt(row["prompt"], location), location, copied, tuple(images))
