"""Define what the results of each stage depend on: the identities of stages, and the fingerprints of their files.

A run directory holds the identity of every stage that it contains or is meant for. A command that asks for another
identity is refused; only `detect` and `recover` recompute their own stage and remove the results that follow it. Shards
and attempts have fingerprints of their own, of only what they depend on. So another false-positive rate records nothing
again, and more ascents sample nothing again.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import fields
from typing import Any

from flashbulb.audit.model.loading.pipelines import LoadedModel
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.record.reduction import BULK
from flashbulb.audit.recover.signs import Signs
from flashbulb.audit.recover.strategies import find_strategies
from flashbulb.audit.run.directory import DETECTION, RECORDING, RECOVERY, fingerprint_of
from flashbulb.audit.settings import (
    ActivationSettings,
    AuditSettings,
    DetectionSettings,
    RecordingSettings,
    RecoverySettings,
    ScreeningSettings,
    Settings,
)
from flashbulb.audit.stages.results.account import library_versions
from flashbulb.audit.stages.results.state import AuditedModel, Inputs

REFERENCE_TEXTS = "reference_texts_sha256"
"""What the recording's identity has of a calibration."""
REDUCED = "candidates_layout"
"""What the recording's identity has where candidates are reduced, and says what by."""


def audit_identity(inputs: Inputs) -> dict[str, Any]:
    """Return what each stage of an audit depends on, by stage."""
    settings = inputs.settings
    return {
        RECORDING: recording_identity(inputs),
        DETECTION: detection_identity(settings),
        RECOVERY: recovery_identity(settings),
    }


def recording_identity(inputs: Inputs) -> dict[str, Any]:
    """Return what the recording of both prompt sets depends on."""
    return {
        "model_fingerprint": inputs.model.fingerprint,
        "dtype": inputs.model.dtype,
        "device": inputs.model.device,
        "base_fingerprint": None if inputs.base is None else inputs.base.fingerprint,
        "prompts_sha256": inputs.candidates.sha256,
        **_reference_identity(inputs),
        "canaries_sha256": inputs.canaries.sha256 if inputs.canaries else None,
        "settings": inputs.settings.identity(RecordingSettings),
        "versions": library_versions(),
        **_layout_identity(inputs),
    }


def command_identity(command: str, settings: Settings, model: LoadedModel) -> dict[str, Any]:
    """Return what the results of a command without stages depend on; some depend on a file as well."""
    return {
        "model_fingerprint": model.fingerprint,
        "dtype": model.dtype,
        "device": model.device,
        "settings": {"command": command, **settings.identity()},
        "versions": library_versions(),
    }


def _layout_identity(inputs: Inputs) -> dict[str, Any]:
    """Return what the numbers of reduced shards depend on besides activations; nothing where all shards are dense."""
    settings = inputs.settings
    if settings.layout != BULK:
        return {}
    read = ("n_components", "max_style_shift", "n_top_neurons", "ascend_kind", "ascend_neurons")
    return {REDUCED: {"layout": BULK, **_reference_identity(inputs), **_select(settings, set(read))}}


def _reference_identity(inputs: Inputs) -> dict[str, Any]:
    """Return what was read as the reference: of a calibration also its texts, whose column no setting names."""
    if inputs.reference is None:
        return {"reference_sha256": None}
    texts = {} if inputs.saved is None else {REFERENCE_TEXTS: inputs.reference.prompts.sha256}
    return {"reference_sha256": inputs.reference.sha256, **texts}


def detection_identity(settings: AuditSettings) -> dict[str, Any]:
    """Return what scores and flags depend on, in addition to the recording."""
    return {"settings": settings.identity(DetectionSettings), "versions": library_versions()}


def recovery_identity(settings: AuditSettings) -> dict[str, Any]:
    """Return what recovery depends on, in addition to detection."""
    return {"settings": settings.identity(RecoverySettings), "versions": library_versions()}


def calibration_identity(model: AuditedModel, settings: AuditSettings) -> dict[str, Any]:
    """Return what the recording of reference prompts depends on, apart from the prompts themselves."""
    return {
        "model": model.fingerprint,
        "dtype": model.dtype,
        "settings": settings.identity(ActivationSettings),
        "versions": library_versions(),
    }


def set_identity(inputs: Inputs, name: str, prompts: PromptSet, model: AuditedModel) -> dict[str, Any]:
    """Return what the shards of one prompt set depend on, recorded on the audited model or on its base.

    Screened candidates also depend on the reference, and on the base also on the audited model, which screened them.
    """
    settings = inputs.settings
    screening, is_drawn = None, name == "candidates" and settings.sample is not None
    if name == "candidates" and settings.tiers == "screened":
        screening = {
            **_reference_identity(inputs),
            **settings.identity(ScreeningSettings),
            **({} if model == inputs.model else {"screened_by": inputs.model.fingerprint}),
            **({} if inputs.base is None else {"base": inputs.base.fingerprint}),
        }
    return {
        **calibration_identity(model, settings),
        "device": model.device,
        "set": name,
        "prompts_sha256": prompts.sha256,
        "text_column": prompts.text_column,
        "shard_size": settings.shard_size,
        "screening": screening,
        **({"without": inputs.canaries.sha256} if name == "candidates" and inputs.canaries else {}),
        **({"without_audited": _audited(inputs)} if name == "reference" and prompts.n_audited else {}),
        **({"n_drawn": settings.sample} if is_drawn else {}),
        **(_layout_identity(inputs) if name == "candidates" else {}),
    }


def _audited(inputs: Inputs) -> str:
    sets = (inputs.candidates, inputs.canaries)
    return " ".join(prompts.sha256 for prompts in sets if prompts is not None)


def attempt_fingerprints(inputs: Inputs, pooled: bool) -> dict[str, str]:
    """Return a fingerprint for each strategy: of all that its attempts depend on besides prompt and restart.

    Args:
        pooled: True if the baselines that choose the neurons to climb were fitted on candidate prompts as well.
    """
    settings, model = inputs.settings, {"model": inputs.model.fingerprint, "dtype": inputs.model.dtype}
    made_by: dict[str, Any] = {**model, "device": inputs.model.device, "versions": library_versions()}
    made_by["signs"] = [field.name for field in fields(Signs)]
    if inputs.base is not None:
        made_by["base"] = inputs.base.fingerprint
    spiked = {"recording": recording_identity(inputs), "pooled": pooled}
    if inputs.base is not None:
        spiked["z"] = "difference"  # neurons are chosen by it
    return {
        name: fingerprint_of(
            {**made_by, **(spiked if strategy.needs_neurons else {}), **_select(settings, strategy.identity)}
        )
        for name, strategy in find_strategies().items()
    }


def _select(settings: AuditSettings, names: Set[str]) -> dict[str, Any]:
    return settings.model_dump(mode="json", include=set(names))
