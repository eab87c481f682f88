"""Excitation Backprop and zennit's, which states the same rule for modules only."""

import copy

import pytest
import torch
import torchvision
from helpers.toys import build, pictures

from livecam.explain import ExcitationBackprop, explain

pytestmark = pytest.mark.oracle


def zennits(net, images, target, layer):
    """Their relevance at the output of a layer."""
    from zennit.composites import ExcitationBackprop as Composite
    from zennit.torchvision import ResNetCanonizer

    net = copy.deepcopy(net)
    with torch.no_grad():
        for module in net.modules():
            # In place, a ReLU would overwrite what their hooks and ours keep.
            if isinstance(module, torch.nn.ReLU):
                module.inplace = False
    kept = []
    canonizers = [ResNetCanonizer()] if hasattr(net, "layer4") else []
    with Composite(canonizers=canonizers, zero_params="bias").context(net) as changed:
        changed.get_submodule(layer).register_forward_hook(lambda module, args, output: kept.append(output))
        leaf = images.clone().requires_grad_(True)
        logits = changed(leaf)
        start = torch.zeros_like(logits)
        start[:, target] = 1
        (found,) = torch.autograd.grad(logits, kept[0], start)
    return found.sum(1).detach()


@pytest.mark.parametrize(("name", "layers"), [("vgg11", ["features.9"]), ("resnet18", ["layer3", "layer2"])])
def test_zennit(name, layers, slim_vgg):
    make = slim_vgg if name == "vgg11" else torchvision.models.get_model
    net = build(make, name, **({} if name == "vgg11" else {"weights": None, "num_classes": 10})).double()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # Merged into convolutions by them, but its epsilon stays behind and divides once more.
            module.eps = 0.0
    # Large, so that the epsilon in their denominators is nothing; without biases the shares do not change.
    images = 1e6 * pictures(2, (96, 96)).double()
    for layer in layers:
        theirs = zennits(net, images, 4, layer)
        ours = explain(net, images, [ExcitationBackprop(layer, residual="signed")], 4)["excitation_backprop"].raw
        assert ours.shape == theirs.shape and theirs.sum() > 1.9
        torch.testing.assert_close(ours, theirs, atol=1e-6 * float(theirs.max()), rtol=0)
