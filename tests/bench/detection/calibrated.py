"""Whether the stated false-positive rate is kept, whatever the style of the reference, and without a reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.statistics.detection import Detected, detect
from flashbulb.audit.statistics.separation import tpr_at_fpr
from tests.bench.detection.recorded import Planted

DEFAULTS = {name: AuditSettings.model_fields[name].default for name in ("n_components", "max_style_shift")}
FPR, LOW_FPR = 0.01, 0.001
SHARES, N_DRAWS = (0.001, 0.01, 0.1), 5
STYLES = {
    "titles": ("seen", "unseen"),
    "descriptions": ("descriptive",),
    **{kind: (kind,) for kind in ("rare_word", "long", "other_alphabet", "gibberish")},
}


def run(planted: Planted, candidates: np.ndarray, reference: np.ndarray | None) -> Detected:
    """Detect with default settings on the feed-forward sites."""
    sites = [site for site in planted.sites if site.kind == "feed_forward"]
    reference_part = None if reference is None or not reference.any() else planted.part(reference)
    part = planted.part(candidates)
    more = {"all_texts": part.texts, "base": None, "bulk": None}
    return detect(sites, [], part, reference_part, fpr=FPR, seed=0, **more, **DEFAULTS)


@dataclass(frozen=True)
class Kept:
    """One reference: flagged share of the memorized, and observed rates of clean prompts by style."""

    reference: str
    style_shift: float | None
    flagged_memorized: float
    rates: dict[str, tuple[float, float, int]]  # at 1 %, at 0.1 %, of how many

    def row(self) -> str:
        cells = [f"{100 * at_1:.1f} / {100 * at_01:.1f} ({n})" if n else "-" for at_1, at_01, n in self.rates.values()]
        shift = "-" if self.style_shift is None else f"{self.style_shift:.2f}"
        return f"| {self.reference} | {shift} | {self.flagged_memorized:.3f} | " + " | ".join(cells) + " |"


def kept_rates(planted: Planted) -> Iterator[Kept]:
    """With the whole reference, with either style alone, and with none; an unused style joins the candidates."""
    titles = planted.titles_of_reference
    whole = ~planted.captions
    for name, reference in (
        ("both styles", whole),
        ("titles alone", titles),
        ("descriptions alone", whole & ~titles),
        ("none", np.zeros(len(whole), dtype=bool)),
    ):
        unused = whole & ~reference if reference.any() else np.zeros(len(whole), dtype=bool)
        candidates = planted.captions | unused
        detected = run(planted, candidates, reference)
        p = np.full(len(whole), np.nan)
        p[candidates] = detected.scored.p_value
        rates = {}
        for style, kinds in STYLES.items():
            clean = planted.negative & planted.rows["kind"].isin(kinds).to_numpy()
            clean |= unused & {"titles": titles, "descriptions": ~titles}.get(style, np.zeros_like(titles))
            rates[style] = (float((p[clean] <= FPR).mean()), float((p[clean] <= LOW_FPR).mean()), int(clean.sum()))
        yield Kept(name, detected.style_shift, float((p[planted.memorized] <= FPR).mean()), rates)


@dataclass(frozen=True)
class SelfCalibrated:
    """One share of memorized prompts among the candidates: TPR at FPR <= 1 % and flagged share, self and referenced."""

    share: float
    n_memorized: int
    tpr: tuple[float, float]  # self, referenced
    flagged: tuple[float, float]
    fpr: tuple[float, float]


def self_calibration(planted: Planted) -> Iterator[SelfCalibrated]:
    """Candidates are drawn with each share of memorized prompts; means over the draws."""
    memorized, negative = np.flatnonzero(planted.memorized), np.flatnonzero(planted.negative)
    for share in SHARES:
        n_memorized = min(len(memorized), max(1, round(len(negative) * share / (1 - share))))
        n_negative = min(len(negative), round(n_memorized * (1 - share) / share))
        figures = []
        for draw in range(1 if n_memorized == len(memorized) else N_DRAWS):
            rng = np.random.default_rng(draw)
            chosen = rng.choice(memorized, n_memorized, replace=False)
            others = rng.choice(negative, n_negative, replace=False)
            candidates = np.sort(np.concatenate([chosen, others]))
            is_memorized = np.isin(candidates, chosen)
            for reference in (None, ~planted.captions):
                scored = run(planted, candidates, reference).scored
                score = scored.spike_score
                figures.append(
                    (
                        tpr_at_fpr(score[is_memorized], score[~is_memorized], FPR),
                        scored.flagged[is_memorized].mean(),
                        scored.flagged[~is_memorized].mean(),
                    )
                )
        own, referenced = np.mean(figures[0::2], axis=0), np.mean(figures[1::2], axis=0)
        yield SelfCalibrated(share, n_memorized, *((own[i], referenced[i]) for i in range(3)))
