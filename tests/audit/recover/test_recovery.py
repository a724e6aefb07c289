"""Samples are kept with what they were made from, taken again only for the same, and chosen with controls."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.recover.samples import (
    SamplePlan,
    image_name,
    load_images,
    sample_paths,
    sample_prompts,
    save_images,
)
from tests.audit.samplings import recover_by_samples
from tests.tolerances import IMAGE_LEVELS

PLAN = SamplePlan(run_seed=3, n_samples=2, num_inference_steps=2, guidance_scale=7.5)
PROMPTS = [Prompt(f"id{i}", text, "p.txt", i, 1) for i, text in enumerate(["a star", "the sea", "жар", "x" * 99])]


@pytest.fixture
def kept(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    save_images(tmp_path, images, "жар [red] \x1b", PLAN, "f00")
    return tmp_path, images


def take(folder, **changes):
    given = {"prompt": "жар [red] \x1b", "plan": PLAN, "fingerprint": "f00"} | changes
    return load_images(folder, **given)


def test_images_come_back_exactly(kept):
    folder, images = kept
    np.testing.assert_array_equal(take(folder), images)
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
def test_images_of_something_else_are_not_taken(kept, change):
    assert take(kept[0], **change) is None


def test_swapped_or_missing_images_are_not_taken(kept):
    folder, _ = kept
    (folder / image_name(0)).rename(folder / "aside")
    assert take(folder) is None
    (folder / image_name(1)).rename(folder / image_name(0))
    (folder / "aside").rename(folder / image_name(1))
    assert take(folder) is None


def test_torn_image_is_not_taken_wherever_it_is_torn(kept):
    folder, images = kept
    whole = (folder / image_name(1)).read_bytes()
    for keep in range(0, len(whole), 7):
        (folder / image_name(1)).write_bytes(whole[:keep])
        found = take(folder)
        assert found is None or (keep > len(whole) - 40 and np.array_equal(found, images)), keep


def test_strangers_image_is_not_taken(kept):
    Image.new("RGB", (16, 16)).save(kept[0] / image_name(1))
    assert take(kept[0]) is None


def test_plan_counts_both_halves_of_guidance(toy_pipe):
    denoiser = open_denoiser(toy_pipe)
    assert PLAN.evaluations(denoiser) == 2 * 2 * 2
    assert replace(PLAN, guidance_scale=1.0).evaluations(denoiser) == 2 * 2


def sampled(pipe, run, positions=((1, 0), (3,)), **changes):
    """Recovery that tries nothing but sampling."""
    return recover_by_samples(open_denoiser(pipe), run, PLAN, PROMPTS, positions, **changes)


def outcomes(recovered):
    return [(s.position, s.is_control, s.finding, *((r.outcome, r.image_path) for r in s.attempts)) for s in recovered]


def test_flagged_come_first_then_controls_which_are_no_findings(toy_pipe, tmp_path):
    results = sampled(toy_pipe, tmp_path)
    assert [(s.position, s.is_control) for s in results] == [(1, False), (0, False), (3, True)]
    assert results[2].finding is None
    for result in results:
        assert (tmp_path / result.best.image_path).is_file()
        assert all(path.is_file() for path in sample_paths(tmp_path, PROMPTS[result.position].prompt_id, 2))
    with Image.open(tmp_path / results[0].best.image_path) as image:
        assert json.loads(image.text["flashbulb"])["prompt"] == "the sea"


def test_kept_images_are_those_of_plain_sampling_whatever_the_batch(toy_pipe, tmp_path):
    sampled(toy_pipe, tmp_path / "a", batch_size=1)
    sampled(toy_pipe, tmp_path / "b", batch_size=64)
    (expected,) = sample_prompts(open_denoiser(toy_pipe), ["the sea"], PLAN)
    for run in ("a", "b"):
        found = load_images(tmp_path / run / "images" / "id1", "the sea", PLAN, "f")
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= IMAGE_LEVELS


def test_images_on_disk_are_kept_and_the_missing_are_made(toy_pipe, tmp_path):
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
