"""Canaries are planted and audited by the command, apart from the prompts; what cannot be stated is refused."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from flashbulb.audit.canaries.captions import FEWEST_CAPTIONS
from tests.audit.commands import (
    CANDIDATES,
    edit_run_json,
    error_line,
    refused,
    run_flashbulb,
    run_json,
    scores_of,
    text_file,
)
from tests.audit.conftest import Inputs, Plain
from tests.audit.plantings import N_KNOWN, data_set, plant_known

N = N_KNOWN
SHARED_COLUMNS = ["prompt_id", "spike_score", "p_value", "q_value", "flagged", "severity", "style"]


class Audited(NamedTuple):
    """An audit with canaries that the model "was trained on", the manifest, and the options without --canaries."""

    run: Path
    manifest: Path
    options: tuple[object, ...]


@pytest.fixture(scope="module")
def audited(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    folder = tmp_path_factory.mktemp("canaries")
    manifest = plant_known(folder / "planted", inputs.model, inputs.prompts, remembered=True)
    options = inputs.options(folder / "run")
    answer = run_flashbulb("audit", *options, "--canaries", manifest)
    assert answer.code == 0, answer.err
    return Audited(folder / "run", manifest, options)


def test_canaries_change_nothing_about_the_prompts(audited: Audited, plain: Plain) -> None:
    alone, beside = (scores_of(run)[SHARED_COLUMNS] for run in (plain.run, audited.run))
    pd.testing.assert_frame_equal(alone, beside)
    plainly, with_canaries = (run_json(run) for run in (plain.run, audited.run))
    for name in ("counts", "frame", "calibration", "false_recovery", "policy"):
        assert plainly[name] == with_canaries[name]
    for name in ("recoveries", "findings"):
        tables = [pd.read_parquet(run / f"{name}.parquet") for run in (plain.run, audited.run)]
        pd.testing.assert_frame_equal(*tables)


def test_what_is_stated_is_what_the_table_shows(audited: Audited) -> None:
    table, record = pd.read_parquet(audited.run / "canaries.parquet"), run_json(audited.run)["canaries"]
    inside = table[table["is_in"]]
    assert not inside["is_twin"].any()
    assert (record["n_canaries"], record["n_in"]) == (N, len(inside))
    assert inside["replicated"].all()  # their images are samples of the model, with these seeds and settings
    (tier,) = record["tiers"]
    assert tier["detected"]["n"] == inside["flagged"].sum() > 0
    assert tier["false_detected"]["of"] == 2 * N - len(inside)
    tried = table[table["verdict"].notna()]
    assert set(tried["canary_id"]) == set(table[table["flagged"]]["canary_id"])
    assert tier["exposure"] > 0
    assert (tier["privacy"]["n_guesses"], tier["privacy"]["n_correct"]) == (8, 8)


def test_guesses_are_those_that_were_written_before_the_coins_were_read(audited: Audited) -> None:
    written = json.loads((audited.run / "canary_guesses.json").read_text(encoding="utf-8"))
    table = pd.read_parquet(audited.run / "canaries.parquet")
    canaries = table[~table["is_twin"]]
    guesses = canaries["guess"].astype(object).where(canaries["guess"].notna(), None)
    assert written["guesses"] == dict(zip(canaries["canary_id"], guesses, strict=True))
    assert run_json(audited.run)["canaries"]["sha256"] == written["manifest_sha256"]


def test_summary_page_and_terminal_state_the_canaries(audited: Audited) -> None:
    for name in ("summary.md", "report.html"):
        text = (audited.run / name).read_text(encoding="utf-8")
        assert "12 canaries were planted in the training set" in text
        assert "Privacy: 8 of 8 guesses of coin flips were right" in text
    answer = run_flashbulb("report", audited.run)
    assert answer.code == 0, answer.err


def test_canaries_among_the_prompts_are_set_apart(audited: Audited, inputs: Inputs, tmp_path: Path) -> None:
    captions = pd.read_parquet(audited.run / "canaries.parquet")["prompt"].tolist()
    mixed = text_file(tmp_path / "mixed.txt", [*captions[:5], *CANDIDATES, captions[5].upper()])
    texts = inputs.reference.read_text(encoding="utf-8").splitlines()
    reference = text_file(tmp_path / "reference.txt", [*texts, captions[6]])
    given = inputs._replace(prompts=mixed, reference=reference)
    options = (*given.options(tmp_path / "run"), "--sample", len(CANDIDATES) - 1)
    answer = run_flashbulb("audit", *options, "--propensity", 5, "--canaries", audited.manifest)
    assert answer.code == 0, answer.err
    assert "6 rows of" in answer.err
    assert "1 reference prompt of" in answer.err
    assert len(pd.read_parquet(tmp_path / "run" / "reference_scores.parquet")) == len(texts)
    scored = set(scores_of(tmp_path / "run")["prompt"])
    assert len(scored) == len(CANDIDATES) - 1
    assert scored < set(CANDIDATES)
    record = run_json(tmp_path / "run")
    assert record["counts"]["n_rows"] == record["frame"]["n_file"] == len(CANDIDATES)
    assert not set(pd.read_parquet(tmp_path / "run" / "propensity.parquet")["prompt"]) & set(captions)


def test_the_stated_power_rests_on_the_canaries(audited: Audited) -> None:
    record = run_json(audited.run)
    assert record["power"]["sensitivity"]["source"] == "canaries"
    assert record["power"]["sensitivity"]["found"] == record["canaries"]["sensitivity"]
    for name in ("summary.md", "report.html"):
        text = (audited.run / name).read_text(encoding="utf-8")
        assert "The sensitivity was measured in this model" in text
        assert "planted models memorized" not in text


def test_stages_state_what_one_command_states(audited: Audited, inputs: Inputs, tmp_path: Path) -> None:
    run = tmp_path / "run"
    files = ("--model", inputs.model, "--prompts", inputs.prompts, "--reference", inputs.reference, "--out", run)
    assert run_flashbulb("record", *files, "--seeds", "2", "--canaries", audited.manifest).code == 0
    assert run_flashbulb("detect", run, "--fpr", "0.2").code == 0
    answer = run_flashbulb("recover", run, "--samples", "2", "--sample-steps", "2", "--strategy", "sample")
    assert answer.code == 0, answer.err
    assert run_json(run)["canaries"] == run_json(audited.run)["canaries"]


@pytest.fixture(scope="module")
def unlearned(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of canaries that the model was never trained on."""
    return plant_known(tmp_path_factory.mktemp("unlearned"), inputs.model, inputs.prompts, remembered=False)


def test_canaries_that_were_never_trained_on_are_refused(inputs: Inputs, unlearned: Path, tmp_path: Path) -> None:
    answer = run_flashbulb("audit", *inputs.options(tmp_path / "run"), "--canaries", unlearned, "--gate")
    assert answer.code == 3
    assert "no sign that the canaries were trained on" in answer.out
    record = run_json(tmp_path / "run")
    assert record["canaries"]["tiers"] == []
    assert record["canaries"]["sensitivity"] is record["canaries"]["privacy"] is None
    assert record["verdict"]["outcome"] == "untrusted"
    assert "no sign" in run_flashbulb("gate", tmp_path / "run").out


@pytest.mark.parametrize("edit", ["epsilon", "sensitivity", "refused"])
def test_a_statement_that_the_table_does_not_show_is_noticed(audited: Audited, tmp_path: Path, edit: str) -> None:
    run = Path(shutil.copytree(audited.run, tmp_path / "run"))
    if edit == "epsilon":
        edit_run_json(run, "canaries", "privacy", "epsilon", value=0.0)
    elif edit == "sensitivity":
        edit_run_json(run, "canaries", "sensitivity", "n", value=1000)
    else:
        edit_run_json(run, "canaries", value=None)
    assert "canaries" in error_line(run_flashbulb("report", run), 3)


def test_an_edited_manifest_and_one_of_another_data_set_are_refused(
    audited: Audited, inputs: Inputs, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(audited.manifest.parent, tmp_path / "copy"))
    others = text_file(tmp_path / "others.txt", [f"a caption of another data set {i}" for i in range(12)])
    options = inputs._replace(prompts=others).options(tmp_path / "run")
    assert "another data set" in refused("audit", *options, "--canaries", audited.manifest)
    content = (copy / "manifest.json").read_text(encoding="utf-8")
    (copy / "manifest.json").write_text(content.replace("true", "false", 1), encoding="utf-8")
    assert "edited" in refused("audit", *inputs.options(tmp_path / "run"), "--canaries", copy / "manifest.json")
    assert not (tmp_path / "run").exists()


def test_a_missing_image_and_tiers_that_leave_out_are_refused(audited: Audited, inputs: Inputs, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(audited.manifest.parent, tmp_path / "copy"))
    options = (*inputs.options(tmp_path / "run"), "--canaries", copy / "manifest.json")
    assert "--tiers full" in refused("audit", *options, "--tiers", "screened")
    (copy / "canaries" / "0002.png").unlink()
    assert "is missing" in refused("audit", *options)


def test_the_plan_covers_what_canaries_cost(audited: Audited, inputs: Inputs, tmp_path: Path) -> None:
    answer = run_flashbulb("validate", *inputs.options(tmp_path / "run"), "--canaries", audited.manifest, "--json")
    planned = json.loads(answer.out)["evaluations"]["canaries"]
    assert planned["low"] <= run_json(audited.run)["evaluations"]["canaries"] <= planned["high"]


def test_another_manifest_does_not_resume_a_recording(
    audited: Audited, inputs: Inputs, unlearned: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(audited.run, tmp_path / "run"))
    assert "canaries_sha256" in refused("audit", *inputs.options(run), "--canaries", unlearned)


def test_plant_prints_what_the_canaries_can_show(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", FEWEST_CAPTIONS)
    words = ("plant", data, data, "--out", tmp_path / "out", "--number", "18", "--repeats", "1", "--repeats", "4")
    answer = run_flashbulb(*words, "--no-shared", "--seed", "3")
    assert answer.code == 0, answer.err
    assert "4x: 9 canaries, 6 guesses, bound on ε up to 0.43" in answer.out
    assert "all: 18 canaries, 12 guesses, bound on ε up to 1.26" in answer.out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"README.md", "canaries", "manifest.json", "train"}
    assert "not empty" in refused(*words)


def test_plant_prints_one_json_document(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", FEWEST_CAPTIONS)
    words = ("--out", tmp_path / "out", "--number", "9", "--repeats", "2", "--no-shared", "--seed", "3")
    answer = run_flashbulb("plant", data, data, *words, "--json")
    assert answer.code == 0, answer.err
    stated = json.loads(answer.out)
    assert stated["tiers"].keys() == {"2x"}
    assert stated["all"]["n_canaries"] == 9


def test_plant_refuses_no_copy_and_too_few_canaries(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", FEWEST_CAPTIONS)
    assert "at least once" in refused("plant", data, data, "--out", tmp_path / "out", "--repeats", "0")
    assert "at most 10000 copies" in refused("plant", data, data, "--out", tmp_path / "out", "--repeats", "10001")
    assert "plant at least 48" in refused("plant", data, data, "--out", tmp_path / "out", "--number", "20")
