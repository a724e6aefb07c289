"""No command records or passes a model that does not run as it was trained, unless it is told to trust it."""

import json
import shutil

import pytest

from flashbulb.audit.additions.chosen import ChosenModel
from flashbulb.audit.additions.sites import list_sites
from flashbulb.audit.model import examination
from flashbulb.audit.model.calls import network_of
from flashbulb.audit.planted.paths import CAPTIONS, IMAGES, MODEL, REFERENCE
from flashbulb.hooks import NeuronSet, save_neurons
from tests.audit.commands import CANDIDATES, QUICK, run_flashbulb, text_file
from tests.audit.commands import REFERENCE as TOY_REFERENCE
from tests.toy import build_toy_pipe


@pytest.fixture(autouse=True)
def examining(monkeypatch):
    monkeypatch.delenv("FLASHBULB_EXAMINE")


@pytest.fixture(scope="module", autouse=True)
def examined_once():
    """Examine a model once, with the same images, whichever command asks."""
    found, examine = {}, examination.examine

    def remembered(denoiser, images=None):
        weight, scale = next(network_of(denoiser.pipe).parameters()), denoiser.pipe.vae.config.scaling_factor
        given = None if images is None else images.tobytes()
        key = denoiser.prediction_type, scale, weight.numpy(force=True).tobytes(), given
        if key not in found:
            found[key] = examine(denoiser, images)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examination, "examine", remembered)
        yield


@pytest.fixture(scope="module")
def misread(tmp_path_factory):
    """The embedded model, whose scheduler declares another prediction type than it was trained with."""
    folder = tmp_path_factory.mktemp("misread") / "model"
    shutil.copytree(MODEL, folder)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "prediction_type": "v_prediction"}))
    return folder


@pytest.mark.parametrize("command", ["audit", "record", "validate", "discover", "calibrate", "compare"])
def test_misread_model_is_not_trusted_by_any_command(misread, tmp_path, command):
    inputs = {
        "discover": (misread, "--budget", 9000),
        "compare": (MODEL, misread, "--prompts", CAPTIONS),
        "calibrate": ("--model", misread, "--reference", REFERENCE),
    }.get(command, ("--model", misread, "--prompts", CAPTIONS, "--reference", REFERENCE))
    answer = run_flashbulb(command, *inputs, "--out", tmp_path / "run")
    assert answer.code == 3
    (line,) = answer.errors
    assert "its scheduler declares v_prediction, and it looks like epsilon" in line
    assert not (tmp_path / "run").exists()


def test_misread_model_is_not_ablated(misread, tmp_path):
    site = next(site.name for site in list_sites(ChosenModel(str(misread))).sites if site.kind == "feed_forward")
    save_neurons(tmp_path / "neurons.json", NeuronSet({site: (0, 1)}))
    inputs = (
        "ablate",
        misread,
        "--neurons",
        tmp_path / "neurons.json",
        "--prompt",
        "a red star",
        "--out",
        tmp_path / "run",
    )
    answer = run_flashbulb(*inputs)
    assert answer.code == 3
    assert "its scheduler declares v_prediction, and it looks like epsilon" in answer.errors[0]
    assert not (tmp_path / "run").exists()
    quick = ("--no-examine", "--samples", "2", "--sample-steps", "1")
    assert run_flashbulb(*inputs, *quick).code == 0


def test_training_images_are_used_where_they_are_given(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    path = folder / "vae" / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "scaling_factor": content["scaling_factor"] / 2}))
    inputs = ("--model", folder, "--prompts", CAPTIONS, "--reference", REFERENCE, "--out", tmp_path / "run")
    answer = run_flashbulb("validate", *inputs, "--train-images", IMAGES)
    assert answer.code == 3
    assert "on the training images" in answer.errors[0]
    index = tmp_path / "index"
    assert run_flashbulb("index", IMAGES, index).code == 0
    assert run_flashbulb("validate", *inputs, "--train-images", index).errors == answer.errors


def test_model_that_is_trusted_unexamined_is_audited_and_said_to_be(tmp_path):
    build_toy_pipe().save_pretrained(tmp_path / "model")
    inputs = [
        *("--model", tmp_path / "model", "--prompts", text_file(tmp_path / "candidates.txt", CANDIDATES)),
        *("--reference", text_file(tmp_path / "reference.txt", TOY_REFERENCE), *QUICK, "--out", tmp_path / "run"),
    ]
    refused = run_flashbulb("audit", *inputs)
    assert refused.code == 3
    assert "does not run as it was trained" in refused.errors[0]
    assert run_flashbulb("audit", *inputs, "--no-examine").code == 0
    warnings = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["warnings"]
    assert any("--no-examine" in warning for warning in warnings)
    assert "--no-examine" in (tmp_path / "run" / "summary.md").read_text(encoding="utf-8")
