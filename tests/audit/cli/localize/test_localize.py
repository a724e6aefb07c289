"""`flashbulb localize` on a toy audit writes files that agree with each other, and reports mistakes in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.model.sampling import sample_images
from flashbulb.audit.settings import LocalizeSettings
from flashbulb.hooks import ablate, load_neurons
from flashbulb.reports.tables.schema import read_table
from flashbulb.reports.views.localization import ATTRIBUTIONS_SCHEMA, LEVERS_SCHEMA, TOKENS_SCHEMA
from tests.audit.cli.ablations import image
from tests.audit.cli.localize.conftest import OTHER, QUICK, id_of, localize, rows
from tests.audit.commands import ODD, digests, error_line, run_flashbulb, run_json
from tests.audit.counting import counted_latents
from tests.reports.run_files import read_metadata, seal_again
from tests.tolerances import IMAGE_LEVELS
from tests.toy import MAX_POSITIONS, build_toy_pipe


def test_every_file_is_there_and_nothing_else(audited):
    expected = {"levers.parquet", "attributions.parquet", "tokens.parquet"}
    expected |= {"localization.md", "localization.png", "layers.png", "settings.json"}
    for prompt_id in (id_of(ODD), id_of(OTHER)):
        expected |= {f"kept/{prompt_id}.safetensors", f"neurons/{prompt_id}.json"}
        expected |= {f"images/{prompt_id}/{when}-{i}.png" for when in ("before", "after") for i in range(2)}
    assert set(digests(audited.run / "localization")) == expected


def test_resolved_settings_are_recorded(audited):
    metadata = json.loads((audited.run / "localization" / "settings.json").read_text(encoding="utf-8"))
    assert metadata["model_fingerprint"] == run_json(audited.run)["model"]["fingerprint"]
    settings = LocalizeSettings.model_validate({**metadata["settings"], "run": audited.run})
    assert settings.model_dump(mode="json") == metadata["settings"] | {"run": str(audited.run)}
    assert (settings.sample_steps, settings.by) == (2, "unconditional")


def test_tables_have_their_schemas_and_agree_with_each_other(audited):
    folder, fingerprint = audited.run / "localization", run_json(audited.run)["model"]["fingerprint"]
    schemas = {"levers": LEVERS_SCHEMA, "attributions": ATTRIBUTIONS_SCHEMA, "tokens": TOKENS_SCHEMA}
    for name, schema in schemas.items():
        assert read_table(folder / f"{name}.parquet", schema).column_names == schema.names
        assert read_metadata(folder / f"{name}.parquet") == {"model_fingerprint": fingerprint}
    levers = rows(audited.run)
    assert [row["prompt"] for row in levers] == [ODD, OTHER]
    attributions, tokens = rows(audited.run, "attributions"), rows(audited.run, "tokens")
    for row in levers:
        neurons = load_neurons(folder / row["neurons_path"])
        chosen = {(name, i) for name, numbers in neurons.neurons.items() for i in numbers}
        own = [neuron for neuron in attributions if neuron["prompt_id"] == row["prompt_id"]]
        assert {(neuron["site"], neuron["neuron"]) for neuron in own if neuron["is_lever"]} == chosen
        assert row["n_neurons"] == len(chosen) == round(0.3 * row["n_neurons_of_kind"])
        assert neurons.fingerprint == fingerprint
        values = [neuron["excess"] for neuron in own if neuron["site"].endswith("to_v")]
        lowest = min(neuron["excess"] for neuron in own if neuron["is_lever"])
        assert sum(value > lowest for value in values) < len(chosen)
        assert (row["n_samples"], row["n_controls"], row["n_recovered_again"]) == (2, 1, None)
        assert row["n_replicating_before"] >= 1  # the training image is one of these samples
        own_tokens = [token for token in tokens if token["prompt_id"] == row["prompt_id"]]
        assert [token["position"] for token in own_tokens] == list(range(MAX_POSITIONS))
        assert {token["token_class"] for token in own_tokens} == {"start", "prompt", "end", "padding"}
    assert len(attributions) == 2 * 1024


def test_images_are_sampled_with_and_without_the_neurons_of_the_file(audited):
    pipe = load_model(str(audited.model), device="cpu", dtype=torch.float32, allow_pickle=False).pipe
    folder = audited.run / "localization"
    neurons = load_neurons(folder / "neurons" / f"{id_of(ODD)}.json")

    def sampled():
        return sample_images(pipe, [ODD] * 2, [2, 3], run_seed=0, num_inference_steps=2, guidance_scale=3.0)

    before = sampled()
    with ablate(pipe, neurons, "unconditional"):
        after = sampled()
    for when, expected in (("before", before), ("after", after)):
        kept = [image(folder / "images" / id_of(ODD) / f"{when}-{i}.png") for i in range(2)]
        assert np.abs(np.stack(kept).astype(int) - expected).max() <= IMAGE_LEVELS
    with Image.open(folder / "images" / id_of(ODD) / "after-1.png") as file:
        metadata = json.loads(file.text["flashbulb"])
    assert (metadata["prompt"], metadata["image_index"], metadata["replaced_by"]) == (ODD, 3, "unconditional")


def test_page_and_terminal_agree_and_hide_prompts(audited):
    page = (audited.run / "localization" / "localization.md").read_text(encoding="utf-8")
    assert ODD not in page
    assert OTHER not in page
    assert "of 2 (" in page
    first = next(line for line in page.splitlines() if line.startswith("- "))
    assert first.removeprefix("- ") in audited.answer.out.replace("\n", " ")
    assert "localization.md" in audited.answer.out.replace("\n", "")


def test_recorded_evaluations_equal_what_the_unet_saw(audited):
    settings = json.loads((audited.run / "localization" / "settings.json").read_text(encoding="utf-8"))
    spent = sum(row["evaluations"] for row in rows(audited.run)) + settings["shared_evaluations"]
    backward = 2 * 2  # two points at one seed, of every memory and every clean prompt
    n_memories, n_clean = 2, 2
    assert spent == audited.n_latents + backward * (n_memories + n_clean)
    page = (audited.run / "localization" / "localization.md").read_text(encoding="utf-8")
    assert f"{spent} UE together" in page


def test_the_fewest_neurons_are_no_more_than_all(copied, audited):
    assert localize(copied, "--max-prompts", "1", "--minimal", "--checks", "3", "--controls", "0").code == 0
    (row,) = rows(copied)
    assert (row["n_controls"], row["control_change"], row["n_patched"]) == (0, None, None)
    assert 1 <= row["n_neurons"] <= rows(audited.run)[0]["n_neurons"]


def test_recovery_from_the_ablated_model_is_tried_by_default(copied, monkeypatch):
    monkeypatch.setattr("flashbulb.audit.stages.localize.RECOVERY_STEPS", 2)
    answer = run_flashbulb("localize", copied, *QUICK[:-1], "--prompt", OTHER)
    assert answer.code == 0, answer.err
    (row,) = rows(copied)
    assert row["prompt"] == OTHER
    assert 0 <= row["n_recovered_again"] <= 2
    assert "not tried" not in (copied / "localization" / "localization.md").read_text(encoding="utf-8")


def refused_unchanged(run: Path, before: dict[str, str], *options: object, code: int = 2) -> str:
    """Run a command with a mistake, check that it computes and changes nothing, and return its error line."""
    with counted_latents() as count:
        line = error_line(localize(run, *options), code)
    assert count.n_latents == 0
    assert digests(run) == before
    return line


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--prompt", "a grey star over the hill"), "no image was recovered from --prompt 'a grey star over the hill'"),
        (("--prompt", "\x1b[31m\nnever seen"), "never seen' in "),
        (("--kind", "nonsense"), "--kind: "),
        (("--share", "0"), "--share: "),
        (("--controls", "9"), "--controls: Input should be less than or equal to 8, got 9"),
        (("--guidance-scale", "1"), "--guidance-scale: "),
        (("--samples", "1"), "--samples: "),
        (("--device", "cuda:77"), "cuda:77"),
    ],
)
def test_mistake_is_one_line_and_loses_nothing(copied, options, reason):
    assert reason in refused_unchanged(copied, digests(copied), *options)


def test_folder_that_is_not_a_run_is_refused(tmp_path):
    (tmp_path / "file.txt").write_text("mine")
    assert "flashbulb: " in error_line(localize(tmp_path))
    assert "flashbulb: " in error_line(localize(tmp_path / "nowhere"))
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_an_unfinished_audit_is_not_trusted(copied, status):
    content = run_json(copied) | {"status": status}
    (copied / "run.json").write_text(json.dumps(content), encoding="utf-8")
    refused_unchanged(copied, digests(copied), code=3)


def test_a_changed_table_is_not_trusted(copied):
    content = bytearray((copied / "recoveries.parquet").read_bytes())
    content[len(content) // 2] ^= 1
    (copied / "recoveries.parquet").write_bytes(content)
    assert "recoveries.parquet" in refused_unchanged(copied, digests(copied), code=3)


def test_a_run_without_findings_is_refused(plain):
    """Without training images nothing is confirmed."""
    assert "nothing to localize; give a run with findings" in refused_unchanged(plain.run, digests(plain.run))


def test_another_model_at_the_path_is_refused(copied, audited, tmp_path):
    build_toy_pipe(seed=1).save_pretrained(tmp_path / "other")
    content = run_json(copied)
    content["settings"]["model"] = str(tmp_path / "other")
    (copied / "run.json").write_text(json.dumps(content), encoding="utf-8")
    seal_again(copied)
    line = refused_unchanged(copied, digests(copied))
    assert content["model"]["fingerprint"] in line
    assert "audit this model again" in line


def test_missing_model_is_refused(copied):
    content = run_json(copied)
    content["settings"]["model"] = str(copied / "gone")
    (copied / "run.json").write_text(json.dumps(content), encoding="utf-8")
    seal_again(copied)
    assert "gone" in refused_unchanged(copied, digests(copied))
