"""Scores drawn at random, of several detectors and styles, and their flags."""

import numpy as np

from flashbulb.audit.statistics.flags import flagged_at
from flashbulb.audit.statistics.style import StyleGroups

FPR = 0.01
NOTHING = np.zeros(0)


def rms_of_heavy_tails(rng, n):
    """Draw spike scores: the root mean square of z over many neurons."""
    return np.sqrt(np.square(rng.standard_t(6, size=(n, 40))).mean(axis=1))


def groups_of(n_reference, *sizes, n_reference_groups=1):
    """Put the reference into groups of equal size, and candidates into groups of `sizes`, in this order."""
    reference_group = np.arange(n_reference) * n_reference_groups // max(n_reference, 1)
    return StyleGroups(reference_group, np.repeat(np.arange(len(sizes)), sizes), n_reference_groups)


def flags(spike_score, reference_score, styles, fpr=FPR):
    return flagged_at([], {}, (spike_score, reference_score), styles, fpr, None, 0)
