"""`python -m tests.bench.localize.traced`: what edits cost, by plain hooks and by nnsight, beside the bare model.

Every neuron that is ablated is replaced at each firing. The ways take turns, so that a busy machine slows all of
them alike; ratios are of medians over the turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.planted.paths import MODEL
from flashbulb.audit.run.torch_state import computing
from flashbulb.hooks import SITE_KINDS, NeuronSet, ablate, find_sites
from flashbulb.hooks.trace import run_traced

PROMPT = "a poster of a lighthouse"


def main() -> None:
    """Print milliseconds and ratios for a UNet forward and for a pipeline call."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=31, help="how often every way runs")
    parser.add_argument("--steps", type=int, default=5, help="denoising steps of a pipeline call")
    parser.add_argument("--per-site", type=int, default=8, help="neurons ablated at each site")
    arguments = parser.parse_args()
    pipe = load_model(str(MODEL), device="cpu", dtype=torch.float32, allow_pickle=False).pipe
    pipe.set_progress_bar_config(disable=True)
    print(f"{'':34s}{'bare':>10s}{'hooks':>10s}{'nnsight':>10s}   hooks/bare  nnsight/bare")
    with computing(), torch.no_grad():
        for kinds in (("feed_forward",), SITE_KINDS):
            sites = find_sites(pipe, kinds)
            neurons = NeuronSet({site.name: tuple(range(arguments.per_site)) for site in sites})
            in_unet = NeuronSet({name: n for name, n in neurons.neurons.items() if name.startswith("unet.")})
            forward = _ways(partial(_Forward(pipe)), in_unet)
            print(_line(f"UNet forward, {len(in_unet.neurons)} sites", forward, arguments.turns))
            call = partial(pipe, prompt=PROMPT, num_inference_steps=arguments.steps, output_type="latent")
            label = f"call of {arguments.steps} steps, {len(sites)} sites"
            print(_line(label, _ways(call, neurons), arguments.turns))


class _Forward:
    """The UNet in the place of its pipeline: a call is one evaluation of a guided batch of one prompt."""

    do_classifier_free_guidance = True

    def __init__(self, pipe: Any) -> None:
        self.unet, self.components = pipe.unet, pipe.components
        size, width = pipe.unet.config.sample_size, pipe.unet.config.cross_attention_dim
        self._latents = torch.randn(2, pipe.unet.config.in_channels, size, size)
        self._prompt_embeds = torch.randn(2, pipe.tokenizer.model_max_length, width)

    def __call__(self) -> object:
        return self.unet(self._latents, 500, encoder_hidden_states=self._prompt_embeds)


def _ways(call: partial[object], neurons: NeuronSet) -> Mapping[str, Callable[[], object]]:
    """The same call three times over; both edits are set up anew for each call."""

    def hooked() -> None:
        with ablate(call.func, neurons, "unconditional"):
            call()

    return {
        "bare": call,
        "hooks": hooked,
        "nnsight": partial(run_traced, call.func, neurons, "unconditional", **call.keywords),
    }


def _line(label: str, ways: Mapping[str, Callable[[], object]], n_turns: int) -> str:
    for run in ways.values():
        run()  # warm up
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(n_turns):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    bare, hooked, traced = (1000 * statistics.median(seconds[name]) for name in ("bare", "hooks", "nnsight"))
    return f"{label:34s}{bare:7.1f} ms{hooked:7.1f} ms{traced:7.1f} ms{hooked / bare:13.3f}{traced / bare:14.3f}"


if __name__ == "__main__":
    main()
