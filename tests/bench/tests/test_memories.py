"""The benchmark of memories counts distinct training images, and tells right findings and false controls apart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.recover.attempts import Attempt
from flashbulb.audit.recover.memories import Memory
from flashbulb.audit.recover.outcome import JudgedAttempt, Outcome
from flashbulb.audit.recover.recovered import Recovered
from flashbulb.audit.recover.signs import Signs
from flashbulb.audit.training_images.resemblance import Nearest
from flashbulb.audit.training_images.storage import open_training_images
from flashbulb.reports.bounds.replication import replication_of
from tests.audit.noisy_images import image
from tests.audit.signs import CONVINCING
from tests.bench.memories.audited import Case, Result
from tests.bench.memories.one_finding import one_finding
from tests.bench.memories.probabilities import Estimate
from tests.bench.memories.remembered import Remembered
from tests.bench.memories.shown import Shown, count, every_finding
from tests.bench.memories.training_images import TrainedOn

SIDE = 16
SURE = replace(CONVINCING, survival=-100.0, denoising_error=-100.0, autoencoding_error=-100.0)
NOTHING = Outcome(0, 0.25, None, None, "not_shown")


def copy_of(index: int, distance: float) -> Memory:
    nearest = Nearest(index, Path(f"{index}.png"), distance, False, "verbatim")
    return Memory("sample", Outcome(0, 0.25, nearest, None, "confirmed"), 1, 4, image(index), None, None)


def agreed(seed: int, verdict: str) -> Memory:
    return Memory("sample", Outcome(0, 1.0, None, 0.99, verdict), 4, 4, image(seed), None, None)


def prompt(position: int, *memories: Memory, is_control: bool = False) -> Recovered:
    outcome = memories[0].outcome if memories else NOTHING
    attempt = JudgedAttempt("sample", 0, 200, outcome, image(0), None, 1.0, None)
    return Recovered(position, is_control, [attempt], {}, list(memories))


def result(prompts: list[Recovered], samples: list[int], signs: Signs | None, *, is_given: bool) -> Result:
    images = np.stack([image(seed) for seed in samples])
    attempt = Attempt("sample", 0, 200, images, signs, Conditioning({"embeds": torch.zeros(1, 1)}), None)
    return Result(Case(4, 4), is_given, prompts, {recovered.position: attempt for recovered in prompts})


TRAINED_ON = TrainedOn(Path(), ["1", "2", "3"], np.stack([image(1), image(2), image(3)]), {})


def test_an_image_that_two_prompts_show_is_one_distinct_image_and_two_right_findings():
    recovered = [
        prompt(0, copy_of(1, 0.1), copy_of(2, 0.1)),
        prompt(1, copy_of(1, 0.1)),
        prompt(2, agreed(9, "likely")),
    ]
    counts = count(list(every_finding(recovered)), TRAINED_ON, ("confirmed", "likely"))
    assert counts.distinct == {"1", "2"}
    assert (counts.right, counts.wrong) == (3, 1)
    assert count(list(every_finding(recovered)), TRAINED_ON, ("confirmed",)).wrong == 0


def test_a_control_is_false_if_any_of_its_images_is_no_training_image_and_counts_once():
    controls = [
        prompt(0, agreed(8, "confirmed"), agreed(9, "confirmed"), is_control=True),
        prompt(1, agreed(2, "confirmed"), is_control=True),
        prompt(2, is_control=True),
    ]
    counts = count(list(every_finding(controls)), TRAINED_ON, ("confirmed",))
    assert (counts.true_controls, counts.false_controls, counts.distinct) == (1, 1, frozenset())


def test_one_finding_a_prompt_is_its_closest_copy_or_what_its_seeds_agree_on():
    several = [prompt(0, copy_of(1, 0.15), copy_of(2, 0.05))]
    (closest,) = one_finding(result(several, [4, 5, 6, 7], None, is_given=True))
    assert (closest.verdict, TRAINED_ON.shown(closest.image)) == ("confirmed", "2")
    silent = [prompt(0)]
    (typical,) = one_finding(result(silent, [3, 3, 3, 7], SURE, is_given=False))
    assert (typical.verdict, TRAINED_ON.shown(typical.image)) == ("confirmed", "3")
    assert not list(one_finding(result(silent, [3, 4, 5, 7], SURE, is_given=False)))
    (weaker,) = one_finding(result(silent, [3, 3, 3, 7], SURE, is_given=True))
    assert weaker == Shown(0, False, "likely", weaker.image)


def test_counts_differ_only_beyond_chance():
    assert not Estimate(replication_of(1, 4), 10, 32).differs
    assert Estimate(replication_of(16, 16), 8, 32).differs


def test_training_images_are_searched_once_for_each_sample(tmp_path):
    for seed in (1, 2, 3):
        Image.fromarray(image(seed)).save(tmp_path / f"{seed}.png")
    training, found = open_training_images(tmp_path, SIDE, SIDE), {}
    samples = np.stack([image(2), image(9), image(2)])
    assert Remembered(training, found).nearest(samples) == training.nearest(samples)
    assert len(found) == 2
    known = dict.fromkeys(found, training.nearest(samples[:1])[0])
    assert [nearest.index for nearest in Remembered(training, known).nearest(samples)] == [1, 1, 1]
