"""Keep two sets of prompts apart: leave the prompts of one out of the other, and count those that models read alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Iterable
from dataclasses import replace

import numpy as np

from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.reports.bounds.rates import count_text


def leave_out(prompts: PromptSet, ids: Container[str]) -> PromptSet:
    """Return the set without the prompts of these ids, and without their rows."""
    kept = prompts.prompts.where(np.array([prompt_id not in ids for prompt_id in prompts.prompts.ids], dtype=np.bool_))
    n_rows = [int(np.sum(some.columns["n_duplicates"])) for some in (prompts.prompts, kept)]
    return replace(
        prompts,
        prompts=kept,
        n_distinct=len(kept),
        n_rows=prompts.n_rows - n_rows[0] + n_rows[1],
        n_duplicates=n_rows[1] - len(kept),
    )


def find_audited(reference: PromptSet, *audited: PromptSet) -> tuple[Prompt, ...]:
    """Return the reference prompts that are audited as well, whatever their case, spaces and Unicode form.

    Tokenizers of the models ignore these, so the model reads such prompts alike.
    """
    texts = [_as_read(text) for text in reference.prompts.texts]
    shared = {*texts}.intersection(_as_read(text) for prompts in audited for text in prompts.prompts.texts)
    return tuple(prompt for prompt, text in zip(reference.prompts, texts, strict=True) if text in shared)


def without_audited(reference: PromptSet, *sets: PromptSet) -> PromptSet:
    """Return the reference without prompts that are audited, behind which a memorized one would hide itself."""
    audited = find_audited(reference, *sets)
    kept = leave_out(reference, {prompt.prompt_id for prompt in audited})
    return replace(kept, n_audited=len(audited))


def describe_audited(reference: PromptSet) -> str:
    """Return how many prompts a reference shared with the prompts to audit, and what became of them."""
    return (
        f"{count_text(reference.n_audited, 'reference prompt')} of {reference.source} left out, because they are "
        "audited as well: a memorized prompt would hide behind itself. Give captions that are not in the training set."
    )


def count_alike(texts: Iterable[str]) -> int:
    """Count the texts that differ from an earlier one in case, spaces or Unicode form alone; only hashes are held."""
    hashes = np.fromiter((hash(_as_read(text)) for text in texts), np.int64)
    return len(hashes) - len(np.unique(hashes))


def _as_read(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
