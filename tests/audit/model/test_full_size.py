"""Networks at the size that people release, without weights: their sites are counted, and an evaluation runs."""

from __future__ import annotations

from collections import Counter

import torch

from flashbulb.audit.model.families import open_denoiser
from flashbulb.hooks import SITE_KINDS
from tests.full_size import build_stable_diffusion_xl


def test_sites_of_stable_diffusion_xl_are_counted_and_an_evaluation_runs() -> None:
    pipe = build_stable_diffusion_xl()
    assert sum(weight.numel() for weight in pipe.unet.parameters()) == 2_567_463_684
    denoiser = open_denoiser(pipe)
    sites = denoiser.sites(SITE_KINDS)
    neurons, layers = Counter[str](), Counter[str](site.kind for site in sites)
    for site in sites:
        neurons[site.kind] += site.n_neurons
    assert layers == {"text_mlp": 12 + 32} | dict.fromkeys(("cross_k", "cross_v", "cross_out", "feed_forward"), 70)
    assert (neurons["feed_forward"], neurons["text_mlp"]) == (332_800, 12 * 3072 + 32 * 5120)
    assert {neurons[kind] for kind in ("cross_k", "cross_v", "cross_out")} == {83_200}
    latents = torch.zeros(1, *denoiser.latent_shape, device="meta")
    with torch.no_grad():
        assert denoiser.predict(latents, 981, denoiser.unconditional(1)).native.shape == (1, 4, 128, 128)
