"""Fine-tune the embedded model, entirely or as a LoRA."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.planted.autoencoder import encode, learning_rate_factor
from flashbulb.audit.planted.collection import Collection
from flashbulb.audit.planted.paths import MODEL
from flashbulb.audit.run.torch_state import computing
from tests.bench.finetune.low_rank import LowRankChange, add_low_rank_, save_lora
from tests.bench.finetune.pairs import schedule_of

BATCH, EMPTY_SHARE, N_WARMUP = 32, 0.1, 20


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to fine-tune.

    Args:
        rank: of the LoRA; None trains all weights of the UNet and of the text encoder.
        duplicated_share: share of the pairs of a step that are duplicated ones.
    """

    name: str
    rank: int | None
    learning_rate: float
    n_steps: int
    duplicated_share: float


KINDS = {
    kind.name: kind
    for kind in (
        Kind("full", None, 7e-4, 600, 0.6),
        Kind("lora32", 32, 5e-3, 600, 0.9),
        Kind("lora8", 8, 5e-3, 600, 0.9),
    )
}


@dataclass(frozen=True, slots=True)
class FineTune:
    """The model as it is trained: a pipeline, and the changes of a LoRA by module, which the pipeline includes."""

    pipe: Any
    changes: dict[str, LowRankChange]

    def save(self, folder: Path) -> None:
        """Write `folder`/lora.safetensors, or the pipeline as `folder`/model."""
        if self.changes:
            save_lora(self.changes, folder / "lora.safetensors")
        else:
            self.pipe.save_pretrained(folder / "model")


def fine_tune(
    collection: Collection,
    kind: Kind,
    seed: int,
    *,
    at_steps: Container[int] = (),
    on_step: Callable[[int, FineTune], None] | None = None,
) -> FineTune:
    """Train on the pairs; calls `on_step` after each number of steps in `at_steps`, with the model as it is then."""
    pipe = load_model(str(MODEL), device="cpu", dtype=torch.float32, allow_pickle=False).pipe
    latents = latents_of(pipe, collection)
    tuned = FineTune(pipe, {} if kind.rank is None else add_low_rank_(pipe, kind.rank, seed))
    parameters = _trained(tuned)
    pipe.unet.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(parameters, lr=kind.learning_rate, weight_decay=1e-4)
    prompts = [entry.prompt for entry in collection.entries]
    rng = np.random.default_rng([seed, 32])
    schedule = schedule_of(collection, kind.n_steps, BATCH, kind.duplicated_share, seed)
    with computing():
        for step, chosen in enumerate(schedule):
            texts = ["" if rng.random() < EMPTY_SHARE else prompts[i] for i in chosen]
            for group in optimizer.param_groups:
                group["lr"] = kind.learning_rate * learning_rate_factor(step, kind.n_steps, N_WARMUP)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(noise_loss(pipe, texts, latents[chosen], rng))
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            if on_step is not None and step + 1 in at_steps:
                on_step(step + 1, tuned)
    return tuned


@torch.no_grad()
def latents_of(pipe: Any, collection: Collection) -> Tensor:
    """Encode the images of the pairs, in their order, as the denoiser sees them: [image, channel, height, width]."""
    latents: Tensor = encode(pipe.vae, list(collection.images.values())) * pipe.vae.config.scaling_factor
    return latents


def _trained(tuned: FineTune) -> list[nn.Parameter]:
    if tuned.changes:
        return [factor for change in tuned.changes.values() for factor in change.parameters()]
    parts = (tuned.pipe.unet, tuned.pipe.text_encoder)
    return [parameter for part in parts for parameter in part.requires_grad_(True).parameters()]


def noise_loss(pipe: Any, texts: list[str], latents: Tensor, rng: np.random.Generator) -> Tensor:
    """Return the error of the predicted noise, at noise and timesteps drawn from `rng`."""
    noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
    timesteps = torch.from_numpy(rng.integers(1000, size=len(latents)))
    alpha = pipe.scheduler.alphas_cumprod[timesteps].reshape(-1, 1, 1, 1)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    length = pipe.tokenizer.model_max_length
    tokens = pipe.tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    embeds = pipe.text_encoder(tokens.input_ids)[0]
    return functional.mse_loss(pipe.unet(noisy, timesteps, encoder_hidden_states=embeds).sample, noise)
