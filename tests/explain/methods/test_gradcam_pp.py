"""Grad-CAM++: toys by hand, the textbook's derivatives one by one, and what must not pass for it."""

import pytest
import torch
from helpers.toys import DeepTail, GapNet, Given, build, pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam.core.maps import minmax
from livecam.explain import GradCAMPlusPlus, explain


def pp(net, images, targets=0, **kwargs):
    return explain(net, images, [GradCAMPlusPlus(**kwargs)], targets)["gradcam_pp"]


def one_channel(cells, weight):
    """A net that shows ``cells`` as its first channel, weighed by ``weight``."""
    images = torch.zeros(1, 3, *torch.tensor(cells).shape)
    images[0, 0] = torch.tensor(cells)
    return build(Given, torch.tensor([[weight, 0.0, 0.0], [0.0, 0.0, 0.0]])), images


def test_toy_by_hand():
    # Z = 4, g = 2/4, sum A = 8: alpha = .25 / (.5 + 8 * .125) = 1/6, weight = 4 * 1/6 * .5 = 1/3.
    cells = [[1.0, 2.0], [3.0, 2.0]]
    torch.testing.assert_close(pp(*one_channel(cells, 2.0)).raw, torch.tensor([cells]) / 3)


def test_negative_weights_count_nothing():
    assert pp(*one_channel([[1.0, 2.0], [3.0, 2.0]], -2.0)).degenerate.all()


def textbook(tail, activations, target, cube_inside=False):
    """Eq. 3-5 in float64: first to third derivative of Y = exp(S) with respect to one activation at a time."""
    derivatives = torch.zeros(3, activations.numel(), dtype=torch.float64)
    for i in range(activations.numel()):
        step = torch.zeros((), dtype=torch.float64, requires_grad=True)
        bump = torch.zeros(activations.numel(), dtype=torch.float64)
        bump[i] = 1
        value = tail(activations + step * bump.view_as(activations))[0, target].exp()
        for order in range(3):
            (value,) = torch.autograd.grad(value, step, create_graph=True)
            derivatives[order, i] = value.detach()
    first, second, third = (d.view_as(activations) for d in derivatives)
    if cube_inside:
        inner = (activations * third).sum((2, 3), keepdim=True)
    else:
        inner = activations.sum((2, 3), keepdim=True) * third
    denominator = 2 * second + inner
    alpha = torch.where(second > 0, second / denominator.masked_fill(second == 0, 1), 0)
    return first, alpha


def rectified_map(weights, activations):
    return minmax((weights[:, :, None, None] * activations).sum(1).relu())


def far(one, other):
    return float((one - other).abs().max())


@pytest.fixture(scope="module")
def non_final():
    """A layer whose gradient varies over positions, and everything the textbook says there."""
    net = build(DeepTail, seed=3).double()
    images = pictures(1, (12, 12)).double()
    with torch.no_grad():
        net.fc.weight.mul_(20)
        activations = net.early(net.stem(images))
    # Replaying the tail on detached activations: this oracle shares no code with the library.
    first, alpha = textbook(net.tail, activations, 1)
    return net, images, activations, first, alpha


def test_textbook_derivatives_at_a_layer_with_varying_gradient(non_final):
    net, images, activations, first, alpha = non_final
    used = alpha[first > 0]
    assert used.max() - used.min() > 0.1, "the toy must make alpha matter"
    expected = rectified_map((alpha * first.relu()).sum((2, 3)), activations)
    found = pp(net, images, 1, layer="early")
    assert found.map.shape == (1, 12, 12)
    torch.testing.assert_close(minmax(found.raw), expected, atol=1e-9, rtol=0)
    single = pp(net.float(), images.float(), 1, layer="early")
    net.double()
    torch.testing.assert_close(minmax(single.raw).double(), expected, atol=1e-5, rtol=0)


def test_look_alikes_are_told_apart(non_final):
    net, images, activations, first, _ = non_final
    found = minmax(pp(net, images, 1, layer="early").raw)
    half = rectified_map((0.5 * first.relu()).sum((2, 3)), activations)
    uniform = rectified_map(torch.ones_like(first[:, :, 0, 0]), activations)
    cube = rectified_map(first.relu().pow(3).sum((2, 3)), activations)
    _, inside = textbook(net.tail, activations, 1, cube_inside=True)
    cube_inside = rectified_map((inside * first.relu()).sum((2, 3)), activations)
    for name, other in {"1/2": half, "uniform": uniform, "cube": cube, "cube inside": cube_inside}.items():
        assert far(found, other) > 1e-2, name


def test_look_alikes_are_told_apart_on_a_gap_head():
    net, images = build(GapNet), pictures()
    with torch.no_grad():
        net.fc.weight.mul_(10)
        features = net.features(images)
    weight = net.fc.weight[0].detach().expand(2, -1)
    exact = rectified_map(weight.relu() / (2 + weight * features.mean((2, 3))), features)
    found = minmax(pp(net, images).raw)
    torch.testing.assert_close(found, exact, atol=1e-5, rtol=0)
    assert far(found, rectified_map(weight.relu() / 2, features)) > 1e-2
    assert far(found, rectified_map(torch.ones_like(weight), features)) > 1e-2


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_normalized_alpha_on_a_gap_head_is_grad_cam_without_negative_channels(seed):
    net, images = build(GapNet, seed=seed), pictures(2, (18, 24), seed)
    features = net.features(images).detach()
    weights = net.fc.weight[1].relu().detach() / features[0, 0].numel()
    expected = (weights[None, :, None, None] * features).sum(1)
    torch.testing.assert_close(pp(net, images, 1, normalize_alpha=True).raw, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("mean", "singular"), [(-1.0, True), (-0.99985, True), (-0.99, False), (-1.5, True)])
def test_a_vanishing_denominator_counts_nothing_and_is_counted(mean, singular):
    # den = 2 + sum(A) g = 2 + 2 * mean for one weight of 2; negative beyond, where alpha would change its sign.
    cells = [[mean + 1, mean - 1], [mean, mean]]
    found = pp(*one_channel(cells, 2.0))
    assert found.details["singular"].tolist() == [4 * singular]
    expected = torch.zeros(1, 2, 2) if singular else (torch.tensor([cells]) * 2 / (2 + 2 * mean)).relu()
    torch.testing.assert_close(found.raw, expected, rtol=1e-4, atol=1e-6)


def test_rectified_activations_are_never_singular():
    found = pp(build(GapNet), pictures(5), 3)
    assert found.details["singular"].tolist() == [0] * 5


def test_full_resolution_survives_where_an_epsilon_would_not():
    weight = torch.tensor([[4.0, 1.0, 0.5], [0.0, 0.0, 0.0]])
    images = pictures(1, (224, 224)).relu() * torch.tensor([0.2, 3.0, 8.0])[:, None, None]
    mean = images.double().mean((2, 3))
    exact = rectified_map(weight[:1].double() / (2 + weight[:1].double() * mean), images.double())
    found = minmax(pp(build(Given, weight), images).raw)
    torch.testing.assert_close(found.double(), exact, atol=1e-5, rtol=0)
    # The widespread form alpha = g^2 / (2 g^2 + sum(A) g^3 + 1e-6), for comparison.
    g = (weight[:1] / 224**2).double()
    alpha = g**2 / (2 * g**2 + images.double().sum((2, 3)) * g**3 + 1e-6)
    assert far(found, rectified_map(alpha * g, images.double())) > 0.1
