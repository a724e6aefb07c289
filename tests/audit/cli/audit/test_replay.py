"""A finished run can be repeated from its run.json alone; a run that cannot gives one error line and writes nothing."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flashbulb.audit.settings import AuditSettings
from flashbulb.reports.tables.verdict import Verdict
from tests.audit.cli.ablations import NEURONS, ablated, neuron_file
from tests.audit.cli.conftest import N_NEUTRAL
from tests.audit.commands import (
    CANDIDATES,
    REFERENCE,
    edit_run_json,
    message_of,
    run_flashbulb,
    run_json,
    scores_of,
    text_file,
)
from tests.audit.searches import build_worded_pipe

BUDGET = 60 + N_NEUTRAL


@pytest.fixture(scope="module")
def searched(short_searches: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished discovery. Read-only."""
    folder = tmp_path_factory.mktemp("searched")
    build_worded_pipe().save_pretrained(folder / "model")
    starts = ("--starts", "1", "--steps", "1", "--text-starts", "0")
    options = ("--budget", BUDGET, *starts, "--patience", "2", "--out", folder / "run")
    assert run_flashbulb("discover", folder / "model", *options).code == 0
    return folder / "run"


def test_replayed_audit_ignores_other_layers_and_gives_the_same_scores(
    finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLASHBULB_SEEDS", "7")
    monkeypatch.setenv("FLASHBULB_TIERS", "no such tiers")
    text_file(tmp_path / "flashbulb.toml", ["fpr = 0.4", 'prompts = "nowhere.txt"'])
    answer = run_flashbulb("audit", "--replay", finished.run, "--out", tmp_path / "again")
    assert answer.code == 0, answer.err
    assert "settings: " not in answer.err
    assert "different from" not in answer.err
    pd.testing.assert_frame_equal(scores_of(tmp_path / "again"), scores_of(finished.run), check_exact=True)
    original, replayed = run_json(finished.run), run_json(tmp_path / "again")
    assert replayed["settings"] == original["settings"] | {"out": str(tmp_path / "again")}
    assert (replayed["counts"], replayed["verdict"]) == (original["counts"], original["verdict"])


def test_command_line_overrides_a_replayed_run(finished, inputs, tmp_path: Path) -> None:
    prompts = text_file(tmp_path / "other.txt", CANDIDATES[:4])
    options = ("--prompts", prompts, "--seeds", "1", "--max-sampled", "0", "--no-images")
    answer = run_flashbulb("audit", "--replay", finished.run, *options, "--out", tmp_path / "again")
    assert answer.code == 0, answer.err
    original, replayed = run_json(finished.run)["settings"], run_json(tmp_path / "again")["settings"]
    typed = {"prompts": str(prompts), "n_seeds": 1, "max_sampled": 0, "images": False, "out": str(tmp_path / "again")}
    assert replayed == original | typed


def test_calibration_on_the_command_line_replaces_the_reference_of_the_run(finished, inputs, tmp_path: Path) -> None:
    options = ("--model", inputs.model, "--reference", inputs.reference, "--seeds", "2")
    assert run_flashbulb("calibrate", *options, "--out", tmp_path / "calibration").code == 0
    calibration = ("--calibration", tmp_path / "calibration")
    answer = run_flashbulb("audit", "--replay", finished.run, *calibration, "--out", tmp_path / "again")
    assert answer.code == 0, answer.err
    settings = run_json(tmp_path / "again")["settings"]
    assert (settings["reference"], settings["calibration"]) == (None, str(tmp_path / "calibration"))
    pd.testing.assert_frame_equal(scores_of(tmp_path / "again"), scores_of(finished.run), check_exact=True)
    both = (*calibration, "--reference", inputs.reference)
    line = message_of(run_flashbulb("audit", "--replay", finished.run, *both, "--out", tmp_path / "third"))
    assert "exclude each other" in line


def test_replayed_discovery_gives_the_same_search(searched: Path, tmp_path: Path) -> None:
    answer = run_flashbulb("discover", "--replay", searched, "--out", tmp_path / "again")
    assert answer.code == 0, answer.err
    original, replayed = run_json(searched), run_json(tmp_path / "again")
    assert replayed["settings"] == original["settings"] | {"out": str(tmp_path / "again")}
    parts = ("evaluations", "n_rounds", "n_starts", "findings", "stopped_because")
    assert {part: replayed[part] for part in parts} == {part: original[part] for part in parts}


def test_a_changed_text_of_starts_is_refused_unless_it_is_named(searched: Path, tmp_path: Path) -> None:
    run, texts = Path(shutil.copytree(searched, tmp_path / "run")), text_file(tmp_path / "texts.txt", REFERENCE)
    edit_run_json(run, "settings", "starts_from", value=str(texts))
    edit_run_json(run, "identity", "starts_from_sha256", value="0" * 64)
    again = ("discover", "--replay", run, "--out", tmp_path / "again")
    line = message_of(run_flashbulb(*again))
    assert line.startswith(f"{texts} has changed since {run}: its SHA-256 was {'0' * 64}")
    assert line.endswith("restore it, or name it with --starts-from")
    assert not (tmp_path / "again").exists()
    assert run_flashbulb(*again, "--starts-from", texts).code == 0


def test_changed_prompt_files_are_refused_with_both_hashes_unless_they_are_named(finished, tmp_path: Path) -> None:
    run, given = Path(shutil.copytree(finished.run, tmp_path / "run")), {"prompts": CANDIDATES, "reference": REFERENCE}
    files = {option: text_file(tmp_path / f"{option}.txt", texts) for option, texts in given.items()}
    edit_run_json(run, "settings", "max_sampled", value=0)
    for option, path in files.items():
        edit_run_json(run, "settings", option, value=str(path))
    again = ("audit", "--replay", run, "--out", tmp_path / "again")
    for option, path in files.items():
        text_file(path, [*given[option], "one more"])
        line = message_of(run_flashbulb(*again))
        sha256 = run_json(run)["inputs"][option]["sha256"]
        assert line.startswith(f"{path} has changed since {run}: its SHA-256 was {sha256}")
        assert line.endswith(f"restore it, or name it with --{option}")
        assert not (tmp_path / "again").exists()
        text_file(path, given[option])
    assert run_flashbulb(*again).code == 0
    named = []
    for option, path in files.items():
        text_file(path, [*given[option], f"one more of {option}"])
        named += [f"--{option}", path]
    assert run_flashbulb(*again[:-1], tmp_path / "third", *named).code == 0


def test_another_model_or_version_is_a_warning(finished, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished.run, tmp_path / "run"))
    edit_run_json(run, "settings", "max_sampled", value=0)
    edit_run_json(run, "identity", "recording", "model_fingerprint", value="0123456789abcdef")
    edit_run_json(run, "identity", "recording", "versions", "torch", value="1.0")
    answer = run_flashbulb("audit", "--replay", run, "--out", tmp_path / "again")
    assert answer.code == 0, answer.err
    assert f"different from {run}: model_fingerprint was '0123456789abcdef', is now '" in answer.err
    assert f"different from {run}: versions.torch was '1.0', is now '" in answer.err
    model = run_json(run)["settings"]["model"]
    assert (
        "model_fingerprint"
        not in run_flashbulb("audit", "--replay", run, "--model", model, "--out", tmp_path / "b").err
    )


INVALID_RUNS = {
    "standard input": (("settings", "prompts"), "-", "read standard input; give the same lines as --prompts FILE"),
    "reference from it": (("settings", "reference"), "-", "read standard input; give the same lines as --reference"),
    "newer": (("schema_version",), 99, "schema version 99"),
    "unfinished": (("status",), "interrupted", "the audit is not complete"),
    "of a discovery": (("status",), "discovery", "belongs to a discovery, not to an audit"),
    "of a calibration": (("status",), "calibration", "belongs to a calibration, not to an audit"),
    "damaged counts": (("counts",), [], "counts: "),
    "no identity": (("identity",), None, "does not record what it was made from"),
    "unknown setting": (("settings", "colour"), "red", "settings.colour: Extra inputs are not permitted, got 'red'"),
    "impossible setting": (("settings", "fpr"), 2, "settings.fpr: Input should be less than 0.5, got 2"),
}


@pytest.mark.parametrize("case", INVALID_RUNS)
def test_run_that_cannot_be_replayed_is_one_line(copied: Path, tmp_path: Path, case: str) -> None:
    key, value, line = INVALID_RUNS[case]
    edit_run_json(copied, *key, value=value)
    assert line in message_of(run_flashbulb("audit", "--replay", copied, "--out", tmp_path / "again"))
    assert not (tmp_path / "again").exists()


def test_missing_setting_is_named(copied: Path, tmp_path: Path) -> None:
    settings = run_json(copied)["settings"]
    edit_run_json(copied, "settings", value={name: settings[name] for name in settings if name != "prompts"})
    line = message_of(run_flashbulb("audit", "--replay", copied, "--out", tmp_path / "again"))
    assert line == f"--replay {copied}: settings.prompts: Field required"


def test_a_replay_needs_a_directory_of_its_own(copied: Path, searched: Path, tmp_path: Path) -> None:
    assert "give --out" in message_of(run_flashbulb("audit", "--replay", copied))
    assert "give another directory" in message_of(run_flashbulb("audit", "--replay", copied, "--out", copied))
    assert "is not a directory" in message_of(
        run_flashbulb("audit", "--replay", tmp_path / "none", "--out", tmp_path / "again")
    )
    (copied / "run.json").write_text("{", encoding="utf-8")
    assert "is not valid JSON" in message_of(run_flashbulb("audit", "--replay", copied, "--out", tmp_path / "again"))
    assert "--replay: " in message_of(run_flashbulb("discover", "--replay", copied, "--out", tmp_path / "again"))
    assert "belongs to a discovery" in message_of(
        run_flashbulb("audit", "--replay", searched, "--out", tmp_path / "again")
    )


def test_a_run_cannot_allow_pickles(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[AuditSettings] = []

    def keep(settings: AuditSettings, **_: Any) -> Verdict:
        seen.append(settings)
        return Verdict("pass", 0, ())

    monkeypatch.setattr("flashbulb.audit.stages.audit.run_audit", keep)
    edit_run_json(copied, "settings", "allow_pickle", value=True)
    again = ("audit", "--replay", copied, "--out", tmp_path / "again")
    for options in ((), ("--allow-pickle",)):
        assert run_flashbulb(*again, *options).code == 0
    assert [settings.allow_pickle for settings in seen] == [False, True]


def test_every_command_that_writes_a_directory_records_its_settings(
    finished, searched: Path, inputs, tmp_path: Path
) -> None:
    reference = ("--reference", inputs.reference, "--seeds", "1", "--out", tmp_path / "calibration")
    assert run_flashbulb("calibrate", "--model", inputs.model, *reference).code == 0
    assert ablated(inputs.model, neuron_file(tmp_path / "neurons.json", NEURONS), tmp_path / "ablation").code == 0
    fields = {finished.run: "fpr", searched: "budget", tmp_path / "calibration": "n_seeds", tmp_path / "ablation": "by"}
    assert [run for run, field in fields.items() if field not in run_json(run)["settings"]] == []


def test_weights_that_can_run_code_are_not_taken_from_the_run(finished, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished.run, tmp_path / "run"))
    (tmp_path / "weights.pt").write_bytes(b"code")
    for name, value in {"descriptor": "dinov2", "descriptor_weights": str(tmp_path / "weights.pt")}.items():
        edit_run_json(run, "settings", name, value=value)
    edit_run_json(run, "settings", "allow_pickle", value=True)
    line = message_of(run_flashbulb("audit", "--replay", run, "--out", tmp_path / "again"))
    assert "--descriptor-weights belong together" in line
    assert not (tmp_path / "again").exists()
