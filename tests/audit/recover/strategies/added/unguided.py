"""Samples without guidance, whose images are softer: a strategy that a test adds to those of the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from flashbulb.audit.recover.ladder import LadderPrompt, Tools, attempt_from, encode_prompts

if TYPE_CHECKING:
    from flashbulb.audit.model.denoiser import Denoiser
    from flashbulb.audit.recover.attempts import Attempt
    from flashbulb.audit.recover.ladder import Strategy
    from flashbulb.audit.recover.verify import Verifier


@dataclass(frozen=True, slots=True)
class Unguided:
    """The strategy: the verifier's own samples of the prompt."""

    denoiser: Denoiser
    verifier: Verifier
    name: ClassVar[str] = "unguided"
    place: ClassVar[int] = 5
    is_default: ClassVar[bool] = False
    is_plain: ClassVar[bool] = False
    needs_neurons: ClassVar[bool] = False
    identity: ClassVar[frozenset[str]] = frozenset({"seed"})
    n_restarts: ClassVar[int] = 1

    @staticmethod
    def missing(values: Mapping[str, Any]) -> str | None:
        if values.get("guidance_scale") == 1:
            return "--strategy unguided repeats plain samples without guidance; raise --guidance-scale"
        return None

    @classmethod
    def build(cls, tools: Tools, values: Mapping[str, Any]) -> Unguided:
        return cls(tools.denoiser, tools.verifier)

    @property
    def worst_cost(self) -> int:
        return self.verifier.most_evaluations

    @property
    def kept_images(self) -> int:
        return self.verifier.plan.n_samples + 2

    def key_of(self, prompt: LadderPrompt) -> str:
        return prompt.key

    def settings_of(self, restart: int) -> dict[str, object]:
        return self.verifier.settings

    def try_(self, prompts: Sequence[LadderPrompt], restart: int) -> list[Attempt]:
        rows = encode_prompts(self.denoiser, prompts)
        looked = self.verifier.look(rows, [f"unguided\n{prompt.key}" for prompt in prompts])
        return [attempt_from(look, self.name, restart, 0, row) for look, row in zip(looked, rows.each(), strict=True)]


STRATEGY: type[Strategy] = Unguided
