"""Prompts go up the ladder attempt by attempt until one confirms; what was made is not made again."""

import json
import shutil

import numpy as np
import pytest
from diffusers import DDIMScheduler, HeunDiscreteScheduler, PNDMScheduler
from PIL import Image

from tests.audit.counting import counted_latents
from tests.audit.recover.conftest import ALL, BACKWARD, NOISE, PROMPTS, WHOLE_LADDER
from tests.audit.scored import scored_of
from tests.cases import slow_unless, slow_unless_in
from tests.tolerances import IMAGE_LEVELS
from tests.toy import build_toy_pipe


def climbed(prompt):
    return [(attempt.strategy, attempt.restart) for attempt in prompt.attempts]


def told(recovered):
    """What was found, without what rounding may change."""
    return [
        (prompt.position, prompt.is_control, prompt.finding, climbed(prompt), [a.image_path for a in prompt.attempts])
        for prompt in recovered
    ]


def test_without_a_memory_flagged_prompts_go_all_the_way_up_and_controls_give_plain_samples(recover):
    recovered = recover()
    assert [(prompt.position, prompt.is_control) for prompt in recovered] == [(2, False), (3, True)]
    assert [climbed(prompt) for prompt in recovered] == [WHOLE_LADDER, WHOLE_LADDER[:1]]
    assert all(prompt.attempts[0].outcome.verdict != "confirmed" for prompt in recovered)
    assert recovered[1].finding is None


@pytest.mark.parametrize("place", [0, 1, 3])
def test_controls_climb_as_far_as_an_image_was_shown_and_as_they_would_if_flagged(recover, place):
    (alone,), (other,) = (recover(f"only {i}", positions=((i,), ())) for i in (2, 3))
    first, control = recover(known=alone.attempts[place].image)
    assert first.attempts[place].outcome.verdict == "confirmed"
    assert climbed(control) == WHOLE_LADDER[: place + 1]
    for attempt, alike in zip(control.attempts, other.attempts, strict=False):
        assert (attempt.evaluations, np.array_equal(attempt.image, alike.image)) == (alike.evaluations, True)


@pytest.mark.parametrize(
    "strategies", [("sample",), ("sample", "cyclic"), ("sample", "ascend"), ("known_image", "sample")]
)
def test_only_the_strategies_that_were_chosen_are_tried(recover, strategies):
    (prompt,) = recover(strategies=strategies, positions=((1,), ()))
    assert climbed(prompt) == [attempt for attempt in WHOLE_LADDER if attempt[0] in strategies]


def test_images_of_an_earlier_recovery_are_no_images_of_this_one(recover, tmp_path):
    def kept(name):
        return sorted(path.relative_to(tmp_path / name).as_posix() for path in (tmp_path / name).rglob("*.png"))

    recover("again", seed_budget=1000)
    before = kept("again")
    for name in ("again", "once"):
        recover(name, strategies=("sample",))
    assert kept("again") == kept("once")
    assert {"images/id2/seed-2.png", "images/id2/cyclic-0.png"} <= set(before) - set(kept("again"))


def test_the_ladder_ends_at_the_first_attempt_that_confirms(recover):
    cyclic = next(attempt for attempt in recover("before")[0].attempts if attempt.strategy == "cyclic")
    first, control = recover(known=cyclic.image)
    assert climbed(first) == WHOLE_LADDER[:4]
    assert [attempt.outcome.verdict == "confirmed" for attempt in first.attempts] == [False, False, False, True]
    assert (first.best.strategy, first.best.outcome.kind, first.finding) == ("cyclic", "verbatim", 0)
    assert climbed(control) == climbed(first)


def test_a_sample_that_confirms_is_the_only_attempt(recover):
    known = recover("before", strategies=("sample",))[1].attempts[0].image
    first, control = recover(known=known)
    assert climbed(control) == [("sample", 0)]
    assert control.best.outcome.verdict == "confirmed"
    assert control.finding is None
    assert climbed(first) == WHOLE_LADDER


@pytest.mark.parametrize(
    ("scheduler_class", "options"),
    slow_unless(
        lambda case: case[0] is not PNDMScheduler,  # whose cost tests of the sampler show as well
        [(DDIMScheduler, {}), (HeunDiscreteScheduler, {}), (PNDMScheduler, {"skip_prk_steps": True})],
    ),
)
def test_attempts_state_what_they_cost(recover, scheduler_class, options):
    pipe = build_toy_pipe()
    pipe.scheduler = scheduler_class.from_config(pipe.scheduler.config, **options)
    scored = scored_of(pipe)
    before = scored.denoiser.evaluations
    with counted_latents() as count:
        recovered = recover(scored=scored)
    attempts = [attempt for prompt in recovered for attempt in prompt.attempts]
    assert {attempt.strategy for attempt in attempts} == set(ALL)
    stated = sum(attempt.evaluations for attempt in attempts)
    assert stated == count.n_latents + sum(BACKWARD.get(attempt.strategy, 0) for attempt in attempts)
    assert stated == scored.denoiser.evaluations - before


def test_results_do_not_depend_on_how_many_go_together(recover, plain_descent):
    together, alone = recover("together", batch_size=64), recover("alone", batch_size=1)
    assert told(together) == told(alone)
    for prompt, same in zip(together, alone, strict=True):
        for a, b in zip(prompt.attempts, same.attempts, strict=True):
            assert a.evaluations == b.evaluations
            assert np.abs(a.image.astype(int) - b.image).max() <= 3 * IMAGE_LEVELS


def test_a_rerun_makes_nothing_anew_and_touches_no_file(recover, tmp_path):
    first = recover()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with counted_latents() as count:
        again = recover()
    assert count.n_latents == 0
    assert told(again) == told(first)
    for prompt, same in zip(again, first, strict=True):
        assert [attempt.outcome for attempt in prompt.attempts] == [attempt.outcome for attempt in same.attempts]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()} == files


@pytest.mark.parametrize("share", slow_unless_in([0.8], [0.3, 0.8]))
def test_interrupted_and_rerun_equals_uninterrupted_and_makes_no_attempt_twice(recover, tmp_path, share):
    with counted_latents() as whole:
        expected = recover("whole", batch_size=2)  # one prompt at a time
    with pytest.raises(KeyboardInterrupt), counted_latents(stop_after=int(share * whole.n_latents)):
        recover("torn", batch_size=2)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "torn" / "recovery").rglob("*.safetensors")}
    dearest = max(attempt.evaluations for prompt in expected for attempt in prompt.attempts)
    with counted_latents() as rest:
        found = recover("torn", batch_size=2)
    assert whole.n_latents * (1 - share) <= rest.n_latents <= whole.n_latents * (1 - share) + dearest + 1
    assert all(path.stat().st_mtime_ns == before for path, before in made.items())
    assert told(found) == told(expected)
    for prompt, same in zip(found, expected, strict=True):
        for a, b in zip(prompt.attempts, same.attempts, strict=True):
            np.testing.assert_array_equal(a.image, b.image)
            assert (a.outcome, a.evaluations, a.fixed_share) == (b.outcome, b.evaluations, b.fixed_share)
    assert not list((tmp_path / "torn").rglob("*.part"))


def test_attempts_of_another_run_are_made_anew(recover, tmp_path):
    recover(positions=((1,), ()))
    shutil.rmtree(tmp_path / "run" / "images")
    with counted_latents() as count:
        recover(positions=((1,), ()), identity="another")
    with counted_latents() as whole:
        recover("new", positions=((1,), ()))
    assert count.n_latents == whole.n_latents


def test_no_images_leaves_no_image_on_disk_and_finds_the_same(recover, tmp_path):
    without, kept = recover("without", keep_images=False), recover("kept")
    assert not [path for path in (tmp_path / "without").rglob("*") if path.is_file()]
    for prompt, same in zip(without, kept, strict=True):
        assert climbed(prompt) == climbed(same)
        assert [attempt.outcome for attempt in prompt.attempts] == [attempt.outcome for attempt in same.attempts]
        assert all(attempt.image_path is None and attempt.mask_path is None for attempt in prompt.attempts)


def test_each_attempts_image_is_kept_and_says_what_it_is_of(recover, tmp_path):
    for prompt in recover():
        for attempt in prompt.attempts:
            with Image.open(tmp_path / "run" / attempt.image_path) as image:
                stated = json.loads(image.text["flashbulb"])
                np.testing.assert_array_equal(np.asarray(image), attempt.image)
            assert stated["prompt"] == PROMPTS[prompt.position].text
            assert (stated["run_seed"], stated["fingerprint"]) == (0, "f")
            if attempt.strategy != "sample":
                assert (stated["strategy"], stated["restart"]) == (attempt.strategy, attempt.restart)
                assert stated["evaluations"] == attempt.evaluations
            assert attempt.mask_path is None or (tmp_path / "run" / attempt.mask_path).is_file()


def test_an_image_is_pulled_out_anew_when_another_is_known(recover):
    first, again, other = (recover(known=known, positions=((2, 3), ())) for known in (NOISE, NOISE, 255 - NOISE))
    pulled = [[prompt.attempts[-1].image for prompt in recovered] for recovered in (first, again, other)]
    np.testing.assert_array_equal(pulled[1], pulled[0])
    assert all(prompt.attempts[-1].strategy == "known_image" for prompt in other)
    assert any((a != b).any() for a, b in zip(pulled[0], pulled[2], strict=True))
