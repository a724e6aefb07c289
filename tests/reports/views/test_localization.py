"""The page of a localization shows what was measured, renders no untrusted text as markup, and can hide prompts."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashbulb.reports.tables.schema import read_table
from flashbulb.reports.views.localization import (
    ATTRIBUTIONS_FILE,
    ATTRIBUTIONS_SCHEMA,
    LAYERS_FILE,
    LEVERS_FILE,
    LEVERS_SCHEMA,
    LOCALIZATION_CAVEAT,
    PANEL_FILE,
    TOKENS_FILE,
    TOKENS_SCHEMA,
    LocalizationCounts,
    cost_line,
    count_localizations,
    localization_markdown,
    write_localization,
)
from tests.reports.run_files import read_metadata

HOSTILE = "a|b `c` </td><script>x</script>\n# head\r\n![i](http://x) \x1b[31m\u202e @me"
LEVER: dict[str, Any] = {
    "prompt_id": "00000000000000a1",
    "finding_id": "finding-001",
    "prompt": "a secretive fox",
    "kind": "cross_v",
    "replaced_by": "unconditional",
    "n_neurons": 51,
    "n_neurons_of_kind": 256,
    "erased": True,
    "n_samples": 4,
    "n_replicating_before": 4,
    "n_replicating_after": 1,
    "distance_before": 0.05,
    "distance_after": 0.41,
    "diversity_before": 0.02,
    "diversity_after": 0.33,
    "response": 0.2,
    "n_controls": 2,
    "n_controls_changed": 1,
    "control_change": 0.1,
    "n_patched": 3,
    "n_recovered_again": 2,
    "evaluations": 1000,
    "neurons_path": "neurons/00000000000000a1.json",
}
WORDS = [("<|startoftext|>", 0.0), ("secretive", 0.6), ("fox", -0.2), ("a", 0.2), ("<|endoftext|>", 0.0)]
CLASSES = ["start", "prompt", "prompt", "prompt", "padding"]
COST = "Cost: 1,000 UE for each image."
READ = [9.0, 0.2, -5.0, 0.1, 0.3]


def levers(*changes: dict[str, Any]) -> pa.Table:
    """One row of `levers.parquet` for each of `changes`."""
    return pa.Table.from_pylist([LEVER | change for change in changes], schema=LEVERS_SCHEMA)


def tokens(prompt_id: str = LEVER["prompt_id"], words: list[tuple[str, float]] = WORDS) -> pa.Table:
    rows = [
        {
            "prompt_id": prompt_id,
            "position": i,
            "token": word,
            "token_class": CLASSES[i],
            "attribution": value,
            "read": READ[i],
        }
        for i, (word, value) in enumerate(words)
    ]
    return pa.Table.from_pylist(rows, schema=TOKENS_SCHEMA)


def row_of(page: str) -> str:
    (row,) = [line for line in page.splitlines() if line.startswith("| `")]
    return row


def test_the_whole_cost_is_stated_shared_part_included() -> None:
    line = cost_line(levers({"evaluations": 300}, {"evaluations": 400}), 481)
    assert line == "Cost: 350 UE for each image, selection and tests, and 481 UE once for all; 1,181 UE together."
    assert cost_line(levers(), 0).startswith("Cost: 0 UE")


def test_the_page_shows_what_was_measured() -> None:
    page = localization_markdown(levers({}), tokens(), show_prompts=True, cost=COST)
    assert page.startswith("# Localized neurons\n")
    assert row_of(page) == (
        "| `finding-001` | `a secretive fox` | 51 of 256 `cross_v` | 4 → 1 of 4 | 0.05 → 0.41 | 0.02 → 0.33 | 2 of 4 "
        "| 1 of 2 | words 50%, end 0%, padding 50% | `secretive` 60%, `a` 20%, `<¦startoftext¦>` 0% |"
    )
    assert LOCALIZATION_CAVEAT in page
    for line in (*count_localizations(levers({})).lines, COST):
        assert f"- {line}" in page
    assert f"]({PANEL_FILE})" in page
    assert f"]({LAYERS_FILE})" in page


def test_prompts_and_tokens_are_hidden_unless_shown() -> None:
    page = localization_markdown(levers({}), tokens(), show_prompts=False, cost=COST)
    assert "secretive" not in page
    assert "fox" not in page
    assert "tokens with most attribution" not in page
    assert "startoftext" not in page
    assert row_of(page).startswith("| `finding-001` | `00000000000000a1` |")


@pytest.mark.parametrize("show_prompts", [False, True])
def test_untrusted_text_stays_in_its_cell(show_prompts: bool) -> None:
    hostile = levers(dict.fromkeys(("prompt", "finding_id", "kind"), HOSTILE))
    plain = localization_markdown(levers({}), tokens(), show_prompts, COST)
    page = localization_markdown(hostile, tokens(words=[(HOSTILE, 0.5), ("`", 0.3), ("|", 0.1)]), show_prompts, COST)
    assert len(page.splitlines()) == len(plain.splitlines())
    header = next(line for line in page.splitlines() if line.startswith("| finding"))
    assert row_of(page).count("|") == header.count("|") == (11 if show_prompts else 10)
    outside = re.sub(r"`[^`]*`", "", page)
    assert "<" not in outside
    assert "http" not in outside
    assert "@me" not in outside
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page)


def test_a_very_long_prompt_is_cut() -> None:
    page = localization_markdown(levers({"prompt": "x" * 100_000}), tokens(), show_prompts=True, cost=COST)
    assert len(page) < 5_000


def test_a_page_without_rows_counts_nothing() -> None:
    page = localization_markdown(levers(), tokens(words=[]), show_prompts=True, cost=COST)
    assert count_localizations(levers()) == LocalizationCounts(0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert "none were tried" in page


def test_tokens_without_attribution_have_shares_of_zero() -> None:
    page = localization_markdown(levers({}), tokens(words=[("a", 0.0), ("b", 0.0)]), show_prompts=True, cost=COST)
    assert "`a` 0%, `b` 0%" in page


def test_read_positions_are_unknown_without_values() -> None:
    without_reads = pa.Table.from_pylist([row | {"read": None} for row in tokens().to_pylist()], schema=TOKENS_SCHEMA)
    assert "| unknown |" in row_of(localization_markdown(levers({}), without_reads, show_prompts=False, cost=COST))


def test_counts_match_the_rows() -> None:
    table = levers(
        {},
        {"erased": False, "n_controls": 3, "n_controls_changed": 0, "n_recovered_again": 1, "n_patched": 0},
        {"erased": False, "n_recovered_again": None, "n_patched": None, "n_controls": 0, "n_controls_changed": 0},
        {"n_samples": 5, "n_recovered_again": 3, "n_patched": 2},
        {"n_replicating_before": 0, "erased": False},
    )
    assert count_localizations(table) == LocalizationCounts(
        n_not_shown=1,
        n_memories=4,
        n_erased=2,
        n_controls=7,
        n_controls_changed=2,
        n_tried_again=3,
        n_recovered_again=2,
        n_patched_into=3,
        n_patched=1,
    )


def test_sentences_show_counts_and_totals() -> None:
    erased, again, controls, patched = LocalizationCounts(1, 4, 2, 7, 1, 3, 2, 3, 0).lines
    assert "2 of 4 (50 %, " in erased
    assert "1 more did not appear" in erased
    assert "2 of 3 (66.7 %, " in again
    assert "1 of 7 (14.3 %, " in controls
    assert "0 of 3 (0 %, " in patched
    untried = LocalizationCounts(0, 4, 2, 0, 0, 0, 0, 0, 0).lines
    assert "not tried (--no-again)" in untried[1]
    assert "none were tried" in untried[2]
    assert "none were tried" in untried[3]


def test_recovery_that_was_not_tried_is_named_in_its_row() -> None:
    page = localization_markdown(levers({"n_recovered_again": None}), tokens(), show_prompts=False, cost=COST)
    assert "| not tried |" in row_of(page)


def test_tables_read_back_as_written_with_the_fingerprint_of_the_model(tmp_path: Path) -> None:
    attributions = pa.Table.from_pylist(
        [{"prompt_id": "p", "site": "unet.a", "neuron": 3, "attribution": -0.5, "is_lever": False}],
        schema=ATTRIBUTIONS_SCHEMA,
    )
    nothing_tried = {"control_change": None, "n_patched": None, "n_recovered_again": None}
    tables = {
        LEVERS_FILE: (levers({}, nothing_tried), LEVERS_SCHEMA),
        ATTRIBUTIONS_FILE: (attributions, ATTRIBUTIONS_SCHEMA),
        TOKENS_FILE: (tokens(), TOKENS_SCHEMA),
    }
    write_localization(tmp_path, *(table for table, _ in tables.values()), fingerprint="sha256:01")
    assert {path.name for path in tmp_path.iterdir()} == set(tables)
    for name, (table, schema) in tables.items():
        assert read_table(tmp_path / name, schema).equals(table)
        assert read_metadata(tmp_path / name) == {"model_fingerprint": "sha256:01"}
        assert pq.read_schema(tmp_path / name).names == schema.names


@pytest.mark.parametrize("name", [field.name for field in LEVERS_SCHEMA if not field.nullable])
def test_a_null_in_a_required_column_is_refused(tmp_path: Path, name: str) -> None:
    broken = levers({}).set_column(
        LEVERS_SCHEMA.get_field_index(name), name, pa.array([None], LEVERS_SCHEMA.field(name).type)
    )
    nothing = pa.Table.from_pylist([], schema=ATTRIBUTIONS_SCHEMA)
    with pytest.raises(ValueError, match=f"columns \\['{name}'\\] may not be null"):
        write_localization(tmp_path, broken, nothing, tokens(), "sha256:01")
    assert not list(tmp_path.iterdir())
