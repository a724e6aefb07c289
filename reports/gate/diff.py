"""Compare the findings of two audits, if they can be compared: new, worse, better, unchanged, fixed."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from flashbulb.reports.checks.findings import Finding, FoundImage
from flashbulb.reports.checks.run import CheckedRun
from flashbulb.reports.gate.decide import decide
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.leaks.images import CopiedImage, recorded_copies
from flashbulb.reports.tables.differences import first_difference
from flashbulb.reports.tables.files import RunFileError
from flashbulb.reports.tables.run_record import RunRecord

Change = Literal["new", "worse", "better", "unchanged", "fixed"]
CHANGES: tuple[Change, ...] = ("new", "worse", "better", "unchanged", "fixed")
REGRESSIONS: tuple[Change, ...] = ("new", "worse")
"""Changes that still count with `--new-only`."""

_MAY_DIFFER = frozenset(
    "model baseline_model configs denoiser vae textual_inversion lora out examine prompts reference calibration "
    "train_images descriptor_weights text_column reference_column batch_size executor workers worker_timeout "
    "ray_address shard_size layout max_store_gib checkpointing device offload allow_pickle images show_prompts strict "
    "n_top_neurons min_group_prompts policy waivers redact_prompts blur targeted population canaries".split()
)
"""Settings that name files and devices, or change how a result is computed or shown but not what is found."""


class NotComparableError(RunFileError):
    """Two audits with other prompts or settings: a difference between them says nothing about the models."""


class Changed(NamedTuple):
    """A finding of the newer audit and how it changed; for `fixed`, a finding of the older one."""

    change: Change
    finding: Finding


def compare_runs(old: CheckedRun, new: CheckedRun) -> tuple[Changed, ...]:
    """Compare the findings of two audits, which `check_comparable` accepts."""
    copied = {**recorded_copies(old.record.inputs), **recorded_copies(new.record.inputs)}
    return compare(old.findings, new.findings, copied)


def compare(old: Sequence[Finding], new: Sequence[Finding], copied: Mapping[str, CopiedImage]) -> tuple[Changed, ...]:
    """Match the findings of two audits by prompt and return every change, regressions first.

    They are matched by prompt rather than fingerprint, so that a spike that became an image is worse and not new.

    Args:
        copied: what the audits record of training images that came back, by path.
    """
    old_by_subject = {finding.subject: finding for finding in sorted(old, key=lambda finding: finding.rank)}
    new_subjects = {finding.subject for finding in new}
    changes = [Changed(_change(old_by_subject.get(finding.subject), finding, copied), finding) for finding in new]
    changes += [Changed("fixed", finding) for finding in old if finding.subject not in new_subjects]
    return tuple(sorted(changes, key=lambda changed: CHANGES.index(changed.change)))


def _change(old: Finding | None, new: Finding, copied: Mapping[str, CopiedImage]) -> Change:
    if old is None:
        return "new"
    if new.rank > old.rank or _gives_another(old.images, new.images, copied):
        return "worse"
    if new.rank < old.rank or _gives_another(new.images, old.images, copied):
        return "better"
    return "unchanged"


def _gives_another(
    known: Sequence[FoundImage], images: Sequence[FoundImage], copied: Mapping[str, CopiedImage]
) -> bool:
    """Return whether a prompt gives more images than are known, or a copy of another training image.

    A training image with near duplicates may be named by any of them, so it counts as known where one with near
    duplicates is.
    """
    if len(images) > len(known):
        return True
    known_copies, copies = ([_copied(image, copied) for image in some] for some in (known, images))
    files = {copy.file for copy in known_copies if copy is not None}
    has_duplicates = any(copy is not None and copy.near_duplicates != 0 for copy in known_copies)
    return any(
        copy is not None and copy.file not in files and not (has_duplicates and copy.near_duplicates != 0)
        for copy in copies
    )


def _copied(image: FoundImage, copied: Mapping[str, CopiedImage]) -> CopiedImage | None:
    """Return the training image that an image copies, by its file in the source; None if it copies none."""
    nearest = image.nearest
    if nearest is None or nearest.kind is None or nearest.path is None:
        return None
    recorded = copied.get(nearest.path, CopiedImage(None, None))
    return recorded if recorded.file is not None else recorded._replace(file=nearest.path)


def check_comparable(old: RunRecord, new: RunRecord) -> None:
    """Refuse two audits whose prompts, reference prompts or settings differ.

    Raises:
        NotComparableError: naming the first difference with both values, and how many more there are.
    """
    found = first_difference(_compared_values(old), _compared_values(new))
    if found is not None:
        raise NotComparableError(
            f"the two runs cannot be compared: {found.key} was {found.old!r}, now {found.new!r}{found.others}; "
            "audit both models with the same prompts and settings"
        )


def comparison_key(run: RunRecord) -> str | None:
    """Return what runs have in common between which a trend can be drawn; None if the run is comparable with none.

    These are what `check_comparable` compares, and the training images: of one that was taken out no copy is found.
    """
    try:
        compared = {**_compared_values(run), "training images": _training_images(run)}
    except NotComparableError:
        return None
    return json.dumps(compared, sort_keys=True, default=str)


def comparison_notes(old: RunRecord, new: RunRecord) -> tuple[str, ...]:
    """Return what a reader of the comparison must know.

    These are versions of flashbulb and training images that differ, and runs in the wrong order.
    """
    old_version, new_version = (run.versions.get("flashbulb", "unknown") for run in (old, new))
    notes = []
    if old_version != new_version:
        notes.append(
            f"The runs were made by flashbulb {old_version} and {new_version}; differences may come from flashbulb."
        )
    (old_sha256, n_old), (new_sha256, n_new) = map(_training_images, (old, new))
    if None not in (old_sha256, new_sha256) and old_sha256 != new_sha256:
        notes.append(
            f"The training images differ ({n_old} in the older run, {n_new} in the newer one): no copy is found of an "
            "image that was taken out, even if the model still gives it. Compare with the images of the older run."
        )
    if _is_later(old.finished, new.finished):
        notes.append(
            f"The older run was finished after the newer one ({old.finished}, {new.finished}): are they given in the "
            "right order?"
        )
    return tuple(notes)


def _training_images(run: RunRecord) -> tuple[object, object]:
    """Return the hash of the training images that samples were compared with, and their number; None if none were."""
    described = run.inputs.get("training_images")
    return (described.get("sha256"), described.get("n_images")) if isinstance(described, Mapping) else (None, None)


def _is_later(first: str | None, second: str | None) -> bool:
    try:
        return datetime.fromisoformat(first or "") > datetime.fromisoformat(second or "")
    except (TypeError, ValueError):  # no times, or none that we wrote
        return False


def distrust_notes(old: CheckedRun, new: CheckedRun) -> tuple[str, ...]:
    """Name each of the two runs that is untrusted under the built-in policy, and why."""
    verdicts = ((name, decide(run.results, Policy())) for name, run in (("older", old), ("newer", new)))
    return tuple(
        f"The {name} run is untrusted: {verdict.reasons[0]}"
        for name, verdict in verdicts
        if verdict.outcome == "untrusted"
    )


def _compared_values(run: RunRecord) -> dict[str, Any]:
    """Return what two audits must share: prompts, reference and settings, but not the model or paths of files."""
    settings = {f"settings.{name}": value for name, value in run.settings.items() if name not in _MAY_DIFFER}
    return settings | {
        "prompts": _content(run.inputs.get("prompts", {})),
        "reference": _content(run.inputs.get("reference")),
        "base": None if run.base is None else run.base.fingerprint,
        "n_prompts": run.counts.n_prompts,
        "training images given": run.settings.get("train_images") is not None,
    }


def _content(described: Any) -> str | None:
    """Return the hash and column of a prompt file that run.json describes; None if there was no file."""
    if described is None:
        return None
    sha256 = described.get("sha256") if isinstance(described, Mapping) else None
    if not isinstance(sha256, str):
        raise NotComparableError("a run.json does not record the hash of a prompt file; audit both models again")
    return f"{sha256}, column {described.get('text_column')}"
