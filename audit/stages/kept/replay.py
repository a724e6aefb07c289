"""Repeat a finished run with its settings, and report inputs that have changed since."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from flashbulb.audit.run.directory import RECORDING, flatten_json
from flashbulb.audit.settings import AuditSettings, DiscoverSettings, PullSettings, SettingsError

logger = logging.getLogger(__name__)

Settings = TypeVar("Settings", AuditSettings, DiscoverSettings, PullSettings)
_PROMPT_FILES = {
    "prompts_sha256": ("prompts",),
    "reference_sha256": ("reference", "calibration"),
    "reference_texts_sha256": ("calibration",),
    "starts_from_sha256": ("starts_from",),
}
_SHAPED_BY = {
    **_PROMPT_FILES,
    "model_fingerprint": ("model", "configs", "denoiser", "vae", "textual_inversion", "lora"),
    "base_fingerprint": ("baseline_model",),
    "dtype": ("dtype", "device"),  # the device decides what "auto" is
    "device": ("device",),
}
"""For each part of an identity, the settings that change it when the command line names them."""


@dataclass(frozen=True, slots=True)
class Replay(Generic[Settings]):
    """A finished run whose settings are used again.

    Args:
        settings: the settings of `run`, except those in `named`, which the command line sets.
        identity: what the results of `run` depend on.
    """

    run: Path
    settings: Settings
    identity: Mapping[str, Any]
    named: frozenset[str]

    def compare_inputs(self, identity: Mapping[str, Any]) -> None:
        """Refuse prompt files that have changed since the run; log other changes: the model, versions, the device.

        Args:
            identity: of the new run; for an audit the identity of its recording.

        Raises:
            SettingsError: a prompt file that the command line does not name has another hash. Names both hashes.
        """
        saved = self.identity.get(RECORDING, self.identity)  # a discovery and a pull have no stages
        old: dict[str, Any] = flatten_json(saved)
        new: dict[str, Any] = flatten_json(identity)
        for key in sorted({*old, *new}):
            is_intended = key.startswith("settings.") or self.named.intersection(_SHAPED_BY.get(key, ()))
            if is_intended or old.get(key) == new.get(key):
                continue
            if key in _PROMPT_FILES:
                option = next(name for name in _PROMPT_FILES[key] if getattr(self.settings, name) is not None)
                raise SettingsError(
                    f"{getattr(self.settings, option)} has changed since {self.run}: its SHA-256 was {old.get(key)}, "
                    f"is now {new.get(key)}; restore it, or name it with --{option.replace('_', '-')}"
                )
            logger.warning("different from %s: %s was %r, is now %r", self.run, key, old.get(key), new.get(key))
