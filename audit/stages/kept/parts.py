"""Parts of a recording, which processes that know nothing of each other make, and the recording of all of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flashbulb.audit.execute.coordinator import WorkersLost
from flashbulb.audit.record.reduction import BASELINES_FILE
from flashbulb.audit.record.rows import PROMPT_FOLDER, STEP_FOLDER
from flashbulb.audit.record.sets import Part, summarize
from flashbulb.audit.record.shards import PROMPTS_FILE
from flashbulb.audit.run.directory import RunDirectoryError, flatten_json
from flashbulb.audit.run.lock import check_free
from flashbulb.audit.stages.kept.identity import REDUCED
from flashbulb.audit.stages.kept.recorded import ACTIVATIONS, RECORDING_FILE, set_folder
from flashbulb.audit.stores.fetching import fetch
from flashbulb.audit.stores.locks import is_held
from flashbulb.hooks import complete_shards
from flashbulb.hooks.files import sealed, unsealed
from flashbulb.reports.tables.differences import first_difference
from flashbulb.reports.tables.files import link_whole, sha256_of, write_text
from flashbulb.reports.tables.stores import in_store

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS, _SECONDS_BETWEEN_LISTINGS = 0.5, 5.0


def shards_folder(out: Path) -> Path:
    """Return the folder of the parts of a run."""
    return Path(f"{out}.shards")


def part_folder(out: Path, part: Part) -> Path:
    """Return the folder of one part of a run."""
    return shards_folder(out) / f"{part.number}-of-{part.of}"


def wait_for_parts(out: Path, n_parts: int, timeout: float) -> None:
    """Wait until all parts of a run are recorded. Time counts only while this process runs: a job may be suspended.

    Raises:
        WorkersLost: none of those that are missing has written a shard for `timeout` seconds.
    """
    n_written, waited = -1, 0.0
    pause = _SECONDS_BETWEEN_LISTINGS if in_store(out) else _SECONDS_BETWEEN_LOOKS
    folders = [part_folder(out, Part(number, n_parts)) for number in range(1, n_parts + 1)]
    fetch(shards_folder(out))
    while missing := [folder for folder in folders if not _is_left(folder)]:
        n_now = sum(1 for folder in missing for _ in folder.rglob("part-*.json"))
        if n_now != n_written:
            n_written, waited = n_now, 0.0
            logger.info("waiting for %d of %d shards, first %s", len(missing), n_parts, missing[0])
        elif waited > timeout:
            raise WorkersLost(
                f"{missing[0]} and {len(missing) - 1} others of {n_parts} show no progress for {timeout:g} s; run the "
                "same command again, which keeps what is recorded, or raise --worker-timeout"
            )
        time.sleep(pause)
        waited += pause
        fetch(shards_folder(out))


def _is_left(part: Path) -> bool:
    """Return whether a part is recorded, and no process holds it: one does for a moment after it has said so."""
    return (part / ACTIVATIONS / RECORDING_FILE).exists() and not is_held(part)


class Parts(NamedTuple):
    """Finished parts of one recording, and what each says of itself."""

    folders: list[Path]
    contents: list[dict[str, Any]]

    @property
    def identity(self) -> dict[str, Any]:
        """What the recording depends on, the same for all."""
        return dict(self.contents[0]["identity"])

    def sets(self, *, is_base: bool) -> list[Mapping[str, Any]]:
        """Return what each part says of its sets by name, of those of the base or of the audited model."""
        return [content["base"]["sets"] if is_base else content["sets"] for content in self.contents]


def find_parts(out: Path) -> Parts:
    """Find the finished parts of a run, and refuse those that do not belong together.

    Raises:
        RunDirectoryError: there is none, or two differ in model, prompts or settings.
        DirectoryHeldError: one is still being recorded.
        DamagedFile: one is damaged.
    """
    folder = shards_folder(out)
    fetch(folder)
    folders = [path.parent.parent for path in sorted(folder.glob(f"*-of-*/{ACTIVATIONS}/{RECORDING_FILE}"))]
    if not folders:
        raise RunDirectoryError(
            f"{folder} holds no recorded shard; record each with `flashbulb record --shard i/n` and --out {out}"
        )
    for path in folders:
        check_free(path)
    contents = [unsealed(path / ACTIVATIONS / RECORDING_FILE) for path in folders]
    for path, content in zip(folders, contents, strict=True):
        difference = first_difference(flatten_json(contents[0]["identity"]), flatten_json(content["identity"]))
        if difference is not None:
            raise RunDirectoryError(
                f"{folders[0]} and {path} do not belong together: {difference.key} is {difference.old!r} and "
                f"{difference.new!r}{difference.others}; delete the one that is not wanted"
            )
    return Parts(folders, contents)


def find_shards(parts: Parts) -> dict[Path, list[Path]]:
    """Find every shard of every set, by the folder below that of the activations; refuse parts that lack one.

    Raises:
        RunDirectoryError: shards are missing or damaged.
        FingerprintMismatch: a shard belongs to another recording.
    """
    found = {}
    for is_base in (False, True) if parts.contents[0]["base"] else (False,):
        for name, entry in parts.sets(is_base=is_base)[0].items():
            for half in (PROMPT_FOLDER, STEP_FOLDER):
                place = set_folder(Path(), name, is_base=is_base) / half
                found[place] = _all_shards(parts, place, entry["fingerprint"], entry["n_shards"])
    return found


def _all_shards(parts: Parts, place: Path, fingerprint: str, n_shards: int) -> list[Path]:
    shards: dict[int, Path] = {}
    for folder in parts.folders:
        shards |= complete_shards(folder / ACTIVATIONS / place, fingerprint)
    if missing := sorted(set(range(n_shards)) - shards.keys()):
        raise RunDirectoryError(
            f"{len(missing)} of {n_shards} shards of {place.parent} are missing, the first is number {missing[0]}; "
            f"{parts.folders[0].parent} holds {', '.join(folder.name for folder in parts.folders)}; "
            "record the others with the same command and their --shard"
        )
    return list(shards.values())


def find_baselines(parts: Parts) -> Path | None:
    """Return the baselines by which every part was reduced; None where all shards are dense.

    Raises:
        RunDirectoryError: two parts were reduced by other ones, or lack them.
    """
    if parts.contents[0]["identity"].get(REDUCED) is None:
        return None
    files = {folder: folder / ACTIVATIONS / "candidates" / BASELINES_FILE for folder in parts.folders}
    hashes = {folder: sha256_of(file) if file.is_file() else None for folder, file in files.items()}
    first = parts.folders[0]
    other = next((folder for folder, found in hashes.items() if found is None or found != hashes[first]), None)
    if other is not None:
        raise RunDirectoryError(
            f"{first} and {other} were reduced by different baselines, which parts share where they have one file "
            f"system; copy {files[first]} over that of {other}, and run its command again, which reduces it again"
        )
    return files[first]


def merge_parts(parts: Parts, shards: Mapping[Path, Sequence[Path]], run: Path) -> None:
    """Put every shard of the parts into `run`, as links where the file system has them, and mark it as recorded."""
    for place, paths in shards.items():
        target = run / ACTIVATIONS / place
        target.mkdir(parents=True, exist_ok=True)
        for path in paths:
            for file in (path, path.with_suffix(".json")):  # the manifest last: it marks the shard as complete
                link_whole(file, target / file.name)
    first = parts.contents[0]
    for name in first["sets"]:
        file = Path(ACTIVATIONS) / name / PROMPTS_FILE
        link_whole(parts.folders[0] / file, run / file)
    if (baselines := find_baselines(parts)) is not None:
        link_whole(baselines, run / baselines.relative_to(parts.folders[0]))
    content = {**first, "sets": _merged_sets(parts, run, is_base=False), "evaluations": {}, "timings": {}}
    stages = {"record": (first["sets"], content["sets"])}
    if first["base"] is not None:
        content["base"] = {**first["base"], "sets": _merged_sets(parts, run, is_base=True)}
        stages["record_base"] = (first["base"]["sets"], content["base"]["sets"])
    for stage, (first_sets, all_sets) in stages.items():
        initial = first["evaluations"][stage] - _count(first_sets)  # of the empty prompt, which is counted once
        content["evaluations"][stage] = initial + _count(all_sets)
        content["timings"][stage] = max(part["timings"].get(stage, 0.0) for part in parts.contents)
    write_text(run / ACTIVATIONS / RECORDING_FILE, sealed(content))


def _merged_sets(parts: Parts, run: Path, *, is_base: bool) -> dict[str, Any]:
    merged = {}
    for name, entry in parts.sets(is_base=is_base)[0].items():
        recorded = summarize(set_folder(run / ACTIVATIONS, name, is_base=is_base), entry["n_shards"])
        counts = {"n_truncated": recorded.n_truncated, "n_evaluations": recorded.n_evaluations}
        merged[name] = {**entry, **counts}
    return merged


def _count(sets: Mapping[str, Any]) -> int:
    return sum(int(entry["n_evaluations"]) for entry in sets.values())
