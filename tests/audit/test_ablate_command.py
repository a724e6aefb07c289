"""`engram ablate` on a real toy pipeline: what it measures is so, and it goes on where it stopped."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from audit.denoiser import Denoiser
from audit.evidence import pairwise_distances, seed_agreement, tile_distances
from audit.loading import load_model
from audit.sampling import sample_generator
from hooks import NeuronSet, ablate
from reports.ablation import load_ablation
from reports.files import sha256_of
from tests.audit.ablations import LEVERS, PROMPTS, ablated, neuron_file, picture, pictures, refused, rows
from tests.audit.commands import digests, run_json
from tests.audit.conftest import Inputs
from tests.hooks.edits import some_neurons
from tests.tolerances import ARITHMETIC, PICTURE_LEVELS
from tests.toy import build_toy_xl_pipe


@pytest.fixture(scope="module")
def neurons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return neuron_file(tmp_path_factory.mktemp("neurons") / "levers.json", LEVERS)


@pytest.fixture(scope="module")
def done(inputs: Inputs, neurons: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished ablation; leave it as it was."""
    out = tmp_path_factory.mktemp("ablated") / "out"
    answer = ablated(inputs.model, neurons, out, "--by", "zero")
    assert answer.code == 0, answer.err
    assert "a red star" in answer.out
    assert f"{LEVERS.n_neurons:,} neurons of {len(LEVERS.neurons)} sites, by zero" in answer.out
    assert f"Read {out}/ablation.md" in answer.out.replace("\n", "")
    return out


def test_pictures_are_those_of_the_pipeline_with_and_without_the_neurons(inputs: Inputs, done: Path) -> None:
    pipe = load_model(str(inputs.model), device="cpu", dtype=torch.float32, allow_pickle=False).pipe

    def sample(prompt: str, index: int) -> np.ndarray:
        call = {"prompt": prompt, "generator": sample_generator(0, prompt, index), "guidance_scale": 3.0}
        return pipe(**call, num_inference_steps=2, output_type="np").images[0] * 255

    for row in rows(done):
        expected = {"before": sample(row["prompt"], row["image_index"])}
        with ablate(pipe, LEVERS, "zero"):
            expected["after"] = sample(row["prompt"], row["image_index"])
        for which, pixels in expected.items():
            assert abs(picture(done / row[f"{which}_path"]) - pixels).max() <= PICTURE_LEVELS
    assert (pictures(done, "before") != pictures(done, "after")).any()


def test_numbers_are_those_of_the_pictures(done: Path) -> None:
    table = rows(done)
    assert [(row["prompt"], row["image_index"]) for row in table] == [(p, i) for p in PROMPTS for i in range(3)]
    before, after = pictures(done, "before"), pictures(done, "after")
    for first in (0, 3):
        for row, was, became in zip(table[first:], before[first : first + 3], after[first:], strict=False):
            assert row["tile_distance"] == pytest.approx(tile_distances(became[None], was)[0])
        for name, shown in (("before", before), ("after", after)):
            of_prompt = shown[first : first + 3]
            pairs = pairwise_distances(of_prompt)
            expected = np.median([pairs[0, 1], pairs[0, 2], pairs[1, 2]])
            assert table[first][f"seed_diversity_{name}"] == pytest.approx(expected)
            assert table[first][f"seed_agreement_{name}"] == seed_agreement(of_prompt)


def test_noise_is_that_of_the_first_step(toy_pipe: Any, done: Path) -> None:
    denoiser = Denoiser(toy_pipe)
    for row in rows(done):
        latents = torch.randn(1, 4, 8, 8, generator=sample_generator(0, row["prompt"], row["image_index"]))

        def predict(text: str, latents: torch.Tensor = latents) -> torch.Tensor:
            embeds = denoiser.embed(denoiser.tokenize([text]))
            return denoiser.predict_noise(latents, denoiser.first_timestep(2), embeds)

        with torch.no_grad():
            expected = (predict(row["prompt"]) - predict("")).norm()
        assert row["text_conditional_noise_before"] == pytest.approx(float(expected), rel=ARITHMETIC)
        assert row["text_conditional_noise_after"] != row["text_conditional_noise_before"]


def test_everything_says_what_it_was_made_from(inputs: Inputs, neurons: Path, done: Path) -> None:
    record = load_ablation(done)
    assert (record.n_prompts, record.evaluations) == (2, {"before": 24, "after": 24})
    assert record.neurons.sha256 == sha256_of(neurons)
    assert record.tables == {"ablation.parquet": sha256_of(done / "ablation.parquet")}
    for row in rows(done):
        for which in ("before", "after"):
            with Image.open(done / row[f"{which}_path"]) as image:
                stated = json.loads(image.text["engram"])
            assert (stated["prompt"], stated["image_index"]) == (row["prompt"], row["image_index"])
            assert (stated["run_seed"], stated["num_inference_steps"], stated["guidance_scale"]) == (0, 2, 3.0)
            assert stated["fingerprint"] == record.model.fingerprint
            edit = {"neurons_sha256": record.neurons.sha256, "by": "zero", "engine": "hooks"}
            assert stated["ablated"] == (edit if which == "after" else None)
        with Image.open(done / row["panel_path"]) as panel:
            assert panel.width > panel.height
    assert not list(done.rglob("*.part"))


def test_page_shows_every_panel_and_no_markup_of_a_prompt(done: Path) -> None:
    page = (done / "ablation.md").read_text(encoding="utf-8")
    assert "`жар-птица $x$ ¦ˋ`" in page
    for row in rows(done):
        assert f"![before and after]({row['panel_path']})" in page


def test_ablating_no_neurons_changes_no_picture(inputs: Inputs, tmp_path: Path) -> None:
    empty = NeuronSet(dict.fromkeys(LEVERS.neurons, ()))
    path = neuron_file(tmp_path / "none.json", empty)
    assert ablated(inputs.model, path, tmp_path / "out", prompts=PROMPTS[:1]).code == 0
    assert np.array_equal(pictures(tmp_path / "out", "before"), pictures(tmp_path / "out", "after"))
    for row in rows(tmp_path / "out"):
        assert row["tile_distance"] == 0
        assert row["text_conditional_noise_before"] == row["text_conditional_noise_after"]


@pytest.mark.parametrize("by", ["zero", "unconditional"])
def test_nnsight_gives_the_pictures_of_plain_hooks(
    inputs: Inputs, neurons: Path, done: Path, tmp_path: Path, by: str
) -> None:
    hooked = done
    if by != "zero":
        hooked = tmp_path / "hooked"
        assert ablated(inputs.model, neurons, hooked, "--by", by).code == 0
    answer = ablated(inputs.model, neurons, tmp_path / "traced", "--by", by, "--engine", "nnsight")
    assert answer.code == 0, answer.err
    traced = pictures(tmp_path / "traced", "after").astype(int)
    assert abs(traced - pictures(hooked, "after")).max() <= 1  # rounding of equal arithmetic
    for one, other in zip(rows(tmp_path / "traced"), rows(hooked), strict=True):
        assert one["text_conditional_noise_after"] == pytest.approx(other["text_conditional_noise_after"], rel=1e-4)


def test_same_command_again_samples_nothing_and_changes_nothing(
    inputs: Inputs, neurons: Path, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sample(*_: object, **__: object) -> None:
        raise AssertionError("sampled again")

    before = digests(done)
    monkeypatch.setattr("audit.ablating.sample_seeds", sample)
    answer = ablated(inputs.model, neurons, done, "--by", "zero")
    assert answer.code == 0, answer.err
    assert digests(done) == before


def test_interrupted_ablation_goes_on_to_the_same_results_whatever_the_batch(
    inputs: Inputs, neurons: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audit.ablating import ablation_panel

    n_panels = 0

    def interrupted(*given: Any) -> None:
        nonlocal n_panels
        n_panels += 1
        if n_panels == 2:
            raise KeyboardInterrupt
        ablation_panel(*given)

    given = (inputs.model, neurons, tmp_path / "out", "--by", "zero", "--batch-size", "2")
    with monkeypatch.context() as patch:
        patch.setattr("audit.ablating.ablation_panel", interrupted)
        assert "run the same command again to go on" in refused(ablated(*given), code=130)
    assert run_json(tmp_path / "out")["status"] == "ablating"
    assert len(rows(tmp_path / "out")) == 3
    assert ablated(*given).code == 0
    assert [row["prompt"] for row in rows(tmp_path / "out")] == [row["prompt"] for row in rows(done)]
    for which in ("before", "after"):
        difference = pictures(tmp_path / "out", which).astype(int) - pictures(done, which)
        assert abs(difference).max() <= PICTURE_LEVELS


def test_without_guidance_the_noise_is_not_told(inputs: Inputs, neurons: Path, tmp_path: Path) -> None:
    given = ("--by", "zero", "--guidance-scale", "1")
    answer = ablated(inputs.model, neurons, tmp_path / "out", *given, prompts=("x",))
    assert answer.code == 0, answer.err
    assert {row["text_conditional_noise_before"] for row in rows(tmp_path / "out")} == {None}
    text_side = NeuronSet({name: (0,) for name in LEVERS.neurons if name.startswith("text_encoder")})
    path = neuron_file(tmp_path / "text.json", text_side)
    assert (
        ablated(inputs.model, path, tmp_path / "text", "--guidance-scale", "1").code == 0
    )  # the empty prompt is there


def test_stable_diffusion_xl_is_ablated_too(tmp_path: Path) -> None:
    pipe = build_toy_xl_pipe()
    pipe.save_pretrained(tmp_path / "xl")
    path = neuron_file(tmp_path / "levers.json", some_neurons(pipe))
    answer = ablated(tmp_path / "xl", path, tmp_path / "out", prompts=("a red star",))
    assert answer.code == 0, answer.err
    assert all(row["tile_distance"] > 0 for row in rows(tmp_path / "out"))


def test_another_models_fingerprint_is_named_with_this_ones(inputs: Inputs, done: Path, tmp_path: Path) -> None:
    path = neuron_file(tmp_path / "levers.json", NeuronSet(LEVERS.neurons, LEVERS.means, "0123456789abcdef"))
    line = refused(ablated(inputs.model, path, tmp_path / "out"))
    fingerprint = load_ablation(done).model.fingerprint
    assert f"{inputs.model} is {fingerprint}; give that model, or neurons found in this one" in line
    own = neuron_file(tmp_path / "own.json", NeuronSet(LEVERS.neurons, None, fingerprint))
    assert ablated(inputs.model, own, tmp_path / "out", prompts=("x",)).code == 0


def test_folder_of_something_else_is_left_alone(inputs: Inputs, neurons: Path, done: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for force in ((), ("--force",)):
        assert "choose another --out" in refused(ablated(inputs.model, neurons, tmp_path, *force))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.txt"]
    before = digests(done)
    line = refused(ablated(inputs.model, neurons, done, "--seed", "7"))
    assert "settings.by was 'zero', now 'unconditional'" in line
    assert "--force to start over" in line
    assert digests(done) == before


def test_force_starts_over(inputs: Inputs, neurons: Path, done: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(done, tmp_path / "out"))
    assert ablated(inputs.model, neurons, out, "--by", "mean", "--force", prompts=("x",)).code == 0
    assert {row["prompt"] for row in rows(out)} == {"x"}
    assert len(list((out / "panels").iterdir())) == 1
