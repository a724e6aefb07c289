"""Compare the findings of two audits: new, worse, better, unchanged, fixed, and whether they can be compared at all."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from reports.check import CheckedRun
from reports.decide import decide
from reports.differences import first_difference
from reports.files import RunFileError
from reports.findings import Finding
from reports.policy import Policy
from reports.run_record import RunRecord

Change = Literal["new", "worse", "better", "unchanged", "fixed"]
CHANGES: tuple[Change, ...] = ("new", "worse", "better", "unchanged", "fixed")
REGRESSIONS: tuple[Change, ...] = ("new", "worse")
"""What `--new-only` still holds against a model."""

_MAY_DIFFER = frozenset(
    "model out prompts reference calibration train_images descriptor_weights text_column reference_column batch_size "
    "shard_size max_store_gib checkpointing device allow_pickle images show_prompts strict n_top_neurons "
    "min_group_prompts policy waivers redact_prompts blur".split()
)
"""Settings that name places, or change how a result is made or shown but not what is found."""


class NotComparableError(RunFileError):
    """Two audits that did not ask the same: a difference between them would say nothing of the models."""


class Changed(NamedTuple):
    """What became of one finding; the finding is the newer one, but for `fixed`."""

    change: Change
    finding: Finding


def compare(old: Sequence[Finding], new: Sequence[Finding]) -> tuple[Changed, ...]:
    """Match findings by prompt, so that a spike that became a picture is worse and not new; regressions first."""
    before = {one.subject: one for one in sorted(old, key=lambda one: one.rank)}
    after = {one.subject for one in new}
    changes = [Changed(_change(before.get(one.subject), one), one) for one in new]
    changes += [Changed("fixed", one) for one in old if one.subject not in after]
    return tuple(sorted(changes, key=lambda changed: CHANGES.index(changed.change)))


def _change(old: Finding | None, new: Finding) -> Change:
    if old is None:
        return "new"
    if new.rank == old.rank:
        return "unchanged"
    return "worse" if new.rank > old.rank else "better"


def check_comparable(old: RunRecord, new: RunRecord) -> None:
    """Refuse two audits of other prompts, of another reference or with other settings, with both values.

    Raises:
        NotComparableError: naming the first difference, and how many more there are.
    """
    found = first_difference(_asked(old), _asked(new))
    if found is not None:
        raise NotComparableError(
            f"the two runs cannot be compared: {found.key} was {found.was!r}, now {found.now!r}{found.others}; "
            "audit both models with the same prompts and settings"
        )


def comparison_notes(old: RunRecord, new: RunRecord) -> tuple[str, ...]:
    """What a reader of a comparison has to know."""
    before, after = (run.versions.get("engram", "unknown") for run in (old, new))
    if before == after:
        return ()
    return (f"The runs were made by engram {before} and {after}: a difference can come from engram.",)


def distrust_notes(old: CheckedRun, new: CheckedRun) -> tuple[str, ...]:
    """Which of two runs no gate with the built-in policy would trust, and why."""
    verdicts = ((name, decide(run.results, Policy())) for name, run in (("older", old), ("newer", new)))
    return tuple(
        f"The {name} run is not to be trusted: {verdict.reasons[0]}"
        for name, verdict in verdicts
        if verdict.outcome == "untrusted"
    )


def _asked(run: RunRecord) -> dict[str, Any]:
    """What an audit was asked, wherever its files lay and whichever model it was asked of."""
    settings = {f"settings.{name}": value for name, value in run.settings.items() if name not in _MAY_DIFFER}
    return settings | {
        "prompts": _content(run.inputs.get("prompts", {})),
        "reference": _content(run.inputs.get("reference")),
        "n_prompts": run.counts.n_prompts,
        "training pictures given": run.settings.get("train_images") is not None,
    }


def _content(described: Any) -> str | None:
    """Hash and column of a prompt file as run.json describes it; None where there was no file."""
    if described is None:
        return None
    sha256 = described.get("sha256") if isinstance(described, Mapping) else None
    if not isinstance(sha256, str):
        raise NotComparableError("a run.json does not state the hash of a prompt file; audit both models again")
    return f"{sha256}, column {described.get('text_column')}"
