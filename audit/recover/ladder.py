"""The recovery ladder: what it asks of a strategy, and attempts that are made once and then kept.

A prompt climbs from the cheapest strategy to the dearest, until an attempt confirms a memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.recover.attempts import Attempt, AttemptStore
from flashbulb.audit.recover.verify import Looked


@dataclass(frozen=True, slots=True)
class Target:
    """A prompt and the neurons that spiked for it: indices into the z-scores, and the signs of their z."""

    prompt: str
    neurons: tuple[int, ...]
    signs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LadderPrompt:
    """One prompt on the ladder.

    Args:
        key: names its files and seeds its noise.
        target: the neurons that an ascent climbs.
        sampled: plain samples, [seed, height, width, 3].
        known: loads the training image nearest to the samples, [1, height, width, 3]; None if there is none.
    """

    key: str
    target: Target
    sampled: RgbImages
    known: Callable[[], RgbImages | None]


class Strategy(Protocol):
    """One way to bring a memorized image back; a strategy is one file of `recover/strategies`."""

    @property
    def name(self) -> str:
        """Name in settings, tables and file names."""

    @property
    def n_restarts(self) -> int:
        """Attempts of one prompt, at most."""

    @property
    def is_plain(self) -> bool:
        """True if its images are plain samples of the prompt."""

    def key_of(self, prompt: LadderPrompt) -> str:
        """Return the key under which attempts on `prompt` are kept."""

    def settings_of(self, restart: int) -> dict[str, object]:
        """Return how the images of a restart are made, to be written beside them."""

    def run(self, prompts: Sequence[LadderPrompt], restart: int) -> list[Attempt]:
        """Try every prompt once; prompts do not influence one another."""


def attempts_of(
    strategy: Strategy, restart: int, prompts: Sequence[LadderPrompt], store: AttemptStore
) -> list[Attempt]:
    """Return one attempt of `strategy` for each prompt: from the store, or else made now, together, and stored."""
    keys = [strategy.key_of(prompt) for prompt in prompts]
    attempts = {i: store.load(key, strategy.name, restart) for i, key in enumerate(keys)}
    missing = [i for i, attempt in attempts.items() if attempt is None]
    made = strategy.run([prompts[i] for i in missing], restart) if missing else []
    for i, attempt in zip(missing, made, strict=True):
        store.save(keys[i], attempt)
        attempts[i] = attempt
    return [attempt for attempt in attempts.values() if attempt is not None]


def attempt_from(
    look: Looked, strategy: str, restart: int, cost: int, prompt_embeds: Tensor, kinship: float | None = None
) -> Attempt:
    """Make an attempt of what a look at its images found.

    Args:
        cost: UE spent before the look.
        prompt_embeds: what gave the images, [position, width].
    """
    spent = cost + look.evaluations
    return Attempt(strategy, restart, spent, look.images, look.signs, prompt_embeds, kinship)


def embed_prompts(denoiser: Denoiser, prompts: Sequence[LadderPrompt]) -> Tensor:
    """Encode the prompts' texts: prompt_embeds [prompt, position, width], on the CPU in float32."""
    tokens = denoiser.tokenize([prompt.target.prompt for prompt in prompts])
    return denoiser.embed(tokens).float().cpu()
