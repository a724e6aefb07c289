"""Rates by how often a prompt occurs in its file: what is seen more often is memorized sooner."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import pyarrow as pa

from flashbulb.reports.bounds.rates import Rate, percent, rate_of
from flashbulb.reports.tables.schema import TableRow

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


def strata_of(scores: pa.Table, recoveries: pa.Table) -> tuple[Stratum, ...]:
    """Return the strata that have prompts, rarest first; none if all prompts are in one."""
    attempts = recoveries.select(["prompt_id", "is_control", "verdict"]).to_pylist()
    confirmed = {row["prompt_id"] for row in attempts if not row["is_control"] and row["verdict"] == "confirmed"}
    members: dict[str, list[TableRow]] = {name: [] for name in (*_STRATA, _MOST)}
    for row in scores.select(["prompt_id", "n_duplicates", "flagged", "severity"]).to_pylist():
        members[next((name for name, of in _STRATA.items() if row["n_duplicates"] in of), _MOST)].append(row)
    strata = tuple(_stratum(name, rows, confirmed) for name, rows in members.items() if rows)
    return strata if len(strata) > 1 else ()


def stratum_cells(stratum: Stratum) -> tuple[str, ...]:
    """Return the cells of a stratum's row; `STRATUM_HEADER` names them."""
    rates = (stratum.flagged, stratum.recovered, stratum.confirmed)
    return (stratum.occurrences, *(f"{rate.n} of {rate.of} ({_interval(rate)})" for rate in rates))


def _interval(rate: Rate) -> str:
    return f"{percent(rate.n / rate.of)}; {100 * rate.low:.3g} to {percent(rate.high)}"


def _stratum(occurrences: str, rows: Sequence[TableRow], confirmed: Collection[str]) -> Stratum:
    return Stratum(
        occurrences,
        flagged=rate_of(sum(row["flagged"] for row in rows), len(rows)),
        recovered=rate_of(sum(row["severity"] == "high" for row in rows), len(rows)),
        confirmed=rate_of(sum(row["prompt_id"] in confirmed for row in rows), len(rows)),
    )
