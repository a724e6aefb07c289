"""Read the prompts of an audit: those to audit, the reference and the canaries, none of which is in another set."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from flashbulb.audit.canaries.errors import CanaryError
from flashbulb.audit.canaries.manifest import check_data_set, read_manifest
from flashbulb.audit.prompts.apart import describe_audited, find_audited, leave_out, without_audited
from flashbulb.audit.prompts.drawing import draw_set
from flashbulb.audit.prompts.prompt_set import PromptSet, read_prompts
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.settings.checks import check_frame
from flashbulb.audit.stages.opening.examine import check_settings

logger = logging.getLogger(__name__)


class PromptSets(NamedTuple):
    """The prompts to audit, and the reference and the canaries if there are any."""

    candidates: PromptSet
    reference: PromptSet | None
    canaries: PromptSet | None


def read_sets(settings: AuditSettings) -> PromptSets:
    """Read the prompts of an audit, and refuse them or settings that it cannot use, before any model is loaded.

    Raises:
        one of USAGE_ERRORS or SettingsError: a mistake in the inputs or settings.
    """
    given = candidates = read_prompts(settings.prompts, settings.text_column)
    canaries = None
    if settings.canaries is not None:
        canaries, candidates = _set_canaries_apart(settings.canaries, candidates)  # a draw is of the user's prompts
    check_frame(settings, candidates.source, candidates.n_distinct)
    if settings.sample is not None:
        candidates = draw_set(candidates, settings.sample, settings.seed)
    reference = None
    if settings.reference:
        audited = (given,) if canaries is None else (given, canaries)
        reference = without_audited(read_prompts(settings.reference, settings.reference_column), *audited)
        if reference.n_audited:
            logger.warning(describe_audited(reference))
    check_settings(settings, candidates, reference)
    return PromptSets(candidates, reference, canaries)


class _Apart(NamedTuple):
    """Canaries, and the prompts without them."""

    canaries: PromptSet
    candidates: PromptSet


def _set_canaries_apart(manifest: Path, candidates: PromptSet) -> _Apart:
    """Read the captions of canaries, and leave those among the candidates out.

    Raises:
        CanaryError: the manifest cannot be used, or is of another data set.
    """
    planted = read_manifest(manifest)
    check_data_set(planted, candidates)
    canaries = planted.prompts()
    kept = leave_out(candidates, {prompt.prompt_id for prompt in find_audited(candidates, canaries)})
    if not kept.prompts:
        raise CanaryError(f"{candidates.source} holds canaries only; give the captions of your data set as --prompts")
    if n_left_out := candidates.n_rows - kept.n_rows:
        logger.info("%d rows of %s are canaries and set apart", n_left_out, candidates.source)
    return _Apart(canaries, kept)
