"""Samples are kept with what they were made from, taken again only for the same, and chosen with controls."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from audit.denoiser import Denoiser
from audit.prompts import Prompt
from audit.recover.ascend import AscendPlan, Target
from audit.recover.climb import ClimbPlan
from audit.recover.cyclic import CyclicPlan
from audit.recover.known_image import KnownImagePlan
from audit.recover.ladder import Ladder
from audit.recover.rungs import RungStore
from audit.recover.sample import SamplePlan, load_pictures, picture_name, sample_prompts, save_pictures
from audit.recover.verify import Verifier, VerifyPlan
from audit.recovering import Recovery, choose, recover_all, sample_paths
from tests.tolerances import PICTURE_LEVELS

PLAN = SamplePlan(run_seed=3, n_samples=2, num_inference_steps=2, guidance_scale=7.5)
PROMPTS = [Prompt(f"id{i}", text, "p.txt", i, 1) for i, text in enumerate(["a star", "the sea", "жар", "x" * 99])]


@pytest.fixture
def kept(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    save_pictures(tmp_path, pictures, "жар [red] \x1b", PLAN, "f00")
    return tmp_path, pictures


def take(folder, **changes):
    given = {"prompt": "жар [red] \x1b", "plan": PLAN, "fingerprint": "f00"} | changes
    return load_pictures(folder, **given)


def test_pictures_come_back_exactly(kept):
    folder, pictures = kept
    np.testing.assert_array_equal(take(folder), pictures)
    assert sorted(path.name for path in folder.iterdir()) == ["seed-0.png", "seed-1.png"]


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "other"},
        {"fingerprint": "f01"},
        {"plan": replace(PLAN, run_seed=4)},
        {"plan": replace(PLAN, num_inference_steps=3)},
        {"plan": replace(PLAN, guidance_scale=3.0)},
        {"plan": replace(PLAN, n_samples=3)},
    ],
)
def test_pictures_of_something_else_are_not_taken(kept, change):
    assert take(kept[0], **change) is None


def test_swapped_or_missing_pictures_are_not_taken(kept):
    folder, _ = kept
    (folder / picture_name(0)).rename(folder / "aside")
    assert take(folder) is None
    (folder / picture_name(1)).rename(folder / picture_name(0))
    (folder / "aside").rename(folder / picture_name(1))
    assert take(folder) is None


def test_torn_picture_is_not_taken_wherever_it_is_torn(kept):
    folder, pictures = kept
    whole = (folder / picture_name(1)).read_bytes()
    for keep in range(0, len(whole), 7):
        (folder / picture_name(1)).write_bytes(whole[:keep])
        found = take(folder)
        assert found is None or (keep > len(whole) - 40 and np.array_equal(found, pictures)), keep


def test_strangers_picture_is_not_taken(kept):
    Image.new("RGB", (16, 16)).save(kept[0] / picture_name(1))
    assert take(kept[0]) is None


def test_plan_counts_both_halves_of_guidance():
    assert PLAN.evaluations == 2 * 2 * 2
    assert replace(PLAN, guidance_scale=1.0).evaluations == 2 * 2


def sampled(pipe, run, positions=((1, 0), (3,)), *, keep_images=True, batch_size=4):
    """Recovery that tries nothing but sampling."""
    denoiser = Denoiser(pipe)
    climb = ClimbPlan(1, 0.1, 0.1, "token_embeddings", 1, False)
    ladder = Ladder(
        denoiser,
        None,
        Verifier(denoiser, VerifyPlan(3, 2, 2, 4)),
        RungStore(run / "recovery", {"sample": "x"}, keep_pictures=keep_images),
        AscendPlan(3, 1, 1, (0.1, 0.1), climb),
        CyclicPlan(3, 1, 0.5, 2, 4),
        KnownImagePlan(3, 1, 0.1, 1),
    )
    recovery = Recovery(
        denoiser=denoiser,
        ladder=ladder,
        detectors=(),
        training=None,
        plan=PLAN,
        strategies=("sample",),
        run=run,
        fingerprint="f",
        keep_images=keep_images,
        batch_size=batch_size,
    )
    targets = {i: Target(prompt.text, (), ()) for i, prompt in enumerate(PROMPTS)}
    return recover_all(recovery, PROMPTS, positions, targets)


def outcomes(recovered):
    return [(s.position, s.is_control, s.finding, *((r.outcome, r.image_path) for r in s.rungs)) for s in recovered]


def test_flagged_come_first_then_controls_which_are_no_findings(toy_pipe, tmp_path):
    results = sampled(toy_pipe, tmp_path)
    assert [(s.position, s.is_control) for s in results] == [(1, False), (0, False), (3, True)]
    assert results[2].finding is None
    for result in results:
        assert (tmp_path / result.best.image_path).is_file()
        assert all(path.is_file() for path in sample_paths(tmp_path, PROMPTS[result.position], 2))
    with Image.open(tmp_path / results[0].best.image_path) as image:
        assert json.loads(image.text["engram"])["prompt"] == "the sea"


def test_kept_pictures_are_those_of_plain_sampling_whatever_the_batch(toy_pipe, tmp_path):
    sampled(toy_pipe, tmp_path / "a", batch_size=1)
    sampled(toy_pipe, tmp_path / "b", batch_size=64)
    (expected,) = sample_prompts(toy_pipe, ["the sea"], PLAN)
    for run in ("a", "b"):
        found = load_pictures(tmp_path / run / "images" / "id1", "the sea", PLAN, "f")
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= PICTURE_LEVELS


def test_pictures_on_disk_are_kept_and_the_missing_are_made(toy_pipe, tmp_path):
    first = sampled(toy_pipe, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    (tmp_path / "images" / "id0" / "seed-1.png").unlink()
    assert outcomes(sampled(toy_pipe, tmp_path)) == outcomes(first)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert after.keys() == before.keys()
    assert {path.parent.name for path in after if after[path] != before[path]} == {"id0"}


def test_no_images_leaves_none(toy_pipe, tmp_path):
    results = sampled(toy_pipe, tmp_path, keep_images=False)
    assert [s.best.image_path for s in results] == [None] * 3
    kept = sampled(toy_pipe, tmp_path / "kept")
    assert [s.best.outcome for s in results] == [s.best.outcome for s in kept]
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_nothing_to_sample_is_nothing(toy_pipe, tmp_path):
    assert sampled(toy_pipe, tmp_path, positions=((), ())) == []


def test_highest_scores_are_sampled_first_with_as_many_controls():
    score = np.array([1.0, 5.0, 3.0, 5.0, 0.0, 2.0, 0.5])
    flagged = score > 1.5
    ranked, controls = choose(score, flagged, limit=2, seed=0)
    assert ranked == [1, 3]
    assert len(set(controls)) == 2
    assert not flagged[controls].any()
    assert choose(score, flagged, limit=2, seed=0) == (ranked, controls)
    assert choose(score, flagged, limit=0, seed=0) == ([], [])
    assert choose(score, flagged, limit=9, seed=0) == ([1, 3, 2, 5], [0, 4, 6])
    assert choose(score, np.ones(7, dtype=bool), limit=9, seed=0)[1] == []
    assert choose(score, np.zeros(7, dtype=bool), limit=9, seed=0) == ([], [])
