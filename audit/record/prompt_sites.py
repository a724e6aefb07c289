"""Read the prompt sites of a loaded model: activations that depend on the prompt alone, without an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from flashbulb.audit.model.conditioning import Conditioning, EncodedPrompts, Encoding
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.hooks import TOKEN_REDUCTIONS, Site, TokenReducer, observe
from flashbulb.hooks.overlap import begin_transfer


class PromptSites:
    """The prompt sites of a loaded model."""

    def __init__(self, denoiser: Denoiser, sites: Sequence[Site]) -> None:
        self.denoiser, self.sites = denoiser, [site for site in sites if site.is_prompt_site]
        self._modules = denoiser.modules(self.sites)

    def read(self, prompts: Sequence[str]) -> tuple[dict[str, Tensor], EncodedPrompts]:
        """Return all reductions of the prompt sites, float32 [prompt, neuron] on the CPU, and the encoded prompts.

        On a GPU they are rounded to float16, as they are stored.
        """
        rows, encoded = self.read_on_device(prompts)
        return {column: values.float() for column, values in begin_transfer(rows)().items()}, encoded

    @torch.no_grad()
    def read_on_device(self, prompts: Sequence[str]) -> tuple[dict[str, Tensor], EncodedPrompts]:
        """Return all reductions of the prompt sites, [prompt, neuron] by column, and the encoded prompts."""
        with self._observed(TOKEN_REDUCTIONS) as rows:
            encoded = self.denoiser.encode(prompts)
            self._project(encoded.conditioning)
        return rows, encoded

    def word_batches(
        self, prompts: Sequence[str], batch_size: int, reductions: Collection[str]
    ) -> Iterator[tuple[Sequence[int], Callable[[], dict[str, Tensor]]]]:
        """Yield batches of prompts and a function that reads each, without the padding that no word depends on.

        Args:
            reductions: over start, words and end alone.

        Yields:
            indices of the prompts, in any order, and a function that returns their reductions, [prompt, neuron] by
            column on the device, those of `read_on_device` up to rounding.
        """
        for chosen, encode in self.denoiser.word_batches(prompts, batch_size):
            yield chosen, partial(self._read_encoded, encode, reductions)

    @torch.no_grad()
    def _read_encoded(self, encode: Encoding, reductions: Collection[str]) -> dict[str, Tensor]:
        with self._observed(reductions) as rows:
            self._project(encode())
        return rows

    def _project(self, conditioning: Conditioning) -> None:
        """Apply the projections of cross-attention keys and values, which depend on the prompt alone."""
        self.denoiser.run_prompt_sites([site for site in self.sites if not site.is_in_text_encoder], conditioning)

    @contextmanager
    def _observed(self, reductions: Collection[str]) -> Iterator[dict[str, Tensor]]:
        """Collect the reductions of the sites that run while the context is open: [prompt, neuron] by column."""
        text, rows, reducers = self.denoiser.text, dict[str, Tensor](), dict[str, TokenReducer]()

        def keep(site: Site, activation: Tensor) -> None:
            encoder = site.component if site.is_in_text_encoder else text.main
            if encoder not in reducers:
                classes = text.classes({encoder: received[encoder][-1].to(activation.device)})
                reducers[encoder] = TokenReducer(classes[encoder], reductions)
            reduced = reducers[encoder](activation.reshape(*reducers[encoder].classes.shape, -1))
            rows.update({f"{site.name}/{reduction}": values for reduction, values in reduced.items()})

        with text.reading() as received, observe(self._modules, self.sites, keep):
            yield rows
