"""An audit whose reference has another style warns everywhere, and is not trusted with --strict."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from flashbulb.reports.tables.run_record import load_run
from tests.audit.commands import REFERENCE, Answer, refused, run_flashbulb, run_json, shards, text_file
from tests.audit.styles import scenes, titles

N_PROMPTS = 14
QUICK = (
    "--seeds",
    "1",
    "--fpr",
    "0.2",
    "--max-sampled",
    "1",
    "--samples",
    "2",
    "--sample-steps",
    "1",
    "--strategy",
    "sample",
)
OTHER_STYLE = "The reference is of another style than the candidates"
NO_REFERENCE = "There is no reference"
WORDS = {"another style": OTHER_STYLE, "no reference": NO_REFERENCE}
KINDS = ("same style", "another style", "no reference")


@pytest.fixture(scope="module", autouse=True)
def examined(tmp_path_factory):
    """Count toy models as examined, which have random weights, and ask for no power, which a few prompts lack."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "FLASHBULB_POLICY", str(text_file(tmp_path_factory.mktemp("policy") / "p.toml", ["min_power = 0.0"]))
        )
        patch.delenv("FLASHBULB_EXAMINE")
        patch.setattr("flashbulb.audit.stages.opening.examine.require_working", lambda *_, **__: None)
        yield


class Files(NamedTuple):
    """Candidate prompts, and reference prompts of the same and of another style."""

    candidates: Path
    same: Path
    other: Path


class Audited(NamedTuple):
    """A finished audit, its output, and the options of its command."""

    run: Path
    answer: Answer
    options: tuple[object, ...]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Files:
    """Prompt files of two styles, whose prompts differ within the context of the toy models. Read-only."""
    folder = tmp_path_factory.mktemp("styles")
    return Files(
        text_file(folder / "candidates.txt", scenes(N_PROMPTS, 0)),
        text_file(folder / "same.txt", scenes(40, 5)),
        text_file(folder / "other.txt", titles(N_PROMPTS, 1)),
    )


@pytest.fixture(scope="module")
def audited(inputs, files, tmp_path_factory):
    """Return a function that audits with the reference of `kind`, once for all tests. The runs are read-only."""
    folder, made = tmp_path_factory.mktemp("strict"), {}

    def audit(kind: str, *, strict: bool = False) -> Audited:
        if (kind, strict) not in made:
            reference = {"same style": files.same, "another style": files.other}.get(kind)
            run = folder / f"{kind} {strict}"
            if strict:
                shutil.copytree(audit(kind).run, run)
            base = ("--model", inputs.model, "--prompts", files.candidates, "--out", run, *QUICK)
            options = (*base, *(("--reference", reference) if reference else ()), *(["--strict"] if strict else []))
            answer = run_flashbulb("audit", *options)
            assert answer.code == 0, answer.err
            made[kind, strict] = Audited(run, answer, options)
        return made[kind, strict]

    return audit


def plain(text: str) -> str:
    """Join all lines, so that wrapping does not matter."""
    return " ".join(text.split())


@pytest.mark.parametrize("kind", WORDS)
def test_warning_is_in_run_json_summary_and_terminal(audited, kind):
    done = audited(kind)
    (warning,) = run_json(done.run)["warnings"]
    assert warning.startswith(WORDS[kind])
    assert f"> {warning}" in (done.run / "summary.md").read_text(encoding="utf-8").splitlines()
    assert f"warning: {warning}" in plain(done.answer.out)


def test_reference_of_the_candidates_style_gives_no_warning(audited):
    done = audited("same style")
    assert run_json(done.run)["warnings"] == run_json(done.run)["problems"] == []
    assert "warning" not in done.answer.out
    assert not [line for line in (done.run / "summary.md").read_text().splitlines() if line.startswith(">")]


def test_warning_gives_the_style_shift_and_the_limit(audited):
    record = load_run(audited("another style").run)
    assert record.calibration.style_shift > 0.99
    assert (
        f"AUC of {record.calibration.style_shift:.2f} (limit {record.calibration.max_style_shift:g})"
        in (record.warnings[0])
    )


@pytest.mark.parametrize("kind", KINDS)
def test_candidates_are_pooled_with_a_reference_of_another_style(audited, kind):
    calibration = load_run(audited(kind).run).calibration
    assert calibration.pooled == (kind != "same style")
    assert (calibration.style_shift is None) == (kind == "no reference")


@pytest.mark.parametrize("kind", KINDS)
def test_gate_distrusts_another_style_only_with_strict(audited, kind):
    lax, strict = audited(kind), audited(kind, strict=True)
    assert run_json(lax.run)["problems"] == []
    assert run_flashbulb("gate", lax.run).code == run_json(lax.run)["verdict"]["exit_code"] == 0
    assert run_json(strict.run)["warnings"] == run_json(lax.run)["warnings"]
    assert run_json(strict.run)["problems"] == run_json(strict.run)["warnings"]
    answer = run_flashbulb("gate", strict.run)
    if kind == "same style":
        assert answer.code == 0
    else:
        assert answer.code == run_json(strict.run)["verdict"]["exit_code"] == 3
        assert answer.out.startswith(f"untrusted: {WORDS[kind]}")


@pytest.mark.parametrize(("kind", "code"), [("another style", 3), ("no reference", 3), ("same style", 0)])
def test_strict_audit_exits_with_the_code_of_its_gate(audited, kind, code):
    assert run_flashbulb("audit", *audited(kind, strict=True).options, "--gate").code == code


def test_strict_can_change_without_another_audit(audited, tmp_path):
    before = audited("another style", strict=True)
    run = Path(shutil.copytree(before.run, tmp_path / "run"))
    recorded = shards(run)
    options = [run if option == before.run else option for option in before.options if option != "--strict"]
    for strict, code in (((), 0), (("--strict",), 3)):
        assert run_flashbulb("audit", *options, *strict, "--gate").code == code
    assert shards(run) == recorded


def test_limit_of_one_allows_every_style(inputs, files, tmp_path):
    base = ("--model", inputs.model, "--prompts", files.candidates, "--reference", files.other)
    options = (*base, "--out", tmp_path / "run", *QUICK, "--max-style-shift", "1", "--strict", "--gate")
    assert run_flashbulb("audit", *options).code == 0
    record = load_run(tmp_path / "run")
    assert record.calibration.style_shift > 0.99
    assert not record.calibration.pooled
    assert record.warnings == ()


@pytest.mark.parametrize("limit", ["0.49", "1.01", "nan"])
def test_impossible_limit_is_one_line(inputs, files, tmp_path, limit):
    base = ("--model", inputs.model, "--prompts", files.candidates, "--reference", files.other)
    assert "--max-style-shift: " in refused(
        "audit", *base, "--out", tmp_path / "run", *QUICK, "--max-style-shift", limit
    )
    assert not (tmp_path / "run").exists()


def test_calibration_of_another_style_gives_the_warning_of_its_reference(audited, inputs, files, tmp_path):
    base = ("--model", inputs.model, "--seeds", "1")
    assert run_flashbulb("calibrate", *base, "--reference", files.other, "--out", tmp_path / "calibration").code == 0
    options = ("--prompts", files.candidates, "--calibration", tmp_path / "calibration", "--out", tmp_path / "run")
    answer = run_flashbulb("audit", "--model", inputs.model, *options, *QUICK, "--strict", "--gate")
    assert answer.code == 3, answer.err
    assert run_json(tmp_path / "run")["warnings"] == run_json(audited("another style").run)["warnings"]


def test_strict_distrusts_a_style_that_was_not_measured(inputs, files, tmp_path):
    few = text_file(tmp_path / "few.txt", titles(9, 0))
    base = ("--model", inputs.model, "--prompts", files.candidates, "--reference", few, "--out", tmp_path / "run")
    assert run_flashbulb("audit", *base, *QUICK, "--strict", "--gate").code == 3


def test_too_few_prompts_to_measure_style_give_no_warning_without_strict(inputs, files, tmp_path):
    few = text_file(tmp_path / "few.txt", REFERENCE[:9])
    base = ("--model", inputs.model, "--prompts", files.candidates, "--reference", few, "--out", tmp_path / "run")
    assert run_flashbulb("audit", *base, *QUICK, "--gate").code == 0
    assert load_run(tmp_path / "run").calibration.style_shift is None


def test_a_strict_audit_that_is_too_small_is_inconclusive_and_exits_like_an_untrusted_one(audited, monkeypatch):
    monkeypatch.delenv("FLASHBULB_POLICY")
    lax, strict = audited("same style").run, audited("same style", strict=True).run
    answers = [run_flashbulb("gate", lax), run_flashbulb("gate", lax, "--strict"), run_flashbulb("gate", strict)]
    assert [answer.code for answer in answers] == [0, 3, 3]
    assert {answer.out.split(":")[0] for answer in answers} == {"inconclusive"}


def test_no_audit_without_a_reference_passes(audited, monkeypatch):
    monkeypatch.delenv("FLASHBULB_POLICY")
    answer = run_flashbulb("gate", audited("no reference").run)
    assert (answer.code, answer.out.split(":")[0]) == (0, "inconclusive")
    assert "there is no reference" in answer.out
