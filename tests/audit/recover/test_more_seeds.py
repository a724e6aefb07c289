"""More seeds go to prompts whose probability is open, within a budget, and a run that is resumed decides the same."""

from pathlib import Path

import numpy as np
import pytest

from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.recover.samples import SamplePlan
from flashbulb.audit.training_images.resemblance import Nearest
from tests.audit.samplings import recover_by_samples

PLAN = SamplePlan(run_seed=3, n_samples=2, num_inference_steps=2, guidance_scale=7.5)
PER_IMAGE = 4  # UE: two steps, guided
TEXTS = ["a red star", "the sea", "a blue ring", "the mill", "a garden", "a postcard"]
PROMPTS = [Prompt(f"id{i}", text, "p.csv", i, 1) for i, text in enumerate(TEXTS)]
FLAGGED, CONTROLS = (1, 0, 2), (3, 4, 5)


class Copied:
    """Training images of which exactly the given samples are copies, each of its own; the others are near none."""

    def __init__(self, images=()):
        self.images = list(images)

    def nearest(self, images):
        return [self._nearest(image) for image in images]

    def _nearest(self, image):
        same = [i for i, known in enumerate(self.images) if np.array_equal(known, image)]
        return Nearest(
            same[0] if same else 0, Path(f"{same}.png"), 0.0 if same else 0.9, False, "verbatim" if same else None
        )

    def image(self, index):
        return np.zeros((16, 16, 3), dtype=np.uint8)

    def near_duplicates(self, index):
        return ()


@pytest.fixture
def recover(toy_pipe, tmp_path):
    def run(budget, copied=(), name="run", keep_images=True, batch_size=4):
        denoiser = open_denoiser(toy_pipe)
        before = denoiser.evaluations
        recovered = recover_by_samples(
            denoiser,
            tmp_path / name,
            PLAN,
            PROMPTS,
            (FLAGGED, CONTROLS),
            keep_images=keep_images,
            batch_size=batch_size,
            seed_budget=budget,
            training=Copied(copied),
        )
        return recovered, denoiser.evaluations - before

    return run


def n_samples(tmp_path, name="run"):
    folders = (tmp_path / name / "images").iterdir()
    return {folder.name: len(list(folder.glob("seed-*.png"))) for folder in folders}


def pixels(tmp_path, prompt, seed, name="run"):
    from flashbulb.audit.images.png import read_image

    return read_image(tmp_path / name / "images" / prompt / f"seed-{seed}.png").pixels


def spent(recovered):
    return sum(attempt.evaluations for prompt in recovered for attempt in prompt.attempts)


def test_without_a_budget_every_prompt_has_its_first_seeds(recover, tmp_path):
    recovered, evaluations = recover(0)
    assert set(n_samples(tmp_path).values()) == {2}
    assert spent(recovered) == evaluations == 6 * 2 * PER_IMAGE


def test_an_image_at_some_seeds_comes_first_and_then_the_highest_scores_with_a_control_each(recover, tmp_path):
    recover(0)
    control_image = pixels(tmp_path, "id4", 1)  # of a control
    growth = 6 * PER_IMAGE  # UE from 2 to 8 seeds
    recovered, evaluations = recover(3 * growth + 1, [control_image], name="more")
    assert n_samples(tmp_path, "more") == {"id0": 2, "id1": 8, "id2": 2, "id3": 8, "id4": 8, "id5": 2}
    assert spent(recovered) == evaluations == (6 * 2) * PER_IMAGE + 3 * growth
    (memory,) = next(result for result in recovered if result.position == 4).memories
    assert (memory.hits, memory.samples, memory.finding) == (1, 8, None)


def test_a_second_look_goes_on_where_the_first_left_the_probability_open(recover, tmp_path):
    recover(0)
    images = [pixels(tmp_path, "id1", seed) for seed in (0, 1)]
    recover(10**6, images)
    assert n_samples(tmp_path)["id1"] == 2  # an image at every seed is not open
    recovered, _ = recover(10**6, images[:1], name="open")
    assert n_samples(tmp_path, "open") == {**dict.fromkeys(("id0", "id1", "id2", "id3", "id4"), 32), "id5": 2}
    memory = recovered[0].memories[0]
    assert (memory.hits, memory.samples) == (1, 32)


def test_resumed_and_in_other_batches_it_decides_and_finds_the_same(recover, tmp_path):
    recover(0)
    copied, budget = [pixels(tmp_path, "id1", 0)], 100
    whole, evaluations = recover(budget, copied, name="whole", batch_size=64)
    resumed, rest = recover(budget, copied)  # of the first seeds that lie there
    again, nothing = recover(budget, copied)
    kept_nowhere, _ = recover(budget, copied, name="unkept", keep_images=False)
    assert (rest, nothing) == (evaluations - 6 * 2 * PER_IMAGE, 0)
    for other in (resumed, again, kept_nowhere):
        assert [(prompt.position, [(m.hits, m.samples) for m in prompt.memories]) for prompt in other] == [
            (prompt.position, [(m.hits, m.samples) for m in prompt.memories]) for prompt in whole
        ]
        assert spent(other) == spent(whole) == evaluations
