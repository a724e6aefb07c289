"""Train the small AutoencoderKL of a planted model, and encode images with it."""

from __future__ import annotations

import math

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.planted.collection import WORLDS, Collection
from flashbulb.audit.planted.presets import Preset

_KL_WEIGHT = 1e-6
_LEARNING_RATE = 2e-3
_ENCODED_AT_ONCE = 64


def build_autoencoder(preset: Preset) -> AutoencoderKL:
    """Build an untrained AutoencoderKL with the preset's widths."""
    n_blocks = len(preset.autoencoder_channels)
    return AutoencoderKL(
        block_out_channels=preset.autoencoder_channels,
        down_block_types=("DownEncoderBlock2D",) * n_blocks,
        up_block_types=("UpDecoderBlock2D",) * n_blocks,
        latent_channels=preset.latent_channels,
        layers_per_block=1,
        norm_num_groups=16,
        sample_size=preset.picture_size,
    )


def to_tensor(batch: list[RgbImage]) -> Tensor:
    """Convert images to the model's input: [image, 3, height, width], in [-1, 1]."""
    return torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float() / 127.5 - 1


def learning_rate_factor(step: int, n_steps: int, n_warmup: int) -> float:
    """Warm up linearly, then decay along half a cosine to a fiftieth."""
    if step < n_warmup:
        return (step + 1) / n_warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / n_steps))


class AutoencoderTrainer:
    """Train on planted and newly painted images; each step draws from the preset's seed and its own number."""

    planted_share = 0.4
    stream = 1  # of random numbers; no other stage uses it

    def __init__(self, preset: Preset, collection: Collection, device: torch.device) -> None:
        torch.manual_seed(preset.seed)
        self.preset, self.device, self.n_steps = preset, device, preset.autoencoder_steps
        self.model = build_autoencoder(preset).to(device).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=_LEARNING_RATE, weight_decay=1e-4)
        self._world = WORLDS[preset.world]
        self._planted = [p for name, p in sorted(collection.images.items()) if not name.startswith("seen")]

    def _batch(self, rng: np.random.Generator) -> Tensor:
        size, batch = self.preset.picture_size, []
        for draw in rng.random(self.preset.autoencoder_batch):
            if draw < self.planted_share:
                batch.append(self._planted[int(rng.integers(len(self._planted)))])
            elif draw < 0.75:
                batch.append(self._world.titled_image(rng, size))
            else:
                batch.append(self._world.described(rng).paint(size, rng))
        return to_tensor(batch).to(self.device)

    def step(self, step: int) -> float:
        """Take an optimiser step; return the reconstruction loss."""
        images = self._batch(np.random.default_rng([self.preset.seed, self.stream, step]))
        for group in self.optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * learning_rate_factor(step, self.n_steps, 30)
        posterior = self.model.encode(images).latent_dist
        noise = torch.from_numpy(
            np.random.default_rng([self.preset.seed, self.stream + 1, step]).standard_normal(
                posterior.mean.shape, dtype=np.float32
            )
        )
        decoded = self.model.decode(posterior.mean + posterior.std * noise.to(self.device)).sample
        reconstruction = functional.l1_loss(decoded, images) + functional.mse_loss(decoded, images)
        loss = reconstruction + _KL_WEIGHT * posterior.kl().mean()
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], 1.0)
        self.optimizer.step()
        return float(reconstruction.detach())


class DecoderTrainer(AutoencoderTrainer):
    """Sharpen the decoder of a trained autoencoder; the encoder, and so every latent, does not change."""

    planted_share = 0.6
    stream = 7

    def __init__(self, autoencoder: AutoencoderKL, preset: Preset, collection: Collection, device: torch.device):
        super().__init__(preset, collection, device)
        self.n_steps = preset.decoder_steps
        self.model = autoencoder.train()
        trained = [*autoencoder.post_quant_conv.parameters(), *autoencoder.decoder.parameters()]
        autoencoder.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(trained, lr=_LEARNING_RATE, weight_decay=1e-4)


@torch.no_grad()
def encode(model: AutoencoderKL, images: list[RgbImage]) -> Tensor:
    """Encode images to unscaled latent means: [image, channel, row, column]."""
    chunks = [images[i : i + _ENCODED_AT_ONCE] for i in range(0, len(images), _ENCODED_AT_ONCE)]
    device = next(model.parameters()).device
    return torch.cat([model.encode(to_tensor(chunk).to(device)).latent_dist.mean for chunk in chunks])
