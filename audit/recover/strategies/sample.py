"""Plain samples of a prompt, every seed once, which are its first evidence (Carlini et al., arXiv 2301.13188)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.recover.attempts import Attempt
from flashbulb.audit.recover.ladder import LadderPrompt, attempt_from, embed_prompts
from flashbulb.audit.recover.samples import SamplePlan
from flashbulb.audit.recover.verify import Verifier


@dataclass(frozen=True, slots=True)
class Sample:
    """The strategy that every recovery starts with: the images that the ladder sampled count as they are."""

    denoiser: Denoiser
    verifier: Verifier
    plan: SamplePlan
    name: ClassVar[str] = "sample"
    n_restarts: ClassVar[int] = 1
    is_plain: ClassVar[bool] = True

    def key_of(self, prompt: LadderPrompt) -> str:
        """Return the key of the prompt."""
        return prompt.key

    def settings_of(self, _restart: int) -> dict[str, object]:
        """Return how the samples are made."""
        return asdict(self.plan)

    def run(self, prompts: Sequence[LadderPrompt], restart: int) -> list[Attempt]:
        """Verify the sampled images of each prompt: they count if they survive without guidance."""
        embeds = embed_prompts(self.denoiser, prompts)
        looked = self.verifier.look_at_guided(
            embeds, [prompt.key for prompt in prompts], [prompt.sampled for prompt in prompts]
        )
        return [
            attempt_from(look, self.name, restart, self.plan.evaluations, row)
            for look, row in zip(looked, embeds, strict=True)
        ]
