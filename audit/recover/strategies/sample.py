"""Plain samples of a prompt, every seed once, which are its first evidence (Carlini et al., arXiv 2301.13188)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from flashbulb.audit.recover.ladder import LadderPrompt, Tools, attempt_from, encode_prompts

if TYPE_CHECKING:
    from flashbulb.audit.model.denoiser import Denoiser
    from flashbulb.audit.recover.attempts import Attempt
    from flashbulb.audit.recover.ladder import Strategy
    from flashbulb.audit.recover.samples import SamplePlan
    from flashbulb.audit.recover.verify import Verifier


@dataclass(frozen=True, slots=True)
class Sample:
    """The strategy that every recovery starts with: the images that the ladder sampled count as they are."""

    denoiser: Denoiser
    verifier: Verifier
    plan: SamplePlan
    name: ClassVar[str] = "sample"
    place: ClassVar[int] = 0
    is_default: ClassVar[bool] = True
    is_plain: ClassVar[bool] = True
    needs_neurons: ClassVar[bool] = False
    identity: ClassVar[frozenset[str]] = frozenset({"seed", "clip_skip", "n_samples", "sample_steps", "guidance_scale"})
    n_restarts: ClassVar[int] = 1

    @staticmethod
    def missing(values: Mapping[str, Any]) -> None:
        """Return None: a model is enough."""

    @classmethod
    def build(cls, tools: Tools, values: Mapping[str, Any]) -> Sample:
        """Take the samples as the ladder makes them."""
        return cls(tools.denoiser, tools.verifier, tools.samples)

    @property
    def worst_cost(self) -> int:
        """UE of sampling, and of samples without guidance to verify them."""
        verified = self.verifier.most_evaluations + self.verifier.cost_of_signs  # as a whole, and in part
        return self.plan.evaluations(self.denoiser) + verified

    @property
    def kept_images(self) -> int:
        """Each sample as an image and in the attempt, and the mask."""
        return 2 * self.plan.n_samples + 1

    def key_of(self, prompt: LadderPrompt) -> str:
        """Return the key of the prompt."""
        return prompt.key

    def settings_of(self, _restart: int) -> dict[str, object]:
        """Return how the samples are made."""
        return asdict(self.plan)

    def try_(self, prompts: Sequence[LadderPrompt], restart: int) -> list[Attempt]:
        """Verify the sampled images of each prompt, or their fixed part: what survives unguided counts."""
        from flashbulb.audit.recover.parts import look_at_parts

        conditioning, keys = encode_prompts(self.denoiser, prompts), [prompt.key for prompt in prompts]
        whole = self.verifier.look_at_guided(conditioning, keys, [prompt.sampled for prompt in prompts])
        looked = look_at_parts(self.verifier, conditioning, keys, whole)
        cost = self.plan.evaluations(self.denoiser) // self.plan.n_samples  # of one image
        rows = zip(looked, conditioning.each(), strict=True)
        return [attempt_from(look, self.name, restart, cost * len(look.images), row) for look, row in rows]


STRATEGY: type[Strategy] = Sample
