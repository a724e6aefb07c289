"""The text alone separates styles, and every prompt is in a group that can be calibrated."""

import numpy as np
import pytest

from flashbulb.audit.statistics.style import (
    MIN_CANDIDATE_GROUP,
    MIN_PROMPTS,
    MIN_REFERENCE_GROUP,
    group_by_style,
    style_features,
    text_only_auc,
)
from tests.audit.styles import is_new_style, scenes, titles
from tests.cases import each_with_one

ODD_TEXTS = {
    "empty": "",
    "one character": "a",
    "one dot": ".",
    "emoji": "❤️‍🔥",
    "10,000 characters": "word " * 1999 + "words",
    "one word of 10,000 characters": "x" * 10_000,
    "control characters": "\x07\x1b[31m\x00\x7f\x9b",
    "invisible": "\u200b\u2060",
    "another alphabet": "жар-птица 日本語 العربية",
}
REFERENCES = {"no reference": 0, "one reference prompt": 1, "small reference": 8, "large reference": 60}
MIXTURES = [  # reference scenes, reference titles, candidate scenes, candidate titles
    (80, 0, 30, 0),
    (80, 0, 10, MIN_CANDIDATE_GROUP - 1),
    (80, 0, 10, MIN_CANDIDATE_GROUP),
    (80, 0, 20, 320),
    (150, 150, 20, 20),
    (150, 150, 5, 0),
    (300, 20, 10, 5),
    (0, 0, 300, 10),
    (8, 0, 10, 40),
    (0, 0, 5, 0),
    (0, 0, 160, 150),
    (0, 0, 1, 0),
]


def assert_numbered_without_gaps(groups, n_reference, n_candidates):
    assert groups.reference_group.shape == (n_reference,)
    assert groups.candidate_group.shape == (n_candidates,)
    assert set(groups.reference_group.tolist()) == set(range(groups.n_reference_groups))
    own = range(groups.n_reference_groups, groups.n_groups)
    assert set(groups.candidate_group.tolist()) - set(range(groups.n_reference_groups)) == set(own)


def same_partition(first, second) -> bool:
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    return len(pairs) == len(set(first.tolist())) == len(set(second.tolist()))


def test_text_alone_does_not_separate_two_sets_of_one_style():
    aucs = [text_only_auc(scenes(100, seed), scenes(100, 100 + seed), seed) for seed in range(4)]
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.1)


def test_text_alone_separates_two_styles():
    assert text_only_auc(scenes(40, 0), titles(40, 0), seed=0) > 0.99
    assert text_only_auc(scenes(40, 0), [text.upper() for text in scenes(40, 1)], seed=0) > 0.99


def test_text_only_auc_depends_on_the_seed_alone():
    first, second = scenes(30, 0), scenes(30, 1)
    assert text_only_auc(first, second, 3) == text_only_auc(first, second, 3)


@pytest.mark.parametrize("n", [0, 1, MIN_PROMPTS - 1])
def test_text_only_auc_of_too_few_prompts_is_none(n):
    assert text_only_auc(scenes(n, 0), titles(40, 0), 0) is None
    assert text_only_auc(titles(40, 0), scenes(n, 0), 0) is None
    assert text_only_auc(scenes(MIN_PROMPTS, 0), titles(MIN_PROMPTS, 0), 0) is not None


@pytest.mark.parametrize("n_candidates", [1, 24, 60])
def test_candidates_of_the_references_style_are_in_its_groups(n_candidates):
    groups = group_by_style(scenes(120, 0), scenes(n_candidates, 1))
    assert not is_new_style(groups).any()
    assert groups.n_groups == groups.n_reference_groups


def test_each_style_of_the_reference_takes_the_candidates_of_that_style():
    groups = group_by_style([*scenes(160, 0), *titles(160, 0)], [*scenes(20, 1), *titles(20, 1)])
    assert groups.n_reference_groups == 2
    scenes_group, titles_group = groups.reference_group[0], groups.reference_group[-1]
    assert scenes_group != titles_group
    assert np.array_equal(groups.reference_group, np.repeat([scenes_group, titles_group], 160))
    assert np.array_equal(groups.candidate_group, np.repeat([scenes_group, titles_group], 20))


@pytest.mark.parametrize("n_new", [MIN_CANDIDATE_GROUP, 60])
def test_many_candidates_of_another_style_form_a_group_of_their_own(n_new):
    groups = group_by_style(scenes(100, 0), [*scenes(40, 1), *titles(n_new, 1)])
    assert np.array_equal(is_new_style(groups), np.repeat([False, True], [40, n_new]))
    assert groups.n_groups == groups.n_reference_groups + 1


@pytest.mark.parametrize("n_new", [1, MIN_CANDIDATE_GROUP - 1])
def test_few_candidates_of_another_style_join_the_references_groups(n_new):
    groups = group_by_style(scenes(100, 0), [*scenes(40, 1), *titles(n_new, 1)])
    assert not is_new_style(groups).any()


def test_without_a_reference_candidates_are_grouped_among_themselves():
    groups = group_by_style([], [*scenes(150, 0), *titles(150, 0)])
    assert groups.n_reference_groups == 0
    assert is_new_style(groups).all()
    assert groups.n_groups == 2
    assert same_partition(groups.candidate_group, np.repeat([0, 1], 150))


@pytest.mark.parametrize(
    ("reference", "candidates"),
    [
        (scenes(80, 0), [*scenes(40, 1), *titles(60, 1)]),
        ([*scenes(160, 0), *titles(160, 0)], [*scenes(30, 1), *titles(30, 1)]),
        ([], [*scenes(150, 1), *titles(150, 1)]),
    ],
    ids=["new style", "two styles", "no reference"],
)
def test_shuffling_the_candidates_permutes_their_groups(reference, candidates):
    groups = group_by_style(reference, candidates)
    assert len(set(groups.candidate_group.tolist())) > 1
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(len(candidates))
        shuffled = group_by_style(reference, [candidates[i] for i in order])
        assert same_partition(shuffled.candidate_group, groups.candidate_group[order])
        assert np.array_equal(is_new_style(shuffled), is_new_style(groups)[order])
        assert same_partition(shuffled.reference_group, groups.reference_group)


@pytest.mark.parametrize("mixture", MIXTURES, ids=str)
def test_groups_are_numbered_without_gaps_and_large_enough_to_calibrate(mixture):
    n_scenes, n_titles, n_candidate_scenes, n_candidate_titles = mixture
    reference = [*scenes(n_scenes, 0), *titles(n_titles, 0)]
    candidates = [*scenes(n_candidate_scenes, 1), *titles(n_candidate_titles, 1)]
    groups = group_by_style(reference, candidates)
    assert_numbered_without_gaps(groups, len(reference), len(candidates))
    sizes = np.bincount(groups.reference_group, minlength=groups.n_reference_groups)
    assert len(sizes) == 1 or (sizes >= min(MIN_REFERENCE_GROUP, max(len(reference), 1))).all()
    own = np.bincount(groups.candidate_group, minlength=groups.n_groups)[groups.n_reference_groups :]
    assert (own >= min(MIN_CANDIDATE_GROUP, len(candidates))).all()


@pytest.mark.parametrize(("kind", "n_reference"), each_with_one(ODD_TEXTS, REFERENCES.values()))
def test_an_odd_candidate_has_a_group(kind, n_reference):
    reference = scenes(n_reference, 0)
    for candidates in ([ODD_TEXTS[kind]], [*scenes(5, 1), ODD_TEXTS[kind]], [ODD_TEXTS[kind]] * 30):
        assert_numbered_without_gaps(group_by_style(reference, candidates), n_reference, len(candidates))


@pytest.mark.parametrize("kind", ODD_TEXTS)
def test_an_odd_reference_is_accepted(kind):
    for reference in ([ODD_TEXTS[kind]], [ODD_TEXTS[kind]] * 30, [*scenes(30, 0), ODD_TEXTS[kind]]):
        groups = group_by_style(reference, scenes(30, 1))
        assert_numbered_without_gaps(groups, len(reference), 30)


def test_odd_texts_among_many_do_not_give_other_candidates_a_new_style():
    reference = scenes(100, 0)
    groups = group_by_style(reference, [*scenes(40, 1), *ODD_TEXTS.values()])
    assert not is_new_style(groups)[:40].any()


@pytest.mark.parametrize("n", [1, 2, 30, 400])
def test_identical_texts_are_one_group(n):
    for reference in ([], ["a red star"] * n):
        groups = group_by_style(reference, ["a red star"] * n)
        assert groups.n_groups == 1
        assert not groups.candidate_group.any()


@pytest.mark.parametrize("texts", [[""], ["a", "b"], list(ODD_TEXTS.values()), ["same"] * 4], ids=len)
def test_features_are_finite(texts):
    features = style_features(texts)
    assert len(features) == len(texts)
    assert np.isfinite(features).all()
