"""What shards of the bulk layout are reduced by: baselines that are fitted before candidates are recorded.

They are fitted on the reference and, where candidates help to fit them, on the first ones, all dense. A dense recording
has the same baselines, so a prompt's scores do not depend on the layout.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from safetensors import safe_open

from flashbulb.audit.detectors import Learnt, NeuronDetector, Vector
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.run.tensors import read_tensors, write_tensors
from flashbulb.audit.statistics.baseline import Baseline
from flashbulb.audit.statistics.scores import (
    MAX_SELF_REFERENCE,
    GroupFit,
    baseline_arrays,
    columns_of,
    fit_group,
    neuron_columns,
    scored_kinds,
)
from flashbulb.audit.statistics.spikes import Kept
from flashbulb.hooks import Site
from flashbulb.reports.tables.files import METADATA_KEY


class BulkError(ValueError):
    """A recording in the bulk layout lacks what is asked of it; the message says what to do."""


@dataclass(frozen=True, slots=True)
class BulkFit:
    """What the numbers of a reduced shard depend on besides its activations.

    Args:
        pooled: candidates helped to fit the baselines.
        learnt: what neuron detectors learnt, by name.
    """

    groups: tuple[GroupFit, ...]
    learnt: Mapping[str, Learnt]
    sites: tuple[Site, ...]
    n_seeds: int
    pooled: bool
    kept: Kept

    def refuse_other(self, pooled: bool) -> None:
        """Raise BulkError if candidates helped to fit the baselines and now would not, or the other way round."""
        if pooled != self.pooled:
            was, now = ("with", "without") if self.pooled else ("without", "with")
            raise BulkError(
                f"the candidates were recorded in the bulk layout by baselines fitted {was} candidates; with this "
                f"--max-style-shift they are fitted {now} them; keep its value, or record again with --layout dense"
            )

    def refuse_more(self, kept: Kept) -> None:
        """Raise BulkError if other or more neurons are asked for than are kept."""
        has_climbed = kept.climbed_kind == self.kept.climbed_kind and kept.n_climbed <= self.kept.n_climbed
        if not has_climbed or kept.n_spikes > self.kept.n_spikes:
            raise BulkError(
                f"the candidates were recorded in the bulk layout with {self.kept.n_spikes} neurons a prompt and "
                f"{self.kept.n_climbed} of {self.kept.climbed_kind} to climb, and {kept.n_spikes} and {kept.n_climbed} "
                f"of {kept.climbed_kind} are asked for; keep the settings, or record again with --layout dense"
            )

    def score_neurons(self, detector: NeuronDetector, sites: Sequence[Site], candidates: Shards) -> Vector:
        """Score each candidate by a published neuron detector: [prompt]."""
        learnt = self.learnt[detector.name]
        columns = neuron_columns(detector, sites)
        return candidates.scores(columns, detector.name, lambda matrix, _: detector.score(learnt, matrix))


def fit_bulk(
    sites: Sequence[Site],
    detectors: Sequence[NeuronDetector],
    reference: Shards | None,
    first: Shards | None,
    *,
    n_seeds: int,
    n_components: int,
    kept: Kept,
) -> BulkFit:
    """Fit the baselines and the neuron detectors, as `detect` does on a dense recording.

    Args:
        first: the first candidates, where they help to fit; None where the reference does it alone.
    """
    own = (lambda columns: None) if first is None else (lambda columns: first.matrix(columns, MAX_SELF_REFERENCE))
    groups = tuple(
        fit_group(kind, sites, own(columns_of(kind, sites)), reference, n_components=n_components)
        for kind in scored_kinds(sites)
    )
    fitted_on = first if reference is None else reference
    assert fitted_on is not None, "without a reference, candidates fit the baselines"
    learnt = {
        detector.name: detector.fit(fitted_on.matrix(columns, MAX_SELF_REFERENCE))
        for detector in detectors
        if len((columns := neuron_columns(detector, sites)).ordered)
    }
    return BulkFit(groups, learnt, tuple(sites), n_seeds, first is not None, kept)


def save_bulk(path: Path, fit: BulkFit, fingerprint: str) -> None:
    """Write the baselines, whole or not at all.

    Args:
        fingerprint: of the shards that are reduced by them.
    """
    arrays: dict[str, npt.NDArray[Any]] = dict(baseline_arrays(fit.groups))
    for group in fit.groups:
        arrays |= {} if group.reference is None else {f"{group.kind}/reference": group.reference}
    arrays |= {f"detectors/{name}/{array}": v for name, learnt in fit.learnt.items() for array, v in learnt.items()}
    said = {
        "sites": [asdict(site) for site in fit.sites],
        "first_folds": {group.kind: group.first_fold for group in fit.groups},
        "n_folds": {group.kind: len(group.baselines) for group in fit.groups},
        "learnt": {name: list(learnt) for name, learnt in fit.learnt.items()},
        "n_seeds": fit.n_seeds,
        "pooled": fit.pooled,
        "kept": fit.kept._asdict(),
    }
    write_tensors(path, {name: torch.from_numpy(values) for name, values in arrays.items()}, fingerprint, said)


def holds_bulk(path: Path, fingerprint: str) -> bool:
    """Return whether a file holds, undamaged, the baselines for shards of a fingerprint; damage is logged."""
    return read_tensors(path, fingerprint) is not None


def open_bulk(path: Path) -> BulkFit:
    """Read what `save_bulk` wrote."""
    with safe_open(path, framework="numpy") as file:
        said, read = json.loads(file.metadata()[METADATA_KEY]), file.get_tensor
        sites, names = tuple(Site(**site) for site in said["sites"]), set(file.keys())
        groups = tuple(
            GroupFit(
                kind,
                columns_of(kind, sites),
                read(f"{kind}/reference") if f"{kind}/reference" in names else None,
                tuple(
                    Baseline(*(read(f"{kind}/{fold}/{name}") for name in ("location", "scale", "components")))
                    for fold in range(said["n_folds"][kind])
                ),
                first_fold,
            )
            for kind, first_fold in said["first_folds"].items()
        )
        learnt = {
            name: {array: read(f"detectors/{name}/{array}") for array in arrays}
            for name, arrays in said["learnt"].items()
        }
    return BulkFit(groups, learnt, sites, said["n_seeds"], said["pooled"], Kept(**said["kept"]))
