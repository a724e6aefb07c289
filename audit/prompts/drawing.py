"""Draw prompts uniformly at random; a draw depends on the seed and on the texts, and on nothing else.

Every text has a rank, the hash of seed, purpose and text, and the lowest ranks are drawn (bottom-k sampling). Order of
rows, duplicates and file format change no draw, and a larger draw holds every smaller one of the same seed.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import replace

from flashbulb.audit.prompts.formats.errors import PromptFileError
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.prompts.prompt_set import PromptSet


def draw(prompts: Sequence[Prompt], n: int, seed: int, purpose: str) -> tuple[Prompt, ...]:
    """Return `n` of the distinct prompts, or all if there are fewer, in their order.

    Args:
        purpose: draws of another purpose are independent.
    """
    return tuple(prompts[position] for position in _drawn([prompt.prompt_id for prompt in prompts], n, seed, purpose))


def _drawn(ids: Sequence[str], n: int, seed: int, purpose: str) -> list[int]:
    """Return the positions of the prompts that are drawn, in their order."""
    prefix = f"{seed}\n{purpose}\n".encode()
    ranks = [hashlib.sha256(prefix + prompt_id.encode()).digest() for prompt_id in ids]
    return sorted(heapq.nsmallest(n, range(len(ids)), key=ranks.__getitem__))


def draw_set(prompts: PromptSet, n: int, seed: int) -> PromptSet:
    """Return the set with `n` of its prompts; its counts of rows stay those of the file.

    Raises:
        PromptFileError: there are fewer.
    """
    if n > prompts.n_distinct:
        raise PromptFileError(
            f"{prompts.source}: --sample {n} is more than its {prompts.n_distinct} distinct prompts; draw fewer, or "
            "leave --sample out to audit all"
        )
    drawn = _drawn(prompts.prompts.ids, n, seed, "audit")
    return replace(prompts, prompts=prompts.prompts.take(drawn))
