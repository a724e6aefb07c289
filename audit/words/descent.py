"""Greedy coordinate search over the tokens of a prompt, guided by the gradient (GCG, arXiv 2307.15043).

A gradient with respect to the token embeddings tells for each position which tokens would lower the loss, as in Wen et
al.'s hard prompts (arXiv 2302.03668). Tokens are drawn from the best, replaced, inserted or left out, and what comes of
it is evaluated exactly, as the text that a user would type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.words.loss import DenoisingLoss
from flashbulb.audit.words.pieces import Pieces, Slopes

LEFT_OUT, INSERTED = 0.15, 0.15
"""Shares of the changes that leave a token out, and that insert one; the others replace one."""
_TRIES = 10  # draws for each change that is wanted


@dataclass(frozen=True, slots=True)
class DescentPlan:
    """How prompts change.

    Args:
        n_changed: changed prompts of a step.
        n_tokens: tokens at each position to draw from, those with the steepest descent.
        most_tokens: length from which on no token is inserted.
    """

    n_changed: int
    n_tokens: int
    most_tokens: int


class Descent:
    """A search from some texts; what it has evaluated is kept, the best first."""

    def __init__(
        self, denoiser: Denoiser, pieces: Pieces, loss: DenoisingLoss, plan: DescentPlan, generator: torch.Generator
    ) -> None:
        self._denoiser, self._pieces, self._loss, self._plan = denoiser, pieces, loss, plan
        self._generator = generator
        self._losses: dict[str, float] = {}

    def run(self, starts: Sequence[str], evaluations: int) -> list[str]:
        """Search until about so many UE are spent; return all texts that were evaluated, the best first."""
        before = self._denoiser.evaluations
        self._evaluate(starts)
        while self._denoiser.evaluations - before < evaluations:
            best = self._ranked[0]
            changed = self._changed(self._pieces.slopes(best, self._loss))
            if not changed:
                break
            self._evaluate(changed)
        return self._ranked

    @property
    def _ranked(self) -> list[str]:
        return sorted(self._losses, key=self._losses.__getitem__)

    def _evaluate(self, texts: Sequence[str]) -> None:
        self._losses |= zip(texts, self._loss.of_texts(texts), strict=True)

    def _changed(self, slopes: Slopes) -> list[str]:
        """Draw texts that differ by one token from that of `slopes`, and were not evaluated yet."""
        n_tokens = min(self._plan.n_tokens, len(self._pieces.typed))
        steepest = slopes.change.topk(n_tokens, dim=1, largest=False).indices  # [position, token]
        changed: dict[str, None] = {}
        for _ in range(_TRIES * self._plan.n_changed):
            if not slopes.tokens or len(changed) == self._plan.n_changed:
                break
            text = self._denoiser.text.text_of(self._change(slopes.tokens, steepest))
            if text not in self._losses and self._denoiser.text.tokens_of(text):
                changed[text] = None
        return list(changed)

    def _change(self, tokens: Sequence[int], steepest: torch.Tensor) -> list[int]:
        share = float(torch.rand((), generator=self._generator))
        place = self._draw(len(tokens))
        token = self._pieces.typed[int(steepest[place, self._draw(steepest.shape[1])])]
        if share < LEFT_OUT and len(tokens) > 1:
            return [*tokens[:place], *tokens[place + 1 :]]
        if share < LEFT_OUT + INSERTED and len(tokens) < self._plan.most_tokens:
            return [*tokens[:place], token, *tokens[place:]]
        return [*tokens[:place], token, *tokens[place + 1 :]]

    def _draw(self, n: int) -> int:
        return int(torch.randint(n, (), generator=self._generator))
