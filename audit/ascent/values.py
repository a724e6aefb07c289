"""z-scores of the cross-attention's values (`to_v`) as a differentiable function of the prompt alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.statistics.baseline import fit_baseline
from flashbulb.hooks import Site, UnknownArchitecture, observe
from flashbulb.hooks.recorder import require_finite


def value_sites(denoiser: Denoiser) -> list[Site]:
    """Return the cross-attention's values, if the model has any that depend on the prompt alone."""
    with suppress(UnknownArchitecture):
        return [site for site in denoiser.sites(["cross_v"]) if site.is_prompt_site]
    return []


class ValueScores:
    """z-scores of the neurons of `sites`, with gradients and without an evaluation.

    Args:
        sites: see `value_sites`.
        reference: neutral prompts that the baseline is fitted on.
        batch_size: reference prompts that are encoded at once.
    """

    def __init__(self, denoiser: Denoiser, sites: Sequence[Site], reference: Sequence[str], batch_size: int) -> None:
        self._denoiser, self._sites = denoiser, sites
        self._modules = denoiser.modules(sites)
        with torch.no_grad():
            parts = [
                self._activations(denoiser.encode(reference[first : first + batch_size]).conditioning).cpu()
                for first in range(0, len(reference), batch_size)
            ]
        activations = torch.cat(parts)
        require_finite("activations of neutral prompts", activations)
        baseline = fit_baseline(activations.numpy(), 0)
        self._location = torch.tensor(baseline.location, device=denoiser.device)
        self._scale = torch.tensor(baseline.scale, device=denoiser.device)

    def __call__(self, conditioning: Conditioning) -> Tensor:
        """Return z-scores [prompt, neuron]."""
        return (self._activations(conditioning) - self._location) / self._scale

    def _activations(self, conditioning: Conditioning) -> Tensor:
        """Return the mean magnitude of each neuron over the tokens: [prompt, neuron], float32."""
        read: list[Tensor] = []

        def keep(_site: Site, activation: Tensor) -> None:
            read.append(activation.float().abs().mean(dim=1))

        with observe(self._modules, self._sites, keep):
            self._denoiser.run_prompt_sites(self._sites, conditioning.to(self._denoiser.device, self._denoiser.dtype))
        return torch.cat(read, dim=1)
