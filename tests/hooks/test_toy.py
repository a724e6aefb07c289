"""The toy pipeline behaves like a real pipeline."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from tests.toy import MAX_POSITIONS, build_toy_pipe


def image(pipe: StableDiffusionPipeline) -> np.ndarray:
    generator = torch.Generator().manual_seed(3)
    return pipe("a red star", num_inference_steps=2, generator=generator, output_type="np").images


def test_equal_seeds_build_equal_pipelines_and_keep_the_global_seed(toy_pipe):
    state = torch.random.get_rng_state()
    again = build_toy_pipe()
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(image(again), image(toy_pipe))
    assert not np.array_equal(image(build_toy_pipe(seed=1)), image(toy_pipe))


def test_saved_pipeline_loads_offline_and_samples_the_same_image(toy_pipe, tmp_path):
    toy_pipe.save_pretrained(tmp_path)
    loaded = StableDiffusionPipeline.from_pretrained(tmp_path, local_files_only=True, use_safetensors=True)
    loaded.set_progress_bar_config(disable=True)
    np.testing.assert_array_equal(image(loaded), image(toy_pipe))
    assert loaded.tokenizer("naïve 猫 🐈").input_ids == toy_pipe.tokenizer("naïve 猫 🐈").input_ids


@pytest.mark.parametrize("text", ["", "a red star", "naïve café 猫 🐈!?", "tab\tand\nnewline", "x" * 500])
def test_any_text_fills_the_positions_between_start_and_end(toy_pipe, text):
    tokenizer = toy_pipe.tokenizer
    ids = tokenizer(text, padding="max_length", truncation=True).input_ids
    assert len(ids) == tokenizer.model_max_length == MAX_POSITIONS
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id


def test_v_prediction_with_linear_projection_runs():
    pipe = build_toy_pipe(prediction_type="v_prediction", use_linear_projection=True, latent_size=4)
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    assert image(pipe).shape == (1, 8, 8, 3)
