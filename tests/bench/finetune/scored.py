"""Scores of every caption on one fine-tune, its base and their difference, with what each caption is to that model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flashbulb.audit.detectors import find_detectors
from flashbulb.audit.planted.paths import CAPTIONS, FOLDER, REFERENCE
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.kept.recorded import open_recorded
from flashbulb.audit.stages.results.state import RecordedRun
from flashbulb.audit.statistics.detection import BaseShards, RecordedSet, detect
from flashbulb.audit.statistics.scores import score_neurons
from flashbulb.reports.tables.schema import FINETUNE_SCORE
from tests.bench.detection.recorded import Part
from tests.bench.finetune.pairs import N_DUPLICATED, N_RARE, new_pairs
from tests.bench.finetune.peers import PEERS
from tests.bench.finetune.recalls import Recalls, count_recalls
from tests.bench.finetune.runs import NEGATIVE_KINDS

PLAIN, DIFFERENCE = "plain", "difference"
CLEAN = ("unseen", "descriptive")
DEFAULTS = {name: AuditSettings.model_fields[name].default for name in ("n_components", "max_style_shift", "fpr")}
STYLES = ("titles alone", "descriptions alone", "none")
"""What is left of the reference, whose first half is titles and whose second half is descriptions."""


@dataclass(frozen=True, slots=True)
class Scores:
    """One fine-tune.

    Args:
        rows: by prompt: `group`, `flagged`, `known`, and every score as `<name>` of the fine-tune and `<name> added`
            minus the base's.
        style_shift: how well the text alone separates candidates from the reference.
        recalls: clean captions that recall a new training image.
    """

    kind: str
    seed: int
    rows: pd.DataFrame
    style_shift: float | None
    recalls: Recalls


def read_scores(folder: Path, kind: str, seed: int, seeds: Sequence[int], peers: Sequence[Shards]) -> Scores:
    """Read a finished run; detect again with parts of the reference, and score the base by NeMo.

    Args:
        peers: step detectors on the fine-tune and on its base.
    """
    settings = AuditSettings(model="", prompts="", reference=None, out=folder, train_images=None)
    recorded = open_recorded(folder / "run", settings)
    table = pd.read_parquet(folder / "run" / "scores.parquet").set_index("prompt")
    prompts = [prompt.text for prompt in recorded.inputs.candidates.prompts]
    rows = pd.DataFrame({"group": groups(prompts, pd.read_parquet(folder / "truth.parquet"), seed, seeds)}, prompts)
    rows[["flagged", "known"]] = table.loc[prompts, ["flagged", "known_by_base"]]
    rows[[PLAIN, f"{PLAIN} added"]] = table.loc[prompts, [FINETUNE_SCORE, "spike_score"]]
    for name, (own, base) in _peers(recorded, peers).items():
        rows[name], rows[f"{name} added"] = own, own - base
    shift = None
    for style in ("both styles", *STYLES):
        detected = _detect(recorded, _reference_rows(style))
        rows[style], rows[f"{style} added"] = detected.scored.detectors[FINETUNE_SCORE], detected.scored.spike_score
        shift = detected.style_shift if style == "both styles" else shift
    clean = rows.loc[rows["group"].isin(CLEAN), f"{PLAIN} added"]
    return Scores(kind, seed, rows, shift, count_recalls(folder, new_pairs(seed), clean))


def groups(prompts: Sequence[str], truth: pd.DataFrame, seed: int, seeds: Sequence[int]) -> list[str]:
    """Return what each prompt is to the fine-tune of `seed`."""
    old, base = pd.read_csv(CAPTIONS), pd.read_parquet(FOLDER / "truth.parquet")
    kinds = dict(zip(old["prompt"], old["kind"], strict=True))
    group = {p: kind if kind in NEGATIVE_KINDS else "neither" for p, kind in kinds.items()}
    group |= dict.fromkeys(base.loc[base["label"] == "memorized", "prompt"], "base memory")
    for other in seeds:
        group |= dict.fromkeys([entry.prompt for entry in new_pairs(other).entries], "unseen")
    own = [entry.prompt for entry in new_pairs(seed).entries]
    labels = dict(zip(truth["prompt"], truth["label"], strict=True))
    group |= {prompt: f"duplicated, {labels[prompt]}" for prompt in own[:N_DUPLICATED]}
    group |= dict.fromkeys(own[N_DUPLICATED : N_DUPLICATED + N_RARE], "shown three times")
    group |= dict.fromkeys(own[N_DUPLICATED + N_RARE :], "other pairs")
    return [group[prompt] for prompt in prompts]


def _peers(recorded: RecordedRun, peers: Sequence[Shards]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the scores of published detectors on the fine-tune and on the base."""
    at_step = [shards.detector_scores(PEERS) for shards in peers]
    nemo: Any = find_detectors()["nemo"]
    own, base = recorded.shards("candidates"), recorded.base_shards("candidates")
    read = [
        score_neurons(nemo, recorded.inputs.sites, shards, clean)
        for shards, clean in ((own, recorded.shards("reference")), (base, recorded.base_shards("reference")))
    ]
    return {"nemo": (read[0], read[1]), **{name: (at_step[0][name], at_step[1][name]) for name in PEERS}}


def _reference_rows(style: str) -> np.ndarray:
    n = len(pd.read_csv(REFERENCE))
    titles = np.arange(n) < n // 2
    kept = {"titles alone": titles, "descriptions alone": ~titles, "both styles": titles | ~titles}
    return np.flatnonzero(kept.get(style, np.zeros(n, dtype=bool)))


def _detect(recorded: RecordedRun, rows: np.ndarray) -> Any:
    """Detect by the feed-forward neurons with a part of the reference; without rows, without a reference."""
    assert recorded.inputs.reference is not None
    texts = [recorded.inputs.reference.prompts[int(i)].text for i in rows]

    def part(shards: Shards) -> Any:
        return Part(shards, rows, {}) if len(rows) else None

    candidates = [prompt.text for prompt in recorded.inputs.candidates.prompts]
    return detect(
        [site for site in recorded.inputs.sites if site.kind == "feed_forward"],
        [],
        RecordedSet(candidates, recorded.shards("candidates")),
        RecordedSet(texts, part(recorded.shards("reference"))) if len(rows) else None,
        seed=0,
        all_texts=candidates,
        bulk=None,
        base=BaseShards(recorded.base_shards("candidates"), part(recorded.base_shards("reference"))),
        **DEFAULTS,
    )
