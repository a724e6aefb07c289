"""Examine a model before it is audited."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.examination import N_IMAGES, require_working
from flashbulb.audit.settings import AuditSettings, DiscoverSettings
from flashbulb.audit.training_images.storage import some_training_images

logger = logging.getLogger(__name__)


def examine_model(settings: AuditSettings | DiscoverSettings, denoiser: Denoiser, prompts: Sequence[str]) -> None:
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
