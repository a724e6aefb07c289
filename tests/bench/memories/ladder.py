"""What ascents and cyclic denoising add for flagged prompts whose own samples show nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flashbulb.audit.statistics.flags import Chosen
from flashbulb.reports.tables.limits import VERBATIM
from flashbulb.reports.views.markdown_parts import table
from tests.bench.memories.audited import Audited, Climbed, Result
from tests.bench.memories.probabilities import Truth
from tests.bench.memories.shown import rate
from tests.bench.truth.bands import BANDS, band_of

HEADER = [
    *("prompts", "number", "own image in the seeds of the truth"),
    *(
        "12 more seeds, 600 UE: own",
        "only another's",
        "ladder: own",
        "only another's",
        "with a verdict",
        "of them right",
    ),
    "UE a prompt, ladder",
]


def silent_prompts(audited: Audited, result: Result) -> Chosen:
    """Return planted flagged prompts none of whose samples copies a training image, and as many such controls.

    Args:
        result: with training images.
    """
    assert result.is_given, "without training images a prompt can be silent and show one"
    silent = [
        prompt for prompt in result.recovered if all(memory.outcome.kind != VERBATIM for memory in prompt.memories)
    ]
    flagged = [
        p.position for p in silent if not p.is_control and audited.prompts[p.position].text in audited.trained_on.own
    ]
    controls = [p.position for p in silent if p.is_control]
    return Chosen(flagged, controls[: len(flagged)])


def ladder(audited: Audited, few: Result, more: Result, truth: Truth) -> Iterator[str]:
    """Yield the table as lines of Markdown, by the truth's p.

    Args:
        few, more: with training images, with the seeds of the audit and with more.
    """
    chosen = silent_prompts(audited, few)
    climbed = {prompt.position: prompt for prompt in audited.climbed(chosen)}
    hits = {i: truth[audited.prompts[i].text] for i in chosen.flagged}
    groups = {band: [i for i in chosen.flagged if band_of(*hits[i]) == band] for band in BANDS}
    groups = {f"flagged, {band}": positions for band, positions in groups.items() if positions}
    rows = []
    for name, positions in {**groups, "flagged": chosen.flagged, "controls": chosen.controls}.items():
        seeds = f"{sum(hits[i][0] > 0 for i in positions)} of {len(positions)}" if name != "controls" else "-"
        rows.append([name, str(len(positions)), seeds, *_cells(audited, positions, more, climbed)])
    yield from table(HEADER, rows)


def _cells(audited: Audited, positions: Sequence[int], more: Result, climbed: dict[int, Climbed]) -> Iterator[str]:
    trained_on, n = audited.trained_on, len(positions)
    own = {i: trained_on.own.get(audited.prompts[i].text) for i in positions}
    by_seeds = {i: trained_on.all_shown(more.samples[i].images) for i in positions}
    by_ladder = {i: trained_on.all_shown(climbed[i].images) for i in positions}
    for shown in (by_seeds, by_ladder):
        yield rate(sum(own[i] in shown[i] for i in positions), n)
        yield str(sum(own[i] not in shown[i] and bool(shown[i]) for i in positions))
    verdicts = [i for i in positions if climbed[i].verdict != "not_shown"]
    yield str(len(verdicts))
    yield str(sum(trained_on.shown(climbed[i].best) is not None for i in verdicts))
    yield f"{sum(climbed[i].evaluations for i in positions) / max(1, n):.0f}"
