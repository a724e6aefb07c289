"""The recipe, end to end at toy length: its files load as a user's model would, and stopping it changes nothing."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from audit.loading import LoadedModel, load_model
from audit.planted.autoencoder import AutoencoderTrainer, DecoderTrainer
from audit.planted.collection import PLANTED_KINDS, assemble
from audit.planted.denoiser import DenoiserTrainer
from audit.planted.manifest import changed_files, file_hashes
from audit.planted.presets import Preset
from audit.planted.truth import N_SEEDS, N_SEEDS_SEEN, label_of
from audit.prompts import read_prompts
from audit.sampling import sample_pictures

Train = Callable[[Preset, Path], Path]


@pytest.fixture(scope="session")
def model(trained: Path) -> LoadedModel:
    """The toy model, loaded as a user's model is."""
    return load_model(str(trained / "model"), device="cpu", dtype=torch.float32, allow_pickle=False)


def interrupt(monkeypatch: pytest.MonkeyPatch, trainer: type, at: int) -> list[int]:
    """Let `trainer` be stopped at step `at`, once; returns the list to which every step it takes is added."""
    take_step, interrupted, steps = trainer.step, [], []

    def step(self: object, step: int) -> float:
        if step == at and not interrupted:
            interrupted.append(step)
            raise KeyboardInterrupt
        steps.append(step)
        return take_step(self, step)

    monkeypatch.setattr(trainer, "step", step)
    return steps


def test_every_output_is_there_and_the_checkpoints_are_gone(trained: Path, toy_preset: Preset) -> None:
    pictures = set(assemble(toy_preset).pictures)
    assert {path.name for path in trained.iterdir()} == {
        *("model", "pictures", "captions.csv", "reference.csv", "truth.parquet", "manifest.json")
    }
    assert {path.stem for path in (trained / "pictures").glob("*.png")} == pictures
    assert not list(trained.rglob("*.part"))


def test_the_model_has_the_architecture_of_its_preset(model: LoadedModel, toy_preset: Preset) -> None:
    pipe, preset = model.pipe, toy_preset
    assert type(pipe).__name__ == "StableDiffusionPipeline"
    assert pipe.scheduler.config.prediction_type == preset.prediction_type
    assert pipe.unet.config.use_linear_projection == preset.use_linear_projection
    assert tuple(pipe.unet.config.block_out_channels) == preset.unet_channels
    assert tuple(pipe.vae.config.block_out_channels) == preset.autoencoder_channels
    assert pipe.vae.config.latent_channels == pipe.unet.config.in_channels == preset.latent_channels
    assert pipe.text_encoder.config.hidden_size == pipe.unet.config.cross_attention_dim == preset.text_width
    assert pipe.tokenizer.model_max_length == preset.max_tokens
    assert pipe.vae.config.scaling_factor > 0


def test_the_model_gives_pictures_of_the_configured_size(model: LoadedModel, toy_preset: Preset) -> None:
    pictures = sample_pictures(
        model.pipe, ["a red star"] * 2, [0, 1], run_seed=0, num_inference_steps=2, guidance_scale=7.5
    )
    assert pictures.shape == (2, toy_preset.picture_size, toy_preset.picture_size, 3)
    assert not np.array_equal(pictures[0], pictures[1])


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


def test_truth_is_measured_for_every_caption_with_a_picture(trained: Path, toy_preset: Preset) -> None:
    truth = pd.read_parquet(trained / "truth.parquet")
    pictured = [entry for entry in assemble(toy_preset).entries if entry.picture]
    assert set(zip(truth.prompt, truth.kind, truth.picture, strict=True)) == {
        (entry.prompt, entry.kind, entry.picture) for entry in pictured
    }
    assert len(truth) == len(pictured)
    wanted = truth.kind.isin(PLANTED_KINDS).map({True: N_SEEDS, False: N_SEEDS_SEEN})
    assert truth.n_seeds.equals(wanted)
    assert truth.distances.map(len).equals(wanted)
    assert all(0 <= distance <= 1 for distances in truth.distances for distance in distances)
    assert [label_of(*row) for row in zip(truth.n_replicating, truth.n_seeds, strict=True)] == list(truth.label)


@pytest.mark.parametrize(
    ("n_replicating", "label"), [(0, "not"), (1, "partial"), (3, "partial"), (4, "memorized"), (8, "memorized")]
)
def test_half_of_the_seeds_make_a_memory(n_replicating: int, label: str) -> None:
    assert label_of(n_replicating, 8) == label


def test_the_manifest_names_any_file_that_changes_vanishes_or_appears(trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "copy")
    assert changed_files(folder) == []
    for name in file_hashes(folder):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert changed_files(folder) == [name]
        (folder / name).write_bytes(whole)
    (folder / "captions.csv").unlink()
    (folder / "model" / "added.json").touch()
    assert changed_files(folder) == ["captions.csv", "model/added.json"]


@pytest.fixture(
    scope="module",
    params=[(AutoencoderTrainer, 2, 2), (DenoiserTrainer, 0, 0), (DenoiserTrainer, 3, 2), (DecoderTrainer, 2, 2)],
    ids=["in the autoencoder", "after the autoencoder", "in the denoiser", "in the decoder"],
)
def resumed(
    request: pytest.FixtureRequest, toy_preset: Preset, train: Train, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a toy training that was stopped once and gone on with, from its last checkpoint."""
    trainer, at, first_resumed = request.param
    out = tmp_path_factory.mktemp("resumed")
    with pytest.MonkeyPatch.context() as patch:
        steps = interrupt(patch, trainer, at)
        with pytest.raises(KeyboardInterrupt):
            train(toy_preset, out)
        assert steps == list(range(at))
        steps.clear()
        train(toy_preset, out)
        assert steps[0] == first_resumed
    return out


def test_a_resumed_training_equals_an_uninterrupted_one(resumed: Path, trained: Path) -> None:
    assert file_hashes(resumed) == file_hashes(trained)


def test_a_finished_folder_is_not_trained_again(trained: Path, toy_preset: Preset, train: Train) -> None:
    before = file_hashes(trained)
    with pytest.raises(ValueError, match="already holds a planted model"):
        train(toy_preset, trained)
    assert file_hashes(trained) == before
    assert changed_files(trained) == []


def test_checkpoints_of_another_preset_are_refused(
    toy_preset: Preset, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, AutoencoderTrainer, 2)
    with pytest.raises(KeyboardInterrupt):
        train(toy_preset, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    longer = replace(toy_preset, autoencoder_steps=9)
    with pytest.raises(ValueError, match="holds checkpoints of"):
        train(longer, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
