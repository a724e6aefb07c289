"""A model that was looked at before, as plain values: any process can load it, and refuses it if it has changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flashbulb.audit.additions.chosen import ChosenModel, ComposedModel, load_chosen
from flashbulb.audit.model.errors import ModelError


@dataclass(frozen=True, slots=True)
class UnchangedModel:
    """A model with its fingerprint.

    Args:
        fingerprint: of the model, or without its LoRAs, if it is that one which is used.
    """

    chosen: ChosenModel
    fingerprint: str
    dtype: str
    device: str
    clip_skip: int | None

    def load(self, when: Literal["while", "since"], *, without_loras: bool = False) -> ComposedModel:
        """Load it.

        Args:
            when: "while" or "since" it was recorded; for the message.
            without_loras: compare the fingerprint that it has without its LoRAs.

        Raises:
            ModelError: it is no longer the model with this fingerprint.
        """
        loaded = load_chosen(self.chosen, self.device, self.dtype)
        found = loaded.unadapted if without_loras else loaded.fingerprint
        if found != self.fingerprint:
            raise ModelError(
                f"{self.chosen.model} changed {when} it was recorded, from fingerprint {self.fingerprint} to {found}; "
                "put that model back and run the same command again"
            )
        return loaded
