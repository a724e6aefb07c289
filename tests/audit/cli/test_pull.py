"""`flashbulb pull` on a toy pipeline ranks, pulls, resumes and keeps to its budget; every mistake is one line."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from flashbulb.audit.images.distances import RgbImages
from flashbulb.reports.pull.record import load_pull
from flashbulb.reports.tables.files import RunIncompleteError
from tests.audit.cli.conftest import PULL_SAMPLE_STEPS, PULL_STEPS
from tests.audit.commands import Answer, digests, error_line, run_flashbulb, run_json
from tests.audit.conftest import Inputs

RANK, PULL = 8, PULL_STEPS * 3 + 6 * PULL_SAMPLE_STEPS * 2  # UE of an image
N_IMAGES, N_CONTROLS = 4, 3

pytestmark = pytest.mark.usefixtures("short_pulls")


class Given(NamedTuple):
    """A model, images to pull at, and controls. Read-only."""

    model: Path
    images: Path
    controls: Path

    def pull(self, out: Path, *options: object) -> Answer:
        """Pull with controls and without an examination, which refuses random weights."""
        given = (self.model, self.images, "--controls", self.controls, "--no-examine", "--out", out)
        return run_flashbulb("pull", *given, *options)


def save_images(folder: Path, seeds: Sequence[int]) -> Path:
    folder.mkdir()
    for seed in seeds:
        blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(np.kron(blocks, np.ones((4, 4, 1), dtype=np.uint8))).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def given(inputs: Inputs, short_pulls: None, tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("pull")
    images = save_images(folder / "images", range(N_IMAGES))
    return Given(inputs.model, images, save_images(folder / "controls", range(10, 10 + N_CONTROLS)))


class Pulled(NamedTuple):
    """A finished pull and what it printed. Read-only."""

    run: Path
    answer: Answer


@pytest.fixture(scope="module")
def pulled(given: Given, tmp_path_factory: pytest.TempPathFactory) -> Pulled:
    run = tmp_path_factory.mktemp("pulled") / "run"
    answer = given.pull(run)
    assert answer.code == 0, answer.err
    return Pulled(run, answer)


def table_of(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "pull.parquet")


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
    of_ranks = RANK * (N_IMAGES + len(turned))
    answer = run_flashbulb("pull", given.model, images, "--no-examine", "--budget", of_ranks, "--out", run)
    assert answer.code == 0, answer.err
    assert (load_pull(run).n_images, load_pull(run).evaluations["rank"]) == (N_IMAGES, of_ranks)
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
    assert "4 images were not pulled at" in str(load_pull(tmp_path / "run").warnings)
    assert given.pull(tmp_path / "run").code == 0
    pd.testing.assert_frame_equal(table_of(tmp_path / "run"), table_of(pulled.run))


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


def test_without_controls_a_warning_says_that_nothing_is_calibrated(given: Given, tmp_path: Path) -> None:
    budget = ("--budget", N_IMAGES * RANK)
    answer = run_flashbulb("pull", given.model, given.images, "--no-examine", *budget, "--out", tmp_path / "run")
    assert answer.code == 0, answer.err
    assert "no controls: the threshold was chosen on planted models" in " ".join(answer.out.split())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--budget", "0"), "--budget: "),
        (("--budget", "55"), "--budget 55 does not pay for the ranks of all images, which take 56"),
        (("--max-false", "1"), "--max-false: "),
        (("--device", "abacus"), "abacus"),
        (("--controls", "/nowhere/images"), "no /nowhere/images; give --controls a folder"),
    ],
)
def test_mistake_is_one_line(given: Given, tmp_path: Path, options: tuple[str, ...], line: str) -> None:
    assert line in error_line(given.pull(tmp_path / "run", *options))


def test_controls_that_are_the_images_are_refused(given: Given, tmp_path: Path) -> None:
    answer = run_flashbulb("pull", given.model, given.images, "--controls", given.images, "--out", tmp_path / "run")
    assert "are the images themselves" in error_line(answer)


def test_a_pull_at_other_images_leaves_the_finished_one(given: Given, pulled: Pulled, tmp_path: Path) -> None:
    run = Path(shutil.copytree(pulled.run, tmp_path / "run"))
    images, before = save_images(tmp_path / "others", [20, 21]), digests(run)
    line = error_line(given._replace(images=images).pull(run))
    assert f"holds another audit: settings.source was {str(given.images)!r}, now {str(images)!r}" in line
    assert digests(run) == before


def test_copies_of_a_control_count_as_one(given: Given, pulled: Pulled, tmp_path: Path) -> None:
    """With 49 of them a threshold would be called calibrated that one image set."""
    controls = Path(shutil.copytree(given.controls, tmp_path / "controls"))
    for number in range(49):
        shutil.copy(given.controls / "10.png", controls / f"copy-{number}.png")
    answer = given._replace(controls=controls).pull(tmp_path / "run")
    assert answer.code == 0, answer.err
    assert load_pull(tmp_path / "run").warnings == load_pull(pulled.run).warnings
    names = ["image_id", "is_control", "verdict", "score", "p_value"]
    pd.testing.assert_frame_equal(table_of(tmp_path / "run")[names], table_of(pulled.run)[names])


def test_controls_among_the_images_are_refused(given: Given, tmp_path: Path) -> None:
    """A memorized one would raise the threshold above itself, and nothing would be out."""
    controls = Path(shutil.copytree(given.controls, tmp_path / "controls"))
    shutil.copy(given.images / "0.png", controls / "taken.png")
    line = error_line(given._replace(controls=controls).pull(tmp_path / "run"))
    assert f"1 of {N_CONTROLS + 1} controls are among the images, the first taken.png; take them out" in line


def test_a_model_without_images_is_refused(given: Given, tmp_path: Path) -> None:
    assert "SOURCE is missing" in error_line(run_flashbulb("pull", given.model, "--out", tmp_path / "run"))
    before = digests(given.images)
    answer = run_flashbulb("pull", given.model, given.images, "--out", given.images)
    assert "choose another --out" in error_line(answer)
    assert digests(given.images) == before


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


def test_only_a_finished_pull_can_be_replayed_as_one(pulled: Pulled, tmp_path: Path) -> None:
    for command, run in (("pull", tmp_path / "none"), ("discover", pulled.run), ("audit", pulled.run)):
        answer = run_flashbulb(command, "--replay", run, "--out", tmp_path / "again")
        assert (answer.code, "--replay" in error_line(answer)) == (2, True)
        assert not (tmp_path / "again").exists()
