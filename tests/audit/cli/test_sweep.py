"""A sweep audits checkpoints with one plan, names the first that fails, and repeats nothing that is finished."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import save_file

from flashbulb.reports.tables.sweep import SWEEP_FILES
from tests.audit.cli.trainings import LORA, NAMES, Training
from tests.audit.commands import digests, refused, run_flashbulb, run_json, shards, text_file
from tests.audit.counting import counted_latents
from tests.audit.files.single import checkpoint_of, configs_of
from tests.toy import build_toy_xl_pipe


@pytest.fixture
def copied(swept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(swept, tmp_path / "sweep"))


def document(out: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
    return content


def gates(out: Path) -> dict[str, str]:
    table = pd.read_parquet(out / "sweep.parquet")
    return dict(zip(table["checkpoint"], table["gate"], strict=True))


def test_the_first_checkpoint_that_fails_is_named_everywhere(swept: Path, training: Training) -> None:
    assert gates(swept) == dict(zip(NAMES, ("inconclusive", "fail", "fail"), strict=True))
    assert document(swept)["first_failing"] == "checkpoint-40"
    for name in ("sweep.md", "sweep.html"):
        assert "he first checkpoint that fails the gate is checkpoint-40, 2 of 3" in (swept / name).read_text("utf-8")
    with Image.open(swept / "sweep.png") as image:
        assert image.format == "PNG"
    assert {path.name for path in swept.iterdir()} == {*NAMES, *SWEEP_FILES, "run.json"}


def test_the_table_holds_what_each_run_holds(swept: Path) -> None:
    table = pd.read_parquet(swept / "sweep.parquet")
    assert table["kind"].tolist() == ["pipeline", "LoRA", "LoRA"]
    assert table["step"].tolist() == [9, 40, 100]
    for row in table.itertuples():
        record = run_json(swept / row.run)
        assert (row.n_prompts, row.n_flagged) == (record["counts"]["n_scored"], record["counts"]["n_flagged"])
        assert row.n_confirmed_images == record["counts"]["n_confirmed_pictures"]
        assert row.gate == record["verdict"]["outcome"]
        assert row.model_fingerprint == record["model"]["fingerprint"]
        assert (swept / row.run / "report.html").is_file()
        assert f'href="{row.run}/report.html"' in (swept / "sweep.html").read_text("utf-8")
        assert run_flashbulb("gate", swept / row.run).code == record["verdict"]["exit_code"]


def test_the_last_line_and_the_exit_code_tell_the_gate(copied: Path, training: Training, tmp_path: Path) -> None:
    answer = run_flashbulb(*training.sweep(copied, "--gate"))
    assert answer.code == 1
    first = "the first checkpoint that fails the gate is checkpoint-40, 2 of 3"
    assert answer.out.splitlines()[-1] == f"fail: {first}; the audits of 1 checkpoint are inconclusive"
    lenient = text_file(
        tmp_path / "policy.toml",
        ["max_high = 9", "max_confirmed = 9", "max_extractable_share = 1.0", "min_power = 0.0"],
    )
    second = training._replace(checkpoints=training.checkpoints[1:2])
    answer = run_flashbulb(*second.sweep(copied, "--gate", "--policy", lenient))
    assert answer.code == 0
    assert answer.out.splitlines()[-1] == "pass: no checkpoint fails the gate"
    assert document(copied)["first_failing"] is None
    unmeasured = text_file(tmp_path / "policy.toml", ["max_style_shift = 0.9"])
    answer = run_flashbulb(*second.sweep(copied, "--gate", "--policy", unmeasured))
    assert answer.code == 3
    assert "no checkpoint fails the gate; the audits of 1 checkpoint cannot be trusted" in answer.out


def test_a_finished_sweep_is_repeated_without_evaluations_however_its_checkpoints_are_ordered(
    copied: Path, swept: Path, training: Training
) -> None:
    before = {name: shards(copied / name) for name in NAMES}
    turned = training._replace(checkpoints=training.checkpoints[::-1])  # steps in the names order them
    with counted_latents() as count:
        answer = run_flashbulb(*turned.sweep(copied, "--json"))
    assert answer.code == 0, answer.err
    assert count.n_latents == 3 * 2  # the empty prompt, for each checkpoint and seed
    assert {name: shards(copied / name) for name in NAMES} == before
    assert json.loads(answer.out) == {"sweep": str(copied), **document(swept)}


def test_an_interrupted_sweep_is_resumed(training: Training, swept: Path, copied: Path) -> None:
    out, first = copied, training._replace(checkpoints=training.checkpoints[:2])
    shutil.rmtree(out / "checkpoint-40")
    n_empty = 2  # the empty prompt of the first checkpoint, for each seed
    with counted_latents(stop_after=n_empty + 6):
        assert "run the same command again to resume" in refused(*first.sweep(out), code=130)
    assert run_json(out / "checkpoint-9")["status"] == "complete"
    assert run_json(out / "checkpoint-40")["status"] == "interrupted"
    assert run_json(out)["status"] == "sweeping"
    assert not [name for name in SWEEP_FILES if (out / name).exists()]
    kept = shards(out / "checkpoint-9")
    assert run_flashbulb(*first.sweep(out)).code == 0
    assert shards(out / "checkpoint-9") == kept
    assert document(out)["checkpoints"] == document(swept)["checkpoints"][:2]


def test_the_base_is_recorded_once_and_every_audit_is_as_if_alone(training: Training, tmp_path: Path) -> None:
    words = ("--baseline-model", training.base, "--max-sampled", "0")
    last = training._replace(checkpoints=training.checkpoints[1:])
    with counted_latents() as count:
        answer = run_flashbulb(*last.sweep(tmp_path / "sweep", *words))
    assert answer.code == 0, answer.err
    runs = [tmp_path / "sweep" / name for name in NAMES[1:]]
    first, second = (run_json(run)["evaluations"] for run in runs)
    n_empty = 2  # the empty prompt, for each seed
    assert count.n_latents == sum(first.values()) + sum(second.values()) - second["record_base"] + n_empty
    assert document(tmp_path / "sweep")["base"] == str(training.base)
    alone = ("audit", "--model", training.base, "--lora", training.checkpoints[2], *words, *training.options)
    assert run_flashbulb(*alone, "--out", tmp_path / "alone").code == 0
    assert run_json(runs[1])["tables"] == run_json(tmp_path / "alone")["tables"]
    assert run_json(runs[1])["evaluations"] == run_json(tmp_path / "alone")["evaluations"]
    shutil.rmtree(runs[0])  # runs share files, and none needs another
    assert run_flashbulb("detect", runs[1], "--fpr", "0.1").code == 0


def test_a_checkpoint_that_changed_is_refused(copied: Path, training: Training, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(training.checkpoints[1], tmp_path / "checkpoint-40"))
    shutil.copy(training.checkpoints[2], folder / LORA)
    changed = training._replace(checkpoints=(training.checkpoints[0], folder, training.checkpoints[2]))
    before = digests(copied / "checkpoint-40")
    line = refused(*changed.sweep(copied))
    assert "checkpoint-40 holds another audit" in line
    assert "model_fingerprint" in line
    assert digests(copied / "checkpoint-40") == before


def top(sweep: Path) -> dict[str, str]:
    """Hash the files of a sweep itself."""
    return {name: digest for name, digest in digests(sweep).items() if "/" not in name}


def test_a_refused_sweep_leaves_the_last_one_and_force_starts_over(copied: Path, training: Training) -> None:
    before, runs = top(copied), {name: run_json(copied / name)["verdict"] for name in NAMES}
    assert "settings.fpr was 0.2, now 0.1" in refused(*training.sweep(copied, "--fpr", "0.1"))
    assert top(copied) == before
    assert {name: run_json(copied / name)["verdict"] for name in NAMES} == runs
    last = training._replace(checkpoints=training.checkpoints[2:])
    assert run_flashbulb(*last.sweep(copied, "--fpr", "0.1", "--max-sampled", "0", "--force")).code == 0
    assert set(gates(copied)) == {path.name for path in copied.iterdir() if path.is_dir()} == {*NAMES[2:]}


def test_a_checkpoint_can_be_added_later(copied: Path, training: Training, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(training.checkpoints[1], tmp_path / "checkpoint-70"))
    more = training._replace(checkpoints=(*training.checkpoints[1:], folder))
    before = {name: shards(copied / name) for name in NAMES}
    answer = run_flashbulb(*more.sweep(copied))
    assert answer.code == 0
    assert [*gates(copied)] == [NAMES[1], "checkpoint-70", NAMES[2]]
    note = "checkpoint-40 and checkpoint-70 have the same weights"
    assert f"note: {note}" in answer.out.splitlines()
    assert all(note in (copied / name).read_text("utf-8") for name in ("sweep.md", "sweep.html"))
    assert {name: shards(copied / name) for name in NAMES} == before


def test_an_audit_and_a_sweep_do_not_share_a_directory(swept: Path, finished, training: Training) -> None:
    assert "holds another audit" in refused(*training.sweep(finished.run))
    options = [swept if option == finished.run else option for option in finished.options]
    assert "holds another audit" in refused("audit", *options)
    assert "belongs to a sweep, not to an audit" in refused("gate", swept, code=3)


def test_checkpoints_of_other_neurons_are_not_compared_and_no_page_states_what_audits_no_longer_do(
    copied: Path, training: Training, tmp_path: Path
) -> None:
    before = top(copied)
    build_toy_xl_pipe().save_pretrained(tmp_path / "checkpoint-200")
    more = training._replace(checkpoints=(training.checkpoints[1], tmp_path / "checkpoint-200"))
    line = refused(*more.sweep(copied))
    assert "checkpoint-200 was not audited as checkpoint-40: neurons." in line
    assert top(copied) == before
    policy = text_file(tmp_path / "policy.toml", ["max_high = 9", "max_confirmed = 9", "max_extractable_share = 1.0"])
    refused(*more.sweep(copied, "--policy", policy))  # its first audit has another verdict than the page states
    assert top(copied).keys() == {"run.json"}
    assert run_json(copied)["status"] == "sweeping"


def test_kinds_can_be_mixed_and_only_single_files_take_the_configs(
    toy_pipe: StableDiffusionPipeline, training: Training, tmp_path: Path
) -> None:
    file, configs = tmp_path / "checkpoint-3.safetensors", configs_of(training.base, tmp_path / "configs")
    save_file(checkpoint_of(toy_pipe), file)
    words = ("sweep", training.checkpoints[1], file, "--model", training.base, "--model-config", configs)
    answer = run_flashbulb(*words, *training.options, "--max-sampled", "0", "--out", tmp_path / "sweep")
    assert answer.code == 0, answer.err
    assert gates(tmp_path / "sweep").keys() == {"checkpoint-3", "checkpoint-40"}
    chosen = [run_json(tmp_path / "sweep" / name)["settings"] for name in ("checkpoint-3", "checkpoint-40")]
    assert [settings["model"] for settings in chosen] == [str(file), str(training.base)]
    assert [settings["configs"] for settings in chosen] == [str(configs), None]


def test_without_a_reference_there_is_no_excess(training: Training, tmp_path: Path) -> None:
    prompts = text_file(tmp_path / "many.txt", [f"a {word} star" for word in map(str, range(12))])
    words = ("--prompts", prompts, "--seeds", "1", "--fpr", "0.2")
    quick = (*words, "--max-sampled", "0", "--detectors", "none", "--out", tmp_path / "sweep")
    answer = run_flashbulb("sweep", training.checkpoints[0], *quick)
    assert answer.code == 0, answer.err
    table = pd.read_parquet(tmp_path / "sweep" / "sweep.parquet")
    assert table[["median_excess", "top_excess"]].isna().all(axis=None)
