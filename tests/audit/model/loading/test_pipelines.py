"""A pipeline folder is loaded completely, silently and as it was saved, whatever its layout, from disk or the hub."""

import pytest
import torch
from diffusers import DiffusionPipeline

from flashbulb.audit.model.loading import pipelines
from tests.audit.model.loading.folders import WEIGHTS, edit, shard_
from tests.audit.model.loading.loaded import NETWORKS, assert_same_weights, edit_weights, load, refusal
from tests.toy import build_toy_pipe


def test_a_saved_pipeline_is_loaded_completely(saved, toy_pipe):
    model = load(saved)
    assert_same_weights(model.pipe, toy_pipe)
    assert type(model.pipe) is type(toy_pipe)
    assert (model.name, model.folder, model.dtype, model.device) == (str(saved), saved, "float32", "cpu")
    assert not model.pipe.unet.training
    assert model.pipe.safety_checker is None


@pytest.mark.parametrize(("prediction_type", "linear"), [("v_prediction", True), ("sample", False)])
def test_prediction_type_and_projections_are_kept(tmp_path, prediction_type, linear):
    pipe = build_toy_pipe(prediction_type=prediction_type, use_linear_projection=linear, latent_size=4)
    pipe.save_pretrained(tmp_path)
    loaded = load(tmp_path).pipe
    assert loaded.scheduler.config.prediction_type == prediction_type
    assert loaded.unet.config.sample_size == 4
    assert_same_weights(loaded, pipe)


def test_loading_prints_nothing(folder, capfd):
    load(folder)
    edit_weights(folder / "text_encoder" / WEIGHTS["text_encoder"], lambda w: dict(list(w.items())[1:]))
    refusal(folder)
    assert capfd.readouterr() == ("", "")


def test_safetensors_are_preferred_to_a_pickle_beside_them(folder, toy_pipe):
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"never opened")
    assert_same_weights(load(folder, allow_pickle=True).pipe, toy_pipe)


@pytest.mark.parametrize("name", NETWORKS)
def test_sharded_weights_load_completely_and_every_shard_changes_the_fingerprint(folder, toy_pipe, name):
    shard = shard_(name, folder)
    model = load(folder)
    assert_same_weights(model.pipe, toy_pipe)
    seen = {model.fingerprint}
    for path in sorted(shard.parent.glob("*.safetensors")):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        seen.add(load(folder).fingerprint)
    assert len(seen) == 3


def test_a_single_file_beside_an_index_loads_as_the_library_prefers(folder, toy_pipe):
    for name in ("unet", "text_encoder"):
        path = folder / name / WEIGHTS[name]
        whole = path.read_bytes()
        shard_(name, folder)
        path.write_bytes(whole)
    assert_same_weights(load(folder).pipe, toy_pipe)


def test_layers_after_the_last_that_the_config_asks_for_are_left_out(folder, toy_pipe):
    edit(folder / "text_encoder" / "config.json", num_hidden_layers=1)
    held = load(folder).pipe.text_encoder.state_dict()
    wanted = toy_pipe.text_encoder.state_dict()
    assert 0 < len(held) < len(wanted)
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in held.items())


def test_a_network_never_holds_a_tensor_without_numbers(saved):
    pipe = load(saved).pipe
    tensors = [t for name in NETWORKS for t in (*getattr(pipe, name).parameters(), *getattr(pipe, name).buffers())]
    assert tensors
    assert not any(tensor.is_meta for tensor in tensors)


def test_a_half_precision_folder_loads_in_float32(tmp_path, toy_pipe):
    build_toy_pipe().to(torch.float16).save_pretrained(tmp_path)
    assert_same_weights(load(tmp_path).pipe, toy_pipe, torch.float16)


def test_the_fingerprint_depends_on_content_and_not_on_location(folder, tmp_path):
    original = load(folder).fingerprint
    moved = folder.rename(tmp_path / "moved")
    (moved / "unet" / "README.md").write_text("a note")
    (moved / "unet" / "broken.bin").symlink_to(tmp_path / "nowhere")
    assert load(moved).fingerprint == original
    seen = {original}
    edit(moved / "scheduler" / "scheduler_config.json", steps_offset=0)
    seen.add(load(moved).fingerprint)
    edit(moved / "model_index.json", scheduler=["diffusers", "PNDMScheduler"])
    seen.add(load(moved).fingerprint)
    path = moved / "vae" / WEIGHTS["vae"]
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    seen.add(load(moved).fingerprint)
    assert len(seen) == 4


def answering(monkeypatch):
    """Let the hub know every model."""
    monkeypatch.setattr(pipelines, "model_info", lambda *_, **__: None)
    monkeypatch.setattr(pipelines.constants, "HF_HUB_OFFLINE", False)


def test_a_failed_download_is_reported_in_one_line_with_its_reason(monkeypatch):
    def unreachable(*_args, **_options):
        raise OSError("not cached,\nsee the trace") from ConnectionError("offline mode\nis enabled.")

    answering(monkeypatch)
    monkeypatch.setattr(DiffusionPipeline, "download", unreachable)
    message = refusal("owner/name")
    assert message == "owner/name is not a local folder, and the hub did not provide it: offline mode is enabled"


def test_a_hub_model_is_read_from_the_folder_that_diffusers_returns(saved, monkeypatch):
    asked = {}
    answering(monkeypatch)
    monkeypatch.setattr(DiffusionPipeline, "download", lambda name, **options: asked.update(options) or str(saved))
    model = load("owner/name")
    assert (model.name, model.folder) == ("owner/name", saved)
    expected = {"use_safetensors": True, "safety_checker": None, "feature_extractor": None, "local_files_only": False}
    assert asked == expected
