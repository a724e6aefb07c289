"""Read the prompt sites of a loaded model: activations that depend on the prompt alone, without an evaluation."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from flashbulb.audit.model.conditioning import EncodedPrompts
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.hooks import TOKEN_REDUCTIONS, Site, TokenReducer, observe
from flashbulb.hooks.overlap import begin_transfer


class PromptSites:
    """The prompt sites of a loaded model."""

    def __init__(self, denoiser: Denoiser, sites: Sequence[Site]) -> None:
        self.denoiser, self.sites = denoiser, [site for site in sites if site.is_prompt_site]
        self._modules = denoiser.modules(self.sites)

    def read(
        self, prompts: Sequence[str], reductions: Collection[str] = TOKEN_REDUCTIONS
    ) -> tuple[dict[str, Tensor], EncodedPrompts]:
        """Return reductions of the prompt sites, float32 [prompt, neuron] on the CPU, and the encoded prompts.

        On a GPU they are rounded to float16, as they are stored.
        """
        rows, encoded = self.read_on_device(prompts, reductions)
        return {column: values.float() for column, values in begin_transfer(rows)().items()}, encoded

    @torch.no_grad()
    def read_on_device(
        self, prompts: Sequence[str], reductions: Collection[str] = TOKEN_REDUCTIONS
    ) -> tuple[dict[str, Tensor], EncodedPrompts]:
        """Return reductions of the prompt sites, [prompt, neuron] by column, and the encoded prompts.

        Cross-attention keys and values depend on the prompt alone. Their projections are applied to the encoded
        prompts without an evaluation of the denoiser.
        """
        text, rows, reducers = self.denoiser.text, dict[str, Tensor](), dict[str, TokenReducer]()

        def keep(site: Site, activation: Tensor) -> None:
            encoder = site.component if site.is_in_text_encoder else text.main
            if encoder not in reducers:
                classes = text.classes({encoder: received[encoder][-1].to(activation.device)})
                reducers[encoder] = TokenReducer(classes[encoder], reductions)
            reduced = reducers[encoder](activation.reshape(*reducers[encoder].classes.shape, -1))
            rows.update({f"{site.name}/{reduction}": values for reduction, values in reduced.items()})

        with text.reading() as received, observe(self._modules, self.sites, keep):
            encoded = self.denoiser.encode(prompts)
            projections = [site for site in self.sites if not site.is_in_text_encoder]
            self.denoiser.run_prompt_sites(projections, encoded.conditioning)
        return rows, encoded
