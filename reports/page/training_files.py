"""Find a file that shows a training image, among the user's own files or as a copy that the audit made."""

import json
import os
from pathlib import Path

from flashbulb.reports.figures.image_files import IMAGE_ERRORS, open_image
from flashbulb.reports.tables.files import METADATA_KEY, RECOVERIES_FILE
from flashbulb.reports.tables.run_paths import path_in_run

_INDEX_MANIFEST = "index.json"  # of an index of training images; it names the folder that it was built from


def find_training_file(nearest_image: str, directory: Path, folder: str, train_images: object) -> Path | None:
    """Return the copy of a training image that the audit made, else the path of its own file; None if it has none.

    Args:
        nearest_image: as `recoveries.parquet` names it.
        directory: the run directory.
        folder: of the images of one prompt, relative to the run directory.
        train_images: as the settings of the run name it. An own file lies there, or where an index says.

    Raises:
        RunIncompleteError: a copy leads out of the run.
    """
    for copy in sorted(path_in_run(directory, RECOVERIES_FILE, folder).glob("training-*.png")):
        if _copied_image(path_in_run(directory, RECOVERIES_FILE, f"{folder}/{copy.name}")) == nearest_image:
            return copy
    path = Path(nearest_image)
    return path if _is_training_image(path, train_images) else None


def _copied_image(copy: Path) -> object:
    """Return the training image that the metadata of a copy names."""
    try:
        with open_image(copy) as opened:
            metadata = json.loads(opened.info.get(METADATA_KEY, "{}"))
    except IMAGE_ERRORS:
        return None
    return metadata.get("training_image") if isinstance(metadata, dict) else None


def _is_training_image(path: Path, train_images: object) -> bool:
    """Return whether a path lies in the user's training images. Links among these are the user's own, and followed."""
    return isinstance(train_images, str) and any(
        _plain(path).is_relative_to(_plain(Path(place))) for place in _places(train_images)
    )


def _plain(path: Path) -> Path:
    """Return an absolute path without `..`, its links not followed."""
    return Path(os.path.normpath(path.absolute()))


def _places(train_images: str) -> list[str]:
    """Return the folder of the training images and, if it is an index, the folder that was indexed."""
    try:
        source = json.loads((Path(train_images) / _INDEX_MANIFEST).read_text(encoding="utf-8"))["source"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return [train_images]
    return [train_images, source] if isinstance(source, str) else [train_images]
