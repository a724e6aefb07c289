"""Neurons of the toy pipeline with a baseline from a dozen captions."""

from typing import NamedTuple

import torch

from flashbulb.audit.ascent.neurons import NeuronScores, activations_of
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.record.columns import Columns
from flashbulb.audit.statistics.baseline import Baseline, fit_baseline
from flashbulb.audit.statistics.scores import columns_of

CAPTIONS = [f"a {colour} {thing}" for colour in ("red", "blue", "pale", "dark") for thing in ("star", "sea", "hill")]
TIMESTEP = 981


class Scored(NamedTuple):
    """z-scores of a pipeline's feed-forward neurons, and what they were made from."""

    denoiser: Denoiser
    columns: Columns
    baseline: Baseline
    scores: NeuronScores


def scored_of(pipe) -> Scored:
    denoiser = open_denoiser(pipe)
    columns = columns_of("feed_forward", denoiser.sites(["feed_forward"]))
    generator = torch.Generator().manual_seed(0)
    activations = activations_of(denoiser, columns, TIMESTEP, CAPTIONS, generator, batch_size=5)
    baseline = fit_baseline(activations, n_components=2)
    return Scored(denoiser, columns, baseline, NeuronScores(denoiser, columns, TIMESTEP, baseline))
