"""Truth files read with the band of each probability."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from flashbulb.audit.planted.truth import probability_columns

BANDS = ("p >= 1/2", "1/8 <= p < 1/2", "0 < p < 1/8", "p = 0")


def band_of(n_replicating: int, n_seeds: int) -> str:
    """Return which of `BANDS` the measured p is in."""
    if 2 * n_replicating >= n_seeds:
        return BANDS[0]
    if 8 * n_replicating >= n_seeds:
        return BANDS[1]
    return BANDS[2] if n_replicating else BANDS[3]


def read_truth(path: Path) -> pd.DataFrame:
    """Read a truth file, with the columns p, p_low, p_high and band; older files have counts alone."""
    truth = pd.read_parquet(path)
    counts = [(int(k), int(n)) for k, n in zip(truth["n_replicating"], truth["n_seeds"], strict=True)]
    columns = pd.DataFrame([probability_columns(*count) for count in counts], truth.index)
    bands = [band_of(*count) for count in counts]
    return truth.assign(p=columns["p"], p_low=columns["p_low"], p_high=columns["p_high"], band=bands)
