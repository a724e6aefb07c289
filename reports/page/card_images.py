"""The images on a card: thumbnails with their descriptions, under headings."""

from pathlib import Path
from typing import NamedTuple

from flashbulb.reports.checks.findings import Finding
from flashbulb.reports.page.labels import Labels
from flashbulb.reports.page.thumbnails import ImageMode, thumbnail
from flashbulb.reports.page.training_files import find_training_file
from flashbulb.reports.tables.files import IMAGES_DIRECTORY, RECOVERIES_FILE
from flashbulb.reports.tables.limits import TEMPLATE
from flashbulb.reports.tables.run_paths import path_in_run
from flashbulb.reports.tables.schema import TableRow

N_SAMPLES = 4


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


def image_groups(
    finding: Finding, best: TableRow | None, directory: Path, train_images: object, labels: Labels, mode: ImageMode
) -> tuple[ImageGroup, ...]:
    """Return the images of a card: the training image, samples, the recovered image, and its fixed part if any.

    Args:
        best: the attempt that gave the recovered image.
        train_images: as the settings of the run name it.
    """
    folder = f"{IMAGES_DIRECTORY}/{finding.prompt_id or finding.image}"
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

    training = find_training_file(nearest, directory, folder, train_images) if nearest else None
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
