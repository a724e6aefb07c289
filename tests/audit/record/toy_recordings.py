"""Recordings of a few prompts, and what they hold."""

from pathlib import Path

from flashbulb.audit.detectors.text_conditional_noise import DETECTOR
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.record import recorder as recording
from flashbulb.audit.record.recorder import Plan, Recorder
from flashbulb.audit.record.sets import record_set
from flashbulb.hooks import SITE_KINDS

TEXTS = ["a red star", "", "x" * 99, "the bakery of Ada Vasari", "naïve 猫"]
PROMPTS = [Prompt(f"{i:016x}", text, "prompts.txt", i + 1, 1) for i, text in enumerate(TEXTS)]
N_SEEDS, TIMESTEP, RUN_SEED = 3, 981, 5
MANIFEST = {"fingerprint": "abc"}


def make_recorder(pipe, kinds=SITE_KINDS, *, batch_size=6, shard_size=2) -> Recorder:
    plan = Plan(RUN_SEED, N_SEEDS, TIMESTEP, batch_size, shard_size)
    denoiser = open_denoiser(pipe)
    return Recorder(denoiser, denoiser.sites(kinds), [DETECTOR], plan)


def record(pipe, folder: Path, kinds=SITE_KINDS, *, prompts=PROMPTS, **plan) -> recording.Recorded:
    return record_set(make_recorder(pipe, kinds, **plan), prompts, folder, MANIFEST, "recording")
