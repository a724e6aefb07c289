"""`summary.md` of a discovery: its findings and their cost on one page."""

import pyarrow as pa

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.views.discovery import STOP_MEANINGS, DiscoveryRecord, Finding, FindingWords, looks_text
from flashbulb.reports.views.markdown_parts import MAX_ROWS, VERDICT_MEANINGS, code, cost, page, pairs, sentence, table

_LIMITS = (
    "Finding nothing is not a proof of absence: a search with another seed or a larger budget can find more.",
    "A likely finding is judged from images alone. Only a match with a training image shows what it reproduces.",
    "A discovery neither passes nor fails: it is not an audit of prompts, and `flashbulb gate` refuses it.",
)

_WORDS = (
    "*p* is the probability that a seed gives the image with guidance, counted with seeds that the search for the "
    "prompt never saw. Where its interval lies above 0, a user can meet the image, which an embedding does not "
    "show. *Plain samples* is the verdict on these samples alone, by the rule for samples of any prompt. Where it "
    "is confirmed and the model knows the image well, the finding is confirmed, unless training images are given "
    "or another finding shows the same image."
)


def discovery_markdown(discovery: DiscoveryRecord, recoveries: pa.Table) -> str:
    """Render the summary; `recoveries` is the table of the discovery, one row per finding."""
    return page(
        _head(discovery),
        [f"> {sentence(warning)}" for warning in discovery.warnings],
        _search(discovery),
        _findings(discovery, recoveries),
        _words(discovery),
        [
            "## What the verdicts mean",
            "",
            *(f"- **{name}**: {VERDICT_MEANINGS[name]}" for name in ("confirmed", "likely")),
        ],
        ["## What this does not prove", "", *(f"- {limit}" for limit in _LIMITS)],
        cost({**discovery.evaluations, **_words_cost(discovery)}, discovery.timings),
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
        ("starts", discovery.starts_text),
        *([("words", discovery.words_text)] if discovery.words_text else []),
        *([("closing looks", looks_text(discovery.closing))] if discovery.closing.n_looked else []),
        ("stopped because", STOP_MEANINGS[discovery.stopped_because]),
        ("left to find", discovery.unseen_text),
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


def _words(discovery: DiscoveryRecord) -> list[str]:
    """Return the section on prompts in words; empty if none was searched for."""
    if not discovery.n_words_searched:
        return []
    with_words = [(finding.finding_id, finding.words) for finding in discovery.findings if finding.words is not None]
    with_words.sort(key=lambda item: item[1].rate.share, reverse=True)
    searched = f"{len(with_words)} of {count_text(discovery.n_words_searched, 'finding')} searched"
    header = ("finding", "prompt in words", "seeds", "p", "95 % interval", "plain samples", "image")
    more = len(with_words) - MAX_ROWS
    return [
        "## Prompts in words",
        "",
        f"{searched} have a prompt that anyone can type and that gives an image back, {discovery.words_evaluations} "
        f"denoiser evaluations. {_WORDS}",
        *(["", *table(header, [_words_cells(*item) for item in with_words[:MAX_ROWS]])] if with_words else []),
        *(["", f"{more} more are in `run.json`."] if more > 0 else []),
    ]


def _words_cost(discovery: DiscoveryRecord) -> dict[str, int]:
    return {"words": discovery.words_evaluations} if discovery.n_words_searched else {}


def _words_cells(finding_id: str, words: FindingWords) -> tuple[str, ...]:
    rate = words.rate
    return (
        code(finding_id),
        code(words.text),
        f"{rate.n} of {rate.of}",
        f"{rate.share:.2f}",
        f"{rate.low:.2f} to {rate.high:.2f}",
        words.verdict.replace("_", " ") + (", confirms the finding" if words.confirms else ""),
        "-" if words.image_path is None else code(words.image_path),
    )


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
