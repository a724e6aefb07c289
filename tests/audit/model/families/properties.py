"""Properties that the models of every family have."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.hooks import observe, over_space, record
from tests.tolerances import BATCH


def assert_hooks_leave_images_unchanged(denoiser: Denoiser, sample: Callable[[], RgbImages]) -> None:
    """Sample three steps with and without a hook at every site of the denoiser."""
    expected, fired = sample(), []
    sites = [site for site in denoiser.sites(denoiser.site_kinds()) if not site.is_in_text_encoder]
    with observe(denoiser.modules(sites), sites, lambda site, _: fired.append(site.name), expected_firings=3):
        assert np.array_equal(sample(), expected)
    assert set(fired) == {site.name for site in sites}


def assert_recorded_rows_do_not_depend_on_their_batch(
    denoiser: Denoiser, prompts: Sequence[str], timestep: float
) -> None:
    """Record two prompts together, and the second alone."""
    sites = denoiser.sites(["feed_forward"])
    modules, latents = denoiser.modules(sites), denoiser.initial_latents(0, [0, 1])

    def recorded(rows: list[int]) -> dict[str, torch.Tensor]:
        conditioning = denoiser.encode([prompts[i] for i in rows]).conditioning
        return record(modules, sites, lambda: denoiser.predict(latents[rows], timestep, conditioning), over_space)

    together, alone = recorded([0, 1]), recorded([1])
    for column, values in together.items():
        torch.testing.assert_close(values[1:], alone[column], rtol=BATCH, atol=BATCH)
