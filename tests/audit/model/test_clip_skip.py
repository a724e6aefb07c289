"""Fine-tunes that leave out the last layers of the text encoder are recorded and sampled without them."""

from contextlib import ExitStack
from functools import partial

import numpy as np
import pytest
import torch

from flashbulb.audit.model.calls import clip_skip_works, first_call
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.sampling import sample_generator
from tests.audit.commands import CANDIDATES, QUICK, REFERENCE, run_flashbulb, scores_of, text_file
from tests.toy import build_toy_pipe, build_toy_xl_pipe
from tests.toy_transformers import build_toy_flux_pipe, build_toy_sd3_pipe
from tests.toy_variants import build_bert_pipe

PROMPTS = ["a red star", "жар-птица"]


@pytest.mark.parametrize("build", [build_toy_pipe, build_toy_xl_pipe, build_toy_sd3_pipe])
def test_prompts_are_encoded_and_sampled_without_the_layers(build):
    pipe = build()
    with_all, without = open_denoiser(pipe), open_denoiser(pipe, clip_skip=1)
    encoded = without.encode(PROMPTS).conditioning
    assert torch.equal(encoded.tensors["prompt_embeds"], without.first_call(PROMPTS, 2)["encoder_hidden_states"])
    assert not torch.equal(
        encoded.tensors["prompt_embeds"], with_all.encode(PROMPTS).conditioning.tensors["prompt_embeds"]
    )
    generators = [sample_generator(0, prompt, 0) for prompt in PROMPTS]
    call = {"num_inference_steps": 2, "guidance_scale": 3.0}
    images = without.sample(encoded, generators, batch_size=2, **call)
    generators = [sample_generator(0, prompt, 0) for prompt in PROMPTS]
    height, width = without.image_size
    with clip_skip_works(pipe):
        own = pipe(PROMPTS, generator=generators, clip_skip=1, output_type="np", height=height, width=width, **call)
    assert not hasattr(build_toy_pipe().text_encoder, "text_model")
    assert np.array_equal(images, np.asarray((own.images * 255).round(), dtype=np.uint8))
    assert not np.array_equal(images, with_all.sample_prompts(PROMPTS, [0, 0], run_seed=0, **call))


@pytest.mark.parametrize(
    "build", [build_toy_pipe, partial(build_toy_xl_pipe, force_zeros_for_empty_prompt=False), build_toy_sd3_pipe]
)
def test_guidance_compares_with_the_empty_prompt_of_all_layers_as_in_the_pipeline(build):
    without, with_all = open_denoiser(build(), clip_skip=1), open_denoiser(build())
    arguments = {"num_inference_steps": 2, "clip_skip": 1, "guidance_scale": 3.0, "output_type": "latent"}
    prepared = first_call(without.pipe, prompt="a red star", **arguments)["encoder_hidden_states"]
    own = without.guidance.split(prepared, is_guided=True).unconditional
    for denoiser in (without, with_all):
        assert torch.equal(denoiser.unconditional(1).tensors["prompt_embeds"], own)
    assert not torch.equal(without.encode([""]).conditioning.tensors["prompt_embeds"], own)


def test_pipelines_of_several_threads_leave_out_layers_at_a_time():
    first, second = build_toy_pipe(), build_toy_pipe()
    alone = open_denoiser(first, clip_skip=1).encode(PROMPTS).conditioning.tensors["prompt_embeds"]
    first_stack = ExitStack()
    first_stack.enter_context(clip_skip_works(first))
    with clip_skip_works(second):
        first_stack.close()
        encoded, _ = second.encode_prompt(PROMPTS, "cpu", 1, False, clip_skip=1)
    assert torch.equal(encoded, alone)


def test_pipeline_that_leaves_out_no_layers_says_so(tmp_path):
    line = "FluxPipeline leaves out no layers of a CLIPTextModel; run it without --clip-skip"
    with pytest.raises(ModelError, match=line):
        open_denoiser(build_toy_flux_pipe(), clip_skip=2)
    with pytest.raises(ModelError, match="StableDiffusionPipeline leaves out no layers of a BertModel"):
        open_denoiser(build_bert_pipe(tmp_path), clip_skip=1)


@pytest.mark.parametrize("build", [build_toy_pipe, build_toy_xl_pipe, build_toy_sd3_pipe])
def test_one_layer_is_left(build):
    pipe = build()
    n_layers = pipe.text_encoder.config.num_hidden_layers
    open_denoiser(pipe, clip_skip=n_layers - 1).encode(PROMPTS)
    with pytest.raises(ModelError, match=f"--clip-skip {n_layers} leaves none of the text encoder's {n_layers} layers"):
        open_denoiser(pipe, clip_skip=n_layers)


def test_option_reaches_recording_and_samples_and_is_part_of_what_a_run_is(tmp_path):
    build_toy_pipe().save_pretrained(tmp_path / "model")
    inputs = [
        *("--model", tmp_path / "model", "--prompts", text_file(tmp_path / "candidates.txt", CANDIDATES)),
        *("--reference", text_file(tmp_path / "reference.txt", REFERENCE), *QUICK),
    ]
    for out, choice in (("all", ()), ("without", ("--clip-skip", 1))):
        assert run_flashbulb("audit", *inputs, *choice, "--out", tmp_path / out).code == 0
    scores = [scores_of(tmp_path / out).set_index("prompt_id") for out in ("all", "without")]
    assert (scores[0]["text_conditional_noise"] != scores[1]["text_conditional_noise"]).all()
    again = run_flashbulb("audit", *inputs, "--out", tmp_path / "without")
    assert again.code == 2
    assert "clip_skip" in again.errors[0]
