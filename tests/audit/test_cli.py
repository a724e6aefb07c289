"""A mistake is answered with one line and the right exit code, and nothing is overwritten."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.audit.commands import CANDIDATES, QUICK, ROOT, digests, engram, run_json, text_file
from tests.test_layers import HEAVY


def refused(*arguments: object, code: int = 2) -> str:
    """The one line of error that a command ends with."""
    answer = engram(*arguments)
    assert answer.code == code, answer
    assert len(answer.errors) == 1, answer.err
    assert answer.err.splitlines()[-1] == answer.errors[0]
    assert "Traceback" not in answer.err
    return answer.errors[0]


def without_model(inputs, tmp_path):
    return {"--model": tmp_path / "nowhere"}, "no model folder"


def without_index(inputs, tmp_path):
    (tmp_path / "folder").mkdir()
    return {"--model": tmp_path / "folder"}, "model_index.json"


def pickled(inputs, tmp_path):
    model = Path(shutil.copytree(inputs.model, tmp_path / "model"))
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    return {"--model": model}, "--allow-pickle"


def corrupt(inputs, tmp_path):
    model = Path(shutil.copytree(inputs.model, tmp_path / "model"))
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return {"--model": model}, "cannot be loaded"


def no_prompts(inputs, tmp_path):
    return {"--prompts": text_file(tmp_path / "p.txt", ["", "  ", ""])}, "no prompts"


def missing_prompts(inputs, tmp_path):
    return {"--prompts": tmp_path / "p.txt"}, "No such file"


def invalid_utf8(inputs, tmp_path):
    (tmp_path / "p.txt").write_bytes(b"a star\ncaf\xe9\n")
    return {"--prompts": tmp_path / "p.txt"}, "invalid UTF-8 at byte offset 10"


def ambiguous_column(inputs, tmp_path):
    return {"--prompts": text_file(tmp_path / "p.csv", ["text,caption", "a,b"])}, "--text-column"


def unwritable_out(inputs, tmp_path):
    return {"--out": text_file(tmp_path / "file", ["mine"]) / "run"}, "cannot be written"


def file_as_out(inputs, tmp_path):
    return {"--out": text_file(tmp_path / "file", ["mine"])}, "choose another --out"


def unknown_site(inputs, tmp_path):
    return {"--sites": "attention"}, "--sites: "


def impossible_rate(inputs, tmp_path):
    return {"--fpr": 2}, "--fpr: "


def no_seeds(inputs, tmp_path):
    return {"--seeds": 0}, "--seeds: "


def unknown_dtype(inputs, tmp_path):
    return {"--dtype": "int8"}, "--dtype: "


def unknown_device(inputs, tmp_path):
    return {"--device": "abacus"}, "abacus"


def one_reference(inputs, tmp_path):
    return {"--reference": text_file(tmp_path / "r.txt", ["a"])}, "at least 4 distinct prompts"


def two_references(inputs, tmp_path):
    return {"--reference": text_file(tmp_path / "r.txt", ["a", "b", "a"])}, "has 2"


def three_references(inputs, tmp_path):
    return {"--reference": text_file(tmp_path / "r.txt", ["a", "b", "c"])}, "has 3"


def no_training_images(inputs, tmp_path):
    return {"--train-images": tmp_path / "pictures"}, "give --train-images a folder, a .tar or an index"


MISTAKES = [
    *(without_model, without_index, pickled, corrupt, no_prompts, missing_prompts, invalid_utf8, ambiguous_column),
    *(unwritable_out, file_as_out, unknown_site, impossible_rate, no_seeds, unknown_dtype, unknown_device),
    *(one_reference, two_references, three_references, no_training_images),
]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_one_line_and_changes_nothing(inputs, tmp_path, mistake):
    changes, expected = mistake(inputs, tmp_path)
    given = inputs.options(tmp_path / "run")
    options = dict(zip(given[::2], given[1::2], strict=True)) | changes
    before = digests(tmp_path)
    line = refused("audit", *(part for option in options.items() for part in option))
    assert expected in line
    assert digests(tmp_path) == before
    assert not (tmp_path / "run").exists()


def test_folder_without_training_pictures_leaves_a_run_that_is_not_trusted(inputs, tmp_path):
    (tmp_path / "pictures").mkdir()
    options = (*inputs.options(tmp_path / "run"), "--train-images", tmp_path / "pictures")
    assert "no training picture" in refused("audit", *options)
    assert refused("gate", tmp_path / "run", code=3)


def test_a_model_needs_prompts(inputs):
    assert "--prompts is required with --model" in refused("audit", "--model", inputs.model)


def test_one_candidate_cannot_calibrate_itself(inputs, tmp_path):
    prompts = text_file(tmp_path / "p.txt", ["a star"])
    options = ("--model", inputs.model, "--prompts", prompts, "--out", tmp_path / "run")
    assert "give more with --reference" in refused("audit", *options)


def test_column_of_the_reference_is_chosen_on_its_own(inputs, tmp_path):
    reference = text_file(tmp_path / "r.csv", ["text,caption", "a,b"])
    options = inputs._replace(reference=reference).options(tmp_path / "run")
    assert "has 1" in refused("audit", *options, "--reference-column", "caption")


def test_run_of_another_audit_is_left_as_it_is(finished, copied, tmp_path):
    options = [copied if value == finished.run else value for value in finished.options]
    before = digests(copied)
    line = refused("audit", *options, "--guidance-scale", "5")
    assert "settings.guidance_scale was 3.0, now 5.0" in line
    assert "--force" in line
    options[3] = text_file(tmp_path / "other.txt", CANDIDATES[1:])
    line = refused("audit", *options)
    assert "prompts_sha256 was" in line
    assert digests(copied) == before


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_folder_of_someone_else_is_never_emptied(inputs, tmp_path, force):
    (tmp_path / "out").mkdir()
    text_file(tmp_path / "out" / "thesis.txt", ["years of work"])
    assert "choose another --out" in refused("audit", *inputs.options(tmp_path / "out"), *force)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work\n"
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_model_that_is_not_a_number_is_distrusted(inputs, tmp_path, part):
    model = Path(shutil.copytree(inputs.model, tmp_path / "model"))
    (weights,) = (model / part).glob("*.safetensors")
    tensors = load_file(weights)
    tensors[max(tensors, key=lambda name: ("ff.net.2" in name or "fc2" in name, name))].fill_(float("nan"))
    save_file(tensors, weights, metadata={"format": "pt"})
    line = refused("audit", *inputs._replace(model=model).options(tmp_path / "run"), code=3)
    assert "not finite" in line
    assert run_json(tmp_path / "run")["status"] == "untrusted"
    assert refused("gate", tmp_path / "run", code=3)


def test_error_lines_hold_no_control_characters(tmp_path):
    line = refused("audit", "--prompts", f"{tmp_path}/\x1b[31mred\n", "--model", "x")
    assert "\x1b" not in line


def test_sites_of_a_model_are_listed(inputs):
    answer = engram("sites", inputs.model)
    assert answer.code == 0
    for kind in ("text_mlp", "cross_k", "cross_v", "cross_out", "feed_forward"):
        assert f"{kind}: " in answer.out
    assert "model_index.json" in refused("sites", inputs.prompts.parent)


@pytest.mark.parametrize("arguments", [["audit", "--nope"], ["audit", "--seeds", "many"], ["gate"], ["judge"]])
def test_options_that_cannot_be_read_are_one_line(arguments):
    done = subprocess.run([sys.executable, "-m", "audit", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("engram: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["audit", "--help"], ["gate", "--help"], ["gate", "RUN"]])
def test_help_and_gate_do_without_the_model_libraries(finished, arguments):
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in sorted(HEAVY))
    arguments = [str(finished.run) if argument == "RUN" else argument for argument in arguments]
    code = f"import sys; {blocked}; sys.argv = ['engram', *{arguments!r}]; from audit.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == (1 if "--help" not in arguments else 0), done.stderr
    assert not done.stderr


def test_settings_in_run_json_are_those_given(finished):
    settings = run_json(finished.run)["settings"]
    given = {"n_seeds": 2, "n_samples": 2, "sample_steps": 2, "fpr": 0.2, "strategies": ["sample"]}
    assert {name: settings[name] for name in given} == given
    assert len(QUICK) == 2 * len(given)
    assert json.dumps(settings)
