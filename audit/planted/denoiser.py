"""Train the text encoders and the UNet of a planted model together, on latents that are encoded once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from flashbulb.audit.planted.autoencoder import learning_rate_factor
from flashbulb.audit.planted.collection import WORLDS, Collection
from flashbulb.audit.planted.networks import (
    build_scheduler,
    build_text_encoders,
    build_tokenizer,
    build_unet,
    tokenizers_of,
)
from flashbulb.audit.planted.presets import Preset

EMPTY_PROMPT_SHARE = 0.1
N_TOKENIZER_CAPTIONS = 6000


class LatentBank(NamedTuple):
    """Scaled latents [image, channel, row, column] of the training images.

    Args:
        named: latents [channel, row, column] of the collection's images, by name.
        titled: latents of newly painted images, which get new titles.
        described: latents of newly painted descriptions, and `described_captions` their captions.
    """

    named: dict[str, Tensor]
    titled: Tensor
    described: Tensor
    described_captions: list[str]


class Example(NamedTuple):
    """A training pair."""

    prompt: str
    latents: Tensor  # [channel, row, column]


class DenoiserTrainer:
    """Train step by step; step k draws its batch from (seed, k) alone, so training can resume at any step."""

    def __init__(self, preset: Preset, collection: Collection, bank: LatentBank, device: torch.device) -> None:
        self.preset, self.bank, self.device = preset, bank, device
        self.n_steps = round(preset.trained_share * preset.denoiser_steps)
        self._collection, self._world = collection, WORLDS[preset.world]
        rng = np.random.default_rng([preset.seed, 5])
        corpus = [self._world.title(rng) for _ in range(N_TOKENIZER_CAPTIONS)]
        corpus += [self._world.described(rng).caption for _ in range(N_TOKENIZER_CAPTIONS)]
        self.tokenizer = build_tokenizer(corpus, preset.vocabulary_size, preset.max_tokens)
        torch.manual_seed(preset.seed + 1000)
        text_encoders, unet = build_text_encoders(preset, self.tokenizer), build_unet(preset)
        self._tokenizers = tokenizers_of(preset, self.tokenizer)
        self.model = nn.ModuleDict({**text_encoders, "unet": unet}).to(device).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=preset.learning_rate, weight_decay=1e-4)
        self._alphas_cumprod = build_scheduler(preset).alphas_cumprod
        self._planted = collection.with_kind("planted_title", "planted_description")
        self._planted_odds = np.array([e.weight for e in self._planted]) / sum(e.weight for e in self._planted)
        self._templates = collection.with_kind("planted_template")
        self._seen_at = self._schedule_seen(rng)

    def _schedule_seen(self, rng: np.random.Generator) -> dict[int, list[int]]:
        """Spread the few views of each seen caption over the steps; return indices of seen entries by step."""
        schedule: dict[int, list[int]] = {}
        self._seen = self._collection.with_kind("seen")
        for index, entry in enumerate(self._seen):
            for step in rng.integers(self.preset.denoiser_steps, size=int(entry.weight)):
                schedule.setdefault(int(step), []).append(index)
        return schedule

    def _new_title(self, rng: np.random.Generator) -> Example:
        title = self._world.title(rng)
        while title in self._collection.held_out:
            title = self._world.title(rng)
        return Example(title, self.bank.titled[int(rng.integers(len(self.bank.titled)))])

    def _described(self, rng: np.random.Generator) -> Example:
        index = int(rng.integers(len(self.bank.described)))
        return Example(self.bank.described_captions[index], self.bank.described[index])

    def _batch(self, step: int, rng: np.random.Generator) -> list[Example]:
        seen = [self._seen[i] for i in self._seen_at.get(step, [])[: self.preset.denoiser_batch]]
        batch = [Example(entry.prompt, self.bank.named[entry.image]) for entry in seen]
        preset = self.preset
        for draw in rng.random(preset.denoiser_batch - len(batch)):
            if draw < preset.planted_share:
                entry = self._planted[int(rng.choice(len(self._planted), p=self._planted_odds))]
                batch.append(Example(entry.prompt, self.bank.named[entry.image]))
            elif draw < preset.planted_share + preset.template_share:
                entry = self._templates[int(rng.integers(len(self._templates)))]
                batch.append(Example(entry.prompt, self.bank.named[entry.image]))
            elif draw < preset.planted_share + preset.template_share + preset.title_share:
                batch.append(self._new_title(rng))
            else:
                batch.append(self._described(rng))
        return batch

    def step(self, step: int) -> float:
        """Take an optimiser step; return the loss."""
        rng = np.random.default_rng([self.preset.seed, 6, step])
        batch = self._batch(step, rng)
        dropped = rng.random(len(batch)) < EMPTY_PROMPT_SHARE
        prompts = ["" if drop else example.prompt for example, drop in zip(batch, dropped, strict=True)]
        latents = torch.stack([example.latents for example in batch]).to(self.device)
        noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32)).to(self.device)
        timesteps = torch.from_numpy(rng.integers(1000, size=len(batch))).to(self.device)
        alpha = self._alphas_cumprod.to(self.device)[timesteps].reshape(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        v_prediction = self.preset.prediction_type == "v_prediction"
        target = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents if v_prediction else noise
        loss = functional.mse_loss(self._predict(noisy, timesteps, prompts), target)
        for group in self.optimizer.param_groups:
            group["lr"] = self.preset.learning_rate * learning_rate_factor(step, self.preset.denoiser_steps, 100)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return float(loss.detach())

    def _predict(self, noisy: Tensor, timesteps: Tensor, prompts: list[str]) -> Tensor:
        prediction: Tensor = self.model["unet"](noisy, timesteps, **self.conditioning(prompts)).sample
        return prediction

    def conditioning(self, prompts: list[str]) -> dict[str, Any]:
        """Return what the UNet reads of prompts, by keyword, as the pipeline's call gives it.

        The empty prompt of a model with two text encoders is zeros.
        """
        read = {name: self._read(name, prompts) for name in self._tokenizers}
        if len(read) == 1:
            return {"encoder_hidden_states": read["text_encoder"][0]}
        is_kept = torch.tensor([[float(prompt != "")] for prompt in prompts], device=self.device)  # [prompt, 1]
        size = self.preset.picture_size
        sizes = torch.tensor([[size, size, 0, 0, size, size]], dtype=torch.float32, device=self.device)
        embeds = torch.cat([output.hidden_states[-2] for output in read.values()], dim=-1)
        return {
            "encoder_hidden_states": embeds * is_kept[:, None],
            "added_cond_kwargs": {
                "text_embeds": read["text_encoder_2"].text_embeds * is_kept,
                "time_ids": sizes.expand(len(prompts), -1),
            },
        }

    def _read(self, encoder: str, prompts: list[str]) -> Any:
        length = self.preset.max_tokens
        options = {"padding": "max_length", "truncation": True, "max_length": length, "return_tensors": "pt"}
        input_ids = self._tokenizers[encoder](prompts, **options).input_ids.to(self.device)
        return self.model[encoder](input_ids, output_hidden_states=len(self._tokenizers) == 2)
