"""What a card says of its finding: a title, the four facts that matter most, and everything else."""

from collections.abc import Iterable, Sequence

from flashbulb.reports.checks.findings import Finding, FoundImage
from flashbulb.reports.page.labels import Labels
from flashbulb.reports.tables.limits import TEMPLATE
from flashbulb.reports.tables.recoveries import is_copy_of_training
from flashbulb.reports.tables.schema import TableRow

_TITLES = {
    "confirmed": "A memorized image was recovered",
    "likely": "A likely memorized image was recovered",
    "not_shown": "Neurons spike, but no image was recovered",
    "not_tried": "Neurons spike; recovery was not tried",
}


def card_title(verdict: str, best: TableRow | None, labels: Labels) -> str:
    """Return what came back: the training image by its file where it is known."""
    if best is None or not best["kind"] or not best["nearest_image"]:
        return _TITLES[verdict]
    part = "a part of " if best["kind"] == TEMPLATE else ""
    return f"Copy of {part}{labels.image(best['nearest_image'])}"


def card_facts(
    finding: Finding, image: FoundImage | None, best: TableRow | None, labels: Labels
) -> Iterable[tuple[str, str]]:
    """Yield name and value of the four facts that matter most: how often, which copy, how alike, how suspicious."""
    if image is not None and image.replication.samples:
        yield "p", f"{image.replication.share:.2g} ({image.replication.hits} of {image.replication.samples} samples)"
    if best is not None and best["nearest_image"] and not best["kind"]:
        yield "nearest image", labels.image(best["nearest_image"])
    if best is not None and best["kind"]:
        yield "kind of copy", str(best["kind"])
    if best is not None and (name := _measure(best)) is not None:
        yield name, f"{best[name]:.2f}"
    if finding.spike_score is not None:
        yield "spike score", f"{finding.spike_score:.3g}"


def _measure(best: TableRow) -> str | None:
    """Return which number says how sure a recovery is: the similarity of a copy, else the confidence."""
    names = ("similarity", "confidence") if best["kind"] else ("confidence", "similarity")
    return next((name for name in names if best[name] is not None), None)


def card_details(finding: Finding, best: TableRow | None, attempts: Sequence[TableRow]) -> Iterable[tuple[str, str]]:
    """Yield name and value of everything else that is known of the finding and its best attempt."""
    yield "severity", finding.severity
    for name, value in (("p-value", finding.p_value), ("q-value", finding.q_value)):
        if value is not None:
            yield name, f"{value:.3g}"
    if best is None:
        return
    yield "strategy", str(best["strategy"]).replace("_", " ")
    is_copy = is_copy_of_training(best["kind"], best["nearest_image"])
    for column in ("similarity", "fixed_share") if is_copy else ("similarity", "confidence", "fixed_share"):
        if best[column] is not None and column != _measure(best):
            yield column.replace("_", " "), f"{best[column]:.2f}"
    yield "seed agreement", f"{best['seed_agreement']:.2f}"
    if best["alike_seeds"] or best["alike_prompts"]:
        yield "comes back", f"other seeds {best['alike_seeds']}, other prompts {best['alike_prompts']}"
    yield "denoiser evaluations", f"{sum(row['evaluations'] for row in attempts):,}"
