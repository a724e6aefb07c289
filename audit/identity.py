"""What each stage depends on: identities that tell one audit from another, and fingerprints that tie files to them.

A run directory names the identity of every stage that it holds or is meant for. A stage that is asked for again with
another identity is refused, or, by the command that owns the stage, done anew with all that follows; what comes before
it is kept. Shards and rungs carry fingerprints of their own, of no more than what made them, so that another
false-positive rate records nothing again and more ascents sample nothing again.
"""

from __future__ import annotations

from typing import Any

from audit.account import library_versions
from audit.config import AuditSettings
from audit.prompts import PromptSet
from audit.results import AuditedModel, Inputs
from audit.rundir import DETECTION, RECORDING, RECOVERY, fingerprint_of

_OF_ACTIVATIONS = {"sites", "detectors", "n_seeds", "seed", "num_inference_steps"}
_OF_SETS = {"shard_size", "text_column", "reference_column", "tiers", "screened_share", "n_components"}
_OF_DETECTION = {"fpr", "max_style_shift", "n_top_neurons", "min_group_prompts"}
_OF_RECOVERY = {
    *("train_images", "descriptor", "descriptor_sha256", "images", "max_sampled", "strategies"),
    *("n_samples", "sample_steps", "guidance_scale"),
    *("ascend_restarts", "ascend_steps", "ascend_rate", "ascend_radius"),
    *("ascend_neurons", "ascend_kind", "ascend_variable"),
}
_OF_SAMPLES = {"seed", "n_samples", "sample_steps", "guidance_scale"}
_OF_ASCENTS = {
    *("seed", "num_inference_steps", "n_components"),
    *("ascend_steps", "ascend_rate", "ascend_radius", "ascend_neurons", "ascend_kind", "ascend_variable"),
}
# In none of them: where files lie, what they are known by their hashes for, and what changes no result but rounding
# (batch_size, checkpointing) or how it is judged and shown (strict, policy,
# waivers, show_prompts, redact_prompts, blur).


def identity_of(inputs: Inputs) -> dict[str, Any]:
    """What every stage of one audit depends on, by stage."""
    settings = inputs.settings
    return {
        RECORDING: recording_identity(inputs),
        DETECTION: detection_identity(settings),
        RECOVERY: recovery_identity(settings),
    }


def recording_identity(inputs: Inputs) -> dict[str, Any]:
    """What the recording of both sets depends on."""
    return {
        "model_fingerprint": inputs.model.fingerprint,
        "dtype": inputs.model.dtype,
        "device": inputs.model.device,
        "prompts_sha256": inputs.candidates.sha256,
        "reference_sha256": inputs.reference.sha256 if inputs.reference else None,
        "settings": _chosen(inputs.settings, _OF_ACTIVATIONS | _OF_SETS),
        "versions": library_versions(),
    }


def detection_identity(settings: AuditSettings) -> dict[str, Any]:
    """What scores and flags depend on beyond the recording."""
    return {"settings": _chosen(settings, _OF_DETECTION), "versions": library_versions()}


def recovery_identity(settings: AuditSettings) -> dict[str, Any]:
    """What recovery depends on beyond the detection."""
    return {"settings": _chosen(settings, _OF_RECOVERY), "versions": library_versions()}


def calibration_identity(model: AuditedModel, settings: AuditSettings) -> dict[str, Any]:
    """What the recording of a reference depends on, the prompts themselves apart."""
    return {
        "model": model.fingerprint,
        "dtype": model.dtype,
        "settings": _chosen(settings, _OF_ACTIVATIONS),
        "versions": library_versions(),
    }


def set_identity(inputs: Inputs, name: str, prompts: PromptSet) -> dict[str, Any]:
    """What the shards of one set depend on; which candidates are recorded can depend on the screening, too."""
    settings = inputs.settings
    screening = None
    if name == "candidates" and settings.tiers == "screened":
        screening = {
            "reference_sha256": inputs.reference.sha256 if inputs.reference else None,
            **_chosen(settings, {"screened_share", "n_components"}),
        }
    return {
        **calibration_identity(inputs.model, settings),
        "device": inputs.model.device,
        "set": name,
        "prompts_sha256": prompts.sha256,
        "text_column": prompts.text_column,
        "shard_size": settings.shard_size,
        "screening": screening,
    }


def rung_fingerprints(inputs: Inputs, pooled: bool) -> dict[str, str]:
    """For each strategy of recovery, of everything that its rungs depend on beyond prompt and restart.

    Args:
        pooled: whether candidates helped to learn the baselines, by which neurons to ascend on are chosen.
    """
    settings, model = inputs.settings, {"model": inputs.model.fingerprint, "dtype": inputs.model.dtype}
    made_by = {**model, "device": inputs.model.device, "versions": library_versions()}
    sampled = fingerprint_of({**made_by, **_chosen(settings, _OF_SAMPLES)})
    ascents = {"recording": recording_identity(inputs), "pooled": pooled, **_chosen(settings, _OF_ASCENTS)}
    return {
        "sample": sampled,
        "cyclic": sampled,
        "known_image": fingerprint_of({**made_by, **_chosen(settings, {"seed"})}),
        "ascend": fingerprint_of({**made_by, **ascents}),
    }


def _chosen(settings: AuditSettings, names: set[str]) -> dict[str, Any]:
    return settings.model_dump(mode="json", include=names)
