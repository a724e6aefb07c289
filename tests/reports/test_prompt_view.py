"""One prompt is shown with all that the tables hold of it, found by id, beginning or text, and nothing else."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from reports.evidence_tables import SITE_PROFILES_SCHEMA
from reports.files import (
    NEURON_GROUPS_FILE,
    RECOVERIES_FILE,
    SCORES_FILE,
    SITE_PROFILES_FILE,
    SPIKES_FILE,
    RunFileError,
    RunIncompleteError,
    sha256_of,
)
from reports.neuron_groups import NEURON_GROUPS_SCHEMA
from reports.prompt_terminal import N_NEURONS, N_OTHERS, prompt_lines
from reports.prompt_view import PromptView, view_prompt
from reports.schema import RECOVERIES_SCHEMA, SPIKES_SCHEMA, read_table, scores_schema, write_table
from tests.reports.examples import DETECTORS, rung, rungs_table
from tests.reports.runs import HOSTILE, LEAKS, PROMPTS, write_example

ROOT = Path(__file__).parents[2]


def restate(run: Path, **entries: Any) -> None:
    """Let run.json vouch for the tables as they are, and state `entries`."""
    record = json.loads((run / "run.json").read_text())
    record["tables"] = {name: sha256_of(run / name) for name in record["tables"]}
    (run / "run.json").write_text(json.dumps(record | entries))


def spike(prompt_id: str, site: str, neuron: int, z: float) -> dict[str, Any]:
    return {
        "prompt_id": prompt_id,
        "site": site,
        "neuron": neuron,
        "token_class": "all",
        "activation": 1.0,
        "z": z,
        "share": 0.1,
        "attribution": None,
    }


def group(group_id: str, neuron: int, prompt_ids: list[str]) -> dict[str, Any]:
    return {
        "group_id": group_id,
        "site": "ff",
        "neuron": neuron,
        "token_class": "all",
        "n_prompts": len(prompt_ids),
        "mean_z": 9.0,
        "expected_prompts": 0.1,
        "prompt_ids": prompt_ids,
        "n_group_prompts": 3,
        "n_findings": 1,
        "unflagged_share": 0.0,
        "p_value": 1e-6,
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """p0 and p1 gave the same picture, p2 another; p5 is a control."""
    run = write_example(tmp_path / "run", LEAKS)
    rungs = [
        rung("p0", "not_shown"),
        rung("p0", "confirmed", "ascend", finding_id="f", image_path="images/p0/ascend-0.png", nearest_image="x.png"),
        rung("p1", "confirmed", finding_id="f"),
        rung("p2", "likely", finding_id="g"),
        rung("p5", "not_shown", is_control=True),
    ]
    spikes = [
        spike("p0", "quiet", 1, 5.0),
        *(spike("p0", "loud", n, -9.0 - n) for n in range(8)),
        spike("p1", "ff", 0, 7),
    ]
    groups = [group("group-001", 1, ["p0", "p1"]), group("group-001", 2, ["p1"]), group("group-002", 3, ["p2"])]
    profile = {"prompt_id": "p0", "is_control": False, "kind": "feed_forward", "n_neurons": 9, "spike_share": 0.1}
    profiles = [{**profile, "site": site, "rms_z": z} for site, z in (("loud", 3.5), ("silent", 1.0))]
    write_table(run / RECOVERIES_FILE, rungs_table(rungs), RECOVERIES_SCHEMA, {})
    for name, rows, schema in (
        (SPIKES_FILE, spikes, SPIKES_SCHEMA),
        (NEURON_GROUPS_FILE, groups, NEURON_GROUPS_SCHEMA),
        (SITE_PROFILES_FILE, profiles, SITE_PROFILES_SCHEMA),
    ):
        write_table(run / name, pa.Table.from_pylist(rows, schema=schema), schema, {})
    (run / "images" / "p0").mkdir(parents=True)
    (run / "images" / "p0" / "ascend-0.png").touch()
    restate(run)
    return run


def text_of(view: PromptView) -> str:
    return "\n".join(prompt_lines(view))


def test_everything_of_a_prompt_is_gathered(run: Path) -> None:
    view = view_prompt(run, "p0")
    row = read_table(run / SCORES_FILE, scores_schema(())).to_pylist()[0]
    for name in scores_schema(()).names:
        assert getattr(view, name) == row[name]
    assert view.detectors == {name: row[name] for name in DETECTORS}
    assert [site.site for site in view.sites] == ["loud", "quiet", "silent"]
    assert [abs(neuron.z) for neuron in view.sites[0].neurons] == sorted((9.0 + n for n in range(8)), reverse=True)
    assert [site.rms_z for site in view.sites] == [3.5, None, 1.0]
    assert [(one.strategy, one.verdict) for one in view.rungs] == [("sample", "not_shown"), ("ascend", "confirmed")]
    assert view.images == ("images/p0/ascend-0.png",)
    assert [(one.group_id, one.n_listed, one.n_neurons) for one in view.groups] == [("group-001", 1, 2)]
    assert [(other.prompt_id, other.prompt) for other in view.same_picture] == [("p1", PROMPTS[1])]
    assert not view.is_control


def test_lines_name_what_was_gathered(run: Path) -> None:
    text = text_of(view_prompt(run, "p0"))
    for part in (
        PROMPTS[0],
        "data/captions.csv, row 2",
        "flagged, severity high",
        "spike_score              2",
        f"loud, rms z 3.50: 7 (-16.0), 6 (-15.0), 5 (-14.0), 4 (-13.0), 3 (-12.0) and {8 - N_NEURONS} more",
        "ascend 0: confirmed",
        "nearest training picture x.png",
        f"{run}/images/p0/ascend-0.png",
        "group-001: 1 of its 2 neurons; 3 prompts of 1 findings",
        "The same picture comes from",
    ):
        assert part in text


def test_a_control_is_called_one(run: Path) -> None:
    view = view_prompt(run, "p5")
    assert view.is_control
    assert "a control, not flagged" in text_of(view)
    assert "Recovery was not tried" in text_of(view_prompt(run, "p9"))


@pytest.mark.parametrize("wanted", ["p0", PROMPTS[0], f"  {PROMPTS[0]}\n"])
def test_a_prompt_is_found_by_id_and_by_text(run: Path, wanted: str) -> None:
    assert view_prompt(run, wanted).prompt_id == "p0"


def test_an_id_wins_over_ids_that_it_begins(run: Path) -> None:
    assert view_prompt(run, "p1").prompt_id == "p1"  # p10 to p19 begin with it
    with pytest.raises(RunFileError, match=r"'p' can be 20 prompts of .*, e\.g\. p0, p1, p2, p3, p4; give more of it"):
        view_prompt(run, "p")
    with pytest.raises(RunFileError, match="'' can be 20 prompts"):
        view_prompt(run, "")


@pytest.mark.parametrize("wanted", ["q", "portrait", PROMPTS[0].upper(), HOSTILE, "p0%", "p.", "\udcff"])
def test_what_is_no_prompt_is_one_line(run: Path, wanted: str) -> None:
    with pytest.raises(RunFileError, match="no prompt of"):
        view_prompt(run, wanted)


def test_before_recovery_the_flags_are_shown_and_the_state_said(run: Path) -> None:
    scores = {SCORES_FILE: sha256_of(run / SCORES_FILE), SPIKES_FILE: sha256_of(run / SPIKES_FILE)}
    record = json.loads((run / "run.json").read_text()) | {"status": "detected", "tables": scores}
    (run / "run.json").write_text(json.dumps(record))
    view = view_prompt(run, "p0")
    assert view.rungs == view.groups == view.same_picture == ()
    assert [site.site for site in view.sites] == ["loud", "quiet"]
    assert "not complete (status detected)" in text_of(view)


@pytest.mark.parametrize(
    ("status", "way_out"),
    [
        ("recorded", "go on with `engram detect"),
        ("interrupted", "run the audit to its end"),
        ("discovery", "give the OUT of `engram audit`"),
        ([], "run the audit to its end"),
    ],
)
def test_a_run_without_scores_is_refused(run: Path, status: object, way_out: str) -> None:
    restate(run, status=status, tables={})
    with pytest.raises(RunIncompleteError, match=way_out):
        view_prompt(run, "p0")


@pytest.mark.parametrize("name", [SCORES_FILE, SPIKES_FILE, RECOVERIES_FILE, NEURON_GROUPS_FILE, SITE_PROFILES_FILE])
def test_a_table_that_is_not_the_runs_is_refused(run: Path, name: str) -> None:
    (run / name).write_bytes((run / name).read_bytes()[:-1] + b"x")
    with pytest.raises(RunIncompleteError, match="is not the file that"):
        view_prompt(run, "p0")
    (run / name).unlink()
    with pytest.raises(RunIncompleteError, match="does not exist"):
        view_prompt(run, "p0")


def test_hostile_text_does_nothing_to_a_terminal(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run", LEAKS, prompts=[HOSTILE, *PROMPTS[1:]], source_file=HOSTILE)
    bad = {
        "finding_id": HOSTILE,
        "nearest_image": HOSTILE,
        "image_path": HOSTILE,
        "mask_path": HOSTILE,
        "kind": HOSTILE,
    }
    rows = [rung("p0", HOSTILE, HOSTILE, **bad, fixed_share=0.5), rung("p1", "confirmed", **bad)]
    write_table(run / RECOVERIES_FILE, rungs_table(rows), RECOVERIES_SCHEMA, {})
    spikes = [spike("p0", HOSTILE, 1, 5.0) | {"token_class": HOSTILE}]
    write_table(run / SPIKES_FILE, pa.Table.from_pylist(spikes, schema=SPIKES_SCHEMA), SPIKES_SCHEMA, {})
    groups = [group(HOSTILE, 1, ["p0"])]
    table = pa.Table.from_pylist(groups, schema=NEURON_GROUPS_SCHEMA)
    write_table(run / NEURON_GROUPS_FILE, table, NEURON_GROUPS_SCHEMA, {})
    restate(run, status=HOSTILE)
    for wanted in ("p0", "p1"):
        lines = prompt_lines(view_prompt(run, wanted))
        assert not any(character in line for line in lines for character in "\x1b\u202e\x00\ud7ff\ufffe\n\r")


def test_an_id_that_is_a_path_leads_nowhere(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run", LEAKS)
    table = read_table(run / SCORES_FILE, scores_schema(()))
    ids = pa.array(["../..", *table["prompt_id"].to_pylist()[1:]], pa.string())
    write_table(run / SCORES_FILE, table.set_column(0, "prompt_id", ids), scores_schema(DETECTORS), {})
    (tmp_path / "secret.png").touch()
    (run / "images").mkdir()
    restate(run)
    assert view_prompt(run, "../..").images == ()


def test_many_prompts_with_the_same_picture_are_counted(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run", dict.fromkeys(range(20), "high"))
    table = rungs_table([rung(f"p{n}", "confirmed", finding_id="f") for n in range(20)])
    write_table(run / RECOVERIES_FILE, table, RECOVERIES_SCHEMA, {})
    restate(run)
    view = view_prompt(run, "p0")
    assert len(view.same_picture) == 19
    assert f"and {19 - N_OTHERS} more" in text_of(view)


def test_the_command_needs_no_model_library_and_prints_json(run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(run, tmp_path / "copy"))
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in ("torch", "diffusers", "transformers", "sklearn"))
    for more in ([], ["--json"]):
        code = f"import sys; {blocked}sys.argv = ['engram', 'show', {str(run)!r}, 'p0', *{more!r}]; "
        done = subprocess.run(
            [sys.executable, "-c", code + "from audit.cli import main; main()"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert not done.stderr
    shown = json.loads(done.stdout)
    assert (shown["prompt_id"], shown["prompt"], len(shown["rungs"])) == ("p0", PROMPTS[0], 2)
    assert {"sites", "groups", "same_picture", "detectors", "images", "is_control"} <= shown.keys()
