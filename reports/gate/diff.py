"""Compare the findings of two audits, if they can be compared: new, worse, better, unchanged, fixed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from flashbulb.reports.checks.findings import Finding
from flashbulb.reports.checks.run import CheckedRun
from flashbulb.reports.gate.decide import decide
from flashbulb.reports.gate.policy import Policy
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


def compare(old: Sequence[Finding], new: Sequence[Finding]) -> tuple[Changed, ...]:
    """Match the findings of two audits by prompt and return every change, regressions first.

    They are matched by prompt rather than fingerprint, so that a spike that became an image is worse and not new.
    """
    old_by_subject = {finding.subject: finding for finding in sorted(old, key=lambda finding: finding.rank)}
    new_subjects = {finding.subject for finding in new}
    changes = [Changed(_change(old_by_subject.get(finding.subject), finding), finding) for finding in new]
    changes += [Changed("fixed", finding) for finding in old if finding.subject not in new_subjects]
    return tuple(sorted(changes, key=lambda changed: CHANGES.index(changed.change)))


def _change(old: Finding | None, new: Finding) -> Change:
    if old is None:
        return "new"
    if new.rank == old.rank:
        return "unchanged"
    return "worse" if new.rank > old.rank else "better"


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


def comparison_notes(old: RunRecord, new: RunRecord) -> tuple[str, ...]:
    """Return what a reader of the comparison must know: versions of flashbulb that differ, runs in the wrong order."""
    old_version, new_version = (run.versions.get("flashbulb", "unknown") for run in (old, new))
    notes = []
    if old_version != new_version:
        notes.append(
            f"The runs were made by flashbulb {old_version} and {new_version}; differences may come from flashbulb."
        )
    if _is_later(old.finished, new.finished):
        notes.append(
            f"The older run was finished after the newer one ({old.finished}, {new.finished}): are they given in the "
            "right order?"
        )
    return tuple(notes)


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
