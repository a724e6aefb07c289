"""One memory of a toy pipeline with plans to localize it, small enough for a test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from audit.denoiser import Denoiser
from audit.evidence import Picture
from audit.localize.attribution import AttributionPlan, Attributor
from audit.localize.effects import SamplingPlan, sample_edited
from audit.localize.levers import reference_means
from audit.localize.localizer import LeverPlan, Localizer
from audit.memories import Memory
from audit.recover.known_image import KnownImagePlan
from hooks import SITE_KINDS, find_sites

PROMPT = "zzqx !!!! @@@@ ####"
CLEAN = ("a red star", "a blue sea", "a pale hill")
TIMESTEP = 981
SAMPLING = SamplingPlan(run_seed=0, n_samples=2, num_inference_steps=2, guidance_scale=3.0, first_index=2)
ATTRIBUTION = AttributionPlan(run_seed=0, timestep=TIMESTEP, n_seeds=1, n_points=2, batch_size=8)
PULL = KnownImagePlan(run_seed=0, n_steps=2, learning_rate=0.1, batch_size=3)
PLAN = LeverPlan(share=0.2, n_checks=3, by="unconditional", sampling=SAMPLING, n_controls=2, pull=PULL)
NO_EVIDENCE = np.zeros((16, 16, 3), dtype=np.uint8)


def memory_of(picture: Picture, prompt_id: str = "00000000000000a1") -> Memory:
    """A memory of the prompt, in which `picture` came back."""
    return Memory(prompt_id, PROMPT, "finding-001", picture)


def memory_of_a_sample(denoiser: Denoiser) -> Memory:
    """A memory that one of the samples shows with which levers are tested, and maybe more of them."""
    return memory_of(sample_edited(denoiser, PROMPT, SAMPLING).pictures[0])


def localizer_of(denoiser: Denoiser, plan: LeverPlan = PLAN, kind: str = "cross_v", clean=CLEAN) -> Localizer:
    """A localizer whose levers are of one kind."""
    levers, means = find_sites(denoiser.pipe, [kind]), None
    if plan.by == "mean":
        means = reference_means(denoiser, levers, CLEAN, TIMESTEP, 0, 8)
    attributor = Attributor(denoiser, find_sites(denoiser.pipe, SITE_KINDS), replace(ATTRIBUTION))
    usual = {site.name: torch.zeros(site.n_neurons) for site in levers}
    return Localizer(denoiser, levers, attributor, clean, usual, means, plan, "fingerprint")
