"""An audit whose reference is of another style says so everywhere, and with --strict is not trusted."""

from pathlib import Path
from typing import NamedTuple

import pytest

from reports.run_record import load_run
from tests.audit.commands import REFERENCE, Answer, engram, run_json, text_file
from tests.audit.styles import scenes, titles
from tests.audit.test_cli import refused

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


class Files(NamedTuple):
    """Candidates, and references of their style and of another."""

    candidates: Path
    same: Path
    other: Path


class Audited(NamedTuple):
    """A finished audit, what it printed, and the command's options."""

    run: Path
    answer: Answer
    options: tuple[object, ...]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Files:
    """Leave them as they were."""
    folder = tmp_path_factory.mktemp("styles")
    return Files(
        text_file(folder / "candidates.txt", scenes(N_PROMPTS, 0)),
        text_file(folder / "same.txt", scenes(40, 1)),
        text_file(folder / "other.txt", titles(N_PROMPTS, 0)),
    )


@pytest.fixture(scope="module")
def audited(inputs, files, tmp_path_factory):
    """Audit with the reference that `kind` says, once for all tests; leave the runs as they were."""
    folder, made = tmp_path_factory.mktemp("strict"), {}

    def audit(kind: str, *, strict: bool = False) -> Audited:
        if (kind, strict) not in made:
            reference = {"same style": files.same, "another style": files.other}.get(kind)
            run = folder / f"{kind} {strict}"
            given = ("--model", inputs.model, "--prompts", files.candidates, "--out", run, *QUICK)
            options = (*given, *(("--reference", reference) if reference else ()), *(["--strict"] if strict else []))
            answer = engram("audit", *options)
            assert answer.code == 0, answer.err
            made[kind, strict] = Audited(run, answer, options)
        return made[kind, strict]

    return audit


def plain(text: str) -> str:
    """One line, so that wrapping does not matter."""
    return " ".join(text.split())


@pytest.mark.parametrize("kind", WORDS)
def test_warning_stands_in_run_json_summary_and_on_the_terminal(audited, kind):
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


def test_warning_states_how_far_the_styles_are_apart_and_the_limit(audited):
    record = load_run(audited("another style").run)
    assert record.calibration.style_shift > 0.99
    assert (
        f"AUC of {record.calibration.style_shift:.2f} (limit {record.calibration.max_style_shift:g})"
        in (record.warnings[0])
    )


@pytest.mark.parametrize("kind", KINDS)
def test_candidates_help_to_calibrate_where_the_reference_does_not_do(audited, kind):
    calibration = load_run(audited(kind).run).calibration
    assert calibration.pooled == (kind != "same style")
    assert (calibration.style_shift is None) == (kind == "no reference")


@pytest.mark.parametrize("kind", KINDS)
def test_gate_distrusts_another_style_with_strict_alone(audited, kind):
    lax, strict = audited(kind), audited(kind, strict=True)
    assert run_json(lax.run)["problems"] == []
    assert engram("gate", lax.run).code == run_json(lax.run)["verdict"]["exit_code"] == 0
    assert run_json(strict.run)["warnings"] == run_json(lax.run)["warnings"]
    assert run_json(strict.run)["problems"] == run_json(strict.run)["warnings"]
    answer = engram("gate", strict.run)
    if kind == "same style":
        assert answer.code == 0
    else:
        assert answer.code == run_json(strict.run)["verdict"]["exit_code"] == 3
        assert answer.out.startswith(f"untrusted: {WORDS[kind]}")


@pytest.mark.parametrize(("kind", "code"), [("another style", 3), ("no reference", 3), ("same style", 0)])
def test_strict_audit_exits_as_its_gate(audited, kind, code):
    assert engram("audit", *audited(kind, strict=True).options, "--gate").code == code


def test_strictness_is_no_other_audit(audited, inputs, files, tmp_path):
    given = ("--model", inputs.model, "--prompts", files.candidates, "--reference", files.other)
    options = (*given, "--out", tmp_path / "run", *QUICK)
    for strict, code in ((("--strict",), 3), ((), 0)):
        assert engram("audit", *options, *strict, "--gate").code == code


def test_limit_of_one_allows_every_style(inputs, files, tmp_path):
    given = ("--model", inputs.model, "--prompts", files.candidates, "--reference", files.other)
    options = (*given, "--out", tmp_path / "run", *QUICK, "--max-style-shift", "1", "--strict", "--gate")
    assert engram("audit", *options).code == 0
    record = load_run(tmp_path / "run")
    assert record.calibration.style_shift > 0.99
    assert not record.calibration.pooled
    assert record.warnings == ()


@pytest.mark.parametrize("limit", ["0.49", "1.01", "nan"])
def test_impossible_limit_is_one_line(inputs, files, tmp_path, limit):
    given = ("--model", inputs.model, "--prompts", files.candidates, "--reference", files.other)
    assert "--max-style-shift: " in refused(
        "audit", *given, "--out", tmp_path / "run", *QUICK, "--max-style-shift", limit
    )
    assert not (tmp_path / "run").exists()


def test_saved_calibration_of_another_style_is_warned_of_as_its_reference(audited, inputs, files, tmp_path):
    given = ("--model", inputs.model, "--seeds", "1")
    assert engram("calibrate", *given, "--reference", files.other, "--out", tmp_path / "calibration").code == 0
    options = ("--prompts", files.candidates, "--calibration", tmp_path / "calibration", "--out", tmp_path / "run")
    answer = engram("audit", "--model", inputs.model, *options, *QUICK, "--strict", "--gate")
    assert answer.code == 3, answer.err
    assert run_json(tmp_path / "run")["warnings"] == run_json(audited("another style").run)["warnings"]


def test_strict_does_not_trust_a_style_that_was_not_measured(inputs, files, tmp_path):
    few = text_file(tmp_path / "few.txt", titles(9, 0))
    given = ("--model", inputs.model, "--prompts", files.candidates, "--reference", few, "--out", tmp_path / "run")
    assert engram("audit", *given, *QUICK, "--strict", "--gate").code == 3


def test_too_few_prompts_to_measure_style_are_no_reason_to_warn_without_strict(inputs, files, tmp_path):
    few = text_file(tmp_path / "few.txt", REFERENCE[:9])
    given = ("--model", inputs.model, "--prompts", files.candidates, "--reference", few, "--out", tmp_path / "run")
    assert engram("audit", *given, *QUICK, "--gate").code == 0
    assert load_run(tmp_path / "run").calibration.style_shift is None
