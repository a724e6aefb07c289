"""`--propensity` samples ordinary prompts once each, counts copies, and is checked by every reader."""

import shutil
from pathlib import Path
from typing import NamedTuple

import html5lib
import pyarrow.parquet as pq
import pytest

from tests.audit.commands import CANDIDATES, REFERENCE, digests, error_line, refused, run_flashbulb, run_json
from tests.reports.spoilers import bytes_of, edit, rewritten

N = 8


class Measured(NamedTuple):
    """An audit with ordinary prompts, before and after a sample of one became a training image."""

    before: Path
    after: Path
    copied: str


@pytest.fixture(scope="module")
def measured(inputs, tmp_path_factory) -> Measured:
    folder = tmp_path_factory.mktemp("propensity")
    before = folder / "before"
    answer = run_flashbulb("audit", *inputs.options(before), "--propensity", N)
    assert answer.code == 0, answer.err
    row = pq.read_table(before / "propensity.parquet").to_pylist()[3]
    (folder / "training").mkdir()
    shutil.copy(before / row["image_path"], folder / "training" / "secret.png")
    after = Path(shutil.copytree(before, folder / "after"))
    assert run_flashbulb("recover", after, "--train-images", folder / "training").code == 0
    return Measured(before, after, row["prompt"])


def test_ordinary_prompts_are_drawn_from_the_reference_and_sampled_once(measured):
    table = pq.read_table(measured.before / "propensity.parquet").to_pylist()
    assert len({row["prompt"] for row in table} & set(REFERENCE)) == N
    assert all((measured.before / row["image_path"]).is_file() for row in table)
    record = run_json(measured.before)
    assert record["propensity"].items() >= {"source": "reference", "n_pool": 12, "compared_with": "findings"}.items()
    assert record["propensity"]["copies"]["of"] == N
    per_image = record["evaluations"]["propensity"] / N
    assert per_image >= 4  # two guided steps; the scheduler may repeat one
    assert per_image % 2 == 0


def test_ordinary_prompts_are_sealed_with_the_run(measured, tmp_path):
    row = pq.read_table(measured.after / "propensity.parquet").to_pylist()[0]
    sealed = run_json(measured.after)["seal"]["files"]
    for name in ("propensity.parquet", row["image_path"]):
        assert name in sealed
        run = Path(shutil.copytree(measured.after, tmp_path / Path(name).name))
        assert run_flashbulb("verify", run).code == 0
        (run / name).write_bytes((run / name).read_bytes() + b"0")
        assert f"{name} has changed" in refused("verify", run, code=3)


def test_a_copied_training_image_is_counted_once_and_shown(measured):
    rows = pq.read_table(measured.after / "propensity.parquet").to_pylist()
    assert [row["prompt"] for row in rows if row["is_copy"]] == [measured.copied]
    propensity = run_json(measured.after)["propensity"]
    assert (propensity["compared_with"], propensity["n_images"]) == ("training_images", 1)
    assert (propensity["copies"]["n"], propensity["copies"]["of"]) == (1, N)
    page = (measured.after / "report.html").read_text(encoding="utf-8")
    assert "Ordinary prompts whose sample is a copy" in page
    assert "1 of 8 (12.5 %" in page
    assert "1 of 8 (12.5 %" in (measured.after / "summary.md").read_text(encoding="utf-8")
    assert "Ordinary prompts whose sample is a copy" not in (measured.before / "report.html").read_text(
        encoding="utf-8"
    )


def test_the_page_is_valid_and_hides_what_it_is_asked_to(measured, tmp_path):
    shown = (measured.after / "report.html").read_text(encoding="utf-8")
    redacted, hidden = tmp_path / "redacted.html", tmp_path / "hidden.html"
    assert run_flashbulb("report", measured.after, "--redact-prompts", "--out", redacted).code == 0
    assert run_flashbulb("report", measured.after, "--no-images", "--out", hidden).code == 0
    for page in (shown, redacted.read_text(encoding="utf-8"), hidden.read_text(encoding="utf-8")):
        html5lib.HTMLParser(strict=True).parse(page)
        assert page.count('id="contrast"') == 1
    assert shown.count(measured.copied) == 1
    assert measured.copied not in redacted.read_text(encoding="utf-8")
    assert "secret.png" not in redacted.read_text(encoding="utf-8")
    assert 'alt="sample of reference.txt' in shown
    assert "<img" in shown
    assert "<img" not in hidden.read_text(encoding="utf-8")


def test_the_terminal_states_the_rate(measured, tmp_path):
    run = shutil.copytree(measured.after, tmp_path / "run")
    answer = run_flashbulb("recover", run)
    assert "propensity" in answer.out
    assert "1 of 8 reference prompts, sampled once, copy a training image" in answer.out


def test_another_number_is_another_recovery_that_keeps_the_images(measured, inputs, tmp_path):
    run = Path(shutil.copytree(measured.before, tmp_path / "run"))
    assert "recovery.settings.n_ordinary" in refused("audit", *inputs.options(run), "--propensity", N + 1)
    kept = {name: digest for name, digest in digests(run).items() if name.startswith("images/")}
    assert run_flashbulb("recover", run, "--propensity", N + 1).code == 0
    assert digests(run).items() >= kept.items()
    assert run_json(run)["propensity"]["copies"]["of"] == N + 1
    assert run_flashbulb("recover", run, "--propensity", 0).code == 0
    assert not (run / "propensity.parquet").exists()
    assert run_json(run)["propensity"] is None
    assert run_flashbulb("audit", *inputs.options(run), "--propensity", 0).code == 0


def test_without_a_reference_the_unflagged_prompts_are_drawn_from_and_no_image_is_kept(inputs, tmp_path):
    prompts = (tmp_path / "prompts.txt").write_text("\n".join([*CANDIDATES, *REFERENCE])) and tmp_path / "prompts.txt"
    given = inputs.options(tmp_path / "run")
    options = [*given[:2], "--prompts", prompts, "--out", tmp_path / "run", *given[8:], "--no-images"]
    answer = run_flashbulb("audit", *options, "--propensity", 17)
    assert answer.code == 0, answer.err
    record, rows = run_json(tmp_path / "run"), pq.read_table(tmp_path / "run" / "propensity.parquet").to_pylist()
    n_unflagged = record["counts"]["n_prompts"] - record["counts"]["n_flagged"]
    assert record["counts"]["n_flagged"] > 0
    assert (record["propensity"]["source"], record["propensity"]["n_pool"]) == ("unflagged", n_unflagged)
    assert len(rows) == n_unflagged  # flags took some of the 17
    assert {row["image_path"] for row in rows} == {None}
    assert not (tmp_path / "run" / "images").exists()
    assert f"all {n_unflagged} audited prompts that were not flagged" in (tmp_path / "run" / "summary.md").read_text()
    message = error_line(run_flashbulb("validate", *options, "--propensity", 18))
    assert "--propensity 18 is more than the 17 candidate prompts to draw from; draw fewer, or give more" in message


def test_planned_evaluations_bound_those_that_are_counted(measured, inputs, tmp_path):
    answer = run_flashbulb("validate", *inputs.options(tmp_path / "run"), "--propensity", N, "--json")
    n = run_json(measured.before)["evaluations"]["propensity"]
    assert f'"propensity": {{"low": {n}, "high": {n}}}' in " ".join(answer.out.split()).replace("{ ", "{").replace(
        " }", "}"
    )


SPOILT = {
    "a copy is denied": rewritten("propensity.parquet", lambda t: t.set_column(10, "is_copy", [[False] * N])),
    "fewer prompts": rewritten("propensity.parquet", lambda t: t.slice(1)),
    "a prompt twice": rewritten("propensity.parquet", lambda t: t.take([0, 0, 2, 3, 4, 5, 6, 7])),
    "a prompt of nowhere": rewritten("propensity.parquet", lambda t: t.set_column(0, "prompt_id", [list("abcdefgh")])),
    "an image elsewhere": rewritten("propensity.parquet", lambda t: t.set_column(4, "image_path", [["../x.png"] * N])),
    "the kind is lost": rewritten("propensity.parquet", lambda t: t.set_column(7, "kind", [["template"] * N])),
    "no table": bytes_of("propensity.parquet", lambda data: b""),
    "fewer copies": edit("propensity", "copies", "n", value=0),
    "a larger pool": edit("propensity", "n_pool", value=600),
    "another source": edit("propensity", "source", value="unflagged"),
    "another comparison": edit("propensity", "compared_with", value="findings"),
    "more images": edit("propensity", "n_images", value=2),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_changed_table_or_count_is_not_trusted(measured, tmp_path, name):
    run = Path(shutil.copytree(measured.after, tmp_path / "run"))
    answer = run_flashbulb("gate", run)
    assert answer.code == 1
    assert "Ordinary prompts whose only sample copied a training image: 1 (limit 0)." in answer.out
    SPOILT[name](run)
    assert run_flashbulb("gate", run).code == 3
