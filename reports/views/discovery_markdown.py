"""`summary.md` of a discovery: its findings and their cost on one page."""

import pyarrow as pa

from flashbulb.reports.views.discovery import STOP_MEANINGS, DiscoveryRecord, Finding
from flashbulb.reports.views.markdown_parts import MAX_ROWS, VERDICT_MEANINGS, code, cost, page, pairs, sentence, table

_LIMITS = (
    "Finding nothing is not a proof of absence: a search with another seed or a larger budget can find more.",
    "A likely finding is judged from images alone. Only a match with a training image shows what it reproduces.",
    "A discovery neither passes nor fails: it is not an audit of prompts, and `flashbulb gate` refuses it.",
)


def discovery_markdown(discovery: DiscoveryRecord, recoveries: pa.Table) -> str:
    """Render the summary; `recoveries` is the table of the discovery, one row per finding."""
    return page(
        _head(discovery),
        [f"> {sentence(warning)}" for warning in discovery.warnings],
        _search(discovery),
        _findings(discovery, recoveries),
        [
            "## What the verdicts mean",
            "",
            *(f"- **{name}**: {VERDICT_MEANINGS[name]}" for name in ("confirmed", "likely")),
        ],
        ["## What this does not prove", "", *(f"- {limit}" for limit in _LIMITS)],
        cost(discovery.evaluations, discovery.timings),
        pairs("Settings", discovery.settings),
        pairs("Versions", discovery.versions),
    )


def _head(discovery: DiscoveryRecord) -> list[str]:
    return [
        f"# Discovery: {discovery.n_confirmed} confirmed, {discovery.n_likely} likely",
        "",
        f"Model {code(discovery.model.name)}, fingerprint {code(discovery.model.fingerprint)}.",
    ]


def _search(discovery: DiscoveryRecord) -> list[str]:
    spent = sum(discovery.evaluations.values())
    rows = [
        (
            "denoiser evaluations",
            str(spent) if discovery.budget is None else f"{spent} of a budget of {discovery.budget}",
        ),
        ("rounds", str(discovery.n_rounds)),
        ("starts", str(discovery.n_starts)),
        ("stopped because", STOP_MEANINGS[discovery.stopped_because]),
    ]
    return ["## Search", "", *table(("", ""), rows)]


def _findings(discovery: DiscoveryRecord, recoveries: pa.Table) -> list[str]:
    if not discovery.findings:
        return ["## Findings", "", "No memorized image was found."]
    rows = {row["finding_id"]: row for row in recoveries.to_pylist()}
    shown = discovery.findings[:MAX_ROWS]
    header = ("finding", "verdict", "confidence", "kind", "fixed share", "nearest image", "image", "found at UE")
    more = len(discovery.findings) - len(shown)
    return [
        "## Findings",
        "",
        *table(header, [_cells(finding, rows.get(finding.finding_id, {})) for finding in shown]),
        *(["", f"{more} more are in `recoveries.parquet`."] if more else []),
    ]


def _cells(finding: Finding, row: dict[str, object]) -> tuple[str, ...]:
    fixed_share, kind = row.get("fixed_share"), row.get("kind")
    return (
        code(finding.finding_id),
        finding.verdict,
        "-" if finding.confidence is None else f"{finding.confidence:.2f}",
        "-" if kind is None else str(kind),
        f"{fixed_share:.2f}" if isinstance(fixed_share, float) else "-",
        "-" if finding.nearest_image is None else code(finding.nearest_image),
        "-" if row.get("image_path") is None else code(row["image_path"]),
        str(finding.evaluations),
    )
