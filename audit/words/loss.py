"""How badly a prompt denoises an image: what a search for words lowers. No sample is drawn for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.prediction import finite_log_losses
from flashbulb.audit.model.sampling import sample_generator


class DenoisingLoss:
    """Mean log loss of one image at a few noise levels, with the same noise for every prompt.

    Prompts are therefore compared at equal noise, and one noise a level suffices. At these levels the prompt decides
    what the image will be: on `gazette` the caption of a memorized image lowers the log loss by 1.0 to 1.2.

    Args:
        image: [height, width, 3].
        shares: of the noise schedule, in (0, 1).
        key: seed of the noise.
        batch_size: latents in one call of the denoiser.
    """

    def __init__(
        self, denoiser: Denoiser, image: RgbImage, shares: Sequence[float], run_seed: int, key: str, batch_size: int
    ) -> None:
        self._denoiser = denoiser
        self._rows = max(1, batch_size // len(shares))
        latents = denoiser.encode_images(image[None])
        self._noise = denoiser.noise([sample_generator(run_seed, f"words\n{key}", i) for i in range(len(shares))])
        self._timesteps = [int(share * denoiser.n_timesteps) for share in shares]
        noised = [
            denoiser.noised(latents, self._noise[i : i + 1], timestep) for i, timestep in enumerate(self._timesteps)
        ]
        self._noised = torch.cat(noised)  # [level, channel, row, column]

    def of(self, conditioning: Conditioning) -> Tensor:
        """Return the loss of each row, on the graph: [row]; costs one UE a level."""
        n, levels = len(conditioning), len(self._timesteps)
        timesteps = torch.tensor(self._timesteps, device=self._denoiser.device).repeat(n)
        predicted = self._denoiser.predict(
            self._noised.repeat(n, 1, 1, 1),
            timesteps,
            conditioning.to(self._denoiser.device, self._denoiser.dtype).repeat(levels),
        )
        return finite_log_losses(predicted.losses(self._noise.repeat(n, 1, 1, 1))).reshape(n, levels).mean(dim=1)

    @torch.no_grad()
    def of_texts(self, texts: Sequence[str]) -> list[float]:
        """Return the loss of each text."""
        losses: list[float] = []
        for first in range(0, len(texts), self._rows):
            losses += self.of(self._denoiser.encode(texts[first : first + self._rows]).conditioning).tolist()
        return losses
