"""Localize a memory: attribute its response, select neurons, and test them with seeds that did not select them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.localize.attribution import Attribution, Attributor
from flashbulb.audit.localize.effects import (
    ControlEffect,
    Effect,
    EffectPlan,
    Samples,
    count_patched,
    count_replicating,
    measure_control_effects,
    measure_effect,
    sample_and_record,
    sample_edited,
)
from flashbulb.audit.localize.memories import Memory
from flashbulb.audit.localize.recovery import count_recovered_again
from flashbulb.audit.localize.selection import RankedNeuron, bisect_fewest, make_neuron_set, rank_neurons
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.pull.pulling import PullPlan
from flashbulb.hooks import By, NeuronSet, Site

MARGIN = 1.5
"""Select this multiple of the fewest neurons: a number that barely suffices for its own seeds fails for others."""


@dataclass(frozen=True, slots=True)
class LocalizationPlan:
    """How neurons are selected and tested.

    Args:
        share: share of the sites' neurons to select, those of the highest attribution.
        n_checks: bisections towards the fewest neurons that erase, 0 to keep all; each samples the prompt once.
        by: what replaces the localized neurons.
        sampling: samples of the test; the selection uses the image indices before them.
        n_controls: clean prompts on which each memory's localized neurons are tested.
        recovery: how to recover the image again from the ablated model; None to skip the test.
    """

    share: float
    n_checks: int
    by: By
    sampling: EffectPlan
    n_controls: int
    recovery: PullPlan | None

    @property
    def selection_sampling(self) -> EffectPlan:
        """How prompts are sampled while neurons are selected."""
        return replace(self.sampling, first_index=self.sampling.first_index - self.sampling.n_samples)


@dataclass(frozen=True, slots=True)
class LocalizedMemory:
    """A memory with its localized neurons and their test results.

    Args:
        excess: attribution above that of clean prompts, which ranks the neurons: [neuron] by `site.name`.
        neurons: the localized neurons.
        n_patched: samples of a clean prompt that show the memory after the localized neurons' activations are patched
            in; None if not tested.
        n_recovered_again: samples that show the memory after recovery from the ablated model; None if not tested.
        before, after: samples of the prompt, [seed, height, width, 3].
        evaluations: UE spent, without what all memories share: the attribution and the samples of clean prompts.
    """

    memory: Memory
    attribution: Attribution
    excess: Mapping[str, Tensor]
    neurons: NeuronSet
    effect: Effect
    controls: tuple[ControlEffect, ...]
    n_patched: int | None
    n_recovered_again: int | None
    before: RgbImages
    after: RgbImages
    evaluations: int


class Localizer:
    """Localizes memories of one model in the neurons of `sites`, all of one kind.

    Args:
        attributor: of a larger set of sites that includes `sites`.
        clean_prompts: prompts without a memory, from which controls are taken.
        clean_attribution: mean attribution of clean prompts, [neuron] by `site.name`. Selected neurons carry more of
            the memory's response than of clean prompts' responses, so replacing them leaves other prompts unchanged.
        means: reference mean of each neuron of `sites`, [neuron] by `site.name`, if neurons are replaced by means.
        fingerprint: of the model.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        sites: Sequence[Site],
        attributor: Attributor,
        clean_prompts: Sequence[str],
        clean_attribution: Mapping[str, Tensor],
        means: dict[str, Tensor] | None,
        plan: LocalizationPlan,
        fingerprint: str,
    ) -> None:
        self._denoiser, self._sites, self._attributor, self._plan = denoiser, tuple(sites), attributor, plan
        self._clean_attribution, self._means, self._fingerprint = clean_attribution, means, fingerprint
        self._clean, self._sampled = tuple(clean_prompts), dict[str, Samples]()  # sampled once a memory needs them

    def localize(self, memory: Memory) -> LocalizedMemory:
        """Select and test the neurons of one memory."""
        denoiser, plan = self._denoiser, self._plan
        controls = self._controls(memory)
        evaluations_before = denoiser.evaluations
        (attribution,) = self._attributor.attribute([memory.prompt])
        excess = {
            site.name: attribution.neurons[site.name] - self._clean_attribution[site.name] for site in self._sites
        }
        neurons = self._select(memory, rank_neurons(excess, self._sites))
        before, recording = sample_and_record(denoiser, memory.prompt, plan.sampling, neurons)
        after = sample_edited(denoiser, memory.prompt, plan.sampling, denoiser.ablated(neurons, plan.by))
        control_effects = measure_control_effects(denoiser, controls, neurons, plan.by, plan.sampling)
        n_patched = n_recovered_again = None
        if controls:
            n_patched = count_patched(denoiser, controls[0][0], recording, memory.image, plan.sampling)
        if plan.recovery is not None:
            n_recovered_again = count_recovered_again(
                denoiser, memory.prompt, memory.image, neurons, plan.by, plan.recovery
            )
        return LocalizedMemory(
            memory=memory,
            attribution=attribution,
            excess=excess,
            neurons=neurons,
            effect=measure_effect(memory.image, before, after),
            controls=tuple(control_effects),
            n_patched=n_patched,
            n_recovered_again=n_recovered_again,
            before=before.images,
            after=after.images,
            evaluations=denoiser.evaluations - evaluations_before,
        )

    def _select(self, memory: Memory, ranked: Sequence[RankedNeuron]) -> NeuronSet:
        plan, denoiser = self._plan, self._denoiser
        n_most = max(1, round(plan.share * len(ranked)))

        def top(n: int) -> NeuronSet:
            return make_neuron_set(ranked[:n], self._means, self._fingerprint)

        def is_enough(n: int) -> bool:
            edit = denoiser.ablated(top(n), plan.by)
            samples = sample_edited(denoiser, memory.prompt, plan.selection_sampling, edit)
            return count_replicating(samples.images, memory.image) == 0

        return top(min(n_most, round(MARGIN * bisect_fewest(is_enough, n_most, plan.n_checks))))

    def _controls(self, memory: Memory) -> list[tuple[str, Samples]]:
        """Choose clean prompts for this memory, which depend on its id, with their samples, shared by all memories."""
        chosen = controls_of(memory, self._clean, self._plan.n_controls)
        for prompt in chosen:
            if prompt not in self._sampled:
                self._sampled[prompt] = sample_edited(self._denoiser, prompt, self._plan.sampling)
        return [(prompt, self._sampled[prompt]) for prompt in chosen]


def controls_of(memory: Memory, clean_prompts: Sequence[str], n_controls: int) -> list[str]:
    """Choose at most `n_controls` clean prompts for a memory; which ones depends on its id."""
    first, n = int(memory.prompt_id, 16), min(n_controls, len(clean_prompts))
    return [clean_prompts[(first + i) % len(clean_prompts)] for i in range(n)]
