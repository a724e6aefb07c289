"""Recorded activations are those the model computed, once per seed and prompt, for any batch size."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from flashbulb.audit.detectors import StepDetector, find_detectors
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.record import recorder as recording
from flashbulb.audit.record import rows
from flashbulb.audit.record.recorder import Plan, Recorder
from flashbulb.audit.record.sets import record_set
from flashbulb.audit.settings.recording import ALL_SITES
from flashbulb.hooks import complete_shards, find_sites, over_tokens, read_activations, site_modules
from tests.audit.record.toy_recordings import (
    MANIFEST,
    N_SEEDS,
    PROMPTS,
    RUN_SEED,
    TEXTS,
    TIMESTEP,
    make_recorder,
    record,
)
from tests.tolerances import ARITHMETIC, BATCH, STORED
from tests.toy import build_toy_pipe
from tests.toy_variants import build_bert_pipe, build_inverted_pipe, build_zero_snr_pipe

STEP_DETECTORS = [detector for detector in find_detectors().values() if isinstance(detector, StepDetector)]


def read(folder: Path, half: str):
    return read_activations(list(complete_shards(folder / half, "abc").values()))


@pytest.fixture
def before_storing(monkeypatch) -> list[dict[str, torch.Tensor]]:
    """Collect the float32 activations passed to `write_shard`: prompt and step halves alternate."""
    kept: list[dict[str, torch.Tensor]] = []
    write = rows.write_shard

    def keep_and_write(folder, index, keys, activations, entries):
        noise = {"noise": torch.tensor(keys["text_conditional_noise"])[:, None]} if len(keys) > 1 else {}
        kept.append({**activations, **noise})
        return write(folder, index, keys, activations, entries)

    monkeypatch.setattr(rows, "write_shard", keep_and_write)
    return kept


def test_activations_do_not_depend_on_batch_size(toy_pipe, tmp_path, before_storing):
    for batch_size in (1, 4, 100):
        record(toy_pipe, tmp_path / str(batch_size), batch_size=batch_size, shard_size=len(PROMPTS))
    n_halves = 2
    assert len(before_storing) == 3 * n_halves
    for half in range(n_halves):
        expected = before_storing[-n_halves + half]
        for other in before_storing[half:-n_halves:n_halves]:
            assert other.keys() == expected.keys()
            for column, values in expected.items():
                torch.testing.assert_close(other[column], values, rtol=0, atol=BATCH, equal_nan=True)


def test_as_many_prompts_are_encoded_at_a_time_as_latents_are_evaluated(toy_pipe, tmp_path):
    n_encoded = []
    handle = toy_pipe.text_encoder.register_forward_hook(
        lambda _module, _args, output: n_encoded.append(len(output[0]))
    )
    record(toy_pipe, tmp_path, batch_size=2 * N_SEEDS, shard_size=len(PROMPTS))
    handle.remove()
    assert len(PROMPTS) in n_encoded, "a call of the denoiser is for two prompts"


def test_rows_are_in_the_order_of_prompts_and_seeds(toy_pipe, tmp_path):
    recorded = record(toy_pipe, tmp_path)
    assert recorded == recording.Recorded(tmp_path, 3, 1, len(PROMPTS) * N_SEEDS)
    prompt_activations, prompt_keys = read(tmp_path, "prompt")
    step_activations, step_keys = read(tmp_path, "step")
    ids = [prompt.prompt_id for prompt in PROMPTS]
    assert prompt_keys.to_pydict() == {"prompt_id": ids}
    assert step_keys["prompt_id"].to_pylist() == [i for i in ids for _ in range(N_SEEDS)]
    assert step_keys["seed_index"].to_pylist() == [0, 1, 2] * len(ids)
    assert set(step_keys["timestep"].to_pylist()) == {TIMESTEP}
    assert {column.rpartition("/")[2] for column in step_activations} == {"abs_max", "abs_mean", "mean"}
    assert all(len(values) == len(ids) for values in prompt_activations.values())
    assert all(len(values) == len(ids) * N_SEEDS for values in step_activations.values())
    fourth_alone = record(toy_pipe, tmp_path / "fourth", prompts=PROMPTS[3:4])
    for column, values in read(fourth_alone.folder, "step")[0].items():
        np.testing.assert_allclose(step_activations[column][9:12], values, rtol=STORED, atol=BATCH)


@pytest.fixture(scope="module", params=["plain", "inverted", "bert"])
def read_pipe(request, tmp_path_factory):
    """Pipelines that read a prompt in ways of their own."""
    if request.param == "bert":
        return build_bert_pipe(tmp_path_factory.mktemp("bert"))
    return build_inverted_pipe() if request.param == "inverted" else build_toy_pipe()


def by_hand(pipe, texts, kinds):
    """The activations [prompt, position, neuron] by site while the pipeline encodes prompts and projects them."""
    activations, handles = {}, []
    for name, module in site_modules(pipe, find_sites(pipe, kinds)).items():
        keep = partial(lambda name, module, args, output: activations.__setitem__(name, (args[0], output)), name)
        handles.append(module.register_forward_hook(keep))
    with torch.no_grad():
        embeds = pipe.encode_prompt(texts, "cpu", 1, False)[0]
        pipe.unet(torch.zeros(len(texts), 4, 8, 8), TIMESTEP, encoder_hidden_states=embeds)
    for handle in handles:
        handle.remove()
    reads = {site.name: site.reads for site in find_sites(pipe, kinds)}
    return {name: pair[0] if reads[name] == "input" else pair[1] for name, pair in activations.items()}


def test_values_are_those_of_the_pipelines_own_encoding(read_pipe, tmp_path, before_storing):
    kinds = ["text_mlp", "cross_v", "cross_k"]
    texts = [*TEXTS, "a <toy> star"]
    prompts = [Prompt(f"{i:016x}", text, "prompts.txt", i + 1, 1) for i, text in enumerate(texts)]
    record(read_pipe, tmp_path, kinds, prompts=prompts, shard_size=len(prompts))
    classes = open_denoiser(read_pipe).encode(texts).main_classes
    activations = by_hand(read_pipe, texts, kinds)
    assert len(activations) == len(find_sites(read_pipe, kinds)) == 2 + 2 * 4
    for name, activation in activations.items():
        for reduction, expected in over_tokens(activation, classes).items():
            recorded = before_storing[0][f"{name}/{reduction}"]
            torch.testing.assert_close(recorded, expected, rtol=0, atol=BATCH, equal_nan=True)


def test_a_model_of_another_text_encoder_is_recorded_at_the_default_sites(tmp_path):
    recorded = record(build_bert_pipe(tmp_path), tmp_path / "run", ALL_SITES)
    for half in ("prompt", "step"):
        activations, keys = read(recorded.folder, half)
        assert activations
        assert set(keys["prompt_id"].to_pylist()) == {prompt.prompt_id for prompt in PROMPTS}


@pytest.mark.parametrize("timestep", [999, 981])
def test_prompts_are_told_apart_where_a_schedule_ends_in_pure_noise(tmp_path, timestep):
    pipe = build_zero_snr_pipe()
    plan = Plan(RUN_SEED, N_SEEDS, timestep, batch_size=6, shard_size=2)
    denoiser = open_denoiser(pipe)
    recorder = Recorder(denoiser, denoiser.sites(["cross_v"]), STEP_DETECTORS, plan)
    record_set(recorder, PROMPTS, tmp_path, MANIFEST, "recording")
    _, keys = read(tmp_path, "step")
    for detector in STEP_DETECTORS:
        scores = np.reshape(keys[detector.name].to_pylist(), (len(PROMPTS), N_SEEDS))
        assert np.isfinite(scores).all()
        rounding = ARITHMETIC if detector.reads_attention else BATCH  # random weights attend almost uniformly
        assert np.ptp(scores.mean(axis=1)) > 10 * rounding, detector.name


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_text_conditional_noise_equals_one_evaluation_at_a_time(tmp_path, prediction_type):
    pipe = build_toy_pipe(prediction_type=prediction_type)
    record(pipe, tmp_path, ["cross_v"])
    _, keys = read(tmp_path, "step")
    latents = open_denoiser(pipe).initial_latents(RUN_SEED, range(N_SEEDS))
    expected = []
    with torch.no_grad():
        for text in TEXTS:
            pair = [pipe.encode_prompt([t], "cpu", 1, False)[0] for t in (text, "")]
            for latent in latents:
                cond, uncond = (pipe.unet(latent[None], TIMESTEP, encoder_hidden_states=e).sample for e in pair)
                expected.append(float((cond - uncond).norm()))
    np.testing.assert_allclose(keys["text_conditional_noise"].to_pylist(), expected, rtol=1e-3, atol=BATCH)
    assert max(expected[N_SEEDS : 2 * N_SEEDS]) == 0  # the second prompt is the empty prompt


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_the_empty_prompt_is_evaluated_once_per_seed(tmp_path, batch_size):
    pipe = build_toy_pipe()
    n_latents = []
    counter = pipe.unet.register_forward_pre_hook(lambda _module, args: n_latents.append(len(args[0])))
    recorder = make_recorder(pipe, ["feed_forward"], batch_size=batch_size)
    assert sum(n_latents) == N_SEEDS
    for name in ("reference", "candidates"):
        record_set(recorder, PROMPTS, tmp_path / name, MANIFEST, name)
    counter.remove()
    assert sum(n_latents) == N_SEEDS + 2 * len(PROMPTS) * N_SEEDS
    assert max(n_latents) <= batch_size


@pytest.mark.parametrize("kinds", [["text_mlp"], ["cross_k"], ["cross_out"], ["feed_forward"]])
def test_each_kind_of_site_can_be_recorded_alone(toy_pipe, tmp_path, kinds):
    recorded = record(toy_pipe, tmp_path, kinds, prompts=PROMPTS[:2])
    prompt_activations, step_activations = (read(recorded.folder, half)[0] for half in ("prompt", "step"))
    names = {site.name for site in find_sites(toy_pipe, kinds)}
    assert {column.rpartition("/")[0] for column in [*prompt_activations, *step_activations]} == names
    assert bool(prompt_activations) != bool(step_activations)
    assert read(recorded.folder, "step")[1]["text_conditional_noise"].null_count == 0


def test_no_prompts_make_no_shards(toy_pipe, tmp_path):
    assert record(toy_pipe, tmp_path, prompts=[]) == recording.Recorded(tmp_path, 0, 0, 0)


def test_a_half_precision_model_gives_nearly_the_same_activations(tmp_path):
    record(build_toy_pipe().to(torch.float16), tmp_path / "half", prompts=PROMPTS[:2])
    record(build_toy_pipe(), tmp_path / "single", prompts=PROMPTS[:2])
    half, single = (read(tmp_path / name, "step")[0] for name in ("half", "single"))
    for column, values in single.items():
        assert np.abs(half[column] - values).max() < 0.05 * max(1.0, np.abs(values).max())
