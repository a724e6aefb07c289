"""With `--json`, standard output is one document and nothing else, whatever the verdict."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.audit.cli.gate.verdicts import RUNS, TODAY, leaks_of, waiver
from tests.audit.commands import Answer, only_error_line, run_flashbulb
from tests.paths import ROOT
from tests.reports.runs import HOSTILE, LEAKS, SECRET, write_example


def read_document(answer: Answer) -> dict[str, Any]:
    """Return the only document on stdout, after checking that it is ASCII and valid JSON."""
    assert answer.out.isascii()
    content = json.loads(answer.out, parse_constant=pytest.fail)
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("outcome", RUNS)
def test_the_document_states_the_verdict(tmp_path: Path, outcome: str) -> None:
    options, code = RUNS[outcome]
    run = write_example(tmp_path / "run", **options)
    answer = run_flashbulb("gate", run, "--json", "--findings", tmp_path / "findings.jsonl")
    document = read_document(answer)
    assert (answer.code, document["outcome"], document["exit_code"]) == (code, outcome, code)
    assert list(document) == [
        "outcome",
        "exit_code",
        "reasons",
        "notes",
        "policy",
        "model",
        "seal",
        "counted",
        "leaks",
        "next_steps",
        "findings",
    ]
    assert run_flashbulb("gate", run).out.startswith(f"{outcome}: {' '.join(document['reasons'])}\n")
    assert document["policy"]["max_high"] == 0
    assert document["model"] == {"name": "models/toy", "fingerprint": "sha256:0123"}
    assert document["counted"]["n_flagged"] == len(document["findings"])
    rows = [json.loads(line) for line in (tmp_path / "findings.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows == document["findings"]


def test_unreadable_run_still_has_a_document(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run")
    old, waivers = write_example(tmp_path / "old", {0: "low"}), tmp_path / "waivers.toml"
    waivers.write_text("", encoding="utf-8")
    (run / "scores.parquet").write_bytes(b"PAR1")
    commands = (
        ("gate", run),
        ("gate", run, "--exit-zero"),
        ("gate", old, "--baseline", run, "--new-only"),
        ("diff", old, run),
        ("waivers", "check", waivers, "--run", run),
    )
    for command in commands:
        answer = run_flashbulb(*command, "--json")
        document = read_document(answer)
        assert (document["outcome"], document["exit_code"]) == ("untrusted", 3)
        assert only_error_line(answer, code=3) == f"flashbulb: {document['reasons'][0]}"


def test_a_mistake_has_no_document(tmp_path: Path) -> None:
    run, other = write_example(tmp_path / "run"), write_example(tmp_path / "other", settings={"seed": 1})
    for command in (
        ("gate", tmp_path / "nowhere"),
        ("gate", run, "--policy", tmp_path / "nowhere.toml"),
        ("gate", run, "--new-only"),
        ("gate", run, "--baseline", other),
        ("diff", run, other),
        ("waivers", "check", tmp_path / "nowhere.toml"),
    ):
        answer = run_flashbulb(*command, "--json")
        only_error_line(answer)
        assert answer.out == ""


def test_exit_zero_changes_the_exit_and_not_the_verdict(tmp_path: Path) -> None:
    answer = run_flashbulb("gate", write_example(tmp_path / "run", LEAKS), "--json", "--exit-zero")
    assert answer.code == 0
    assert read_document(answer)["exit_code"] == 1


@pytest.mark.parametrize("show", [False, True])
def test_prompts_are_hidden_unless_they_are_asked_for(tmp_path: Path, show: bool) -> None:
    prompts = [f"{HOSTILE} {index} {SECRET}" for index in range(20)]
    run = write_example(tmp_path / "run", LEAKS, prompts=prompts)
    old = write_example(tmp_path / "old", {}, prompts=prompts)
    for command, key in ((("gate", run), "findings"), (("diff", old, run), "changes")):
        document = read_document(run_flashbulb(*command, "--json", *(["--show-prompts"] if show else [])))
        assert [row["prompt"] for row in document[key]] == (prompts[:4] if show else [None] * 4)


def test_a_comparison_lists_every_change(tmp_path: Path) -> None:
    old = write_example(tmp_path / "old", {0: "high", 1: "low", 6: "low"})
    new = write_example(tmp_path / "new", LEAKS)
    document = read_document(run_flashbulb("diff", old, new, "--json"))
    assert list(document) == ["outcome", "exit_code", "notes", "old", "new", "counts", "changes"]
    assert (document["outcome"], document["exit_code"]) == ("compared", 0)
    assert document["counts"] == {"new": 2, "worse": 1, "better": 0, "unchanged": 1, "fixed": 1}
    changes = pl.DataFrame(document["changes"])["change"].value_counts()
    assert dict(changes.iter_rows()) == {name: n for name, n in document["counts"].items() if n}


def test_comparison_names_an_untrusted_run(tmp_path: Path) -> None:
    old = write_example(tmp_path / "old", LEAKS, n_false=8)
    new = write_example(tmp_path / "new", LEAKS)
    (note,) = read_document(run_flashbulb("diff", old, new, "--json"))["notes"]
    assert note.startswith("The older run is untrusted: 8 of 8 controls")
    assert f"note: {note}" in run_flashbulb("diff", old, new).out


@pytest.mark.usefixtures("on_one_day")
def test_waivers_are_listed_with_their_state(tmp_path: Path) -> None:
    run, waivers = write_example(tmp_path / "run", LEAKS), tmp_path / "waivers.toml"
    first, second = leaks_of(run)
    days = {first: TODAY, second: TODAY - timedelta(days=1), "0" * 16: TODAY + timedelta(days=1)}
    waivers.write_text("".join(waiver(name, day.isoformat()) for name, day in days.items()), encoding="utf-8")
    answer = run_flashbulb("waivers", "check", waivers, "--run", run, "--json")
    document = read_document(answer)
    assert (answer.code, document["outcome"], document["exit_code"]) == (1, "fail", 1)
    assert [(row["expired"], row["unused"]) for row in document["waivers"]] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    assert [row["expires"] for row in document["waivers"]] == [day.isoformat() for day in days.values()]
    waivers.write_text(waiver(first, TODAY.isoformat()), encoding="utf-8")
    document = read_document(run_flashbulb("waivers", "check", waivers, "--json"))
    assert (document["outcome"], document["waivers"][0]["unused"]) == ("pass", None)


@pytest.mark.usefixtures("on_one_day")
def test_document_keys_are_documented(tmp_path: Path) -> None:
    run, waivers = write_example(tmp_path / "run", LEAKS), tmp_path / "waivers.toml"
    waivers.write_text(waiver("0" * 16, TODAY.isoformat()), encoding="utf-8")
    page = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    documents = [
        read_document(run_flashbulb(*command, "--json"))
        for command in (("gate", run), ("diff", run, run), ("waivers", "check", waivers))
    ]
    assert not [key for document in documents for key in document if f"`{key}`" not in page]
