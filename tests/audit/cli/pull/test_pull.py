"""`flashbulb pull` on a toy pipeline ranks, pulls, resumes and keeps to its budget."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from flashbulb.audit.images.distances import RgbImages
from flashbulb.reports.pull.record import load_pull
from flashbulb.reports.tables.files import RunIncompleteError
from tests.audit.cli.pull.conftest import N_CONTROLS, N_IMAGES, PULL, RANK, Given, Pulled, save_images, table_of
from tests.audit.commands import digests, error_line, run_flashbulb, run_json

pytestmark = pytest.mark.usefixtures("short_pulls")


def test_every_image_is_ranked_and_the_more_familiar_half_of_the_controls_pulled_at(pulled: Pulled) -> None:
    record, table = load_pull(pulled.run), table_of(pulled.run)
    images, controls = table[~table["is_control"]], table[table["is_control"]]
    assert (len(images), len(controls), record.n_images) == (N_IMAGES, N_CONTROLS, N_IMAGES)
    for rows in (images, controls):
        assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
        assert rows["familiarity"].is_monotonic_decreasing
    lowest = controls["familiarity"].median()
    assert ((table["verdict"] != "not_tried") == (table["familiarity"] > lowest)).all()
    tried = table[table["verdict"] != "not_tried"]
    assert (tried["score"] == tried["familiarity"] + tried["closeness"]).all()
    assert record.evaluations == {"rank": RANK * len(table), "pull": PULL * len(tried)}
    assert "3 controls cannot show that at most 2 % of never-trained images come out; give at least 49" in str(
        record.warnings
    )


def test_an_image_that_exif_turns_is_ranked_once_by_its_more_familiar_view(
    given: Given, pulled: Pulled, tmp_path: Path
) -> None:
    """It has two views, upright and as stored; no image is left out for a second view of another."""
    images, run = Path(shutil.copytree(given.images, tmp_path / "images")), tmp_path / "run"
    turned, exif = ["0.png", "1.png"], Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    for name in turned:
        with Image.open(images / name) as image:
            image.save(images / name, exif=exif)
    ranking_cost = RANK * (N_IMAGES + len(turned))
    answer = run_flashbulb("pull", given.model, images, "--no-examine", "--budget", ranking_cost, "--out", run)
    assert answer.code == 0, answer.err
    assert (load_pull(run).n_images, load_pull(run).evaluations["rank"]) == (N_IMAGES, ranking_cost)
    found, as_stored = (familiarity_by_name(table_of(out)) for out in (run, pulled.run))
    assert found.keys() == as_stored.keys()
    for name, familiarity in found.items():
        assert familiarity >= as_stored[name] - 1e-4
        assert name in turned or familiarity <= as_stored[name] + 1e-4


def familiarity_by_name(table: pd.DataFrame) -> dict[str, float]:
    images = table[~table["is_control"]]
    return dict(zip(images["path"].map(lambda path: Path(path).name), images["familiarity"], strict=True))


def test_random_weights_give_no_image_back(pulled: Pulled) -> None:
    assert load_pull(pulled.run).n_out == 0
    assert not (pulled.run / "evidence.png").exists()
    assert "No image came out." in (pulled.run / "pull.md").read_text(encoding="utf-8")
    assert "0 out" in pulled.answer.out


def test_a_finished_pull_is_kept_and_computes_nothing_again(
    given: Given, pulled: Pulled, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = table_of(pulled.run)

    def refuse(*_: object) -> RgbImages:
        raise AssertionError("an image is computed again")

    monkeypatch.setattr("flashbulb.audit.stages.pull.pull", refuse)
    monkeypatch.setattr("flashbulb.audit.stages.pull.familiarity", refuse)
    assert given.pull(pulled.run).code == 0
    pd.testing.assert_frame_equal(table_of(pulled.run), before)


def test_copies_of_an_image_are_pulled_at_once(given: Given, tmp_path: Path) -> None:
    images, run = Path(shutil.copytree(given.images, tmp_path / "images")), tmp_path / "run"
    shutil.copy(images / "0.png", images / "copy.png")
    budget = RANK * (N_IMAGES + 1) + PULL * (N_IMAGES - 1)
    options = ("pull", given.model, images, "--no-examine", "--out", run)
    assert run_flashbulb(*options, "--budget", budget).code == 0
    assert load_pull(run).n_unpaid in (1, 2)
    assert run_flashbulb(*options).code == 0
    table = table_of(run).set_index(table_of(run)["path"].map(lambda path: Path(path).name))
    assert load_pull(run).evaluations["pull"] == PULL * N_IMAGES == table["evaluations"].sum()
    assert sorted(table["evaluations"][["0.png", "copy.png"]]) == [0, PULL]
    assert table["closeness"]["0.png"] == table["closeness"]["copy.png"]


def test_a_budget_pays_for_ranks_and_controls_first_and_a_larger_one_resumes(
    given: Given, pulled: Pulled, tmp_path: Path
) -> None:
    n_ranked = N_IMAGES + N_CONTROLS
    budget = n_ranked * RANK + PULL  # one pull: the most familiar control
    assert given.pull(tmp_path / "run", "--budget", budget).code == 0
    table = table_of(tmp_path / "run")
    assert "no image was pulled at" in error_line(given.pull(tmp_path / "run", "--budget", budget, "--gate"), code=3)
    tried = table[table["verdict"] != "not_tried"]
    assert (tried["is_control"].tolist(), tried["rank"].tolist()) == ([True], [1])
    n_unpaid = (pulled_table := table_of(pulled.run))[~pulled_table["is_control"]]["verdict"].ne("not_tried").sum()
    assert load_pull(tmp_path / "run").n_unpaid == n_unpaid > 0
    assert f"--budget {budget} paid for no pull at {n_unpaid} image" in str(load_pull(tmp_path / "run").warnings)
    assert given.pull(tmp_path / "run").code == 0
    pd.testing.assert_frame_equal(table_of(tmp_path / "run"), table_of(pulled.run))


def test_images_that_are_less_familiar_than_the_controls_pass_whatever_the_budget(
    given: Given, pulled: Pulled, tmp_path: Path
) -> None:
    """More of a budget would pull at none of them either."""
    images, table = tmp_path / "images", table_of(pulled.run)
    images.mkdir()
    for path in table[~table["is_control"] & (table["verdict"] == "not_tried")]["path"]:
        shutil.copy(given.images / Path(path).name, images)
    plenty = RANK * (N_IMAGES + N_CONTROLS) + PULL * (N_IMAGES + N_CONTROLS)
    answer = given._replace(images=images).pull(tmp_path / "run", "--budget", plenty, "--gate")
    assert answer.code == 0, answer.err
    record = load_pull(tmp_path / "run")
    assert (record.n_images > 0, record.n_tried, record.n_unpaid) == (True, 0, 0)
    assert "none was pulled at" in (tmp_path / "run" / "pull.md").read_text(encoding="utf-8")


def test_an_image_that_is_out_is_shown_and_the_gate_exits_with_1(
    given: Given, pulled: Pulled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights memorize nothing, so the verdict is told; all that follows from it is real."""
    monkeypatch.setattr("flashbulb.audit.stages.results.pull.is_out", lambda *_: True)
    answer = given.pull(tmp_path / "run", "--gate")
    assert answer.code == 1, answer.err
    record, table = load_pull(tmp_path / "run"), table_of(tmp_path / "run")
    out = table[(table["verdict"] == "out") & ~table["is_control"]]
    assert record.n_out == len(out) > 0
    assert record.controls_out.n == (table["is_control"] & (table["verdict"] == "out")).sum() > 0
    for path in out["sample_path"]:
        with Image.open(tmp_path / "run" / path) as image:
            assert image.size == (16, 16)
    assert (tmp_path / "run" / "evidence.png").is_file()
    page = (tmp_path / "run" / "pull.md").read_text(encoding="utf-8")
    assert all(Path(path).name in page for path in out["path"])
    assert run_flashbulb("gate", tmp_path / "run").code == 3


def test_ctrl_c_prints_how_to_resume_and_readers_say_that_the_pull_is_not_complete(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> RgbImages:
        raise KeyboardInterrupt

    monkeypatch.setattr("flashbulb.audit.stages.pull.pull", interrupt)
    assert "run the same command again to resume" in error_line(given.pull(tmp_path / "run"), code=130)
    with pytest.raises(RunIncompleteError, match="the pull is not complete; run it again to finish it"):
        load_pull(tmp_path / "run")


def test_a_pull_at_other_images_leaves_the_finished_one(given: Given, pulled: Pulled, tmp_path: Path) -> None:
    run = Path(shutil.copytree(pulled.run, tmp_path / "run"))
    images, before = save_images(tmp_path / "others", [20, 21]), digests(run)
    line = error_line(given._replace(images=images).pull(run))
    assert f"holds another audit: settings.source was {str(given.images)!r}, now {str(images)!r}" in line
    assert digests(run) == before


def test_a_replayed_pull_gives_the_same_result_and_can_take_another_model(
    given: Given, pulled: Pulled, tmp_path: Path
) -> None:
    answer = run_flashbulb("pull", "--replay", pulled.run, "--out", tmp_path / "again")
    assert answer.code == 0, answer.err
    original, replayed = run_json(pulled.run), run_json(tmp_path / "again")
    assert replayed["settings"] == original["settings"] | {"out": str(tmp_path / "again")}
    pd.testing.assert_frame_equal(table_of(tmp_path / "again"), table_of(pulled.run), check_exact=True)
    other = run_flashbulb("pull", tmp_path / "none", "--replay", pulled.run, "--out", tmp_path / "other")
    assert other.code == 2
    assert str(tmp_path / "none") in error_line(other)
