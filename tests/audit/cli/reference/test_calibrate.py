"""A reference recorded once serves every audit of the same model and settings, and no other audit."""

import re

import pandas as pd
import pytest

from flashbulb.reports.tables.run_record import load_run
from tests.audit.cli.reference.conftest import FAST, N_SEEDS, audit_options
from tests.audit.commands import (
    CANDIDATES,
    ODD,
    REFERENCE,
    digests,
    refused,
    run_flashbulb,
    run_json,
    scores_of,
    text_file,
)
from tests.toy import build_toy_pipe


def test_audit_with_a_calibration_equals_one_with_its_reference(inputs, calibrated, tmp_path):
    answer = run_flashbulb("audit", *audit_options(inputs, calibrated.folder, tmp_path / "run", *FAST))
    assert answer.code == 0, answer.err
    pd.testing.assert_frame_equal(scores_of(tmp_path / "run"), scores_of(calibrated.run), check_exact=True)
    assert load_run(tmp_path / "run").calibration == load_run(calibrated.run).calibration
    assert run_json(tmp_path / "run")["inputs"]["reference"]["source"] == str(inputs.reference)
    assert run_flashbulb("gate", tmp_path / "run").code == run_flashbulb("gate", calibrated.run).code


def test_audited_prompts_in_the_reference_are_left_out_and_named(inputs, calibrated, tmp_path):
    mixed = text_file(tmp_path / "mixed.txt", [*REFERENCE, *(text.upper() for text in CANDIDATES)])
    out = tmp_path / "run"
    answer = run_flashbulb("audit", *inputs._replace(reference=mixed).options(out), "--max-sampled", "0")
    assert answer.code == 0, answer.err
    line = f"{len(CANDIDATES)} reference prompts of {mixed} left out, because they are audited as well"
    assert line in answer.err
    assert any(line in warning for warning in run_json(out)["warnings"])
    pd.testing.assert_frame_equal(scores_of(out), scores_of(calibrated.run), check_exact=True)
    assert load_run(out).calibration.n_reference == len(REFERENCE)
    assert run_flashbulb("detect", out, "--fpr", "0.3").code == 0
    assert any(line in warning for warning in run_json(out)["warnings"])


def test_a_calibration_of_audited_prompts_is_refused(inputs, calibrated, tmp_path):
    prompts = text_file(tmp_path / "captions.txt", [*CANDIDATES, REFERENCE[0].title()])
    command = audit_options(inputs._replace(prompts=prompts), calibrated.folder, tmp_path / "run", *FAST)
    line = refused("audit", *command)
    assert f"holds 1 prompt to audit, first {REFERENCE[0]!r}" in line
    assert "give --reference, which leaves them out" in line


def test_a_reference_of_audited_prompts_alone_is_refused(inputs, tmp_path):
    options = inputs._replace(reference=inputs.prompts).options(tmp_path / "run")
    assert f"has 0 that are not audited, and {len(CANDIDATES)} that are" in refused("audit", *options)


def test_calibration_is_read_and_not_recorded_again(inputs, calibrated, tmp_path):
    before = digests(calibrated.folder)
    answer = run_flashbulb("audit", *audit_options(inputs, calibrated.folder, tmp_path / "run", *FAST))
    assert answer.code == 0, answer.err
    assert "recording reference" not in answer.err
    assert not (tmp_path / "run" / "activations" / "reference").exists()
    assert digests(calibrated.folder) == before
    with_reference, with_calibration = (run_json(run)["evaluations"] for run in (calibrated.run, tmp_path / "run"))
    assert with_reference["record"] - with_calibration["record"] == len(REFERENCE) * N_SEEDS
    assert with_reference["recover"] == with_calibration["recover"] == 0


def test_calibrating_twice_records_once(inputs, damaged):
    before = digests(damaged)
    options = ("--model", inputs.model, "--reference", inputs.reference, "--seeds", N_SEEDS)
    assert run_flashbulb("calibrate", *options, "--out", damaged).code == 0
    after = digests(damaged)
    assert {name for name in before if after[name] != before[name]} <= {"run.json"}  # it names --out
    assert after.keys() == before.keys()


def test_moved_calibration_gives_the_same_scores(inputs, damaged, calibrated, tmp_path):
    moved = damaged.rename(tmp_path / "moved")
    assert run_flashbulb("audit", *audit_options(inputs, moved, tmp_path / "run", *FAST)).code == 0
    pd.testing.assert_frame_equal(scores_of(tmp_path / "run"), scores_of(calibrated.run), check_exact=True)


def test_audits_of_other_prompts_rates_and_batches_share_a_calibration(inputs, calibrated, tmp_path):
    prompts = text_file(tmp_path / "other.txt", ["a red hill", ODD])
    options = audit_options(inputs._replace(prompts=prompts), calibrated.folder, tmp_path / "run", "--seeds", N_SEEDS)
    answer = run_flashbulb("audit", *options, "--fpr", "0.1", "--batch-size", "4", "--max-sampled", "0")
    assert answer.code == 0, answer.err
    assert load_run(tmp_path / "run").calibration.n_reference == len(REFERENCE)


OTHER_SETTINGS = {
    "run seed": (("--seed", "7"), "settings.seed 0, this audit has 7"),
    "number of seeds": (("--seeds", "3"), "settings.n_seeds 2, this audit has 3"),
    "sites": (
        ("--sites", "feed_forward", "--sites", "cross_v"),
        "'cross_out', 'feed_forward'], this audit has ['feed_forward', 'cross_v']",
    ),
    "detectors": (("--detectors", "nemo"), "'picture_agreement'], this audit has ['nemo']"),
    "dtype": (("--dtype", "bfloat16"), "dtype 'float32', this audit has 'bfloat16'"),
}


@pytest.mark.parametrize("kind", OTHER_SETTINGS)
def test_calibration_of_other_settings_is_refused_with_both_values(inputs, calibrated, tmp_path, kind):
    changes, expected = OTHER_SETTINGS[kind]
    options = audit_options(inputs, calibrated.folder, tmp_path / "run", *FAST, *changes)
    assert f"{calibrated.folder} was calibrated with " in (line := refused("audit", *options))
    assert expected in line
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_continued_on_a_calibration_that_was_made_again_of_other_prompts(inputs, damaged, tmp_path):
    run, others = (
        tmp_path / "run",
        text_file(tmp_path / "others.txt", [f"the {name} of the hill" for name in REFERENCE]),
    )
    assert run_flashbulb("audit", *audit_options(inputs, damaged, run, *FAST)).code == 0
    before = digests(run)
    options = ("--model", inputs.model, "--reference", others, "--seeds", N_SEEDS, "--out", damaged, "--force")
    assert run_flashbulb("calibrate", *options).code == 0
    for command in (("detect", run, "--fpr", "0.3"), ("recover", run, "--samples", "3")):
        assert f"{damaged} now holds other reference prompts" in refused(*command)
    assert digests(run) == before


def test_a_calibration_of_another_column_of_one_file_is_another(inputs, tmp_path):
    table = tmp_path / "reference.csv"
    table.write_text("title,prompt\n" + "".join(f"the {text} of the hill,{text}\n" for text in REFERENCE))
    calibration, run = tmp_path / "calibration", tmp_path / "run"

    def calibrate(column: str, *more: object) -> None:
        options = ("--model", inputs.model, "--reference", table, "--seeds", N_SEEDS, "--out", calibration)
        answer = run_flashbulb("calibrate", *options, "--reference-column", column, *more)
        assert answer.code == 0, answer.err

    calibrate("prompt")
    audit = ("audit", *audit_options(inputs, calibration, run, *FAST))
    assert run_flashbulb(*audit).code == 0
    calibrate("title", "--force")
    before = digests(run)
    assert f"{calibration} now holds other reference prompts" in refused("detect", run, "--fpr", "0.3")
    assert "reference_texts_sha256" in refused(*audit)
    assert f"{calibration} has changed since" in refused("audit", "--replay", run, "--out", tmp_path / "replayed")
    assert digests(run) == before


def test_calibration_of_another_model_is_refused_with_both_fingerprints(inputs, calibrated, tmp_path):
    build_toy_pipe(seed=1).save_pretrained(tmp_path / "other")
    line = refused(
        "audit", *audit_options(inputs._replace(model=tmp_path / "other"), calibrated.folder, tmp_path / "run")
    )
    calibrated_with, audited = re.search(r"with model '(\w+)', this audit has '(\w+)'", line).groups()
    assert calibrated_with == run_json(calibrated.run)["model"]["fingerprint"] != audited
    assert not (tmp_path / "run").exists()


def test_all_differences_are_counted(inputs, calibrated, tmp_path):
    options = audit_options(inputs, calibrated.folder, tmp_path / "run", *FAST, "--seed", "7", "--seeds", "3")
    assert "(and 1 more differ)" in refused("audit", *options)


def test_two_references_are_refused(inputs, calibrated, tmp_path):
    options = audit_options(inputs, calibrated.folder, tmp_path / "run", *FAST)
    assert "give one of them" in refused("audit", *options, "--reference", inputs.reference)
    assert not (tmp_path / "run").exists()


def test_calibration_needs_enough_prompts_and_a_folder_of_its_own(inputs, finished, tmp_path):
    few = text_file(tmp_path / "few.txt", ["a", "b", "c"])
    command = ("calibrate", "--model", inputs.model, "--seeds", N_SEEDS)
    assert "has 3" in refused(*command, "--reference", few, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    before = digests(finished.run)
    assert "choose another --out" in refused(*command, "--reference", inputs.reference, "--out", finished.run)
    assert digests(finished.run) == before


def test_calibration_of_other_prompts_does_not_overwrite(inputs, damaged, tmp_path):
    before = digests(damaged)
    other = text_file(tmp_path / "other.txt", REFERENCE[1:])
    command = ("calibrate", "--model", inputs.model, "--seeds", N_SEEDS, "--reference", other, "--out", damaged)
    assert "prompts_sha256 was" in refused(*command)
    assert digests(damaged) == before
    assert run_flashbulb(*command, "--force").code == 0
    table = pd.read_parquet(damaged / "prompts.parquet")
    assert table["text"].tolist() == REFERENCE[1:]
