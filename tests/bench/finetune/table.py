"""Tables of docs/fine-tunes-measured.md: each score against every kind of negatives, three seeds of each kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from flashbulb.audit.statistics.separation import auc, auc_interval, threshold_at_fpr
from flashbulb.reports.bounds.rates import exact_interval
from tests.bench.finetune.peers import PEERS
from tests.bench.finetune.recalls import N_SEEDS, N_TOP
from tests.bench.finetune.scored import CLEAN, DIFFERENCE, PLAIN, STYLES, Scores

FPR, LOW_FPR = 0.01, 0.001
ODD = ("rare_word", "long", "other_alphabet", "gibberish")
AGAINST = {
    "clean captions": CLEAN,
    "odd captions": ODD,
    "the base's memories": ("base memory",),
}
MEMORIZED = ("duplicated, memorized",)
GROUPS = {
    "duplicated, memorized": MEMORIZED,
    "duplicated, in part": ("duplicated, partial",),
    "duplicated, not": ("duplicated, not",),
    "other pairs": ("other pairs",),
    "shown three times": ("shown three times",),
    "unseen titles": ("unseen",),
    "descriptions": ("descriptive",),
    "odd captions": ODD,
    "the base's memories": ("base memory",),
}


class Figures(NamedTuple):
    """How well a score separates, over the fine-tunes of one kind; thresholds are of each fine-tune alone.

    Args:
        aucs: of each fine-tune.
        hits: positives above the threshold at each FPR, over all fine-tunes.
    """

    aucs: tuple[float, ...]
    hits: dict[float, int]
    n_positive: int
    n_negative: int

    def auc_cell(self) -> str:
        """Mean of the fine-tunes weighted alike, its interval, and the lowest."""
        mean = float(np.mean(self.aucs))
        low, high = auc_interval(mean, self.n_positive, self.n_negative)
        return f"{mean:.4f} ({low:.3f} to {high:.3f}); lowest {min(self.aucs):.4f}"

    def tpr_cell(self, fpr: float) -> str:
        if self.n_negative * fpr < 1:
            return "-"
        exact = exact_interval(self.hits[fpr], self.n_positive)
        rate = self.hits[fpr] / self.n_positive
        return f"{self.hits[fpr]} of {self.n_positive}: {rate:.3f} ({exact.low:.3f} to {exact.high:.3f})"


def figures(models: Sequence[Scores], score: str, positives: Sequence[str], negatives: Sequence[str]) -> Figures:
    """Measure one column; a negative threshold is the fine-tune's own."""
    aucs, hits, n_positive, n_negative = [], dict.fromkeys((FPR, LOW_FPR), 0), 0, []
    for model in models:
        values, group = model.rows[score], model.rows["group"]
        wanted = values[group.isin(positives)].to_numpy(float)
        unwanted = values[group.isin(negatives)].to_numpy(float)
        aucs.append(auc(wanted, unwanted))
        for fpr in hits:
            hits[fpr] += int((wanted > threshold_at_fpr(unwanted, fpr)).sum())
        n_positive, n_negative = n_positive + len(wanted), [*n_negative, len(unwanted)]
    return Figures(tuple(aucs), hits, n_positive, min(n_negative))


def page(scores: Sequence[Scores]) -> Iterator[str]:
    """Yield every table, as lines of Markdown."""
    kinds = {score.kind: [s for s in scores if s.kind == score.kind] for score in scores}
    for kind, models in kinds.items():
        memorized = [int((m.rows["group"] == MEMORIZED[0]).sum()) for m in models]
        shifts = ", ".join("-" if m.style_shift is None else f"{m.style_shift:.2f}" for m in models)
        yield f"{kind}: seeds {[m.seed for m in models]}, memorized {memorized} of 48 duplicated; style shift {shifts}"
    yield from ("", "### Plain score and difference", "")
    yield from _rows("fine-tune", "against", "score", "AUC", "TPR at 1 %", "TPR at 0.1 %")
    for kind, models in kinds.items():
        for against, negatives in AGAINST.items():
            for name, column in ((PLAIN, PLAIN), (DIFFERENCE, f"{PLAIN} added")):
                f = figures(models, column, MEMORIZED, negatives)
                cells = f.auc_cell(), f.tpr_cell(FPR), f.tpr_cell(LOW_FPR)
                yield _row(kind, f"{against} ({f.n_negative})", name, *cells)
    yield from ("", f"### Clean captions that recall a new training image in one of {N_SEEDS} samples", "")
    yield from _rows("fine-tune", f"the {N_TOP} of highest difference, by seed", "in the middle")
    for kind, models in kinds.items():
        yield _row(kind, *(", ".join(map(str, counts)) for counts in zip(*(m.recalls for m in models), strict=True)))
    yield from ("", "### Reference without a style: plain score → difference, AUC / TPR at 1 %", "")
    yield from _rows("reference", "against", *kinds)
    for style in ("both styles", *STYLES):
        for against, negatives in (("unseen titles", ("unseen",)), ("descriptions", ("descriptive",))):
            yield _row(style, against, *(_change(models, style, negatives) for models in kinds.values()))
    yield from ("", "### Published detectors: of the fine-tune → minus the base's, AUC / TPR at 1 %", "")
    yield from _rows("detector", "against", *kinds)
    for against in ("clean captions", "the base's memories"):
        for name in (PLAIN, *PEERS, "nemo"):
            shown = "spike score" if name == PLAIN else name
            yield _row(shown, against, *(_change(models, name, AGAINST[against]) for models in kinds.values()))
    yield from ("", "### Flagged by the difference at a stated rate of 1 %; known by the base", "")
    yield from _rows("prompts", *kinds)
    for shown, members in GROUPS.items():
        yield _row(shown, *(_flagged(models, members) for models in kinds.values()))


def _change(models: Sequence[Scores], score: str, negatives: Sequence[str]) -> str:
    both = [figures(models, column, MEMORIZED, negatives) for column in (score, f"{score} added")]
    return " → ".join(f"{np.mean(f.aucs):.3f} / {f.hits[FPR] / f.n_positive:.2f}" for f in both)


def _flagged(models: Sequence[Scores], members: Sequence[str]) -> str:
    rows = [model.rows[model.rows["group"].isin(members)] for model in models]
    n, flagged, known = (sum(int(count) for count in counts) for counts in zip(*map(_counts, rows), strict=True))
    return f"{flagged} of {n}; {known}"


def _counts(rows: object) -> tuple[int, int, int]:
    return len(rows), rows["flagged"].sum(), rows["known"].sum()  # type: ignore[arg-type, index]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _rows(*header: str) -> tuple[str, str]:
    return _row(*header), _row(*["---"] * len(header))
