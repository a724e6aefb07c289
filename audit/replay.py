"""Take the settings of a finished run again, and say what is no longer what it was."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from audit.config import AuditSettings, DiscoverSettings, SettingsError
from audit.rundir import RECORDING, stated_leaves

logger = logging.getLogger(__name__)

Settings = TypeVar("Settings", AuditSettings, DiscoverSettings)
_PROMPT_FILES = {"prompts_sha256": ("prompts",), "reference_sha256": ("reference", "calibration")}
_SHAPED_BY = {
    **_PROMPT_FILES,
    "model_fingerprint": ("model",),
    "dtype": ("dtype", "device"),  # the device decides what "auto" is
    "device": ("device",),
}
"""Settings that, given anew, explain why a part of the identity is another."""


@dataclass(frozen=True, slots=True)
class Replay(Generic[Settings]):
    """A finished run whose settings are used again.

    Args:
        settings: those of `run`, but for the ones in `named`, which the command line gives anew.
        identity: of `run`, what its results depended on.
    """

    run: Path
    settings: Settings
    identity: Mapping[str, Any]
    named: frozenset[str]

    def compare_inputs(self, identity: Mapping[str, Any]) -> None:
        """Refuse prompt files that changed since, and log whatever else did: the model, versions, the device.

        Args:
            identity: of what is to run, of an audit that of its recording.

        Raises:
            SettingsError: a prompt file that the command line does not name has another hash; names both.
        """
        was: dict[str, Any] = stated_leaves(
            self.identity.get(RECORDING, self.identity)
        )  # that of a discovery has no stages
        now: dict[str, Any] = stated_leaves(identity)
        for key in sorted({*was, *now}):
            is_meant = key.startswith("settings.") or self.named.intersection(_SHAPED_BY.get(key, ()))
            if is_meant or was.get(key) == now.get(key):
                continue
            if key in _PROMPT_FILES:
                option = next(name for name in _PROMPT_FILES[key] if getattr(self.settings, name) is not None)
                raise SettingsError(
                    f"{getattr(self.settings, option)} has changed since {self.run}: its SHA-256 was {was.get(key)}, "
                    f"is now {now.get(key)}; restore it, or name it with --{option}"
                )
            logger.warning("not as in %s: %s was %r, is now %r", self.run, key, was.get(key), now.get(key))
