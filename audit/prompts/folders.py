"""Choose the prompt files of a folder: metadata, Parquet, Arrow, or a text file beside each image."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from flashbulb.audit.prompts.formats.errors import PromptFileError
from flashbulb.audit.prompts.formats.json_tables import BROKEN_JSON
from flashbulb.audit.prompts.formats.text_files import read_bytes

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
SIDECARS = (".txt", ".caption")
"""Suffixes of text files beside images."""

_DEEPEST = 3
"""Levels of subfolders that are searched, such as `snapshots/<commit>/data`."""

_MOST_FOLDERS = 1000
_N_LISTED = 6


def choose_files(folder: Path, prompt_suffixes: Sequence[str]) -> list[Path]:
    """Return the prompt files of a folder, or of the only one among its subfolders that holds any, sorted by name.

    Args:
        prompt_suffixes: of files that would be read if they were given by name.

    Raises:
        OSError: the folder cannot be read.
        PromptFileError: there are none, or it is not clear which ones count.
    """
    if files := _files_in(folder):
        return files
    found = {sub: files for sub in _subfolders(folder, _DEEPEST) if (files := _files_in(sub))}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise PromptFileError(f"{folder}: several subfolders hold prompts; give one of them: {_listed(list(found))}")
    raise PromptFileError(f"{folder}: {_why_nothing(folder, prompt_suffixes)}")


def _files_in(folder: Path) -> list[Path]:
    """Return the prompt files of the folder itself; the first kind that it holds counts."""
    names = _names(folder)
    metadata = [name for name in names if name in METADATA]
    if len(metadata) > 1:
        raise PromptFileError(f"{folder}: holds {' and '.join(metadata)}; give one of them as the file")
    chosen = (
        metadata
        or [name for name in names if name.lower().endswith(".parquet")]
        or _arrow_files(folder, names)
        or _sidecars(folder, names)
    )
    return [folder / name for name in chosen]


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_file() and entry.name[0] not in "._")


def _arrow_files(folder: Path, names: Sequence[str]) -> list[str]:
    """Return the Arrow files that `save_to_disk` wrote, in its order, else all but the caches of `map`."""
    if "state.json" not in names:
        return [name for name in names if name.lower().endswith(".arrow") and not name.startswith("cache-")]
    try:
        state = json.loads(read_bytes(folder / "state.json"))
        chosen = [file["filename"] for file in state["_data_files"]]
    except (*BROKEN_JSON, KeyError, TypeError) as error:
        raise PromptFileError(
            f"{folder / 'state.json'}: names no files ({error!r}); save the data set again"
        ) from error
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise PromptFileError(
            f"{folder}: a selection of rows that is stored beside them; save data_set.flatten_indices() to disk"
        )
    for name in chosen:
        if name not in names:
            raise PromptFileError(
                f"{folder}: state.json names {name!r}, which it does not hold; save the data set again"
            )
    return chosen


def _sidecars(folder: Path, names: Sequence[str]) -> list[str]:
    """Return the text files that have the name of an image beside them, as kohya's scripts read them."""
    suffixes = Image.registered_extensions()
    images = [Path(name) for name in names if Path(name).suffix.lower() in suffixes]
    stems = {image.stem for image in images} | {image.name for image in images}
    by_suffix = {
        suffix: [name for name in names if Path(name).suffix == suffix and Path(name).stem in stems]
        for suffix in SIDECARS
    }
    kinds = [suffix for suffix, found in by_suffix.items() if found]
    if len(kinds) > 1:
        raise PromptFileError(
            f"{folder}: images have a .txt and a .caption; collect those that count: {_collection(folder, kinds[0])}"
        )
    return by_suffix[kinds[0]] if kinds else []


def _subfolders(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the subfolders that are neither hidden nor links, level by level, up to _MOST_FOLDERS."""
    level, n_folders = [folder], 0
    for _ in range(depth):
        level = [
            entry
            for parent in level
            for entry in sorted(parent.iterdir())
            if entry.name[0] not in "._" and entry.is_dir() and not entry.is_symlink()
        ]
        for entry in level:
            n_folders += 1
            if n_folders > _MOST_FOLDERS:
                return
            yield entry


def _why_nothing(folder: Path, prompt_suffixes: Sequence[str]) -> str:
    """Say that a folder holds no prompts, and what to give instead."""
    names = _names(folder)
    texts = [name for name in names if Path(name).suffix in SIDECARS]
    if len(texts) > 1:
        return f"text files without images beside them; collect them: {_collection(folder, Path(texts[0]).suffix)}"
    files = [folder / name for name in names if name.lower().removesuffix(".gz").endswith(tuple(prompt_suffixes))]
    if files:
        return f"holds prompt files of any name; give one of them: {_listed(files)}"
    return f"holds neither {', '.join(METADATA)} nor a .parquet file, .arrow file, or image with a .txt; give a file"


def _collection(folder: Path, suffix: str) -> str:
    """Return the command that writes every line of the folder's text files into one file."""
    files = f"find {shlex.quote(str(folder))} -name '*{suffix}' ! -name prompts.txt -print0"
    return f"{files} | sort -z | xargs -0 awk 1 > prompts.txt"  # awk ends every line


def _listed(paths: Sequence[Path]) -> str:
    n_more = len(paths) - _N_LISTED
    return ", ".join(map(str, paths[:_N_LISTED])) + (f" and {n_more} more" if n_more > 0 else "")
