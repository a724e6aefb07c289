"""`--json`: one document on standard output whatever the verdict, and no other word beside it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.audit.commands import Answer, engram
from tests.audit.test_gate_command import RUNS, leaks_of, refused, waiver
from tests.reports.runs import HOSTILE, LEAKS, SECRET, write_example

DAY = datetime.now(UTC).date()


def document(answer: Answer) -> dict[str, Any]:
    """The only document on stdout; it is ASCII and has no number that JSON does not know."""
    assert answer.out.isascii()
    content = json.loads(answer.out, parse_constant=pytest.fail)
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("outcome", RUNS)
def test_the_document_states_the_verdict(tmp_path: Path, outcome: str) -> None:
    options, code = RUNS[outcome]
    run = write_example(tmp_path / "run", **options)
    answer = engram("gate", run, "--json", "--findings", tmp_path / "findings.jsonl")
    said = document(answer)
    assert (answer.code, said["outcome"], said["exit_code"]) == (code, outcome, code)
    assert list(said) == ["outcome", "exit_code", "reasons", "notes", "policy", "model", "counted", "findings"]
    assert engram("gate", run).out.startswith(f"{outcome}: {' '.join(said['reasons'])}\n")
    assert said["policy"]["max_high"] == 0
    assert said["model"] == {"name": "models/toy", "fingerprint": "sha256:0123"}
    assert said["counted"]["n_flagged"] == len(said["findings"])
    rows = [json.loads(line) for line in (tmp_path / "findings.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows == said["findings"]


def test_a_run_that_cannot_be_read_has_a_document_as_well(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run")
    old, waivers = write_example(tmp_path / "old"), tmp_path / "waivers.toml"
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
        answer = engram(*command, "--json")
        said = document(answer)
        assert (said["outcome"], said["exit_code"]) == ("untrusted", 3)
        assert refused(answer, code=3) == f"engram: {said['reasons'][0]}"


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
        answer = engram(*command, "--json")
        refused(answer)
        assert answer.out == ""


def test_exit_zero_changes_the_exit_and_not_the_verdict(tmp_path: Path) -> None:
    answer = engram("gate", write_example(tmp_path / "run", LEAKS), "--json", "--exit-zero")
    assert answer.code == 0
    assert document(answer)["exit_code"] == 1


@pytest.mark.parametrize("show", [False, True])
def test_prompts_are_hidden_unless_they_are_asked_for(tmp_path: Path, show: bool) -> None:
    prompts = [f"{HOSTILE} {index} {SECRET}" for index in range(20)]
    run = write_example(tmp_path / "run", LEAKS, prompts=prompts)
    old = write_example(tmp_path / "old", {}, prompts=prompts)
    for command, key in ((("gate", run), "findings"), (("diff", old, run), "changes")):
        said = document(engram(*command, "--json", *(["--show-prompts"] if show else [])))
        assert [row["prompt"] for row in said[key]] == (prompts[:4] if show else [None] * 4)


def test_a_comparison_lists_every_change(tmp_path: Path) -> None:
    old = write_example(tmp_path / "old", {0: "high", 1: "low", 6: "low"})
    new = write_example(tmp_path / "new", LEAKS)
    said = document(engram("diff", old, new, "--json"))
    assert list(said) == ["outcome", "exit_code", "notes", "old", "new", "counts", "changes"]
    assert (said["outcome"], said["exit_code"]) == ("compared", 0)
    assert said["counts"] == {"new": 2, "worse": 1, "better": 0, "unchanged": 1, "fixed": 1}
    changes = pl.DataFrame(said["changes"])["change"].value_counts()
    assert dict(changes.iter_rows()) == {name: n for name, n in said["counts"].items() if n}


def test_a_comparison_names_a_run_that_is_not_to_be_trusted(tmp_path: Path) -> None:
    old = write_example(tmp_path / "old", LEAKS, n_false=8)
    new = write_example(tmp_path / "new", LEAKS)
    (note,) = document(engram("diff", old, new, "--json"))["notes"]
    assert note.startswith("The older run is not to be trusted: 8 of 8 controls")
    assert f"note: {note}" in engram("diff", old, new).out


def test_waivers_are_listed_with_their_state(tmp_path: Path) -> None:
    run, waivers = write_example(tmp_path / "run", LEAKS), tmp_path / "waivers.toml"
    one, other = leaks_of(run)
    days = {one: DAY, other: DAY - timedelta(days=1), "0" * 16: DAY + timedelta(days=1)}
    waivers.write_text("".join(waiver(name, day.isoformat()) for name, day in days.items()), encoding="utf-8")
    answer = engram("waivers", "check", waivers, "--run", run, "--json")
    said = document(answer)
    assert (answer.code, said["outcome"], said["exit_code"]) == (1, "fail", 1)
    assert [(row["expired"], row["unused"]) for row in said["waivers"]] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    assert [row["expires"] for row in said["waivers"]] == [day.isoformat() for day in days.values()]
    waivers.write_text(waiver(one, DAY.isoformat()), encoding="utf-8")
    said = document(engram("waivers", "check", waivers, "--json"))
    assert (said["outcome"], said["waivers"][0]["unused"]) == ("pass", None)


def test_the_keys_are_documented(tmp_path: Path) -> None:
    run, waivers = write_example(tmp_path / "run", LEAKS), tmp_path / "waivers.toml"
    waivers.write_text(waiver("0" * 16, DAY.isoformat()), encoding="utf-8")
    page = (Path(__file__).parents[2] / "docs" / "gate.md").read_text(encoding="utf-8")
    said = [
        document(engram(*command, "--json"))
        for command in (("gate", run), ("diff", run, run), ("waivers", "check", waivers))
    ]
    assert not [key for one in said for key in one if f"`{key}`" not in page]
