"""Audit canaries apart from the user's prompts: score them, guess their coins, recover their images.

Canaries meet the same recorder, baselines and ladder as the prompts, but calibrate nothing and are no findings. The
coin flips are read only after the guesses are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flashbulb.audit.canaries.errors import CanaryError
from flashbulb.audit.canaries.losses import EVALUATIONS_PER_PAIR, membership_scores
from flashbulb.audit.canaries.manifest import Manifest, read_coins, read_manifest
from flashbulb.audit.canaries.plan import Canary, are_in
from flashbulb.audit.canaries.tries import UNTRIED, Planted, Tried, try_canaries
from flashbulb.audit.recover.climbing import Recovery
from flashbulb.audit.recover.ladder import Target
from flashbulb.audit.recover.targets import target_of
from flashbulb.audit.recover.tasks import Performer
from flashbulb.audit.stages.kept.bulk import kept_neurons
from flashbulb.audit.stages.results.state import AuditedCanaries, DetectedRun, RecordedRun
from flashbulb.audit.statistics.apart import PromptsApart, ScoredApart, score_apart
from flashbulb.audit.statistics.scores import GroupScores
from flashbulb.audit.statistics.spikes import BaseNeurons, read_neurons
from flashbulb.audit.training_images.storage import open_training_images
from flashbulb.reports.bounds.membership import guess_coins
from flashbulb.reports.tables.canaries import PlantedCanaries, canary_record
from flashbulb.reports.tables.evidence import CANARIES_SCHEMA
from flashbulb.reports.tables.files import GUESSES_FILE, MATCHES_DIRECTORY, write_json
from flashbulb.reports.tables.stores import as_uri

_PLANTED_COLUMNS = ("canary_id", "tier", "repeats", "group", "is_twin", "image")
"""Columns of canaries.parquet that equal fields of `Canary`."""


def audit_canaries(
    recorded: RecordedRun,
    detection: DetectedRun,
    recovery: Recovery,
    performer: Performer,
    run: Path,
    climbed: GroupScores | None,
) -> AuditedCanaries:
    """Score the canaries, guess their coins, then read the coins and recover what came back.

    Args:
        recovery: that of canaries, in a folder of their own.
        run: the run directory.
        climbed: neurons to climb in ascents.

    Raises:
        CanaryError: the manifest or an image has changed since the recording.
    """
    inputs, denoiser = recorded.inputs, recovery.denoiser
    manifest = _recorded_manifest(recorded)
    planted = Planted(manifest, open_training_images(manifest.folder, *denoiser.image_size))
    if recovery.keep_images:
        planted.images.keep_matches(recovery.run / MATCHES_DIRECTORY)
    scored = _score(recorded, detection)
    flagged = scored.p_value <= inputs.settings.fpr
    images = np.stack([planted.image(canary) for canary in manifest.canaries])
    captions = [canary.caption for canary in manifest.canaries]
    memberships = membership_scores(recovery, performer, images, captions)
    guesses = _guess(manifest.canaries, memberships)
    write_json(run / GUESSES_FILE, {"manifest_sha256": manifest.sha256, "guesses": guesses})
    inside = are_in(manifest.canaries, read_coins(manifest.path))  # the guesses are written
    tried, evaluations = [UNTRIED] * len(inside), len(captions) * EVALUATIONS_PER_PAIR
    if inputs.settings.max_sampled:
        targets = _targets(recorded, detection, climbed, flagged)
        tries = try_canaries(recovery, performer, planted, manifest.prompts().prompts, targets, inside)
        tried, evaluations = tries.tried, evaluations + tries.evaluations
    table = pa.table(
        {
            **{name: [getattr(canary, name) for canary in manifest.canaries] for name in _PLANTED_COLUMNS},
            "prompt": [canary.caption for canary in manifest.canaries],
            "is_in": inside,
            "spike_score": scored.spike_score,
            "p_value": scored.p_value,
            "flagged": flagged,
            "membership_score": memberships,
            "guess": [guesses.get(canary.canary_id) for canary in manifest.canaries],
            **{name: [getattr(result, name) for result in tried] for name in Tried._fields},
        },
        schema=CANARIES_SCHEMA,
    )
    stated = PlantedCanaries(
        as_uri(manifest.path), manifest.sha256, manifest.data.captions, manifest.delta, manifest.confidence
    )
    return AuditedCanaries(table, canary_record(table, stated), evaluations)


def _recorded_manifest(recorded: RecordedRun) -> Manifest:
    """Read the manifest again; it must be the one whose captions were recorded."""
    canaries, path = recorded.inputs.canaries, recorded.inputs.settings.canaries
    assert path is not None, "canaries were recorded without a manifest"
    assert canaries is not None, f"the canaries of {path} were not recorded"
    manifest = read_manifest(path)
    if manifest.sha256 != canaries.sha256:
        raise CanaryError(f"{path} is not the manifest whose canaries were recorded; put that one back")
    return manifest


def _score(recorded: RecordedRun, detection: DetectedRun) -> ScoredApart:
    inputs = recorded.inputs
    assert inputs.canaries is not None, "no canaries were recorded"
    texts = {
        name: prompts.prompts.texts if prompts is not None else []
        for name, prompts in (
            ("canaries", inputs.canaries),
            ("reference", inputs.reference),
            ("candidates", inputs.candidates),
        )
    }
    base_part = None if inputs.base is None else recorded.base_shards("canaries")
    apart = PromptsApart(texts["canaries"], recorded.shards("canaries"), base_part)
    return score_apart(detection.detected, apart, texts["reference"], texts["candidates"])


def _guess(canaries: Sequence[Canary], memberships: Sequence[float]) -> dict[str, bool | None]:
    """Guess the coin of every canary from its score among those of its tier; twins have no coin."""
    guesses: dict[str, bool | None] = {}
    for tier in dict.fromkeys(canary.tier for canary in canaries):
        in_tier = [(c.canary_id, score) for c, score in zip(canaries, memberships, strict=True) if c.tier == tier]
        flipped = [(name, score) for name, score in in_tier if name.startswith("canary")]
        guesses |= dict(zip([n for n, _ in flipped], guess_coins([score for _, score in flipped]), strict=True))
    return guesses


def _targets(
    recorded: RecordedRun, detection: DetectedRun, climbed: GroupScores | None, flagged: npt.NDArray[np.bool_]
) -> dict[int, Target]:
    """Return the flagged canaries with the neurons to climb, by position."""
    inputs, detected = recorded.inputs, detection.detected
    assert inputs.canaries is not None, "no canaries were recorded"
    positions, prompts = np.flatnonzero(flagged).tolist(), inputs.canaries.prompts
    if climbed is None:
        return {position: Target(prompts[position].text, (), ()) for position in positions}
    base = None if inputs.base is None else BaseNeurons(detected.base_groups, recorded.base_shards("canaries"))
    kept = kept_neurons(inputs.settings)._replace(n_spikes=0)
    neurons = read_neurons(detected.scored.groups, recorded.shards("canaries"), positions, kept, base)
    return {position: target_of(prompts[position].text, climbed, neurons[position]) for position in positions}
