"""Configs that come with Flashbulb describe the networks that people release; a checkpoint says which of them fit."""

import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from flashbulb.audit.additions import released
from flashbulb.audit.additions.released import KINDS, find_kind, vocabulary_files, write_configs
from flashbulb.audit.model.configs import WeightsSize, check_network, check_schedule, read_config
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families import component_classes, expected_family, pipeline_class
from flashbulb.audit.model.loading.tokenizers import check_tokenizer
from tests.audit.files.single import checkpoint_of
from tests.full_size import build_stable_diffusion_xl

N_PARAMETERS = {  # as released: UNet, text encoders
    "stable-diffusion-1": (859_520_964, 123_060_480),
    "stable-diffusion-2": (865_910_724, 340_387_840),
    "stable-diffusion-2-base": (865_910_724, 340_387_840),
    "stable-diffusion-xl": (2_567_463_684, 123_060_480, 694_659_840),
}
FIRST_READER = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
MERGES = ("c a", "ca t</w>")


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """A folder with the files of a tokenizer."""
    folder = tmp_path / "clip"
    folder.mkdir()
    for name, content in vocabulary_files(MERGES).items():
        (folder / name).write_bytes(content)
    return folder


def checkpoint(path: Path, metadata: dict[str, str] | None = None, **tensors: torch.Tensor) -> Any:
    """Save a file that holds no more than what tells its kind, and open it."""
    save_file(tensors or {FIRST_READER: torch.zeros(1, 1024)}, path, metadata)
    return safe_open(path, framework="pt")


def networks_of(folder: Path) -> dict[str, Any]:
    """Build the networks that configs describe, without weights."""
    configs = {path.parent.name: read_config(path) for path in folder.glob("*/config.json")}
    with torch.device("meta"):
        parts = {"unet": UNet2DConditionModel.from_config(configs["unet"])}
        parts["vae"] = AutoencoderKL.from_config(configs["vae"])
        parts["text_encoder"] = CLIPTextModel(CLIPTextConfig(**configs["text_encoder"]))
        if "text_encoder_2" in configs:
            parts["text_encoder_2"] = CLIPTextModelWithProjection(CLIPTextConfig(**configs["text_encoder_2"]))
    return parts


@pytest.mark.parametrize("kind", KINDS)
def test_configs_describe_the_released_networks_which_diffusers_reads_by_our_names(kind, tokenizer, tmp_path):
    folder = write_configs(kind, checkpoint(tmp_path / "it.safetensors"), tokenizer, tmp_path / "target")
    index = read_config(folder / "model_index.json")
    family = expected_family(folder, index)
    assert component_classes(folder, index, family, pipeline_class(folder, index, family))
    networks = networks_of(folder)
    counts = {name: sum(weight.numel() for weight in part.parameters()) for name, part in networks.items()}
    assert counts.pop("vae") == 83_653_863
    assert tuple(counts.values()) == N_PARAMETERS[kind]
    for name, network in networks.items():
        path = folder / name / "config.json"
        check_network(path, read_config(path), WeightsSize(len(network.state_dict()), 10**9))
    schedule = folder / "scheduler" / "scheduler_config.json"
    check_schedule(schedule, read_config(schedule))
    pipe = SimpleNamespace(**networks, components=networks)
    weights = checkpoint_of(pipe, open_clip=kind.startswith("stable-diffusion-2"))
    for name, convert in (("unet", convert_ldm_unet_checkpoint), ("vae", convert_ldm_vae_checkpoint)):
        theirs = convert(dict(weights), read_config(folder / name / "config.json"))
        ours = {key: tensor.shape for key, tensor in networks[name].state_dict().items()}
        assert {key: tensor.shape for key, tensor in theirs.items()} == ours


def test_the_kind_of_stable_diffusion_xl_is_the_one_of_its_shape(tokenizer, tmp_path):
    folder = write_configs(KINDS[-1], checkpoint(tmp_path / "it.safetensors"), tokenizer, tmp_path)
    ours = networks_of(folder)["unet"].state_dict()
    theirs = build_stable_diffusion_xl().unet.state_dict()
    assert {key: tensor.shape for key, tensor in ours.items()} == {key: x.shape for key, x in theirs.items()}


@pytest.mark.parametrize(
    ("width", "stated", "kind"),
    [
        (768, None, "stable-diffusion-1"),
        (1024, "epsilon", "stable-diffusion-2-base"),
        (1024, "v", "stable-diffusion-2"),
        (2048, None, "stable-diffusion-xl"),
    ],
)
def test_a_kind_is_told_by_the_width_of_the_text_and_what_the_file_states(tmp_path, width, stated, kind):
    path = tmp_path / "it.safetensors"
    metadata = None if stated is None else {"modelspec.prediction_type": stated}
    key = FIRST_READER if width < 2048 else FIRST_READER.replace("blocks.1.1", "blocks.4.1")
    assert find_kind(path, checkpoint(path, metadata, **{key: torch.zeros(1, width)})) == kind


def test_a_file_that_does_not_say_what_it_predicts_is_refused_with_both_kinds(tmp_path):
    path = tmp_path / "it.safetensors"
    with pytest.raises(ModelError, match=r"stable-diffusion-2 \(velocity.* or stable-diffusion-2-base \(noise"):
        find_kind(path, checkpoint(path))


def test_files_of_no_kind_and_refiners_are_refused(tmp_path):
    path, refiner = tmp_path / "it.safetensors", "conditioner.embedders.0.model.ln_final.weight"
    for tensors, reason in (
        ({FIRST_READER: torch.zeros(1, 32)}, "is no checkpoint of stable-diffusion-1"),
        ({"other": torch.zeros(1)}, "is no checkpoint of stable-diffusion-1"),
        ({FIRST_READER: torch.zeros(1, 768), refiner: torch.zeros(1)}, "is a refiner"),
    ):
        with pytest.raises(ModelError, match=reason):
            find_kind(path, checkpoint(path, **tensors))


def test_what_a_file_states_of_its_schedule_becomes_the_schedule(tokenizer, tmp_path):
    def schedule(name: str, metadata: dict[str, str] | None, **tensors: torch.Tensor) -> dict[str, Any]:
        file = checkpoint(tmp_path / "it.safetensors", metadata, **tensors)
        folder = write_configs("stable-diffusion-xl", file, tokenizer, tmp_path / name)
        return dict(json.loads((folder / "scheduler" / "scheduler_config.json").read_text()))

    plain = schedule("plain", None)
    assert plain["prediction_type"] == "epsilon"
    assert schedule("stated", {"modelspec.prediction_type": "v"}) == plain | {"prediction_type": "v_prediction"}
    marked = schedule("marked", None, v_pred=torch.zeros(()), ztsnr=torch.zeros(()))
    changed = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    assert marked == plain | {"prediction_type": "v_prediction"} | changed


@pytest.mark.parametrize(("kind", "name", "pad"), [(KINDS[0], "tokenizer", "end"), (KINDS[-1], "tokenizer_2", "!")])
def test_tokenizers_pad_as_those_of_the_kind(kind, name, pad, tokenizer, tmp_path):
    folder = write_configs(kind, checkpoint(tmp_path / "it.safetensors"), tokenizer, tmp_path / "target") / name
    check_tokenizer(folder)
    read = CLIPTokenizer.from_pretrained(folder)
    start, end, cat = 512 + len(MERGES), 513 + len(MERGES), 511 + len(MERGES)
    assert len(read) == end + 1
    padding = end if pad == "end" else 0
    ids = read("A CAT", padding="max_length").input_ids
    assert ids == [start, 320, cat, end, *[padding] * 73]  # the letter a is 320 in CLIP, too


def test_a_vocabulary_that_is_not_the_one_of_clip_is_refused(tmp_path, monkeypatch):
    file = checkpoint(tmp_path / "it.safetensors")
    if find_spec("open_clip") is None:
        with pytest.raises(ModelError, match="install open_clip_torch, whose vocabulary is read, or give"):
            write_configs(KINDS[0], file, None, tmp_path / "first")
    (tmp_path / "open_clip").mkdir()
    (tmp_path / "open_clip" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "open_clip" / "bpe_simple_vocab_16e6.txt.gz").write_bytes(b"another")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match="is not CLIP's vocabulary"):
        write_configs(KINDS[0], file, None, tmp_path / "second")


def test_every_kind_has_configs():
    assert {path.name for path in (Path(released.__file__).parent / "configs").iterdir()} == set(KINDS)
