"""Gradients of pixels and captum's, on random torchvision networks and on a trained one."""

import copy

import pytest
import torch
import torchvision
from helpers.toys import build, pictures
from torch import nn

from livecam.explain import (
    Deconvnet,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    Saliency,
    SmoothGrad,
    explain,
)

pytestmark = pytest.mark.oracle

CASES = ["vgg11", "resnet18", "squeezenet", "mobilenet"]


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A net in double precision, images and targets."""
    if request.param in ("squeezenet", "mobilenet"):
        # A quarter of the pixels that these networks were trained on: derivatives are compared, not answers.
        net, (images, targets) = (
            request.getfixturevalue(request.param),
            request.getfixturevalue("photos_at")(112, (0, 1)),
        )
        return copy.deepcopy(net).double(), images.double(), targets
    if request.param == "vgg11":
        net = build(request.getfixturevalue("slim_vgg"), "vgg11")
    else:
        net = build(torchvision.models.get_model, request.param, weights=None, num_classes=10)
    return net.double(), pictures(2, (64, 64)).double(), torch.tensor([3, 7])


def for_captum(net):
    """A copy whose ReLUs are not in place, as their hooks need."""
    net = copy.deepcopy(net)
    for module in net.modules():
        if isinstance(module, nn.ReLU | nn.ReLU6):
            module.inplace = False
    return net


def agree(ours, theirs, tolerance=1e-6):
    assert theirs.abs().max() > 0
    torch.testing.assert_close(ours, theirs.detach(), atol=tolerance * float(theirs.detach().abs().max()), rtol=0)


def test_saliency_and_input_x_gradient(case):
    from captum.attr import InputXGradient as Product
    from captum.attr import Saliency as Gradient

    net, images, targets = case
    found = explain(net, images, [Saliency(), InputXGradient()], targets)
    other, leaf = for_captum(net), images.clone().requires_grad_(True)
    agree(found["saliency"].raw, Gradient(other).attribute(leaf, targets, abs=True).amax(1))
    agree(found["input_x_gradient"].raw, Product(other).attribute(leaf, targets).sum(1))


def test_integrated_gradients_at_equal_nodes(case):
    from captum.attr import IntegratedGradients as Theirs

    net, images, targets = case
    ours = explain(net, images, [IntegratedGradients(6)], targets)["integrated_gradients"]
    theirs, delta = Theirs(for_captum(net)).attribute(
        images, target=targets, n_steps=6, method="riemann_middle", return_convergence_delta=True
    )
    agree(ours.details["attribution"], theirs)
    # Without biases the quadrature is exact, and what is left is the rounding of their float32 sums.
    torch.testing.assert_close(ours.details["convergence_delta"], delta.double(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("ours", "name"), [(GuidedBackprop(), "GuidedBackprop"), (Deconvnet(), "Deconvolution")])
def test_guided_and_deconvnet(case, ours, name):
    import captum.attr

    net, images, targets = case
    other = for_captum(net)
    if any(isinstance(module, nn.ReLU6) for module in net.modules()):
        theirs = _by_hooks(other, images, targets, guided=name == "GuidedBackprop")
    else:
        leaf = images.clone().requires_grad_(True)
        theirs = getattr(captum.attr, name)(other).attribute(leaf, targets)
    agree(explain(net, images, [ours], targets)[ours.name].details["gradient"], theirs)


def _by_hooks(net, images, targets, guided):
    """The same rule for ReLU6, which captum leaves alone, by hooks of our own."""
    for module in net.modules():
        if isinstance(module, nn.ReLU6):
            if guided:
                module.register_full_backward_hook(lambda _, grad_in, __: (grad_in[0].relu(),))
            else:
                module.register_full_backward_hook(lambda _, __, grad_out: (grad_out[0].relu(),))
    leaf = images.clone().requires_grad_(True)
    return torch.autograd.grad(net(leaf).gather(1, targets[:, None]).sum(), leaf)[0]


@pytest.mark.parametrize("name", ["densenet121", "googlenet", "inception_v3"])
def test_functional_relus_are_not_missed(name):
    """Every rectifier call is caught: as many as torch is asked for, by patching it."""
    extra = {} if name == "densenet121" else {"aux_logits": True, "init_weights": False}
    net = build(torchvision.models.get_model, name, weights=None, **extra)
    expected = {"densenet121": 121, "googlenet": 57, "inception_v3": 94}[name]
    found = explain(net, pictures(1, (96, 96)), [GuidedBackprop()])["guided_backprop"]
    assert found.details["rectifiers"] == expected


def test_captum_misses_the_functional_relu_of_densenet():
    import captum.attr

    net, images = build(torchvision.models.densenet121, weights=None).double(), pictures(1, (64, 64)).double()
    theirs = captum.attr.GuidedBackprop(for_captum(net)).attribute(images.clone().requires_grad_(True), 3)
    ours = explain(net, images, [GuidedBackprop()], 3)["guided_backprop"].details["gradient"]
    assert (ours - theirs).abs().max() > 0.05 * theirs.abs().max()


@pytest.mark.parametrize("case", ["resnet18"], indirect=True)
def test_smoothgrad_and_captums_noise_tunnel(case):
    """Different noise, so only as near as two halves of ours are to each other."""
    from captum.attr import NoiseTunnel
    from captum.attr import Saliency as Gradient

    net, images, targets = case
    one, other = (
        explain(net, images, [SmoothGrad(num_samples=8, std=0.3, noise="absolute", seed=seed)], targets)["smoothgrad"]
        for seed in (0, 1)
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = NoiseTunnel(Gradient(for_captum(net))).attribute(
            images, nt_type="smoothgrad", nt_samples=8, stdevs=0.3, target=targets, abs=False
        )
    ours = one.details["gradient"]
    apart = (ours - other.details["gradient"]).norm()
    assert 0.7 * apart < (ours - theirs).norm() < 1.4 * apart
