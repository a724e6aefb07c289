"""Tokens that a user can type, and the gradient of a loss by which of them stands where."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.words.loss import DenoisingLoss
from flashbulb.hooks import TokenClass


@dataclass(frozen=True, slots=True)
class Slopes:
    """How a loss would change by each token at each position of a text, to first order.

    Args:
        tokens: of the text.
        change: [position, token of `Pieces.typed`].
    """

    tokens: list[int]
    change: Tensor


class Pieces:
    """Tokens of the first text encoder that are letters or digits alone."""

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser = denoiser
        self.typed = denoiser.text.typed_tokens()
        vectors = denoiser.text.vectors(torch.tensor(self.typed, device=denoiser.device))
        self._vectors = {name: x.float().cpu() for name, x in vectors.items()}  # [token, width]

    def slopes(self, text: str, loss: DenoisingLoss) -> Slopes:
        """Return the slopes of a loss at a text; costs three UE a noise level.

        Every text encoder counts that reads the same tokens as the first one.
        """
        denoiser = self._denoiser
        prompts = denoiser.encode([text])
        vectors = {name: x.float().requires_grad_() for name, x in denoiser.token_embeddings(prompts).items()}
        with denoiser.frozen(), denoiser.counting_backward():
            value = loss.of(denoiser.encode_from(vectors, prompts)).sum()
        gradients = torch.autograd.grad(value, list(vectors.values()))
        main = prompts.input_ids[denoiser.text.main]
        places = (prompts.main_classes[0] == TokenClass.PROMPT).nonzero()[:, 0]
        change = torch.zeros(len(places), len(self.typed))
        for (name, start), gradient in zip(vectors.items(), gradients, strict=True):
            ids = prompts.input_ids[name]
            if ids.shape == main.shape and torch.equal(ids[0, places], main[0, places]):
                at = gradient[0, places].float().cpu()
                now = (at * start.detach()[0, places].cpu()).sum(dim=1, keepdim=True)
                change += at @ self._vectors[name].T - now
        return Slopes(main[0, places].tolist(), change.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0))
