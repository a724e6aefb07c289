"""z-scores with gradients are those of the audit, and objectives read the neurons that they say."""

import numpy as np
import pytest
import torch

from flashbulb.audit.ascent.neurons import ChosenNeurons, HighestNeurons, NeuronScores, activations_of
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.statistics.baseline import Z_CLIP, z_scores
from tests.audit.scored import CAPTIONS, TIMESTEP

ROWS = slice(0, 3)


def inputs(scored, prompts=CAPTIONS[:3]):
    latents = scored.denoiser.noise([torch.Generator().manual_seed(5)] * len(prompts))
    return latents, scored.denoiser.encode(prompts).conditioning


def test_small_z_are_those_of_the_audit(scored):
    latents, conditioning = inputs(scored)
    found = scored.scores(latents, conditioning).detach()
    generator = torch.Generator().manual_seed(5)
    recorded = activations_of(scored.denoiser, scored.columns, TIMESTEP, CAPTIONS[:3], generator, batch_size=3)
    expected = torch.tensor(z_scores(recorded, scored.baseline))
    assert found.shape == expected.shape == (3, scored.scores.n_neurons)
    small = expected.abs() < 0.05 * Z_CLIP
    assert small.float().mean() > 0.5
    assert (found - expected)[small].abs().max() < 0.3
    assert np.corrcoef(found.flatten(), expected.flatten())[0, 1] > 0.99


def test_no_z_exceeds_the_clip_but_all_keep_a_gradient(scored):
    strange = scored.baseline.__class__(
        scored.baseline.location, scored.baseline.scale / 100, scored.baseline.components[:0]
    )
    scores = NeuronScores(scored.denoiser, scored.columns, TIMESTEP, strange)
    latents, conditioning = inputs(scored)
    assert scores(latents, conditioning).abs().max() <= Z_CLIP


def test_z_have_the_gradient_of_finite_differences(scored):
    latents, conditioning = inputs(scored)
    embeds = conditioning.tensors["prompt_embeds"]

    def total(prompt_embeds):
        return scored.scores(latents, Conditioning({"prompt_embeds": prompt_embeds})).square().sum()

    direction = torch.randn(embeds.shape, generator=torch.Generator().manual_seed(1))
    moved = embeds.clone().requires_grad_()
    with scored.denoiser.frozen():
        (gradient,) = torch.autograd.grad(total(moved), [moved])
        with torch.no_grad():
            step = 1e-2
            ahead, behind = (total(embeds + s * direction) for s in (step, -step))
    slope = float((ahead - behind) / (2 * step))
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=0.05)


def test_style_is_removed_and_only_style(scored):
    latents, conditioning = inputs(scored)
    z = scored.scores(latents, conditioning).detach()
    components = torch.tensor(scored.baseline.components)
    assert len(components) == 2
    assert (z @ components.T).abs().max() < 1e-2
    assert z.norm(dim=1).min() > 1


def test_mean_over_noise_is_the_mean_of_each(scored):
    _, conditioning = inputs(scored)
    noise = scored.denoiser.noise([torch.Generator().manual_seed(i) for i in range(2)])
    before = scored.denoiser.evaluations
    mean = scored.scores.mean_over_noise(conditioning, noise)
    assert scored.denoiser.evaluations - before == 6
    assert not mean.requires_grad
    each = [scored.scores(noise[i].expand(3, -1, -1, -1), conditioning).detach() for i in range(2)]
    torch.testing.assert_close(mean, (each[0] + each[1]) / 2)


def test_chosen_neurons_are_each_starts_own_with_their_signs(scored):
    latents, conditioning = inputs(scored)
    z = scored.scores(latents, conditioning).detach()
    index, sign = torch.tensor([[0, 1], [7, 3], [100, 5]]), torch.tensor([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])
    expected = torch.stack([(z[i, index[i]] * sign[i]).mean() for i in range(3)])
    objective = ChosenNeurons(scored.scores, index, sign)
    torch.testing.assert_close(objective(latents, conditioning, ROWS), expected)
    later = objective(latents[1:], conditioning.rows(slice(1, 3)), slice(1, 3))
    torch.testing.assert_close(later, expected[1:], rtol=1e-3, atol=1e-3)


class Given:
    """z-scores that are given, in place of a model's."""

    def __init__(self, z):
        self.z = z

    def __call__(self, latents, conditioning):
        return self.z


def objective_of(z, n_highest=2, seen=None, found=None):
    n = z.shape[1]
    seen = torch.ones_like(z) if seen is None else seen
    found = torch.zeros(0, n) if found is None else found
    highest = HighestNeurons(Given(z), n_highest, seen, found)
    return highest(torch.empty(0), Conditioning({}), slice(0, len(z)))


def test_highest_neurons_are_the_highest_of_those_seen():
    z = torch.tensor([[1.0, 5.0, 3.0, 9.0], [4.0, -1.0, 2.0, 0.0]])
    assert objective_of(z).tolist() == [7.0, 3.0]
    seen = torch.tensor([[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]])
    assert objective_of(z, seen=seen).tolist() == [4.0, 1.0]


def test_what_was_found_is_not_climbed_again():
    generator = torch.Generator().manual_seed(0)
    found = torch.linalg.qr(torch.randn(40, 2, generator=generator)).Q.T  # [direction, neuron]
    z = torch.randn(3, 40, generator=generator).requires_grad_()
    objective = objective_of(z, n_highest=5, found=found)
    (gradient,) = torch.autograd.grad(objective.sum(), [z])
    assert gradient.abs().max() > 0.01
    assert (gradient @ found.T).abs().max() < 1e-6
    moved = z.detach() + torch.randn(3, 2, generator=generator) @ found
    torch.testing.assert_close(objective_of(moved, n_highest=5, found=found), objective.detach())


def test_activations_do_not_depend_on_their_batch(scored):
    both = [
        activations_of(scored.denoiser, scored.columns, TIMESTEP, CAPTIONS[:5], torch.Generator().manual_seed(0), size)
        for size in (2, 5)
    ]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-3, atol=1e-3)
