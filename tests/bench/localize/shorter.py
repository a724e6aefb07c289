"""The tests of `localize` in few steps against the same tests in many: does each memory get the same verdicts?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.localize.effects import count_replicating
from flashbulb.audit.localize.localizer import LocalizedMemory, Localizer
from flashbulb.audit.localize.memories import Memory
from flashbulb.audit.localize.recovery import ablated_alone, count_recovered_again
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.sampling import sample_generator
from flashbulb.audit.pull.pulling import PullPlan
from flashbulb.audit.recover.strategies.known_image import LEARNING_RATE, MAX_STEPS, N_NOISES, KnownImagePlan, pull_out
from flashbulb.hooks import By, NeuronSet
from flashbulb.reports.bounds.rates import rate_of, rate_text

LONG_STEPS = 25
LONG_ASCENT = KnownImagePlan(0, MAX_STEPS, LEARNING_RATE, N_NOISES)

Pairs = Mapping[str, Sequence[tuple[bool, bool]]]
"""Verdicts in few and in many steps, by what they say."""


@dataclass(frozen=True)
class Recovery:
    """How an image is recovered from the ablated model: by the pull of `localize`, and by the authors' ascent."""

    denoiser: Denoiser
    by: By
    pull: PullPlan

    def by_pull(self, prompt: str, image: RgbImage, neurons: NeuronSet) -> tuple[int, int]:
        """Return how many samples show the image, and the UE spent."""
        before = self.denoiser.evaluations
        count = count_recovered_again(self.denoiser, prompt, image, neurons, self.by, self.pull)
        return count, self.denoiser.evaluations - before

    def by_long_ascent(self, prompt: str, image: RgbImage, neurons: NeuronSet) -> tuple[int, int]:
        """Return the same of fifty steps of eight noises, sampled in many steps."""
        denoiser, n = self.denoiser, self.pull.n_samples
        before = denoiser.evaluations
        with ablated_alone(denoiser, neurons, self.by):
            found = pull_out(denoiser, image[None], denoiser.encode([prompt]).conditioning, prompt, LONG_ASCENT)
        with denoiser.ablated(neurons, self.by):
            images = denoiser.sample(
                found.repeat(n),
                [sample_generator(self.pull.run_seed, f"again\n{prompt}", i) for i in range(n)],
                num_inference_steps=LONG_STEPS,
                guidance_scale=self.pull.guidance_scale,
                batch_size=n,
            )
        return count_replicating(images, image), denoiser.evaluations - before


def compare(
    few: Localizer, many: Localizer, recovery: Recovery, memories: Sequence[Memory], strangers: Sequence[RgbImage]
) -> Iterator[str]:
    """Yield a line for each memory, then how many verdicts agree.

    Args:
        few, many: localizers that differ in the steps of a sample, both without recovery.
        strangers: for the first memories an image that the model did not memorize, to be recovered from their prompts.
    """
    pairs: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for memory, stranger in zip_longest(memories, strangers):
        found = [localizer.localize(memory) for localizer in (few, many)]
        lines = [f"{_figures(localized)}, {localized.evaluations} UE" for localized in found]
        for (kind, in_few), (_, in_many) in zip(*map(_verdicts, found), strict=True):
            pairs[kind].append((in_few, in_many))
        images = {"recovered again": memory.image, "an image of no memory recovered": stranger}
        for kind, image in images.items():
            if image is None:
                continue
            both = [way(memory.prompt, image, found[0].neurons) for way in (recovery.by_pull, recovery.by_long_ascent)]
            in_few, in_many = (2 * count >= recovery.pull.n_samples for count, _ in both)
            pairs[kind].append((in_few, in_many))
            lines = [f"{line}; {kind} {count}, {spent} UE" for line, (count, spent) in zip(lines, both, strict=True)]
        yield f"{memory.prompt} | few steps: {lines[0]} | many: {lines[1]}"
    yield from agreement(pairs)


def agreement(pairs: Pairs) -> Iterator[str]:
    """Yield how many verdicts are positive in few and in many steps, and how many are the same."""
    for kind, verdicts in {**pairs, "all": list(chain.from_iterable(pairs.values()))}.items():
        n_few, n_many = (sum(column) for column in zip(*verdicts, strict=True))
        same = rate_text(rate_of(sum(few is many for few, many in verdicts), len(verdicts)))
        yield f"few and many steps, {kind}: {n_few} and {n_many} of {len(verdicts)}; same verdict {same}"


def _verdicts(found: LocalizedMemory) -> Iterator[tuple[str, bool]]:
    yield "erased", found.effect.is_erased
    for control in found.controls:
        yield "clean prompt changed", control.is_changed
    yield "patched into a clean prompt", 2 * (found.n_patched or 0) >= found.effect.n_samples


def _figures(found: LocalizedMemory) -> str:
    (before, after), n = found.effect.n_replicating, found.effect.n_samples
    moved = ", ".join(f"{control.change:.3f} of {control.diversity:.3f}" for control in found.controls)
    return f"replicating {before} -> {after} of {n}, clean prompts moved {moved}, patched {found.n_patched}"
