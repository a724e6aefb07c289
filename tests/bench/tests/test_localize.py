"""The benchmark of shorter tests compares each memory's verdicts with its own, and counts those that differ."""

from dataclasses import replace

import pytest

from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.recover.strategies.known_image import KnownImagePlan
from tests.audit.localize.memory_examples import (
    NO_EVIDENCE,
    PLAN,
    PROMPT,
    RECOVERY,
    SAMPLING,
    build_localizer,
    memory_of_a_sample,
)
from tests.bench.localize import patched, shorter


@pytest.fixture
def denoiser(toy_pipe, monkeypatch):
    monkeypatch.setattr(shorter, "LONG_STEPS", 3)
    monkeypatch.setattr(shorter, "LONG_ASCENT", KnownImagePlan(0, 2, 0.1, 3))
    return open_denoiser(toy_pipe)


def test_verdicts_that_differ_are_counted_by_what_they_say() -> None:
    pairs = {"erased": [(True, True), (False, True)], "patched": [(False, False)]}
    erased, patched, both = shorter.agreement(pairs)
    assert "erased: 1 and 2 of 2; same verdict 1 of 2" in erased
    assert "patched: 0 and 0 of 1; same verdict 1 of 1" in patched
    assert "all: 1 and 2 of 3; same verdict 2 of 3" in both


def test_verdicts_of_patching_are_compared_on_the_same_and_on_other_seeds() -> None:
    counts = [{6: [1, 2, 0, 0], 25: [2, 2, 0, 0]}, {6: [4, 4, 4, 4], 25: [4, 4, 4, 4]}]
    steps, seeds = patched.agreement(counts, n_samples=4)
    assert steps == "few and many steps, same seeds: 7 of 8 verdicts are the same"
    assert seeds == "many steps, other seeds: 8 of 12 pairs are the same"


def test_each_memory_has_a_line_and_equal_tests_give_equal_verdicts(denoiser) -> None:
    plan = replace(PLAN, n_checks=0, recovery=None)
    few, many = (build_localizer(denoiser, plan) for _ in range(2))
    recovery = shorter.Recovery(denoiser, PLAN.by, RECOVERY)
    memory, again, *counts = shorter.compare(few, many, recovery, [memory_of_a_sample(denoiser)] * 2, [NO_EVIDENCE])
    assert memory.startswith(f"{PROMPT} | few steps: replicating")
    assert [line.count("an image of no memory") for line in (memory, again)] == [2, 0]
    for count, (kind, n) in zip(counts, {"erased": 2, "clean prompt changed": 4, "patched": 2}.items(), strict=False):
        assert f", {kind}" in count
        assert f"same verdict {n} of {n}" in count


def test_the_long_ascent_costs_what_its_plans_say(denoiser) -> None:
    memory, recovery = memory_of_a_sample(denoiser), shorter.Recovery(denoiser, PLAN.by, RECOVERY)
    neurons = build_localizer(denoiser, replace(PLAN, n_checks=0, recovery=None)).localize(memory).neurons
    count, spent = recovery.by_long_ascent(PROMPT, memory.image, neurons)
    samples = replace(SAMPLING, num_inference_steps=shorter.LONG_STEPS).evaluations(denoiser)
    assert (0 <= count <= SAMPLING.n_samples, spent) == (True, shorter.LONG_ASCENT.evaluations + samples)
