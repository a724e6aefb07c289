"""A LoRA that the command line adds is part of the model in every command, and a run restores it."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from PIL import Image

from flashbulb.audit.additions import chosen
from flashbulb.audit.model.loading.pipelines import LoadedModel
from flashbulb.audit.model.sampling import sample_images
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.audit import open_session
from flashbulb.audit.stages.opening.session import open_base
from flashbulb.reports.tables.files import TABLE_FILES, sha256_of
from tests.audit.cli.ablations import NEURONS, neuron_file
from tests.audit.commands import ODD, edit_run_json, error_line, run_flashbulb, run_json, scores_of
from tests.audit.conftest import Inputs
from tests.audit.counting import counted_latents
from tests.audit.files.loras import assert_same, load, lora_file, lora_weights, some_factors
from tests.reports.run_files import seal_again

LOCALIZED = ("--samples", "2", "--sample-steps", "2", "--points", "1", "--controls", "0", "--no-again")


class Added(NamedTuple):
    """A finished audit of a model with a LoRA, and the folder of the same model with the LoRA fused."""

    run: Path
    lora: str
    fused: Path


@pytest.fixture(scope="module")
def added(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Added:
    folder = tmp_path_factory.mktemp("added")
    factors = some_factors(load(inputs.model).pipe, ("unet", "text_encoder"))
    lora = f"{lora_file(folder / 'lora.safetensors', lora_weights(factors))}:0.5"
    pipe = load(inputs.model, lora).pipe
    pipe.save_pretrained(folder / "fused")
    (folder / "training").mkdir()
    (image,) = sample_images(pipe, [ODD], [1], run_seed=0, num_inference_steps=2, guidance_scale=3.0)
    Image.fromarray(image).save(folder / "training" / "secret.png")
    options = (*inputs.options(folder / "run"), "--train-images", folder / "training")
    answer = run_flashbulb("audit", *options, "--lora", lora)
    assert answer.code == 0, answer.err
    return Added(folder / "run", lora, folder / "fused")


@pytest.fixture
def copied(added: Added, tmp_path: Path) -> Path:
    return Path(shutil.copytree(added.run, tmp_path / "run"))


def test_an_audit_with_a_lora_equals_that_of_the_fused_model(added: Added, inputs: Inputs, tmp_path: Path) -> None:
    options = inputs._replace(model=added.fused).options(tmp_path / "run")
    training = added.run.parent / "training"
    assert run_flashbulb("audit", *options, "--train-images", training).code == 0
    pd.testing.assert_frame_equal(scores_of(added.run), scores_of(tmp_path / "run"), check_exact=True)
    with_lora, fused = run_json(added.run), run_json(tmp_path / "run")
    assert with_lora["counts"] == fused["counts"]
    assert with_lora["verdict"] == fused["verdict"]
    assert with_lora["model"]["fingerprint"] != fused["model"]["fingerprint"]
    assert with_lora["model"]["name"] == f"{inputs.model} + {added.lora}"
    assert "lora.safetensors:0.5" in (added.run / "summary.md").read_text()


def test_a_run_restores_its_lora_and_refuses_another(added: Added, copied: Path) -> None:
    again = ("recover", copied, "--samples", "3")
    answer = run_flashbulb(*again)
    assert answer.code == 0, answer.err
    answer = run_flashbulb("localize", copied, *LOCALIZED)
    assert answer.code == 0, answer.err
    edit_run_json(copied, "settings", "lora", value=[added.lora.replace(":0.5", ":0.6")])
    assert "has fingerprint" in error_line(run_flashbulb("recover", copied, "--samples", "4"))


def test_localize_reads_the_loras_of_a_run_as_a_strangers(copied: Path) -> None:
    edit_run_json(copied, "settings", "lora", value=["/no/such.safetensors"])
    seal_again(copied)
    assert "no file /no/such.safetensors" in error_line(run_flashbulb("localize", copied))
    edit_run_json(copied, "settings", "lora", value="abc")
    seal_again(copied)
    assert "expected a list of files" in error_line(run_flashbulb("localize", copied), 3)


def test_another_lora_needs_another_run_directory_but_can_be_compared(
    added: Added, inputs: Inputs, tmp_path: Path
) -> None:
    options = (*inputs.options(added.run), "--train-images", added.run.parent / "training")
    assert "model_fingerprint" in error_line(run_flashbulb("audit", *options))
    other = added.lora.replace(":0.5", ":0")
    answer = run_flashbulb("audit", "--replay", added.run, "--lora", other, "--out", tmp_path / "run")
    assert answer.code == 0, answer.err
    assert "different from" not in answer.err
    assert run_json(tmp_path / "run")["settings"]["lora"] == [other]
    assert run_flashbulb("diff", added.run, tmp_path / "run").code == 0


def test_every_command_that_loads_a_model_takes_a_lora(added: Added, inputs: Inputs, tmp_path: Path) -> None:
    lora = ("--lora", added.lora)
    sites = run_flashbulb("sites", inputs.model, "--json")
    assert json.loads(run_flashbulb("sites", inputs.model, *lora, "--json").out) == json.loads(sites.out)
    answer = run_flashbulb("validate", *inputs.options(tmp_path / "run"), *lora)
    assert answer.code == 0, answer.err
    assert run_json(added.run)["model"]["fingerprint"] in answer.out
    calibration = ("calibrate", "--model", inputs.model, "--reference", inputs.reference, "--seeds", "1")
    assert run_flashbulb(*calibration, *lora, "--out", tmp_path / "calibration").code == 0
    neurons = neuron_file(tmp_path / "neurons.json", NEURONS)
    ablation = ("ablate", inputs.model, "--neurons", neurons, "--prompt", "a", "--samples", "2", "--sample-steps", "2")
    answer = run_flashbulb(*ablation, "--by", "zero", *lora, "--out", tmp_path / "ablated")
    assert answer.code == 0, answer.err
    assert run_json(tmp_path / "ablated")["model"]["fingerprint"] == run_json(added.run)["model"]["fingerprint"]


def test_a_lora_that_does_not_fit_is_one_line(inputs: Inputs, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for command in (
        ("audit", *inputs.options(tmp_path / "run")),
        ("sites", inputs.model),
        ("discover", inputs.model, "--budget", "1000", "--out", tmp_path / "run"),
    ):
        assert "no file" in error_line(run_flashbulb(*command, "--lora", path))
    assert not (tmp_path / "run").exists()


def test_what_a_lora_added_is_audited_against_the_same_model_without_it(
    added: Added, inputs: Inputs, tmp_path: Path
) -> None:
    more = ("--baseline-model", inputs.model, "--max-sampled", "0")
    options = (*inputs.options(tmp_path / "lora"), *more)
    answer = run_flashbulb("audit", *options, "--lora", added.lora)
    assert answer.code == 0, answer.err
    fused = inputs._replace(model=added.fused).options(tmp_path / "fused")
    assert run_flashbulb("audit", *fused, *more).code == 0
    scores = scores_of(tmp_path / "lora")
    pd.testing.assert_frame_equal(scores, scores_of(tmp_path / "fused"), check_exact=True)
    assert (scores["spike_score_finetune"] != scores["spike_score_base"]).any()
    assert run_json(tmp_path / "lora")["base"] == run_json(tmp_path / "fused")["base"]
    line = error_line(run_flashbulb("audit", *options))
    assert "to which nothing was added" in line


def test_a_base_that_scores_every_prompt_like_the_model_is_refused(
    added: Added, inputs: Inputs, tmp_path: Path
) -> None:
    options = (*inputs.options(tmp_path / "run"), "--baseline-model", inputs.model)
    answer = run_flashbulb("audit", *options, "--lora", added.lora.replace(":0.5", ":0"))
    assert answer.code == 2
    assert "have the same spike score for every prompt, so what is recorded was not trained" in error_line(answer)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each pipeline is loaded."""
    count: Counter[str] = Counter()
    load_pipe = chosen.load_model

    def counted(model: str, **options: Any) -> LoadedModel:
        count[model] += 1
        return load_pipe(model, **options)

    monkeypatch.setattr(chosen, "load_model", counted)
    return count


def test_the_base_of_a_lora_is_the_loaded_pipeline_without_it_with_the_results_of_another_copy(
    added: Added, inputs: Inputs, tmp_path: Path, loads: Counter[str]
) -> None:
    copied = Path(shutil.copytree(inputs.model, tmp_path / "copy"))
    spelled = Path(inputs.model, "..", inputs.model.name)
    more = ("--lora", added.lora, "--strategy", "sample", "--strategy", "extrapolate")
    for name, base in (("inside", spelled), ("apart", copied)):
        with counted_latents() as count:
            options = (*inputs.options(tmp_path / name), "--baseline-model", base)
            answer = run_flashbulb("audit", *options, *more)
        assert answer.code == 0, answer.err
        assert count.n_latents >= sum(run_json(tmp_path / name)["evaluations"].values())
    assert loads == {
        str(inputs.model): 3,
        str(copied): 3,
    }  # inside: once; apart: twice, and to look, record, extrapolate
    for name in TABLE_FILES:
        assert sha256_of(tmp_path / "inside" / name) == sha256_of(tmp_path / "apart" / name), name
    records = [run_json(tmp_path / name) for name in ("inside", "apart")]
    assert records[0]["identity"]["recording"] == records[1]["identity"]["recording"]
    assert records[0]["base"]["fingerprint"] == records[1]["base"]["fingerprint"]
    assert records[0]["evaluations"] == records[1]["evaluations"]
    tried = pd.read_parquet(tmp_path / "inside" / "recoveries.parquet")
    assert "extrapolate" in set(tried["strategy"])
    loads.clear()
    assert run_flashbulb("recover", tmp_path / "inside", "--samples", "3").code == 0
    assert loads == {str(inputs.model): 1}


def test_a_model_with_more_than_loras_loads_its_base(
    added: Added, inputs: Inputs, tmp_path: Path, loads: Counter[str]
) -> None:
    more = ("--lora", added.lora, "--vae", inputs.model / "vae", "--baseline-model", inputs.model)
    answer = run_flashbulb("validate", *inputs.options(tmp_path / "run"), *more)
    assert answer.code == 0, answer.err
    assert loads == {str(inputs.model): 2}


def test_the_lora_is_back_after_an_error_while_the_base_is_recorded(
    added: Added, inputs: Inputs, tmp_path: Path
) -> None:
    settings = AuditSettings.model_validate(
        {
            "model": str(inputs.model),
            "baseline_model": str(inputs.model),
            "lora": (added.lora,),
            "prompts": str(inputs.prompts),
            "reference": str(inputs.reference),
            "out": tmp_path / "run",
            "train_images": None,
            "examine": False,
        }
    )
    session = open_session(settings)
    with open_base(session) as base:
        assert_same(base.denoiser.pipe, load(inputs.model).pipe)
    with pytest.raises(KeyError), open_base(session):
        raise KeyError
    assert_same(session.denoiser.pipe, load(inputs.model, added.lora).pipe)
