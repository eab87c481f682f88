"""Excitation Backprop by hand, by conservation of probability, and by laws that its rule obeys."""

import copy
from dataclasses import fields

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.toys import StagedNet, build, pictures
from torch import nn

from livecam.explain import (
    ContrastiveExcitationBackprop,
    ExcitationBackprop,
    GradualExtrapolation,
    Saliency,
    explain,
)
from livecam.explain.methods.excitation_backprop.function_mode import ExcitationMode


class Hand(nn.Module):
    """Methods 4.1's net: x (1, 2), h = relu(W1 x) = (3, 1, 1), one score W2 h, as 1x1 convolutions of one pixel."""

    def __init__(self, outputs=1):
        super().__init__()
        self.same = nn.Conv2d(3, 2, 1, bias=False)
        self.first = nn.Conv2d(2, 3, 1, bias=False)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(3, outputs, bias=False)
        with torch.no_grad():
            self.same.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]])[:, :, None, None])
            self.first.weight.copy_(torch.tensor([[1.0, 1], [2, -0.5], [-1, 1]])[:, :, None, None])
            self.fc.weight[0] = torch.tensor([1.0, -2, 3])
            self.fc.weight[1:] = 1

    def forward(self, images):
        return self.fc(self.relu(self.first(self.same(images))).mean((2, 3)))


X = torch.tensor([1.0, 2, 0]).view(1, 3, 1, 1)


def arriving(net, images, explainer, target):
    """What arrives at every unit of the explainer's layer, ``(N, C, h, w)``."""
    seen = []

    class Spy(type(explainer)):
        def shown(self, found, details):
            seen.append(found)
            return super().shown(found, details)

    options = {f.name: getattr(explainer, f.name) for f in fields(explainer)}
    explain(net, images, [Spy(**options)], target)
    return seen[0]


def test_the_hand_computed_net():
    net = Hand(2).eval()
    at = {"layer": "same"}
    torch.testing.assert_close(
        arriving(net, X, ExcitationBackprop("relu"), 0).flatten(), torch.tensor([0.5, 0, 0.5]), atol=1e-7, rtol=0
    )
    torch.testing.assert_close(arriving(net, X, ExcitationBackprop(**at), 0).flatten(), torch.tensor([1 / 6, 5 / 6]))
    contrastive = ContrastiveExcitationBackprop(**at)
    torch.testing.assert_close(arriving(net, X, contrastive, 0).flatten(), torch.tensor([-5 / 6, 5 / 6]))
    there = ContrastiveExcitationBackprop("relu")
    torch.testing.assert_close(arriving(net, X, there, 0).flatten(), torch.tensor([0.5, -1, 0.5]))


@pytest.mark.parametrize("layer", ["same", "relu"])
def test_one_logit_class_zero_starts_from_negated_weights(layer):
    net = Hand(1).eval()
    one, zero = (arriving(net, X, ContrastiveExcitationBackprop(layer), target) for target in (1, 0))
    torch.testing.assert_close(one, -zero)
    negated = copy.deepcopy(net)
    with torch.no_grad():
        negated.fc.weight.neg_()
    torch.testing.assert_close(
        arriving(net, X, ExcitationBackprop(layer), 0), arriving(negated, X, ExcitationBackprop(layer), 1)
    )


def plain(width=6):
    """conv, pool, conv, pool, linear with biases set to nothing."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 8, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 36, 5, bias=False),
    )


@pytest.mark.parametrize("layer", ["0", "1", "2", "3", "4", "5"])
def test_probability_is_conserved_at_every_layer(layer):
    net, images = build(plain), pictures(3)
    found = explain(net, images, [ExcitationBackprop(layer)])["excitation_backprop"]
    torch.testing.assert_close(found.raw.sum((1, 2)), torch.ones(3), rtol=1e-5, atol=0)
    torch.testing.assert_close(found.details["mass"], torch.ones(3), rtol=1e-5, atol=0)
    assert found.raw.min() >= 0


def test_a_conv_layer_by_plain_loops():
    """P(a_j) = a_j sum_i W+_ij P(y_i) / sum_k W+_ik a_k, unit by unit, for the second convolution."""
    net, images = build(plain).double(), pictures(1, seed=3).double()
    above = arriving(net, images, ExcitationBackprop("3"), 2)[0].numpy()
    below = arriving(net, images, ExcitationBackprop("2"), 2)[0]
    # NumPy's numbers: tensors of one number each would take seconds.
    a = net[:3](images)[0].detach().numpy()
    weight = net[3].weight.detach().clamp(min=0).numpy()
    expected = np.zeros_like(below)
    for o in range(8):
        for i in range(12):
            for j in range(12):
                taps = [
                    (c, i + di - 1, j + dj - 1, weight[o, c, di, dj])
                    for c in range(6)
                    for di in range(3)
                    for dj in range(3)
                    if 0 <= i + di - 1 < 12 and 0 <= j + dj - 1 < 12
                ]
                z = sum(w * a[c, y, x] for c, y, x, w in taps)
                for c, y, x, w in taps:
                    if z > 0:
                        expected[c, y, x] += a[c, y, x] * w * above[o, i, j] / z
    torch.testing.assert_close(below, torch.from_numpy(expected), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layer", ["1", "2", "4"])
def test_without_inhibition_it_is_input_times_gradient(layer):
    """All weights positive and no biases: P at layer a is a dS/da / S exactly."""
    net, images = build(plain), pictures(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_()
    a = net[: int(layer) + 1](images).detach().requires_grad_(True)
    score = net[int(layer) + 1 :](a)[:, 1]
    expected = (a * torch.autograd.grad(score.sum(), a)[0] / score[:, None, None, None]).detach()
    torch.testing.assert_close(arriving(net, images, ExcitationBackprop(layer), 1), expected, rtol=1e-4, atol=1e-9)


def test_rescaling_a_unit_changes_nothing_elsewhere():
    net, images = build(plain), pictures(2)
    other = copy.deepcopy(net)
    with torch.no_grad():
        other[0].weight[2] *= 7.0
        other[3].weight[:, 2] /= 7.0
    for layer in ("2", "4"):
        torch.testing.assert_close(
            arriving(other, images, ExcitationBackprop(layer), 1), arriving(net, images, ExcitationBackprop(layer), 1)
        )


@pytest.mark.parametrize("layer", ["1", "4"])
def test_the_contrast_layer_does_not_matter_where_nothing_is_lost(layer):
    """In double precision; and the sum of the difference is zero."""
    net, images = build(plain).double(), pictures(2).double()
    maps = [
        explain(net, images, [ContrastiveExcitationBackprop("1", contrast_layer=at)], 1).popitem()[1]
        for at in (None, layer, "2")
    ]
    for found in maps[1:]:
        torch.testing.assert_close(found.details["unclamped"], maps[0].details["unclamped"], atol=1e-9, rtol=0)
    assert maps[0].details["unclamped"].sum((1, 2)).abs().max() < 1e-9
    assert torch.equal(maps[0].raw, maps[0].details["unclamped"].relu()) and maps[0].raw.any()


def test_contrast_is_the_difference_of_two_nets_passes():
    """EB(W) - EB(-W) on the last layer alone, by two networks, linear from there on."""
    net, images = build(plain).double(), pictures(2).double()
    negated = copy.deepcopy(net)
    with torch.no_grad():
        negated[7].weight.neg_()
    expected = arriving(net, images, ExcitationBackprop("1"), 3) - arriving(negated, images, ExcitationBackprop("1"), 3)
    found = arriving(net, images, ContrastiveExcitationBackprop("1"), 3)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_a_class_without_rival_is_said():
    net = Hand(2).eval()
    found = explain(net, X, [ContrastiveExcitationBackprop("same")], 1)["contrastive_excitation_backprop"]
    assert found.details["without_rival"].tolist() == [True]
    assert found.details["unclamped"].sum() == pytest.approx(1)


def folded(net):
    """The same function with the batch norm of StagedNet worked into its convolution."""
    other = copy.deepcopy(net)
    scale = net.norm.weight / (net.norm.running_var + net.norm.eps).sqrt()
    with torch.no_grad():
        other.stem.weight.mul_(scale[:, None, None, None])
        other.stem.bias.copy_((net.stem.bias - net.norm.running_mean) * scale + net.norm.bias)
    other.norm = nn.Identity()
    return other


def test_batch_norm_counts_as_part_of_its_convolution():
    net, images = build(StagedNet), pictures()
    with torch.no_grad():
        net.norm.weight.copy_(torch.tensor([1.0, -0.7, 2, -0.1, 0.5, 1]))
        net.norm.bias.normal_(0, 0.3)
        net.norm.running_var.uniform_(0.5, 2)
    explainer = ExcitationBackprop(layer="image")
    one, other = (explain(n, images, [explainer], 1)["excitation_backprop"].raw for n in (net, folded(net)))
    torch.testing.assert_close(one, other)
    assert one.shape[1:] == images.shape[2:]


class Branches(nn.Module):
    """A residual sum of two rectified branches."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)

    def forward(self, images):
        first = F.relu(self.stem(images))
        both = self.conv(first)
        both += first
        return self.fc(F.relu(both).mean((2, 3)))


@pytest.mark.parametrize("residual", ["relu", "signed"])
def test_a_sum_splits_by_what_its_branches_bring(residual):
    net, images = build(Branches).double(), pictures(2).double()
    branch = arriving(net, images, ExcitationBackprop("conv", residual=residual), 1)
    a, s = net.conv(F.relu(net.stem(images))).detach(), F.relu(net.stem(images)).detach()
    y = F.relu(a + s)
    weight = net.fc.weight[1].detach().clamp(min=0)
    # GAP and the linear layer together are linear: P(y) = y W+ / sum of y W+.
    top = y * weight[None, :, None, None]
    top = top / top.sum((1, 2, 3), keepdim=True)
    brought = (a, s) if residual == "signed" else (a.relu(), s)
    expected = torch.where(top > 0, top * brought[0] / (brought[0] + brought[1]).masked_fill(top == 0, 1), 0)
    torch.testing.assert_close(branch, expected, rtol=1e-9, atol=1e-15)


def test_signed_activations_are_refused_with_the_remedy_or_clamped():
    net = build(plain)
    net[1] = nn.LeakyReLU(0.5)
    with pytest.raises(ValueError, match=r"3 reads negative ones.*clamp_negative=True"):
        explain(net, pictures(), [ExcitationBackprop("0")])
    found = explain(net, pictures(), [ExcitationBackprop("0", clamp_negative=True)])["excitation_backprop"]
    torch.testing.assert_close(found.details["mass"], torch.ones(2))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, images):
        tokens = F.relu(self.conv(images)).flatten(2)
        return self.fc((tokens @ tokens.transpose(1, 2)).mean(2))


def test_an_operation_without_a_rule_is_refused_by_name():
    with pytest.raises(ValueError, match="no rule for 'matmul'"):
        explain(build(Attention), pictures(), [ExcitationBackprop("conv")])


def test_bicubic_resizing_is_refused():
    class Enlarged(Attention):
        def forward(self, images):
            big = F.interpolate(F.relu(self.conv(images)), scale_factor=2, mode="bicubic")
            return self.fc(big.mean((2, 3)))

    with pytest.raises(ValueError, match="bicubic"):
        explain(build(Enlarged), pictures(), [ExcitationBackprop("conv")])


def test_it_is_sharpened_as_its_paper_does():
    net, images = build(StagedNet), pictures()
    base = ExcitationBackprop("last")
    found = explain(net, images, [GradualExtrapolation(base), GradualExtrapolation(Saliency())])
    assert found["gradual_excitation_backprop"].raw.shape[1:] == (24, 24)
    assert not found["gradual_excitation_backprop"].details["identity"]
    assert found["gradual_saliency"].details["identity"]


def test_a_contrast_layer_below_the_layer_is_told():
    with pytest.raises(ValueError, match="lies above contrast_layer"):
        explain(build(plain), pictures(), [ContrastiveExcitationBackprop("4", contrast_layer="1")])


def test_the_mode_changes_nothing_that_the_network_computes():
    net, images = build(Branches), pictures()
    expected = net(images)
    with torch.no_grad(), ExcitationMode("relu", False, {}):
        assert torch.equal(net(images), expected)
    with torch.enable_grad(), ExcitationMode("relu", False, {}, leaf := images.clone().requires_grad_(True)):
        assert torch.equal(net(leaf), expected)
