"""A memory of a toy pipeline, and plans to localize it that are small enough for a test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.localize.attribution import AttributionPlan, Attributor
from flashbulb.audit.localize.effects import EffectPlan, sample_edited
from flashbulb.audit.localize.localizer import LocalizationPlan, Localizer
from flashbulb.audit.localize.memories import Memory
from flashbulb.audit.localize.selection import measure_reference_means
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.pull.pulling import PullPlan
from flashbulb.hooks import SITE_KINDS

PROMPT = "zzqx !!!! @@@@ ####"
CLEAN = ("a red star", "a blue sea", "a pale hill")
TIMESTEP = 981
SAMPLING = EffectPlan(run_seed=0, n_samples=2, num_inference_steps=2, guidance_scale=3.0, first_index=2)
ATTRIBUTION = AttributionPlan(run_seed=0, timestep=TIMESTEP, n_seeds=1, n_points=2, batch_size=8)
RECOVERY = PullPlan(0, 2, 0.1, 1.0, 0.6, 0.99, SAMPLING.n_samples, 2, SAMPLING.guidance_scale, 4, False)
PLAN = LocalizationPlan(share=0.2, n_checks=3, by="unconditional", sampling=SAMPLING, n_controls=2, recovery=RECOVERY)
NO_EVIDENCE = np.zeros((16, 16, 3), dtype=np.uint8)


def memory_of(image: RgbImage, prompt_id: str = "00000000000000a1") -> Memory:
    """Return a memory of the prompt whose recovered image is `image`."""
    return Memory(prompt_id, PROMPT, "finding-001", image)


def memory_of_a_sample(denoiser: Denoiser) -> Memory:
    """Return a memory that at least one sample of the test replicates."""
    return memory_of(sample_edited(denoiser, PROMPT, SAMPLING).images[0])


def build_localizer(denoiser: Denoiser, plan: LocalizationPlan = PLAN, kind: str = "cross_v", clean=CLEAN) -> Localizer:
    """Build a localizer that selects neurons of one kind of site."""
    sites, means = denoiser.sites([kind]), None
    if plan.by == "mean":
        means = measure_reference_means(denoiser, sites, CLEAN, TIMESTEP, 0, 8)
    attributor = Attributor(denoiser, denoiser.sites(SITE_KINDS), replace(ATTRIBUTION))
    clean_attribution = {site.name: torch.zeros(site.n_neurons) for site in sites}
    return Localizer(denoiser, sites, attributor, clean, clean_attribution, means, plan, "fingerprint")
