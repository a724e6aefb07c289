"""The recovery ladder: what it asks of a strategy, and how prompts climb it.

A prompt climbs from the cheapest strategy to the dearest, until an attempt confirms a memory. Importing this file does
not import torch, because the command line lists strategies without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from flashbulb.audit.ascent.neurons import NeuronScores
    from flashbulb.audit.images.distances import RgbImages
    from flashbulb.audit.model.conditioning import Conditioning
    from flashbulb.audit.model.denoiser import Denoiser
    from flashbulb.audit.recover.attempts import Attempt, AttemptStore
    from flashbulb.audit.recover.samples import SamplePlan
    from flashbulb.audit.recover.verify import Looked, Verifier


OpenBase = Callable[[], AbstractContextManager[Callable[..., Any]]]


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


@dataclass(frozen=True, slots=True)
class Tools:
    """What strategies work with, the same for all of them.

    Args:
        samples: how the plain samples of a prompt are made.
        scores: z-scores of the neurons to climb; None where no strategy climbs, or where nothing is tried yet.
        open_base: opens the denoiser of the model that this one was fine-tuned from, to be called; None if there is
            none.
    """

    denoiser: Denoiser
    verifier: Verifier
    samples: SamplePlan
    scores: NeuronScores | None
    open_base: OpenBase | None = None


class Reach(NamedTuple):
    """How far up the ladder a prompt is tried: the last attempt on it."""

    strategy: str
    restart: int


class Strategy(Protocol):
    """One way to bring a memorized image back.

    The class states what can be known without a model. `build` gives it one, and the instance tries prompts. Settings
    are given as a mapping of plain values, by the names that `AuditSettings` gives them.
    """

    name: ClassVar[str]
    """Name in settings, tables and file names: that of its file."""
    place: ClassVar[int]
    """Place on the ladder; prompts start at the lowest."""
    is_default: ClassVar[bool]
    """True if it is tried without being chosen, unless something is missing."""
    is_plain: ClassVar[bool]
    """True if its images are plain samples of the prompt."""
    needs_neurons: ClassVar[bool]
    """True if it climbs the neurons that spiked in the recording; its attempts then depend on the recording."""
    identity: ClassVar[frozenset[str]]
    """Settings that its attempts depend on."""

    @staticmethod
    def missing(values: Mapping[str, Any]) -> str | None:
        """Return what these settings lack for it and the way out, as an error line; None if nothing is missing."""

    @classmethod
    def build(cls, tools: Tools, values: Mapping[str, Any]) -> Self:
        """Prepare it to try prompts with these settings."""

    @property
    def n_restarts(self) -> int:
        """Attempts of one prompt, at most."""

    @property
    def worst_cost(self) -> int:
        """UE of one prompt, at most: every attempt, and its verification."""

    @property
    def kept_images(self) -> int:
        """Images that one attempt leaves on disk, at most, masks included."""

    def key_of(self, prompt: LadderPrompt) -> str:
        """Return the key under which attempts on `prompt` are kept."""

    def settings_of(self, restart: int) -> dict[str, object]:
        """Return how the images of a restart are made, to be written beside them."""

    def try_(self, prompts: Sequence[LadderPrompt], restart: int) -> list[Attempt]:
        """Try every prompt once; prompts do not influence one another."""


def climb_ladder(
    strategies: Sequence[Strategy],
    prompts: Sequence[LadderPrompt],
    store: AttemptStore,
    confirms: Callable[[int, Strategy, Attempt], bool],
    reach: Reach | None,
) -> None:
    """Try the strategies in order on all prompts, each prompt until an attempt on it confirms a memory.

    Args:
        reach: the last attempt to make; None for the whole ladder.
        confirms: takes the index of a prompt and an attempt on it, keeps the attempt, and returns True if it confirms a
            memory.
    """
    pending = list(range(len(prompts)))
    for strategy in strategies:
        for restart in range(strategy.n_restarts):
            attempts = attempts_of(strategy, restart, [prompts[i] for i in pending], store)
            tried = zip(pending, attempts, strict=True)
            pending = [i for i, attempt in tried if not confirms(i, strategy, attempt)]
            if reach == (strategy.name, restart):
                return


def attempts_of(
    strategy: Strategy, restart: int, prompts: Sequence[LadderPrompt], store: AttemptStore
) -> list[Attempt]:
    """Return one attempt of `strategy` for each prompt: from the store, or else made now, together, and stored."""
    keys = [strategy.key_of(prompt) for prompt in prompts]
    attempts = {i: store.load(key, strategy.name, restart) for i, key in enumerate(keys)}
    missing = [i for i, attempt in attempts.items() if attempt is None or _is_outgrown(strategy, prompts[i], attempt)]
    made = strategy.try_([prompts[i] for i in missing], restart) if missing else []
    attempts |= zip(missing, made, strict=True)
    store.save({keys[i]: attempt for i, attempt in zip(missing, made, strict=True)})
    return [attempt for attempt in attempts.values() if attempt is not None]


def _is_outgrown(strategy: Strategy, prompt: LadderPrompt, attempt: Attempt) -> bool:
    """Return whether an attempt is of fewer or more plain samples than the prompt has now."""
    return strategy.is_plain and len(attempt.images) != len(prompt.sampled)


def attempt_from(
    look: Looked, strategy: str, restart: int, cost: int, conditioning: Conditioning, kinship: float | None = None
) -> Attempt:
    """Make an attempt of what a look at its images found.

    Args:
        cost: UE spent before the look.
        conditioning: what gave the images, one row.
    """
    from flashbulb.audit.recover.attempts import Attempt

    spent = cost + look.evaluations
    return Attempt(strategy, restart, spent, look.images, look.signs, conditioning, kinship, look.part_confidence)


def encode_prompts(denoiser: Denoiser, prompts: Sequence[LadderPrompt]) -> Conditioning:
    """Encode the prompts' texts, a row each, on the CPU in float32."""
    return denoiser.encode([prompt.target.prompt for prompt in prompts]).conditioning.kept()
