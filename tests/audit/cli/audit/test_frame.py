"""`--sample` audits prompts drawn at random, and run.json records the frame that a share among them speaks of."""

import random
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.audit.commands import (
    REFERENCE,
    edit_run_json,
    error_line,
    refused,
    run_flashbulb,
    run_json,
    scores_of,
    shards,
)
from tests.audit.prompts.files import written

TEXTS = [
    f"a {colour} {thing} on a hill" for colour in ("red", "blue", "grey") for thing in ("fox", "cat", "star", "sea")
]
DRAWN = 5


def options_with(inputs, out: Path, prompts: str | Path) -> list[object]:
    """The options of a quick audit of these prompts."""
    given = list(inputs.options(out))
    given[given.index("--prompts") + 1] = prompts
    return given


def as_rows(texts: list[str]) -> str:
    """Lines of a file in which each text but the first occurs twice."""
    return "\n".join([*texts, *texts[1:]])


@pytest.fixture(scope="module")
def drawn(inputs, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("frame")
    options = options_with(inputs, folder / "run", written(folder / "prompts.txt", as_rows(TEXTS)))
    answer = run_flashbulb("audit", *options, "--sample", DRAWN)
    assert answer.code == 0, answer.err
    assert "5 of 12 drawn at random (seed 0)" in answer.out
    return folder / "run"


def test_a_sample_audits_that_many_distinct_prompts_and_records_its_frame(drawn):
    scores, record = scores_of(drawn), run_json(drawn)
    assert len(set(scores.prompt) & set(TEXTS)) == len(scores) == DRAWN
    sha256 = record["inputs"]["prompts"]["sha256"]
    expected = {"kind": "random", "n_prompts": DRAWN, "n_file": 12, "n_population": 12, "seed": 0, "sha256": sha256}
    assert record["frame"] == expected
    assert (record["counts"]["n_rows"], record["counts"]["n_prompts"]) == (23, DRAWN)
    assert run_flashbulb("gate", drawn).code == record["verdict"]["exit_code"] != 3
    for name in ("report.html", "summary.md"):
        assert "5 of the 12 distinct prompts of the prompt file were drawn at random" in (drawn / name).read_text(
            "utf-8"
        )


def test_the_order_of_rows_and_the_format_change_no_draw(inputs, drawn, tmp_path):
    shuffled = [f"{number},{text}" for number, text in enumerate(random.Random(0).sample(TEXTS, 12))]
    prompts = written(tmp_path / "other.csv", "id,caption\n" + "\n".join(shuffled))
    assert (
        run_flashbulb("record", *options_with(inputs, tmp_path / "run", prompts)[:8], "--seeds", 2, "--sample", 5).code
        == 0
    )
    assert run_json(tmp_path / "run")["frame"]["n_prompts"] == DRAWN
    assert run_flashbulb("detect", tmp_path / "run", "--fpr", 0.2).code == 0
    assert set(scores_of(tmp_path / "run").prompt) == set(scores_of(drawn).prompt)


def test_another_sample_is_another_audit(inputs, drawn, tmp_path):
    run = Path(shutil.copytree(drawn, tmp_path / "run"))
    options = options_with(inputs, run, drawn.parent / "prompts.txt")
    assert "sample was 5, now 6" in refused("audit", *options, "--sample", 6)
    assert "sample was 5, now None" in refused("audit", *options)
    assert run_flashbulb("audit", *options, "--sample", 6, "--max-sampled", 0, "--force").code == 0
    assert set(scores_of(run).prompt) > set(scores_of(drawn).prompt)


def test_statements_on_the_file_change_the_frame_and_recompute_nothing(inputs, drawn, tmp_path):
    run = Path(shutil.copytree(drawn, tmp_path / "run"))
    before = shards(run)
    assert run_flashbulb("recover", run, "--population", 900).code == 0
    assert run_json(run)["frame"]["n_population"] == 900
    options = options_with(inputs, run, drawn.parent / "prompts.txt")
    answer = run_flashbulb("audit", *options, "--sample", DRAWN, "--targeted")
    assert answer.code == 0, answer.err
    frame = run_json(run)["frame"]
    assert (frame["kind"], frame["n_population"], frame["seed"]) == ("targeted", None, 0)
    assert "the file is stated to be targeted" in answer.out
    assert shards(run) == before
    pd.testing.assert_frame_equal(scores_of(run), scores_of(drawn))


def test_mistakes_are_one_line(inputs, drawn, tmp_path):
    prompts = drawn.parent / "prompts.txt"
    options = options_with(inputs, tmp_path / "run", prompts)
    assert f"{prompts}: --sample 13 is more than its 12 distinct prompts" in refused("audit", *options, "--sample", 13)
    assert "cannot be a random sample of fewer prompts than its own 12" in refused(
        "audit", *options, "--population", 11
    )
    assert "give one of them" in refused("audit", *options, "--population", 900, "--targeted")
    run = Path(shutil.copytree(drawn, tmp_path / "copied"))
    assert "cannot be a random sample of fewer" in refused("recover", run, "--population", 11)
    without = [option for option in options if option not in ("--reference", inputs.reference)]
    line = error_line(run_flashbulb("audit", *without, "--sample", 1))
    assert f"1 of {prompts} were drawn; give more with --reference" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("n_file", 5), ("n_file", 13), ("seed", None), ("kind", "census"), ("n_population", 5), ("n_prompts", 12)],
)
def test_a_changed_frame_is_not_trusted(drawn, tmp_path, key, value):
    run = Path(shutil.copytree(drawn, tmp_path / "run"))
    edit_run_json(run, "frame", key, value=value)
    assert run_flashbulb("gate", run).code == 3


def test_the_plan_names_the_draw(inputs, drawn, tmp_path):
    options = options_with(inputs, tmp_path / "run", drawn.parent / "prompts.txt")
    answer = run_flashbulb("validate", *options, "--sample", DRAWN)
    assert "5 drawn at random from 12 distinct prompts in 23 rows" in answer.out
    assert len(REFERENCE) == 12  # calibrated on these, which are not drawn from
