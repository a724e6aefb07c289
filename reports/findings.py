"""Findings: flagged prompts and what recovery brought of them, each with a fingerprint that outlives the run."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reports.decide import Results
from reports.recoveries import best_rows
from reports.schema import RECOVERY_VERDICTS, SEVERITIES
from reports.text import visible_text

PICTURE, SPIKE = "picture", "spike"
NOT_TRIED = "not_tried"


@dataclass(frozen=True, slots=True)
class Finding:
    """A flagged prompt, or a picture that was recovered from no prompt.

    Args:
        kind: `picture` where a picture came back, else `spike`.
        subject: what is found guilty: the prompt_id, or for a picture without a prompt the nearest training image.
        picture: the run's number of the distinct picture; None where none came back.
        verdict: of the best rung: confirmed, likely, not_shown, or not_tried.
    """

    kind: str
    subject: str
    prompt_id: str | None
    prompt: str | None
    source_file: str | None
    source_row: int | None
    severity: str
    spike_score: float | None
    p_value: float | None
    q_value: float | None
    verdict: str
    strategy: str | None
    picture: str | None
    confidence: float | None
    similarity: float | None

    @property
    def fingerprint(self) -> str:
        """16 hex digits of SHA-256(subject, kind): the same in every run and of every checkpoint.

        Neither score nor model enter, so that a waiver holds for the next checkpoint; the kind does, so that a waiver
        of a spike does not cover the picture that a later checkpoint gives back.
        """
        return hashlib.sha256(f"{self.subject}\n{self.kind}".encode()).hexdigest()[:16]

    @property
    def rank(self) -> tuple[int, int]:
        """Greater is worse."""
        shown = self.verdict if self.verdict in RECOVERY_VERDICTS else "not_shown"
        return SEVERITIES.index(self.severity), -RECOVERY_VERDICTS.index(shown)

    @property
    def place(self) -> str:
        """Where the prompt stands, such as `captions.csv, row 17`; the folder is left out."""
        if self.source_file is None:
            return f"no prompt ({visible_text(self.picture or self.subject, 80)})"
        return place_of(self.source_file, self.source_row or 0)

    def headline(self, show_prompt: bool) -> str:
        """The finding in one sentence; it names the place of the prompt, and its words only if `show_prompt`."""
        words = f": {visible_text(self.prompt, 200)}" if show_prompt and self.prompt else ""
        if self.kind == SPIKE:
            tried = "recovery was not tried" if self.verdict == NOT_TRIED else "no picture came back"
            return f"{self.place}: neurons spike as for a memorized picture, {tried} ({self.severity}){words}"
        came = "a memorized picture came back" if self.verdict == "confirmed" else "a likely memory came back"
        return f"{self.place}: {came}{words}"


def place_of(source_file: str, source_row: int) -> str:
    """Where a prompt stands, such as `captions.csv, row 17`; the folder is left out."""
    return f"{visible_text(PurePath(source_file).name, 80)}, row {source_row}"


def findings_of(scores: pa.Table, recoveries: pa.Table) -> tuple[Finding, ...]:
    """Every flagged prompt and every picture without a prompt, worst first."""
    tried = recoveries.filter(pc.invert(recoveries["is_control"])).to_pylist()
    best = best_rows(tried)
    flagged = scores.filter(scores["flagged"]).to_pylist()
    alone = {r["finding_id"]: r for r in tried if r["prompt_id"] is None and r["verdict"] != "not_shown"}
    found = [_of_prompt(row, best.get(row["prompt_id"])) for row in flagged] + list(map(_of_picture, alone.values()))
    return tuple(sorted(found, key=lambda one: (one.rank, one.spike_score or 0.0), reverse=True))


def with_findings(results: Results, findings: Sequence[Finding]) -> Results:
    """`results` as if nothing but `findings` had been found."""
    n_by = Counter(one.severity for one in findings if one.prompt_id is not None)
    return replace(
        results,
        n_flagged=n_by.total(),
        n_high=n_by["high"],
        n_medium=n_by["medium"],
        n_low=n_by["low"],
        n_recovered=sum(one.kind == PICTURE and one.prompt_id is not None for one in findings),
        n_untried=sum(one.verdict == NOT_TRIED for one in findings),
        n_confirmed_pictures=len({one.picture for one in findings if one.verdict == "confirmed"}),
    )


def _of_prompt(row: dict[str, Any], rung: Mapping[str, Any] | None) -> Finding:
    shown = rung is not None and rung["verdict"] != "not_shown"
    return Finding(
        kind=PICTURE if shown else SPIKE,
        subject=row["prompt_id"],
        **{name: row[name] for name in ("prompt_id", "prompt", "source_file", "source_row", "severity")},
        **{name: row[name] for name in ("spike_score", "p_value", "q_value")},
        **_of_rung(rung),
    )


def _of_picture(rung: dict[str, Any]) -> Finding:
    nearest = rung["nearest_image"]
    return Finding(
        kind=PICTURE,
        subject=PurePath(nearest).name if nearest else rung["finding_id"],
        prompt_id=None,
        prompt=None,
        source_file=None,
        source_row=None,
        severity="high",
        spike_score=None,
        p_value=None,
        q_value=None,
        **_of_rung(rung),
    )


def _of_rung(rung: Mapping[str, Any] | None) -> dict[str, Any]:
    columns = {"strategy": "strategy", "picture": "finding_id", "confidence": "confidence", "similarity": "similarity"}
    if rung is None:
        return {"verdict": NOT_TRIED, **dict.fromkeys(columns)}
    return {"verdict": rung["verdict"], **{name: rung[column] for name, column in columns.items()}}
