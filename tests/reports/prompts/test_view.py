"""A prompt is found by id, beginning of an id or text, and shown with all of its results and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from flashbulb.reports.prompts.terminal import N_NEURONS, N_OTHERS, prompt_lines
from flashbulb.reports.prompts.view import PromptView, view_prompt
from flashbulb.reports.tables.evidence import NEURON_GROUPS_SCHEMA
from flashbulb.reports.tables.files import (
    MEMORIES_FILE,
    NEURON_GROUPS_FILE,
    RECOVERIES_FILE,
    SCORES_FILE,
    SITE_PROFILES_FILE,
    SPIKES_FILE,
    RunFileError,
    RunIncompleteError,
    sha256_of,
)
from flashbulb.reports.tables.schema import (
    MEMORIES_SCHEMA,
    RECOVERIES_SCHEMA,
    SPIKES_SCHEMA,
    read_table,
    scores_schema,
    write_table,
)
from tests.paths import ROOT
from tests.reports.examples import DETECTORS, attempt, attempts_table, memories_of, memories_table, memory
from tests.reports.prompts.conftest import group, rewrite_record, spike
from tests.reports.runs import HOSTILE, LEAKS, PROMPTS, write_example


def text_of(view: PromptView) -> str:
    return "\n".join(prompt_lines(view))


def test_every_image_of_a_prompt_is_listed_with_how_often_it_comes(run: Path) -> None:
    view = view_prompt(run, "p1")
    assert [(memory.finding_id, memory.p_hits, memory.p_samples) for memory in view.memories] == [
        ("f", 4, 4),
        ("h", 1, 4),
    ]
    assert "h: confirmed by agreement, 1 of 4 samples" in text_of(view)
    assert view_prompt(run, "p5").memories == ()


def test_all_results_of_a_prompt_are_collected(run: Path) -> None:
    view = view_prompt(run, "p0")
    row = read_table(run / SCORES_FILE, scores_schema(())).to_pylist()[0]
    for name in scores_schema(()).names:
        assert getattr(view, name) == row[name]
    assert view.detectors == {name: row[name] for name in DETECTORS}
    assert [site.site for site in view.sites] == ["high z", "low z", "no spike"]
    assert [abs(neuron.z) for neuron in view.sites[0].neurons] == sorted((9.0 + n for n in range(8)), reverse=True)
    assert [site.rms_z for site in view.sites] == [3.5, None, 1.0]
    assert [(attempt.strategy, attempt.verdict) for attempt in view.rungs] == [
        ("sample", "not_shown"),
        ("ascend", "confirmed"),
    ]
    assert view.images == ("images/p0/ascend-0.png",)
    assert [(group.group_id, group.n_listed, group.n_neurons) for group in view.groups] == [("group-001", 1, 2)]
    assert [(other.prompt_id, other.prompt) for other in view.same_picture] == [("p1", PROMPTS[1])]
    assert not view.is_control


def test_lines_show_what_was_collected(run: Path) -> None:
    text = text_of(view_prompt(run, "p0"))
    for part in (
        PROMPTS[0],
        "data/captions.csv, row 2",
        "flagged, severity high",
        "spike_score              2",
        f"high z, rms z 3.50: 7 (-16.0), 6 (-15.0), 5 (-14.0), 4 (-13.0), 3 (-12.0) and {8 - N_NEURONS} more",
        "ascend 0: confirmed",
        "nearest training image x.png",
        f"{run}/images/p0/ascend-0.png",
        "group-001: 1 of its 2 neurons; 3 prompts of 1 findings",
        "Other prompts with the same image",
    ):
        assert part in text


def test_a_control_is_named_as_a_control(run: Path) -> None:
    view = view_prompt(run, "p5")
    assert view.is_control
    assert "a control, not flagged" in text_of(view)
    assert "Recovery was not tried" in text_of(view_prompt(run, "p9"))


@pytest.mark.parametrize("wanted", ["p0", PROMPTS[0], f"  {PROMPTS[0]}\n"])
def test_a_prompt_is_found_by_id_and_by_text(run: Path, wanted: str) -> None:
    assert view_prompt(run, wanted).prompt_id == "p0"


def test_an_exact_id_has_precedence_over_longer_ids(run: Path) -> None:
    assert view_prompt(run, "p1").prompt_id == "p1"  # p10 to p19 begin with it
    with pytest.raises(
        RunFileError, match=r"'p' matches 400 prompts of .*: p0 \(captions.csv:2: .*; and 392 more; give"
    ):
        view_prompt(run, "p")


@pytest.mark.parametrize("wanted", ["", "q", "captions.csv:1", HOSTILE, "p0%", "p.", "\udcff"])
def test_text_that_matches_no_prompt_is_refused(run: Path, wanted: str) -> None:
    with pytest.raises(RunFileError, match="no prompt of"):
        view_prompt(run, wanted)


def test_before_recovery_the_flags_and_the_status_are_shown(run: Path) -> None:
    scores = {SCORES_FILE: sha256_of(run / SCORES_FILE), SPIKES_FILE: sha256_of(run / SPIKES_FILE)}
    record = json.loads((run / "run.json").read_text()) | {"status": "detected", "tables": scores}
    (run / "run.json").write_text(json.dumps(record))
    view = view_prompt(run, "p0")
    assert view.rungs == view.groups == view.same_picture == ()
    assert [site.site for site in view.sites] == ["high z", "low z"]
    assert "not complete (status detected)" in text_of(view)


@pytest.mark.parametrize(
    ("status", "way_out"),
    [
        ("recorded", "continue with `flashbulb detect"),
        ("interrupted", "run the audit again to finish it"),
        ("discovery", "give the --out directory of `flashbulb audit`"),
        ([], "run the audit again to finish it"),
    ],
)
def test_a_run_without_scores_is_refused(run: Path, status: object, way_out: str) -> None:
    rewrite_record(run, status=status, tables={})
    with pytest.raises(RunIncompleteError, match=way_out):
        view_prompt(run, "p0")


@pytest.mark.parametrize("name", [SCORES_FILE, SPIKES_FILE, RECOVERIES_FILE, NEURON_GROUPS_FILE, SITE_PROFILES_FILE])
def test_a_table_that_run_json_does_not_describe_is_refused(run: Path, name: str) -> None:
    (run / name).write_bytes((run / name).read_bytes()[:-1] + b"x")
    with pytest.raises(RunIncompleteError, match="is not the file that"):
        view_prompt(run, "p0")
    (run / name).unlink()
    with pytest.raises(RunIncompleteError, match="does not exist"):
        view_prompt(run, "p0")


def test_hostile_text_cannot_control_a_terminal(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run", LEAKS, prompts=[HOSTILE, *PROMPTS[1:]], source_file=HOSTILE)
    hostile_values = {
        "finding_id": HOSTILE,
        "nearest_image": HOSTILE,
        "image_path": HOSTILE,
        "mask_path": HOSTILE,
        "kind": HOSTILE,
    }
    rows = [
        attempt("p0", HOSTILE, HOSTILE, **hostile_values, fixed_share=0.5),
        attempt("p1", "confirmed", **hostile_values),
    ]
    write_table(run / RECOVERIES_FILE, attempts_table(rows), RECOVERIES_SCHEMA, {})
    memories = memories_table([memory(row, evidence=HOSTILE) for row in rows])
    write_table(run / MEMORIES_FILE, memories, MEMORIES_SCHEMA, {})
    spikes = [spike("p0", HOSTILE, 1, 5.0) | {"token_class": HOSTILE}]
    write_table(run / SPIKES_FILE, pa.Table.from_pylist(spikes, schema=SPIKES_SCHEMA), SPIKES_SCHEMA, {})
    groups = [group(HOSTILE, 1, ["p0"])]
    table = pa.Table.from_pylist(groups, schema=NEURON_GROUPS_SCHEMA)
    write_table(run / NEURON_GROUPS_FILE, table, NEURON_GROUPS_SCHEMA, {})
    rewrite_record(run, status=HOSTILE)
    for wanted in ("p0", "p1"):
        lines = prompt_lines(view_prompt(run, wanted))
        assert not any(character in line for line in lines for character in "\x1b\u202e\x00\ud7ff\ufffe\n\r")


def test_an_id_that_is_a_path_finds_no_images(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run", LEAKS)
    table = read_table(run / SCORES_FILE, scores_schema(()))
    ids = pa.array(["../..", *table["prompt_id"].to_pylist()[1:]], pa.string())
    write_table(run / SCORES_FILE, table.set_column(0, "prompt_id", ids), scores_schema(DETECTORS), {})
    (tmp_path / "secret.png").touch()
    (run / "images").mkdir()
    rewrite_record(run)
    assert view_prompt(run, "../..").images == ()


def test_many_prompts_with_the_same_image_are_counted(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run", dict.fromkeys(range(20), "high"))
    table = attempts_table([attempt(f"p{n}", "confirmed", finding_id="f") for n in range(20)])
    write_table(run / RECOVERIES_FILE, table, RECOVERIES_SCHEMA, {})
    write_table(run / MEMORIES_FILE, memories_of(table), MEMORIES_SCHEMA, {})
    rewrite_record(run)
    view = view_prompt(run, "p0")
    assert len(view.same_picture) == 19
    assert f"and {19 - N_OTHERS} more" in text_of(view)


def test_the_command_needs_no_model_library_and_prints_json(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run", LEAKS)
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in ("torch", "diffusers", "transformers", "sklearn"))
    for more in ([], ["--json"]):
        code = f"import sys; {blocked}sys.argv = ['flashbulb', 'show', {str(run)!r}, 'p0', *{more!r}]; "
        done = subprocess.run(
            [sys.executable, "-c", code + "from flashbulb.audit.cli import main; main()"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert not done.stderr
    shown = json.loads(done.stdout)
    assert (shown["prompt_id"], shown["prompt"], len(shown["rungs"])) == ("p0", PROMPTS[0], 2)
    assert {"sites", "groups", "same_picture", "detectors", "images", "is_control"} <= shown.keys()


def test_an_image_that_comes_back_is_counted(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run", {0: "high"})
    table = attempts_table([attempt("p0", "confirmed", finding_id="f", alike_seeds=2, alike_prompts=1)])
    write_table(run / RECOVERIES_FILE, table, RECOVERIES_SCHEMA, {})
    rewrite_record(run)
    (seen,) = view_prompt(run, "p0").rungs
    assert (seen.alike_seeds, seen.alike_prompts) == (2, 1)


def test_the_confidence_is_shown_where_no_copy_of_a_training_image_decides(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run", {0: "high", 1: "high"})
    judged = {"confidence": 0.0, "similarity": 0.99, "nearest_image": "x.png"}
    copy = attempt("p0", "confirmed", finding_id="f", kind="verbatim", **judged)
    write_table(
        run / RECOVERIES_FILE, attempts_table([copy, attempt("p1", "not_shown", **judged)]), RECOVERIES_SCHEMA, {}
    )
    rewrite_record(run)
    assert "verbatim, seeds agree" in text_of(view_prompt(run, "p0"))
    assert "similarity 0.990" in text_of(view_prompt(run, "p0"))
    assert "confidence 0.00" in text_of(view_prompt(run, "p1"))
