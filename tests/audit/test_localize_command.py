"""`engram localize` on a toy audit: all files, nothing made twice, and a mistake is one line that loses nothing."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from audit.config import LocalizeSettings
from audit.loading import load_model
from audit.sampling import sample_pictures
from hooks import ablate, find_sites, load_neurons
from reports.localization import ATTRIBUTIONS_SCHEMA, LEVERS_SCHEMA, TOKENS_SCHEMA
from reports.schema import read_metadata, read_table
from tests.audit.commands import ODD, Answer, digests, engram, run_json
from tests.audit.counting import counted_latents
from tests.tolerances import PICTURE_LEVELS
from tests.toy import MAX_POSITIONS, build_toy_pipe

OTHER = "жар-птица"
QUICK = ("--samples", "2", "--sample-steps", "2", "--seeds", "1", "--points", "2", "--controls", "1", "--no-again")


class Audited(NamedTuple):
    """An audit of two memories, and what localizing them said; leave it as it was."""

    run: Path
    model: Path
    answer: Answer
    n_latents: int


def id_of(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]


def localize(run: Path, *options: object) -> Answer:
    return engram("localize", run, *QUICK, *options)


def refused(answer: Answer, code: int = 2) -> str:
    """The one line of error that the command ends with."""
    assert answer.code == code, answer
    assert len(answer.errors) == 1, answer.err
    assert "Traceback" not in answer.err
    return answer.errors[0]


@pytest.fixture(scope="module")
def audited(inputs, tmp_path_factory) -> Audited:
    """The third seed's picture of two prompts is a training picture, and the first that levers are tested with."""
    folder = tmp_path_factory.mktemp("localized")
    (folder / "training").mkdir()
    model = shutil.copytree(inputs.model, folder / "model")
    pipe = load_model(str(model), device="cpu", dtype=torch.float32, allow_pickle=False).pipe
    for name, prompt in (("one", ODD), ("two", OTHER)):
        (picture,) = sample_pictures(pipe, [prompt], [2], run_seed=0, num_inference_steps=2, guidance_scale=3.0)
        Image.fromarray(picture).save(folder / "training" / f"{name}.png")
    options = inputs._replace(model=model).options(folder / "run")
    more = ("--samples", "3", "--train-images", folder / "training", "--detectors", "none")
    assert engram("audit", *options, *more).code == 0
    with counted_latents() as count:
        answer = localize(folder / "run")
    assert answer.code == 0, answer.err
    return Audited(folder / "run", model, answer, count.n_latents)


@pytest.fixture
def copied(audited, tmp_path) -> Path:
    """A copy of the localized run, to spoil."""
    return Path(shutil.copytree(audited.run, tmp_path / "run"))


@pytest.fixture
def fresh(audited, tmp_path) -> Path:
    """A copy of the audit, not localized yet."""
    return Path(shutil.copytree(audited.run, tmp_path / "run", ignore=shutil.ignore_patterns("localization")))


def rows(run: Path, name: str = "levers"):
    return pq.read_table(run / "localization" / f"{name}.parquet").to_pylist()


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_every_file_is_there_and_nothing_else(audited):
    expected = {"levers.parquet", "attributions.parquet", "tokens.parquet"}
    expected |= {"localization.md", "localization.png", "layers.png", "settings.json"}
    for prompt_id in (id_of(ODD), id_of(OTHER)):
        expected |= {f"kept/{prompt_id}.safetensors", f"neurons/{prompt_id}.json"}
        expected |= {f"images/{prompt_id}/{when}-{i}.png" for when in ("before", "after") for i in range(2)}
    assert set(digests(audited.run / "localization")) == expected


def test_settings_that_result_are_stated(audited):
    stated = json.loads((audited.run / "localization" / "settings.json").read_text(encoding="utf-8"))
    assert stated["model_fingerprint"] == run_json(audited.run)["model"]["fingerprint"]
    settings = LocalizeSettings.model_validate({**stated["settings"], "run": audited.run})
    assert settings.model_dump(mode="json") == stated["settings"] | {"run": str(audited.run)}
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
        own = [one for one in attributions if one["prompt_id"] == row["prompt_id"]]
        assert {(one["site"], one["neuron"]) for one in own if one["is_lever"]} == chosen
        assert row["n_neurons"] == len(chosen) == round(0.3 * row["n_neurons_of_kind"])
        assert neurons.fingerprint == fingerprint
        values = [one["excess"] for one in own if one["site"].endswith("to_v")]
        lowest = min(one["excess"] for one in own if one["is_lever"])
        assert sum(value > lowest for value in values) < len(chosen)
        assert (row["n_samples"], row["n_controls"], row["n_recovered_again"]) == (2, 1, None)
        assert row["n_replicating_before"] >= 1  # the training picture is one of these samples
        of_prompt = [one for one in tokens if one["prompt_id"] == row["prompt_id"]]
        assert [one["position"] for one in of_prompt] == list(range(MAX_POSITIONS))
        assert {one["token_class"] for one in of_prompt} == {"start", "prompt", "end", "padding"}
    assert len(attributions) == 2 * 1920


def test_pictures_are_the_prompts_with_and_without_the_neurons_of_the_file(audited):
    pipe = load_model(str(audited.model), device="cpu", dtype=torch.float32, allow_pickle=False).pipe
    folder = audited.run / "localization"
    neurons = load_neurons(folder / "neurons" / f"{id_of(ODD)}.json")

    def sampled():
        return sample_pictures(pipe, [ODD] * 2, [2, 3], run_seed=0, num_inference_steps=2, guidance_scale=3.0)

    before = sampled()
    with ablate(pipe, neurons, "unconditional"):
        after = sampled()
    for when, expected in (("before", before), ("after", after)):
        kept = [picture(folder / "images" / id_of(ODD) / f"{when}-{i}.png") for i in range(2)]
        assert np.abs(np.stack(kept).astype(int) - expected).max() <= PICTURE_LEVELS
    with Image.open(folder / "images" / id_of(ODD) / "after-1.png") as image:
        stated = json.loads(image.text["engram"])
    assert (stated["prompt"], stated["image_index"], stated["replaced_by"]) == (ODD, 3, "unconditional")


def test_the_page_and_the_terminal_say_the_same_and_hide_prompts(audited):
    page = (audited.run / "localization" / "localization.md").read_text(encoding="utf-8")
    assert ODD not in page
    assert OTHER not in page
    assert "of 2 (" in page
    first = next(line for line in page.splitlines() if line.startswith("- "))
    assert first.removeprefix("- ") in audited.answer.out.replace("\n", " ")
    assert "localization.md" in audited.answer.out.replace("\n", "")


def test_evaluations_stated_are_what_the_unet_saw_for_them(audited):
    n_clean, of_sampling, of_empty_prompt = 2, 2 * 2 * 2, 1
    n_points = 2
    shared = n_clean * (of_sampling + n_points) + of_empty_prompt
    backward = 2 * n_points  # at one seed
    assert sum(row["evaluations"] - backward for row in rows(audited.run)) == audited.n_latents - shared


def test_the_same_command_again_computes_nothing_and_writes_the_same(audited, copied):
    before = digests(copied)
    with counted_latents() as count:
        assert localize(copied).code == 0
    assert count.n_latents == 0
    assert digests(copied) == before


def test_what_was_localized_before_is_kept_when_more_is_asked_for(fresh, audited):
    assert localize(fresh, "--max-prompts", "1").code == 0
    assert [row["prompt"] for row in rows(fresh)] == [ODD]
    first = digests(fresh)[f"localization/kept/{id_of(ODD)}.safetensors"]
    with counted_latents() as count:
        assert localize(fresh).code == 0
    assert 0 < count.n_latents < audited.n_latents
    assert digests(fresh)[f"localization/kept/{id_of(ODD)}.safetensors"] == first
    assert rows(fresh) == rows(audited.run)


def test_an_interrupted_localization_goes_on_to_the_same_result(fresh, audited):
    with counted_latents(stop_after=audited.n_latents - 4):
        answer = localize(fresh)
    assert refused(answer, 130).endswith("interrupted; run the same command again to go on where it stopped")
    kept = [path.stem for path in (fresh / "localization" / "kept").iterdir()]
    assert kept == [id_of(ODD)]
    with counted_latents() as count:
        assert localize(fresh).code == 0
    assert count.n_latents < audited.n_latents
    assert rows(fresh) == rows(audited.run)


def test_a_damaged_kept_file_is_made_anew(copied, audited):
    kept = copied / "localization" / "kept" / f"{id_of(ODD)}.safetensors"
    kept.write_bytes(kept.read_bytes()[:-7])
    with counted_latents() as count:
        assert localize(copied).code == 0
    assert count.n_latents > 0
    assert rows(copied) == rows(audited.run)


@pytest.mark.parametrize("option", [("--by", "mean"), ("--kind", "text_mlp")])
def test_other_settings_compute_anew(copied, option):
    with counted_latents() as count:
        assert localize(copied, "--max-prompts", "1", *option).code == 0
    assert count.n_latents > 0
    (row,) = rows(copied)
    assert {"--by": row["replaced_by"], "--kind": row["kind"]}[option[0]] == option[1]
    neurons = load_neurons(copied / "localization" / row["neurons_path"])
    assert (neurons.means is not None) == (option == ("--by", "mean"))
    pipe = build_toy_pipe()
    assert set(neurons.neurons) <= {site.name for site in find_sites(pipe, [row["kind"]])}
    with ablate(pipe, neurons, row["replaced_by"]):
        pipe(ODD, num_inference_steps=1, output_type="latent")


def test_showing_prompts_changes_the_page_and_computes_nothing(copied):
    with counted_latents() as count:
        assert localize(copied, "--show-prompts").code == 0
    page = (copied / "localization" / "localization.md").read_text(encoding="utf-8")
    assert ODD in page
    assert "words that carry most" in page
    assert count.n_latents == 0


def test_the_fewest_neurons_are_no_more_than_all(copied, audited):
    assert localize(copied, "--max-prompts", "1", "--minimal", "--checks", "3", "--controls", "0").code == 0
    (row,) = rows(copied)
    assert (row["n_controls"], row["control_change"], row["n_patched"]) == (0, None, None)
    assert 1 <= row["n_neurons"] <= rows(audited.run)[0]["n_neurons"]


def test_recovery_from_the_ablated_model_is_tried_unless_told(copied, monkeypatch):
    monkeypatch.setattr("audit.localizing.MAX_STEPS", 2)
    answer = engram("localize", copied, *QUICK[:-1], "--prompt", OTHER)
    assert answer.code == 0, answer.err
    (row,) = rows(copied)
    assert row["prompt"] == OTHER
    assert 0 <= row["n_recovered_again"] <= 2
    assert "not tried" not in (copied / "localization" / "localization.md").read_text(encoding="utf-8")


def mistaken(run: Path, before: dict[str, str], *options: object, code: int = 2) -> str:
    """What is said of a mistake, which computes and changes nothing."""
    with counted_latents() as count:
        line = refused(localize(run, *options), code)
    assert count.n_latents == 0
    assert digests(run) == before
    return line


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--prompt", "a grey star over the hill"), "--prompt 'a grey star over the hill' brought no picture back"),
        (("--prompt", "\x1b[31m\nnever seen"), "never seen' brought no picture back"),
        (("--kind", "nonsense"), "--kind: "),
        (("--share", "0"), "--share: "),
        (("--guidance-scale", "1"), "--guidance-scale: "),
        (("--samples", "1"), "--samples: "),
        (("--device", "cuda:77"), "cuda:77"),
    ],
)
def test_a_mistake_is_one_line_and_loses_nothing(copied, options, reason):
    assert reason in mistaken(copied, digests(copied), *options)


def test_what_is_no_run_is_refused(tmp_path):
    (tmp_path / "file.txt").write_text("mine")
    assert "engram: " in refused(localize(tmp_path))
    assert "engram: " in refused(localize(tmp_path / "nowhere"))
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_an_unfinished_audit_is_not_trusted(copied, status):
    content = run_json(copied) | {"status": status}
    (copied / "run.json").write_text(json.dumps(content), encoding="utf-8")
    mistaken(copied, digests(copied), code=3)


def test_a_changed_table_is_not_trusted(copied):
    content = bytearray((copied / "recoveries.parquet").read_bytes())
    content[len(content) // 2] ^= 1
    (copied / "recoveries.parquet").write_bytes(content)
    assert "recoveries.parquet" in mistaken(copied, digests(copied), code=3)


def test_a_run_without_findings_is_refused(inputs, finished):
    """The first of the two audits behind `finished` had no training picture, so that nothing was confirmed."""
    run = finished.run.parent / "before"
    assert "nothing to localize" in mistaken(run, digests(run))


def test_another_model_at_the_path_is_refused(copied, audited, tmp_path):
    build_toy_pipe(seed=1).save_pretrained(tmp_path / "other")
    content = run_json(copied)
    content["settings"]["model"] = str(tmp_path / "other")
    (copied / "run.json").write_text(json.dumps(content), encoding="utf-8")
    line = mistaken(copied, digests(copied))
    assert content["model"]["fingerprint"] in line
    assert "audit the model anew" in line


def test_a_model_that_is_gone_is_refused(copied):
    content = run_json(copied)
    content["settings"]["model"] = str(copied / "gone")
    (copied / "run.json").write_text(json.dumps(content), encoding="utf-8")
    assert "gone" in mistaken(copied, digests(copied))
