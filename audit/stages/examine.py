"""Examine a model before it is audited."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.examination import N_IMAGES, require_working
from flashbulb.audit.training_images.storage import some_training_images

logger = logging.getLogger(__name__)


class _Examined(Protocol):
    """Settings of a command that examines its model."""

    @property
    def examine(self) -> bool: ...
    @property
    def train_images(self) -> Path | None: ...


def examine_model(settings: _Examined, denoiser: Denoiser, prompts: Sequence[str]) -> None:
    """Refuse a model that does not run as it was trained, unless the settings trust it.

    Raises:
        UntrustedModel: says what is wrong, and what would fit.
    """
    if not settings.examine:
        logger.info("not examined whether the model runs as it was trained")
        return
    images = None
    if settings.train_images is not None:
        images = some_training_images(settings.train_images, N_IMAGES, *denoiser.image_size)
    require_working(denoiser, prompts, images)
