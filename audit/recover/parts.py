"""Find the fixed part of a template memory without training images: agreement, and the signs of a memory, inside it.

A template comes back with its fixed part, while the rest differs from seed to seed, so its samples need not agree as a
whole. A mask of what every seed repeats always exists, and seeds agree inside it because it was chosen so: a plain sky
or a striped background is fixed as well. The fixed part therefore counts only if it holds most of the detail, and if
the model takes it back like a memory: without guidance, and with little error when noised or autoencoded. These are the
signs of a whole image, measured inside the mask.

The weights are those of whole images that a model is driven to. The limits were chosen on one planted model
(docs/recovery.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flashbulb.audit.images.distances import RgbImages, medoid
from flashbulb.audit.images.fixed_part import FixedPart, fixed_part, masked_distances
from flashbulb.audit.images.self_similarity import shift_distance
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.recover.outcome import Outcome
from flashbulb.audit.recover.signs import DRIVEN, MIN_SHIFT_DISTANCE, log_distance
from flashbulb.audit.recover.verify import Looked, Verifier
from flashbulb.audit.training_images.templates import MASKED_SHARE, repeats_detail
from flashbulb.reports.tables.limits import PART_AT


def look_at_parts(
    verifier: Verifier, conditioning: Conditioning, keys: Sequence[str], looked: Sequence[Looked]
) -> list[Looked]:
    """Add the confidence in the fixed part of guided samples, where it is large and holds most of their detail.

    Args:
        keys: seeds of each row's noise, as those of the looks.
    """
    parts = [fixed_part(look.images) for look in looked]
    chosen = [i for i, (look, part) in enumerate(zip(looked, parts, strict=True)) if _is_open(look.images, part)]
    if not chosen:
        return list(looked)
    rows, names, masks = conditioning.rows(chosen), [keys[i] for i in chosen], [parts[i].mask for i in chosen]
    centres = np.stack([looked[i].images[medoid(looked[i].images)] for i in chosen])
    denoised, autoencoded = verifier.errors(rows, names, centres, np.stack(masks))
    found = list(looked)
    for k, i in enumerate(chosen):
        look = looked[i]
        unguided = verifier.sample(conditioning.rows([i]), [keys[i]])[0] if look.unguided is None else look.unguided
        survival = log_distance(masked_distances(unguided, centres[k], masks[k]).mean())
        cost = verifier.cost_of_signs + (verifier.cost_of_samples if look.unguided is None else 0)
        signs = {"survival": survival, "denoising_error": denoised[k], "autoencoding_error": autoencoded[k]}
        confidence = DRIVEN.probability(signs)
        found[i] = replace(look, part_confidence=confidence, evaluations=look.evaluations + cost)
    return found


def _is_open(images: RgbImages, part: FixedPart) -> bool:
    """Return whether the fixed part can be that of a template: large, of most of the detail, and no regular pattern."""
    if len(images) < 2 or part.share < MASKED_SHARE or not repeats_detail(images, part.mask):
        return False
    return shift_distance(images[medoid(images)]) >= MIN_SHIFT_DISTANCE


def judge_part(outcome: Outcome, part_confidence: float | None) -> Outcome:
    """Return the outcome of plain samples, likely if they show nothing but the fixed part of a template.

    Training images, where given, have the word: what contains the part is then known.
    """
    is_part = outcome.verdict == "not_shown" and outcome.nearest is None
    if not is_part or part_confidence is None or part_confidence < PART_AT:
        return outcome
    return replace(outcome, verdict="likely", confidence=part_confidence, is_part=True)
