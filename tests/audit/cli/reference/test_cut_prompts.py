"""Prompts that differ only behind the last token that the model reads are counted, also in a reference."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.audit.commands import CANDIDATES, REFERENCE, run_flashbulb, run_json, scores_of, text_file
from tests.audit.conftest import Inputs
from tests.toy import MAX_POSITIONS

SHARED = "masterpiece best quality ".ljust(MAX_POSITIONS + 20, "x")
CUT = [f"{SHARED} {text}" for text in REFERENCE[:3]]


def warnings_of(
    inputs: Inputs, folder: Path, prompts: Sequence[str], reference: Sequence[str], *more: object
) -> list[str]:
    """Audit the prompts in stages and return the warnings that speak of tokens."""
    files = text_file(folder / "prompts.txt", prompts), text_file(folder / "reference.txt", reference)
    given = inputs._replace(prompts=files[0], reference=files[1])
    assert run_flashbulb("audit", *given.options(folder / "run"), *more).code == 0
    warnings = run_json(folder / "run")["warnings"]
    assert run_flashbulb("detect", folder / "run", "--fpr", "0.3").code == 0
    assert run_json(folder / "run")["warnings"] == warnings
    return [warning for warning in warnings if "token that the model reads" in warning]


@pytest.mark.parametrize(
    ("prompts", "reference", "expected"),
    [
        ([*CANDIDATES, *CUT], REFERENCE, ["2 of the prompts differ from another one"]),
        (CANDIDATES, [*REFERENCE, *CUT], ["2 of the reference prompts differ from another one"]),
        ([*CANDIDATES, CUT[0]], [*REFERENCE, CUT[1]], ["1 of the reference prompts differ from prompts to audit"]),
        ([*CANDIDATES, CUT[0]], [*REFERENCE, f"another {SHARED}"], []),
    ],
)
def test_prompts_that_are_read_alike_are_counted(
    inputs: Inputs, tmp_path: Path, prompts: Sequence[str], reference: Sequence[str], expected: Sequence[str]
) -> None:
    found = warnings_of(inputs, tmp_path, prompts, reference)
    assert len(found) == len(expected)
    assert all(warning.startswith(begin) for warning, begin in zip(found, expected, strict=True))


def test_prompts_that_tier_0_leaves_out_are_counted(inputs: Inputs, tmp_path: Path) -> None:
    reference = [*REFERENCE, f"{SHARED} of the reference"]
    tier = ("--tiers", "screened", "--screened-share", "0.99")
    found = warnings_of(inputs, tmp_path, [*CANDIDATES, *CUT], reference, *tier)
    passed = scores_of(tmp_path / "run").query("tier > 0")["prompt"]
    assert not passed.isin(CUT).any()
    assert [warning[:40] for warning in found] == [
        "2 of the prompts differ from another one",
        "1 of the reference prompts differ from p",
    ]
    assert run_json(tmp_path / "run")["counts"]["n_truncated"] == len(CUT)
