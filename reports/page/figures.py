"""The figures of the page, drawn from the run's tables. A figure without data is left out."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.drawings.calibration import calibration
from flashbulb.reports.drawings.groups import GroupRow, neuron_groups
from flashbulb.reports.drawings.layer_profile import layer_profile
from flashbulb.reports.drawings.recovery import TriedPrompt, recovery_curves
from flashbulb.reports.drawings.scores import score_distributions, text_null
from flashbulb.reports.drawings.spike_heatmap import HeatmapRow, spike_heatmap
from flashbulb.reports.page.labels import Labels
from flashbulb.reports.tables.evidence import SPIKE_LIMIT
from flashbulb.reports.tables.rows import Rows, iter_column, iter_rows, take_rows
from flashbulb.reports.tables.run_record import RunRecord
from flashbulb.reports.tables.schema import TableRow

_LABEL = 34  # characters of a prompt beside the heatmap
_TYPICAL_RMS_Z = 1.0  # of a prompt that is not memorized


class PageFigure(NamedTuple):
    """A figure of the page: its heading, its drawing as SVG, and a caption that explains it."""

    title: str
    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Profiles:
    """Root mean square z at each site, [site], by prompt_id."""

    sites: tuple[str, ...]
    flagged: Mapping[str, Sequence[float]]
    controls: Mapping[str, Sequence[float]]

    @property
    def control_median(self) -> list[float] | None:
        """Median of the controls at each site, [site]; None without controls."""
        if not self.controls:
            return None
        return [median(values) for values in zip(*self.controls.values(), strict=True)]


def collect_profiles(rows: Sequence[TableRow]) -> Profiles:
    """Collect the rows of `site_profiles.parquet` by prompt. Sites without a row are NaN."""
    sites = tuple(dict.fromkeys(row["site"] for row in rows))
    column = {site: index for index, site in enumerate(sites)}
    flagged: dict[str, list[float]] = {}
    controls: dict[str, list[float]] = {}
    for row in rows:
        profiles = controls if row["is_control"] else flagged
        values = profiles.setdefault(row["prompt_id"], [float("nan")] * len(sites))
        values[column[row["site"]]] = row["rms_z"]
    return Profiles(sites, flagged, controls)


def draw_profiles(profiles: Profiles) -> dict[str, str]:
    """Draw the profile of each flagged prompt as SVG, by prompt_id, all on the same scale."""
    if not profiles.flagged:
        return {}
    unflagged = profiles.control_median
    top = max(float(np.nanquantile(list(profiles.flagged.values()), 0.98)), 2.0)
    return {
        prompt_id: layer_profile(values, unflagged, profiles.sites, measure="root mean square z", top=top)
        for prompt_id, values in profiles.flagged.items()
    }


def draw_figures(
    run: RunRecord, scores: Rows, tables: Mapping[str, Sequence[TableRow]], profiles: Profiles, labels: Labels
) -> tuple[PageFigure, ...]:
    """Draw every figure that the run has data for, in the order of the page.

    Args:
        tables: rows of the other tables by the name of their file, without its suffix.
    """
    return tuple(
        figure
        for figures in (
            _distributions(run, scores, tables["reference_scores"]),
            _calibration(run, tables["reference_scores"]),
            _text_null(run, tables["text_null"]),
            _heatmap(run, scores, profiles, labels),
            _recovery(tables["recoveries"]),
            _groups(tables["neuron_groups"]),
        )
        for figure in figures
    )


def _distributions(run: RunRecord, scores: Rows, reference_scores: Sequence[TableRow]) -> Iterator[PageFigure]:
    styles = run.calibration.styles
    candidates: dict[tuple[int, bool], list[float]] = defaultdict(list)  # by style, and whether they are flagged
    for row in iter_rows(scores, ["style", "flagged", "spike_score", "tier"]):
        if row["tier"] != 0:
            candidates[row["style"], row["flagged"]].append(row["spike_score"])
    for number, style in enumerate(styles):
        flagged, unflagged = candidates[number, True], candidates[number, False]
        if not flagged and not unflagged:
            continue
        reference = [row["spike_score"] for row in reference_scores if row["style"] == number]
        source = count_text(style.n_calibrating, "reference prompt")
        yield PageFigure(
            "Spike scores" if len(styles) == 1 else f"Spike scores, style {number + 1} of {len(styles)}",
            score_distributions(reference, unflagged, flagged, style.threshold, name=str(number)),
            "Prompts of similar style are judged together. This style was calibrated on "
            f"{source if style.on_reference else 'the candidate prompts of the style itself'}. "
            + (
                "These are too few to resolve the false-positive rate, so no prompt of this style is flagged."
                if style.threshold is None
                else "A prompt of this style is flagged if its score is above the dashed line."
            ),
        )


def _calibration(run: RunRecord, reference: Sequence[TableRow]) -> Iterator[PageFigure]:
    by_style: dict[str, list[float]] = defaultdict(list)
    for row in reference:
        if row["held_out_p_value"] is not None:
            by_style[f"style {row['style'] + 1}"].append(row["held_out_p_value"])
    if by_style:
        yield PageFigure(
            "Calibration",
            calibration(by_style, run.calibration.fpr),
            "Held-out reference prompts: the share that would be flagged at each nominal false-positive rate. On the "
            "dotted line the two rates are equal. The dashed line marks the rate of this audit.",
        )


def _text_null(run: RunRecord, rows: Sequence[TableRow]) -> Iterator[PageFigure]:
    auc = run.calibration.style_auc
    if rows and auc is not None:
        flagged = [row["score"] for row in rows if row["is_flagged"]]
        others = [row["score"] for row in rows if not row["is_flagged"]]
        yield PageFigure(
            "Separation by text alone",
            text_null(flagged, others, auc, run.compared_with),
            "A classifier that sees only the text of prompts, not the model. If it separates the two sets well, the "
            "flags may reflect the style of the prompts rather than memorization.",
        )


def _heatmap(run: RunRecord, scores: Rows, profiles: Profiles, labels: Labels) -> Iterator[PageFigure]:
    if not profiles.flagged:
        return
    shown = {*profiles.flagged, *profiles.controls}
    positions = [i for i, prompt_id in enumerate(iter_column(scores, "prompt_id")) if prompt_id in shown]
    rows = {row["prompt_id"]: row for row in take_rows(scores, positions)}
    worst = sorted(profiles.flagged, key=lambda prompt_id: -(rows[prompt_id]["spike_score"] or 0.0))

    def heatmap_rows(prompt_ids: Sequence[str], values: Mapping[str, Sequence[float]]) -> list[HeatmapRow]:
        return [HeatmapRow(labels.scored_prompt(rows[name], _LABEL), values[name]) for name in prompt_ids]

    yield PageFigure(
        "Where neurons spike",
        spike_heatmap(
            heatmap_rows(worst, profiles.flagged),
            heatmap_rows(list(profiles.controls), profiles.controls),
            profiles.sites,
            measure="root mean square z of a site's neurons",
            floor=_TYPICAL_RMS_Z,
        ),
        f"Each row is a prompt, each column a site. A neuron spikes if its |z| is above {SPIKE_LIMIT:g}. Spikes are "
        "evidence of recall, not the place where an image is stored."
        + ("" if run.base is None else " z is the z of the fine-tune minus that of the base."),
    )


def _recovery(recoveries: Sequence[TableRow]) -> Iterator[PageFigure]:
    by_prompt: dict[tuple[str, bool], list[TableRow]] = defaultdict(list)
    for row in recoveries:
        if row["prompt_id"] is not None:
            by_prompt[row["prompt_id"], row["is_control"]].append(row)
    tried = [_tried_prompt(attempts, is_control) for (_, is_control), attempts in by_prompt.items()]
    if tried:
        yield PageFigure(
            "Recovery from flagged prompts and controls",
            recovery_curves(tried),
            "Controls are unflagged prompts on which recovery was tried in the same way, as far as it gave an image of "
            "a flagged prompt; a line ends where no prompt was tried further. Controls show how often "
            "recovery gives an image from prompts that should give none.",
        )


def _tried_prompt(attempts: Sequence[TableRow], is_control: bool) -> TriedPrompt:
    """Sum the cost of a prompt's attempts, up to the first that gave an image and in all."""
    spent, first, strategy = 0, None, None
    for attempt in attempts:
        spent += attempt["evaluations"]
        if first is None and attempt["verdict"] != "not_shown":
            first, strategy = spent, attempt["strategy"]
    return TriedPrompt(first, spent, strategy, is_control)


def _groups(rows: Sequence[TableRow]) -> Iterator[PageFigure]:
    by_group: dict[str, list[TableRow]] = defaultdict(list)
    for row in rows:
        by_group[row["group_id"]].append(row)
    if by_group:
        groups = [
            GroupRow(
                group_id,
                n_neurons=len(neurons),
                n_prompts=neurons[0]["n_group_prompts"],
                n_findings=neurons[0]["n_findings"],
                unflagged_share=neurons[0]["unflagged_share"],
            )
            for group_id, neurons in by_group.items()
        ]
        yield PageFigure(
            "Neurons that spike together",
            neuron_groups(groups),
            "Groups of neurons that spike in several flagged prompts. A group whose prompts lead to one image is "
            "specific to it. A group whose prompts lead to many images takes part in recall in general.",
        )
