"""Toy pipelines to edit, and a slow oracle for the edits: custom modules that replace the sites."""

from collections.abc import Callable, Mapping, Sequence

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from flashbulb.hooks import SITE_KINDS, NeuronSet, Site, find_sites, site_modules
from tests.toy import build_toy_pipe, build_toy_xl_pipe

BUILDERS: Mapping[str, Callable[[], DiffusionPipeline]] = {
    "epsilon": build_toy_pipe,
    "v_prediction": lambda: build_toy_pipe(prediction_type="v_prediction", use_linear_projection=True),
    "xl": build_toy_xl_pipe,
}
PROMPT = "a red star"
N_STEPS = 2


def call_arguments(prompts: str | Sequence[str] = PROMPT, **changes: object) -> dict[str, object]:
    """Return the arguments of a short call; the n-th prompt always starts from the same latents."""
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    n_images = changes.get("num_images_per_prompt", 1) * len(prompts)
    generators = [torch.Generator().manual_seed(seed) for seed in range(n_images)]
    call = {"prompt": prompts, "num_inference_steps": N_STEPS, "generator": generators, "output_type": "latent"}
    return call | changes


def sample(pipe: DiffusionPipeline, prompts: str | Sequence[str] = PROMPT, **changes: object) -> Tensor:
    """Return the latents [image, channel, height, width] at the end of a short call."""
    return pipe(**call_arguments(prompts, **changes)).images


def some_neurons(pipe: DiffusionPipeline, kinds: Sequence[str] = SITE_KINDS, share: int = 3) -> NeuronSet:
    """Select every `share`-th neuron of every site of `kinds`, with means that differ from neuron to neuron."""
    neurons = {site.name: tuple(range(0, site.n_neurons, share)) for site in find_sites(pipe, kinds)}
    means = {name: tuple((number % 7 - 3) / 4 for number in numbers) for name, numbers in neurons.items()}
    return NeuronSet(neurons, means)


def n_hooks(pipe: DiffusionPipeline) -> int:
    """Count the forward hooks of all components."""
    modules = [m for part in pipe.components.values() if isinstance(part, nn.Module) for m in part.modules()]
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)


class _EditedModule(nn.Module):
    """Wraps the module of a site and changes its neurons one by one, before or after it."""

    def __init__(self, inner: nn.Module, site: Site, change: Callable[[Tensor, int], Tensor]) -> None:
        super().__init__()
        self.inner, self.site, self.change = inner, site, change
        self.n_firings = 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.change(x, self.n_firings) if self.site.reads == "input" else self.inner(x)
        x = self.inner(x) if self.site.reads == "input" else self.change(x, self.n_firings)
        self.n_firings += 1
        return x


def edit_by_hand_(pipe: DiffusionPipeline, neurons: NeuronSet, by: str, *, guided: bool = True) -> DiffusionPipeline:
    """Ablate `neurons` in `pipe` for one call, with a loop over rows and neurons in custom modules.

    A text encoder encodes the prompt first and the negative prompt second; only the prompt is edited.
    """
    sites = [site for site in find_sites(pipe, SITE_KINDS) if site.name in neurons.neurons]
    empty = _empty_prompt_activations(pipe, [site for site in sites if site.kind == "text_mlp"])

    def change(site: Site, activation: Tensor, n_firings: int) -> Tensor:
        is_text = site.kind == "text_mlp"
        if is_text and n_firings % 2:
            return activation
        changed = activation.clone()
        n_unconditional = len(activation) // 2 if guided and not is_text else 0
        for row in range(n_unconditional, len(activation)):
            for index, neuron in enumerate(neurons.neurons[site.name]):
                if by == "zero":
                    changed[row, :, neuron] = 0
                elif by == "mean":
                    changed[row, :, neuron] = neurons.means[site.name][index]
                elif is_text:
                    changed[row, :, neuron] = empty[site.name][0, :, neuron]
                else:
                    changed[row, :, neuron] = activation[row - n_unconditional, :, neuron]
        return changed

    for site, module in zip(sites, site_modules(pipe, sites).values(), strict=True):
        parent, _, name = site.module_path.rpartition(".")
        replacement = _EditedModule(module, site, lambda x, n, site=site: change(site, x, n))
        setattr(getattr(pipe, site.component).get_submodule(parent), name, replacement)
    return pipe


@torch.no_grad()
def _empty_prompt_activations(pipe: DiffusionPipeline, sites: Sequence[Site]) -> dict[str, Tensor]:
    activations: dict[str, Tensor] = {}
    for site, module in zip(sites, site_modules(pipe, sites).values(), strict=True):
        encoder = getattr(pipe, site.component)
        tokenizer = getattr(pipe, site.component.replace("text_encoder", "tokenizer"))
        ids = tokenizer([""], padding="max_length", truncation=True, return_tensors="pt").input_ids
        handle = module.register_forward_pre_hook(lambda _m, args, site=site: activations.update({site.name: args[0]}))
        encoder(ids)
        handle.remove()
    return activations
