"""The figures of the report, from the run's tables; one that has nothing to show is left out."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from reports.calibration_figure import calibration
from reports.evidence_tables import SPIKE_LIMIT
from reports.group_figure import GroupRow, neuron_groups
from reports.layer_profile import layer_profile
from reports.page_words import Words
from reports.recovery_figure import TriedPrompt, recovery_curves
from reports.run_record import RunRecord
from reports.score_figures import score_distributions, text_null
from reports.spike_heatmap import HeatmapRow, spike_heatmap

_LABEL = 34  # characters of a prompt beside the heatmap
_CALM = 1.0  # root mean square z of an ordinary prompt

Rows = Sequence[Mapping[str, Any]]


class Shown(NamedTuple):
    """A figure in the page: its heading, the picture as SVG, and what to read from it."""

    title: str
    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Profiles:
    """Root mean square z by site of every prompt that has a profile: [site] each."""

    sites: tuple[str, ...]
    flagged: Mapping[str, Sequence[float]]
    controls: Mapping[str, Sequence[float]]

    @property
    def ordinary(self) -> list[float] | None:
        """Median of the controls at each site."""
        if not self.controls:
            return None
        return [median(values) for values in zip(*self.controls.values(), strict=True)]


def profiles_of(rows: Rows) -> Profiles:
    """Gather the rows of `site_profiles.parquet`."""
    sites = tuple(dict.fromkeys(row["site"] for row in rows))
    place = {site: index for index, site in enumerate(sites)}
    sides: tuple[dict[str, list[float]], dict[str, list[float]]] = ({}, {})
    for row in rows:
        values = sides[row["is_control"]].setdefault(row["prompt_id"], [float("nan")] * len(sites))
        values[place[row["site"]]] = row["rms_z"]
    return Profiles(sites, *sides)


def card_profiles(profiles: Profiles) -> dict[str, str]:
    """The profile of each flagged prompt as SVG, all on one scale."""
    if not profiles.flagged:
        return {}
    ordinary = profiles.ordinary
    top = max(float(np.nanquantile(list(profiles.flagged.values()), 0.98)), 2.0)
    return {
        prompt_id: layer_profile(values, ordinary, profiles.sites, measure="root mean square z", top=top)
        for prompt_id, values in profiles.flagged.items()
    }


def figures_of(run: RunRecord, tables: Mapping[str, Rows], profiles: Profiles, words: Words) -> tuple[Shown, ...]:
    """Every figure that the run has something for, in the order of the argument.

    Args:
        tables: their rows by the name of their file without its ending.
    """
    return tuple(
        figure
        for family in (
            _distributions(run, tables),
            _calibration(run, tables["reference_scores"]),
            _text_null(run, tables["text_null"]),
            _heatmap(tables["scores"], profiles, words),
            _recovery(tables["recoveries"]),
            _groups(tables["neuron_groups"]),
        )
        for figure in family
    )


def _distributions(run: RunRecord, tables: Mapping[str, Rows]) -> Iterator[Shown]:
    styles = run.calibration.styles
    for number, style in enumerate(styles):
        of_style = [row for row in tables["scores"] if row["style"] == number]
        if not of_style:
            continue
        flagged, unflagged = (
            [row["spike_score"] for row in of_style if row["flagged"] is side] for side in (True, False)
        )
        of_reference = [row["spike_score"] for row in tables["reference_scores"] if row["style"] == number]
        on = f"{style.n_calibrating} reference prompts" if style.on_reference else "the candidates of the style"
        title = "Spike scores" if len(styles) == 1 else f"Spike scores, style {number + 1} of {len(styles)}"
        yield Shown(
            title,
            score_distributions(of_reference, unflagged, flagged, style.threshold, name=str(number)),
            f"Captions alike in style are judged among themselves, here calibrated on {on}. "
            + (
                "They are too few for the stated rate: none is flagged."
                if style.threshold is None
                else "A prompt of this style is flagged above the dashed line."
            ),
        )


def _calibration(run: RunRecord, reference: Rows) -> Iterator[Shown]:
    by_style: dict[str, list[float]] = defaultdict(list)
    for row in reference:
        if row["held_out_p_value"] is not None:
            by_style[f"style {row['style'] + 1}"].append(row["held_out_p_value"])
    if by_style:
        yield Shown(
            "Calibration",
            calibration(by_style, run.calibration.fpr),
            "Reference prompts that were left out of the calibration, judged by it: the share that would have been "
            "flagged, against the rate that was stated. On the line both are the same.",
        )


def _text_null(run: RunRecord, rows: Rows) -> Iterator[Shown]:
    auc = run.calibration.style_auc
    if rows and auc is not None:
        flagged, others = ([row["score"] for row in rows if row["is_flagged"] is side] for side in (True, False))
        yield Shown(
            "What words alone would tell",
            text_null(flagged, others, auc, run.compared_with),
            "A classifier that sees the words and never the model. Where it separates the two well, the flags could "
            "be of a style of captions and not of memory.",
        )


def _heatmap(scores: Rows, profiles: Profiles, words: Words) -> Iterator[Shown]:
    if not profiles.flagged:
        return
    rows = {row["prompt_id"]: row for row in scores}
    worst = sorted(profiles.flagged, key=lambda prompt_id: -(rows[prompt_id]["spike_score"] or 0.0))

    def labelled(prompt_ids: Sequence[str], values: Mapping[str, Sequence[float]]) -> list[HeatmapRow]:
        return [HeatmapRow(words.of_row(rows[one], _LABEL), values[one]) for one in prompt_ids]

    yield Shown(
        "Where the neurons spike",
        spike_heatmap(
            labelled(worst, profiles.flagged),
            labelled(list(profiles.controls), profiles.controls),
            profiles.sites,
            measure="root mean square z of a site's neurons",
            calm=_CALM,
        ),
        f"Each row a prompt, each column a layer. A neuron spikes where |z| is above {SPIKE_LIMIT:g}; spikes are "
        "evidence of recall, not the place where a picture is stored.",
    )


def _recovery(recoveries: Rows) -> Iterator[Shown]:
    by_prompt: dict[tuple[str, bool], list[Mapping[str, Any]]] = defaultdict(list)
    for row in recoveries:
        if row["prompt_id"] is not None:
            by_prompt[row["prompt_id"], row["is_control"]].append(row)
    tried = [_tried(rungs, is_control) for (_, is_control), rungs in by_prompt.items()]
    if tried:
        yield Shown(
            "Recovery, flagged prompts and controls",
            recovery_curves(tried),
            "Controls are unflagged prompts taken up the same ladder: what comes out of them is what recovery brings "
            "out of prompts that should give nothing.",
        )


def _tried(rungs: Sequence[Mapping[str, Any]], is_control: bool) -> TriedPrompt:
    spent, first, strategy = 0, None, None
    for rung in rungs:
        spent += rung["evaluations"]
        if first is None and rung["verdict"] != "not_shown":
            first, strategy = spent, rung["strategy"]
    return TriedPrompt(first, spent, strategy, is_control)


def _groups(rows: Rows) -> Iterator[Shown]:
    by_group: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_group[row["group_id"]].append(row)
    if by_group:
        groups = [
            GroupRow(name, len(of), of[0]["n_group_prompts"], of[0]["n_findings"], of[0]["unflagged_share"])
            for name, of in by_group.items()
        ]
        yield Shown(
            "Neurons that spike together",
            neuron_groups(groups),
            "Groups of neurons that several flagged prompts share. A group whose prompts lead to one picture speaks "
            "for that picture; one of many pictures is general to recall.",
        )
