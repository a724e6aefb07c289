"""Measure how often the bounds of an audit's power hold what they bound, by simulated audits (`make bench-power`).

Images are found independently, with the sensitivity as their probability. Of prompts, a share is extractable. All draws
have fixed seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from flashbulb.audit.statistics.calibration import fit_null, threshold_at
from flashbulb.reports.bounds.power import (
    StyleSize,
    conformal_band,
    false_finds,
    flags_at,
    missed_bound,
    share_bound,
)
from flashbulb.reports.bounds.rates import lower_bound

N_DRAWS = 4000


class Case(NamedTuple):
    """What is simulated, what the bound says it holds, and the share of draws in which it does."""

    name: str
    nominal: float
    coverage: float


@cache
def _share_bound(n_found: int, n_prompts: int, known_found: int, n_known: int) -> float:
    return share_bound(n_found, n_prompts, lower_bound(known_found, n_known))


@cache
def _missed_bound(n_found: int, n_prompts: int, known_found: int, n_known: int) -> int:
    return missed_bound(n_found, n_prompts, lower_bound(known_found, n_known))


def share_coverage(share: float, sensitivity: float, n_prompts: int, n_known: int, n_draws: int) -> float:
    """Return how often the bound on the extractable share holds the share."""
    rng = np.random.default_rng(0)
    found = rng.binomial(n_prompts, share * sensitivity, n_draws)
    known = rng.binomial(n_known, sensitivity, n_draws)
    bounds = [_share_bound(n, n_prompts, k, n_known) for n, k in zip(found.tolist(), known.tolist(), strict=True)]
    return float(np.mean(np.array(bounds) >= share))


def missed_coverage(n_extractable: int, sensitivity: float, n_prompts: int, n_known: int, n_draws: int) -> float:
    """Return how often the bound on the prompts that were missed holds their number."""
    rng = np.random.default_rng(1)
    found = rng.binomial(n_extractable, sensitivity, n_draws)
    known = rng.binomial(n_known, sensitivity, n_draws)
    bounds = [_missed_bound(n, n_prompts, k, n_known) for n, k in zip(found.tolist(), known.tolist(), strict=True)]
    return float(np.mean(np.array(bounds) >= n_extractable - found))


def false_finds_coverage(false_recovery: float, n_prompts: int, n_true: int, n_draws: int, n_reference: int) -> float:
    """Return how often the interval of the false-discovery rate after recovery holds the expected rate.

    There are as many controls as flags. The threshold is conformal, so that its true rate varies with the reference.
    """
    rng, fpr, held = np.random.default_rng(2), 0.01, 0
    n_above = int(fpr * (n_reference + 1) + 1e-9)
    for true_fpr in rng.beta(n_above, n_reference + 1 - n_above, n_draws):
        n_false_flags = rng.binomial(n_prompts, true_fpr)
        n_flagged = int(n_false_flags + n_true)
        n_found = n_true + rng.binomial(n_false_flags, false_recovery)
        n_false = int(rng.binomial(n_flagged, false_recovery))
        flags = flags_at(fpr, n_flagged, n_prompts, [StyleSize(n_reference, n_prompts)])
        estimate = false_finds(flags, int(n_found), n_flagged, n_false)
        assert estimate is not None
        held += estimate.low <= n_prompts * true_fpr * false_recovery / n_found <= estimate.high
    return held / n_draws


def band_coverage(n_reference: int, fpr: float, n_draws: int) -> float:
    """Return how often the band holds the true rate of the audit's own threshold, for exponential scores."""
    band, rng = conformal_band(n_reference, fpr), np.random.default_rng(3)
    assert band is not None, f"{n_reference} reference scores at {fpr}"
    nulls = (fit_null(rng.exponential(size=n_reference), contaminated=False) for _ in range(n_draws))
    thresholds = [threshold_at(null, fpr) for null in nulls]
    rates = np.exp(-np.array(thresholds))
    return float(np.mean((band.low <= rates) & (rates <= band.high)))


def cases(n_draws: int) -> Iterator[Case]:
    """Simulate every case."""
    for n_prompts, n_known in ((300, 242), (3000, 242), (300, 20), (3000, 20)):
        for share, sensitivity in ((0.001, 0.95), (0.01, 0.95), (0.01, 0.5), (0.1, 0.8)):
            name = f"share {share:g} of prompts, {n_prompts} of them, sensitivity {sensitivity:g} from {n_known} known"
            yield Case(name, 0.95, share_coverage(share, sensitivity, n_prompts, n_known, n_draws))
    for n_extractable, sensitivity, n_known in ((3, 0.95, 242), (30, 0.95, 242), (30, 0.5, 242), (30, 0.8, 20)):
        name = f"{n_extractable} of 1,000 prompts extractable, sensitivity {sensitivity:g} from {n_known} known"
        yield Case(name, 0.95, missed_coverage(n_extractable, sensitivity, 1000, n_known, n_draws))
    for rate, n_reference in ((0.02, 300), (0.02, 2000), (0.1, 300), (0.1, 2000)):
        name = f"false finds: controls give an image in {rate:g}, {n_reference} reference prompts"
        yield Case(name, 0.95, false_finds_coverage(rate, 1000, 60, n_draws, n_reference))
    for n_reference, fpr in ((199, 0.01), (300, 0.01), (2000, 0.01), (2000, 0.001)):
        yield Case(
            f"threshold at {fpr:g} from {n_reference} reference", 0.9, band_coverage(n_reference, fpr, n_draws // 4)
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=N_DRAWS)
    print("| simulated | nominal | holds |\n| --- | --- | --- |")
    for case in cases(parser.parse_args().draws):
        print(f"| {case.name} | {case.nominal:.0%} | {case.coverage:.1%} |", flush=True)


if __name__ == "__main__":
    main()
