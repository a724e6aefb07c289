"""Record a part of the shards, for schedulers that start many processes, and merge the parts into one run."""

from __future__ import annotations

from pathlib import Path

from flashbulb.audit.run.directory import RECORDING, RunDirectory
from flashbulb.audit.run.lock import PRIVATE_FOLDER
from flashbulb.audit.run.progress import Stopwatch
from flashbulb.audit.run.torch_state import torch_as_started
from flashbulb.audit.settings import AuditSettings, SettingsError
from flashbulb.audit.stages.audit import open_session
from flashbulb.audit.stages.claim import claim, status_on_failure
from flashbulb.audit.stages.kept.batch_size import agreed_batch_size, refuse_other_batch_sizes
from flashbulb.audit.stages.kept.identity import recording_identity
from flashbulb.audit.stages.kept.parts import (
    find_parts,
    find_shards,
    merge_parts,
    part_folder,
    shards_folder,
    wait_for_parts,
)
from flashbulb.audit.stages.kept.ranks import RANKS, read_part, use_local_device
from flashbulb.audit.stages.kept.recorded import open_recorded, save_recorded
from flashbulb.audit.stages.kept.replay import Replay
from flashbulb.audit.stages.kept.resume import find_recorded, restore_settings
from flashbulb.audit.stages.opening.session import open_base
from flashbulb.audit.stages.record import record_base, record_prompts
from flashbulb.audit.stages.results.account import recorded_entries
from flashbulb.reports.tables.record_files import read_content
from flashbulb.reports.tables.run_record import SHARD


@torch_as_started()
def run_record_shard(
    settings: AuditSettings, shard: str, *, force: bool, replayed: Replay[AuditSettings] | None = None
) -> RunDirectory:
    """Record every n-th shard of every set into a folder of its own beside `settings.out`.

    Args:
        shard: "i/n", or "ranks": then torchrun or srun says which, and the first process waits for all and merges.

    Raises:
        SettingsError: `shard` names no part, or tier 0 is asked for, which needs all of the reference.
        WorkersLost: another process stopped.
        the errors of `run_audit`.
    """
    part, out, watch = read_part(shard), settings.out, Stopwatch()
    if settings.tiers != "full":
        raise SettingsError("--shard needs --tiers full: tier 0 chooses prompts when all of the reference is recorded")
    if force and shard == RANKS:
        raise SettingsError(f"--force is refused with --shard ranks; delete {shards_folder(out)} and {out} yourself")
    use_local_device(settings.device)
    with watch.stage("load"):
        session = open_session(settings.model_copy(update={"out": part_folder(out, part)}), replayed)
    shards_folder(out).mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    recording = recording_identity(session.inputs)
    if settings.batch_size == "auto":
        own = session.inputs.settings.latents_per_call
        session = session.with_batches_of(agreed_batch_size(shards_folder(out), recording, own))
    identity = {"shard": {**recording, "part": str(part)}}
    with claim(session.inputs, identity, force) as run:
        recorded = record_prompts(session, run, watch, part)
        base = None if recorded.inputs.base is None else open_base(session)
        del session  # one model in memory at a time
        save_recorded(run.path, recorded if base is None else record_base(recorded, base, run, watch, part=part))
        run.update(status=SHARD)
    if shard != RANKS or part.number > 1:
        return run
    wait_for_parts(out, part.of, settings.worker_timeout)
    return run_merge(out, force=False)


def run_merge(out: Path, *, force: bool) -> RunDirectory:
    """Put the parts that lie beside `out` together into one recording; one that is there already is left as it is.

    Raises:
        RunDirectoryError: a part is missing, or two do not belong together; or `out` holds something else.
    """
    parts = find_parts(out)
    refuse_other_batch_sizes(parts.folders)
    shards, identity = find_shards(parts), {RECORDING: parts.identity}
    settings = restore_settings(RunDirectory(out, dict(read_content(parts.folders[0], "recording"))), {})
    if (kept := find_recorded(out, identity, settings, force=force)) is not None:
        return kept
    with RunDirectory.open(out, identity, force=force) as run, status_on_failure(run):
        merge_parts(parts, shards, run.path)
        run.update(**recorded_entries(open_recorded(run.path, settings)))
        return run
