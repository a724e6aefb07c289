"""Take over shards that another run recorded of the same base model, so that a base is recorded once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flashbulb.audit.record.rows import PROMPT_FOLDER, STEP_FOLDER
from flashbulb.audit.run.directory import fingerprint_of
from flashbulb.audit.stages.kept.identity import set_identity
from flashbulb.audit.stages.kept.recorded import ACTIVATIONS, set_folder
from flashbulb.audit.stages.results.state import Inputs
from flashbulb.hooks import FingerprintMismatch, NewerSchema, complete_shards
from flashbulb.reports.tables.files import link_whole


def adopt_base_shards(inputs: Inputs, run: Path, donors: Sequence[Path]) -> None:
    """Link the base's complete shards in `donors` into `run` where it lacks them and their fingerprint is its own.

    Shards are never written in place, so runs can share a file. They are copied where the file system has no links.

    Args:
        donors: other run directories, whatever they hold.
    """
    assert inputs.base is not None, "an audit without a base adopts nothing"
    for name, prompts in inputs.sets_to_record.items():
        fingerprint = fingerprint_of(set_identity(inputs, name, prompts, inputs.base))
        target, *sources = (set_folder(folder / ACTIVATIONS, name, is_base=True) for folder in (run, *donors))
        for half in (PROMPT_FOLDER, STEP_FOLDER):
            for source in sources:
                _adopt(source / half, target / half, fingerprint)


def _adopt(source: Path, target: Path, fingerprint: str) -> None:
    wanted = {path.stem for path in source.glob("part-*.json")} - {path.stem for path in target.glob("part-*.json")}
    if not wanted:  # else every shard of every donor would be hashed
        return
    try:
        shards = complete_shards(source, fingerprint)
    except (FingerprintMismatch, NewerSchema):
        return
    target.mkdir(parents=True, exist_ok=True)
    for path in shards.values():
        if path.stem in wanted:
            for file in (path, path.with_suffix(".json")):  # the manifest last: it marks the shard as complete
                link_whole(file, target / file.name)
