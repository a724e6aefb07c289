"""The images on a card: thumbnails with their descriptions, under headings."""

from pathlib import Path
from typing import NamedTuple

from flashbulb.reports.checks.findings import Finding
from flashbulb.reports.page.labels import Labels
from flashbulb.reports.page.thumbnails import ImageMode, shrink_data_uri, thumbnail
from flashbulb.reports.page.training_files import find_training_file
from flashbulb.reports.tables.files import IMAGES_DIRECTORY, RECOVERIES_FILE
from flashbulb.reports.tables.limits import TEMPLATE
from flashbulb.reports.tables.run_paths import path_in_run
from flashbulb.reports.tables.schema import TableRow

N_SAMPLES = 4


class CardImage(NamedTuple):
    """A thumbnail, its description, and a link to the full image if that may be shown.

    `is_recovered` marks the sample that stands for the image that came back.
    """

    src: str
    alt: str
    href: str | None
    is_recovered: bool = False


def card_image(
    path: Path | None, alt: str, directory: Path, labels: Labels, mode: ImageMode, mask: Path | None = None
) -> CardImage | None:
    """Return an image with a link to its file in the run `directory`; None if it may not be shown or read.

    Args:
        mask: see `thumbnail`.
    """
    src = None if path is None else thumbnail(path, mode, mask)
    if path is None or src is None:
        return None
    return CardImage(src, alt, labels.link_to(path, directory) if mode == "shown" else None)


class ImageGroup(NamedTuple):
    """Images under one heading, and the text that replaces them if there are none."""

    title: str
    images: tuple[CardImage, ...]
    missing: str = ""


def image_groups(
    finding: Finding, best: TableRow | None, directory: Path, train_images: object, labels: Labels, mode: ImageMode
) -> tuple[ImageGroup, ...]:
    """Return the images of a card: the training image, samples, the recovered image, and its fixed part if any.

    A sample that is itself the recovered image is marked and not shown again. Groups without an image are left out.

    Args:
        best: the attempt that gave the recovered image.
        train_images: as the settings of the run name it.
    """
    if mode == "none":
        return ()
    folder, location = f"{IMAGES_DIRECTORY}/{finding.prompt_id or finding.image}", finding.location
    nearest = best["nearest_image"] if best else None
    is_copy = best is not None and bool(best["kind"])
    is_shown = best is not None and best["verdict"] != "not_shown"
    recovered = _image_path(directory, best["image_path"] if best else None)
    mask = _image_path(directory, best["mask_path"] if best is not None and best["kind"] == TEMPLATE else None)
    name = "recovered image" if is_shown else "image of the last attempt"

    def images(path: Path | None, alt: str, mask: Path | None = None, *, marked: bool = False) -> tuple[CardImage, ...]:
        image = card_image(path, alt, directory, labels, mode, mask)
        return () if image is None else (image._replace(is_recovered=marked),)

    def sample(path: Path) -> tuple[CardImage, ...]:
        if path == recovered and is_shown:
            return images(path, f"recovered image of {location}, {path.stem}", marked=True)
        return images(path, f"plain sample {path.stem.removeprefix('seed-')} of {location}")

    samples = _sample_paths(directory, folder, recovered if is_shown else None)
    training = find_training_file(nearest, directory, folder, train_images) if nearest else None
    title = "training image" if is_copy else "nearest image"
    nearest_group = images(training, f"{'' if is_copy else 'nearest '}training image {labels.image(nearest or '')}")
    apart = () if recovered in samples and is_shown else images(recovered, f"{name} of {location}", marked=is_shown)
    fixed = images(recovered, f"part of {location} that is the same for every seed", mask) if mask else ()
    is_marked = is_shown and recovered in samples
    groups = (
        ImageGroup(title, nearest_group),
        ImageGroup("plain samples; framed: recovered" if is_marked else "plain samples", sum(map(sample, samples), ())),
        ImageGroup("recovered image" if is_shown else "last attempt", apart),
        ImageGroup("fixed part", fixed),
    )
    return tuple(group for group in groups if group.images)


def small_image(groups: tuple[ImageGroup, ...]) -> str | None:
    """Return the image that stands for a card, 48 pixels a side: the training image, or else the recovered one."""
    shown = [image for group in groups for image in group.images]
    wanted = shown[:1] if groups and groups[0].title == "training image" else [i for i in shown if i.is_recovered][:1]
    return shrink_data_uri(wanted[0].src) if wanted else None


def _image_path(directory: Path, name: str | None) -> Path | None:
    return None if name is None else path_in_run(directory, RECOVERIES_FILE, name)


def _sample_paths(directory: Path, folder: str, kept: Path | None) -> list[Path]:
    """Return the first plain samples in a folder of the run, with `kept` among them if it is one of the samples."""
    names = [path.name for path in path_in_run(directory, RECOVERIES_FILE, folder).glob("seed-*.png")]
    ordered = sorted(names, key=lambda name: (len(name), name))
    paths = [path_in_run(directory, RECOVERIES_FILE, f"{folder}/{name}") for name in ordered[: N_SAMPLES - 1]]
    rest = [directory / folder / name for name in ordered[N_SAMPLES - 1 :]]
    last = kept if kept in rest else rest[0] if rest else None
    return paths if last is None else [*paths, path_in_run(directory, RECOVERIES_FILE, f"{folder}/{last.name}")]
