"""A table of another audit, with its hash in run.json, is refused by every reader, in one line and with exit code 3."""

import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashbulb.reports.tables.files import TABLE_FILES, sha256_of
from tests.audit.commands import Answer, edit_run_json, error_line, run_flashbulb
from tests.cases import each_with_one, slow_unless
from tests.reports.evidence_examples import SITES
from tests.reports.pages import rewrite_table, write_illustrated
from tests.reports.run_files import seal_again
from tests.reports.runs import PROMPTS
from tests.reports.spoilers import with_value

Reader = Callable[[Path, Path, Path], Answer]


def gate(run: Path, _: Path, out: Path) -> Answer:
    names = {"summary": "s.md", "junit": "j.xml", "sarif": "r.sarif", "model-card": "m.md", "findings": "f.jsonl"}
    outputs = [word for name, file in names.items() for word in (f"--{name}", out / file)]
    return run_flashbulb("gate", run, "--exit-zero", *outputs)


def waivers(run: Path, _: Path, out: Path) -> Answer:
    (out / "waivers.toml").write_text("")
    return run_flashbulb("waivers", "check", out / "waivers.toml", "--run", run)


def evaluate(run: Path, _: Path, out: Path) -> Answer:
    labels = "".join(f"{prompt},{int(i < 3)}\n" for i, prompt in enumerate(PROMPTS))
    (out / "labels.csv").write_text(f"prompt,label\n{labels}")
    return run_flashbulb("evaluate", run, "--labels", out / "labels.csv")


READERS: dict[str, Reader] = {
    "gate": gate,
    "baseline": lambda run, whole, _: run_flashbulb("gate", whole, "--baseline", run, "--exit-zero"),
    "diff": lambda run, whole, _: run_flashbulb("diff", run, whole),
    "report": lambda run, _, out: run_flashbulb("report", run, "--out", out / "report.html"),
    "show": lambda run, _, __: run_flashbulb("show", run, PROMPTS[0]),
    "waivers": waivers,
    "evaluate": evaluate,
    "localize": lambda run, _, __: run_flashbulb("localize", run),
}
OTHERS = ("other prompts", "other sites", "other model")


def with_other_prompts(value: Any) -> Any:
    """Rename every prompt_id, also in lists of them."""
    if isinstance(value, list):
        return [with_other_prompts(inner) for inner in value]
    return f"q{value[1:]}" if isinstance(value, str) and value[:1] in "pr" and value[1:].isdigit() else value


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An audit, and others that differ in their prompts, their sites and their model. Tests must not change them."""
    folder = tmp_path_factory.mktemp("runs")
    whole = write_illustrated(folder / "whole")
    prompts = Path(shutil.copytree(whole, folder / "other prompts"))
    for name in TABLE_FILES:
        table = pq.read_table(prompts / name)
        rows = [{key: with_other_prompts(value) for key, value in row.items()} for row in table.to_pylist()]
        rewrite_table(prompts, name, pa.Table.from_pylist(rows, schema=table.schema.remove_metadata()))
    model = Path(shutil.copytree(whole, folder / "other model"))
    for name in TABLE_FILES:
        table = pq.read_table(model / name)
        footer = table.schema.metadata | {b"flashbulb.model_fingerprint": b"sha256:ffff"}
        pq.write_table(table.replace_schema_metadata(footer), model / name)
        edit_run_json(model, "tables", name, value=sha256_of(model / name))
    edit_run_json(model, "model", "fingerprint", value="sha256:ffff")
    seal_again(model)
    sites = write_illustrated(folder / "other sites", site=SITES[2][1].replace("up_blocks.1", "up_blocks.0"))
    return {"whole": whole, "other prompts": prompts, "other model": model, "other sites": sites}


def put(run: Path, other: Path, *names: str) -> None:
    for name in names:
        shutil.copy(other / name, run / name)
        edit_run_json(run, "tables", name, value=sha256_of(run / name))
    seal_again(run)


@pytest.mark.parametrize(
    ("name", "reader"),
    slow_unless(
        lambda case: case[0] == "whole" or case[1] == "gate",
        [(name, reader) for name in ("whole", *OTHERS) for reader in READERS if reader != "localize"],
    ),
)
def test_an_audit_that_is_whole_is_read(runs: dict[str, Path], tmp_path: Path, name: str, reader: str) -> None:
    run = Path(shutil.copytree(runs[name], tmp_path / "run"))
    whole = Path(shutil.copytree(runs[name], tmp_path / "whole"))
    edit_run_json(whole, "timings", "step", value=1.0)  # an audit of its own: a copy of the run is no baseline
    seal_again(whole)
    answer = READERS[reader](run, whole, tmp_path)
    assert answer.code == 0, answer


SWAPS = [
    (other, names)
    for other in OTHERS
    for size in (1, 2, len(TABLE_FILES) - 1)
    for names in combinations(TABLE_FILES, size)
]
"""Every single table, every pair of tables, and all but one, of each other audit."""
SITE_TABLES = {"spikes.parquet", "neuron_groups.parquet", "site_profiles.parquet"}


def is_quick(swap: tuple[str, tuple[str, ...]]) -> bool:
    """Tell what is no pair of tables that a single one of them would give away as well."""
    other, names = swap
    return len(names) != 2 or (other == "other sites" and bool(SITE_TABLES & set(names)))


@pytest.mark.parametrize(("other", "names"), slow_unless(is_quick, SWAPS), ids=str)
def test_tables_of_another_audit_are_refused(
    runs: dict[str, Path], tmp_path: Path, other: str, names: tuple[str, ...]
) -> None:
    """Audits of the same prompts and model differ in their sites alone: other tables are the same, and no swap."""
    run = Path(shutil.copytree(runs["whole"], tmp_path / "run"))
    put(run, runs[other], *names)
    swapped = SITE_TABLES & set(names)
    answer = gate(run, run, tmp_path)
    if other == "other sites" and swapped in (set(), SITE_TABLES):
        assert answer.code == 0
    else:
        assert "run the audit again" in error_line(answer, 3)


@pytest.mark.parametrize(("name", "reader"), each_with_one(TABLE_FILES, READERS))
def test_every_reader_refuses_a_table_of_another_audit(
    runs: dict[str, Path], tmp_path: Path, name: str, reader: str
) -> None:
    run = Path(shutil.copytree(runs["whole"], tmp_path / "run"))
    put(run, runs["other prompts"], name)
    answer = READERS[reader](run, runs["whole"], tmp_path)
    assert "run the audit again" in error_line(answer, 3)


TEXTS = (
    "",
    "p0",
    "p9",
    "../x",
    "unet",
    "\u202e\n\x1b[31m",
    "confirmed",
    "not_shown",
    "high",
    "none",
    "verbatim",
    "a b",
)
NUMBERS = (float("nan"), float("inf"), -float("inf"), -1.0, 0.0, 0.5, 1.0, 2.0, 1e300, -1e300, 1e-300)


def strange_value(data: st.DataObject, kind: pa.DataType) -> object:
    if pa.types.is_list(kind):
        return data.draw(st.lists(st.sampled_from(TEXTS), max_size=2))
    if pa.types.is_integer(kind):
        return data.draw(st.sampled_from((-1, 0, 1, 2, 3, 2 ** (kind.bit_width - 1) - 1, -(2 ** (kind.bit_width - 1)))))
    return data.draw(st.sampled_from({pa.string(): TEXTS, pa.float64(): NUMBERS, pa.bool_(): (True, False)}[kind]))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_value_of_any_cell_is_an_internal_error(runs: dict[str, Path], tmp_path: Path, data: st.DataObject) -> None:
    """Every reader judges, shows or refuses a run with a strange value, and all agree whether to refuse it."""
    run = Path(shutil.copytree(runs["whole"], tmp_path / "run", dirs_exist_ok=True))
    name = data.draw(st.sampled_from(TABLE_FILES))
    table = pq.read_table(run / name)
    field, row = data.draw(st.sampled_from(list(table.schema))), data.draw(st.integers(0, len(table) - 1))
    changed = with_value(field.name, strange_value(data, field.type), row)(table)
    rewrite_table(run, name, changed.cast(table.schema))
    answers = {reader: READERS[reader](run, runs["whole"], tmp_path) for reader in ("gate", "report", "diff")}
    answers["show"] = run_flashbulb("show", run, "p0")
    assert {answer.code for answer in answers.values()} in ({0}, {3}), answers
    assert not any("Traceback" in answer.err for answer in answers.values())
