"""`make bench-detect`: the detector held against the truth of planted models, as one Markdown page.

Every detector beside the spike score, at four seeds and at one; whether stated false-positive rates are kept for every
style of caption and reference; self-calibration; tier 0; and what each choice in the score is worth.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from flashbulb.audit.detectors import Detector, ImageDetector, StepDetector, find_detectors
from flashbulb.audit.record.rows import STEP_FOLDER
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.statistics.separation import auc, tpr_at_fpr
from flashbulb.hooks import SITE_KINDS
from flashbulb.reports.tables.schema import detector_columns
from flashbulb.reports.views.markdown_parts import table
from tests.bench.__main__ import audit
from tests.bench.detection.ablation import Choice, ablation, score
from tests.bench.detection.bands import by_band
from tests.bench.detection.calibrated import STYLES, kept_rates, self_calibration
from tests.bench.detection.labelled import labelled_scores, negative_sets
from tests.bench.detection.recorded import N_SEEDS, Planted, record_planted
from tests.bench.detection.screened import HEADER, tier_zero
from tests.bench.models import ALL, FIRST, folder_of

FPR, LOW_FPR = 0.01, 0.001


def main() -> None:
    """Run every part on every model and print the page, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=tuple(ALL), default=FIRST)
    parser.add_argument("--part", choices=("all", "bands"), default="all", help="bands: by probability per seed alone")
    parser.add_argument(
        "--work", type=Path, help="keep recordings here and go on from them (default: a temporary folder)"
    )
    parser.add_argument("--write", type=Path, help="write the page to this file")
    arguments = parser.parse_args()
    with _work(arguments.work) as work:
        lines = []
        page = {"all": _page, "bands": by_band}[arguments.part]
        for line in page({name: folder_of(name) for name in arguments.models}, work):
            print(line, flush=True)
            lines.append(line)
    if arguments.write:
        arguments.write.write_text("\n".join(lines) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _work(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


def _page(models: Mapping[str, Path], work: Path) -> Iterator[str]:
    yield from _introduction(models)
    planted: dict[str, Planted] = {}
    for name, folder in models.items():
        if not (work / name / "audit" / "summary.md").is_file():
            audit(folder, work / name / "audit", with_reference=True, options=("--detectors", "all"))
        planted[name] = record_planted(folder, work / name / "recorded", SITE_KINDS, N_SEEDS)
    yield from by_band(models, work)
    yield "## Detectors side by side"
    for name, folder in models.items():
        yield from _detectors(name, folder, work / name / "audit")
    yield from _one_seed(models, planted, work)
    yield from _rates(planted)
    yield from _self(planted)
    yield from _tier_zero(planted)
    yield from _ablation(models, planted, work)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["", *table(header, rows), ""]


def _cell(values: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> str:
    known = ~np.isnan(values)
    first, second = values[positive & known], values[negative & known]
    if not len(first) or not len(second):
        return "-"
    return f"{auc(first, second):.4f} / {tpr_at_fpr(first, second, FPR):.3f}"


def _detectors(name: str, folder: Path, run: Path) -> list[str]:
    """Every column of scores.parquet against every kind of negative; image detectors on the sampled prompts alone."""
    rows = labelled_scores(folder, run)
    positive = (rows["label"] == "memorized").to_numpy()
    sets = {kind: mask.to_numpy() for kind, mask in negative_sets(rows).items()}
    columns = ["spike_score", *detector_columns(_schema(run))]
    costs = {detector: _cost(d) for detector, d in find_detectors().items()}
    table = []
    for column in sorted(columns, key=lambda c: -_rank(rows[c].to_numpy(), positive, sets["all"])):
        values = rows[column].to_numpy(dtype=float)
        known = ~np.isnan(values)
        low = tpr_at_fpr(values[positive & known], values[sets["all"] & known], LOW_FPR)
        name_of = f"**{column}**" if column == "spike_score" else column
        cost = costs.get(column, "0" if column.endswith(("mlp", "_k", "_v")) else "4")
        only = "" if known.all() else f" ({int((positive & known).sum())} against {int((sets['all'] & known).sum())})"
        table.append([name_of + only, cost, f"{low:.3f}", *(_cell(values, positive, mask) for mask in sets.values())])
    flagged = rows["flagged"].to_numpy()
    return [
        "",
        f"### {name}",
        "",
        f"{int(positive.sum())} memorized, {int((rows['label'] == 'partial').sum())} partial (left out); negatives: "
        + ", ".join(f"{kind} {int(mask.sum())}" for kind, mask in sets.items())
        + f". Flagged at 1 %: {flagged[positive].mean():.1%} of the memorized, "
        f"{flagged[sets['all']].mean():.2%} of all negatives.",
        *_table(["detector", "UE a prompt", "TPR at 0.1 %", *sets], table),
    ]


def _cost(detector: Detector) -> str:
    """UE a prompt with four seeds and four images."""
    if isinstance(detector, ImageDetector):
        return f"sampling + {4 * detector.evaluations_per_image}"
    return str(4 * detector.evaluations_per_seed)


def _schema(run: Path) -> object:
    import pyarrow.parquet as pq

    return pq.read_schema(run / "scores.parquet")


def _rank(values: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float:
    known = ~np.isnan(values)
    first, second = values[positive & known], values[negative & known]
    return tpr_at_fpr(first, second, FPR) + auc(first, second) / 10


def _one_seed(models: Mapping[str, Path], planted: Mapping[str, Planted], work: Path) -> list[str]:
    """The same with the first seed alone, for what one seed can give."""
    detectors = find_detectors().items()
    steps = [name for name, d in detectors if isinstance(d, StepDetector) and not name.endswith("one_step_agreement")]
    rows = {name: [] for name in ("spike_score", *steps)}
    for name, folder in models.items():
        run = work / name / "audit"
        scores = labelled_scores(folder, run)
        positive, negative = (scores["label"] == "memorized").to_numpy(), negative_sets(scores)["all"].to_numpy()
        n_shards = len(list((run / "activations" / "candidates" / STEP_FOLDER).glob("*.parquet")))
        shards = Shards(run / "activations" / "candidates", n_shards, 4, 1)
        ours = score(planted[name], Choice(n_seeds=1))
        rows["spike_score"].append(_cell(ours, planted[name].memorized, planted[name].negative))
        for step in steps:
            known = step in scores.columns  # a detector may read layers that a model has not
            values = shards.detector_scores([step])[step] if known else np.full(len(scores), np.nan)
            rows[step].append(_cell(values, positive, negative))
    return ["## With one seed", *_table(["detector", *models], [[name, *cells] for name, cells in rows.items()])]


def _rates(planted: Mapping[str, Planted]) -> list[str]:
    lines = ["## Does the false-positive rate stay at the stated one?", "", *_RATES_TEXT]
    for name, model in planted.items():
        header = ["reference", "style shift", "memorized flagged", *STYLES]
        lines += ["", f"### {name}", "", f"| {' | '.join(header)} |", "|" + " --- |" * len(header)]
        lines += [kept.row() for kept in kept_rates(model)]
    return [*lines, ""]


def _self(planted: Mapping[str, Planted]) -> list[str]:
    rows = [
        [
            name,
            f"{calibrated.share:.1%} ({calibrated.n_memorized})",
            *(f"{own:.3f} / {referenced:.3f}" for own, referenced in (calibrated.tpr, calibrated.flagged)),
            f"{calibrated.fpr[0]:.2%} / {calibrated.fpr[1]:.2%}",
        ]
        for name, model in planted.items()
        for calibrated in self_calibration(model)
    ]
    header = ["model", "share memorized", "TPR at FPR <= 1 %", "flagged at 1 %", "clean flagged at 1 %"]
    return ["## Self-calibration (no reference / with reference)", *_table(header, rows)]


def _tier_zero(planted: Mapping[str, Planted]) -> list[str]:
    rows = [[name, *tier_zero(model)] for name, model in planted.items()]
    return ["## Tier 0 alone: the text side, no denoiser", *_table(["model", *HEADER], rows)]


def _ablation(models: Mapping[str, Path], planted: Mapping[str, Planted], work: Path) -> list[str]:
    columns = {name: ablation(folder, work / name, planted[name]) for name, folder in models.items()}
    choices = list(next(iter(columns.values())))
    rows = [[choice, *(column[choice] for column in columns.values())] for choice in choices]
    return ["## What each choice contributes", *_table(["choice", *columns], rows)]


_ABOUT = {
    "embedded": "64 pixels, epsilon",
    "catalogue": "32 pixels, v-prediction, linear projections",
    "gazette": "32 pixels, epsilon, other data and seed",
    "faint": "32 pixels, v-prediction, few pairs learnt",
    "folio": "Stable Diffusion XL's shape, 32 pixels, epsilon",
    "graded": "stopped early, 32 pixels, epsilon",
}


def _introduction(models: Iterable[str]) -> list[str]:
    about = ", ".join(f"`{name}` ({_ABOUT[name]})" for name in models)
    text = (
        "Written by `make bench-detect`. A cell is AUC / the highest true-positive rate (TPR) at a false-positive rate "
        "(FPR) of at most 1 %. Positives are captions with p >= 1/2: at least half of eight seeds replicate the image. "
        f"Models are trained with Flashbulb's own recipe: {about}. Published detectors run with the settings of their "
        "papers, as each file in `audit/detectors/` describes, but on models far smaller than theirs. Detectors that "
        "compare predictions compare what the model was trained to predict, noise or v. Detectors that read images are "
        "measured on the sampled prompts only: the flagged prompts and as many unflagged ones. UE counts evaluations "
        "of the denoiser for one latent per prompt, with four seeds; evaluations of the empty prompt at x_T are shared "
        "by all prompts and are not counted."
    )
    return ["# Detection, measured", "", *textwrap.wrap(text, 120), ""]


_RATES_TEXT = (
    "Share of clean prompts flagged at 1 % / at 0.1 %, in percent (number of prompts), by style. With a reference of",
    "one style, the other half of the reference joins the candidates as clean prompts.",
)


if __name__ == "__main__":
    main()
