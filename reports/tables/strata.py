"""Rates by how often a prompt occurs in its file: what is seen more often is memorized sooner."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa

from flashbulb.reports.bounds.rates import Rate, percent, rate_of
from flashbulb.reports.tables.rows import Rows, iter_rows

_STRATA = {
    "once": range(1, 2),
    "2 to 3 times": range(2, 4),
    "4 to 15 times": range(4, 16),
    "16 to 63 times": range(16, 64),
}
_MOST = "64 times or more"
STRATUM_HEADER = ("occurs in the file", "flagged", "image came back", "confirmed")
STRATUM_NOTE = "Prompts by how often their exact text occurs in the prompt file. In parentheses: share; 95 % interval."


class Stratum(NamedTuple):
    """The prompts that occur about equally often in the prompt file.

    Args:
        flagged, recovered, confirmed: of these prompts, those flagged, those whose image came back (high severity), and
            those with a confirmed image.
    """

    occurrences: str
    flagged: Rate
    recovered: Rate
    confirmed: Rate


def strata_of(scores: Rows, recoveries: pa.Table) -> tuple[Stratum, ...]:
    """Return the strata that have prompts, rarest first; none if all prompts are in one."""
    attempts = recoveries.select(["prompt_id", "is_control", "verdict"]).to_pylist()
    confirmed = {row["prompt_id"] for row in attempts if not row["is_control"] and row["verdict"] == "confirmed"}
    counts: dict[str, Counter[str]] = {name: Counter() for name in (*_STRATA, _MOST)}
    for row in iter_rows(scores, ["prompt_id", "n_duplicates", "flagged", "severity"]):
        stratum = next((name for name, of in _STRATA.items() if row["n_duplicates"] in of), _MOST)
        counts[stratum].update(
            prompts=1,
            flagged=row["flagged"],
            recovered=row["severity"] == "high",
            confirmed=row["prompt_id"] in confirmed,
        )
    strata = tuple(_stratum(name, counted) for name, counted in counts.items() if counted)
    return strata if len(strata) > 1 else ()


def stratum_cells(stratum: Stratum) -> tuple[str, ...]:
    """Return the cells of a stratum's row; `STRATUM_HEADER` names them."""
    rates = (stratum.flagged, stratum.recovered, stratum.confirmed)
    return (stratum.occurrences, *(f"{rate.n} of {rate.of} ({_interval(rate)})" for rate in rates))


def _interval(rate: Rate) -> str:
    return f"{percent(rate.share)}; {100 * rate.low:.3g} to {percent(rate.high)}"


def _stratum(occurrences: str, counts: Mapping[str, int]) -> Stratum:
    n_prompts = counts["prompts"]
    return Stratum(
        occurrences,
        flagged=rate_of(counts["flagged"], n_prompts),
        recovered=rate_of(counts["recovered"], n_prompts),
        confirmed=rate_of(counts["confirmed"], n_prompts),
    )
