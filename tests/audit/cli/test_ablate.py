"""`flashbulb ablate` on a toy pipeline measures correctly and resumes an interrupted run."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from flashbulb.audit.images.distances import pairwise_distances, seed_agreement, tile_distances
from flashbulb.audit.localize.ablated_samples import response_norms
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.model.sampling import sample_generator, sample_images
from flashbulb.hooks import NeuronSet, ablate, capture, load_neurons
from flashbulb.hooks.trace import run_traced
from flashbulb.reports.tables.files import sha256_of
from tests.audit.cli.ablations import NEURONS, PROMPTS, ablated, image, images, neuron_file, rows
from tests.audit.commands import digests, error_line, run_json
from tests.audit.conftest import Inputs
from tests.hooks.edits import some_neurons
from tests.reports.run_files import read_ablation
from tests.tolerances import ARITHMETIC, IMAGE_LEVELS
from tests.toy import build_toy_xl_pipe


@pytest.fixture(scope="module")
def neurons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return neuron_file(tmp_path_factory.mktemp("neurons") / "neurons.json", NEURONS)


@pytest.fixture(scope="module")
def done(inputs: Inputs, neurons: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished ablation. Read-only."""
    out = tmp_path_factory.mktemp("ablated") / "out"
    answer = ablated(inputs.model, neurons, out, "--by", "zero")
    assert answer.code == 0, answer.err
    assert "a red star" in answer.out
    assert f"{NEURONS.n_neurons:,} neurons of {len(NEURONS.neurons)} sites, by zero" in answer.out
    assert f"Read {out}/ablation.md" in answer.out.replace("\n", "")
    return out


def test_images_equal_the_pipelines_with_and_without_the_neurons(inputs: Inputs, done: Path) -> None:
    pipe = load_model(str(inputs.model), device="cpu", dtype=torch.float32, allow_pickle=False).pipe

    def sample(prompt: str, index: int) -> np.ndarray:
        call = {"prompt": prompt, "generator": sample_generator(0, prompt, index), "guidance_scale": 3.0}
        return pipe(**call, num_inference_steps=2, output_type="np").images[0] * 255

    for row in rows(done):
        expected = {"before": sample(row["prompt"], row["image_index"])}
        with ablate(pipe, NEURONS, "zero"):
            expected["after"] = sample(row["prompt"], row["image_index"])
        for which, pixels in expected.items():
            assert abs(image(done / row[f"{which}_path"]) - pixels).max() <= IMAGE_LEVELS
    assert (images(done, "before") != images(done, "after")).any()


def test_numbers_are_computed_from_the_images(done: Path) -> None:
    table = rows(done)
    assert [(row["prompt"], row["image_index"]) for row in table] == [(p, i) for p in PROMPTS for i in range(3)]
    before, after = images(done, "before"), images(done, "after")
    for first in (0, 3):
        for row, intact, ablated_image in zip(table[first:], before[first : first + 3], after[first:], strict=False):
            assert row["tile_distance"] == pytest.approx(tile_distances(ablated_image[None], intact)[0])
        for name, all_samples in (("before", before), ("after", after)):
            samples = all_samples[first : first + 3]
            pairs = pairwise_distances(samples)
            expected = np.median([pairs[0, 1], pairs[0, 2], pairs[1, 2]])
            assert table[first][f"seed_diversity_{name}"] == pytest.approx(expected)
            assert table[first][f"seed_agreement_{name}"] == seed_agreement(samples)


def test_response_norm_is_that_of_the_first_step(toy_pipe: Any, done: Path) -> None:
    denoiser = open_denoiser(toy_pipe)
    for row in rows(done):
        latents = torch.randn(1, 4, 8, 8, generator=sample_generator(0, row["prompt"], row["image_index"]))

        def predict(text: str, latents: torch.Tensor = latents) -> torch.Tensor:
            conditioning = denoiser.encode([text]).conditioning
            return denoiser.predict(latents, denoiser.first_timestep(2), conditioning).native

        with torch.no_grad():
            expected = (predict(row["prompt"]) - predict("")).norm()
        assert row["response_norm_before"] == pytest.approx(float(expected), rel=ARITHMETIC)
        assert row["response_norm_after"] != row["response_norm_before"]


def test_every_file_records_its_inputs(inputs: Inputs, neurons: Path, done: Path) -> None:
    record = read_ablation(done)
    assert (record.n_prompts, record.evaluations) == (2, {"before": 24, "after": 24})
    assert record.neurons.sha256 == sha256_of(neurons)
    assert record.tables == {"ablation.parquet": sha256_of(done / "ablation.parquet")}
    for row in rows(done):
        for which in ("before", "after"):
            with Image.open(done / row[f"{which}_path"]) as image:
                metadata = json.loads(image.text["flashbulb"])
            assert (metadata["prompt"], metadata["image_index"]) == (row["prompt"], row["image_index"])
            assert (metadata["run_seed"], metadata["num_inference_steps"], metadata["guidance_scale"]) == (0, 2, 3.0)
            assert metadata["fingerprint"] == record.model.fingerprint
            edit = {"neurons_sha256": record.neurons.sha256, "by": "zero"}
            assert metadata["ablated"] == (edit if which == "after" else None)
        with Image.open(done / row["panel_path"]) as panel:
            assert panel.width > panel.height
    assert not list(done.rglob("*.part"))


def test_page_shows_every_panel_and_escapes_markup_in_prompts(done: Path) -> None:
    page = (done / "ablation.md").read_text(encoding="utf-8")
    assert "`жар-птица $x$ ¦ˋ`" in page
    for row in rows(done):
        assert f"![before and after]({row['panel_path']})" in page


def test_ablating_no_neurons_changes_no_image(inputs: Inputs, tmp_path: Path) -> None:
    empty = NeuronSet(dict.fromkeys(NEURONS.neurons, ()))
    path = neuron_file(tmp_path / "none.json", empty)
    assert ablated(inputs.model, path, tmp_path / "out", prompts=PROMPTS[:1]).code == 0
    assert np.array_equal(images(tmp_path / "out", "before"), images(tmp_path / "out", "after"))
    for row in rows(tmp_path / "out"):
        assert row["tile_distance"] == 0
        assert row["response_norm_before"] == row["response_norm_after"]


@pytest.mark.parametrize("by", ["zero", "unconditional"])
def test_the_command_gives_the_images_of_nnsight(
    inputs: Inputs, neurons: Path, done: Path, tmp_path: Path, by: str
) -> None:
    hooked = done
    if by != "zero":
        hooked = tmp_path / "hooked"
        assert ablated(inputs.model, neurons, hooked, "--by", by).code == 0
    pipe = load_model(str(inputs.model), device="cpu", dtype=torch.float32, allow_pickle=False).pipe
    prompts, indices = [prompt for prompt in PROMPTS for _ in range(3)], [0, 1, 2] * len(PROMPTS)
    with capture({"prediction": pipe.unet.conv_out}) as captured:
        traced = sample_images(
            partial(run_traced, pipe, load_neurons(neurons), by),
            prompts,
            indices,
            run_seed=0,
            num_inference_steps=2,
            guidance_scale=3.0,
        )
    assert abs(traced.astype(int) - images(hooked, "after")).max() <= 1  # rounding of equal arithmetic
    norms = response_norms(captured["prediction"][0])
    assert [row["response_norm_after"] for row in rows(hooked)] == pytest.approx(norms, rel=1e-4)


def test_rerun_samples_and_changes_nothing(
    inputs: Inputs, neurons: Path, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sample(*_: object, **__: object) -> None:
        raise AssertionError("sampled again")

    before = digests(done)
    monkeypatch.setattr("flashbulb.audit.stages.ablate.sample_and_measure", sample)
    answer = ablated(inputs.model, neurons, done, "--by", "zero")
    assert answer.code == 0, answer.err
    assert digests(done) == before


def test_resumed_ablation_equals_an_uninterrupted_one_at_any_batch_size(
    inputs: Inputs, neurons: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flashbulb.audit.stages.ablate import ablation_panel

    n_panels = 0

    def interrupted(*arguments: Any) -> None:
        nonlocal n_panels
        n_panels += 1
        if n_panels == 2:
            raise KeyboardInterrupt
        ablation_panel(*arguments)

    options = (inputs.model, neurons, tmp_path / "out", "--by", "zero", "--batch-size", "2")
    with monkeypatch.context() as patch:
        patch.setattr("flashbulb.audit.stages.ablate.ablation_panel", interrupted)
        assert "run the same command again to resume" in error_line(ablated(*options), code=130)
    assert run_json(tmp_path / "out")["status"] == "ablating"
    assert len(rows(tmp_path / "out")) == 3
    assert ablated(*options).code == 0
    assert [row["prompt"] for row in rows(tmp_path / "out")] == [row["prompt"] for row in rows(done)]
    for which in ("before", "after"):
        difference = images(tmp_path / "out", which).astype(int) - images(done, which)
        assert abs(difference).max() <= IMAGE_LEVELS


def test_without_guidance_the_response_norm_is_null(inputs: Inputs, neurons: Path, tmp_path: Path) -> None:
    options = ("--by", "zero", "--guidance-scale", "1")
    answer = ablated(inputs.model, neurons, tmp_path / "out", *options, prompts=("x",))
    assert answer.code == 0, answer.err
    assert {row["response_norm_before"] for row in rows(tmp_path / "out")} == {None}
    text_side = NeuronSet({name: (0,) for name in NEURONS.neurons if name.startswith("text_encoder")})
    path = neuron_file(tmp_path / "text.json", text_side)
    assert (
        ablated(inputs.model, path, tmp_path / "text", "--guidance-scale", "1").code == 0
    )  # the empty prompt is there


def test_stable_diffusion_xl_is_ablated_too(tmp_path: Path) -> None:
    pipe = build_toy_xl_pipe()
    pipe.save_pretrained(tmp_path / "xl")
    path = neuron_file(tmp_path / "neurons.json", some_neurons(pipe))
    answer = ablated(tmp_path / "xl", path, tmp_path / "out", prompts=("a red star",))
    assert answer.code == 0, answer.err
    assert all(row["tile_distance"] > 0 for row in rows(tmp_path / "out"))


def test_neurons_of_another_model_are_refused_with_both_fingerprints(
    inputs: Inputs, done: Path, tmp_path: Path
) -> None:
    path = neuron_file(tmp_path / "neurons.json", NeuronSet(NEURONS.neurons, NEURONS.means, "0123456789abcdef"))
    line = error_line(ablated(inputs.model, path, tmp_path / "out"))
    fingerprint = read_ablation(done).model.fingerprint
    assert f"{inputs.model} is {fingerprint}; give that model, or neurons found in this one" in line
    own = neuron_file(tmp_path / "own.json", NeuronSet(NEURONS.neurons, None, fingerprint))
    assert ablated(inputs.model, own, tmp_path / "out", prompts=("x",)).code == 0


def test_folder_with_other_files_is_left_unchanged(inputs: Inputs, neurons: Path, done: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for force in ((), ("--force",)):
        assert "choose another --out" in error_line(ablated(inputs.model, neurons, tmp_path, *force))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.txt"]
    before = digests(done)
    line = error_line(ablated(inputs.model, neurons, done, "--seed", "7"))
    assert "settings.by was 'zero', now 'unconditional'" in line
    assert "--force to start over" in line
    assert digests(done) == before


def test_force_starts_over(inputs: Inputs, neurons: Path, done: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(done, tmp_path / "out"))
    assert ablated(inputs.model, neurons, out, "--by", "mean", "--force", prompts=("x",)).code == 0
    assert {row["prompt"] for row in rows(out)} == {"x"}
    assert len(list((out / "panels").iterdir())) == 1


def test_a_prompt_of_which_the_end_is_not_read_is_told(inputs: Inputs, tmp_path: Path) -> None:
    neurons = neuron_file(tmp_path / "neurons.json", NEURONS)
    answer = ablated(inputs.model, neurons, tmp_path / "out", "--by", "zero", prompts=("a red star " * 99, "a star"))
    assert answer.code == 0
    assert "the text encoder does not read 1 prompt to the end" in answer.err
