"""With `--json`, stdout is one document and messages go to stderr; an error is still one line."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from flashbulb.audit.cli.shell.output import print_json
from tests.audit.cli.ablations import NEURONS, neuron_file
from tests.audit.cli.conftest import N_NEUTRAL
from tests.audit.commands import CANDIDATES, ODD, REFERENCE, run_flashbulb, run_json, scores_of, text_file
from tests.audit.conftest import RECOVERY_OPTIONS, recording
from tests.audit.searches import build_worded_pipe
from tests.reports.pages import save_image
from tests.reports.runs import HOSTILE


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not valid JSON")


def document_of(*arguments: object, code: int = 0) -> dict[str, Any]:
    """Run a command and return the one document that it prints."""
    answer = run_flashbulb(*arguments, "--json")
    assert answer.code == code, answer.err
    assert answer.out.isascii()
    document: dict[str, Any] = json.loads(answer.out, parse_constant=refuse_constant)
    return document


def test_stages_print_their_run_json(inputs, tmp_path):
    run = tmp_path / "run"
    calls: Sequence[tuple[str, tuple[object, ...]]] = (
        ("recorded", ("record", *recording(inputs, run))),
        ("recorded", ("record", *recording(inputs, run))),
        ("detected", ("detect", run, "--fpr", "0.2")),
        ("detected", ("detect", run)),
        ("complete", ("recover", run, *RECOVERY_OPTIONS)),
    )
    for status, arguments in calls:
        document = document_of(*arguments)
        assert document == {"run": str(run), **run_json(run)}
        assert document["status"] == status


def test_audit_prints_its_run_json_and_exits_with_its_verdict(finished):
    document = document_of("audit", "--gate", *finished.options, code=1)
    assert document == {"run": str(finished.run), **run_json(finished.run)}
    assert (document["status"], document["verdict"]["exit_code"]) == ("complete", 1)


def test_summary_goes_to_stderr(finished):
    answer = run_flashbulb("audit", *finished.options, "--json")
    assert "The most suspicious prompts" in answer.err
    assert "The most suspicious prompts" not in answer.out


def test_calibration_prints_its_folder_and_content(inputs, tmp_path):
    options = ("--model", inputs.model, "--reference", inputs.reference, "--seeds", "2", "--out", tmp_path / "c")
    document = document_of("calibrate", *options)
    assert document["calibration"] == str(tmp_path / "c")
    assert (document["n_shards"], document["prompts"]["n_rows"]) == (1, len(REFERENCE))


def test_discovery_prints_its_run_json(short_searches, tmp_path):
    build_worded_pipe().save_pretrained(tmp_path / "model")
    budget = N_NEUTRAL + 2 * (3 + 3 * 15 + 6 + 2 + 12)  # the baseline's prompts and one round
    options = ("--budget", budget, "--starts", "2", "--steps", "1", "--text-starts", "1", "--out", tmp_path / "run")
    document = document_of("discover", tmp_path / "model", *options)
    assert document == {"run": str(tmp_path / "run"), **run_json(tmp_path / "run")}
    assert document["n_starts"] == 2


def test_an_ablation_prints_its_run_json(inputs, tmp_path):
    neurons = neuron_file(tmp_path / "neurons.json", NEURONS)
    options = (
        "--neurons",
        neurons,
        "--prompt",
        ODD,
        "--samples",
        "2",
        "--sample-steps",
        "2",
        "--out",
        tmp_path / "out",
    )
    assert document_of("ablate", inputs.model, *options) == {"run": str(tmp_path / "out"), **run_json(tmp_path / "out")}


def test_a_localization_counts_what_it_erased(copied):
    quick = ("--samples", "2", "--sample-steps", "2", "--points", "2", "--controls", "1", "--no-again")
    document = document_of("localize", copied, *quick)
    assert document["localization"] == str(copied / "localization")
    assert document["n_memories"] + document["n_not_shown"] == 1
    assert 0 <= document["n_erased"] <= document["n_memories"]


def test_an_index_counts_its_images(tmp_path):
    for name in ("one", "two"):
        save_image(tmp_path / "images" / f"{name}.png", len(name))
    assert document_of("index", tmp_path / "images", tmp_path / "index") == {
        "index": str(tmp_path / "index"),
        "n_pictures": 2,
        "passed_over": [],
    }


def test_sites_and_detectors_are_listed(inputs):
    sites = document_of("sites", inputs.model)
    assert sites["model"] == str(inputs.model)
    assert {site["kind"] for site in sites["sites"]} == {
        *("text_mlp", "cross_k", "cross_v", "cross_out", "feed_forward")
    }
    assert all(site["n_neurons"] > 0 and site["name"] for site in sites["sites"])
    detectors = document_of("detectors")["detectors"]
    assert {"nemo", "spikes_feed_forward", "sharpness"} <= {detector["name"] for detector in detectors}
    assert all(detector.keys() == {*("name", "reads", "evaluations", "by_default", "source")} for detector in detectors)


def test_evaluation_prints_its_rows_without_nan(finished, tmp_path):
    labels = text_file(tmp_path / "labels.csv", ["prompt,label", f"{ODD},1", *(f"{text},0" for text in CANDIDATES[:3])])
    document = document_of("evaluate", finished.run, "--labels", labels)
    assert document["run"] == str(finished.run)
    row = next(row for row in document["rows"] if row["detector"] == "spike_score")
    assert row["auc"]["low"] <= row["auc"]["value"] <= row["auc"]["high"] <= 1
    assert row["tpr_01"] is None


@pytest.mark.parametrize("name", ["detected", "complete"])
def test_shown_prompt_agrees_with_the_tables(staged, name):
    run = getattr(staged, name)
    row = scores_of(run).set_index("prompt").loc[ODD]
    by_text, by_id = (document_of("show", run, wanted) for wanted in (ODD, row["prompt_id"][:8]))
    assert by_text == by_id
    assert by_text["spike_score"] == row["spike_score"]
    assert by_text["severity"] == row["severity"] == {"detected": "medium", "complete": "high"}[name]
    assert len(by_text["sites"]) > 0
    assert [attempt["verdict"] for attempt in by_text["rungs"]] == ([] if name == "detected" else ["confirmed"])
    assert all((run / path).is_file() for path in by_text["images"])
    shown = run_flashbulb("show", run, ODD)
    assert ODD in shown.out
    assert ("Recovery was not tried" in shown.out) == (name == "detected")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("audit", "--model", "nowhere"), 2),
        (("record", "--model", "nowhere", "--prompts", "p.txt"), 2),
        (("validate", "--model", "nowhere", "--prompts", "p.txt"), 2),
        (("detect", "nowhere"), 2),
        (("recover", "nowhere"), 2),
        (("show", "nowhere", "p"), 2),
        (("evaluate", "nowhere", "--labels", "l.csv"), 2),
        (("sites", "nowhere"), 2),
        (("discover", "nowhere", "--budget", "1"), 2),
        (("pull", "nowhere", "images"), 2),
        (("calibrate", "--reference", "r.txt", "--out", "o"), 2),
    ],
)
def test_error_is_one_line_without_a_document(arguments, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = run_flashbulb(*arguments, "--json")
    assert (answer.code, answer.out, len(answer.errors)) == (code, "", 1)


def test_document_has_no_control_characters_and_no_non_finite_numbers(capsys):
    text = f"{HOSTILE}\x7f"
    print_json({"text": text, "scores": (float("nan"), float("inf"), 1.5), "path": Path("x"), "inner": {1: [text]}})
    out = capsys.readouterr().out
    assert out.isascii()
    assert all(character.isprintable() or character == "\n" for character in out)
    document = json.loads(out, parse_constant=refuse_constant)
    assert document == {"text": text, "scores": [None, None, 1.5], "path": "x", "inner": {"1": [text]}}
