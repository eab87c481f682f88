"""Maps of U-Net classifiers: full resolution, complete, and read where the head reads."""

import pytest
import torch

from livecam.explain import CAM, GradCAM, GradCAMPlusPlus, ScoreCAM, by_names, explain, structure_of
from livecam.models import build_model


@pytest.mark.parametrize(
    ("name", "kw"),
    [("unet", {"width": 4, "depth": 2}), ("unet", {"width": 4, "depth": 2, "skips": "drop"}), ("unet/resnet18", {})],
)
@pytest.mark.parametrize("size", [(64, 64), (50, 71)])
def test_map_has_the_inputs_size_and_sums_to_the_score(name, kw, size):
    torch.manual_seed(0)
    # In double precision: what is left of sums over all pixels is small beside their rounding in single.
    model = build_model(name, 5, **kw).double().eval()
    images = torch.randn(2, 3, *size).double()
    structure = structure_of(model, images)
    assert (structure.target_layer, structure.linear) == ("decoder", "head")
    with torch.no_grad():
        # Batch norms at rest would leave an untrained net's logits almost constant.
        model.train()
        model(torch.randn(8, 3, 64, 64).double())
        model.eval()
        logits = model(images)
    targets = torch.tensor([1, 3])
    found = explain(model, images, [CAM(), GradCAM(), GradCAMPlusPlus()], targets)
    assert all(e.raw.shape == e.map.shape == (2, *size) for e in found.values())
    # Completeness: the mean of CAM plus the bias is the class score.
    total = found["cam"].raw.mean((1, 2)) + model.head.bias.detach()[targets]
    assert torch.allclose(total, logits[torch.arange(2), targets], atol=1e-12, rtol=0)
    area = size[0] * size[1]
    assert torch.allclose(found["gradcam"].raw * area, found["cam"].raw.relu(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("skips", ["concat", "drop"])
def test_score_cam_at_full_resolution(skips):
    torch.manual_seed(0)
    model = build_model("unet", 3, width=4, depth=2, skips=skips).eval()
    images = torch.randn(2, 3, 40, 56)
    found = explain(model, images, [ScoreCAM(internal_batch_size=3)])["scorecam"]
    assert found.raw.shape == (2, 40, 56) and not found.degenerate.any()
    # Masks are the channels themselves: nothing is resized on the way.
    channels = model.decoder(*decoder_inputs(model, images[:1]))[0].detach()
    low, high = (value[:, None, None] for value in channels.flatten(1).aminmax(dim=1))
    live = (high > low).flatten()
    with torch.no_grad():
        logits = model(images[:1] * ((channels - low) / (high - low))[live][:, None])
    weights = logits[:, found.target[0]].softmax(0)
    torch.testing.assert_close(found.raw[0], torch.einsum("k,khw->hw", weights, channels[live]).relu())


def decoder_inputs(model, images):
    """What the decoder is called with."""
    kept = []
    handle = model.decoder.register_forward_pre_hook(lambda module, args: kept.append(args))
    model(images)
    handle.remove()
    return kept[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kw"), [("unet", {"width": 8}), ("unet", {"width": 8, "skips": "drop"}), ("unet/resnet18", {})]
)
def test_512_pixels(name, kw):
    torch.manual_seed(0)
    model = build_model(name, 3, **kw).eval()
    methods = by_names(["cam", "gradcam", "gradcam_pp"]) + [ScoreCAM(internal_batch_size=8)] * (name == "unet")
    found = explain(model, torch.randn(1, 3, 512, 512), methods, 1)
    for name, explanation in found.items():
        assert explanation.raw.shape == (1, 512, 512) and explanation.map.isfinite().all(), name


def test_bottleneck_and_decoder_are_names():
    model = build_model("unet/resnet18", 3).eval()
    found = explain(model, torch.randn(1, 3, 64, 64), [GradCAM(layer="bottleneck")])
    assert found["gradcam"].raw.shape == (1, 2, 2)


def test_negative_activations_are_warned_about():
    body = [torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    model = torch.nn.Sequential(*body, torch.nn.Linear(4, 2))
    with pytest.warns(UserWarning, match="name the layer after its ReLU"):
        explain(model, torch.randn(1, 3, 12, 12), [GradCAMPlusPlus(layer="0")])
