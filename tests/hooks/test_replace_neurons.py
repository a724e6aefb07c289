"""`replace_neurons`, on which every edit builds: values replace neurons, never in place, and all or nothing."""

import pytest
import torch
from torch import nn

from flashbulb.hooks import Site, SiteDidNotFire, replace_neurons


@pytest.fixture(params=["input", "output"])
def site(request):
    return Site("net.1", "net", "1", "feed_forward", 5, request.param)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 5), nn.Linear(5, 2))


def test_values_of_every_broadcastable_shape_are_accepted(net, site):
    x = torch.randn(2, 4, 3)
    for shape in [(), (2,), (4, 2), (1, 4, 2), (2, 1, 1), (2, 4, 2)]:
        values = torch.randn(shape, dtype=torch.float64)
        activation = net[0](x) if site.reads == "input" else net[1](net[0](x))
        expected = activation.clone()
        for row in range(2):
            for position in range(4):
                expected[row, position, [0, 3]] = values.expand(2, 4, 2)[row, position].float()
        expected = net[2](net[1](expected) if site.reads == "input" else expected)
        with replace_neurons({"net.1": net[1]}, [site], {"net.1": [0, 3]}, lambda *_, values=values: values):
            assert torch.equal(net(x), expected)


def test_gradients_flow_through_other_neurons_and_into_the_values(net, site):
    values = torch.ones(2, requires_grad=True)
    x = torch.randn(2, 4, 5, requires_grad=True)
    last = nn.Sequential(nn.Identity(), nn.Identity())
    with replace_neurons({"net.1": last[1]}, [site], {"net.1": [0, 3]}, lambda *_: values):
        last(x).sum().backward()
    assert x.grad[..., [1, 2, 4]].eq(1).all()
    assert x.grad[..., [0, 3]].eq(0).all()
    assert values.grad.eq(8).all()


def test_edit_is_not_in_place(net, site):
    outputs = []
    net[0].register_forward_hook(lambda _m, _a, output: outputs.append((output, output.detach().clone())))
    net[1].register_forward_hook(lambda _m, _a, output: outputs.append((output, output.detach().clone())))
    with replace_neurons({"net.1": net[1]}, [site], {"net.1": [0]}, lambda *_: torch.tensor(9.0)):
        net(torch.randn(2, 4, 3))
    assert len(outputs) == 2
    assert all(torch.equal(output, copy) for output, copy in outputs)


def test_values_are_computed_from_the_site_and_its_complete_activation(net, site):
    calls = []
    x = torch.randn(2, 4, 3)
    with replace_neurons(
        {"net.1": net[1]}, [site], {"net.1": [0]}, lambda s, a: (calls.append((s, a)), a[..., [0]])[1]
    ):
        net(x)
    ((called_site, activation),) = calls
    assert called_site is site
    assert torch.equal(activation, net[0](x) if site.reads == "input" else net[1](net[0](x)))


def test_invalid_replacement_is_refused_and_leaves_no_hooks(net, site):
    modules = {"net.1": net[1]}
    for given_modules, neurons, message in [
        ({}, {"net.1": [0]}, "no module given for 1 sites"),
        (modules, {}, "no neurons selected for net.1"),
        (modules, {"net.1": [0, 5]}, "net.1 has 5 neurons, there is no neuron 5"),
        (modules, {"net.1": [-1]}, "there is no neuron -1"),
    ]:
        with pytest.raises(ValueError, match=message), replace_neurons(given_modules, [site], neurons, lambda *_: None):
            pytest.fail("opened")
    with pytest.raises(SiteDidNotFire), replace_neurons(modules, [site], {"net.1": [0]}, lambda *_: None):
        pass
    assert not net[1]._forward_hooks
    assert not net[1]._forward_pre_hooks
