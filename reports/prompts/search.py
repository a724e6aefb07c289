"""Find a prompt of a run by any of its names: fingerprint, id, number of its finding, file and row, image, or text."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.checks.findings import Finding
from flashbulb.reports.tables.files import SCORES_FILE, RunFileError
from flashbulb.reports.views.text import visible_text

_NUMBER = re.compile(r"#\d+|\d{1,3}")  # what a finding's number looks like; longer ones may begin an id
_MAX_NAMED = 8  # of several matching prompts
_LONGEST = 60  # characters of a prompt among candidates


def find_prompt(scores: pa.Table, wanted: str, findings: Sequence[Finding] | None, directory: Path) -> dict[str, Any]:
    """Return the row of the prompt that `wanted` names; the first kind of name that matches any prompt decides.

    These are: the whole id, the fingerprint of a finding, its number, `file:row`, the exact text, the beginning of an
    id or fingerprint, the file name of the training image nearest to what came back, a part of the text.

    Args:
        scores: scores.parquet of the run in `directory`.
        findings: of the run, worst first, which is how they are numbered; None before it is complete.

    Raises:
        RunFileError: no prompt matches, or several do, which are listed.
    """
    text, is_numbered, findings = wanted.strip(), findings is not None, findings or ()
    named = _named_finding(text, findings)
    if named is not None:
        if named.prompt_id is None:
            raise RunFileError(f"finding {text} of {directory} has no prompt; report.html shows its image")
        text = named.prompt_id
    if named is None and _NUMBER.fullmatch(text) and text not in scores["prompt"].to_pylist():
        if not is_numbered:
            raise RunFileError(
                f"the findings of {directory} are numbered once the audit is complete; continue with "
                f"`flashbulb recover {directory}`, or name the prompt by its id, file:row or text"
            )
        raise RunFileError(f"{directory} has {count_text(len(findings), 'finding')}, and no finding {text}")
    for matches in _matches(scores, text, findings):
        if len(matches) == 1:
            row: dict[str, Any] = scores.slice(matches[0], 1).to_pylist()[0]
            return row
        if matches:
            raise RunFileError(_ambiguous(scores, matches, wanted, directory))
    raise RunFileError(
        f"no prompt of {directory} has this fingerprint, id, finding number, file:row, image or text: "
        f"{visible_text(wanted, 200)!r}; {directory / SCORES_FILE} lists them"
    )


def _named_finding(text: str, findings: Sequence[Finding]) -> Finding | None:
    """Return the finding of this fingerprint or number, such as `3` or `#3`."""
    by_fingerprint = {finding.fingerprint: finding for finding in findings}
    number = text.removeprefix("#")
    if text in by_fingerprint:
        return by_fingerprint[text]
    if number.isdecimal() and len(number) < 7 and 1 <= int(number) <= len(findings):
        return findings[int(number) - 1]
    return None


def _matches(scores: pa.Table, text: str, findings: Sequence[Finding]) -> Iterator[list[int]]:
    """Yield the rows that each kind of name matches."""
    ids, prompts = scores["prompt_id"].to_pylist(), scores["prompt"].to_pylist()
    yield [i for i, prompt_id in enumerate(ids) if prompt_id == text]
    yield _rows_at(scores, text)
    yield [i for i, prompt in enumerate(prompts) if prompt == text]
    begun = {finding.prompt_id for finding in findings if text and finding.fingerprint.startswith(text)}
    yield [i for i, prompt_id in enumerate(ids) if text and (prompt_id.startswith(text) or prompt_id in begun)]
    near = {f.prompt_id for f in findings if text in {image.nearest.name for image in f.images if image.nearest}}
    yield [i for i, prompt_id in enumerate(ids) if prompt_id in near]
    yield [i for i, prompt in enumerate(prompts) if text and text.casefold() in prompt.casefold()]


def _rows_at(scores: pa.Table, text: str) -> list[int]:
    """Return the rows of a place such as `captions.csv:17` or `captions.csv, row 17`; folders may be left out."""
    place = re.fullmatch(r"(.+?)(?::|, row )(\d{1,18})", text)
    if place is None:
        return []
    files, rows = scores["source_file"].to_pylist(), scores["source_row"].to_pylist()
    file, row = place[1], int(place[2])
    return [i for i, name in enumerate(files) if rows[i] == row and file in (name, PurePath(name).name)]


def _ambiguous(scores: pa.Table, matches: Sequence[int], wanted: str, directory: Path) -> str:
    rows = [scores.slice(i, 1).to_pylist()[0] for i in matches[:_MAX_NAMED]]
    candidates = "; ".join(
        f"{row['prompt_id']} ({PurePath(row['source_file']).name}:{row['source_row']}: "
        f"{visible_text(row['prompt'], _LONGEST)})"
        for row in rows
    )
    more = len(matches) - len(rows)
    return (
        f"{visible_text(wanted, 200)!r} matches {len(matches)} prompts of {directory}: {candidates}"
        + (f"; and {more} more" if more else "")
        + "; give one of these ids"
    )
