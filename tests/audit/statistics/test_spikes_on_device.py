"""Scores computed by PyTorch are those of NumPy, also of absent token classes and of infinite activations."""

import numpy as np
import pytest
import torch

from flashbulb.audit.record.columns import Column, Columns
from flashbulb.audit.statistics.baseline import fit_baseline, spike_scores
from flashbulb.audit.statistics.spikes_on_device import SpikesOnDevice
from flashbulb.hooks import Site
from tests.tolerances import ARITHMETIC


@pytest.mark.parametrize("n_components", [0, 5])
def test_scores_are_those_of_the_host(n_components):
    rng = np.random.default_rng(0)
    sites = [Site(f"unet.{i}", "unet", f"{i}", "cross_k", 30, "output") for i in range(2)]
    columns = [
        Columns(tuple(Column(site, reduction) for site in sites[: 2 - i] for reduction in ("prompt_mean", "end_mean")))
        for i in range(2)
    ]
    rows = {column.name: rng.gamma(2, 1, (7, 30)).astype(np.float32) for column in columns[0]}
    rows["unet.0/prompt_mean"][3] = np.nan  # an empty prompt
    rows["unet.0/end_mean"][4, 5] = np.inf
    baselines = [
        [fit_baseline(rng.gamma(2, 1, (40, own.n_neurons)).astype(np.float32), n_components) for _ in range(2)]
        for own in columns
    ]
    scores = SpikesOnDevice(columns, baselines, torch.device("cpu"))({n: torch.from_numpy(r) for n, r in rows.items()})
    assert scores.dtype == torch.float64
    for own, site_baselines, prompt_scores in zip(columns, baselines, scores, strict=True):
        expected = np.mean([spike_scores(own.join(rows), [baseline]) for baseline in site_baselines], axis=0)
        np.testing.assert_allclose(prompt_scores.numpy(), expected, rtol=ARITHMETIC)
