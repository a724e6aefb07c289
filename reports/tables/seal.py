"""The seal of a finished audit: one digest over run.json, every table and every kept image.

Nothing in the run protects the seal itself. Whoever rewrites the run can seal it again, with another digest: a digest
that was handed over, or a signature, reveals that.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flashbulb.reports.tables.files import (
    CANARIES_FOLDER,
    GUESSES_FILE,
    IMAGES_DIRECTORY,
    RUN_FILE,
    TABLE_FILES,
    RunIncompleteError,
    sha256_of,
)
from flashbulb.reports.tables.record_files import read_content

SEAL_KEY = "seal"
_DIGEST_KEY = "digest"


@dataclass(frozen=True, slots=True)
class SealedFile:
    """What a file held when the run was sealed."""

    n_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Seal:
    """The seal of a run.

    Args:
        digest: SHA-256 of run.json without this digest, as compact JSON with sorted keys.
        files: the tables and kept images, by their path in the run.
    """

    digest: str
    files: Mapping[str, SealedFile]


def seal_of(directory: Path, content: Mapping[str, Any]) -> Seal:
    """Seal the run in `directory`, whose run.json is to hold `content`."""
    files = {name: _sealed(directory / name) for name in _files_of(directory, content["tables"])}
    return Seal(_digest_of({**content, SEAL_KEY: {"files": _as_json(files)}}), files)


def check_seal(directory: Path) -> Seal:
    """Compare run.json, every table and every kept image with the seal.

    Raises:
        RunFileError: there is no run.json, or it has another schema version.
        RunIncompleteError: something does not fit; the message names the first thing, and says how many there are.
    """
    content = read_content(directory, "audit")
    if content.get(SEAL_KEY) is None:
        raise RunIncompleteError(f"{directory / RUN_FILE} has no seal; run the audit again")
    seal = _read_seal(directory, content[SEAL_KEY])
    faults = tuple(_faults(directory, content, seal))
    if faults:
        others = f", nor do {len(faults) - 1:,} more" if len(faults) > 1 else ""
        raise RunIncompleteError(
            f"{directory} does not fit its seal: {faults[0]}{others}; use the run as it was sealed, or audit again"
        )
    return seal


def _read_seal(directory: Path, stated: Any) -> Seal:
    try:
        files = {name: SealedFile(**file) for name, file in stated["files"].items()}
        return Seal(stated[_DIGEST_KEY], files)
    except (TypeError, LookupError, AttributeError) as error:
        raise RunIncompleteError(f"{directory / RUN_FILE}: its seal is damaged; run the audit again") from error


def _faults(directory: Path, content: Mapping[str, Any], seal: Seal) -> Iterator[str]:
    """Yield what does not fit, each in a few words.

    No link to an image is followed, and no file is read that is not sealed.
    """
    tables = content.get("tables")
    expected = {*TABLE_FILES, *(tables if isinstance(tables, Mapping) else ())}
    found = set(_files_of(directory, expected))
    yield from (f"{name} is missing" for name in sorted(seal.files.keys() - found))
    yield from (f"{name} is not sealed" for name in sorted((found | expected) - seal.files.keys()))
    for name in sorted(seal.files.keys() & found):
        if not _is_plain(directory / name, may_be_link="/" not in name):
            yield f"{name} is a link or no file"
        elif not _is_unchanged(directory / name, seal.files[name]):
            yield f"{name} has changed"
    unsigned = {key: value for key, value in content[SEAL_KEY].items() if key != _DIGEST_KEY}
    if _digest_of({**content, SEAL_KEY: unsigned}) != seal.digest:
        yield f"{RUN_FILE} has changed"


def _files_of(directory: Path, tables: Iterable[str]) -> Iterator[str]:
    """Yield the tables that lie in the directory itself, and all below its images, by their path in the run."""
    names = (*tables, GUESSES_FILE)
    yield from (name for name in names if name == Path(name).name and os.path.lexists(directory / name))
    for folder in (directory / IMAGES_DIRECTORY, directory / CANARIES_FOLDER / IMAGES_DIRECTORY):
        yield from (path.relative_to(directory).as_posix() for path in _below(folder))


def _below(folder: Path) -> Iterator[Path]:
    """Yield all but folders below `folder`; links are not followed, and hidden files are those of file managers."""
    if folder.is_symlink() or not folder.is_dir():
        yield from [folder] if os.path.lexists(folder) else []
        return
    for path in sorted(folder.iterdir()):
        if not path.name.startswith("."):
            yield from _below(path)


def _is_plain(path: Path, *, may_be_link: bool) -> bool:
    """Return whether a path is a regular file; a table may be a link to one, because its bytes are what counts."""
    return path.is_file() and (may_be_link or not path.is_symlink())


def _is_unchanged(path: Path, sealed: SealedFile) -> bool:
    """Compare a file with what was sealed; one of another size, which may be huge, is not read."""
    return path.stat().st_size == sealed.n_bytes and sha256_of(path) == sealed.sha256


def _sealed(path: Path) -> SealedFile:
    return SealedFile(path.stat().st_size, sha256_of(path))


def _digest_of(content: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(content, default=str))  # as run.json gives it back: keys are text
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _as_json(files: Mapping[str, SealedFile]) -> dict[str, Any]:
    return {name: asdict(file) for name, file in files.items()}
