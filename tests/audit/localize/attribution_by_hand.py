"""Attributions by a loop over points and seeds, with the hooks of torch alone."""

import torch

from flashbulb.hooks import SITE_KINDS, find_sites

TIMESTEP = 981


def encoders_of(pipe):
    """The text encoders with their tokenizers."""
    pairs = [(pipe.text_encoder, pipe.tokenizer)]
    return [*pairs, (pipe.text_encoder_2, pipe.tokenizer_2)] if hasattr(pipe, "text_encoder_2") else pairs


def input_ids(tokenizer, prompt):
    return tokenizer([prompt], padding="max_length", truncation=True, return_tensors="pt").input_ids


def conditioning_by_hand(pipe, prompt):
    """What the UNet is given of the token embeddings that hooks put in; pooled text is of the prompt's end token."""
    outputs = [
        encoder(input_ids(tokenizer, prompt), output_hidden_states=True) for encoder, tokenizer in encoders_of(pipe)
    ]
    if len(outputs) == 1:
        return {"encoder_hidden_states": outputs[0][0]}
    embeds = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
    added = {"text_embeds": outputs[1][0], "time_ids": torch.tensor([[16.0, 16, 0, 0, 16, 16]])}
    return {"encoder_hidden_states": embeds, "added_cond_kwargs": added}


def run_by_hand(pipe, sites, prompt, token_embeddings, latents):
    """Return the prediction for token embeddings [1, position, width] and the sites' activations, on the graph."""
    activations, handles = {}, []
    for (encoder, _), vectors in zip(encoders_of(pipe), token_embeddings, strict=True):
        embedding = encoder.get_input_embeddings()
        handles.append(embedding.register_forward_hook(lambda *_, vectors=vectors: vectors))
    for site in sites:
        module = getattr(pipe, site.component).get_submodule(site.module_path)
        name = site.name
        if site.reads == "input":
            keep = module.register_forward_pre_hook(lambda _m, args, name=name: activations.update({name: args[0]}))
        else:
            keep = module.register_forward_hook(lambda _m, _a, out, name=name: activations.update({name: out}))
        handles.append(keep)
    output = pipe.unet(latents, TIMESTEP, **conditioning_by_hand(pipe, prompt)).sample
    for handle in handles:
        handle.remove()
    return output, activations


def attribute_by_hand(pipe, prompt, plan):
    """Return the response and its attribution by site [position, neuron] and by token, one point and seed at a time."""
    sites = find_sites(pipe, SITE_KINDS)
    empty, full = (
        [
            encoder.get_input_embeddings()(input_ids(tokenizer, text)).detach()
            for encoder, tokenizer in encoders_of(pipe)
        ]
        for text in ("", prompt)
    )
    by_neuron = {site.name: 0.0 for site in sites}
    by_token, response = torch.zeros(empty[0].shape[1]), 0.0
    for seed in range(plan.n_seeds):
        generator = torch.Generator().manual_seed(plan.run_seed * 1_000_003 + seed)
        latents = torch.randn(1, 4, 8, 8, generator=generator)
        empty_prediction, at_empty = run_by_hand(pipe, sites, "", empty, latents)
        _, at_prompt = run_by_hand(pipe, sites, prompt, full, latents)
        for point in range(1, plan.n_points + 1):
            share = point / plan.n_points
            path_point = [(a + share * (b - a)).requires_grad_() for a, b in zip(empty, full, strict=True)]
            prediction, here = run_by_hand(pipe, sites, prompt, path_point, latents)
            norm = (prediction - empty_prediction.detach()).square().sum().sqrt()
            gradients = torch.autograd.grad(norm, [*here.values(), *path_point], materialize_grads=True)
            for name, gradient in zip(here, gradients[: len(here)], strict=True):
                difference = at_prompt[name].detach() - at_empty[name].detach()
                by_neuron[name] = by_neuron[name] + (difference * gradient)[0] / (plan.n_seeds * plan.n_points)
            for a, b, gradient in zip(empty, full, gradients[len(here) :], strict=True):
                for position in range(len(by_token)):
                    step = b[0, position] - a[0, position]
                    by_token[position] += torch.dot(step, gradient[0, position]) / (plan.n_seeds * plan.n_points)
        response += float(norm.detach()) / plan.n_seeds  # the last point is the prompt
    return response, by_neuron, by_token
