"""Closed forms on GAP+linear heads: from weights and activations alone, without any gradient."""

import pytest
import torch
import torchvision
from helpers.toys import DeepTail, GapNet, Given, build, pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam.core.maps import minmax
from livecam.explain import CAM, GradCAM, GradCAMPlusPlus, LayerCAM, WGradCAM, XGradCAM, explain, record, structure_of

# In double precision, where a look-alike of a formula cannot hide behind rounding: 4500 roundings of 2^-52.
ATOL = 1e-12
FAMILY = (CAM(), GradCAM(), XGradCAM(), LayerCAM(), WGradCAM(), GradCAMPlusPlus())


def closed_forms(weights, features):
    """The raw map of each method from the class's weights (N, K) and the pooled features (N, K, h, w)."""
    cells, mean = features[0, 0].numel(), features.mean((2, 3))

    def combine(channel_weights):
        return (channel_weights[:, :, None, None] * features).sum(1)

    return {
        "cam": combine(weights),
        "gradcam": combine(weights / cells).relu(),
        "xgradcam": combine(weights / cells).relu(),
        "layercam": combine(weights.relu() / cells),
        "wgradcam": combine(weights * mean / cells).relu(),
        "gradcam_pp": combine(weights.relu() / (2 + weights * mean)),
    }


def check(net, images, features, weight, bias, targets):
    found = explain(net, images, FAMILY, targets)
    expected = closed_forms(weight[targets], features)
    assert set(found) == set(expected)
    for name, raw in expected.items():
        scale = float(raw.abs().max()) or 1.0
        torch.testing.assert_close(found[name].raw / scale, raw / scale, atol=ATOL, rtol=0, msg=lambda t, n=name: n + t)
    # CAM's completeness: its mean over positions and the bias are the logit.
    logit = net(images).detach()[torch.arange(len(images)), targets]
    tolerance = ATOL * max(1.0, float(found["cam"].raw.abs().max()))
    torch.testing.assert_close(found["cam"].raw.mean((1, 2)) + bias[targets], logit, atol=tolerance, rtol=0)
    # Scores are kept in single precision, rounded once.
    torch.testing.assert_close(found["cam"].score.double(), logit, atol=tolerance, rtol=2**-24)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.integers(7, 40), width=st.integers(7, 40), target=st.integers(0, 3))
def test_toys_of_any_size_and_weights(seed, height, width, target):
    net, images = build(GapNet, seed=seed).double(), pictures(2, (height, width), seed).double()
    targets = torch.tensor([target, (target + 1) % 4])
    with torch.no_grad():
        features = net.features(images)
    if features.amax() > 1e-2:
        check(net, images, features, net.fc.weight.detach(), net.fc.bias.detach(), targets)


NETS = {
    "resnet18": ("fc", lambda net, x: resnet_features(net, x)),
    "mobilenet_v2": ("classifier.1", lambda net, x: net.features(x)),
    "densenet121": ("classifier", lambda net, x: net.features(x).relu()),
    "googlenet": ("fc", lambda net, x: googlenet_features(net, x)),
    "shufflenet_v2_x0_5": ("fc", lambda net, x: shufflenet_features(net, x)),
    "efficientnet_b0": ("classifier.1", lambda net, x: net.features(x)),
}


def resnet_features(net, x):
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    return net.layer4(net.layer3(net.layer2(net.layer1(x))))


def googlenet_features(net, x):
    for name in ("conv1", "maxpool1", "conv2", "conv3", "maxpool2", "inception3a", "inception3b", "maxpool3"):
        x = getattr(net, name)(x)
    for name in ("4a", "4b", "4c", "4d", "4e"):
        x = getattr(net, "inception" + name)(x)
    return net.inception5b(net.inception5a(net.maxpool4(x)))


def shufflenet_features(net, x):
    return net.conv5(net.stage4(net.stage3(net.stage2(net.maxpool(net.conv1(x))))))


@pytest.mark.parametrize("name", NETS)
def test_torchvision_networks(name):
    path, features_of = NETS[name]
    extra = {"init_weights": False, "aux_logits": True} if name == "googlenet" else {}
    net = build(torchvision.models.get_model, name, weights=None, num_classes=6, **extra).double()
    linear, images = net.get_submodule(path), pictures(2, (64, 96)).double()
    with torch.no_grad():
        # Untrained heads hardly tell channels apart: spread their weights.
        features = features_of(net, images)
        linear.weight.normal_(generator=torch.Generator().manual_seed(0)).div_(features.mean().sqrt().clamp_min(1e-6))
        targets = torch.tensor([1, 4])
        if name == "efficientnet_b0":
            assert features.min() < 0  # SiLU: the family must not count on rectified features
        cam = closed_forms(linear.weight[targets], features)["cam"]
    found = explain(net, images, [CAM(), GradCAM(), XGradCAM(), WGradCAM(), LayerCAM()], targets)
    cells, scale = features[0, 0].numel(), float(cam.abs().max())
    torch.testing.assert_close(found["cam"].raw / scale, cam / scale, atol=ATOL, rtol=0)
    torch.testing.assert_close(cells * found["gradcam"].raw / scale, cam.relu() / scale, atol=ATOL, rtol=0)
    logit = net(images)[torch.arange(2), targets].detach()
    torch.testing.assert_close(
        (found["cam"].raw.mean((1, 2)) + linear.bias[targets].detach()) / scale, logit / scale, atol=ATOL, rtol=0
    )
    if name != "efficientnet_b0":
        forms = closed_forms(linear.weight.detach()[targets], features)
        for method in ("xgradcam", "layercam", "wgradcam"):
            a, b = minmax(found[method].raw), minmax(forms[method])
            # Maps of untrained networks are faint: their contrast may be a hundredth of what it is taken from.
            torch.testing.assert_close(a, b, atol=100 * ATOL, rtol=0)


def test_wgradcam_weights_add_up_to_the_score_without_its_bias():
    net, images = build(GapNet), pictures(3)
    recording = record(net, images, 2, WGradCAM().captures(structure_of(net, images)))
    explainer = WGradCAM()
    weights = explainer.weights(explainer.activations(recording), explainer.gradients(recording))
    cells = net.features(images)[0, 0].numel()
    logit = net(images)[:, 2].detach()
    torch.testing.assert_close(cells * weights.sum(1), logit - net.fc.bias[2].detach(), atol=1e-5, rtol=0)


@settings(max_examples=15, deadline=None)
@given(scale=st.floats(0.05, 20))
def test_rescaling_features_against_weights(scale):
    # A -> tA and w -> w/t leave the logits alone; Grad-CAM's map too, WGradCAM's grows by t.
    weight = torch.tensor([[1.0, -0.5, 2.0], [0.3, 0.4, -1.0]])
    images = pictures().relu()
    plain = explain(build(Given, weight), images, [GradCAM(), WGradCAM()], 0)
    scaled = explain(build(Given, weight / scale), images * scale, [GradCAM(), WGradCAM()], 0)
    torch.testing.assert_close(scaled["gradcam"].raw, plain["gradcam"].raw, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(scaled["wgradcam"].raw, plain["wgradcam"].raw * scale, atol=1e-6, rtol=1e-4)
    for name in plain:
        torch.testing.assert_close(scaled[name].map, plain[name].map, atol=1e-5, rtol=0)


def test_wgradcam_of_constant_channels_is_gradcam_times_activation():
    weight = torch.tensor([[1.0, -0.5, 2.0]] * 2)
    images = torch.tensor([0.5, 2.0, 3.0])[None, :, None, None].expand(1, 3, 4, 5).clone()
    weights = weight[0] / 20 * images[0, :, 0, 0]
    expected = (weights * images[0, :, 0, 0]).sum().expand(1, 4, 5)
    torch.testing.assert_close(explain(build(Given, weight), images, [WGradCAM()], 0)["wgradcam"].raw, expected)


def test_xgradcam_is_complete_for_a_tail_without_biases():
    # Sum of g A over positions and channels is the score when the tail is piecewise linear and homogeneous.
    net, images = build(DeepTail), pictures(3)
    explainer = XGradCAM(layer="early")
    recording = record(net, images, torch.tensor([0, 1, 3]), explainer.captures(structure_of(net, images)))
    activations = explainer.activations(recording)
    weights = explainer.weights(activations, explainer.gradients(recording))
    total = (weights * activations.sum((2, 3))).sum(1)
    torch.testing.assert_close(total, net(images)[torch.arange(3), torch.tensor([0, 1, 3])].detach())


def test_xgradcam_counts_a_dead_channel_as_nothing():
    images = pictures()
    images[:, 1] = 0
    images[:, 2] = torch.tensor([3.0, -3.0]).repeat(12)  # alive, but its sum is exactly zero: nothing to divide by
    weight = torch.tensor([[1.0, 50.0, 50.0], [1.0, 0.0, 0.0]])
    found = explain(build(Given, weight), images, [XGradCAM()], 0)["xgradcam"].raw
    torch.testing.assert_close(found, (images[:, 0] / 576).relu())
    # Also where the gradient varies, so that the channel's sum of g A is not zero.
    activations, gradients = torch.tensor([[[[3.0, -3.0]], [[1.0, 1.0]]]]), torch.tensor([[[[1.0, 0.0]], [[0.2, 0.4]]]])
    torch.testing.assert_close(XGradCAM().weights(activations, gradients), torch.tensor([[0.0, 0.3]]))


def test_a_net_whose_evidence_is_all_negative_shows_nothing():
    found = explain(build(Given, -torch.ones(2, 3)), pictures().abs(), [GradCAM(), CAM()], 0)
    assert found["gradcam"].degenerate.all() and found["gradcam"].raw.eq(0).all() and found["gradcam"].map.eq(0).all()
    assert not found["cam"].degenerate.any() and (found["cam"].raw < 0).all()
