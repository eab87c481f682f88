"""Default layers and stages of torchvision's networks against tables written by hand (at 224 px)."""

import pytest
import torch
import torchvision
from helpers.toys import build

from livecam.explain import CAM, Capture, GradCAM, GradualExtrapolation, explain, record, structure_of

# Target layer, size there, name in the specification, GAP+linear head.
TARGETS = {
    "resnet18": ("layer4", 7, "layer4.1", "fc"),
    "resnet50": ("layer4", 7, "layer4.2", "fc"),
    "densenet121": ("features", 7, "features.norm5", "classifier"),
    "mobilenet_v2": ("features", 7, "features.18", "classifier.1"),
    "efficientnet_b0": ("features", 7, "features.8", "classifier.1"),
    "googlenet": ("inception5b", 7, "inception5b", "fc"),
    "squeezenet1_1": ("classifier.2", 13, "classifier.2", None),
    "convnext_tiny": ("features", 7, "features.7", None),
    "inception_v3": ("Mixed_7c", 5, "Mixed_7c", "fc"),
    "vgg16": ("features.29", 14, "features.29", None),
    "vgg19": ("features.35", 14, "features.35", None),
}
# The layer whose input is taken and that input's side, shallow to deep, above the target's own size.
STAGES = {
    "resnet18": {"maxpool": 112, "layer2.0.conv1": 56, "layer3.0.conv1": 28, "layer4.0.conv1": 14},
    "resnet50": {"maxpool": 112, "layer2.0.conv2": 56, "layer3.0.conv2": 28, "layer4.0.conv2": 14},
    "mobilenet_v2": {f"features.{i}.conv.1.0": side for i, side in ((2, 112), (4, 56), (7, 28), (14, 14))},
    "efficientnet_b0": {f"features.{i}.0.block.1.0": side for i, side in ((2, 112), (3, 56), (4, 28), (6, 14))},
    # Transitions pool what a bare convolution returns; the ReLU before it is taken instead.
    "densenet121": {
        "features.pool0": 112,
        "features.transition1.relu": 56,
        "features.transition2.relu": 28,
        "features.transition3.relu": 14,
    },
    "googlenet": {"maxpool1": 112, "maxpool2": 56, "maxpool3": 28, "maxpool4": 14},
    "convnext_tiny": {"features.2.1": 56, "features.4.1": 28, "features.6.1": 14},
    "inception_v3": {
        "maxpool1": 109,
        "maxpool2": 52,
        "Mixed_6a.branch3x3.conv": 25,
        # The first leaf that reduces; the branch before it keeps the block's input size.
        "Mixed_7a.branch3x3_2.conv": 12,
    },
    "vgg16": {"features.4": 224, "features.9": 112, "features.16": 56, "features.23": 28},
    "vgg19": {"features.4": 224, "features.9": 112, "features.18": 56, "features.27": 28},
}
# Their activations have small negative parts.
SIGNED = {"efficientnet_b0", "convnext_tiny"}
SLOW = {"inception_v3", "vgg16", "vgg19", "resnet50", "convnext_tiny", "efficientnet_b0", "densenet121", "googlenet"}
NETS = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in TARGETS]


@pytest.mark.parametrize("name", NETS)
def test_tables_of_the_specification(name, slim_vgg):
    extra = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
    if name.startswith("vgg"):
        net = build(slim_vgg, name)
    else:
        net = build(torchvision.models.get_model, name, weights=None, **extra)
    images = torch.rand(1, 3, 224, 224)
    structure = structure_of(net, images)
    target, side, specified, linear = TARGETS[name]
    assert (structure.target_layer, structure.linear) == (target, linear)
    assert structure.post_relu == (name == "densenet121")
    captures = [Capture(target), Capture(specified)]
    kept = record(net, images, captures=captures).activations
    assert kept[captures[0]].shape[2:] == (side, side)
    torch.testing.assert_close(kept[captures[0]], kept[captures[1]], atol=0, rtol=0)
    stages = {stage.layer: stage.size for stage in structure.stages if stage.size[0] > side}
    if name in STAGES:
        assert list(stages.items()) == [(layer, (size, size)) for layer, size in STAGES[name].items()]
    started = [stage.started for stage in structure.stages]
    assert started == sorted(started)
    if name in STAGES:
        check_gradual(net, images, name, [stage for stage in structure.stages if stage.size[0] > side])
    if linear is None:
        with pytest.raises(ValueError, match=r"GAP\+linear"):
            explain(net, images, [CAM()])


def check_gradual(net, images, name, stages):
    """Gradual Extrapolation takes these stages, from deep to shallow, and what it reads there is activation."""
    captures = [Capture(stage.layer, at=stage.at) for stage in stages]
    kept = record(net, images, captures=captures).activations
    for stage, capture in zip(stages, captures):
        assert kept[capture].shape[2:] == stage.size
        assert kept[capture].min() >= 0 or name in SIGNED, stage
    found = explain(net, images, [GradualExtrapolation(GradCAM())])["gradual_gradcam"]
    assert found.details["layers"] == [f"{stage.layer} {stage.at}" for stage in reversed(stages)]
    assert found.raw.shape[1:] == stages[0].size


def small_vit():
    return torchvision.models.VisionTransformer(32, 16, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16)


def test_a_vision_transformer_asks_for_a_layer():
    with pytest.raises(ValueError, match="no default target layer: name one with layer="):
        explain(build(small_vit), torch.rand(1, 3, 32, 32), [GradCAM()])


def test_a_small_vgg_has_no_cam_but_a_gradcam():
    layers = torchvision.models.vgg.make_layers([8, "M", 16, "M"])
    net = build(lambda: torch.nn.Sequential(layers, torch.nn.Flatten(), torch.nn.Linear(16 * 36, 3)))
    images = torch.rand(2, 3, 24, 24)
    assert structure_of(net, images).target_layer == "0.4"
    with pytest.raises(ValueError, match=r"CAM needs a head of global average pooling and one linear layer.*Grad-CAM"):
        explain(net, images, [CAM()])
    assert explain(net, images, [GradCAM()])["gradcam"].raw.shape == (2, 12, 12)
