"""Tier 0 scores prompts by their text side without an evaluation, whatever their batches and order."""

import numpy as np
import pytest

from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.record.recorder import Plan, Recorder
from flashbulb.audit.record.sets import record_set
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.statistics.screening import fit_screen, screen_prompts
from flashbulb.hooks import find_sites
from tests.audit.commands import ODD
from tests.audit.statistics.screened_prompts import CANDIDATES, FRESH, REFERENCE
from tests.cases import each_with_one
from tests.tolerances import STORED

TEXT_SIDE = ("text_mlp", "cross_k", "cross_v")


def make_recorder(pipe, batch_size: int = 8, kinds=TEXT_SIDE) -> Recorder:
    denoiser = open_denoiser(pipe)
    return Recorder(denoiser, denoiser.sites(kinds), [], Plan(0, 1, 981, batch_size, 256))


def prompts_of(texts) -> list[Prompt]:
    return [Prompt(f"{i:016x}", text, "prompts.txt", i + 1, 1) for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def recorded(toy_pipe, tmp_path_factory) -> Shards:
    """Record the text side of the reference; do not change it."""
    folder = tmp_path_factory.mktemp("reference")
    reference = record_set(make_recorder(toy_pipe), prompts_of(REFERENCE), folder, {"fingerprint": "abc"}, "recording")
    return Shards(reference.folder, reference.n_shards, 1)


def fit(pipe, recorded, share, kinds=TEXT_SIDE):
    return fit_screen(find_sites(pipe, kinds), recorded, n_components=10, share=share)


def test_screening_costs_no_evaluation(toy_pipe, recorded):
    recorder = make_recorder(toy_pipe)
    n_before = recorder.denoiser.evaluations
    scores = screen_prompts(fit(toy_pipe, recorded, 0.5), recorder, prompts_of(CANDIDATES))
    assert scores.shape == (len(CANDIDATES),)
    assert np.isfinite(scores).all()
    assert recorder.denoiser.evaluations == n_before


@pytest.mark.parametrize(("share", "odd"), each_with_one([0.01, 0.5, 0.9, 0.999], [ODD, "", "x" * 99]))
def test_an_outlier_of_the_text_side_is_never_left_out(toy_pipe, recorded, share, odd):
    screen = fit(toy_pipe, recorded, share)
    usual, outlier = screen_prompts(screen, make_recorder(toy_pipe), prompts_of([REFERENCE[0], odd]))
    assert outlier >= screen.threshold
    assert outlier > usual


@pytest.mark.parametrize("batch_size", [1, 3])
def test_scores_do_not_depend_on_batches_or_order(toy_pipe, recorded, batch_size):
    screen = fit(toy_pipe, recorded, 0.5)
    expected = screen_prompts(screen, make_recorder(toy_pipe, 32), prompts_of(CANDIDATES))
    order = np.random.default_rng(0).permutation(len(CANDIDATES))
    shuffled = prompts_of([CANDIDATES[i] for i in order])
    scores = screen_prompts(screen, make_recorder(toy_pipe, batch_size), shuffled)
    np.testing.assert_allclose(scores, expected[order], rtol=STORED)


def test_a_larger_share_leaves_out_more_prompts(toy_pipe, recorded):
    thresholds = [fit(toy_pipe, recorded, share).threshold for share in (0.01, 0.25, 0.5, 0.75, 0.99)]
    assert thresholds == sorted(thresholds)
    assert len(set(thresholds)) == len(thresholds)
    scores = screen_prompts(fit(toy_pipe, recorded, 0.5), make_recorder(toy_pipe), prompts_of(FRESH))
    n_left_out = [int((scores < threshold).sum()) for threshold in thresholds]
    assert n_left_out == sorted(n_left_out)
    assert n_left_out[-1] > n_left_out[0]


@pytest.mark.parametrize("kind", TEXT_SIDE)
def test_one_kind_of_prompt_site_is_enough(toy_pipe, recorded, kind):
    screen = fit(toy_pipe, recorded, 0.9, (kind, "feed_forward"))
    assert [{column.site.kind for column in columns} for columns in screen.columns] == [{kind}]
    recorder = make_recorder(toy_pipe, kinds=(kind,))
    usual, outlier = screen_prompts(screen, recorder, prompts_of([REFERENCE[0], ODD]))
    assert outlier >= screen.threshold > usual


def test_step_sites_alone_cannot_screen(toy_pipe, recorded):
    with pytest.raises(ValueError, match="tier 0 reads cross_k, cross_v, text_mlp; record at least one"):
        fit(toy_pipe, recorded, 0.5, ("feed_forward", "cross_out"))


def test_no_prompts_have_no_scores(toy_pipe, recorded):
    assert screen_prompts(fit(toy_pipe, recorded, 0.5), make_recorder(toy_pipe), []).shape == (0,)
