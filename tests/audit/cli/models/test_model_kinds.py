"""Models of every kind that is loaded are audited from the first prompt to the last attempt, at the planned cost."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from diffusers import HeunDiscreteScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionPipeline

from tests.audit.commands import ODD, digests, run_flashbulb, run_json, scores_of, text_file
from tests.toy import build_toy_pipe, build_toy_xl_pipe
from tests.toy_variants import (
    build_bert_pipe,
    build_inverted_pipe,
    build_lcm_pipe,
    build_tiny_autoencoder,
    build_turbo_pipe,
    build_zero_snr_pipe,
)

LADDER = ("--strategy", "sample", "--strategy", "ascend", "--strategy", "cyclic")
QUICK_LADDER = (*LADDER, "--ascend-steps", "1", "--ascend-restarts", "1", "--max-sampled", "1")


def image_to_image(_folder: Path) -> StableDiffusionImg2ImgPipeline:
    parts = {name: part for name, part in build_toy_pipe().components.items() if name != "image_encoder"}
    return StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)


def tiny_autoencoder(_folder: Path) -> StableDiffusionPipeline:
    parts = build_toy_pipe().components | {"vae": build_tiny_autoencoder()}
    return StableDiffusionPipeline(**parts, requires_safety_checker=False)


def two_calls_a_step(_folder: Path) -> StableDiffusionPipeline:
    pipe = build_toy_pipe()
    pipe.scheduler = HeunDiscreteScheduler.from_config(pipe.scheduler.config)
    return pipe


KINDS: dict[str, Callable[[Path], object]] = {
    "image to image": image_to_image,
    "inverted words": lambda _folder: build_inverted_pipe(),
    "bert": build_bert_pipe,
    "tiny autoencoder": tiny_autoencoder,
    "no signal": lambda _folder: build_zero_snr_pipe(),
    "two calls a step": two_calls_a_step,
    "two text encoders": lambda _folder: build_toy_xl_pipe(),
    "encoded empty prompt": lambda _folder: build_toy_xl_pipe(force_zeros_for_empty_prompt=False),
    "noise at each step": lambda _folder: build_turbo_pipe(),
    "guidance as an input": lambda _folder: build_lcm_pipe(),
}


QUICK_KINDS = {"inverted words", "tiny autoencoder", "two calls a step", "encoded empty prompt"}
"""The others differ in what the tests of models and of recordings show."""


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK_KINDS else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_a_model_is_audited_at_the_planned_cost(short_strategies, inputs, tmp_path, kind):
    KINDS[kind](tmp_path).save_pretrained(tmp_path / "model")
    prompts = text_file(tmp_path / "prompts.txt", ["a <toy> star", "the sea", "hills at night", ODD, "a red star"])
    options = (*inputs._replace(model=tmp_path / "model", prompts=prompts).options(tmp_path / "run"), *QUICK_LADDER)
    before = digests(tmp_path)
    planned = run_flashbulb("validate", *options, "--json")
    assert planned.code == 0, planned.err
    assert digests(tmp_path) == before
    audited = run_flashbulb("audit", *options)
    assert audited.code == 0, audited.err
    plan, spent = json.loads(planned.out)["evaluations"], run_json(tmp_path / "run")["evaluations"]
    assert plan["record"] == {"low": spent["record"], "high": spent["record"]}
    assert plan["recover"]["low"] <= spent["recover"] <= plan["recover"]["high"]
    attempts = pq.read_table(tmp_path / "run" / "recoveries.parquet")["strategy"].to_pylist()
    assert set(attempts) == {"sample", "ascend", "cyclic"}
    scores = scores_of(tmp_path / "run")
    for detector in ("text_conditional_noise", "spike_score"):
        assert np.ptp(scores[detector]) > 1e-3
