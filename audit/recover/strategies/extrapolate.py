"""Sample a fine-tune away from its base: every prediction is ε_ft + w (ε_ft − ε_base).

FineXtract (arXiv 2410.03039) extracts a fine-tuning set so. What the training added is made stronger, and what both
models know stays as it is. Its correction term and its clustering are not computed. w is ours
(docs/fine-tunes-measured.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from flashbulb.audit.recover.ladder import LadderPrompt, OpenBase, Tools, attempt_from, encode_prompts
from flashbulb.audit.recover.strategies.sample import Sample

if TYPE_CHECKING:
    from flashbulb.audit.model.denoiser import Denoiser
    from flashbulb.audit.recover.attempts import Attempt
    from flashbulb.audit.recover.ladder import Strategy
    from flashbulb.audit.recover.samples import SamplePlan
    from flashbulb.audit.recover.verify import Verifier

WEIGHT = 1.0
"""No user sets it: of 0, 0.5, 1 and 2, 0.5 and 1 brought most back on a fine-tune of the embedded model."""


@dataclass(frozen=True, slots=True)
class Extrapolate:
    """The strategy: sample as plain samples are, with both models at hand; images count if they survive without."""

    denoiser: Denoiser
    verifier: Verifier
    plan: SamplePlan
    open_base: OpenBase | None
    name: ClassVar[str] = "extrapolate"
    place: ClassVar[int] = 25
    is_default: ClassVar[bool] = False
    is_plain: ClassVar[bool] = False
    needs_neurons: ClassVar[bool] = False
    identity: ClassVar[frozenset[str]] = Sample.identity
    n_restarts: ClassVar[int] = 1

    @staticmethod
    def missing(values: Mapping[str, Any]) -> str | None:
        """Return an error line where no base model is given."""
        if values.get("baseline_model") is not None:
            return None
        return "--strategy extrapolate samples a fine-tune away from its base; give --baseline-model"

    @classmethod
    def build(cls, tools: Tools, values: Mapping[str, Any]) -> Extrapolate:
        """Plan as many images as are sampled; the base is loaded when the first prompt is tried."""
        return cls(tools.denoiser, tools.verifier, tools.samples, tools.open_base)

    @property
    def _cost(self) -> int:
        return 2 * self.plan.evaluations(self.denoiser)

    @property
    def worst_cost(self) -> int:
        """UE of sampling with both models, and of samples of the fine-tune without guidance to verify them."""
        return self._cost + self.verifier.most_evaluations

    @property
    def kept_images(self) -> int:
        """Each sample, in the attempt, the best of them as an image, and the mask."""
        return self.plan.n_samples + 2

    def key_of(self, prompt: LadderPrompt) -> str:
        """Return the key of the prompt."""
        return prompt.key

    def settings_of(self, _restart: int) -> dict[str, object]:
        """Return how the samples are made and verified."""
        return {**asdict(self.plan), "extrapolation_weight": WEIGHT, **self.verifier.settings}

    def try_(self, prompts: Sequence[LadderPrompt], restart: int) -> list[Attempt]:
        """Sample every prompt away from the base, from the noise of its plain samples, and verify the images."""
        from flashbulb.audit.recover.samples import sample_prompts

        assert self.open_base is not None, "settings without a base refuse this strategy"
        with self.open_base() as call_base, self.denoiser.extrapolated(call_base, WEIGHT):
            images = sample_prompts(self.denoiser, [prompt.target.prompt for prompt in prompts], self.plan)
        conditioning = encode_prompts(self.denoiser, prompts)
        looked = self.verifier.look_at_guided(conditioning, [f"extrapolate\n{p.key}" for p in prompts], images)
        rows = zip(looked, conditioning.each(), strict=True)
        return [attempt_from(look, self.name, restart, self._cost, row) for look, row in rows]


STRATEGY: type[Strategy] = Extrapolate
