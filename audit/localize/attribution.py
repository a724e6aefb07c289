"""Attribution of the model's response to a prompt, to its neurons and to its tokens, from one backward pass.

The response J is the norm of the text-conditional prediction ‖ε_c − ε_∅‖ at x_T (Wen et al., ICLR 2024), in what the
model was trained to predict. ε_∅ is of the empty prompt, also in models whose guidance compares with zeros. A neuron's
attribution is (a − a_∅) · ∂J/∂a, summed over positions and averaged over seeds. The gradient is averaged along the
straight path of token embeddings from the empty prompt to the prompt (integrated gradients, arXiv 1703.01365, and
conductance, arXiv 1805.12233): at the prompt itself the response is saturated and the gradient points elsewhere.

An encoder that pools its text at the end token pools where the prompt ends, all along the path. So where pooled text is
read, the response at the start of the path is not 0, and the tokens account for the rest of the response.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flashbulb.audit.model.conditioning import EncodedPrompts
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.evaluations import BACKWARD_COST
from flashbulb.audit.run.shortage import ShrinkingBatches
from flashbulb.hooks import Site, observe
from flashbulb.hooks.recorder import require_finite


@dataclass(frozen=True, slots=True)
class AttributionPlan:
    """How a response is attributed.

    Args:
        timestep: the scheduler's t of x_T.
        n_seeds: number of initial latents x_T that the attribution is averaged over.
        n_points: points on the path from the empty prompt to the prompt; the last point is the prompt itself.
        batch_size: latents in one call of the denoiser.
    """

    run_seed: int
    timestep: float
    n_seeds: int
    n_points: int
    batch_size: int

    @property
    def evaluations(self) -> int:
        """UE of one prompt; the `n_seeds` UE of the empty prompt are spent once for all prompts."""
        return (1 + BACKWARD_COST) * self.n_seeds * self.n_points


@dataclass(frozen=True, slots=True)
class Attribution:
    """The response to one prompt and its attribution.

    Args:
        response: J at the prompt, mean over seeds.
        neurons: by `site.name`, attribution of each neuron: [neuron].
        positions: by `site.name` of prompt sites, attribution of each position: [position].
        tokens: attribution of each input token's difference from the empty prompt's token, summed over text encoders,
            which read the same positions: [position].
    """

    response: float
    neurons: Mapping[str, Tensor]
    positions: Mapping[str, Tensor]
    tokens: Tensor


def average_neurons(attributions: Sequence[Attribution]) -> dict[str, Tensor]:
    """Average the attributions of neurons over prompts: [neuron] by `site.name`."""
    names = attributions[0].neurons
    return {name: torch.stack([prompt.neurons[name] for prompt in attributions]).mean(dim=0) for name in names}


class Attributor:
    """Attributes responses of one model to the neurons of `sites`."""

    def __init__(self, denoiser: Denoiser, sites: Sequence[Site], plan: AttributionPlan) -> None:
        self._denoiser, self._sites, self._plan = denoiser, tuple(sites), plan
        self._batches = ShrinkingBatches(plan.batch_size, "attribution")
        self._modules = denoiser.modules(sites)
        self._latents = denoiser.initial_latents(plan.run_seed, range(plan.n_seeds))
        self._empty_activations: dict[str, Tensor] = {}  # [seed or 1, position, neuron] by site.name
        with torch.no_grad(), observe(self._modules, self._sites, self._keep_empty):
            empty = denoiser.encode([""])
            conditioning = empty.conditioning.repeat(plan.n_seeds)
            self._empty_prediction = denoiser.predict(self._latents, plan.timestep, conditioning).native.float()
        self._empty_embeddings = {  # [1, position, width] by text encoder
            name: embeddings.float() for name, embeddings in denoiser.token_embeddings(empty).items()
        }

    def _keep_empty(self, site: Site, activation: Tensor) -> None:
        self._empty_activations[site.name] = activation.float()

    def attribute(self, prompts: Sequence[str]) -> list[Attribution]:
        """Attribute the response to each prompt; prompts do not influence one another.

        Raises:
            NonFiniteActivation: a gradient is not finite.
        """
        attributions: list[Attribution] = []

        def attribute_next(batch_size: int) -> list[Attribution]:
            first, per_call = len(attributions), max(1, batch_size // (self._plan.n_seeds * self._plan.n_points))
            return self._attribute_batch(prompts[first : first + per_call])

        with self._denoiser.frozen():
            while len(attributions) < len(prompts):
                attributions += self._batches.call(attribute_next)
        return attributions

    def _attribute_batch(self, prompts: Sequence[str]) -> list[Attribution]:
        """Attribute one batch; text encoders read rows [prompt, point], the denoiser rows [prompt, point, seed]."""
        plan, denoiser, n = self._plan, self._denoiser, len(prompts)
        encoded = denoiser.encode([prompt for prompt in prompts for _ in range(plan.n_points)])
        start, embeddings = self._empty_embeddings, denoiser.token_embeddings(encoded)
        difference = {name: embeddings[name].float() - start[name] for name in start}
        share = (torch.arange(1, plan.n_points + 1, device=denoiser.device) / plan.n_points).repeat(n)[:, None, None]
        path = {name: (start[name] + share * difference[name]).requires_grad_() for name in start}
        activations: dict[str, Tensor] = {}

        def keep(site: Site, activation: Tensor) -> None:
            activations[site.name] = activation

        with observe(self._modules, self._sites, keep), denoiser.counting_backward():
            response = self._response(path, encoded)  # [prompt, point, seed]
        inputs = [*(activations[site.name] for site in self._sites), *path.values()]
        # layers that the model does not read, such as those that clip skip leaves out, run: their gradients are 0
        gradients = torch.autograd.grad(response.sum(), inputs, materialize_grads=True)
        site_gradients, path_gradients = gradients[: len(self._sites)], gradients[len(self._sites) :]
        require_finite("gradients", *gradients)
        at_prompt = response[:, -1].detach().mean(dim=1)
        by_encoder = [
            self._attribute_tokens(step, gradient, n)
            for step, gradient in zip(difference.values(), path_gradients, strict=True)
        ]
        by_token = torch.stack(by_encoder).sum(dim=0)
        by_site = {  # [prompt, position, neuron]
            site: self._attribute_site(site, activations[site.name].detach(), gradient, n)
            for site, gradient in zip(self._sites, site_gradients, strict=True)
        }
        return [
            Attribution(
                response=float(at_prompt[i]),
                neurons={site.name: values[i].sum(dim=0).cpu() for site, values in by_site.items()},
                positions={
                    site.name: values[i].sum(dim=1).cpu() for site, values in by_site.items() if site.is_prompt_site
                },
                tokens=by_token[i].cpu(),
            )
            for i in range(n)
        ]

    def _response(self, path: Mapping[str, Tensor], prompts: EncodedPrompts) -> Tensor:
        """Compute J at every point of the path with every seed: [prompt, point, seed]."""
        plan, denoiser = self._plan, self._denoiser
        conditioning = denoiser.encode_from(path, prompts).repeat(plan.n_seeds)
        latents = self._latents.repeat(len(prompts), 1, 1, 1)
        prediction = denoiser.predict(latents, plan.timestep, conditioning)
        difference = prediction.native.float() - self._empty_prediction.repeat(len(prompts), 1, 1, 1)
        norm: Tensor = difference.flatten(1).norm(dim=1)
        return norm.reshape(-1, plan.n_points, plan.n_seeds)

    def _attribute_tokens(self, difference: Tensor, gradient: Tensor, n_prompts: int) -> Tensor:
        """Return the attribution [prompt, position] of the tokens of one text encoder."""
        by_point = (difference * gradient.float()).sum(dim=2).reshape(n_prompts, self._plan.n_points, -1)
        return by_point.mean(dim=1) / self._plan.n_seeds

    def _attribute_site(self, site: Site, activation: Tensor, gradient: Tensor, n_prompts: int) -> Tensor:
        """Return the attribution [prompt, position, neuron] from the activations and gradients of all rows."""
        n_points, n_seeds = self._plan.n_points, self._plan.n_seeds
        n_site_seeds = len(activation) // (n_prompts * n_points)  # 1 in a text encoder, which sees no latents
        shape = (n_prompts, n_points, n_site_seeds, *activation.shape[1:])
        empty = self._empty_activations[site.name][:n_site_seeds]  # rows of a text encoder are all equal
        difference = activation.float().reshape(shape)[:, -1] - empty  # [prompt, seed, position, neuron]
        mean_gradient = gradient.float().reshape(shape).mean(dim=1)
        return (difference * mean_gradient).sum(dim=1) / n_seeds
