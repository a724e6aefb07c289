"""The model seam: one interface to every family of text-to-image models.

Layouts of guided batches, prediction types, timesteps and components of a pipeline are known only in this package. A
family is a file of it that defines `FAMILY`, a subclass of `Denoiser`.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import compress
from typing import Any, ClassVar

import torch
from torch import Tensor

from flashbulb.audit.model.conditioning import Conditioning, EncodedPrompts, Encoding
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.network import stored_tensors
from flashbulb.audit.model.prediction import Levels, Prediction, PredictionType
from flashbulb.audit.model.sampler import Sampler
from flashbulb.audit.model.text_encoders import TextEncoders
from flashbulb.hooks import Site, TokenClass
from flashbulb.hooks.guidance import GuidedBatch

FEWEST_STEPS = 2  # of a call that is stopped before its first step; some schedulers cannot plan a single one
_AT_ONCE = 256  # prompts that are tokenized to be counted


class Denoiser(Sampler):
    """Encode prompts, predict, sample, and find the sites of a loaded pipeline; count what it costs.

    A family declares the class variables and the abstract methods.
    """

    network: ClassVar[tuple[str, str]]
    """Component and class of the denoiser, as in model_index.json."""
    required: ClassVar[tuple[str, ...]]
    """Components that every pipeline of the family has."""
    incomplete: ClassVar[str] = ""
    """What an error adds about pipelines that lack one of these."""
    tokenizers: ClassVar[Mapping[str, str]]
    """Tokenizer of each text encoder; text encoders that are not required may be absent."""
    classes: ClassVar[Mapping[str, tuple[str, ...]]]
    """Classes of diffusers and transformers that the autoencoder and each text encoder may have."""
    pipeline: ClassVar[str]
    """Class of diffusers that samples from text; a folder saved by another task, such as inpainting, opens as it."""
    keywords: ClassVar[Mapping[str, str]]
    """Keyword of the denoiser's call by argument of the pipeline's call, for all that comes from the prompt."""
    not_offered: ClassVar[tuple[str, ...]] = ()
    """Commands and strategies that do not run on this family yet."""

    def __init__(self, pipe: Any, clip_skip: int | None = None) -> None:
        super().__init__(pipe, clip_skip)
        self.text = TextEncoders(pipe, self.tokenizers)
        self._empty: Conditioning | None = None

    @classmethod
    def require(cls, *names: str) -> None:
        """Refuse commands and strategies that this family does not offer yet.

        Raises:
            ModelError: one is not offered.
        """
        for name in (name for name in names if name in cls.not_offered):
            raise ModelError(
                f"{name} is not offered for {cls.title} yet; its prompts are recorded, flagged and sampled "
                "(flashbulb audit --strategy sample)"
            )

    # What a family computes in its own way

    @property
    @abstractmethod
    def prediction_type(self) -> PredictionType:
        """What the model was trained to predict."""

    @abstractmethod
    def _evaluate(self, latents: Tensor, timestep: float | Tensor, conditioning: Conditioning) -> Tensor:
        """Return what the denoiser predicts, shaped like `latents` [latent, channel, row, column]."""

    @abstractmethod
    def _levels(self, timestep: float | Tensor, like: Tensor) -> Levels:
        """Return signal and noise level at a timestep, one for all latents or one each."""

    @property
    def n_timesteps(self) -> int:
        """Number of timesteps of training; the scheduler's timesteps are below it."""
        return int(self.pipe.scheduler.config.num_train_timesteps)

    # Prompts

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> EncodedPrompts:
        """Encode prompts exactly as sampling does; prompts that exceed the text encoders' length are cut and marked."""
        with self.text.reading() as received, self.text.tokenizing_once():
            conditioning = self._prepare(prompts)
        input_ids = {name: ids for name, (ids,) in received.items()}
        classes = self.text.classes(input_ids)
        find_truncated = cache(partial(self._are_truncated, prompts, classes))
        return EncodedPrompts(tuple(prompts), input_ids, classes, find_truncated, conditioning)

    def word_batches(self, prompts: Sequence[str], batch_size: int) -> Iterator[tuple[Sequence[int], Encoding]]:
        """Yield batches of prompts to be read rather than conditioned on, and a function that encodes each.

        All positions from the start of a prompt to its end are those of `encode`, up to rounding. Padding may be
        missing.

        Yields:
            indices of the prompts, in any order, and the function.
        """
        for first in range(0, len(prompts), batch_size):
            chosen = range(first, min(first + batch_size, len(prompts)))
            yield chosen, partial(self._conditioning, [prompts[i] for i in chosen])

    def _conditioning(self, prompts: Sequence[str]) -> Conditioning:
        return self.encode(prompts).conditioning

    def _are_truncated(self, prompts: Sequence[str], classes: Mapping[str, Tensor]) -> tuple[bool, ...]:
        """Return which prompts are cut; only those without padding, or with an end token in words, are looked at."""
        is_full = torch.stack([codes[:, -1] != TokenClass.PADDING for codes in classes.values()]).all(dim=0).tolist()
        full = [i for i, text in enumerate(prompts) if is_full[i] or self.text.names_special_token(text)]
        n_positions = {name: codes.shape[1] for name, codes in classes.items()}
        cut = dict(zip(full, self.text.are_truncated([prompts[i] for i in full], n_positions), strict=True))
        return tuple(cut.get(i, False) for i in range(len(prompts)))

    def hash_text_side(self, sites: Sequence[Site]) -> str:
        """Hash the weights that read the prompt alone: those of the text encoders, and of the modules of `sites`."""
        digest = hashlib.sha256()
        for module in (*self.text.modules.values(), *self.modules(sites).values()):
            for name, weight in module.state_dict().items():
                digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
                for tensor in stored_tensors(weight):
                    digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def find_truncated(self, prompts: Sequence[str]) -> list[str]:
        """Return the prompts whose last words reach no text encoder, without encoding them."""
        n_positions = {name: ids.shape[1] for name, ids in self.encode([""]).input_ids.items()}
        batches = (prompts[first : first + _AT_ONCE] for first in range(0, len(prompts), _AT_ONCE))
        return [text for some in batches for text in compress(some, self.text.are_truncated(some, n_positions))]

    def encode_from(self, token_embeddings: Mapping[str, Tensor], prompts: EncodedPrompts) -> Conditioning:
        """Encode given token embeddings [prompt, position, width] in place of those of `prompts`, with gradients.

        Args:
            token_embeddings: by text encoder, see `token_embeddings`.
        """
        with self.text.substituted(token_embeddings), self.text.tokenizing_once():
            return self._prepare(prompts.texts)

    def token_embeddings(self, prompts: EncodedPrompts) -> dict[str, Tensor]:
        """Return the text encoders' inputs, without positions: [prompt, position, width] by text encoder."""
        return self.text.embed(prompts.input_ids)

    def unconditional(self, n: int) -> Conditioning:
        """Return `n` rows of what guidance compares prompts with."""
        return self.encode([""]).conditioning.repeat(n)

    def _prepare(self, prompts: Sequence[str]) -> Conditioning:
        """Let the pipeline's own call prepare the denoiser's keywords, without guidance."""
        prepared = self.first_call(prompts, FEWEST_STEPS)
        return Conditioning({name: prepared[keyword] for name, keyword in self.keywords.items()})

    # Predictions

    def predict(self, latents: Tensor, timestep: float | Tensor, conditioning: Conditioning) -> Prediction:
        """Evaluate the denoiser at latents [latent, channel, row, column].

        Args:
            timestep: the scheduler's, one for all latents or one each, [latent].
        """
        self.count(len(latents))
        if self._empty is None:
            native = self._evaluate(latents, timestep, conditioning)
        else:
            native = self._evaluate_guided(latents, timestep, conditioning, self._empty)
        precise = latents.to(torch.promote_types(latents.dtype, torch.float32))
        return Prediction(native, latents, self._levels(timestep, precise), self.prediction_type)

    def _evaluate_guided(
        self, latents: Tensor, timestep: float | Tensor, conditioning: Conditioning, empty: Conditioning
    ) -> Tensor:
        self.count(len(latents))
        both = {
            name: self.guidance.join(GuidedBatch(empty.repeat(len(latents)).tensors[name], tensor))
            for name, tensor in conditioning.tensors.items()
        }
        timesteps = timestep.repeat(2) if isinstance(timestep, Tensor) else timestep
        native = self._evaluate(torch.cat([latents, latents]), timesteps, Conditioning(both))
        return self.guidance.split(native, is_guided=True).conditional

    @contextmanager
    def guided(self) -> Iterator[None]:
        """While the context is open, `predict` evaluates the empty prompt beside each prompt, as guided sampling does.

        It returns the prompt's prediction, at twice the UE.
        """
        self._empty = self.unconditional(1)
        try:
            yield
        finally:
            self._empty = None

    def noised(self, latents: Tensor, noise: Tensor, timestep: float | Tensor) -> Tensor:
        """Add noise [latent, channel, row, column] to latents at a timestep, one for all or one each."""
        signal, noise_level = self._levels(timestep, noise.float())
        return (signal * latents.float() + noise_level * noise.float()).to(self.dtype)

    def initial_latents(self, run_seed: int, seed_indices: Sequence[int]) -> Tensor:
        """Draw x_T for each seed index, Gaussian noise from its own CPU generator: [seed, channel, row, column]."""
        return self.noise([torch.Generator("cpu").manual_seed(run_seed * 1_000_003 + i) for i in seed_indices])

    def noise(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Draw unit Gaussian latents, one from each CPU generator: [latent, channel, row, column]."""
        drawn = [
            torch.randn(self.latent_shape, generator=generator, dtype=torch.float32, device="cpu")
            for generator in generators
        ]
        return torch.stack(drawn).to(self.device, self.dtype)
