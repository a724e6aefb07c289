"""Localize one memory: attribute its response, choose levers, and test them with seeds that did not choose them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from audit.denoiser import Denoiser
from audit.evidence import Pictures
from audit.localize.again import recovered_again
from audit.localize.attribution import Attribution, Attributor
from audit.localize.effects import (
    ControlEffect,
    Effect,
    Sampled,
    SamplingPlan,
    effect_on_memory,
    effects_on_controls,
    n_patched,
    n_replicating,
    sample_edited,
    sample_recorded,
)
from audit.localize.levers import Ranked, fewest, neuron_set_of, rank_neurons
from audit.memories import Memory
from audit.recover.known_image import KnownImagePlan
from hooks import By, NeuronSet, Site, ablate

MARGIN = 1.5
"""So many times the fewest levers are taken: what barely suffices with the seeds of the choice fails with others."""


@dataclass(frozen=True, slots=True)
class LeverPlan:
    """How levers are chosen and tested.

    Args:
        share: of the neurons of the levers' kind, those of the highest attribution.
        n_checks: bisections towards the fewest that erase, 0 to take them all; each samples the prompt once.
        by: what stands in for a lever.
        sampling: of the test; the choice takes the seeds before those.
        n_controls: clean prompts that each memory's levers are tried on.
        pull: how the picture is pulled at in the ablated model; None not to try.
    """

    share: float
    n_checks: int
    by: By
    sampling: SamplingPlan
    n_controls: int
    pull: KnownImagePlan | None

    @property
    def choosing(self) -> SamplingPlan:
        """How samples are made while levers are chosen."""
        return replace(self.sampling, first_index=self.sampling.first_index - self.sampling.n_samples)


@dataclass(frozen=True, slots=True)
class Localized:
    """One memory with its levers, and what the test of them gave.

    Args:
        excess: attribution above that of clean prompts, by which levers are ranked: [neuron] by `site.name`.
        n_patched: samples of a clean prompt that show the memory with the levers' activations put in; None untried.
        n_recovered_again: samples that show it after it was pulled at in the ablated model; None if not tried.
        before, after: samples of the prompt, [seed, height, width, 3].
        evaluations: UE spent.
    """

    memory: Memory
    attribution: Attribution
    excess: Mapping[str, Tensor]
    neurons: NeuronSet
    effect: Effect
    controls: tuple[ControlEffect, ...]
    n_patched: int | None
    n_recovered_again: int | None
    before: Pictures
    after: Pictures
    evaluations: int


class Localizer:
    """Localizes memories of one model in the neurons of `levers`, the sites of one kind.

    Args:
        attributor: of a larger set of sites, `levers` among them.
        clean: prompts that no memory belongs to, which controls are taken from.
        usual: mean attribution of clean prompts, [neuron] by `site.name`: levers are neurons that carry more of the
            memory's response than of those, so that replacing them leaves other prompts alone.
        means: reference mean of each neuron of `levers`, [neuron] by `site.name`, if they are replaced by it.
        fingerprint: of the model.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        levers: Sequence[Site],
        attributor: Attributor,
        clean: Sequence[str],
        usual: Mapping[str, Tensor],
        means: dict[str, Tensor] | None,
        plan: LeverPlan,
        fingerprint: str,
    ) -> None:
        self._denoiser, self._levers, self._attributor, self._plan = denoiser, tuple(levers), attributor, plan
        self._usual, self._means, self._fingerprint = usual, means, fingerprint
        self._clean = [(prompt, sample_edited(denoiser, prompt, plan.sampling)) for prompt in clean]

    def localize(self, memory: Memory) -> Localized:
        """Find and test the levers of one memory."""
        denoiser, plan = self._denoiser, self._plan
        spent = denoiser.evaluations
        (attribution,) = self._attributor.attribute([memory.prompt])
        excess = {site.name: attribution.neurons[site.name] - self._usual[site.name] for site in self._levers}
        neurons = self._choose(memory, rank_neurons(excess, self._levers))
        before, recording = sample_recorded(denoiser, memory.prompt, plan.sampling, neurons)
        after = sample_edited(denoiser, memory.prompt, plan.sampling, ablate(denoiser.pipe, neurons, plan.by))
        controls = self._controls_of(memory)
        on_controls = effects_on_controls(denoiser, controls, neurons, plan.by, plan.sampling)
        patched = again = None
        if controls:
            patched = n_patched(denoiser, controls[0][0], recording, memory.picture, plan.sampling)
        if plan.pull is not None:
            again = recovered_again(denoiser, memory.prompt, memory.picture, neurons, plan.by, plan.pull, plan.sampling)
        return Localized(
            memory=memory,
            attribution=attribution,
            excess=excess,
            neurons=neurons,
            effect=effect_on_memory(memory.picture, before, after),
            controls=tuple(on_controls),
            n_patched=patched,
            n_recovered_again=again,
            before=before.pictures,
            after=after.pictures,
            evaluations=denoiser.evaluations - spent,
        )

    def _choose(self, memory: Memory, ranked: Sequence[Ranked]) -> NeuronSet:
        plan, denoiser = self._plan, self._denoiser
        n = max(1, round(plan.share * len(ranked)))

        def best(count: int) -> NeuronSet:
            return neuron_set_of(ranked[:count], self._means, self._fingerprint)

        def erases_everywhere(count: int) -> bool:
            sampled = sample_edited(denoiser, memory.prompt, plan.choosing, ablate(denoiser.pipe, best(count), plan.by))
            return n_replicating(sampled.pictures, memory.picture) == 0

        return best(min(n, round(MARGIN * fewest(erases_everywhere, n, plan.n_checks))))

    def _controls_of(self, memory: Memory) -> list[tuple[str, Sampled]]:
        """Clean prompts of this memory, others for another one."""
        if not self._clean:
            return []
        first = int(memory.prompt_id, 16)
        n = min(self._plan.n_controls, len(self._clean))
        return [self._clean[(first + i) % len(self._clean)] for i in range(n)]
