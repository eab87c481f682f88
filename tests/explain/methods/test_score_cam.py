"""Score-CAM: a naive re-derivation, linear and constant networks, skipped channels, chunks and half precision."""

import pytest
import torch
import torch.nn.functional as F
from helpers.toys import GapNet, Given, StagedNet, build, pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from livecam.core.maps import minmax
from livecam.explain import ScoreCAM, explain

WEIGHTINGS = ["softmax_logit", "prob", "logit_diff"]


def score_cam(net, images, targets=None, **kwargs):
    return explain(net, images, [ScoreCAM(**kwargs)], targets)["scorecam"]


def loud(net, factor=40.0):
    """Weights so large that masked images score differently: with random ones all channels weigh alike."""
    with torch.no_grad():
        net.fc.weight.mul_(factor)
    return net


def naive(net, image, target, weighting, scale_first=False):
    """The definition for one image, channel by channel; every channel takes part, constant ones too."""
    with torch.no_grad():
        channels, blank = net.features(image)[0], net(torch.zeros_like(image))[0]
        weights = []
        for channel in channels:
            size = image.shape[-2:]
            mask = F.interpolate(channel[None, None], size, mode="bilinear", align_corners=False)[0, 0]
            if scale_first:
                low, high = channel.min(), channel.max()
                unit = (channel - low) / (high - low) if high > low else torch.zeros_like(channel)
                mask = F.interpolate(unit[None, None], size, mode="bilinear", align_corners=False)[0, 0]
            elif mask.max() > mask.min():
                mask = (mask - mask.min()) / (mask.max() - mask.min())
            else:
                mask = torch.zeros_like(mask)
            logits = net(image * mask)[0]
            weights.append(logits.softmax(0)[target] if weighting == "prob" else logits[target] - blank[target])
        weights = torch.stack(weights)
        weights = weights.softmax(0) if weighting == "softmax_logit" else weights
        return (weights[:, None, None] * channels).sum(0).relu(), weights


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("scale_first", [False, True])
def test_the_definition_channel_by_channel(weighting, scale_first):
    net, images, targets = loud(build(StagedNet)).double(), pictures(3).double(), torch.tensor([2, 0, 3])
    order = "scale_first" if scale_first else "resize_first"
    found = score_cam(net, images, targets, weighting=weighting, mask_order=order)
    for i in range(3):
        expected, weights = naive(net, images[i : i + 1], targets[i], weighting, scale_first)
        torch.testing.assert_close(minmax(found.raw)[i], minmax(expected[None])[0], atol=1e-10, rtol=0)
        effective = weights.abs().sum() ** 2 / weights.square().sum()
        torch.testing.assert_close(found.details["n_eff"][i], effective, rtol=1e-6, atol=0)
        uniform = net.features(images[i : i + 1]).detach().mean(1)
        assert (minmax(found.raw[i : i + 1]) - minmax(uniform)).abs().max() > 1e-2, "weights must matter here"
    assert found.details["convention"] == f"{weighting}, {order}"


def test_weightings_and_mask_orders_are_told_apart():
    # Not a GapNet: enlarging by an odd factor keeps a channel's extremes, and both mask orders agree.
    net, images = loud(build(StagedNet, seed=1), 20), pictures(1)
    maps = [score_cam(net, images, 1, weighting=weighting).map for weighting in WEIGHTINGS]
    maps.append(score_cam(net, images, 1, mask_order="scale_first").map)
    maps.append(score_cam(net, images, 1, align_corners=True).map)
    for i, one in enumerate(maps):
        for other in maps[:i]:
            assert (one - other).abs().max() > 0.1


class Linear(nn.Module):
    """f(x) = <v, x> + b; its one feature map is the images themselves, so masks are known."""

    def __init__(self, size):
        super().__init__()
        self.same = nn.Conv2d(3, 3, 1, bias=False)
        self.v = nn.Parameter(torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(5)))
        with torch.no_grad():
            self.same.weight.copy_(torch.eye(3)[:, :, None, None])

    def forward(self, images):
        return torch.einsum("nchw,kchw->nk", self.same(images), self.v) + torch.tensor([0.7, -0.2], dtype=images.dtype)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_logit_difference_of_a_linear_model_is_the_masked_sum(seed):
    net, images = Linear((6, 8)).eval().double(), pictures(2, (6, 8), seed).double()
    masks = minmax(images.flatten(0, 1)).view_as(images)
    weights = torch.einsum("chw,nchw,nkhw->nk", net.v[1].detach(), images, masks)
    expected = torch.einsum("nk,nkhw->nhw", weights, images).relu()
    found = score_cam(net, images, 1, weighting="logit_diff", layer="same")
    torch.testing.assert_close(found.raw, expected, atol=1e-10, rtol=1e-10)


class Constant(GapNet):
    def forward(self, images):
        return 0 * super().forward(images) + torch.tensor([1.0, 3.0, -2.0, 0.0])


def test_a_constant_model():
    net, images = build(Constant), pictures()
    features = net.features(images).detach()
    live = (features.amax((2, 3)) > features.amin((2, 3))).sum(1)
    assert (live == features.shape[1]).all()
    found = score_cam(net, images, 1)
    torch.testing.assert_close(found.raw, features.mean(1).relu())
    torch.testing.assert_close(found.details["n_eff"], live.float())
    assert score_cam(net, images, 1, weighting="logit_diff").degenerate.all()


def dead_channels(net):
    """Some channels that no image excites, as trained networks have, and one that is the same everywhere."""
    with torch.no_grad():
        net.conv.weight[[1, 4, 6]] = 0
        net.conv.bias[[1, 4]] = -1
        net.conv.bias[6] = 0.5
    return net


def counting(net):
    runs = []
    net.register_forward_pre_hook(lambda module, args: runs.append(len(args[0])))
    return runs


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_skipping_dead_channels_loses_nothing(weighting):
    net, images = loud(dead_channels(build(StagedNet))).double(), pictures(1).double()
    with torch.no_grad():
        net.conv.bias[6] = -1
    expected, _ = naive(net, images, 1, weighting)
    runs = counting(net)
    found = score_cam(net, images, 1, weighting=weighting)
    torch.testing.assert_close(minmax(found.raw), minmax(expected[None]), atol=1e-10, rtol=0)
    assert found.details["channels"].tolist() == [5]
    # The dry run, the recorded pass, five masked images, and for the difference a blank one.
    assert sum(runs) == 1 + 1 + 5 + (weighting == "logit_diff")


def test_a_channel_that_is_the_same_everywhere_masks_nothing():
    net, images = loud(dead_channels(build(StagedNet))), pictures(1)
    assert (net.features(images)[0, 6] == 0.5).all()
    changed = build(StagedNet)
    changed.load_state_dict(net.state_dict())
    with torch.no_grad():
        changed.conv.bias[6] = -1
        changed.fc.bias += 0.5 * changed.fc.weight[:, 6]
    torch.testing.assert_close(score_cam(net, images, 1).raw, score_cam(changed, images, 1).raw, rtol=1e-5, atol=1e-6)


def test_no_live_channel_at_all():
    net, images = build(Given, torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])), torch.ones(2, 3, 6, 6)
    images[1, 0, 2, 2] = 5
    for weighting in WEIGHTINGS:
        found = score_cam(net, images, 0, weighting=weighting)
        assert found.degenerate.tolist() == [True, False]
        assert found.raw.isfinite().all() and found.details["n_eff"].isfinite().all()
        assert found.details["channels"].tolist() == [0, 1]


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("internal_batch_size", [1, 5, 7, 1000])
def test_chunks_change_nothing_and_bound_every_forward(weighting, internal_batch_size):
    net, images = loud(build(StagedNet)).double(), pictures(3).double()
    expected = score_cam(net, images, weighting=weighting)
    runs = counting(net)
    found = score_cam(net, images, weighting=weighting, internal_batch_size=internal_batch_size)
    assert runs.pop(0) == 3  # the recorded pass
    torch.testing.assert_close(found.raw, expected.raw, atol=1e-12, rtol=1e-10)
    assert max(runs) <= internal_batch_size


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_half_precision_is_close_and_channels_last(weighting):
    net, images = loud(build(StagedNet, seed=2), 5), pictures(2)
    full = score_cam(net, images, weighting=weighting)
    seen = []
    net.fc.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    half = score_cam(net, images, weighting=weighting, precision="bf16")
    assert torch.bfloat16 in seen
    # Eight channels average no errors out; real networks are held to 0.02 by the oracle tests.
    assert 0 < (full.map - half.map).abs().max() < 0.05
    assert half.raw.dtype == torch.float32


def test_half_precision_runs_the_leading_channels_again():
    net, images = loud(build(GapNet, seed=2)), pictures(1)
    kinds = []
    net.fc.register_forward_hook(lambda module, args, output: kinds.extend([output.dtype] * len(output)))
    score_cam(net, images, precision="bf16", internal_batch_size=3)
    # The dry run, the recorded pass, and of eight channels at least one: a thirty-second part, rounded up.
    assert kinds.count(torch.bfloat16) == 8 and 3 <= kinds.count(torch.float32) < 2 + 8


def test_half_precision_runs_more_again_until_no_error_is_seen(monkeypatch):
    net, images = loud(build(StagedNet, seed=2), 5), pictures(3)
    full = score_cam(net, images)
    monkeypatch.setattr("livecam.explain.methods.score_cam._UNSEEN", 0.0)
    torch.testing.assert_close(score_cam(net, images, precision="bf16").raw, full.raw, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"weighting": "softmax"}, "weighting='softmax' is not one of softmax_logit, prob, logit_diff. Did you mean"),
        ({"mask_order": "upsample"}, "mask_order"),
        ({"precision": "fp16"}, "precision"),
        ({"internal_batch_size": 0}, "internal_batch_size is a whole number from 1, got 0"),
    ],
)
def test_wrong_options(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        ScoreCAM(**wrong)
