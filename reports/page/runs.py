"""The page of `flashbulb index-runs`: many audits in one table, each with its verdict and what changed before it."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.checks.run import CheckedRun, load_checked
from flashbulb.reports.drawings.trend import TrendPoint, trend_curve
from flashbulb.reports.gate.diff import comparison_key
from flashbulb.reports.page.labels import Labels
from flashbulb.reports.page.template import csp_hash, page_style, template_environment
from flashbulb.reports.tables.files import REPORT_FILE, RUN_FILE, RunFileError, write_text
from flashbulb.reports.views.text import visible_text

_LONGEST = 60  # characters of a name


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of the table as text. `link` leads to its report; None if it has none."""

    name: str
    link: str | None
    model: str
    day: str
    outcome: str
    flagged: str
    prompts: str
    images: str
    trend: str


class Trend(NamedTuple):
    """The curve over the runs of one prompt file and the same settings, as SVG, and the name of the file."""

    prompts: str
    n_runs: int
    svg: Markup


def write_runs_page(path: Path, directory: Path) -> int:
    """Write the page of every audit in `directory`, completely or not at all, and return how many there are.

    Raises:
        RunFileError: there is none.
    """
    folders = sorted(file.parent for file in directory.glob(f"*/{RUN_FILE}"))
    if not folders:
        raise RunFileError(f"{directory} holds no run directory; give the folder that --out directories lie in")
    runs = {folder: _checked(folder) for folder in folders}
    rows = run_rows(runs, path)
    write_text(path, runs_html(rows, run_trends(runs)))
    return len(rows)


def run_rows(runs: Mapping[Path, CheckedRun | str], page: Path) -> list[RunRow]:
    """Return a row for each run, the newest first; those that cannot be trusted come last, with the reason.

    The trend compares a run with the trusted one before it of the same prompts and settings.

    Args:
        runs: by directory; a run that cannot be read is the reason.
        page: the file that links are relative to.
    """
    ordered = _in_order(runs)
    earlier: dict[str | None, tuple[Path, CheckedRun]] = {}
    rows = []
    for folder, run in ordered:
        key = comparison_key(run.record)
        rows.append(_row(folder, run, earlier.get(key), page))
        if key is not None and _is_trusted(run):
            earlier[key] = folder, run
    unread = [_unread_row(folder, run) for folder, run in runs.items() if isinstance(run, str)]
    return [*reversed(rows), *unread]


def run_trends(runs: Mapping[Path, CheckedRun | str]) -> list[Trend]:
    """Return a curve for each prompt file that several trusted runs audited alike, that of most runs first."""
    comparable: dict[str, list[tuple[Path, CheckedRun]]] = defaultdict(list)
    for folder, run in _in_order(runs):
        if _is_trusted(run) and (key := comparison_key(run.record)) is not None:
            comparable[key].append((folder, run))
    several = sorted((group for group in comparable.values() if len(group) > 1), key=len, reverse=True)
    return [_trend_of(group, f"trend-{number}") for number, group in enumerate(several)]


def runs_html(rows: Sequence[RunRow], trends: Sequence[Trend]) -> str:
    """Render the page."""
    style = page_style()
    outcomes = _counts(row.outcome for row in rows)
    template = template_environment().get_template("runs.html.j2")
    return template.render(rows=rows, trends=trends, outcomes=outcomes, style=Markup(style), style_hash=csp_hash(style))


def _in_order(runs: Mapping[Path, CheckedRun | str]) -> list[tuple[Path, CheckedRun]]:
    """Return the runs that can be read, the oldest first."""
    checked = ((folder, run) for folder, run in runs.items() if not isinstance(run, str))
    return sorted(checked, key=lambda item: (item[1].record.finished or "", item[0].name))


def _trend_of(group: Sequence[tuple[Path, CheckedRun]], name: str) -> Trend:
    points = [
        TrendPoint(folder.name, _day(run), run.record.counts.n_confirmed_pictures, run.record.counts.n_recovered)
        for folder, run in group
    ]
    described = group[-1][1].record.inputs.get("prompts")
    source = described.get("source", "") if isinstance(described, Mapping) else ""
    return Trend(
        visible_text(PurePath(str(source)).name, _LONGEST) or "prompts",
        len(group),
        Markup(trend_curve(points, name=name)),
    )


def _checked(folder: Path) -> CheckedRun | str:
    try:
        return load_checked(folder)
    except RunFileError as error:
        return str(error)


def _is_trusted(run: CheckedRun) -> bool:
    return run.record.verdict is not None and run.record.verdict.outcome != "untrusted"


def _row(folder: Path, run: CheckedRun, before: tuple[Path, CheckedRun] | None, page: Path) -> RunRow:
    record, report = run.record, folder / REPORT_FILE
    link = quote(Path(os.path.relpath(report, page.parent)).as_posix()) if report.is_file() else None
    counts = record.counts
    return RunRow(
        name=visible_text(folder.name, _LONGEST),
        link=link,
        model=Labels(redact=False, page=page).setting(record.model.name),
        day=_day(run),
        outcome=record.verdict.outcome if record.verdict else "untrusted",
        flagged=f"{counts.n_flagged:,} of {counts.n_scored:,}",
        prompts=f"{counts.n_recovered:,}",
        images=f"{counts.n_confirmed_pictures:,}",
        trend=_trend(counts.n_confirmed_pictures, before) if _is_trusted(run) else "–",
    )


def _day(run: CheckedRun) -> str:
    return visible_text((run.record.finished or "")[:10], 10) or "–"


def _trend(n_images: int, before: tuple[Path, CheckedRun] | None) -> str:
    """Return the change since the run before, which is named: whether its model is an earlier state, no run says."""
    if before is None:
        return "first of these prompts and settings"
    folder, run = before
    name, change = visible_text(folder.name, _LONGEST), n_images - run.record.counts.n_confirmed_pictures
    if change == 0:
        return f"= as many as {name}"
    sign, word = ("▲", "more") if change > 0 else ("▼", "fewer")
    return f"{sign} {count_text(abs(change), 'image')} {word} than {name}"


def _unread_row(folder: Path, reason: str) -> RunRow:
    name = visible_text(folder.name, _LONGEST)
    text = visible_text(reason.replace(str(folder), folder.name), 300)
    return RunRow(name, None, "–", "–", "untrusted", "–", "–", "–", text)


def _counts(outcomes: Iterable[str]) -> list[tuple[str, int]]:
    found = list(outcomes)
    names = ("fail", "untrusted", "inconclusive", "pass")
    return [(name, found.count(name)) for name in names if name in found]
