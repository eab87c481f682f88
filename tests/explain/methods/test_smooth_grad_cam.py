"""Smooth Grad-CAM++: the definition with autograd alone, what it reduces to, chosen maps and neurons, noise."""

import numpy as np
import pytest
import torch
from helpers.toys import DeepTail, GapNet, StagedNet, build, pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam.core.maps import minmax
from livecam.explain import GradCAMPlusPlus, SmoothGradCAMPlusPlus, explain


def smooth(net, images, targets=1, **kwargs):
    return explain(net, images, [SmoothGradCAMPlusPlus(**kwargs)], targets)["smooth_gradcam_pp"]


def plus_plus(net, images, targets=1, **kwargs):
    return explain(net, images, [GradCAMPlusPlus(**kwargs)], targets)["gradcam_pp"]


@pytest.fixture
def varying():
    """A net and a layer whose gradient varies over positions and with the image, so that noise matters."""
    net = build(DeepTail, seed=3).double()
    with torch.no_grad():
        net.fc.weight.mul_(20)
    return net, pictures(2, (12, 16)).double()


def test_no_samples_is_grad_cam_plus_plus_exactly(varying):
    net, images = varying
    for layer in ("early", "last"):
        ours, theirs = smooth(net, images, layer=layer), plus_plus(net, images, layer=layer)
        assert torch.equal(ours.raw, theirs.raw) and torch.equal(ours.details["singular"], theirs.details["singular"])


def test_no_noise_is_grad_cam_plus_plus(varying):
    net, images = varying
    found = smooth(net, images, layer="early", num_samples=3, std=0.0)
    torch.testing.assert_close(found.raw, plus_plus(net, images, layer="early").raw, rtol=1e-9, atol=1e-12)
    noisy = smooth(net, images, layer="early", num_samples=3, std=0.5)
    assert (noisy.map - found.map).abs().max() > 1e-2


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), std=st.floats(0, 2), num_samples=st.integers(1, 5))
def test_noise_means_nothing_where_the_rest_is_linear(seed, std, num_samples):
    net, images = build(GapNet, seed=seed).double(), pictures(2, seed=seed).double()
    found = smooth(net, images, num_samples=num_samples, std=std, seed=seed)
    torch.testing.assert_close(found.raw, plus_plus(net, images).raw, rtol=1e-8, atol=1e-12)


def by_autograd(net, images, noises, target, numerator="second", exp=False):
    """Equations 7 and 8 on the layer ``early`` with derivatives of the score, or of exp(score), one image at a time."""
    maps = []
    for image in images:
        scale = image.max() - image.min()
        powers = []
        for noise in noises:
            activations = net.early(net.stem(image[None] + scale * noise)).detach().requires_grad_(True)
            score = net.tail(activations)[0, target]
            (g,) = torch.autograd.grad(score, activations)
            powers.append(torch.stack([g, g**2, g**3]) * (score.detach().exp() if exp else 1))
        first, second, third = torch.stack(powers).mean(0)
        clean = net.early(net.stem(image[None])).detach()
        denominator = 2 * second + clean.sum((2, 3), keepdim=True) * third
        numerator_ = second if numerator == "second" else first
        alpha = torch.where(denominator > 1e-3 * second, numerator_ / denominator, 0)
        maps.append(((alpha * first.relu()).sum((2, 3))[:, :, None, None] * clean).sum(1).relu()[0])
    return torch.stack(maps)


def noises(num_samples, std, images):
    """The noise that an explainer drew, read off its own inputs."""
    drawn = []

    class Spy(DeepTail):
        def forward(self, images):
            drawn.append(images)
            return super().forward(images)

    smooth(build(Spy).double(), images[:1], layer="early", num_samples=num_samples, std=std)
    scale = images[0].max() - images[0].min()
    return [(image - images[0]) / scale for image in drawn[-1]]


@pytest.mark.parametrize("numerator", ["second", "first"])
@pytest.mark.parametrize("weighting", ["mean", "exp"])
def test_the_equations_with_noise(varying, numerator, weighting):
    net, images = varying
    with torch.no_grad():
        net.fc.weight.mul_(0.1)
    drawn = noises(4, 0.4, images)
    expected = by_autograd(net, images, drawn, 1, numerator, weighting == "exp")
    found = smooth(
        net,
        images,
        layer="early",
        num_samples=4,
        std=0.4,
        numerator=numerator,
        weighting=weighting,
        internal_batch_size=3,
    )
    torch.testing.assert_close(minmax(found.raw), minmax(expected), atol=1e-9, rtol=0)
    others = {(n, e) for n in ("second", "first") for e in (False, True)} - {(numerator, weighting == "exp")}
    for other in others:
        assert (minmax(found.raw) - minmax(by_autograd(net, images, drawn, 1, *other))).abs().max() > 1e-3, other


@pytest.mark.parametrize("internal_batch_size", [1, 2, 3, 5, 100])
def test_chunks_change_nothing(varying, internal_batch_size):
    net, images = varying
    whole = smooth(net, images, layer="early", num_samples=5, std=0.3)
    part = smooth(net, images, layer="early", num_samples=5, std=0.3, internal_batch_size=internal_batch_size)
    torch.testing.assert_close(part.raw, whole.raw, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("internal_batch_size", [1, 2, 3])
def test_chunks_change_nothing_under_exponential_weights(varying, internal_batch_size):
    net, images = varying
    whole = smooth(net, images, layer="early", num_samples=5, std=0.3, weighting="exp")
    part = smooth(
        net, images, layer="early", num_samples=5, std=0.3, weighting="exp", internal_batch_size=internal_batch_size
    )
    torch.testing.assert_close(minmax(part.raw), minmax(whole.raw), rtol=0, atol=1e-9)


def test_exponential_weights_of_huge_scores_are_finite():
    net, images = build(DeepTail, seed=3), pictures(2, (12, 16))
    with torch.no_grad():
        net.fc.weight.mul_(3000)
    assert net(images).abs().max() > 100
    found = smooth(net, images, layer="early", num_samples=4, std=0.3, weighting="exp")
    assert found.raw.isfinite().all() and not found.degenerate.any()


@pytest.mark.parametrize("weighting", ["mean", "exp"])
def test_what_is_not_finite_in_one_image_stays_there(varying, weighting):
    net, images = varying
    settings = {"layer": "early", "num_samples": 3, "std": 0.2, "weighting": weighting}
    expected = smooth(net, images, **settings).raw
    images = images.clone()
    images[0, 0, 0, 0] = torch.nan
    found = smooth(net, images, **settings).raw
    assert not found[0].isfinite().all()
    torch.testing.assert_close(found[1], expected[1])


def test_full_resolution_gradients_do_not_underflow():
    # g = w/Z = 2e-13 at 224 px: its cube is no float32.
    net, images = build(GapNet), pictures(1, (672, 672))
    with torch.no_grad():
        net.fc.weight.mul_(1e-8)
    found = smooth(net, images, num_samples=2, std=0.1)
    expected = plus_plus(net.double(), images.double())
    assert not found.degenerate.any()
    torch.testing.assert_close(minmax(found.raw).double(), minmax(expected.raw), atol=1e-4, rtol=0)


def test_the_paper_s_example_shows_39_neurons():
    net, images = build(StagedNet), pictures(1, (28, 28))
    settings = {"num_samples": 5, "std": 0.3}
    whole = smooth(net, images, **settings).raw
    assert whole.shape == (1, 14, 14)
    found = smooth(net, images, **settings, region=True, subset=[(0, 10), (12, 12)]).raw
    shown = torch.zeros(14, 14)
    shown[0:13, 10:13] = 1
    assert shown.sum() == 39
    assert torch.equal(found, whole * shown)
    for corners in ([(12, 12), (0, 10)], [(12, 10), (0, 12)], [(0, 12), (12, 10)]):
        assert torch.equal(smooth(net, images, **settings, region=True, subset=corners).raw, found)


def test_single_neurons():
    net, images = build(StagedNet), pictures(2, (28, 28))
    whole = smooth(net, images).raw
    found = smooth(net, images, subset=[(3, 4), (13, 0), (3, 4)]).raw
    shown = torch.zeros(14, 14)
    shown[3, 4] = shown[13, 0] = 1
    assert torch.equal(found, whole * shown)


def test_chosen_feature_maps():
    net, images = build(StagedNet), pictures(2)
    every = smooth(net, images, per_filter=True)
    assert every.details["per_filter"].shape == (2, 8, 12, 12)
    # After a ReLU nothing cancels: the whole is the sum of its maps.
    torch.testing.assert_close(every.details["per_filter"].sum(1), every.raw)
    some = smooth(net, images, filters=[5, 0, 5], per_filter=True)
    assert torch.equal(some.details["per_filter"], every.details["per_filter"][:, [5, 0]])
    torch.testing.assert_close(some.raw, every.details["per_filter"][:, [5, 0]].sum(1))
    one = smooth(net, images, filters=[5], subset=[(1, 1)], per_filter=True)
    assert torch.equal(one.details["per_filter"][:, 0], one.raw) and one.raw.count_nonzero() <= 2
    assert "per_filter" not in smooth(net, images, filters=[5]).details


def test_a_blank_feature_map_is_zeros_and_flagged():
    net, images = build(StagedNet), pictures(2)
    with torch.no_grad():
        net.fc.weight[1, 3] = -1
    found = smooth(net, images, filters=[3])
    assert found.degenerate.all() and found.map.eq(0).all()


def test_seeds_and_global_randomness(varying):
    net, images = varying
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()
    one, again, other = (
        smooth(net, images, layer="early", num_samples=3, std=0.3, seed=seed).raw for seed in (1, 1, 2)
    )
    assert torch.equal(one, again) and not torch.allclose(one, other)
    assert torch.equal(states[0], torch.get_rng_state()) and states[1] == np.random.get_state()[1].tolist()


def test_noise_has_the_spread_that_was_asked_for():
    images = pictures(1, (40, 40)).double()
    for std in (0.15, 0.3):
        drawn = torch.stack(noises(30, std, images))
        assert drawn.std().item() == pytest.approx(std, rel=0.02)
        assert abs(drawn.mean().item()) < 0.01
        assert len({round(noise[0, 0, 0].item(), 6) for noise in drawn}) == 30


def test_absolute_noise_does_not_grow_with_the_image(varying):
    net, images = varying
    spread = float(images[:1].max() - images[:1].min())
    one = smooth(net, images[:1], layer="early", num_samples=3, std=0.2)
    same = smooth(net, images[:1], layer="early", num_samples=3, std=0.2 * spread, noise="absolute")
    torch.testing.assert_close(one.raw, same.raw)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"num_samples": -1}, "num_samples is a whole number from 0"),
        ({"internal_batch_size": 0}, "internal_batch_size is a whole number from 1"),
        ({"std": -0.1}, "std"),
        ({"num_samples": 1.5}, "num_samples is a whole number from 0, got 1.5"),
        ({"internal_batch_size": "8"}, "internal_batch_size is a whole number from 1, got '8'"),
        ({"std": float("nan")}, "std"),
        ({"filters": []}, "filters is a list of feature map numbers"),
        ({"filters": 5}, "filters is a list of feature map numbers"),
        ({"filters": [1.5]}, "filters is a list of feature map numbers"),
        ({"subset": []}, r"subset is a list of \(row, column\)"),
        ({"subset": (0, 0)}, r"subset is a list of \(row, column\)"),
        ({"subset": [(0, 1.7)]}, r"subset is a list of \(row, column\)"),
        ({"region": True}, "two corners"),
        ({"region": True, "subset": [(0, 0), (1, 1), (2, 2)]}, "two corners"),
        ({"numerator": "third"}, "numerator='third'"),
        ({"noise": "relative"}, "noise='relative'"),
        ({"weighting": "exponential"}, "weighting='exponential'"),
    ],
)
def test_wrong_options(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        SmoothGradCAMPlusPlus(**wrong)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"filters": [0, 8]}, "Feature map 8 does not exist: this layer has 8, 0 to 7"),
        ({"filters": [-1]}, "Feature map -1"),
        ({"subset": [(0, 12)]}, r"Neuron \(0, 12\) lies outside of this layer's 12 x 12 map"),
        ({"region": True, "subset": [(0, 0), (-1, 3)]}, r"Neuron \(-1, 3\)"),
    ],
)
def test_what_the_layer_does_not_have(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        smooth(build(StagedNet), pictures(1), **wrong)
