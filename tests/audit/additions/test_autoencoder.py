"""Another autoencoder replaces that of the model if it has the same latents; its folder is read as a stranger's."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from flashbulb.audit.additions.chosen import ChosenModel, ComposedModel, load_chosen
from flashbulb.audit.model.errors import ModelError, UntrustedModel
from tests.refusals import refused_line
from tests.toy import build_toy_vae
from tests.toy_variants import build_tiny_autoencoder


@pytest.fixture
def other(tmp_path: Path) -> Path:
    build_toy_vae(8).save_pretrained(tmp_path / "other")
    return tmp_path / "other"


def load(base: Path, vae: Path) -> ComposedModel:
    return load_chosen(ChosenModel(str(base), vae=vae), "cpu", "float32")


refusal = partial(refused_line, ModelError, load)


def test_another_autoencoder_replaces_that_of_the_model(base, other):
    model = load(base, other)
    wanted = AutoencoderKL.from_pretrained(other).state_dict()
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in model.pipe.vae.state_dict().items())
    assert not model.pipe.vae.training
    plain = load_chosen(ChosenModel(str(base)), "cpu", "float32")
    assert model.fingerprint != plain.fingerprint
    assert load(base, base).pipe.vae.config.sample_size == plain.pipe.vae.config.sample_size


def test_a_tiny_autoencoder_is_read(base, tmp_path):
    tiny = build_tiny_autoencoder()
    tiny.save_pretrained(tmp_path / "tiny")
    assert type(load(base, tmp_path / "tiny").pipe.vae) is type(tiny)


def test_folders_that_hold_no_such_autoencoder_are_refused(base, other, tmp_path):
    assert "no autoencoder in" in refusal(base, tmp_path / "nowhere")
    assert "is of class UNet2DConditionModel" in refusal(base, base / "unet")
    channels = AutoencoderKL(latent_channels=8, block_out_channels=(16,), norm_num_groups=8)
    channels.save_pretrained(tmp_path / "channels")
    assert "that was trained for the same latents" in refusal(base, tmp_path / "channels")
    path = other / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "scaling_factor": 1e30}))
    with pytest.raises(UntrustedModel, match="scaling_factor"):
        load(base, other)
    path.write_text(json.dumps({**config, "auto_map": {"AutoModel": "mine.VAE"}}))
    assert "names code of its own" in refusal(base, other)
    path.write_text(json.dumps(config))
    (other / "diffusion_pytorch_model.safetensors").rename(other / "diffusion_pytorch_model.bin")
    assert "is a pickle" in refusal(base, other)
