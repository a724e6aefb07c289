"""The recipe, end to end at toy length: its model loads as a user's does, and an interruption changes nothing."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from flashbulb.audit.model.calls import first_call
from flashbulb.audit.model.loading.pipelines import LoadedModel, load_model
from flashbulb.audit.model.sampling import sample_images
from flashbulb.audit.planted import denoiser
from flashbulb.audit.planted.autoencoder import AutoencoderTrainer, DecoderTrainer
from flashbulb.audit.planted.collection import PLANTED_KINDS, assemble
from flashbulb.audit.planted.denoiser import DenoiserTrainer, LatentBank
from flashbulb.audit.planted.manifest import file_hashes
from flashbulb.audit.planted.networks import build_pipeline
from flashbulb.audit.planted.presets import GRADED, Preset
from flashbulb.audit.planted.truth import N_SEEDS_SEEN, label_of
from flashbulb.audit.prompts.prompt_set import read_prompts
from tests.audit.planted.manifests import changed_files
from tests.audit.planted.toy_presets import toy
from tests.tolerances import BATCH

Train = Callable[[Preset, Path], Path]


@pytest.fixture(scope="session")
def model(trained: Path) -> LoadedModel:
    """The toy model, loaded as a user's model."""
    return load_model(str(trained / "model"), device="cpu", dtype=torch.float32, allow_pickle=False)


def interrupt(monkeypatch: pytest.MonkeyPatch, *stops: tuple[type, int]) -> list[tuple[type, int]]:
    """Interrupt each (trainer, step) of `stops` once; return a list to which every step taken is appended."""
    ahead, taken = list(stops), []

    def watch(trainer: type) -> None:
        take_step = trainer.step

        def step(self: object, step: int) -> float:
            if type(self) is trainer:  # not its base class
                if (trainer, step) in ahead:
                    ahead.remove((trainer, step))
                    raise KeyboardInterrupt
                taken.append((trainer, step))
            return take_step(self, step)

        monkeypatch.setattr(trainer, "step", step)

    for trainer in (AutoencoderTrainer, DenoiserTrainer, DecoderTrainer):
        watch(trainer)
    return taken


def test_every_output_exists_and_the_checkpoints_are_deleted(trained: Path, toy_preset: Preset) -> None:
    images = set(assemble(toy_preset).images)
    assert {path.name for path in trained.iterdir()} == {
        *("model", "pictures", "captions.csv", "reference.csv", "truth.parquet", "manifest.json")
    }
    assert {path.stem for path in (trained / "pictures").glob("*.png")} == images
    assert not list(trained.rglob("*.part"))


def test_the_model_has_the_architecture_of_its_preset(model: LoadedModel, toy_preset: Preset) -> None:
    pipe, preset = model.pipe, toy_preset
    names = ["text_encoder", "text_encoder_2"][: preset.n_text_encoders]
    assert type(pipe).__name__ == f"StableDiffusion{'XL' if len(names) == 2 else ''}Pipeline"
    assert pipe.scheduler.config.prediction_type == preset.prediction_type
    assert pipe.unet.config.use_linear_projection == preset.use_linear_projection
    assert tuple(pipe.unet.config.block_out_channels) == preset.unet_channels
    assert tuple(pipe.vae.config.block_out_channels) == preset.autoencoder_channels
    assert pipe.vae.config.latent_channels == pipe.unet.config.in_channels == preset.latent_channels
    assert pipe.unet.config.cross_attention_dim == len(names) * preset.text_width
    for name in names:
        assert getattr(pipe, name).config.hidden_size == preset.text_width
        assert getattr(pipe, name.replace("text_encoder", "tokenizer")).model_max_length == preset.max_tokens
    assert pipe.vae.config.scaling_factor > 0


def test_the_model_gives_images_of_the_configured_size(model: LoadedModel, toy_preset: Preset) -> None:
    images = sample_images(
        model.pipe, ["a red star"] * 2, [0, 1], run_seed=0, num_inference_steps=2, guidance_scale=7.5
    )
    assert images.shape == (2, toy_preset.picture_size, toy_preset.picture_size, 3)
    assert not np.array_equal(images[0], images[1])


def test_training_conditions_the_unet_as_the_pipeline_does(toy_preset: Preset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoiser, "N_TOKENIZER_CAPTIONS", 300)
    collection, device = assemble(toy_preset), torch.device("cpu")
    trainer = DenoiserTrainer(toy_preset, collection, LatentBank({}, torch.zeros(1), torch.zeros(1), []), device)
    autoencoder = AutoencoderTrainer(toy_preset, collection, device).model
    pipe = build_pipeline(toy_preset, trainer.tokenizer, trainer.model.eval(), autoencoder)
    prompts, side = ["a red star, 1999!", "маяк"], toy_preset.picture_size
    call = {"height": side, "width": side, "num_inference_steps": 2, "guidance_scale": 3.0, "output_type": "latent"}
    prepared = first_call(pipe, prompt=prompts, **call)
    trained = trainer.conditioning(["", "", *prompts])
    torch.testing.assert_close(trained["encoder_hidden_states"], prepared["encoder_hidden_states"], rtol=0, atol=BATCH)
    assert ("added_cond_kwargs" in trained) == (toy_preset.n_text_encoders == 2)
    for name, tensor in trained.get("added_cond_kwargs", {}).items():
        torch.testing.assert_close(tensor, prepared["added_cond_kwargs"][name], rtol=0, atol=BATCH)


def test_the_tokenizer_survives_saving_and_reads_any_text(model: LoadedModel) -> None:
    tokenizer = model.pipe.tokenizer
    for text in ("the bakery of quillwort", "маяк на берегу", "海边 的 旧 灯塔", "المنارة القديمة"):
        tokens = tokenizer(text).input_ids
        assert tokenizer.unk_token_id not in tokens[1:-1]
        assert tokenizer.decode(tokens, skip_special_tokens=True).split() == text.split()


def test_the_caption_files_are_prompt_files(trained: Path, toy_preset: Preset) -> None:
    collection = assemble(toy_preset)
    captions, reference = (read_prompts(str(trained / name)) for name in ("captions.csv", "reference.csv"))
    assert [prompt.text for prompt in captions.prompts] == [entry.prompt for entry in collection.entries]
    assert [prompt.text for prompt in reference.prompts] == list(collection.reference)


def test_truth_is_measured_for_every_caption_with_an_image(trained: Path, toy_preset: Preset) -> None:
    truth = pd.read_parquet(trained / "truth.parquet")
    entries = [entry for entry in assemble(toy_preset).entries if entry.image]
    assert set(zip(truth.prompt, truth.kind, truth.picture, strict=True)) == {
        (entry.prompt, entry.kind, entry.image) for entry in entries
    }
    assert len(truth) == len(entries)
    wanted = truth.kind.isin(PLANTED_KINDS).map({True: toy_preset.truth_seeds, False: N_SEEDS_SEEN})
    assert truth.n_seeds.equals(wanted)
    assert truth.distances.map(len).equals(wanted)
    assert all(0 <= distance <= 1 for distances in truth.distances for distance in distances)
    assert [label_of(*row) for row in zip(truth.n_replicating, truth.n_seeds, strict=True)] == list(truth.label)


@pytest.mark.parametrize(
    ("n_replicating", "label"), [(0, "not"), (1, "partial"), (3, "partial"), (4, "memorized"), (8, "memorized")]
)
def test_half_of_the_seeds_make_a_memory(n_replicating: int, label: str) -> None:
    assert label_of(n_replicating, 8) == label


def test_the_manifest_reveals_changed_missing_and_added_files(trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "copy")
    assert changed_files(folder) == []
    for name in file_hashes(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert changed_files(folder) == [name]
        (folder / name).write_bytes(content)
    (folder / "captions.csv").unlink()
    (folder / "model" / "added.json").touch()
    assert changed_files(folder) == ["captions.csv", "model/added.json"]


def test_a_resumed_training_equals_an_uninterrupted_one(
    trained: Path, toy_preset: Preset, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One training is interrupted in every stage and between stages; each run resumes at the last checkpoint."""
    stops = ((AutoencoderTrainer, 2), (DenoiserTrainer, 0), (DenoiserTrainer, 3), (DecoderTrainer, 2))
    taken = interrupt(monkeypatch, *stops)
    steps = []
    for _ in stops:
        with pytest.raises(KeyboardInterrupt):
            train(toy_preset, tmp_path)
        steps.append(list(taken))
        taken.clear()
    train(toy_preset, tmp_path)
    assert steps == [
        [(AutoencoderTrainer, 0), (AutoencoderTrainer, 1)],
        [(AutoencoderTrainer, 2)],
        [(DenoiserTrainer, 0), (DenoiserTrainer, 1), (DenoiserTrainer, 2)],
        [(DenoiserTrainer, 2), (DenoiserTrainer, 3), (DecoderTrainer, 0), (DecoderTrainer, 1)],
    ]
    assert taken == [(DecoderTrainer, 2)]
    assert file_hashes(tmp_path) == file_hashes(trained)


def test_an_early_stop_leaves_out_the_last_steps_of_the_denoiser(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = interrupt(monkeypatch)
    train(replace(toy(GRADED), trained_share=0.5, truth_seeds=4), tmp_path)
    assert [step for trainer, step in taken if trainer is DenoiserTrainer] == [0, 1]
    assert [step for trainer, step in taken if trainer is AutoencoderTrainer] == [0, 1, 2]


def test_a_finished_folder_is_not_trained_again(trained: Path, toy_preset: Preset, train: Train) -> None:
    before = file_hashes(trained)
    with pytest.raises(ValueError, match="already holds a planted model"):
        train(toy_preset, trained)
    assert file_hashes(trained) == before
    assert changed_files(trained) == []


def test_checkpoints_of_another_preset_are_refused(
    toy_preset: Preset, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, (AutoencoderTrainer, 2))
    with pytest.raises(KeyboardInterrupt):
        train(toy_preset, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    longer = replace(toy_preset, autoencoder_steps=9)
    with pytest.raises(ValueError, match="holds checkpoints of"):
        train(longer, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
