"""A strategy is one file: found, listed, checked, planned, tried, kept and reported, and no other file changes."""

import json
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from tests.audit.commands import CANDIDATES, ODD, Answer, run_json, text_file
from tests.processes import fork_python

ADDED = Path(__file__).parent / "added"
PROMPTS = [CANDIDATES[0], ODD]
SPENT = 4 * 20 + 6  # UE of the added strategy: the verifier's samples, and the signs of images that agree
RUN_COMMANDS = f"""
import json, sys
for name in [name for name in sys.modules if name.partition(".")[0] in ("flashbulb", "tests")]:
    del sys.modules[name]  # as if the program started anew, but for the libraries
from flashbulb.audit.recover import strategies
strategies.__path__.append({str(ADDED)!r})
from tests.audit.commands import run_flashbulb
print(json.dumps([run_flashbulb(*command) for command in json.loads(sys.argv[1])]))
"""


class Added(NamedTuple):
    """Answers of commands of a program that has the file, and the run directory that they filled. Read-only."""

    help: Answer
    refused: Answer
    plan_without: Answer
    plan: Answer
    audit: Answer
    gate: Answer
    again: Answer
    run: Path


@pytest.fixture(scope="module")
def added(inputs, tmp_path_factory) -> Added:
    folder = tmp_path_factory.mktemp("added")
    run, prompts = folder / "run", text_file(folder / "prompts.txt", PROMPTS)
    options = inputs._replace(prompts=prompts).options(run)
    chosen = (*options, "--strategy", "unguided")
    commands = [
        ("audit", "--help-all"),
        ("validate", *chosen, "--guidance-scale", 1),
        ("validate", *options, "--json"),
        ("validate", *chosen, "--json"),
        ("audit", *chosen),
        ("gate", run),
        ("recover", run, "--sample-steps", 3),
    ]
    text = json.dumps([[str(word) for word in command] for command in commands])
    done = fork_python(RUN_COMMANDS, text).wait()
    assert done.code == 0, done.err
    return Added(*(Answer(*answer) for answer in json.loads(done.out.splitlines()[-1])), run)


def test_it_is_listed_with_its_prerequisites(added):
    assert "sample, few_steps, unguided, ascend" in " ".join(added.help.out.replace("│", " ").split())
    assert added.refused.code == 2
    assert "unguided repeats plain samples without guidance; raise --guidance-scale" in added.refused.err


def test_its_cost_is_planned(added):
    plans = [json.loads(answer.out) for answer in (added.plan_without, added.plan)]
    without, with_it = (plan["evaluations"]["recover"] for plan in plans)
    assert with_it["low"] == without["low"]
    assert with_it["high"] - without["high"] == SPENT * len(PROMPTS)
    assert plans[1]["bytes_of_pictures"] > plans[0]["bytes_of_pictures"]


def test_it_is_tried_after_those_of_a_lower_place(added):
    assert added.audit.code == 0, added.audit.err
    recoveries = pd.read_parquet(added.run / "recoveries.parquet")
    assert "unguided" in set(recoveries["strategy"])
    for _, attempts in recoveries.groupby("prompt_id"):
        assert attempts["strategy"].tolist() in (["sample"], ["sample", "unguided"])
    assert recoveries[recoveries["strategy"] == "unguided"]["evaluations"].between(80, SPENT).all()


def test_its_images_are_kept_and_its_results_are_judged_and_reported(added):
    assert list(added.run.glob("images/*/unguided-0.png"))
    assert added.gate.code in (0, 1)
    assert "unguided" in run_json(added.run)["counts"]["recovered_by"]
    assert "`unguided`" in (added.run / "summary.md").read_text(encoding="utf-8")
    assert "unguided" in (added.run / "report.html").read_text(encoding="utf-8")


def test_its_attempts_are_made_again_only_when_a_setting_they_depend_on_changes(added):
    """The last command changed a setting of plain samples alone."""
    assert added.again.code == 0, added.again.err
    kept, made_again = (
        {path.stat().st_mtime_ns for path in added.run.glob(f"recovery/*/{name}-0.safetensors")}
        for name in ("unguided", "sample")
    )
    assert kept
    assert max(kept) < min(made_again)
