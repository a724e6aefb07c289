"""Prompts whose images come back are likely to recall them, unless controls do the same."""

import numpy as np
import pytest

from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.recover.samples import SamplePlan, save_images
from flashbulb.audit.stages.results.recovery_tables import memories_table, recoveries_table
from flashbulb.reports.checks.outcomes import check_memories, check_outcomes
from flashbulb.reports.tables.files import IMAGES_DIRECTORY
from tests.audit.samplings import recover_by_samples

N_FLAGGED, N_CONTROLS, N_SAMPLES = 12, 12, 6
PLAN = SamplePlan(run_seed=3, n_samples=N_SAMPLES, num_inference_steps=2, guidance_scale=7.5)
PROMPTS = [Prompt(f"id{i}", f"word{i}", "p.csv", i, 1) for i in range(N_FLAGGED + N_CONTROLS)]
FLAGGED, CONTROLS = range(N_FLAGGED), range(N_FLAGGED, N_FLAGGED + N_CONTROLS)


@pytest.fixture
def recover(toy_pipe, tmp_path):
    """Recovery of prompts whose samples lie on the disk: two of six show one image for each prompt of `returning`."""

    def run(returning):
        for position, prompt in enumerate(PROMPTS):
            samples = np.random.default_rng(position).integers(0, 256, (N_SAMPLES, 16, 16, 3), dtype=np.uint8)
            if position in returning:
                samples[4] = samples[1]
            save_images(tmp_path / IMAGES_DIRECTORY / prompt.prompt_id, samples, prompt.text, PLAN, "f")
        denoiser = open_denoiser(toy_pipe)
        return recover_by_samples(denoiser, tmp_path, PLAN, PROMPTS, (FLAGGED, CONTROLS), batch_size=6)

    return run


def shown(recovered):
    return {result.position for result in recovered if result.best.outcome.verdict != "not_shown"}


def tables(recovered, folder):
    recoveries, memories = recoveries_table(PROMPTS, recovered), memories_table(PROMPTS, recovered)
    check_outcomes(folder / "recoveries.parquet", recoveries, has_training_images=False)
    check_memories(folder / "memories.parquet", memories, recoveries, has_training_images=False)
    return recoveries.to_pylist(), memories.to_pylist()


def test_images_that_come_back_with_flagged_prompts_alone_are_likely(recover, tmp_path):
    recovered = recover(returning=FLAGGED)
    assert shown(recovered) == {*FLAGGED}
    recoveries, memories = tables(recovered, tmp_path)
    assert [row["alike_seeds"] for row in recoveries] == [1] * N_FLAGGED + [0] * N_CONTROLS
    assert {row["alike_prompts"] for row in recoveries} == {0}
    assert {(row["verdict"], row["evidence"], row["p_hits"]) for row in memories} == {("likely", "recurrence", 2)}
    assert len({row["finding_id"] for row in memories}) == N_FLAGGED
    assert all(row["image_path"].endswith("seed-1.png") for row in memories)


def test_images_that_come_back_with_a_control_as_well_are_not_shown(recover, tmp_path):
    recovered = recover(returning=[*FLAGGED, CONTROLS[0]])
    assert not shown(recovered)
    recoveries, memories = tables(recovered, tmp_path)
    assert sum(row["alike_seeds"] for row in recoveries) == N_FLAGGED + 1
    assert not memories


def test_an_image_that_comes_back_with_one_prompt_of_many_is_not_shown(recover):
    assert not shown(recover(returning=FLAGGED[:1]))
